//! The keeper under a wall clock that is stepped.

use std::sync::Mutex;

use super::*;
use crate::gateway::start;
use crate::journal;

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
    let journal = journal::Settings {
        path: folder.to_owned(),
        commit_every: Duration::from_secs(1),
        keep: Duration::from_secs(86_400),
        max_bytes: 1 << 20,
    };
    let site = Arc::new(Site { journal, ..Site::default() });
    let set = Arc::new(Set(Mutex::new(NOW), Mutex::default()));
    let clock: Arc<dyn Clock> = Arc::clone(&set) as _;
    let begun = start::begin(&site, &clock).unwrap();
    let (commands, reloads) = (mpsc::channel(1).0, mpsc::channel(1).0);
    let board = Arc::new(Board::new(&site, Vec::new(), (commands, reloads), NOW));
    let outlets =
        Outlets { committed: watch::channel(begun.last).0, orders: watch::channel(Orders::of(&site)).0 };
    (Keeper::new(site, begun, board, clock, outlets), set)
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
