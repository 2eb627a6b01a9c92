//! What the documents said of the risk points, and when: answers about another day, as known then or as known now.
//!
//! In: risk points under a version of the documents, the memory of earlier runs. Out: what to remember, and what held at a time.
//! Invariant: nothing is rewritten: a correction is another version from its own time on, also one that goes back to an earlier text.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::risk::RiskPoint;

/// What is to be remembered when documents of this version hold from `now` on; nothing when they do already.
pub fn entries(
    points: &[RiskPoint],
    version: &str,
    now: Timestamp,
    memories: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let points = serde_json::to_string(points).expect("plain structs always have a JSON text");
    let mut entries = vec![(format!("registry/{version}"), points)];
    if held(memories, None) != Some(version) {
        entries.push((key(now), version.to_owned()));
    }
    entries.retain(|(key, text)| memories.get(key) != Some(text));
    entries
}

/// The version that held at `at` (the newest one when left out) with its risk points.
///
/// # Errors
/// No documents are known of that time, or their risk points can't be read any more.
pub fn known(
    memories: &BTreeMap<String, String>,
    at: Option<Timestamp>,
) -> Result<(String, Vec<RiskPoint>), &'static str> {
    let version = held(memories, at).ok_or("the journal has no documents of that time")?;
    let points = points(memories, version).ok_or("the journal does not hold the risk points of that time")?;
    Ok((version.to_owned(), points))
}

/// The risk points of a version; `None` when they can't be read any more.
pub fn points(memories: &BTreeMap<String, String>, version: &str) -> Option<Vec<RiskPoint>> {
    memories.get(&format!("registry/{version}")).and_then(|text| serde_json::from_str(text).ok())
}

/// The version that held at `at`; the newest one when left out.
pub fn held(memories: &BTreeMap<String, String>, at: Option<Timestamp>) -> Option<&str> {
    let last = at.map_or_else(|| "held0".to_owned(), |at| key(at) + "\0");
    if last.as_str() < "held/" {
        return None;
    }
    memories.range("held/".to_owned()..last).next_back().map(|(_, version)| version.as_str())
}

/// The versions that held, each from its moment on, in order of time.
pub fn changes(memories: &BTreeMap<String, String>) -> impl Iterator<Item = (Timestamp, &str)> {
    memories.range("held/".to_owned().."held0".to_owned()).filter_map(|(key, version)| {
        let from = key.strip_prefix("held/")?.parse().ok()?;
        Some((Timestamp::from_millis(from), version.as_str()))
    })
}

/// The order of these keys is that of time.
fn key(from: Timestamp) -> String {
    format!("held/{:020}", from.as_millis().max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_has_the_documents_that_held_then() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let mut memories = BTreeMap::new();
        assert_eq!(known(&memories, None).unwrap_err(), "the journal has no documents of that time");
        for (seconds, version) in [(10, "a"), (20, "b"), (25, "b"), (30, "a")] {
            memories.extend(entries(&[], version, at(seconds), &memories));
        }
        let version = |time: Option<i64>| known(&memories, time.map(at)).ok().map(|(version, _)| version);
        let versions = [Some(9), Some(10), Some(19), Some(20), Some(29), Some(30), None].map(version);
        let want = [None, Some("a"), Some("a"), Some("b"), Some("b"), Some("a"), Some("a")];
        assert_eq!(versions, want.map(|version| version.map(str::to_owned)));
        assert_eq!(memories.len(), 5, "a start with the same documents adds nothing");
        assert_eq!(changes(&memories).collect::<Vec<_>>(), [(at(10), "a"), (at(20), "b"), (at(30), "a")]);
        assert_eq!(entries(&[], "a", at(40), &memories), []);
    }
}
