//! A sink of files: line protocol, one file for each day (UTC) of the records' time.
//!
//! In: parcels. Out: `<folder>/YYYY-MM-DD.lp`, synced before the receipt.
//! Invariant: a receipt means that the lines are on the disk; a line torn by a crash is cut off before the next is written.
//! Source: DESIGN section 9.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::forward::line_protocol::Lines;
use crate::forward::sink::{Doubt, Parcel, Receipt, Refusal, Refused, Sink};
use crate::forward::trouble::Kind;

/// Bytes of a line at most.
const LINE_MAX: u64 = 64 * 1024;

/// The folder and the gateway's name.
pub struct Folder {
    path: PathBuf,
    site: String,
    /// One append at a time: lanes must not tear each other's lines.
    turn: Arc<Mutex<()>>,
}

impl Folder {
    /// A sink into `path`, which is created at the first delivery.
    pub fn new(path: PathBuf, site: String) -> Self {
        Self { path, site, turn: Arc::default() }
    }
}

impl Sink for Folder {
    async fn deliver(&self, parcel: Parcel, _: Doubt) -> Result<Receipt, Refusal> {
        let (path, site, turn) = (self.path.clone(), self.site.clone(), Arc::clone(&self.turn));
        let written = tokio::task::spawn_blocking(move || {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            append(&path, &Lines::new(&parcel, &site))
        });
        let unreachable = |why: String| Refusal::new(Kind::Disk, why);
        let told = |error: io::Error| unreachable(format!("cannot write {}: {error}", self.path.display()));
        let nameless = written.await.map_err(|error| unreachable(error.to_string()))?.map_err(told)?;
        let refused =
            (nameless > 0).then(|| Refused::new(nameless, "", "the catalog does not name the point"));
        Ok(Receipt { refused: refused.into_iter().collect() })
    }

    async fn keep(&self) {
        std::future::pending().await
    }

    /// A file refuses no record, so there is none to come again.
    async fn again(&self, _: Vec<Refused>) -> Result<Receipt, Refusal> {
        Ok(Receipt::default())
    }
}

fn append(folder: &Path, lines: &Lines) -> io::Result<u64> {
    let mut days: BTreeMap<String, String> = BTreeMap::new();
    for (index, (_, at)) in lines.ends.iter().enumerate() {
        let day = at.to_string().split('T').next().unwrap_or_default().to_owned();
        days.entry(day).or_default().push_str(lines.slice(index, index.saturating_add(1)));
    }
    std::fs::create_dir_all(folder)?;
    let mut created = false;
    for (day, text) in days {
        let path = folder.join(format!("{day}.lp"));
        created |= !path.exists();
        append_to(&path, &text)?;
    }
    if created {
        File::open(folder)?.sync_all()?;
    }
    Ok(lines.nameless)
}

fn append_to(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    cut_torn(&mut file)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

/// Removes what stands behind the last line break: it was never confirmed and comes again, and with a break behind it,
/// half a time or half a value could pass for a whole one.
fn cut_torn(file: &mut File) -> io::Result<()> {
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
    Ok(())
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_day_is_a_file_and_a_torn_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let first = lines(&[("a 1\n", "2026-11-23T23:59:59.999Z"), ("b 2\n", "2026-11-24T00:00:00Z")]);
        append(&path, &first).unwrap();
        let day = path.join("2026-11-24.lp");
        std::fs::write(&day, "b 2\nc 17").unwrap();
        append(&path, &lines(&[("c 3\n", "2026-11-24T08:00:00Z")])).unwrap();
        assert_eq!(std::fs::read_to_string(path.join("2026-11-23.lp")).unwrap(), "a 1\n");
        assert_eq!(std::fs::read_to_string(day).unwrap(), "b 2\nc 3\n");
    }

    #[test]
    fn a_folder_that_is_a_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, "").unwrap();
        assert!(append(&path, &Lines::default()).is_err());
    }
}
