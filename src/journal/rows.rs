//! Rows and records: what one commit, one text, one version of the site is on disk.
//!
//! In: the file and the segments, with a connection of its own. Out: the same as values.
//! Invariant: what does not match its check sum is none, and counted.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

use crate::alarm::{Base, RuleState, Transition};
use crate::clock::Timestamp;
use crate::journal::record::{Place, Record};
use crate::journal::segments::{self, Shelf};
use crate::journal::store::text_sum;
use crate::journal::tail::Tail;
use crate::journal::{Audit, Progress, Seq, Stored, blob};
use crate::point::{Catalog, DeviceId};
use crate::reading::Reading;

/// Which readings of a group are wanted, of those that [`Reader::sifted`] comes by.
pub(crate) type Sift<'a> = dyn FnMut(&Catalog, DeviceId, Timestamp, Reading) -> Option<Reading> + 'a;

/// The connection and what it has learned.
pub(crate) struct Inner {
    pub(crate) db: Connection,
    /// Records in segments.
    pub(crate) shelf: Shelf,
    /// The newest commits.
    pub(crate) tail: Tail,
    pub(crate) catalogs: HashMap<i64, Arc<Catalog>>,
    /// Damaged records met so far.
    pub(crate) damaged: u64,
}

/// A row of `commits` with readings.
pub(crate) struct Commit {
    pub(crate) key: blob::Key,
    body: Body,
}

/// Where a commit's readings are.
enum Body {
    /// In its row.
    Here(Vec<u8>),
    /// In a segment.
    There(Place),
}

impl Commit {
    /// From columns `seq, now, site, readings, blob, place, bytes`.
    pub(crate) fn from_row(row: &Row) -> rusqlite::Result<Self> {
        let key = blob::Key { seq: row.get(0)?, now: row.get(1)?, site: row.get(2)?, readings: row.get(3)? };
        // A blob or a place that is none (a damaged header can say so) gives no bytes, fails the check sum and is counted there.
        let number = |at| row.get_ref(at).ok().and_then(|value| value.as_i64_or_null().ok().flatten());
        let place = number(5).zip(number(6)).and_then(|(place, bytes)| Place::from_columns(place, bytes));
        let here = || row.get_ref(4).ok().and_then(|value| value.as_bytes_or_null().ok().flatten());
        let body = match place {
            Some(place) => Body::There(place),
            None => Body::Here(here().unwrap_or_default().to_vec()),
        };
        Ok(Self { key, body })
    }

    pub(crate) const fn of(record: &Record) -> Self {
        Self { key: record.key, body: Body::There(record.place) }
    }
}

/// The columns of `Commit::from_row`; a file of an older format has no places.
const COLUMNS: [&str; 2] =
    ["seq, now, site, readings, blob, place, bytes", "seq, now, site, readings, blob, NULL, NULL"];

impl Inner {
    /// Looks for the newest commits; the last one that the database has.
    pub(crate) fn refresh(&mut self) -> rusqlite::Result<i64> {
        self.tail.refresh(&self.db, &mut self.shelf)
    }

    /// What `look` finds in the database at one moment, to which the newest commits are those behind it.
    pub(crate) fn at_once<T>(
        &mut self,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let Self { db, shelf, tail, .. } = self;
        let moment = db.unchecked_transaction()?;
        tail.refresh(&moment, shelf)?;
        look(&moment)
    }

    /// The columns that [`Commit::from_row`] wants.
    pub(crate) fn columns(&self) -> &'static str {
        let [with_places, without] = COLUMNS;
        if self.shelf.is_there() { with_places } else { without }
    }

    pub(crate) fn next_commit(&self, from: i64, to: i64) -> rusqlite::Result<Option<Commit>> {
        let query = format!(
            "SELECT {} FROM commits WHERE seq >= ?1 AND seq < ?2 AND readings <> 0 ORDER BY seq LIMIT 1",
            self.columns()
        );
        let found = self.db.prepare_cached(&query)?.query_row([from, to], Commit::from_row).optional()?;
        let with_readings = |record: &&Record| record.key.readings > 0;
        Ok(found.or_else(|| self.tail.of(from, to).find(with_readings).map(Commit::of)))
    }

    /// The encoded readings of a commit; nothing where its record is not whole.
    pub(crate) fn bytes(&mut self, commit: Commit) -> rusqlite::Result<Vec<u8>> {
        let place = match commit.body {
            Body::Here(bytes) => return Ok(bytes),
            Body::There(place) => place,
        };
        let found = self.shelf.read(place.generation, place.offset).map_err(segments::refused)?;
        Ok(found.filter(|(record, _)| record.key == commit.key).map(|(_, bytes)| bytes).unwrap_or_default())
    }

    /// Whether the commit was removed after its row was read.
    pub(crate) fn is_gone(&self, seq: i64) -> rusqlite::Result<bool> {
        if self.tail.of(seq, seq.saturating_add(1)).next().is_some() {
            return Ok(false);
        }
        let mut query = self.db.prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM commits WHERE seq = ?1)")?;
        query.query_row([seq], |row| row.get(0))
    }

    /// The group in `commit`; `None`, and counted, when it or its names are damaged.
    pub(crate) fn stored(&mut self, commit: Commit) -> rusqlite::Result<Option<Stored>> {
        self.sifted(commit, &mut |_, _, _, reading| Some(reading))
    }

    pub(crate) fn sifted(&mut self, commit: Commit, sift: &mut Sift<'_>) -> rusqlite::Result<Option<Stored>> {
        let key = commit.key;
        let bytes = self.bytes(commit)?;
        let catalog = self.catalog(key.site)?;
        let found = catalog.and_then(|catalog| {
            let mut keep = |device, end, reading| sift(&catalog, device, end, reading);
            let batches = blob::sift(key, &bytes, &mut keep)?;
            Some((batches, catalog))
        });
        let Some((batches, catalog)) = found else {
            if self.is_gone(key.seq)? {
                return Ok(None);
            }
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

    pub(crate) fn transition_rows(
        &self,
        after: i64,
        max: usize,
    ) -> rusqlite::Result<Vec<(i64, Option<Transition>)>> {
        let mut query = self.db.prepare_cached(
            "SELECT id, rule, json, crc FROM transitions WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = query.query_map(params![after, max], |row| Ok((row.get(0)?, text_row(row, 1).1)))?;
        rows.collect()
    }

    pub(crate) fn audit_rows(&self, after: i64, max: usize) -> rusqlite::Result<Vec<(i64, Option<Audit>)>> {
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
    pub(crate) fn last_state(&self, rule: &str) -> rusqlite::Result<Option<RuleState>> {
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

pub(crate) fn text_rows<T: DeserializeOwned>(
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
