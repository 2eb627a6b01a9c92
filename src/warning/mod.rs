//! Reaching people about an alarm (叫应): the words of a notice.
//!
//! In: an alarm and the names a person knows. Out: one line of Chinese text.
//! Invariant: at most 70 UTF-16 units, so that it fits one short message and 140 bytes of any other narrow channel; no number without its unit and time.
//! Source: short messages carry 70 UCS-2 characters (3GPP TS 23.038); colours from blue to red are the statutory order of the four grades.

use jiff::tz::TimeZone;

use crate::alarm::{Alarm, Direction, Kind, Severity};
use crate::clock::Timestamp;

/// UTF-16 units of one short message.
pub const UNITS_MAX: usize = 70;
const CODE_MAX: usize = 12;
const UNIT_MAX: usize = 8;

/// The colour of a grade in Chinese, 蓝 黄 橙 红.
pub const fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Blue => "蓝",
        Severity::Yellow => "黄",
        Severity::Orange => "橙",
        Severity::Red => "红",
    }
}

/// The colour of a grade in English.
pub const fn colour_english(severity: Severity) -> &'static str {
    match severity {
        Severity::Blue => "blue",
        Severity::Yellow => "yellow",
        Severity::Orange => "orange",
        Severity::Red => "red",
    }
}

/// The words of a notice: `【红色】GA-0031 调压站 出口压力3.1kPa≥3.0 10:00起 关阀`.
///
/// `name` is what people call the point; `direction` is the rule's (`None` for a silent device); the time is shown in `zone`. Advice is cut to fit, then the name;
/// grade, value and time never. Once the condition is gone the notice begins with `解除`.
///
/// ```
/// assert_eq!(lifeline_gateway::warning::colour(lifeline_gateway::alarm::Severity::Red), "红");
/// ```
pub fn text(alarm: &Alarm, name: &str, direction: Option<Direction>, zone: &TimeZone) -> String {
    let over = if alarm.state.is_active() { "" } else { "解除" };
    let mut head = format!("【{}色{over}】", colour(alarm.severity));
    if let Some(code) = alarm.risk_point.as_deref().map(short_code) {
        head.push_str(&code);
        head.push(' ');
    }
    let mut tail = facts(alarm, direction);
    tail.push_str(&format!(" {}起", local_time(alarm.since, zone)));
    if let Some(present) = alarm.present {
        tail.push_str(&format!(" 现{}色", colour(present)));
    }
    if alarm.unverified {
        tail.push_str(" 未核实");
    }
    let name = cut(name, UNITS_MAX.saturating_sub(units(&head) + units(&tail)));
    let mut text = head + &name + &tail;
    let left = UNITS_MAX.saturating_sub(units(&text) + 1);
    if alarm.state.is_active() && !alarm.advice.is_empty() && left > 0 {
        text.push(' ');
        text.push_str(&cut(&alarm.advice, left));
    }
    text
}

/// The part of a risk point's code that tells it from its neighbours: `GA-0031` of `500108-GA-0031-A`.
fn short_code(code: &str) -> String {
    let mut parts = code.split('-');
    let area = parts.next().unwrap_or_default();
    let is_area = !area.is_empty() && area.bytes().all(|byte| byte.is_ascii_digit());
    match (is_area, parts.next(), parts.next()) {
        (true, Some(class), Some(number)) => cut(&format!("{class}-{number}"), CODE_MAX),
        _ => cut(code, CODE_MAX),
    }
}

/// What is measured: `3.1kPa≥3.0`; a value that is back over the threshold while the alarm is held is `2.98kPa(限3.00)`.
fn facts(alarm: &Alarm, direction: Option<Direction>) -> String {
    let unit = cut(alarm.unit.as_deref().unwrap_or_default(), UNIT_MAX);
    match (alarm.kind, alarm.value, alarm.threshold) {
        (Kind::Sensor, None, _) => " 无数据".to_owned(),
        (Kind::System, ..) | (Kind::Process, None, _) => String::new(),
        (_, Some(value), None) => format!("{}{unit}", number(value, decimals(value))),
        (_, Some(value), Some(threshold)) => {
            let places = decimals(value).max(decimals(threshold));
            let (shown, limit) = (number(value, places), number(threshold, places));
            match direction {
                _ if !alarm.state.is_active() => format!("{shown}{unit}"),
                Some(Direction::Above) if value >= threshold => format!("{shown}{unit}≥{limit}"),
                Some(Direction::Below) if value <= threshold => format!("{shown}{unit}≤{limit}"),
                Some(Direction::Above | Direction::Below) | None => format!("{shown}{unit}(限{limit})"),
            }
        }
    }
}

/// Digits after the point that show `value` to a thousandth.
fn decimals(value: f64) -> usize {
    let text = format!("{value:.3}");
    text.split_once('.').map_or(0, |(_, digits)| digits.trim_end_matches('0').len())
}

fn number(value: f64, places: usize) -> String {
    if value.abs() < 1e7 { format!("{value:.places$}") } else { format!("{value:.2e}") }
}

fn local_time(at: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(at.as_millis()) {
        Ok(at) => zone.to_datetime(at).strftime("%H:%M").to_string(),
        Err(_) => "--:--".to_owned(),
    }
}

fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// `text` in at most `most` UTF-16 units; what was cut shows as `…`.
fn cut(text: &str, most: usize) -> String {
    if units(text) <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub(1);
    let fits = |symbol: &char| {
        let fits = symbol.len_utf16() <= left;
        left = left.saturating_sub(symbol.len_utf16());
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    if most > 0 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alarm::Base;

    fn alarm() -> Alarm {
        Alarm {
            id: "0123456789abcdef".into(),
            kind: Kind::Process,
            rule: "outlet-pressure-high".into(),
            rule_version: "1".into(),
            point: "regulator-3.pressure".into(),
            risk_point: Some("500108-GA-0031-A".into()),
            town: None,
            severity: Severity::Red,
            present: None,
            state: Base::ActiveUnacknowledged,
            unverified: false,
            since: Timestamp::parse("2026-11-23T10:00:00+08:00").unwrap(),
            value: Some(3.1),
            threshold: Some(3.0),
            unit: Some("kPa".into()),
            advice: "关阀".into(),
            acknowledged: None,
            overlay: Default::default(),
            guide: Default::default(),
            trend: None,
            marks: Default::default(),
        }
    }

    fn zone() -> TimeZone {
        TimeZone::fixed(jiff::tz::offset(8))
    }

    #[test]
    fn a_notice_says_it_all_in_one_line() {
        let (name, above) = ("调压站 出口压力", Some(Direction::Above));
        let told = |alarm: &Alarm| text(alarm, name, above, &zone());
        assert_eq!(told(&alarm()), "【红色】GA-0031 调压站 出口压力3.1kPa≥3.0 10:00起 关阀");

        let held = Alarm { value: Some(2.98), unverified: true, ..alarm() };
        assert_eq!(told(&held), "【红色】GA-0031 调压站 出口压力2.98kPa(限3.00) 10:00起 未核实 关阀");

        let gone = Alarm { state: Base::ReturnedUnacknowledged, value: Some(2.9), ..alarm() };
        assert_eq!(told(&gone), "【红色解除】GA-0031 调压站 出口压力2.9kPa 10:00起");

        let low = Alarm { severity: Severity::Blue, value: Some(1.0), risk_point: None, ..alarm() };
        assert_eq!(text(&low, "水压", Some(Direction::Below), &zone()), "【蓝色】水压1kPa≤3 10:00起 关阀");
    }

    #[test]
    fn silence_and_the_gateway_have_no_number() {
        let stale = Alarm { kind: Kind::Sensor, value: None, threshold: None, ..alarm() };
        assert_eq!(text(&stale, "调压站", None, &zone()), "【红色】GA-0031 调压站 无数据 10:00起 关阀");
        let disk = Alarm { kind: Kind::System, value: Some(1.0), threshold: Some(1.0), ..alarm() };
        assert_eq!(
            text(&disk, "网关磁盘", Some(Direction::Above), &zone()),
            "【红色】GA-0031 网关磁盘 10:00起 关阀"
        );
    }

    #[test]
    fn advice_is_cut_before_the_name() {
        let wordy = Alarm { advice: "立即关闭进站阀门并疏散周边居民".repeat(5), ..alarm() };
        let told = text(&wordy, "调压站 出口压力", Some(Direction::Above), &zone());
        assert_eq!(units(&told), UNITS_MAX);
        assert!(told.starts_with("【红色】GA-0031 调压站 出口压力3.1kPa≥3.0 10:00起 立即关闭"));
        assert!(told.ends_with('…'));
    }

    proptest! {
        #[test]
        fn a_notice_always_fits(
            name in ".{0,90}", advice in ".{0,90}", code in proptest::option::of(".{0,40}"), unit in ".{0,40}",
            value in proptest::num::f64::NORMAL, threshold in proptest::num::f64::NORMAL, since in any::<i64>(), unverified: bool,
        ) {
            let alarm = Alarm {
                advice, risk_point: code, unit: Some(unit), value: Some(value), threshold: Some(threshold), unverified,
                since: Timestamp::from_millis(since), ..alarm()
            };
            let told = text(&alarm, &name, Some(Direction::Above), &zone());
            prop_assert!(units(&told) <= UNITS_MAX, "{} units: {told}", units(&told));
            prop_assert!(told.contains('起'));
        }
    }
}
