//! Looking back from the end, for a start: the newest commits and transitions.
//!
//! In: a moment. Out: the number of the first commit after it, the transitions since.
//! Invariant: what one call looks at has a bound.

use rusqlite::params;

use crate::alarm::Transition;
use crate::clock::Timestamp;
use crate::journal::rows::text_row;
use crate::journal::{Journal, Reader, Seq, StoreError};

impl Journal {
    /// Number of the last transition; 0 when there is none.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn last_transition(&self) -> Result<u64, StoreError> {
        let mut query = self.db.prepare_cached("SELECT coalesce(max(id), 0) FROM transitions")?;
        Ok(query.query_row([], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)?)
    }
}

impl Reader {
    /// The first of the newest commits that are not before `from`, at most `max` of them, and the time of the one before it; `None` when there is no commit.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn since(&self, from: Timestamp, max: usize) -> Result<Option<(Seq, Option<Timestamp>)>, StoreError> {
        let mut inner = self.inner();
        inner.refresh()?;
        let mut query = inner
            .db
            .prepare_cached("SELECT seq, now FROM commits WHERE seq < ?2 ORDER BY seq DESC LIMIT ?1")?;
        let tail: Vec<(i64, i64)> =
            inner.tail.records().iter().rev().map(|record| (record.key.seq, record.key.now)).collect();
        let before = tail.last().map_or(i64::MAX, |(seq, _)| *seq);
        let limit = i64::try_from(max).unwrap_or(i64::MAX).saturating_add(1);
        let rows = query.query_map([limit, before], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (mut first, mut looked) = (None, 0);
        for row in tail.into_iter().map(Ok).chain(rows) {
            let (seq, now): (i64, i64) = row?;
            if let Some(first) = first.filter(|_| now < from.as_millis() || looked == max) {
                return Ok(Some((first, Some(Timestamp::from_millis(now)))));
            }
            first = Some(Seq(seq.cast_unsigned()));
            looked = looked.saturating_add(1);
        }
        Ok(first.map(|first| (first, None)))
    }

    /// The newest transitions, at most `max`, of those since `from`; oldest first. Damaged ones are left out.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn transitions_since(&self, from: Timestamp, max: usize) -> Result<Vec<Transition>, StoreError> {
        let inner = self.inner();
        let mut query = inner
            .db
            .prepare_cached("SELECT rule, json, crc, at FROM transitions ORDER BY id DESC LIMIT ?1")?;
        let rows = query.query_map(params![i64::try_from(max).unwrap_or(i64::MAX)], |row| {
            Ok((row.get::<_, i64>(3)?, text_row(row, 0).1))
        })?;
        let mut found: Vec<Transition> = Vec::new();
        for row in rows {
            let (at, transition) = row?;
            if at < from.as_millis() {
                break;
            }
            found.extend(transition);
        }
        found.reverse();
        Ok(found)
    }
}
