//! Reading by number: groups, transitions, states, progress.
//!
//! In: the file, with a connection of its own. Out: what was committed.
//! Invariant: no statement outlives a call, so that the write-ahead log can be cut back between two pages of a long read;
//! what is damaged is skipped and counted.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

use crate::alarm::{Base, RuleState, Transition};
use crate::clock::Timestamp;
use crate::journal::chunks::History;
use crate::journal::store::{bytes, id, last, open_alone, open_read, text_sum};
use crate::journal::{
    Audit, Content, Kept, OpenError, Progress, Reader, Seq, Span, StoreError, Stored, blob,
};
use crate::point::{Catalog, DeviceId};
use crate::reading::Reading;

/// Commits that one call of `groups` looks at, at most.
const COMMITS_MAX: usize = 10_000;
/// Transitions read in one statement at most.
const PAGE: usize = 1000;

/// Which readings of a group are wanted, of those that [`Reader::sifted`] comes by.
pub(crate) type Sift<'a> = dyn FnMut(&Catalog, DeviceId, Timestamp, Reading) -> Option<Reading> + 'a;

/// The connection and what it has learned.
pub(crate) struct Inner {
    pub(crate) db: Connection,
    catalogs: HashMap<i64, Arc<Catalog>>,
    /// Damaged records met so far.
    pub(crate) damaged: u64,
}

impl Reader {
    /// Opens the journal in folder `path` for reading.
    ///
    /// # Errors
    /// No journal there, a newer version, unreadable.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let inner = Inner { db: open_read(path)?, catalogs: HashMap::new(), damaged: 0 };
        Ok(Self { inner: Mutex::new(inner), path: path.to_owned() })
    }

    /// Opens the journal in folder `path`, which nobody else has open, without any file of its own.
    pub(crate) fn open_alone(path: &Path) -> Result<Self, OpenError> {
        let inner = Inner { db: open_alone(path)?, catalogs: HashMap::new(), damaged: 0 };
        Ok(Self { inner: Mutex::new(inner), path: path.to_owned() })
    }

    /// Number and `now` of the last commit.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn last(&self) -> Result<Option<(Seq, Timestamp)>, StoreError> {
        Ok(last(&self.inner().db)?.map(|(seq, now)| (Seq(seq.cast_unsigned()), now)))
    }

    /// Rule states by rule name. One that is damaged comes from the rule's last transition, its delays starting anew.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn states(&self) -> Result<Vec<(String, RuleState)>, StoreError> {
        let mut inner = self.inner();
        let rows = text_rows(&inner.db, "SELECT rule, json, crc FROM states ORDER BY rule")?;
        let mut states = Vec::with_capacity(rows.len());
        for (rule, state) in rows {
            match state {
                Some(state) => states.push((rule, state)),
                None => {
                    inner.damaged = inner.damaged.saturating_add(1);
                    states.extend(inner.last_state(&rule)?.map(|state| (rule, state)));
                }
            }
        }
        Ok(states)
    }

    /// What a restart needs beside rule states, by key. A damaged one is left out and counted.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn memories(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let mut inner = self.inner();
        let mut kept = BTreeMap::new();
        let mut damaged = 0_u64;
        {
            let mut query = inner.db.prepare_cached(
                "SELECT substr(key, 8), value FROM meta WHERE key >= 'memory/' AND key < 'memory0'",
            )?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
                let text = value.split_once(' ').filter(|(sum, text)| {
                    u32::from_str_radix(sum, 16).is_ok_and(|sum| sum == text_sum(&key, text))
                });
                match text {
                    Some((_, text)) => drop(kept.insert(key, text.to_owned())),
                    None => damaged += 1,
                }
            }
        }
        inner.damaged = inner.damaged.saturating_add(damaged);
        Ok(kept)
    }

    /// Progress by sink name. A damaged one is left out: its sink begins anew, which repeats and loses nothing.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn progress(&self) -> Result<BTreeMap<String, Progress>, StoreError> {
        let mut inner = self.inner();
        let mut found = BTreeMap::new();
        for (sink, progress) in progress_rows(&inner.db, false)? {
            match progress {
                Some(progress) => drop(found.insert(sink, progress)),
                None => inner.damaged = inner.damaged.saturating_add(1),
            }
        }
        Ok(found)
    }

    /// Groups with readings of the span, oldest first, until about `readings_max` readings are gathered (at least one group). Second: one past the last
    /// commit looked at (== `span.to` when the span is done). Damaged groups are skipped and counted in the third.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn groups(&self, span: Span, readings_max: usize) -> Result<(Vec<Stored>, Seq, u64), StoreError> {
        self.sifted(span, readings_max, &mut |_, _, _, reading| Some(reading))
    }

    /// The same, but of the readings only what `sift` gives back. In order, it is given the names, the device, the end of its poll, and the reading.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn sifted(
        &self,
        span: Span,
        readings_max: usize,
        sift: &mut Sift<'_>,
    ) -> Result<(Vec<Stored>, Seq, u64), StoreError> {
        let mut inner = self.inner();
        let before = inner.damaged;
        let to = i64::try_from(span.to.0).unwrap_or(i64::MAX);
        let mut next = i64::try_from(span.from.0).unwrap_or(i64::MAX);
        let (mut groups, mut readings, mut looked) = (Vec::new(), 0_usize, 0_usize);
        let done = loop {
            if looked >= COMMITS_MAX || (!groups.is_empty() && readings >= readings_max) {
                break false;
            }
            looked = looked.saturating_add(1);
            match inner.next_commit(next, to) {
                Ok(None) => break true,
                Ok(Some(row)) => {
                    next = row.key.seq.saturating_add(1);
                    if let Some(stored) = inner.sifted(row, sift)? {
                        readings =
                            stored.batches.iter().fold(readings, |sum, batch| sum + batch.readings.len());
                        groups.push(stored);
                    }
                }
                // A damaged page: what stands behind it is still good.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                    inner.damaged = inner.damaged.saturating_add(1);
                    next = next.saturating_add(1);
                }
                Err(error) => return Err(error.into()),
            }
        };
        let end = if done || next >= to { span.to } else { Seq(next.cast_unsigned()) };
        Ok((groups, end, inner.damaged.saturating_sub(before)))
    }

    /// The commits from `from` to `to` that hold about `readings_max` readings: one past the last, and their readings.
    pub(crate) fn part(&self, from: Seq, to: Seq, readings_max: u64) -> Result<(Seq, u64), StoreError> {
        let inner = self.inner();
        let mut query = inner
            .db
            .prepare_cached("SELECT seq, readings FROM commits WHERE seq >= ?1 AND seq <= ?2 ORDER BY seq")?;
        let mut rows = query.query([from.0.cast_signed(), to.0.cast_signed()])?;
        let (mut end, mut sum) = (from, 0_u64);
        while let Some(row) = rows.next()? {
            let (seq, readings): (i64, i64) = (row.get(0)?, row.get(1)?);
            end = Seq(seq.cast_unsigned().saturating_add(1));
            sum = sum.saturating_add(u64::try_from(readings).unwrap_or(0));
            if sum >= readings_max {
                break;
            }
        }
        Ok((end, sum))
    }

    /// When the first of the commits from `from` to `to` was made.
    pub(crate) fn first(&self, from: Seq, to: Seq) -> Result<Option<Timestamp>, StoreError> {
        let query = "SELECT min(seq), now FROM commits WHERE seq >= ?1 AND seq <= ?2";
        let ends = [from.0.cast_signed(), to.0.cast_signed()];
        let inner = self.inner();
        let now: Option<i64> = inner.db.prepare_cached(query)?.query_row(ends, |row| row.get(1))?;
        Ok(now.map(Timestamp::from_millis))
    }

    /// Bytes in use of the journal's own file.
    pub(crate) fn used(&self) -> Result<u64, StoreError> {
        let inner = self.inner();
        let pragma = |name: &str| inner.db.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
        let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
        Ok(pages.saturating_mul(pragma("page_size")?))
    }

    /// What the journal and its history hold.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn content(&self) -> Result<Content, StoreError> {
        let history = History::open(&self.path, &self.id()?);
        let sealed = history.as_ref().map_or(0, |history| history.sealed().0);
        let (in_chunks, first) = history.map_or((0, None), |history| history.content());
        let inner = self.inner();
        let query = "SELECT count(*), count(*) FILTER (WHERE readings <> 0), coalesce(sum(readings), 0),
                            coalesce(sum(readings) FILTER (WHERE seq > ?1), 0), min(earliest) FROM commits";
        let (content, oldest): (Content, Option<i64>) =
            inner.db.query_row(query, [sealed.cast_signed()], |row| {
                let readings = row.get::<_, u64>(3)?.saturating_add(in_chunks);
                let (commits, with_readings, in_commits) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((Content { commits, with_readings, in_commits, readings, oldest: None }, row.get(4)?))
            })?;
        let oldest = oldest.into_iter().chain(first).min().map(Timestamp::from_millis);
        Ok(Content { oldest, ..content })
    }

    /// The journal's own name.
    pub(crate) fn id(&self) -> Result<String, StoreError> {
        Ok(id(&self.inner().db)?)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Transitions numbered above `after`, oldest first, at most `max`. Damaged ones are skipped and counted in [`Reader::damaged`].
    ///
    /// # Errors
    /// The disk refuses.
    pub fn transitions(&self, after: u64, max: usize) -> Result<Vec<(u64, Transition)>, StoreError> {
        let mut inner = self.inner();
        let mut found = Vec::new();
        let mut after = i64::try_from(after).unwrap_or(i64::MAX);
        while found.len() < max {
            let page = max.saturating_sub(found.len()).min(PAGE);
            let rows = inner.transition_rows(after, page)?;
            let end = rows.len() < page;
            for (id, transition) in rows {
                after = id;
                match transition {
                    Some(transition) => found.push((id.cast_unsigned(), transition)),
                    None => inner.damaged = inner.damaged.saturating_add(1),
                }
            }
            if end {
                break;
            }
        }
        Ok(found)
    }

    /// Audits numbered above `after`, oldest first, at most `max`; none in a file that is older than audits. Damaged ones are skipped and
    /// counted in [`Reader::damaged`].
    ///
    /// # Errors
    /// The disk refuses.
    pub fn audits(&self, after: u64, max: usize) -> Result<Vec<(u64, Audit)>, StoreError> {
        let mut inner = self.inner();
        let mut found = Vec::new();
        let mut after = i64::try_from(after).unwrap_or(i64::MAX);
        while found.len() < max {
            let page = max.saturating_sub(found.len()).min(PAGE);
            let rows = inner.audit_rows(after, page)?;
            let end = rows.len() < page;
            for (id, audit) in rows {
                after = id;
                match audit {
                    Some(audit) => found.push((id.cast_unsigned(), audit)),
                    None => inner.damaged = inner.damaged.saturating_add(1),
                }
            }
            if end {
                break;
            }
        }
        Ok(found)
    }

    /// Version and texts of the documents that the last commit refers to; `None` before the first one.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn documents(&self) -> Result<Option<Kept>, StoreError> {
        let inner = self.inner();
        let row = inner
            .db
            .prepare_cached(
                "SELECT version, documents FROM sites
                 WHERE id = (SELECT site FROM commits ORDER BY seq DESC LIMIT 1)",
            )?
            .query_row([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))
            .optional()?;
        Ok(row.and_then(|(version, texts)| {
            let documents = serde_json::from_str(&texts?).ok()?;
            Some(Kept { version, documents })
        }))
    }

    /// Damaged records that this reader has met: groups, transitions, states, progress. A record read twice counts twice.
    pub fn damaged(&self) -> u64 {
        self.inner().damaged
    }

    /// Bytes on disk (all files of the journal).
    pub fn bytes(&self) -> u64 {
        bytes(&self.path)
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing here is half-changed when a caller's panic passes through.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A row of `commits` with readings.
pub(crate) struct Commit {
    pub(crate) key: blob::Key,
    bytes: Vec<u8>,
}

impl Commit {
    /// From columns `seq, now, site, readings, blob`.
    pub(crate) fn from_row(row: &Row) -> rusqlite::Result<Self> {
        let key = blob::Key { seq: row.get(0)?, now: row.get(1)?, site: row.get(2)?, readings: row.get(3)? };
        // A blob that is none (a damaged header can say so) fails its check sum and is counted there.
        let bytes = row.get_ref(4)?.as_bytes_or_null().ok().flatten().unwrap_or_default().to_vec();
        Ok(Self { key, bytes })
    }
}

impl Inner {
    fn next_commit(&self, from: i64, to: i64) -> rusqlite::Result<Option<Commit>> {
        self.db
            .prepare_cached(
                "SELECT seq, now, site, readings, blob FROM commits
                 WHERE seq >= ?1 AND seq < ?2 AND readings <> 0 ORDER BY seq LIMIT 1",
            )?
            .query_row([from, to], Commit::from_row)
            .optional()
    }

    /// The group in `commit`; `None`, and counted, when it or its names are damaged.
    pub(crate) fn stored(&mut self, commit: Commit) -> rusqlite::Result<Option<Stored>> {
        self.sifted(commit, &mut |_, _, _, reading| Some(reading))
    }

    fn sifted(&mut self, commit: Commit, sift: &mut Sift<'_>) -> rusqlite::Result<Option<Stored>> {
        let Commit { key, bytes } = commit;
        let catalog = self.catalog(key.site)?;
        let found = catalog.and_then(|catalog| {
            let mut keep = |device, end, reading| sift(&catalog, device, end, reading);
            let batches = blob::sift(key, &bytes, &mut keep)?;
            Some((batches, catalog))
        });
        let Some((batches, catalog)) = found else {
            self.damaged = self.damaged.saturating_add(1);
            return Ok(None);
        };
        let (seq, now) = (Seq(key.seq.cast_unsigned()), Timestamp::from_millis(key.now));
        Ok(Some(Stored { seq, now, catalog, batches }))
    }

    /// The names of a site version; `None` when they are damaged, for then nobody can tell what the numbers are.
    fn catalog(&mut self, site: i64) -> rusqlite::Result<Option<Arc<Catalog>>> {
        if let Some(catalog) = self.catalogs.get(&site) {
            return Ok(Some(Arc::clone(catalog)));
        }
        let row = self
            .db
            .prepare_cached("SELECT version, catalog FROM sites WHERE id = ?1")?
            .query_row([site], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))
            .optional()?;
        let Some((version, text)) = row else { return Ok(None) };
        let Some(text) = text else {
            return Ok(Some(Arc::new(Catalog { version, ..Catalog::default() })));
        };
        let Ok(catalog) = serde_json::from_str(&text) else { return Ok(None) };
        let catalog = Arc::new(catalog);
        self.catalogs.insert(site, Arc::clone(&catalog));
        Ok(Some(catalog))
    }

    fn transition_rows(&self, after: i64, max: usize) -> rusqlite::Result<Vec<(i64, Option<Transition>)>> {
        let mut query = self.db.prepare_cached(
            "SELECT id, rule, json, crc FROM transitions WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = query.query_map(params![after, max], |row| Ok((row.get(0)?, text_row(row, 1).1)))?;
        rows.collect()
    }

    fn audit_rows(&self, after: i64, max: usize) -> rusqlite::Result<Vec<(i64, Option<Audit>)>> {
        if !self.db.table_exists(None, "audits")? {
            return Ok(Vec::new());
        }
        let mut query = self
            .db
            .prepare_cached("SELECT id, device, json, crc FROM audits WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = query.query_map(params![after, max], |row| Ok((row.get(0)?, text_row(row, 1).1)))?;
        rows.collect()
    }

    /// The state that the log gives: the alarm of the rule's last transition, unless that closed it.
    fn last_state(&self, rule: &str) -> rusqlite::Result<Option<RuleState>> {
        let mut query = self.db.prepare_cached(
            "SELECT rule, json, crc FROM transitions WHERE rule = ?1 ORDER BY id DESC LIMIT 100",
        )?;
        let mut rows = query.query_map([rule], |row| Ok(text_row::<Transition>(row, 0).1))?;
        let last = rows.find_map(|row| row.transpose()).transpose()?;
        Ok(last.map(|transition| {
            let overlay = transition.alarm.overlay.clone();
            let alarm = Some(transition.alarm).filter(|alarm| alarm.state != Base::Normal);
            RuleState { alarm, overlay, ..RuleState::default() }
        }))
    }
}

/// Progress by sink, `None` for a damaged one.
pub(crate) fn progress_rows(
    db: &Connection,
    active: bool,
) -> rusqlite::Result<Vec<(String, Option<Progress>)>> {
    let all = "SELECT sink, json, crc FROM progress ORDER BY sink";
    let waiting = "SELECT sink, json, crc FROM progress WHERE active <> 0 ORDER BY sink";
    text_rows(db, if active { waiting } else { all })
}

fn text_rows<T: DeserializeOwned>(
    db: &Connection,
    query: &str,
) -> rusqlite::Result<Vec<(String, Option<T>)>> {
    let mut query = db.prepare_cached(query)?;
    let rows = query.query_map([], |row| Ok(text_row(row, 0)))?;
    rows.collect()
}

/// Key and value of columns `key, json, crc` from column `at` on; `None` when they do not match.
pub(crate) fn text_row<T: DeserializeOwned>(row: &Row, at: usize) -> (String, Option<T>) {
    let key: String = row.get(at).unwrap_or_default();
    let value = || {
        let text: String = row.get(at.saturating_add(1)).ok()?;
        let sum: i64 = row.get(at.saturating_add(2)).ok()?;
        (sum == i64::from(text_sum(&key, &text))).then(|| serde_json::from_str(&text).ok())?
    };
    let value = value();
    (key, value)
}
