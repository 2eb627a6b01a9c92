//! The history: `history.db` beside the journal, one row for each chunk of a point's readings.
//!
//! In: the commits of the journal, in order. Out: chunks by point and time.
//! Invariant: `sealed` moves in the transaction of the chunks that it stands for, so that each reading is in the history once; what is not
//! sealed is in the journal.
//! Source: DESIGN section 4; `docs/decisions/0009-history-in-chunks.md`.
//!
//! A chunk grows until it is full: a sealing takes the last one of a point up again while it is no longer than what comes. What is read by time is
//! found by the chunk's times.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::clock::Timestamp;
use crate::journal::mend::is_damage;
use crate::journal::store::{PAGE_BYTES, make_log_durable};
use crate::journal::{Reader, Seq, Settings, Span, StoreError, chunk};
use crate::point::{Catalog, PointId};
use crate::reading::Reading;

/// Name of the file.
pub(crate) const FILE: &str = "history.db";
/// A chunk with this many readings is full.
const FULL: i64 = 16_384;
/// A chunk with this many readings stays as it is where as many come at once: they make another as good, without writing the first again.
const ENOUGH: usize = 3000;
/// Readings a point that are worth a sealing: each sealing writes the last chunk of every point again.
const WORTH: u64 = 256;
/// What has waited for this long is sealed however little it is, in milliseconds.
const WAIT_MS: i64 = 86_400_000;
/// A journal with this part of all bytes waits for nothing: beside a full history and a full log there may be no more room.
const TIGHT: u64 = 16;
/// Readings in memory at most while sealing, about.
const READINGS_MAX: u64 = 200_000;
/// Readings that one call seals, about.
const CALL_MAX: u64 = 4_000_000;
/// Readings of one page of commits.
const PAGE: usize = 20_000;
const BUSY: Duration = Duration::from_secs(5);
/// Format 1 has no chunks of decimals; they are read alike.
const FORMAT: i64 = 2;
/// "LFLH".
const APPLICATION: i32 = 0x4C46_4C48;

const TABLES: &str = "
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY, site INTEGER NOT NULL, point INTEGER NOT NULL, t0 INTEGER NOT NULL, t1 INTEGER NOT NULL,
    readings INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE INDEX chunks_time ON chunks (site, point, t1, t0);
CREATE TABLE sites (id INTEGER PRIMARY KEY, version TEXT NOT NULL UNIQUE, catalog TEXT NOT NULL);
CREATE TABLE sealed (journal TEXT PRIMARY KEY, seq INTEGER NOT NULL);
";

/// The one who seals.
pub struct Sealer {
    db: Connection,
    reader: Reader,
    path: PathBuf,
    /// Whose numbers are sealed: a new journal begins with 1 again.
    journal: String,
}

/// Readings of one point under one version of the site.
type Columns = BTreeMap<(Arc<str>, PointId), Vec<Reading>>;
/// Names, by version of the site.
type Catalogs = HashMap<Arc<str>, Arc<Catalog>>;

impl Sealer {
    /// Opens or makes the history beside the journal in folder `path`. A history that cannot be used is moved to `damaged-history.db`.
    ///
    /// # Errors
    /// The disk refuses, or the history is of a newer format; nothing is changed then.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let reader = Reader::open(path).map_err(crate::journal::OpenError::into_store)?;
        let file = path.join(FILE);
        refuse_newer(&file)?;
        let db = match open_write(&file) {
            Err(error) if is_damage(&error) => {
                tracing::error!(%error, "the history is damaged and was moved aside; a new one is begun from what the journal has");
                let _ = fs::rename(&file, path.join(format!("damaged-{FILE}")));
                open_write(&file)?
            }
            db => db?,
        };
        let journal = reader.id()?;
        Ok(Self { db, reader, path: path.to_owned(), journal })
    }

    /// The last commit whose readings are in the history.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn sealed(&self) -> Result<Seq, StoreError> {
        Ok(Seq(sealed(&self.db, &self.journal)?.cast_unsigned()))
    }

    /// Whether what waits up to `to` is worth a sealing: 256 readings for each of `points`, any that have waited for a day at `now`, or any that the
    /// journal's age or size may cut soon.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn is_worth(
        &self,
        to: Seq,
        points: usize,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let from = Seq(self.sealed()?.0.saturating_add(1));
        let wanted = WORTH.saturating_mul(u64::try_from(points).unwrap_or(u64::MAX));
        let Some(since) = self.reader.first(from, to)? else { return Ok(false) };
        let wait_ms = i64::try_from(settings.keep.as_millis() / 4).map_or(WAIT_MS, |part| part.min(WAIT_MS));
        if now.as_millis().saturating_sub(since.as_millis()) >= wait_ms
            || self.reader.used()? > settings.max_bytes / TIGHT
        {
            return Ok(true);
        }
        Ok(self.reader.part(from, to, wanted)?.1 >= wanted)
    }

    /// Seals commits up to `to`, or a part of them: call it until it says 0. Readings sealed by this call.
    ///
    /// # Errors
    /// The disk refuses; the next call does the same again.
    pub fn seal(&mut self, to: Seq) -> Result<u64, StoreError> {
        let from = Seq(self.sealed()?.0.saturating_add(1));
        let (end, readings) = self.reader.part(from, to, CALL_MAX)?;
        if end <= from {
            return Ok(0);
        }
        let passes = u32::try_from(readings / READINGS_MAX).unwrap_or(u32::MAX).saturating_add(1);
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Some points at a time: what is in memory has a bound, however many points there are.
        for pass in 0..passes {
            let (columns, catalogs) =
                gather(&self.reader, Span { from, to: end }, |point| point.0 % passes == pass)?;
            let mut sites: HashMap<Arc<str>, i64> = HashMap::new();
            for ((version, point), readings) in columns {
                let site = match sites.get(&version) {
                    Some(site) => *site,
                    None => *sites.entry(Arc::clone(&version)).or_insert(site(&tx, &version, &catalogs)?),
                };
                add(&tx, site, point, readings)?;
            }
        }
        let last = end.0.cast_signed().saturating_sub(1);
        tx.execute("INSERT OR REPLACE INTO sealed VALUES (?1, ?2)", params![self.journal, last])?;
        tx.commit()?;
        // A span without readings is sealed too.
        Ok(readings.max(1))
    }

    /// Removes what is older than `cutoff`, and the oldest while the history is larger than `bytes_max`; a slice a call. Chunks removed.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn trim(&mut self, cutoff: Option<Timestamp>, bytes_max: u64) -> Result<usize, StoreError> {
        let pragma = |name: &str| self.db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let used = (pragma("page_count")? - pragma("freelist_count")?).saturating_mul(pragma("page_size")?);
        let over = u64::try_from(used).unwrap_or(0) > bytes_max;
        let cutoff = cutoff.map_or(i64::MIN, Timestamp::as_millis);
        let removed = self.db.execute(
            "DELETE FROM chunks WHERE id IN (SELECT id FROM chunks ORDER BY id LIMIT 200) AND (?1 OR t1 < ?2)",
            params![over, cutoff],
        )?;
        if removed > 0 {
            let mut vacuum = self.db.prepare("PRAGMA incremental_vacuum(256)")?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(removed)
    }

    /// Bytes of the history on disk.
    pub fn bytes(&self) -> u64 {
        bytes(&self.path)
    }
}

/// Bytes of the history in folder `path`.
pub(crate) fn bytes(path: &Path) -> u64 {
    ["", "-wal", "-shm"]
        .iter()
        .map(|end| fs::metadata(path.join(format!("{FILE}{end}"))).map_or(0, |file| file.len()))
        .sum()
}

/// The readings of the points that `wanted` names.
fn gather(
    reader: &Reader,
    span: Span,
    wanted: impl Fn(PointId) -> bool,
) -> Result<(Columns, Catalogs), StoreError> {
    let (mut columns, mut catalogs) = (Columns::new(), Catalogs::new());
    let mut next = span.from;
    while next < span.to {
        let (groups, reached, _) = reader.groups(Span { from: next, to: span.to }, PAGE)?;
        next = reached.max(Seq(next.0.saturating_add(1)));
        for group in groups {
            let version: Arc<str> = group.catalog.version.as_str().into();
            catalogs.entry(Arc::clone(&version)).or_insert(group.catalog);
            for reading in group.batches.into_iter().flat_map(|batch| batch.readings) {
                if wanted(reading.point) {
                    columns.entry((Arc::clone(&version), reading.point)).or_default().push(reading);
                }
            }
        }
    }
    Ok((columns, catalogs))
}

fn refuse_newer(file: &Path) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let version = |db: Connection| db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    // What can't be read is found out, and dealt with, by the one who writes.
    match Connection::open_with_flags(file, flags).and_then(version) {
        Ok(found) if found > FORMAT => {
            let file = file.display();
            let text = format!(
                "the history {file} is of version {found} and this lifeline knows up to {FORMAT}; install the newer lifeline, nothing was changed"
            );
            Err(StoreError::Closed { text })
        }
        _ => Ok(()),
    }
}

fn open_write(file: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(file, flags)?;
    db.busy_timeout(BUSY)?;
    // As in the journal.
    db.pragma_update(None, "page_size", PAGE_BYTES)?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update_and_check(None, "journal_size_limit", 8 << 20, |_| Ok(()))?;
    make_log_durable(&db)?;
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found < FORMAT {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if found == 0 {
            tx.execute_batch(TABLES)?;
        }
        tx.pragma_update(None, "application_id", APPLICATION)?;
        tx.pragma_update(None, "user_version", FORMAT)?;
        tx.commit()?;
    }
    sealed(&db, "")?;
    Ok(db)
}

/// The last commit of this journal that is in the history; 0 for one that it has nothing of.
fn sealed(db: &Connection, journal: &str) -> rusqlite::Result<i64> {
    let query = "SELECT seq FROM sealed WHERE journal = ?1";
    Ok(db.query_row(query, [journal], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn site(tx: &Transaction, version: &str, catalogs: &Catalogs) -> rusqlite::Result<i64> {
    let found =
        tx.query_row("SELECT id FROM sites WHERE version = ?1", [version], |row| row.get(0)).optional()?;
    if let Some(site) = found {
        return Ok(site);
    }
    let text = catalogs.get(version).map(|catalog| serde_json::to_string(&**catalog).unwrap_or_default());
    tx.execute(
        "INSERT INTO sites (version, catalog) VALUES (?1, ?2)",
        params![version, text.unwrap_or_default()],
    )?;
    Ok(tx.last_insert_rowid())
}

/// Puts readings behind those of the point's last chunks while these are no longer, and into new ones when they are full: so a reading is
/// written again only when as many stand behind it.
fn add(tx: &Transaction, site: i64, point: PointId, mut readings: Vec<Reading>) -> rusqlite::Result<()> {
    let key = (site, i64::from(point.0));
    let full = usize::try_from(FULL).unwrap_or(usize::MAX);
    let fresh = readings.len();
    while let Some((id, count, blob)) = last(tx, key)? {
        let both_long = count >= ENOUGH && fresh >= ENOUGH;
        if count >= full || count > readings.len() || both_long {
            break;
        }
        let Some(mut before) = chunk::parse(key, point, &blob) else { break };
        before.append(&mut readings);
        readings = before;
        tx.prepare_cached("DELETE FROM chunks WHERE id = ?1")?.execute([id])?;
    }
    for part in readings.chunks(full) {
        let times = || part.iter().map(|reading| reading.at.as_millis());
        let (Some(t0), Some(t1), Some(blob)) = (times().min(), times().max(), chunk::emit(key, part)) else {
            continue;
        };
        let count = i64::try_from(part.len()).unwrap_or(i64::MAX);
        tx.prepare_cached(
            "INSERT INTO chunks (site, point, t0, t1, readings, blob) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![key.0, key.1, t0, t1, count, blob])?;
    }
    Ok(())
}

/// The last chunk of a point: its number, readings and bytes.
fn last(tx: &Transaction, key: (i64, i64)) -> rusqlite::Result<Option<(i64, usize, Vec<u8>)>> {
    let query = "SELECT id, readings, blob FROM chunks WHERE id =
        (SELECT id FROM chunks WHERE site = ?1 AND point = ?2 ORDER BY t1 DESC LIMIT 1)";
    let chunk = |row: &rusqlite::Row| {
        let count: i64 = row.get(1)?;
        Ok((row.get(0)?, usize::try_from(count).unwrap_or(usize::MAX), row.get(2)?))
    };
    tx.prepare_cached(query)?.query_row([key.0, key.1], chunk).optional()
}

/// A read-only view of the history.
pub(crate) struct History {
    db: Connection,
    sites: Vec<(i64, Arc<Catalog>)>,
    sealed: i64,
}

impl History {
    /// The history beside the journal in `path`; `None` when there is none, or none that can be read.
    pub(crate) fn open(path: &Path, journal: &str) -> Option<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let file = path.join(FILE);
        if !file.exists() {
            return None;
        }
        let db = Connection::open_with_flags(file, flags).ok()?;
        db.busy_timeout(BUSY).ok()?;
        // One snapshot: what is sealed and what is not are told apart by the same picture.
        db.execute_batch("BEGIN").ok()?;
        let sealed = sealed(&db, journal).ok()?;
        let mut query = db.prepare("SELECT id, catalog FROM sites ORDER BY id").ok()?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).ok()?;
        let sites = rows
            .filter_map(Result::ok)
            .filter_map(|(id, text)| Some((id, Arc::new(serde_json::from_str(&text).ok()?))));
        let sites = sites.collect();
        drop(query);
        Some(Self { db, sites, sealed })
    }

    /// The last commit that is in the history.
    pub(crate) const fn sealed(&self) -> Seq {
        Seq(self.sealed.cast_unsigned())
    }

    /// Readings in all chunks, and the earliest time.
    pub(crate) fn content(&self) -> (u64, Option<i64>) {
        let query = "SELECT coalesce(sum(readings), 0), min(t0) FROM chunks";
        self.db.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap_or_default()
    }

    /// Names of all points that have ever been in the history.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .sites
            .iter()
            .flat_map(|(_, site)| site.points.iter().map(|point| point.name.clone()))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Calls `each` with the readings of a point in `from..to`, in order of time; `None` when it has enough. Else the damaged chunks met.
    pub(crate) fn read(
        &self,
        name: &str,
        (from, to): (Timestamp, Timestamp),
        each: &mut dyn FnMut(&Arc<Catalog>, Reading) -> bool,
    ) -> rusqlite::Result<Option<u64>> {
        let mut found: Vec<(i64, i64, i64, usize, PointId)> = Vec::new();
        for (place, (site, catalog)) in self.sites.iter().enumerate() {
            let Some(point) = catalog.find(name) else { continue };
            let mut query = self.db.prepare_cached(
                "SELECT id, t0, t1 FROM chunks WHERE site = ?1 AND point = ?2 AND t1 >= ?3 AND t0 < ?4",
            )?;
            let rows = query
                .query_map(params![site, point.id.0, from.as_millis(), to.as_millis()], |row| {
                    Ok((row.get(1)?, row.get(2)?, row.get(0)?, place, point.id))
                })?;
            for row in rows {
                found.push(row?);
            }
        }
        found.sort_unstable_by_key(|(t0, _, id, ..)| (*t0, *id));
        let (mut held, mut damaged): (Vec<(Timestamp, usize, Reading)>, u64) = (Vec::new(), 0);
        let mut chunks = found.into_iter().peekable();
        while let Some((_, _, id, place, point)) = chunks.next() {
            let Some((site, _)) = self.sites.get(place) else { continue };
            let blob: Vec<u8> = self
                .db
                .prepare_cached("SELECT blob FROM chunks WHERE id = ?1")?
                .query_row([id], |row| row.get(0))?;
            let Some(readings) = chunk::parse((*site, i64::from(point.0)), point, &blob) else {
                damaged = damaged.saturating_add(1);
                continue;
            };
            held.extend(
                readings
                    .into_iter()
                    .filter(|one| from <= one.at && one.at < to)
                    .map(|one| (one.at, place, one)),
            );
            // Nothing of a later chunk is before its first time.
            held.sort_by_key(|(at, ..)| *at);
            let until = chunks.peek().map(|(t0, ..)| *t0);
            let ready = held.partition_point(|(at, ..)| until.is_none_or(|until| at.as_millis() < until));
            for (_, place, reading) in held.drain(..ready) {
                if let Some((_, catalog)) = self.sites.get(place)
                    && !each(catalog, reading)
                {
                    return Ok(None);
                }
            }
        }
        Ok(Some(damaged))
    }
}
