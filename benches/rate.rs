//! Request rate on loopback TCP: our master against a bare `tokio-modbus` client loop, in turn, in one run (aim >= 0.8x).
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
use std::time::{Duration, Instant};

use lifeline_gateway::bus::master::Master;
use lifeline_gateway::bus::{Address, LineSettings, Read, Slave, Table};
use lifeline_gateway::decode::decode;
use lifeline_gateway::loss::Losses;
use lifeline_gateway::normalize::Normalizer;
use lifeline_gateway::point::{DeviceId, PointId};
use lifeline_gateway::{decode, profile, reading, site};
use tokio_modbus::client::Reader;

const REQUESTS: u32 = 20_000;
const REGISTERS: u16 = 10;

fn main() {
    let server = common::serve();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    common::write_site(folder.path(), server, 1, usize::from(REGISTERS), "1s");
    let options = site::Options {
        config: Some(folder.path().join("gateway.toml")),
        site: folder.path().join("site"),
        profiles: Some(folder.path().join("profiles")),
        ..site::Options::default()
    };
    let profile = site::load(&options).0.unwrap().devices[0].profile.clone();
    let mut ratios: Vec<f64> = Vec::new();
    for round in 0..6 {
        let ours = runtime.block_on(ours(server, &profile));
        let peer = runtime.block_on(peer(server));
        if round > 0 {
            ratios.push(ours / peer);
            println!(
                "rate: ours {ours:.0} requests/s with decode and quality, bare tokio-modbus {peer:.0}, ratio {:.2}",
                ours / peer
            );
        }
    }
    ratios.sort_by(f64::total_cmp);
    println!("rate: median ratio {:.2} (aim >= 0.8)", ratios[ratios.len() / 2]);
}

async fn peer(server: SocketAddr) -> f64 {
    let mut client = tokio_modbus::client::tcp::connect(server).await.unwrap();
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        let words = client.read_holding_registers(0, REGISTERS).await.unwrap().unwrap();
        assert_eq!(words.len(), usize::from(REGISTERS));
    }
    f64::from(REQUESTS) / begun.elapsed().as_secs_f64()
}

async fn ours(server: SocketAddr, profile: &profile::Profile) -> f64 {
    let settings = LineSettings {
        name: "bench".to_owned(),
        address: Address::Tcp(server.to_string()),
        timeout: Duration::from_secs(1),
        quiet: Duration::ZERO,
        heartbeats: Vec::new(),
    };
    let mut master = Master::new(settings);
    let mut losses = Losses::default();
    let points: Vec<Option<PointId>> = (0..u32::from(REGISTERS)).map(|point| Some(PointId(point))).collect();
    let normalizer = Normalizer::new(DeviceId(0), profile, &points);
    let read = Read { table: Table::Holding, address: 0, count: REGISTERS };
    let at = lifeline_gateway::clock::Timestamp::from_millis(0);
    let mut good = 0_usize;
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        let exchange = master.read(Slave(1), read, Duration::from_secs(1), &mut losses).await;
        let cells = exchange.outcome.unwrap();
        let raws = profile
            .fields
            .iter()
            .zip(cells.chunks(1))
            .map(|(field, cells)| (at, Ok(decode(field, cells))))
            .collect();
        let batch = normalizer.normalize(
            &decode::RawBatch { device: DeviceId(0), start: at, end: at, raws },
            false,
            false,
        );
        good += batch
            .readings
            .iter()
            .filter(|reading| reading.sample.quality() == reading::Quality::Good)
            .count();
    }
    let rate = f64::from(REQUESTS) / begun.elapsed().as_secs_f64();
    assert_eq!(good, REQUESTS as usize * usize::from(REGISTERS));
    rate
}
