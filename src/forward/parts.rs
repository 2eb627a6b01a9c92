//! The files of a day: their names, which of them is written to, and which are too old.
//!
//! In: the folder's settings, a day. Out: paths.
//! Invariant: of a day's files the one of the highest number is written to, so its end is where the day's records end, whatever `rotate` was in an earlier run
//! and whichever files were taken away. Only files of our names are ever removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use crate::clock::Timestamp;
use crate::forward::file::Files;

/// Files of one day at most; the last one grows.
const PARTS_MAX: u32 = 9999;

/// Day, and ending of the file's name.
pub(crate) type Key = (String, &'static str);

/// Text by day and ending.
pub(crate) type Days = BTreeMap<Key, String>;

/// The day (UTC) of a time, as it stands in names.
pub(crate) fn day(at: Timestamp) -> String {
    at.to_string().split('T').next().unwrap_or_default().to_owned()
}

/// The day's file of this number.
pub(crate) fn named(files: &Files, (day, ending): &Key, number: u32) -> PathBuf {
    match number {
        0 => files.path.join(format!("{day}.{ending}")),
        number => files.path.join(format!("{day}.{number}.{ending}")),
    }
}

/// Numbers of the day's files that are there, in order.
pub(crate) fn parts(files: &Files, key: &Key) -> io::Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(&files.path)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| number(name, key));
        found.extend(number.filter(|number| named(files, key, *number).ends_with(&name)));
    }
    Ok(found)
}

/// The number in a name of this day and ending.
fn number(name: &str, (day, ending): &Key) -> Option<u32> {
    let between = name.strip_prefix(day.as_str())?.strip_suffix(ending)?.strip_prefix('.')?;
    if between.is_empty() {
        return Some(0);
    }
    between.strip_suffix('.')?.parse().ok().filter(|number| *number <= PARTS_MAX)
}

/// The file that is written to, when the newest one has this number: that one, or the next when it is full.
pub(crate) fn with_room(files: &Files, key: &Key, newest: u32) -> u32 {
    let length = named(files, key, newest).metadata().map_or(0, |found| found.len());
    let full = files.rotate.is_some_and(|most| most <= length);
    if full { newest.saturating_add(1).min(PARTS_MAX) } else { newest }
}

/// Removes our files of days that are too long ago.
pub(crate) fn remove_old(files: &Files, now: Timestamp) -> io::Result<()> {
    let Some(keep) = files.keep else { return Ok(()) };
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let oldest = day(Timestamp::from_millis(now.as_millis().saturating_sub(keep_ms)));
    for entry in std::fs::read_dir(&files.path)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if ours(name).is_some_and(|day| day < oldest.as_str()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The day of a file of ours.
fn ours(name: &str) -> Option<&str> {
    let (day, rest) = name.split_once('.')?;
    let dated = day.len() == 10 && Timestamp::parse(&format!("{day}T00:00:00Z")).is_ok();
    let rest = match rest.split_once('.') {
        Some((number, ending)) if number.parse::<u32>().is_ok() => ending,
        _ => rest,
    };
    (dated && matches!(rest, "lp" | "csv" | "alarms.csv")).then_some(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_the_day_and_ending_also_behind_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::at(folder.path());
        for name in [
            "2026-11-24.csv",
            "2026-11-24.2.csv",
            "2026-11-24.10.csv",
            "2026-11-24.9999.csv",
            "2026-11-24.10000.csv",
            "2026-11-24.007.csv",
            "2026-11-24.+4.csv",
            "2026-11-24.0.csv",
            "2026-11-24.5csv",
            "2026-11-24.6.alarms.csv",
            "2026-11-24.7.lp",
            "2026-11-25.8.csv",
            "mine.csv",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let of = |day: &str, ending| {
            parts(&files, &(day.to_owned(), ending)).unwrap().into_iter().collect::<Vec<_>>()
        };

        assert_eq!(of("2026-11-24", "csv"), [0, 2, 10, 9999]);
        assert_eq!(of("2026-11-24", "alarms.csv"), [6]);
        assert_eq!(of("2026-11-24", "lp"), [7]);
        assert_eq!(of("2026-11-26", "lp"), [0_u32; 0]);
    }
}
