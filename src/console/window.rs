//! The span of time that a question about history asks for, and the nearest name when it names no point of ours.
//!
//! In: what a person wrote (`2h`, RFC 3339, a time of the site's zone). Out: a half-open span, or why not, with times of that zone.
//! Invariant: a span that is accepted is not empty.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::clock::zone::Zone;

/// The end of a window that was left open: the last moment that RFC 3339 can write.
const OPEN_END: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// A half-open span `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First moment.
    pub from: Timestamp,
    /// One past the last moment.
    pub to: Timestamp,
}

/// Why a window was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the text says it")]
pub enum WindowError {
    #[error(
        "{key} is \"{text}\"; write a time like 2026-11-23T08:00:00 (of the site's zone), 2026-11-23T08:00:00Z or a date, or how long ago, like 90s, 15m, 2h, 7d"
    )]
    Unclear { key: &'static str, text: String },
    #[error("the window is empty: since {from} is not before until {to}")]
    Empty { from: String, to: String },
}

impl Window {
    /// The window between `since` (left out: `ago` before `now`) and `until` (left out: no end), in times of `zone`.
    ///
    /// # Errors
    /// A text is neither a time nor a duration, or nothing lies between the two.
    ///
    /// ```
    /// use lifeline_gateway::clock::{Timestamp, zone::Zone};
    /// use lifeline_gateway::console::window::Window;
    /// let now = Timestamp::parse("2026-11-23T08:00:00Z").unwrap();
    /// let zone = Zone::named("Asia/Shanghai");
    /// let window = Window::parse(Some("2h"), Some("2026-11-23T15:30:00"), now, "1d", &zone).unwrap();
    /// assert_eq!(window.from.to_string(), "2026-11-23T06:00:00.000Z");
    /// assert_eq!(window.to.to_string(), "2026-11-23T07:30:00.000Z");
    /// ```
    pub fn parse(
        since: Option<&str>,
        until: Option<&str>,
        now: Timestamp,
        ago: &str,
        zone: &Zone,
    ) -> Result<Self, WindowError> {
        let time = |key, text: &str| moment(key, &placed(text, zone.name()), now);
        let from = time("since", since.unwrap_or(ago))?;
        let to = until.map_or(Ok(OPEN_END), |until| time("until", until))?;
        if to <= from {
            return Err(WindowError::Empty { from: zone.tell(from), to: zone.tell(to) });
        }
        Ok(Self { from, to })
    }
}

/// A time, or a duration back from `now`.
pub(crate) fn moment(key: &'static str, text: &str, now: Timestamp) -> Result<Timestamp, WindowError> {
    if text == "all" {
        return Ok(Timestamp::from_millis(0));
    }
    let unclear = || WindowError::Unclear { key, text: text.to_owned() };
    match duration(text) {
        Some(ago) => Ok(now.minus(ago)),
        None => dated(text).ok_or_else(unclear),
    }
}

/// A time with its offset.
fn dated(text: &str) -> Option<Timestamp> {
    // A `+` of a query that nobody escaped arrives as a space.
    Timestamp::parse(text).or_else(|_| Timestamp::parse(&text.replace(' ', "+"))).ok()
}

/// A time as persons and tables write it, `2026-11-23T08:00:00+08:00` or `2026-11-23 08:00:00`: without an offset one of this zone.
pub(crate) fn time(text: &str, timezone: &str) -> Option<Timestamp> {
    let text = text.trim();
    dated(text).or_else(|| dated(&placed(text, timezone)))
}

/// A time without an offset is one of the site's zone, and a date its midnight: such a text with its offset; any other as it is.
pub fn placed(text: &str, timezone: &str) -> String {
    let local = || {
        let text = text.trim();
        // A parser of times without an offset reads over one: an offset that is not understood makes no time of another zone.
        if text.get(10..).is_some_and(|of_day| of_day.contains(['+', '-', '['])) {
            return None;
        }
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        let zone = jiff::tz::TimeZone::get(timezone).unwrap_or(jiff::tz::TimeZone::UTC);
        let at = zone.to_timestamp(civil).ok()?;
        Some(Timestamp::from_millis(at.as_millisecond()).to_string())
    };
    if dated(text).is_some() {
        return text.to_owned();
    }
    local().unwrap_or_else(|| text.to_owned())
}

/// The same of what may be left out.
pub(crate) fn placed_some(text: Option<String>, timezone: &str) -> Option<String> {
    text.map(|text| placed(&text, timezone))
}

/// A whole number and one of `ms s m h d`.
fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

/// The known name that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|known| (strsim::jaro_winkler(name, known), known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_420_800_000);

    fn ago_ms(text: &str) -> Option<i64> {
        Window::parse(Some(text), None, NOW, "1h", &Zone::default())
            .ok()
            .map(|window| NOW.as_millis() - window.from.as_millis())
    }

    #[test]
    fn durations_count_back_from_now() {
        for (text, ms) in
            [("1500ms", 1_500), ("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("7d", 604_800_000)]
        {
            assert_eq!(ago_ms(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_neither_time_nor_duration_is_refused() {
        for text in
            ["", "h", "2", "2 h", "-2h", "2w", "yesterday", "2026-11-33", "99999999999999999999h", "时"]
        {
            assert_eq!(ago_ms(text), None, "{text}");
        }
    }

    #[test]
    fn an_empty_window_is_refused_in_times_of_the_site() {
        let zone = Zone::named("Asia/Shanghai");
        let parse = |since, until| Window::parse(Some(since), Some(until), NOW, "1d", &zone);
        assert_eq!(
            parse("1h", "2026-11-23T14:00:00").unwrap_err().to_string(),
            "the window is empty: since 2026-11-23 15:00:00 +08:00 is not before until 2026-11-23 14:00:00 +08:00"
        );
        assert!(parse("2h", "1h").is_ok());
    }

    #[test]
    fn a_slip_finds_its_name_and_nonsense_does_not() {
        let known = ["regulator-3.pressure", "underpass-2.level"];
        assert_eq!(nearest("regulater-3.presure", known.into_iter()), Some("regulator-3.pressure"));
        assert_eq!(nearest("underpass.level", known.into_iter()), Some("underpass-2.level"));
        assert_eq!(nearest("zzz", known.into_iter()), None);
        assert_eq!(nearest("", known.into_iter()), None);
    }

    #[test]
    fn a_time_without_an_offset_is_one_of_the_site() {
        for (text, wanted) in [
            ("2026-11-28T20:32:00", "2026-11-28T12:32:00.000Z"),
            ("2026-11-28 20:32", "2026-11-28T12:32:00.000Z"),
            ("2026-11-28", "2026-11-27T16:00:00.000Z"),
            ("2026-11-28T20:32:00Z", "2026-11-28T20:32:00Z"),
            ("2026-11-28T20:32:00 08:00", "2026-11-28T20:32:00 08:00"),
            ("2026-11-28 20:32:00Z", "2026-11-28 20:32:00Z"),
            ("2026-11-28 20:32:00+01:00", "2026-11-28 20:32:00+01:00"),
            ("2026-11-28 20:32:00+99:00", "2026-11-28 20:32:00+99:00"),
            ("2h", "2h"),
            ("all", "all"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(placed(text, "Asia/Shanghai"), wanted);
        }
        for (text, wanted) in [
            ("2026-11-28 20:32:00+01:00", Some("2026-11-28T19:32:00.000Z")),
            ("2026-11-28T20:32:00 01:00", Some("2026-11-28T19:32:00.000Z")),
            (" 2026-11-28 20:32:00 ", Some("2026-11-28T12:32:00.000Z")),
            ("2026-11-28 20:32:00+99:00", None),
            ("2h", None),
        ] {
            assert_eq!(time(text, "Asia/Shanghai").map(|at| at.to_string()).as_deref(), wanted, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(since in ".*", until in ".*") {
            let _ = Window::parse(Some(&since), Some(&until), NOW, "1h", &Zone::named("Asia/Shanghai"));
        }
    }
}
