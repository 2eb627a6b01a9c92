//! Delivery through networks, proxies and servers that misbehave: the fault matrix of `docs/delivery.md`, each case through the real
//! sinks and their lanes, over loopback sockets, in short real time.
//!
//! Every case ends with the same oracle: when the other side is well again, what it took is what was committed, less what was set
//! aside.

mod http;
mod mqtt;
mod tls;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_gateway::alarm::{Alarm, Base, Change, Kind, Severity, Transition};
use lifeline_gateway::clock::{SystemClock, Timestamp};
use lifeline_gateway::forward::backoff::Pace;
use lifeline_gateway::forward::{Ports, Settings, Status, Target, Unjournaled, run};
use lifeline_gateway::journal::{self, Group, Journal, Progress, Seq};
use lifeline_gateway::point::{Catalog, Device, DeviceId, Point, PointId};
use lifeline_gateway::reading::{Batch, Reading, Sample};
use tempfile::TempDir;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Patience of the cases: what takes a minute in the field takes a fifth of a second here.
pub(crate) fn pace() -> Pace {
    Pace {
        base: Duration::from_millis(10),
        cap: Duration::from_millis(40),
        knock: Duration::from_millis(20),
        ask: Duration::from_millis(500),
        hold: Duration::from_millis(100),
        connect: Duration::from_millis(300),
        request: Duration::from_millis(900),
    }
}

/// Milliseconds of the first reading.
pub(crate) const EPOCH: i64 = 1_795_420_800_000;

/// A journal with one device of one point, a sink that forwards it, and what stands in for the gateway.
pub(crate) struct Desk {
    journal: Journal,
    folder: TempDir,
    committed: watch::Sender<Seq>,
    pub(crate) status: Arc<Mutex<Status>>,
    stop: watch::Sender<bool>,
    reports: mpsc::Receiver<(String, Progress)>,
    task: Option<JoinHandle<()>>,
    unjournaled: broadcast::Sender<Arc<Unjournaled>>,
    /// Readings committed so far; the value of each is its number.
    pub(crate) count: i64,
    last: u64,
}

impl Desk {
    /// `count` readings in one commit, all of them live for a sink that starts with them.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keep = Duration::from_secs(86_400 * 365 * 10);
        let settings = journal::Settings {
            path: folder.path().to_owned(),
            commit_every: keep,
            keep,
            max_bytes: 1 << 30,
        };
        let mut journal = Journal::open(&settings).unwrap();
        journal.keep_site(&catalog(), &[], Timestamp::default()).unwrap();
        let (committed, _) = watch::channel(Seq(0));
        let (stop, _) = watch::channel(false);
        let (_, reports) = mpsc::channel(1);
        let (status, unjournaled) = (Arc::default(), broadcast::Sender::new(16));
        Self { journal, folder, committed, status, stop, reports, task: None, unjournaled, count: 0, last: 0 }
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// One commit of `count` readings.
    pub(crate) fn commit(&mut self, count: i64) {
        self.commit_with(count, Vec::new());
    }

    pub(crate) fn commit_with(&mut self, count: i64, transitions: Vec<Transition>) {
        let reading = |number: i64| {
            let at = Timestamp::from_millis(EPOCH + number);
            let value = f64::from(i32::try_from(number).unwrap());
            Reading { point: PointId(0), at, sample: Sample::Good(value) }
        };
        let readings: Vec<_> = (self.count..self.count + count).map(reading).collect();
        self.count += count;
        let now = Timestamp::from_millis(EPOCH + self.count);
        let batches = vec![Batch { device: DeviceId(0), start: now, end: now, readings }];
        let group = Group { now, version: "v1".into(), batches, transitions, ..Group::default() };
        let seq = self.journal.commit(&group).unwrap();
        self.last = seq.0;
        self.committed.send_replace(seq);
    }

    pub(crate) fn start(&mut self, target: Target) {
        self.start_with(Settings { pace: pace(), batch_max: 64, ..Settings::new("sink", target) });
    }

    pub(crate) fn start_with(&mut self, settings: Settings) {
        let (confirmed, reports) = mpsc::channel(64);
        let (stop, stopped) = watch::channel(false);
        (self.stop, self.reports) = (stop, reports);
        let ports = Ports {
            site: "nanan-01".into(),
            journal: self.folder.path().to_owned(),
            progress: Progress::default(),
            committed: self.committed.subscribe(),
            confirmed,
            status: Arc::clone(&self.status),
            clock: Arc::new(SystemClock::new()),
            unjournaled: self.unjournaled.subscribe(),
            stop: stopped,
        };
        #[expect(clippy::disallowed_methods, reason = "the test stands in for the gateway")]
        let task = tokio::spawn(run(settings, ports));
        self.task = Some(task);
    }

    /// Tells the sink of one reading and one transition that the disk refused.
    pub(crate) fn refused_by_the_disk(&self, number: i64) {
        let at = Timestamp::from_millis(EPOCH + number);
        let value = f64::from(i32::try_from(number).unwrap());
        let readings = vec![Reading { point: PointId(0), at, sample: Sample::Good(value) }];
        let batches = vec![Batch { device: DeviceId(0), start: at, end: at, readings }];
        let (catalog, transitions) = (Arc::new(catalog()), vec![transition(number)]);
        let notice = Unjournaled { catalog, batches, transitions, trouble: "the disk is full".into() };
        self.unjournaled.send(Arc::new(notice)).unwrap();
    }

    /// The status, once it is as wished.
    pub(crate) async fn until(&self, what: &str, enough: impl Fn(&Status) -> bool) -> Status {
        let until = now() + Duration::from_secs(10);
        loop {
            let status = self.status.lock().unwrap().clone();
            if enough(&status) {
                return status;
            }
            assert!(now() < until, "never {what}: {status:?}");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until nothing is left to deliver.
    pub(crate) async fn drained(&self) -> Status {
        let count = u64::try_from(self.count).unwrap();
        let all = |status: &Status| {
            status.backlog == 0
                && status.readings + status.rejected + status.too_old >= count
                && status.trouble.is_none()
        };
        self.until("drained", all).await
    }

    /// Ends the sink, which it does within a second; the last progress.
    pub(crate) async fn stop(&mut self) -> Option<Progress> {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            timeout(Duration::from_secs(1), task).await.expect("stops within 1 s").unwrap();
        }
        let mut last = None;
        while let Ok((_, progress)) = self.reports.try_recv() {
            last = Some(progress);
        }
        last
    }

    /// The numbers of all readings committed.
    pub(crate) fn wanted(&self) -> BTreeSet<i64> {
        (0..self.count).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "sockets live in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

fn catalog() -> Catalog {
    let id = DeviceId(0);
    let name = "regulator-3".to_owned();
    let device = Device {
        id,
        name,
        line: None,
        class: "gas-pressure".into(),
        risk_point: None,
        town: None,
        tags: Default::default(),
    };
    let point = Point {
        id: PointId(0),
        name: "regulator-3.pressure".into(),
        short: "pressure".into(),
        device: id,
        unit: None,
        decimals: 2,
        states: Vec::new(),
        tags: Default::default(),
    };
    let (devices, points) = (vec![device], vec![point]);
    Catalog { site: "nanan-01".into(), version: "v1".into(), devices, points, ..Catalog::default() }
}

pub(crate) fn transition(ms: i64) -> Transition {
    let at = Timestamp::from_millis(EPOCH + ms);
    let alarm = Alarm {
        id: "0123456789abcdef".into(),
        kind: Kind::Process,
        rule: "outlet-pressure-high".into(),
        rule_version: "1".into(),
        point: "regulator-3.pressure".into(),
        risk_point: None,
        town: None,
        severity: Severity::Red,
        present: None,
        state: Base::ActiveUnacknowledged,
        unverified: false,
        since: at,
        value: Some(3.31),
        threshold: Some(3.2),
        unit: Some("kPa".into()),
        advice: String::new(),
        acknowledged: None,
        overlay: Default::default(),
        guide: Default::default(),
        trend: None,
        marks: Default::default(),
    };
    Transition { alarm, change: Change::Raised, at, by: None, note: None }
}
