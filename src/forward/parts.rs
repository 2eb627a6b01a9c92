//! The files of a day: their names, which of them is written to, and which are too old.
//!
//! In: the folder's settings, a day. Out: paths.
//! Invariant: only files of our names are ever removed.

use std::io;
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;
use crate::forward::file::Files;

/// Files of one day at most; the last one grows.
const PARTS_MAX: u32 = 9999;

/// Day, and ending of the file's name.
pub(crate) type Key = (String, &'static str);

/// The day (UTC) of a time, as it stands in names.
pub(crate) fn day(at: Timestamp) -> String {
    at.to_string().split('T').next().unwrap_or_default().to_owned()
}

/// The day's file of this number.
fn named(files: &Files, day: &str, ending: &str, number: u32) -> PathBuf {
    match number {
        0 => files.path.join(format!("{day}.{ending}")),
        number => files.path.join(format!("{day}.{number}.{ending}")),
    }
}

/// The day's files that are there.
pub(crate) fn parts(files: &Files, day: &str, ending: &str) -> Vec<PathBuf> {
    (0..=PARTS_MAX).map(|number| named(files, day, ending, number)).take_while(|path| path.exists()).collect()
}

/// The day's file that has room.
pub(crate) fn part(files: &Files, day: &str, ending: &str) -> PathBuf {
    let named = |number: u32| named(files, day, ending, number);
    let length = |path: &Path| path.metadata().map_or(0, |found| found.len());
    let Some(most) = files.rotate else { return named(0) };
    (0..PARTS_MAX).map(named).find(|path| length(path) < most).unwrap_or_else(|| named(PARTS_MAX))
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
