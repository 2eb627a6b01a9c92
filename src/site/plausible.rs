//! Thresholds that look like a slip: out of reach of the sensor, or of another unit than their neighbours.
//!
//! In: the levels of a rule. Out: warnings.
//! Invariant: a threshold is measured against the sensor's own range where there is one, and else against what its quantity can be at all;
//! nothing here refuses a rule.

use crate::alarm::{Direction, Level, Severity};
use crate::site::grades::COLOURS;
use crate::site::rules::{Known, shown};
use crate::site::section::{Section, number};
use crate::site::tree::Value;
use crate::unit::Unit;

/// Two colours that are farther apart than this are rarely meant: kPa and MPa are a thousandfold apart, cm and m a hundredfold of what one writes.
const FOLDS: f64 = 100.0;
/// The same of speeds: a slope passes through many powers of ten before it fails.
const FOLDS_OF_SPEEDS: f64 = 1000.0;

/// What readings of a quantity can be at all, with room to spare: quantity, classes (none: all), unit, lowest, highest.
#[rustfmt::skip]
const POSSIBLE: &[(&str, &[&str], &str, f64, f64)] = &[
    // The highest grade of city gas is 10 MPa, vehicles are filled at 25 MPa.
    ("pressure", &["gas-pressure", "gas-flow"], "MPa", -0.102, 40.0),
    ("pressure", &[], "MPa", -0.102, 1000.0),
    ("gas_lel", &[], "%LEL", -100.0, 100.0),
    ("gas_vol", &[], "%VOL", -100.0, 100.0),
    ("humidity", &[], "%RH", 0.0, 100.0),
    ("temperature", &["climate", "rain", "water-level", "soil"], "degC", -100.0, 150.0),
    ("temperature", &[], "degC", -273.15, 2000.0),
    // The heaviest minute on record brought 38 mm.
    ("length_rate", &["rain"], "mm/h", 0.0, 2500.0),
    ("length_rate", &["elevator"], "m/s", -30.0, 30.0),
    ("angle", &[], "deg", -360.0, 360.0),
    ("signal", &[], "dBm", -200.0, 60.0),
    ("floor", &[], "floor", -20.0, 250.0),
];

fn name(severity: Severity) -> &'static str {
    COLOURS.iter().find(|(_, known)| *known == severity).map_or("", |(name, _)| name)
}

/// Neighbouring colours under `key` that are too far apart to be of one unit.
pub(crate) fn far_apart(section: &Section<'_>, table: &Section<'_>, levels: &[Level]) {
    // What counts or is a share has no unit to slip in.
    if section.has("share_over") || section.has("repeats_over") {
        return;
    }
    let unit = match section.node("unit").map(|node| &node.value) {
        Some(Value::Text(text)) => Unit::spelled(text),
        _ => None,
    };
    let quantity = unit.map_or("", Unit::quantity);
    // The zero of a temperature is none: 60 is no multiple of 0.2 there.
    if quantity == "temperature" {
        return;
    }
    let most = if quantity.ends_with("_rate") { FOLDS_OF_SPEEDS } else { FOLDS };
    for pair in levels.windows(2) {
        let [one, other] = pair else { continue };
        let (low, high) = (one.threshold.abs(), other.threshold.abs());
        let (low, high) = (low.min(high), low.max(high));
        let of_one_sign = one.threshold * other.threshold > 0.0;
        if !of_one_sign || high <= low * most * (1.0 + 1e-9) {
            continue;
        }
        let text = format!(
            "{} = {} and {} = {} are {:.0}-fold apart: one of them may be in another unit",
            name(one.severity),
            shown(one.threshold),
            name(other.severity),
            shown(other.threshold),
            high / low
        );
        let help = unit.map(|unit| {
            format!(
                "all thresholds of a rule are in its unit, {}; if both are meant, make two rules of it",
                unit.name()
            )
        });
        table.warning(name(other.severity), "thresholds-far-apart", text, help);
    }
}

/// A threshold, in the point's unit, that the sensor or its quantity never reaches.
pub(crate) fn reachable(section: &Section<'_>, point: &Known, direction: Direction, level: &Level) {
    let key = if direction == Direction::Above { "above" } else { "below" };
    let Some(node) = section.node(key) else { return };
    let unit = point.unit.map_or("", Unit::name);
    let is_in = |(low, high): (f64, f64)| (low..=high).contains(&level.threshold);
    let (code, why, (low, high)) = match (point.range, possible(point)) {
        (Some(range), _) if !is_in(range) => ("threshold-out-of-range", "has the range", range),
        (None, Some(range)) if !is_in(range) => ("threshold-not-physical", "can only be within", range),
        _ => return,
    };
    let colour = name(level.severity);
    let of = if number(node).is_some() { String::new() } else { format!(" for {colour}") };
    let is_beyond =
        if direction == Direction::Above { level.threshold > high } else { level.threshold < low };
    let so = if is_beyond { "it can never be reached" } else { "every reading reaches it" };
    let text = format!(
        "the threshold{of} is {} {unit}, and {} {why} {} to {} {unit}: {so}",
        shown(level.threshold),
        point.name,
        shown(low),
        shown(high)
    );
    // One number alone is no table.
    match number(node) {
        Some(_) => section.warning(key, code, text, None),
        None => {
            if let Some(table) = section.section(key) {
                table.warning(colour, code, text, None);
            }
        }
    }
}

/// What readings of this point can be, in its unit.
fn possible(point: &Known) -> Option<(f64, f64)> {
    let unit = point.unit?;
    let fits = |(quantity, classes, ..): &&(&str, &[&str], &str, f64, f64)| {
        *quantity == unit.quantity() && (classes.is_empty() || classes.contains(&point.class.as_str()))
    };
    let (_, _, of, low, high) = POSSIBLE.iter().find(fits)?;
    let of = Unit::parse(of)?;
    Some((of.convert(*low, unit)?, of.convert(*high, unit)?))
}
