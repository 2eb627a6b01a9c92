//! A sink of files: line protocol or CSV, one file for each day (UTC) of the records' time, and a further one when it is large.
//!
//! In: parcels. Out: `<folder>/YYYY-MM-DD.lp`, or `.csv` and `.alarms.csv`; then `YYYY-MM-DD.1.lp` and so on; synced before the receipt.
//! Invariant: a receipt means that the records are on the disk; a line torn by a crash is cut off before the next is written, and one that
//! stands there whole is not written again; only files of these names are ever removed.
//! Source: DESIGN section 9; RFC 4180 (CSV).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::forward::csv::{csv, head};
use crate::forward::line_protocol::Lines;
use crate::forward::parts::{Days, day, named, parts, remove_old, with_room};
use crate::forward::sink::{Doubt, Parcel, Receipt, Refusal, Refused, Sink};
use crate::forward::tail::Tails;
use crate::forward::trouble::Kind;

/// Bytes of a line at most.
const LINE_MAX: u64 = 64 * 1024;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Line protocol.
    Lines,
    /// CSV, readings and alarms apart.
    Csv,
}

/// Settings of a sink of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The folder.
    pub path: PathBuf,
    /// How records are written.
    pub format: Format,
    /// A day's next file is begun when this one has so many bytes.
    pub rotate: Option<u64>,
    /// Files of days longer ago than this are removed.
    pub keep: Option<Duration>,
}

impl Files {
    /// Line protocol in `path`, one file a day, kept for ever.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), format: Format::Lines, rotate: None, keep: None }
    }
}

/// The folder and the gateway's name.
pub struct Folder {
    files: Files,
    site: String,
    clock: Arc<dyn Clock>,
    /// One append at a time: lanes must not tear each other's lines.
    turn: Arc<Mutex<Tails>>,
}

impl Folder {
    /// A sink into the folder of `files`, which is created at the first delivery.
    pub fn new(files: Files, site: String, clock: Arc<dyn Clock>) -> Self {
        Self { files, site, clock, turn: Arc::default() }
    }
}

impl Sink for Folder {
    async fn deliver(&self, parcel: Parcel, _: Doubt) -> Result<Receipt, Refusal> {
        let (files, site, turn) = (self.files.clone(), self.site.clone(), Arc::clone(&self.turn));
        let now = self.clock.now();
        let written = tokio::task::spawn_blocking(move || {
            let mut tails = turn.lock().unwrap_or_else(PoisonError::into_inner);
            let (days, nameless) = match files.format {
                Format::Lines => by_day(&Lines::new(&parcel, &site)),
                Format::Csv => csv(&parcel),
            };
            append(&files, now, days, &mut tails)?;
            Ok(nameless)
        });
        let unreachable = |why: String| Refusal::new(Kind::Disk, why);
        let told =
            |error: io::Error| unreachable(format!("cannot write {}: {error}", self.files.path.display()));
        let nameless = written.await.map_err(|error| unreachable(error.to_string()))?.map_err(told)?;
        let refused =
            (nameless > 0).then(|| Refused::new(nameless, "", "the catalog does not name the point"));
        Ok(Receipt { refused: refused.into_iter().collect() })
    }

    async fn keep(&self) {
        std::future::pending().await
    }

    /// What is being written when the sink ends is there before a successor looks at the files.
    async fn close(&self) {
        let turn = Arc::clone(&self.turn);
        let _ = tokio::task::spawn_blocking(move || drop(turn.lock())).await;
    }

    /// A file refuses no record, so there is none to come again.
    async fn again(&self, _: Vec<Refused>) -> Result<Receipt, Refusal> {
        Ok(Receipt::default())
    }
}

fn by_day(lines: &Lines) -> (Days, u64) {
    let mut days = Days::new();
    for (index, (_, at)) in lines.ends.iter().enumerate() {
        days.entry((day(*at), "lp")).or_default().push_str(lines.slice(index, index.saturating_add(1)));
    }
    (days, lines.nameless)
}

fn append(files: &Files, now: Timestamp, days: Days, tails: &mut Tails) -> io::Result<()> {
    let written = append_days(files, now, days, tails);
    if written.is_err() {
        // All of it comes again, also what stands in the files of other days by now.
        *tails = Tails::default();
    }
    written
}

fn append_days(files: &Files, now: Timestamp, days: Days, tails: &mut Tails) -> io::Result<()> {
    std::fs::create_dir_all(&files.path)?;
    let mut created = false;
    for (key, text) in days {
        let tail = tails.of(&key, || parts(files, &key), |number| named(files, &key, number))?;
        let text = tail.fresh(text);
        if text.is_empty() {
            continue;
        }
        tail.newest = with_room(files, &key, tail.newest);
        let path = named(files, &key, tail.newest);
        created |= !path.exists();
        append_to(&path, head(key.1), &text)?;
    }
    if created {
        remove_old(files, now)?;
        File::open(&files.path)?.sync_all()?;
    }
    Ok(())
}

/// Appends `text`, behind `head` in a file that is empty: a new one, or one that a full disk or a crash left so.
fn append_to(path: &Path, head: &str, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let whole = cut_torn(&mut file)?;
    let head = if whole == 0 { head } else { "" };
    let written = file.write_all(format!("{head}{text}").as_bytes()).and_then(|()| file.sync_data());
    if written.is_err() {
        // It comes again as a whole; what a sync failed for must not be taken for written.
        let _ = file.set_len(whole);
    }
    written
}

/// Removes what stands behind the last line break: it was never confirmed and comes again, and with a break behind it,
/// half a time or half a value could pass for a whole one. The length that is left.
fn cut_torn(file: &mut File) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = length.saturating_sub(LINE_MAX);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(LINE_MAX).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
    let whole = start.saturating_add(u64::try_from(whole).unwrap_or(0));
    if whole < length {
        file.set_len(whole)?;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::clock::Timestamp;

    fn lines(text: &[(&str, &str)]) -> Lines {
        let mut lines = Lines::default();
        for (line, at) in text {
            lines.text.push_str(line);
            lines.ends.push((lines.text.len(), Timestamp::parse(at).unwrap()));
        }
        lines
    }

    fn write(files: &Files, text: &[(&str, &str)]) -> io::Result<()> {
        let now = Timestamp::parse("2026-11-30T08:00:00Z").unwrap();
        append(files, now, by_day(&lines(text)).0, &mut Tails::default())
    }

    #[test]
    fn a_day_is_a_file_and_a_torn_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let files = Files::at(path.clone());
        let first = [("a 1\n", "2026-11-23T23:59:59.999Z"), ("b 2\n", "2026-11-24T00:00:00Z")];
        write(&files, &first).unwrap();
        let day = path.join("2026-11-24.lp");
        std::fs::write(&day, "b 2\nc 17").unwrap();
        write(&files, &[("c 3\n", "2026-11-24T08:00:00Z")]).unwrap();
        assert_eq!(std::fs::read_to_string(path.join("2026-11-23.lp")).unwrap(), "a 1\n");
        assert_eq!(std::fs::read_to_string(day).unwrap(), "b 2\nc 3\n");
    }

    #[test]
    fn what_a_killed_run_has_written_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { rotate: Some(8), ..Files::at(folder.path()) };
        let at = "2026-11-24T08:00:00Z";
        write(&files, &[("a 1\n", at), ("b 2\n", at), ("c 3\n", at)]).unwrap();
        // Another run: the last records come again, cut otherwise, and go on.
        write(&files, &[("b 2\n", at), ("c 3\n", at), ("d 4\n", at)]).unwrap();
        write(&files, &[("d 4\n", at)]).unwrap();
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(
            (text("2026-11-24.lp"), text("2026-11-24.1.lp")),
            ("a 1\nb 2\nc 3\n".into(), "d 4\n".into())
        );
    }

    /// Each run has another `rotate`, and begins with the last record of the one before.
    #[test]
    fn the_newest_file_is_gone_on_with_whatever_rotate_was_before() {
        let at = "2026-11-24T08:00:00Z";
        let runs: [(Option<u64>, &[&str], &[&str]); 5] = [
            (Some(8), &["a 1\nb 2\n", "c 3\n"], &["a 1\nb 2\n", "c 3\n"]),
            // Raised: the first file has room again, and the end is in the second one.
            (Some(16), &["c 3\nd 4\n"], &["a 1\nb 2\n", "c 3\nd 4\n"]),
            (None, &["d 4\ne 5\n"], &["a 1\nb 2\n", "c 3\nd 4\ne 5\n"]),
            // Lowered: both are full.
            (Some(4), &["e 5\nf 6\n"], &["a 1\nb 2\n", "c 3\nd 4\ne 5\n", "f 6\n"]),
            (Some(4096), &["f 6\ng 7\n"], &["a 1\nb 2\n", "c 3\nd 4\ne 5\n", "f 6\ng 7\n"]),
        ];
        // A person may take the first file away between any two runs.
        for taken in 0..=runs.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = |number: usize| match number {
                0 => folder.path().join("2026-11-24.lp"),
                number => folder.path().join(format!("2026-11-24.{number}.lp")),
            };
            for (run, (rotate, texts, want)) in runs.iter().enumerate() {
                if run == taken && run > 0 {
                    std::fs::remove_file(path(0)).unwrap();
                }
                let files = Files { rotate: *rotate, ..Files::at(folder.path()) };
                for text in *texts {
                    write(&files, &text.split_inclusive('\n').map(|line| (line, at)).collect::<Vec<_>>())
                        .unwrap();
                }
                for (number, want) in want.iter().enumerate().skip(usize::from((1..=run).contains(&taken))) {
                    let found = std::fs::read_to_string(path(number)).unwrap();
                    assert_eq!(found, *want, "file {number} after run {run}, taken before {taken}");
                }
            }
        }
    }

    #[test]
    fn a_day_that_failed_brings_no_line_twice_into_the_days_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::at(folder.path());
        let now = Timestamp::parse("2026-11-30T08:00:00Z").unwrap();
        let parcel = [("a 1\n", "2026-11-23T23:59:59Z"), ("b 2\n", "2026-11-24T00:00:00Z")];
        let (mut tails, blocked) = (Tails::default(), folder.path().join("2026-11-24.lp"));
        let mut again = || append(&files, now, by_day(&lines(&parcel)).0, &mut tails);
        std::fs::create_dir(&blocked).unwrap();
        assert!(again().is_err() && again().is_err());
        std::fs::remove_dir(&blocked).unwrap();
        again().unwrap();
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!((text("2026-11-23.lp"), text("2026-11-24.lp")), ("a 1\n".into(), "b 2\n".into()));
    }

    #[test]
    fn a_file_that_a_full_disk_left_without_its_head_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { format: Format::Csv, ..Files::at(folder.path()) };
        let path = folder.path().join("2026-11-24.csv");
        for left in ["", "time,device"] {
            std::fs::write(&path, left).unwrap();
            let days = Days::from([(("2026-11-24".to_owned(), "csv"), "x\n".to_owned())]);
            append(&files, Timestamp::default(), days, &mut Tails::default()).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, format!("{}x\n", head("csv")), "{left}");
        }
    }

    #[tokio::test]
    async fn it_is_closed_when_what_it_writes_is_written() {
        let clock = Arc::new(crate::clock::SystemClock::new());
        let folder = Folder::new(Files::at("out"), "site".to_owned(), clock);
        let (turn, (begun_to, begun), (end_to, end)) =
            (Arc::clone(&folder.turn), std::sync::mpsc::channel(), std::sync::mpsc::channel());
        std::thread::spawn(move || {
            let _turn = turn.lock();
            begun_to.send(()).unwrap();
            end.recv()
        });
        begun.recv().unwrap();
        let mut closed = Box::pin(folder.close());
        assert!(closed.as_mut().now_or_never().is_none());
        end_to.send(()).unwrap();
        closed.await;
    }

    #[test]
    fn a_folder_that_is_a_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, "").unwrap();
        assert!(write(&Files::at(path), &[("a 1\n", "2026-11-24T08:00:00Z")]).is_err());
    }

    #[test]
    fn a_large_file_gets_a_successor_and_old_days_go() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Some(Duration::from_secs(3 * 86_400));
        let files = Files { rotate: Some(8), keep, ..Files::at(folder.path()) };
        for name in
            ["2026-11-20.lp", "2026-11-20.3.alarms.csv", "2026-11-20.txt", "mine.lp", "2026-11-27.csv"]
        {
            std::fs::write(folder.path().join(name), "x\n").unwrap();
        }
        for line in ["a 1\n", "a 2\n", "a 3\n", "a 4\n", "a 5\n"] {
            write(&files, &[(line, "2026-11-30T08:00:00Z")]).unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "2026-11-20.txt",
                "2026-11-27.csv",
                "2026-11-30.1.lp",
                "2026-11-30.2.lp",
                "2026-11-30.lp",
                "mine.lp"
            ]
        );
    }
}
