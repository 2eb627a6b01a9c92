//! Which devices are worth a denser look: a rule on one of their points is active, or its value is near a threshold.
//!
//! In: readings, alarms as they change. Out: the set of devices with `every_in_alarm` that are polled denser.
//! Invariant: pure; a reading without a number moves nothing. Near is within a tenth of the nearest threshold, or within one deadband of it.
//! A rule on a derived point counts for the devices that the point is computed from.

use std::collections::{BTreeMap, BTreeSet};

use crate::alarm::{Alarm, Condition, Direction, Kind};
use crate::point::{DeviceId, PointId};
use crate::reading::Reading;
use crate::site::Site;

/// A share of a threshold that is near it.
const NEAR: f64 = 0.1;

/// One rule that asks for a denser look.
#[derive(Clone, Debug)]
struct Look {
    direction: Direction,
    thresholds: Vec<f64>,
    deadband: f64,
    devices: Vec<DeviceId>,
    active: bool,
    near: bool,
}

/// The rules on points of devices with a denser period.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attention {
    looks: Vec<Look>,
    by_point: BTreeMap<PointId, Vec<usize>>,
    by_rule: BTreeMap<String, usize>,
    dense: BTreeSet<DeviceId>,
}

impl Attention {
    pub(crate) fn new(site: &Site) -> Self {
        let mut attention = Self::default();
        let mut owners: BTreeMap<PointId, BTreeSet<DeviceId>> = BTreeMap::new();
        for device in site.devices.iter().filter(|device| device.every_in_alarm.is_some()) {
            for point in device.points.iter().flatten() {
                owners.entry(*point).or_default().insert(device.id);
            }
        }
        // A derived point may be computed from another; they stand in any order.
        for _ in 0..site.derived.len() {
            let before = owners.len();
            for derived in &site.derived {
                let from = |(_, input): &(String, PointId)| owners.get(input).cloned().unwrap_or_default();
                let devices: BTreeSet<DeviceId> = derived.inputs.iter().flat_map(from).collect();
                if !devices.is_empty() {
                    owners.entry(derived.point).or_default().extend(devices);
                }
            }
            if owners.len() == before {
                break;
            }
        }
        for rule in &site.rules {
            // A measure's threshold is no threshold of its inputs: nothing is near it, and it counts while it is active.
            let (direction, levels, deadband) = match (&rule.condition, rule.kind) {
                (Condition::Threshold { direction, levels, deadband, .. }, Kind::Process) => {
                    (direction, levels.as_slice(), deadband)
                }
                (Condition::Measured { measured, .. }, Kind::Process) => {
                    (&measured.direction, &[][..], &measured.deadband)
                }
                _ => continue,
            };
            let of = |point: &PointId| owners.get(point).into_iter().flatten().copied();
            let devices: BTreeSet<DeviceId> = rule.points().iter().flat_map(of).collect();
            if devices.is_empty() {
                continue;
            }
            let number = attention.looks.len();
            attention.by_point.entry(rule.point).or_default().push(number);
            attention.by_rule.insert(rule.name.clone(), number);
            attention.looks.push(Look {
                direction: *direction,
                thresholds: levels.iter().map(|level| level.threshold).collect(),
                deadband: *deadband,
                devices: devices.iter().copied().collect(),
                active: false,
                near: false,
            });
        }
        attention
    }

    /// Goes on for `old` after other documents: what was near a threshold that is still there is near it.
    pub(crate) fn succeed(&mut self, old: &Self) {
        for (rule, number) in &self.by_rule {
            let before = old.by_rule.get(rule).and_then(|number| old.looks.get(*number));
            let Some((look, before)) = self.looks.get_mut(*number).zip(before) else { continue };
            let same = look.direction == before.direction && look.thresholds == before.thresholds;
            look.near = same && before.near;
        }
    }

    /// Takes a reading.
    pub(crate) fn reading(&mut self, reading: &Reading) {
        let Some(value) = reading.sample.value() else { return };
        let Some(looks) = self.by_point.get(&reading.point) else { return };
        for number in looks {
            if let Some(look) = self.looks.get_mut(*number) {
                look.near = look.is_near(value);
            }
        }
    }

    /// Takes an alarm as it is now.
    pub(crate) fn alarm(&mut self, alarm: &Alarm) {
        let look = self.by_rule.get(&alarm.rule).and_then(|number| self.looks.get_mut(*number));
        if let Some(look) = look {
            look.active = alarm.state.is_active();
        }
    }

    /// Whether the set is another one than at the last call.
    pub(crate) fn changed(&mut self) -> bool {
        if self.looks.is_empty() {
            return false;
        }
        let wanted = self.looks.iter().filter(|look| look.active || look.near);
        let dense: BTreeSet<DeviceId> = wanted.flat_map(|look| look.devices.iter().copied()).collect();
        let changed = dense != self.dense;
        self.dense = dense;
        changed
    }

    /// The devices that are polled denser.
    pub(crate) const fn dense(&self) -> &BTreeSet<DeviceId> {
        &self.dense
    }
}

impl Look {
    fn is_near(&self, value: f64) -> bool {
        self.thresholds.iter().any(|threshold| {
            let margin = (threshold.abs() * NEAR).max(self.deadband);
            match self.direction {
                Direction::Above => value >= threshold - margin,
                Direction::Below => value <= threshold + margin,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_a_tenth_of_the_threshold_or_one_deadband() {
        let look = |direction, deadband| Look {
            direction,
            thresholds: vec![10.0, 20.0],
            deadband,
            devices: vec![],
            active: false,
            near: false,
        };
        let near = |look: &Look, values: [f64; 4]| values.map(|value| look.is_near(value));
        let above = look(Direction::Above, 0.5);
        assert_eq!(near(&above, [8.9, 9.0, 15.0, 30.0]), [false, true, true, true]);
        assert_eq!(near(&look(Direction::Above, 4.0), [5.9, 6.0, 15.0, -30.0]), [false, true, true, false]);
        assert_eq!(near(&look(Direction::Below, 0.5), [22.1, 22.0, 15.0, -1.0]), [false, true, true, true]);
        let zero = Look { thresholds: vec![0.0], ..look(Direction::Below, 0.2) };
        assert_eq!(near(&zero, [0.3, 0.2, 0.1, -5.0]), [false, true, true, true]);
    }
}
