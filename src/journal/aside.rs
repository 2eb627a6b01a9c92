//! Commits beside the database: a group of readings goes into a segment, and gets its row with those of its block.
//!
//! In: groups. Out: records in segments; later their rows.
//! Invariant: a commit is in a segment, in the database, or in both, and never in neither; what is more than readings, states and progress
//! goes into the database at once.

use rusqlite::{Transaction, params};

use crate::journal::record::{Extra, Parts, Record};
use crate::journal::write::{BLOCK, ROW_BYTES, count, store_progress, store_state, times, wide, write};
use crate::journal::{Group, Journal, StoreError, blob};

impl Journal {
    /// The database has all commits up to number `seq`.
    pub(crate) fn rooted(&mut self, seq: u64) {
        self.rooted = seq;
        self.unchecked = self.unchecked.saturating_add(wide(self.tail.len()).saturating_mul(2 * ROW_BYTES));
        self.tail.clear();
    }

    /// Writes a group that holds readings, states and progress alone into a segment; false when the database has to take it: each last one of a
    /// block, with the rows of those before it, what is more than readings, and everything while no segment can be written.
    pub(crate) fn commit_aside(&mut self, seq: u64, site: i64, group: &Group) -> bool {
        let seq = seq.cast_signed();
        let plain = group.transitions.is_empty()
            && group.audits.is_empty()
            && group.memories.is_empty()
            && group.undated.is_none();
        if !plain || seq % BLOCK == BLOCK - 1 {
            return false;
        }
        let key = blob::Key { seq, now: group.now.as_millis(), site, readings: count(&group.batches) };
        self.blob.clear();
        if key.readings > 0 {
            blob::emit(key, &group.batches, &mut self.blob);
        }
        let (earliest, latest) = times(&group.batches);
        let extra = Extra::text(group);
        let times = (earliest.unwrap_or(0), latest.unwrap_or(0));
        let parts = Parts { key, times, extra: &extra, body: &self.blob };
        let Some(place) = self.segments.append(&parts) else { return false };
        let extra = Extra { states: group.states.clone(), progress: group.progress.clone() };
        self.tail.push(Record { key, earliest, latest, place, extra });
        let encoded = wide(self.blob.len());
        self.wear.encoded = self.wear.encoded.saturating_add(encoded);
        self.grown = self.grown.saturating_add(u64::from(place.bytes)).saturating_add(ROW_BYTES);
        true
    }

    /// Gives the newest commits their rows in the database, so that they can be removed.
    pub(crate) fn take_root(&mut self) -> Result<(), StoreError> {
        let Self { db, tail, .. } = self;
        write(db, |tx| root(tx, tail))?;
        self.wear.syncs = self.wear.syncs.saturating_add(1);
        if let Some(last) = self.tail.last() {
            self.rooted(last.key.seq.unsigned_abs());
        }
        Ok(())
    }
}

/// A row for each of `records`, and what they hold beside readings.
pub(crate) fn root(tx: &Transaction, records: &[Record]) -> rusqlite::Result<()> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
    let before: Option<i64> =
        tx.prepare_cached("SELECT max(seq) FROM commits")?.query_row([], |row| row.get(0))?;
    let mut row = tx.prepare_cached(
        "INSERT INTO commits (seq, now, site, readings, earliest, latest, place, bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for Record { key: blob::Key { seq, now, site, readings }, earliest, latest, place, extra } in records {
        row.execute(params![seq, now, site, readings, earliest, latest, place.column(), place.bytes])?;
        extra.states.iter().try_for_each(|(rule, state)| store_state(tx, rule, state))?;
        extra.progress.iter().try_for_each(|(sink, progress)| store_progress(tx, sink, progress))?;
    }
    let (first, last) = (before.unwrap_or(0).min(first.key.seq) / BLOCK, last.key.seq / BLOCK);
    if first < last {
        // A block's own row comes with its last commit; damage of the log may have taken that one.
        tx.execute(
            "INSERT OR REPLACE INTO blocks SELECT seq / ?1, min(earliest), max(latest) FROM commits
             WHERE seq >= ?2 AND seq < ?3 GROUP BY seq / ?1",
            [BLOCK, first.saturating_mul(BLOCK), last.saturating_mul(BLOCK)],
        )?;
    }
    Ok(())
}
