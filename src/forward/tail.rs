//! What stands in a day's files already: records that come again after a kill are not written twice.
//!
//! In: lines that are to be written. Out: those that do not stand in the last part of the day's files; the file that they go to.
//! Invariant: a line that is left out is on the disk. Only whole lines that are the same to the last byte are left out, so that no record is ever taken for
//! another one.
//! Source: progress is journaled after the receipt, so a kill in between brings the last records again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::forward::parts::Key;

/// So much of the end of a day's files is looked at: minutes of a large site, hours of a small one.
const TAIL_BYTES: u64 = 8 * 1024 * 1024;
/// Days and endings of which lines are remembered at once.
const FILES_MAX: usize = 8;

/// Half of a SHA-256: two lines that differ have two.
type Mark = [u8; 16];

/// The end of one day's files.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Number of the file that is written to.
    pub(crate) newest: u32,
    /// Lines that stood there when this run first wrote to them.
    known: HashSet<Mark>,
}

impl Tail {
    /// The lines of `text` that do not stand in the day's files.
    pub(crate) fn fresh(&self, text: String) -> String {
        if self.known.is_empty() {
            return text;
        }
        text.split_inclusive('\n').filter(|line| !self.known.contains(&mark(line.as_bytes()))).collect()
    }
}

/// The ends of the days that this run writes to.
#[derive(Debug, Default)]
pub(crate) struct Tails(BTreeMap<Key, Tail>);

impl Tails {
    /// The end of the files of one day. They are looked at once: `parts` gives the numbers of those that are there, `path` leads to each.
    pub(crate) fn of(
        &mut self,
        key: &Key,
        parts: impl FnOnce() -> io::Result<BTreeSet<u32>>,
        path: impl Fn(u32) -> PathBuf,
    ) -> io::Result<&mut Tail> {
        if !self.0.contains_key(key) {
            while FILES_MAX <= self.0.len() {
                // The earliest day: what comes next is later.
                self.0.pop_first();
            }
            let parts = parts()?;
            let newest = parts.last().copied().unwrap_or_default();
            let known = known(parts.into_iter().rev().map(path))?;
            self.0.insert(key.clone(), Tail { newest, known });
        }
        Ok(self.0.entry(key.clone()).or_default())
    }
}

/// Marks of the last lines of these files, the newest file first.
fn known(parts: impl Iterator<Item = PathBuf>) -> io::Result<HashSet<Mark>> {
    let (mut known, mut left) = (HashSet::new(), TAIL_BYTES);
    for path in parts {
        if left == 0 {
            break;
        }
        let mut file = File::open(path)?;
        // Nobody may have done so before the kill.
        file.sync_all()?;
        let length = file.seek(SeekFrom::End(0))?;
        let start = length.saturating_sub(left);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        file.take(left).read_to_end(&mut tail)?;
        left = left.saturating_sub(length);
        // Neither a line that begins before the part nor one that was torn is a whole one.
        let lines = tail.split_inclusive(|byte| *byte == b'\n').skip(usize::from(start > 0));
        known.extend(lines.filter(|line| line.ends_with(b"\n")).map(mark));
    }
    Ok(known)
}

fn mark(line: &[u8]) -> Mark {
    let mut mark = Mark::default();
    mark.iter_mut().zip(Sha256::digest(line)).for_each(|(to, byte)| *to = byte);
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_that_stand_there_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a.lp"), folder.path().join("a.1.lp"));
        std::fs::write(&first, "a 1\nb 2\n").unwrap();
        std::fs::write(&second, "c 3\nd 44").unwrap();
        let mut tails = Tails::default();
        let parts = [first, second];
        let path = |number: u32| parts[usize::try_from(number).unwrap()].clone();
        let mut fresh = |day: &str, there: &[u32], text: &str| {
            let there = || Ok(there.iter().copied().collect());
            let tail = tails.of(&(day.to_owned(), "lp"), there, path).unwrap();
            tail.fresh(text.to_owned())
        };
        let parts = [0, 1];
        assert_eq!(fresh("2026-11-24", &parts, "b 2\nc 3\nd 44\nd 4\nb 3\n"), "d 44\nd 4\nb 3\n");
        assert_eq!(fresh("2026-11-25", &[], "b 2\n"), "b 2\n", "another day");
        for day in 1..=9 {
            assert_eq!(fresh(&format!("2026-12-0{day}"), &[], "x 1\n"), "x 1\n");
        }
        assert_eq!(fresh("2026-11-24", &parts, "b 2\nq 1\n"), "q 1\n", "forgotten, and looked at again");
    }

    #[test]
    fn a_line_that_begins_before_the_tail_is_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lp");
        let line = format!("{}\n", "x".repeat(1023));
        std::fs::write(&path, format!("y{}", line.repeat(8 * 1024))).unwrap();
        let known = known(std::iter::once(path)).unwrap();
        assert!(known.contains(&mark(line.as_bytes())) && known.len() == 1);
    }
}
