//! Segments when something went wrong before: a long refusal, a stop at a bad moment, a backup put beside them, a reader that looks at a bad moment.

use std::fs;
use std::path::Path;

use lifeline_gateway::journal::care;
use lifeline_gateway::journal::{Journal, Reader, Seq, Settings, Span};

use super::{begun, check, copy, files, nth, took};
use crate::journal::{START, at, group, open, read, settings};

/// Lets no segment be written, as a disk without room for one does.
struct Blocked<'a>(&'a Path);

impl<'a> Blocked<'a> {
    fn new(path: &'a Path) -> Self {
        fs::rename(path.join("segments"), path.join("blocked")).unwrap();
        fs::write(path.join("segments"), "").unwrap();
        Self(path)
    }
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        fs::remove_file(self.0.join("segments")).unwrap();
        fs::rename(self.0.join("blocked"), self.0.join("segments")).unwrap();
    }
}

#[test]
fn segments_after_a_long_refusal_are_found() {
    let folder = tempfile::tempdir().unwrap();
    // Small segments, so that the next one is wanted soon.
    let small = Settings { max_bytes: 4 << 20, ..settings(folder.path()) };
    let mut journal = Journal::open(&small).unwrap();
    took(&mut journal, 1);
    (2..=9).for_each(|n| took(&mut journal, n));
    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.last().unwrap().unwrap().0, Seq(9));
    let blocked = Blocked::new(folder.path());
    let mut last = 9;
    while last < 1000 {
        last += 1;
        took(&mut journal, last);
        reader.last().unwrap();
    }
    drop(blocked);
    while last < 1100 {
        last += 1;
        took(&mut journal, last);
        let (stored, ..) =
            reader.groups(Span { from: Seq(last.unsigned_abs()), to: Seq(u64::MAX) }, 1).unwrap();
        assert_eq!(stored.len(), 1, "commit {last} is seen");
    }
    assert_eq!(files(folder.path()).len(), 2);
    check(folder.path(), last);
    drop(journal);
    let mut journal = open(folder.path());
    check(folder.path(), last);
    took(&mut journal, last + 1);
    check(folder.path(), last + 1);
}

#[test]
fn a_foreign_thing_among_the_segments_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { max_bytes: 8 << 20, ..settings(folder.path()) };
    let fill = |from: i64| {
        let mut journal = Journal::open(&settings).unwrap();
        journal.keep_sinks(&[]).unwrap();
        for n in from..from + 2500 {
            journal.commit(&group(START + n * 1000, 1000)).unwrap();
            if n % 20 == 0 {
                journal.trim(at(START + n * 1000)).unwrap();
                let bytes = journal.bytes();
                assert!(bytes <= (8 << 20) * 105 / 100, "{bytes} bytes at {n}");
            }
        }
    };
    fill(1);
    fs::create_dir(folder.path().join("segments/0000000000")).unwrap();
    fill(2501);
}

#[test]
fn a_reader_from_before_the_change_of_format_sees_what_comes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal-format-3.db");
    fs::copy(golden, folder.path().join("journal.db")).unwrap();
    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.last().unwrap().unwrap().0, Seq(20));
    let mut journal = open(folder.path());
    for n in 21..=100 {
        took(&mut journal, n);
        let (stored, _, damaged) =
            reader.groups(Span { from: Seq(1), to: Seq(u64::MAX) }, usize::MAX).unwrap();
        assert_eq!((stored.len(), damaged), (usize::try_from(n).unwrap(), 0));
    }
}

#[test]
fn a_backup_knows_nothing_of_the_segments_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = begun(folder.path());
    (2..=100).for_each(|n| took(&mut journal, n));
    let to = folder.path().join("copy");
    care::backup(folder.path(), &to).unwrap();
    (101..=120).for_each(|n| took(&mut journal, n));
    drop(journal);
    for name in ["journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(folder.path().join(name));
    }
    fs::copy(to.join("journal.db"), folder.path().join("journal.db")).unwrap();
    check(folder.path(), 100);
    let mut journal = open(folder.path());
    check(folder.path(), 100);
    (101..=200).for_each(|n| took(&mut journal, n));
    check(folder.path(), 200);
}

#[test]
fn a_commit_that_the_log_lost_is_told_by_those_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = begun(folder.path());
    (2..=70).for_each(|n| took(&mut journal, n));
    let left = copy(folder.path());
    let log = left.path().join("journal.db-wal");
    let mut bytes = fs::read(&log).unwrap();
    let end = bytes.len() - 100;
    bytes[end] ^= 1;
    fs::write(&log, bytes).unwrap();
    let mut journal = open(left.path());
    assert_eq!(journal.take_damaged(), 1, "commit 63, the last of the log");
    let (stored, ..) = read(left.path());
    let numbers: Vec<u64> = stored.iter().map(|stored| stored.seq.0).collect();
    assert!(numbers.into_iter().eq((1..=70).filter(|n| *n != 63)));
    assert_eq!(journal.commit(&nth(71)).unwrap(), Seq(71));
}

#[test]
fn a_reader_that_opens_beside_the_writer_misses_and_doubles_nothing() {
    const LAST: i64 = 4000;
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path());
    journal.commit(&group(START + 1000, 4)).unwrap();
    let written = std::sync::atomic::AtomicI64::new(1);
    let told = || written.load(std::sync::atomic::Ordering::Acquire);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut open = 0;
            while told() < LAST {
                open += 1;
                let reader = Reader::open(folder.path()).unwrap();
                reader.last().unwrap();
                let last = told();
                let from = (last - 150).max(1);
                let span = Span { from: Seq(from.unsigned_abs()), to: Seq(last.unsigned_abs() + 1) };
                let (stored, _, damaged) = reader.groups(span, usize::MAX).unwrap();
                assert_eq!((stored.len(), damaged), (usize::try_from(last + 1 - from).unwrap(), 0), "{open}");
            }
        });
        scope.spawn(|| {
            let reader = Reader::open(folder.path()).unwrap();
            while told() < LAST {
                let last = told();
                let from = (last - 70).max(1);
                let mut found = 0;
                let (start, end) = (at(START + from * 1000), at(START + last * 1000 + 1));
                let mut each = |_: &_, _: &_| {
                    found += 1;
                    true
                };
                reader.history(&[], start, end, &mut each).unwrap();
                assert_eq!(found, (last + 1 - from) * 4, "{from} to {last}");
            }
        });
        for n in 2..=LAST {
            journal.commit(&group(START + n * 1000, 4)).unwrap();
            written.store(n, std::sync::atomic::Ordering::Release);
        }
    });
}

/// What a stop may leave of the next segment while it is made: nothing of it counts, and nothing is lost.
#[test]
fn what_is_left_of_a_segment_that_was_about_to_begin_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let small = Settings { max_bytes: 4 << 20, ..settings(folder.path()) };
    let mut journal = Journal::open(&small).unwrap();
    let last = 600;
    (1..=last).for_each(|n| took(&mut journal, n));
    let names = files(folder.path());
    let old = fs::read(&names[0]).unwrap();
    assert!(names.len() > 1);
    let next = |path: &Path| path.join(format!("segments/{:010}", names.len() + 1));
    // A file without its zeros; with a part of them; a part of one that had no name yet; another's that was taken, with and without its old name.
    for left in 0..6 {
        let copied = copy(folder.path());
        let path = copied.path();
        match left {
            0 => fs::write(next(path), "").unwrap(),
            1 => fs::write(next(path), vec![0; 5000]).unwrap(),
            2 => fs::write(path.join("segments/new"), vec![0; 5000]).unwrap(),
            3 => fs::write(next(path), &old).unwrap(),
            4 => fs::write(path.join("segments/0000000000"), &old).unwrap(),
            _ => fs::write(next(path), &old[..5000]).unwrap(),
        }
        check(path, last);
        let settings = Settings { path: path.into(), ..small.clone() };
        let mut journal = Journal::open(&settings).unwrap();
        assert_eq!(journal.take_damaged(), 0);
        check(path, last);
        let reader = Reader::open(path).unwrap();
        for n in last + 1..=last + 700 {
            took(&mut journal, n);
            assert_eq!(reader.last().unwrap().unwrap().0, Seq(n.unsigned_abs()), "{left}");
        }
        check(path, last + 700);
        drop(journal);
        drop(Journal::open(&settings).unwrap());
        check(path, last + 700);
    }
}

#[test]
fn segments_follow_a_damaged_journal_although_its_removal_was_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = begun(folder.path());
    (2..=70).for_each(|n| took(&mut journal, n));
    let left = copy(folder.path());
    let aside = left.path().join("damaged-20240101T000000Z");
    fs::create_dir(&aside).unwrap();
    fs::rename(left.path().join("journal.db"), aside.join("journal.db")).unwrap();
    let mut journal = open(left.path());
    (1..=100).for_each(|n| took(&mut journal, n));
    check(left.path(), 100);
    check(&aside, 70);
}
