//! Reading by time.
//!
//! In: points by name and a span of time. Out: their readings in order of time.
//! Invariant: no more is held than the readings of blocks whose times overlap, and `HELD_MAX` at most.
//!
//! A reading's time is not the order of commits: the wall clock may have stepped. A block of commits knows the times
//! in it; blocks are read by their earliest time, and a reading waits until no later block can hold an earlier one.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use rusqlite::params;

use crate::clock::Timestamp;
use crate::journal::read::{Commit, Inner};
use crate::journal::write::BLOCK;
use crate::journal::{Reader, StoreError, Stored};
use crate::point::{Catalog, PointId};
use crate::reading::Reading;

/// Readings in memory at most; past it the earliest go out, though a clock that stepped may bring earlier ones later.
const HELD_MAX: usize = 1 << 20;

/// A block of commits and the earliest reading in it.
struct Block {
    earliest: i64,
    from: i64,
    to: i64,
}

/// A reading that waits; greatest is earliest, for the heap gives out the greatest.
struct Held {
    at: Timestamp,
    order: u64,
    catalog: Arc<Catalog>,
    reading: Reading,
}

impl Reader {
    /// Calls `each` with every reading of the points named (all points when empty) in `from..to`, in order of time within a point's stream;
    /// stops when it returns `false`.
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
        let mut wanted = Wanted { points, from, to, ids: HashMap::new() };
        let mut held = BinaryHeap::new();
        let mut order = 0;
        // The lock is taken for a page at a time: `each` may use this reader too.
        let blocks = self.inner().blocks(from, to)?;
        for block in blocks {
            if !give_out(&mut held, Timestamp::from_millis(block.earliest), HELD_MAX, each) {
                return Ok(());
            }
            let commits = self.inner().commits(&block, from, to)?;
            for commit in commits {
                let stored = self.inner().stored(commit)?;
                wanted.gather(stored, &mut order, &mut held);
                if !give_out(&mut held, Timestamp::from_millis(i64::MIN), HELD_MAX, each) {
                    return Ok(());
                }
            }
        }
        while let Some(next) = held.pop() {
            if !each(&next.catalog, &next.reading) {
                break;
            }
        }
        Ok(())
    }
}

/// Hands out what is before `until`, and what is more than `max`; false when the caller has enough.
fn give_out(
    held: &mut BinaryHeap<Held>,
    until: Timestamp,
    max: usize,
    each: &mut dyn FnMut(&Catalog, &Reading) -> bool,
) -> bool {
    while held.peek().is_some_and(|next| next.at < until || held.len() > max) {
        if let Some(next) = held.pop()
            && !each(&next.catalog, &next.reading)
        {
            return false;
        }
    }
    true
}

/// What the caller asked for, with the points' numbers in each version of the site.
struct Wanted<'a> {
    points: &'a [String],
    from: Timestamp,
    to: Timestamp,
    ids: HashMap<String, Vec<PointId>>,
}

impl Wanted<'_> {
    fn gather(&mut self, stored: Option<Stored>, order: &mut u64, held: &mut BinaryHeap<Held>) {
        let Some(Stored { catalog, batches, .. }) = stored else { return };
        if !self.ids.contains_key(&catalog.version) {
            let ids = self.points.iter().filter_map(|name| catalog.find(name)).map(|point| point.id);
            self.ids.insert(catalog.version.clone(), ids.collect());
        }
        let ids = self.ids.get(&catalog.version).map(Vec::as_slice).unwrap_or_default();
        let all = self.points.is_empty();
        for reading in batches.into_iter().flat_map(|batch| batch.readings) {
            let named = all || ids.contains(&reading.point);
            if named && self.from <= reading.at && reading.at < self.to {
                *order = order.wrapping_add(1);
                held.push(Held { at: reading.at, order: *order, catalog: Arc::clone(&catalog), reading });
            }
        }
    }
}

impl Inner {
    /// Blocks that may hold readings of `from..to`, by their earliest reading; the last one may be unfinished.
    fn blocks(&self, from: Timestamp, to: Timestamp) -> rusqlite::Result<Vec<Block>> {
        let mut query = self.db.prepare_cached(
            "SELECT earliest, block * ?3, (block + 1) * ?3 FROM blocks WHERE latest >= ?1 AND earliest < ?2
             UNION ALL
             SELECT min(earliest), min(seq), max(seq) + 1 FROM commits
             WHERE seq >= (SELECT coalesce(max(block) + 1, 0) * ?3 FROM blocks)
             HAVING max(latest) >= ?1 AND min(earliest) < ?2
             ORDER BY 1, 2",
        )?;
        let rows = query.query_map(params![from.as_millis(), to.as_millis(), BLOCK], |row| {
            Ok(Block { earliest: row.get(0)?, from: row.get(1)?, to: row.get(2)? })
        })?;
        rows.collect()
    }

    fn commits(&self, block: &Block, from: Timestamp, to: Timestamp) -> rusqlite::Result<Vec<Commit>> {
        let mut query = self.db.prepare_cached(
            "SELECT seq, now, site, readings, blob FROM commits
             WHERE seq >= ?1 AND seq < ?2 AND latest >= ?3 AND earliest < ?4 ORDER BY seq",
        )?;
        let rows =
            query.query_map([block.from, block.to, from.as_millis(), to.as_millis()], Commit::from_row)?;
        rows.collect()
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Held {}
