//! The picture: what console, metrics and the terminal show, as plain data.
//!
//! In: groups that were committed, or that wait for the disk. Out: the newest of each point, alarm, device and line.
//! Invariant: bounded by the documents and by the open alarms; nothing here is older than what it replaced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::alarm::condition::Judged;
use crate::alarm::load;
use crate::alarm::overlay::Overlay;
use crate::alarm::{Alarm, Base, Change, Transition};
use crate::bus::tap;
use crate::bus::trace::text::LineTap;
use crate::clock::Timestamp;
use crate::forward;
use crate::gateway::firmware::Known;
use crate::gateway::proof::Proved;
use crate::gateway::seam::Seam;
use crate::gateway::vigil::Stand;
use crate::journal::Group;
use crate::loss::Loss;
use crate::point::Catalog;
use crate::poll::stats::Figures;
use crate::reading::Reading;
use crate::risk::state::State;
use crate::risk::work::Work;
use crate::site::Site;

/// What one device's polls came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceStatus {
    /// Polls made.
    pub polls: u64,
    /// Polls with at least one failed exchange.
    pub failed: u64,
    /// Why the last poll failed; `None` when it did not.
    pub trouble: Option<String>,
    /// What a person should know of it although it answers; `None` when there is nothing.
    pub advice: Option<String>,
    /// When the device last answered.
    pub answered: Option<Timestamp>,
    /// What its requests came to.
    pub figures: Figures,
    /// Its firmware, and how that is known; `None` for a model whose firmware makes no difference.
    pub firmware: Option<Known>,
    /// Reads that were refused first and asked again.
    pub woken: u64,
}

/// Figures of the journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JournalStatus {
    /// Last commit.
    pub seq: u64,
    /// Readings committed since start.
    pub readings: u64,
    /// Transitions committed since start.
    pub transitions: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Why the disk refuses.
    pub trouble: Option<String>,
    /// Readings that wait for the disk.
    pub waiting: u64,
    /// Bytes that it may take; 0 until first measured.
    pub bytes_max: u64,
    /// Hours until readings that a sink does not have must go, if it takes nothing from now on.
    pub hours_left: Option<f64>,
    /// Bytes of readings since start, encoded.
    pub encoded: u64,
    /// Bytes sent to the disk since start, as the kernel counts them.
    pub written: u64,
    /// Syncs of the disk since start.
    pub syncs: u64,
}

/// What is shown of one version of the documents. Numbers in a picture are those of its catalog.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Names.
    pub catalog: Arc<Catalog>,
    /// Advice and thresholds of each rule, for display.
    pub rules: Vec<crate::alarm::Rule>,
    /// IANA time zone for display.
    pub timezone: String,
    /// Sinks by name.
    pub sinks: Vec<(String, Arc<Mutex<forward::Status>>)>,
    /// The sinks by which no alarm leaves this box.
    pub mute: Vec<String>,
    /// Where each line leads and where to listen to it, by line number.
    pub taps: Vec<LineTap>,
    /// The documents: name and text.
    pub documents: Vec<(String, String)>,
}

/// Why the documents on disk are not the ones that hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unapplied {
    /// When they were refused.
    pub at: Timestamp,
    /// Why, in a sentence.
    pub why: String,
}

/// Everything that is shown. Committed states only, or marked otherwise.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// The documents that hold.
    pub shown: Arc<Shown>,
    /// The documents that were refused last, when no others were taken since.
    pub unapplied: Option<Unapplied>,
    /// What a person should see to before it is trouble.
    pub notices: Vec<String>,
    /// When the documents that hold were taken, by a reload; `None` when by the start.
    pub reloaded: Option<Timestamp>,
    /// Start of the gateway.
    pub started: Timestamp,
    /// Time of this picture.
    pub now: Timestamp,
    /// Latest reading of each point, by point number.
    pub latest: Vec<Option<Reading>>,
    /// Alarms that are not closed, by id.
    pub alarms: BTreeMap<String, Alarm>,
    /// What rules with an open alarm made of their readings last, by rule name; of a rule of plain readings `latest` says it.
    pub judged: BTreeMap<String, Judged>,
    /// What lies over rules, by rule name; rules over which nothing lies are not here.
    pub overlays: BTreeMap<String, Overlay>,
    /// How many alarms reach a person.
    pub load: load::Figures,
    /// When a notice was last proved to get out.
    pub proved: Option<Proved>,
    /// Raised, cleared since start.
    pub raised: u64,
    /// Cleared since start.
    pub cleared: u64,
    /// Devices by device number.
    pub devices: Vec<DeviceStatus>,
    /// Trouble of lines, by line number.
    pub lines: Vec<Option<String>>,
    /// What each line's requests came to, by line number.
    pub traffic: Vec<Figures>,
    /// How the risk points stand.
    pub stands: Arc<Vec<Stand>>,
    /// Their states, in the same order.
    pub states: Arc<Vec<State>>,
    /// What somebody has to do by a date.
    pub work: Arc<Vec<Work>>,
    /// The journal.
    pub journal: JournalStatus,
    /// Losses since start.
    pub losses: BTreeMap<(Loss, String), u64>,
}

impl Shown {
    /// What is shown of `site`; sinks and lines of a known name keep what they had.
    pub(super) fn new(site: &Site, before: &Self) -> Self {
        let sink = |sink: &forward::Settings| {
            let known = before.sinks.iter().find(|(name, _)| *name == sink.name);
            let status = known.map(|(_, status)| Arc::clone(status));
            (sink.name.clone(), status.unwrap_or_default())
        };
        let tap = |line: &crate::site::LineSpec| {
            let known = before.catalog.lines.iter().position(|known| known.name == line.settings.name);
            let listeners = known.and_then(|place| before.taps.get(place)).map(|tap| tap.listeners.clone());
            LineTap {
                address: line.settings.address.clone(),
                listeners: listeners.unwrap_or_else(tap::listeners),
                speakers: crate::gateway::text_line::speakers(site, line),
            }
        };
        Self {
            catalog: Arc::clone(&site.catalog),
            rules: site.rules.clone(),
            timezone: site.timezone.clone(),
            sinks: site.sinks.iter().map(sink).collect(),
            mute: site
                .sinks
                .iter()
                .filter(|sink| sink.tells_nobody())
                .map(|sink| sink.name.clone())
                .collect(),
            taps: site.lines.iter().map(tap).collect(),
            documents: site.documents.clone(),
        }
    }
}

impl Picture {
    pub(super) fn read(&mut self, reading: Reading, seam: Option<&Seam>) {
        let reading = match seam {
            Some(seam) => seam.carry(reading),
            None => Some(reading),
        };
        let Some(reading) = reading else { return };
        if let Some(latest) = self.latest.get_mut(reading.point.0 as usize) {
            *latest = Some(reading);
        }
    }

    pub(super) fn show(&mut self, group: &Group, seam: Option<&Seam>) {
        self.now = self.now.max(group.now);
        for reading in group.batches.iter().flat_map(|batch| &batch.readings) {
            self.read(reading.clone(), seam);
        }
        for (rule, state) in &group.states {
            if state.overlay.is_empty() {
                self.overlays.remove(rule);
            } else {
                self.overlays.insert(rule.clone(), state.overlay.clone());
            }
        }
        for transition in &group.transitions {
            if transition.alarm.state == Base::Normal {
                self.alarms.remove(&transition.alarm.id);
            } else {
                self.alarms.insert(transition.alarm.id.clone(), transition.alarm.clone());
            }
        }
    }

    pub(super) fn count(&mut self, transitions: &[Transition]) {
        for transition in transitions {
            match transition.change {
                Change::Raised | Change::Reraised => self.raised += 1,
                Change::Cleared => self.cleared += 1,
                _ => {}
            }
        }
    }
}
