//! Documents that a running gateway must not take as they are, and what a person is told of those that it takes.
//! These tests run in real time on loopback sockets.

#![expect(clippy::disallowed_methods, reason = "sockets and processes live in real time")]

use std::process::Command;

use crate::reload_live::{Process, Trial, polls};

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
