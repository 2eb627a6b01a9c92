//! Indicators of the district's plan that sensors give: 困人率 and time to rescue, 检验率, ponding above each level, rain.
//!
//! In: transitions and readings of a time, oldest first. Out: counts that ratios are made of.
//! Invariant: integers are compared, never printed percentages; what was not measured is told apart from nought.
//! Source: the plan's targets are 困人率 below 0.5 % (50 of 10,000 is not below) and 检验率 90 % or more (以上 includes the number itself). It does not
//! define 困人率; two readings are in use, and both are given.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::alarm::{Change, Severity, Transition};
use crate::clock::Timestamp;

/// Why somebody was shut in, as a person said afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// The lift.
    Equipment,
    /// Misuse, a false alarm.
    Human,
    /// Mains, fire, water.
    External,
    /// Nobody said: counts as a fault, so that silence makes no figure better.
    #[default]
    Unknown,
}

impl Cause {
    /// The cause in a note that says `cause: external`; `None` when it says none.
    pub fn parse(note: &str) -> Option<Self> {
        let words = note.replace(':', ": ");
        let mut words = words.split_whitespace().skip_while(|word| *word != "cause:").skip(1);
        match words.next()?.trim_matches(|letter: char| !letter.is_ascii_alphabetic()) {
            "equipment" => Some(Self::Equipment),
            "human" => Some(Self::Human),
            "external" => Some(Self::External),
            "unknown" => Some(Self::Unknown),
            _ => None,
        }
    }

    /// Whether 困人率 counts it.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Equipment | Self::Unknown)
    }
}

/// Somebody was shut in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrapment {
    /// The rule that saw it.
    pub rule: String,
    /// When it began.
    pub since: Timestamp,
    /// When the door opened at a floor; `None`: not yet.
    pub rescued: Option<Timestamp>,
    /// Why.
    pub cause: Cause,
    worst: Option<Severity>,
}

/// Entrapments of a time, from the alarm log.
#[derive(Clone, Debug, Default)]
pub struct Entrapments {
    /// Rules that see entrapments, and the severity from which one is more than suspected.
    rules: BTreeMap<String, Severity>,
    found: BTreeMap<String, Entrapment>,
}

impl Entrapments {
    /// None yet. `rules`: those that see entrapments, with the severity that makes one of a suspicion.
    pub fn new(rules: BTreeMap<String, Severity>) -> Self {
        Self { rules, found: BTreeMap::new() }
    }

    /// Takes one transition.
    pub fn take(&mut self, transition: &Transition) {
        let alarm = &transition.alarm;
        if alarm.marks.drill || !self.rules.contains_key(&alarm.rule) {
            return;
        }
        let one = self.found.entry(alarm.id.clone()).or_insert_with(|| Entrapment {
            rule: alarm.rule.clone(),
            since: alarm.since,
            rescued: None,
            cause: Cause::default(),
            worst: None,
        });
        // A severity that a person raised is no measurement, for as long as it holds; one above it is.
        let measured = alarm.overlay.hand.as_ref().is_none_or(|hand| hand.severity < alarm.severity);
        if alarm.state.is_active() && measured {
            one.worst = one.worst.max(Some(alarm.severity));
        }
        match transition.change {
            Change::Cleared => one.rescued = Some(transition.at),
            Change::Reraised => one.rescued = None,
            _ => {}
        }
        if let Some(cause) = transition.note.as_deref().and_then(Cause::parse) {
            one.cause = cause;
        }
    }

    /// Those that began in `from..to`, without mere suspicions.
    pub fn within(&self, from: Timestamp, to: Timestamp) -> Vec<&Entrapment> {
        let real = |one: &&Entrapment| {
            from <= one.since && one.since < to && one.worst >= self.rules.get(&one.rule).copied()
        };
        self.found.values().filter(real).collect()
    }
}

/// Median and longest of some times; `None` of none.
pub fn median_and_longest(mut times: Vec<Duration>) -> Option<(Duration, Duration)> {
    times.sort();
    let longest = *times.last()?;
    let upper = *times.get(times.len() / 2)?;
    let lower = *times.get((times.len() - 1) / 2)?;
    Some(((upper + lower) / 2, longest))
}

/// Whether `part` of `whole` is below half a percent; `None` of nothing.
pub fn below_half_percent(part: u32, whole: u32) -> Option<bool> {
    (whole > 0).then(|| u64::from(part) * 200 < u64::from(whole))
}

/// `part` of `whole` in percent with two decimals, rounded down; `n/a` of nothing.
pub fn hundredths(part: u32, whole: u32) -> String {
    match (u64::from(part) * 10_000).checked_div(u64::from(whole)) {
        Some(parts) => format!("{}.{:02}", parts / 100, parts % 100),
        None => "n/a".to_owned(),
    }
}

/// How long a reading was at or above each of some levels.
#[derive(Clone, Debug)]
pub struct Above {
    max_gap: Duration,
    last: Option<(Timestamp, f64)>,
    /// Level, time at or above it, how often it was reached.
    pub levels: Vec<(f64, Duration, u32)>,
    /// Time that something is known of.
    pub measured: Duration,
    /// The highest number.
    pub highest: Option<(f64, Timestamp)>,
}

impl Above {
    /// Numbers farther apart than `max_gap` say nothing of the time between them.
    pub fn new(levels: &[f64], max_gap: Duration) -> Self {
        Self {
            max_gap,
            last: None,
            levels: levels.iter().map(|level| (*level, Duration::ZERO, 0)).collect(),
            measured: Duration::ZERO,
            highest: None,
        }
    }

    /// Takes a reading; `None`: it has no number that can be believed.
    pub fn take(&mut self, at: Timestamp, value: Option<f64>) {
        let before = self.last.filter(|(then, _)| *then <= at);
        if let Some((then, value)) = before.filter(|(then, _)| at.since(*then) <= self.max_gap) {
            let time = at.since(then);
            self.measured += time;
            for (level, above, _) in &mut self.levels {
                *above += if *level <= value { time } else { Duration::ZERO };
            }
        }
        if let Some(value) = value {
            for (level, _, times) in &mut self.levels {
                let below = before.is_none_or(|(_, before)| before < *level);
                *times += u32::from(*level <= value && below);
            }
            if self.highest.is_none_or(|(highest, _)| highest < value) {
                self.highest = Some((value, at));
            }
        }
        self.last = value.map(|value| (at, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::risk::coverage::percent;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(minute * 60_000)
    }

    #[test]
    fn half_a_percent_is_not_below_half_a_percent() {
        let rate = |part, whole| (hundredths(part, whole), below_half_percent(part, whole));
        assert_eq!(rate(50, 10_000), ("0.50".to_owned(), Some(false)));
        assert_eq!(rate(49, 10_000), ("0.49".to_owned(), Some(true)));
        assert_eq!(rate(0, 0), ("n/a".to_owned(), None));
        // Jinan, fourth quarter of 2017: 95 by people and 100 from outside of 350.
        assert_eq!(percent(350 - 95 - 100, 350), "44.2");
    }

    #[test]
    fn causes_in_notes() {
        let cases = [
            ("cause: external, power cut", Some(Cause::External)),
            ("door motor, cause:equipment.", Some(Cause::Equipment)),
            ("cause: weather", None),
            ("because: human", None),
            ("freed", None),
        ];
        for (note, want) in cases {
            assert_eq!(Cause::parse(note), want, "{note}");
        }
        assert!(Cause::Unknown.is_fault() && !Cause::External.is_fault());
    }

    #[test]
    fn ponding_by_level() {
        let mut above = Above::new(&[5.0, 10.0, 15.0, 20.0, 27.0], 6 * MINUTE);
        for (minute, cm) in [(0, 8.0), (5, 11.0), (10, 15.0), (15, 20.0)] {
            above.take(at(minute), Some(cm));
        }
        let times: Vec<_> =
            above.levels.iter().map(|(_, time, times)| (time.as_secs() / 60, *times)).collect();
        assert_eq!(times, [(15, 1), (10, 1), (5, 1), (0, 1), (0, 0)]);
        // A bad reading ends what is known, and so does a gap.
        above.take(at(20), None);
        above.take(at(25), Some(30.0));
        above.take(at(35), Some(3.0));
        assert_eq!((above.measured, above.highest), (20 * MINUTE, Some((30.0, at(25)))));
        assert_eq!(above.levels[4], (27.0, Duration::ZERO, 1), "nobody knows how long");
    }

    #[test]
    fn middle_of_times() {
        assert_eq!(median_and_longest(vec![]), None);
        assert_eq!(median_and_longest(vec![MINUTE * 9, MINUTE, MINUTE * 2]), Some((MINUTE * 2, MINUTE * 9)));
        assert_eq!(median_and_longest(vec![MINUTE, MINUTE * 4]), Some((MINUTE * 5 / 2, MINUTE * 4)));
    }
}
