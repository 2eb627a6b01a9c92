//! The coverage of a month: from rungs that a gateway told, through the journal and the binary.

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use lifeline_gateway::journal::{Group, Journal, Reader};
use lifeline_gateway::risk::registry;
use lifeline_gateway::site::Site;

use crate::coverage::{DOCUMENTS, START, World, load, open};
use crate::recall;

fn keep(journal: &mut Journal, path: &std::path::Path, world: &World, site: &Site) {
    journal.keep_site(&site.catalog, &site.documents, world.now).unwrap();
    let memories = Reader::open(path).unwrap().memories().unwrap();
    let entries = registry::entries(&site.risk_points, &site.catalog.version, world.now, &memories);
    journal.remember(&entries).unwrap();
}

fn commit(journal: &mut Journal, world: &mut World, site: &Site) {
    let (version, batches) = (site.catalog.version.clone(), std::mem::take(&mut world.told));
    journal.commit(&Group { now: world.now, version, batches, ..Group::default() }).unwrap();
}

/// Two hours at noon on the last day of the year, in the second of which P1 lacks a sensor; then P2 moves to another town for an hour.
fn journal(documents: &str) -> (tempfile::TempDir, Site, World) {
    let (folder, site) = load(documents);
    let path = folder.path().join("journal");
    std::fs::create_dir(&path).unwrap();
    let mut journal = open(&path);
    let mut world = World::new(&site, START);
    keep(&mut journal, &path, &world, &site);
    world.run(3590);
    world.silent = vec!["two"];
    world.run(3600);
    commit(&mut journal, &mut world, &site);
    world.now = world.now.plus(Duration::from_secs(60));
    let (_other, moved) = load(&documents.replace("弹子石街道", "海棠溪街道"));
    world.apply_documents(&moved);
    keep(&mut journal, &path, &world, &moved);
    world.run(3600);
    commit(&mut journal, &mut world, &moved);
    drop(journal);
    (folder, moved, world)
}

#[test]
fn a_point_that_left_the_documents_keeps_its_hours() {
    let (folder, site) = load(DOCUMENTS);
    let path = folder.path().join("journal");
    std::fs::create_dir(&path).unwrap();
    let mut journal = open(&path);
    let mut world = World::new(&site, START);
    keep(&mut journal, &path, &world, &site);
    world.run(7200);
    commit(&mut journal, &mut world, &site);
    let begins = DOCUMENTS.find("[[risk_point]]\ncode = \"P2\"").unwrap();
    let ends = DOCUMENTS.find("[[device]]").unwrap();
    let without =
        format!("{}{}", &DOCUMENTS[..begins], &DOCUMENTS[ends..]).replace("also_at = [\"P2\"]\n", "");
    let (_other, left) = load(&without);
    world.apply_documents(&left);
    keep(&mut journal, &path, &world, &left);
    world.run(3600);
    commit(&mut journal, &mut world, &left);
    drop(journal);
    let view: serde_json::Value =
        serde_json::from_str(&ask(folder.path(), &["--month", "2026-12", "--json"], 1)).unwrap();
    let points = view["points"].as_array().unwrap();
    let p2 = points.iter().find(|row| row["name"] == "P2").unwrap();
    assert_eq!(p2["reached"]["installed"], 1.99, "{p2}");
}

fn ask(folder: &std::path::Path, args: &[&str], code: i32) -> String {
    let mut all = vec!["coverage", "report", "--journal", "journal"];
    all.extend(args);
    recall::until(folder, &all, |output: &Output| output.status.code() == Some(code))
}

#[test]
fn a_month_of_hours_each_with_the_documents_that_held_in_it() {
    let named = DOCUMENTS.replace("code = \"P2\"", "code = \"P2\"\nname = \"=1+1 <b>\"");
    let (folder, ..) = journal(&named);
    let folder = folder.path();
    let view: serde_json::Value =
        serde_json::from_str(&ask(folder, &["--month", "2026-12", "--json"], 1)).unwrap();
    // 30 days and 15 hours of the 31st are over by the site's own calendar.
    assert_eq!((&view["hours"], &view["observed"]), (&735.0.into(), &2.99.into()));
    let rows = view["rows"].as_array().unwrap().iter().chain(view["points"].as_array().unwrap());
    let rows: BTreeMap<String, &serde_json::Value> = rows
        .map(|row| (format!("{} {}", row["scope"].as_str().unwrap(), row["name"].as_str().unwrap()), row))
        .collect();
    let hours = |row: &str, rung: &str| {
        let row = rows.get(row).unwrap_or_else(|| panic!("{row}: {rows:?}"));
        (row["reached"][rung].as_f64().unwrap(), row["hours"].as_f64().unwrap())
    };
    let told = [
        ("point P1", "fresh"),
        ("point P1", "installed"),
        ("point P2", "calibrated"),
        ("site ", "calibrated"),
        ("town 弹子石街道", "calibrated"),
        ("town 海棠溪街道", "calibrated"),
        ("target gas-high-risk", "installed"),
    ]
    .map(|(row, rung)| hours(row, rung));
    let want = [
        // One of its sensors fell silent ten seconds before the second hour began.
        (1.01, 735.0),
        (2.99, 735.0),
        (2.99, 735.0),
        // A ratio of sums.
        (3.99, 1470.0),
        // It moved away 50 s after two o'clock.
        (2.01, 734.01),
        (0.98, 0.98),
        // P2 is of grade 2.
        (2.99, 735.0),
    ];
    assert_eq!(told, want);
    assert_eq!(rows["site "]["percent"]["installed"], "0.4");

    let csv = ask(folder, &["--month", "2026-12", "--csv"], 1);
    assert!(csv.starts_with('\u{feff}') && csv.contains(",point,P2,'=1+1 <b>"), "{csv}");
    assert_eq!(csv.lines().count(), 1 + rows.len());
    let html = ask(folder, &["--month", "2026-12", "--html"], 1);
    assert!(html.contains("=1+1 &lt;b&gt;") && !html.contains("=1+1 <b>"));
    for far in ["http://", "https://", "<script", "@import", "url("] {
        assert!(!html.contains(far), "{far}");
    }
    let then = ask(folder, &["--month", "2026-12", "--json", "--known-at", START], 1);
    assert!(then.contains("弹子石街道") && !then.contains("海棠溪街道"), "{then}");
    for wrong in ["2026-13", "2026-1", "December", "2027-01"] {
        assert_eq!(ask(folder, &["--month", wrong], 2), "", "{wrong}");
    }
}
