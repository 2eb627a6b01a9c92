//! What segments ask of the file system, in one place: whatever their durability rests on goes through here.
//!
//! In: files and paths. Out: what the disk says.
//! Invariant: nothing is done twice and no error is hidden; a test can put a disk below that fails, and forgets what was not synced, as it
//! puts one below SQLite.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

/// One operation, before it is done.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// A new file, or an empty one in the place of an old one.
    Create(&'a Path),
    /// Bytes at a place of a file.
    Write(&'a Path, u64, &'a [u8]),
    /// What was written to a file becomes durable.
    Sync(&'a Path),
    /// The names in a folder become durable.
    SyncFolder(&'a Path),
    /// A file gets another name.
    Rename(&'a Path, &'a Path),
    /// A file goes.
    Remove(&'a Path),
}

/// Sees each operation before it is done, and can refuse it.
pub type Below = fn(Operation<'_>) -> io::Result<()>;

static BELOW: OnceLock<Below> = OnceLock::new();

/// Puts `below` under all segments of this process, once and for ever. For tests.
pub fn put_below(below: Below) {
    BELOW.get_or_init(|| below);
}

fn ask(operation: Operation<'_>) -> io::Result<()> {
    BELOW.get().map_or(Ok(()), |below| below(operation))
}

pub(crate) fn create(path: &Path) -> io::Result<File> {
    ask(Operation::Create(path))?;
    File::create(path)
}

pub(crate) fn write(file: &File, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
    ask(Operation::Write(path, offset, bytes))?;
    file.write_all_at(bytes, offset)
}

pub(crate) fn sync(file: &File, path: &Path) -> io::Result<()> {
    ask(Operation::Sync(path))?;
    file.sync_data()
}

pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    ask(Operation::SyncFolder(path))?;
    File::open(path)?.sync_all()
}

pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    ask(Operation::Rename(from, to))?;
    fs::rename(from, to)
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    ask(Operation::Remove(path))?;
    fs::remove_file(path)
}
