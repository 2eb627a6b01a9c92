//! The writer: one connection, one transaction for each group.
//!
//! In: groups. Out: their numbers. Invariant: a group is there whole or not at all; after a refusal the same writer goes on.
//! Source: SQLite "Write-Ahead Logging", "PRAGMA synchronous=FULL".

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::clock::Timestamp;
use crate::journal::{Group, OpenError, Progress, Seq, Settings, StoreError, blob};
use crate::point::Catalog;

/// Format of the file, in `PRAGMA user_version`.
pub(crate) const FORMAT: i64 = 1;
/// Name of the file in the journal's folder.
pub(crate) const FILE: &str = "journal.db";
/// Rows removed in one transaction.
const TRIM_ROWS: u64 = 1000;

const TABLES: &str = "
CREATE TABLE sites(id INTEGER PRIMARY KEY, version TEXT UNIQUE NOT NULL, catalog TEXT NOT NULL, documents TEXT NOT NULL, at INTEGER NOT NULL);
CREATE TABLE commits(seq INTEGER PRIMARY KEY, now INTEGER NOT NULL, site TEXT NOT NULL, first INTEGER, last INTEGER, readings INTEGER NOT NULL, blob BLOB);
CREATE INDEX commits_last ON commits(last);
CREATE TABLE transitions(id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, json TEXT NOT NULL);
CREATE TABLE states(rule TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE progress(sink TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES('last', 0), ('now', 0);
";

/// The writer. One for each folder, held by an OS lock.
#[derive(Debug)]
pub struct Journal {
    store: Connection,
    settings: Settings,
    last: Seq,
    bytes: Vec<u8>,
    _lock: File,
}

impl Journal {
    /// Opens or creates the journal in `settings.path`.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing on disk is changed then.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let path = settings.path.clone();
        let folder = |source| OpenError::Folder { path: path.clone(), source };
        std::fs::create_dir_all(&path).map_err(folder)?;
        let lock = File::options().create(true).append(true).open(path.join("lifeline.lock")).map_err(folder)?;
        lock.try_lock().map_err(|_| OpenError::Locked { path: path.clone() })?;
        let failed = |source| OpenError::Store { path: path.clone(), source };
        let mut store = Connection::open(path.join(FILE)).map_err(failed)?;
        let found: i64 = store.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        if FORMAT < found {
            return Err(OpenError::Newer { path, found, known: FORMAT });
        }
        prepare(&mut store, found == 0).map_err(failed)?;
        let last = store.query_row("SELECT value FROM meta WHERE key = 'last'", [], |row| row.get(0)).map(Seq).map_err(failed)?;
        Ok(Self { store, settings: settings.clone(), last, bytes: Vec::new(), _lock: lock })
    }

    /// Keeps a version of the site: its catalog and the text of its documents. Idempotent.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_site(&mut self, catalog: &Catalog, documents: &[(String, String)], now: Timestamp) -> Result<(), StoreError> {
        let (names, texts) = (serde_json::to_string(catalog)?, serde_json::to_string(documents)?);
        let sql = "INSERT OR IGNORE INTO sites(version, catalog, documents, at) VALUES(?1, ?2, ?3, ?4)";
        self.store.execute(sql, params![catalog.version, names, texts, now.as_millis()])?;
        Ok(())
    }

    /// Commits one group, durable when it returns.
    ///
    /// # Errors
    /// Nothing of the group is stored then; the same journal goes on when the disk is back.
    pub fn commit(&mut self, group: &Group) -> Result<Seq, StoreError> {
        let seq = Seq(self.last.0 + 1);
        let readings = || group.batches.iter().flat_map(|batch| &batch.readings);
        let first = readings().map(|reading| reading.at.as_millis()).min();
        let last = readings().map(|reading| reading.at.as_millis()).max();
        if first.is_some() {
            blob::emit(seq, &group.batches, &mut self.bytes);
        }
        let bytes = first.is_some().then_some(self.bytes.as_slice());
        let transaction = self.store.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let count = i64::try_from(readings().count()).unwrap_or(i64::MAX);
            let sql = "INSERT INTO commits(seq, now, site, first, last, readings, blob) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let row = params![seq.0, group.now.as_millis(), group.version, first, last, count, bytes];
            transaction.prepare_cached(sql)?.execute(row)?;
            let mut insert = transaction.prepare_cached("INSERT INTO transitions(seq, rule, json) VALUES(?1, ?2, ?3)")?;
            for transition in &group.transitions {
                insert.execute(params![seq.0, transition.alarm.rule, serde_json::to_string(transition)?])?;
            }
            let mut keep = transaction.prepare_cached("INSERT OR REPLACE INTO states(rule, json) VALUES(?1, ?2)")?;
            for (rule, state) in &group.states {
                keep.execute(params![rule, serde_json::to_string(state)?])?;
            }
            let mut moved = transaction.prepare_cached("INSERT OR REPLACE INTO progress(sink, json) VALUES(?1, ?2)")?;
            for (sink, progress) in &group.progress {
                moved.execute(params![sink, serde_json::to_string(progress)?])?;
            }
            let mut meta = transaction.prepare_cached("UPDATE meta SET value = ?2 WHERE key = ?1")?;
            meta.execute(params!["last", seq.0])?;
            meta.execute(params!["now", group.now.as_millis()])?;
        }
        transaction.commit()?;
        self.last = seq;
        Ok(seq)
    }

    /// Removes what is over age or size: telemetry, oldest first; what a sink had not confirmed is returned as readings lost, by sink.
    /// Transitions and states stay.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn trim(&mut self, now: Timestamp) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut lost = BTreeMap::new();
        let oldest_kept = now.minus(self.settings.keep).as_millis();
        let by_age: Option<u64> = self
            .store
            .query_row("SELECT max(seq) FROM commits WHERE last < ?1", [oldest_kept], |row| row.get(0))
            .optional()?
            .flatten();
        if let Some(upto) = by_age {
            self.remove(Seq(upto), &mut lost)?;
        }
        while self.settings.max_bytes < self.used()? {
            let first: Option<u64> = self.store.query_row("SELECT min(seq) FROM commits", [], |row| row.get(0))?;
            let Some(first) = first.filter(|first| *first < self.last.0) else { break };
            self.remove(Seq((first + TRIM_ROWS).min(self.last.0 - 1)), &mut lost)?;
        }
        Ok(lost)
    }

    fn remove(&mut self, upto: Seq, lost: &mut BTreeMap<String, u64>) -> Result<(), StoreError> {
        let progress = crate::journal::reader::progress(&self.store)?;
        loop {
            let transaction = self.store.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let end: Option<u64> = transaction.query_row(
                "SELECT max(seq) FROM (SELECT seq FROM commits WHERE seq <= ?1 ORDER BY seq LIMIT ?2)",
                [upto.0, TRIM_ROWS],
                |row| row.get(0),
            )?;
            let Some(end) = end else { return Ok(()) };
            for (sink, progress) in &progress {
                let sum = undelivered(&transaction, progress, Seq(end))?;
                if sum > 0 {
                    *lost.entry(sink.clone()).or_default() += sum;
                }
            }
            transaction.execute("DELETE FROM commits WHERE seq <= ?1", [end])?;
            transaction.commit()?;
            let mut vacuum = self.store.prepare_cached("PRAGMA incremental_vacuum(10000)")?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
        }
    }

    /// Bytes of the store without its free pages.
    fn used(&self) -> Result<u64, StoreError> {
        let pragma = |name: &str| self.store.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, u64>(0));
        Ok((pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?)
    }
}

fn undelivered(store: &Connection, progress: &Progress, end: Seq) -> Result<u64, StoreError> {
    let sql = "SELECT coalesce(sum(readings), 0) FROM commits WHERE seq >= ?1 AND seq < ?2 AND seq <= ?3";
    let mut sum = 0;
    for (from, to) in progress.gaps.iter().map(|gap| (gap.from.0, gap.to.0)).chain([(progress.live.0 + 1, end.0 + 1)]) {
        sum += store.prepare_cached(sql)?.query_row([from, to.max(from), end.0], |row| row.get::<_, u64>(0))?;
    }
    Ok(sum)
}

fn prepare(store: &mut Connection, fresh: bool) -> Result<(), rusqlite::Error> {
    if fresh {
        store.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    }
    store.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 16777216;")?;
    store.busy_timeout(std::time::Duration::from_secs(2))?;
    if fresh {
        let transaction = store.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Sizes of the journal's files.
pub(crate) fn bytes_on_disk(folder: &Path) -> u64 {
    let names = [FILE.to_owned(), format!("{FILE}-wal"), format!("{FILE}-shm")];
    names.iter().filter_map(|name| std::fs::metadata(folder.join(name)).ok()).map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests;
