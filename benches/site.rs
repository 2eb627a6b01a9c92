//! A site of 10,000 devices with 20 points each, as one table and one profile: what `lifeline check` takes, and what twice as many take.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench runs in real time and stops at the first surprise"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const DEVICES: usize = 10_000;
const POINTS: usize = 20;
/// Devices of one line.
const OF_LINE: usize = 200;
const TIME_MAX: Duration = Duration::from_secs(2);
const MEMORY_MAX_MB: f64 = 500.0;

fn write_site(folder: &Path, devices: usize) {
    let mut profile = String::from(
        "[profile]\nname = \"bench\"\nclass = \"power\"\nmaker = \"bench\"\nsource = \"made for the bench\"\n",
    );
    for point in 0..POINTS {
        write!(
            profile,
            "[[point]]\nname = \"p{point}\"\nat = \"holding {point}\"\ntype = \"u16\"\nscale = 0.1\nunit = \"V\"\n"
        )
        .unwrap();
    }
    let mut site = String::from(
        "devices_csv = { file = \"meters.csv\", template = \"meter\" }\n[template.meter]\nprofile = \"bench\"\nevery = \"1m\"\n",
    );
    let mut table = String::from("name,line,slave,tags.place\n");
    for device in 0..devices {
        let line = device / OF_LINE;
        if device % OF_LINE == 0 {
            writeln!(
                site,
                "[[line]]\nname = \"tcp-{line}\"\ntcp = \"10.0.{}.{}:502\"",
                line / 250,
                line % 250 + 1
            )
            .unwrap();
        }
        writeln!(table, "meter-{device},tcp-{line},{},南坪街道 {device}号", device % OF_LINE + 1).unwrap();
    }
    for (name, text) in
        [("profiles/bench.toml", profile), ("site/site.toml", site), ("site/meters.csv", table)]
    {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// Time and peak of resident memory, in MB, of one check.
fn check(folder: &Path, devices: usize) -> (Duration, f64) {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["check", "--config", "gateway.toml", "--profiles", "profiles", "--site", "site"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most_kb = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|rest| rest.trim().strip_suffix(" kB")).and_then(|kb| kb.parse().ok());
        most_kb = most_kb.max(peak.unwrap_or(0_u32));
        std::thread::sleep(Duration::from_millis(1));
    }
    child.wait().unwrap();
    let took = begun.elapsed();
    let out = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    let whole = out.replace(',', "").contains(&format!(" {devices} devices"));
    assert!(out.contains("0 errors, 0 warnings") && whole, "{out}");
    (took, f64::from(most_kb) / 1000.0)
}

/// The median of three.
fn median(devices: usize) -> (Duration, f64) {
    let folder = tempfile::tempdir().unwrap();
    write_site(folder.path(), devices);
    std::fs::write(folder.path().join("gateway.toml"), "[site]\nname = \"bench\"\n").unwrap();
    let mut all: Vec<(Duration, f64)> = (0..3).map(|_| check(folder.path(), devices)).collect();
    all.sort_by_key(|(took, _)| *took);
    all[1]
}

fn main() {
    let (half, _) = median(DEVICES / 2);
    let (took, memory_mb) = median(DEVICES);
    println!(
        "site: {DEVICES} devices x {POINTS} points checked in {:.2} s, {:.0} % of the aim ({} s)",
        took.as_secs_f64(),
        100.0 * took.as_secs_f64() / TIME_MAX.as_secs_f64(),
        TIME_MAX.as_secs()
    );
    println!(
        "site: {memory_mb:.0} MB at most, {:.0} % of the aim ({MEMORY_MAX_MB} MB)",
        100.0 * memory_mb / MEMORY_MAX_MB
    );
    println!(
        "site: twice the devices take {:.1} times as long (2 is linear, 4 quadratic)",
        took.as_secs_f64() / half.as_secs_f64()
    );
}
