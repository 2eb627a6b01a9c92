//! Opens the journal's file: lock, format version, settings of SQLite, tables.
//!
//! In: a folder. Out: a connection to a file of our format.
//! Invariant: a second instance and a newer file change nothing; the tables appear in one transaction or not at all.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::clock::Timestamp;
use crate::journal::aside::root;
use crate::journal::record::Record;
use crate::journal::segments::{Segments, Shelf};
use crate::journal::tail::Tail;
use crate::journal::write::BLOCK;
use crate::journal::{Journal, OpenError, Settings, StoreError, Wear, chunks, mend, segments};

/// Name of the database in the journal's folder.
pub(crate) const FILE: &str = "journal.db";
/// Name of the file that carries the OS lock; its presence means nothing.
pub(crate) const LOCK: &str = "lifeline.lock";
/// The write-ahead log is cut back to this size after a checkpoint, in bytes.
pub(crate) const WAL_BYTES: u64 = 8 << 20;

/// "LFLN": what `file` shows and what keeps us from writing into another program's database.
const APPLICATION: i32 = 0x4C46_4C4E;
const FORMAT: i64 = 4;
/// Bytes of a page of a new file. A group of a second dirties few of them, and each goes to the disk twice: small ones waste less.
pub(crate) const PAGE_BYTES: i64 = 512;
/// How long another connection's lock is waited for.
const BUSY: Duration = Duration::from_secs(2);

/// `commits.site` is `sites.id`. `earliest` and `latest` are times of readings; NULL without readings.
/// A row of `blocks` covers `BLOCK` commits, and is written with the last of them.
const TABLES: &str = "
CREATE TABLE commits (
    seq INTEGER PRIMARY KEY, now INTEGER NOT NULL, site INTEGER NOT NULL, readings INTEGER NOT NULL,
    earliest INTEGER, latest INTEGER, blob BLOB);
CREATE TABLE blocks (block INTEGER PRIMARY KEY, earliest INTEGER, latest INTEGER);
CREATE TABLE sites (
    id INTEGER PRIMARY KEY, version TEXT NOT NULL UNIQUE, catalog TEXT, documents TEXT, at INTEGER NOT NULL);
CREATE TABLE transitions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL, rule TEXT NOT NULL, at INTEGER NOT NULL,
    json TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE INDEX transitions_rule ON transitions (rule);
CREATE TABLE states (rule TEXT PRIMARY KEY, json TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE progress (
    sink TEXT PRIMARY KEY, json TEXT NOT NULL, crc INTEGER NOT NULL, active INTEGER NOT NULL DEFAULT 1);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO meta VALUES ('made_by', 'lifeline');
";

/// What format 2 has beside format 1.
const AUDITS: &str = "
CREATE TABLE audits (
    id INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL, device TEXT NOT NULL, at INTEGER NOT NULL,
    json TEXT NOT NULL, crc INTEGER NOT NULL);
";

/// What format 3 has beside format 2: readings taken before the clock was trusted. `origin` is the start of the box in the time of the readings.
const UNDATED: &str = "
CREATE TABLE undated (
    id INTEGER PRIMARY KEY, boot TEXT NOT NULL, origin INTEGER NOT NULL, now INTEGER NOT NULL,
    site INTEGER NOT NULL, readings INTEGER NOT NULL, blob BLOB NOT NULL);
";

/// What format 4 has beside format 3: most readings stand in segments. `place` is `generation << 32 | offset` of the record, which is `bytes` long.
const PLACES: &str = "
ALTER TABLE commits ADD COLUMN place INTEGER;
ALTER TABLE commits ADD COLUMN bytes INTEGER;
INSERT INTO meta VALUES ('segments', lower(hex(randomblob(8))));
";

/// Check sum of a text row under its key.
pub(crate) fn text_sum(key: &str, json: &str) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(key.as_bytes());
    sum.update(&[0]);
    sum.update(json.as_bytes());
    sum.finalize()
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Refused { source },
        }
    }
}

impl Journal {
    /// Whether nobody has the journal of this folder open for writing. What a folder can't do is told by opening it.
    ///
    /// # Errors
    /// Another lifeline is running on it.
    pub fn is_free(path: &Path) -> Result<(), OpenError> {
        match lock(path) {
            Err(error @ OpenError::Locked { .. }) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Opens or creates the journal in `settings.path`.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing on disk is changed then.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let lock = lock(&settings.path)?;
        let file = settings.path.join(FILE);
        mend::end_set_aside(&settings.path)
            .map_err(|source| OpenError::Aside { path: settings.path.clone(), source })?;
        check(&settings.path)?;
        let hidden = mend::keep_damaged_log(&settings.path)?;
        let at = |source| OpenError::Store { path: settings.path.clone(), source };
        let mut db = open_write(&file).map_err(at)?;
        let seed = seed(&db).map_err(at)?;
        let mut shelf = Shelf::new(&settings.path, seed);
        let (tail, missing) = find_tail(&db, &mut shelf).map_err(at)?;
        // Those that the log hides are counted already.
        let missing = if hidden > 0 { tail.damaged } else { missing };
        if hidden > 0 {
            leave_numbers(&mut db, hidden, tail.records()).map_err(at)?;
        }
        let last = last(&db).map_err(at)?;
        let rooted = last.map_or(0, |(seq, _)| seq.cast_unsigned());
        let end = tail.end();
        let segments = Segments::open(&settings.path, seed.unwrap_or(0), settings.max_bytes, end);
        let sites = sites(&db).map_err(at)?;
        let page_bytes: i64 = db.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(at)?;
        let page_bytes = page_bytes.cast_unsigned();
        mend::keep_reserve(&settings.path);
        let mut records = tail.into_records();
        records.retain(|record| record.key.seq.unsigned_abs() > rooted);
        let newest = records.last().map(|record| (record.key.seq, Timestamp::from_millis(record.key.now)));
        let last = newest.or(last);
        let number = last.map_or(0, |(seq, _)| seq).max(skipped(&db).map_err(at)?);
        let mut journal = Self {
            db,
            _lock: lock,
            settings: settings.clone(),
            last: number.cast_unsigned(),
            rooted,
            segments,
            tail: records,
            last_now: last.map(|(_, now)| now),
            steady_from: Timestamp::from_millis(i64::MIN),
            sites,
            blob: Vec::new(),
            full: false,
            lost: BTreeMap::new(),
            page_bytes,
            unchecked: 0,
            grown: 0,
            hidden,
            wear: Wear::default(),
            sealed: None,
            undated: true,
            damaged: hidden.saturating_add(missing),
        };
        // Files that held nothing any more at the end of the last run look as if they did.
        journal.release(i64::MAX);
        Ok(journal)
    }

    /// Damaged records found since the last call: transactions in the log, groups that waited for their time.
    pub fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }

    /// Transactions that were lost to damage of the write-ahead log, found when the journal was opened: at most this many commits.
    pub const fn hidden(&self) -> u64 {
        self.hidden
    }

    /// Bytes on disk (all files of the journal).
    pub fn bytes(&self) -> u64 {
        bytes(&self.settings.path)
    }

    /// From now on age and size are bounded by `settings`; the folder stays what it was.
    pub fn resettle(&mut self, settings: &Settings) {
        self.settings = Settings { path: self.settings.path.clone(), ..settings.clone() };
        self.segments.resettle(settings.max_bytes);
    }
}

/// What stands in segments alone, after a stop that gave it no rows. Second: how many commits are missing between them.
///
/// Nothing is written to the database: a transaction whose sync fails would be taken for whole by the next try, out of the kernel's cache.
fn find_tail(db: &Connection, shelf: &mut Shelf) -> rusqlite::Result<(Tail, u64)> {
    let mut tail = Tail::default();
    let before = tail.refresh(db, shelf)?;
    let mut written: Vec<u32> = tail.records().iter().map(|record| record.place.generation).collect();
    written.extend(tail.end().map(|(generation, _)| generation));
    written.dedup();
    written.into_iter().try_for_each(|generation| shelf.sync(generation)).map_err(segments::refused)?;
    let (left_out, mut next, mut missing) = (skipped(db)?, before.saturating_add(1), 0_u64);
    for seq in tail.records().iter().map(|record| record.key.seq) {
        let from = if left_out < seq { next.max(left_out.saturating_add(1)) } else { next };
        missing = missing.saturating_add(seq.saturating_sub(from).unsigned_abs());
        next = seq.saturating_add(1);
    }
    Ok((tail, missing))
}

/// The last number that a damaged log may hide; 0 when it never hid any.
fn skipped(db: &Connection) -> rusqlite::Result<i64> {
    let query = "SELECT value FROM meta WHERE key = 'skipped'";
    let text: Option<String> = db.query_row(query, [], |row| row.get(0)).optional()?;
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// The sum that the journal's segments begin from; `None` for a file of a format without them.
pub(crate) fn seed(db: &Connection) -> rusqlite::Result<Option<u32>> {
    let query = "SELECT value FROM meta WHERE key = 'segments'";
    let name: Option<String> = db.query_row(query, [], |row| row.get(0)).optional()?;
    Ok(name.map(|name| crc32fast::hash(name.as_bytes())))
}

/// Numbers that commits had which the damaged log hides are not used again: the next one opens a new block far enough behind them.
fn leave_numbers(db: &mut Connection, hidden: u64, tail: &[Record]) -> rusqlite::Result<()> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    root(&tx, tail)?;
    let last = last(&tx)?.map_or(0, |(seq, _)| seq);
    let hidden = i64::try_from(hidden).unwrap_or(i64::MAX);
    // A transaction may have given a block of commits their rows.
    let skipped = (last.saturating_add(hidden.saturating_mul(BLOCK)) / BLOCK)
        .saturating_add(1)
        .saturating_mul(BLOCK)
        .saturating_sub(1);
    let block = last / BLOCK;
    tx.execute(
        "INSERT OR REPLACE INTO blocks
         SELECT ?1, min(earliest), max(latest) FROM commits WHERE seq BETWEEN ?2 AND ?3 HAVING count(*) > 0",
        [block, block.saturating_mul(BLOCK), last],
    )?;
    tx.execute("INSERT OR REPLACE INTO meta VALUES ('skipped', ?1)", [skipped.to_string()])?;
    // A commit seldom holds more than a few transitions.
    tx.execute("UPDATE sqlite_sequence SET seq = seq + 100 * ?1", [hidden])?;
    tx.commit()
}

pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let folder = |source| OpenError::Folder { path: path.to_owned(), source };
    let new = !path.exists();
    fs::create_dir_all(path).map_err(folder)?;
    let file = path.join(LOCK);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(file).map_err(folder)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(folder(source)),
    }
    if new && let Some(parent) = path.parent() {
        // Makes the folder's own name durable. Some file systems cannot, and a journal there is better than none.
        let _ = File::open(parent).and_then(|parent| parent.sync_all());
    }
    Ok(lock)
}

/// Refuses a file that is not ours or of a newer version, through a connection that cannot change it.
fn check(path: &Path) -> Result<(), OpenError> {
    let at = |source| OpenError::Store { path: path.to_owned(), source };
    let new = fs::metadata(path.join(FILE)).map_or(true, |found| found.len() == 0);
    // A rollback journal stands there only when the very first start was killed; then there is nothing of ours in the file.
    if new || path.join(format!("{FILE}-journal")).exists() {
        return Ok(());
    }
    let db = connect_read(path).map_err(at)?;
    let things: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(at)?;
    if things == 0 { Ok(()) } else { check_format(path, &db) }
}

/// A read-only connection to the journal in folder `path`, of a version that we know.
pub(crate) fn open_read(path: &Path) -> Result<Connection, OpenError> {
    let db = connect_read(path).map_err(|source| OpenError::Store { path: path.to_owned(), source })?;
    check_format(path, &db)?;
    Ok(db)
}

/// A connection that needs no room on the disk: the index of the log is in its memory, and it moves nothing when it is closed.
pub(crate) fn open_alone(path: &Path) -> Result<Connection, OpenError> {
    let at = |source| OpenError::Store { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path.join(FILE), flags).map_err(at)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(at)?;
    db.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(())).map_err(at)?;
    check_format(path, &db)?;
    Ok(db)
}

fn connect_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path.join(FILE), flags)?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

fn check_format(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let at = |source| OpenError::Store { path: path.to_owned(), source };
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(at)?;
    let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(at)?;
    if application != APPLICATION {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    if found > FORMAT {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    Ok(())
}

fn open_write(file: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(file, flags)?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(32);
    if db.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))? == 0 {
        // Have to be set before anything is written, the switch to WAL included.
        db.pragma_update(None, "page_size", PAGE_BYTES)?;
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    // The journal checkpoints by itself, and counts it.
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES.cast_signed(), |_| Ok(()))?;
    make_log_durable(&db)?;
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if (1..FORMAT).contains(&found) {
        keep_old(&db, file, found);
    }
    if found < FORMAT {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if found == 0 {
            tx.execute_batch(TABLES)?;
            tx.pragma_update(None, "application_id", APPLICATION)?;
        }
        if found < 2 {
            tx.execute_batch(AUDITS)?;
        }
        if found < 3 {
            tx.execute_batch(UNDATED)?;
        }
        tx.execute_batch(PLACES)?;
        // The history beside it knows by this whose numbers it has sealed.
        tx.execute("INSERT OR IGNORE INTO meta VALUES ('id', lower(hex(randomblob(8))))", [])?;
        tx.pragma_update(None, "user_version", FORMAT)?;
        tx.commit()?;
    }
    if seed(&db)?.is_none() {
        // Without it nobody finds what is in segments.
        db.execute("INSERT INTO meta VALUES ('segments', lower(hex(randomblob(8))))", [])?;
    }
    Ok(db)
}

/// Moves the log into the file, and begins it anew. A transaction whose sync failed in an earlier run was never confirmed, but it stands in the
/// kernel's cache, is taken for whole by who opens the log, and would be missing below what is written behind it when the power is cut.
/// Without room in the file the log stays: its syncs did not fail for that.
pub(crate) fn make_log_durable(db: &Connection) -> rusqlite::Result<()> {
    match db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())) {
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => Ok(()),
        moved => moved,
    }
}

/// A copy of a file of an older format, as it was. Where there is no room for it there is none: the change is one transaction.
fn keep_old(db: &Connection, file: &Path, format: i64) {
    let copy = file.with_file_name(format!("before-format-{FORMAT}.db"));
    if copy.exists() {
        return;
    }
    match db.execute("VACUUM INTO ?1", [copy.to_string_lossy()]) {
        Ok(_) => {
            tracing::info!(from = format, to = FORMAT, copy = %copy.display(), "the journal's format is changed")
        }
        Err(error) => {
            tracing::warn!(%error, "no copy of the journal in its old format can be kept");
            let _ = fs::remove_file(copy);
        }
    }
}

/// The journal's own name; empty for a file of an older format.
pub(crate) fn id(db: &Connection) -> rusqlite::Result<String> {
    let query = "SELECT value FROM meta WHERE key = 'id'";
    Ok(db.query_row(query, [], |row| row.get(0)).optional()?.unwrap_or_default())
}

/// Number and `now` of the last commit.
pub(crate) fn last(db: &Connection) -> rusqlite::Result<Option<(i64, Timestamp)>> {
    db.prepare_cached("SELECT seq, now FROM commits ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?))))
        .optional()
}

fn sites(db: &Connection) -> rusqlite::Result<HashMap<String, i64>> {
    let mut query = db.prepare("SELECT version, id FROM sites")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Bytes of all files of the journal in folder `path`, its history included.
pub(crate) fn bytes(path: &Path) -> u64 {
    let length = |name: String| fs::metadata(path.join(name)).map_or(0, |found| found.len());
    let own: u64 = ["", "-wal", "-shm"].into_iter().map(|suffix| length(format!("{FILE}{suffix}"))).sum();
    own.saturating_add(segments::bytes(path)).saturating_add(chunks::bytes(path))
}
