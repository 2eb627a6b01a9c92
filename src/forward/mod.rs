//! Sinks, each with three lanes: alarms, live, backlog.

pub mod line_protocol;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::journal::{Progress, Seq};

/// A secret as documents give it; never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// From this environment variable.
    Env(String),
    /// From this file, read anew at each (re)connection.
    File(PathBuf),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Flavour of the line-protocol write API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Api {
    /// `/api/v2/write?org=&bucket=`.
    V2 {
        /// Organisation.
        org: String,
        /// Bucket.
        bucket: String,
    },
    /// `/write?db=`.
    V1 {
        /// Database.
        database: String,
    },
}

/// Where a sink leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Line protocol over HTTP.
    Influx {
        /// `http://127.0.0.1:8086`.
        url: String,
        /// Which write API.
        api: Api,
        /// API token (v2) or password (v1).
        token: Option<Secret>,
        /// User of v1.
        user: Option<String>,
    },
    /// MQTT 5.
    Mqtt {
        /// `host:port`.
        address: String,
        /// Client id; default `lifeline-<site>`.
        client_id: String,
        /// User name.
        user: Option<String>,
        /// Password.
        password: Option<Secret>,
    },
    /// Line protocol into files of this folder.
    File {
        /// The folder.
        path: PathBuf,
    },
}

/// Settings of one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its kebab-case name; progress is kept under it.
    pub name: String,
    /// Where it leads.
    pub target: Target,
    /// Readings in one request at most.
    pub batch_max: usize,
}

/// What a sink says of itself, for status and metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The last delivery worked.
    pub up: bool,
    /// What is wrong, in words.
    pub trouble: Option<String>,
    /// Readings delivered since start.
    pub readings: u64,
    /// Alarm transitions delivered since start.
    pub alarms: u64,
    /// Records set aside because the sink refused them for good.
    pub rejected: u64,
    /// Commits not delivered yet.
    pub backlog: u64,
    /// Failed attempts since start.
    pub failures: u64,
}

/// What a sink's task is given; `gateway` spawns [`run`].
pub struct Ports {
    /// Gateway's name.
    pub site: String,
    /// Folder of the journal; the sink opens its own `Reader`s.
    pub journal: PathBuf,
    /// Progress as last journaled (default for a new sink).
    pub progress: Progress,
    /// The last commit, moved after each commit.
    pub committed: watch::Receiver<Seq>,
    /// Where confirmed progress goes to be journaled (latest wins).
    pub confirmed: mpsc::Sender<(String, Progress)>,
    /// Shown by console.
    pub status: Arc<Mutex<Status>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Turns true to stop; the task then finishes within 1 s.
    pub stop: watch::Receiver<bool>,
}

/// Runs one sink until `stop`: alarms first, live next, backlog beside them.
pub async fn run(_settings: Settings, _ports: Ports) {
    todo!()
}
