//! The history: sealed readings are the same as before, found by point and time, whatever becomes of the files.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::journal::chunks::Sealer;
use lifeline_gateway::journal::{Group, Journal, Reader, Seq, Settings};
use lifeline_gateway::point::Catalog;
use lifeline_gateway::reading::{Doubt, Reading, Reason, Sample};

use crate::journal::{DAY, START, at, catalog, group, open, progress, settings};

const NAMES: [&str; 3] = ["a.level", "b.level", "c.level"];

fn read(path: &std::path::Path, point: &str, from: i64, to: i64) -> Vec<Reading> {
    let mut found = Vec::new();
    let mut each = |catalog: &Catalog, reading: &Reading| {
        assert_eq!(catalog.point(reading.point).unwrap().name, point);
        found.push(reading.clone());
        true
    };
    let reader = Reader::open(path).unwrap();
    reader.history(&[point.to_owned()], at(from), at(to), &mut each).unwrap();
    assert_eq!(reader.damaged(), 0);
    found
}

/// A group with readings of every quality.
fn mixed(n: i64) -> Group {
    let mut group = group(START + n * 1000, 3);
    group.batches[0].readings[1].sample = match n % 40 {
        0..5 => Sample::Bad(Reason::Timeout),
        5 => Sample::Bad(Reason::SensorFault("open-circuit".into())),
        6..9 => Sample::Uncertain(2.5, Doubt::Spike),
        _ => Sample::Good(1.0 / 3.0),
    };
    if n > 600 {
        // The site has other numbers for the same points from now on.
        group.version = "v2".to_owned();
        group.batches[0].readings.swap(0, 2);
        for (reading, id) in group.batches[0].readings.iter_mut().zip(0..) {
            reading.point.0 = id;
        }
    }
    group
}

#[test]
fn what_is_sealed_is_the_same_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    journal.keep_site(&catalog("v1", &NAMES), &[], at(START)).unwrap();
    journal.keep_site(&catalog("v2", &["c.level", "b.level", "a.level"]), &[], at(START)).unwrap();
    for n in 0..1000 {
        journal.commit(&mixed(n)).unwrap();
    }
    let windows =
        [(START, START + 2_000_000), (START + 100_500, START + 700_250), (START + 999_000, i64::MAX)];
    let all = |from, to| NAMES.map(|name| read(folder.path(), name, from, to));
    let before = windows.map(|(from, to)| all(from, to));
    assert!(before[0].iter().all(|readings| readings.len() == 1000));
    // Sealed in several steps, a part not at all; opened anew between them.
    for to in [0, 1, 300, 301, 650, 900] {
        let mut sealer = Sealer::open(folder.path()).unwrap();
        while sealer.seal(Seq(to)).unwrap() > 0 {}
        assert_eq!(sealer.sealed().unwrap(), Seq(to));
        assert_eq!(windows.map(|(from, to)| all(from, to)), before, "sealed up to {to}");
    }
    let content = Reader::open(folder.path()).unwrap().content().unwrap();
    assert_eq!((content.readings, content.oldest), (3000, Some(at(START))));
    // The journal lets go of what is sealed, and the picture stays.
    rusqlite::Connection::open(folder.path().join("journal.db"))
        .unwrap()
        .execute("DELETE FROM commits WHERE seq <= 900", [])
        .unwrap();
    assert_eq!(windows.map(|(from, to)| all(from, to)), before);
    let mut count = 0;
    let mut each = |_: &Catalog, _: &Reading| {
        count += 1;
        true
    };
    Reader::open(folder.path()).unwrap().history(&[], at(START), at(i64::MAX), &mut each).unwrap();
    assert_eq!(count, 3000, "all points at once");
}

#[test]
fn the_journal_lets_go_of_what_is_sealed_and_delivered_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    journal.keep_site(&catalog("v1", &NAMES), &[], at(START)).unwrap();
    let sealed = Arc::new(AtomicU64::new(0));
    journal.follow(Arc::clone(&sealed));
    journal.keep_sinks(&["tsdb".to_owned()]).unwrap();
    let minute = |n: i64| Group {
        now: at(START + n * 60_000),
        progress: vec![("tsdb".to_owned(), progress(0, u64::try_from(n.min(500)).unwrap(), &[]))],
        ..group(START + n * 60_000, 3)
    };
    for n in 0..1440 {
        journal.commit(&minute(n)).unwrap();
    }
    let now = at(START + 1439 * 60_000);
    let commits = || Reader::open(folder.path()).unwrap().content().unwrap().commits;
    assert!(journal.trim(now).unwrap().is_empty());
    assert_eq!(commits(), 1440, "nothing is sealed");
    let mut sealer = Sealer::open(folder.path()).unwrap();
    while sealer.seal(Seq(1440)).unwrap() > 0 {}
    sealed.store(1440, std::sync::atomic::Ordering::Relaxed);
    assert!(journal.trim(now).unwrap().is_empty(), "nothing is lost");
    assert_eq!(commits(), 940, "what the sink does not have stays");
    journal
        .commit(&Group { progress: vec![("tsdb".to_owned(), progress(0, 1440, &[]))], ..minute(1440) })
        .unwrap();
    journal.trim(now).unwrap();
    assert_eq!(commits(), 6 * 60 + 2, "six hours stay");
    assert_eq!(read(folder.path(), "b.level", START, i64::MAX).len(), 1441);
    assert_eq!(sealer.trim(Some(now.minus(DAY * 400)), u64::MAX).unwrap(), 0);
    assert_eq!(sealer.trim(Some(now.plus(DAY)), u64::MAX).unwrap(), 3, "a chunk over age for each point");
}

/// Readings of each chunk of a point, in order of time.
fn chunks(folder: &std::path::Path, point: u32) -> Vec<i64> {
    let store = rusqlite::Connection::open(folder.join("history.db")).unwrap();
    let mut query = store.prepare("SELECT readings FROM chunks WHERE point = ?1 ORDER BY t0").unwrap();
    let rows = query.query_map([point], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn few_readings_wait_until_they_are_worth_a_sealing() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    journal.keep_site(&catalog("v1", &NAMES), &[], at(START)).unwrap();
    let mut sealer = Sealer::open(folder.path()).unwrap();
    let settings = settings(folder.path());
    let worth = |sealer: &Sealer, to, now| sealer.is_worth(Seq(to), NAMES.len(), &settings, now).unwrap();
    let last = at(START + 255 * 60_000);
    assert!(!worth(&sealer, 0, at(START)), "there is nothing yet");
    for n in 0..256 {
        journal.commit(&group(START + n * 60_000, 3)).unwrap();
    }
    assert!(!worth(&sealer, 255, last), "255 of a point");
    assert!(worth(&sealer, 256, last), "256 of a point");
    assert!(!worth(&sealer, 2, at(START + 86_399_999)));
    assert!(worth(&sealer, 2, at(START + 86_400_000)), "a day is long enough");
    while sealer.seal(Seq(256)).unwrap() > 0 {}
    assert!(!worth(&sealer, 256, last.plus(DAY * 400)), "all is sealed");
}

#[test]
fn few_readings_do_not_wait_until_age_or_size_cuts_them() {
    let folder = tempfile::tempdir().unwrap();
    let short = Settings { keep: DAY / 2, ..settings(folder.path()) };
    let mut journal = Journal::open(&short).unwrap();
    journal.follow(Arc::default());
    journal.keep_site(&catalog("v1", &NAMES), &[], at(START)).unwrap();
    let hour = |hour: i64| START + hour * 3_600_000;
    for n in 0..14 {
        journal.commit(&group(hour(n), 3)).unwrap();
    }
    let sealer = Sealer::open(folder.path()).unwrap();
    let worth = |settings: &Settings, n| sealer.is_worth(Seq(14), 3, settings, at(hour(n))).unwrap();
    assert!(!worth(&short, 2));
    assert!(worth(&short, 3), "a quarter of what is kept");
    let small = Settings { max_bytes: 100_000, ..settings(folder.path()) };
    assert!(worth(&small, 2), "the journal has little room");
    let lost = journal.trim(at(hour(13))).unwrap();
    assert_eq!(lost.into_iter().collect::<Vec<_>>(), [("history".to_owned(), 3)], "unsealed ones are lost");
}

#[test]
fn a_chunk_is_written_again_for_as_many_readings_as_it_has_and_a_long_one_for_few() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    journal.keep_site(&catalog("v1", &NAMES), &[], at(START)).unwrap();
    let mut sealer = Sealer::open(folder.path()).unwrap();
    let mut seconds = 0..;
    let mut took = |count: usize| {
        let mut last = Seq(0);
        for second in seconds.by_ref().take(count) {
            last = journal.commit(&group(START + second * 1000, 1)).unwrap();
        }
        while sealer.seal(last).unwrap() > 0 {}
        chunks(folder.path(), 0)
    };
    assert_eq!(took(300), [300]);
    assert_eq!(took(200), [300, 200], "what is longer than what comes stays");
    assert_eq!(took(250), [750], "taken up one after the other");
    assert_eq!(took(3600), [4350]);
    assert_eq!(took(3600), [4350, 3600], "both are long");
    assert_eq!(read(folder.path(), NAMES[0], START, i64::MAX).len(), 7950);
}

#[test]
fn a_damaged_history_harms_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    journal.keep_site(&catalog("v1", &NAMES), &[], at(START)).unwrap();
    for n in 0..200 {
        journal.commit(&group(START + n * 1000, 3)).unwrap();
    }
    let mut sealer = Sealer::open(folder.path()).unwrap();
    while sealer.seal(Seq(150)).unwrap() > 0 {}
    drop(sealer);
    let file = folder.path().join("history.db");
    let hand = rusqlite::Connection::open(&file).unwrap();
    hand.execute_batch(
        "UPDATE chunks SET blob = zeroblob(length(blob)) WHERE point = 1; PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .unwrap();
    drop(hand);
    let reader = Reader::open(folder.path()).unwrap();
    let count = |name: &str| {
        let mut count = 0;
        let mut each = |_: &Catalog, _: &Reading| {
            count += 1;
            true
        };
        reader.history(&[name.to_owned()], at(START), at(i64::MAX), &mut each).unwrap();
        count
    };
    assert_eq!((count("a.level"), count("b.level"), reader.damaged()), (200, 50, 1));
    // Of a later format: refused, and left as it is.
    let hand = rusqlite::Connection::open(&file).unwrap();
    hand.pragma_update(None, "user_version", 99).unwrap();
    let refused = Sealer::open(folder.path()).err().unwrap().to_string();
    assert!(refused.contains("version 99") && refused.contains("install the newer lifeline"), "{refused}");
    drop(hand);
    assert!(!folder.path().join("damaged-history.db").exists());
    // Beyond use: moved aside, and begun anew from what the journal still has.
    std::fs::write(&file, vec![0x5A; 20_000]).unwrap();
    let mut sealer = Sealer::open(folder.path()).unwrap();
    assert!(folder.path().join("damaged-history.db").exists());
    while sealer.seal(Seq(200)).unwrap() > 0 {}
    assert_eq!(read(folder.path(), "b.level", START, i64::MAX).len(), 200);
}

#[test]
fn a_new_journal_is_sealed_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let fill = |from: i64| {
        let mut journal = open(folder.path());
        journal.keep_site(&catalog("v1", &NAMES), &[], at(START)).unwrap();
        for n in from..from + 100 {
            journal.commit(&group(START + n * 1000, 3)).unwrap();
        }
    };
    fill(0);
    let mut sealer = Sealer::open(folder.path()).unwrap();
    while sealer.seal(Seq(100)).unwrap() > 0 {}
    drop(sealer);
    lifeline_gateway::journal::mend::set_aside(folder.path(), at(START)).unwrap();
    fill(100);
    assert_eq!(
        read(folder.path(), "a.level", START, i64::MAX).len(),
        200,
        "the new one has the same numbers"
    );
    let mut sealer = Sealer::open(folder.path()).unwrap();
    assert_eq!(sealer.sealed().unwrap(), Seq(0));
    while sealer.seal(Seq(100)).unwrap() > 0 {}
    assert_eq!(read(folder.path(), "a.level", START, i64::MAX).len(), 200);
}

#[test]
fn a_drawing_keeps_every_extreme() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    journal.keep_site(&catalog("v1", &NAMES), &[], at(START)).unwrap();
    for n in 0..2000 {
        let mut group = group(START + n * 1000, 3);
        let value = if n == 777 { 1e6 } else { f64::from(i32::try_from(n * 37 % 100).unwrap()) };
        group.batches[0].readings[0].sample = Sample::Good(value);
        journal.commit(&group).unwrap();
    }
    let mut rows: Vec<(Timestamp, f64)> = Vec::new();
    let mut each = |_: &Catalog, reading: &Reading| {
        rows.push((reading.at, reading.sample.value().unwrap()));
        true
    };
    let window = (at(i64::MIN), at(i64::MAX));
    Reader::open(folder.path()).unwrap().drawn("a.level", window, 100, &mut each).unwrap();
    assert!((40..=104).contains(&rows.len()), "{} rows", rows.len());
    assert!(rows.is_sorted_by_key(|(at, _)| *at));
    assert!(rows.contains(&(at(START).plus(Duration::from_secs(777)), 1e6)), "the one spike");
    assert_eq!(rows.first().map(|(at, _)| *at), Some(at(START)));
}
