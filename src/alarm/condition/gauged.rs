//! A measure at work: samples of the inputs in, one number in the rule's unit out.
//!
//! In: samples, by the order in which the rule names its inputs. Out: an [`Entry`].
//! Invariant: a sample that is not newer than the last of its input changes nothing.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::alarm::condition::level::Threshold;
use crate::alarm::condition::lift::Entrapment;
use crate::alarm::condition::logic::{self, Op};
use crate::alarm::condition::measure::{Measure, Measured};
use crate::alarm::condition::pressure::{Beside, LeakDown, LockUp};
use crate::alarm::condition::rain::{Days, Intensity, Sum};
use crate::alarm::condition::sensor::{Hampel, Outside, Stuck};
use crate::alarm::condition::slope::{InverseVelocity, Tangential};
use crate::alarm::condition::state::{InState, Repeats, Share};
use crate::alarm::condition::trend::{Arrival, Change, Rate, Window};
use crate::alarm::condition::vote::Votes;
use crate::alarm::condition::{Entry, Judged};
use crate::alarm::{Direction, Level, RuleState, Severity};
use crate::clock::Timestamp;
use crate::reading::Sample;

#[derive(Clone, Debug)]
enum Meter {
    Value,
    Rate(Rate),
    Change(Change),
    Arrival(Arrival),
    Sum(Sum),
    Intensity(Intensity),
    Antecedent(Days),
    Tangential(Tangential),
    Failure(InverseVelocity),
    Stuck(Stuck),
    Outside(Outside),
    State(InState),
    Repeats(Repeats),
    Share(Share),
    Votes(Votes),
    LeakDown(LeakDown),
    LockUp(LockUp),
    Entrapment(Entrapment),
    Combined(Vec<Running>, Vec<Op>),
}

/// A part of a combined condition at work.
#[derive(Clone, Debug)]
struct Running {
    gauge: Gauged,
    first: usize,
    inputs: usize,
    /// What it says; nothing before its first number and while its input is bad.
    says: Option<bool>,
}

/// A [`Measured`] at work.
#[derive(Clone, Debug)]
pub(crate) struct Gauged {
    meter: Meter,
    filter: Option<Hampel>,
    factor: f64,
    pub(crate) gauge: Threshold,
    direction: Direction,
    /// A hash of all that the number is made by.
    made: u64,
    /// The newest sample of each input.
    newest: Vec<Option<Timestamp>>,
    now: Option<Timestamp>,
    /// Of votes: the thresholds behind the levels' numbers.
    thresholds: Vec<f64>,
}

impl Gauged {
    pub(crate) fn new(settings: &Measured, inputs: usize) -> Self {
        let Measured { measure, spikes, factor, direction, levels, deadband, max_gap, .. } = settings;
        let voting = matches!(measure, Measure::Votes { .. });
        let gauge = if voting {
            let number = |index| f64::from(u8::try_from(index + 1).unwrap_or(u8::MAX));
            let numbers = levels.iter().enumerate().map(|(index, level)| Level {
                threshold: number(index),
                on_delay: Duration::ZERO,
                off_delay: Duration::ZERO,
                ..*level
            });
            Threshold::new(Direction::Above, &numbers.collect::<Vec<_>>(), 0.0, *max_gap)
        } else {
            Threshold::new(*direction, levels, *deadband, *max_gap)
        };
        Self {
            meter: meter(settings, inputs),
            filter: spikes.map(Hampel::new),
            factor: *factor,
            gauge,
            direction: *direction,
            made: made(settings),
            newest: vec![None; inputs],
            now: None,
            thresholds: if voting {
                levels.iter().map(|level| level.threshold).collect()
            } else {
                Vec::new()
            },
        }
    }

    /// Whether a sample of this time comes after all before it of its input; it is the newest then.
    pub(crate) fn is_newest(&mut self, slot: usize, at: Timestamp) -> bool {
        match self.newest.get_mut(slot) {
            Some(newest) if newest.is_none_or(|newest| at > newest) => {
                *newest = Some(at);
                true
            }
            _ => false,
        }
    }

    /// The time of the rule: inputs of several devices come out of step.
    pub(crate) fn time(&mut self, at: Timestamp) -> Timestamp {
        let now = self.now.map_or(at, |now| now.max(at));
        self.now = Some(now);
        now
    }

    /// What a sample proves, in the rule's unit.
    pub(crate) fn take(&mut self, slot: usize, at: Timestamp, sample: &Sample) -> Entry {
        let mut entry = Entry::of(sample, self.direction);
        if slot == 0
            && let Some(filter) = &mut self.filter
        {
            entry = filter.pass(entry);
        }
        let made = self.meter.take(slot, at, sample, entry);
        match made {
            Entry::Whole(value) => Entry::Whole(value * self.factor),
            Entry::Raise(value) => Entry::Raise(value * self.factor),
            other => other,
        }
    }

    /// The highest level reached.
    pub(crate) fn reached(&self) -> Option<(Severity, Option<f64>)> {
        let (severity, threshold) = self.gauge.reached()?;
        if self.thresholds.is_empty() {
            return Some((severity, Some(threshold)));
        }
        Some((severity, self.thresholds.get(self.gauge.height().checked_sub(1)?).copied()))
    }

    /// The number for a person: of votes the deciding sensor's; none when there is no end in sight.
    pub(crate) fn shown(&self, value: f64) -> Option<f64> {
        match &self.meter {
            Meter::Votes(votes) => votes.value,
            _ => value.is_finite().then_some(value),
        }
    }

    /// What else a person should know of the number.
    pub(crate) fn says(&self) -> Option<String> {
        match &self.meter {
            Meter::Votes(votes) => Some(votes.says()),
            Meter::Failure(failure) => failure.says(),
            Meter::Intensity(intensity) => Some(intensity.says()),
            _ => None,
        }
    }

    /// Takes a sample of an earlier run into memory; no level is reached by it. The number that it made.
    pub(crate) fn recall(&mut self, slot: usize, at: Timestamp, sample: &Sample) -> Option<Judged> {
        if !self.is_newest(slot, at) {
            return None;
        }
        let at = self.time(at);
        let number = self.take(slot, at, sample).number();
        self.gauge.recall(at, number.is_some());
        let (value, whole) = number?;
        Some(Judged { at, value: self.shown(value)?, whole })
    }

    pub(crate) fn restore(
        &mut self,
        state: &RuleState,
        active: Option<Severity>,
        same: bool,
        last: Option<Timestamp>,
        now: Timestamp,
    ) {
        self.gauge.restore(state, active, same, last, now);
    }

    /// Goes on, after [`Self::restore`], with what `old` remembers of its one input, when both make the same of it; whether they do.
    pub(crate) fn succeed(&mut self, old: &Self) -> bool {
        let same = self.made == old.made && self.newest.len() == 1;
        if same {
            (self.meter, self.filter) = (old.meter.clone(), old.filter.clone());
            (self.newest, self.now) = (old.newest.clone(), old.now);
            self.gauge.succeed(&old.gauge);
        }
        same
    }

    /// Takes the memory of `ready`, a measure of the same settings.
    pub(crate) fn prime(&mut self, ready: Self) {
        (self.meter, self.filter) = (ready.meter, ready.filter);
        (self.newest, self.now) = (ready.newest, ready.now);
        self.gauge.prime(&ready.gauge);
    }

    /// Moves the times of delays by a step of the wall clock. Windows begin anew: what was before can't be placed.
    pub(crate) fn shift(&mut self, by_ms: i64, settings: &Measured) {
        let inputs = self.newest.len();
        self.gauge.shift(by_ms);
        let gauge = self.gauge.clone();
        *self = Self { gauge, ..Self::new(settings, inputs) };
    }
}

/// A hash of what the number is made by, levels aside.
fn made(settings: &Measured) -> u64 {
    let Measured { measure, spikes, factor, unit, direction, max_gap, .. } = settings;
    let mut hasher = std::hash::DefaultHasher::new();
    format!("{measure:?} {spikes:?} {factor:?} {unit:?} {direction:?} {max_gap:?}").hash(&mut hasher);
    hasher.finish()
}

fn meter(settings: &Measured, inputs: usize) -> Meter {
    let Measured { direction, levels, deadband, max_gap, .. } = settings;
    let gap = *max_gap;
    match &settings.measure {
        Measure::Value => Meter::Value,
        Measure::Rate { window, method } => {
            Meter::Rate(Rate { window: Window::new(*window, gap), method: *method })
        }
        Measure::Change { window } => Meter::Change(Change { window: Window::new(*window, gap) }),
        Measure::Arrival { window, threshold, slowest, falling } => Meter::Arrival(Arrival {
            window: Window::new(*window, gap),
            threshold: *threshold,
            slowest: *slowest,
            falling: *falling,
        }),
        Measure::Sum { window, counting } => Meter::Sum(Sum::new(*window, *counting, gap)),
        Measure::Intensity { curve, counting } => {
            Meter::Intensity(Intensity::new(curve.clone(), *counting, gap))
        }
        Measure::Antecedent { rule, counting } => Meter::Antecedent(Days::new(*rule, *counting, gap)),
        Measure::Tangential { window, creep, reset } => Meter::Tangential(Tangential {
            window: Window::new(*window, gap),
            creep: *creep,
            reset: *reset,
            last: None,
        }),
        Measure::Failure { rule } => Meter::Failure(InverseVelocity::new(*rule, gap)),
        Measure::Stuck { window, within, rest } => Meter::Stuck(Stuck::new(*window, *within, *rest, gap)),
        Measure::Outside { low, high } => Meter::Outside(Outside { low: *low, high: *high }),
        Measure::State { wanted } => Meter::State(InState(wanted.clone())),
        Measure::Repeats { wanted, window } => Meter::Repeats(Repeats::new(wanted.clone(), *window)),
        Measure::Share { wanted, window } => Meter::Share(Share::new(wanted.clone(), *window, gap)),
        Measure::Votes { need, within } => {
            Meter::Votes(Votes::new(*need, inputs, *within, *direction, levels, *deadband, gap))
        }
        Measure::LeakDown { window, barometer, flow_max } => {
            Meter::LeakDown(LeakDown::new(*window, *barometer, *flow_max, gap))
        }
        Measure::LockUp { flow_max } => {
            Meter::LockUp(LockUp { flow: Beside::default(), flow_max: *flow_max, max_gap: gap })
        }
        Measure::Entrapment { contacts } => {
            let end = |level: Option<&Level>| level.map_or(0.0, |level| level.threshold);
            Meter::Entrapment(Entrapment::new(contacts.clone(), (end(levels.first()), end(levels.last()))))
        }
        Measure::Combined { parts, holds } => {
            let running = parts.iter().map(|part| Running {
                gauge: Gauged::new(&part.measured, part.inputs),
                first: part.first,
                inputs: part.inputs,
                says: None,
            });
            Meter::Combined(running.collect(), holds.clone())
        }
    }
}

impl Meter {
    fn take(&mut self, slot: usize, at: Timestamp, sample: &Sample, entry: Entry) -> Entry {
        match self {
            Self::Value => entry,
            Self::Rate(rate) => rate.take(at, entry),
            Self::Change(change) => change.take(at, entry),
            Self::Arrival(arrival) => arrival.take(at, entry),
            Self::Sum(sum) => sum.take(at, entry),
            Self::Intensity(intensity) => intensity.take(at, entry),
            Self::Antecedent(days) => days.take(at, entry),
            Self::Tangential(angle) => angle.take(at, entry),
            Self::Failure(failure) => failure.take(at, entry),
            Self::Stuck(stuck) => stuck.take(at, sample, entry),
            Self::Outside(outside) => outside.take(sample, entry),
            Self::State(state) => state.take(entry),
            Self::Repeats(repeats) => repeats.take(at, entry),
            Self::Share(share) => share.take(at, entry),
            Self::Votes(votes) => votes.take(slot, at, sample),
            Self::LeakDown(test) => test.take(slot, at, sample, entry),
            Self::LockUp(lock) => lock.take(slot, at, sample, entry),
            Self::Entrapment(car) => car.take(slot, at, sample),
            Self::Combined(parts, holds) => {
                for part in parts.iter_mut() {
                    if let Some(own) = slot.checked_sub(part.first).filter(|own| *own < part.inputs) {
                        part.take(own, at, sample);
                    }
                }
                match logic::evaluate(holds, |index| parts.get(index).and_then(|part| part.says)) {
                    Some(holds) => Entry::Whole(f64::from(u8::from(holds))),
                    None => Entry::Frozen,
                }
            }
        }
    }
}

impl Running {
    fn take(&mut self, slot: usize, at: Timestamp, sample: &Sample) {
        match self.gauge.take(slot, at, sample) {
            Entry::Whole(value) => {
                self.gauge.gauge.step(value, true, at);
                self.says = Some(self.gauge.gauge.height() > 0);
            }
            Entry::Raise(value) => {
                self.gauge.gauge.step(value, false, at);
                // What may only raise proves no `no`.
                let reached = self.gauge.gauge.height() > 0;
                self.says = if reached { Some(true) } else { self.says.filter(|_| false) };
            }
            Entry::Ignored => {}
            Entry::Frozen => self.says = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::condition::measure::Part;
    use crate::alarm::condition::rain::{Counting, Curve};
    use crate::alarm::condition::state::Wanted;
    use crate::alarm::condition::tests::at;
    use crate::alarm::condition::trail::Method;
    use crate::reading::{Doubt, Reason};

    fn plain(measure: Measure, threshold: f64) -> Measured {
        let level = Level {
            severity: Severity::Orange,
            threshold,
            on_delay: Duration::ZERO,
            off_delay: Duration::ZERO,
        };
        Measured {
            measure,
            spikes: None,
            factor: 1.0,
            unit: None,
            direction: Direction::Above,
            levels: vec![level],
            deadband: 0.0,
            max_gap: Duration::from_secs(180),
        }
    }

    #[test]
    fn deep_and_rising() {
        let window = Duration::from_secs(600);
        let rate = Measure::Rate { window, method: Method::LeastSquares };
        let parts = vec![
            Part { measured: plain(Measure::Value, 15.0), first: 0, inputs: 1 },
            Part { measured: plain(rate, 1.0), first: 1, inputs: 1 },
        ];
        let holds = logic::parse("deep && rising", &["deep".to_owned(), "rising".to_owned()]).unwrap();
        let mut both = Gauged::new(&plain(Measure::Combined { parts, holds }, 1.0), 2);
        let mut take = |minute: i32, sample: Sample| {
            let time = at(f64::from(minute) * 60.0);
            both.take(0, time, &sample);
            both.take(1, time, &sample)
        };
        assert_eq!(take(0, Sample::Good(10.0)), Entry::Whole(0.0), "not deep decides it");
        for minute in 1..6 {
            take(minute, Sample::Good(10.0 + 2.0 * f64::from(minute)));
        }
        assert_eq!(take(6, Sample::Good(22.0)), Entry::Whole(1.0));
        assert_eq!(take(7, Sample::Bad(Reason::Timeout)), Entry::Frozen);
        for minute in 8..20 {
            take(minute, Sample::Good(24.0));
        }
        assert_eq!(take(20, Sample::Good(24.0)), Entry::Whole(0.0), "deep and standing");
    }

    /// Bad, spiky and stepped samples, and a doubt against the rule's direction, prove nothing to any measure of one point.
    #[test]
    fn no_doubt_of_the_table_moves_a_measure() {
        let window = Duration::from_secs(600);
        let wanted = || Wanted::Codes(vec![1]);
        let measures = [
            Measure::Value,
            Measure::Rate { window, method: Method::TheilSen },
            Measure::Change { window },
            Measure::Arrival { window, threshold: 1e9, slowest: 0.0, falling: false },
            Measure::Sum { window, counting: Counting::Amounts },
            Measure::Intensity { curve: Curve::caine(vec![window]), counting: Counting::Amounts },
            Measure::Tangential { window, creep: 1.0, reset: 1e9 },
            Measure::Stuck { window, within: 0.1, rest: None },
            Measure::Outside { low: -1e6, high: 1e6 },
            Measure::State { wanted: wanted() },
            Measure::Repeats { wanted: wanted(), window },
            Measure::Share { wanted: wanted(), window },
        ];
        let samples = [
            (Sample::Bad(Reason::Timeout), Entry::Frozen),
            (Sample::Uncertain(1e9, Doubt::Spike), Entry::Ignored),
            (Sample::Uncertain(1e9, Doubt::Step), Entry::Ignored),
            (Sample::Uncertain(-1e9, Doubt::UnderRange), Entry::Ignored),
        ];
        for measure in measures {
            for (sample, want) in &samples {
                let mut one = Gauged::new(&plain(measure.clone(), 1.0), 1);
                let mut other = one.clone();
                for minute in 0..20_i32 {
                    let time = at(f64::from(minute) * 60.0);
                    let good = Sample::Good(f64::from(minute % 3));
                    let both = (one.take(0, time, &good), other.take(0, time, &good));
                    if !matches!(measure, Measure::Share { .. }) {
                        assert_eq!(both.0, both.1, "{measure:?} after {sample:?}");
                    }
                    assert_eq!(one.take(0, time.shifted(30_000), sample), *want, "{measure:?} of {sample:?}");
                }
            }
        }
    }
}
