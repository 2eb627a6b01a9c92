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

/// A number of which no resolution is known: nine digits that count, so that what arithmetic leaves behind is not shown.
pub fn number(value: f64) -> String {
    format!("{value:.8e}").parse().unwrap_or(value).to_string()
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

/// `31.0 cm >= 30.0 cm`, `1.3 cm (limit 5.0 cm)` once that does not hold, or what the alarm is about when it has no threshold.
pub fn comparison(catalog: &Catalog, rules: &[Rule], alarm: &Alarm) -> String {
    let rule = rules.iter().find(|rule| rule.name == alarm.rule);
    let point = catalog.find(&alarm.point);
    let number = |value: f64| match point {
        Some(point) => value_of(point, value),
        None => format!("{value:.2} {}", alarm.unit.as_deref().unwrap_or_default()).trim_end().to_owned(),
    };
    match (rule.map(|rule| &rule.condition), alarm.value, alarm.threshold) {
        (Some(Condition::Stale { after, .. }), _, _) => {
            format!("no number for {} s, or only now and then", after.as_secs())
        }
        (Some(Condition::Threshold { .. }), Some(value), _)
            if point.is_some_and(|point| !point.states.is_empty()) =>
        {
            // States have names and no order.
            number(value)
        }
        (Some(Condition::Threshold { direction, .. }), Some(value), Some(threshold)) => {
            compared(*direction, (value, threshold), number)
        }
        (Some(Condition::Measured { measured, .. }), Some(value), Some(threshold)) => {
            let measure = |value: f64| match alarm.unit.as_deref() {
                Some(unit) => format!("{value:.2} {unit}"),
                None => format!("{value:.2}"),
            };
            if alarm.unit.is_none() && measured.measure.is_yes_or_no() {
                let holds = holds(measured.direction, value, threshold);
                return if holds { "(its condition holds)" } else { "(its condition holds no more)" }
                    .to_owned();
            }
            compared(measured.direction, (value, threshold), measure)
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

fn holds(direction: Direction, value: f64, threshold: f64) -> bool {
    if direction == Direction::Above { threshold <= value } else { value <= threshold }
}

/// A comparison that is true; else the value and the limit beside it.
fn compared(direction: Direction, (value, threshold): (f64, f64), number: impl Fn(f64) -> String) -> String {
    let sign = if direction == Direction::Above { ">=" } else { "<=" };
    if holds(direction, value, threshold) {
        format!("{} {sign} {}", number(value), number(threshold))
    } else {
        format!("{} (limit {})", number(value), number(threshold))
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
    fn only_a_true_comparison_has_its_sign() {
        let cm = |value: f64| format!("{value:.1} cm");
        assert_eq!(compared(Direction::Above, (31.0, 30.0), cm), "31.0 cm >= 30.0 cm");
        assert_eq!(compared(Direction::Above, (1.3, 5.0), cm), "1.3 cm (limit 5.0 cm)");
        assert_eq!(compared(Direction::Below, (2.0, 2.0), cm), "2.0 cm <= 2.0 cm");
        assert_eq!(compared(Direction::Below, (2.4, 2.0), cm), "2.4 cm (limit 2.0 cm)");
    }

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
