//! Which documents a site has: its folder, what they include, the tables of devices that they name, profiles and settings.
//!
//! In: paths, or documents that a journal holds. Out: [`Sources`], and findings about what is missing.
//! Invariant: each file is read once, whoever names it; held documents give what the same files on a disk would.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::diagnostic::Place;
use crate::site::Options;
use crate::site::compile::{folder_documents, own_profiles};
use crate::site::tree::{Document, Node, Report, Value};

/// The documents of a site: parsed, in order, and as one.
#[derive(Default)]
pub(crate) struct Sources {
    /// The site's documents: those of its folder by name, then what they include.
    pub(crate) documents: Vec<Document>,
    /// Their tables; byte ranges are those of `whole`.
    pub(crate) roots: Vec<Node>,
    /// Tables of devices by path, each with its offset in `whole`.
    pub(crate) tables: BTreeMap<PathBuf, (Document, usize)>,
    /// All of them together.
    pub(crate) whole: Document,
}

/// Where the package puts the profiles.
const LIBRARY: &str = "/usr/share/lifeline/firmware-profiles";

/// Where documents come from.
pub(crate) enum Shelf<'a> {
    /// Files.
    Disk(&'a Options),
    /// Names and texts, as a journal holds them.
    Held(&'a [(String, String)]),
}

impl<'a> Shelf<'a> {
    pub(crate) fn of(options: &'a Options) -> Self {
        options.held.as_deref().map_or(Self::Disk(options), Self::Held)
    }

    /// The gateway's settings; empty when there are none.
    pub(crate) fn gateway(&self, report: &Report) -> Document {
        match self {
            Self::Disk(options) => {
                options.config.as_ref().and_then(|path| Document::read(path, report)).unwrap_or_default()
            }
            Self::Held(held) => held
                .first()
                .filter(|(name, text)| kind(name, text) == Kind::Settings)
                .map_or_else(Document::default, document),
        }
    }

    /// Profiles, and how many of them are the library's; the others are the site's own. Nobody misses the library of the package
    /// who named none and has profiles of their own.
    pub(crate) fn profiles(&self, named: Option<PathBuf>, report: &Report) -> (Vec<Document>, usize) {
        match self {
            Self::Disk(options) => {
                let folder = named.clone().unwrap_or_else(|| PathBuf::from(LIBRARY));
                let own = own_profiles(&options.site, &folder, report);
                let missed = named.is_some() || folder.exists() || own.is_empty();
                let mut found =
                    if missed { folder_documents(&folder, "profiles", report) } else { Vec::new() };
                let shipped = found.len();
                found.extend(own);
                (found, shipped)
            }
            Self::Held(held) => {
                let found: Vec<Document> = of_kind(held, Kind::Profile).collect();
                let shipped = found.len();
                (found, shipped)
            }
        }
    }

    /// The site's documents and what they name.
    pub(crate) fn site(&self, report: &Report) -> Sources {
        let first: Vec<Document> = match self {
            Self::Disk(options) => folder_documents(&options.site, "site", report),
            Self::Held(held) => of_kind(held, Kind::Site).collect(),
        };
        let mut known: BTreeSet<PathBuf> =
            first.iter().map(|document| plain(Path::new(&document.name))).collect();
        let (mut documents, mut roots) = (Vec::new(), Vec::new());
        let mut tables: BTreeMap<PathBuf, Document> = BTreeMap::new();
        let mut waiting: std::collections::VecDeque<Document> = first.into();
        while let Some(document) = waiting.pop_front() {
            let root = document.parse(report);
            for (pattern, span) in texts(root.entry("include")) {
                let place = document.place(span);
                for path in self.matching(&beside(&document, pattern), &place, pattern, report) {
                    if known.insert(path.clone()) {
                        waiting.extend(self.read(&path, report));
                    }
                }
            }
            for (name, span) in csv_files(&root) {
                let path = beside(&document, name);
                if known.insert(path.clone()) {
                    let found = self.table(&path, &document.place(span), name, report);
                    tables.extend(found.map(|table| (path, table)));
                }
            }
            documents.push(document);
            roots.push(root);
        }
        let (whole, offsets) = Document::together(documents.iter().chain(tables.values()));
        for (root, offset) in roots.iter_mut().zip(&offsets) {
            root.shift(*offset);
        }
        let tables = tables.into_iter().zip(offsets.into_iter().skip(documents.len()));
        let tables = tables.map(|((path, table), offset)| (path, (table, offset))).collect();
        Sources { documents, roots, tables, whole }
    }

    /// The documents that a pattern of `include` names; at least one.
    fn matching(&self, pattern: &Path, place: &Place, written: &str, report: &Report) -> Vec<PathBuf> {
        let found = match self {
            Self::Disk(_) => files(pattern),
            // What a held document included is held, too, and among the site's documents.
            Self::Held(_) => return Vec::new(),
        };
        // A journal holds documents by name, and would take another ending for a table.
        let is_document = pattern.extension().is_some_and(|extension| extension == "toml");
        if !is_document && !written.contains('*') {
            let text = format!("`{written}` is no .toml document, and `include` takes no other");
            let help =
                "give the file the ending .toml; a table of devices stands in `devices_csv`".to_owned();
            report.error(place, "missing-include", text, Some(help));
            return Vec::new();
        }
        if found.is_empty() {
            let help = Some(format!("it is looked for as {}", pattern.display()));
            report.error(place, "missing-include", format!("no document is called `{written}`"), help);
        }
        found
    }

    fn read(&self, path: &Path, report: &Report) -> Option<Document> {
        match self {
            Self::Disk(_) => Document::read(path, report),
            Self::Held(_) => None,
        }
    }

    fn table(&self, path: &Path, place: &Place, written: &str, report: &Report) -> Option<Document> {
        let found = match self {
            Self::Disk(_) if path.is_file() => return Document::read_table(path, report),
            Self::Disk(_) => None,
            Self::Held(held) => held.iter().find(|(name, _)| Path::new(name) == path).map(document),
        };
        if found.is_none() {
            let help = Some(format!("it is looked for as {}", path.display()));
            report.error(place, "missing-include", format!("no table is called `{written}`"), help);
        }
        found
    }
}

/// Paths and patterns of everything that the site's documents name, read leniently: what has to be looked at beside the folders.
pub(crate) fn named(options: &Options) -> Vec<PathBuf> {
    let report = Report::default();
    let sources = Shelf::Disk(options).site(&report);
    let mut found = Vec::new();
    for (document, root) in sources.documents.iter().zip(&sources.roots) {
        found.extend(texts(root.entry("include")).map(|(pattern, _)| beside(document, pattern)));
        found.extend(csv_files(root).map(|(name, _)| beside(document, name)));
    }
    found.sort();
    found.dedup();
    found
}

/// The files that a pattern names: `*` stands for any letters of the name of a `.toml` file.
pub(crate) fn files(pattern: &Path) -> Vec<PathBuf> {
    let Some(name) = pattern.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let Some((front, back)) = name.split_once('*') else {
        return Some(pattern.to_owned()).filter(|path| path.is_file()).into_iter().collect();
    };
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    let fits = |name: &str| name.strip_prefix(front).is_some_and(|rest| rest.ends_with(back));
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| fits(name));
    let mut found: Vec<PathBuf> = names.map(|name| pattern.with_file_name(name)).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    found.retain(|path| path.is_file());
    found.sort();
    found
}

/// A path as a document names it, from where that document stands.
pub(crate) fn beside(document: &Document, name: &str) -> PathBuf {
    plain(&Path::new(&document.name).parent().unwrap_or(Path::new("")).join(name))
}

/// A path without `.` and, as far as its text tells, without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// A text, or the texts of a list.
fn texts(node: Option<&Node>) -> impl Iterator<Item = (&str, (usize, usize))> {
    let list = match node {
        Some(Node { value: Value::List(list), .. }) => list.as_slice(),
        Some(node) => std::slice::from_ref(node),
        None => &[],
    };
    list.iter().filter_map(|node| match &node.value {
        Value::Text(text) => Some((text.as_str(), node.span)),
        _ => None,
    })
}

/// The tables of devices that a document names.
pub(crate) fn csv_files(root: &Node) -> impl Iterator<Item = (&str, (usize, usize))> {
    let node = root.entry("devices_csv");
    let list = match node {
        Some(Node { value: Value::List(list), .. }) => list.as_slice(),
        Some(node) => std::slice::from_ref(node),
        None => &[],
    };
    list.iter().flat_map(|node| texts(node.entry("file").or(Some(node))))
}

/// What a held document is, by its content: names are as long ago.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Settings,
    Profile,
    Site,
    Table,
}

fn kind(name: &str, text: &str) -> Kind {
    let root = Document::new(String::new(), text.to_owned()).parse(&Report::default());
    let has = |keys: &[&str]| keys.iter().any(|key| root.entry(key).is_some());
    if has(&["profile"]) {
        Kind::Profile
    } else if has(&["site", "journal", "console", "profiles", "sink"]) {
        Kind::Settings
    } else if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
        Kind::Site
    } else {
        Kind::Table
    }
}

fn of_kind(held: &[(String, String)], wanted: Kind) -> impl Iterator<Item = Document> {
    held.iter().filter(move |(name, text)| kind(name, text) == wanted).map(document)
}

fn document((name, text): &(String, String)) -> Document {
    Document::new(name.clone(), text.clone())
}
