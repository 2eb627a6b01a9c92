//! Sinks, each with three lanes: alarms, live, backlog.
//!
//! In: the journal and the number of its last commit. Out: records at databases, brokers and files; confirmed progress.
//! Invariant: progress moves only after the sink confirmed; at least once, alarms first, live before backlog, each record with a
//! key that makes a repeat harmless.
//! Source: DESIGN promises 2, 3, 4 and section 9.

pub mod backoff;
mod csv;
pub mod drive;
pub mod file;
pub mod gaps;
pub mod influx;
pub mod lanes;
pub mod line_protocol;
pub mod mqtt;
pub mod names;
mod parts;
pub mod payload;
pub mod probe;
pub mod shape;
pub mod sink;
mod tail;
pub mod tls;
pub mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::{broadcast, mpsc, watch};

use crate::alarm::Transition;
use crate::clock::Clock;
use crate::forward::backoff::Pace;
use crate::forward::file::{Files, Folder};
use crate::forward::influx::{Address, Influx};
use crate::forward::mqtt::{Broker, Mqtt};
use crate::forward::shape::{Only, Template};
use crate::forward::tls::Tls;
use crate::forward::trouble::Kind;
use crate::journal::{Progress, Seq};
use crate::point::Catalog;
use crate::reading::Batch;

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

impl Secret {
    /// Bytes of a secret at most.
    const MAX: u64 = 4096;

    /// The secret itself, without white space around it.
    ///
    /// # Errors
    /// In words, without the secret: the variable is not set, the file cannot be read.
    pub fn read(&self) -> Result<String, String> {
        let text = match self {
            Self::Env(name) => std::env::var(name).map_err(|_| format!("the variable {name} is not set"))?,
            Self::File(path) => {
                let mut text = String::new();
                let read = File::open(path).and_then(|file| file.take(Self::MAX).read_to_string(&mut text));
                read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                text
            }
        };
        Ok(text.trim().to_owned())
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
        /// Retention policy; the database's own when empty.
        policy: String,
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
        /// Files of TLS, for `https`.
        tls: Tls,
        /// Tags beside our own, by key: templates.
        tags: Vec<(String, Template)>,
    },
    /// MQTT.
    Mqtt(Broker),
    /// Files.
    File(Files),
}

impl Target {
    /// A database without credentials, and with the system's certificates for `https`.
    pub fn influx(url: &str, api: Api) -> Self {
        Self::Influx {
            url: url.to_owned(),
            api,
            token: None,
            user: None,
            tls: Tls::default(),
            tags: Vec::new(),
        }
    }

    /// Whether people are called from there when the documents don't say: a broker leads to a platform, a database keeps what it gets.
    pub const fn calls_people(&self) -> bool {
        matches!(self, Self::Mqtt(_))
    }
}

impl Settings {
    /// Whether no person hears of an alarm by it: a store, a file, or a sink whose filter lets none through.
    pub const fn tells_nobody(&self) -> bool {
        self.only.no_alarms || !self.calls_people
    }

    /// A sink with everything as it is by default.
    pub fn new(name: &str, target: Target) -> Self {
        let calls_people = target.calls_people();
        let (pace, only) = (Pace::default(), Only::default());
        Self { name: name.to_owned(), target, calls_people, batch_max: 5000, pace, only }
    }
}

/// Settings of one sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its kebab-case name; progress is kept under it.
    pub name: String,
    /// Where it leads.
    pub target: Target,
    /// People are called from where it leads: a drill that it takes proves that a notice gets out.
    pub calls_people: bool,
    /// Readings in one request at most.
    pub batch_max: usize,
    /// How patient it is, and how fast it tries again.
    pub pace: Pace,
    /// What it gets.
    pub only: Only,
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
    /// Numbers of the last drills that the sink itself took: not strained out, not refused.
    pub drills: BTreeSet<u64>,
    /// Records set aside because the sink refused them for good.
    pub rejected: u64,
    /// Readings that are older than the sink keeps anything, and that it dropped.
    pub too_old: u64,
    /// Records in quarantine.
    pub quarantined: u64,
    /// Records told without the journal since start, because its disk refused.
    pub unjournaled: u64,
    /// Commits not delivered yet.
    pub backlog: u64,
    /// Failed attempts since start.
    pub failures: u64,
    /// The same by kind.
    pub kinds: BTreeMap<Kind, u64>,
    /// Nothing goes on until a person changes something: of the whole sink, or of one lane. What was last seen; `shown` says whether anything was.
    pub held: bool,
    /// Requests of this run have shown whether it is held.
    pub shown: bool,
    /// Readings that one request of the backlog holds at most, by the server's answer times.
    pub batch: usize,
}

/// What a sink may tell before it is on disk, because the disk refuses or takes too long: marked so, and journaled when the disk is back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unjournaled {
    /// Names for the readings' point numbers.
    pub catalog: Arc<Catalog>,
    /// Readings.
    pub batches: Vec<Batch>,
    /// Transitions, in order; they get their number when they are journaled, so a sink's key for them is the alarm's id, state and time.
    pub transitions: Vec<Transition>,
    /// What is wrong with the disk.
    pub trouble: String,
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
    /// What is not on disk because the disk refuses, once.
    pub unjournaled: broadcast::Receiver<Arc<Unjournaled>>,
    /// Turns true to stop; the task then finishes within 1 s.
    pub stop: watch::Receiver<bool>,
}

/// Runs one sink until `stop`: alarms first, live next, backlog beside them.
pub async fn run(settings: Settings, ports: Ports) {
    let Settings { name, target, batch_max, pace, only, calls_people: _ } = settings;
    let (site, clock) = (ports.site.clone(), Arc::clone(&ports.clock));
    let batch_max = batch_max.max(1);
    match target {
        Target::Influx { url, api, token, user, tls, tags } => {
            let address = Address { url, api, tls, tags };
            let sink = Influx::new(site, batch_max, address, (user, token), (pace, clock));
            drive::drive(&sink, &name, (batch_max, only), pace, ports).await;
        }
        Target::Mqtt(broker) => {
            let sink = Mqtt::new(site, broker, pace, clock);
            drive::drive(&sink, &name, (batch_max, only), pace, ports).await;
        }
        Target::File(files) => {
            let sink = Folder::new(files, site, clock);
            drive::drive(&sink, &name, (batch_max, only), pace, ports).await;
        }
    }
}
