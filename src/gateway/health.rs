//! What the gateway tells a time-series store of its own work, each minute (`site.tell_every`).
//!
//! In: the site, the board's picture. Out: readings of the devices that `site` made for lines, polled devices, sinks, journal, alarms and limits.
//! Invariant: counts begin at zero with each start, as counters of a store's queries expect.

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
        let tellers = catalog.devices.iter().filter(|device| device.line.is_none()).filter_map(|device| {
            let name = device.tags.get("of")?;
            let of = match device.class.as_str() {
                LINE => Of::Line(catalog.lines.iter().position(|line| line.name == *name)?),
                POLLED => Of::Polled(catalog.devices.iter().position(|known| known.name == *name)?),
                SINK => Of::Sink(name.clone()),
                JOURNAL => Of::Journal,
                ALARMS => Of::Alarms,
                LIMIT => Of::Limits(limits(site, device.tags.get("rule")?)?),
                _ => return None,
            };
            let points = catalog.points.iter().filter(|point| point.device == device.id);
            Some(Teller { device: device.id, points: points.map(|point| point.id).collect(), of })
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
