//! Segments: what stands in them alone survives any end, damage hides its own commit, files are used again, and without room the database does.

mod faults;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lifeline_gateway::alarm::RuleState;
use lifeline_gateway::journal::care;
use lifeline_gateway::journal::{Group, Journal, Reader, Seq, Settings, Span};
use proptest::prelude::*;
use rusqlite::Connection;

use crate::journal::{START, at, group, open, progress, read, rooted, settings};

/// The first group of a version goes into the database, which has to name it.
fn begun(path: &Path) -> Journal {
    let mut journal = open(path);
    journal.commit(&nth(1)).unwrap();
    journal
}

fn took(journal: &mut Journal, n: i64) {
    assert_eq!(journal.commit(&nth(n)).unwrap(), Seq(n.unsigned_abs()));
}

fn nth(n: i64) -> Group {
    group(START + n * 1000, 40)
}

/// Numbers that the database has.
fn rows(path: &Path) -> Vec<i64> {
    let store = Connection::open(path.join("journal.db")).unwrap();
    let mut query = store.prepare("SELECT seq FROM commits ORDER BY seq").unwrap();
    let rows = query.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Segment files by name.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(files) = fs::read_dir(path.join("segments")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// All commits are there, in order and with what they held.
fn check(path: &Path, last: i64) {
    let (stored, end, damaged) = read(path);
    assert_eq!((stored.len(), end, damaged), (usize::try_from(last).unwrap(), Seq(u64::MAX), 0));
    for (stored, n) in stored.iter().zip(1_i64..) {
        assert_eq!((stored.seq, &stored.batches), (Seq(n.unsigned_abs()), &nth(n).batches));
    }
}

/// A copy of a journal as it is on disk.
fn copy(from: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["journal.db", "journal.db-wal"] {
        fs::copy(from.join(name), copy.path().join(name)).unwrap();
    }
    fs::create_dir(copy.path().join("segments")).unwrap();
    for file in files(from) {
        fs::copy(&file, copy.path().join("segments").join(file.file_name().unwrap())).unwrap();
    }
    copy
}

/// Where each record of a segment begins, in order.
fn records(bytes: &[u8]) -> Vec<usize> {
    bytes.windows(4).enumerate().filter(|(_, found)| *found == b"LFSG").map(|(at, _)| at).collect()
}

#[test]
fn readings_stand_in_a_segment_and_get_their_rows_once_a_block() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = begun(folder.path());
    let reader = Reader::open(folder.path()).unwrap();
    for n in 2..=62 {
        assert_eq!(journal.commit(&nth(n)).unwrap(), Seq(n.unsigned_abs()));
        assert_eq!(reader.last().unwrap(), Some((Seq(n.unsigned_abs()), nth(n).now)), "seen at once");
    }
    assert_eq!(rows(folder.path()), [1]);
    check(folder.path(), 62);
    let mut found = 0;
    let mut each = |_: &_, _: &_| {
        found += 1;
        true
    };
    reader.history(&[], at(START + 5000), at(START + 9000), &mut each).unwrap();
    assert_eq!(found, 4 * 40, "found by time");
    let content = reader.content().unwrap();
    assert_eq!((content.commits, content.in_commits), (62, 62 * 40));
    // The last commit of a block is the database's, with the rows of those before it.
    journal.commit(&nth(63)).unwrap();
    assert_eq!(rows(folder.path()).len(), 63);
    journal.commit(&nth(64)).unwrap();
    journal.commit(&nth(65)).unwrap();
    assert_eq!(rows(folder.path()).len(), 63);
    // So is what is more than readings.
    journal.commit(&rooted(nth(66))).unwrap();
    assert_eq!(rows(folder.path()).len(), 66);
    check(folder.path(), 66);
    assert_eq!(journal.wear().syncs, 66 + 1, "a sync for each commit, and one for the name of the segment");
}

#[test]
fn progress_and_states_are_known_from_a_segment_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = begun(folder.path());
    let with = |live, n| Group {
        progress: vec![("tsdb".to_owned(), progress(0, live, &[]))],
        states: vec![("a-high".to_owned(), RuleState { last: Some(at(START + n)), ..RuleState::default() })],
        ..nth(n)
    };
    let known = || {
        let reader = Reader::open(folder.path()).unwrap();
        (reader.progress().unwrap()["tsdb"].live, reader.states().unwrap()[0].1.last)
    };
    journal.commit(&rooted(with(1, 2))).unwrap();
    journal.commit(&with(2, 3)).unwrap();
    journal.commit(&with(3, 4)).unwrap();
    assert_eq!(rows(folder.path()), [1, 2]);
    assert_eq!(known(), (Seq(3), Some(at(START + 4))));
    drop(journal);
    let mut journal = open(folder.path());
    assert_eq!(rows(folder.path()), [1, 2], "a start writes nothing");
    assert_eq!(known(), (Seq(3), Some(at(START + 4))));
    assert!(journal.hidden() == 0);
    journal.commit(&rooted(nth(5))).unwrap();
    assert_eq!(rows(folder.path()), [1, 2, 3, 4, 5]);
    assert_eq!(known(), (Seq(3), Some(at(START + 4))));
}

#[test]
fn a_record_that_is_torn_anywhere_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = begun(folder.path());
    (2..=9).for_each(|n| took(&mut journal, n));
    let whole = copy(folder.path());
    let segment = fs::read(&files(whole.path())[0]).unwrap();
    let begin = *records(&segment).last().unwrap();
    proptest!(ProptestConfig::with_cases(60), |(cut in 0..300_usize, kind in 0..3, noise in any::<[u8; 32]>())| {
        let left = copy(whole.path());
        let mut bytes = segment.clone();
        // From some byte of the last record on there is what was there before: zeros, an older use of the file, or nothing at all.
        let cut = begin + cut.min(100);
        match kind {
            0 => bytes[cut..].fill(0),
            1 => bytes[cut..][..600].iter_mut().zip(noise.iter().cycle()).for_each(|(byte, old)| *byte ^= old | 1),
            _ => bytes.truncate(cut),
        }
        fs::write(&files(left.path())[0], bytes).unwrap();
        let mut journal = open(left.path());
        prop_assert_eq!(journal.take_damaged(), 0, "a torn end is no damage");
        check(left.path(), 8);
        prop_assert_eq!(journal.commit(&nth(9)).unwrap(), Seq(9));
        prop_assert_eq!(journal.commit(&nth(10)).unwrap(), Seq(10));
        drop(journal);
        drop(open(left.path()));
        check(left.path(), 10);
    });
}

#[test]
fn damage_hides_its_own_commit_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = begun(folder.path());
    (2..=100).for_each(|n| took(&mut journal, n));
    let whole = copy(folder.path());
    let segment = fs::read(&files(whole.path())[0]).unwrap();
    let all = records(&segment);
    // The first of them is commit 2; 63 stands in the database.
    for (record, lost, at_start) in [(10, 12, 0), (30, 32, 0), (80, 83, 1)] {
        let left = copy(whole.path());
        let mut bytes = segment.clone();
        bytes[all[record] + 70] ^= 4;
        fs::write(&files(left.path())[0], bytes).unwrap();
        let (before, ..) = read(left.path());
        let health = care::check(left.path(), &mut |_, _| {}).unwrap();
        assert_eq!((health.groups, health.damaged), (99, 1), "record {record}");
        let mut journal = open(left.path());
        assert_eq!(journal.take_damaged(), at_start);
        let (stored, _, damaged) = read(left.path());
        assert_eq!((stored.len(), damaged), (99, 1 - at_start));
        assert!(stored == before && stored.iter().all(|stored| stored.seq != Seq(lost)));
        assert_eq!(journal.commit(&nth(101)).unwrap(), Seq(101));
    }
}

#[test]
fn files_are_used_again_and_the_size_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { max_bytes: 8 << 20, ..settings(folder.path()) };
    let mut journal = Journal::open(&settings).unwrap();
    journal.keep_sinks(&["tsdb".to_owned()]).unwrap();
    let mut most = 0;
    for n in 1..=4000_i64 {
        let delivered = vec![("tsdb".to_owned(), progress(0, n.unsigned_abs() - 1, &[]))];
        journal.commit(&Group { progress: delivered, ..group(START + n * 1000, 1000) }).unwrap();
        if n % 20 == 0 {
            assert!(journal.trim(at(START + n * 1000)).unwrap().is_empty());
            most = most.max(journal.bytes());
        }
    }
    assert!(most <= (8 << 20) * 105 / 100, "{most} bytes");
    let names = files(folder.path());
    let generations: BTreeSet<u32> =
        names.iter().map(|name| name.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect();
    assert!(generations.last().unwrap() > &64 && names.len() < 64, "{generations:?}");
    assert_eq!(most, most.max(fs::metadata(folder.path().join("journal.db")).unwrap().len()));
    let (stored, ..) = read(folder.path());
    assert_eq!(stored.last().unwrap().batches, group(START + 4_000_000, 1000).batches);
    assert!(stored.windows(2).all(|two| two[0].seq.0 + 1 == two[1].seq.0));
    drop(journal);
    let mut journal = Journal::open(&settings).unwrap();
    assert_eq!(journal.commit(&nth(5000)).unwrap(), Seq(4001));
    assert_eq!(read(folder.path()).2, 0, "no old record passes for a new one");
}

#[test]
fn without_a_segment_the_database_takes_everything() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("segments"), "a file where the folder would be").unwrap();
    let mut journal = begun(folder.path());
    (2..=100).for_each(|n| took(&mut journal, n));
    assert_eq!(rows(folder.path()).len(), 100);
    check(folder.path(), 100);
    fs::remove_file(folder.path().join("segments")).unwrap();
    (101..=200).for_each(|n| took(&mut journal, n));
    assert!(!files(folder.path()).is_empty(), "it is tried again");
    check(folder.path(), 200);
    // A file that vanishes hides what it held, and no more.
    drop(journal);
    fs::remove_dir_all(folder.path().join("segments")).unwrap();
    let mut journal = open(folder.path());
    let (stored, _, damaged) = read(folder.path());
    assert!(stored.len() >= 100 && damaged > 0 && stored.len() + usize::try_from(damaged).unwrap() <= 200);
    let next = journal.commit(&nth(300)).unwrap();
    assert!(next > stored.last().unwrap().seq);
    assert_eq!(read(folder.path()).0.last().unwrap().seq, next);
}

#[test]
fn a_backup_holds_the_readings_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = begun(folder.path());
    (2..=150).for_each(|n| took(&mut journal, n));
    let to = folder.path().join("copy");
    care::backup(folder.path(), &to).unwrap();
    assert!(files(&to).is_empty());
    check(&to, 150);
    let (aside, health) = {
        drop(journal);
        care::repair(&settings(folder.path()), at(START + 200_000)).unwrap()
    };
    assert!(health.is_sound() && !files(&aside).is_empty(), "{health:?}");
    check(folder.path(), 150);
}

#[test]
fn a_reader_beside_the_writer_sees_each_commit_once() {
    const LAST: u64 = 6000;
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { max_bytes: 4 << 20, ..settings(folder.path()) };
    let mut journal = Journal::open(&settings).unwrap();
    journal.keep_sinks(&["tsdb".to_owned()]).unwrap();
    journal.commit(&nth(1)).unwrap();
    let read_to = std::sync::atomic::AtomicU64::new(0);
    let seen = |order| read_to.load(order);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let reader = Reader::open(folder.path()).unwrap();
            let mut next = Seq(1);
            while next.0 <= LAST {
                let last = reader.last().unwrap().unwrap().0;
                let to = Seq(last.0 + 1);
                if next >= to {
                    std::thread::yield_now();
                    continue;
                }
                let (stored, end, damaged) = reader.groups(Span { from: next, to }, 500).unwrap();
                assert_eq!(damaged, 0);
                for stored in stored {
                    assert_eq!(stored.seq, next);
                    assert_eq!(stored.batches, nth(next.0.cast_signed()).batches);
                    next = Seq(next.0 + 1);
                }
                assert_eq!(next, end);
                read_to.store(next.0 - 1, std::sync::atomic::Ordering::Release);
            }
        });
        for n in 2..=LAST.cast_signed() {
            let delivered = progress(0, seen(std::sync::atomic::Ordering::Acquire), &[]);
            let group = Group { progress: vec![("tsdb".to_owned(), delivered)], ..nth(n) };
            journal.commit(&if n % 37 == 0 { rooted(group) } else { group }).unwrap();
            if n % 50 == 0 {
                journal.trim(at(START + n * 1000)).unwrap();
            }
        }
    });
}
