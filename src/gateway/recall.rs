//! What a core remembers beside rule states, given back from the journal at a start.
//!
//! In: the journal of the earlier run. Out: a core with that run's windows, votes, trends, silences, rungs and alarm rates.
//! Invariant: nothing follows from what is recalled. What is read has a bound: the last hour in the order of its commits, and before that, for points
//! that are remembered longer, their own readings from the history. Of both, the core is given what it looks back at and the few readings before.
//! Source: DESIGN section 7, after a restart.

use std::collections::VecDeque;
use std::time::Duration;

use crate::alarm::recall::Recall;
use crate::clock::Timestamp;
use crate::gateway::core::Core;
use crate::journal::{Reader, Seq, Span, StoreError};
use crate::point::{Catalog, DeviceId, PointId, Renumbering};
use crate::reading::{Reading, Sample};
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
/// Good readings of a point, older than it is remembered, that a trend still shows.
const BEFORE: usize = 8;
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
    let mut sieve = Sieve::new(core, site, at);
    let old = before.map_or(Ok(0), |before| older(core, (site, reader), (at, before), (&mut sieve, now)))?;
    let recent = recent(core, (site, reader), (first, last), (&mut sieve, now))?;
    sieve.rest().iter().for_each(|reading| core.recall(reading, now));
    core.recalled(at, now);
    Ok(old.saturating_add(recent))
}

/// What was committed from `first` to `last`, in that order.
fn recent(
    core: &mut Core,
    (site, reader): (&Site, &Reader),
    (first, last): (Seq, Seq),
    (sieve, now): (&mut Sieve, Timestamp),
) -> Result<usize, StoreError> {
    let mut from = first;
    let end = Seq(last.0.saturating_add(1));
    let (mut count, mut names) = (0_usize, Names::default());
    while from < end {
        let (groups, next, _) =
            reader.sifted(Span { from, to: end }, PAGE, &mut |catalog, device, end, reading| {
                count = count.saturating_add(1);
                let (device, reading) = match names.of(catalog, &site.catalog) {
                    Some(numbers) => {
                        (numbers.device(device)?, renamed(reading, numbers, (catalog, &site.catalog))?)
                    }
                    None => (device, reading),
                };
                sieve.takes(device, end, reading)
            })?;
        for group in groups {
            let numbers = names.of(&group.catalog, &site.catalog);
            for mut batch in group.batches {
                let device = numbers.map_or(Some(batch.device), |numbers| numbers.device(batch.device));
                let Some(device) = device.filter(|_| !batch.readings.is_empty()) else { continue };
                batch.device = device;
                for reading in &batch.readings {
                    sieve.before(reading.point).iter().for_each(|before| core.recall(before, now));
                }
                core.recall_batch(&batch, now);
            }
        }
        from = next.max(Seq(from.0.saturating_add(1)));
    }
    Ok(count)
}

/// What points remember from before the moment `before`: the last commit was at `last`.
fn older(
    core: &mut Core,
    (site, reader): (&Site, &Reader),
    (last, before): (Timestamp, Timestamp),
    (sieve, now): (&mut Sieve, Timestamp),
) -> Result<usize, StoreError> {
    let mut held: Vec<Reading> = Vec::new();
    let mut count = 0_usize;
    for (id, recall) in core.recalls() {
        let from = last.minus(recall.span.max(recall.reach));
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
                    match sieve.sift(reading) {
                        Some(reading) if !recall.together => {
                            sieve.before(id).iter().for_each(|before| core.recall(before, now));
                            core.recall(&reading, now);
                        }
                        Some(reading) if held.len() < HELD_MAX => held.push(reading),
                        _ => {}
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

/// Keeps back what nobody looks at: a point's readings from before its memory begins, but for the newest ones.
struct Sieve {
    /// By point number.
    points: Vec<Mesh>,
    /// By device number: its polls after this are wanted whole.
    watched: Vec<Option<Timestamp>>,
}

struct Mesh {
    /// Its readings from here on are wanted.
    from: Timestamp,
    /// Before that: the newest one, and the newest good ones of a point that is remembered at all.
    before: VecDeque<Reading>,
    most: usize,
}

impl Sieve {
    /// The earlier run ended at `last`.
    fn new(core: &Core, site: &Site, last: Timestamp) -> Self {
        let recalls = core.recalls();
        let mesh = |recall: Option<&Recall>| Mesh {
            from: match recall {
                // In order with other points, so not one is kept back.
                Some(recall) if recall.together => Timestamp::from_millis(i64::MIN),
                Some(recall) => last.minus(recall.span),
                None => Timestamp::from_millis(i64::MAX),
            },
            before: VecDeque::new(),
            most: if recall.is_some() { BEFORE } else { 1 },
        };
        Self {
            points: site.catalog.points.iter().map(|point| mesh(recalls.get(&point.id))).collect(),
            watched: site.catalog.devices.iter().map(|device| core.watched_since(device.id)).collect(),
        }
    }

    /// The reading, when the core wants it now.
    fn takes(&mut self, device: DeviceId, end: Timestamp, reading: Reading) -> Option<Reading> {
        let since = usize::try_from(device.0).ok().and_then(|device| *self.watched.get(device)?);
        if since.is_some_and(|since| since < end) { Some(reading) } else { self.sift(reading) }
    }

    fn sift(&mut self, reading: Reading) -> Option<Reading> {
        let mesh = usize::try_from(reading.point.0).ok().and_then(|point| self.points.get_mut(point))?;
        if mesh.from <= reading.at {
            return Some(reading);
        }
        if mesh.before.back().is_some_and(|newest| !matches!(newest.sample, Sample::Good(_))) {
            mesh.before.pop_back();
        }
        if mesh.before.len() == mesh.most {
            mesh.before.pop_front();
        }
        mesh.before.push_back(reading);
        None
    }

    /// What was kept back of a point.
    fn before(&mut self, point: PointId) -> VecDeque<Reading> {
        let mesh = usize::try_from(point.0).ok().and_then(|point| self.points.get_mut(point));
        mesh.map(|mesh| std::mem::take(&mut mesh.before)).unwrap_or_default()
    }

    /// What was kept back of points that said nothing later, in order of time.
    fn rest(self) -> Vec<Reading> {
        let mut rest: Vec<Reading> = self.points.into_iter().flat_map(|mesh| mesh.before).collect();
        rest.sort_by_key(|reading| (reading.at, reading.point));
        rest
    }
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

/// The reading under the numbers of the present documents; none when its point is gone, or measured in another unit now.
fn renamed(reading: Reading, numbers: &Renumbering, (was, is): (&Catalog, &Catalog)) -> Option<Reading> {
    let unit = |catalog: &Catalog, point: PointId| catalog.point(point).map(|point| point.unit);
    let point = numbers.point(reading.point)?;
    (unit(was, reading.point) == unit(is, point)).then_some(Reading { point, ..reading })
}
