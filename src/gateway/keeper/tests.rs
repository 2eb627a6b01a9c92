//! The keeper under a wall clock that is stepped, and over restarts.

use std::sync::Mutex;

use super::*;
use crate::alarm::Change;
use crate::gateway::proof::tests::transition;
use crate::gateway::start;
use crate::journal;
use crate::site;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

/// A wall clock that stands still until it is set, or follows a step that a test made.
struct Set(Mutex<Timestamp>, Mutex<Option<i64>>);

impl Set {
    fn to(&self, at: Timestamp) {
        *self.0.lock().unwrap() = at;
    }
}

impl Clock for Set {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
    fn at(&self, _: tokio::time::Instant) -> Timestamp {
        self.now()
    }
    fn trusted(&self) -> bool {
        true
    }
    fn step(&self) -> Option<i64> {
        let by = self.1.lock().unwrap().take()?;
        self.to(self.now().shifted(by));
        Some(by)
    }
}

/// A keeper of a site without devices, with its journal in `folder`.
fn keeper(folder: &std::path::Path) -> (Keeper, Arc<Set>) {
    keeper_of(Site::default(), folder, NOW)
}

/// A keeper that starts at `now`.
fn keeper_of(site: Site, folder: &std::path::Path, now: Timestamp) -> (Keeper, Arc<Set>) {
    let journal = journal::Settings {
        path: folder.to_owned(),
        commit_every: Duration::from_secs(1),
        keep: Duration::from_secs(86_400),
        max_bytes: 1 << 24,
    };
    let site = Arc::new(Site { journal, ..site });
    let set = Arc::new(Set(Mutex::new(now), Mutex::default()));
    let clock: Arc<dyn Clock> = Arc::clone(&set) as _;
    let begun = start::begin(&site, &clock).unwrap();
    let (commands, reloads) = (mpsc::channel(1).0, mpsc::channel(1).0);
    let board = Arc::new(Board::new(&site, Vec::new(), (commands, reloads), now));
    let outlets =
        Outlets { committed: watch::channel(begun.last).0, orders: watch::channel(Orders::of(&site)).0 };
    (Keeper::new(site, begun, board, clock, outlets), set)
}

/// The example site with one sink, a database, with these keys beside its own.
fn with_sink(keys: &str) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    let sink =
        "[[sink]]\nname = \"store\"\nkind = \"influx\"\nurl = \"http://127.0.0.1:9\"\nbucket = \"b\"\n";
    std::fs::write(&config, format!("{sink}{keys}")).unwrap();
    let options = site::Options {
        config: Some(config),
        site: "devices".into(),
        profiles: Some("firmware-profiles".into()),
        ..site::Options::default()
    };
    site::load(&options).0.unwrap()
}

/// A run of the gateway from `start` on in which the sink shows `shows`, until a kill: what became of its alarm in all runs so far.
async fn run(folder: &std::path::Path, start: Timestamp, shows: Option<bool>) -> Vec<Change> {
    let (mut keeper, clock) = keeper_of(with_sink(""), folder, start);
    keeper.tick();
    if let Some(held) = shows {
        let shown = keeper.board.shown();
        let mut status = shown.sinks[0].1.lock().unwrap();
        (status.held, status.shown) = (held, true);
    }
    for _ in 0..20 {
        clock.to(clock.now().plus(OWN_EVERY));
        keeper.tick();
    }
    keeper.finish().await;
    let held = journal::Reader::open(folder).unwrap().transitions(0, 1000).unwrap();
    let of_sink = held.iter().filter(|(_, one)| one.alarm.rule == "gateway-sink-store");
    of_sink.map(|(_, one)| one.change).collect()
}

#[tokio::test]
async fn the_alarm_of_a_sink_outlives_restarts_until_the_sink_works() {
    let folder = tempfile::tempdir().unwrap();
    let hour = |count: u32| NOW.plus(HOUR * count);
    let raised = [Change::Raised];
    for (count, shows) in [(0, Some(true)), (1, None), (2, Some(true)), (3, None)] {
        assert_eq!(run(folder.path(), hour(count), shows).await, raised, "run {count}");
    }
    assert_eq!(run(folder.path(), hour(4), Some(false)).await, [Change::Raised, Change::Cleared]);
}

#[test]
fn a_step_of_the_clock_is_no_long_look() {
    let folder = tempfile::tempdir().unwrap();
    let (mut keeper, clock) = keeper(folder.path());
    clock.to(NOW.plus(HOUR));
    keeper.look_at_risk_points(NOW);
    assert!(keeper.look_from < NOW.plus(HOUR), "the next look waits until {}", keeper.look_from);
}

#[test]
fn a_clock_that_is_set_back_makes_no_disk_slow() {
    let folder = tempfile::tempdir().unwrap();
    let (mut keeper, clock) = keeper(folder.path());
    keeper.in_flight = true;
    keeper.handed = NOW;
    *clock.1.lock().unwrap() = Some(-3_600_000);
    keeper.tick();
    assert!(!keeper.disk_refuses, "the group was handed over a moment ago");
    assert_eq!(keeper.handed, NOW.minus(HOUR));
    clock.to(NOW.minus(HOUR).plus(DISK_PATIENCE));
    keeper.tick();
    assert!(keeper.disk_refuses, "and not taken in time");
}

/// Whether a drill that the sink took proves anything; by the same documents after a restart, too.
async fn proves(keys: &str) -> [bool; 2] {
    let folder = tempfile::tempdir().unwrap();
    let (mut keeper, _) = keeper_of(with_sink(keys), folder.path(), NOW);
    keeper.proof.journaled(&[transition("high.drill", true)], 1);
    let (_, status) = keeper.board.shown().sinks[0].clone();
    status.lock().unwrap().drills.insert(1);
    keeper.confirmed("store".to_owned(), Progress::default());
    let first = keeper.proved().is_some();
    keeper.finish().await;
    drop(keeper);
    [first, keeper_of(with_sink(keys), folder.path(), NOW.plus(HOUR)).0.proved().is_some()]
}

#[tokio::test]
async fn a_store_proves_nothing_unless_people_are_called_from_it() {
    assert_eq!(proves("").await, [false; 2]);
    assert_eq!(proves("calls_people = false\n").await, [false; 2]);
    assert_eq!(proves("calls_people = true\n").await, [true; 2]);
}
