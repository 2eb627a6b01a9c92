//! What happens to a journal that cannot be used, and to one that finds no room on the disk when it is opened.
//!
//! In: the journal's folder. Out: the folder that the damaged files were moved to; what they still say of the alarms.
//! Invariant: nothing is deleted but the files that an earlier damage left; a file of a newer version or of another program is
//! never touched. Source: DESIGN promise 10: no person ever has to delete a file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::alarm::{RuleState, Transition};
use crate::clock::Timestamp;
use crate::journal::store::{FILE, lock};
use crate::journal::{OpenError, Progress, Reader, Seq, StoreError};
use crate::journal::{segments, wal};

/// Folders of damaged journals begin so.
const ASIDE: &str = "damaged-";
/// Name of the file whose room is given up when the journal finds none at the start.
const RESERVE: &str = "reserve";
/// Enough for the index of the write-ahead log (32 KiB), a token and a version of the site's documents.
const RESERVE_BYTES: usize = 1 << 20;

/// What a damaged journal still says of the alarms: the last transition of each rule, and the states.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// The last change of each rule's alarm, oldest first.
    pub transitions: Vec<Transition>,
    /// Delays in progress, by rule.
    pub states: Vec<(String, RuleState)>,
}

/// Moves the journal's files in `path` to a folder of their own inside it, and returns that folder. An earlier such folder is removed: two
/// damaged journals would crowd out a sound one.
///
/// # Errors
/// Another lifeline holds the journal, or the file system refuses.
pub fn set_aside(path: &Path, now: Timestamp) -> Result<PathBuf, OpenError> {
    let _lock = lock(path)?;
    let at = |source| OpenError::Aside { path: path.to_owned(), source };
    let is_aside = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(ASIDE);
    for earlier in fs::read_dir(path).map_err(at)?.filter_map(Result::ok).filter(is_aside) {
        fs::remove_dir_all(earlier.path()).map_err(at)?;
    }
    let stamp: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let aside = path.join(format!("{ASIDE}{stamp}"));
    fs::create_dir(&aside).map_err(at)?;
    let names = ["", "-wal", "-shm", "-journal"].map(|suffix| format!("{FILE}{suffix}"));
    for name in names.into_iter().chain([segments::FOLDER.to_owned()]) {
        match fs::rename(path.join(&name), aside.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => moved.map_err(at)?,
        }
    }
    File::open(path).and_then(|folder| folder.sync_all()).map_err(at)?;
    Ok(aside)
}

/// Ends a [`set_aside`] that was cut short behind the database: its log and its segments follow it, before a new journal takes them for its own.
pub(crate) fn end_set_aside(path: &Path) -> io::Result<()> {
    if path.join(FILE).exists() || !path.exists() {
        return Ok(());
    }
    for folder in fs::read_dir(path)?.filter_map(Result::ok).map(|entry| entry.path()) {
        let is_aside = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ASIDE));
        if !is_aside || !folder.join(FILE).exists() {
            continue;
        }
        for name in [format!("{FILE}-wal"), segments::FOLDER.to_owned()] {
            if path.join(&name).exists() && !folder.join(&name).exists() {
                fs::rename(path.join(&name), folder.join(&name))?;
            }
        }
    }
    Ok(())
}

/// Keeps a copy of a write-ahead log that is damaged in its middle, before SQLite cuts it there. Returns how many transactions stand behind
/// the damage; 0 for a sound log. Where there is no room for the copy there is none: the journal opens all the same.
pub(crate) fn keep_damaged_log(path: &Path) -> Result<u64, OpenError> {
    let name = format!("{FILE}-wal");
    let log = path.join(&name);
    let hidden = wal::hidden(&log, &path.join(FILE))
        .map_err(|source| OpenError::Folder { path: path.to_owned(), source })?;
    if hidden > 0 {
        let aside = path.join(format!("{ASIDE}log"));
        let kept = fs::create_dir_all(&aside).and_then(|()| fs::copy(&log, aside.join(&name)));
        if let Err(error) = kept {
            tracing::warn!(%error, "cannot keep a copy of the damaged write-ahead log");
            let _ = fs::remove_dir_all(&aside);
        }
    }
    Ok(hidden)
}

/// What can still be read of the alarms in the damaged journal of folder `aside`: as much as its pages allow, nothing guessed.
pub fn salvage(aside: &Path) -> Saved {
    let Ok(reader) = Reader::open(aside) else { return Saved::default() };
    let mut last: BTreeMap<String, (u64, Transition)> = BTreeMap::new();
    let mut after = 0;
    while let Ok(page) = reader.transitions(after, 1000) {
        let Some((number, _)) = page.last() else { break };
        after = *number;
        last.extend(
            page.into_iter().map(|(id, transition)| (transition.alarm.rule.clone(), (id, transition))),
        );
    }
    let mut transitions: Vec<(u64, Transition)> = last.into_values().collect();
    transitions.sort_by_key(|(id, _)| *id);
    Saved {
        transitions: transitions.into_iter().map(|(_, transition)| transition).collect(),
        states: reader.states().unwrap_or_default(),
    }
}

/// What a journal on a full disk says.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Number and time of the last commit.
    pub last: Option<(Seq, Timestamp)>,
    /// Rule states by rule name.
    pub states: Vec<(String, RuleState)>,
    /// What each sink has confirmed.
    pub progress: BTreeMap<String, Progress>,
    /// What else a restart needs.
    pub memories: BTreeMap<String, String>,
}

/// Looks into the journal in `path` where there is not even room for the index of its log: alone, with the index in memory, writing nothing.
/// What cannot be read is as if it had never been.
pub fn look(path: &Path) -> Look {
    let Ok(_lock) = lock(path) else { return Look::default() };
    let Ok(reader) = Reader::open_alone(path) else { return Look::default() };
    Look {
        last: reader.last().unwrap_or_default(),
        states: reader.states().unwrap_or_default(),
        progress: reader.progress().unwrap_or_default(),
        memories: reader.memories().unwrap_or_default(),
    }
}

/// Gives up the room that [`keep_reserve`] keeps; whether there was any.
pub fn give_reserve(path: &Path) -> bool {
    fs::remove_file(path.join(RESERVE)).is_ok()
}

/// Keeps some room on the disk for the next start. Where there is none nothing is kept, and nothing is wrong.
pub fn keep_reserve(path: &Path) {
    let file = path.join(RESERVE);
    if file.exists() {
        return;
    }
    let written = File::create(&file).and_then(|mut reserve| {
        reserve.write_all(&vec![0xA5; RESERVE_BYTES])?;
        reserve.sync_all()
    });
    if written.is_err() {
        let _ = fs::remove_file(&file);
    }
}

impl OpenError {
    /// Whether the file itself is beyond use, so that another one has to take its place.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Store { source, path } if is_damage(source) || path.join(FILE).is_dir())
    }

    /// Whether room on the disk would help.
    pub fn is_lack_of_room(&self) -> bool {
        if self.is_damage() {
            return false;
        }
        match self {
            Self::Folder { source, .. } | Self::Aside { source, .. } => {
                source.kind() == io::ErrorKind::StorageFull
            }
            Self::Store { source, .. } => {
                matches!(source.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
            }
            _ => false,
        }
    }
}

impl OpenError {
    /// The refusal of a commit that this is while the gateway runs.
    pub fn into_store(self) -> StoreError {
        match self {
            Self::Store { source, .. } => source.into(),
            Self::Folder { source, .. } | Self::Aside { source, .. }
                if source.kind() == io::ErrorKind::StorageFull =>
            {
                StoreError::Full
            }
            other => StoreError::Closed { text: other.to_string() },
        }
    }
}

impl StoreError {
    /// Whether the file itself is beyond use.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Refused { source } if is_damage(source))
    }
}

pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_CORRUPTFS
        }
        // Tables that are not there, or columns of another type: the schema's page says something else than ours does.
        rusqlite::Error::SqlInputError { .. }
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::InvalidColumnIndex(_)
        | rusqlite::Error::InvalidColumnName(_)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => true,
        _ => false,
    }
}
