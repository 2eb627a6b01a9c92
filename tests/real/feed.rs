//! A gateway's journal under load, and the sink that forwards it.
//!
//! The story of every test here: the sink starts, the server is killed while commits go on, and comes back. What was committed
//! must arrive, live ones before the backlog.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_gateway::alarm::{Alarm, Base, Change, Kind, Severity, Transition};
use lifeline_gateway::clock::{Clock, SystemClock, Timestamp};
use lifeline_gateway::forward::{Ports, Settings, Status, Target, run};
use lifeline_gateway::journal::{self, Group, Journal, Progress, Reader, Seq};
use lifeline_gateway::point::{Catalog, Device, DeviceId, Point, PointId};
use lifeline_gateway::reading::{Batch, Reading, Sample};
use lifeline_gateway::unit::Unit;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::server::Server;

const POINTS: u32 = 4;
const RULE: &str = "outlet-pressure-high";

/// A journal with a writer, and what it has committed.
pub(crate) struct Feed {
    journal: Journal,
    clock: SystemClock,
    folder: TempDir,
    /// Time of every reading, in ms; four points each.
    pub(crate) times: BTreeSet<i64>,
    /// Numbers of the transitions.
    pub(crate) alarms: u64,
    committed: watch::Sender<Seq>,
    last: i64,
}

impl Feed {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (commit_every, keep) = (Duration::from_secs(1), Duration::from_secs(86_400));
        let path = folder.path().to_owned();
        let settings = journal::Settings { path, commit_every, keep, max_bytes: 1 << 30 };
        let mut journal = Journal::open(&settings).unwrap();
        let clock = SystemClock::new();
        journal.keep_site(&catalog(), &[], clock.now()).unwrap();
        let (committed, _) = watch::channel(Seq(0));
        Self { journal, clock, folder, times: BTreeSet::new(), alarms: 0, committed, last: 0 }
    }

    /// One commit; every tenth holds a transition.
    pub(crate) fn commit(&mut self) -> Timestamp {
        let now = Timestamp::from_millis(self.clock.now().as_millis().max(self.last + 1));
        self.last = now.as_millis();
        let value = |point| f64::from(point) + 0.5;
        let reading = |id| Reading { point: PointId(id), at: now, sample: Sample::Good(value(id)) };
        let readings = (0..POINTS).map(reading).collect();
        let batches = vec![Batch { device: DeviceId(0), start: now, end: now, readings }];
        let mut group = Group { now, version: "v1".into(), batches, ..Group::default() };
        if self.times.len().is_multiple_of(10) {
            self.alarms += 1;
            // Two of a rule in one millisecond: both must arrive.
            group.transitions =
                vec![transition(now, Base::ActiveUnacknowledged), transition(now, Base::Normal)];
            self.alarms += 1;
        }
        let seq = self.journal.commit(&group).unwrap();
        self.committed.send_replace(seq);
        self.times.insert(now.as_millis());
        now
    }

    /// Commits every 10 ms for `span`; the first time.
    pub(crate) async fn load(&mut self, span: Duration) -> Timestamp {
        let until = now() + span;
        let first = self.commit();
        while now() < until {
            sleep(Duration::from_millis(10)).await;
            self.commit();
        }
        first
    }

    pub(crate) fn seq(&self) -> u64 {
        self.committed.borrow().0
    }

    pub(crate) fn sink(&self, target: Target) -> Running {
        let (confirmed, reports) = mpsc::channel(4);
        let (stop, stopped) = watch::channel(false);
        let status = Arc::new(Mutex::new(Status::default()));
        let path: PathBuf = self.folder.path().to_owned();
        let progress =
            Reader::open(&path).unwrap().progress().unwrap().get("sink").cloned().unwrap_or_default();
        let ports = Ports {
            site: "nanan-01".into(),
            journal: path,
            progress,
            committed: self.committed.subscribe(),
            confirmed,
            status: Arc::clone(&status),
            clock: Arc::new(SystemClock::new()),
            unjournaled: tokio::sync::broadcast::Sender::new(1).subscribe(),
            stop: stopped,
        };
        let settings = Settings { batch_max: 500, ..Settings::new("sink", target) };
        #[expect(clippy::disallowed_methods, reason = "the test stands in for the gateway")]
        let task = tokio::spawn(run(settings, ports));
        Running { task, stop, status, reports }
    }

    /// Journals what the sink confirmed, as the gateway does.
    pub(crate) fn keep(&mut self, progress: Progress) {
        let now = self.clock.now();
        let progress = vec![("sink".to_owned(), progress)];
        let seq = self.journal.commit(&Group { now, version: "v1".into(), progress, ..Group::default() });
        self.committed.send_replace(seq.unwrap());
    }
}

/// A sink at work.
pub(crate) struct Running {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
    pub(crate) status: Arc<Mutex<Status>>,
    reports: mpsc::Receiver<(String, Progress)>,
}

impl Running {
    /// Waits until everything committed is confirmed; fails after `most`.
    pub(crate) async fn drained(&mut self, feed: &Feed, most: Duration) {
        let until = now() + most;
        loop {
            if let Some(progress) = self.progress()
                && progress == (Progress { alarms: feed.alarms, live: Seq(feed.seq()), gaps: Vec::new() })
            {
                break;
            }
            assert!(now() < until, "{:?} of {} alarms", self.status.lock().unwrap(), feed.alarms);
            sleep(Duration::from_millis(20)).await;
        }
        let status = self.status.lock().unwrap();
        assert!(status.up && status.rejected == 0 && status.trouble.is_none(), "{status:?}");
    }

    /// Waits for a status; fails after `most`.
    pub(crate) async fn until(&self, most: Duration, enough: impl Fn(&Status) -> bool) -> Status {
        let until = now() + most;
        loop {
            let status = self.status.lock().unwrap().clone();
            if enough(&status) {
                return status;
            }
            assert!(now() < until, "{status:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The progress reported last.
    pub(crate) fn progress(&mut self) -> Option<Progress> {
        let mut last = None;
        while let Ok((name, progress)) = self.reports.try_recv() {
            assert_eq!(name, "sink");
            last = Some(progress);
        }
        last
    }

    /// Stops it; it must end within a second. The last progress.
    pub(crate) async fn stop(mut self) -> Option<Progress> {
        let before = self.progress();
        self.stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(1), &mut self.task)
            .await
            .expect("stops within 1 s")
            .unwrap();
        self.progress().or(before)
    }
}

#[expect(clippy::disallowed_methods, reason = "real servers live in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Every point's times as committed.
pub(crate) fn wanted(feed: &Feed) -> BTreeSet<(String, i64)> {
    let points = (0..POINTS).map(|id| format!("p{id}"));
    points.flat_map(|point| feed.times.iter().map(move |at| (point.clone(), *at))).collect()
}

fn catalog() -> Catalog {
    let id = DeviceId(0);
    let device = Device {
        id,
        name: "regulator-3".into(),
        line: None,
        class: "gas-pressure".into(),
        risk_point: Some("500108-GA-0031-A".into()),
        town: Some("南坪街道".into()),
        tags: std::collections::BTreeMap::new(),
    };
    let point = |id| Point {
        id: PointId(id),
        name: format!("regulator-3.p{id}"),
        short: format!("p{id}"),
        device: DeviceId(0),
        unit: Unit::parse("kPa"),
        decimals: 2,
        states: Vec::new(),
        tags: std::collections::BTreeMap::new(),
    };
    let (site, version, lines) = ("nanan-01".into(), "v1".into(), Vec::new());
    Catalog { site, version, lines, devices: vec![device], points: (0..POINTS).map(point).collect() }
}

fn transition(at: Timestamp, state: Base) -> Transition {
    let alarm = Alarm {
        id: "0123456789abcdef".into(),
        kind: Kind::Process,
        rule: RULE.into(),
        rule_version: "1".into(),
        point: "regulator-3.p0".into(),
        risk_point: None,
        town: Some("南坪街道".into()),
        severity: Severity::Red,
        present: None,
        state,
        unverified: false,
        since: at,
        value: Some(3.31),
        threshold: Some(3.2),
        unit: Some("kPa".into()),
        advice: "close valve V-3".into(),
        acknowledged: None,
        overlay: Default::default(),
        guide: Default::default(),
        trend: None,
        marks: Default::default(),
    };
    let change = if state == Base::Normal { Change::Closed } else { Change::Raised };
    Transition { alarm, change, at, by: None, note: None }
}

/// What was committed, and when the server was away.
pub(crate) struct Story {
    pub(crate) feed: Feed,
    /// The first commit after the server's end, and the first of the gateway's second run.
    pub(crate) outage: (i64, i64),
}

/// Runs the sink through an outage and a restart of its own; ends when everything is confirmed.
pub(crate) async fn through_an_outage(server: &mut Server, end: fn(&mut Server), target: Target) -> Story {
    let mut feed = Feed::new();
    feed.load(Duration::from_millis(300)).await;
    let mut sink = feed.sink(target.clone());
    feed.load(Duration::from_secs(1)).await;
    sink.until(Duration::from_secs(3), |status| status.up).await;
    end(server);
    let killed = feed.load(Duration::from_millis(1500)).await.as_millis();
    sink.until(Duration::from_secs(3), |status| status.trouble.is_some()).await;
    if let Some(progress) = sink.progress() {
        feed.keep(progress);
    }
    // The gateway itself is restarted in the middle of the outage.
    if let Some(progress) = sink.stop().await {
        feed.keep(progress);
    }
    let mut sink = feed.sink(target);
    let back = feed.load(Duration::from_millis(1500)).await.as_millis();
    server.start();
    feed.load(Duration::from_secs(3)).await;
    sink.drained(&feed, Duration::from_secs(10)).await;
    sink.stop().await;
    Story { feed, outage: (killed, back) }
}
