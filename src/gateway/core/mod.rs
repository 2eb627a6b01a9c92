//! The core: `apply(event, now) -> effects`, pure.
//!
//! In: one [`Event`] and the time. Out: [`Effects`]: what to journal, what to tell, why a person was refused.
//! Invariant: every timer due by `now` fires before the event, in order of (due, rule); the same events give the same effects.
//! Source: DESIGN section 3.

mod asked;
mod reload;
mod restart;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::alarm::desk::Act;
use crate::alarm::engine::Engine;
use crate::alarm::{RuleState, Severity, Transition};
use crate::clock::Timestamp;
use crate::decode::RawBatch;
use crate::derive::Derived;
use crate::gateway::attention::Attention;
use crate::gateway::times::Times;
use crate::gateway::vigil::Vigil;
use crate::normalize::{Normalizer, Steps};
use crate::point::{Catalog, DeviceId, PointId};
use crate::reading::{Batch, Reading, Sample};
use crate::site::{DeviceSpec, Site};

/// All that can happen to the core. A closed list.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A device was polled.
    Polled(RawBatch),
    /// From now on the polls of a device are read as its model at this version, or at an unknown one.
    Identified {
        /// Which device.
        device: DeviceId,
        /// Its firmware's version.
        version: Option<String>,
    },
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
    /// A person does something else to an alarm or a rule.
    Act {
        /// Alarm id or name of a rule.
        target: String,
        /// What.
        act: Act,
        /// Who.
        by: String,
        /// Why.
        note: Option<String>,
    },
    /// Other documents hold from now on. Names are the identity: alarms, delays, silences, windows and what was told go on under them, and what is gone
    /// closes. The firmware of devices is to be told anew, [`Event::Identified`], before their next poll.
    Reloaded(Arc<Site>),
    /// The wall clock was stepped by this many milliseconds; `now` is already the new time.
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
    /// The devices to be polled denser from now on, when they are others than before.
    pub dense: Option<BTreeSet<DeviceId>>,
}

/// The pure middle of the gateway.
pub struct Core {
    catalog: Arc<Catalog>,
    devices: BTreeMap<DeviceId, Polled>,
    derived: Derived,
    engine: Engine,
    attention: Attention,
    vigil: Vigil,
    times: Times,
    /// The rules that look at a polled device, by its name.
    looks: BTreeMap<String, Vec<String>>,
    /// The gateway's point that says whether there is a flood, and its device.
    flood_point: Option<(PointId, DeviceId)>,
    /// What that point said last.
    flood: bool,
    /// When that was told last: its point's time never goes back.
    flood_told: Option<Timestamp>,
}

/// What turns raw numbers of a device into readings.
struct Polled {
    spec: DeviceSpec,
    normalizer: Normalizer,
}

impl Core {
    /// A core for these documents.
    pub fn new(site: &Site) -> Self {
        let mut kinds = HashMap::new();
        let device = |device: &DeviceSpec| {
            let steps =
                kinds.entry(Arc::as_ptr(&device.profile)).or_insert_with(|| Steps::new(&device.profile));
            let normalizer = Normalizer::of(device.id, steps.clone(), &device.points);
            (device.id, Polled { spec: device.clone(), normalizer })
        };
        Self {
            catalog: Arc::clone(&site.catalog),
            devices: site.devices.iter().map(device).collect(),
            derived: Derived::new(site.derived.clone(), &site.catalog),
            engine: Engine::new(&site.catalog.site, site.rules.clone(), &site.catalog),
            attention: Attention::new(site),
            vigil: Vigil::new(site),
            times: Times::default(),
            looks: asked::looks(site),
            flood_point: site.catalog.find("gateway.flood").map(|point| (point.id, point.device)),
            flood: false,
            flood_told: None,
        }
    }

    /// Fires every timer due by `now` in order of (due, rule), then takes the event. A step of the clock is taken before the timers, so that none fires for
    /// time that never passed.
    pub fn apply(&mut self, event: Event, now: Timestamp, clock_trusted: bool) -> Effects {
        if let Event::ClockStepped(by_ms) = event {
            self.engine.shifted(by_ms);
            self.vigil.shifted(by_ms);
            self.times.stepped(by_ms);
        }
        self.times.trusted = clock_trusted;
        self.engine.tick(now);
        let mut effects = Effects::default();
        // A flood begins with the reading that brings it: what is recorded tells no other time.
        let heard = match &event {
            Event::Polled(raw) => raw.end.min(now),
            Event::Read(batch) => batch.end.min(now),
            _ => now,
        };
        let done = match event {
            Event::Polled(raw) => {
                effects.batches = self.polled(&raw, now, clock_trusted);
                Ok(())
            }
            Event::Identified { device, version } => {
                self.identified(device, version.as_deref());
                Ok(())
            }
            Event::Read(batch) => {
                effects.batches = self.read(batch, now);
                Ok(())
            }
            Event::Acknowledge { id, seen, by, note } => {
                self.engine.ack(&id, seen, &by, note.as_deref(), now).map_err(|refusal| refusal.to_string())
            }
            Event::Reloaded(site) => {
                self.reloaded(&site, now);
                effects.dense = Some(BTreeSet::new());
                Ok(())
            }
            Event::Act { target, act, by, note } => self.act(&target, act, (&by, note.as_deref()), now),
            Event::ClockStepped(_) | Event::Tick => Ok(()),
        };
        effects.batches.extend(self.flood(heard, now));
        effects.refused = done.err();
        effects.transitions = self.engine.drain();
        effects.states = self.engine.dirty();
        effects.transitions.iter().for_each(|transition| self.attention.alarm(&transition.alarm));
        if self.attention.changed() || effects.dense.is_some() {
            effects.dense = Some(self.attention.dense().clone());
        }
        effects
    }

    /// When the next timer is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.engine.next_due()
    }

    /// The part that watches risk points.
    pub const fn vigil(&mut self) -> &mut Vigil {
        &mut self.vigil
    }

    /// A reading of the flood's own point when a flood begins or ends.
    fn flood(&mut self, heard: Timestamp, now: Timestamp) -> Vec<Batch> {
        let is = self.engine.load().flood().is_some();
        let Some((point, device)) = self.flood_point.filter(|_| is != self.flood) else { return Vec::new() };
        self.flood = is;
        let at = self.flood_told.map_or(heard, |told| heard.max(told.plus(Duration::from_millis(1))));
        self.flood_told = Some(at);
        let sample = Sample::Good(f64::from(u8::from(is)));
        let readings = vec![Reading { point, at, sample }];
        self.read(Batch { device, start: at, end: at, readings }, now)
    }

    /// Readings of one poll; none for a device that these documents do not have.
    fn polled(&mut self, raw: &RawBatch, now: Timestamp, clock_trusted: bool) -> Vec<Batch> {
        let Some(device) = self.devices.get(&raw.device) else { return Vec::new() };
        let overdue = device.spec.calibration_due.is_some_and(|due| due <= now);
        let batch = device.normalizer.normalize(raw, overdue, !clock_trusted);
        self.vigil.polled(&batch);
        self.read(batch, now)
    }

    /// Another version of a device's model from the next poll on; a version that the model can't read counts as unknown.
    fn identified(&mut self, device: DeviceId, version: Option<&str>) {
        let Some(device) = self.devices.get_mut(&device) else { return };
        let spec = &device.spec;
        let at = spec.firmware.apply(&spec.profile, version);
        if let Ok(profile) = at.or_else(|_| spec.firmware.apply(&spec.profile, None)) {
            // What this version lacks is never polled, so its points say that; all others are read as this version has them.
            device.normalizer = Normalizer::new(spec.id, &profile, &spec.points);
        }
    }

    /// Adds what is derived from the batch, and asks the rules.
    fn read(&mut self, mut batch: Batch, now: Timestamp) -> Vec<Batch> {
        self.times.keep(&mut batch.readings);
        let mut derived = self.derived.apply(&batch, now);
        self.times.keep(&mut derived);
        let batches = gather(batch, derived, &self.catalog);
        for reading in batches.iter().flat_map(|batch| &batch.readings) {
            self.engine.reading(reading, now);
            self.attention.reading(reading);
        }
        batches
    }
}

/// The batch and what was derived from it, one batch for each device, in the order in which they came.
fn gather(batch: Batch, derived: Vec<Reading>, catalog: &Catalog) -> Vec<Batch> {
    let (device, start, end) = (batch.device, batch.start, batch.end);
    let mut batches = vec![batch];
    for reading in derived {
        let home = catalog.point(reading.point).map_or(device, |point| point.device);
        match batches.iter_mut().find(|batch| batch.device == home) {
            Some(batch) => batch.readings.push(reading),
            None => batches.push(Batch { device: home, start, end, readings: vec![reading] }),
        }
    }
    batches
}

#[cfg(test)]
mod tests;
