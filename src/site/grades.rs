//! The levels of rules: colours with thresholds and delays.
//!
//! In: tables of colours. Out: [`Level`]s in rising severity, in the rule's own unit.
//! Invariant: thresholds rise (fall) with severity, and are farther apart than the deadband.

use std::time::Duration;

use crate::alarm::{Direction, Level, Severity};
use crate::site::plausible;
use crate::site::rules::shown;
use crate::site::schema::shape::Shape;
use crate::site::section::{Section, number};
use crate::site::tree::Value;

/// The colours from low to high.
pub(crate) const COLOURS: [(&str, Severity); 4] = [
    ("blue", Severity::Blue),
    ("yellow", Severity::Yellow),
    ("orange", Severity::Orange),
    ("red", Severity::Red),
];
const NAMES: [&str; 4] = ["blue", "yellow", "orange", "red"];

/// On- and off-delay of each colour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delays([(Duration, Duration); 4]);

/// `on_delay` and `off_delay`: one for all colours, or a table with one for each.
pub(crate) fn delays(section: &Section<'_>) -> Delays {
    let (on, off) = (delay(section, "on_delay"), delay(section, "off_delay"));
    let mut delays = [(Duration::ZERO, Duration::ZERO); 4];
    for (pair, (on, off)) in delays.iter_mut().zip(on.into_iter().zip(off)) {
        *pair = (on, off);
    }
    Delays(delays)
}

fn delay(section: &Section<'_>, key: &'static str) -> [Duration; 4] {
    let Some(node) = section.node(key) else { return [Duration::ZERO; 4] };
    if !matches!(node.value, Value::Table(_)) {
        return [section.duration(key).unwrap_or_default(); 4];
    }
    let Some(table) = section.section(key) else { return [Duration::ZERO; 4] };
    let delays = COLOURS.map(|(colour, _)| table.duration(colour).unwrap_or_default());
    table.finish();
    delays
}

fn level(severity: Severity, threshold: f64, delays: &Delays) -> Level {
    let at = COLOURS.iter().position(|(_, known)| *known == severity).unwrap_or(0);
    let (on_delay, off_delay) = delays.0.get(at).copied().unwrap_or_default();
    Level { severity, threshold, on_delay, off_delay }
}

/// All four colours at these thresholds.
pub(crate) fn all(thresholds: [f64; 4], delays: &Delays) -> Vec<Level> {
    COLOURS
        .iter()
        .zip(thresholds)
        .map(|((_, severity), threshold)| level(*severity, threshold, delays))
        .collect()
}

/// The one level of a question that is answered by yes or no, in the colour that `severity` names.
pub(crate) fn single(section: &Section<'_>, threshold: f64, delays: &Delays) -> Vec<Level> {
    vec![level(severity(section), threshold, delays)]
}

pub(crate) fn severity(section: &Section<'_>) -> Severity {
    let word = section.word("severity", &NAMES);
    if section.is_rule() {
        section.need("severity", word);
    }
    let found = COLOURS.iter().find(|(colour, _)| Some(*colour) == word);
    found.map_or(Severity::Blue, |(_, severity)| *severity)
}

/// Exactly one of `above` and `below`, and its levels.
pub(crate) fn direction_and_levels(
    section: &Section<'_>,
    deadband: f64,
    delays: &Delays,
) -> Option<(Direction, Vec<Level>)> {
    let (direction, key) = match (section.has("above"), section.has("below")) {
        (true, false) => (Direction::Above, "above"),
        (false, true) => (Direction::Below, "below"),
        _ => {
            let help = Some("above = { yellow = 2.8, red = 3.2 }".to_owned());
            let text = "a rule needs exactly one of `above` and `below`";
            section.node("above");
            section.node("below");
            section.error("name", "rule-direction", text, help);
            return None;
        }
    };
    Some((direction, levels(section, key, direction, deadband, delays)?))
}

/// The levels of the table under `key`, or of its one number.
pub(crate) fn levels(
    section: &Section<'_>,
    key: &'static str,
    direction: Direction,
    deadband: f64,
    delays: &Delays,
) -> Option<Vec<Level>> {
    section.takes(key, || Shape::Number);
    if let Some(threshold) = section.node(key).and_then(number) {
        return Some(single(section, threshold, delays));
    }
    let table = section.section(key)?;
    let levels = steps(section, &table, direction, deadband, delays, |table, colour| table.float(colour));
    table.finish();
    plausible::far_apart(section, &table, &levels);
    if levels.is_empty() && table.all().is_empty() {
        let help = Some("blue, yellow, orange or red".to_owned());
        section.error(key, "no-threshold", "the rule has no threshold", help);
    }
    (!levels.is_empty()).then_some(levels)
}

/// The levels of a table of durations under `key`, in units of so many seconds.
pub(crate) fn spans(
    section: &Section<'_>,
    key: &'static str,
    direction: Direction,
    unit_s: f64,
    delays: &Delays,
) -> Option<Vec<Level>> {
    let table = section.need(key, section.section(key))?;
    let levels = steps(section, &table, direction, 0.0, delays, |table, colour| {
        table.duration(colour).map(|span| span.as_secs_f64() / unit_s)
    });
    table.finish();
    if levels.is_empty() && table.all().is_empty() {
        let help = Some("blue, yellow, orange or red".to_owned());
        section.error(key, "no-threshold", "the rule has no threshold", help);
    }
    (!levels.is_empty()).then_some(levels)
}

/// The levels of a table, each checked against the one before.
fn steps(
    section: &Section<'_>,
    table: &Section<'_>,
    direction: Direction,
    deadband: f64,
    delays: &Delays,
    read: impl Fn(&Section<'_>, &'static str) -> Option<f64>,
) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::new();
    for (colour, severity) in COLOURS {
        let Some(threshold) = read(table, colour) else { continue };
        if let Some(last) = levels.last() {
            let up = direction == Direction::Above;
            let step = if up { threshold - last.threshold } else { last.threshold - threshold };
            if step <= 0.0 {
                let order = if up { "blue < yellow < orange < red" } else { "blue > yellow > orange > red" };
                let before = COLOURS.iter().find(|(_, severity)| *severity == last.severity);
                let text = format!(
                    "{colour} = {} must be {} {} = {}",
                    shown(threshold),
                    if up { "above" } else { "below" },
                    before.map(|(name, _)| *name).unwrap_or_default(),
                    shown(last.threshold)
                );
                table.error(colour, "threshold-order", text, Some(order.to_owned()));
            } else if step <= deadband {
                let text = format!(
                    "the deadband {} is not smaller than the step {} to {colour}",
                    shown(deadband),
                    shown(step)
                );
                section.error("deadband", "bad-deadband", text, None);
            }
        }
        levels.push(level(severity, threshold, delays));
    }
    levels
}
