//! How many alarms reach a person: rates against the figures of ISA-18.2, floods, and who talks most.
//!
//! In: transitions in order, time. Out: [`Figures`], and whether there is a flood.
//! Invariant: only what tells a person is counted: no drill, nothing hidden; the same transitions give the same figures.
//! Source: ISA-18.2-2016 and EEMUA 191: about one alarm in 10 min is acceptable, two are manageable; a flood begins with more than ten in 10 min and ends with
//! fewer than five; 150 a day are acceptable, 300 manageable.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::{Change, Transition};
use crate::clock::Timestamp;

/// The window of the rates: `(t - 10 min, t]`.
pub const WINDOW: Duration = Duration::from_secs(600);
/// More than this many new alarms in the window are a flood.
pub const FLOOD_OVER: usize = 10;
/// Fewer than this many end it.
pub const FLOOD_UNDER: usize = 5;
/// Alarms in 10 minutes that one operator can live with, and at most manage.
pub const RATE: (f64, f64) = (1.0, 2.0);
/// The name of the flood's own rule.
pub const FLOOD_RULE: &str = "gateway-flood";
const HOUR_MS: i64 = 3_600_000;
const DAY: Duration = Duration::from_secs(86_400);

/// What reached a person within the last day.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Times of new alarms of the last day, oldest first; beyond [`KEPT`] the oldest go.
    times: VecDeque<Timestamp>,
    /// New alarms and fleeting ones of each rule by hour of the clock.
    talkers: BTreeMap<String, VecDeque<(i64, u32, u32)>>,
    flood: Option<Timestamp>,
}

/// Times that are kept: a day of one alarm every four seconds.
const KEPT: usize = 20_000;

/// Figures for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// New alarms in the last 10 minutes.
    pub ten_minutes: usize,
    /// In the last hour.
    pub hour: usize,
    /// In the last day.
    pub day: usize,
    /// New alarms per 10 minutes, mean of the last hour.
    pub rate: f64,
    /// `acceptable` (up to 1 in 10 min), `manageable` (up to 2), `too many`.
    pub verdict: String,
    /// Since when there is a flood.
    pub flood_since: Option<Timestamp>,
    /// The ten rules with the most new alarms in the last day.
    pub top: Vec<Talker>,
    /// Their share of all, in percent.
    pub top_share: f64,
}

/// A rule that talks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Talker {
    /// Its name.
    pub rule: String,
    /// New alarms in the last day.
    pub raised: u32,
    /// Those that ended by themselves within a minute.
    pub fleeting: u32,
}

impl Load {
    /// Takes one transition.
    pub fn take(&mut self, transition: &Transition) {
        let alarm = &transition.alarm;
        if alarm.marks.drill || alarm.rule == FLOOD_RULE {
            return;
        }
        let new = matches!(transition.change, Change::Raised | Change::Reraised) && transition.notifies();
        let fleeting =
            transition.change == Change::Cleared && alarm.marks.fleeting && alarm.hidden().is_none();
        if !new && !fleeting {
            return;
        }
        let hour = transition.at.as_millis().div_euclid(HOUR_MS);
        let hours = self.talkers.entry(alarm.rule.clone()).or_default();
        if hours.back().is_none_or(|(last, ..)| *last != hour) {
            hours.push_back((hour, 0, 0));
        }
        if let Some((_, raised, short)) = hours.back_mut() {
            *raised = raised.saturating_add(u32::from(new));
            *short = short.saturating_add(u32::from(fleeting));
        }
        if new {
            if self.times.len() == KEPT {
                self.times.pop_front();
            }
            self.times.push_back(transition.at);
            self.look(transition.at);
        }
    }

    /// When the flood ends, if nothing comes.
    pub fn due(&self) -> Option<Timestamp> {
        self.flood?;
        let fifth = self.times.len().checked_sub(FLOOD_UNDER).and_then(|index| self.times.get(index));
        Some(fifth.map_or(Timestamp::default(), |at| at.plus(WINDOW)))
    }

    /// Looks whether a flood begins or ends, and lets go what is older than a day.
    pub fn look(&mut self, now: Timestamp) {
        while self.times.front().is_some_and(|&at| now.since(at) >= DAY) {
            self.times.pop_front();
        }
        let recent = self.within(WINDOW, now);
        if self.flood.is_none() && recent > FLOOD_OVER {
            self.flood = Some(now);
        } else if recent < FLOOD_UNDER {
            self.flood = None;
        }
    }

    /// Since when there is a flood.
    pub const fn flood(&self) -> Option<Timestamp> {
        self.flood
    }

    /// The figures at `now`.
    pub fn figures(&self, now: Timestamp) -> Figures {
        let hour = self.within(Duration::from_secs(3600), now);
        let day = self.within(DAY, now);
        let share = |part: usize, whole: usize| {
            let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
            if whole == 0 { 0.0 } else { count(part) / count(whole) }
        };
        let rate = share(hour, 6);
        let verdict = match rate {
            rate if rate <= RATE.0 => "acceptable",
            rate if rate <= RATE.1 => "manageable",
            _ => "too many",
        };
        let since = now.minus(DAY).as_millis().div_euclid(HOUR_MS);
        let mut top: Vec<Talker> =
            self.talkers.iter().map(|(rule, hours)| talker(rule, hours, since)).collect();
        top.retain(|talker| talker.raised > 0);
        top.sort_by(|a, b| b.raised.cmp(&a.raised).then_with(|| a.rule.cmp(&b.rule)));
        let all: u32 = top.iter().map(|talker| talker.raised).sum();
        top.truncate(10);
        let most: u32 = top.iter().map(|talker| talker.raised).sum();
        let whole = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        Figures {
            ten_minutes: self.within(WINDOW, now),
            hour,
            day,
            rate,
            verdict: verdict.to_owned(),
            flood_since: self.flood,
            top,
            top_share: 100.0 * share(whole(most), whole(all)),
        }
    }

    /// A step of the wall clock.
    pub(crate) fn shift(&mut self, by_ms: i64) {
        self.times.iter_mut().for_each(|at| *at = at.shifted(by_ms));
        self.flood = self.flood.map(|at| at.shifted(by_ms));
    }

    fn within(&self, span: Duration, now: Timestamp) -> usize {
        self.times.iter().rev().take_while(|at| now.since(**at) < span).count()
    }
}

fn talker(rule: &str, hours: &VecDeque<(i64, u32, u32)>, since: i64) -> Talker {
    let recent = hours.iter().filter(|(hour, ..)| since < *hour);
    let (raised, fleeting) = recent.fold((0, 0), |sum, (_, raised, short)| (sum.0 + raised, sum.1 + short));
    Talker { rule: rule.to_owned(), raised, fleeting }
}
