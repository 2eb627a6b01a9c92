//! The live board: the committed picture that console, metrics and the terminal show.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::{mpsc, oneshot, watch};

use crate::alarm::Alarm;
use crate::clock::Timestamp;
use crate::forward;
use crate::loss::Loss;
use crate::point::Catalog;
use crate::reading::Reading;

/// What one device's polls came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceStatus {
    /// Polls made.
    pub polls: u64,
    /// Polls with at least one failed exchange.
    pub failed: u64,
    /// Why the last poll failed; `None` when it did not.
    pub trouble: Option<String>,
    /// When the device last answered.
    pub answered: Option<Timestamp>,
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
}

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
    /// Raised, cleared since start.
    pub raised: u64,
    /// Cleared since start.
    pub cleared: u64,
    /// Devices by device number.
    pub devices: Vec<DeviceStatus>,
    /// Trouble of lines, by line number.
    pub lines: Vec<Option<String>>,
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
    /// To the core; bounded.
    pub commands: mpsc::Sender<Command>,
    /// Folder of the journal, for history.
    pub journal: std::path::PathBuf,
    /// Advice and thresholds of each rule, for display.
    pub rules: Vec<crate::alarm::Rule>,
    /// IANA time zone for display.
    pub timezone: String,
}
