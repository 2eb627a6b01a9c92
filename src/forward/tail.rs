//! What stands in a day's files already: records that come again after a kill are not written twice.
//!
//! In: lines that are to be written. Out: those that do not stand in the last part of the day's files.
//! Invariant: a line that is left out is on the disk. Only whole lines that are the same to the last byte are left out, so that no record is ever taken for
//! another one.
//! Source: progress is journaled after the receipt, so a kill in between brings the last records again.

use std::collections::{BTreeMap, HashSet};
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

/// Lines that stood in files when this run first wrote to them.
#[derive(Debug, Default)]
pub(crate) struct Tails(BTreeMap<Key, HashSet<Mark>>);

impl Tails {
    /// The lines of `text` that do not stand in `parts`, the day's files in their order, which are looked at once.
    pub(crate) fn fresh(
        &mut self,
        key: &Key,
        parts: impl FnOnce() -> Vec<PathBuf>,
        text: String,
    ) -> io::Result<String> {
        if !self.0.contains_key(key) {
            while FILES_MAX <= self.0.len() {
                // The earliest day: what comes next is later.
                self.0.pop_first();
            }
            self.0.insert(key.clone(), known(&parts())?);
        }
        let Some(known) = self.0.get(key).filter(|known| !known.is_empty()) else { return Ok(text) };
        Ok(text.split_inclusive('\n').filter(|line| !known.contains(&mark(line.as_bytes()))).collect())
    }
}

/// Marks of the last lines of these files.
fn known(parts: &[PathBuf]) -> io::Result<HashSet<Mark>> {
    let (mut known, mut left) = (HashSet::new(), TAIL_BYTES);
    for path in parts.iter().rev() {
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
        let mut fresh = |day: &str, parts: &[PathBuf], text: &str| {
            tails.fresh(&(day.to_owned(), "lp"), || parts.to_vec(), text.to_owned()).unwrap()
        };
        let parts = [first, second];
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
        let known = known(&[path]).unwrap();
        assert!(known.contains(&mark(line.as_bytes())) && known.len() == 1);
    }
}
