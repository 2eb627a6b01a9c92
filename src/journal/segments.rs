//! Segments: the files that hold the readings of most commits, written once and in place.
//!
//! In: records in the order of their commits. Out: their places, once they are durable; files that nobody needs any more are used again.
//! Invariant: what `append` returned a place for is on disk; a file is used again only under a new generation, so that none of its old
//! records passes; nothing here is needed that the database can't hold as well, so every error means "there".
//! Source: `docs/decisions/0016-readings-in-segments.md`.
//!
//! A new file is filled with zeros first, and a used one is written over: an append changes neither the length of a file nor what the file
//! system knows of it, and its sync writes the record alone.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::journal::disk;
use crate::journal::record::{self, Parts, Place, Record};

/// Name of the folder beside the database.
pub(crate) const FOLDER: &str = "segments";
/// Bytes of a segment: minutes of a large site, and no more zeros at once than an alarm can wait for.
const BYTES_MAX: u64 = 1 << 20;
/// Of a small journal, and the step between.
const BYTES_MIN: u64 = 1 << 16;
/// A segment is this part of all bytes.
const PART: u64 = 64;
/// After a failure the database takes this many commits before a segment is tried again.
const REST: u32 = 64;
/// A reader looks this far ahead for the next segment before it lists all of them.
const AHEAD: u32 = 4;
/// Name of a file that is being filled with zeros.
const NEW: &str = "new";
/// Bytes of a block of the file system, as most have it.
const BLOCK: usize = 4096;
/// Spare files that are kept whatever the size; and one for this many that hold something.
const SPARE: usize = 2;

/// A segment that holds records.
#[derive(Clone, Copy, Debug)]
struct Live {
    /// No commit before this one stands in it.
    first: i64,
    bytes: u64,
}

/// The segment that is written.
#[derive(Debug)]
struct Open {
    file: File,
    generation: u32,
    offset: u32,
    bytes: u32,
}

/// The writer's view of the segments.
#[derive(Debug)]
pub(crate) struct Segments {
    folder: PathBuf,
    seed: u32,
    /// Bytes of a new segment; 0: none is made.
    bytes: u64,
    open: Option<Open>,
    /// By generation, which grows with each use of a file; the open one included.
    live: BTreeMap<u32, Live>,
    /// Generations of the last use of files that hold nothing any more, and their length.
    spare: Vec<(u32, u64)>,
    /// The last generation that was used.
    last: u32,
    /// Commits until the next try after a failure.
    rest: u32,
    record: Vec<u8>,
    /// Syncs of the disk so far.
    pub(crate) syncs: u64,
}

/// Bytes of all segments in the journal's folder `path`.
pub(crate) fn bytes(path: &Path) -> u64 {
    let Ok(files) = fs::read_dir(path.join(FOLDER)) else { return 0 };
    let length = |file: fs::DirEntry| file.metadata().map_or(0, |found| found.len());
    files.filter_map(Result::ok).map(length).fold(0, u64::saturating_add)
}

/// Bytes of a new segment of a journal that may have `bytes_max`; 0 for one that is too small for any.
fn segment_bytes(bytes_max: u64) -> u64 {
    (bytes_max / PART / BYTES_MIN * BYTES_MIN).min(BYTES_MAX)
}

/// The file of a segment in its folder.
pub(crate) fn file(folder: &Path, generation: u32) -> PathBuf {
    folder.join(format!("{generation:010}"))
}

/// Whether there is no such file, or no folder for it.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Generations in the folder, ascending.
pub(crate) fn generations(folder: &Path) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    match fs::read_dir(folder) {
        Ok(files) => {
            for file in files {
                // Only files of our names are ours.
                found.extend(
                    file?
                        .file_name()
                        .to_str()
                        .filter(|name| name.len() == 10)
                        .and_then(|name| name.parse::<u32>().ok()),
                );
            }
        }
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(error),
    }
    found.sort_unstable();
    Ok(found)
}

impl Segments {
    /// Looks at the segments of the journal in folder `path`, and goes on at `end`, the generation and the end of the last whole record: what stands
    /// behind it was never confirmed.
    pub(crate) fn open(path: &Path, seed: u32, bytes_max: u64, end: Option<(u32, u32)>) -> Self {
        let mut segments = Self {
            folder: path.join(FOLDER),
            seed,
            bytes: segment_bytes(bytes_max),
            open: None,
            live: BTreeMap::new(),
            spare: Vec::new(),
            last: end.map_or(0, |(generation, _)| generation),
            rest: 0,
            record: Vec::new(),
            syncs: 0,
        };
        if let Err(error) = segments.look(end) {
            tracing::warn!(%error, "cannot look at the journal's segments; its database takes the readings");
            segments.rest = REST;
        }
        segments
    }

    fn look(&mut self, end: Option<(u32, u32)>) -> io::Result<()> {
        let all = generations(&self.folder)?;
        self.last = all.last().copied().unwrap_or(0).max(self.last);
        for generation in all {
            if let Err(error) = self.take(generation, end) {
                // It may hold something: it is neither used again nor removed.
                tracing::warn!(%error, generation, "cannot look at a segment of the journal; it is left as it is");
            }
        }
        Ok(())
    }

    fn take(&mut self, generation: u32, end: Option<(u32, u32)>) -> io::Result<()> {
        let path = file(&self.folder, generation);
        let file = File::open(&path)?;
        let bytes = file.metadata()?.len();
        let first = record::first(&file, self.seed, generation)?.map(|first| first.key.seq);
        if let Some((_, offset)) = end.filter(|(last, _)| *last == generation) {
            let file = OpenOptions::new().write(true).open(path)?;
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.open = Some(Open { file, generation, offset, bytes });
        } else if first.is_none() {
            self.spare.push((generation, bytes));
            return Ok(());
        }
        self.live.insert(generation, Live { first: first.unwrap_or(i64::MAX), bytes });
        Ok(())
    }

    /// The first commit that each segment may hold, by generation, and the end of its own.
    fn spans(&self) -> Vec<(u32, i64, i64)> {
        let mut next = i64::MAX;
        let spans = self.live.iter().rev().map(|(generation, live)| {
            let span = (*generation, live.first, next);
            next = live.first;
            span
        });
        spans.collect()
    }

    /// Makes `parts` durable; where they stand. `None`: the database has to take them, because they are too large or the disk refuses.
    pub(crate) fn append(&mut self, parts: &Parts<'_>) -> Option<Place> {
        let bytes = u32::try_from(parts.len()).ok().filter(|bytes| u64::from(*bytes) <= self.bytes / 4)?;
        if self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        match self.written(parts, bytes) {
            Ok(place) => Some(place),
            Err(error) => {
                tracing::debug!(%error, "cannot write a segment; the database takes the readings");
                // What a failed sync left in the file is not known: it is not written any further.
                self.open = None;
                self.rest = REST;
                None
            }
        }
    }

    fn written(&mut self, parts: &Parts<'_>, bytes: u32) -> io::Result<Place> {
        if self.open.as_ref().is_none_or(|open| open.offset.saturating_add(bytes) > open.bytes) {
            self.roll(parts.key.seq)?;
        }
        let Some(open) = &mut self.open else { return Err(io::Error::other("no segment is open")) };
        parts.emit(self.seed, open.generation, &mut self.record);
        let path = file(&self.folder, open.generation);
        disk::write(&open.file, &path, u64::from(open.offset), &self.record)?;
        disk::sync(&open.file, &path)?;
        self.syncs = self.syncs.saturating_add(1);
        let place = Place { generation: open.generation, offset: open.offset, bytes };
        open.offset = place.end();
        if let Some(live) = self.live.get_mut(&place.generation) {
            live.first = live.first.min(parts.key.seq);
            live.bytes = live.bytes.max(u64::from(place.end()));
        }
        Ok(place)
    }

    /// Opens the next segment, of which `first` will be the first commit: a spare file, or a new one full of zeros.
    fn roll(&mut self, first: i64) -> io::Result<()> {
        self.open = None;
        let generation = self.last.checked_add(1).ok_or_else(|| io::Error::other("no generation is left"))?;
        let path = file(&self.folder, generation);
        if path.exists() {
            self.last = generation;
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let bytes = match self.spare.pop() {
            Some((old, bytes)) => {
                let from = self::file(&self.folder, old);
                if let Err(error) = disk::rename(&from, &path) {
                    self.spare.extend(from.exists().then_some((old, bytes)));
                    return Err(error);
                }
                bytes
            }
            None => {
                self.fresh(&path)?;
                self.bytes
            }
        };
        // A number is used up once there is a file of it and never before: readers look for the next one.
        self.last = generation;
        self.live.insert(generation, Live { first, bytes });
        let file = OpenOptions::new().write(true).open(&path)?;
        disk::sync_folder(&self.folder)?;
        self.syncs = self.syncs.saturating_add(1);
        self.open =
            Some(Open { file, generation, offset: 0, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) });
        Ok(())
    }

    /// A new file full of zeros; none is left where there is no room for it.
    fn fresh(&mut self, path: &Path) -> io::Result<()> {
        if !self.folder.exists() {
            fs::create_dir_all(&self.folder)?;
            if let Some(parent) = self.folder.parent() {
                disk::sync_folder(parent)?;
            }
        }
        let new = self.folder.join(NEW);
        let file = disk::create(&new)?;
        // Block by block: what one write brings into the kernel's cache is counted as written whole whenever a part of it is.
        let zeros = [0; BLOCK];
        let mut blocks = 0..self.bytes / BLOCK as u64;
        let filled = blocks.try_for_each(|block| disk::write(&file, &new, block * BLOCK as u64, &zeros));
        // The sync of the first record is theirs too.
        let named = filled.and_then(|()| disk::rename(&new, path));
        if named.is_err() {
            let _ = disk::remove(&new);
        }
        named
    }

    /// Frees the segments that begin up to commit `upto`, are whole in the database up to `rooted`, and hold nothing any more; `held` says whether
    /// the database still knows a commit of `from..to` in the segment of a generation. The newest stays: readers find the next one by its number.
    pub(crate) fn release(
        &mut self,
        (upto, rooted): (i64, i64),
        mut held: impl FnMut(u32, i64, i64) -> bool,
    ) {
        let open = self.open.as_ref().map(|open| open.generation);
        for (generation, first, next) in self.spans() {
            let whole = first <= upto && next.saturating_sub(1) <= rooted;
            let newest = Some(generation) == open || generation == self.last;
            if newest || !whole || held(generation, first, next) {
                continue;
            }
            if let Some(live) = self.live.remove(&generation) {
                self.spare.push((generation, live.bytes));
                // Where there was no room for a new one there is one now.
                self.rest = 0;
            }
        }
    }

    /// Removes spare files: all of them where `tight`, else those that are too many or of another length than new ones.
    pub(crate) fn give_back(&mut self, tight: bool) {
        let keep = if tight { 0 } else { SPARE.max(self.live.len() / 5) };
        let (bytes, folder) = (self.bytes, &self.folder);
        let mut kept = 0;
        self.spare.retain(|(generation, length)| {
            kept += 1;
            kept <= keep && *length == bytes || disk::remove(&file(folder, *generation)).is_err()
        });
    }

    /// Removes one spare file, for the room that it takes.
    pub(crate) fn give_one(&mut self) {
        if let Some((generation, bytes)) = self.spare.pop()
            && disk::remove(&file(&self.folder, generation)).is_err()
        {
            self.spare.push((generation, bytes));
        }
    }

    /// Bytes of the segments that hold something.
    pub(crate) fn used(&self) -> u64 {
        self.live.values().map(|live| live.bytes).fold(0, u64::saturating_add)
    }

    /// Bytes of all segments.
    pub(crate) fn all(&self) -> u64 {
        self.spare.iter().map(|(_, bytes)| bytes).fold(self.used(), |sum, bytes| sum.saturating_add(*bytes))
    }

    /// The settings changed.
    pub(crate) fn resettle(&mut self, bytes_max: u64) {
        self.bytes = segment_bytes(bytes_max);
    }
}

/// Finds records by their place; keeps the last file open.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    folder: PathBuf,
    /// The journal's own sum; `None` for a journal of a format without segments.
    seed: Option<u32>,
    open: Option<(u32, File)>,
}

impl Shelf {
    pub(crate) fn new(path: &Path, seed: Option<u32>) -> Self {
        Self { folder: path.join(FOLDER), seed, open: None }
    }

    /// Whether the journal has segments at all.
    pub(crate) const fn is_there(&self) -> bool {
        self.seed.is_some()
    }

    /// The journal has segments from now on.
    pub(crate) const fn begin(&mut self, seed: Option<u32>) {
        self.seed = seed;
    }

    /// Makes a segment and its name durable: a stop may have left both in the kernel's cache alone.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn sync(&self, generation: u32) -> io::Result<()> {
        match File::open(file(&self.folder, generation)) {
            Ok(file) => disk::sync(&file, &self::file(&self.folder, generation))?,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        for folder in self.folder.ancestors().take(2) {
            // Some file systems cannot, and a journal there is better than none.
            let _ = disk::sync_folder(folder);
        }
        Ok(())
    }

    /// The record at this place and its blob; `None` when none stands there whole.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn read(&mut self, generation: u32, offset: u32) -> io::Result<Option<(Record, Vec<u8>)>> {
        self.of(generation, |file, seed| record::read(file, seed, generation, offset))
    }

    /// The first whole record of a segment.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn first(&mut self, generation: u32) -> io::Result<Option<Record>> {
        self.of(generation, |file, seed| record::first(file, seed, generation))
    }

    /// Where the first whole record behind this place begins.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn find(&mut self, generation: u32, offset: u32) -> io::Result<Option<u32>> {
        self.of(generation, |file, seed| record::find(file, seed, generation, offset))
    }

    /// What `look` finds in a segment; `None` where there is none of this generation.
    fn of<T>(
        &mut self,
        generation: u32,
        look: impl FnOnce(&File, u32) -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        let Some(seed) = self.seed else { return Ok(None) };
        let found = match self.open.as_ref().filter(|(open, _)| *open == generation) {
            Some((_, file)) => look(file, seed),
            None => File::open(file(&self.folder, generation))
                .and_then(|file| look(&self.open.insert((generation, file)).1, seed)),
        };
        match found {
            // A sector that can't be read is damage; what else refuses may work later.
            Err(error) if is_absent(&error) || error.raw_os_error() == Some(libc::EIO) => Ok(None),
            found => found,
        }
    }

    /// The segment that follows this one, if there is one already.
    pub(crate) fn next(&self, generation: u32) -> Option<u32> {
        let ahead = generation.saturating_add(1)..=generation.saturating_add(AHEAD);
        ahead.into_iter().filter(|next| generation < *next).find(|next| file(&self.folder, *next).exists())
    }

    /// The same, however many numbers are left out between them.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn later(&self, generation: u32) -> io::Result<Option<u32>> {
        Ok(self.generations()?.into_iter().find(|later| generation < *later))
    }

    /// Generations, ascending.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn generations(&self) -> io::Result<Vec<u32>> {
        if self.seed.is_none() { Ok(Vec::new()) } else { generations(&self.folder) }
    }
}

/// The same refusal as the database would tell.
pub(crate) fn refused(error: io::Error) -> rusqlite::Error {
    let failure = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
    rusqlite::Error::SqliteFailure(failure, Some(format!("a segment cannot be read: {error}")))
}
