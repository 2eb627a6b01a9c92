//! Rules of the site's documents.
//!
//! In: `[[rule]]` sections with the points that devices gave. Out: compiled rules in canonical units.
//! Invariant: thresholds of a compiled rule rise (fall) with severity and are farther apart than the deadband.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::alarm::{Condition, Direction, Kind, Level, Rule, RuleId, Severity};
use crate::point::PointId;
use crate::site::section::{Section, nearest};
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
    /// The zero that a level is counted from.
    pub(crate) datum: Option<String>,
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
    /// Indexes into `known` by name.
    pub(crate) by_name: &'a HashMap<String, usize>,
    /// Names of devices and derived points that are broken themselves: one mistake is told once.
    pub(crate) broken: &'a BTreeSet<String>,
    /// Names of all derived points, also of those further down.
    pub(crate) derived: &'a BTreeSet<String>,
}

impl<'a> Points<'a> {
    pub(crate) fn find(self, section: &Section<'_>, key: &'static str, name: &str) -> Option<&'a Known> {
        let found = self.by_name.get(name).and_then(|index| self.known.get(*index));
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
    let datum = section.text("datum");
    section.finish();
    let (name, point, (factor, offset), (direction, mut levels)) = (name?, point?, to_point?, found?);
    same_zero(section, point, datum);
    for level in &mut levels {
        level.threshold = level.threshold * factor + offset;
        suspicious(section, point, direction, level);
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
                    "missing-unit",
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

/// A threshold that can't be reached, and delays that have passed before the next reading comes.
fn suspicious(section: &Section<'_>, point: &Known, direction: Direction, level: &Level) {
    let colour =
        COLOURS.iter().find(|(_, severity)| *severity == level.severity).map_or("", |(name, _)| name);
    let outside = point.range.filter(|(low, high)| level.threshold < *low || *high < level.threshold);
    let table = section.section(if direction == Direction::Above { "above" } else { "below" });
    if let (Some((low, high)), Some(table)) = (outside, table) {
        let unit = point.unit.map_or("", Unit::name);
        let text = format!(
            "the threshold for {colour} is {} {unit}, and {} has the range {} to {} {unit}: it can never be reached",
            shown(level.threshold),
            point.name,
            shown(low),
            shown(high)
        );
        table.warning(colour, "threshold-out-of-range", text, None);
    }
    for (key, delay) in [("on_delay", level.on_delay), ("off_delay", level.off_delay)] {
        if Duration::ZERO < delay && delay < point.every {
            let text = format!(
                "`{key}` is {}, and {} is polled every {}: it acts like none",
                seconds(delay),
                point.name,
                seconds(point.every)
            );
            section.warning(key, "short-delay", text, None);
        }
    }
}

/// A number without the noise of a conversion.
fn shown(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn seconds(span: Duration) -> String {
    format!("{} s", span.as_secs_f64())
}

/// Whether thresholds and a level are counted from one zero.
fn same_zero(section: &Section<'_>, point: &Known, datum: Option<String>) {
    if point.unit.is_none_or(|unit| unit.quantity() != "length") || datum == point.datum {
        return;
    }
    let named = |datum: &Option<String>| {
        datum.as_ref().map_or_else(|| "no datum".to_owned(), |name| format!("`{name}`"))
    };
    let text = format!(
        "the rule names {}, and the level {} names {}",
        named(&datum),
        point.name,
        named(&point.datum)
    );
    let key = if datum.is_some() { "datum" } else { "point" };
    section.warning(key, "datum-differs", text, None);
}

/// Direction and levels in the rule's own unit.
fn levels(section: &Section<'_>, deadband: f64) -> Option<(Direction, Vec<Level>)> {
    let (above, below) = (section.section("above"), section.section("below"));
    section.ways(&["above", "below"]);
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
    if levels.is_empty() && table.is_empty() {
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
