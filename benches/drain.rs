//! A backlog drains beside live readings: its rate against the rate at which the same VictoriaMetrics takes the same lines (aim >= 0.4x),
//! the delay of live readings meanwhile (aim <= 2 s), and memory.
//!
//! `READINGS` sets the size of the backlog, 1,000,000 by default. Without `victoria-metrics` it says so and ends.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::too_many_lines,
    missing_docs,
    reason = "a bench runs in real time and stops at the first surprise"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lifeline_gateway::clock::{Clock, SystemClock, Timestamp};
use lifeline_gateway::forward::line_protocol::Lines;
use lifeline_gateway::forward::sink::Parcel;
use lifeline_gateway::forward::{Api, Ports, Settings, Status, Target, run};
use lifeline_gateway::journal::{self, Group, Journal, Progress, Reader, Seq, Span};
use lifeline_gateway::point::{Catalog, Device, DeviceId, Point, PointId};
use lifeline_gateway::reading::{Batch, Reading, Sample};
use lifeline_gateway::unit::Unit;
use tokio::sync::{broadcast, mpsc, watch};

const DEVICES: u32 = 100;
const POINTS: u32 = 10;

fn main() {
    let readings: u32 = std::env::var("READINGS").map_or(1_000_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(server) = start(folder.path(), port) else {
        return println!("drain: victoria-metrics is not installed");
    };
    let commits = readings / (DEVICES * POINTS);
    let mut journal = fill(&folder.path().join("journal"), commits);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let own = runtime.block_on(own_rate(folder.path(), port, commits));
    println!(
        "drain: the server takes {own:.0} readings/s of this data, gzip 1, 5000 lines a request, 2 connections"
    );
    stop(server);
    runtime.block_on(drain(&mut journal, folder.path(), port, (commits, own)));
}

fn start(folder: &Path, port: u16) -> Option<Child> {
    let child = Command::new("victoria-metrics")
        .arg(format!("-storageDataPath={}", folder.join("vm").display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .args(["-retentionPeriod=100y", "-dedup.minScrapeInterval=1ms"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    for _ in 0..400 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("victoria-metrics does not answer")
}

fn stop(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn catalog() -> Catalog {
    let device = |id: u32| Device {
        id: DeviceId(id),
        name: format!("regulator-{id}"),
        line: None,
        class: "gas-pressure".into(),
        risk_point: Some(format!("500108-GA-{id:04}-A")),
        town: None,
        tags: Default::default(),
    };
    let point = |id: u32| Point {
        id: PointId(id),
        name: format!("regulator-{}.p{}", id / POINTS, id % POINTS),
        short: format!("p{}", id % POINTS),
        device: DeviceId(id / POINTS),
        unit: Unit::parse("kPa"),
        decimals: 2,
        states: Vec::new(),
        tags: Default::default(),
    };
    Catalog {
        site: "nanan-01".into(),
        version: "v1".into(),
        devices: (0..DEVICES).map(device).collect(),
        points: (0..DEVICES * POINTS).map(point).collect(),
        ..Catalog::default()
    }
}

/// A second of a site: each device with its points.
fn group(at: Timestamp, turn: u32) -> Group {
    let batch = |device: u32| {
        let reading = |point: u32| {
            let value = f64::from((turn * 7 + point * 13 + device) % 10_000) / 100.0;
            Reading { point: PointId(device * POINTS + point), at, sample: Sample::Good(value) }
        };
        Batch { device: DeviceId(device), start: at, end: at, readings: (0..POINTS).map(reading).collect() }
    };
    Group { now: at, version: "v1".into(), batches: (0..DEVICES).map(batch).collect(), ..Group::default() }
}

fn fill(path: &Path, commits: u32) -> Journal {
    let keep = Duration::from_secs(400 * 86_400);
    let settings = journal::Settings { path: path.to_owned(), commit_every: keep, keep, max_bytes: 1 << 33 };
    let mut journal = Journal::open(&settings).unwrap();
    let now = SystemClock::new().now();
    journal.keep_site(&catalog(), &[], now).unwrap();
    for turn in 0..commits {
        let back = i64::from(commits - turn + 60) * 1000;
        journal.commit(&group(now.shifted(-back), turn)).unwrap();
    }
    journal
}

/// Readings a second that the server takes when nothing but sending is done: bodies are made and packed before.
async fn own_rate(folder: &Path, port: u16, commits: u32) -> f64 {
    let reader = Reader::open(&folder.join("journal")).unwrap();
    let mut bodies = Vec::new();
    let mut from = 1;
    // At most a million, in memory.
    let to = u64::from(commits.min(1000)) + 1;
    while from < to {
        let (groups, next, _) = reader.groups(Span { from: Seq(from), to: Seq(to) }, 5000).unwrap();
        from = next.0.max(from + 1);
        let lines = Lines::new(&Parcel::Readings { late: true, groups }, "nanan-01");
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
        std::io::Write::write_all(&mut packer, lines.text.as_bytes()).unwrap();
        bodies.push((lines.ends.len(), packer.finish().unwrap()));
    }
    let count: usize = bodies.iter().map(|(lines, _)| lines).sum();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://127.0.0.1:{port}/api/v2/write?precision=ms");
    let bodies = Arc::new(Mutex::new(bodies));
    let begun = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (bodies, client, url) = (Arc::clone(&bodies), client.clone(), url.clone());
        senders.spawn(async move {
            loop {
                let Some((_, body)) = bodies.lock().unwrap().pop() else { return };
                let answer =
                    client.post(&url).header("Content-Encoding", "gzip").body(body).send().await.unwrap();
                assert_eq!(answer.status(), 204);
            }
        });
    }
    while senders.join_next().await.is_some() {}
    count as f64 / begun.elapsed().as_secs_f64()
}

async fn drain(journal: &mut Journal, folder: &Path, port: u16, (commits, own): (u32, f64)) {
    let (committed, newest) = watch::channel(Seq(u64::from(commits)));
    let (stop_to, stopped) = watch::channel(false);
    let (confirmed, mut reports) = mpsc::channel(16);
    let status = Arc::new(Mutex::new(Status::default()));
    let ports = Ports {
        site: "nanan-01".into(),
        journal: folder.join("journal"),
        // Nothing is confirmed: all of it is backlog.
        progress: Progress::default(),
        committed: newest,
        confirmed,
        status: Arc::clone(&status),
        clock: Arc::new(SystemClock::new()),
        unjournaled: broadcast::channel(1).1,
        stop: stopped,
    };
    let api = Api::V2 { org: "district".into(), bucket: "telemetry".into() };
    let settings = Settings::new("tsdb", Target::influx(&format!("http://127.0.0.1:{port}"), api));
    let sink = tokio::spawn(run(settings, ports));
    // The server is down for a while.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let before = memory("VmRSS:");
    let server = start(folder, port).unwrap();
    let (begun, clock) = (Instant::now(), SystemClock::new());
    let (mut waiting, mut delays, mut turn, mut due) = (Vec::new(), Vec::new(), commits, Instant::now());
    let (mut first, mut most) = (None, before);
    let spent = loop {
        if due <= Instant::now() {
            turn += 1;
            let seq = journal.commit(&group(clock.now(), turn)).unwrap();
            committed.send_replace(seq);
            waiting.push((seq, Instant::now()));
            due += Duration::from_secs(1);
        }
        while let Ok((_, progress)) = reports.try_recv() {
            let (done, left): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(seq, _)| {
                let late = progress.gaps.iter().any(|gap| gap.from <= *seq && *seq < gap.to);
                *seq <= progress.live && !late
            });
            if !done.is_empty() {
                first.get_or_insert(begun.elapsed());
            }
            delays.extend(done.iter().map(|(_, at)| at.elapsed()));
            waiting = left;
        }
        most = most.max(memory("VmRSS:"));
        if status.lock().unwrap().backlog <= 1 && first.is_some() {
            break begun.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let told = status.lock().unwrap().clone();
    let rate = told.readings as f64 / spent.as_secs_f64();
    delays.sort();
    println!(
        "drain: {} readings in {:.2} s beside live ones, {rate:.0} readings/s, {:.2}x the server's own rate (aim >= 0.4x)",
        told.readings,
        spent.as_secs_f64(),
        rate / own
    );
    println!(
        "drain: first live readings confirmed {:.2} s after the server was back (aim <= 2 s); live delay until confirmed and reported: {} commits, longest {:.2} s",
        first.unwrap().as_secs_f64(),
        delays.len(),
        delays.last().unwrap().as_secs_f64()
    );
    println!(
        "drain: memory {before:.0} MB before, {most:.0} MB at most; {} refused, {} failures",
        told.rejected, told.failures
    );
    stop_to.send_replace(true);
    let _ = sink.await;
    stop(server);
}

fn memory(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
}
