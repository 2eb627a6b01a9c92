//! Readings taken before anybody trusted the clock: kept apart until their time is known.
//!
//! In: groups with the start of the box that their times count from; later, when the clock is trusted, that start as it really was.
//! Out: commits with the right times, in the order in which they were taken.
//! Invariant: a reading is in one place, kept apart or committed, whenever the power is cut.
//! Source: DESIGN promise 8; faults ST-44.
//!
//! A reading's time is the start of the box and monotonic time since. Once the clock is trusted the start is known, and so is the time of
//! everything that was taken since. What an earlier start left behind cannot be dated: it keeps its time and its doubt.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::clock::{Boot, Timestamp};
use crate::journal::aside::root;
use crate::journal::write::{count, store_commit, write};
use crate::journal::{Journal, Seq, StoreError, blob};
use crate::reading::{Batch, Doubt, Sample};

/// Groups that one call of `date` makes commits of, at most.
const SLICE: u64 = 16;
/// Groups that wait for their time, at most: about a day. The oldest of more go out as they are.
const WAITING_MAX: i64 = 100_000;

struct Row {
    id: i64,
    boot: String,
    origin: i64,
    key: blob::Key,
    bytes: Vec<u8>,
}

/// Keeps the readings of a group apart.
pub(crate) fn store_undated(
    tx: &Transaction,
    boot: &Boot,
    key: blob::Key,
    batches: &[Batch],
    bytes: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    blob::emit(key, batches, bytes);
    // The row has the number of the commit that it came with, which its check sum covers.
    tx.prepare_cached("INSERT INTO undated (id, boot, origin, now, site, readings, blob) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![key.seq, &*boot.id, boot.at.as_millis(), key.now, key.site, key.readings, bytes.as_slice()])
        .map(drop)
}

impl Journal {
    /// Makes commits of readings whose time was not known, now that the start of the box is; 16 groups a call at most. `None` for `boot`: the clock
    /// is still not trusted, and only what is too much to keep goes out. The number of the last new commit, if there is one.
    ///
    /// # Errors
    /// The disk refuses; nothing has moved then.
    pub fn date(&mut self, boot: Option<&Boot>) -> Result<Option<Seq>, StoreError> {
        if !self.undated {
            return Ok(None);
        }
        let before = self.last;
        let (mut seq, mut damaged) = (before, 0_u64);
        let Self { db, blob: bytes, tail, .. } = self;
        let all = write(db, |tx| {
            for _ in 0..SLICE {
                let Some(row) = oldest(tx, boot.is_none())? else { return Ok(true) };
                tx.prepare_cached("DELETE FROM undated WHERE id = ?1")?.execute([row.id])?;
                let Some(batches) = blob::parse(row.key, &row.bytes) else {
                    damaged = damaged.saturating_add(1);
                    continue;
                };
                if seq == before {
                    root(tx, tail)?;
                }
                seq = seq.saturating_add(1);
                let (batches, now) = dated(batches, row.key.now, boot, &row);
                let key = blob::Key { seq: seq.cast_signed(), now, readings: count(&batches), ..row.key };
                store_commit(tx, key, &batches, bytes)?;
            }
            Ok(false)
        })?;
        // While the clock is not trusted there may be more of them with each commit.
        self.undated = !all || boot.is_none();
        self.last = seq;
        if before < seq {
            self.rooted(seq);
        }
        self.damaged = self.damaged.saturating_add(damaged);
        Ok((before < seq).then_some(Seq(seq)))
    }
}

/// The oldest group that waits; while their time is unknown only one that is too many.
fn oldest(tx: &Transaction, surplus: bool) -> rusqlite::Result<Option<Row>> {
    let mut query = tx.prepare_cached(
        "SELECT id, boot, origin, now, site, readings, blob FROM undated
         WHERE ?1 = 0 OR id <= (SELECT max(id) FROM undated) - ?1 ORDER BY id LIMIT 1",
    )?;
    query
        .query_row([if surplus { WAITING_MAX } else { 0 }], |row| {
            let id = row.get(0)?;
            let key = blob::Key { seq: id, now: row.get(3)?, site: row.get(4)?, readings: row.get(5)? };
            Ok(Row { id, boot: row.get(1)?, origin: row.get(2)?, key, bytes: row.get(6)? })
        })
        .optional()
}

/// The readings at their right time and without the doubt of it; as they are when this start of the box says nothing of them.
fn dated(mut batches: Vec<Batch>, now: i64, boot: Option<&Boot>, row: &Row) -> (Vec<Batch>, i64) {
    let Some(boot) = boot.filter(|boot| *boot.id == *row.boot && !row.boot.is_empty()) else {
        return (batches, now);
    };
    let by = boot.at.as_millis().saturating_sub(row.origin);
    put_right(&mut batches, by, true);
    (batches, Timestamp::from_millis(now).shifted(by).as_millis())
}

/// Moves readings by `by_ms`; with `trusted` they lose the doubt of the clock.
pub fn put_right<'a>(batches: impl IntoIterator<Item = &'a mut Batch>, by_ms: i64, trusted: bool) {
    for batch in batches {
        batch.start = batch.start.shifted(by_ms);
        batch.end = batch.end.shifted(by_ms);
        for reading in &mut batch.readings {
            reading.at = reading.at.shifted(by_ms);
            if let Sample::Uncertain(value, Doubt::Clock) = reading.sample
                && trusted
            {
                reading.sample = Sample::Good(value);
            }
        }
    }
}
