//! Rain: sums over windows, intensity against duration, and rain of the days before.
//!
//! In: amounts of one gauge, or its ever-growing total. Out: mm of a window; the largest share of a curve that a window reaches; effective antecedent rain.
//! Invariant: while less than four fifths of a window is known, its sum is a lower bound: it may raise and never clears. A total carries the rain of a gap, and
//! gives it to no window that is shorter than the gap. A total that went back is a reset, one that jumps by more than it can is left out.
//! Source: Caine (1980), Geografiska Annaler 62A, 23-27: `I = 14.82 D^-0.39`, I in mm/h and D in h, for 10 min to 10 d; effective rain `sum k^i R_i`, k = 0.84.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::condition::trail::Trail;
use crate::alarm::condition::{Entry, ms};
use crate::clock::Timestamp;

/// Less of a window known than this, and its sum is a lower bound.
const KNOWN_MIN: f64 = 0.8;
/// Cells of the trail under a curve: its shortest window is far shorter than its longest.
const CURVE_CELLS: i64 = 4320;
const DAY_MS: i64 = 86_400_000;

/// What a point's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Counting {
    /// Each is what came since the one before.
    Amounts,
    /// Each is a total that grows.
    Total {
        /// The total starts over at this number.
        wraps_at: Option<f64>,
        /// It cannot grow faster than this per minute.
        per_minute_max: Option<f64>,
    },
}

/// Makes amounts of what a point gives.
#[derive(Clone, Debug)]
struct Amounts {
    counting: Counting,
    max_gap: Duration,
    before: Option<(Timestamp, f64)>,
}

/// What a number adds to a window.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Amount {
    value: f64,
    /// The time that it speaks for.
    covered: Duration,
    /// The time since the number before.
    gap: Duration,
}

impl Amounts {
    const fn new(counting: Counting, max_gap: Duration) -> Self {
        Self { counting, max_gap, before: None }
    }

    fn take(&mut self, at: Timestamp, value: f64) -> Option<Amount> {
        let before = self.before.replace((at, value));
        let gap = before.map_or(Duration::ZERO, |(last, _)| at.since(last));
        match self.counting {
            Counting::Amounts => {
                let covered = if gap <= self.max_gap { gap } else { Duration::ZERO };
                Some(Amount { value, covered, gap: Duration::ZERO })
            }
            Counting::Total { wraps_at, per_minute_max } => {
                let (_, last) = before?;
                let most = per_minute_max.map(|most| (most * gap.as_secs_f64() / 60.0).max(1.0));
                grown(last, value, wraps_at, most).map(|value| Amount { value, covered: gap, gap })
            }
        }
    }
}

/// How far a total grew; `None` when it can't have.
fn grown(before: f64, now: f64, wraps_at: Option<f64>, most: Option<f64>) -> Option<f64> {
    let plausible = |way: &f64| most.is_none_or(|most| *way <= most);
    if now >= before {
        return Some(now - before).filter(plausible);
    }
    let over = wraps_at.map(|top| now + top - before).filter(|way| *way >= 0.0);
    over.filter(|way| most.is_some() && plausible(way)).or(Some(now)).filter(plausible)
}

/// The sum of a window.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    amounts: Amounts,
    span: Duration,
    trail: Trail,
}

impl Sum {
    pub(crate) fn new(span: Duration, counting: Counting, max_gap: Duration) -> Self {
        Self { amounts: Amounts::new(counting, max_gap), span, trail: Trail::new(span) }
    }

    pub(crate) fn take(&mut self, at: Timestamp, entry: Entry) -> Entry {
        let Some((value, may_clear)) = entry.number() else { return entry };
        if let Some(amount) = self.amounts.take(at, value).filter(|amount| amount.gap <= self.span) {
            self.trail.push(at, amount.value, !may_clear, amount.covered);
        }
        self.trail.age(at);
        let known = self.trail.covered() >= KNOWN_MIN && !self.trail.bound();
        Entry::made(self.trail.sum(), known)
    }
}

/// A curve of rain intensity over duration: `alpha * hours^-beta` mm/h.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// mm/h at one hour.
    pub alpha: f64,
    /// The exponent, positive.
    pub beta: f64,
    /// The windows that are looked at.
    pub durations: Vec<Duration>,
}

impl Curve {
    /// Caine's curve of 1980.
    pub fn caine(durations: Vec<Duration>) -> Self {
        Self { alpha: 14.82, beta: 0.39, durations }
    }

    /// The intensity in mm/h at which this duration meets the curve.
    pub fn intensity(&self, duration: Duration) -> f64 {
        self.alpha * hours(duration).powf(-self.beta)
    }
}

fn hours(duration: Duration) -> f64 {
    duration.as_secs_f64() / 3600.0
}

/// The largest share of a curve that a window reaches: 1 is on the curve.
#[derive(Clone, Debug)]
pub(crate) struct Intensity {
    curve: Curve,
    amounts: Amounts,
    trail: Trail,
    longest: Duration,
    /// The duration that reached most.
    worst: Duration,
}

impl Intensity {
    pub(crate) fn new(curve: Curve, counting: Counting, max_gap: Duration) -> Self {
        let longest = curve.durations.iter().max().copied().unwrap_or_default();
        let trail = Trail::fine(longest, CURVE_CELLS);
        Self { curve, amounts: Amounts::new(counting, max_gap), trail, longest, worst: Duration::ZERO }
    }

    pub(crate) fn take(&mut self, at: Timestamp, entry: Entry) -> Entry {
        let Some((value, may_clear)) = entry.number() else { return entry };
        if let Some(amount) = self.amounts.take(at, value).filter(|amount| amount.gap <= self.longest) {
            self.trail.push(at, amount.value, !may_clear, amount.covered);
        }
        self.trail.age(at);
        let (mut most, mut known) = (0.0, !self.trail.bound());
        for &duration in &self.curve.durations {
            let (sum, covered) = self.trail.sum_since(at, duration);
            known &= covered >= KNOWN_MIN * ms(duration) as f64;
            let share = sum / hours(duration) / self.curve.intensity(duration);
            if share > most {
                (most, self.worst) = (share, duration);
            }
        }
        Entry::made(most, known)
    }

    /// Which window reached most.
    pub(crate) fn says(&self) -> String {
        format!("the rain of {} h", hours(self.worst))
    }
}

/// How rain of the days before counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Antecedent {
    /// Share that is left after a day.
    pub k: f64,
    /// Days that count.
    pub days: usize,
    /// Add today's rain whole.
    pub today: bool,
    /// When a day begins, in milliseconds after midnight in UTC.
    pub day_from: i64,
}

/// Effective antecedent rain in mm: `sum k^i R_i` over the days before, and today's when asked.
#[derive(Clone, Debug)]
pub(crate) struct Days {
    rule: Antecedent,
    amounts: Amounts,
    /// Number of the day, its rain and known milliseconds; today is the last.
    days: VecDeque<(i64, f64, f64)>,
}

impl Days {
    pub(crate) const fn new(rule: Antecedent, counting: Counting, max_gap: Duration) -> Self {
        Self { rule, amounts: Amounts::new(counting, max_gap), days: VecDeque::new() }
    }

    pub(crate) fn take(&mut self, at: Timestamp, entry: Entry) -> Entry {
        let Some((value, may_clear)) = entry.number() else { return entry };
        let day = (at.as_millis() - self.rule.day_from).div_euclid(DAY_MS);
        if self.days.back().is_none_or(|(last, ..)| *last != day) {
            self.days.push_back((day, 0.0, 0.0));
        }
        let oldest = day - i64::try_from(self.rule.days).unwrap_or(i64::MAX);
        while self.days.front().is_some_and(|(number, ..)| *number < oldest) {
            self.days.pop_front();
        }
        let a_day = Duration::from_millis(DAY_MS.unsigned_abs());
        if let Some(amount) = self.amounts.take(at, value).filter(|amount| amount.gap <= a_day)
            && let Some((_, rain, known)) = self.days.back_mut()
        {
            *rain += amount.value;
            *known += ms(amount.covered) as f64;
        }
        let before = self.days.iter().filter(|(number, ..)| *number != day);
        let whole = before.clone().filter(|(.., known)| *known >= KNOWN_MIN * DAY_MS as f64).count();
        let rains = before.map(|(number, rain, _)| (day - number, *rain));
        let today = self.days.back().filter(|_| self.rule.today).map_or(0.0, |(_, rain, _)| *rain);
        Entry::made(effective(self.rule.k, rains) + today, may_clear && whole >= self.rule.days)
    }
}

/// `sum k^i R_i` of (days back, mm).
fn effective(k: f64, rains: impl Iterator<Item = (i64, f64)>) -> f64 {
    rains.map(|(back, rain)| k.powi(i32::try_from(back).unwrap_or(i32::MAX)) * rain).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alarm::condition::tests::{at, near, vectors};

    const HOUR: Duration = Duration::from_secs(3600);

    fn total(bits: i32, per_minute: f64) -> Counting {
        Counting::Total { wraps_at: Some(2.0_f64.powi(bits)), per_minute_max: Some(per_minute) }
    }

    #[test]
    fn tips_that_wrap_are_reset_and_jump() {
        for tips in vectors()["tips"].as_array().unwrap() {
            let mut amounts = Amounts::new(total(16, 20.0), HOUR);
            let column = |key: &str| tips[key].as_array().unwrap().clone();
            for ((t, count), want) in column("t_s").iter().zip(column("count")).zip(column("delta")) {
                let found = amounts.take(at(t.as_f64().unwrap()), count.as_f64().unwrap());
                let first = t.as_f64() == Some(0.0);
                assert_eq!(found.map(|amount| amount.value), want.as_f64().filter(|_| !first), "{tips}");
            }
        }
    }

    #[test]
    fn the_sum_of_an_hour() {
        let vectors = vectors();
        let rolling = &vectors["rolling_1h"];
        let mut sum = Sum::new(HOUR, total(16, 20.0), HOUR);
        let mm = rolling["mm_per_tip"].as_f64().unwrap();
        let mut found = Vec::new();
        for (t, count) in rolling["t_s"].as_array().unwrap().iter().zip(rolling["count"].as_array().unwrap())
        {
            let entry = sum.take(at(t.as_f64().unwrap()), Entry::Whole(count.as_f64().unwrap()));
            found.push((t.as_f64().unwrap(), entry.number().unwrap()));
        }
        let at_time = |t: f64| found.iter().find(|(time, _)| (time - t).abs() < 0.5).unwrap().1;
        near(at_time(3600.0).0 * mm, 4.4, 1e-9);
        near(at_time(4200.0).0 * mm, 5.0, 1e-9);
        assert!(!at_time(1800.0).1, "half of the hour is not known yet: it may not clear");
        assert!(at_time(3600.0).1);
    }

    #[test]
    fn the_rain_of_a_gap_is_in_no_shorter_window() {
        let mut sum = Sum::new(HOUR, total(16, 20.0), HOUR);
        sum.take(at(0.0), Entry::Whole(0.0));
        assert_eq!(sum.take(at(3601.0), Entry::Whole(200.0)), Entry::Raise(0.0));
        let mut sum = Sum::new(HOUR * 2, total(16, 20.0), HOUR);
        sum.take(at(0.0), Entry::Whole(0.0));
        assert_eq!(sum.take(at(3601.0), Entry::Whole(200.0)), Entry::Raise(200.0));
    }

    #[test]
    fn caines_curve() {
        let durations: Vec<Duration> = [1, 3, 6, 12, 24].map(|hours| HOUR * hours).to_vec();
        let curve = Curve::caine(durations);
        for row in vectors()["caine"].as_array().unwrap() {
            let duration = HOUR.mul_f64(row["d_h"].as_f64().unwrap());
            match row.get("exceed") {
                None => near(curve.intensity(duration), row["i"].as_f64().unwrap(), 1e-5),
                Some(want) => {
                    let share = row["r"].as_f64().unwrap() / hours(duration) / curve.intensity(duration);
                    assert_eq!(share >= 1.0, want.as_bool().unwrap(), "{row}");
                }
            }
        }
        let mut intensity = Intensity::new(curve, Counting::Amounts, HOUR);
        let mut last = Entry::Frozen;
        // 45 mm in 6 h, evenly: 7.5 mm/h against 7.368.
        for quarter in 0..=96 {
            let mm = if quarter > 72 { 45.0 / 24.0 } else { 0.0 };
            last = intensity.take(at(f64::from(quarter) * 900.0), Entry::Whole(mm));
        }
        assert!(matches!(last, Entry::Whole(share) if (1.017..1.019).contains(&share)), "{last:?}");
        assert_eq!(intensity.says(), "the rain of 6 h");
    }

    #[test]
    fn effective_rain_of_a_week() {
        let vectors = vectors();
        let ear = &vectors["ear"];
        let rains: Vec<f64> =
            ear["yesterday_first"].as_array().unwrap().iter().map(|rain| rain.as_f64().unwrap()).collect();
        near(effective(0.84, (1..).zip(rains.iter().copied())), ear["expect"].as_f64().unwrap(), 1e-9);
        let rule = Antecedent { k: 0.84, days: 7, today: false, day_from: 0 };
        let mut days = Days::new(rule, Counting::Amounts, HOUR);
        let mut last = Entry::Frozen;
        for hour in 0..=7 * 24 {
            let day = usize::try_from(6 - hour / 24).ok();
            let mm = if hour % 24 == 12 {
                day.and_then(|day| rains.get(day)).copied().unwrap_or(0.0)
            } else {
                0.0
            };
            let midnight = (1_800_000_000_000_i64).div_euclid(DAY_MS) * DAY_MS;
            let time = Timestamp::from_millis(midnight + i64::from(hour) * 3_600_000);
            last = days.take(time, Entry::Whole(mm));
        }
        assert!(matches!(last, Entry::Whole(re) if (re - 43.334_452).abs() < 1e-5), "{last:?}");
    }

    proptest! {
        /// Whatever a counter does, no window holds more rain than the gauge can measure in it, and none is negative.
        #[test]
        fn a_sum_is_never_negative_nor_more_than_can_fall(counts in prop::collection::vec(0_u16.., 40)) {
            let mut sum = Sum::new(HOUR, total(16, 20.0), HOUR);
            for (minute, count) in counts.iter().enumerate() {
                let entry = sum.take(at(minute as f64 * 60.0), Entry::Whole(f64::from(*count)));
                let (value, _) = entry.number().unwrap();
                prop_assert!((0.0..=20.0 * 60.0).contains(&value), "{value}");
            }
        }
    }
}
