//! The master beside what a user would pick instead, and how late polls are.
//!
//! - Requests/s and CPU time for 1,000 requests on one loopback TCP connection: ours with decode and quality, a bare `tokio-modbus`
//!   client loop, and pymodbus where it is installed; in turn, in one run (aim: at least as many requests as `tokio-modbus`).
//! - 200 TCP devices with 100 registers at 1 Hz: when the server sees each request against the even grid of its device (aim: p99
//!   under 5 ms), and the gateway's share of one core.
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

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lifeline_gateway::bus::master::Master;
use lifeline_gateway::bus::{Address, LineSettings, Read, Slave, Table};
use lifeline_gateway::loss::Losses;
use lifeline_gateway::normalize::Normalizer;
use lifeline_gateway::point::{DeviceId, PointId};
use lifeline_gateway::{decode, profile, reading, site};
use tokio_modbus::client::Reader;

const REQUESTS: u32 = 20_000;
const REQUESTS_PYMODBUS: u32 = 4_000;
const REGISTERS: u16 = 10;
const ROUNDS: usize = 5;

/// What one loop reached: requests/s, and CPU milliseconds of the client for 1,000 requests.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    cpu_ms: f64,
}

impl Figures {
    fn of(requests: u32, seconds: f64, cpu_s: f64) -> Self {
        let requests = f64::from(requests);
        Self { rate: requests / seconds, cpu_ms: cpu_s * 1e6 / requests }
    }
}

fn main() {
    compare();
    lateness();
}

fn compare() {
    let server = common::serve();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let profile = bench_profile(server);
    let mut rounds: Vec<(Figures, Figures)> = Vec::new();
    for round in 0..=ROUNDS {
        let ours = runtime.block_on(ours(server, &profile));
        let peer = runtime.block_on(peer(server));
        if round > 0 {
            rounds.push((ours, peer));
        }
    }
    let median = |of: &dyn Fn(&(Figures, Figures)) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!(
        "bus: ours {:.0} requests/s with decode and quality, {:.1} CPU-ms for 1,000",
        median(&|(ours, _)| ours.rate),
        median(&|(ours, _)| ours.cpu_ms)
    );
    println!(
        "bus: bare tokio-modbus {:.0} requests/s, {:.1} CPU-ms for 1,000",
        median(&|(_, peer)| peer.rate),
        median(&|(_, peer)| peer.cpu_ms)
    );
    println!(
        "bus: ours against tokio-modbus, median of {ROUNDS} rounds: {:.2}x the requests/s, {:.2}x the CPU",
        median(&|(ours, peer)| ours.rate / peer.rate),
        median(&|(ours, peer)| ours.cpu_ms / peer.cpu_ms)
    );
    match pymodbus(server) {
        Some(figures) => {
            println!("bus: pymodbus {:.0} requests/s, {:.1} CPU-ms for 1,000", figures.rate, figures.cpu_ms)
        }
        None => println!("bus: skipped: pymodbus not installed"),
    }
}

fn bench_profile(server: SocketAddr) -> profile::Profile {
    let folder = tempfile::tempdir().unwrap();
    common::write_site(folder.path(), server, 1, usize::from(REGISTERS), "1s");
    let options = site::Options {
        config: Some(folder.path().join("gateway.toml")),
        site: folder.path().join("site"),
        profiles: Some(folder.path().join("profiles")),
        ..site::Options::default()
    };
    site::load(&options).0.unwrap().devices[0].profile.as_ref().clone()
}

/// CPU seconds that this thread used so far.
fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

async fn peer(server: SocketAddr) -> Figures {
    let mut client = tokio_modbus::client::tcp::connect(server).await.unwrap();
    let (begun, cpu) = (Instant::now(), cpu_s());
    for _ in 0..REQUESTS {
        let words = client.read_holding_registers(0, REGISTERS).await.unwrap().unwrap();
        assert_eq!(words.len(), usize::from(REGISTERS));
    }
    Figures::of(REQUESTS, begun.elapsed().as_secs_f64(), cpu_s() - cpu)
}

async fn ours(server: SocketAddr, profile: &profile::Profile) -> Figures {
    let settings = LineSettings::plain("bench", Address::Tcp(server.to_string()));
    let mut master = Master::new(settings);
    let mut losses = Losses::default();
    let points: Vec<Option<PointId>> = (0..u32::from(REGISTERS)).map(|point| Some(PointId(point))).collect();
    let normalizer = Normalizer::new(DeviceId(0), profile, &points);
    let read = Read { table: Table::Holding, address: 0, count: REGISTERS };
    let at = lifeline_gateway::clock::Timestamp::from_millis(0);
    let mut good = 0_usize;
    let (begun, cpu) = (Instant::now(), cpu_s());
    for _ in 0..REQUESTS {
        let exchange = master.read(Slave(1), read, Duration::from_secs(1), &mut losses).await;
        let cells = exchange.outcome.unwrap();
        let raws = profile
            .fields
            .iter()
            .zip(cells.chunks(1))
            .map(|(field, cells)| (at, Ok(decode::decode(field, cells))))
            .collect();
        let batch = normalizer.normalize(
            &decode::RawBatch { device: DeviceId(0), start: at, end: at, raws },
            false,
            false,
        );
        let is_good = |reading: &&reading::Reading| reading.sample.quality() == reading::Quality::Good;
        good += batch.readings.iter().filter(is_good).count();
    }
    let figures = Figures::of(REQUESTS, begun.elapsed().as_secs_f64(), cpu_s() - cpu);
    assert_eq!(good, REQUESTS as usize * usize::from(REGISTERS));
    figures
}

fn pymodbus(server: SocketAddr) -> Option<Figures> {
    let output = Command::new("python3")
        .arg("benches/pymodbus_client.py")
        .args([server.port().to_string(), REQUESTS_PYMODBUS.to_string(), REGISTERS.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.split_whitespace().map(|word| word.parse::<f64>().unwrap());
    Some(Figures::of(REQUESTS_PYMODBUS, words.next()?, words.next()?))
}

const DEVICES: usize = 200;
const SECONDS: u64 = 30;

fn lateness() {
    let arrivals: Arc<Mutex<Vec<Vec<Instant>>>> = Arc::default();
    let folder = tempfile::tempdir().unwrap();
    common::write_site(folder.path(), common::serve_watched(Arc::clone(&arrivals)), DEVICES, 100, "1s");
    let gateway = common::Gateway::start(folder.path());
    gateway.first_reading();
    std::thread::sleep(Duration::from_secs(3));
    let (cpu, begun) = (gateway.cpu_s(), Instant::now());
    std::thread::sleep(Duration::from_secs(SECONDS));
    let share = 100.0 * (gateway.cpu_s() - cpu) / begun.elapsed().as_secs_f64();
    let mut late_ms: Vec<f64> = Vec::new();
    for requests in arrivals.lock().unwrap().iter() {
        let since: Vec<f64> = requests
            .iter()
            .filter(|at| **at >= begun)
            .map(|at| at.duration_since(begun).as_secs_f64() * 1000.0)
            .collect();
        // The grid is the earliest that any request of this device kept; drift would show as lateness that grows.
        let offset = |(n, at_ms): (usize, &f64)| at_ms - 1000.0 * n as f64;
        let first = since.iter().enumerate().map(offset).fold(f64::MAX, f64::min);
        late_ms.extend(since.iter().enumerate().map(|pair| offset(pair) - first));
    }
    late_ms.sort_by(f64::total_cmp);
    let percentile = |share: usize| late_ms[(late_ms.len() - 1) * share / 1000];
    println!(
        "bus: {DEVICES} TCP devices x 100 registers at 1 Hz, {} polls: late p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms (aim p99 < 5 ms); {share:.1} % of one core",
        late_ms.len(),
        percentile(500),
        percentile(990),
        percentile(999)
    );
}
