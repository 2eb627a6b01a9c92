//! Rules of the site's documents.
//!
//! In: `[[rule]]` sections with the points that devices gave. Out: compiled rules in canonical units.
//! Invariant: thresholds of a compiled rule rise (fall) with severity and are farther apart than the deadband.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::alarm::condition::measure::Measure;
use crate::alarm::{Condition, Direction, Kind, Level, Rule, RuleId, Severity};
use crate::point::PointId;
use crate::site::section::{Section, nearest};
use crate::site::{conditions, grades, guide, plausible};
use crate::unit::{Unit, rounded};

/// A point that rules and expressions may name.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) id: PointId,
    pub(crate) name: String,
    pub(crate) unit: Option<Unit>,
    /// The unit of its document.
    pub(crate) written: Option<Unit>,
    pub(crate) every: Duration,
    pub(crate) range: Option<(f64, f64)>,
    /// The zero that a level is counted from.
    pub(crate) datum: Option<String>,
    /// Class of its device.
    pub(crate) class: String,
    /// Names of its states.
    pub(crate) states: Vec<(i64, String)>,
}

/// The first 16 hexadecimal digits of SHA-256.
pub(crate) fn hash(text: &str) -> String {
    hash_of(format_args!("{text}"))
}

/// The same of what is formatted, without the whole text at once.
pub(crate) fn hash_of(what: std::fmt::Arguments<'_>) -> String {
    struct Into(Sha256);
    impl std::fmt::Write for Into {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.update(text.as_bytes());
            Ok(())
        }
    }
    let mut into = Into(Sha256::new());
    // Hashing cannot fail.
    let _ = std::fmt::write(&mut into, what);
    into.0.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
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
    pub(crate) fn find(self, section: &Section<'_>, key: &'static str, name: &str) -> Option<&'a Known> {
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

/// What a rule asks, of what, and what kind of alarm that is unless it says so.
struct Question {
    condition: Condition,
    /// The point that the alarm names.
    point: PointId,
    kind: Kind,
    /// The question in words that no other document changes.
    version: String,
}

/// Reads one rule.
pub(crate) fn rule(section: &Section<'_>, points: Points<'_>) -> Option<Rule> {
    let name = section.name("name");
    let question = if section.has("silent_for") {
        silent(section, points)
    } else if conditions::is_measured(section) {
        measured(section, points)
    } else {
        threshold(section, points)
    };
    let of = question.as_ref().and_then(|asked| points.known.iter().find(|known| known.id == asked.point));
    let red = question.as_ref().is_some_and(|asked| reaches_red(&asked.condition));
    let (latched, bonds) = guide::bonds(section, points, of, red);
    let kind = match section.word("kind", &["process", "sensor"]) {
        Some("sensor") => Some(Kind::Sensor),
        Some(_) => Some(Kind::Process),
        None => None,
    };
    let (basis, advice) = (words(section, "basis"), words(section, "advice"));
    let datum = section.text("datum");
    let guide = guide::guide(section, &basis);
    section.finish();
    let (name, Question { condition, point, kind: usual, version }) = (name?, question?);
    if let Some(point) = points.known.iter().find(|known| known.id == point && is_level(&condition)) {
        same_zero(section, point, datum);
    }
    let version = hash(&format!("{name} {version} {latched}"));
    let kind = kind.unwrap_or(usual);
    let id = RuleId(0);
    Some(Rule { id, name, version, point, kind, condition, advice, basis, latched, guide, bonds })
}

/// Whether the rule has a red level.
fn reaches_red(condition: &Condition) -> bool {
    let red = |levels: &[Level]| levels.iter().any(|level| level.severity == Severity::Red);
    match condition {
        Condition::Threshold { levels, .. } => red(levels),
        Condition::Measured { measured, .. } => red(&measured.levels),
        Condition::Stale { severity, .. } => *severity == Severity::Red,
    }
}

/// Whether thresholds are numbers of the point itself.
fn is_level(condition: &Condition) -> bool {
    match condition {
        Condition::Threshold { .. } => true,
        Condition::Measured { measured, .. } => {
            matches!(measured.measure, Measure::Value | Measure::Arrival { .. } | Measure::Votes { .. })
        }
        Condition::Stale { .. } => false,
    }
}

/// Above or below: the point itself against levels.
fn threshold(section: &Section<'_>, points: Points<'_>) -> Option<Question> {
    let point =
        section.need("point", section.text("point")).and_then(|name| points.find(section, "point", &name));
    let unit = section.unit("unit");
    let to_point = point.map_or(Some((1.0, 0.0)), |point| convert(section, unit, point));
    let deadband = section.float("deadband").unwrap_or(0.0);
    if deadband < 0.0 {
        let help = "0 or more, and less than the smallest step between two thresholds".to_owned();
        section.error(
            "deadband",
            "bad-deadband",
            format!("the deadband must not be negative, and this is {}", shown(deadband)),
            Some(help),
        );
    }
    let found = grades::direction_and_levels(section, deadband, &grades::delays(section));
    let max_gap =
        section.duration("max_gap").unwrap_or(point.map_or(Duration::from_secs(30), |point| point.every * 3));
    let (point, (factor, offset), (direction, mut levels)) = (point?, to_point?, found?);
    if max_gap < point.every {
        let text = format!(
            "{} comes each {:?}: any two numbers are farther apart than {max_gap:?}, so no delay would ever end",
            point.name, point.every
        );
        let help = format!("at least one period; three are usual: max_gap = \"{:?}\"", point.every * 3);
        section.error("max_gap", "short-window", text, Some(help));
    }
    for level in &mut levels {
        level.threshold = level.threshold * factor + offset;
        plausible::reachable(section, point, direction, level);
        short_delays(section, point, level);
        clears(section, point, direction, level.threshold, deadband * factor.abs());
    }
    let condition = Condition::Threshold { direction, levels, deadband: deadband * factor.abs(), max_gap };
    let version = format!("{} {condition:?}", point.name);
    Some(Question { condition, point: point.id, kind: Kind::Process, version })
}

/// A number made of readings against levels.
fn measured(section: &Section<'_>, points: Points<'_>) -> Option<Question> {
    let conditions::Asked { measured, inputs, kind } = conditions::asked(section, points)?;
    let point = *inputs.first()?;
    let name =
        |id: &PointId| points.known.iter().find(|known| known.id == *id).map(|known| known.name.as_str());
    let names: Vec<&str> = inputs.iter().filter_map(name).collect();
    let version = format!("{} {measured:?}", names.join(" "));
    Some(Question { condition: Condition::Measured { measured, inputs }, point, kind, version })
}

/// The silence of one point.
fn silent(section: &Section<'_>, points: Points<'_>) -> Option<Question> {
    let name = section.need("point", section.text("point"));
    let point = name.and_then(|name| points.find(section, "point", &name));
    let after = section.duration("silent_for");
    let severity = grades::severity(section);
    let (point, after) = (point?, after?);
    if after <= point.every {
        let text =
            format!("{} is polled every {:?}: it would be silent between polls", point.name, point.every);
        section.error("silent_for", "short-window", text, None);
    }
    let version = format!("{} silent {after:?} {severity:?}", point.name);
    let max_gap = point.every * 3;
    let condition = Condition::Stale { after, severity, points: vec![point.id], max_gap };
    Some(Question { condition, point: point.id, kind: Kind::Sensor, version })
}

/// Factor and offset from the rule's unit to the point's.
pub(crate) fn convert(section: &Section<'_>, unit: Option<Unit>, point: &Known) -> Option<(f64, f64)> {
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
        let help = match key {
            "advice" => "write what the person who sees the alarm is to do",
            _ => "write what the thresholds are taken from: a standard, a rule of the site",
        };
        section.warning(key, "empty-text", format!("`{key}` says nothing"), Some(help.to_owned()));
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

/// Delays that have passed before the next reading comes.
fn short_delays(section: &Section<'_>, point: &Known, level: &Level) {
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
pub(crate) fn shown(value: f64) -> String {
    rounded(value).to_string()
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
