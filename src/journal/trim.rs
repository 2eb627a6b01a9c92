//! Retention by age and size.
//!
//! In: the settings, `now`, the progress of the sinks. Out: what was removed before a sink had it, by sink.
//! Invariant: the last commit and the last transition of each rule stay, so that no number is used twice and the log
//! gives every state; each call does a bounded amount of work, for an alarm may wait behind it.
//! Source: faults ST-42 to ST-45.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Transaction, params};

use crate::clock::Timestamp;
use crate::journal::rows::progress_rows;
use crate::journal::store::WAL_BYTES;
use crate::journal::write::{BLOCK, JUMP_MS, ROW_BYTES, write};
use crate::journal::{Journal, Progress, Seq, Span, StoreError, chunks, mend};

/// Rows that one transaction removes at most.
const SLICE: i64 = 1000;
/// And bytes in the database, but for the last one: each page of them has to be found.
const SLICE_BYTES: u64 = 1 << 20;
/// Transactions of one call at most.
const SLICES_MAX: u32 = 16;
/// Pages that one transaction gives back to the file system at most.
const VACUUM: u32 = 2048;

/// What is sealed and delivered stays this long: the newest history is read from one place.
const SEALED_KEEP: Duration = Duration::from_secs(6 * 3600);
/// And goes when there is this much of it: each removal is a sync.
const SEALED_STEP: Duration = Duration::from_secs(1800);
/// The history's name among those who wait for readings.
const HISTORY: &str = "history";

/// A commit that may be removed.
struct Row {
    seq: i64,
    now: i64,
    readings: u64,
    bytes: u64,
}

struct Sinks(Vec<(String, Progress)>);

impl Journal {
    /// Removes what is over age or size: delivered telemetry first, then undelivered (returned as losses by sink, in readings),
    /// alarms only when every sink has them, over age or after all telemetry. At most 16 slices of 1000 commits or 1 MiB a call: call it again and again.
    ///
    /// Age counts only while the clock runs evenly: nothing is over age in the first hour after it moved by more than an hour
    /// between two commits, nor when `now` is more than an hour from the last commit.
    ///
    /// # Errors
    /// The disk refuses. Losses up to there are returned by the next call that works.
    pub fn trim(&mut self, now: Timestamp) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut sinks = Sinks(self.waiting()?.into_iter().collect());
        // The history is one more who waits for readings.
        if let Some(sealed) = self.sealed.as_ref().map(|sealed| Seq(sealed.load(Ordering::Relaxed))) {
            let progress = Progress { alarms: u64::MAX, live: sealed, gaps: Vec::new() };
            sinks.0.push((HISTORY.to_owned(), progress));
        }
        self.grown = 0;
        if self.full {
            // Alarms need room in the database, and what is removed below gives none but in segments.
            self.segments.give_one();
        }
        let mut slices = SLICES_MAX;
        let over_age = self.age_limit(now).zip(self.tail.first());
        if over_age.is_some_and(|(cutoff, first)| first.key.now < cutoff.as_millis()) {
            self.take_root()?;
        }
        if let Some(cutoff) = self.age_limit(now) {
            self.cut_old(cutoff, &sinks, &mut slices)?;
            self.cut_transitions(cutoff, &sinks, &mut slices)?;
            self.cut_audits(cutoff, &mut slices)?;
        }
        if let Some(sealed_by) = self.sealed.is_some().then(|| self.age_limit_of(now, SEALED_KEEP)).flatten()
        {
            self.cut_sealed(sealed_by, &sinks, &mut slices)?;
        }
        self.cut_delivered(&sinks, &mut slices)?;
        self.cut_oldest(&sinks, &mut slices)?;
        if !self.tail.is_empty() && self.excess()? > 0 {
            self.take_root()?;
            self.cut_delivered(&sinks, &mut slices)?;
            self.cut_oldest(&sinks, &mut slices)?;
        }
        self.cut_texts(&sinks, &mut slices)?;
        if !self.full {
            // On a full disk free pages are worth more inside the file than outside, where others take them.
            self.give_back()?;
            mend::keep_reserve(&self.settings.path);
        }
        Ok(std::mem::take(&mut self.lost))
    }

    /// What each sink that data is kept for has confirmed.
    pub(crate) fn waiting(&self) -> rusqlite::Result<BTreeMap<String, Progress>> {
        let rows = progress_rows(&self.db, true)?.into_iter();
        let mut sinks: BTreeMap<_, _> =
            rows.map(|(name, progress)| (name, progress.unwrap_or_default())).collect();
        let idle = progress_rows(&self.db, false)?.into_iter().map(|(name, _)| name);
        let idle: Vec<String> = idle.filter(|name| !sinks.contains_key(name)).collect();
        let newer = self.tail.iter().flat_map(|record| &record.extra.progress);
        for (name, progress) in newer.filter(|(name, _)| !idle.contains(name)) {
            sinks.insert(name.clone(), progress.clone());
        }
        Ok(sinks)
    }

    /// What is before this moment is over age; `None` while the clock is in doubt.
    fn age_limit(&self, now: Timestamp) -> Option<Timestamp> {
        self.age_limit_of(now, self.settings.keep)
    }

    fn age_limit_of(&self, now: Timestamp, keep: Duration) -> Option<Timestamp> {
        let even = now.as_millis().abs_diff(self.last_now?.as_millis()) <= JUMP_MS.unsigned_abs();
        (even && now >= self.steady_from).then(|| now.minus(keep))
    }

    /// Follows the history: what it has sealed needs no place here after some hours.
    pub fn follow(&mut self, sealed: Arc<AtomicU64>) {
        self.sealed = Some(sealed);
    }

    /// Removes what every sink has and the history too, once there is enough of it.
    fn cut_sealed(&mut self, cutoff: Timestamp, sinks: &Sinks, slices: &mut u32) -> Result<(), StoreError> {
        let enough = cutoff.minus(SEALED_STEP).as_millis();
        for span in sinks.delivered(self.rooted) {
            let mut from = span.from.0.cast_signed();
            while *slices > 0 {
                let mut rows = self.oldest(from, span.to.0.cast_signed())?;
                if from == span.from.0.cast_signed() && rows.first().is_none_or(|row| row.now >= enough) {
                    break;
                }
                let all = rows.len();
                rows.truncate(rows.iter().position(|row| row.now >= cutoff.as_millis()).unwrap_or(all));
                self.cut(&rows, sinks)?;
                *slices -= 1;
                match rows.last() {
                    Some(last) if rows.len() == all => from = last.seq.saturating_add(1),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    fn cut_old(&mut self, cutoff: Timestamp, sinks: &Sinks, slices: &mut u32) -> Result<(), StoreError> {
        while *slices > 0 {
            let mut rows = self.oldest(1, i64::MAX)?;
            let all = rows.len();
            let over = rows.iter().position(|row| row.now >= cutoff.as_millis()).unwrap_or(all);
            rows.truncate(over);
            self.cut(&rows, sinks)?;
            *slices -= 1;
            if over < all || all == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    fn cut_transitions(
        &mut self,
        cutoff: Timestamp,
        sinks: &Sinks,
        slices: &mut u32,
    ) -> Result<(), StoreError> {
        let told = sinks.0.iter().map(|(_, progress)| progress.alarms).min().unwrap_or(u64::MAX);
        let told = i64::try_from(told).unwrap_or(i64::MAX);
        while *slices > 0 {
            let removed = self.remove(|tx| {
                tx.prepare_cached(
                    "DELETE FROM transitions WHERE id IN (
                         SELECT id FROM transitions AS old WHERE id <= ?1 AND at < ?2
                         AND EXISTS (SELECT 1 FROM transitions AS new WHERE new.rule = old.rule AND new.id > old.id)
                         ORDER BY id LIMIT ?3)",
                )?
                .execute(params![told, cutoff.as_millis(), SLICE])
            })?;
            *slices -= 1;
            if removed == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    fn cut_audits(&mut self, cutoff: Timestamp, slices: &mut u32) -> Result<(), StoreError> {
        while *slices > 0 {
            let removed = self.remove(|tx| {
                tx.prepare_cached(
                    "DELETE FROM audits WHERE id IN (
                         SELECT id FROM audits ORDER BY id LIMIT ?2) AND at < ?1",
                )?
                .execute(params![cutoff.as_millis(), SLICE])
            })?;
            *slices -= 1;
            if removed == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Removes the oldest commits that every sink has, while the file is too large, and once on a full disk.
    fn cut_delivered(&mut self, sinks: &Sinks, slices: &mut u32) -> Result<(), StoreError> {
        let mut relief = self.full;
        for span in sinks.delivered(self.rooted) {
            let mut from = span.from.0.cast_signed();
            loop {
                let excess = if relief { u64::MAX } else { self.excess()? };
                if excess == 0 || *slices == 0 {
                    return Ok(());
                }
                let rows = self.oldest(from, span.to.0.cast_signed())?;
                let Some(last) = self.cut_bytes(rows, excess, sinks)? else { break };
                from = last.saturating_add(1);
                *slices -= 1;
                relief = false;
            }
        }
        Ok(())
    }

    fn cut_oldest(&mut self, sinks: &Sinks, slices: &mut u32) -> Result<(), StoreError> {
        while *slices > 0 {
            let excess = self.excess()?;
            if excess == 0 {
                return Ok(());
            }
            let rows = self.oldest(1, i64::MAX)?;
            if self.cut_bytes(rows, excess, sinks)?.is_none() {
                return Ok(());
            }
            *slices -= 1;
        }
        Ok(())
    }

    /// With all telemetry gone and the file still too large: transitions that every sink has, then audits, oldest first.
    fn cut_texts(&mut self, sinks: &Sinks, slices: &mut u32) -> Result<(), StoreError> {
        let ever = Timestamp::from_millis(i64::MAX);
        if *slices > 0 && self.excess()? > 0 {
            self.cut_transitions(ever, sinks, &mut 1)?;
            *slices -= 1;
        }
        if *slices > 0 && self.excess()? > 0 {
            self.cut_audits(ever, &mut 1)?;
            *slices -= 1;
        }
        Ok(())
    }

    /// One transaction that removes.
    fn remove<T>(&mut self, work: impl FnOnce(&Transaction) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let before = self.db.total_changes();
        let done = write(&mut self.db, work)?;
        if self.db.total_changes() == before {
            return Ok(done);
        }
        self.wear.syncs = self.wear.syncs.saturating_add(1);
        self.unchecked = self.unchecked.saturating_add(64 * self.page_bytes);
        self.checkpoint();
        Ok(done)
    }

    /// Removes of `rows` as many as hold `excess` bytes; the last one removed.
    fn cut_bytes(
        &mut self,
        mut rows: Vec<Row>,
        excess: u64,
        sinks: &Sinks,
    ) -> Result<Option<i64>, StoreError> {
        let mut left = excess;
        let enough = rows.iter().position(|row| {
            left = left.saturating_sub(row.bytes);
            left == 0
        });
        if let Some(at) = enough {
            rows.truncate(at.saturating_add(1));
        }
        self.cut(&rows, sinks)?;
        Ok(rows.last().map(|row| row.seq))
    }

    /// Removes these commits, which stand together, and counts what a sink loses.
    fn cut(&mut self, rows: &[Row], sinks: &Sinks) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        self.remove(|tx| {
            tx.prepare_cached("DELETE FROM commits WHERE seq BETWEEN ?1 AND ?2")?
                .execute([first.seq, last.seq])?;
            tx.prepare_cached("DELETE FROM blocks WHERE block < (SELECT min(seq) FROM commits) / ?1")?
                .execute([BLOCK])
        })?;
        self.release(last.seq);
        for (sink, progress) in &sinks.0 {
            let missed = rows.iter().filter(|row| !has(progress, row.seq.cast_unsigned()));
            let count = missed.fold(0_u64, |sum, row| sum.saturating_add(row.readings));
            if count > 0 {
                let sum = self.lost.entry(sink.clone()).or_default();
                *sum = sum.saturating_add(count);
            }
        }
        Ok(())
    }

    /// The oldest commits of `from..to`, a slice at most; never the last one of the database, which tells where the tail begins.
    fn oldest(&self, from: i64, to: i64) -> Result<Vec<Row>, StoreError> {
        let to = to.min(self.rooted.cast_signed());
        let mut query = self.db.prepare_cached(
            "SELECT seq, now, readings, bytes, length(blob) FROM commits WHERE seq >= ?1 AND seq < ?2 ORDER BY seq LIMIT ?3",
        )?;
        let rows = query.query_map([from, to, SLICE], |row| {
            let number = |value: i64| u64::try_from(value).unwrap_or(0);
            let length = |at| row.get::<_, Option<i64>>(at).map(|bytes| number(bytes.unwrap_or(0)));
            let (there, here) = (length(3)?, length(4)?);
            let bytes = there.saturating_add(here).saturating_add(ROW_BYTES);
            Ok((Row { seq: row.get(0)?, now: row.get(1)?, readings: number(row.get(2)?), bytes }, here))
        })?;
        let (mut oldest, mut sum): (Vec<Row>, u64) = (Vec::new(), 0);
        for row in rows {
            let (row, here) = row?;
            sum = sum.saturating_add(here);
            oldest.push(row);
            if sum >= SLICE_BYTES {
                break;
            }
        }
        Ok(oldest)
    }

    /// Bytes in use above the limit, the write-ahead log's share set aside.
    fn excess(&self) -> Result<u64, StoreError> {
        let pages = self.pragma("page_count")?.saturating_sub(self.pragma("freelist_count")?);
        let used = pages.saturating_mul(self.pragma("page_size")?).saturating_add(self.segments.used());
        Ok(used.saturating_sub(self.bytes_max()))
    }

    /// Frees the segments up to commit `upto` that hold nothing any more.
    pub(crate) fn release(&mut self, upto: i64) {
        let held = self.db.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM commits WHERE seq >= ?2 AND seq < ?3 AND place >> 32 = ?1)",
        );
        let Ok(mut held) = held else { return };
        // Where the database can't tell, something may stand.
        self.segments.release((upto, self.rooted.cast_signed()), |generation, from, to| {
            held.query_row([i64::from(generation), from, to], |row| row.get(0)).unwrap_or(true)
        });
    }

    fn bytes_max(&self) -> u64 {
        let max = self.settings.max_bytes;
        max.saturating_sub(WAL_BYTES.min(max / 2)).saturating_sub(chunks::bytes(&self.settings.path))
    }

    fn pragma(&self, name: &str) -> Result<u64, StoreError> {
        let value: i64 = self.db.pragma_query_value(None, name, |row| row.get(0))?;
        Ok(u64::try_from(value).unwrap_or(0))
    }

    /// Shortens the file while it is over its limit or more than a fifth of it is free; other free pages wait for new data.
    fn give_back(&mut self) -> Result<(), StoreError> {
        self.segments.give_back(self.bytes() > self.settings.max_bytes);
        let room = self.bytes_max().saturating_sub(self.segments.all());
        let limit = room / self.pragma("page_size")?.max(1);
        for _ in 0..SLICES_MAX {
            let (pages, free) = (self.pragma("page_count")?, self.pragma("freelist_count")?);
            let spare = free.saturating_sub(pages / 5).max(pages.saturating_sub(limit)).min(free);
            if spare == 0 {
                return Ok(());
            }
            let step = u64::from(VACUUM).min(spare);
            // It frees one page for each row that is asked for.
            let mut vacuum = self.db.prepare(&format!("PRAGMA incremental_vacuum({step})"))?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
            drop(rows);
            drop(vacuum);
            self.wear.syncs = self.wear.syncs.saturating_add(1);
            self.unchecked = self.unchecked.saturating_add(step.saturating_mul(self.page_bytes));
            self.checkpoint();
        }
        Ok(())
    }
}

/// Whether `seq` is delivered.
fn has(progress: &Progress, seq: u64) -> bool {
    let late = |gap: &Span| gap.from.0 <= seq && seq < gap.to.0;
    seq <= progress.live.0 && !progress.gaps.iter().any(late)
}

impl Sinks {
    /// Spans up to `last` that every sink has, oldest first.
    fn delivered(&self, last: u64) -> Vec<Span> {
        let mut missing: Vec<Span> = Vec::new();
        for (_, progress) in &self.0 {
            missing.extend(&progress.gaps);
            missing.push(Span { from: Seq(progress.live.0.saturating_add(1)), to: Seq(u64::MAX) });
        }
        missing.push(Span { from: Seq(last), to: Seq(u64::MAX) });
        missing.sort_unstable_by_key(|span| span.from);
        let mut spans = Vec::new();
        let mut from = Seq(1);
        for gap in missing {
            if from < gap.from {
                spans.push(Span { from, to: gap.from });
            }
            from = from.max(gap.to);
        }
        spans
    }
}
