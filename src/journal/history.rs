//! Reading by time.
//!
//! In: points by name and a span of time. Out: their readings in order of time.
//! Invariant: no more is held than the readings of blocks whose times overlap, and `HELD_MAX` at most.
//!
//! A reading's time is not the order of commits: the wall clock may have stepped. A block of commits knows the times
//! in it; blocks are read by their earliest time, and a reading waits until no later block can hold an earlier one.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use rusqlite::params;

use crate::clock::Timestamp;
use crate::journal::chunks::History;
use crate::journal::extremes::Extremes;
use crate::journal::rows::{Commit, Inner};
use crate::journal::write::BLOCK;
use crate::journal::{Reader, Seq, StoreError, Stored};
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
        let Some(history) = History::open(self.path(), &self.id()?) else {
            return self.recent(points, (from, to), Seq(0), each);
        };
        let after = history.sealed();
        let all = if points.is_empty() { history.names() } else { points.to_vec() };
        if let [point] = all.as_slice() {
            return self.merged(&history, point, (from, to), each);
        }
        for point in &all {
            let read = history.read(point, (from, to), &mut |catalog, reading| each(catalog, &reading))?;
            let Some(damaged) = read else { return Ok(()) };
            self.count_damaged(damaged);
        }
        self.recent(points, (from, to), after, each)
    }

    /// The same of one point, but about `rows` readings that look the same: no extreme is lost (see [`Extremes`]).
    ///
    /// # Errors
    /// The disk refuses.
    pub fn drawn(
        &self,
        point: &str,
        (from, to): (Timestamp, Timestamp),
        rows: u32,
        each: &mut dyn FnMut(&Catalog, &Reading) -> bool,
    ) -> Result<(), StoreError> {
        let oldest = self.content()?.oldest.unwrap_or(from);
        let newest = self.last()?.map_or(to, |(_, at)| at.shifted(1));
        let mut extremes = Extremes::rows(from.max(oldest), to.min(newest), rows);
        let mut site: Option<Catalog> = None;
        let mut on = true;
        self.history(&[point.to_owned()], from, to, &mut |catalog, reading| {
            // A point may have another number in another version of the site.
            if let Some(before) = site.take_if(|before| before.version != catalog.version) {
                on = extremes.finish().iter().all(|reading| each(&before, reading));
            }
            let site = site.get_or_insert_with(|| catalog.clone());
            on = on && extremes.push(reading).iter().all(|reading| each(site, reading));
            on
        })?;
        if let Some(site) = site
            && on
        {
            let _ = extremes.finish().iter().all(|reading| each(&site, reading));
        }
        Ok(())
    }

    /// One point: what is sealed and what is not yet, in order of time.
    fn merged(
        &self,
        history: &History,
        point: &str,
        (from, to): (Timestamp, Timestamp),
        each: &mut dyn FnMut(&Catalog, &Reading) -> bool,
    ) -> Result<(), StoreError> {
        // About an hour of one point.
        let mut fresh: VecDeque<(Arc<Catalog>, Reading)> = VecDeque::new();
        let mut versions: HashMap<String, Arc<Catalog>> = HashMap::new();
        self.recent(&[point.to_owned()], (from, to), history.sealed(), &mut |catalog, reading| {
            let version =
                versions.entry(catalog.version.clone()).or_insert_with(|| Arc::new(catalog.clone()));
            fresh.push_back((Arc::clone(version), reading.clone()));
            true
        })?;
        let mut on = true;
        let read = history.read(point, (from, to), &mut |catalog, reading| {
            while on && fresh.front().is_some_and(|(_, next)| next.at < reading.at) {
                let next = fresh.pop_front();
                on = next.is_none_or(|(catalog, next)| each(&catalog, &next));
            }
            on = on && each(catalog, &reading);
            on
        })?;
        let Some(damaged) = read else { return Ok(()) };
        self.count_damaged(damaged);
        for (catalog, reading) in fresh {
            if !each(&catalog, &reading) {
                break;
            }
        }
        Ok(())
    }

    fn count_damaged(&self, damaged: u64) {
        let mut inner = self.inner();
        inner.damaged = inner.damaged.saturating_add(damaged);
    }

    /// The same of the commits above `after`.
    fn recent(
        &self,
        points: &[String],
        (from, to): (Timestamp, Timestamp),
        after: Seq,
        each: &mut dyn FnMut(&Catalog, &Reading) -> bool,
    ) -> Result<(), StoreError> {
        let mut wanted = Wanted { points, from, to, ids: HashMap::new() };
        let mut held = BinaryHeap::new();
        let mut order = 0;
        // The lock is taken for a page at a time: `each` may use this reader too.
        let blocks = self.inner().blocks(from, to, after)?;
        for block in blocks {
            if !give_out(&mut held, Timestamp::from_millis(block.earliest), HELD_MAX, each) {
                return Ok(());
            }
            let commits = self.inner().commits(&block, from, to, after)?;
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
    fn blocks(&mut self, from: Timestamp, to: Timestamp, after: Seq) -> rusqlite::Result<Vec<Block>> {
        let query = "SELECT earliest, block * ?3, (block + 1) * ?3 FROM blocks
             WHERE latest >= ?1 AND earliest < ?2 AND block >= ?4 / ?3
             UNION ALL
             SELECT min(earliest), min(seq), max(seq) + 1 FROM commits
             WHERE seq >= (SELECT coalesce(max(block) + 1, 0) * ?3 FROM blocks)
             HAVING max(latest) >= ?1 AND min(earliest) < ?2
             ORDER BY 1, 2";
        let wanted = params![from.as_millis(), to.as_millis(), BLOCK, after.0.cast_signed()];
        // At one moment: a commit that gets its row meanwhile would be in a block and in the tail's.
        let mut blocks: Vec<Block> = self.at_once(|db| {
            let mut query = db.prepare_cached(query)?;
            let rows = query.query_map(wanted, |row| {
                Ok(Block { earliest: row.get(0)?, from: row.get(1)?, to: row.get(2)? })
            })?;
            rows.collect()
        })?;
        let tail = self.tail.records();
        let earliest = tail.iter().filter_map(|record| record.earliest).min();
        if let (Some(earliest), Some(first)) = (earliest, tail.first()) {
            blocks.push(Block { earliest, from: first.key.seq, to: i64::MAX });
            blocks.sort_by_key(|block| (block.earliest, block.from));
        }
        Ok(blocks)
    }

    fn commits(
        &mut self,
        block: &Block,
        from: Timestamp,
        to: Timestamp,
        after: Seq,
    ) -> rusqlite::Result<Vec<Commit>> {
        let first = block.from.max(after.0.cast_signed().saturating_add(1));
        let known = self.refresh()?;
        let mut query = self.db.prepare_cached(&format!(
            "SELECT {} FROM commits WHERE seq >= ?1 AND seq < ?2 AND latest >= ?3 AND earliest < ?4 ORDER BY seq",
            self.columns()
        ))?;
        let end = block.to.min(known.saturating_add(1));
        let rows = query.query_map([first, end, from.as_millis(), to.as_millis()], Commit::from_row)?;
        let tail = self.tail.of(first, block.to).filter(|record| {
            record.latest.is_some_and(|latest| latest >= from.as_millis())
                && record.earliest.is_some_and(|earliest| earliest < to.as_millis())
        });
        rows.chain(tail.map(|record| Ok(Commit::of(record)))).collect()
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
