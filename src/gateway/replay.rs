//! Recorded readings through the same core, with their own time.
//!
//! In: batches in the order in which they came, each with the core's time of then. Out: the transitions of the rules.
//! Invariant: pure; the same batches give the same transitions, whatever the clock of the box says.
//! Source: DESIGN section 3: `now` is an argument of the core.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::alarm::{Condition, Transition};
use crate::clock::Timestamp;
use crate::gateway::core::{Core, Event};
use crate::point::{DeviceId, PointId};
use crate::reading::{Batch, Reading, Reason, Sample};
use crate::site::Site;

/// A core that lives in recorded time.
pub struct Replay {
    core: Core,
    site: Site,
    /// Points that the core computes by itself: their recorded readings are left out.
    derived: BTreeSet<PointId>,
    now: Option<Timestamp>,
    transitions: Vec<Transition>,
}

impl Replay {
    /// A core at rest for this site. With `fed`, only rules stay that these points reach, by themselves or through derived points: a device that was not recorded
    /// is not silent.
    pub fn new(mut site: Site, fed: Option<&BTreeSet<PointId>>) -> Self {
        if let Some(fed) = fed {
            let reached = reached(&site, fed);
            site.rules.retain(|rule| {
                let mut points = rule.points().iter();
                match rule.condition {
                    Condition::Stale { .. } => points.any(|point| reached.contains(point)),
                    Condition::Threshold { .. } | Condition::Measured { .. } => {
                        points.all(|point| reached.contains(point))
                    }
                }
            });
        }
        let flood = site.catalog.find("gateway.flood").map(|point| point.id);
        let derived = site.derived.iter().map(|derived| derived.point).chain(flood).collect();
        Self { core: Core::new(&site), site, derived, now: None, transitions: Vec::new() }
    }

    /// The site whose rules are at work.
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// The core's time; silence is counted from the first.
    pub fn at(&mut self, now: Timestamp) {
        if self.now.is_none() {
            self.core.restore(Vec::new(), None, now);
        }
        self.apply(Event::Tick, now);
    }

    /// What one device said in one poll.
    pub fn batch(&mut self, mut batch: Batch, now: Timestamp) {
        batch.readings.retain(|reading| !self.derived.contains(&reading.point));
        self.at(now);
        if !batch.readings.is_empty() {
            self.apply(Event::Read(batch), now);
        }
    }

    /// Readings of one time, in canonical units, device by device.
    pub fn readings(&mut self, at: Timestamp, readings: &[Reading]) {
        let catalog = Arc::clone(&self.site.catalog);
        let device = |reading: &Reading| catalog.point(reading.point).map(|point| point.device);
        let devices: BTreeSet<DeviceId> = readings.iter().filter_map(device).collect();
        for id in devices {
            let own = readings.iter().filter(|reading| device(reading) == Some(id));
            let readings: Vec<Reading> = own.map(|reading| self.in_range(reading)).collect();
            self.batch(Batch { device: id, start: at, end: at, readings }, at);
        }
    }

    /// What a person did.
    pub fn act(&mut self, act: Event, now: Timestamp) {
        self.at(now);
        self.apply(act, now);
    }

    /// The gateway was started anew: alarms and delays as after a restart, silence counted from `now`.
    pub fn restart(&mut self, now: Timestamp) {
        match self.now {
            Some(last) => self.core.restarted(last, now),
            None => self.core.restore(Vec::new(), None, now),
        }
        self.now = Some(now);
    }

    /// Takes the transitions since the last call.
    pub fn drain(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions)
    }

    fn apply(&mut self, event: Event, now: Timestamp) {
        // The core's time never goes back but by a step of the clock, which is an event of its own.
        let now = self.now.map_or(now, |last| last.max(now));
        self.now = Some(now);
        self.transitions.append(&mut self.core.apply(event, now, true).transitions);
    }

    /// A number that the sensor's profile excludes is none.
    fn in_range(&self, reading: &Reading) -> Reading {
        let Sample::Good(value) = reading.sample else { return reading.clone() };
        let range = self.site.devices.iter().find_map(|device| {
            let at = device.points.iter().position(|point| *point == Some(reading.point))?;
            let field = device.profile.fields.get(at)?;
            let (low, high) = field.range?;
            let own = self.site.catalog.point(reading.point)?.unit;
            let (factor, offset) =
                field.unit.zip(own).and_then(|(from, to)| from.to(to)).unwrap_or((1.0, 0.0));
            let tolerance = field.tolerance * factor;
            Some((low * factor + offset - tolerance, high * factor + offset + tolerance))
        });
        let outside = range.is_some_and(|(low, high)| value < low || high < value);
        if outside {
            Reading { sample: Sample::Bad(Reason::OutOfRange), ..reading.clone() }
        } else {
            reading.clone()
        }
    }
}

/// The points that are fed, and what is derived of nothing but them.
fn reached(site: &Site, fed: &BTreeSet<PointId>) -> BTreeSet<PointId> {
    let mut reached = fed.clone();
    loop {
        let more = site.derived.iter().filter(|derived| {
            !reached.contains(&derived.point)
                && derived.inputs.iter().all(|(_, input)| reached.contains(input))
        });
        let more: Vec<PointId> = more.map(|derived| derived.point).collect();
        if more.is_empty() {
            return reached;
        }
        reached.extend(more);
    }
}
