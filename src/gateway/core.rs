//! The core: `apply(event, now) -> effects`, pure.
//!
//! In: one closed [`Event`] at a time, with `now`. Out: [`Effects`] to journal and to tell.
//! Invariant: timers due by `now` fire before the event; the same events at the same times give the same effects.

use std::collections::BTreeMap;

use crate::alarm::engine::Engine;
use crate::alarm::{Alarm, RuleState, Severity, Transition};
use crate::clock::Timestamp;
use crate::decode::RawBatch;
use crate::derive::Derived;
use crate::normalize::Normalizer;
use crate::point::{Catalog, DeviceId};
use crate::reading::Batch;
use crate::site::Site;

/// All that can happen to the core. A closed list.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A device was polled.
    Polled(RawBatch),
    /// Readings that are already normalized: the gateway's own points, or a replay.
    Read(Batch),
    /// A person acknowledges the alarm of this id, having seen this severity.
    Acknowledge {
        /// Alarm id.
        id: String,
        /// Severity seen.
        seen: Severity,
        /// Who.
        by: String,
        /// Note.
        note: Option<String>,
    },
    /// A person resets a latched alarm.
    Reset {
        /// Alarm id.
        id: String,
        /// Who.
        by: String,
    },
    /// The wall clock was stepped by this many milliseconds.
    ClockStepped(i64),
    /// Time passed.
    Tick,
}

/// What the event leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Readings to journal.
    pub batches: Vec<Batch>,
    /// Transitions to journal and to tell.
    pub transitions: Vec<Transition>,
    /// Rule states that changed.
    pub states: Vec<(String, RuleState)>,
    /// Why a person's act was refused.
    pub refused: Option<String>,
}

/// The pure middle of the gateway.
pub struct Core {
    catalog: std::sync::Arc<Catalog>,
    /// By device number; with the end of the calibration's validity.
    normalizers: Vec<Option<(Normalizer, Option<Timestamp>)>>,
    derived: Derived,
    engine: Engine,
}

impl Core {
    /// A core for these documents.
    pub fn new(_site: &Site) -> Self {
        todo!()
    }
    /// Takes rule states of an earlier run; `last` is the time of its last commit (`None`: unknown, counts as a long gap).
    pub fn restore(&mut self, _states: Vec<(String, RuleState)>, _last: Option<Timestamp>, _now: Timestamp) {
        todo!()
    }
    /// Fires every timer due by `now` in order of (due, rule), then takes the event.
    pub fn apply(&mut self, _event: Event, _now: Timestamp, _clock_trusted: bool) -> Effects {
        todo!()
    }
    /// When the next timer is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        todo!()
    }
    /// Alarms that are not closed.
    pub fn alarms(&self) -> Vec<crate::alarm::Alarm> {
        todo!()
    }
}
