//! What a core is asked: alarms, overlays, risk points, work, and the maintenance of a sensor.
//!
//! In: a question. Out: an answer of this moment.
//! Invariant: only [`Core::act`] changes anything.

use std::collections::{BTreeMap, BTreeSet};

use crate::alarm::condition::Judged;
use crate::alarm::condition::measure::Measure;
use crate::alarm::desk::{Act, Maintenance};
use crate::alarm::lifecycle::Refusal;
use crate::alarm::overlay::Overlay;
use crate::alarm::{Alarm, Condition, RuleState, load};
use crate::clock::Timestamp;
use crate::gateway::core::Core;
use crate::gateway::vigil::{Sources, Stand, Surroundings};
use crate::point::DeviceId;
use crate::risk::joint::Joint;
use crate::risk::state::{self, State};
use crate::risk::work::Work;
use crate::site::Site;

impl Core {
    /// Alarms that are not closed.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.engine.alarms()
    }

    /// What rules with an open alarm made of their readings last, by rule name.
    pub fn judged(&self) -> BTreeMap<String, Judged> {
        self.engine.judged()
    }

    /// What lies over rules, by rule name.
    pub fn overlays(&self) -> BTreeMap<String, Overlay> {
        let states = self.engine.states().into_iter().map(|(rule, state)| (rule, state.overlay));
        states.filter(|(_, overlay)| !overlay.is_empty()).collect()
    }

    /// What decides who hears of a sensor; `proved`: when a notice was last proved to get out.
    pub fn surroundings(&self, proved: Option<Timestamp>) -> Surroundings {
        let told = |at| self.vigil.zone().tell(at);
        let mut around = Surroundings { proved, ..Surroundings::default() };
        for (rule, overlay) in self.overlays() {
            if let Some(permit) = &overlay.permit {
                if let Some(sensor) = permit.maintained() {
                    let why = format!("{}: {}", permit.who(), permit.reason.as_deref().unwrap_or_default());
                    around.maintenance.insert(sensor.to_owned(), (why, permit.to));
                }
                let why = format!("{rule} is out of service until {} ({})", told(permit.to), permit.number);
                around.hidden.insert(rule, why);
            } else if let Some(shelf) = &overlay.shelf {
                let why = format!(
                    "{rule} is shelved until {} by {}: {}",
                    told(shelf.until),
                    shelf.by,
                    shelf.reason
                );
                around.hidden.insert(rule, why);
            }
        }
        around
    }

    /// Does what a person wants; why not, in words.
    pub(super) fn act(
        &mut self,
        target: &str,
        act: Act,
        (by, note): (&str, Option<&str>),
        now: Timestamp,
    ) -> Result<(), String> {
        let work = match &act {
            Act::Maintain { span, role, substitute } => {
                Some(Maintenance { to: now.plus(*span), role, substitute: substitute.as_deref() })
            }
            Act::Maintained => None,
            _ => {
                let done = self.engine.act(target, act, by, note, now);
                return done.map_err(|refusal| refusal.to_string());
            }
        };
        let rules = self.looks.get(target).ok_or_else(|| Refusal::NoSuchSensor.to_string())?;
        let reds = self.engine.reds((target, rules)).join(", ");
        self.engine.maintain((target, rules), work, (by, note), now).map_err(|refusal| match refusal {
            Refusal::HidesRed => format!("{reds}: {refusal}"),
            _ => refusal.to_string(),
        })
    }

    /// How many alarms reach a person.
    pub fn load(&self, now: Timestamp) -> load::Figures {
        self.engine.load().figures(now)
    }

    /// The devices that are to be polled denser.
    pub const fn dense(&self) -> &BTreeSet<DeviceId> {
        self.attention.dense()
    }

    /// How every risk point stands.
    pub fn stands(&self, around: &Surroundings, now: Timestamp) -> Vec<Stand> {
        self.vigil.standings(around, now)
    }

    /// The state of each of these risk points: its colour, and what ails its sensors.
    pub fn conditions(&self, stands: &[Stand]) -> Vec<State> {
        let points = stands.iter().map(|(point, standing)| (point.as_ref(), standing));
        state::states(points, &self.engine.alarms(), &Joint::default())
    }

    /// What somebody has to do by a date.
    pub fn work(&self, around: &Surroundings, now: Timestamp) -> Vec<Work> {
        self.vigil.work(around, now)
    }

    /// The state of every rule.
    pub fn states(&self) -> Vec<(String, RuleState)> {
        self.engine.states()
    }
}

/// The rules that look at each polled device, at what is derived of it too. A vote of several devices looks on without one of them.
pub(super) fn looks(site: &Site) -> BTreeMap<String, Vec<String>> {
    let sources = Sources::of(site);
    let mut looks: BTreeMap<DeviceId, Vec<String>> =
        site.devices.iter().map(|device| (device.id, Vec::new())).collect();
    for rule in &site.rules {
        for device in sources.behind(rule.point) {
            let votes = match &rule.condition {
                Condition::Measured { measured, inputs } => {
                    matches!(measured.measure, Measure::Votes { .. })
                        && !inputs.iter().all(|input| sources.owns(*device, *input))
                }
                Condition::Threshold { .. } | Condition::Stale { .. } => false,
            };
            if let Some(rules) = looks.get_mut(device).filter(|_| !votes) {
                rules.push(rule.name.clone());
            }
        }
    }
    let named = |(device, rules)| Some((site.catalog.device(device)?.name.clone(), rules));
    looks.into_iter().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::Rule;
    use crate::point::PointId;
    use crate::site;

    /// What [`looks`] is, device by device.
    fn each(site: &Site) -> BTreeMap<String, Vec<String>> {
        let of = |device: &site::DeviceSpec| {
            let own: BTreeSet<PointId> = device.points.iter().flatten().copied().collect();
            let looks = |rule: &&Rule| {
                let mut derived = site.derived.iter().filter(|derived| derived.point == rule.point);
                let derived =
                    derived.any(|derived| derived.inputs.iter().any(|(_, input)| own.contains(input)));
                let votes = match &rule.condition {
                    Condition::Measured { measured, inputs } => {
                        matches!(measured.measure, Measure::Votes { .. })
                            && !inputs.iter().all(|input| own.contains(input))
                    }
                    Condition::Threshold { .. } | Condition::Stale { .. } => false,
                };
                (own.contains(&rule.point) || derived) && !votes
            };
            site.rules.iter().filter(looks).map(|rule| rule.name.clone()).collect()
        };
        let named =
            |device: &site::DeviceSpec| Some((site.catalog.device(device.id)?.name.clone(), of(device)));
        site.devices.iter().filter_map(named).collect()
    }

    #[test]
    fn one_pass_over_the_rules_finds_what_each_device_would() {
        let options = site::Options {
            site: "devices".into(),
            profiles: Some("firmware-profiles".into()),
            now: Timestamp::from_millis(1_790_000_000_000),
            ..site::Options::default()
        };
        let site = site::load(&options).0.unwrap();
        let found = looks(&site);
        assert_eq!(found, each(&site));
        assert!(found.values().any(|rules| 1 < rules.len()), "{found:?}");
    }
}
