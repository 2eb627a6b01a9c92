//! Words for readings, alarms and figures, the same in the picture and in plain lines.
//!
//! In: parts of the live board. Out: short texts for a person.
//! Invariant: a reading without a number never shows one; a number never stands without its quality when that is not good.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::alarm::{Alarm, Base, Condition, Direction, Kind, Rule, Severity};
use crate::cli::table::many;
use crate::clock::Timestamp;
use crate::forward;
use crate::gateway::board::Picture;
use crate::point::{Catalog, Point};
use crate::reading::{Reason, Sample};

/// `14:05:09` in the site's time zone.
pub fn time_of_day(at: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(at.as_millis()) {
        Ok(moment) => moment.to_zoned_datetime(zone.clone()).strftime("%H:%M:%S").to_string(),
        Err(_) => "--:--:--".to_owned(),
    }
}

/// The time zone of this name; UTC when it is unknown.
pub fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// `红 red`.
pub const fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Blue => "蓝 blue",
        Severity::Yellow => "黄 yellow",
        Severity::Orange => "橙 orange",
        Severity::Red => "红 red",
    }
}

/// `red`.
pub const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Blue => "blue",
        Severity::Yellow => "yellow",
        Severity::Orange => "orange",
        Severity::Red => "red",
    }
}

/// Where the alarm stands in its life, `active, not seen`.
pub fn state(alarm: &Alarm) -> String {
    let base = match alarm.state {
        Base::Normal => "over",
        Base::ActiveUnacknowledged => "active, not seen",
        Base::ActiveAcknowledged => "active, seen",
        Base::ReturnedUnacknowledged => "gone, not seen",
        Base::LatchedUnacknowledged => "latched, not seen",
        Base::LatchedAcknowledged => "latched, seen",
    };
    if alarm.unverified { format!("{base}, unverified") } else { base.to_owned() }
}

/// Whether the alarm's condition holds now.
pub const fn active(alarm: &Alarm) -> bool {
    matches!(alarm.state, Base::ActiveUnacknowledged | Base::ActiveAcknowledged)
}

/// `31.0 cm`, `closed`, or why there is no number.
pub fn sample(catalog: &Catalog, point: &Point, sample: &Sample) -> String {
    match sample {
        Sample::Good(value) => value_of(point, *value),
        Sample::Uncertain(value, doubt) => format!("{} ({}?)", value_of(point, *value), doubt.name()),
        Sample::Bad(reason) => self::reason(catalog, reason),
    }
}

/// A reason in words; a missing input by its point's name.
pub fn reason(catalog: &Catalog, reason: &Reason) -> String {
    match reason {
        Reason::Input(input) => match catalog.point(*input) {
            Some(point) => format!("no {}", point.name),
            None => reason.to_string(),
        },
        other => other.to_string(),
    }
}

/// `31.0 cm`, or the name of a state.
pub fn value_of(point: &Point, value: f64) -> String {
    let code = |number: i64| i32::try_from(number).map(f64::from);
    let state = point.states.iter().find(|(number, _)| code(*number).is_ok_and(|number| same(number, value)));
    if let Some((_, name)) = state {
        return name.clone();
    }
    let digits = usize::from(point.decimals);
    match point.unit {
        Some(unit) => format!("{value:.digits$} {}", unit.name()),
        None => format!("{value:.digits$}"),
    }
}

fn same(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-9
}

/// `31.0 cm >= 30.0 cm`, or what the alarm is about when it has no threshold.
pub fn comparison(catalog: &Catalog, rules: &[Rule], alarm: &Alarm) -> String {
    let rule = rules.iter().find(|rule| rule.name == alarm.rule);
    let number = |value: f64| match catalog.find(&alarm.point) {
        Some(point) => value_of(point, value),
        None => format!("{value:.2} {}", alarm.unit.as_deref().unwrap_or_default()),
    };
    match (rule.map(|rule| &rule.condition), alarm.value, alarm.threshold) {
        (Some(Condition::Stale { after, .. }), _, _) => format!("no number for {} s", after.as_secs()),
        (Some(Condition::Threshold { direction, .. }), Some(value), Some(threshold)) => {
            let sign = if *direction == Direction::Above { ">=" } else { "<=" };
            format!("{} {sign} {}", number(value), number(threshold))
        }
        (Some(Condition::Measured { measured, .. }), Some(value), Some(threshold)) => {
            let sign = if measured.direction == Direction::Above { ">=" } else { "<=" };
            match alarm.unit.as_deref() {
                Some(unit) => format!("{value:.2} {unit} {sign} {threshold:.2} {unit}"),
                None if measured.measure.is_yes_or_no() => "it holds".to_owned(),
                None => format!("{value:.2} {sign} {threshold:.2}"),
            }
        }
        (_, Some(value), _) => number(value),
        _ => match alarm.kind {
            Kind::Process => "no number",
            Kind::Sensor => "sensor trouble",
            Kind::System => "gateway trouble",
        }
        .to_owned(),
    }
}

/// `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `512 B`, `1.3 MB`.
pub fn bytes(number: u64) -> String {
    const STEPS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match STEPS.iter().find(|(_, size)| number >= *size) {
        Some((name, size)) => {
            let tenths = number / (size / 10);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{number} B"),
    }
}

/// `rs485-1 stray_bytes 34, ...`, the largest first; `none` when nothing was lost.
pub fn losses(picture: &Picture) -> String {
    let mut all: Vec<_> = picture.losses.iter().filter(|(_, count)| **count > 0).collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let words =
        all.iter().map(|((loss, place), number)| format!("{place} {} {}", loss.name(), count(**number)));
    let text = words.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "none".to_owned() } else { text }
}

/// `red 1, blue 2` over the active alarms; `none`.
pub fn tally(alarms: &BTreeMap<String, Alarm>) -> String {
    let mut numbers = BTreeMap::new();
    for alarm in alarms.values().filter(|alarm| active(alarm)) {
        *numbers.entry(std::cmp::Reverse(alarm.severity)).or_insert(0_u32) += 1;
    }
    let words = numbers.iter().map(|(grade, number)| format!("{} {number}", severity(grade.0)));
    let text = words.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "none".to_owned() } else { text }
}

/// `tsdb up, 1,234 readings, 3 alarms` and what waits or is wrong.
pub fn sink(name: &str, status: &forward::Status) -> String {
    let up = if status.up { "up" } else { "down" };
    let mut text =
        format!("{name} {up}, {} readings, {} transitions", count(status.readings), count(status.alarms));
    if status.backlog > 0 {
        text.push_str(&format!(", {} behind", many(status.backlog, "commit")));
    }
    if status.quarantined > 0 {
        text.push_str(&format!(", {} set aside", count(status.quarantined)));
    }
    if status.rejected > 0 {
        text.push_str(&format!(", {} rejected", count(status.rejected)));
    }
    if let Some(trouble) = &status.trouble {
        text.push_str(&format!(" ({trouble})"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([bytes(512), bytes(1_349), bytes(2_000_000_000)], ["512 B", "1.3 kB", "2.0 GB"]);
        let at = Timestamp::parse("2026-11-23T23:59:58.900Z").unwrap();
        assert_eq!(time_of_day(at, &zone("Asia/Shanghai")), "07:59:58");
        assert_eq!(time_of_day(at, &zone("Nowhere/Never")), "23:59:58");
    }
}
