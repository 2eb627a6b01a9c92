//! The durable log: readings, transitions, alarm state and delivery progress, committed together (SQLite, one writer).
//!
//! In: groups of the core's effects, progress that sinks confirmed. Out: the same, by number, by time and by rule.
//! Invariant: what a commit confirmed survives a crash, whole and once; what no longer matches its check sum is counted,
//! never guessed; a number is never used twice.
//! Source: DESIGN promises 2 and 10; `docs/journal.md` describes the file.
//!
//! ```
//! use lifeline_gateway::journal::{Group, Journal, Reader, Seq, Settings};
//! # let folder = tempfile::tempdir()?;
//! let hour = std::time::Duration::from_secs(3600);
//! let settings = Settings { path: folder.path().into(), commit_every: hour, keep: hour, max_bytes: 1 << 30 };
//! let mut journal = Journal::open(&settings)?;
//! assert_eq!(journal.commit(&Group::default())?, Seq(1));
//! assert_eq!(Reader::open(folder.path())?.last()?.map(|(seq, _)| seq), Some(Seq(1)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// The file and its bytes.
mod blob;
mod numbers;
mod record;
mod segments;
#[doc(hidden)]
pub mod disk;
mod tail;
pub mod mend;
mod store;
mod wal;

// The writer.
pub mod date;
mod figures;
mod trim;
mod aside;
mod write;

// The history.
mod chunk;
pub mod chunks;
pub mod extremes;

// The readers.
pub mod care;
mod back;
pub mod quarantine;
mod history;
mod read;
mod rows;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::{RuleState, Transition};
use crate::clock::{Boot, Timestamp};
use crate::journal::record::Record;
use crate::journal::segments::Segments;
use crate::point::Catalog;
use crate::reading::Batch;

/// Settings of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Folder of the journal's files.
    pub path: PathBuf,
    /// Telemetry is committed this often; an alarm commits at once.
    pub commit_every: Duration,
    /// Age at which telemetry is removed.
    pub keep: Duration,
    /// Bytes on disk at most.
    pub max_bytes: u64,
}

/// Number of a commit, 1, 2, 3 ... without holes; never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u64);

/// Half-open span of commits `from.. to` (from < to).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First commit.
    pub from: Seq,
    /// One past the last.
    pub to: Seq,
}

/// What one sink has confirmed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// All transitions with a number up to this one are delivered.
    pub alarms: u64,
    /// All readings of commits up to this one are delivered or stand in `gaps`.
    pub live: Seq,
    /// Commits up to `live` that are not delivered yet, oldest first, disjoint: the backlog.
    pub gaps: Vec<Span>,
}

/// What one commit holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// The core's `now` at the last event of the group.
    pub now: Timestamp,
    /// Version of the catalog that point numbers refer to.
    pub version: String,
    /// Readings.
    pub batches: Vec<Batch>,
    /// Transitions, in order.
    pub transitions: Vec<Transition>,
    /// Rule states that changed, by rule name.
    pub states: Vec<(String, RuleState)>,
    /// Progress that moved, by sink name.
    pub progress: Vec<(String, Progress)>,
    /// What the gateway did to devices, and what it learnt of them, in order.
    pub audits: Vec<Audit>,
    /// What a restart needs beside rule states, by key: texts that their owners alone can read.
    pub memories: Vec<(String, String)>,
    /// The start of the box that the readings' times count from, while nobody trusts the clock that gave them: they are kept apart, and
    /// become commits when [`Journal::date`] knows their time. `None`: the clock is trusted.
    pub undated: Option<Boot>,
}

/// Something that must be known afterwards although it is no reading and no alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// When.
    pub at: Timestamp,
    /// Name of the device.
    pub device: String,
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
}

/// What was done or learnt. A closed list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "deed", rename_all = "kebab-case")]
pub enum Deed {
    /// A write that makes a device measure, the only kind of write there is.
    Trigger {
        /// Its name in the profile.
        name: String,
        /// What was written, as `holding 0x0118 = 1`.
        write: String,
        /// Why it failed; absent when the device confirmed it (or nobody had to: a broadcast).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<String>,
    },
    /// Readings were removed before a sink had them: the journal was at its size or they at their age.
    Cut {
        /// The sink that will never get them.
        sink: String,
        /// How many.
        readings: u64,
    },
    /// Other documents hold from now on.
    Reload {
        /// Version of the documents before.
        was: String,
        /// Version now.
        is: String,
        /// Who or what asked for it.
        by: String,
        /// The differences, one on a line.
        changes: Vec<String>,
    },
    /// Documents were refused; those before hold on.
    Unapplied {
        /// Who or what asked for them.
        by: String,
        /// Why, in a sentence.
        why: String,
    },
    /// A device's firmware is known, or is another one than before.
    Firmware {
        /// The version before; absent when there was none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<String>,
        /// The version now; absent when the device doesn't tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        is: Option<String>,
        /// What a person should know of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
}

/// A version of the documents as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its hash.
    pub version: String,
    /// Name and text of each document.
    pub documents: Vec<(String, String)>,
}

/// Readings of one commit as read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its number.
    pub seq: Seq,
    /// The `now` of the commit.
    pub now: Timestamp,
    /// Names for its point numbers.
    pub catalog: Arc<Catalog>,
    /// Readings.
    pub batches: Vec<Batch>,
}

/// A path for a person who did not start the command: a relative one with the folder that it counts from.
pub(crate) fn told(path: &Path) -> String {
    match std::path::absolute(path) {
        Ok(whole) if path.is_relative() => {
            format!("{} (`{}` counts from the folder where lifeline starts)", whole.display(), path.display())
        }
        _ => path.display().to_string(),
    }
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the text says it")]
pub enum OpenError {
    #[error("cannot create the journal folder {}", told(path))]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("another lifeline is running on the journal {}; stop it or set another journal.path", told(path))]
    Locked { path: PathBuf },
    #[error(
        "the journal {} is of version {found} and this lifeline knows up to {known}; install the newer lifeline, nothing was changed",
        told(path)
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error(
        "the journal.db in {} belongs to another program; move it away or set another journal.path, nothing was changed",
        told(path)
    )]
    Foreign { path: PathBuf },
    #[error("cannot move the damaged journal in {} aside", told(path))]
    Aside { path: PathBuf, source: std::io::Error },
    #[error("cannot open the journal {}", told(path))]
    Store { path: PathBuf, source: rusqlite::Error },
}

/// Why a commit or a read failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the text says it")]
pub enum StoreError {
    #[error("the disk is full")]
    Full,
    #[error("the journal's disk refuses")]
    Refused { source: rusqlite::Error },
    #[error("the journal cannot be opened: {text}")]
    Closed { text: String },
}

/// The writer. One for each folder (held by an OS lock).
pub struct Journal {
    // Stands before the lock: fields drop in this order, and the file is closed before another may open it.
    db: rusqlite::Connection,
    _lock: File,
    settings: Settings,
    /// Number of the last commit; 0 before the first.
    last: u64,
    /// Number of the last commit that the database has.
    rooted: u64,
    /// Where the readings of most commits go.
    segments: Segments,
    /// Commits that stand in segments and not in the database yet.
    tail: Vec<Record>,
    /// The `now` of the last commit.
    last_now: Option<Timestamp>,
    /// Retention by age trusts the clock from here on.
    steady_from: Timestamp,
    /// Numbers of the site versions in the file.
    sites: HashMap<String, i64>,
    /// The encoded group; kept for its memory.
    blob: Vec<u8>,
    /// The last commit found the disk full.
    full: bool,
    /// Losses that no `trim` has returned yet.
    lost: BTreeMap<String, u64>,
    /// Bytes of one of the file's pages.
    page_bytes: u64,
    /// Bytes written to the log since the last checkpoint, about.
    unchecked: u64,
    /// Bytes of readings committed since the last `trim`.
    grown: u64,
    /// Transactions that a damaged log hid when the journal was opened.
    hidden: u64,
    /// What this run wrote.
    wear: Wear,
    /// The last commit that is in the history; `None` without one.
    sealed: Option<Arc<AtomicU64>>,
    /// There may be readings whose time is not known.
    undated: bool,
    /// Records found damaged that nobody was told of.
    damaged: u64,
}

/// What a journal wrote since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wear {
    /// Bytes of readings, encoded.
    pub encoded: u64,
    /// Syncs of the disk.
    pub syncs: u64,
}

/// How large a journal is, and how long it can hold out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Bytes on disk, of all files.
    pub bytes: u64,
    /// Bytes that it may take.
    pub bytes_max: u64,
    /// Bytes of new readings in an hour at the rate of the last commits; 0 while unknown.
    pub bytes_per_hour: f64,
    /// Hours until readings that a sink does not have must go, if it takes nothing from now on; absent while unknown.
    pub hours_left: Option<f64>,
}

/// What a journal holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Commits.
    pub commits: u64,
    /// Those of them that hold readings; the others tell of alarms, documents or deliveries alone.
    pub with_readings: u64,
    /// Readings in them.
    pub in_commits: u64,
    /// Readings in them and in the history, each once.
    pub readings: u64,
    /// Time of the oldest.
    pub oldest: Option<Timestamp>,
}

/// A read-only view with its own connection; many at once, also of a journal that no gateway holds.
pub struct Reader {
    inner: Mutex<rows::Inner>,
    path: PathBuf,
}
