//! Points computed from points: an expression over inputs, quality carried through.
//!
//! In: batches of readings. Out: a reading for each derived point that one of them feeds.
//! Invariant: an input without a number makes the derived point bad and names the input; an uncertain input makes it
//! uncertain; `rate(name, '5m')` is the least-squares slope in the input's canonical unit per minute.
//! The expressions are CEL without macros; a bool result is 1 or 0.

use std::collections::VecDeque;
use std::time::Duration;

use cel::{Context, Program, Value};

use crate::clock::Timestamp;
use crate::point::PointId;
use crate::reading::{Batch, Doubt, Reading, Reason, Sample};

/// Longest expression, in bytes; CEL has no step limit, so length is one.
const LENGTH_MAX: usize = 500;
/// Samples kept for one rate.
const WINDOW_MAX: usize = 2000;

/// One derived point as `site` compiled it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The point that it makes.
    pub point: PointId,
    /// Name in the expression and the point it stands for.
    pub inputs: Vec<(String, PointId)>,
    /// The expression, `presence == 1.0 && moving == 0.0` or `rate(level, '5m')`.
    pub value: String,
    /// Factor from the expression's unit to the point's canonical unit.
    pub factor: f64,
}

struct Window {
    input: PointId,
    span: Duration,
    name: String,
    samples: VecDeque<(Timestamp, f64)>,
}

struct Point {
    settings: Settings,
    program: Program,
    windows: Vec<Window>,
    latest: Vec<Option<(Timestamp, Sample)>>,
}

/// All derived points of a site.
pub struct Derived(Vec<Point>);

impl Derived {
    /// Compiles and dry-runs one expression.
    ///
    /// # Errors
    /// Text for a person: syntax, an unknown name, a macro, a result that is no number.
    pub fn check(settings: &Settings) -> Result<(), String> {
        let point = compile(settings)?;
        let values = vec![1.0; settings.inputs.len()];
        evaluate(&point, &values, &vec![1.0; point.windows.len()]).map(|_| ())
    }

    /// Derived points; those that do not pass [`Derived::check`] are left out.
    pub fn new(settings: Vec<Settings>) -> Self {
        Self(settings.iter().filter_map(|settings| compile(settings).ok()).collect())
    }

    /// Takes the readings of `batch` in and returns a reading for each derived point that one of them feeds.
    pub fn apply(&mut self, batch: &Batch) -> Vec<Reading> {
        self.0.iter_mut().filter_map(|point| point.apply(batch)).collect()
    }
}

impl Point {
    fn apply(&mut self, batch: &Batch) -> Option<Reading> {
        let mut fed = None;
        for reading in &batch.readings {
            for ((_, input), latest) in self.settings.inputs.iter().zip(&mut self.latest) {
                if *input == reading.point {
                    *latest = Some((reading.at, reading.sample.clone()));
                    fed = fed.max(Some(reading.at));
                }
            }
            if let Some(value) = reading.sample.value() {
                self.windows.iter_mut().filter(|window| window.input == reading.point).for_each(|window| window.take(reading.at, value));
            }
        }
        let at = fed?;
        if self.latest.iter().any(Option::is_none) {
            return None;
        }
        Some(Reading { point: self.settings.point, at, sample: self.sample() })
    }

    fn sample(&self) -> Sample {
        let mut values = Vec::with_capacity(self.latest.len());
        let mut doubt: Option<Doubt> = None;
        for ((_, input), latest) in self.settings.inputs.iter().zip(&self.latest) {
            match latest {
                Some((_, Sample::Good(value))) => values.push(*value),
                Some((_, Sample::Uncertain(value, why))) => {
                    values.push(*value);
                    doubt = Some(*why);
                }
                _ => return Sample::Bad(Reason::Input(*input)),
            }
        }
        let mut slopes = Vec::with_capacity(self.windows.len());
        for window in &self.windows {
            match window.slope() {
                Some(slope) => slopes.push(slope),
                None => return Sample::Bad(Reason::Input(window.input)),
            }
        }
        match evaluate(self, &values, &slopes) {
            Ok(value) => {
                let value = value * self.settings.factor + 0.0;
                doubt.map_or(Sample::Good(value), |doubt| Sample::Uncertain(value, doubt))
            }
            Err(_) => Sample::Bad(Reason::OutOfRange),
        }
    }
}

impl Window {
    fn take(&mut self, at: Timestamp, value: f64) {
        if self.samples.back().is_some_and(|(last, _)| at <= *last) {
            return;
        }
        self.samples.push_back((at, value));
        while self.samples.len() > WINDOW_MAX || self.samples.front().is_some_and(|(first, _)| self.span < at.since(*first)) {
            self.samples.pop_front();
        }
    }

    /// Least-squares slope per minute; at least 3 samples over half the window.
    fn slope(&self) -> Option<f64> {
        let ((first, _), (last, _)) = (self.samples.front()?, self.samples.back()?);
        if self.samples.len() < 3 || last.since(*first) < self.span / 2 {
            return None;
        }
        let points = || self.samples.iter().map(|(at, value)| (at.since(*first).as_secs_f64() / 60.0, *value));
        let (count, sum_t, sum_x) = points().fold((0.0, 0.0, 0.0), |(n, t, x), (dt, dx)| (n + 1.0, t + dt, x + dx));
        let (mean_t, mean_x): (f64, f64) = (sum_t / count, sum_x / count);
        let (above, below) = points().fold((0.0, 0.0), |(above, below), (t, x)| {
            (above + (t - mean_t) * (x - mean_x), below + (t - mean_t) * (t - mean_t))
        });
        (below > 0.0).then(|| above / below)
    }
}

/// Turns each `rate(name, '5m')` into a variable of its own and compiles the rest.
fn compile(settings: &Settings) -> Result<Point, String> {
    let text = &settings.value;
    if text.len() > LENGTH_MAX {
        return Err(format!("the expression is longer than {LENGTH_MAX} bytes"));
    }
    for name in ["all(", "exists(", "exists_one(", "map(", "filter(", "has("] {
        if text.contains(name) {
            return Err(format!("`{name}..)` is not allowed here"));
        }
    }
    let mut windows = Vec::new();
    let mut rest = text.as_str();
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once("rate(") {
        let (arguments, tail) = after.split_once(')').ok_or("`rate(` without `)`")?;
        let (name, span) = arguments.split_once(',').ok_or("write rate(name, '5m')")?;
        let input = settings.inputs.iter().find(|(known, _)| known == name.trim());
        let (_, input) = input.ok_or_else(|| format!("`{}` is not one of the inputs", name.trim()))?;
        let span = span.trim().trim_matches('\'');
        let span = minutes(span).ok_or_else(|| format!("`{span}` is not a window; write '30s', '5m' or '2h'"))?;
        let variable = format!("rate_{}", windows.len());
        plain += before;
        plain += &variable;
        windows.push(Window { input: *input, span, name: variable, samples: VecDeque::new() });
        rest = tail;
    }
    plain += rest;
    let program = Program::compile(&plain).map_err(|error| format!("not an expression: {error}"))?;
    let latest = vec![None; settings.inputs.len()];
    Ok(Point { settings: settings.clone(), program, windows, latest })
}

fn minutes(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|number| (1..=100_000).contains(number))?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(Duration::from_secs(number * seconds))
}

fn evaluate(point: &Point, values: &[f64], slopes: &[f64]) -> Result<f64, String> {
    let mut context = Context::empty();
    let inputs = point.settings.inputs.iter().map(|(name, _)| name.as_str()).zip(values);
    let rates = point.windows.iter().map(|window| window.name.as_str()).zip(slopes);
    for (name, value) in inputs.chain(rates) {
        context.add_variable_from_value(name, Value::Float(*value));
    }
    let value = match point.program.execute(&context) {
        Ok(Value::Float(value)) => value,
        Ok(Value::Bool(holds)) => f64::from(u8::from(holds)),
        Ok(other) => return Err(format!("the result is no number but {other:?}")),
        Err(error) => return Err(format!("{error} (numbers are written 1.0)")),
    };
    if value.is_finite() { Ok(value) } else { Err("the result is not finite".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::DeviceId;

    fn settings(value: &str) -> Settings {
        let inputs = vec![("level".to_owned(), PointId(0)), ("moving".to_owned(), PointId(1))];
        Settings { point: PointId(2), inputs, value: value.to_owned(), factor: 1.0 }
    }

    fn batch(s: i64, samples: [Sample; 2]) -> Batch {
        let at = Timestamp::from_millis(s * 1000);
        let [level, moving] = samples;
        let reading = |point, sample| Reading { point: PointId(point), at, sample };
        Batch { device: DeviceId(0), start: at, end: at, readings: vec![reading(0, level), reading(1, moving)] }
    }

    #[test]
    fn expressions_are_checked_at_load() {
        assert_eq!(Derived::check(&settings("level > 2.0 && moving == 0.0")), Ok(()));
        assert_eq!(Derived::check(&settings("rate(level, '5m') * 2.0")), Ok(()));
        for wrong in ["level >", "speed", "rate(speed, '5m')", "rate(level, '5x')", "[1].all(x, x > 0)", "'text'"] {
            assert!(Derived::check(&settings(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quality_is_carried_through() {
        let mut derived = Derived::new(vec![settings("level > 2.0 && moving == 0.0")]);
        let mut sample = |level, moving| derived.apply(&batch(0, [level, moving])).remove(0).sample;
        assert_eq!(sample(Sample::Good(3.0), Sample::Good(0.0)), Sample::Good(1.0));
        assert_eq!(sample(Sample::Uncertain(3.0, Doubt::Spike), Sample::Good(1.0)), Sample::Uncertain(0.0, Doubt::Spike));
        assert_eq!(sample(Sample::Good(3.0), Sample::Bad(Reason::Timeout)), Sample::Bad(Reason::Input(PointId(1))));
    }

    #[test]
    fn the_worked_slope() {
        let mut derived = Derived::new(vec![settings("rate(level, '1m')")]);
        let mut last = Vec::new();
        for (index, value) in [300.0, 299.6, 299.1, 298.9, 298.2, 297.9, 297.4].into_iter().enumerate() {
            last = derived.apply(&batch(10 * i64::try_from(index).unwrap(), [Sample::Good(value), Sample::Good(0.0)]));
        }
        let Sample::Good(slope) = last.remove(0).sample else { panic!("no slope") };
        assert!((slope + 2.592_857_142_857).abs() < 1e-9, "{slope}");
    }
}
