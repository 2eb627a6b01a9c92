//! Documents that were damaged at random: the readers find mistakes in them, and never panic.
//! `LIFELINE_GATEWAY_MUTATIONS=5000000` sets how many, `LIFELINE_GATEWAY_SEED` the first one.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use lifeline_gateway::diagnostic::{self, sarif};
use lifeline_gateway::site::import::{Wishes, import};
use lifeline_gateway::site::{self, encoding};

const MUTATIONS: u64 = 600;

/// Numbers that follow from a seed alone (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Settings,
    Site,
    Profile,
    Table,
    Foreign,
}

struct Corpus {
    documents: Vec<(Kind, String)>,
    profiles: BTreeMap<String, String>,
    words: Vec<String>,
}

fn collect(folder: &Path, kind: Kind, found: &mut Vec<(Kind, String)>) {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.is_file()) {
        let is_table = path.extension().is_some_and(|extension| extension == "csv");
        let text = encoding::decode(&std::fs::read(path).unwrap()).unwrap();
        found.push((if is_table && kind == Kind::Site { Kind::Table } else { kind }, text));
    }
}

fn corpus() -> Corpus {
    let mut documents = Vec::new();
    collect(Path::new("firmware-profiles"), Kind::Profile, &mut documents);
    collect(Path::new("devices"), Kind::Site, &mut documents);
    collect(Path::new("tests/many/site"), Kind::Site, &mut documents);
    collect(Path::new("tests/import"), Kind::Foreign, &mut documents);
    for folder in std::fs::read_dir("tests/documents").unwrap().map(|entry| entry.unwrap().path()) {
        collect(&folder.join("site"), Kind::Site, &mut documents);
    }
    // The specimens have each key.
    for (name, kind) in [
        ("site", Kind::Site),
        ("profile", Kind::Profile),
        ("text-profile", Kind::Profile),
        ("gateway", Kind::Settings),
    ] {
        let text = std::fs::read_to_string(format!("src/site/schema/specimens/{name}.toml")).unwrap();
        documents.extend(std::iter::repeat_n((kind, text), 20));
    }
    let mut profiles = BTreeMap::new();
    for (_, text) in documents.iter().filter(|(kind, _)| *kind == Kind::Profile) {
        let name = text.lines().find_map(|line| line.strip_prefix("name = \"")).unwrap();
        profiles.insert(name.trim_end_matches('"').to_owned(), text.clone());
    }
    let words =
        documents.iter().flat_map(|(_, text)| text.split([' ', '\n', ','])).filter(|word| !word.is_empty());
    let words = words.map(str::to_owned).collect();
    Corpus { documents, profiles, words }
}

/// What breaks readers.
const NASTY: [&str; 24] = [
    "0",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "nan",
    "inf",
    "\"\"",
    "\"{slave}\"",
    "\"{n}\"",
    "[]",
    "{}",
    "[[device]]",
    "\"1-255\"",
    "'",
    "\"",
    "\n",
    ",",
    "=",
    "中",
    "\u{0}",
    "\u{feff}",
    "true",
    "\"99999d\"",
];

/// The place of a letter, at random.
fn place(random: &mut Random, text: &str) -> usize {
    let mut at = random.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn mutate(random: &mut Random, corpus: &Corpus, text: &mut String) {
    let (one, other) = (place(random, text), place(random, text));
    let near = text.char_indices().map(|(at, _)| at).find(|at| *at >= one + 12).unwrap_or(text.len());
    match random.below(7) {
        0 => text.replace_range(one..near.max(one), ""),
        1 => text.replace_range(one.min(other)..one.max(other), ""),
        2 => {
            let part = text[one..near.max(one)].to_owned();
            text.insert_str(other, &part);
        }
        3 => text.insert_str(one, random.of::<&str>(&NASTY)),
        4 => text.insert_str(one, random.of::<String>(&corpus.words)),
        // A value becomes another one.
        5 => {
            let values: Vec<usize> = text.match_indices("= ").map(|(at, _)| at + 2).collect();
            if let Some(at) = values.get(random.below(values.len())) {
                let end = text[*at..].find('\n').map_or(text.len(), |length| at + length);
                let value = if random.below(2) == 0 {
                    random.of(&NASTY).to_string()
                } else {
                    random.of(&corpus.words).clone()
                };
                text.replace_range(*at..end, &value);
            }
        }
        // A line is written twice, or goes.
        _ => {
            let mut lines: Vec<&str> = text.lines().collect();
            let line = random.below(lines.len());
            if random.below(2) == 0 && !lines.is_empty() {
                lines.insert(line, lines[line]);
            } else if !lines.is_empty() {
                lines.remove(line);
            }
            *text = lines.join("\n");
        }
    }
}

/// One damaged document among whole ones, through everything that reads it; whether the site still loads.
fn read(corpus: &Corpus, seed: u64) -> bool {
    let mut random = Random(seed);
    let (kind, whole) = random.of(&corpus.documents).clone();
    let mut text = whole;
    for _ in 0..=random.below(4) {
        mutate(&mut random, corpus, &mut text);
    }
    let device = "line = [{ name = \"l\", tcp = \"10.0.0.5:502\" }]\n";
    let mut held: Vec<(String, String)> = Vec::new();
    match kind {
        Kind::Foreign => {
            import("file", text, &Wishes::default());
            return false;
        }
        Kind::Settings => {
            held.extend([("gateway.toml".to_owned(), text), ("site/a.toml".to_owned(), device.to_owned())])
        }
        Kind::Profile => {
            let name =
                text.lines().find_map(|line| line.strip_prefix("name = ")).unwrap_or("\"x\"").to_owned();
            let site = format!(
                "{device}[[device]]\nname = \"d\"\nline = \"l\"\nslave = 1\nprofile = {name}\nevery = \"10s\"\n"
            );
            held.extend([("site/a.toml".to_owned(), site), ("profiles/p.toml".to_owned(), text)]);
        }
        Kind::Table => {
            let site = format!(
                "devices_csv = {{ file = \"meters.csv\", template = \"t\" }}\n{device}[template.t]\nprofile = \"keller-series30\"\nevery = \"10s\"\n"
            );
            held.extend([("site/a.toml".to_owned(), site), ("site/meters.csv".to_owned(), text)]);
            held.push(("profiles/p.toml".to_owned(), corpus.profiles["keller-series30"].clone()));
        }
        Kind::Site => {
            for (number, (_, profile)) in
                corpus.profiles.iter().filter(|(name, _)| text.contains(*name)).enumerate()
            {
                held.push((format!("profiles/{number}.toml"), profile.clone()));
            }
            held.insert(0, ("site/a.toml".to_owned(), text));
        }
    }
    let options = site::Options { held: Some(held), ..site::Options::default() };
    let (site, found, texts) = site::load(&options);
    assert!(site.is_some() == (found.errors() == 0));
    diagnostic::render(&found, &texts);
    diagnostic::to_json(&found);
    sarif::emit(&found);
    site.is_some()
}

fn set(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn damaged_documents_never_panic() {
    let corpus = corpus();
    let first = set("LIFELINE_GATEWAY_SEED", 1);
    let count = set("LIFELINE_GATEWAY_MUTATIONS", MUTATIONS);
    let mut whole = 0;
    for seed in first..first + count {
        match catch_unwind(AssertUnwindSafe(|| read(&corpus, seed))) {
            Ok(loads) => whole += u64::from(loads),
            Err(_) => panic!("LIFELINE_GATEWAY_SEED={seed} LIFELINE_GATEWAY_MUTATIONS=1 shows it again"),
        }
    }
    // Damage that is always fatal, or never, would reach only one half of the code.
    assert!(count < 100 || (count / 50 < whole && whole < count), "{whole} of {count} load");
}
