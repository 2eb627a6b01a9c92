//! What a restart gives back: the states of rules, the windows of rules and derived points, the counts of the last day.
//!
//! In: what the journal kept of the run before. Out: a core that goes on.
//! Invariant: nothing is told and no reading is made by it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::alarm::recall::Recall;
use crate::alarm::{Alarm, RuleState, Transition, load};
use crate::clock::Timestamp;
use crate::gateway::core::Core;
use crate::point::{DeviceId, PointId};
use crate::reading::{Batch, Reading};

/// The last number of an input that is no device's counts for so long after a restart.
const LATEST: Duration = Duration::from_secs(3600);

impl Core {
    /// Takes rule states of an earlier run; `last` is the time of its last commit (`None`: unknown, counts as a long gap). What changes by it (alarms of rules that
    /// are gone) comes with the effects of the next event.
    pub fn restore(&mut self, states: Vec<(String, RuleState)>, last: Option<Timestamp>, now: Timestamp) {
        self.engine.restore(states, last, now);
        let open = self.engine.alarms();
        open.iter().for_each(|alarm| self.attention.alarm(alarm));
        self.attention.changed();
    }

    /// How far back [`Self::recall`] needs the readings of each point.
    pub fn recalls(&self) -> BTreeMap<PointId, Recall> {
        let mut spans = self.engine.recalls();
        for (point, span) in self.derived.recalls() {
            let silent = self.catalog.point(point).and_then(|point| self.devices.get(&point.device));
            // The last number of an input counts for as long as its device may be silent; a counter's first step needs the number before.
            let reach = span + silent.map_or(LATEST, |device| (device.spec.every * 4).max(LATEST));
            let known = spans.entry(point).or_default();
            *known = known.and(Recall { span, reach, together: false });
        }
        spans
    }

    /// The end of the last poll of a device that need not be recalled; `None`: none of its polls need.
    pub fn watched_since(&self, device: DeviceId) -> Option<Timestamp> {
        self.vigil.seen_until(device)
    }

    /// Takes a reading of an earlier run, in the order of that run, after [`Self::restore`]. Nothing follows from it.
    pub fn recall(&mut self, reading: &Reading, now: Timestamp) {
        // What stands in the history and in the log is taken once.
        if !self.times.recall(reading) {
            return;
        }
        self.derived.recall(reading);
        self.engine.recall(reading, now);
        self.attention.reading(reading);
    }

    /// The same of all that one device said in one poll.
    pub fn recall_batch(&mut self, batch: &Batch, now: Timestamp) {
        self.vigil.recall(batch);
        batch.readings.iter().for_each(|reading| self.recall(reading, now));
    }

    /// All of the earlier run is recalled; its last commit was at `last`.
    pub fn recalled(&mut self, last: Timestamp, now: Timestamp) {
        self.engine.recalled(last, now);
        self.attention.changed();
    }

    /// The gateway was off from `last` to `now`; this core knows what a new one would be given back by [`Self::restore`] and [`Self::recall`].
    pub fn restarted(&mut self, last: Timestamp, now: Timestamp) {
        self.engine.restarted(last, now);
    }

    /// Counts the transitions of the last day, as the journal has them. A flood that was told and is over is told to be over with the next event.
    pub fn recount(&mut self, transitions: &[Transition], now: Timestamp) {
        self.engine.recount(transitions, now);
        let told = |alarm: &Alarm| alarm.rule == load::FLOOD_RULE && alarm.state.is_active();
        self.flood = self.engine.alarms().iter().any(told);
    }
}
