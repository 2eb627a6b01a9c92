//! The proof that a notice gets out: a drill went through a sink's alarm lane, and the sink confirmed it.
//!
//! In: drills with the numbers that the journal gave them, what sinks confirmed. Out: when that was proved last; a memory for the journal.
//! Invariant: nothing is proved but by the own acknowledgement, of a drill that was journaled, of a sink from which people are called. Progress alone proves
//! nothing: it also passes what the sink's filter holds back and what the server refused.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::alarm::{Change, Transition};
use crate::clock::Timestamp;

/// The key of the memory.
const KEY: &str = "proof/notice";
/// Drills that are waited for at most.
const WAITING_MAX: usize = 100;

/// A notice that got out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proved {
    /// When the sink had confirmed it.
    pub at: Timestamp,
    /// The sink.
    pub sink: String,
    /// The drill's rule.
    pub rule: String,
    /// Id of the drill.
    pub id: String,
    /// All sinks that have confirmed it, in the order in which they did.
    #[serde(default)]
    pub sinks: Vec<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    pub(crate) last: Option<Proved>,
    /// The journal's number of the drill that was proved last, in this run.
    number: Option<u64>,
    /// Drills by the journal's numbers that no sink confirmed yet.
    waiting: BTreeMap<u64, (String, String)>,
}

impl Proof {
    /// Takes what an earlier run kept.
    pub(crate) fn restore(memories: &BTreeMap<String, String>) -> Self {
        let last = memories.get(KEY).and_then(|text| serde_json::from_str(text).ok());
        Self { last, number: None, waiting: BTreeMap::new() }
    }

    /// What was proved last, when people are called from a sink that confirmed it. One that is gone, or a store by now, proves nothing of the way that
    /// notices take.
    pub(crate) fn standing(&self, calls_people: impl Fn(&str) -> bool) -> Option<&Proved> {
        // A run of an earlier version named the first one alone.
        self.last
            .as_ref()
            .filter(|last| calls_people(&last.sink) || last.sinks.iter().any(|sink| calls_people(sink)))
    }

    /// Takes transitions that were journaled; the last of them has this number.
    pub(crate) fn journaled(&mut self, transitions: &[Transition], last: u64) {
        let numbers = (1..=last).rev();
        for (transition, number) in transitions.iter().rev().zip(numbers) {
            let alarm = &transition.alarm;
            if alarm.marks.drill && transition.change == Change::Raised && self.waiting.len() < WAITING_MAX {
                self.waiting.insert(number, (alarm.rule.clone(), alarm.id.clone()));
            }
        }
    }

    /// Takes the numbers of the drills that a sink from which people are called has taken; the memory to keep when that proves something.
    pub(crate) fn confirmed(
        &mut self,
        sink: &str,
        taken: &BTreeSet<u64>,
        now: Timestamp,
    ) -> Option<(String, String)> {
        let Some((number, (rule, id))) = self.waiting.iter().rev().find(|(number, _)| taken.contains(number))
        else {
            return self.also(sink, taken);
        };
        let (number, rule, id) = (*number, rule.clone(), id.clone());
        self.waiting = self.waiting.split_off(&number.saturating_add(1));
        let sinks = vec![sink.to_owned()];
        let proved = Proved { at: now, sink: sink.to_owned(), rule, id, sinks };
        self.number = Some(number);
        tracing::info!(sink, rule = %proved.rule, "a notice was proved to get out");
        let text = serde_json::to_string(&proved).ok()?;
        self.last = Some(proved);
        Some((KEY.to_owned(), text))
    }

    /// Takes another sink that confirmed the drill that was proved last.
    fn also(&mut self, sink: &str, taken: &BTreeSet<u64>) -> Option<(String, String)> {
        let last =
            self.last.as_mut().filter(|_| self.number.is_some_and(|number| taken.contains(&number)))?;
        if last.sinks.iter().any(|known| known == sink) {
            return None;
        }
        last.sinks.push(sink.to_owned());
        tracing::info!(sink, rule = %last.rule, "a notice was proved to get out there, too");
        Some((KEY.to_owned(), serde_json::to_string(last).ok()?))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::alarm::{Alarm, Base, Kind, Marks, Severity};

    /// A transition, of a drill when `drill`.
    pub(crate) fn transition(rule: &str, drill: bool) -> Transition {
        let alarm = Alarm {
            id: format!("id-{rule}"),
            kind: Kind::Process,
            rule: rule.to_owned(),
            rule_version: String::new(),
            point: String::new(),
            risk_point: None,
            town: None,
            severity: Severity::Blue,
            present: None,
            state: Base::ActiveUnacknowledged,
            unverified: false,
            since: Timestamp::default(),
            value: None,
            threshold: None,
            unit: None,
            advice: String::new(),
            acknowledged: None,
            overlay: Default::default(),
            guide: Default::default(),
            trend: None,
            marks: Marks { drill, ..Marks::default() },
        };
        Transition { alarm, change: Change::Raised, at: Timestamp::default(), by: None, note: None }
    }

    #[test]
    fn only_a_drill_that_was_taken_proves() {
        let mut proof = Proof::default();
        let taken = |number| BTreeSet::from([number]);
        proof.journaled(&[transition("a", false), transition("a.drill", true), transition("b", false)], 12);
        assert_eq!(proof.confirmed("files", &BTreeSet::new(), Timestamp::from_millis(5)), None);
        assert_eq!(proof.confirmed("files", &taken(12), Timestamp::from_millis(6)), None, "not that one");
        let (key, text) = proof.confirmed("files", &taken(11), Timestamp::from_millis(7)).unwrap();
        assert_eq!(
            proof.last.as_ref().map(|proved| (proved.at.as_millis(), proved.rule.as_str())),
            Some((7, "a.drill"))
        );
        assert_eq!(proof.confirmed("files", &taken(11), Timestamp::from_millis(9)), None, "once");
        assert!(text.contains(r#""sinks":["files"]"#), "{text}");
        assert_eq!(proof.confirmed("broker", &taken(12), Timestamp::from_millis(10)), None, "not that one");
        let (_, text) = proof.confirmed("broker", &taken(11), Timestamp::from_millis(11)).unwrap();
        let last = proof.last.as_ref().unwrap();
        assert_eq!(
            (last.at.as_millis(), last.sinks.as_slice()),
            (7, &["files".to_owned(), "broker".to_owned()][..])
        );
        assert_eq!(proof.confirmed("broker", &taken(11), Timestamp::from_millis(12)), None, "once each");
        let again = Proof::restore(&BTreeMap::from([(key, text)]));
        assert_eq!(again.last, proof.last);
        let standing = |sinks: &[&str]| again.standing(|sink| sinks.contains(&sink)).is_some();
        assert!(standing(&["files"]) && standing(&["broker", "other"]));
        assert!(!standing(&["other"]), "those that confirmed it are gone");
    }
}
