//! The whole flow: points per CPU-second of `lifeline run` with 200 TCP devices of 100 registers at 1 Hz (aim >= 300,000).
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

use std::time::{Duration, Instant};

fn main() {
    let folder = tempfile::tempdir().unwrap();
    common::write_site(folder.path(), common::serve(), 200, 100, "1s");
    let gateway = common::Gateway::start(folder.path());
    gateway.first_reading();
    std::thread::sleep(Duration::from_secs(5));
    let (cpu, readings, begun) =
        (gateway.cpu_s(), gateway.metric("lifeline_readings_total").unwrap(), Instant::now());
    std::thread::sleep(Duration::from_secs(20));
    let seconds = begun.elapsed().as_secs_f64();
    let (cpu, readings) =
        (gateway.cpu_s() - cpu, gateway.metric("lifeline_readings_total").unwrap() - readings);
    println!(
        "flow: {:.0} points/s polled, decoded, checked and journaled (of 20,000 asked for)",
        readings / seconds
    );
    println!(
        "flow: {:.0} points per CPU-second (aim >= 300,000); {:.1} % of one core",
        readings / cpu,
        100.0 * cpu / seconds
    );
}
