//! The live board: the committed picture that console, metrics and the terminal show.
//!
//! In: reports of the keeper. Out: a [`Picture`] behind a lock, and a counter that says when it changed.
//! Invariant: readings and alarms shown are committed, or the journal's trouble is shown beside them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::alarm::load;
use crate::alarm::overlay::Overlay;
use crate::alarm::{Alarm, Base, Change, Transition};
use crate::bus::Address;
use crate::bus::tap::{self, Listeners};
use crate::clock::Timestamp;
use crate::forward;
use crate::gateway::firmware::Known;
use crate::gateway::line::Polled;
use crate::gateway::vigil::Stand;
use crate::journal::{Figures as Size, Group, Seq, Wear};
use crate::loss::{Loss, Losses};
use crate::point::Catalog;
use crate::poll::stats::Figures;
use crate::reading::{Batch, Reading, Reason};
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

/// What a sink may tell before it is on disk, because the disk refuses or takes too long: marked so, and journaled when the disk is back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unjournaled {
    /// Readings.
    pub batches: Vec<Batch>,
    /// Transitions, in order; they get their number when they are journaled, so a sink's key for them is the alarm's id, state and time.
    pub transitions: Vec<Transition>,
    /// What is wrong with the disk.
    pub trouble: String,
}

/// Notices that a listener may be behind before it loses the oldest.
const UNJOURNALED_MAX: usize = 256;

/// Everything that is shown. Committed states only, or marked otherwise.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// Start of the gateway.
    pub started: Timestamp,
    /// Time of this picture.
    pub now: Timestamp,
    /// Latest reading of each point, by point number.
    pub latest: Vec<Option<Reading>>,
    /// Alarms that are not closed, by id.
    pub alarms: BTreeMap<String, Alarm>,
    /// What lies over rules, by rule name; rules over which nothing lies are not here.
    pub overlays: BTreeMap<String, Overlay>,
    /// How many alarms reach a person.
    pub load: load::Figures,
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
    /// The journal.
    pub journal: JournalStatus,
    /// Losses since start.
    pub losses: BTreeMap<(Loss, String), u64>,
}

/// A person's act, from console or terminal to the core.
#[derive(Debug)]
pub struct Command {
    /// What to do.
    pub event: crate::gateway::core::Event,
    /// The refusal, or `None` when it was done and committed.
    pub answer: oneshot::Sender<Option<String>>,
}

/// Shared by the gateway (writes) and its viewers (read).
pub struct Board {
    /// Names.
    pub catalog: Arc<Catalog>,
    /// The picture; lock shortly, clone what is needed.
    pub picture: RwLock<Picture>,
    /// Sinks by name.
    pub sinks: Vec<(String, Arc<Mutex<forward::Status>>)>,
    /// Counts up at each change.
    pub changed: watch::Sender<u64>,
    /// What is not on disk because the disk refuses, once; see [`Unjournaled`].
    pub unjournaled: broadcast::Sender<Arc<Unjournaled>>,
    /// To the core; bounded.
    pub commands: mpsc::Sender<Command>,
    /// Folder of the journal, for history.
    pub journal: std::path::PathBuf,
    /// Advice and thresholds of each rule, for display.
    pub rules: Vec<crate::alarm::Rule>,
    /// IANA time zone for display.
    pub timezone: String,
    /// Where each line leads and where to listen to it, by line number.
    pub taps: Vec<(Address, Listeners)>,
}

impl Board {
    /// An empty picture with the alarms of the last run.
    pub fn new(site: &Site, alarms: Vec<Alarm>, commands: mpsc::Sender<Command>, now: Timestamp) -> Self {
        let catalog = Arc::clone(&site.catalog);
        let picture = Picture {
            started: now,
            now,
            latest: vec![None; catalog.points.len()],
            alarms: alarms.into_iter().map(|alarm| (alarm.id.clone(), alarm)).collect(),
            devices: vec![DeviceStatus::default(); catalog.devices.len()],
            lines: vec![None; catalog.lines.len()],
            traffic: vec![Figures::default(); catalog.lines.len()],
            ..Picture::default()
        };
        let status =
            |sink: &forward::Settings| (sink.name.clone(), Arc::new(Mutex::new(forward::Status::default())));
        Self {
            picture: RwLock::new(picture),
            sinks: site.sinks.iter().map(status).collect(),
            changed: watch::Sender::new(0),
            unjournaled: broadcast::Sender::new(UNJOURNALED_MAX),
            commands,
            journal: site.journal.path.clone(),
            rules: site.rules.clone(),
            timezone: site.timezone.clone(),
            taps: site.lines.iter().map(|line| (line.settings.address.clone(), tap::listeners())).collect(),
            catalog,
        }
    }

    /// A copy of the picture.
    pub fn look(&self) -> Picture {
        self.picture.read().map(|picture| picture.clone()).unwrap_or_default()
    }

    fn change(&self, change: impl FnOnce(&mut Picture)) {
        if let Ok(mut picture) = self.picture.write() {
            change(&mut picture);
        }
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Takes the outcome of one poll; its readings come with the commit.
    pub(crate) fn polled(&self, polled: &Polled) {
        let Ok(mut picture) = self.picture.write() else { return };
        if let Some(line) = picture.lines.get_mut(polled.line.0 as usize) {
            line.clone_from(&polled.trouble);
        }
        let (line, of_device) = &polled.figures;
        if let Some(traffic) = picture.traffic.get_mut(polled.line.0 as usize) {
            traffic.clone_from(line);
        }
        let Some(device) = picture.devices.get_mut(polled.batch.device.0 as usize) else { return };
        device.polls += 1;
        device.figures.clone_from(of_device);
        device.failed += u64::from(polled.failure.is_some());
        device.trouble = polled.failure.as_ref().map(Reason::words);
        if device.advice != polled.advice {
            if let Some(advice) = &polled.advice {
                tracing::warn!(device = polled.batch.device.0, %advice, "a device needs attention");
            }
            device.advice.clone_from(&polled.advice);
        }
        device.firmware.clone_from(&polled.firmware);
        device.woken += polled.woken;
        if polled.failure.is_none() {
            device.answered = Some(polled.batch.end);
        }
    }

    /// Takes how many alarms reach a person.
    /// How the sink of this name does.
    pub(crate) fn sink(&self, name: &str) -> Option<forward::Status> {
        let (_, status) = self.sinks.iter().find(|(known, _)| known == name)?;
        Some(status.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone())
    }

    pub(crate) fn load(&self, figures: load::Figures) {
        self.change(|picture| picture.load = figures);
    }

    /// What lies over rules at the start.
    pub(crate) fn overlays(&self, overlays: BTreeMap<String, Overlay>) {
        self.change(|picture| picture.overlays = overlays);
    }

    /// Adds losses to the totals and logs them.
    pub(crate) fn losses(&self, losses: &mut Losses) {
        if losses.is_empty() {
            return;
        }
        let drained = losses.drain();
        for (loss, place, count) in &drained {
            tracing::debug!(loss = loss.name(), %place, count, "lost");
        }
        self.change(|picture| {
            for (loss, place, count) in drained {
                *picture.losses.entry((loss, place)).or_default() += count;
            }
        });
    }

    /// Shows how the risk points stand.
    pub(crate) fn stand(&self, stands: Vec<Stand>) {
        if let Ok(mut picture) = self.picture.write() {
            picture.stands = Arc::new(stands);
        }
    }

    /// Shows a committed group.
    pub(crate) fn committed(&self, seq: Seq, group: &Group, waiting: usize) {
        self.change(|picture| {
            picture.show(group);
            let journal = &mut picture.journal;
            let readings: usize = group.batches.iter().map(|batch| batch.readings.len()).sum();
            journal.seq = seq.0;
            journal.readings += u64::try_from(readings).unwrap_or(0);
            journal.transitions += u64::try_from(group.transitions.len()).unwrap_or(0);
            journal.trouble = None;
            journal.waiting = u64::try_from(waiting).unwrap_or(0);
            picture.count(&group.transitions);
        });
    }

    /// Shows what was measured.
    pub(crate) fn measured(&self, size: Option<Size>, wear: Wear, written: u64) {
        let Ok(mut picture) = self.picture.write() else { return };
        let journal = &mut picture.journal;
        (journal.encoded, journal.syncs) = (wear.encoded, wear.syncs);
        journal.written = journal.written.max(written);
        if let Some(size) = size {
            (journal.bytes, journal.bytes_max, journal.hours_left) =
                (size.bytes, size.bytes_max, size.hours_left);
        }
    }

    /// Why the disk refuses.
    pub(crate) fn journal_trouble(&self) -> Option<String> {
        self.picture.read().ok().and_then(|picture| picture.journal.trouble.clone())
    }

    /// Says that the disk takes too long.
    pub(crate) fn slow(&self, trouble: &str, waiting: usize) {
        self.refused(&Group::default(), trouble, waiting);
    }

    /// Shows a group that the disk refused, and says so.
    pub(crate) fn refused(&self, group: &Group, trouble: &str, waiting: usize) {
        self.change(|picture| {
            picture.show(group);
            picture.journal.trouble = Some(trouble.to_owned());
            picture.journal.waiting = u64::try_from(waiting).unwrap_or(0);
        });
    }
}

impl Picture {
    fn show(&mut self, group: &Group) {
        self.now = self.now.max(group.now);
        for reading in group.batches.iter().flat_map(|batch| &batch.readings) {
            if let Some(latest) = self.latest.get_mut(reading.point.0 as usize) {
                *latest = Some(reading.clone());
            }
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

    fn count(&mut self, transitions: &[Transition]) {
        for transition in transitions {
            match transition.change {
                Change::Raised | Change::Reraised => self.raised += 1,
                Change::Cleared => self.cleared += 1,
                _ => {}
            }
        }
    }
}
