//! The live board: the committed picture that console, metrics and the terminal show.
//!
//! In: reports of the keeper. Out: a [`Picture`] behind a lock, and a counter that says when it changed.
//! Invariant: readings and alarms shown are committed, or the journal's trouble is shown beside them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::alarm::Alarm;
use crate::alarm::condition::Judged;
use crate::alarm::load;
use crate::alarm::overlay::Overlay;
use crate::clock::Timestamp;
use crate::diagnostic::{self, Diagnostics, Place, Severity};
use crate::forward::{self, Unjournaled};
use crate::gateway::line::Polled;
use crate::gateway::proof::Proved;
use crate::gateway::seam::{Seam, moved};
use crate::gateway::vigil::Stand;
use crate::journal::{Figures as Size, Group, Seq, Wear};
use crate::loss::Losses;
use crate::point::{DeviceId, LineId};
use crate::poll::stats::Figures;
use crate::reading::Reason;
use crate::risk::state::State;
use crate::risk::work::Work;
use crate::site::Site;
use crate::site::diff::Diff;

pub use crate::gateway::picture::{DeviceStatus, JournalStatus, Picture, Shown, Unapplied};

/// Notices that a listener may be behind before it loses the oldest.
const UNJOURNALED_MAX: usize = 256;
/// A person's act, from console or terminal to the core.
#[derive(Debug)]
pub struct Command {
    /// What to do.
    pub event: crate::gateway::core::Event,
    /// The refusal, or `None` when it was done and committed.
    pub answer: oneshot::Sender<Option<String>>,
}

/// A person's wish, or a signal's, that the documents on disk hold from now on.
#[derive(Debug)]
pub struct Reload {
    /// Who or what asks.
    pub by: String,
    /// What became of it.
    pub answer: oneshot::Sender<Result<Reloaded, Refused>>,
}

/// Documents that were taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Their version.
    pub version: String,
    /// What is other than before.
    pub diff: Diff,
    /// Warnings, as `check` shows them.
    pub warnings: String,
}

/// Documents that were refused: nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why, in a sentence.
    pub why: String,
    /// All findings, as `check` shows them.
    pub report: String,
}

impl Refused {
    /// Refused for what was found in `texts`, the first error of which is the reason.
    pub fn new(found: &Diagnostics, texts: &[(String, String)]) -> Self {
        let report = if found.0.is_empty() { String::new() } else { diagnostic::render(found, texts) };
        let Some(first) = found.0.iter().find(|finding| finding.severity == Severity::Error) else {
            return Self { why: "the documents have errors".to_owned(), report };
        };
        let Place { file, line, column, .. } = &first.place;
        let place = if *line == 0 { file.clone() } else { format!("{file}:{line}:{column}") };
        let mut why = format!("{place}: {}", first.message);
        match found.errors().saturating_sub(1) {
            0 => {}
            more => why += &format!(" (and {more} more errors)"),
        }
        Self { why, report }
    }
}

/// Shared by the gateway (writes) and its viewers (read).
pub struct Board {
    /// The picture; lock shortly, clone what is needed.
    pub picture: RwLock<Picture>,
    /// Counts up at each change.
    pub changed: watch::Sender<u64>,
    /// What is not on disk because the disk refuses, once; see [`Unjournaled`].
    pub unjournaled: broadcast::Sender<Arc<Unjournaled>>,
    /// To the core; bounded.
    pub commands: mpsc::Sender<Command>,
    /// To the supervisor; bounded.
    pub reloads: mpsc::Sender<Reload>,
    /// Folder of the journal, for history.
    pub journal: std::path::PathBuf,
}

impl Board {
    /// An empty picture with the alarms of the last run.
    pub fn new(
        site: &Site,
        alarms: Vec<Alarm>,
        (commands, reloads): (mpsc::Sender<Command>, mpsc::Sender<Reload>),
        now: Timestamp,
    ) -> Self {
        let shown = Shown::new(site, &Shown::default());
        let picture = Picture {
            started: now,
            now,
            latest: vec![None; shown.catalog.points.len()],
            alarms: alarms.into_iter().map(|alarm| (alarm.id.clone(), alarm)).collect(),
            devices: vec![DeviceStatus::default(); shown.catalog.devices.len()],
            lines: vec![None; shown.catalog.lines.len()],
            traffic: vec![Figures::default(); shown.catalog.lines.len()],
            shown: Arc::new(shown),
            ..Picture::default()
        };
        Self {
            picture: RwLock::new(picture),
            changed: watch::Sender::new(0),
            unjournaled: broadcast::Sender::new(UNJOURNALED_MAX),
            commands,
            reloads,
            journal: site.journal.path.clone(),
        }
    }

    /// What is shown of the documents that hold now.
    pub fn shown(&self) -> Arc<Shown> {
        let picture = self.picture.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&picture.shown)
    }

    /// Shows other documents: what bears a name in both stays under it.
    pub(crate) fn reload(&self, old: &Site, new: &Site, now: Timestamp) {
        let seam = Seam::new(old, new);
        let numbers = &seam.numbers;
        self.change(|picture| {
            picture.shown = Arc::new(Shown::new(new, &picture.shown));
            (picture.unapplied, picture.reloaded) = (None, Some(now));
            // Numbers of the rules as they were; those of the new ones come with the next commit.
            picture.judged.clear();
            let readings = std::mem::replace(&mut picture.latest, vec![None; new.catalog.points.len()]);
            readings.into_iter().flatten().for_each(|reading| picture.read(reading, Some(&seam)));
            let places = |id: u32| numbers.device(DeviceId(id)).map(|id| id.0);
            picture.devices = moved(&picture.devices, new.catalog.devices.len(), places);
            let places = |id: u32| numbers.line(LineId(id)).map(|id| id.0);
            picture.lines = moved(&picture.lines, new.catalog.lines.len(), places);
            picture.traffic = moved(&picture.traffic, new.catalog.lines.len(), places);
        });
    }

    /// Shows why documents were refused.
    pub(crate) fn unapplied(&self, why: &str, now: Timestamp) {
        self.change(|picture| picture.unapplied = Some(Unapplied { at: now, why: why.to_owned() }));
    }

    pub(crate) fn notices(&self, notices: Vec<String>) {
        self.change(|picture| picture.notices = notices);
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

    /// How the sink of this name does.
    pub(crate) fn sink(&self, name: &str) -> Option<forward::Status> {
        let shown = self.shown();
        let (_, status) = shown.sinks.iter().find(|(known, _)| known == name)?;
        Some(status.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Takes how many alarms reach a person.
    pub(crate) fn load(&self, figures: load::Figures) {
        self.change(|picture| picture.load = figures);
    }

    /// Takes what rules made of their readings last; it is shown with the next group.
    pub(crate) fn judged(&self, judged: BTreeMap<String, Judged>) {
        if let Ok(mut picture) = self.picture.write() {
            picture.judged = judged;
        }
    }

    /// Takes that a notice got out.
    pub(crate) fn proved(&self, proved: Option<Proved>) {
        self.change(|picture| picture.proved = proved);
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
    pub(crate) fn stand(&self, stands: Vec<Stand>, states: Vec<State>, work: Vec<Work>) {
        if let Ok(mut picture) = self.picture.write() {
            (picture.stands, picture.work) = (Arc::new(stands), Arc::new(work));
            picture.states = Arc::new(states);
        }
    }

    /// Shows a committed group; `seam` leads from its numbers to those of the documents that hold, when they are others.
    pub(crate) fn committed(&self, seq: Seq, (group, seam): (&Group, Option<&Seam>), waiting: usize) {
        self.change(|picture| {
            picture.show(group, seam);
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
        self.refused((&Group::default(), None), trouble, waiting);
    }

    /// Shows a group that the disk refused, and says so.
    pub(crate) fn refused(&self, (group, seam): (&Group, Option<&Seam>), trouble: &str, waiting: usize) {
        self.change(|picture| {
            picture.show(group, seam);
            picture.journal.trouble = Some(trouble.to_owned());
            picture.journal.waiting = u64::try_from(waiting).unwrap_or(0);
        });
    }
}
