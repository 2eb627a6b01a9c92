//! What waits for the disk: telemetry bounded in seconds, alarms never dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::alarm::RuleState;
use crate::clock::{Boot, Timestamp};
use crate::gateway::core::Effects;
use crate::journal::date::put_right;
use crate::journal::{Audit, Group, Progress};
use crate::loss::{Loss, Losses};
use crate::reading::Batch;

/// Telemetry waits this long for a disk that refuses, then the oldest is given up and counted.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// And never more readings than this.
const READINGS_MAX: usize = 1_000_000;

/// The open group and what it will hold.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    batches: std::collections::VecDeque<Batch>,
    readings: usize,
    transitions: Vec<crate::alarm::Transition>,
    states: BTreeMap<String, RuleState>,
    progress: BTreeMap<String, Progress>,
    audits: Vec<Audit>,
    memories: BTreeMap<String, String>,
    /// Time of the oldest event that is not handed to the writer.
    pub(crate) since: Option<Timestamp>,
    /// A transition waits: commit at once.
    pub(crate) urgent: bool,
}

impl Pending {
    /// Takes the effects of one event.
    pub(crate) fn add(&mut self, effects: Effects, now: Timestamp) {
        if effects.batches.is_empty() && effects.transitions.is_empty() && effects.states.is_empty() {
            return;
        }
        self.since.get_or_insert(now);
        self.urgent |= !effects.transitions.is_empty();
        self.readings += effects.batches.iter().map(|batch| batch.readings.len()).sum::<usize>();
        self.batches.extend(effects.batches);
        self.transitions.extend(effects.transitions);
        self.states.extend(effects.states);
    }

    /// Takes what was done to a device: it is committed with, or before, the readings that it led to.
    pub(crate) fn audit(&mut self, audits: Vec<Audit>, now: Timestamp) {
        if !audits.is_empty() {
            self.since.get_or_insert(now);
            self.audits.extend(audits);
        }
    }

    /// Takes what is to be known after a restart.
    pub(crate) fn remember(&mut self, memories: Vec<(String, String)>, now: Timestamp) {
        if !memories.is_empty() {
            self.since.get_or_insert(now);
            self.memories.extend(memories);
        }
    }

    /// Takes the newest progress of a sink.
    pub(crate) fn confirm(&mut self, sink: String, progress: Progress, now: Timestamp) {
        self.since.get_or_insert(now);
        self.progress.insert(sink, progress);
    }

    /// Moves the readings that wait by a step of the clock that nobody trusted before.
    pub(crate) fn put_right(&mut self, by_ms: i64, trusted: bool) {
        put_right(&mut self.batches, by_ms, trusted);
    }

    /// What waits and is not on disk.
    pub(crate) fn copy(&self) -> (Vec<Batch>, Vec<crate::alarm::Transition>) {
        (self.batches.iter().cloned().collect(), self.transitions.clone())
    }

    /// Everything that waits, as one group; nothing waits afterwards. `undated` is the start of the box while its clock is not trusted.
    pub(crate) fn take(&mut self, now: Timestamp, version: &str, undated: Option<Boot>) -> Option<Group> {
        self.since.take()?;
        self.urgent = false;
        self.readings = 0;
        Some(Group {
            now,
            version: version.to_owned(),
            batches: std::mem::take(&mut self.batches).into(),
            transitions: std::mem::take(&mut self.transitions),
            states: std::mem::take(&mut self.states).into_iter().collect(),
            progress: std::mem::take(&mut self.progress).into_iter().collect(),
            audits: std::mem::take(&mut self.audits),
            memories: std::mem::take(&mut self.memories).into_iter().collect(),
            undated,
        })
    }

    /// Puts a refused group back in front; newer states and progress win.
    pub(crate) fn put_back(&mut self, group: Group) {
        self.since = Some(self.since.map_or(group.now, |since| since.min(group.now)));
        self.urgent |= !group.transitions.is_empty();
        self.readings += group.batches.iter().map(|batch| batch.readings.len()).sum::<usize>();
        for batch in group.batches.into_iter().rev() {
            self.batches.push_front(batch);
        }
        let newer = std::mem::replace(&mut self.transitions, group.transitions);
        self.transitions.extend(newer);
        let newer = std::mem::replace(&mut self.audits, group.audits);
        self.audits.extend(newer);
        for (rule, state) in group.states {
            self.states.entry(rule).or_insert(state);
        }
        for (sink, progress) in group.progress {
            self.progress.entry(sink).or_insert(progress);
        }
        for (key, text) in group.memories {
            self.memories.entry(key).or_insert(text);
        }
    }

    /// Gives up the oldest telemetry over the bounds.
    pub(crate) fn bound(&mut self, now: Timestamp, losses: &mut Losses) {
        let mut lost = 0_u64;
        while let Some(oldest) = self.batches.front() {
            if self.readings <= READINGS_MAX && now.since(oldest.end) <= WAIT_MAX {
                break;
            }
            let count = oldest.readings.len();
            self.batches.pop_front();
            self.readings -= count;
            lost += u64::try_from(count).unwrap_or(u64::MAX);
        }
        losses.record(Loss::UnjournaledReading, "journal", lost);
    }

    /// Readings that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.readings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Deed;
    use crate::point::{DeviceId, PointId};
    use crate::reading::{Reading, Sample};

    fn batch(ms: i64) -> Batch {
        let at = Timestamp::from_millis(ms);
        let reading = Reading { point: PointId(0), at, sample: Sample::Good(1.0) };
        Batch { device: DeviceId(0), start: at, end: at, readings: vec![reading] }
    }

    fn effects(ms: i64) -> Effects {
        Effects { batches: vec![batch(ms)], ..Effects::default() }
    }

    #[test]
    fn a_refused_group_comes_back_in_front() {
        let mut pending = Pending::default();
        let at = Timestamp::from_millis;
        pending.add(effects(1), at(1));
        let refused = pending.take(at(2), "v", None).unwrap();
        pending.add(effects(3), at(3));
        pending.put_back(refused);
        let group = pending.take(at(4), "v", None).unwrap();
        assert_eq!(group.batches, [batch(1), batch(3)]);
        assert!(pending.take(at(5), "v", None).is_none());
    }

    #[test]
    fn an_audit_is_committed_with_what_it_led_to() {
        let mut pending = Pending::default();
        let at = Timestamp::from_millis;
        let audit = |ms| {
            let deed = Deed::Firmware { was: None, is: Some("2.0".into()), note: None };
            Audit { at: at(ms), device: "d".into(), deed }
        };
        pending.audit(vec![], at(0));
        assert!(pending.take(at(0), "v", None).is_none());
        pending.audit(vec![audit(1)], at(1));
        pending.add(effects(1), at(1));
        let refused = pending.take(at(2), "v", None).unwrap();
        assert_eq!((&refused.audits, refused.batches.len()), (&vec![audit(1)], 1));
        pending.audit(vec![audit(3)], at(3));
        pending.put_back(refused);
        assert_eq!(pending.take(at(4), "v", None).unwrap().audits, [audit(1), audit(3)]);
    }

    #[test]
    fn telemetry_waits_so_long_and_is_then_a_counted_loss() {
        let mut pending = Pending::default();
        let mut losses = Losses::default();
        pending.add(effects(0), Timestamp::from_millis(0));
        pending.add(effects(100_000), Timestamp::from_millis(100_000));
        pending.bound(Timestamp::from_millis(120_000), &mut losses);
        assert!(losses.is_empty());
        pending.bound(Timestamp::from_millis(120_001), &mut losses);
        assert_eq!(losses.drain(), [(Loss::UnjournaledReading, "journal".to_owned(), 1)]);
        assert_eq!(pending.waiting(), 1);
    }
}
