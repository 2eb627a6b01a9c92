//! The core's speed: readings/s on one core through normalize and a threshold rule (aim >= 2 million).
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

use std::time::Instant;

use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::decode::{Raw, RawBatch};
use lifeline_gateway::gateway::core::{Core, Event};
use lifeline_gateway::site;

const POINTS: usize = 100;
const POLLS: i64 = 50_000;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    common::write_site(folder.path(), "127.0.0.1:1".parse().unwrap(), 1, POINTS, "1s");
    let mut rules = String::new();
    for point in 0..POINTS {
        rules += &format!(
            "[[rule]]\nname = \"r{point}\"\npoint = \"d0.p{point}\"\nabove = {{ yellow = 900, red = 1000 }}\nunit = \"kPa\"\ndeadband = 1\non_delay = \"2s\"\noff_delay = \"2s\"\nbasis = \"bench\"\nadvice = \"none\"\n"
        );
    }
    std::fs::write(folder.path().join("site/rules.toml"), rules).unwrap();
    let options = site::Options {
        config: Some(folder.path().join("gateway.toml")),
        site: folder.path().join("site"),
        profiles: Some(folder.path().join("profiles")),
        now: Timestamp::from_millis(1_790_000_000_000),
        ..site::Options::default()
    };
    let (site, found, texts) = site::load(&options);
    let Some(site) = site else { panic!("{}", lifeline_gateway::diagnostic::render(&found, &texts)) };
    let mut core = Core::new(&site);
    let device = site.devices[0].id;
    let mut kept = 0_usize;
    let begun = Instant::now();
    for poll in 0..POLLS {
        let at = Timestamp::from_millis(1_790_000_000_000 + poll * 1000);
        let raws =
            (0..POINTS).map(|point| (at, Ok(Raw::Number((point as i64 + poll % 50) as f64)))).collect();
        let batch = RawBatch { device, start: at, end: at, raws };
        let effects = core.apply(Event::Polled(batch), at, true);
        kept += effects.batches.iter().map(|batch| batch.readings.len()).sum::<usize>();
    }
    let rate = kept as f64 / begun.elapsed().as_secs_f64();
    println!(
        "core: {rate:.0} readings/s through normalize and a two-level threshold rule on one core (aim >= 2,000,000)"
    );
}
