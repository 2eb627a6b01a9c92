//! Alarms and what lies over rules, as text for people.
//!
//! In: the shapes of `console::view`. Out: tables, times in the site's zone.
//! Invariant: severity stands in words (colour and Chinese), never in colour alone.

use std::io::Write;

use crate::alarm::{Base, Severity, overlay};
use crate::cli::answers::{Zone, long, section};
use crate::cli::table::Table;
use crate::clock::Timestamp;
use crate::console::now::NowView;
use crate::console::status::PointView;
use crate::console::view::{AlarmView, RuleView, is_unseen};

/// From which age on a number is told with it.
#[derive(Clone, Copy)]
pub(crate) struct Ages {
    now: Timestamp,
    told_from_s: u64,
}

impl Ages {
    /// Of a gateway that runs: a minute, by its own clock.
    pub(crate) const fn running(now: Timestamp) -> Self {
        Self { now, told_from_s: 60 }
    }

    /// Of a journal: always.
    pub(crate) const fn on_disk(now: Timestamp) -> Self {
        Self { now, told_from_s: 0 }
    }
}

/// Open alarms, with the points that they are of.
pub(crate) fn alarms(
    alarms: &[AlarmView],
    points: &[PointView],
    (zone, ages): (&Zone, Ages),
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if alarms.is_empty() {
        return Ok(writeln!(out, "no open alarms")?);
    }
    table_of(alarms, points, (zone, ages), out)?;
    let unseen = alarms.iter().filter(|alarm| is_unseen(alarm.state)).count();
    Ok(writeln!(out, "{} open, {unseen} not acknowledged", alarms.len())?)
}

/// One alarm after something was done to it.
pub(crate) fn acted(
    alarm: &AlarmView,
    points: &[PointView],
    (zone, ages): (&Zone, Ages),
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if alarm.state == Base::Normal {
        return Ok(writeln!(out, "{} {}: the alarm is over", alarm.id, alarm.rule)?);
    }
    table_of(std::slice::from_ref(alarm), points, (zone, ages), out)?;
    // Until when, in the site's zone: that is where a time without an offset was taken.
    let rule = RuleView { rule: alarm.rule.clone(), overlay: alarm.overlay.clone(), hides: Vec::new() };
    let over = overlays(&[rule], zone);
    section(&over, out)
}

fn table_of(
    alarms: &[AlarmView],
    points: &[PointView],
    (zone, ages): (&Zone, Ages),
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let heads = [
        "id", "severity", "state", "since", "place", "rule", "point", "value", "limit", "unit", "now",
        "advice",
    ];
    let mut table = Table::new(&heads);
    for alarm in alarms {
        let point = points.iter().find(|point| point.name == alarm.point);
        let number = |number: Option<f64>| {
            number.map(|number| told(number, alarm.unit.as_deref(), point)).unwrap_or_default()
        };
        table.row(vec![
            alarm.id.clone(),
            severities(alarm),
            state(alarm),
            zone.show(&alarm.since),
            alarm.tell.place.clone().unwrap_or_default(),
            alarm.rule.clone(),
            alarm.point.clone(),
            number(alarm.value),
            number(alarm.threshold),
            alarm.unit.clone().unwrap_or_default(),
            alarm.now.as_ref().map(|now| judged(now, point, ages)).unwrap_or_default(),
            alarm.advice.clone(),
        ]);
    }
    Ok(table.emit(out)?)
}

/// What the rule judges now: `31.5 cm`, `open`, `timeout`; with its doubt, and with its age when it is old.
fn judged(now: &NowView, point: Option<&PointView>, ages: Ages) -> String {
    let number = now.value.map(|value| told(value, now.unit.as_deref(), point));
    let mut text = match (&now.state, number, &now.reason) {
        (Some(state), ..) => state.clone(),
        (None, Some(number), _) => format!("{number} {}", now.unit.as_deref().unwrap_or_default()),
        (None, None, Some(reason)) => reason.clone(),
        (None, None, None) => now.quality.clone(),
    };
    text.truncate(text.trim_end().len());
    if now.value.is_some() && now.quality != "good" {
        text += &format!(" ({})", now.reason.as_deref().unwrap_or(&now.quality));
    }
    match now.age_s(ages.now).filter(|age| ages.told_from_s <= *age) {
        Some(age) => format!("{text}, {} ago", long(age)),
        None => text,
    }
}

/// A number of an alarm: in the unit of its point with the digits that the sensor resolves, as readings have them. A rise, a sum, a count
/// or the answer to a question is no reading of the point and has the digits that count.
fn told(value: f64, unit: Option<&str>, point: Option<&PointView>) -> String {
    match point {
        Some(point) if unit.is_some() && point.unit.as_deref() == unit => {
            format!("{value:.*}", usize::from(point.decimals))
        }
        _ => brief(value),
    }
}

/// A number for a table: all digits before the point, four that count, no zeros behind.
fn brief(value: f64) -> String {
    let before = value.abs().max(1.0).log10().floor();
    let places = (0_u8..=3).rev().find(|places| f64::from(*places) <= 3.0 - before).unwrap_or(0);
    let small = value != 0.0 && value.abs() < 0.01;
    let text = if small { format!("{value:.1e}") } else { format!("{value:.*}", usize::from(places)) };
    if text.contains('.') && !small {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Rules over which something lies.
pub(crate) fn hidden(rules: &[RuleView], zone: &Zone, out: &mut dyn Write) -> anyhow::Result<()> {
    let table = overlays(rules, zone);
    if table.is_empty() {
        return Ok(writeln!(out, "no rule is shelved, out of service or suppressed")?);
    }
    Ok(table.emit(out)?)
}

/// What a sensor's maintenance does, with the open alarms that nobody is told of meanwhile.
pub(crate) fn maintained(view: &RuleView, zone: &Zone, out: &mut dyn Write) -> anyhow::Result<()> {
    hidden(std::slice::from_ref(view), zone, out)?;
    for alarm in &view.hides {
        let what = format!("{} alarm, {}", severity(alarm.severity), base(alarm.state));
        writeln!(out, "it hides {} {}: {what}", alarm.id, alarm.rule)?;
    }
    if view.hides.is_empty() {
        writeln!(out, "it hides no open alarm")?;
    }
    Ok(())
}

fn overlays(rules: &[RuleView], zone: &Zone) -> Table {
    let mut table = Table::new(&["rule", "overlay", "since or until", "by", "why"]).whole();
    for RuleView { rule, overlay, .. } in rules {
        let mut row = |what: &str, when: String, by: &str, why: String| {
            table.row(vec![rule.clone(), what.to_owned(), when, by.to_owned(), why]);
        };
        if let Some(shelf) = &overlay.shelf {
            let what = format!("shelved ({})", shelf.count);
            row(&what, format!("until {}", zone.show(&shelf.until)), &shelf.by, shelf.reason.clone());
        }
        for (what, permit) in
            [("out of service", &overlay.permit), ("out of service later", &overlay.planned)]
        {
            let Some(permit) = permit else { continue };
            let when = format!("{} to {}", zone.show(&permit.from), zone.show(&permit.to));
            let instead = permit.substitute.as_deref().map(|text| format!("; {text}")).unwrap_or_default();
            let why = permit.reason.as_deref().map(|reason| format!("; {reason}")).unwrap_or_default();
            let who = overlay::who(&permit.permit, &permit.by, &permit.responsible);
            row(what, when, &who, format!("permit {}{instead}{why}", permit.permit));
        }
        if let Some(by) = &overlay.suppressed_by {
            row("suppressed by design", format!("since {}", zone.show(&by.since)), &by.by, String::new());
        }
        if let Some(cause) = &overlay.cause {
            row("explained", format!("since {}", zone.show(&cause.since)), &cause.by, String::new());
        }
        if let Some(hand) = &overlay.lifted {
            row("raised by hand", format!("until {}", zone.show(&hand.until)), &hand.by, hand.reason.clone());
        }
    }
    table
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Red => "红 red",
        Severity::Orange => "橙 orange",
        Severity::Yellow => "黄 yellow",
        Severity::Blue => "蓝 blue",
    }
}

/// The severity that waits to be seen, and the one that is measured now where that is lower.
fn severities(alarm: &AlarmView) -> String {
    let present = alarm.tell.present.map(|present| format!(", now {}", severity(present)));
    format!("{}{}", severity(alarm.severity), present.unwrap_or_default())
}

const fn base(state: Base) -> &'static str {
    match state {
        Base::Normal => "normal",
        Base::ActiveUnacknowledged => "active, NOT acknowledged",
        Base::ActiveAcknowledged => "active, acknowledged",
        Base::ReturnedUnacknowledged => "returned, NOT acknowledged",
        Base::LatchedUnacknowledged => "latched, NOT acknowledged",
        Base::LatchedAcknowledged => "latched, acknowledged",
    }
}

fn state(alarm: &AlarmView) -> String {
    let state = base(alarm.state);
    let by = alarm.acknowledged_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
    let then = if alarm.state == Base::LatchedAcknowledged { ", waits for reset" } else { "" };
    let (tell, over) = (&alarm.tell, &alarm.overlay);
    let marks = [
        (tell.drill, "演练 drill"),
        (over.out_of_service, "out of service"),
        (over.shelved, "shelved"),
        (over.lifted.is_some(), "raised by hand"),
        (alarm.unverified, "unverified"),
        (tell.chattering, "chattering"),
        (tell.fleeting, "fleeting"),
        (over.suppressed, "suppressed"),
    ];
    let marks: String =
        marks.into_iter().filter(|(is, _)| *is).map(|(_, word)| format!(", {word}")).collect();
    let below = over.cause.as_ref().filter(|_| over.suppressed);
    let below = below.map(|cause| format!(" below {}", cause.by)).unwrap_or_default();
    format!("{state}{by}{then}{marks}{below}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_table_are_brief() {
        let shown =
            [3.291_239_96, 0.333_333_3, 8.0, 3.2, 12_345.678, 0.000_12, 0.0, -40.25, 100.0].map(brief);
        assert_eq!(shown, ["3.291", "0.333", "8", "3.2", "12346", "1.2e-4", "0", "-40.25", "100"]);
    }

    #[test]
    fn numbers_of_an_alarm_have_the_digits_of_their_point() {
        let point = PointView {
            name: "a.level".to_owned(),
            short: "level".to_owned(),
            unit: Some("cm".to_owned()),
            ucum: None,
            decimals: 1,
            states: Vec::new(),
        };
        for (value, unit, known, text) in [
            (32.0, Some("cm"), true, "32.0"),
            (27.123_456, Some("cm"), true, "27.1"),
            (12_345.678, Some("cm"), true, "12345.7"),
            (1.234_567, Some("cm/min"), true, "1.235"),
            (3.0, None, true, "3"),
            (27.123_456, Some("cm"), false, "27.12"),
        ] {
            assert_eq!(told(value, unit, known.then_some(&point)), text, "{value} {unit:?}");
        }
    }
}
