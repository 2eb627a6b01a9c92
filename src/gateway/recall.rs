//! What a core remembers beside rule states, given back from the journal at a start.
//!
//! In: the journal of the earlier run. Out: a core with that run's windows, votes, trends, silences, rungs and alarm rates.
//! Invariant: nothing follows from what is recalled. What is read has a bound: the last hour in the order of its commits, and before that, for points
//! that are remembered longer, their own readings from the history.
//! Source: DESIGN section 7, after a restart.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::gateway::core::Core;
use crate::journal::{Reader, Seq, Span, StoreError};
use crate::point::{Catalog, PointId, Renumbering};
use crate::reading::{Batch, Reading};
use crate::site::Site;

/// So much is recalled in the order in which it was committed.
const RECENT: Duration = Duration::from_secs(3600);
/// And at most so many commits: an hour of one a second.
const COMMITS_MAX: usize = 4000;
/// Readings of one page of them.
const PAGE: usize = 20_000;
/// Readings that are recalled from the history at most; about ten seconds of a small box.
const OLD_MAX: usize = 8_000_000;
/// Readings that are held to bring several points into order.
const HELD_MAX: usize = 1_000_000;
/// Alarm rates look back so far.
const DAY: Duration = Duration::from_secs(86_400);
/// Transitions that they look at, at most.
const TRANSITIONS_MAX: usize = 20_000;

/// Gives `core`, which was restored at `now`, the memory of the run before it. How many readings that took.
///
/// # Errors
/// The disk refuses; the core is as far as it came, and windows that are not full say so.
pub fn recall(core: &mut Core, site: &Site, reader: &Reader, now: Timestamp) -> Result<usize, StoreError> {
    core.recount(&reader.transitions_since(now.minus(DAY), TRANSITIONS_MAX)?, now);
    let Some((last, at)) = reader.last()? else { return Ok(0) };
    if now < at {
        // The clock went back: a gap of unknown length.
        return Ok(0);
    }
    let Some((first, before)) = reader.since(at.minus(RECENT), COMMITS_MAX)? else { return Ok(0) };
    let old = before.map_or(Ok(0), |before| older(core, site, reader, (at, before), now))?;
    let mut from = first;
    let end = Seq(last.0.saturating_add(1));
    let (mut count, mut names) = (old, Names::default());
    while from < end {
        let (groups, next, _) = reader.groups(Span { from, to: end }, PAGE)?;
        for group in groups {
            let numbers = names.of(&group.catalog, &site.catalog);
            for batch in group.batches {
                count = count.saturating_add(batch.readings.len());
                if let Some(batch) = renamed(batch, numbers, (&group.catalog, &site.catalog)) {
                    core.recall_batch(&batch, now);
                }
            }
        }
        from = next.max(Seq(from.0.saturating_add(1)));
    }
    core.recalled(at, now);
    Ok(count)
}

/// What points remember from before the moment `before`: the last commit was at `last`.
fn older(
    core: &mut Core,
    site: &Site,
    reader: &Reader,
    (last, before): (Timestamp, Timestamp),
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut held: Vec<Reading> = Vec::new();
    let mut count = 0_usize;
    for (id, recall) in core.recalls() {
        let from = last.minus(recall.span);
        let Some(point) = site.catalog.point(id).filter(|_| from <= before && count < OLD_MAX) else {
            continue;
        };
        reader.history(
            std::slice::from_ref(&point.name),
            from,
            before.shifted(1),
            &mut |catalog, reading| {
                count = count.saturating_add(1);
                if catalog.point(reading.point).is_some_and(|was| was.unit == point.unit) {
                    let reading = Reading { point: id, ..reading.clone() };
                    if !recall.together {
                        core.recall(&reading, now);
                    } else if held.len() < HELD_MAX {
                        held.push(reading);
                    }
                }
                count < OLD_MAX
            },
        )?;
    }
    if count >= OLD_MAX || held.len() >= HELD_MAX {
        tracing::warn!(
            readings = count,
            "not all that rules look back at was read; their windows fill up by themselves"
        );
    }
    held.sort_by_key(|reading| (reading.at, reading.point));
    held.iter().for_each(|reading| core.recall(reading, now));
    Ok(count)
}

/// The numbers that points of another version of the documents have now.
#[derive(Default)]
struct Names {
    version: String,
    numbers: Option<Renumbering>,
}

impl Names {
    fn of(&mut self, was: &Catalog, is: &Catalog) -> Option<&Renumbering> {
        if self.version != was.version {
            self.version.clone_from(&was.version);
            self.numbers = (was.version != is.version).then(|| was.renumbered(is));
        }
        self.numbers.as_ref()
    }
}

/// The batch under the numbers of the present documents; what is gone, or measured in another unit now, is left out.
fn renamed(batch: Batch, numbers: Option<&Renumbering>, (was, is): (&Catalog, &Catalog)) -> Option<Batch> {
    let Some(numbers) = numbers else { return Some(batch) };
    let unit = |catalog: &Catalog, point: PointId| catalog.point(point).map(|point| point.unit);
    let rename = |reading: Reading| {
        let point = numbers.point(reading.point)?;
        (unit(was, reading.point) == unit(is, point)).then_some(Reading { point, ..reading })
    };
    let device = numbers.device(batch.device)?;
    let readings: Vec<Reading> = batch.readings.into_iter().filter_map(rename).collect();
    Some(Batch { device, readings, ..batch })
}
