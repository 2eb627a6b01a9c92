//! The journal's promises without a crash: round trip, lock, versions, damage, retention.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use lifeline_gateway::alarm::{Alarm, Base, Change, Kind, RuleState, Severity, Transition};
use lifeline_gateway::clock::{Boot, Timestamp};
use lifeline_gateway::journal::{
    Audit, Deed, Group, Journal, OpenError, Progress, Reader, Seq, Settings, Span, StoreError, Stored,
};
use lifeline_gateway::point::{Catalog, DeviceId, Point, PointId};
use lifeline_gateway::reading::{Batch, Doubt, Reading, Reason, Sample};
use proptest::prelude::*;
use rusqlite::Connection;

pub(crate) const ALL: Span = Span { from: Seq(1), to: Seq(u64::MAX) };
pub(crate) const START: i64 = 1_700_000_000_000;
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn settings(path: &Path) -> Settings {
    Settings { path: path.into(), commit_every: DAY, keep: 400 * DAY, max_bytes: 8 << 30 }
}

pub(crate) fn open(path: &Path) -> Journal {
    opened(path).unwrap()
}

/// Opens a journal that nobody holds. A process that another test starts at this moment has its lock, too, between its fork and its exec.
#[expect(clippy::disallowed_methods, reason = "another process lets go of the lock in its own time")]
fn opened(path: &Path) -> Result<Journal, OpenError> {
    for _ in 0..1000 {
        match Journal::open(&settings(path)) {
            Err(OpenError::Locked { .. }) => std::thread::sleep(Duration::from_millis(5)),
            opened => return opened,
        }
    }
    panic!("{} is held for ever", path.display());
}

pub(crate) fn read(path: &Path) -> (Vec<Stored>, Seq, u64) {
    Reader::open(path).unwrap().groups(ALL, usize::MAX).unwrap()
}

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// A group that the database takes: what is more than readings never stands in a segment alone.
pub(crate) fn rooted(group: Group) -> Group {
    let memories = vec![("clock".to_owned(), group.now.to_string())];
    Group { memories, ..group }
}

/// One batch of `count` readings of the points 0.., all at `ms`.
pub(crate) fn batch(ms: i64, count: u32) -> Batch {
    let number =
        |point: u32| Sample::Good(f64::from(point) + f64::from(i32::try_from(ms % 997).unwrap()) / 10.0);
    let readings =
        (0..count).map(|point| Reading { point: PointId(point), at: at(ms), sample: number(point) });
    Batch { device: DeviceId(0), start: at(ms - 30), end: at(ms), readings: readings.collect() }
}

pub(crate) fn group(ms: i64, count: u32) -> Group {
    Group { now: at(ms), version: "v1".to_owned(), batches: vec![batch(ms, count)], ..Group::default() }
}

pub(crate) fn catalog(version: &str, names: &[&str]) -> Catalog {
    let point = |(id, name): (u32, &&str)| Point {
        id: PointId(id),
        name: (*name).to_owned(),
        short: "level".to_owned(),
        device: DeviceId(0),
        unit: None,
        decimals: 1,
        states: vec![(0, "open".to_owned())],
        tags: std::collections::BTreeMap::new(),
    };
    let points = (0..).zip(names).map(point).collect();
    Catalog { site: "nanan-01".to_owned(), version: version.to_owned(), points, ..Catalog::default() }
}

pub(crate) fn transition(rule: &str, ms: i64, state: Base) -> Transition {
    let alarm = Alarm {
        id: "00112233445566aa".to_owned(),
        kind: Kind::Process,
        rule: rule.to_owned(),
        rule_version: "1".to_owned(),
        point: "a.level".to_owned(),
        risk_point: Some("500108-GA-0031-A".to_owned()),
        town: Some("南坪街道".to_owned()),
        severity: Severity::Red,
        present: None,
        state,
        unverified: false,
        since: at(ms),
        // A number that only an exact JSON reader gives back.
        value: Some(f64::from(u32::try_from(ms % 1_000_000).unwrap()) / 7.0),
        threshold: Some(0.1 + 0.2),
        unit: Some("kPa".to_owned()),
        advice: "close \"V-3\"".to_owned(),
        acknowledged: None,
        overlay: Default::default(),
        guide: Default::default(),
        trend: None,
        marks: Default::default(),
    };
    Transition { alarm, change: Change::Raised, at: at(ms), by: None, note: None }
}

fn state(transition: &Transition) -> RuleState {
    RuleState {
        alarm: Some(transition.alarm.clone()),
        raising: vec![None, Some(transition.at)],
        clearing: vec![Some(transition.at), None],
        reached: vec![true, false],
        last: Some(transition.at),
        ..RuleState::default()
    }
}

pub(crate) fn progress(alarms: u64, live: u64, gaps: &[(u64, u64)]) -> Progress {
    let gaps = gaps.iter().map(|&(from, to)| Span { from: Seq(from), to: Seq(to) }).collect();
    Progress { alarms, live: Seq(live), gaps }
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let number = prop_oneof![any::<i16>().prop_map(|raw| f64::from(raw) * 0.1), any::<f64>()];
    let finite = number.prop_filter("finite", |number| number.is_finite());
    let reasons = vec![
        Reason::Timeout,
        Reason::LineDown,
        Reason::BadFrame,
        Reason::Exception(2),
        Reason::SensorFault("not-fitted".into()),
        Reason::SensorFault("过载".into()),
        Reason::OutOfRange,
        Reason::Stuck,
        Reason::NotPolled,
        Reason::Input(PointId(7)),
    ];
    (finite, prop::sample::select(&Doubt::ALL[..]), prop::sample::select(reasons), 0..3).prop_map(
        |(number, doubt, reason, kind)| match kind {
            0 => Sample::Good(number),
            1 => Sample::Uncertain(number, doubt),
            _ => Sample::Bad(reason),
        },
    )
}

fn any_group() -> impl Strategy<Value = Group> {
    let time = || prop_oneof![START..START + 100_000, any::<i64>()].prop_map(Timestamp::from_millis);
    let reading = (0..9_u32, time(), any_sample());
    let reading = reading.prop_map(|(point, at, sample)| Reading { point: PointId(point), at, sample });
    let batch = (any::<u32>(), time(), time(), prop::collection::vec(reading, 0..12))
        .prop_map(|(device, start, end, readings)| Batch { device: DeviceId(device), start, end, readings });
    (time(), 0..3, prop::collection::vec(batch, 0..4)).prop_map(|(now, version, batches)| {
        let version = format!("v{version}");
        Group { now, version, batches, ..Group::default() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn groups_come_back_as_they_were(groups in prop::collection::vec(any_group(), 1..12)) {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        for (group, seq) in groups.iter().zip(1..) {
            prop_assert_eq!(journal.commit(group).unwrap(), Seq(seq));
        }
        let full = |group: &&Group| group.batches.iter().any(|batch| !batch.readings.is_empty());
        let (stored, end, damaged) = read(folder.path());
        prop_assert_eq!((end, damaged, stored.len()), (ALL.to, 0, groups.iter().filter(full).count()));
        for (stored, group) in stored.iter().zip(groups.iter().filter(full)) {
            prop_assert_eq!(&stored.batches, &group.batches);
            prop_assert_eq!((stored.now, &stored.catalog.version), (group.now, &group.version));
        }

        let mut expected: Vec<Reading> =
            groups.iter().flat_map(|group| &group.batches).flat_map(|batch| batch.readings.clone()).collect();
        expected.retain(|reading| reading.at < at(i64::MAX));
        expected.sort_by_key(|reading| reading.at);
        let mut found = Vec::new();
        let mut each = |_: &Catalog, reading: &Reading| { found.push(reading.clone()); true };
        Reader::open(folder.path()).unwrap().history(&[], at(i64::MIN), at(i64::MAX), &mut each).unwrap();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn transitions_states_and_progress_are_one_with_their_group() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    let raised = [
        transition("a-high", START, Base::ActiveUnacknowledged),
        transition("b-low", START + 1, Base::Normal),
    ];
    let mut full = group(START, 3);
    full.transitions = raised.to_vec();
    full.states = raised.iter().map(|raised| (raised.alarm.rule.clone(), state(raised))).collect();
    full.progress = vec![
        ("tsdb".to_owned(), progress(1, 9, &[(2, 4), (6, 7)])),
        ("mqtt".to_owned(), progress(0, 1, &[])),
    ];
    assert_eq!(journal.commit(&full).unwrap(), Seq(1));
    let moved = progress(2, 10, &[]);
    journal
        .commit(&Group { progress: vec![("tsdb".to_owned(), moved.clone())], ..Group::default() })
        .unwrap();

    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.transitions(0, 9).unwrap(), [(1, raised[0].clone()), (2, raised[1].clone())]);
    assert_eq!(reader.transitions(0, 1).unwrap(), [(1, raised[0].clone())]);
    assert_eq!(reader.transitions(1, 9).unwrap(), [(2, raised[1].clone())]);
    assert_eq!(reader.states().unwrap(), full.states);
    let expected = [("mqtt".to_owned(), progress(0, 1, &[])), ("tsdb".to_owned(), moved)];
    assert_eq!(reader.progress().unwrap(), BTreeMap::from(expected));
    assert_eq!(reader.last().unwrap(), Some((Seq(2), Timestamp::default())));
    assert!(reader.bytes() > 4096);
}

#[test]
fn a_second_instance_is_refused_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = open(folder.path());
    first.commit(&group(START, 3)).unwrap();
    let files = || {
        let files =
            ["journal.db", "journal.db-wal"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
        (files, std::fs::read_dir(folder.path()).unwrap().count())
    };
    let before = files();
    assert!(matches!(Journal::open(&settings(folder.path())), Err(OpenError::Locked { .. })));
    assert!(files() == before);
    assert_eq!(first.commit(&group(START, 3)).unwrap(), Seq(2));
    drop(first);
    // The lock's file is still there, and means nothing.
    assert_eq!(open(folder.path()).commit(&group(START, 3)).unwrap(), Seq(3));
}

#[test]
fn a_newer_or_foreign_file_is_refused_unchanged() {
    let check = |setup: &str, expected: fn(&OpenError) -> bool| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("journal.db");
        if setup.contains("user_version") {
            drop(open(folder.path()));
        }
        Connection::open(&file).unwrap().execute_batch(setup).unwrap();
        let before = std::fs::read(&file).unwrap();
        for refused in [opened(folder.path()).err(), Reader::open(folder.path()).err()] {
            let refused = refused.unwrap();
            assert!(expected(&refused), "{setup}: {refused:?}");
        }
        assert!(std::fs::read(&file).unwrap() == before);
    };
    check("PRAGMA user_version = 5", |error| matches!(error, OpenError::Newer { found: 5, known: 4, .. }));
    check("CREATE TABLE other (id)", |error| matches!(error, OpenError::Foreign { .. }));
}

#[test]
fn a_reader_needs_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Reader::open(folder.path()), Err(OpenError::Store { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::write(folder.path().join("file"), "").unwrap();
    let below = settings(&folder.path().join("file/journal"));
    assert!(matches!(Journal::open(&below), Err(OpenError::Folder { .. })));
}

#[test]
fn damage_is_counted_and_the_rest_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    let log: Vec<_> = (0..5).map(|n| transition("a-high", START + n, Base::ActiveUnacknowledged)).collect();
    for (raised, n) in log.iter().zip(0..) {
        let mut group = group(START + n * 1000, 50);
        group.transitions = vec![raised.clone()];
        group.states = vec![("a-high".to_owned(), state(raised)), ("b-low".to_owned(), RuleState::default())];
        group.progress =
            vec![("mqtt".to_owned(), progress(0, 1, &[])), ("tsdb".to_owned(), progress(0, 2, &[]))];
        journal.commit(&group).unwrap();
    }
    let hand = Connection::open(folder.path().join("journal.db")).unwrap();
    hand.execute_batch(
        "UPDATE commits SET blob = CAST(substr(blob, 1, 40) || X'00' || substr(blob, 42) AS BLOB) WHERE seq = 2;
         UPDATE commits SET blob = (SELECT blob FROM commits WHERE seq = 1) WHERE seq = 4;
         UPDATE transitions SET json = replace(json, 'red', 'blue') WHERE id = 2;
         UPDATE states SET json = replace(json, 'red', 'blue') WHERE rule = 'a-high';
         UPDATE progress SET json = '{' WHERE sink = 'mqtt';",
    )
    .unwrap();

    let reader = Reader::open(folder.path()).unwrap();
    let (stored, end, damaged) = reader.groups(ALL, usize::MAX).unwrap();
    assert_eq!(stored.iter().map(|stored| stored.seq.0).collect::<Vec<_>>(), [1, 3, 5]);
    assert_eq!((end, damaged, reader.damaged()), (ALL.to, 2, 2));
    let ids = |found: Vec<(u64, Transition)>| found.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(reader.transitions(0, 2).unwrap()), [1, 3], "a page is filled past the damage");
    assert_eq!(reader.damaged(), 3);
    let from_log = RuleState { alarm: Some(log[4].alarm.clone()), ..RuleState::default() };
    let states = reader.states().unwrap();
    assert_eq!(states, [("a-high".to_owned(), from_log), ("b-low".to_owned(), RuleState::default())]);
    assert_eq!(reader.progress().unwrap().into_keys().collect::<Vec<_>>(), ["tsdb"]);
    assert_eq!(reader.damaged(), 5);
    let mut times = Vec::new();
    let mut each = |_: &Catalog, reading: &Reading| {
        times.push(reading.at.as_millis() - START);
        true
    };
    reader.history(&[], at(START), at(START + 10_000), &mut each).unwrap();
    times.dedup();
    assert_eq!(times, [0, 2000, 4000]);
    assert_eq!(journal.commit(&group(START, 1)).unwrap(), Seq(6), "the writer goes on");
}

#[test]
fn a_damaged_page_hides_only_its_own_commits() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    for n in 0..400 {
        journal.commit(&rooted(group(START + n, 40))).unwrap();
    }
    drop(journal);
    let file = folder.path().join("journal.db");
    let query = "SELECT rootpage FROM sqlite_schema WHERE name = 'commits'";
    let root: u32 = Connection::open(&file).unwrap().query_row(query, [], |row| row.get(0)).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let page = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    // The second leaf page (13) of the table below interior pages (5): cell pointers from byte 12 on, child page first.
    let mut base = (root as usize - 1) * page;
    assert_eq!(bytes[base], 5);
    while bytes[base] == 5 {
        let cell = base + usize::from(u16::from_be_bytes([bytes[base + 14], bytes[base + 15]]));
        let child = u32::from_be_bytes(bytes[cell..cell + 4].try_into().unwrap());
        base = (child as usize - 1) * page;
    }
    assert_eq!(bytes[base], 13);
    bytes[base..][..page].fill(0xA5);
    std::fs::write(&file, bytes).unwrap();

    let (stored, end, damaged) = read(folder.path());
    let lost = 400 - stored.len() as u64;
    assert!((1..60).contains(&lost), "{lost} lost");
    assert_eq!((end, damaged), (ALL.to, lost));
    assert_eq!(stored.last().map(|stored| stored.seq), Some(Seq(400)));
}

#[test]
fn a_reader_follows_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.last().unwrap(), None);
    assert_eq!(reader.groups(ALL, 10).unwrap(), (vec![], ALL.to, 0));
    let path = folder.path().to_owned();
    let follower = std::thread::spawn(move || {
        let reader = Reader::open(&path).unwrap();
        let (mut next, mut seen) = (Seq(1), Vec::new());
        while seen.len() < 300 {
            let (stored, end, damaged) = reader.groups(Span { from: next, to: Seq(301) }, 55).unwrap();
            assert_eq!(damaged, 0);
            assert!(stored.len() <= 6, "about 55 readings of 10 in each");
            next = stored.last().map_or(next, |stored| Seq(stored.seq.0 + 1));
            assert!(stored.is_empty() || end == next || end == Seq(301));
            seen.extend(stored.into_iter().map(|stored| stored.seq.0));
            std::thread::yield_now();
        }
        seen
    });
    for n in 0..300 {
        journal.commit(&group(START + n, 10)).unwrap();
    }
    assert_eq!(follower.join().unwrap(), (1..=300).collect::<Vec<_>>());
    assert_eq!(reader.last().unwrap(), Some((Seq(300), at(START + 299))));
}

#[test]
fn groups_and_transitions_come_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    for n in 0..10 {
        let count = if n == 4 { 0 } else { 10 };
        journal.commit(&group(START + n, count)).unwrap();
    }
    let reader = Reader::open(folder.path()).unwrap();
    let check = |from, to, max, seqs: &[u64], end| {
        let (stored, next, _) = reader.groups(Span { from: Seq(from), to: Seq(to) }, max).unwrap();
        assert_eq!(stored.iter().map(|stored| stored.seq.0).collect::<Vec<_>>(), seqs);
        assert_eq!(next, Seq(end));
    };
    check(1, 11, 25, &[1, 2, 3], 4);
    check(4, 11, 25, &[4, 6, 7], 8);
    check(8, 11, 0, &[8], 9);
    check(9, 11, 100, &[9, 10], 11);
    check(5, 6, 100, &[], 6);
    check(50, 60, 100, &[], 60);
}

#[test]
fn names_are_those_of_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    let documents = [("site.toml".to_owned(), "[[line]]".to_owned())];
    let old = catalog("v1", &["a.level", "b.level"]);
    let new = catalog("v2", &["b.level", "c.level", "a.level"]);
    journal.commit(&group(START, 2)).unwrap();
    for _ in 0..2 {
        journal.keep_site(&old, &documents, at(START)).unwrap();
        journal.keep_site(&new, &documents, at(START)).unwrap();
    }
    journal.commit(&Group { version: "v2".to_owned(), ..group(START + 1000, 3) }).unwrap();
    let (stored, ..) = read(folder.path());
    assert_eq!(stored.iter().map(|stored| (*stored.catalog).clone()).collect::<Vec<_>>(), [old, new]);

    let reader = Reader::open(folder.path()).unwrap();
    let mut found = Vec::new();
    let mut each = |catalog: &Catalog, reading: &Reading| {
        found.push((catalog.version.clone(), reading.point.0));
        true
    };
    reader
        .history(&["b.level".to_owned(), "a.level".to_owned()], at(START), at(START + 9000), &mut each)
        .unwrap();
    let expected =
        [("v1", 0), ("v1", 1), ("v2", 0), ("v2", 2)].map(|(version, point)| (version.to_owned(), point));
    assert_eq!(found, expected);
    let hand = Connection::open(folder.path().join("journal.db")).unwrap();
    assert_eq!(hand.query_row("SELECT count(*) FROM sites", [], |row| row.get(0)), Ok(2));
}

#[test]
fn history_is_in_order_though_the_clock_steps_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    // 500 commits up to 500 s, a step back by 200 s, 300 more; then one of 1970.
    let times = (0..500).map(|n| n * 1000).chain((0..300).map(|n| 300_500 + n * 1000)).chain([-START]);
    let mut expected: Vec<i64> = times.clone().filter(|ms| (250_000..450_000).contains(ms)).collect();
    expected.sort_unstable();
    for ms in times {
        journal.commit(&group(START + ms, 2)).unwrap();
    }
    let reader = Reader::open(folder.path()).unwrap();
    let take = |from: i64, to: i64, max: usize| {
        let mut found = Vec::new();
        let mut each = |_: &Catalog, reading: &Reading| {
            assert!(reader.last().unwrap().is_some(), "the reader can be used meanwhile");
            if reading.point == PointId(1) {
                found.push(reading.at.as_millis() - START);
            }
            found.len() < max
        };
        reader.history(&[], at(from), at(to), &mut each).unwrap();
        found
    };
    assert_eq!(take(START + 250_000, START + 450_000, usize::MAX), expected);
    assert_eq!(take(START + 250_000, START + 450_000, 3), &expected[..3]);
    assert_eq!(take(0, 1, 9), [-START]);
    assert_eq!(take(1, START, 9), [0; 0]);
}

/// A journal of `count` commits of 20 readings, a second apart.
fn filled(path: &Path, keep: Duration, max_bytes: u64, count: i64) -> Journal {
    let mut journal = Journal::open(&Settings { keep, max_bytes, ..settings(path) }).unwrap();
    for n in 0..count {
        let mut group = group(START + n * 1000, 20);
        group.transitions =
            vec![transition(if n % 2 == 0 { "a-high" } else { "b-low" }, START + n * 1000, Base::Normal)];
        journal.commit(&group).unwrap();
    }
    journal
}

fn seqs(path: &Path) -> Vec<u64> {
    read(path).0.iter().map(|stored| stored.seq.0).collect()
}

#[test]
fn age_removes_and_counts_by_sink() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = filled(folder.path(), Duration::from_secs(60), 8 << 30, 1200);
    let moved = [("mqtt", progress(30, 1100, &[(5, 15), (1000, 1150)])), ("tsdb", progress(2000, 1200, &[]))];
    let progress = moved.map(|(sink, progress)| (sink.to_owned(), progress)).to_vec();
    journal.commit(&Group { progress, ..group(START + 1_200_000, 1) }).unwrap();
    let lost = journal.trim(at(START + 1_200_000)).unwrap();
    // Commits 1..=1140 are older than a minute; mqtt misses ten, the hundred of its gap and forty behind `live`.
    assert_eq!(lost, BTreeMap::from([("mqtt".to_owned(), (10 + 141) * 20)]));
    assert_eq!(seqs(folder.path()), (1141..=1201).collect::<Vec<_>>());
    assert_eq!(journal.trim(at(START + 1_200_000)).unwrap(), BTreeMap::new());
    let log = Reader::open(folder.path()).unwrap().transitions(0, 9999).unwrap();
    assert_eq!(log.first().map(|(id, _)| *id), Some(31), "a sink waits for the others");
    assert_eq!(log.len(), 1170);
}

#[test]
fn the_last_commit_and_the_last_transition_of_a_rule_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = filled(folder.path(), Duration::from_secs(60), 8 << 30, 100);
    let late = START + 99_000 + 600_000;
    assert_eq!(journal.trim(at(late)).unwrap(), BTreeMap::new());
    assert_eq!(seqs(folder.path()), [100]);
    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.transitions(0, 9).unwrap().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [99, 100]);
    drop((journal, reader));
    let mut journal = open(folder.path());
    let raised = transition("c", late, Base::Normal);
    let next = Group { transitions: vec![raised], ..group(late, 1) };
    assert_eq!(journal.commit(&next).unwrap(), Seq(101), "no number twice");
    let log = Reader::open(folder.path()).unwrap().transitions(100, 9).unwrap();
    assert_eq!(log.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [101]);
}

#[test]
fn a_clock_that_jumps_makes_nothing_old() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = filled(folder.path(), Duration::from_secs(60), 8 << 30, 100);
    let years = 10 * 365 * 86_400_000;
    journal.trim(at(START + years)).unwrap();
    assert_eq!(seqs(folder.path()).len(), 100, "no commit has seen that time");
    journal.commit(&group(START + years, 1)).unwrap();
    journal.trim(at(START + years)).unwrap();
    assert_eq!(seqs(folder.path()).len(), 101, "one commit proves nothing");
    journal.commit(&group(START + years + 3_600_000, 1)).unwrap();
    journal.trim(at(START + years + 3_600_000)).unwrap();
    assert_eq!(seqs(folder.path()), [102], "after an even hour it is the time");
}

#[test]
fn size_removes_what_every_sink_has_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = filled(folder.path(), 400 * DAY, 8 << 30, 2000);
    journal.keep_sinks(&["tsdb".to_owned(), "mqtt".to_owned()]).unwrap();
    let moved = vec![
        ("tsdb".to_owned(), progress(0, 1500, &[(200, 210)])),
        ("mqtt".to_owned(), progress(0, 2000, &[])),
    ];
    let abandoned = ("old".to_owned(), progress(0, 3, &[]));
    let now = START + 2_000_000;
    let group = Group { progress: [moved, vec![abandoned]].concat(), ..group(now, 1) };
    journal.commit(&rooted(group)).unwrap();
    journal.keep_sinks(&["tsdb".to_owned(), "mqtt".to_owned()]).unwrap();
    drop(journal);
    let trim = |max_bytes| {
        let mut journal = Journal::open(&Settings { max_bytes, ..settings(folder.path()) }).unwrap();
        let lost = journal.trim(at(now)).unwrap();
        drop(journal);
        (lost, std::fs::metadata(folder.path().join("journal.db")).unwrap().len())
    };
    let size = std::fs::metadata(folder.path().join("journal.db")).unwrap().len();
    // Half of a small limit is the write-ahead log's.
    let (lost, left) = trim((size - 80_000) * 2);
    assert_eq!(lost, BTreeMap::new());
    assert!(left <= size - 80_000, "{left} of {size}");
    let kept = seqs(folder.path());
    assert!(kept.starts_with(&[200, 201, 202, 203, 204, 205, 206, 207, 208, 209]), "the gap of tsdb stays");
    assert!((211..1500).contains(&kept[10]), "{}", kept[10]);

    let transitions = |path| Reader::open(path).unwrap().transitions(0, 9999).unwrap().len();
    let (lost, _) = trim(4096);
    assert_eq!(seqs(folder.path()), [2001], "nothing else is left to give");
    assert_eq!(lost, BTreeMap::from([("tsdb".to_owned(), 510 * 20)]));
    assert_eq!(transitions(folder.path()), 2000, "alarms are not for size");
}

#[test]
fn one_call_removes_a_bounded_number_of_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    let name: std::sync::Arc<str> = "x".repeat(1 << 20).into();
    for n in 0..40 {
        let mut group = group(START + n, 1);
        group.batches[0].readings[0].sample = Sample::Bad(Reason::SensorFault(std::sync::Arc::clone(&name)));
        journal.commit(&group).unwrap();
    }
    drop(journal);
    let mut journal = Journal::open(&Settings { max_bytes: 4096, ..settings(folder.path()) }).unwrap();
    let mut left = vec![seqs(folder.path()).len()];
    while left.last() != Some(&1) {
        journal.trim(at(START + 40)).unwrap();
        left.push(seqs(folder.path()).len());
    }
    // At most 16 slices of a megabyte, for a commit with an alarm may wait behind them.
    assert!(left.windows(2).all(|two| two[0] - two[1] <= 16), "{left:?}");
}

#[test]
fn the_write_ahead_log_stays_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    let reader = Reader::open(folder.path()).unwrap();
    let mut largest = 0;
    for n in 0..3000 {
        journal.commit(&group(START + n, 60)).unwrap();
        if n % 10 == 0 {
            reader.groups(ALL, 100).unwrap();
            largest = largest.max(std::fs::metadata(folder.path().join("journal.db-wal")).unwrap().len());
        }
    }
    assert!((1..9 << 20).contains(&largest), "{largest} bytes");
}

#[test]
fn a_reader_is_shared_and_an_error_has_its_cause() {
    fn shared<T: Send + Sync>() {}
    shared::<Reader>();
    fn moved<T: Send>() {}
    moved::<Journal>();
    let error = StoreError::from(rusqlite::Error::InvalidQuery);
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_journal_of_format_1_learns_audits_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    Journal::open(&settings(folder.path())).unwrap().commit(&rooted(group(START, 3))).unwrap();
    let old = Connection::open(folder.path().join("journal.db")).unwrap();
    old.execute_batch(
        "DROP TABLE audits; DROP TABLE undated; ALTER TABLE commits DROP COLUMN place;
         ALTER TABLE commits DROP COLUMN bytes; DELETE FROM meta WHERE key = 'segments'; PRAGMA user_version = 1",
    )
    .unwrap();
    drop(old);
    assert_eq!(Reader::open(folder.path()).unwrap().audits(0, 10).unwrap(), []);

    let deed = Deed::Trigger { name: "measure".into(), write: "holding 0x0118 = 1".into(), failure: None };
    let audit = Audit { at: at(START), device: "i-1".into(), deed };
    let mut journal = Journal::open(&settings(folder.path())).unwrap();
    let more = Group { audits: vec![audit.clone(); 3], ..group(START + 1000, 3) };
    assert_eq!(journal.commit(&more).unwrap(), Seq(2));
    let reader = Reader::open(folder.path()).unwrap();
    let audits: Vec<(u64, Audit)> = (1..=3).map(|number| (number, audit.clone())).collect();
    assert_eq!(reader.audits(0, 10).unwrap(), audits);
    assert_eq!(reader.audits(2, 10).unwrap(), audits[2..]);
    assert_eq!(reader.groups(Span { from: Seq(1), to: Seq(9) }, 1000).unwrap().0.len(), 2);
}

/// A journal as a cut of power leaves it, with what was committed in the log alone.
fn with_log(commits: i64) -> tempfile::TempDir {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut journal = open(folder.path());
    for n in 0..commits {
        journal.commit(&rooted(group(START + n * 1000, 50))).unwrap();
    }
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    copy
}

#[test]
fn a_damaged_log_is_counted_kept_and_left_behind() {
    let folder = with_log(100);
    let log = folder.path().join("journal.db-wal");
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&log, &bytes).unwrap();

    let mut journal = open(folder.path());
    let hidden = journal.hidden();
    assert!((30..70).contains(&hidden), "{hidden} of 100 commits hidden");
    assert_eq!((journal.take_damaged(), journal.take_damaged()), (hidden, 0), "told once");
    let kept = std::fs::read(folder.path().join("damaged-log/journal.db-wal")).unwrap();
    assert!(kept == bytes, "the damaged log is kept");
    let (before, ..) = read(folder.path());
    let last = before.last().unwrap().seq;
    assert!(last.0 + hidden >= 100, "{} and {hidden}", last.0);
    let next = journal.commit(&group(START + 200_000, 50)).unwrap();
    assert!(next.0 > 100, "a number that was used is not used again");
    for n in 1..200 {
        journal.commit(&group(START + 200_000 + n * 1000, 50)).unwrap();
    }
    drop(journal);
    let journal = open(folder.path());
    assert_eq!(journal.hidden(), 0, "told at one start");
    let mut times = Vec::new();
    let mut each = |_: &Catalog, reading: &Reading| {
        times.push(reading.at.as_millis());
        true
    };
    Reader::open(folder.path()).unwrap().history(&[], at(START), at(START + 900_000), &mut each).unwrap();
    times.dedup();
    let count = usize::try_from(last.0).unwrap() + 200;
    assert_eq!(
        (times.len(), times.is_sorted()),
        (count, true),
        "what is before and behind the damage is found by time"
    );
}

#[test]
fn no_number_is_used_twice_whichever_frame_of_the_log_is_damaged() {
    let folder = with_log(30);
    let log = std::fs::read(folder.path().join("journal.db-wal")).unwrap();
    let frame = 24 + u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    let frames = (log.len() - 32) / frame;
    for damaged in frames / 2..frames / 2 + 12 {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(folder.path().join("journal.db"), copy.path().join("journal.db")).unwrap();
        let mut bytes = log.clone();
        bytes[32 + damaged * frame + 100] ^= 1;
        std::fs::write(copy.path().join("journal.db-wal"), bytes).unwrap();
        let hidden = open(copy.path()).hidden();
        let (last, _) = Reader::open(copy.path()).unwrap().last().unwrap().unwrap();
        assert!((30..=32).contains(&(last.0 + hidden)), "frame {damaged}: {last:?} and {hidden}");
    }
}

#[test]
fn a_torn_end_of_the_log_is_no_damage() {
    let folder = with_log(20);
    let bytes = std::fs::read(folder.path().join("journal.db-wal")).unwrap();
    let frame = 24 + u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
    for cut in [1, 30, frame - 1, frame, 2 * frame + 10] {
        let folder = with_log(20);
        let log = folder.path().join("journal.db-wal");
        std::fs::write(&log, &bytes[..bytes.len() - cut]).unwrap();
        let mut journal = open(folder.path());
        assert_eq!(journal.hidden(), 0);
        let next = journal.commit(&group(START + 30_000, 5)).unwrap();
        assert!((18..=20).contains(&next.0), "{cut} bytes cut: {next:?}");
    }
}

#[test]
fn readings_of_an_unset_clock_wait_for_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    let boot = |id: &str, ms: i64| Boot { id: id.into(), at: at(ms) };
    let unset = |ms: i64, boot: &Boot| {
        let mut group = group(ms, 20);
        for reading in &mut group.batches[0].readings {
            reading.sample = Sample::Uncertain(1.5, Doubt::Clock);
        }
        Group { undated: Some(boot.clone()), ..group }
    };
    let (earlier, now) = (boot("earlier", 0), boot("now", 10_000));
    journal.commit(&unset(1000, &earlier)).unwrap();
    for n in 0..40 {
        journal.commit(&unset(20_000 + n * 1000, &now)).unwrap();
        assert_eq!(journal.date(None).unwrap(), None, "the clock is not set");
    }
    assert_eq!(read(folder.path()).0, [], "nothing goes out");
    // A restart of the gateway, not of the box; then the clock is set, and live readings go on between the slices.
    drop(journal);
    let mut journal = open(folder.path());
    let set = boot("now", START);
    let mut live = 0;
    loop {
        live += 1;
        journal.commit(&group(START + 100_000 + live * 1000, 20)).unwrap();
        if journal.date(Some(&set)).unwrap().is_none() {
            break;
        }
    }
    let (stored, _, damaged) = read(folder.path());
    assert_eq!((damaged, stored.len()), (0, 41 + usize::try_from(live).unwrap()));
    let readings = stored.iter().flat_map(|stored| &stored.batches).flat_map(|batch| &batch.readings);
    let point: Vec<_> = readings.filter(|reading| reading.point == PointId(3)).collect();
    let doubted = |reading: &&&Reading| matches!(reading.sample, Sample::Uncertain(_, Doubt::Clock));
    let kept: Vec<i64> = point.iter().filter(doubted).map(|reading| reading.at.as_millis()).collect();
    assert_eq!(kept, [1000], "what an earlier start left keeps its time and its doubt");
    let mut right: Vec<i64> =
        point.iter().filter(|one| !doubted(one)).map(|one| one.at.as_millis() - START).collect();
    right.retain(|ms| *ms < 100_000);
    assert_eq!(right, (0..40).map(|n| 10_000 + n * 1000).collect::<Vec<_>>(), "in their order");
    assert!(stored.is_sorted_by_key(|stored| stored.seq));
}

#[test]
fn the_size_is_kept_within_a_twentieth_and_every_loss_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let max_bytes = 20_000_000;
    let mut journal = Journal::open(&Settings { max_bytes, ..settings(folder.path()) }).unwrap();
    journal.keep_sinks(&["dead".to_owned(), "live".to_owned()]).unwrap();
    let (mut lost, mut largest) = (BTreeMap::new(), 0);
    let number =
        |n: i64| Sample::Good(f64::from(u32::try_from(n * 2_654_435_761 % (1 << 32)).unwrap()) / 3.0);
    for n in 0..4000 {
        let mut group = group(START + n * 1000, 1000);
        for (reading, k) in group.batches[0].readings.iter_mut().zip(0..) {
            reading.sample = number(n * 1000 + k + 1);
        }
        if n % 10 == 0 {
            group.transitions = vec![transition("a-high", START + n * 1000, Base::ActiveUnacknowledged)];
        }
        let seq = u64::try_from(n).unwrap();
        group.progress = vec![("live".to_owned(), progress(0, seq, &[]))];
        journal.commit(&group).unwrap();
        if journal.has_grown() {
            for (sink, count) in journal.trim(group.now).unwrap() {
                *lost.entry(sink).or_insert(0) += count;
            }
            largest = largest.max(journal.bytes());
        }
    }
    assert!(largest > max_bytes / 2 && largest < max_bytes / 20 * 21, "{largest} bytes");
    let (stored, ..) = read(folder.path());
    let kept = u64::try_from(stored.len()).unwrap() * 1000;
    assert_eq!(
        lost,
        BTreeMap::from([("dead".to_owned(), 4_000_000 - kept)]),
        "the dead sink's loss, to the reading"
    );
    let log = Reader::open(folder.path()).unwrap().transitions(0, 1000).unwrap();
    assert_eq!(log.len(), 400, "alarms that a sink has not got stay");
    let figures = journal.figures().unwrap();
    assert!(figures.bytes_per_hour > 1e7, "{figures:?}");
    assert_eq!(
        figures.hours_left.map(|hours| hours < 0.1),
        Some(true),
        "a dead sink's room is used up: {figures:?}"
    );
}
