//! What the gateway tells a time-series store of its own work, each minute.
//!
//! In: the site, the board's picture. Out: readings of the devices that `site` made for lines, polled devices, sinks and the journal.
//! Invariant: counts begin at zero with each start, as counters of a store's queries expect.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::forward::Status;
use crate::gateway::board::{JournalStatus, Picture};
use crate::point::{DeviceId, PointId};
use crate::poll::stats::Figures;
use crate::reading::{Batch, Reading, Sample};
use crate::site::Site;
use crate::site::health::{JOURNAL, LINE, POLLED, SINK};

/// Told so often.
const EVERY: Duration = Duration::from_secs(60);

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
}

/// All that tell of the gateway's work.
pub(crate) struct Health {
    tellers: Vec<Teller>,
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
                _ => return None,
            };
            let points = catalog.points.iter().filter(|point| point.device == device.id);
            Some(Teller { device: device.id, points: points.map(|point| point.id).collect(), of })
        });
        Self { tellers: tellers.collect(), told: None }
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
        if self.told.is_some_and(|told| told <= now && now.since(told) < EVERY) {
            return Vec::new();
        }
        self.told = Some(now);
        let told = self.tellers.iter().filter_map(|teller| {
            let numbers = match &teller.of {
                Of::Line(index) => traffic(picture.traffic.get(*index)?),
                Of::Polled(index) => traffic(&picture.devices.get(*index)?.figures),
                Of::Sink(name) => delivery(&sink(name)?),
                Of::Journal => journal(&picture.journal, lost(picture)),
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
    let millis = |time: Duration| rounded(time.as_secs_f64() * 1000.0, 10.0);
    let answers = [millis(figures.answers.p50), millis(figures.answers.p99)];
    counts.map(number).into_iter().chain([rounded(figures.load * 100.0, 10.0)]).chain(answers).collect()
}

fn delivery(status: &Status) -> Vec<f64> {
    let up = u64::from(status.up);
    [up, status.readings, status.alarms, status.rejected, status.backlog, status.failures]
        .map(number)
        .to_vec()
}

fn journal(status: &JournalStatus, lost: u64) -> Vec<f64> {
    [status.readings, status.transitions, status.waiting, status.bytes, lost].map(number).to_vec()
}

/// Readings, alarms and commits that are gone.
fn lost(picture: &Picture) -> u64 {
    let gone = picture.losses.iter().filter(|((loss, _), _)| loss.is_data());
    gone.map(|(_, count)| *count).sum()
}
