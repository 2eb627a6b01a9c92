//! Start to the first committed reading (aim < 200 ms), resident memory with 10,000 points at 1 Hz (aim <= 40 MB), and the start with a large
//! journal (aim < 2 s).
//!
//! `JOURNAL_GB` sets how large that is, 1 by default; with `only` as its argument nothing else is measured, and a start beyond the aim is exit code 1.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a bench runs in real time and stops at the first surprise"
)]

mod common;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::journal::{Group, Journal, Reader, Seq, Settings, Span};
use lifeline_gateway::reading::{Batch, Reading, Sample};

fn main() {
    let server = common::serve();
    if !std::env::args().any(|argument| argument == "only") {
        small(server);
    }
    let gigabytes = std::env::var("JOURNAL_GB").map_or(1.0, |text| text.parse().unwrap());
    if large(server, gigabytes) >= Duration::from_secs(2) {
        std::process::exit(1);
    }
}

fn small(server: SocketAddr) {
    let mut first: Vec<Duration> = (0..5)
        .map(|_| {
            let folder = tempfile::tempdir().unwrap();
            common::write_site(folder.path(), server, 1, 10, "10ms");
            common::Gateway::start(folder.path()).first_reading()
        })
        .collect();
    first.sort();
    println!("start: first committed reading after {:?} (median of 5, aim < 200 ms)", first[2]);

    let folder = tempfile::tempdir().unwrap();
    common::write_site(folder.path(), server, 100, 100, "1s");
    let gateway = common::Gateway::start(folder.path());
    gateway.first_reading();
    std::thread::sleep(Duration::from_secs(30));
    let (now, most) = gateway.memory_mb();
    println!(
        "memory: {now:.1} MB resident, {most:.1} MB at most, with 10,000 points at 1 Hz after 30 s (aim <= 40 MB)"
    );
}

/// A kill, and the start after it with a journal of about so many gigabytes (10^9 bytes): 1,000 points at 1 Hz, of which 100 have a rule on their
/// change over 30 minutes, which the start gives back. Time until the first committed reading.
fn large(server: SocketAddr, gigabytes: f64) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    common::write_site(folder.path(), server, 10, 100, "1s");
    let mut rules = std::fs::read_to_string(folder.path().join("site/site.toml")).unwrap();
    for rule in 0..100 {
        write!(rules, "[[rule]]\nname = \"r{rule}\"\npoint = \"d{}.p{rule}\"\nchange_over = \"30m\"\nabove = {{ red = 1e9 }}\nunit = \"kPa\"\nbasis = \"bench\"\nadvice = \"look\"\n", rule % 10).unwrap();
    }
    std::fs::write(folder.path().join("site/site.toml"), rules).unwrap();
    let gateway = common::Gateway::start(folder.path());
    gateway.first_reading();
    std::thread::sleep(Duration::from_secs(3));
    drop(gateway);
    let path = folder.path().join("journal");
    fill(&path, gigabytes);
    let bytes = Reader::open(&path).unwrap().bytes() as f64 / 1e9;
    let gateway = common::Gateway::start(folder.path());
    let took = gateway.first_reading();
    let (now, most) = gateway.memory_mb();
    println!(
        "start: first committed reading after {took:?} with a journal of {bytes:.2} GB (aim < 2 s); {now:.1} MB resident, {most:.1} MB at most"
    );
    took
}

/// Adds seconds of all points, up to now, under the names that the gateway itself wrote.
fn fill(path: &Path, gigabytes: f64) {
    let reader = Reader::open(path).unwrap();
    let (last, _) = reader.last().unwrap().unwrap();
    let (groups, ..) = reader.groups(Span { from: Seq(1), to: Seq(last.0 + 1) }, 1_000_000).unwrap();
    let catalog = groups.last().unwrap().catalog.clone();
    let polled: Vec<Batch> = groups.into_iter().flat_map(|group| group.batches).collect();
    drop(reader);
    let settings = Settings {
        path: path.to_owned(),
        commit_every: Duration::from_secs(1),
        keep: Duration::from_secs(86_400 * 400),
        max_bytes: u64::MAX,
    };
    let mut journal = Journal::open(&settings).unwrap();
    let devices: Vec<&Batch> = (0..10)
        .map(|n| catalog.devices.iter().find(|device| device.name == format!("d{n}")).unwrap().id)
        .map(|id| polled.iter().find(|batch| batch.device == id).unwrap())
        .collect();
    // A reading whose value is no short decimal takes 9 bytes and its time and point about one more.
    let seconds = (gigabytes * 1e9 / 9.1 / 1000.0) as i64;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
    let again = |batch: &&Batch, second: i64| {
        let at = Timestamp::from_millis(now - (seconds - second) * 1000);
        let value = |point: u32| Sample::Good(((second + i64::from(point)) as f64).sqrt());
        let reading = |one: &Reading| Reading { at, sample: value(one.point.0), ..one.clone() };
        let readings = batch.readings.iter().map(reading).collect();
        Batch { device: batch.device, start: at, end: at, readings }
    };
    // Of the last two hours each second is a commit, as the gateway makes them; before that a minute is one, for each is synced to the disk.
    let mut second = 0;
    while second < seconds {
        let of = if seconds - second > 7200 { 60 } else { 1 };
        let batches = (second..second + of)
            .flat_map(|second| devices.iter().map(move |batch| again(batch, second)))
            .collect();
        let now = Timestamp::from_millis(now - (seconds - second - of + 1) * 1000);
        journal
            .commit(&Group { now, version: catalog.version.clone(), batches, ..Group::default() })
            .unwrap();
        second += of;
    }
}
