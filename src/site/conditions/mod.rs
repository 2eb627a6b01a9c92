//! The conditions of rules as documents write them.
//!
//! In: a `[[rule]]` section, or one of its `conditions`. Out: a [`Measured`] with its inputs.
//! Invariant: a section asks one question; each number is converted to the unit that the measure needs, or refused; a window holds enough polls.

mod movement;
mod plants;
mod rain;
mod states;

use std::time::Duration;

use crate::alarm::condition::logic::{self, PARTS_MAX};
use crate::alarm::condition::measure::{Measure, Measured, Part};
use crate::alarm::condition::sensor::{SPIKE_SAMPLES_MAX, Spikes};
use crate::alarm::{Direction, Kind, Level};
use crate::point::PointId;
use crate::site::grades::{self, Delays};
use crate::site::plausible;
use crate::site::rules::{Known, Points, convert};
use crate::site::section::Section;
use crate::unit::Unit;

/// The keys that make a section ask something else than above and below; one at most.
const QUESTIONS: [&str; 17] = [
    "rise",
    "fall",
    "change_over",
    "sum_over",
    "repeats_over",
    "share_over",
    "stuck_for",
    "outside",
    "arrives",
    "intensity",
    "antecedent",
    "tangential",
    "failure",
    "votes",
    "leak_down",
    "lock_up",
    "entrapment",
];
/// Questions of states, which others build on, and of expressions.
const STATES: [&str; 2] = ["state", "bit"];

/// What a section asks, of which points, and what kind of alarm that is unless it says so.
pub(crate) struct Asked {
    pub(crate) measured: Measured,
    pub(crate) inputs: Vec<PointId>,
    pub(crate) kind: Kind,
}

/// Whether the section asks more than whether a point is above or below.
pub(crate) fn is_measured(section: &Section<'_>) -> bool {
    let more = QUESTIONS.iter().chain(&STATES).chain(&["holds", "spikes"]);
    more.copied().any(|key| section.has(key))
}

/// The parts that every measure has.
pub(crate) struct Common<'a> {
    pub(crate) section: &'a Section<'a>,
    pub(crate) point: &'a Known,
    pub(crate) delays: Delays,
    pub(crate) deadband: f64,
}

/// Reads the question of a section.
pub(crate) fn asked(section: &Section<'_>, points: Points<'_>) -> Option<Asked> {
    let asks: Vec<&str> = QUESTIONS.into_iter().filter(|key| section.has(key)).collect();
    let states = STATES.iter().filter(|key| section.has(key)).count();
    if asks.len() > 1 || states > 1 {
        let help = "one question per rule; combine several by `holds = \"a && b\"` and [rule.conditions.a]";
        let key = asks.last().copied().unwrap_or("bit");
        section.error(key, "two-questions", "the rule asks more than one question", Some(help.to_owned()));
        section.excuse();
        return None;
    }
    if section.has("holds") {
        return combined(section, points);
    }
    let Some(inputs) = inputs(section, points) else {
        section.excuse();
        return None;
    };
    let point = *inputs.first()?;
    let deadband = section.float("deadband").unwrap_or(0.0);
    if deadband < 0.0 {
        section.error("deadband", "bad-deadband", "the deadband must not be negative", None);
    }
    let common = Common { section, point, delays: grades::delays(section), deadband };
    let mut measured = match asks.first().copied() {
        Some("rise") => common.rate("rise", Direction::Above),
        Some("fall") => common.rate("fall", Direction::Below),
        Some("change_over") => common.change(),
        Some("sum_over") => common.sum(),
        Some("repeats_over") => common.repeats(),
        Some("share_over") => common.share(),
        Some("stuck_for") => common.stuck(),
        Some("outside") => common.outside(),
        Some("arrives") => common.arrives(),
        Some("intensity") => common.intensity(),
        Some("antecedent") => common.antecedent(),
        Some("tangential") => common.tangential(),
        Some("failure") => common.failure(),
        Some("votes") => common.votes(inputs.len()),
        Some("leak_down") => return common.leak_down(points),
        Some("lock_up") => return common.lock_up(points),
        Some("entrapment") => return common.entrapment(points),
        _ if states > 0 => common.state(),
        _ => common.value(),
    }?;
    measured.max_gap = max_gap(section, &inputs);
    measured.spikes = spikes(section);
    let kind = match measured.measure {
        Measure::Stuck { .. } | Measure::Outside { .. } => Kind::Sensor,
        _ => Kind::Process,
    };
    let inputs = inputs.into_iter().map(|point| point.id).collect();
    Some(Asked { measured, inputs, kind })
}

/// The point or points of a section; the lift's first contact is its point.
fn inputs<'a>(section: &Section<'_>, points: Points<'a>) -> Option<Vec<&'a Known>> {
    if section.has("entrapment") {
        let table = section.section("entrapment")?;
        let name = table.need("presence", table.text("presence"))?;
        return points.find(&table, "presence", &name).map(|point| vec![point]);
    }
    if !section.has("votes") {
        let name = section.need("point", section.text("point"))?;
        return points.find(section, "point", &name).map(|point| vec![point]);
    }
    let names = section.need("points", Some(section.texts("points")).filter(|names| !names.is_empty()))?;
    let found: Vec<&Known> =
        names.iter().filter_map(|(name, _)| points.find(section, "points", name)).collect();
    let first = found.first()?;
    if let Some(other) = found.iter().find(|point| point.unit != first.unit) {
        let text = format!("{} and {} are kept in different units", first.name, other.name);
        section.error("points", "wrong-unit", text, None);
        return None;
    }
    (found.len() == names.len()).then_some(found)
}

/// The longest gap that delays and windows survive: three polls of the slowest input.
pub(crate) fn max_gap(section: &Section<'_>, inputs: &[&Known]) -> Duration {
    let every = inputs.iter().map(|point| point.every).max().unwrap_or_default();
    section.duration("max_gap").unwrap_or(every * 3)
}

pub(crate) fn spikes(section: &Section<'_>) -> Option<Spikes> {
    let table = section.section("spikes")?;
    let most = i64::try_from(SPIKE_SAMPLES_MAX).unwrap_or(i64::MAX);
    let samples = table.int("samples", 3, most).unwrap_or(7);
    let times = table.float("times").unwrap_or(3.0);
    let floor = table.need("floor", table.float("floor"));
    if floor.is_some_and(|floor| floor <= 0.0) {
        let help = Some("the resolution of the sensor, in the point's unit".to_owned());
        table.error("floor", "bad-floor", "without a floor any change of a still point is a spike", help);
    }
    table.finish();
    Some(Spikes { samples, times, floor: floor? })
}

impl Common<'_> {
    pub(crate) fn measured(&self, measure: Measure, direction: Direction, levels: Vec<Level>) -> Measured {
        Measured {
            measure,
            spikes: None,
            factor: 1.0,
            unit: None,
            direction,
            levels,
            deadband: self.deadband,
            max_gap: Duration::ZERO,
        }
    }

    /// Above or below as the section says, levels in its own unit.
    pub(crate) fn levels(&self) -> Option<(Direction, Vec<Level>)> {
        grades::direction_and_levels(self.section, self.deadband, &self.delays)
    }

    /// The one level of a question that is answered by yes or no.
    pub(crate) fn yes(&self) -> Vec<Level> {
        grades::single(self.section, 1.0, &self.delays)
    }

    /// A span under `key` that holds at least `polls` polls.
    pub(crate) fn span(&self, key: &'static str, polls: u32) -> Option<Duration> {
        let span = self.section.need(key, self.section.duration(key))?;
        if span < self.point.every * polls {
            let text = format!(
                "{} is polled every {:?}: {span:?} holds too few readings",
                self.point.name, self.point.every
            );
            let help = Some(format!("at least {:?}", self.point.every * polls));
            self.section.error(key, "short-window", text, help);
        }
        Some(span)
    }

    /// Factor from the rule's unit to the point's.
    pub(crate) fn factor(&self) -> Option<(f64, Option<Unit>)> {
        let unit = self.section.unit("unit");
        let (factor, offset) = convert(self.section, unit, self.point)?;
        if offset.abs() > 0.0 {
            let text = "a unit with an offset cannot tell a difference";
            self.section.error(
                "unit",
                "wrong-unit",
                text,
                self.point.unit.map(|unit| unit.name().to_owned()),
            );
            return None;
        }
        Some((factor, unit))
    }

    /// Factor from the rule's unit to the point's unit per minute.
    pub(crate) fn slope_factor(&self) -> Option<(f64, Option<Unit>)> {
        let unit = self.section.unit("unit");
        let Some(own) = self.point.unit else {
            return match unit {
                None => Some((1.0, None)),
                Some(given) => {
                    let text = format!("{} has no unit, and the rule says {}", self.point.name, given.name());
                    self.section.error("unit", "wrong-unit", text, None);
                    None
                }
            };
        };
        let Some(per_minute) = own.per_minute() else {
            let text = format!("{} is kept in {}, which has no unit per time", self.point.name, own.name());
            self.section.error("point", "wrong-unit", text, None);
            return None;
        };
        let given = self.section.need("unit", unit)?;
        match given.to(per_minute) {
            Some((factor, _)) => Some((factor, Some(given))),
            None => {
                let text = format!("{} is no unit of a slope of {}", given.name(), self.point.name);
                self.section.error(
                    "unit",
                    "wrong-unit",
                    text,
                    Some(format!("such as {}", per_minute.name())),
                );
                None
            }
        }
    }

    pub(crate) fn value(&self) -> Option<Measured> {
        let unit = self.section.unit("unit");
        let (factor, offset) = convert(self.section, unit, self.point)?;
        let (direction, mut levels) = self.levels()?;
        for level in &mut levels {
            level.threshold = level.threshold * factor + offset;
            plausible::reachable(self.section, self.point, direction, level);
        }
        let measured = self.measured(Measure::Value, direction, levels);
        let unit = self.point.unit.map(|unit| unit.name().to_owned());
        Some(Measured { deadband: self.deadband * factor.abs(), unit, ..measured })
    }

    pub(crate) fn votes(&self, sensors: usize) -> Option<Measured> {
        let most = i64::try_from(sensors).unwrap_or(i64::MAX);
        let need = self.section.int("votes", 1, most);
        let within = self.section.duration("votes_within").unwrap_or(Duration::from_secs(60));
        let value = self.value()?;
        Some(Measured { measure: Measure::Votes { need: need?, within }, ..value })
    }
}

/// Levels are in `unit`; `factor` leads from it to the measure's own.
pub(crate) fn named(measured: Measured, factor: f64, unit: Option<Unit>) -> Measured {
    Measured { factor: 1.0 / factor, unit: unit.map(|unit| unit.name().to_owned()), ..measured }
}

/// An expression over named conditions.
fn combined(section: &Section<'_>, points: Points<'_>) -> Option<Asked> {
    let text = section.text("holds");
    let table = section.need("conditions", section.section("conditions"))?;
    let delays = grades::delays(section);
    let levels = grades::single(section, 1.0, &delays);
    let (mut names, mut parts, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
    let mut max_gap = Duration::ZERO;
    for (name, part) in table.alike("rule", "a condition") {
        names.push(name.clone());
        if part.has("holds") {
            part.error("holds", "two-questions", "conditions are not nested: write one expression", None);
        } else if let Some(Asked { measured, inputs: own, .. }) = asked(&part, points) {
            max_gap = max_gap.max(measured.max_gap);
            parts.push(Part { measured, first: inputs.len(), inputs: own.len() });
            inputs.extend(own);
        }
        part.finish();
    }
    if names.len() > PARTS_MAX {
        section.error("conditions", "too-many-conditions", format!("at most {PARTS_MAX} conditions"), None);
    }
    let holds = match logic::parse(&text?, &names) {
        Ok(holds) => holds,
        Err(why) => {
            section.error("holds", "bad-expression", why, None);
            return None;
        }
    };
    if let Some(unused) = (0..names.len()).find(|index| !holds.contains(&logic::Op::Part(*index))) {
        let name = names.get(unused).map_or("", String::as_str);
        section.warning("holds", "unused-condition", format!("`holds` does not use `{name}`"), None);
    }
    let measured = Measured {
        measure: Measure::Combined { parts, holds },
        spikes: None,
        factor: 1.0,
        unit: None,
        direction: Direction::Above,
        levels,
        deadband: 0.0,
        max_gap: section.duration("max_gap").unwrap_or(max_gap),
    };
    let whole = matches!(&measured.measure, Measure::Combined { parts, .. } if parts.len() == names.len());
    (whole && !inputs.is_empty()).then_some(Asked { measured, inputs, kind: Kind::Process })
}
