//! Reading by number: groups, transitions, states, progress.
//!
//! In: the file, with a connection of its own. Out: what was committed.
//! Invariant: no statement outlives a call, so that the write-ahead log can be cut back between two pages of a long read;
//! what is damaged is skipped and counted.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, OptionalExtension};

use crate::alarm::{RuleState, Transition};
use crate::clock::Timestamp;
use crate::journal::chunks::History;
use crate::journal::rows::{Inner, Sift, progress_rows, text_rows};
use crate::journal::segments::{self, Shelf};
use crate::journal::store::{bytes, id, last, open_alone, open_read, seed, text_sum};
use crate::journal::tail::Tail;
use crate::journal::{Audit, Content, Kept, OpenError, Progress, Reader, Seq, Span, StoreError, Stored};

/// Commits that one call of `groups` looks at, at most.
const COMMITS_MAX: usize = 10_000;
/// Transitions read in one statement at most.
const PAGE: usize = 1000;

impl Reader {
    /// Opens the journal in folder `path` for reading.
    ///
    /// # Errors
    /// No journal there, a newer version, unreadable.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::over(path, open_read(path)?)
    }

    /// Opens the journal in folder `path`, which nobody else has open, without any file of its own.
    pub(crate) fn open_alone(path: &Path) -> Result<Self, OpenError> {
        Self::over(path, open_alone(path)?)
    }

    fn over(path: &Path, db: Connection) -> Result<Self, OpenError> {
        let seed = seed(&db).map_err(|source| OpenError::Store { path: path.to_owned(), source })?;
        let shelf = Shelf::new(path, seed);
        let inner = Inner { db, shelf, tail: Tail::default(), catalogs: HashMap::new(), damaged: 0 };
        Ok(Self { inner: Mutex::new(inner), path: path.to_owned() })
    }

    /// Number and `now` of the last commit.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn last(&self) -> Result<Option<(Seq, Timestamp)>, StoreError> {
        let mut inner = self.inner();
        inner.refresh()?;
        let newest = inner.tail.records().last();
        let newest = newest.map(|record| (record.key.seq, Timestamp::from_millis(record.key.now)));
        let last = newest.map_or_else(|| last(&inner.db), |newest| Ok(Some(newest)))?;
        Ok(last.map(|(seq, now)| (Seq(seq.cast_unsigned()), now)))
    }

    /// Rule states by rule name. One that is damaged comes from the rule's last transition, its delays starting anew.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn states(&self) -> Result<Vec<(String, RuleState)>, StoreError> {
        let mut inner = self.inner();
        let rows = inner.at_once(|db| text_rows(db, "SELECT rule, json, crc FROM states ORDER BY rule"))?;
        let mut states = BTreeMap::new();
        for (rule, state) in rows {
            match state {
                Some(state) => drop(states.insert(rule, state)),
                None => {
                    inner.damaged = inner.damaged.saturating_add(1);
                    states.extend(inner.last_state(&rule)?.map(|state| (rule, state)));
                }
            }
        }
        states.extend(inner.tail.records().iter().flat_map(|record| record.extra.states.iter().cloned()));
        Ok(states.into_iter().collect())
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
        let rows = inner.at_once(|db| progress_rows(db, false))?;
        let mut found = BTreeMap::new();
        for (sink, progress) in rows {
            match progress {
                Some(progress) => drop(found.insert(sink, progress)),
                None => inner.damaged = inner.damaged.saturating_add(1),
            }
        }
        found.extend(inner.tail.records().iter().flat_map(|record| record.extra.progress.iter().cloned()));
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
        inner.refresh()?;
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
        let mut inner = self.inner();
        let known = inner.refresh()?;
        let (first, last) = (from.0.cast_signed(), to.0.cast_signed());
        let mut query = inner
            .db
            .prepare_cached("SELECT seq, readings FROM commits WHERE seq >= ?1 AND seq <= ?2 ORDER BY seq")?;
        let rows = query.query_map([first, last.min(known)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let tail = inner.tail.of(first, last.saturating_add(1));
        let tail = tail.map(|record| Ok((record.key.seq, record.key.readings)));
        let (mut end, mut sum) = (from, 0_u64);
        for row in rows.chain(tail) {
            let (seq, readings): (i64, i64) = row?;
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
        let (from, to) = (from.0.cast_signed(), to.0.cast_signed());
        let mut inner = self.inner();
        inner.refresh()?;
        let now: Option<i64> = inner.db.prepare_cached(query)?.query_row([from, to], |row| row.get(1))?;
        let in_tail = || inner.tail.of(from, to.saturating_add(1)).next().map(|record| record.key.now);
        Ok(now.or_else(in_tail).map(Timestamp::from_millis))
    }

    /// Bytes in use of the journal's own files.
    pub(crate) fn used(&self) -> Result<u64, StoreError> {
        let inner = self.inner();
        let pragma = |name: &str| inner.db.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
        let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
        Ok(pages.saturating_mul(pragma("page_size")?).saturating_add(segments::bytes(&self.path)))
    }

    /// What the journal and its history hold.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn content(&self) -> Result<Content, StoreError> {
        let history = History::open(&self.path, &self.id()?);
        let sealed = history.as_ref().map_or(0, |history| history.sealed().0);
        let (in_chunks, first) = history.map_or((0, None), |history| history.content());
        let mut inner = self.inner();
        let known = inner.refresh()?;
        let query = "SELECT count(*), count(*) FILTER (WHERE readings <> 0), coalesce(sum(readings), 0),
                            coalesce(sum(readings) FILTER (WHERE seq > ?1), 0), min(earliest) FROM commits
                     WHERE seq <= ?2";
        let (mut content, oldest): (Content, Option<i64>) =
            inner.db.query_row(query, [sealed.cast_signed(), known], |row| {
                let readings = row.get::<_, u64>(3)?.saturating_add(in_chunks);
                let (commits, with_readings, in_commits) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((Content { commits, with_readings, in_commits, readings, oldest: None }, row.get(4)?))
            })?;
        let tail = inner.tail.records();
        for record in tail {
            let readings = record.key.readings.unsigned_abs();
            let unsealed = if record.key.seq.cast_unsigned() > sealed { readings } else { 0 };
            content.commits = content.commits.saturating_add(1);
            content.with_readings = content.with_readings.saturating_add(u64::from(readings > 0));
            content.in_commits = content.in_commits.saturating_add(readings);
            content.readings = content.readings.saturating_add(unsealed);
        }
        let in_tail = tail.iter().filter_map(|record| record.earliest);
        let oldest = oldest.into_iter().chain(in_tail).chain(first).min().map(Timestamp::from_millis);
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
        let mut inner = self.inner();
        inner.refresh()?;
        let site = inner.tail.records().last().map(|record| record.key.site);
        let row = inner
            .db
            .prepare_cached(
                "SELECT version, documents FROM sites
                 WHERE id = coalesce(?1, (SELECT site FROM commits ORDER BY seq DESC LIMIT 1))",
            )?
            .query_row([site], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))
            .optional()?;
        Ok(row.and_then(|(version, texts)| {
            let documents = serde_json::from_str(&texts?).ok()?;
            Some(Kept { version, documents })
        }))
    }

    /// Damaged records that this reader has met: groups, transitions, states, progress. A record read twice counts twice.
    pub fn damaged(&self) -> u64 {
        let inner = self.inner();
        inner.damaged.saturating_add(inner.tail.damaged)
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
