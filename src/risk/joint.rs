//! Joint judgement (联合研判): several hazards near each other at the same time are more than each alone.
//!
//! In: the process alarms that hold, with their places. Out: a [`Proposal`] of one grade more for a point; a person decides.
//! Invariant: nothing is raised by itself; the same alarms give the same proposals in any order.
//! Source: the district's plan asks for joint judgement on major change; distance, time and grades are ours until a rule of the district gives others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::alarm::{Alarm, Severity};
use crate::clock::Timestamp;
use crate::risk::RiskPoint;
use crate::risk::datum::{self, Wgs84};

/// What counts as together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Joint {
    /// Places not farther apart.
    pub within_m: f64,
    /// Raised not farther apart.
    pub within: Duration,
    /// Alarms of at least this severity.
    pub from: Severity,
    /// Rain of at least this severity together with any movement of the same slope.
    pub rain_from: Severity,
}

impl Default for Joint {
    fn default() -> Self {
        Self {
            within_m: 500.0,
            within: Duration::from_secs(1800),
            from: Severity::Orange,
            rain_from: Severity::Yellow,
        }
    }
}

/// A process alarm that holds, at its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    /// The number of its point.
    pub index: usize,
    /// Code of the point.
    pub code: String,
    /// Id of the alarm: a sensor that serves several points gives each of them the same one.
    pub alarm: String,
    /// Hazard class of the point.
    pub hazard: String,
    /// Class of the sensor; empty when it is not known.
    pub class: String,
    /// Where, when that is known.
    pub place: Option<Wgs84>,
    /// How bad.
    pub severity: Severity,
    /// Since when.
    pub since: Timestamp,
    /// The rule.
    pub rule: String,
}

impl Heat {
    /// An alarm at a point.
    pub fn of(index: usize, point: &RiskPoint, alarm: &Alarm) -> Self {
        Self {
            index,
            code: point.code.clone(),
            alarm: alarm.id.clone(),
            hazard: point.class.clone(),
            class: alarm.guide.class.clone(),
            place: point.place.as_ref().and_then(|place| datum::wgs84(place).ok()),
            severity: alarm.severity,
            since: alarm.since,
            rule: alarm.rule.clone(),
        }
    }
}

/// A higher colour to be confirmed by a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// One above the worst of those that speak for it, red at most.
    pub severity: Severity,
    /// `CODE rule` of each.
    ///
    /// [`NAMED_MAX`] at most.
    pub with: Vec<String>,
}

impl Proposal {
    /// Both in one: the higher severity, and the alarms of both.
    #[must_use]
    pub fn with(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        let with: BTreeSet<String> = self.with.into_iter().chain(other.with).collect();
        let severity = self.severity.max(other.severity);
        Self { severity, with: with.into_iter().take(NAMED_MAX).collect() }
    }
}

/// Hazard class of slopes.
const SLOPE: &str = "landslide";

/// Of more alarms than these only the worst are compared, so that a storm of them can't hold up the gateway.
const COMPARED_MAX: usize = 2000;
/// A proposal names no more alarms than these.
pub const NAMED_MAX: usize = 16;

/// A proposal in the making: its severity, and the numbers of the alarms that speak for it.
#[derive(Clone, Debug)]
struct Draft {
    severity: Severity,
    with: BTreeSet<usize>,
}

impl Draft {
    /// Another alarm can add nothing to it.
    fn is_full(&self) -> bool {
        self.severity == Severity::Red && NAMED_MAX <= self.with.len()
    }
}

/// The proposals by number of the point.
pub fn proposals(heats: &[Heat], joint: &Joint) -> BTreeMap<usize, Proposal> {
    let order = ordered(heats, joint);
    let reach = joint.within_m / 111_000.0;
    let mut found: BTreeMap<usize, Draft> = BTreeMap::new();
    for (number, one) in order.iter().enumerate() {
        let reach_east = one.place.map_or(0.0, |place| 1.01 * reach / place.lat.to_radians().cos().max(1e-6));
        let mut one_full = found.get(&one.index).is_some_and(Draft::is_full);
        for (other_number, other) in order.iter().enumerate().skip(number + 1) {
            let far = match one.place {
                Some(_) => latitude(other) - latitude(one) > reach,
                None => other.index != one.index,
            };
            if far {
                break;
            }
            // What is cheap to tell first: in a storm most pairs end here.
            let beside = one.place.zip(other.place).is_some_and(|(a, b)| {
                let east = (a.lon - b.lon).abs();
                reach_east < east.min(360.0 - east)
            });
            let full = || one_full && found.get(&other.index).is_some_and(Draft::is_full);
            if beside || full() || !together(one, other, joint) {
                continue;
            }
            let severity = higher(one.severity.max(other.severity));
            for index in [one.index, other.index] {
                let draft = found.entry(index).or_insert(Draft { severity, with: BTreeSet::new() });
                draft.severity = draft.severity.max(severity);
                for speaks in [number, other_number] {
                    if draft.with.len() < NAMED_MAX {
                        draft.with.insert(speaks);
                    }
                }
            }
            one_full = found.get(&one.index).is_some_and(Draft::is_full);
        }
    }
    let named = |draft: Draft| {
        let heats = draft.with.iter().filter_map(|number| order.get(*number));
        let with: BTreeSet<String> = heats.map(|heat| format!("{} {}", heat.code, heat.rule)).collect();
        Proposal { severity: draft.severity, with: with.into_iter().collect() }
    };
    found.into_iter().map(|(index, draft)| (index, named(draft))).collect()
}

/// Adds what the rules of a point itself propose: `heats` are the alarms that hold at it.
pub fn propose(point: &RiskPoint, heats: &[&Heat], proposal: &mut Option<Proposal>) {
    for rule in &point.joint {
        let speaks = |class: &String| -> Vec<&&Heat> {
            heats.iter().filter(|heat| heat.class == *class && rule.from <= heat.severity).collect()
        };
        let found: Vec<Vec<&&Heat>> = rule.of.iter().map(speaks).collect();
        if found.is_empty() || found.iter().any(Vec::is_empty) {
            continue;
        }
        let names = found.iter().flatten().map(|heat| format!("{} {}", heat.code, heat.rule));
        let own = Proposal { severity: rule.propose, with: names.collect() };
        *proposal = Some(own.with(proposal.take()));
    }
}

/// Those that can speak for a proposal, from south to north, so that only those of nearly the same latitude are compared.
fn ordered<'a>(heats: &'a [Heat], joint: &Joint) -> Vec<&'a Heat> {
    let speaks = |heat: &&Heat| joint.from <= heat.severity || heat.hazard == SLOPE;
    let mut order: Vec<&Heat> = heats.iter().filter(speaks).collect();
    let name = |heat: &'a Heat| (&heat.code, &heat.rule, &heat.alarm);
    order.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| name(a).cmp(&name(b))));
    order.truncate(COMPARED_MAX);
    order.sort_by(|a, b| latitude(a).total_cmp(&latitude(b)).then_with(|| name(a).cmp(&name(b))));
    order
}

fn latitude(heat: &Heat) -> f64 {
    heat.place.map_or(f64::NEG_INFINITY, |place| place.lat)
}

fn together(one: &Heat, other: &Heat, joint: &Joint) -> bool {
    if one.alarm == other.alarm {
        return false;
    }
    let apart = one.since.since(other.since).max(other.since.since(one.since));
    if apart > joint.within {
        return false;
    }
    let both = |from: Severity| one.severity >= from && other.severity >= from;
    if one.index == other.index {
        let rain = |heat: &Heat| heat.class == "rain" && heat.severity >= joint.rain_from;
        let moves = |heat: &Heat| heat.hazard == SLOPE && heat.class != "rain";
        let slope = (rain(one) && moves(other)) || (rain(other) && moves(one));
        return slope || (both(joint.from) && one.class != other.class);
    }
    if one.hazard == other.hazard || !both(joint.from) {
        return false;
    }
    one.place.zip(other.place).is_some_and(|(a, b)| datum::metres(a, b) <= joint.within_m)
}

const fn higher(severity: Severity) -> Severity {
    match severity {
        Severity::Blue => Severity::Yellow,
        Severity::Yellow => Severity::Orange,
        Severity::Orange | Severity::Red => Severity::Red,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heat(index: usize, hazard: &str, class: &str, north_m: f64, severity: Severity, minute: i64) -> Heat {
        let place = Wgs84 { lon: 106.5, lat: 29.5 + north_m / 111_195.0, within_m: None };
        Heat {
            index,
            code: format!("P{index}"),
            alarm: format!("{index} {class}"),
            hazard: hazard.to_owned(),
            class: class.to_owned(),
            place: Some(place),
            severity,
            since: Timestamp::from_millis(minute * 60_000),
            rule: format!("{class}-high"),
        }
    }

    #[test]
    fn two_hazards_near_each_other() {
        use Severity::{Blue, Orange, Red, Yellow};
        let gas = heat(0, "gas", "gas-concentration", 0.0, Orange, 0);
        let water =
            |north_m, severity, minute| heat(1, "waterlogging", "water-level", north_m, severity, minute);
        let cases = [
            (water(490.0, Orange, 30), Some(Red)),
            (water(510.0, Orange, 30), None),
            (water(490.0, Orange, 31), None),
            (water(490.0, Yellow, 0), None),
            (heat(1, "gas", "gas-pressure", 0.0, Red, 0), None),
            (Heat { place: None, ..water(0.0, Red, 0) }, None),
        ];
        for (other, want) in cases {
            for heats in [[gas.clone(), other.clone()], [other.clone(), gas.clone()]] {
                let found = proposals(&heats, &Joint::default());
                let severity = |index| found.get(&index).map(|proposal| proposal.severity);
                assert_eq!((severity(0), severity(1)), (want, want), "{other:?}");
            }
        }
        let slope = [
            heat(0, "landslide", "rain", 0.0, Yellow, 0),
            heat(0, "landslide", "displacement", 0.0, Blue, 29),
        ];
        let found = proposals(&slope, &Joint::default());
        assert_eq!(found[&0].severity, Orange);
        assert_eq!(found[&0].with, ["P0 displacement-high", "P0 rain-high"]);
        let dry = [heat(0, "landslide", "rain", 0.0, Blue, 0), slope[1].clone()];
        assert_eq!(proposals(&dry, &Joint::default()), BTreeMap::new());
    }
    #[test]
    fn one_alarm_at_two_places_is_not_two() {
        let slope = heat(0, "landslide", "rain", 0.0, Severity::Orange, 0);
        let underpass = Heat {
            alarm: slope.alarm.clone(),
            ..heat(1, "waterlogging", "rain", 300.0, Severity::Orange, 0)
        };
        let shared = [slope, underpass];
        assert_eq!(proposals(&shared, &Joint::default()), BTreeMap::new());
        let water = heat(1, "waterlogging", "water-level", 300.0, Severity::Orange, 0);
        let found = proposals(&[&shared[..], &[water]].concat(), &Joint::default());
        assert_eq!(found[&0].with, ["P0 rain-high", "P1 water-level-high"]);
    }
    #[test]
    fn a_storm_of_alarms_names_a_few_for_each_point_in_any_order() {
        use Severity::{Blue, Orange, Red};
        let one = |number: usize| {
            let hazard = ["gas", "waterlogging", "landslide"][number % 3];
            let north_m = (number % 40) as f64 * 10.0;
            Heat { alarm: number.to_string(), ..heat(number, hazard, "any", north_m, Orange, 0) }
        };
        let mut storm: Vec<Heat> = (0..COMPARED_MAX).map(one).collect();
        let found = proposals(&storm, &Joint::default());
        assert_eq!(found.len(), COMPARED_MAX);
        assert!(found.values().all(|proposal| proposal.severity == Red));
        assert!(found.values().all(|proposal| (2..=NAMED_MAX).contains(&proposal.with.len())));
        storm.reverse();
        assert_eq!(proposals(&storm, &Joint::default()), found);
        // Those of little weight come in no proposal, and put no other one out.
        storm.extend((0..COMPARED_MAX).map(|number| Heat { severity: Blue, ..one(number) }));
        assert_eq!(proposals(&storm, &Joint::default()), found);
        // Of more than can be compared the worst are.
        storm.extend((0..2).map(|number| Heat { severity: Red, ..one(COMPARED_MAX + number) }));
        let more = proposals(&storm, &Joint::default());
        assert_eq!(more.len(), COMPARED_MAX);
        assert!(more.contains_key(&COMPARED_MAX));
    }
}
