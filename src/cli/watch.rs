//! What changes when somebody saves a document.
//!
//! In: the documents' paths. Out: each file with its time and length, also those that documents include. Polled, because editors write aside and rename, and
//! network file systems tell nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::site::{self, Options};

/// Files by path, with their time and length.
pub(crate) type Files = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// Looks at all documents of a site, again and again.
pub(crate) struct Watch {
    options: Options,
    /// What documents named when they were read last: paths and patterns of paths.
    named: Vec<PathBuf>,
    /// What was there then.
    read: Files,
}

impl Watch {
    pub(crate) fn new(options: &Options) -> Self {
        Self { options: options.clone(), named: Vec::new(), read: Files::new() }
    }

    /// What is there now. Documents are read again only when one of them has changed.
    pub(crate) fn look(&mut self) -> Files {
        let now = self.files();
        if now == self.read {
            return now;
        }
        self.named = site::named(&self.options);
        self.read = self.files();
        self.read.clone()
    }

    fn files(&self) -> Files {
        let mut found = BTreeMap::new();
        let Options { site, profiles, config, .. } = &self.options;
        for folder in
            [Some(site.clone()), Some(site.join("profiles")), profiles.clone()].into_iter().flatten()
        {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let documents = entries.map(|entry| entry.path());
            documents
                .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
                .for_each(|path| note(&path, &mut found));
        }
        for pattern in &self.named {
            site::matching(pattern).iter().for_each(|path| note(path, &mut found));
        }
        if let Some(config) = config {
            note(config, &mut found);
        }
        found
    }
}

fn note(path: &Path, found: &mut Files) {
    if let Ok(file) = std::fs::metadata(path) {
        found.insert(path.to_owned(), (file.modified().ok(), file.len()));
    }
}
