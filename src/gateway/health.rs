//! What the gateway tells a time-series store of its own work, each minute (`site.tell_every`).
//!
//! In: the site, the board's picture. Out: readings of the devices that `site` made for lines, polled devices, sinks, journal, alarms and limits.
//! Invariant: counts begin at zero with each start, as counters of a store's queries expect.

use std::collections::HashMap;
use std::time::Duration;

use crate::alarm::{Base, Condition, Severity};
use crate::clock::Timestamp;
use crate::forward::Status;
use crate::gateway::board::{JournalStatus, Picture};
use crate::point::{DeviceId, PointId};
use crate::poll::stats::Figures;
use crate::reading::{Batch, Reading, Sample};
use crate::site::Site;
use crate::site::health::{ALARMS, JOURNAL, LIMIT, LINE, POLLED, SINK};

/// One device and its points, in the order of [`crate::site::health::measures`].
struct Teller {
    device: DeviceId,
    points: Vec<PointId>,
    of: Of,
}

/// What a teller tells of.
enum Of {
    Line(usize),
    Polled(usize),
    Sink(String),
    Journal,
    Alarms,
    /// The thresholds of a rule, in the order of its levels.
    Limits(Vec<f64>),
}

/// All that tell of the gateway's work.
pub(crate) struct Health {
    tellers: Vec<Teller>,
    every: Duration,
    told: Option<Timestamp>,
}

impl Health {
    /// The tellers of the site.
    pub(crate) fn of(site: &Site) -> Self {
        let catalog = &site.catalog;
        let mut points: HashMap<DeviceId, Vec<PointId>> = HashMap::new();
        for point in &catalog.points {
            points.entry(point.device).or_default().push(point.id);
        }
        let polled: HashMap<&str, usize> = catalog
            .devices
            .iter()
            .enumerate()
            .rev()
            .map(|(index, device)| (device.name.as_str(), index))
            .collect();
        let tellers = catalog.devices.iter().filter(|device| device.line.is_none()).filter_map(|device| {
            let name = device.tags.get("of")?;
            let of = match device.class.as_str() {
                LINE => Of::Line(catalog.lines.iter().position(|line| line.name == *name)?),
                POLLED => Of::Polled(*polled.get(name.as_str())?),
                SINK => Of::Sink(name.clone()),
                JOURNAL => Of::Journal,
                ALARMS => Of::Alarms,
                LIMIT => Of::Limits(limits(site, device.tags.get("rule")?)?),
                _ => return None,
            };
            Some(Teller { device: device.id, points: points.remove(&device.id).unwrap_or_default(), of })
        });
        Self { tellers: tellers.collect(), every: site.tell_every, told: None }
    }

    /// Tells of other documents from now on, in the same minutes.
    pub(crate) fn turn(&mut self, site: &Site) {
        self.tellers = Self::of(site).tellers;
    }

    /// The readings that are due; `sink` says how one does.
    pub(crate) fn readings(
        &mut self,
        picture: &Picture,
        sink: impl Fn(&str) -> Option<Status>,
        now: Timestamp,
    ) -> Vec<Batch> {
        // After a step back of the clock it is told at once.
        if self.told.is_some_and(|told| told <= now && now.since(told) < self.every) {
            return Vec::new();
        }
        self.told = Some(now);
        let told = self.tellers.iter().filter_map(|teller| {
            let numbers = match &teller.of {
                Of::Line(index) => traffic(picture.traffic.get(*index)?),
                Of::Polled(index) => traffic(&picture.devices.get(*index)?.figures),
                Of::Sink(name) => delivery(&sink(name)?),
                Of::Journal => journal(&picture.journal, lost(picture)),
                Of::Alarms => alarms(picture),
                Of::Limits(limits) => limits.clone(),
            };
            let readings = teller.points.iter().zip(numbers);
            let readings = readings.map(|(point, number)| Reading {
                point: *point,
                at: now,
                sample: Sample::Good(number),
            });
            Some(Batch { device: teller.device, start: now, end: now, readings: readings.collect() })
        });
        told.collect()
    }
}

/// Counts below 2^53 are exact.
fn number(count: u64) -> f64 {
    count as f64
}

fn traffic(figures: &Figures) -> Vec<f64> {
    let exceptions = figures.exceptions.iter().map(|(_, count)| count).sum();
    let counts = [
        figures.requests,
        figures.replies,
        figures.timeouts,
        figures.bad_frames,
        figures.line_downs,
        exceptions,
    ];
    let rounded = |number: f64, digits: f64| (number * digits).round() / digits;
    // To a tenth of a millisecond.
    let seconds = |time: Duration| rounded(time.as_secs_f64(), 10_000.0);
    let answers = [seconds(figures.answers.p50), seconds(figures.answers.p99)];
    counts.map(number).into_iter().chain([rounded(figures.load * 100.0, 10.0)]).chain(answers).collect()
}

fn delivery(status: &Status) -> Vec<f64> {
    let up = u64::from(status.up);
    let delivered = [up, status.readings, status.alarms, status.rejected, status.backlog, status.failures];
    let kept = [status.too_old, status.quarantined, u64::from(status.held)];
    delivered.into_iter().chain(kept).map(number).collect()
}

/// Open alarms, those nobody has acknowledged, active ones from red to blue; raised and cleared since start.
fn alarms(picture: &Picture) -> Vec<f64> {
    let count = |counts: &dyn Fn(Base, Severity) -> bool| {
        picture.alarms.values().filter(|alarm| counts(alarm.state, alarm.severity)).count()
    };
    let unseen = [Base::ActiveUnacknowledged, Base::ReturnedUnacknowledged, Base::LatchedUnacknowledged];
    let active = [Base::ActiveUnacknowledged, Base::ActiveAcknowledged];
    let open = [count(&|state, _| state != Base::Normal), count(&|state, _| unseen.contains(&state))];
    let grades = [Severity::Red, Severity::Orange, Severity::Yellow, Severity::Blue];
    let grades = grades.map(|grade| count(&|state, severity| severity == grade && active.contains(&state)));
    let counts = open.into_iter().chain(grades).map(|count| u64::try_from(count).unwrap_or(u64::MAX));
    counts.chain([picture.raised, picture.cleared]).map(number).collect()
}

/// The thresholds of a rule in the order of its levels.
fn limits(site: &Site, name: &str) -> Option<Vec<f64>> {
    let rule = site.rules.iter().find(|rule| rule.name == name)?;
    let Condition::Threshold { levels, .. } = &rule.condition else { return None };
    Some(levels.iter().map(|level| level.threshold).collect())
}

fn journal(status: &JournalStatus, lost: u64) -> Vec<f64> {
    [status.readings, status.transitions, status.waiting, status.bytes, lost].map(number).to_vec()
}

/// Readings, alarms and commits that are gone.
fn lost(picture: &Picture) -> u64 {
    let gone = picture.losses.iter().filter(|((loss, _), _)| loss.is_data());
    gone.map(|(_, count)| *count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::health::{is_own, measures};
    use crate::site::{Options, load};

    fn site() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("gateway.toml");
        let sink = "[[sink]]\nname = \"files\"\nkind = \"file\"\npath = \"/tmp/export\"\n";
        std::fs::write(&config, sink).unwrap();
        let options = Options {
            config: Some(config),
            site: "devices".into(),
            profiles: Some("firmware-profiles".into()),
            ..Options::default()
        };
        load(&options).0.unwrap()
    }

    /// Every own device of every class tells of all its points, once in a period.
    #[test]
    fn every_point_is_told_and_a_limit_is_its_rules() {
        let site = site();
        let picture = Picture {
            traffic: vec![Figures::default(); site.catalog.lines.len()],
            devices: vec![Default::default(); site.catalog.devices.len()],
            ..Picture::default()
        };
        let mut health = Health::of(&site);
        let start = Timestamp::from_millis(1_795_420_800_000);
        let told = health.readings(&picture, |_| Some(Status::default()), start);
        let mut classes = std::collections::BTreeSet::new();
        for device in
            site.catalog.devices.iter().filter(|device| device.line.is_none() && is_own(&device.class))
        {
            // Risk points are told by the vigil.
            if measures(&device.class).is_empty() {
                continue;
            }
            classes.insert(device.class.as_str());
            let points: Vec<_> =
                site.catalog.points.iter().filter(|point| point.device == device.id).collect();
            let batch = told.iter().find(|batch| batch.device == device.id);
            let readings = &batch.unwrap_or_else(|| panic!("{} is silent", device.name)).readings;
            assert!(
                readings.iter().map(|reading| reading.point).eq(points.iter().map(|point| point.id)),
                "{}",
                device.name
            );
        }
        assert_eq!(classes.len(), 6, "{classes:?}");
        let number = |name: &str| {
            let point = site.catalog.find(name).unwrap();
            let mut readings = told.iter().flat_map(|batch| &batch.readings);
            readings.find(|reading| reading.point == point.id).unwrap().sample.value()
        };
        // As the site's gas.toml and water.toml say.
        assert_eq!(number("rule-limit-regulator-3-outlet-high.orange"), Some(3.2));
        assert_eq!(number("rule-limit-underpass-1-level.blue"), Some(5.0));
        assert!(health.readings(&picture, |_| None, start.plus(Duration::from_secs(59))).is_empty());
        assert!(!health.readings(&picture, |_| None, start.plus(site.tell_every)).is_empty());
    }

    #[test]
    fn answer_times_are_seconds_to_a_tenth_of_a_millisecond() {
        let mut figures = Figures::default();
        (figures.answers.p50, figures.answers.p99) = (Duration::from_micros(12_340), Duration::from_secs(2));
        assert_eq!(traffic(&figures).get(7..), Some([0.0123, 2.0].as_slice()));
    }
}
