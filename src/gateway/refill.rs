//! Windows of rules that a reload brings or changes, filled from the journal: such a rule is judged by what the gateway has seen, as after a restart.
//!
//! In: the documents before and after, the journal, what was read while it was looked at. Out: changed rules that know the journal's readings, made beside the
//! core; those since, under the new numbers, in order of time.
//! Invariant: none is missing in between: the looking begins when all that came before is on disk, and what comes from then on is kept in memory until the
//! documents turn. A point whose readings mean something else by now gives none, nor any from before an earlier reload of this run that changed it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use crate::alarm::recall::Primed;
use crate::alarm::{Condition, Rule};
use crate::clock::Timestamp;
use crate::gateway::seam::Seam;
use crate::journal::Reader;
use crate::point::{Catalog, Point, PointId};
use crate::reading::{Batch, Reading};
use crate::site::{Site, diff};

/// Readings of all windows at most: seconds of one processor, and some ten megabytes. With more of them windows fill up by themselves.
const READINGS_MAX: usize = 200_000;

/// The rules of `new` that look back and ask something else than in `old`, of points that mean the same in both.
pub(crate) fn changed(old: &Site, new: &Site) -> Vec<Rule> {
    let before: BTreeMap<&str, &str> =
        old.rules.iter().map(|rule| (rule.name.as_str(), rule.version.as_str())).collect();
    let other =
        new.rules.iter().filter(|rule| before.get(rule.name.as_str()) != Some(&rule.version.as_str()));
    let measured: Vec<&Rule> =
        other.filter(|rule| matches!(rule.condition, Condition::Measured { .. })).collect();
    if measured.is_empty() {
        return Vec::new();
    }
    let known: BTreeSet<PointId> = diff::unmoved_points(old, new).into_iter().flatten().collect();
    let knows = |rule: &&Rule| rule.points().iter().all(|point| known.contains(point));
    measured.into_iter().filter(knows).cloned().collect()
}

/// How far back the readings of which points are wanted for these rules.
fn wanted(rules: &[Rule]) -> BTreeMap<PointId, Duration> {
    let mut wanted: BTreeMap<PointId, Duration> = BTreeMap::new();
    for rule in rules {
        let Condition::Measured { measured, inputs } = &rule.condition else { continue };
        for input in inputs {
            let so_far = wanted.entry(*input).or_default();
            *so_far = measured.recalls().max(*so_far);
        }
    }
    wanted
}

/// Notes, by name, which points mean something else from `now` on than readings of that name before.
pub(crate) fn note(since: &mut BTreeMap<String, Timestamp>, (old, new): (&Site, &Site), now: Timestamp) {
    let known: BTreeSet<PointId> = diff::unmoved_points(old, new).into_iter().flatten().collect();
    let before = std::mem::take(since);
    for point in &new.catalog.points {
        let from = if known.contains(&point.id) { before.get(&point.name).copied() } else { Some(now) };
        since.extend(from.map(|from| (point.name.clone(), from)));
    }
}

/// These rules with what the journal in `folder` has of their points up to `now`; `since` is as of [`note`].
pub(crate) fn primed(
    folder: &Path,
    new: &Site,
    (rules, since): (Vec<Rule>, &BTreeMap<String, Timestamp>),
    now: Timestamp,
) -> Option<Primed> {
    let mut readings = read(folder, new, (&wanted(&rules), since), now)?;
    readings.sort_by_key(|reading| (reading.at, reading.point));
    tracing::debug!(readings = readings.len(), rules = rules.len(), "windows of changed rules");
    Some(Primed::new(rules, &new.catalog, &readings, now))
}

/// What the journal in `folder` has of these points up to `now`, and not from before the moment that [`note`] has of them; `None` when that is too
/// much, or cannot be read.
fn read(
    folder: &Path,
    new: &Site,
    (wanted, since): (&BTreeMap<PointId, Duration>, &BTreeMap<String, Timestamp>),
    now: Timestamp,
) -> Option<Vec<Reading>> {
    let reader = Reader::open(folder)
        .inspect_err(|error| tracing::warn!(%error, "windows of changed rules begin anew"))
        .ok()?;
    // Those that look back equally far are read together: each reads all that is not sealed yet.
    let mut spans: BTreeMap<Timestamp, BTreeMap<&str, &Point>> = BTreeMap::new();
    for (&id, span) in wanted {
        let Some(point) = new.catalog.point(id) else { continue };
        let from = since.get(&point.name).map_or(now.minus(*span), |since| now.minus(*span).max(*since));
        spans.entry(from).or_default().insert(&point.name, point);
    }
    let mut readings: Vec<Reading> = Vec::new();
    for (from, points) in spans {
        let names: Vec<String> = points.keys().map(ToString::to_string).collect();
        let mut each = |catalog: &Catalog, reading: &Reading| {
            let was = catalog.point(reading.point);
            if let Some((was, is)) = was.and_then(|was| Some((was, points.get(was.name.as_str())?)))
                && was.unit == is.unit
            {
                readings.push(Reading { point: is.id, ..reading.clone() });
            }
            readings.len() < READINGS_MAX
        };
        reader
            .history(&names, from, now.shifted(1), &mut each)
            .inspect_err(|error| tracing::warn!(%error, "windows of changed rules begin anew"))
            .ok()?;
    }
    if READINGS_MAX <= readings.len() {
        tracing::warn!(
            "the windows of changed rules are too long to be filled from the journal; they begin anew"
        );
        return None;
    }
    Some(readings)
}

/// What was read since then, under the numbers that `seam` leads to.
pub(crate) fn since(heard: Vec<Batch>, seam: &Seam) -> Vec<Reading> {
    let readings = heard.into_iter().flat_map(|batch| batch.readings);
    let mut since: Vec<Reading> = readings.filter_map(|reading| seam.carry(reading)).collect();
    since.sort_by_key(|reading| (reading.at, reading.point));
    since
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Group, Journal, Settings};
    use crate::reading::Sample;
    use crate::site;

    #[test]
    fn each_point_is_read_as_far_back_as_it_is_wanted() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        let options = site::Options {
            site: "devices".into(),
            profiles: Some("firmware-profiles".into()),
            now,
            ..site::Options::default()
        };
        let site = site::load(&options).0.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
        let path = folder.path().into();
        let settings = Settings { path, commit_every: hour, keep: day, max_bytes: 1 << 30 };
        let mut journal = Journal::open(&settings).unwrap();
        journal.keep_site(&site.catalog, &[], now).unwrap();
        let [a, b, c, d] = [0, 1, 2, 3].map(|place| &site.catalog.points[place]);
        for ago in (0..100).rev() {
            let at = now.shifted(-1000 * ago);
            let reading = |id: PointId| Reading { point: id, at, sample: Sample::Good(1.0) };
            let readings = vec![reading(a.id), reading(b.id), reading(c.id), reading(d.id)];
            let batch = Batch { device: a.device, start: at, end: at, readings };
            let version = site.catalog.version.clone();
            journal.commit(&Group { now: at, version, batches: vec![batch], ..Group::default() }).unwrap();
        }
        let seconds = Duration::from_secs;
        let wanted = BTreeMap::from([(a.id, seconds(10)), (b.id, seconds(20)), (c.id, seconds(20))]);
        let since = BTreeMap::from([(c.name.clone(), now.shifted(-5000))]);
        let readings = read(folder.path(), &site, (&wanted, &since), now).unwrap();
        let of = |id: PointId| readings.iter().filter(|reading| reading.point == id).count();
        assert_eq!([a, b, c, d].map(|point| of(point.id)), [11, 21, 6, 0]);
    }
}
