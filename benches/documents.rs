//! The readers of documents: a city's worth of devices in one site, and mutated documents by the million.
//!
//! `cargo bench --bench documents -- 5000000`: so many inputs in total. Deterministic and without coverage feedback: inputs are lines of the
//! shipped documents, of the broken ones of the tests and of the specimens, mixed, cut, flipped and repeated.

#![expect(clippy::unwrap_used, reason = "a bench panics when it is wrong")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::site::{self, schema};
use schema::Kind;

const DEVICES: usize = 10_000;
const POINTS: usize = 20;
const INPUT_MAX: usize = 2048;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((word ^ (word >> 31)) % u64::try_from(below.max(1)).unwrap()).unwrap()
    }
}

/// The largest resident size of this process so far, in MB.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1000
}

/// Writes a site of [`DEVICES`] with a rule each, and the profile of their [`POINTS`].
fn city(folder: &Path) {
    let mut profile =
        "[profile]\nname = \"meter\"\nclass = \"gas-pressure\"\nmaker = \"Example\"\nsource = \"made up\"\n"
            .to_owned();
    for point in 0..POINTS {
        let _ = write!(
            profile,
            "[[point]]\nname = \"p{point}\"\nat = \"holding {}\"\ntype = \"u16\"\nscale = 0.1\nunit = \"kPa\"\nrange = [0, 500]\n",
            point * 2
        );
    }
    std::fs::create_dir_all(folder.join("profiles")).unwrap();
    std::fs::write(folder.join("profiles/meter.toml"), profile).unwrap();
    std::fs::create_dir_all(folder.join("site")).unwrap();
    let slaves = 200;
    for line in 0..DEVICES / slaves {
        let mut text = format!(
            "line = [{{ name = \"line-{line}\", tcp = \"10.0.{}.{}:502\" }}]\n",
            line / 250,
            line % 250 + 1
        );
        for slave in 1..=slaves {
            let name = format!("meter-{line}-{slave}");
            let _ = write!(
                text,
                "[[device]]\nname = \"{name}\"\nline = \"line-{line}\"\nslave = {slave}\nprofile = \"meter\"\nevery = \"60s\"\n"
            );
            let _ = write!(
                text,
                "[[rule]]\nname = \"{name}-high\"\npoint = \"{name}.p0\"\nabove = {{ yellow = 300, red = 400 }}\nunit = \"kPa\"\ndeadband = 5\nbasis = \"bench\"\nadvice = \"bench\"\n"
            );
        }
        std::fs::write(folder.join(format!("site/line-{line}.toml")), text).unwrap();
    }
}

fn check_city() {
    let folder = tempfile::tempdir().unwrap();
    city(folder.path());
    let options = site::Options {
        site: folder.path().join("site"),
        profiles: Some(folder.path().join("profiles")),
        now: Timestamp::parse("2026-11-24T00:00:00Z").unwrap(),
        ..site::Options::default()
    };
    let begun = Instant::now();
    let (site, found, _) = site::load(&options);
    let took = begun.elapsed();
    let site = site.unwrap_or_else(|| panic!("{:?}", found.0.first()));
    assert_eq!(site.devices.len(), DEVICES);
    println!(
        "check: {DEVICES} devices x {POINTS} points, {} rules in {:.2} s, {} MB at most (budget 2 s, 500 MB)",
        site.rules.len(),
        took.as_secs_f64(),
        peak_mb()
    );
}

/// Lines of all documents of a kind.
fn lines(kind: Kind) -> Vec<String> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["devices", "firmware-profiles", "config", "tests/documents", "src/site/schema/specimens"]
            .iter()
            .map(PathBuf::from)
            .collect();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
    }
    files.sort();
    let own = |path: &PathBuf| {
        let text = path.display().to_string();
        match kind {
            Kind::Gateway => text.contains("gateway"),
            Kind::Profile => text.contains("profile"),
            Kind::Site => text.contains("site") && !text.contains("profile"),
        }
    };
    let texts = files.iter().filter(|path| own(path)).filter_map(|path| std::fs::read_to_string(path).ok());
    texts
        .flat_map(|text| text.lines().map(|line| format!("{line}\n")).collect::<Vec<_>>())
        .filter(|line| !line.starts_with('#'))
        .collect()
}

fn mutate(lines: &[String], dice: &mut Dice, bytes: &mut Vec<u8>) {
    bytes.clear();
    // A run of lines keeps what belongs together, single lines mix.
    for _ in 0..=dice.roll(4) {
        let (from, count) = (dice.roll(lines.len()), 1 + dice.roll(14));
        lines.iter().skip(from).take(count).for_each(|line| bytes.extend_from_slice(line.as_bytes()));
    }
    for _ in 0..dice.roll(5) {
        let place = dice.roll(bytes.len() + 1);
        match dice.roll(6) {
            0 => bytes.truncate(place),
            1 => bytes.insert(place, b"[]{}=\".,-0191en'\\ \n"[dice.roll(19)]),
            2 if place < bytes.len() => drop(bytes.remove(place)),
            3 if place < bytes.len() => bytes[place] ^= 1 << dice.roll(7),
            4 => {
                let digits = *[
                    &b"-1"[..],
                    b"0",
                    b"65535",
                    b"65536",
                    b"9223372036854775807",
                    b"1e308",
                    b"nan",
                    b"\"\"",
                    b"[]",
                    b"{}",
                ]
                .get(dice.roll(10))
                .unwrap();
                bytes.splice(place..place, digits.iter().copied());
            }
            _ => {
                let copied = bytes[dice.roll(place + 1)..place].to_vec();
                bytes.extend_from_slice(&copied);
            }
        }
    }
    bytes.truncate(INPUT_MAX);
}

fn fuzz(kind: Kind, count: u64) {
    let (lines, mut dice, mut bytes) = (lines(kind), Dice(7), Vec::new());
    let (mut slowest, mut findings, mut whole) = (Duration::ZERO, 0_usize, 0_u64);
    let begun = Instant::now();
    for _ in 0..count {
        mutate(&lines, &mut dice, &mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let one = Instant::now();
        let found = schema::check(kind, &text);
        slowest = slowest.max(one.elapsed());
        findings += found.0.len();
        whole += u64::from(found.errors() == 0);
    }
    println!(
        "fuzz: {}: {count} documents from {} lines in {:.1} s, {whole} without errors, {findings} findings, slowest {:.1} ms, {} MB at most, no crash",
        kind.name(),
        lines.len(),
        begun.elapsed().as_secs_f64(),
        slowest.as_secs_f64() * 1000.0,
        peak_mb()
    );
}

fn main() {
    let count: u64 = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(300_000);
    check_city();
    for kind in Kind::ALL {
        fuzz(kind, count / 3 + 1);
    }
}
