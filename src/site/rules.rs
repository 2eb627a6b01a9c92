//! Rules and derived points of the site's documents.
//!
//! In: `[[rule]]` and `[[derived]]` sections with the points that devices gave. Out: compiled rules in canonical units.
//! Invariant: thresholds of a compiled rule rise (fall) with severity and are farther apart than the deadband.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::alarm::{Condition, Direction, Kind, Level, Rule, RuleId, Severity};
use crate::derive::{self, Derived};
use crate::point::PointId;
use crate::site::section::{Section, kebab, nearest};
use crate::site::tree::Value;
use crate::unit::Unit;

/// A point that rules and expressions may name.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) id: PointId,
    pub(crate) name: String,
    pub(crate) unit: Option<Unit>,
    pub(crate) every: Duration,
    pub(crate) range: Option<(f64, f64)>,
}

/// The colours from low to high.
pub(crate) const COLOURS: [(&str, Severity); 4] = [
    ("blue", Severity::Blue),
    ("yellow", Severity::Yellow),
    ("orange", Severity::Orange),
    ("red", Severity::Red),
];

/// The first 16 hexadecimal digits of SHA-256.
pub(crate) fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What a document may name as a point, and what it can't for a reason that is told elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct Points<'a> {
    pub(crate) known: &'a [Known],
    /// Names of devices and derived points that are broken themselves: one mistake is told once.
    pub(crate) broken: &'a BTreeSet<String>,
    /// Names of all derived points, also of those further down.
    pub(crate) derived: &'a BTreeSet<String>,
}

impl<'a> Points<'a> {
    fn find(self, section: &Section<'_>, key: &'static str, name: &str) -> Option<&'a Known> {
        let found = self.known.iter().find(|point| point.name == name);
        let device = name.split('.').next().unwrap_or(name);
        if found.is_some() || self.broken.contains(device) || self.broken.contains(name) {
            return found;
        }
        if self.derived.contains(name) {
            let text = format!("`{name}` is derived further down");
            let help = "a derived point uses points that stand above it, never itself".to_owned();
            section.error(key, "derived-order", text, Some(help));
        } else {
            let help = nearest(name, self.known.iter().map(|point| point.name.as_str()));
            section.error(key, "unknown-point", format!("there is no point `{name}`"), help);
        }
        None
    }
}

/// Reads one rule.
pub(crate) fn rule(section: &Section<'_>, points: Points<'_>) -> Option<Rule> {
    let name = section.name("name");
    let point =
        section.need("point", section.text("point")).and_then(|name| points.find(section, "point", &name));
    let unit = section.unit("unit");
    let to_point = point.map_or(Some((1.0, 0.0)), |point| convert(section, unit, point));
    let deadband = section.float("deadband").unwrap_or(0.0);
    if deadband < 0.0 {
        section.error("deadband", "bad-deadband", "the deadband must not be negative", None);
    }
    let found = levels(section, deadband);
    let max_gap =
        section.duration("max_gap").unwrap_or(point.map_or(Duration::from_secs(30), |point| point.every * 3));
    let latched = section.flag("latched").unwrap_or(false);
    let kind = match section.word("kind", &["process", "sensor"]) {
        Some("sensor") => Kind::Sensor,
        _ => Kind::Process,
    };
    let (basis, advice) = (words(section, "basis"), words(section, "advice"));
    section.finish();
    let (name, point, (factor, offset), (direction, mut levels)) = (name?, point?, to_point?, found?);
    for level in &mut levels {
        level.threshold = level.threshold * factor + offset;
        suspicious(section, point, level);
        clears(section, point, direction, level.threshold, deadband * factor.abs());
    }
    let condition = Condition::Threshold { direction, levels, deadband: deadband * factor.abs(), max_gap };
    let version = hash(&format!("{name} {} {condition:?} {latched}", point.name));
    Some(Rule { id: RuleId(0), name, version, point: point.id, kind, condition, advice, basis, latched })
}

/// Factor and offset from the rule's unit to the point's.
fn convert(section: &Section<'_>, unit: Option<Unit>, point: &Known) -> Option<(f64, f64)> {
    match (unit, point.unit) {
        (None, None) => Some((1.0, 0.0)),
        (None, Some(kept)) => {
            if section.node("unit").is_none() {
                let help = Some(format!("unit = \"{}\"", kept.name()));
                section.error(
                    "point",
                    "missing-key",
                    format!("the rule needs `unit`: {} is kept in {}", point.name, kept.name()),
                    help,
                );
            }
            None
        }
        (Some(given), None) => {
            section.error(
                "unit",
                "wrong-unit",
                format!("{} has no unit, and the rule says {}", point.name, given.name()),
                None,
            );
            None
        }
        (Some(given), Some(kept)) => {
            let found = given.to(kept);
            if found.is_none() {
                let help = Some(format!("a unit of the same quantity as {}", kept.name()));
                section.error(
                    "unit",
                    "wrong-unit",
                    format!(
                        "{} does not convert to {}, the unit of {}",
                        given.name(),
                        kept.name(),
                        point.name
                    ),
                    help,
                );
            }
            found
        }
    }
}

/// A text that a person needs at night.
fn words(section: &Section<'_>, key: &'static str) -> String {
    let text = section.need(key, section.text(key));
    if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
        section.warning(key, "empty-text", format!("`{key}` says nothing"), None);
    }
    text.unwrap_or_default()
}

/// Whether a point in its range can come back far enough to end the alarm.
fn clears(section: &Section<'_>, point: &Known, direction: Direction, threshold: f64, deadband: f64) {
    let never = point.range.is_some_and(|(low, high)| match direction {
        Direction::Above => low < threshold && threshold - deadband < low,
        Direction::Below => threshold < high && high < threshold + deadband,
    });
    if never {
        let text = format!("with this deadband an alarm on {} can never clear", point.name);
        let help = "the point's range ends before the threshold and the deadband".to_owned();
        section.warning("deadband", "never-clears", text, Some(help));
    }
}

fn suspicious(section: &Section<'_>, point: &Known, level: &Level) {
    let outside = point.range.filter(|(low, high)| level.threshold < *low || *high < level.threshold);
    if let Some((low, high)) = outside {
        let text = format!(
            "the threshold for {:?} lies outside the sensor's range {low} to {high}: it can never be reached",
            level.severity
        );
        section.warning("above", "threshold-out-of-range", text, None);
    }
    if Duration::ZERO < level.on_delay && level.on_delay < point.every {
        section.warning(
            "on_delay",
            "short-delay",
            "the on-delay is shorter than the poll period: it acts like none",
            None,
        );
    }
}

/// Direction and levels in the rule's own unit.
fn levels(section: &Section<'_>, deadband: f64) -> Option<(Direction, Vec<Level>)> {
    let (above, below) = (section.section("above"), section.section("below"));
    let on = delays(section, "on_delay");
    let off = delays(section, "off_delay");
    let (direction, table) = match (above, below) {
        (Some(table), None) => (Direction::Above, table),
        (None, Some(table)) => (Direction::Below, table),
        _ => {
            section.error(
                "name",
                "rule-direction",
                "a rule needs exactly one of `above` and `below`",
                Some("above = { yellow = 2.8, red = 3.2 }".to_owned()),
            );
            return None;
        }
    };
    let levels = steps(section, &table, direction, deadband, on.into_iter().zip(off));
    table.finish();
    if levels.is_empty() && table.all().is_empty() {
        section.error(
            "above",
            "no-threshold",
            "the rule has no threshold",
            Some("blue, yellow, orange or red".to_owned()),
        );
    }
    (!levels.is_empty()).then_some((direction, levels))
}

/// The levels of a table, each checked against the one before.
fn steps(
    section: &Section<'_>,
    table: &Section<'_>,
    direction: Direction,
    deadband: f64,
    delays: impl Iterator<Item = (Duration, Duration)>,
) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::new();
    for ((colour, severity), (on_delay, off_delay)) in COLOURS.into_iter().zip(delays) {
        let Some(threshold) = table.float(colour) else { continue };
        if let Some(last) = levels.last() {
            let step = if direction == Direction::Above {
                threshold - last.threshold
            } else {
                last.threshold - threshold
            };
            if step <= 0.0 {
                let order = if direction == Direction::Above {
                    "blue < yellow < orange < red"
                } else {
                    "blue > yellow > orange > red"
                };
                table.error(
                    colour,
                    "threshold-order",
                    format!(
                        "{colour} = {threshold} does not follow {:?} = {}",
                        last.severity, last.threshold
                    ),
                    Some(order.to_owned()),
                );
            } else if step <= deadband {
                section.error(
                    "deadband",
                    "bad-deadband",
                    format!("the deadband {deadband} is not smaller than the step {step} to {colour}"),
                    None,
                );
            }
        }
        levels.push(Level { severity, threshold, on_delay, off_delay });
    }
    levels
}

/// One delay for all colours, or a table with one for each.
fn delays(section: &Section<'_>, key: &'static str) -> [Duration; 4] {
    let Some(node) = section.node(key) else { return [Duration::ZERO; 4] };
    if !matches!(node.value, Value::Table(_)) {
        return [section.duration(key).unwrap_or_default(); 4];
    }
    let Some(table) = section.section(key) else { return [Duration::ZERO; 4] };
    let delays = COLOURS.map(|(colour, _)| table.duration(colour).unwrap_or_default());
    table.finish();
    delays
}

/// A derived point as written: full name, unit, settings without its own number.
pub(crate) struct DerivedDraft {
    pub(crate) name: String,
    pub(crate) unit: Option<Unit>,
    pub(crate) settings: derive::Settings,
    pub(crate) every: Duration,
    pub(crate) decimals: u8,
    pub(crate) states: Vec<(i64, String)>,
}

/// What a derived point is computed from.
struct Inputs {
    inputs: Vec<(String, PointId)>,
    /// The longest period of an input.
    every: Duration,
    /// Without all of its inputs an expression says nothing more about itself.
    whole: bool,
}

fn inputs(section: &Section<'_>, points: Points<'_>) -> Inputs {
    let mut found = Inputs { inputs: Vec::new(), every: Duration::from_secs(1), whole: true };
    let Some(table) = section.need("inputs", section.section("inputs")) else { return found };
    for (input, span, node) in table.all() {
        let Value::Text(point) = &node.value else {
            let place = section.document.place(*span);
            section.report.error(&place, "wrong-type", "an input is the name of a point", None);
            continue;
        };
        match points.find(section, "inputs", point) {
            Some(point) => {
                found.every = found.every.max(point.every);
                found.inputs.push((input.clone(), point.id));
            }
            None => found.whole = false,
        }
    }
    found
}

/// Reads one derived point.
pub(crate) fn derived(
    section: &Section<'_>,
    points: Points<'_>,
    class_of: impl Fn(&str) -> String,
) -> Option<DerivedDraft> {
    let name = section.need("name", section.text("name"));
    if let Some(name) = &name {
        let parts: Vec<&str> = name.split('.').collect();
        if parts.len() != 2 || parts.iter().any(|part| part.is_empty() || kebab(part) != **part) {
            section.error(
                "name",
                "bad-name",
                format!("`{name}` is not DEVICE.POINT in kebab-case"),
                Some("such as underpass-2.rise".to_owned()),
            );
        }
    }
    let Inputs { inputs, every, whole } = inputs(section, points);
    let value = section.need("value", section.text("value"));
    let unit = section.unit("unit");
    let decimals = section.int("decimals", 0, 9).unwrap_or(if unit.is_some() { 2 } else { 0 });
    let states = section.section("states").map(|states| {
        let state = |(code, _, node): &crate::site::tree::Entry| match (&node.value, code.parse()) {
            (Value::Text(name), Ok(code)) => Some((code, name.clone())),
            _ => None,
        };
        states.all().iter().filter_map(state).collect()
    });
    section.finish();
    let value = value?;
    let units: Vec<(String, Option<Unit>)> = inputs
        .iter()
        .map(|(name, id)| {
            (name.clone(), points.known.iter().find(|point| point.id == *id).and_then(|point| point.unit))
        })
        .collect();
    let factor = derive::factor(&value, &units, unit, &class_of(name.as_deref().unwrap_or_default()));
    let factor = factor.unwrap_or_else(|why| {
        if whole {
            section.error("unit", "wrong-unit", why, None);
        }
        1.0
    });
    let settings = derive::Settings { point: PointId(0), inputs, value, factor };
    if let Err(why) = Derived::check(&settings)
        && (whole || why.contains("Syntax error"))
    {
        section.error("value", "bad-expression", why, None);
    }
    if !whole {
        return None;
    }
    Some(DerivedDraft { name: name?, unit, settings, every, decimals, states: states.unwrap_or_default() })
}
