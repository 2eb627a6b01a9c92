//! What waits for the disk: telemetry bounded in seconds, alarms never dropped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::alarm::RuleState;
use crate::clock::{Boot, Timestamp};
use crate::gateway::core::Effects;
use crate::journal::date::put_right;
use crate::journal::{Audit, Group, Progress};
use crate::loss::{Loss, Losses};
use crate::reading::Batch;
use crate::site::Site;

/// Telemetry waits this long for a disk that refuses, then the oldest is given up and counted.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// And never more readings than this.
const READINGS_MAX: usize = 1_000_000;

/// A group for the journal, with the documents whose numbers it uses.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) group: Group,
    pub(crate) site: Arc<Site>,
}

/// The open group and what it will hold; before it those that were sealed under earlier documents.
#[derive(Debug)]
pub(crate) struct Pending {
    site: Arc<Site>,
    sealed: VecDeque<Job>,
    batches: VecDeque<Batch>,
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
    /// Nothing waits; what comes refers to the documents of `site`.
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Self {
            site,
            sealed: VecDeque::new(),
            batches: VecDeque::new(),
            readings: 0,
            transitions: Vec::new(),
            states: BTreeMap::new(),
            progress: BTreeMap::new(),
            audits: Vec::new(),
            memories: BTreeMap::new(),
            since: None,
            urgent: false,
        }
    }

    /// From now on what comes refers to the documents of `site`; what waits keeps its own.
    pub(crate) fn reload(&mut self, site: Arc<Site>, now: Timestamp, undated: Option<Boot>) {
        if !self.is_bare() {
            let group = self.group(now, undated);
            self.readings += count(&group.batches);
            self.sealed.push_back(Job { group, site: Arc::clone(&self.site) });
            self.urgent = true;
        }
        self.site = site;
    }

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
        for Job { group, .. } in &mut self.sealed {
            put_right(&mut group.batches, by_ms, trusted);
            group.undated = group.undated.take().filter(|_| !trusted);
        }
    }

    /// What waits and is not on disk.
    pub(crate) fn copy(&self) -> (Vec<Batch>, Vec<crate::alarm::Transition>) {
        (self.batches.iter().cloned().collect(), self.transitions.clone())
    }

    /// The oldest of what waits: a sealed group, or all that is open. `undated` is the start of the box while its clock is not trusted.
    pub(crate) fn take(&mut self, now: Timestamp, undated: Option<Boot>) -> Option<Job> {
        let since = self.since?;
        let job = match self.sealed.pop_front() {
            Some(job) => {
                self.readings -= count(&job.group.batches);
                job
            }
            None => Job { group: self.group(now, undated), site: Arc::clone(&self.site) },
        };
        let waits = !self.sealed.is_empty() || !self.is_bare();
        (self.since, self.urgent) = (waits.then_some(since), waits);
        Some(job)
    }

    /// The open group; nothing is open afterwards.
    fn group(&mut self, now: Timestamp, undated: Option<Boot>) -> Group {
        self.readings -= self.batches.iter().map(|batch| batch.readings.len()).sum::<usize>();
        Group {
            now,
            version: self.site.catalog.version.clone(),
            batches: std::mem::take(&mut self.batches).into(),
            transitions: std::mem::take(&mut self.transitions),
            states: std::mem::take(&mut self.states).into_iter().collect(),
            progress: std::mem::take(&mut self.progress).into_iter().collect(),
            audits: std::mem::take(&mut self.audits),
            memories: std::mem::take(&mut self.memories).into_iter().collect(),
            undated,
        }
    }

    fn is_bare(&self) -> bool {
        self.batches.is_empty()
            && self.transitions.is_empty()
            && self.states.is_empty()
            && self.progress.is_empty()
            && self.audits.is_empty()
            && self.memories.is_empty()
    }

    /// Puts a refused group back in front; newer states and progress win.
    pub(crate) fn put_back(&mut self, job: Job) {
        let Job { group, site } = job;
        self.since = Some(self.since.map_or(group.now, |since| since.min(group.now)));
        self.urgent |= !group.transitions.is_empty();
        self.readings += count(&group.batches);
        if !self.sealed.is_empty() || !Arc::ptr_eq(&site, &self.site) {
            self.sealed.push_front(Job { group, site });
            return;
        }
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
        let before = self.readings;
        let fits =
            |readings: usize, oldest: &Batch| readings <= READINGS_MAX && now.since(oldest.end) <= WAIT_MAX;
        for job in &mut self.sealed {
            let batches = &mut job.group.batches;
            let mut cut = 0;
            while let Some(oldest) = batches.get(cut).filter(|oldest| !fits(self.readings, oldest)) {
                self.readings -= oldest.readings.len();
                cut += 1;
            }
            batches.drain(..cut);
        }
        while let Some(oldest) = self.batches.front().filter(|oldest| !fits(self.readings, oldest)) {
            self.readings -= oldest.readings.len();
            self.batches.pop_front();
        }
        let lost = u64::try_from(before - self.readings).unwrap_or(u64::MAX);
        losses.record(Loss::UnjournaledReading, "journal", lost);
    }

    /// Readings that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.readings
    }
}

fn count(batches: &[Batch]) -> usize {
    batches.iter().map(|batch| batch.readings.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Deed;
    use crate::point::{Catalog, DeviceId, PointId};
    use crate::reading::{Reading, Sample};

    fn batch(ms: i64) -> Batch {
        let at = Timestamp::from_millis(ms);
        let reading = Reading { point: PointId(0), at, sample: Sample::Good(1.0) };
        Batch { device: DeviceId(0), start: at, end: at, readings: vec![reading] }
    }

    fn site(version: &str) -> Arc<Site> {
        let catalog = Catalog { version: version.into(), ..Catalog::default() };
        Arc::new(Site { catalog: Arc::new(catalog), ..Site::default() })
    }

    fn effects(ms: i64) -> Effects {
        Effects { batches: vec![batch(ms)], ..Effects::default() }
    }

    #[test]
    fn a_refused_group_comes_back_in_front() {
        let mut pending = Pending::new(site("v"));
        let at = Timestamp::from_millis;
        pending.add(effects(1), at(1));
        let refused = pending.take(at(2), None).unwrap();
        pending.add(effects(3), at(3));
        pending.put_back(refused);
        let job = pending.take(at(4), None).unwrap();
        assert_eq!(job.group.batches, [batch(1), batch(3)]);
        assert!(pending.take(at(5), None).is_none());
    }

    #[test]
    fn an_audit_is_committed_with_what_it_led_to() {
        let mut pending = Pending::new(site("v"));
        let at = Timestamp::from_millis;
        let audit = |ms| {
            let deed = Deed::Firmware { was: None, is: Some("2.0".into()), note: None };
            Audit { at: at(ms), device: "d".into(), deed }
        };
        pending.audit(vec![], at(0));
        assert!(pending.take(at(0), None).is_none());
        pending.audit(vec![audit(1)], at(1));
        pending.add(effects(1), at(1));
        let refused = pending.take(at(2), None).unwrap();
        assert_eq!((&refused.group.audits, refused.group.batches.len()), (&vec![audit(1)], 1));
        pending.audit(vec![audit(3)], at(3));
        pending.put_back(refused);
        assert_eq!(pending.take(at(4), None).unwrap().group.audits, [audit(1), audit(3)]);
    }

    #[test]
    fn what_waits_keeps_the_documents_that_it_was_read_by() {
        let mut pending = Pending::new(site("old"));
        let at = Timestamp::from_millis;
        pending.add(effects(1), at(1));
        let in_flight = pending.take(at(1), None).unwrap();
        pending.add(effects(2), at(2));
        pending.reload(site("new"), at(2), None);
        pending.add(effects(3), at(3));
        pending.put_back(in_flight);
        assert_eq!(pending.waiting(), 3);
        let mut taken = Vec::new();
        while let Some(job) = pending.take(at(4), None) {
            assert_eq!(job.group.version, job.site.catalog.version);
            taken.push((job.group.version, job.group.batches));
        }
        let group = |version: &str, ms| (version.to_owned(), vec![batch(ms)]);
        assert_eq!(taken, [group("old", 1), group("old", 2), group("new", 3)]);
        assert_eq!((pending.waiting(), pending.since), (0, None));
        pending.reload(site("newer"), at(5), None);
        assert!(pending.take(at(5), None).is_none(), "a reload alone is nothing to commit");
        pending.add(effects(0), at(0));
        pending.reload(site("newest"), at(6), None);
        let mut losses = Losses::default();
        pending.bound(at(120_001), &mut losses);
        assert_eq!(losses.drain(), [(Loss::UnjournaledReading, "journal".to_owned(), 1)]);
    }

    #[test]
    fn telemetry_waits_so_long_and_is_then_a_counted_loss() {
        let mut pending = Pending::new(site("v"));
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
