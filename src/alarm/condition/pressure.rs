//! Gas pressure: a section under test that leaks, a regulator that does not close.
//!
//! In: pressure with temperature and flow of the same place. Out: the corrected drop over the test in kPa; the outlet pressure while nobody draws gas.
//! Invariant: without a temperature there is no drop (a pipe at 300 kPa that cools by 10 K loses 13.7 kPa and does not leak); while gas flows neither method says
//! anything.
//! Source: `dP' = (P1 + B1) - (P2 + B2) (273.15 + t1) / (273.15 + t2)` (tightness test of CJJ 33); lock-up pressure `Ps (1 + SG/100)` (EN 334, GB 27790).

use std::time::Duration;

use crate::alarm::condition::Entry;
use crate::alarm::condition::trail::Trail;
use crate::clock::Timestamp;
use crate::reading::Sample;

const ZERO_CELSIUS: f64 = 273.15;
/// A test that has run for less than this share of its time says nothing.
const FILLED: f64 = 0.95;

/// The last number of an input beside the main one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beside(Option<(Timestamp, f64)>);

impl Beside {
    /// Takes a sample; a doubtful one changes nothing.
    pub(crate) fn take(&mut self, at: Timestamp, sample: &Sample) {
        match Entry::plain(sample) {
            Entry::Whole(value) => self.0 = Some((at, value)),
            Entry::Frozen => self.0 = None,
            Entry::Raise(_) | Entry::Ignored => {}
        }
    }

    /// The number, when it is not older than `max_gap`.
    pub(crate) fn fresh(&self, at: Timestamp, max_gap: Duration) -> Option<f64> {
        self.0.filter(|(last, _)| at.since(*last) <= max_gap).map(|(_, value)| value)
    }
}

/// `dP'` in kPa: how much gas is gone, as pressure at the first temperature.
pub fn corrected_drop(first: (f64, f64), last: (f64, f64)) -> f64 {
    let ((p1_abs, t1), (p2_abs, t2)) = (first, last);
    p1_abs - p2_abs * (ZERO_CELSIUS + t1) / (ZERO_CELSIUS + t2)
}

/// The inputs of a leak test, in order: pressure, temperature, and what the site has of barometer and flow.
#[derive(Clone, Debug)]
pub(crate) struct LeakDown {
    pressures: Trail,
    temperatures: Trail,
    span: Duration,
    max_gap: Duration,
    last: Option<Timestamp>,
    temperature: Beside,
    barometer: Beside,
    flow: Beside,
    has_barometer: bool,
    /// More flow than this, and the section is not closed; `None` without a meter.
    flow_max: Option<f64>,
}

impl LeakDown {
    pub(crate) fn new(span: Duration, has_barometer: bool, flow_max: Option<f64>, max_gap: Duration) -> Self {
        Self {
            pressures: Trail::new(span),
            temperatures: Trail::new(span),
            span,
            max_gap,
            last: None,
            temperature: Beside::default(),
            barometer: Beside::default(),
            flow: Beside::default(),
            has_barometer,
            flow_max,
        }
    }

    pub(crate) fn take(&mut self, slot: usize, at: Timestamp, sample: &Sample, entry: Entry) -> Entry {
        match (slot, self.has_barometer) {
            (0, _) => self.pressure(at, entry),
            (1, _) => self.beside(at, sample, |own| &mut own.temperature),
            (2, true) => self.beside(at, sample, |own| &mut own.barometer),
            _ => self.beside(at, sample, |own| &mut own.flow),
        }
    }

    fn beside(&mut self, at: Timestamp, sample: &Sample, of: fn(&mut Self) -> &mut Beside) -> Entry {
        of(self).take(at, sample);
        Entry::Ignored
    }

    fn pressure(&mut self, at: Timestamp, entry: Entry) -> Entry {
        let Some((value, may_clear)) = entry.number() else { return entry };
        if self.last.replace(at).is_some_and(|last| at.since(last) > self.max_gap) {
            self.restart();
        }
        if let Some(most) = self.flow_max {
            match self.flow.fresh(at, self.max_gap) {
                None => return Entry::Frozen,
                Some(flow) if flow.abs() > most => {
                    self.restart();
                    return Entry::Ignored;
                }
                Some(_) => {}
            }
        }
        let standard = (!self.has_barometer).then_some(101.325);
        let Some(barometer) = standard.or_else(|| self.barometer.fresh(at, self.max_gap)) else {
            return Entry::Frozen;
        };
        let Some(temperature) = self.temperature.fresh(at, self.max_gap) else { return Entry::Frozen };
        self.pressures.push(at, value + barometer, !may_clear, Duration::ZERO);
        self.temperatures.push(at, temperature, false, Duration::ZERO);
        if self.pressures.reach() < self.span.mul_f64(FILLED) {
            return Entry::Ignored;
        }
        match (self.pressures.first(), self.temperatures.first()) {
            (Some(p1), Some(t1)) => {
                let drop = corrected_drop((p1, t1), (value + barometer, temperature));
                Entry::made(drop, !self.pressures.bound())
            }
            _ => Entry::Ignored,
        }
    }

    fn restart(&mut self) {
        self.pressures.clear();
        self.temperatures.clear();
    }
}

/// The outlet of a regulator while nobody draws gas: inputs outlet, flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockUp {
    pub(crate) flow: Beside,
    pub(crate) flow_max: f64,
    pub(crate) max_gap: Duration,
}

impl LockUp {
    pub(crate) fn take(&mut self, slot: usize, at: Timestamp, sample: &Sample, entry: Entry) -> Entry {
        if slot > 0 {
            self.flow.take(at, sample);
            return Entry::Ignored;
        }
        match self.flow.fresh(at, self.max_gap) {
            None => Entry::Frozen,
            Some(flow) if flow.abs() > self.flow_max => Entry::Ignored,
            Some(_) => entry,
        }
    }
}

/// The lock-up pressure of a set point and a lock-up class in percent.
pub fn lock_up_pressure(set_point: f64, class_percent: f64) -> f64 {
    set_point * (1.0 + class_percent / 100.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alarm::condition::tests::{at, near, vectors};
    use crate::reading::Reason;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn drops_of_closed_sections() {
        for case in vectors()["leakdown_kpa"].as_array().unwrap() {
            if case.get("p1").is_none() {
                continue;
            }
            let key = |name: &str| case[name].as_f64().unwrap();
            let found =
                corrected_drop((key("p1") + key("b1"), key("t1")), (key("p2") + key("b2"), key("t2")));
            near(found, key("expect"), 1e-9);
        }
        near(lock_up_pressure(2.5, 20.0), vectors()["regulator"]["sg20_limit"].as_f64().unwrap(), 1e-12);
    }

    fn test(cooling: f64, leaking: f64, flow: Option<f64>, temperature: bool) -> Entry {
        let mut test = LeakDown::new(HOUR * 4, false, flow.map(|_| 0.05), HOUR);
        let mut last = Entry::Frozen;
        for minute in 0..=240 {
            let share = f64::from(minute) / 240.0;
            let time = at(f64::from(minute) * 60.0);
            let t2 = 20.0 - cooling * share;
            let absolute = (300.0 + 101.325 - leaking * share) * (ZERO_CELSIUS + t2) / (ZERO_CELSIUS + 20.0);
            let t = if temperature { Sample::Good(t2) } else { Sample::Bad(Reason::Timeout) };
            test.take(1, time, &t, Entry::Ignored);
            if let Some(flow) = flow {
                test.take(2, time, &Sample::Good(flow), Entry::Ignored);
            }
            let p = absolute - 101.325;
            last = test.take(0, time, &Sample::Good(p), Entry::Whole(p));
        }
        last
    }

    #[test]
    fn cooling_is_no_leak_and_a_leak_is_seen_through_cooling() {
        near(test(10.0, 0.0, None, true).number().unwrap().0, 0.0, 1e-6);
        near(test(10.0, 3.5, None, true).number().unwrap().0, 3.5, 0.02);
        near(test(10.0, 3.5, Some(0.0), true).number().unwrap().0, 3.5, 0.02);
        assert_eq!(test(0.0, 3.5, Some(1.0), true), Entry::Ignored, "gas is drawn: no test");
        assert_eq!(test(0.0, 3.5, None, false), Entry::Frozen, "no temperature is not `no leak`");
    }

    #[test]
    fn a_regulator_is_looked_at_while_nobody_draws_gas() {
        let mut lock = LockUp { flow: Beside::default(), flow_max: 0.1, max_gap: HOUR };
        let mut outlet = |t: f64| lock.take(0, at(t), &Sample::Good(3.1), Entry::Whole(3.1));
        assert_eq!(outlet(0.0), Entry::Frozen);
        lock.take(1, at(1.0), &Sample::Good(5.0), Entry::Ignored);
        assert_eq!(lock.take(0, at(2.0), &Sample::Good(3.1), Entry::Whole(3.1)), Entry::Ignored);
        lock.take(1, at(3.0), &Sample::Good(0.0), Entry::Ignored);
        assert_eq!(lock.take(0, at(4.0), &Sample::Good(3.1), Entry::Whole(3.1)), Entry::Whole(3.1));
        assert_eq!(lock.take(0, at(4000.0), &Sample::Good(3.1), Entry::Whole(3.1)), Entry::Frozen);
    }

    proptest! {
        /// A tight pipe never leaks, whatever the weather does.
        #[test]
        fn weather_is_no_leak(t1 in -20.0..50.0_f64, t2 in -20.0..50.0_f64, p in 0.0..500.0_f64) {
            let p1 = p + 101.325;
            let p2 = p1 * (ZERO_CELSIUS + t2) / (ZERO_CELSIUS + t1);
            prop_assert!(corrected_drop((p1, t1), (p2, t2)).abs() < 1e-9);
        }
    }
}
