//! The journal under SIGKILL: a child process commits as fast as it can and is killed at random moments, again and again.
//!
//! Runs in real time. `LIFELINE_KILLS` sets the number of kills; `LIFELINE_CRASH_SEED` repeats a run's decisions (not the moment at which a kill strikes).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use lifeline_gateway::alarm::{Alarm, Base, Change, Kind, RuleState, Severity, Transition};
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::journal::{Audit, Deed, Group, Journal, Progress, Reader, Seq, Settings, Span, Stored};
use lifeline_gateway::point::{DeviceId, PointId};
use lifeline_gateway::reading::{Batch, Doubt, Reading, Reason, Sample};
use rusqlite::Connection;

/// As many kills as a run of all tests has time for.
const KILLS: u64 = 50;
/// How many kills instead.
const KILLS_SET: &str = "LIFELINE_KILLS";
const FOLDER: &str = "LIFELINE_CRASH_DIR";
const SEED: &str = "LIFELINE_CRASH_SEED";
/// The child's clock moves one second with each commit.
const KEEP: Duration = Duration::from_secs(400);

/// The seed of groups that fill a small segment after a few.
pub(crate) const LARGE: u64 = u64::MAX;

/// SplitMix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % below
    }
}

fn settings(path: &Path) -> Settings {
    Settings { path: path.into(), commit_every: KEEP, keep: KEEP, max_bytes: 1 << 30 }
}

pub(crate) fn now(seq: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000).plus(Duration::from_secs(seq))
}

/// What commit `seq` holds: it follows from seed and number alone, so that the parent can tell it to the last bit.
pub(crate) fn group(seed: u64, seq: u64) -> Group {
    let mut dice = Dice(seed ^ seq.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    let sizes = if seed == LARGE { [1200; 5] } else { [0, 1, 10, 100, 600] };
    let readings = sizes[usize::try_from(dice.roll(5)).unwrap()];
    let batches = if readings == 0 { Vec::new() } else { vec![batch(&mut dice, seq, readings)] };
    let mut transitions: Vec<Transition> = Vec::new();
    let mut states = BTreeMap::new();
    for number in 0..dice.roll(10).saturating_sub(6) {
        let changed = transition(&mut dice, seq, number);
        let alarm = Some(changed.alarm.clone()).filter(|alarm| alarm.state != Base::Normal);
        let last = Some(changed.at);
        states.insert(changed.alarm.rule.clone(), RuleState { alarm, last, ..RuleState::default() });
        transitions.push(changed);
    }
    let live = Seq(seq.saturating_sub(dice.roll(20)));
    let gaps = vec![Span { from: Seq(live.0 / 2), to: Seq(live.0 / 2 + 1) }];
    let progress = vec![("tsdb".to_owned(), Progress { alarms: 0, live, gaps })];
    let version = format!("version-{}", seq / 50);
    let states = states.into_iter().collect();
    Group {
        now: now(seq),
        version,
        batches,
        transitions,
        states,
        progress,
        audits: if is_audited(seq) { vec![audit(seq)] } else { Vec::new() },
        memories: vec![],
        undated: None,
    }
}

/// The others may stand in a segment alone.
const fn is_audited(seq: u64) -> bool {
    seq.is_multiple_of(4)
}

fn audit(seq: u64) -> Audit {
    let deed = Deed::Firmware { was: None, is: Some(seq.to_string()), note: None };
    Audit { at: now(seq), device: "inclinometer".to_owned(), deed }
}

fn batch(dice: &mut Dice, seq: u64, readings: u32) -> Batch {
    let reading = |point| {
        let number = f64::from(u32::try_from(dice.roll(1 << 32)).unwrap()) / 1024.0;
        let sample = match dice.roll(10) {
            0 => Sample::Bad(Reason::SensorFault("open-circuit".into())),
            1 => Sample::Uncertain(number, Doubt::Spike),
            _ => Sample::Good(number),
        };
        Reading { point: PointId(point), at: now(seq), sample }
    };
    Batch {
        device: DeviceId(1),
        start: now(seq),
        end: now(seq),
        readings: (0..readings).map(reading).collect(),
    }
}

fn transition(dice: &mut Dice, seq: u64, number: u64) -> Transition {
    let alarm = Alarm {
        id: format!("{seq}-{number}"),
        kind: Kind::Process,
        rule: format!("rule-{}", dice.roll(7)),
        rule_version: String::new(),
        point: "a.level".to_owned(),
        risk_point: None,
        town: None,
        severity: Severity::Red,
        present: None,
        state: if dice.roll(2) == 0 { Base::Normal } else { Base::ActiveUnacknowledged },
        unverified: false,
        since: now(seq),
        value: Some(f64::from(u32::try_from(dice.roll(1 << 32)).unwrap()) / 3.0),
        threshold: None,
        unit: None,
        advice: "x".repeat(usize::try_from(dice.roll(3000)).unwrap()),
        acknowledged: None,
        overlay: Default::default(),
        guide: Default::default(),
        trend: None,
        marks: Default::default(),
    };
    Transition { alarm, change: Change::Raised, at: now(seq), by: None, note: None }
}

/// Check sum of what a commit holds, as announced.
fn sum(batches: &[Batch], transitions: &[Transition]) -> u32 {
    let mut text = String::new();
    write!(text, "{batches:?} {transitions:?}").unwrap();
    crc32fast::hash(text.as_bytes())
}

/// Not a test of its own: what the killed process runs.
#[test]
fn child() {
    let (Ok(folder), Ok(seed)) = (std::env::var(FOLDER), std::env::var(SEED)) else { return };
    let (folder, seed) = (PathBuf::from(folder), seed.parse().unwrap());
    let mut out = std::io::stdout();
    writeln!(out, "\nopening").unwrap();
    let mut journal = Journal::open(&settings(&folder)).unwrap();
    let last = Reader::open(&folder).unwrap().last().unwrap().map_or(0, |(seq, _)| seq.0);
    let hand = Connection::open(folder.join("journal.db")).unwrap();
    writeln!(out, "open").unwrap();
    for seq in last + 1.. {
        let group = group(seed, seq);
        assert_eq!(journal.commit(&group).unwrap(), Seq(seq));
        writeln!(out, "commit {seq} {}", sum(&group.batches, &group.transitions)).unwrap();
        out.flush().unwrap();
        let mut dice = Dice(seq);
        if dice.roll(7) == 0 {
            journal.trim(group.now).unwrap();
        }
        if dice.roll(11) == 0 {
            let kind = ["PASSIVE", "RESTART", "TRUNCATE"][usize::try_from(dice.roll(3)).unwrap()];
            hand.query_row(&format!("PRAGMA wal_checkpoint({kind})"), [], |_| Ok(())).unwrap();
        }
    }
}

/// Runs the child until `delay` after its journal is open, or after its start; what it announced.
fn run_and_kill(folder: &Path, seed: u64, delay: Duration, from_start: bool) -> Vec<(u64, u32)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .envs([(FOLDER, folder.as_os_str().to_owned()), (SEED, seed.to_string().into())])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let lines = follow(&mut child);
    let mut announced = Vec::new();
    let begin = if from_start { "opening" } else { "open" };
    while lines.recv().expect("the child lives until it is killed") != begin {}
    wait(delay);
    child.kill().unwrap();
    assert!(child.wait().unwrap().code().is_none(), "the child ended by itself");
    for line in lines {
        let mut words = line.split(' ');
        if let (Some("commit"), Some(seq), Some(sum)) = (words.next(), words.next(), words.next()) {
            announced.push((seq.parse().unwrap(), sum.parse().unwrap()));
        }
    }
    announced
}

fn follow(child: &mut Child) -> Receiver<String> {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (send, lines) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // A line without its end was cut by the kill, and announces nothing.
        while output.read_line(&mut line).is_ok_and(|length| length > 0) && line.ends_with('\n') {
            send.send(line.trim_end().to_owned()).ok();
            line.clear();
        }
    });
    lines
}

#[expect(clippy::disallowed_methods, reason = "a kill strikes in real time")]
fn wait(delay: Duration) {
    std::thread::sleep(delay);
}

/// What was to be committed, made once.
pub(crate) struct Expected {
    pub(crate) seed: u64,
    pub(crate) groups: Vec<Group>,
}

impl Expected {
    pub(crate) fn of(&mut self, seq: u64) -> &Group {
        while u64::try_from(self.groups.len()).unwrap() < seq {
            self.groups.push(group(self.seed, u64::try_from(self.groups.len()).unwrap() + 1));
        }
        &self.groups[usize::try_from(seq).unwrap() - 1]
    }
}

/// Everything that is readable is exactly what was committed, and nothing announced is missing. Returns the last commit.
pub(crate) fn check(folder: &Path, groups: &mut Expected, told: u64, keep: Duration) -> u64 {
    let reader = Reader::open(folder).unwrap();
    let last = reader.last().unwrap().map_or(0, |(seq, at)| {
        assert_eq!(at, now(seq.0));
        seq.0
    });
    assert!(last == told || last == told + 1, "{told} announced, {last} found");

    let (stored, _, damaged) = reader.groups(Span { from: Seq(0), to: Seq(u64::MAX) }, usize::MAX).unwrap();
    assert_eq!(damaged, 0);
    let found: BTreeMap<u64, &Stored> = stored.iter().map(|stored| (stored.seq.0, stored)).collect();
    assert_eq!(found.len(), stored.len(), "nothing twice");
    assert!(stored.is_sorted_by_key(|stored| stored.seq));
    let kept = last.saturating_sub(keep.as_secs());
    groups.of(last.max(1));
    let groups = &groups.groups;
    let mut log = Vec::new();
    for (seq, group) in (1..=last).zip(groups) {
        match found.get(&seq) {
            Some(stored) => {
                assert_eq!((stored.now, &stored.batches), (group.now, &group.batches));
                assert_eq!(stored.catalog.version, group.version);
            }
            // Retention may have it, but only over age.
            None => assert!(group.batches.is_empty() || seq < kept, "commit {seq} of {last} is missing"),
        }
        log.extend(&group.transitions);
        if seq == last {
            assert!(reader.progress().unwrap().into_iter().eq(group.progress.iter().cloned()));
        }
    }
    check_log(&reader, log);
    // Audits leave by age alone, the oldest first.
    let audits: Vec<Audit> =
        reader.audits(0, usize::MAX).unwrap().into_iter().map(|(_, audit)| audit).collect();
    let all: Vec<Audit> = (1..=last).filter(|seq| is_audited(*seq)).map(audit).collect();
    assert!(all.ends_with(&audits), "audits up to {last}");
    drop(reader);
    let hand = Connection::open(folder.join("journal.db")).unwrap();
    assert_eq!(hand.query_row("PRAGMA integrity_check", [], |row| row.get(0)), Ok("ok".to_owned()));
    last
}

/// The log is `expected`, and folding it gives the states.
fn check_log(reader: &Reader, expected: Vec<&Transition>) {
    let (ids, log): (Vec<u64>, Vec<Transition>) =
        reader.transitions(0, usize::MAX).unwrap().into_iter().unzip();
    assert!(log.iter().eq(expected.iter().copied()), "{} transitions of {}", log.len(), expected.len());
    assert!(ids.is_sorted_by(|one, next| one < next));
    let mut fold = BTreeMap::new();
    for transition in log {
        let alarm = Some(transition.alarm.clone()).filter(|alarm| alarm.state != Base::Normal);
        let last = Some(transition.at);
        fold.insert(transition.alarm.rule, RuleState { alarm, last, ..RuleState::default() });
    }
    assert_eq!(reader.states().unwrap(), fold.into_iter().collect::<Vec<_>>());
}

/// Says the seed when the test fails.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{SEED}={}", self.0);
        }
    }
}

#[test]
fn kills_at_random_moments_lose_and_repeat_nothing() {
    let seed = std::env::var(SEED).map_or_else(|_| getrandom::u64().unwrap(), |seed| seed.parse().unwrap());
    let _told = Told(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(seed);
    let mut announced = BTreeMap::new();
    let mut groups = Expected { seed, groups: Vec::new() };
    let mut last = 0;
    let kills = std::env::var(KILLS_SET).map_or(KILLS, |kills| kills.parse().unwrap());
    for kill in 0..kills {
        let delay = Duration::from_micros(5000 + dice.roll(75_000));
        // Every fifth kill may strike while the journal is opened and recovers; the first ones while it is made.
        let fresh =
            run_and_kill(folder.path(), seed, if kill % 5 == 0 { delay / 10 } else { delay }, kill % 5 == 0);
        for (seq, sum) in fresh {
            assert!(seq > last, "number {seq} was used before");
            let group = groups.of(seq);
            assert_eq!(sum, self::sum(&group.batches, &group.transitions), "commit {seq}");
            assert_eq!(announced.insert(seq, sum), None);
        }
        if folder.path().join("journal.db").exists() && (last > 0 || !announced.is_empty()) {
            let told = announced.keys().next_back().copied().unwrap_or(0).max(last);
            last = check(folder.path(), &mut groups, told, KEEP);
        }
    }
    assert!(announced.len() > 100, "only {} commits under load", announced.len());
}
