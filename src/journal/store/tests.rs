use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::journal::Span;
use crate::journal::reader::Reader;
use crate::point::{DeviceId, PointId};
use crate::reading::{Batch, Reading, Sample};

fn settings(path: PathBuf) -> Settings {
    Settings { path, commit_every: Duration::from_secs(1), keep: Duration::from_secs(1000), max_bytes: u64::MAX }
}

fn at(s: i64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + s * 1000)
}

fn group(s: i64, count: u32) -> Group {
    let reading = |point| Reading { point: PointId(point), at: at(s), sample: Sample::Good(f64::from(point) + 0.5) };
    let batch = Batch { device: DeviceId(0), start: at(s), end: at(s), readings: (0..count).map(reading).collect() };
    Group { now: at(s), version: "v".to_owned(), batches: vec![batch], ..Group::default() }
}

fn open(folder: &Path) -> Journal {
    let mut journal = Journal::open(&settings(folder.to_owned())).unwrap();
    journal.keep_site(&Catalog { version: "v".to_owned(), ..Catalog::default() }, &[], at(0)).unwrap();
    journal
}

fn all(folder: &Path) -> (Vec<u64>, u64) {
    let (groups, _, damaged) = Reader::open(folder).unwrap().groups(Span { from: Seq(0), to: Seq(1000) }, usize::MAX).unwrap();
    (groups.iter().map(|group| group.seq.0).collect(), damaged)
}

#[test]
fn a_second_instance_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = open(folder.path());
    first.commit(&group(1, 3)).unwrap();
    let second = Journal::open(&settings(folder.path().to_owned())).unwrap_err();
    assert!(second.to_string().contains("another lifeline"), "{second}");
    first.commit(&group(2, 3)).unwrap();
    assert_eq!(all(folder.path()), (vec![1, 2], 0));
}

#[test]
fn a_newer_journal_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let store = Connection::open(folder.path().join(FILE)).unwrap();
    store.pragma_update(None, "user_version", FORMAT + 1).unwrap();
    drop(store);
    let refused = Journal::open(&settings(folder.path().to_owned())).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { .. }), "{refused}");
    assert!(matches!(Reader::open(folder.path()).unwrap_err(), OpenError::Newer { .. }));
}

#[test]
fn a_full_disk_refuses_and_the_same_journal_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    journal.commit(&group(1, 10)).unwrap();
    let pages: i64 = journal.store.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    journal.store.query_row(&format!("PRAGMA max_page_count = {}", pages + 1), [], |_| Ok(())).unwrap();
    let refused = journal.commit(&group(2, 20_000)).unwrap_err();
    assert!(matches!(refused, StoreError::Full), "{refused}");
    journal.store.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
    assert_eq!(journal.commit(&group(2, 20_000)).unwrap(), Seq(2));
    assert_eq!(all(folder.path()), (vec![1, 2], 0));
}

#[test]
fn a_damaged_record_is_skipped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    for s in 1..=3 {
        journal.commit(&group(s, 5)).unwrap();
    }
    journal.store.execute("UPDATE commits SET blob = x'0102030405' WHERE seq = 2", []).unwrap();
    assert_eq!(all(folder.path()), (vec![1, 3], 1));
}

#[test]
fn old_telemetry_goes_and_what_a_sink_lacks_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    let progress = Progress { alarms: 0, live: Seq(2), gaps: vec![Span { from: Seq(1), to: Seq(2) }] };
    journal.commit(&Group { progress: vec![("tsdb".to_owned(), progress)], ..group(1, 5) }).unwrap();
    for s in 2..=4 {
        journal.commit(&group(s * 100, 5)).unwrap();
    }
    let lost = journal.trim(at(1350)).unwrap();
    assert_eq!(lost, BTreeMap::from([("tsdb".to_owned(), 10)]), "commit 1 stands in a gap, commit 3 is past live");
    assert_eq!(all(folder.path()), (vec![4], 0));
    drop(journal);
    let mut journal = open(folder.path());
    assert_eq!(journal.commit(&group(500, 5)).unwrap(), Seq(5), "numbers go on");
}

#[test]
fn size_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    for s in 1..=200 {
        journal.commit(&group(s, 1000)).unwrap();
    }
    journal.settings.max_bytes = journal.used().unwrap() / 2;
    journal.trim(at(201)).unwrap();
    assert!(journal.used().unwrap() <= journal.settings.max_bytes);
}

#[test]
fn history_finds_a_point_by_name_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&settings(folder.path().to_owned())).unwrap();
    let point = |id: u32| crate::point::Point {
        id: PointId(id),
        name: format!("d.p{id}"),
        short: format!("p{id}"),
        device: DeviceId(0),
        unit: None,
        decimals: 0,
        states: Vec::new(),
    };
    let catalog = Catalog { version: "v".to_owned(), points: vec![point(0), point(1)], ..Catalog::default() };
    journal.keep_site(&catalog, &[], at(0)).unwrap();
    for s in 0..10 {
        journal.commit(&group(s, 2)).unwrap();
    }
    let mut found = Vec::new();
    let reader = Reader::open(folder.path()).unwrap();
    let mut each = |_: &Catalog, reading: &Reading| {
        found.push((reading.point.0, reading.at));
        true
    };
    reader.history(&["d.p1".to_owned()], at(3), at(5), &mut each).unwrap();
    assert_eq!(found, [(1, at(3)), (1, at(4))]);
}
