//! Thresholds in up to four levels, with deadband and delays on the readings' time.
//!
//! In: samples with their times. Out: the highest level that is reached.
//! Invariant: a sample without a number, or one that its doubt forbids, changes nothing; a gap longer than `max_gap`
//! restarts every delay in progress.
//! Source: ISA-18.2 (deadband, on-delay, off-delay); the limit itself is in alarm.

use crate::alarm::{Direction, Level, RuleState, Severity};
use crate::clock::Timestamp;
use crate::reading::{Doubt, Sample};
use std::time::Duration;

/// A threshold condition, borrowed from its rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threshold<'a> {
    pub(crate) direction: Direction,
    pub(crate) levels: &'a [Level],
    pub(crate) deadband: f64,
    pub(crate) max_gap: Duration,
}

/// What a sample may do, by its doubt.
fn rights(sample: &Sample, direction: Direction) -> Option<(f64, bool, bool)> {
    let (value, doubt) = match sample {
        Sample::Good(value) => return Some((*value, true, true)),
        Sample::Uncertain(value, doubt) => (*value, doubt),
        Sample::Bad(_) => return None,
    };
    match doubt {
        Doubt::Clock | Doubt::Calibration => Some((value, true, true)),
        Doubt::OverRange => Some((value, direction == Direction::Above, false)),
        Doubt::UnderRange => Some((value, direction == Direction::Below, false)),
        Doubt::Spike | Doubt::Step => None,
    }
}

impl Threshold<'_> {
    /// Takes one sample in; says whether a delay in progress or a reached level changed.
    pub(crate) fn step(&self, state: &mut RuleState, sample: &Sample, at: Timestamp) -> bool {
        let Some((value, may_raise, may_clear)) = rights(sample, self.direction) else { return false };
        let gap = state.last.is_some_and(|last| self.max_gap < at.since(last));
        if state.last.is_some_and(|last| at < last) {
            return false;
        }
        state.last = Some(at);
        let mut changed = state.raising.len() != self.levels.len();
        state.raising.resize(self.levels.len(), None);
        state.clearing.resize(self.levels.len(), None);
        state.reached.resize(self.levels.len(), false);
        let slots = state.raising.iter_mut().zip(&mut state.clearing).zip(&mut state.reached);
        for (level, ((raising, clearing), reached)) in self.levels.iter().zip(slots) {
            if gap {
                changed |= raising.take().is_some() | clearing.take().is_some();
            }
            let (over, back) = self.sides(level, value);
            if *reached {
                changed |= timed(clearing, back && may_clear, level.off_delay, at, reached);
            } else {
                changed |= timed(raising, over && may_raise, level.on_delay, at, reached);
            }
        }
        changed
    }

    /// Whether `value` is in alarm, and whether it is back over the deadband. The tolerance keeps decimal noise out.
    fn sides(&self, level: &Level, value: f64) -> (bool, bool) {
        let noise = 1e-9 * level.threshold.abs().max(1.0);
        match self.direction {
            Direction::Above => (
                value >= level.threshold - noise,
                value <= level.threshold - self.deadband + noise && value < level.threshold - noise,
            ),
            Direction::Below => (
                value <= level.threshold + noise,
                value >= level.threshold + self.deadband - noise && value > level.threshold + noise,
            ),
        }
    }

    /// The highest level reached.
    pub(crate) fn severity(&self, state: &RuleState) -> Option<(Severity, f64)> {
        let reached = self.levels.iter().zip(&state.reached).filter(|(_, reached)| **reached);
        reached.map(|(level, _)| (level.severity, level.threshold)).max_by_key(|(severity, _)| *severity)
    }
}

/// Counts a delay while `holds`; flips `reached` when it is over. Says whether anything changed.
fn timed(
    since: &mut Option<Timestamp>,
    holds: bool,
    delay: Duration,
    at: Timestamp,
    reached: &mut bool,
) -> bool {
    if !holds {
        return since.take().is_some();
    }
    let begun = since.is_none();
    if delay <= at.since(*since.get_or_insert(at)) {
        *since = None;
        *reached = !*reached;
        return true;
    }
    begun
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Reason;

    /// Times (s) at which the level turns on and off over `samples`; NaN stands for a bad sample.
    fn turns(
        direction: Direction,
        limit: f64,
        deadband: f64,
        on_s: u64,
        off_s: u64,
        gap_s: u64,
        samples: &[(i64, f64)],
    ) -> Vec<(i64, bool)> {
        let level = Level {
            severity: Severity::Red,
            threshold: limit,
            on_delay: Duration::from_secs(on_s),
            off_delay: Duration::from_secs(off_s),
        };
        let threshold =
            Threshold { direction, levels: &[level], deadband, max_gap: Duration::from_secs(gap_s) };
        let mut state = RuleState::default();
        let mut found = Vec::new();
        for (s, value) in samples {
            let sample = if value.is_nan() { Sample::Bad(Reason::Timeout) } else { Sample::Good(*value) };
            let before = threshold.severity(&state).is_some();
            threshold.step(&mut state, &sample, Timestamp::from_millis(s * 1000));
            let after = threshold.severity(&state).is_some();
            if before != after {
                found.push((*s, after));
            }
        }
        found
    }

    const BAD: f64 = f64::NAN;

    #[test]
    fn worked_a_high_with_deadband_and_one_bad_sample() {
        let samples = [
            (0, 14.9),
            (10, 15.0),
            (20, 15.2),
            (30, 14.8),
            (40, 15.1),
            (50, 15.3),
            (60, 15.6),
            (70, 15.5),
            (80, 14.0),
            (90, 13.0),
            (100, 12.9),
            (110, BAD),
            (120, 12.8),
            (130, 12.7),
            (140, 12.7),
            (150, 12.6),
        ];
        assert_eq!(turns(Direction::Above, 15.0, 2.0, 30, 60, 30, &samples), [(70, true), (150, false)]);
    }

    #[test]
    fn worked_b_a_long_gap_restarts_the_delay() {
        let samples = [
            (0, 14.9),
            (40, 15.1),
            (50, 15.3),
            (60, 15.6),
            (70, 15.5),
            (80, 14.0),
            (90, 13.0),
            (100, 12.9),
            (110, BAD),
            (120, BAD),
            (130, BAD),
            (140, 12.7),
            (150, 12.6),
            (160, 12.6),
            (170, 12.5),
            (180, 12.5),
            (190, 12.5),
            (200, 12.4),
        ];
        assert_eq!(turns(Direction::Above, 15.0, 2.0, 30, 60, 30, &samples), [(70, true), (200, false)]);
    }

    #[test]
    fn worked_c_low() {
        let samples =
            [(0, 1.6), (10, 1.5), (20, 1.49), (30, 1.4), (40, 1.58), (50, 1.6), (60, 1.61), (70, 1.62)];
        assert_eq!(turns(Direction::Below, 1.5, 0.1, 20, 20, 30, &samples), [(30, true), (70, false)]);
    }

    #[test]
    fn doubts_have_the_rights_of_the_table() {
        let value = |doubt| Sample::Uncertain(1.0, doubt);
        let of = |doubt, direction| rights(&value(doubt), direction).map(|(_, raise, clear)| (raise, clear));
        for direction in [Direction::Above, Direction::Below] {
            assert_eq!(of(Doubt::Clock, direction), Some((true, true)));
            assert_eq!(of(Doubt::Calibration, direction), Some((true, true)));
            assert_eq!(of(Doubt::Spike, direction), None);
            assert_eq!(of(Doubt::Step, direction), None);
            assert_eq!(of(Doubt::OverRange, direction), Some((direction == Direction::Above, false)));
            assert_eq!(of(Doubt::UnderRange, direction), Some((direction == Direction::Below, false)));
        }
    }
}
