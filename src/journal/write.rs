//! Commits: one group, one record or transaction, one sync.
//!
//! In: groups, site versions, the sinks of the settings. Out: their numbers, once they are durable.
//! Invariant: a refused commit leaves nothing behind, neither in the file nor in memory.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::alarm::{RuleState, Transition};
use crate::clock::Timestamp;
use crate::journal::aside::root;
use crate::journal::date::store_undated;
use crate::journal::store::text_sum;
use crate::journal::{Audit, Group, Journal, Progress, Seq, StoreError, blob};
use crate::point::Catalog;
use crate::reading::Batch;

/// What a commit's row takes beside its blob, in bytes, about.
pub(crate) const ROW_BYTES: u64 = 32;
/// What a text and its place in an index put into the log, about.
const TEXT_BYTES: u64 = 4096;
/// The write-ahead log is moved into the file when it has about this many bytes.
const LOG_BYTES: u64 = 4 << 20;

/// Commits that one row of `blocks` covers.
pub(crate) const BLOCK: i64 = 64;
/// A clock that moves by more than this between two commits, in milliseconds, is not trusted for as long.
pub(crate) const JUMP_MS: i64 = 3_600_000;

impl Journal {
    /// Keeps a version of the site: its catalog and the text of its documents. Idempotent.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_site(
        &mut self,
        catalog: &Catalog,
        documents: &[(String, String)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (names, texts) = (json(catalog), json(&documents));
        let id = write(&mut self.db, |tx| {
            // The update fills a version that a commit came to know first, and heals a damaged row.
            tx.prepare_cached(
                "INSERT INTO sites (version, catalog, documents, at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (version) DO UPDATE SET catalog = excluded.catalog, documents = excluded.documents
                 WHERE catalog IS NOT excluded.catalog OR documents IS NOT excluded.documents",
            )?
            .execute(params![catalog.version, names, texts, now.as_millis()])?;
            tx.query_row("SELECT id FROM sites WHERE version = ?1", [&catalog.version], |row| row.get(0))
        })?;
        self.sites.insert(catalog.version.clone(), id);
        Ok(())
    }

    /// Names the sinks that data is kept for. A new one starts with nothing delivered; the progress of one that is not named
    /// stays, but nothing waits for it any more. Without this call every sink that ever moved counts.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_sinks(&mut self, names: &[String]) -> Result<(), StoreError> {
        let fresh = json(&Progress::default());
        write(&mut self.db, |tx| {
            tx.execute("UPDATE progress SET active = 0", [])?;
            for name in names {
                tx.execute(
                    "INSERT INTO progress (sink, json, crc) VALUES (?1, ?2, ?3)
                     ON CONFLICT (sink) DO UPDATE SET active = 1",
                    params![name, fresh, text_sum(name, &fresh)],
                )?;
            }
            Ok(())
        })
    }

    /// Keeps what a restart needs, outside of any group.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remember(&mut self, memories: &[(String, String)]) -> Result<(), StoreError> {
        write(&mut self.db, |tx| memories.iter().try_for_each(|(key, text)| store_memory(tx, key, text)))
    }

    /// Commits one group, durable when it returns.
    ///
    /// # Errors
    /// Nothing of the group is stored then; the same journal goes on when the disk is back.
    pub fn commit(&mut self, group: &Group) -> Result<Seq, StoreError> {
        let seq = self.last.saturating_add(1);
        let known = self.sites.get(&group.version).copied();
        if let Some(site) = known
            && self.commit_aside(seq, site, group)
        {
            self.full = false;
            self.committed(seq, group.now);
            return Ok(Seq(seq));
        }
        let Self { db, blob, tail, .. } = self;
        let stored = write(db, |tx| {
            root(tx, tail)?;
            let site = match known {
                Some(site) => site,
                None => new_site(tx, group)?,
            };
            store(tx, seq.cast_signed(), site, group, blob)?;
            Ok(site)
        });
        self.full = matches!(stored, Err(StoreError::Full));
        let site = stored?;
        self.undated |= group.undated.is_some();
        self.rooted(seq);
        self.wrote(group);
        if known.is_none() {
            self.sites.insert(group.version.clone(), site);
        }
        self.committed(seq, group.now);
        Ok(Seq(seq))
    }

    /// The last commit is number `seq`.
    fn committed(&mut self, seq: u64, now: Timestamp) {
        self.last = seq;
        let before = self.last_now.replace(now).unwrap_or(now);
        if now.as_millis().abs_diff(before.as_millis()) > JUMP_MS.unsigned_abs() {
            self.steady_from = now.shifted(JUMP_MS);
        }
    }
}

/// Times of the earliest and the latest reading.
pub(crate) fn times(batches: &[Batch]) -> (Option<i64>, Option<i64>) {
    let times = || batches.iter().flat_map(|batch| &batch.readings).map(|reading| reading.at.as_millis());
    (times().min(), times().max())
}

pub(crate) fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl Journal {
    /// Counts what a commit wrote, and moves the log into the file when it is long enough.
    fn wrote(&mut self, group: &Group) {
        let encoded =
            if group.batches.iter().all(|batch| batch.readings.is_empty()) { 0 } else { self.blob.len() };
        let encoded = u64::try_from(encoded).unwrap_or(u64::MAX);
        self.wear.encoded = self.wear.encoded.saturating_add(encoded);
        self.wear.syncs = self.wear.syncs.saturating_add(1);
        self.grown = self.grown.saturating_add(encoded).saturating_add(ROW_BYTES);
        // The pages with the row's place, the file's head and its map change beside the page with the blob.
        let texts =
            group.transitions.len().saturating_add(group.audits.len()).saturating_add(group.states.len());
        let texts = u64::try_from(texts).unwrap_or(u64::MAX).saturating_mul(TEXT_BYTES.max(self.page_bytes));
        self.unchecked =
            self.unchecked.saturating_add(encoded).saturating_add(4 * self.page_bytes).saturating_add(texts);
        self.checkpoint();
    }

    /// Moves the log into the file once it is about [`LOG_BYTES`] long. Nothing depends on it: a refusal is tried again with the next commit.
    pub(crate) fn checkpoint(&mut self) {
        if self.unchecked < LOG_BYTES {
            return;
        }
        let moved = self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(2));
        if moved.is_ok_and(|pages| pages > 0) {
            // The log before, the file after.
            self.wear.syncs = self.wear.syncs.saturating_add(2);
            self.unchecked = 0;
        }
    }
}

/// Runs `work` in a transaction of its own; an error at any step, the commit included, leaves none open.
pub(crate) fn write<T>(
    db: &mut Connection,
    work: impl FnOnce(&Transaction) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    if !db.is_autocommit() {
        // A roll back that failed together with its commit; the disk may be back now.
        db.execute_batch("ROLLBACK")?;
    }
    // Dropped without success, a transaction is rolled back, unless SQLite has done so already.
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = work(&tx)?;
    tx.commit()?;
    Ok(value)
}

/// A version that `keep_site` was not told of yet; its names come later.
fn new_site(tx: &Transaction, group: &Group) -> rusqlite::Result<i64> {
    tx.execute(
        "INSERT INTO sites (version, at) VALUES (?1, ?2)",
        params![group.version, group.now.as_millis()],
    )?;
    Ok(tx.last_insert_rowid())
}

fn store(tx: &Transaction, seq: i64, site: i64, group: &Group, bytes: &mut Vec<u8>) -> rusqlite::Result<()> {
    let now = group.now.as_millis();
    let readings = count(&group.batches);
    let key = blob::Key { seq, now, site, readings };
    match &group.undated {
        Some(boot) if readings > 0 => {
            store_undated(tx, boot, key, &group.batches, bytes)?;
            store_commit(tx, blob::Key { readings: 0, ..key }, &[], bytes)?;
        }
        _ => store_commit(tx, key, &group.batches, bytes)?,
    }
    for transition in &group.transitions {
        store_transition(tx, seq, transition)?;
    }
    for audit in &group.audits {
        store_audit(tx, seq, audit)?;
    }
    for (rule, state) in &group.states {
        store_state(tx, rule, state)?;
    }
    for (sink, progress) in &group.progress {
        store_progress(tx, sink, progress)?;
    }
    for (key, text) in &group.memories {
        store_memory(tx, key, text)?;
    }
    Ok(())
}

pub(crate) fn count(batches: &[Batch]) -> i64 {
    let readings = batches.iter().fold(0_usize, |sum, batch| sum.saturating_add(batch.readings.len()));
    i64::try_from(readings).expect("no count in memory exceeds 63 bits")
}

/// Stores a commit's own row, and with the last of a block the block's.
pub(crate) fn store_commit(
    tx: &Transaction,
    key: blob::Key,
    batches: &[Batch],
    bytes: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    let body = if key.readings == 0 {
        None
    } else {
        blob::emit(key, batches, bytes);
        Some(bytes.as_slice())
    };
    let seq = key.seq;
    let (earliest, latest) = times(batches);
    tx.prepare_cached(
        "INSERT INTO commits (seq, now, site, readings, earliest, latest, blob) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        seq,
        key.now,
        key.site,
        key.readings,
        earliest,
        latest,
        body
    ])?;
    if seq % BLOCK == BLOCK - 1 {
        let from = seq - (BLOCK - 1);
        tx.prepare_cached(
            "INSERT OR REPLACE INTO blocks
             SELECT ?1, min(earliest), max(latest) FROM commits WHERE seq BETWEEN ?2 AND ?3",
        )?
        .execute([seq / BLOCK, from, seq])?;
    }
    Ok(())
}

fn store_transition(tx: &Transaction, seq: i64, transition: &Transition) -> rusqlite::Result<()> {
    let rule = &transition.alarm.rule;
    let text = json(transition);
    tx.prepare_cached("INSERT INTO transitions (seq, rule, at, json, crc) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![seq, rule, transition.at.as_millis(), text, text_sum(rule, &text)])
        .map(drop)
}

fn store_audit(tx: &Transaction, seq: i64, audit: &Audit) -> rusqlite::Result<()> {
    let text = json(audit);
    tx.prepare_cached("INSERT INTO audits (seq, device, at, json, crc) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![seq, audit.device, audit.at.as_millis(), text, text_sum(&audit.device, &text)])
        .map(drop)
}

pub(crate) fn store_state(tx: &Transaction, rule: &str, state: &RuleState) -> rusqlite::Result<()> {
    let text = json(state);
    tx.prepare_cached("INSERT OR REPLACE INTO states VALUES (?1, ?2, ?3)")?
        .execute(params![rule, text, text_sum(rule, &text)])
        .map(drop)
}

pub(crate) fn store_progress(tx: &Transaction, sink: &str, progress: &Progress) -> rusqlite::Result<()> {
    let text = json(progress);
    tx.prepare_cached(
        "INSERT INTO progress (sink, json, crc) VALUES (?1, ?2, ?3)
         ON CONFLICT (sink) DO UPDATE SET json = excluded.json, crc = excluded.crc",
    )?
    .execute(params![sink, text, text_sum(sink, &text)])
    .map(drop)
}

/// Kept in `meta`, which every format has, behind a check sum.
fn store_memory(tx: &Transaction, key: &str, text: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value
         WHERE value IS NOT excluded.value",
    )?
    .execute(params![format!("memory/{key}"), format!("{:08x} {text}", text_sum(key, text))])
    .map(drop)
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain structs without maps always have a JSON text")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::journal::{Reader, Settings, Span};
    use crate::point::{DeviceId, PointId};
    use crate::reading::{Batch, Reading, Sample};

    fn open(path: &std::path::Path) -> Journal {
        let day = Duration::from_secs(86_400);
        Journal::open(&Settings { path: path.into(), commit_every: day, keep: day, max_bytes: 1 << 30 })
            .unwrap()
    }

    /// Numbers that do not compress, so that pages fill.
    fn group(seed: u32, readings: u32) -> Group {
        let at = Timestamp::from_millis(1_700_000_000_000 + i64::from(seed));
        let sample = |point| Sample::Good(f64::from(point + seed) * std::f64::consts::PI);
        let readings =
            (0..readings).map(|point| Reading { point: PointId(point), at, sample: sample(point) });
        let batch = Batch { device: DeviceId(0), start: at, end: at, readings: readings.collect() };
        Group { now: at, version: format!("version-{}", seed / 8), batches: vec![batch], ..Group::default() }
    }

    /// Everything that a reader finds is exactly `groups`.
    fn check(path: &std::path::Path, groups: &[Group]) {
        let reader = Reader::open(path).unwrap();
        let (stored, _, damaged) =
            reader.groups(Span { from: Seq(0), to: Seq(u64::MAX) }, usize::MAX).unwrap();
        assert_eq!(damaged, 0);
        assert_eq!(stored.len(), groups.len());
        for ((stored, group), seq) in stored.iter().zip(groups).zip(1..) {
            assert_eq!((stored.seq, &stored.batches), (Seq(seq), &group.batches));
            assert_eq!((stored.now, &stored.catalog.version), (group.now, &group.version));
        }
    }

    #[test]
    fn a_full_database_gets_the_room_of_a_spare_segment() {
        let folder = tempfile::tempdir().unwrap();
        let segment = folder.path().join("segments/0000000007");
        std::fs::create_dir(folder.path().join("segments")).unwrap();
        std::fs::write(&segment, vec![0; 1 << 20]).unwrap();
        let mut journal = open(folder.path());
        journal.commit(&group(0, 10)).unwrap();
        let pages: i64 = journal.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        journal.db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        assert!(matches!(journal.commit(&group(8, 300)), Err(StoreError::Full)));
        journal.trim(group(8, 0).now).unwrap();
        assert!(!segment.exists());
    }

    #[test]
    fn goes_on_when_a_full_disk_has_room_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        let mut groups = Vec::new();
        for round in 0..3 {
            let pages: i64 = journal.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
            journal.db.pragma_update_and_check(None, "max_page_count", pages + 20, |_| Ok(())).unwrap();
            let refused = (round * 1000..).find(|seed| {
                let group = group(*seed, 300);
                match journal.commit(&group) {
                    Ok(seq) => {
                        groups.push(group);
                        assert_eq!(seq, Seq(groups.len().try_into().unwrap()));
                        false
                    }
                    Err(StoreError::Full) => true,
                    Err(other) => panic!("{other}"),
                }
            });
            let mut full = group(refused.unwrap(), 300);
            full.states = vec![("rule".to_owned(), RuleState::default())];
            full.version = format!("first seen on a full disk, {round}");
            assert!(matches!(journal.commit(&full), Err(StoreError::Full)), "still full");
            check(folder.path(), &groups);
            assert_eq!(Reader::open(folder.path()).unwrap().states().unwrap(), []);
            // The same group, its site version and all, once there is room.
            journal.db.pragma_update_and_check(None, "max_page_count", pages * 9, |_| Ok(())).unwrap();
            full.states.clear();
            journal.commit(&full).unwrap();
            groups.push(full);
            check(folder.path(), &groups);
        }
        drop(journal);
        assert_eq!(open(folder.path()).commit(&group(0, 1)).unwrap(), Seq(groups.len() as u64 + 1));
    }

    #[test]
    fn a_commit_that_fails_at_its_end_leaves_nothing_open() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        journal.commit(&group(0, 3)).unwrap();
        // A deferred constraint fails at COMMIT, and SQLite leaves that transaction open.
        journal
            .db
            .execute_batch(
                "PRAGMA foreign_keys = ON;
                 CREATE TEMP TABLE parent (id INTEGER PRIMARY KEY);
                 CREATE TEMP TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
                 CREATE TEMP TRIGGER orphan AFTER INSERT ON main.commits BEGIN INSERT INTO child VALUES (1); END;",
            )
            .unwrap();
        let memories = vec![("what only the database takes".to_owned(), String::new())];
        let refused = Group { memories, ..group(1, 3) };
        assert!(matches!(journal.commit(&refused), Err(StoreError::Refused { .. })));
        assert!(journal.db.is_autocommit());
        check(folder.path(), &[group(0, 3)]);
        // And one that even the roll back did not end.
        journal.db.execute_batch("DROP TRIGGER orphan; BEGIN IMMEDIATE; DELETE FROM commits").unwrap();
        assert_eq!(journal.commit(&refused).unwrap(), Seq(2));
        check(folder.path(), &[group(0, 3), group(1, 3)]);
    }
}
