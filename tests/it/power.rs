//! The journal when the power is cut, and when its disk fails, at every write and sync of a script.
//!
//! The script makes a journal, commits, removes old records, checkpoints, closes, opens and commits again. It is run once for each of
//! its operations, with the fault there; after it the journal must hold what it confirmed, to the last bit, and take more.
//! `LIFELINE_POWER=all` runs every kind of loss at every operation and cuts the power again at every operation of the recovery.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_gateway::journal::{Journal, OpenError, Settings};
use lifeline_gateway::point::Catalog;
use rusqlite::Connection;

use crate::crash::{Dice, Expected, LARGE, check, group, now};
use crate::vfs::{Disk, Fault, Left, Plan, forget};

const SEED: u64 = 0x11FE_11FE;
/// The clock moves one second with each commit.
const KEEP: Duration = Duration::from_secs(3);
const TRIES: u32 = 3;
/// The smallest journal with segments, which are the smallest too.
const BYTES_MAX: u64 = 4 << 20;

/// The commits at which the script tidies, closes, and ends.
const fn ends(seed: u64) -> [u64; 3] {
    if seed == LARGE { [6, 12, 24] } else { [3, 6, 8] }
}

/// What is committed takes longer to make than to commit.
static MADE: Mutex<Vec<Expected>> = Mutex::new(Vec::new());

/// A journal on a disk that can fail, and what it confirmed.
struct Machine {
    folder: tempfile::TempDir,
    disk: Arc<Disk>,
    journal: Option<Journal>,
    told: u64,
    groups: Expected,
}

/// Opens the journal. Its lock is no matter of the power: a process that another test starts at this moment holds it, too, between its fork and
/// its exec.
#[expect(clippy::disallowed_methods, reason = "another process lets go of the lock in its own time")]
fn unlocked(settings: &Settings) -> Option<Journal> {
    for _ in 0..1000 {
        match Journal::open(settings) {
            Err(OpenError::Locked { .. }) => std::thread::sleep(Duration::from_millis(5)),
            opened => return opened.ok(),
        }
    }
    None
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.journal = None;
        forget(&self.disk);
        let seed = self.groups.seed;
        let groups = Expected { seed, groups: std::mem::take(&mut self.groups.groups) };
        MADE.lock().unwrap().push(groups);
    }
}

impl Machine {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The room that is kept for a full disk is not what is tested here, and costs a sync of the real disk.
        std::fs::write(folder.path().join("reserve"), "").unwrap();
        let disk = Disk::under(folder.path());
        let mut made = MADE.lock().unwrap();
        let at = made.iter().position(|groups| groups.seed == seed);
        let groups = at.map_or(Expected { seed, groups: Vec::new() }, |at| made.swap_remove(at));
        drop(made);
        Self { folder, disk, journal: None, told: 0, groups }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn open(&mut self) -> bool {
        let settings =
            Settings { path: self.path().into(), commit_every: KEEP, keep: KEEP, max_bytes: BYTES_MAX };
        self.journal = (0..TRIES).find_map(|_| unlocked(&settings));
        let Some(journal) = &mut self.journal else { return false };
        let catalog = Catalog { version: "version-0".to_owned(), ..Catalog::default() };
        (0..TRIES).any(|_| journal.keep_site(&catalog, &[], now(0)).is_ok())
            && (0..TRIES).any(|_| journal.keep_sinks(&["tsdb".to_owned()]).is_ok())
    }

    /// Commits up to number `last`; a refused group is tried again, as the gateway does.
    fn commit_to(&mut self, last: u64) -> bool {
        let Some(journal) = &mut self.journal else { return false };
        while self.told < last {
            let next = self.groups.of(self.told + 1);
            let Some(seq) = (0..TRIES).find_map(|_| journal.commit(next).ok()) else { return false };
            assert_eq!(seq.0, self.told + 1);
            self.told = seq.0;
            if self.groups.seed == LARGE && seq.0.is_multiple_of(3) {
                let _ = journal.trim(now(seq.0));
            }
        }
        true
    }

    /// Retention and checkpoints may fail; nothing depends on them.
    fn tidy(&mut self, checkpoint: &str) {
        if let Some(journal) = &mut self.journal {
            let _ = journal.trim(now(self.told));
        }
        if let Ok(hand) = Connection::open(self.path().join("journal.db")) {
            let _ = hand.query_row(&format!("PRAGMA wal_checkpoint({checkpoint})"), [], |_| Ok(()));
        }
    }

    /// From wherever it stands to its end; false when an operation failed again and again.
    fn script(&mut self) -> bool {
        let [first, second, last] = ends(self.groups.seed);
        if self.told < second {
            if self.journal.is_none() && !self.open() || !self.commit_to(first) {
                return false;
            }
            self.tidy("TRUNCATE");
            if !self.commit_to(second) {
                return false;
            }
            self.journal = None;
        }
        if self.journal.is_none() && !self.open() || !self.commit_to(last) {
            return false;
        }
        self.tidy("PASSIVE");
        true
    }

    fn cut(&mut self, left: Left) {
        self.journal = None;
        self.disk.restart(left);
    }

    /// What is on disk is what was confirmed, or one more; the journal opens and takes more.
    fn check(&mut self) {
        let path = self.folder.path().to_owned();
        if std::fs::metadata(path.join("journal.db")).is_ok_and(|file| file.len() > 0) || self.told > 0 {
            assert!(self.journal.is_some() || self.open(), "it opens");
            let hidden = self.journal.as_ref().map(Journal::hidden);
            assert_eq!(hidden, Some(0), "a torn end of the log is no damage");
            self.told = check(&path, &mut self.groups, self.told, KEEP);
        }
    }

    /// A life after the fault: everything there, and more taken.
    fn go_on(&mut self) {
        self.check();
        assert!(self.journal.is_some() || self.open(), "it opens");
        assert!(self.commit_to(self.told + 1), "it takes more");
        self.check();
    }
}

fn operations(seed: u64) -> u64 {
    let mut machine = Machine::new(seed);
    machine.disk.plan(None);
    assert!(machine.script());
    let segments = std::fs::read_dir(machine.path().join("segments")).unwrap();
    let newest = segments.map(|file| file.unwrap().file_name()).max().unwrap();
    assert!(newest.to_str() > Some(if seed == LARGE { "0000000002" } else { "0" }), "{newest:?}");
    machine.disk.operations()
}

fn all() -> bool {
    std::env::var("LIFELINE_POWER").is_ok_and(|which| which == "all")
}

/// Runs `each` for every operation of both scripts; of the long one for some, unless all are wanted.
fn each_operation(each: impl Fn(u64, u64) + Sync) {
    for (seed, step) in [(SEED, 1), (LARGE, if all() { 1 } else { 5 })] {
        let count = operations(seed);
        assert!(count > 100, "{count} operations");
        for_each(count / step, |number| each(seed, number * step + number % step));
    }
}

/// Runs `each` for the numbers below `count`, on two threads, and says at which number it failed.
fn for_each(count: u64, each: impl Fn(u64) + Sync) {
    let part = |start: u64| {
        for number in (start..count).step_by(2) {
            let told = Told(number);
            each(number);
            std::mem::forget(told);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| part(0));
        part(1);
    });
}

struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("at operation {}", self.0);
    }
}

#[test]
fn a_cut_of_power_at_any_operation_loses_nothing_confirmed() {
    each_operation(|seed, at| {
        let lefts = [Left::Nothing, Left::Some(at), Left::Some(!at), Left::Zeros, Left::All];
        let some = usize::try_from(at % 5).unwrap();
        for left in if all() { &lefts[..] } else { &lefts[some..=some] } {
            let mut machine = Machine::new(seed);
            machine.disk.plan(Some(Plan { fault: Fault::PowerCut, at, for_ever: true }));
            machine.script();
            machine.cut(*left);
            machine.go_on();
        }
    });
}

#[test]
fn a_second_cut_while_it_recovers_loses_nothing_either() {
    each_operation(|seed, at| {
        if !all() && at % 3 != 0 {
            return;
        }
        let mut dice = Dice(at);
        let mut again = 0;
        loop {
            let mut machine = Machine::new(seed);
            machine.disk.plan(Some(Plan { fault: Fault::PowerCut, at, for_ever: true }));
            machine.script();
            machine.cut(Left::Some(at));
            // Recovery: open, the rest of the script, a clean end.
            let cut = if all() { again } else { dice.roll(60) };
            machine.disk.plan(Some(Plan { fault: Fault::PowerCut, at: cut, for_ever: true }));
            machine.script();
            machine.journal = None;
            let met = machine.disk.met() > 0;
            machine.cut(Left::Some(at ^ cut));
            machine.go_on();
            again += 1;
            if !all() || !met {
                break;
            }
        }
    });
}

#[test]
fn a_failing_call_at_any_operation_loses_nothing_and_stops_nothing() {
    each_operation(|seed, at| {
        let plans =
            [Fault::Full, Fault::Failure].map(|fault| [false, true].map(|for_ever| (fault, for_ever)));
        let plans: Vec<(Fault, bool)> = plans.into_iter().flatten().collect();
        let some = usize::try_from(at % 4).unwrap();
        for (fault, for_ever) in if all() { &plans[..] } else { &plans[some..=some] } {
            let mut machine = Machine::new(seed);
            machine.disk.plan(Some(Plan { fault: *fault, at, for_ever: *for_ever }));
            let done = machine.script();
            assert!(done || *for_ever, "{fault:?} once stops nothing");
            // The disk is whole again; the same journal goes on.
            machine.disk.plan(None);
            assert!(machine.script(), "it goes on by itself");
            assert_eq!(machine.told, ends(seed)[2]);
            machine.check();
            // What was confirmed beside a failed sync is as durable as the rest.
            machine.cut(Left::Nothing);
            machine.check();
            assert_eq!(machine.told, ends(seed)[2], "confirmed and there");
            machine.go_on();
        }
    });
}

/// A transaction whose sync failed stands in the kernel's cache alone, where the next start finds it whole.
#[test]
fn nothing_is_written_behind_what_a_failed_sync_left() {
    let mut met = 0;
    for at in 0..40 {
        let mut machine = Machine::new(SEED);
        assert!(machine.open() && machine.commit_to(6));
        machine.disk.plan(Some(Plan { fault: Fault::Failure, at, for_ever: true }));
        if let Some(journal) = &mut machine.journal {
            let _ = journal.trim(now(6));
        }
        machine.journal = None;
        met += machine.disk.met().min(1);
        machine.disk.plan(None);
        assert!(machine.open() && machine.commit_to(9));
        machine.cut(Left::Nothing);
        machine.check();
        assert_eq!(machine.told, 9, "operation {at}");
    }
    assert!(met > 5, "{met} of the operations");
}

#[test]
fn the_disk_of_these_tests_loses_what_was_not_synced() {
    // A store that syncs nothing must lose, or the tests above could not fail.
    let machine = Machine::new(SEED);
    let file = machine.path().join("journal.db");
    let store = Connection::open(&file).unwrap();
    store.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL; CREATE TABLE a (b);").unwrap();
    store.execute_batch("INSERT INTO a VALUES (1)").unwrap();
    drop(store);
    machine.disk.restart(Left::Nothing);
    assert!(std::fs::metadata(&file).map_or(0, |file| file.len()) == 0, "nothing was durable");
    assert_eq!(group(SEED, 1).now, now(1));
}
