//! Journal append against a raw blob insert of the same size at the same group size, in turn, in one run (aim >= 0.5x).
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

use std::path::Path;
use std::time::{Duration, Instant};

use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::journal::{Group, Journal, Settings};
use lifeline_gateway::point::{Catalog, DeviceId, PointId};
use lifeline_gateway::reading::{Batch, Reading, Sample};

const COMMITS: i64 = 2_000;
const READINGS: u32 = 100;

fn main() {
    let mut ratios: Vec<f64> = Vec::new();
    for round in 0..6 {
        let folder = tempfile::tempdir().unwrap();
        let (ours, bytes) = ours(&folder.path().join("journal"));
        let raw = raw(&folder.path().join("raw.db"), bytes);
        if round > 0 {
            ratios.push(ours / raw);
            println!(
                "journal: {ours:.0} commits/s of {READINGS} readings at {:.1} bytes/reading, raw blobs {raw:.0}, ratio {:.2}",
                bytes as f64 / f64::from(READINGS),
                ours / raw
            );
        }
    }
    ratios.sort_by(f64::total_cmp);
    println!("journal: median ratio {:.2} (aim >= 0.5)", ratios[ratios.len() / 2]);
}

fn group(commit: i64) -> Group {
    let at = Timestamp::from_millis(1_790_000_000_000 + commit * 1000);
    let value = |point: u32| 100.0 + f64::from(point) + 0.1 * ((commit + i64::from(point)) % 10) as f64;
    let readings =
        (0..READINGS).map(|point| Reading { point: PointId(point), at, sample: Sample::Good(value(point)) });
    let batch = Batch { device: DeviceId(0), start: at, end: at, readings: readings.collect() };
    Group { now: at, version: "bench".to_owned(), batches: vec![batch], ..Group::default() }
}

fn ours(path: &Path) -> (f64, usize) {
    let settings = Settings {
        path: path.to_owned(),
        commit_every: Duration::from_secs(1),
        keep: Duration::from_secs(86_400 * 400),
        max_bytes: u64::MAX,
    };
    let mut journal = Journal::open(&settings).unwrap();
    let catalog = Catalog { site: "bench".to_owned(), version: "bench".to_owned(), ..Catalog::default() };
    journal.keep_site(&catalog, &[], Timestamp::from_millis(0)).unwrap();
    let groups: Vec<Group> = (0..COMMITS).map(group).collect();
    let begun = Instant::now();
    for group in &groups {
        journal.commit(group).unwrap();
    }
    let rate = COMMITS as f64 / begun.elapsed().as_secs_f64();
    let bytes = journal.wear().encoded / COMMITS.unsigned_abs();
    (rate, usize::try_from(bytes).unwrap())
}

fn raw(path: &Path, bytes: usize) -> f64 {
    let mut store = rusqlite::Connection::open(path).unwrap();
    store.pragma_update(None, "journal_mode", "WAL").unwrap();
    store.pragma_update(None, "synchronous", "FULL").unwrap();
    store.execute("CREATE TABLE commits(seq INTEGER PRIMARY KEY, blob BLOB)", []).unwrap();
    let blob = vec![7_u8; bytes];
    let begun = Instant::now();
    for _ in 0..COMMITS {
        let transaction = store.transaction().unwrap();
        transaction
            .prepare_cached("INSERT INTO commits(blob) VALUES (?1)")
            .unwrap()
            .execute([&blob])
            .unwrap();
        transaction.commit().unwrap();
    }
    COMMITS as f64 / begun.elapsed().as_secs_f64()
}
