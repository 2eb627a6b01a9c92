//! Shelves over a kill of the real gateway: who, why and until when stay, and an end that passed meanwhile is kept at the next start.

#![expect(clippy::disallowed_methods, reason = "processes live in real time")]

use std::time::{Duration, Instant};

use lifeline_gateway::alarm::Change;
use lifeline_gateway::journal::Reader;
use serde_json::Value;

use crate::recall::{documents, start, until};

/// The open alarm of a rule, once `good` is true of it.
fn alarm(folder: &std::path::Path, rule: &str, good: impl Fn(&Value) -> bool) -> Value {
    let find = |text: &str| {
        let alarms = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        alarms.into_iter().find(|alarm| alarm["rule"] == rule && good(alarm))
    };
    let text = until(folder, &["alarms", "--json"], |output| {
        find(&String::from_utf8_lossy(&output.stdout)).is_some()
    });
    find(&text).unwrap()
}

#[test]
fn a_shelf_keeps_its_end_over_a_kill_and_ends_while_the_gateway_is_off() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    documents(folder, "", "", "");
    let mut child = start(folder);
    let shelve = |rule: &str, span: &str| {
        let args = ["alarms", "shelve", rule, "--for", span, "--by", "li", "--reason", "pump test"];
        until(folder, &args, |output| output.status.success());
    };
    shelve("shelved", "1h");
    shelve("seen", "3s");
    let short = Instant::now();
    let before = alarm(folder, "shelved", |alarm| alarm["shelved"] == true);
    child.kill().unwrap();
    child.wait().unwrap();
    std::thread::sleep(Duration::from_millis(3500).saturating_sub(short.elapsed()));

    let mut child = start(folder);
    let after = alarm(folder, "shelved", |_| true);
    let ended = alarm(folder, "seen", |alarm| alarm["shelved"] == false);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((&after["id"], &after["shelved"]), (&before["id"], &Value::Bool(true)), "{after}");
    assert_eq!(after["shelf"], before["shelf"], "the same end, person, reason and count");
    assert_eq!(after["shelf"]["by"], "li");
    assert_eq!(ended["state"], "active-unacknowledged", "out from below the shelf it is to be seen");
    let reader = Reader::open(&folder.join("journal")).unwrap();
    let ends = reader.transitions(0, 1000).unwrap().into_iter().map(|(_, one)| one);
    let ends: Vec<_> = ends.filter(|one| one.change == Change::Unshelved).collect();
    let [end] = ends.as_slice() else { panic!("one shelf ended: {ends:?}") };
    assert_eq!((end.alarm.rule.as_str(), end.note.as_deref()), ("seen", Some("the shelf ended")));
    assert!(end.notifies() && end.by.is_none());
}
