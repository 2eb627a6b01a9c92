//! How short documents can be: three devices of ten registers with line and sink.

use std::path::{Path, PathBuf};

use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::site;

/// What fits on a screen beside something else; a longer line would be two.
const COLUMNS_MAX: usize = 100;

/// All documents under a folder.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { documents(&path, found) } else { found.push(path) }
    }
}

/// Lines that a person writes: not blank, no comment.
fn written(folder: &Path) -> usize {
    let mut found = Vec::new();
    documents(folder, &mut found);
    let mut lines = 0;
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            assert!(line.chars().count() <= COLUMNS_MAX, "{}: {line}", path.display());
            lines += 1;
        }
    }
    lines
}

/// Checks the folder with the real program, warnings denied, and counts what a site has.
fn check(name: &str, lines_max: usize) {
    let folder = Path::new("tests/short").join(name);
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["check", "--deny-warnings", "--profiles", "firmware-profiles", "--config"])
        .arg(folder.join("gateway.toml"))
        .arg("--site")
        .arg(folder.join("site"))
        .output()
        .unwrap();
    let out = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && out.contains("0 errors, 0 warnings"), "{out}");
    let options = site::Options {
        config: Some(folder.join("gateway.toml")),
        site: folder.join("site"),
        profiles: Some("firmware-profiles".into()),
        now: Timestamp::parse("2026-11-24T00:00:00Z").unwrap(),
        ..site::Options::default()
    };
    let site = site::load(&options).0.unwrap();
    let points: Vec<usize> =
        site.devices.iter().map(|device| device.points.iter().flatten().count()).collect();
    assert_eq!((points, site.lines.len(), site.sinks.len()), (vec![10; 3], 1, 1), "{name}");
    let lines = written(&folder);
    assert!(lines <= lines_max, "{name}: {lines} lines, {lines_max} at most");
}

#[test]
fn three_devices_with_a_profile_take_twenty_lines() {
    check("with-profile", 20);
}

#[test]
fn three_devices_without_a_profile_take_forty_five() {
    check("without-profile", 45);
}
