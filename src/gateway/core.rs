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
    pub fn new(site: &Site) -> Self {
        let mut normalizers: Vec<_> = site.catalog.devices.iter().map(|_| None).collect();
        for device in &site.devices {
            if let Some(slot) = normalizers.get_mut(place(device.id)) {
                let normalizer = Normalizer::new(device.id, &device.profile, &device.points);
                *slot = Some((normalizer, device.calibration_due));
            }
        }
        Self {
            catalog: std::sync::Arc::clone(&site.catalog),
            normalizers,
            derived: Derived::new(site.derived.clone(), &site.catalog),
            engine: Engine::new(&site.catalog.site, site.rules.clone(), &site.catalog),
        }
    }

    /// Takes rule states of an earlier run; `last` is the time of its last commit (`None`: unknown, counts as a long gap).
    pub fn restore(&mut self, states: Vec<(String, RuleState)>, last: Option<Timestamp>, now: Timestamp) {
        self.engine.restore(states, last, now);
    }

    /// Fires every timer due by `now` in order of (due, rule), then takes the event.
    pub fn apply(&mut self, event: Event, now: Timestamp, clock_trusted: bool) -> Effects {
        let mut effects = Effects::default();
        if let Event::ClockStepped(by_ms) = event {
            self.engine.shifted(by_ms);
        }
        self.engine.tick(now);
        let acted = match event {
            Event::Polled(raw) => {
                let known = self.normalizers.get(place(raw.device)).and_then(Option::as_ref);
                if let Some((normalizer, due)) = known {
                    let overdue = due.is_some_and(|due| due < now);
                    effects.batches.push(normalizer.normalize(&raw, overdue, !clock_trusted));
                }
                Ok(())
            }
            Event::Read(batch) => {
                effects.batches.push(batch);
                Ok(())
            }
            Event::Acknowledge { id, seen, by, note } => {
                self.engine.ack(&id, seen, &by, note.as_deref(), now)
            }
            Event::Reset { id, by } => self.engine.reset(&id, &by, now),
            Event::ClockStepped(_) | Event::Tick => Ok(()),
        };
        effects.refused = acted.err();
        self.derive(&mut effects.batches, now);
        for reading in effects.batches.iter().flat_map(|batch| &batch.readings) {
            self.engine.reading(reading, now);
        }
        effects.transitions = self.engine.drain();
        effects.states = self.engine.dirty();
        effects
    }

    /// Appends the derived readings, as batches of the devices that their points belong to.
    fn derive(&mut self, batches: &mut Vec<Batch>, now: Timestamp) {
        let mut made: BTreeMap<DeviceId, Batch> = BTreeMap::new();
        for batch in batches.iter() {
            for reading in self.derived.apply(batch, now) {
                let Some(point) = self.catalog.point(reading.point) else { continue };
                let empty = || Batch {
                    device: point.device,
                    start: batch.start,
                    end: batch.end,
                    readings: Vec::new(),
                };
                made.entry(point.device).or_insert_with(empty).readings.push(reading);
            }
        }
        batches.extend(made.into_values());
    }

    /// When the next timer is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.engine.next_due()
    }

    /// Alarms that are not closed.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.engine.alarms()
    }
}

fn place(device: DeviceId) -> usize {
    usize::try_from(device.0).unwrap_or(usize::MAX)
}
