//! What changes when somebody saves a document.
//!
//! In: the documents' paths. Out: each file with its time and length. Polled, because editors write aside and rename, and network file systems tell nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::site::Options;

/// Files by path, with their time and length.
pub(crate) type Files = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// All documents of a site.
pub(crate) fn files(options: &Options) -> Files {
    let mut found = BTreeMap::new();
    let folders = [Some(options.site.clone()), Some(options.site.join("profiles")), options.profiles.clone()];
    for folder in folders.into_iter().flatten() {
        collect(&folder, &mut found);
    }
    if let Some(config) = &options.config {
        note(config, &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut Files) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "toml" || extension == "csv") {
            note(&path, found);
        }
    }
}

fn note(path: &Path, found: &mut Files) {
    if let Ok(file) = std::fs::metadata(path) {
        found.insert(path.to_owned(), (file.modified().ok(), file.len()));
    }
}
