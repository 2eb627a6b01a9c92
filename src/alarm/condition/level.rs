//! A number against levels, with deadband and delays.
//!
//! In: numbers with their time. Out: the highest severity reached.
//! Invariant: a level above a reached level's threshold is never reached alone: reached levels are always the lowest ones. Delays count on the readings' own time,
//! and a gap of more than `max_gap` between two readings that entered restarts them.
//! Source: the limit itself is in alarm; in between the threshold and the deadband's end the state is held (ISA-18.2).

use std::time::Duration;

use crate::alarm::{Direction, Level, RuleState, Severity};
use crate::clock::Timestamp;

/// Numbers that came through a conversion miss by an ulp or so: limits are met within this share of the rule's largest number.
const TOLERANCE: f64 = 1e-9;

/// What a sample did to a [`Threshold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing is reached or under way, and nothing is to be looked at.
    Calm,
    /// Delays and levels are as before.
    Held,
    /// A delay began or ended, or a level was reached or left.
    Moved,
}

/// A value against levels. `Below` is turned round, so that inside all levels look upwards.
#[derive(Clone, Debug)]
pub(crate) struct Threshold {
    pub(crate) direction: Direction,
    /// The lowest number that begins anything, in the turned sense.
    first: f64,
    /// Nothing is reached, no delay is under way, nothing is to be looked at again.
    calm: bool,
    /// An alarm of an earlier run waits for the first reading.
    waits: bool,
    /// `last` is the end of an earlier run, because no reading of that run was recalled yet.
    assumed: bool,
    max_gap: Duration,
    /// The last reading that entered.
    last: Option<Timestamp>,
    /// The newest reading of any quality.
    newest: Option<Timestamp>,
    levels: Vec<LevelState>,
}

#[derive(Clone, Debug)]
struct LevelState {
    level: Level,
    /// At or over it the level's condition holds.
    enter: f64,
    /// At or under it, and not at `enter`, the level's condition is gone.
    leave: f64,
    raising: Option<Timestamp>,
    clearing: Option<Timestamp>,
    reached: bool,
}

impl Threshold {
    /// Levels of rising severity; `deadband` in their unit.
    pub(crate) fn new(direction: Direction, levels: &[Level], deadband: f64, max_gap: Duration) -> Self {
        let largest = levels.iter().fold(deadband.abs(), |most, level| most.max(level.threshold.abs()));
        let slack = largest * TOLERANCE;
        let levels: Vec<LevelState> = levels
            .iter()
            .map(|&level| {
                let limit = turned(direction, level.threshold);
                let (enter, leave) = (limit - slack, limit - deadband + slack);
                LevelState { level, enter, leave, raising: None, clearing: None, reached: false }
            })
            .collect();
        let first = levels.iter().fold(f64::INFINITY, |least, state| least.min(state.enter));
        Self {
            direction,
            first,
            calm: true,
            waits: false,
            assumed: false,
            max_gap,
            last: None,
            newest: None,
            levels,
        }
    }

    /// Whether a reading of this time comes after all before it; it is the newest then.
    pub(crate) fn is_newest(&mut self, at: Timestamp) -> bool {
        if self.newest.is_some_and(|newest| at <= newest) {
            return false;
        }
        self.newest = Some(at);
        true
    }

    /// Takes the number of a reading that enters.
    pub(crate) fn step(&mut self, value: f64, may_clear: bool, at: Timestamp) -> Step {
        let value = turned(self.direction, value);
        if self.calm && value < self.first {
            self.last = Some(at);
            return Step::Calm;
        }
        let mut moved = self.forget_after_gap(at);
        self.last = Some(at);
        let mut higher_reached = false;
        for level in self.levels.iter_mut().rev() {
            moved |= level.step(value, may_clear, higher_reached, at);
            higher_reached = level.reached;
        }
        self.waits = false;
        self.settle();
        if moved { Step::Moved } else { Step::Held }
    }

    /// Takes note that a reading without a number came; whether delays were given up for the gap.
    pub(crate) fn freeze(&mut self, at: Timestamp) -> bool {
        let moved = !self.calm && self.forget_after_gap(at);
        self.settle();
        moved
    }

    /// Whether nothing is reached and no delay is under way.
    pub(crate) fn is_calm(&self) -> bool {
        self.calm
    }

    /// The highest level reached: its severity and threshold.
    pub(crate) fn reached(&self) -> Option<(Severity, f64)> {
        let highest = self.levels.iter().rev().find(|state| state.reached)?;
        Some((highest.level.severity, highest.level.threshold))
    }

    /// Whether a number of this size leaves the lowest level, and so all of them.
    pub(crate) fn is_over(&self, value: f64) -> bool {
        let value = turned(self.direction, value);
        self.levels.first().is_none_or(|lowest| value < lowest.enter && value <= lowest.leave)
    }

    /// How many levels are reached.
    pub(crate) fn height(&self) -> usize {
        self.levels.iter().filter(|state| state.reached).count()
    }

    /// Takes back what an earlier run kept. `active` is the severity of the alarm that is active; `same`: the rule has not changed;
    /// `last`: the time up to which that run saw everything, `None` when that is unknown.
    pub(crate) fn restore(
        &mut self,
        state: &RuleState,
        active: Option<Severity>,
        same: bool,
        last: Option<Timestamp>,
        now: Timestamp,
    ) {
        let last = last.filter(|&last| last <= now && now.since(last) <= self.max_gap);
        let fits = same && state.reached.len() == self.levels.len();
        let was_reached = |index: usize| state.reached.get(index).copied().unwrap_or(false);
        // None may be reached while a chattering alarm is held.
        let flags = fits && active.is_some();
        for (index, level) in self.levels.iter_mut().enumerate() {
            level.reached = match active {
                Some(_) if flags => was_reached(index),
                Some(severity) => level.level.severity <= severity,
                None => false,
            };
            let kept = fits && last.is_some();
            level.raising = state.raising.get(index).copied().flatten().filter(|_| kept && !level.reached);
            level.clearing = state.clearing.get(index).copied().flatten().filter(|_| kept && level.reached);
        }
        (self.last, self.assumed) = (last, true);
        self.newest = state.last.filter(|&newest| newest <= now);
        // An active alarm is looked at with the next reading, even when the rule has no level for it any more.
        self.waits = active.is_some();
        self.settle();
    }

    /// Takes the time of a reading of an earlier run, oldest first, after [`Self::restore`]; whether it is newer than those before. `enters`: it had a number
    /// that counts. Delays and levels are as that run left them.
    pub(crate) fn recall(&mut self, at: Timestamp, enters: bool) -> bool {
        if std::mem::take(&mut self.assumed) {
            (self.last, self.newest) = (None, None);
        }
        let newer = self.is_newest(at);
        if newer && enters {
            self.last = Some(at);
        }
        newer
    }

    /// Takes the times of the readings that `ready` was given, as [`Self::recall`] of each.
    pub(crate) const fn prime(&mut self, ready: &Self) {
        if ready.newest.is_some() {
            (self.last, self.newest, self.assumed) = (ready.last, ready.newest, false);
        }
    }

    /// The gateway was off: as [`Self::restore`] and [`Self::recall`] of all readings before.
    pub(crate) fn restarted(&mut self, active: Option<Severity>, last: Timestamp, now: Timestamp) {
        let (entered, newest) = (self.last, self.newest);
        let mut state = RuleState::default();
        self.save(&mut state);
        self.restore(&state, active, true, Some(last), now);
        (self.last, self.newest, self.assumed) = (entered, newest, false);
    }

    /// Takes over, after [`Self::restore`], what `old` was at: the run of readings, and delays and flags of every level that asks what a level of it asked.
    pub(crate) fn succeed(&mut self, old: &Self) {
        (self.last, self.newest) = (old.last, old.newest);
        let same = |a: f64, b: f64| a.total_cmp(&b).is_eq();
        for state in &mut self.levels {
            let asked = |other: &&LevelState| {
                other.level.severity == state.level.severity && same(other.enter, state.enter)
            };
            let Some(other) = old.levels.iter().find(asked).filter(|_| old.direction == self.direction)
            else {
                continue;
            };
            (state.reached, state.raising) = (other.reached, other.raising);
            state.clearing = other.clearing.filter(|_| same(other.leave, state.leave));
        }
        self.settle();
    }

    /// Moves all times by a step of the wall clock.
    pub(crate) fn shift(&mut self, by_ms: i64) {
        for state in &mut self.levels {
            state.raising = state.raising.map(|at| at.shifted(by_ms));
            state.clearing = state.clearing.map(|at| at.shifted(by_ms));
        }
        self.last = self.last.map(|at| at.shifted(by_ms));
        self.newest = self.newest.map(|at| at.shifted(by_ms));
    }

    /// Writes delays and flags down.
    pub(crate) fn save(&self, state: &mut RuleState) {
        state.raising = self.levels.iter().map(|level| level.raising).collect();
        state.clearing = self.levels.iter().map(|level| level.clearing).collect();
        state.reached = self.levels.iter().map(|level| level.reached).collect();
        state.last = self.newest;
    }

    fn forget_after_gap(&mut self, at: Timestamp) -> bool {
        if self.last.is_some_and(|last| at.since(last) <= self.max_gap) {
            return false;
        }
        let mut moved = false;
        for state in &mut self.levels {
            moved |= state.raising.take().is_some();
            moved |= state.clearing.take().is_some();
        }
        moved
    }

    fn settle(&mut self) {
        let busy = |state: &LevelState| state.reached || state.raising.is_some() || state.clearing.is_some();
        self.calm = !self.waits && !self.levels.iter().any(busy);
    }
}

impl LevelState {
    /// One number for this level; whether anything moved. A higher level that is reached holds this one.
    fn step(&mut self, value: f64, may_clear: bool, higher_reached: bool, at: Timestamp) -> bool {
        let before = (self.raising, self.clearing, self.reached);
        if higher_reached && !self.reached {
            (self.reached, self.clearing) = (true, None);
        }
        if value >= self.enter {
            self.clearing = None;
            self.reached |= at.since(*self.raising.get_or_insert(at)) >= self.level.on_delay;
        } else {
            self.raising = None;
            // A doubtful number ends the run of numbers that prove the condition gone.
            if self.reached && may_clear && value <= self.leave {
                let since = *self.clearing.get_or_insert(at);
                self.reached = higher_reached || at.since(since) < self.level.off_delay;
            } else {
                self.clearing = None;
            }
        }
        if self.reached {
            self.raising = None;
        } else {
            self.clearing = None;
        }
        before != (self.raising, self.clearing, self.reached)
    }
}

fn turned(direction: Direction, value: f64) -> f64 {
    match direction {
        Direction::Above => value,
        Direction::Below => -value,
    }
}
