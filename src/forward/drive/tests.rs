use std::cell::Cell;
use std::sync::Mutex;

use tokio::sync::mpsc;

use super::*;
use crate::alarm::{Alarm, Base, Change, Kind, Severity, Transition};
use crate::clock::{SystemClock, Timestamp};
use crate::forward::sink::Receipt;
use crate::journal::{Group, Journal, Progress, Settings};
use crate::point::{Catalog, DeviceId, PointId};
use crate::reading::{Batch, Reading, Sample};

/// What arrived, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Alarm(u64),
    Live(u64),
    Late(u64),
    /// Alarms, and the times of readings.
    Unjournaled(usize, Vec<i64>),
}

/// A sink of the tests: takes `delay` for a parcel, fails while it is down, keeps what it got.
struct Paper {
    down: Mutex<bool>,
    delay: Duration,
    got: Mutex<Vec<Got>>,
    attempts: Mutex<u32>,
    /// Refuses the first transition of each parcel.
    picky: bool,
}

impl Paper {
    fn new(delay: Duration) -> Self {
        let (down, got, attempts) = (Mutex::new(false), Mutex::new(Vec::new()), Mutex::new(0));
        Self { down, delay, got, attempts, picky: false }
    }
}

impl Sink for Paper {
    async fn deliver(&self, parcel: Parcel, _: Doubt) -> Result<Receipt, Refusal> {
        *self.attempts.lock().unwrap() += 1;
        tokio::time::sleep(self.delay).await;
        if *self.down.lock().unwrap() {
            return Err(Refusal::new(crate::forward::trouble::Kind::Timeout, "down"));
        }
        let mut got = self.got.lock().unwrap();
        let refused = match &parcel {
            Parcel::Alarms(_) if self.picky => vec![Refused::message(1, "alarms", "{}", "no")],
            _ => Vec::new(),
        };
        match parcel {
            Parcel::Alarms(alarms) => got.extend(alarms.iter().map(|told| Got::Alarm(told.number))),
            Parcel::Readings { late: true, groups } => {
                got.extend(groups.iter().map(|group| Got::Late(group.seq.0)))
            }
            Parcel::Readings { groups, .. } => got.extend(groups.iter().map(|group| Got::Live(group.seq.0))),
            Parcel::Unjournaled { alarms, group } => {
                let readings = group.batches.iter().flat_map(|batch| &batch.readings);
                got.push(Got::Unjournaled(
                    alarms.len(),
                    readings.map(|reading| reading.at.as_millis()).collect(),
                ));
            }
        }
        Ok(Receipt { refused })
    }

    async fn keep(&self) {}

    async fn again(&self, _: Vec<Refused>) -> Result<Receipt, Refusal> {
        Ok(Receipt::default())
    }
}

/// A journal, its writer's side of the ports, and the sink's status.
struct Desk {
    journal: Journal,
    committed: watch::Sender<Seq>,
    stop: watch::Sender<bool>,
    reports: mpsc::Receiver<(String, Progress)>,
    status: Arc<Mutex<Status>>,
    now: Cell<i64>,
    drill: bool,
    unjournaled: tokio::sync::broadcast::Sender<Arc<crate::forward::Unjournaled>>,
    _folder: tempfile::TempDir,
}

impl Desk {
    fn new(progress: Progress) -> (Self, Ports) {
        let folder = tempfile::tempdir().unwrap();
        let keep = Duration::from_secs(86_400);
        let settings =
            Settings { path: folder.path().to_owned(), commit_every: keep, keep, max_bytes: 1 << 30 };
        let mut journal = Journal::open(&settings).unwrap();
        let catalog = Catalog { version: "v1".into(), ..Catalog::default() };
        journal.keep_site(&catalog, &[], Timestamp::default()).unwrap();
        let (committed, newest) = watch::channel(Seq(0));
        let (stop, stopped) = watch::channel(false);
        let (confirmed, reports) = mpsc::channel(1);
        let status = Arc::<Mutex<Status>>::default();
        let unjournaled = tokio::sync::broadcast::Sender::new(16);
        let ports = Ports {
            site: "nanan-01".into(),
            journal: folder.path().to_owned(),
            progress,
            committed: newest,
            confirmed,
            status: Arc::clone(&status),
            clock: Arc::new(SystemClock::new()),
            unjournaled: unjournaled.subscribe(),
            stop: stopped,
        };
        let now = Cell::new(0);
        (
            Self {
                unjournaled,
                journal,
                committed,
                stop,
                reports,
                status,
                now,
                drill: false,
                _folder: folder,
            },
            ports,
        )
    }

    fn commit(&mut self, alarm: bool) -> u64 {
        self.now.set(self.now.get() + 1000);
        let now = Timestamp::from_millis(self.now.get());
        let readings = vec![Reading { point: PointId(0), at: now, sample: Sample::Good(1.0) }];
        let batches = vec![Batch { device: DeviceId(0), start: now, end: now, readings }];
        let mut transitions: Vec<Transition> = alarm.then(|| transition(now)).into_iter().collect();
        transitions.iter_mut().for_each(|one| one.alarm.marks.drill = self.drill);
        let group = Group { now, version: "v1".into(), batches, transitions, ..Group::default() };
        let seq = self.journal.commit(&group).unwrap();
        self.committed.send_replace(seq);
        seq.0
    }
}

fn transition(at: Timestamp) -> Transition {
    let alarm = Alarm {
        id: "0".into(),
        kind: Kind::Process,
        rule: "high".into(),
        rule_version: "1".into(),
        point: "a.b".into(),
        risk_point: None,
        town: None,
        severity: Severity::Red,
        present: None,
        state: Base::ActiveUnacknowledged,
        unverified: false,
        since: at,
        value: None,
        threshold: None,
        unit: None,
        advice: String::new(),
        acknowledged: None,
        overlay: Default::default(),
        guide: Default::default(),
        trend: None,
        marks: Default::default(),
    };
    Transition { alarm, change: Change::Raised, at, by: None, note: None }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Progress passes a drill whether or not the sink took it; only one that it took is told.
#[tokio::test(start_paused = true)]
async fn a_drill_counts_when_the_sink_took_it() {
    let strained = Only { no_alarms: true, ..Only::default() };
    for (only, picky, taken) in
        [(Only::default(), false, 1), (Only::default(), true, 0), (strained, false, 0)]
    {
        let (mut desk, ports) = Desk::new(Progress::default());
        let paper = Paper { picky, ..Paper::new(Duration::from_millis(20)) };
        let story = async {
            desk.commit(false);
            desk.drill = true;
            desk.commit(true);
            desk.drill = false;
            desk.commit(true);
            pass(5).await;
            desk.stop.send_replace(true);
        };
        tokio::join!(story, drive(&paper, "paper", (100, only), Pace::default(), ports));
        let progress = desk.reports.recv().await.map(|(_, progress)| progress.alarms);
        assert_eq!(progress, Some(2), "progress is past both");
        assert_eq!(desk.status.lock().unwrap().drills.len(), taken);
    }
}

/// A sink that begins anew, after a reload or a restart, keeps what was seen of it until it shows how it is.
#[tokio::test(start_paused = true)]
async fn a_held_sink_is_not_good_before_it_takes_something() {
    let (mut desk, ports) = Desk::new(Progress::default());
    let paper = Paper::new(Duration::from_millis(20));
    *paper.down.lock().unwrap() = true;
    desk.status.lock().unwrap().held = true;
    let of = |status: &Mutex<Status>| {
        let status = status.lock().unwrap();
        (status.held, status.shown)
    };
    let story = async {
        for _ in 0..60 {
            desk.commit(true);
            pass(1).await;
            assert_eq!(of(&desk.status), (true, false), "nobody knows");
        }
        *paper.down.lock().unwrap() = false;
        pass(61).await;
        assert_eq!(of(&desk.status), (false, true));
        desk.stop.send_replace(true);
    };
    tokio::join!(story, drive(&paper, "paper", (100, Only::default()), Pace::default(), ports));
}

/// A quarter of an hour's outage with a commit each second; virtual time.
#[tokio::test(start_paused = true)]
async fn after_an_outage_alarms_come_first_then_the_newest_then_the_rest() {
    let (mut desk, ports) = Desk::new(Progress::default());
    let paper = Paper::new(Duration::from_millis(200));
    let story = async {
        desk.commit(false);
        pass(2).await;
        *paper.down.lock().unwrap() = true;
        for second in 0..900 {
            desk.commit(second == 450);
            pass(1).await;
        }
        assert!(*paper.attempts.lock().unwrap() < 150, "{:?} attempts", paper.attempts);
        let status = desk.status.lock().unwrap().clone();
        assert!(
            !status.up && status.trouble.as_deref() == Some("down") && status.backlog >= 900,
            "{status:?}"
        );
        *paper.down.lock().unwrap() = false;
        let before = paper.got.lock().unwrap().len();
        for _ in 0..60 {
            desk.commit(false);
            pass(1).await;
        }
        let last = desk.commit(false);
        pass(1).await;
        desk.stop.send_replace(true);
        (before, last)
    };
    let ((before, last), ()) =
        tokio::join!(story, drive(&paper, "paper", (100, Only::default()), Pace::default(), ports));
    let got = paper.got.into_inner().unwrap();
    let after = &got[before..];
    assert_eq!(after[0], Got::Alarm(1));
    let Got::Live(newest) = after[1] else { panic!("{:?}", &after[..4]) };
    assert!(newest > 900, "the newest, not the oldest: {newest}");
    let lives: Vec<_> = after.iter().filter(|got| matches!(got, Got::Live(_))).collect();
    assert_eq!(lives.len(), usize::try_from(last - newest + 1).unwrap(), "each commit since goes out live");
    let mut seqs: Vec<_> = got
        .iter()
        .filter_map(|got| if let Got::Live(seq) | Got::Late(seq) = got { Some(*seq) } else { None })
        .collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>(), "everything, once");
    let mut reported = None;
    while let Ok((name, progress)) = desk.reports.try_recv() {
        assert_eq!(name, "paper");
        reported = Some(progress);
    }
    // Its queue of one was full with the first report; what did not fit is a repeat after the next start.
    assert!(reported.is_some_and(|progress| progress.live.0 >= 1));
}

/// Reports at most twice a second, and a last one at the stop; a request that is out does not delay the stop.
#[tokio::test(start_paused = true)]
async fn progress_is_reported_twice_a_second_and_at_the_stop() {
    let (mut desk, ports) = Desk::new(Progress::default());
    let paper = Paper::new(Duration::from_millis(10));
    let story = async {
        let mut reports = Vec::new();
        for _ in 0..500 {
            desk.commit(false);
            tokio::time::sleep(Duration::from_millis(20)).await;
            while let Ok((_, progress)) = desk.reports.try_recv() {
                reports.push(progress);
            }
        }
        assert!((15..=25).contains(&reports.len()), "{} in 10 s", reports.len());
        assert!(reports.windows(2).all(|pair| pair[0].live < pair[1].live));
        let last = desk.commit(false);
        tokio::time::sleep(Duration::from_millis(15)).await;
        desk.stop.send_replace(true);
        let told = now();
        let mut progress = Progress::default();
        while let Some((_, report)) = desk.reports.recv().await {
            progress = report;
        }
        assert!(now() - told < Duration::from_secs(1));
        assert_eq!(progress, Progress { alarms: 0, live: Seq(last), gaps: Vec::new() });
    };
    tokio::join!(story, drive(&paper, "paper", (100, Only::default()), Pace::default(), ports));
}

fn notice(alarms: usize, at: i64) -> crate::forward::Unjournaled {
    let at = Timestamp::from_millis(at);
    let readings = vec![Reading { point: PointId(0), at, sample: Sample::Good(1.0) }];
    crate::forward::Unjournaled {
        catalog: Arc::default(),
        batches: vec![Batch { device: DeviceId(0), start: at, end: at, readings }],
        transitions: vec![transition(at); alarms],
        trouble: "the disk is full".into(),
    }
}

/// While the disk refuses: alarms and the newest readings go out at once, again after a failure, and no more once they are committed.
#[tokio::test(start_paused = true)]
async fn what_the_disk_refuses_is_told_all_the_same() {
    let (mut desk, mut ports) = Desk::new(Progress::default());
    // There is no journal to be read at all.
    let folder = std::mem::replace(&mut ports.journal, "nowhere".into());
    let paper = Paper::new(Duration::from_millis(10));
    let story = async {
        pass(1).await;
        desk.unjournaled.send(Arc::new(notice(1, 1000))).unwrap();
        pass(1).await;
        assert_eq!(*paper.got.lock().unwrap(), [Got::Unjournaled(1, vec![1000])]);
        *paper.down.lock().unwrap() = true;
        desk.unjournaled.send(Arc::new(notice(2, 2000))).unwrap();
        desk.unjournaled.send(Arc::new(notice(1, 3000))).unwrap();
        pass(10).await;
        *paper.down.lock().unwrap() = false;
        pass(3).await;
        // Every transition, and the newest readings.
        assert_eq!(paper.got.lock().unwrap()[1..], [Got::Unjournaled(3, vec![3000])]);
        *paper.down.lock().unwrap() = true;
        desk.unjournaled.send(Arc::new(notice(1, 4000))).unwrap();
        pass(5).await;
        desk.commit(true);
        pass(1).await;
        *paper.down.lock().unwrap() = false;
        pass(60).await;
        assert_eq!(paper.got.lock().unwrap().len(), 2, "committed: the lanes tell it");
        assert_eq!(desk.status.lock().unwrap().unjournaled, 6);
        desk.stop.send_replace(true);
    };
    tokio::join!(story, drive(&paper, "paper", (100, Only::default()), Pace::default(), ports));
    drop(folder);
}

#[tokio::test(start_paused = true)]
async fn it_stops_while_a_request_hangs_and_without_a_journal() {
    let (mut desk, ports) = Desk::new(Progress::default());
    let paper = Paper::new(Duration::from_secs(3600));
    desk.commit(true);
    let story = async {
        pass(60).await;
        desk.stop.send_replace(true);
        now()
    };
    let (told, ()) =
        tokio::join!(story, drive(&paper, "paper", (100, Only::default()), Pace::default(), ports));
    assert!(now() - told < Duration::from_secs(1));
    let (desk, mut ports) = Desk::new(Progress::default());
    ports.journal = ports.journal.join("nowhere");
    let story = async {
        pass(60).await;
        assert!(desk.status.lock().unwrap().trouble.as_ref().unwrap().contains("journal"));
        desk.stop.send_replace(true);
    };
    tokio::join!(story, drive(&paper, "paper", (100, Only::default()), Pace::default(), ports));
}
