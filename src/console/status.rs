//! The shape of the gateway's own state: devices, lines, journal, sinks and losses.
//!
//! In: the board. Out: plain structs for JSON, built by hand as those of `view`.
//! Invariant: a shape changes only by growing; absent means well or unknown, never zero.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::{Base, Kind};
use crate::console::coverage::WorkView;
use crate::console::rates::RatesView;
use crate::console::traffic::TrafficView;
use crate::forward;
use crate::gateway::board::Picture;
use crate::point::{Catalog, Device, DeviceId, Line, Point};

/// The gateway's own state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// The gateway's name.
    pub site: String,
    /// Version of the program.
    pub version: String,
    /// Version of the site's documents.
    pub documents: String,
    /// When these documents were taken by a reload; absent when they are those of the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reloaded: Option<String>,
    /// Why the documents on disk were refused by the last reload; absent when they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unapplied: Option<String>,
    /// IANA time zone for display.
    pub timezone: String,
    /// Start of the gateway.
    pub started: String,
    /// Time of this picture.
    pub now: String,
    /// Seconds from `started` to `now`.
    pub uptime_s: u64,
    /// Milliseconds since the picture last changed.
    pub still_ms: u64,
    /// What is wrong with the gateway as a whole; empty when well.
    pub troubles: Vec<String>,
    /// What a person should see to before it is trouble: certificates that end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// Alarms that are not closed.
    pub alarms_open: usize,
    /// How many alarms reach a person.
    #[serde(default)]
    pub rates: RatesView,
    /// When a notice was last proved to get out; absent when never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved: Option<ProvedView>,
    /// Lines.
    pub lines: Vec<LineView>,
    /// Devices with their points.
    pub devices: Vec<DeviceView>,
    /// Rules.
    #[serde(default)]
    pub rules: Vec<RuleNameView>,
    /// The journal.
    pub journal: JournalView,
    /// Sinks.
    pub sinks: Vec<SinkView>,
    /// Losses since start.
    pub losses: Vec<LossView>,
    /// What somebody has to do by a date: calibrations, inspections, tests, maintenance; the most urgent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub work: Vec<WorkView>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleNameView {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub kind: Kind,
}

/// A drill that a sink confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvedView {
    /// When.
    pub at: String,
    /// The sink.
    pub sink: String,
    /// The drill's rule.
    pub rule: String,
    /// The drill's id.
    pub id: String,
    /// All sinks that have confirmed it, the first one first.
    #[serde(default)]
    pub sinks: Vec<String>,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineView {
    /// Its name.
    pub name: String,
    /// Serial port or `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What is wrong; absent when well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What its requests came to.
    #[serde(default)]
    pub traffic: TrafficView,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its name.
    pub name: String,
    /// Its line; absent for derived points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Sensor class.
    pub class: String,
    /// Code of its risk point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_point: Option<String>,
    /// Town of that risk point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub town: Option<String>,
    /// Polls made.
    pub polls: u64,
    /// Polls with a failed exchange.
    pub failed: u64,
    /// Why the last poll failed; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What a person should know of it although it answers; absent when there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// When it last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<String>,
    /// What its requests came to; absent for derived points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficView>,
    /// Its firmware and how that is known; absent for a model whose firmware makes no difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<FirmwareView>,
    /// Reads that were refused first and asked again.
    #[serde(default)]
    pub woken: u64,
    /// Its points.
    pub points: Vec<PointView>,
}

/// A device's firmware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareView {
    /// The version that its polls are read at; absent while it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How it is known: `site`, `register`, `identity`, `refusal` or `unknown`.
    pub by: String,
    /// What a person should know of it: another version than the site's document says, points that this version lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A point's names, for display of its readings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointView {
    /// Full name.
    pub name: String,
    /// Last part of the name.
    pub short: String,
    /// Unit by its short name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Unit by its UCUM code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ucum: Option<String>,
    /// Digits after the point.
    pub decimals: u8,
    /// Names of states by value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<(i64, String)>,
}

/// The journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalView {
    /// Last commit.
    pub seq: u64,
    /// Readings committed since start.
    pub readings: u64,
    /// Transitions committed since start.
    pub transitions: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Readings that wait for the disk.
    pub waiting: u64,
    /// Why the disk refuses; absent when well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Bytes that the journal may take; 0 until first measured.
    #[serde(default)]
    pub bytes_max: u64,
    /// Hours until readings that a sink does not have must go, if it takes nothing from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours_left: Option<f64>,
    /// Bytes sent to the disk in an hour, since start.
    #[serde(default)]
    pub written_per_hour: f64,
    /// Syncs of the disk in an hour, since start.
    #[serde(default)]
    pub syncs_per_hour: f64,
}

/// A sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SinkView {
    /// Its name.
    pub name: String,
    /// The last delivery worked.
    pub up: bool,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Readings delivered since start.
    pub readings: u64,
    /// Transitions delivered since start.
    pub alarms: u64,
    /// Records that the sink refused for good.
    pub rejected: u64,
    /// Records of its that are set aside, see `lifeline quarantine`.
    #[serde(default)]
    pub quarantined: u64,
    /// Readings older than the sink keeps anything, which it dropped.
    #[serde(default)]
    pub too_old: u64,
    /// Nothing goes on until a person changes something.
    #[serde(default)]
    pub held: bool,
    /// Nobody is called from it: a file, a store, or a sink that gets no alarms.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tells_nobody: bool,
    /// Commits not delivered yet.
    pub backlog: u64,
    /// Failed attempts since start.
    pub failures: u64,
}

/// A loss.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossView {
    /// The snake_case reason.
    pub reason: String,
    /// Device, line or sink.
    pub place: String,
    /// How many.
    pub count: u64,
}

impl StatusView {
    /// The shape of `picture`, which last changed `still` ago.
    pub fn new(picture: &Picture, still: Duration, troubles: Vec<String>) -> Self {
        let shown = &picture.shown;
        let catalog = &shown.catalog;
        let mut points: Vec<Vec<PointView>> = vec![Vec::new(); catalog.devices.len()];
        for point in &catalog.points {
            if let Some(of_device) = points.get_mut(index(point.device)) {
                of_device.push(PointView::new(point));
            }
        }
        let devices = points.into_iter().zip(&catalog.devices);
        let losses = picture.losses.iter().map(|((loss, place), count)| LossView {
            reason: loss.name().to_owned(),
            place: place.clone(),
            count: *count,
        });
        Self {
            site: catalog.site.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            documents: catalog.version.clone(),
            reloaded: picture.reloaded.map(|at| at.to_string()),
            unapplied: picture.unapplied.as_ref().map(|refused| format!("{}: {}", refused.at, refused.why)),
            timezone: shown.timezone.clone(),
            started: picture.started.to_string(),
            now: picture.now.to_string(),
            uptime_s: picture.now.since(picture.started).as_secs(),
            still_ms: u64::try_from(still.as_millis()).unwrap_or(u64::MAX),
            troubles,
            notices: picture.notices.iter().cloned().chain(untrusted(picture)).collect(),
            alarms_open: picture.alarms.values().filter(|alarm| alarm.state != Base::Normal).count(),
            rates: RatesView::new(picture),
            proved: picture.proved.as_ref().map(|proved| ProvedView {
                at: proved.at.to_string(),
                sink: proved.sink.clone(),
                rule: proved.rule.clone(),
                id: proved.id.clone(),
                sinks: proved.sinks.clone(),
            }),
            lines: lines(picture),
            devices: devices.map(|(points, device)| device_view(catalog, picture, device, points)).collect(),
            rules: shown
                .rules
                .iter()
                .map(|rule| RuleNameView { name: rule.name.clone(), kind: rule.kind })
                .collect(),
            journal: journal_view(picture),
            sinks: shown
                .sinks
                .iter()
                .map(|(name, status)| sink_view(name, &lock(status), shown.mute.contains(name)))
                .collect(),
            losses: losses.collect(),
            work: picture.work.iter().map(WorkView::new).collect(),
        }
    }
}

/// A copy of a sink's status.
pub fn lock(status: &Mutex<forward::Status>) -> forward::Status {
    status.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Lines with their trouble, in the order of the catalog.
pub fn lines(picture: &Picture) -> Vec<LineView> {
    let line = |(index, line): (usize, &Line)| LineView {
        name: line.name.clone(),
        address: picture.shown.taps.get(index).map(|tap| tap.address.place().to_owned()),
        trouble: picture.lines.get(index).cloned().flatten(),
        traffic: picture.traffic.get(index).map(TrafficView::of_line).unwrap_or_default(),
    };
    picture.shown.catalog.lines.iter().enumerate().map(line).collect()
}

fn index(id: DeviceId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX)
}

fn device_view(catalog: &Catalog, picture: &Picture, device: &Device, points: Vec<PointView>) -> DeviceView {
    let status = picture.devices.get(index(device.id)).cloned().unwrap_or_default();
    let line = device.line.and_then(|id| catalog.lines.iter().find(|line| line.id == id));
    DeviceView {
        name: device.name.clone(),
        line: line.map(|line| line.name.clone()),
        class: device.class.clone(),
        risk_point: device.risk_point.clone(),
        town: device.town.clone(),
        polls: status.polls,
        failed: status.failed,
        trouble: status.trouble,
        advice: status.advice,
        answered: status.answered.map(|at| at.to_string()),
        traffic: line.is_some().then(|| TrafficView::of_device(&status.figures)),
        firmware: status.firmware.map(|known| FirmwareView {
            version: known.applied,
            by: known.by.name().to_owned(),
            note: known.note,
        }),
        woken: status.woken,
        points,
    }
}

impl PointView {
    /// The names of `point`.
    pub fn new(point: &Point) -> Self {
        Self {
            name: point.name.clone(),
            short: point.short.clone(),
            unit: point.unit.map(|unit| unit.name().to_owned()),
            ucum: point.unit.map(|unit| unit.ucum().to_owned()),
            decimals: point.decimals,
            states: point.states.clone(),
        }
    }
}

fn journal_view(picture: &Picture) -> JournalView {
    let journal = &picture.journal;
    JournalView {
        seq: journal.seq,
        readings: journal.readings,
        transitions: journal.transitions,
        bytes: journal.bytes,
        waiting: journal.waiting,
        trouble: journal.trouble.clone(),
        bytes_max: journal.bytes_max,
        hours_left: journal.hours_left,
        written_per_hour: per_hour(journal.written, picture),
        syncs_per_hour: per_hour(journal.syncs, picture),
    }
}

/// A count since start as a rate; 0 in the first second.
#[expect(clippy::cast_precision_loss, reason = "a figure for people; 53 bits are enough")]
fn per_hour(count: u64, picture: &Picture) -> f64 {
    let hours = picture.now.since(picture.started).as_secs_f64() / 3600.0;
    if hours < 1.0 / 3600.0 { 0.0 } else { count as f64 / hours }
}

fn sink_view(name: &str, status: &forward::Status, tells_nobody: bool) -> SinkView {
    SinkView {
        name: name.to_owned(),
        up: status.up,
        trouble: status.trouble.clone(),
        readings: status.readings,
        alarms: status.alarms,
        rejected: status.rejected,
        quarantined: status.quarantined,
        too_old: status.too_old,
        held: status.held,
        tells_nobody,
        backlog: status.backlog,
        failures: status.failures,
    }
}

/// What an untrusted clock means for readings, for as long as it lasts.
fn untrusted(picture: &Picture) -> Option<String> {
    let point = picture.shown.catalog.find("gateway.clock")?;
    let latest = picture.latest.get(point.id.0 as usize)?.as_ref()?;
    latest.sample.value().filter(|value| *value > 0.0).map(|_| {
        "the clock is not trusted: readings are kept, and come into history and to sinks once it is set; alarms go out at once".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Timestamp;
    use crate::gateway::board::Shown;
    use crate::point::{Catalog, DeviceId, Point, PointId};
    use crate::reading::{Reading, Sample};

    #[test]
    fn an_untrusted_clock_is_told_with_what_it_means() {
        let point = Point {
            id: PointId(0),
            name: "gateway.clock".to_owned(),
            short: "clock".to_owned(),
            device: DeviceId(0),
            unit: None,
            decimals: 0,
            states: Vec::new(),
            tags: std::collections::BTreeMap::new(),
        };
        let catalog = Arc::new(Catalog { points: vec![point], ..Catalog::default() });
        let notices = |value: f64| {
            let reading =
                Reading { point: PointId(0), at: Timestamp::from_millis(0), sample: Sample::Good(value) };
            let shown = Arc::new(Shown { catalog: Arc::clone(&catalog), ..Shown::default() });
            let picture = Picture { shown, latest: vec![Some(reading)], ..Picture::default() };
            StatusView::new(&picture, Duration::ZERO, Vec::new()).notices
        };
        assert_eq!(notices(0.0), Vec::<String>::new());
        assert!(notices(1.0)[0].starts_with("the clock is not trusted"));
    }
}
