//! How large the journal is, what it writes, and how long it can hold out without a sink.
//!
//! In: the file and the progress of the sinks. Out: [`Figures`], [`Wear`].
//! Invariant: figures only; nothing decides by them.

use crate::journal::store::bytes;
use crate::journal::write::ROW_BYTES;
use crate::journal::{Figures, Journal, Progress, StoreError, Wear};

/// The rate is that of the last commits, this many.
const RECENT: i64 = 1000;
/// An hour, in milliseconds.
const HOUR_MS: f64 = 3_600_000.0;

impl Journal {
    /// What was written since the journal was opened.
    pub fn wear(&self) -> Wear {
        Wear { syncs: self.wear.syncs.saturating_add(self.segments.syncs), ..self.wear }
    }

    /// Whether enough was committed since the last `trim` to matter for the size: a hundredth of it.
    pub const fn has_grown(&self) -> bool {
        self.grown > self.settings.max_bytes / 100
    }

    /// How large the journal is, and how long it can hold out.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn figures(&self) -> Result<Figures, StoreError> {
        let (count, sum, from, to) = self
            .db
            .prepare_cached(
                "SELECT count(*), total(coalesce(bytes, length(blob), 0) + ?2), min(now), max(now) FROM commits WHERE seq > ?1",
            )?
            .query_row([self.last.cast_signed().saturating_sub(RECENT), ROW_BYTES.cast_signed()], |row| {
                let time = |at: Option<i64>| at.unwrap_or(0);
                Ok((row.get::<_, f64>(0)?, row.get::<_, f64>(1)?, time(row.get(2)?), time(row.get(3)?)))
            })?;
        let span_ms = wide(to.saturating_sub(from));
        let known = count > 1.0 && span_ms > 0.0;
        let bytes_per_hour = if known { sum / span_ms * HOUR_MS } else { 0.0 };
        let sinks = self.waiting()?.into_values();
        let late = sinks.map(|progress| self.late(&progress)).fold(0.0, f64::max);
        let room = wide(i64::try_from(self.settings.max_bytes).unwrap_or(i64::MAX));
        let left = if known { room - late * (sum / count) } else { 0.0 };
        let hours_left = (known && bytes_per_hour > 0.0).then(|| left.max(0.0) / bytes_per_hour);
        Ok(Figures {
            bytes: bytes(&self.settings.path),
            bytes_max: self.settings.max_bytes,
            bytes_per_hour,
            hours_left,
        })
    }

    /// Commits that a sink does not have.
    fn late(&self, progress: &Progress) -> f64 {
        let gaps = progress.gaps.iter().map(|gap| gap.to.0.saturating_sub(gap.from.0));
        let late = gaps.fold(self.last.saturating_sub(progress.live.0), u64::saturating_add);
        wide(i64::try_from(late).unwrap_or(i64::MAX))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people; 53 bits are enough")]
fn wide(number: i64) -> f64 {
    number as f64
}
