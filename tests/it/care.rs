//! `lifeline journal`: check, stats, backup and repair; journals of every format that there was.

use std::path::{Path, PathBuf};
use std::process::Command;

use lifeline_gateway::alarm::Base;
use lifeline_gateway::journal::care;
use lifeline_gateway::journal::chunks::Sealer;
use lifeline_gateway::journal::{Audit, Deed, Group, Journal, Reader, Seq, Settings};
use rusqlite::Connection;

use crate::journal::{START, at, catalog, group, open, progress, read, settings, transition};

fn fill(path: &Path) -> Journal {
    let mut journal = open(path);
    journal.keep_site(&catalog("v1", &["a.level", "b.level"]), &[], at(START)).unwrap();
    for n in 0..300 {
        let mut group = group(START + n * 1000, 40);
        if n % 10 == 0 {
            group.transitions = vec![transition("a-high", START + n * 1000, Base::ActiveUnacknowledged)];
            let deed = Deed::Firmware { was: None, is: Some(n.to_string()), note: None };
            group.audits = vec![Audit { at: group.now, device: "d".into(), deed }];
        }
        group.progress = vec![("tsdb".to_owned(), progress(1, 7, &[]))];
        journal.commit(&group).unwrap();
    }
    journal
}

fn lifeline(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lifeline")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (output.status.code(), text)
}

#[test]
fn a_sound_journal_is_checked_and_copied_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = fill(folder.path());
    journal.commit(&group(START + 300_000, 0)).unwrap();
    let mut sealer = Sealer::open(folder.path()).unwrap();
    while sealer.seal(Seq(200)).unwrap() > 0 {}
    let path = folder.path().display().to_string();
    let (code, text) = lifeline(&["journal", "check", "--journal", &path]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("12,000 readings in 300 commits, 30 transitions, 30 audits are whole"), "{text}");
    let (code, text) = lifeline(&["journal", "stats", "--journal", &path]);
    assert!(code == Some(0) && text.contains("12,000 readings"), "{text}");
    let same = "12,000 readings in 300 commits (what `journal check` reads); 1 commit without readings; the last is commit 301";
    assert!(text.contains(same), "{text}");

    let copy = folder.path().join("copy");
    let (code, text) = lifeline(&["journal", "backup", "--journal", &path, &copy.display().to_string()]);
    assert!(code == Some(0), "{text}");
    assert_eq!(read(&copy).0, read(folder.path()).0);
    let history = |path: &Path| {
        let mut found = Vec::new();
        let mut each = |_: &_, reading: &lifeline_gateway::reading::Reading| {
            found.push(reading.clone());
            true
        };
        Reader::open(path).unwrap().history(&["a.level".into()], at(START), at(i64::MAX), &mut each).unwrap();
        found
    };
    assert_eq!(history(&copy), history(folder.path()));
    let (code, text) = lifeline(&["journal", "backup", "--journal", &path, &copy.display().to_string()]);
    assert!(code == Some(1) && text.contains("is there already"), "{text}");
    assert_eq!(journal.commit(&Group::default()).unwrap(), Seq(302), "the writer goes on");
    let (code, text) = lifeline(&["journal", "repair", "--journal", &path]);
    assert!(code == Some(0) && text.contains("nothing to repair"), "{text}");
}

#[test]
fn a_damaged_journal_is_repaired_with_everything_that_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    drop(fill(folder.path()));
    let hand = Connection::open(folder.path().join("journal.db")).unwrap();
    hand.execute_batch(
        "UPDATE commits SET blob = zeroblob(50), place = NULL WHERE seq IN (7, 200);
         UPDATE transitions SET json = replace(json, 'red', 'blue') WHERE id = 2;",
    )
    .unwrap();
    drop(hand);
    let (before, ..) = read(folder.path());
    let path = folder.path().display().to_string();
    let (code, text) = lifeline(&["journal", "check", "--journal", &path]);
    assert!(code == Some(1) && text.contains("3 records are damaged"), "{text}");
    let (code, text) = lifeline(&["journal", "repair", "--journal", &path]);
    assert!(code == Some(0) && text.contains("the old files are in"), "{text}");
    assert_eq!(read(folder.path()).0, before, "with their numbers");
    let health = care::check(folder.path(), &mut |_, _| {}).unwrap();
    assert!(health.is_sound(), "{health:?}");
    assert_eq!((health.groups, health.transitions, health.audits), (298, 29, 30));
    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.progress().unwrap()["tsdb"], progress(1, 7, &[]));
    assert_eq!(open(folder.path()).commit(&group(START, 1)).unwrap(), Seq(302));
    let mut times = Vec::new();
    let mut each = |_: &_, reading: &lifeline_gateway::reading::Reading| {
        times.push(reading.at);
        true
    };
    reader.history(&["a.level".into()], at(START), at(START + 400_000), &mut each).unwrap();
    assert_eq!(times.len(), 298 + 1, "found by time");
    // A running gateway is not repaired under its feet.
    let _held = open(folder.path());
    let (code, text) = lifeline(&["journal", "repair", "--journal", &path]);
    assert!(code == Some(0) || text.contains("another lifeline is running"), "{text}");
}

/// Makes the golden journal of today's format; kept so that a new format adds its own.
#[test]
fn golden() {
    let Ok(folder) = std::env::var("LIFELINE_GOLDEN") else { return };
    let path = Path::new(&folder);
    let mut journal = Journal::open(&Settings { max_bytes: 4 << 20, ..settings(path) }).unwrap();
    journal.keep_site(&catalog("v1", &["a.level", "b.level"]), &[], at(START)).unwrap();
    for n in 0..20 {
        let mut group = group(START + n * 1000, 12);
        if n % 5 == 0 {
            let raised = transition("a-high", START + n * 1000, Base::ActiveUnacknowledged);
            let state = lifeline_gateway::alarm::RuleState {
                alarm: Some(raised.alarm.clone()),
                ..Default::default()
            };
            (group.transitions, group.states) = (vec![raised], vec![("a-high".to_owned(), state)]);
        }
        journal.commit(&group).unwrap();
    }
}

/// A journal with what each format had.
#[test]
fn a_journal_of_every_format_opens_with_a_copy_and_keeps_everything() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for format in 1..=4 {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("journal-format-{format}.db");
        std::fs::copy(golden.join(&name), folder.path().join("journal.db")).unwrap();
        if format == 4 {
            let segments = folder.path().join("segments");
            std::fs::create_dir(&segments).unwrap();
            std::fs::copy(golden.join("journal-format-4.segment"), segments.join("0000000001")).unwrap();
        }
        let before = read(folder.path());
        assert_eq!((before.0.len(), before.2), (20, 0), "{name}");
        let log = Reader::open(folder.path()).unwrap().transitions(0, 100).unwrap();
        assert_eq!(log.len(), 4, "{name}");
        let backup = folder.path().join("backup");
        care::backup(folder.path(), &backup).unwrap();
        assert_eq!(read(&backup).0, before.0, "{name} as it is");
        let mut journal = Journal::open(&settings(folder.path())).unwrap();
        assert_eq!(read(folder.path()), before, "{name}");
        assert_eq!(Reader::open(folder.path()).unwrap().transitions(0, 100).unwrap(), log);
        assert_eq!(Reader::open(folder.path()).unwrap().states().unwrap().len(), 1);
        assert_eq!(journal.commit(&group(START + 60_000, 5)).unwrap(), Seq(21));
        let copy = folder.path().join("before-format-4.db");
        assert_eq!(copy.exists(), format < 4, "{name}");
        if format < 4 {
            let query = "SELECT count(*), (SELECT user_version FROM pragma_user_version) FROM commits";
            let old: (i64, i64) = Connection::open(copy)
                .unwrap()
                .query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap();
            assert_eq!(old, (20, format));
        }
        let health = care::check(folder.path(), &mut |_, _| {}).unwrap();
        assert!(health.is_sound(), "{name}: {health:?}");
    }
}
