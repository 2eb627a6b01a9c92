//! Records that a sink refused for good, kept for a person: to be looked at, sent again, exported or deleted.
//!
//! In: records as they were sent, with the answer. Out: the same, by sink, oldest first.
//! Invariant: bounded by number and bytes for each sink, oldest out and counted; a record that comes twice is kept once; it is on disk
//! before the sink's progress passes it.
//! Source: DESIGN section 9. A file of its own, so that the journal's writer and its size have nothing to do with a sink's whims.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::journal::StoreError;

/// Name of the file in the journal's folder.
pub const FILE: &str = "quarantine.db";
/// Records of one sink at most.
pub const RECORDS_MAX: u64 = 10_000;
/// Bytes of one sink's records at most.
pub const BYTES_MAX: u64 = 64 << 20;
const BUSY: Duration = Duration::from_secs(2);

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, key INTEGER NOT NULL, at INTEGER NOT NULL,
    records INTEGER NOT NULL, place TEXT NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL,
    again INTEGER NOT NULL DEFAULT 0, UNIQUE (sink, key));
";

/// One record set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its number.
    pub id: i64,
    /// The sink that refused it.
    pub sink: String,
    /// When.
    pub at: Timestamp,
    /// Readings or transitions in it.
    pub records: u64,
    /// Where to, when the record's text does not say it: a topic.
    pub place: String,
    /// The record as sent.
    pub what: String,
    /// The answer.
    pub why: String,
    /// A person wants it to be sent again.
    pub again: bool,
}

/// The records that sinks refused.
pub struct Quarantine {
    db: Connection,
    folder: PathBuf,
}

impl Quarantine {
    /// Opens the file in `folder`; `None` when there is none and none is to be made. One that is damaged is moved aside.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn open(folder: &Path, make: Make) -> Result<Option<Self>, StoreError> {
        let path = folder.join(FILE);
        if make == Make::No && !path.exists() {
            return Ok(None);
        }
        match connect(&path) {
            Err(error) if damaged(&error) => anew(folder, &error),
            other => Ok(other?),
        }
        .map(|db| Some(Self { db, folder: folder.to_owned() }))
    }

    /// Keeps `records` of `sink`; how many old ones had to go for them. A file that turns out to be damaged is moved aside, so that no sink waits for it.
    ///
    /// # Errors
    /// The disk refuses; none is kept then.
    pub fn put(&mut self, sink: &str, records: &[SetAside]) -> Result<u64, StoreError> {
        match self.insert(sink, records) {
            Err(error) if damaged(&error) => {
                self.db = Connection::open_in_memory()?;
                self.db = anew(&self.folder, &error)?;
                Ok(self.insert(sink, records)?)
            }
            other => Ok(other?),
        }
    }

    fn insert(&mut self, sink: &str, records: &[SetAside]) -> rusqlite::Result<u64> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for one in records {
            transaction
                .prepare_cached(
                    "INSERT INTO records (sink, key, at, records, place, what, why) VALUES (?, ?, ?, ?, ?, ?, ?)
                     ON CONFLICT (sink, key) DO UPDATE SET at = excluded.at, why = excluded.why",
                )?
                .execute(params![sink, key(one), one.at.as_millis(), one.records, one.place, one.what, one.why])?;
        }
        let gone = bound(&transaction, sink)?;
        transaction.commit()?;
        Ok(gone)
    }

    /// Records of `sink` (of all sinks when `None`) numbered above `after`, oldest first.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn list(&self, sink: Option<&str>, after: i64, most: usize) -> Result<Vec<SetAside>, StoreError> {
        self.rows("(?1 IS NULL OR sink = ?1) AND id > ?2", sink, after, most)
    }

    /// Records of `sink` that a person wants to be sent again.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn due(&self, sink: &str, most: usize) -> Result<Vec<SetAside>, StoreError> {
        self.rows("sink = ?1 AND id > ?2 AND again = 1", Some(sink), 0, most)
    }

    fn rows(
        &self,
        which: &str,
        sink: Option<&str>,
        after: i64,
        most: usize,
    ) -> Result<Vec<SetAside>, StoreError> {
        let text = format!(
            "SELECT id, sink, at, records, place, what, why, again FROM records WHERE {which} ORDER BY id LIMIT ?3"
        );
        let mut query = self.db.prepare_cached(&text)?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(SetAside {
                id: row.get(0)?,
                sink: row.get(1)?,
                at: Timestamp::from_millis(row.get(2)?),
                records: row.get(3)?,
                place: row.get(4)?,
                what: row.get(5)?,
                why: row.get(6)?,
                again: row.get(7)?,
            })
        };
        let rows = query.query_map(params![sink, after, u64::try_from(most).unwrap_or(u64::MAX)], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How many records of `sink` are here.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn count(&self, sink: &str) -> Result<u64, StoreError> {
        Ok(self.db.query_row("SELECT count(*) FROM records WHERE sink = ?", [sink], |row| row.get(0))?)
    }

    /// Has the records of `sink` (one of them, by its number) sent again; how many.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn send_again(&mut self, sink: Option<&str>, id: Option<i64>) -> Result<usize, StoreError> {
        let text = "UPDATE records SET again = 1 WHERE (?1 IS NULL OR sink = ?1) AND (?2 IS NULL OR id = ?2)";
        Ok(self.db.execute(text, params![sink, id])?)
    }

    /// Deletes the records of `sink` (one of them, by its number); how many.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn delete(&mut self, sink: Option<&str>, id: Option<i64>) -> Result<usize, StoreError> {
        let text = "DELETE FROM records WHERE (?1 IS NULL OR sink = ?1) AND (?2 IS NULL OR id = ?2)";
        Ok(self.db.execute(text, params![sink, id])?)
    }

    /// Takes the end of a repeat: what was taken goes, what was refused again (its number and the answer) stays.
    ///
    /// # Errors
    /// The disk refuses; a repeat of the repeat is harmless.
    pub fn settle(&mut self, taken: &[i64], refused: &[(i64, String)]) -> Result<(), StoreError> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for id in taken {
            transaction.execute("DELETE FROM records WHERE id = ?", [id])?;
        }
        for (id, why) in refused {
            transaction.execute("UPDATE records SET again = 0, why = ? WHERE id = ?", params![why, id])?;
        }
        Ok(transaction.commit()?)
    }
}

/// Whether a file that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// Moves the damaged file aside and begins a new one.
fn anew(folder: &Path, error: &rusqlite::Error) -> Result<Connection, StoreError> {
    let path = folder.join(FILE);
    tracing::error!(path = %path.display(), %error, "the quarantine is damaged; a new one is begun");
    for ending in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.join(format!("{FILE}{ending}")));
    }
    let aside = folder.join(format!("{FILE}.damaged"));
    std::fs::rename(&path, aside).map_err(|error| StoreError::Closed { text: error.to_string() })?;
    Ok(connect(&path)?)
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let db = Connection::open(path)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.execute_batch(TABLES)?;
    Ok(db)
}

fn damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Tells two records apart.
fn key(one: &SetAside) -> i64 {
    let digest = Sha256::new().chain_update(&one.place).chain_update([0]).chain_update(&one.what).finalize();
    digest.first_chunk::<8>().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

/// Removes the oldest records of `sink` above its bounds; how many.
fn bound(transaction: &Transaction<'_>, sink: &str) -> Result<u64, rusqlite::Error> {
    let mut gone = 0_u64;
    loop {
        let (count, bytes): (u64, Option<u64>) = transaction.query_row(
            "SELECT count(*), sum(octet_length(what) + octet_length(place) + octet_length(why)) FROM records WHERE sink = ?",
            [sink],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        if count <= RECORDS_MAX && bytes.unwrap_or(0) <= BYTES_MAX {
            return Ok(gone);
        }
        // A few more than have to, so that this is not counted again for each.
        let most = count.saturating_sub(RECORDS_MAX).max(count / 100).max(1);
        let removed = transaction.execute(
            "DELETE FROM records WHERE id IN (SELECT id FROM records WHERE sink = ? ORDER BY id LIMIT ?)",
            params![sink, most],
        )?;
        gone = gone.saturating_add(u64::try_from(removed).unwrap_or(0));
    }
}

/// What the file of `folder` says of `sink`, 0 without one.
///
/// # Errors
/// The disk refuses.
pub fn count(folder: &Path, sink: &str) -> Result<u64, StoreError> {
    Quarantine::open(folder, Make::No)?.map_or(Ok(0), |open| open.count(sink))
}

impl Quarantine {
    /// The sinks that have records here.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn has_any(&self) -> Result<bool, StoreError> {
        let found: Option<i64> =
            self.db.query_row("SELECT 1 FROM records LIMIT 1", [], |row| row.get(0)).optional()?;
        Ok(found.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(number: u64, bytes: usize) -> SetAside {
        let what = format!("{number} {}", "x".repeat(bytes));
        let (place, why) = (String::new(), "unable to parse".to_owned());
        let at = Timestamp::from_millis(i64::try_from(number).unwrap());
        SetAside { id: 0, sink: String::new(), at, records: 1, place, what, why, again: false }
    }

    #[test]
    fn records_are_kept_once_sent_again_and_settled() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Quarantine::open(folder.path(), Make::No).unwrap().is_none());
        let mut kept = Quarantine::open(folder.path(), Make::Yes).unwrap().unwrap();
        kept.put("tsdb", &[one(1, 0), one(2, 0), one(1, 0)]).unwrap();
        kept.put("broker", &[one(1, 0)]).unwrap();
        // Another process, at the same time.
        let mut other = Quarantine::open(folder.path(), Make::No).unwrap().unwrap();
        assert_eq!((other.count("tsdb").unwrap(), other.count("broker").unwrap()), (2, 1));
        assert_eq!(other.due("tsdb", 10).unwrap(), []);
        assert_eq!(other.send_again(Some("tsdb"), None).unwrap(), 2);
        let due = kept.due("tsdb", 10).unwrap();
        kept.settle(&[due[0].id], &[(due[1].id, "again".to_owned())]).unwrap();
        let left = other.list(None, 0, 10).unwrap();
        assert_eq!(left.len(), 2);
        assert_eq!((left[0].why.as_str(), left[0].again, left[0].what.as_str()), ("again", false, "2 "));
        assert_eq!(other.delete(None, Some(left[1].id)).unwrap(), 1);
        assert!(kept.has_any().unwrap());
        assert_eq!(other.delete(Some("tsdb"), None).unwrap(), 1);
        assert!(!kept.has_any().unwrap());
    }

    #[test]
    fn the_oldest_go_first_and_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Quarantine::open(folder.path(), Make::Yes).unwrap().unwrap();
        let many: Vec<_> = (0..RECORDS_MAX + 5).map(|number| one(number, 0)).collect();
        let gone = kept.put("tsdb", &many).unwrap();
        assert_eq!(gone, 100);
        assert_eq!(kept.list(None, 0, 1).unwrap()[0].what, "100 ");
        let large: Vec<_> = (0..9).map(|number| one(number, 8 << 20)).collect();
        assert!(kept.put("broker", &large).unwrap() >= 1);
        let left = kept.list(Some("broker"), 0, 100).unwrap();
        assert!(left.iter().map(|one| one.what.len()).sum::<usize>() <= 64 << 20 && left.len() >= 7);
    }

    #[test]
    fn a_damaged_file_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "no database, and longer than a page ".repeat(200)).unwrap();
        let mut kept = Quarantine::open(folder.path(), Make::Yes).unwrap().unwrap();
        kept.put("tsdb", &[one(1, 0)]).unwrap();
        assert!(folder.path().join("quarantine.db.damaged").exists());
    }

    #[test]
    fn damage_behind_the_head_stops_no_sink_either() {
        let folder = tempfile::tempdir().unwrap();
        let many: Vec<_> = (0..2000).map(|number| one(number, 100)).collect();
        Quarantine::open(folder.path(), Make::Yes).unwrap().unwrap().put("tsdb", &many).unwrap();
        let file = folder.path().join(FILE);
        let mut bytes = std::fs::read(&file).unwrap();
        // All but the pages that say what tables there are.
        bytes[3 * 4096..].fill(0xA5);
        std::fs::write(&file, bytes).unwrap();
        let mut kept = Quarantine::open(folder.path(), Make::Yes).unwrap().unwrap();
        kept.put("tsdb", &[one(9999, 0)]).unwrap();
        assert!(folder.path().join("quarantine.db.damaged").exists());
        assert_eq!(kept.list(None, 0, 10).unwrap().len(), 1);
    }
}
