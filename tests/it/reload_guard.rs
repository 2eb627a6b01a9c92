//! Documents that a running gateway must not take as they are, and what a person is told of those that it takes.
//! These tests run in real time on loopback sockets.

#![expect(clippy::disallowed_methods, reason = "sockets and processes live in real time")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lifeline_gateway::alarm::Change;
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::decode::{Raw, RawBatch};
use lifeline_gateway::gateway::core::{Core, Event};
use lifeline_gateway::journal::Reader;
use lifeline_gateway::point::DeviceId;

use crate::reload;
use crate::reload_live::{Process, Trial, free_port, polls};

fn is_watched(gateway: &Process) -> bool {
    let (_, text) = gateway.ask(&["status", "--json"]);
    let status = serde_json::from_str(&text).unwrap_or_default();
    polls(&status, "kept-1").is_some()
}

#[test]
fn documents_without_any_device_are_refused_by_a_gateway_that_has_one() {
    let trial = Trial::new();
    let gateway = Process::start(trial.folder.path(), &[]);
    gateway.until("in alarm", |status| status["alarms_open"] == 1);
    trial.site("");
    let (code, text) = gateway.ask(&["check", "--diff"]);
    assert!(text.contains("only a restart can take this: devices 1 -> none"), "{code:?} {text}");
    let (code, text) = gateway.ask(&["reload", "--by", "installer"]);
    assert!(code == Some(1) && text.contains("error[no-device]: the only device of the running"), "{text}");
    assert!(text.contains(" --> site/site.toml\n") && text.contains("nothing was changed"), "{text}");
    let remedy = "to empty a site on purpose, stop the gateway and start it";
    assert!(text.contains(remedy), "{text}");
    let refused = gateway.until("an alarm of it", |status| status["alarms_open"] == 2);
    assert!(refused["unapplied"].as_str().unwrap().contains("site/site.toml: the only device"), "{refused}");
    assert!(is_watched(&gateway));

    let asked = Command::new("kill").args(["-HUP", &gateway.0.id().to_string()]).status().unwrap();
    assert!(asked.success());
    gateway.until("refused again", |status| status["unapplied"].is_string());
    assert!(is_watched(&gateway));
    trial.site(&trial.more);
    let (code, text) = gateway.ask(&["reload"]);
    assert!(code == Some(0), "{text}");
}

#[test]
fn a_watched_file_that_was_cut_takes_no_device_away() {
    let trial = Trial::new();
    let gateway = Process::start(trial.folder.path(), &["--watch"]);
    gateway.until("in alarm", |status| status["alarms_open"] == 1);
    trial.site("");
    gateway.until("refused", |status| status["unapplied"].is_string());
    assert!(is_watched(&gateway));
    trial.site(&trial.more);
    gateway.until("two devices", |status| polls(status, "guest").is_some());
}

/// A point that gets another name is silent from then on at the earliest.
#[test]
fn a_renamed_point_is_not_silent_since_1970() {
    let folder = tempfile::tempdir().unwrap();
    let documents = |point: &str| {
        let text = "[[device]]\nname = \"d\"\nline = \"a\"\nslave = 1\nprofile = \"gauge\"\nevery = \"1s\"\nstale_after = \"10s\"\n\
            [[rule]]\nname = \"d-silent\"\npoint = \"d.level\"\nsilent_for = \"10s\"\nseverity = \"red\"\nbasis = \"b\"\nadvice = \"a\"\n";
        let profile = reload::PROFILE.replace("name = \"level\"", &format!("name = \"{point}\""));
        reload::load_with(folder.path(), &text.replace("d.level", &format!("d.{point}")), &profile)
    };
    let mut core = Core::new(&documents("level"));
    let start = Timestamp::from_millis(1_795_420_800_000);
    let poll = |core: &mut Core, at: Timestamp| {
        let raws = vec![(at, Ok(Raw::Number(5.0)))];
        core.apply(Event::Polled(RawBatch { device: DeviceId(0), start: at, end: at, raws }), at, true)
    };
    poll(&mut core, start);
    let renamed = start.plus(Duration::from_secs(5));
    let effects = core.apply(Event::Reloaded(Arc::new(documents("water-level"))), renamed, true);
    assert_eq!(effects.transitions, []);
    let seconds = |count| renamed.plus(Duration::from_secs(count));
    assert_eq!(core.apply(Event::Tick, seconds(10), true).transitions, []);
    // Nothing was heard under the new name.
    let silent = core.apply(Event::Tick, seconds(11), true).transitions;
    let told: Vec<_> = silent.iter().map(|one| (one.alarm.rule.as_str(), one.change)).collect();
    assert_eq!(told, [("d-silent", Change::Raised), ("d-stale", Change::Raised)]);
    assert!(silent.iter().all(|one| one.alarm.since == seconds(10).shifted(1)), "{silent:?}");
    assert_eq!(poll(&mut core, seconds(12)).transitions.len(), 2, "both clear");
}

fn state(gateway: &Process, rule: &str) -> String {
    let (_, text) = gateway.ask(&["alarms", "--json"]);
    let alarms = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut of = alarms.filter(|alarm| alarm["rule"] == rule);
    of.next().map(|alarm| alarm["state"].as_str().unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn a_taken_reload_ends_the_alarm_of_refused_ones_however_often_it_came() {
    let trial = Trial::new();
    let gateway = Process::start(trial.folder.path(), &[]);
    gateway.until("in alarm", |status| status["alarms_open"] == 1);
    for turn in 0..4 {
        trial.site("");
        assert_eq!(gateway.ask(&["reload"]).0, Some(1));
        gateway.until("refused", |_| state(&gateway, "gateway-documents") == "active-unacknowledged");
        trial.site(&trial.base);
        assert_eq!(gateway.ask(&["reload"]).0, Some(0));
        let taken = Instant::now();
        gateway.until("over", |_| state(&gateway, "gateway-documents") == "returned-unacknowledged");
        assert!(taken.elapsed() < Duration::from_secs(4), "turn {turn}: {:?}", taken.elapsed());
    }
    let (_, text) = gateway.ask(&["alarms"]);
    assert!(text.contains("chattering"), "{text}");
}

/// How often the alarm of the line was raised and cleared.
fn of_line(folder: &Path) -> Vec<Change> {
    let reader = Reader::open(&folder.join("journal")).unwrap();
    let held = reader.transitions(0, 10_000).unwrap();
    held.iter().filter(|(_, one)| one.alarm.rule == "gateway-line-kept").map(|(_, one)| one.change).collect()
}

#[test]
fn a_line_that_is_down_is_not_good_for_a_moment_after_a_restart() {
    let trial = Trial::new();
    let folder = trial.folder.path();
    // Nobody listens there.
    let down = format!("127.0.0.1:{}", free_port());
    let line = trial.base.lines().nth(2).unwrap();
    trial.site(&trial.base.replace(line, &format!("tcp = \"{down}\"")));
    let mut gateway = Process::start(folder, &[]);
    gateway.until("down", |_| state(&gateway, "gateway-line-kept") == "active-unacknowledged");
    for _ in 0..2 {
        gateway.0.kill().unwrap();
        gateway.0.wait().unwrap();
        gateway = Process::start(folder, &[]);
        gateway.until("down again", |status| polls(status, "kept-1").is_some_and(|polls| polls > 3));
        assert_eq!(of_line(folder), [Change::Raised]);
    }
    gateway.0.kill().unwrap();
    gateway.0.wait().unwrap();
    // It is up when the gateway starts: over, once.
    trial.site(&trial.base);
    let gateway = Process::start(folder, &[]);
    gateway.until("up", |_| state(&gateway, "gateway-line-kept") == "returned-unacknowledged");
    assert_eq!(of_line(folder), [Change::Raised, Change::Cleared]);
}
