//! The durable log: readings, transitions, alarm state and delivery progress, committed together (SQLite, one writer).
//!
//! In: groups. Out: their numbers, and everything read back through [`reader::Reader`].
//! Invariant: what a commit confirmed survives a crash, whole; commit numbers have no holes and are never used twice.

mod blob;
pub mod reader;
pub mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::{RuleState, Transition};
use crate::clock::Timestamp;
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

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the text says it")]
pub enum OpenError {
    #[error("cannot create the journal folder {}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("another lifeline is running on the journal {}; stop it or set another journal.path", path.display())]
    Locked { path: PathBuf },
    #[error("the journal {} is of version {found} and this lifeline knows up to {known}; install the newer lifeline, nothing was changed", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("there is no journal in {}; name its folder with --journal", path.display())]
    Missing { path: PathBuf },
    #[error("cannot open the journal {}", path.display())]
    Store { path: PathBuf, source: rusqlite::Error },
}

/// Why a commit or a read failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the text says it")]
pub enum StoreError {
    #[error("the disk is full")]
    Full,
    #[error("a record cannot be written as text")]
    Text { source: serde_json::Error },
    #[error("the journal's disk refuses")]
    Refused { source: rusqlite::Error },
}


impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Refused { source },
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(source: serde_json::Error) -> Self {
        Self::Text { source }
    }
}
