//! Reading the journal back: its own connection, many at once, with or without a running gateway.
//!
//! In: spans of commits, points, times. Out: stored groups, transitions, states, progress.
//! Invariant: reads are paged, so that no long transaction keeps the log from shrinking; a damaged blob is skipped and counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::alarm::{RuleState, Transition};
use crate::clock::Timestamp;
use crate::journal::store::{FILE, FORMAT, bytes_on_disk};
use crate::journal::{OpenError, Progress, Seq, Span, StoreError, Stored, blob};
use crate::point::{Catalog, PointId};
use crate::reading::Reading;

/// Commits looked at in one page.
const PAGE: u64 = 256;

/// A read-only view.
#[derive(Debug)]
pub struct Reader {
    store: Connection,
    folder: PathBuf,
    catalogs: RefCell<BTreeMap<String, Arc<Catalog>>>,
}

/// One commit's row: number, now, site version, blob.
type Row = (u64, i64, String, Vec<u8>);

impl Reader {
    /// Opens the journal in folder `path` for reading.
    ///
    /// # Errors
    /// No journal there, a newer version, unreadable.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if !path.join(FILE).exists() {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        let failed = |source| OpenError::Store { path: path.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // A leftover log after a kill wants a connection that may write; without the right to, reading alone must do.
        let store = Connection::open_with_flags(path.join(FILE), flags)
            .or_else(|_| Connection::open_with_flags(path.join(FILE), read_only))
            .map_err(failed)?;
        let set_up = || {
            store.busy_timeout(std::time::Duration::from_secs(2))?;
            store.pragma_update(None, "query_only", true)?;
            store.query_row("PRAGMA user_version", [], |row| row.get(0))
        };
        let found: i64 = set_up().map_err(failed)?;
        if FORMAT < found {
            return Err(OpenError::Newer { path: path.to_owned(), found, known: FORMAT });
        }
        Ok(Self { store, folder: path.to_owned(), catalogs: RefCell::default() })
    }

    /// Number and `now` of the last commit.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn last(&self) -> Result<Option<(Seq, Timestamp)>, StoreError> {
        let meta = |key: &str| self.store.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get::<_, i64>(0));
        let seq = u64::try_from(meta("last")?).unwrap_or(0);
        Ok((seq > 0).then_some((Seq(seq), Timestamp::from_millis(meta("now")?))))
    }

    /// Rule states by rule name.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn states(&self) -> Result<Vec<(String, RuleState)>, StoreError> {
        let mut rows = self.store.prepare_cached("SELECT rule, json FROM states ORDER BY rule")?;
        let rows = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut states = Vec::new();
        for row in rows {
            let (rule, json) = row?;
            states.push((rule, serde_json::from_str(&json)?));
        }
        Ok(states)
    }

    /// Progress by sink name.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn progress(&self) -> Result<BTreeMap<String, Progress>, StoreError> {
        progress(&self.store)
    }

    /// Groups with readings of the span, oldest first, until about `readings_max` readings are gathered (at least one group), then one
    /// past the last commit looked at (`span.to` when the span is done), and how many groups were damaged and skipped.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn groups(&self, span: Span, readings_max: usize) -> Result<(Vec<Stored>, Seq, u64), StoreError> {
        let mut found = Vec::new();
        let (mut at, mut readings, mut damaged) = (span.from.0, 0, 0);
        while at < span.to.0 {
            let page = self.page(at, span.to.0)?;
            let last = page.last().map(|(seq, ..)| *seq);
            for (seq, now, version, bytes) in page {
                let group = blob::parse(Seq(seq), &bytes).zip(self.catalog(&version)?);
                let Some((batches, catalog)) = group else {
                    damaged += 1;
                    continue;
                };
                readings += batches.iter().map(|batch| batch.readings.len()).sum::<usize>();
                found.push(Stored { seq: Seq(seq), now: Timestamp::from_millis(now), catalog, batches });
                if readings_max <= readings {
                    return Ok((found, Seq(seq + 1), damaged));
                }
            }
            let Some(last) = last else { break };
            at = last + 1;
        }
        Ok((found, span.to, damaged))
    }

    fn page(&self, from: u64, to: u64) -> Result<Vec<Row>, StoreError> {
        let sql = "SELECT seq, now, site, blob FROM commits WHERE seq >= ?1 AND seq < ?2 AND blob IS NOT NULL ORDER BY seq LIMIT ?3";
        let mut rows = self.store.prepare_cached(sql)?;
        let rows = rows.query_map([from, to, PAGE], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The names that a version of the documents gave.
    fn catalog(&self, version: &str) -> Result<Option<Arc<Catalog>>, StoreError> {
        if let Some(known) = self.catalogs.borrow().get(version) {
            return Ok(Some(Arc::clone(known)));
        }
        let sql = "SELECT catalog FROM sites WHERE version = ?1";
        let json: Option<String> = self.store.query_row(sql, [version], |row| row.get(0)).optional()?;
        let Some(json) = json else { return Ok(None) };
        let catalog: Arc<Catalog> = Arc::new(serde_json::from_str(&json)?);
        self.catalogs.borrow_mut().insert(version.to_owned(), Arc::clone(&catalog));
        Ok(Some(catalog))
    }

    /// Transitions numbered above `after`, oldest first, at most `max`.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn transitions(&self, after: u64, max: usize) -> Result<Vec<(u64, Transition)>, StoreError> {
        let mut rows = self.store.prepare_cached("SELECT id, json FROM transitions WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let max = u64::try_from(max).unwrap_or(u64::MAX >> 1);
        let rows = rows.query_map([after, max], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))?;
        let mut found = Vec::new();
        for row in rows {
            let (id, json) = row?;
            found.push((id, serde_json::from_str(&json)?));
        }
        Ok(found)
    }

    /// Calls `each` with every reading of the points named (all points when empty) in `from..to`, in the order of commits; stops when it returns `false`.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn history(
        &self,
        points: &[String],
        from: Timestamp,
        to: Timestamp,
        each: &mut dyn FnMut(&Catalog, &Reading) -> bool,
    ) -> Result<(), StoreError> {
        let sql = "SELECT min(seq), max(seq) FROM commits WHERE last >= ?1 AND first < ?2";
        let bounds = [from.as_millis(), to.as_millis()];
        let span: (Option<u64>, Option<u64>) = self.store.query_row(sql, bounds, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (Some(first), Some(last)) = span else { return Ok(()) };
        let mut at = Seq(first);
        let mut wanted: (String, Vec<PointId>) = (String::new(), Vec::new());
        while at.0 <= last {
            let (groups, next, _) = self.groups(Span { from: at, to: Seq(last + 1) }, 10_000)?;
            at = next;
            for group in groups {
                if wanted.0 != group.catalog.version {
                    let ids = points.iter().filter_map(|name| group.catalog.find(name)).map(|point| point.id);
                    wanted = (group.catalog.version.clone(), ids.collect());
                }
                for reading in group.batches.iter().flat_map(|batch| &batch.readings) {
                    let asked = points.is_empty() || wanted.1.contains(&reading.point);
                    if asked && from <= reading.at && reading.at < to && !each(&group.catalog, reading) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The names of the newest version of the documents.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn newest_catalog(&self) -> Result<Option<Arc<Catalog>>, StoreError> {
        let sql = "SELECT version FROM sites ORDER BY at DESC, id DESC LIMIT 1";
        let version: Option<String> = self.store.query_row(sql, [], |row| row.get(0)).optional()?;
        version.map_or(Ok(None), |version| self.catalog(&version))
    }

    /// Bytes on disk (all files of the journal).
    pub fn bytes(&self) -> u64 {
        bytes_on_disk(&self.folder)
    }
}

/// Progress by sink name.
pub(crate) fn progress(store: &Connection) -> Result<BTreeMap<String, Progress>, StoreError> {
    let mut rows = store.prepare_cached("SELECT sink, json FROM progress")?;
    let rows = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut found = BTreeMap::new();
    for row in rows {
        let (sink, json) = row?;
        found.insert(sink, serde_json::from_str(&json)?);
    }
    Ok(found)
}
