//! The newest commits, as far as they stand in segments alone.
//!
//! In: the segments, and the last commit that the database has. Out: the records behind it, in order.
//! Invariant: only what is whole; a commit is here or in the database or, for a moment, in both, and never in neither.
//!
//! The writer puts a row for each of them into the database with the next commit that the database takes, at most 64 commits later.

use std::io;

use rusqlite::{Connection, OptionalExtension};

use crate::journal::record::{Place, Record};
use crate::journal::segments::{Shelf, refused};
use crate::journal::store::seed;
use crate::journal::write::BLOCK;

/// What a reader has seen of the newest records.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Records that the database does not have, in order.
    records: Vec<Record>,
    /// Where the next record is looked for.
    cursor: Option<(u32, u32)>,
    /// The last commit seen.
    seen: i64,
    /// Commits that damage hides before the last one seen.
    pub(crate) damaged: u64,
}

impl Tail {
    /// Looks for what was written since, the first time behind damage too; returns the last commit of the database, 0 for none.
    pub(crate) fn refresh(&mut self, db: &Connection, shelf: &mut Shelf) -> rusqlite::Result<i64> {
        if !shelf.is_there() {
            // The format may change while it is read.
            shelf.begin(seed(db)?);
        }
        let last = last(db)?;
        if !shelf.is_there() {
            return Ok(last);
        }
        self.records.retain(|record| record.key.seq > last);
        let mut anew = false;
        if self.cursor.is_none() || self.seen < last {
            // The database has gone ahead of what was seen here.
            let (cursor, exact) = anchor(db, shelf, last)?;
            anew = self.cursor.is_none() || !exact;
            (self.cursor, self.seen) = (cursor, last);
        }
        if let Some(cursor) = self.cursor {
            self.cursor = Some(self.walk(shelf, cursor, anew).map_err(refused)?);
        }
        Ok(last)
    }

    /// Takes what stands from `cursor` on; where the last of it ends. `anew`: damage and numbers that are left out are stepped over.
    fn walk(
        &mut self,
        shelf: &mut Shelf,
        (mut generation, mut offset): (u32, u32),
        anew: bool,
    ) -> io::Result<(u32, u32)> {
        let mut hidden = false;
        loop {
            if let Some((record, _)) = shelf.read(generation, offset)? {
                offset = record.place.end();
                self.take(record, &mut hidden);
                continue;
            }
            // What was about to be written is whole as soon as something stands behind it, or there is a next segment.
            let behind = if anew { shelf.find(generation, offset)? } else { None };
            let next = match behind {
                Some(behind) => Some((generation, behind)),
                None => match shelf.next(generation) {
                    None if anew => shelf.later(generation)?.map(|later| (later, 0)),
                    next => next.map(|next| (next, 0)),
                },
            };
            let Some(next) = next else { return Ok((generation, offset)) };
            if shelf.read(generation, offset)?.is_none() {
                (generation, offset) = next;
                hidden |= behind.is_some();
            }
        }
    }

    fn take(&mut self, record: Record, hidden: &mut bool) {
        let seq = record.key.seq;
        if self.records.last().is_some_and(|before| before.key.seq == seq) {
            // The same number again: the disk refused the record before, whole as it may look.
            self.records.pop();
        } else if seq <= self.seen {
            return;
        } else if std::mem::take(hidden) {
            let missing = seq.saturating_sub(self.seen).saturating_sub(1);
            self.damaged = self.damaged.saturating_add(missing.unsigned_abs());
        }
        self.seen = seq;
        self.records.push(record);
    }

    /// Records of the commits `from..to`.
    pub(crate) fn of(&self, from: i64, to: i64) -> impl DoubleEndedIterator<Item = &Record> {
        self.records.iter().filter(move |record| from <= record.key.seq && record.key.seq < to)
    }

    /// Where the last whole record ends; `None` where there is no segment.
    pub(crate) const fn end(&self) -> Option<(u32, u32)> {
        self.cursor
    }

    /// All of them, for good.
    pub(crate) fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// All of them.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }
}

/// Number of the database's last commit; 0 for none.
fn last(db: &Connection) -> rusqlite::Result<i64> {
    let last = db
        .prepare_cached("SELECT max(seq) FROM commits")?
        .query_row([], |row| row.get::<_, Option<i64>>(0))?;
    Ok(last.unwrap_or(0))
}

/// Where the first record behind commit `last` is looked for: behind the last one that the database knows, or in the last segment that begins
/// before. Second: whether nothing older stands between.
fn anchor(db: &Connection, shelf: &mut Shelf, last: i64) -> rusqlite::Result<(Option<(u32, u32)>, bool)> {
    let row: Option<(i64, i64)> = db
        .prepare_cached(
            "SELECT place, bytes FROM commits WHERE seq > ?1 AND seq <= ?2 AND place IS NOT NULL ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([last.saturating_sub(2 * BLOCK), last], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some(place) = row.and_then(|(place, bytes)| Place::from_columns(place, bytes)) {
        return Ok((Some((place.generation, place.end())), true));
    }
    let mut first = None;
    for generation in shelf.generations().map_err(refused)?.into_iter().rev() {
        let Some(record) = shelf.first(generation).map_err(refused)? else { continue };
        first = Some((generation, 0));
        if record.key.seq <= last {
            break;
        }
    }
    Ok((first, false))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::journal::blob;
    use crate::journal::record::Parts;
    use crate::journal::segments::{FOLDER, file};

    /// A segment with a record for each of `commits`, a number and its readings.
    fn segment(path: &std::path::Path, generation: u32, commits: &[(i64, i64)]) {
        let (mut bytes, mut record) = (Vec::new(), Vec::new());
        for &(seq, readings) in commits {
            let key = blob::Key { seq, now: 0, site: 1, readings };
            Parts { key, times: (0, 0), extra: b"", body: b"readings" }.emit(5, generation, &mut record);
            bytes.extend_from_slice(&record);
        }
        bytes.resize(1 << 16, 0);
        fs::create_dir_all(path.join(FOLDER)).unwrap();
        fs::write(file(&path.join(FOLDER), generation), bytes).unwrap();
    }

    fn seen(tail: &Tail) -> Vec<(i64, i64)> {
        tail.records().iter().map(|record| (record.key.seq, record.key.readings)).collect()
    }

    #[test]
    fn of_two_records_of_one_number_the_later_holds() {
        let folder = tempfile::tempdir().unwrap();
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE commits (seq, place, bytes)").unwrap();
        let (mut tail, mut shelf) = (Tail::default(), Shelf::new(folder.path(), Some(5)));
        // The disk refused the sync of the second commit, and then the database; the group grew, and a segment took it.
        segment(folder.path(), 3, &[(1, 7), (2, 7)]);
        assert_eq!(tail.refresh(&db, &mut shelf), Ok(0));
        assert_eq!(seen(&tail), [(1, 7), (2, 7)]);
        segment(folder.path(), 4, &[(2, 9), (3, 7)]);
        assert_eq!(tail.refresh(&db, &mut shelf), Ok(0));
        assert_eq!(seen(&tail), [(1, 7), (2, 9), (3, 7)]);
        let mut anew = Tail::default();
        assert_eq!(anew.refresh(&db, &mut shelf), Ok(0));
        assert_eq!((seen(&anew), anew.damaged), (seen(&tail), 0));
    }
}
