//! The latest samples of a point within a span of time, and what can be asked of them.
//!
//! In: readings in the order of their arrival. Out: slope, sum, extremes, mean, with the doubt that they carry.
//! Invariant: holds samples of the span alone, at most [`SAMPLES_MAX`]; only numbers come in.
//! Source: ordinary least squares.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::derive::counter::Counter;
use crate::point::PointId;
use crate::reading::{Doubt, Reading, Sample};

/// Samples of one window; of more the oldest go (the window then reaches less far back, and says so by its doubt).
pub const SAMPLES_MAX: usize = 100_000;
/// Above this a float is no exact count.
const MOST_COUNTED: f64 = 9_007_199_254_740_991.0;
/// A slope through fewer samples is noise.
const RATE_SAMPLES_MIN: usize = 3;

/// What can be asked of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Least-squares slope, canonical units per minute.
    Rate,
    /// Sum of the samples.
    Sum,
    /// Largest sample.
    Max,
    /// Smallest sample.
    Min,
    /// Arithmetic mean of the samples.
    Mean,
    /// Integral over time, canonical units times minutes: the trapezoids between the samples.
    Total,
    /// How many a counter counted, over its top and through resets.
    Tips,
}

impl Function {
    /// All functions.
    pub const ALL: [Self; 7] =
        [Self::Rate, Self::Sum, Self::Max, Self::Min, Self::Mean, Self::Total, Self::Tips];

    /// The name in expressions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Sum => "sum",
            Self::Max => "max",
            Self::Min => "min",
            Self::Mean => "mean",
            Self::Total => "total",
            Self::Tips => "tips",
        }
    }

    /// The function of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.name() == name)
    }
}

/// Which window of a [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowId(usize);

/// All windows, each point and span once.
#[derive(Debug, Default)]
pub struct Store {
    windows: Vec<(PointId, Window)>,
}

impl Store {
    /// The window of this point and span, made when there is none; of a counter it holds steps instead of numbers.
    pub fn open(&mut self, point: PointId, span: Duration, counter: Option<Counter>) -> WindowId {
        let same = |window: &Window| window.span == span && window.counter == counter;
        let known = self.windows.iter().position(|(of, window)| *of == point && same(window));
        WindowId(known.unwrap_or_else(|| {
            self.windows.push((point, Window::new(span, counter)));
            self.windows.len() - 1
        }))
    }

    /// Takes the samples of each window of `old` that is still asked for; `kept` is the new number of its point.
    pub fn succeed(&mut self, old: Self, kept: impl Fn(PointId) -> Option<PointId>) {
        for (point, before) in old.windows {
            let Some(point) = kept(point) else { continue };
            let same = |(of, window): &&mut (PointId, Window)| *of == point && window.span == before.span;
            if let Some((_, window)) = self.windows.iter_mut().find(same) {
                *window = before;
            }
        }
    }

    /// The points that have windows, each with its span.
    pub fn spans(&self) -> impl Iterator<Item = (PointId, Duration)> {
        self.windows.iter().map(|(point, window)| (*point, window.span))
    }

    /// The window of this number.
    pub fn get(&self, id: WindowId) -> Option<&Window> {
        self.windows.get(id.0).map(|(_, window)| window)
    }

    /// Takes a reading into the windows of its point.
    pub fn push(&mut self, reading: &Reading) {
        for (point, window) in &mut self.windows {
            if *point == reading.point {
                window.push(reading.at, &reading.sample);
            }
        }
    }
}

/// The samples of one point and span.
#[derive(Debug)]
pub struct Window {
    span: Duration,
    counter: Option<Counter>,
    /// The counter's last reading.
    counted: Option<(Timestamp, u64)>,
    samples: VecDeque<(Timestamp, f64, Option<Doubt>)>,
}

impl Window {
    fn new(span: Duration, counter: Option<Counter>) -> Self {
        Self { span, counter, counted: None, samples: VecDeque::new() }
    }

    fn push(&mut self, at: Timestamp, sample: &Sample) {
        // Time went back: the clock was put right, and what was before can't be placed.
        if self.samples.back().is_some_and(|(last, ..)| *last > at) {
            self.samples.clear();
            self.counted = None;
        }
        let (value, doubt) = match sample {
            Sample::Good(value) => (Some(*value), None),
            Sample::Uncertain(value, doubt) => (Some(*value), Some(*doubt)),
            Sample::Bad(_) => (None, None),
        };
        let stepped = value.and_then(|value| self.step(at, value, doubt));
        if let Some((value, doubt)) = stepped {
            // One time has one value: a repeat replaces.
            if self.samples.back().is_some_and(|(last, ..)| *last == at) {
                self.samples.pop_back();
            }
            self.samples.push_back((at, value, doubt));
        }
        while self.samples.len() > SAMPLES_MAX
            || self.samples.front().is_some_and(|(first, ..)| at.since(*first) >= self.span)
        {
            self.samples.pop_front();
        }
    }

    /// The number as it stands, or the step of a counter that it tells of. A step that can't be is none, and the sum at least what it says;
    /// one over a gap longer than the window belongs into it only in part.
    fn step(&mut self, at: Timestamp, value: f64, doubt: Option<Doubt>) -> Option<(f64, Option<Doubt>)> {
        let Some(counter) = self.counter else { return Some((value, doubt)) };
        if !(0.0..=MOST_COUNTED).contains(&value) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in the range of exact integers"
        )]
        let now = value.round() as u64;
        // A repeat of one time tells the same step.
        if self.counted.is_some_and(|(last, _)| last == at) {
            return None;
        }
        let Some((last, before)) = self.counted.replace((at, now)) else { return Some((0.0, doubt)) };
        let apart = at.since(last);
        let Some(count) = counter.counted(before, now, apart) else {
            return Some((0.0, Some(Doubt::OverRange)));
        };
        #[expect(clippy::cast_precision_loss, reason = "a step is far below 2^53")]
        let count = count as f64;
        Some((count, if apart > self.span { Some(Doubt::Step) } else { doubt }))
    }

    /// The answer and its doubt; `None` when the samples don't suffice.
    pub fn value(&self, function: Function) -> Option<(f64, Option<Doubt>)> {
        let values = || self.samples.iter().map(|(_, value, _)| *value);
        let wide = self.wide();
        let (value, partly) = match function {
            Function::Rate if wide => (self.slope()?, None),
            Function::Mean if wide => (values().sum::<f64>() / self.count(), None),
            Function::Total if wide => (self.integral()?, None),
            Function::Rate | Function::Mean | Function::Total => return None,
            Function::Sum | Function::Tips => (values().sum(), Some(Doubt::OverRange)),
            Function::Max => (values().reduce(f64::max)?, Some(Doubt::OverRange)),
            Function::Min => (values().reduce(f64::min)?, Some(Doubt::UnderRange)),
        };
        let of_samples = self.samples.iter().rev().find_map(|(_, _, doubt)| *doubt);
        // Half-seen is the narrower doubt: it says in which direction the answer can be trusted.
        let doubt = if wide { of_samples } else { partly.or(of_samples) };
        // What fell into a gap longer than the window may not raise an alarm either.
        let gap =
            self.counter.is_some() && self.samples.iter().any(|(.., doubt)| *doubt == Some(Doubt::Step));
        let doubt = if gap { Some(Doubt::Step) } else { doubt };
        (!self.samples.is_empty()).then_some((value, doubt))
    }

    /// Whether the samples span at least half the window.
    fn wide(&self) -> bool {
        match (self.samples.front(), self.samples.back()) {
            (Some((first, ..)), Some((last, ..))) => last.since(*first) >= self.span / 2,
            _ => false,
        }
    }

    fn count(&self) -> f64 {
        u32::try_from(self.samples.len()).map_or(f64::NAN, f64::from)
    }

    /// Trapezoids between the samples, in units times minutes.
    fn integral(&self) -> Option<f64> {
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
        let areas = pairs.map(|((from, one, _), (to, other, _))| {
            (one + other) / 2.0 * to.since(*from).as_secs_f64() / 60.0
        });
        (self.samples.len() > 1).then(|| areas.sum())
    }

    /// Least-squares slope per minute; times are counted from the first sample, so that no digits are lost.
    fn slope(&self) -> Option<f64> {
        let first = self.samples.front()?.0;
        if self.samples.len() < RATE_SAMPLES_MIN {
            return None;
        }
        let minutes = |at: Timestamp| at.since(first).as_secs_f64() / 60.0;
        let (mut time, mut value) = (0.0, 0.0);
        for (at, sample, _) in &self.samples {
            time += minutes(*at);
            value += sample;
        }
        let (time, value) = (time / self.count(), value / self.count());
        let (mut both, mut square) = (0.0, 0.0);
        for (at, sample, _) in &self.samples {
            let from_mean = minutes(*at) - time;
            both += from_mean * (sample - value);
            square += from_mean * from_mean;
        }
        (square > 0.0).then(|| both / square)
    }
}
