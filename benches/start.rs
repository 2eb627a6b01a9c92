//! Start to the first committed reading (aim < 200 ms), and resident memory with 10,000 points at 1 Hz (aim <= 40 MB).
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

use std::time::Duration;

fn main() {
    let server = common::serve();
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
