//! The history: bytes a reading against plain rows in the same store (aim <= 1.5), bytes written to disk at nominal load against those
//! encoded (aim <= 4x), and a day of one point out of many days of 1,000 points (aim < 50 ms).
//!
//! `DAYS` sets how many days of 1,000 points at 15 s the query looks into, 3 by default; 365 need 2.1 billion readings, an hour and 15 GB.
//! Real series are measured when the shared folder stands beside the checkout.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench runs in real time and stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::journal::chunks::Sealer;
use lifeline_gateway::journal::{Group, Journal, Reader, Seq, Settings};
use lifeline_gateway::point::{Catalog, DeviceId, Point, PointId};
use lifeline_gateway::reading::{Batch, Reading, Sample};
use rusqlite::{Connection, params};

const START: i64 = 1_790_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn main() {
    for (name, series) in real().into_iter().chain([("10 points at 1 Hz, made".to_owned(), made(10, 43_200))])
    {
        size(&name, &series);
    }
    wear();
    query(std::env::var("DAYS").map_or(3, |text| text.parse().unwrap()));
}

/// One point's times and values.
type Series = Vec<(i64, f64)>;

/// The measured series, by class.
fn real() -> Vec<(String, Vec<Series>)> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data"));
    let Ok(files) = std::fs::read_dir(folder) else {
        println!("history: no measured series here, made ones only");
        return Vec::new();
    };
    let mut classes: BTreeMap<String, Vec<Series>> = BTreeMap::new();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let class = name.split('-').next().unwrap().to_owned();
        if !["elevator", "flood", "gas", "landslide", "pressure"].contains(&class.as_str()) {
            continue;
        }
        classes.entry(class).or_default().extend(columns(&std::fs::read_to_string(&file).unwrap()));
    }
    classes.into_iter().map(|(class, series)| (format!("{class}, measured"), series)).collect()
}

/// The columns of numbers in a file whose first column is the time.
fn columns(text: &str) -> Vec<Series> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut series: Vec<Series> = vec![Vec::new(); names.len()];
    for line in lines {
        let mut cells = line.split(',');
        let Some(at) = cells.next().and_then(millis) else { continue };
        for (column, cell) in cells.enumerate() {
            if let Ok(value) = cell.parse() {
                series[column].push((at, value));
            }
        }
    }
    series.retain(|one| one.len() > 100);
    series
}

fn millis(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// Points that drift and tremble by their resolution, as an analogue input does.
fn made(points: u32, seconds: i64) -> Vec<Series> {
    (0..points)
        .map(|point| {
            let mut noise = Noise(u64::from(point) + 1);
            (0..seconds).map(|second| (START + second * 1000, trembling(point, second, &mut noise))).collect()
        })
        .collect()
}

fn trembling(point: u32, second: i64, noise: &mut Noise) -> f64 {
    let slow = 100.0 * (second as f64 / 7000.0 + f64::from(point)).sin();
    (2000.0 + slow + f64::from(noise.next() as u32 % 5)).round() / 10.0
}

/// xorshift64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn settings(path: &Path) -> Settings {
    Settings {
        path: path.to_owned(),
        commit_every: Duration::from_secs(1),
        keep: Duration::from_secs(86_400 * 400),
        max_bytes: u64::MAX,
    }
}

fn open(path: &Path, points: u32) -> Journal {
    let mut journal = Journal::open(&settings(path)).unwrap();
    let point = |id| Point {
        id: PointId(id),
        name: format!("p{id}"),
        short: format!("p{id}"),
        device: DeviceId(0),
        unit: None,
        decimals: 1,
        states: Vec::new(),
        tags: BTreeMap::new(),
    };
    let points = (0..points).map(point).collect();
    let catalog = Catalog { site: "bench".to_owned(), version: "v".to_owned(), points, ..Catalog::default() };
    journal.keep_site(&catalog, &[], Timestamp::from_millis(START)).unwrap();
    journal
}

fn group(now: i64, readings: Vec<Reading>) -> Group {
    let now = Timestamp::from_millis(now);
    let start = readings.iter().map(|one| one.at).min().unwrap_or(now);
    let batch = Batch { device: DeviceId(0), start, end: now, readings };
    Group { now, version: "v".to_owned(), batches: vec![batch], ..Group::default() }
}

fn reading(point: u32, at: i64, value: f64) -> Reading {
    Reading { point: PointId(point), at: Timestamp::from_millis(at), sample: Sample::Good(value) }
}

fn seal(sealer: &mut Sealer, to: Seq) {
    while sealer.seal(to).unwrap() > 0 {}
}

/// Bytes that a store takes on disk after all its log is in it.
fn settled(file: &Path) -> f64 {
    let store = Connection::open(file).unwrap();
    store.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    std::fs::metadata(file).unwrap().len() as f64
}

fn size(name: &str, series: &[Series]) {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder.path().join("journal"), series.len() as u32);
    let mut readings: Vec<Reading> = (0..)
        .zip(series)
        .flat_map(|(point, one)| one.iter().map(move |(at, value)| reading(point, *at, *value)))
        .collect();
    readings.sort_by_key(|one| (one.at, one.point));
    let mut sealer = Sealer::open(&folder.path().join("journal")).unwrap();
    let (mut last, mut in_history) = (Seq(0), 0.0);
    // An hour after the other, as the gateway takes them up.
    let same = |a: &Reading, b: &Reading| a.at.as_millis() / HOUR_MS == b.at.as_millis() / HOUR_MS;
    for hour in readings.chunk_by(same) {
        let end = hour.last().unwrap().at;
        for part in hour.chunks(5000) {
            last = journal.commit(&group(end.as_millis(), part.to_vec())).unwrap();
        }
        if sealer.is_worth(last, series.len(), &settings(folder.path()), end).unwrap() {
            let before = written();
            seal(&mut sealer, last);
            in_history += written() - before;
        }
    }
    seal(&mut sealer, last);
    drop(sealer);
    let count = readings.len() as f64;
    let ours = settled(&folder.path().join("journal/history.db")) / count;

    let mut plain = plain(&folder.path().join("plain.db"));
    let tx = plain.transaction().unwrap();
    insert(&tx, &readings);
    tx.commit().unwrap();
    drop(plain);
    let rows = settled(&folder.path().join("plain.db")) / count;
    println!(
        "history: {name}: {ours:.2} bytes/reading of {count} in {} points (aim <= 1.5), plain rows {rows:.1}, ratio {:.3}; {:.1} written for each reading",
        series.len(),
        ours / rows,
        in_history / count,
    );
}

/// The same store with a row for each reading.
fn plain(file: &Path) -> Connection {
    let store = Connection::open(file).unwrap();
    store.pragma_update(None, "journal_mode", "WAL").unwrap();
    store.pragma_update(None, "synchronous", "FULL").unwrap();
    store
        .execute("CREATE TABLE readings (point INTEGER, at INTEGER, value REAL, quality INTEGER, PRIMARY KEY (point, at)) WITHOUT ROWID", [])
        .unwrap();
    store
}

fn insert(store: &Connection, readings: &[Reading]) {
    let mut row = store.prepare_cached("INSERT OR REPLACE INTO readings VALUES (?1, ?2, ?3, 0)").unwrap();
    for one in readings {
        row.execute(params![one.point.0, one.at.as_millis(), one.sample.value()]).unwrap();
    }
}

/// Bytes that this thread sent to the disk, as the kernel counts them.
fn written() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
}

/// 1,000 points at 1 Hz in groups of a second, sealed every hour: the first four hours, in which the files grow, and four after eight hours, when
/// what is sealed makes room for what comes.
fn wear() {
    const HOURS: i64 = 4;
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder.path().join("journal"), 1000);
    let sealed = Arc::new(AtomicU64::new(0));
    journal.follow(Arc::clone(&sealed));
    let mut sealer = Sealer::open(&folder.path().join("journal")).unwrap();
    let mut noise = Noise(1);
    let mut second_of = |second: i64| {
        let at = START + second * 1000;
        let readings = (0..1000).map(|point| reading(point, at, trembling(point, second, &mut noise)));
        group(at, readings.collect())
    };
    let mut plain = plain(&folder.path().join("plain.db"));
    let before = written();
    for second in 0..600 {
        let tx = plain.transaction().unwrap();
        insert(&tx, &second_of(second).batches[0].readings);
        tx.commit().unwrap();
    }
    let rows = (written() - before) / 600.0;
    for (part, name) in [(0, "files that grow"), (1, ""), (2, "with room made for what comes")] {
        let start = journal.wear();
        let (mut in_journal, mut in_history) = (0.0, 0.0);
        for second in part * HOURS * 3600..(part + 1) * HOURS * 3600 {
            let group = second_of(second);
            let before = written();
            let seq = journal.commit(&group).unwrap();
            // As often as the gateway does.
            if second % 60 == 0 {
                journal.trim(group.now).unwrap();
            }
            in_journal += written() - before;
            let due = (second + 1) % 3600 == 0;
            if due && sealer.is_worth(seq, 1000, &settings(folder.path()), group.now).unwrap() {
                let before = written();
                seal(&mut sealer, seq);
                in_history += written() - before;
                sealed.store(seq.0, Ordering::Relaxed);
            }
        }
        if name.is_empty() {
            continue;
        }
        let seconds = (HOURS * 3600) as f64;
        let encoded = (journal.wear().encoded - start.encoded) as f64;
        println!(
            "wear: {name}: {:.1} bytes encoded for each reading; written {:.2}x of it by the journal, {:.2}x by the history, {:.2}x in all (aim <= 4x); plain rows {:.1}x; {:.2} syncs/s of the journal (aim <= 1)",
            encoded / seconds / 1000.0,
            in_journal / encoded,
            in_history / encoded,
            (in_journal + in_history) / encoded,
            rows * seconds / encoded,
            (journal.wear().syncs - start.syncs) as f64 / seconds,
        );
    }
}

const POINTS: u32 = 1000;

/// Journal and history of `days` of 1,000 points at 15 s. Bytes of the history.
fn fill(path: &Path, days: i64) -> u64 {
    let mut journal = open(path, POINTS);
    let sealed = Arc::new(AtomicU64::new(0));
    journal.follow(Arc::clone(&sealed));
    let mut sealer = Sealer::open(path).unwrap();
    let mut noise = Noise(1);
    let begun = Instant::now();
    for hour in 0..days * 24 {
        let mut last = Seq(0);
        // A commit holds ten polls of all points.
        for commit in 0..24 {
            let mut readings = Vec::with_capacity(10 * POINTS as usize);
            for poll in 0..10 {
                let second = hour * 3600 + (commit * 10 + poll) * 15;
                readings.extend((0..POINTS).map(|point| {
                    reading(point, START + second * 1000, trembling(point, second, &mut noise))
                }));
            }
            last = journal.commit(&group(readings.last().unwrap().at.as_millis(), readings)).unwrap();
        }
        seal(&mut sealer, last);
        sealed.store(last.0, Ordering::Relaxed);
        journal.trim(Timestamp::from_millis(START + hour * HOUR_MS)).unwrap();
        if hour % 240 == 239 {
            println!("query: filled {} days after {:.0} s", (hour + 1) / 24, begun.elapsed().as_secs_f64());
        }
    }
    sealer.bytes()
}

/// A day of one point out of `days`.
fn query(days: i64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let bytes = fill(&path, days) as f64;
    let mut plain = plain(&folder.path().join("plain.db"));
    let reader = Reader::open(&path).unwrap();
    let (mut ours, mut rows): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    for n in 0..9 {
        let point = (n * 101 + 7) % POINTS;
        let from = START + (i64::from(n) * 7919 % days) * DAY_MS;
        let (found, took) = day(&reader, &format!("p{point}"), from);
        ours.push(took);
        // The peer holds these days alone, so it is at its best.
        let tx = plain.transaction().unwrap();
        insert(&tx, &found);
        tx.commit().unwrap();
        let begun = Instant::now();
        let mut query = plain
            .prepare_cached(
                "SELECT at, value, quality FROM readings WHERE point = ?1 AND at >= ?2 AND at < ?3",
            )
            .unwrap();
        let there = query
            .query_map(params![point, from, from + DAY_MS], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, f64>(1)?))
            })
            .unwrap()
            .count();
        assert_eq!(there, found.len());
        rows.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    ours.sort_by(f64::total_cmp);
    rows.sort_by(f64::total_cmp);
    println!(
        "query: a day of one point (5,760 readings) out of {days} days of 1,000 points at 15 s: median {:.2} ms, slowest {:.2} ms (aim < 50 ms); plain rows of that day alone {:.2} ms; history {:.0} MB, {:.2} bytes/reading",
        ours[4],
        ours[8],
        rows[4],
        bytes / 1e6,
        bytes / (days * 5760 * i64::from(POINTS)) as f64
    );
}

fn day(reader: &Reader, point: &str, from: i64) -> (Vec<Reading>, f64) {
    let (from, to) = (Timestamp::from_millis(from), Timestamp::from_millis(from + DAY_MS));
    let begun = Instant::now();
    let mut found = Vec::new();
    reader
        .history(&[point.to_owned()], from, to, &mut |_, reading| {
            found.push(reading.clone());
            true
        })
        .unwrap();
    let took = begun.elapsed().as_secs_f64() * 1e3;
    assert_eq!(found.len(), 5760, "{point} has a whole day");
    (found, took)
}
