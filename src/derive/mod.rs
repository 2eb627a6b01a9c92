//! Points computed from points: an expression over inputs, quality carried through.
//!
//! In: [`Batch`]es of readings. Out: a reading for each derived point that a batch feeds.
//! Invariant: no number unless each input has one; same settings and batches give the same readings, bit for bit.
//! Source: Common Expression Language, of which the part in [`expression`] is allowed.
//!
//! - A derived point is computed when a batch brings one of its inputs and each of them has been heard of; its time is the newest input's time. Should that time have
//!   been told already, nothing is told: a point's time never has two values.
//! - An input without a number makes the result bad with `input` and that point's name. A doubtful input makes the result doubtful, with the doubt of the first
//!   such input. A result that is no finite number is `out-of-range`.
//! - Windows: `rate(name, '5m')` is the least-squares slope in canonical units **per minute** (cm/min for a level in cm); it needs 3 samples that span half the window,
//!   or the result is bad with `input`. `sum`, `max`, `min` and `mean` take the samples in the window (`now - span < time <= now`, now being the newest sample's time). While the
//!   samples span less than half the window a sum or maximum is at least what it says, and a minimum at most: they are `over-range` and `under-range` then, which may raise an
//!   alarm in that direction and clears none; a mean is bad with `input`.
//! - `total(flow, '1d')` is the integral over time (m3 for a flow in m3/h; of a unit without a time, units times minutes), and needs half the window as a mean does.
//!   `tips(counter, '1h', 16, 20)` is how many a 16-bit counter counted that counts at most 20 a minute: over its top, from nothing after a reset, an implausible
//!   step left out (the count is then at least what it says), a step over a gap longer than the window doubtful (`step`).
//! - A window lives on readings' time alone; a step back of it empties the window.
//!
//! ```
//! use lifeline_gateway::{derive::{Derived, Settings}, point::PointId};
//! let value = "rate(level, '5m') > 0.5 ? 1 : 0".to_owned();
//! let settings = Settings { point: PointId(1), inputs: vec![("level".into(), PointId(0))], scales: Vec::new(), value, factor: 1.0 };
//! assert_eq!(Derived::check(&settings), Ok(()));
//! ```

pub mod counter;
pub mod expression;
pub mod functions;
pub mod never;
pub mod scale;
mod syntax;
pub mod terms;
pub mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use cel::{Context, Value};

use crate::clock::Timestamp;
use crate::derive::expression::{Compiled, Variable};
use crate::derive::scale::Scale;
use crate::derive::window::{Store, WindowId};
use crate::point::{Catalog, PointId};
use crate::reading::{Batch, Doubt, Reading, Reason, Sample};
use crate::unit::Unit;

/// One derived point as `site` compiled it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The point that it makes.
    pub point: PointId,
    /// Name in the expression and the point it stands for.
    pub inputs: Vec<(String, PointId)>,
    /// Inputs that the expression has in another unit than their points are in.
    pub scales: Vec<(String, Scale)>,
    /// The expression, `presence == 1.0 && moving == 0.0` or `rate(level, '5m')`; a bool result is 0 or 1.
    pub value: String,
    /// Factor from the expression's unit to the point's canonical unit: [`factor`].
    pub factor: f64,
}

/// All derived points of a site.
pub struct Derived {
    points: Vec<Formula>,
    latest: Latest,
    windows: Store,
    context: Context<'static, 'static>,
}

/// The latest sample of each point, by its number. Every reading of the site passes here, so it is one place and no search.
#[derive(Default)]
struct Latest(Vec<Option<(Timestamp, Sample)>>);

impl Latest {
    fn put(&mut self, point: PointId, sample: (Timestamp, Sample)) {
        let place = point.0 as usize;
        if self.0.len() <= place {
            self.0.resize(place + 1, None);
        }
        if let Some(slot) = self.0.get_mut(place) {
            *slot = Some(sample);
        }
    }

    fn get(&self, point: PointId) -> Option<&(Timestamp, Sample)> {
        self.0.get(point.0 as usize)?.as_ref()
    }

    fn into_all(self) -> impl Iterator<Item = (PointId, (Timestamp, Sample))> {
        (0..).zip(self.0).filter_map(|(number, sample)| Some((PointId(number), sample?)))
    }
}

struct Formula {
    settings: Settings,
    point: PointId,
    inputs: Vec<PointId>,
    compiled: Compiled,
    /// The window of each window call, in the order of `compiled.windows`.
    windows: Vec<WindowId>,
    factor: f64,
    told: Option<Timestamp>,
}

impl Derived {
    /// Compiles and dry-runs one expression; the error is text for a person.
    ///
    /// # Errors
    /// Syntax, unknown names, macros, wrong result type.
    pub fn check(settings: &Settings) -> Result<(), String> {
        let compiled = expression::compile(&settings.value, &settings.inputs, &settings.scales)?;
        let mut context = Context::default();
        for (_, point) in &settings.inputs {
            context.add_variable_from_value(Variable::Latest(*point).to_string(), 1.0);
        }
        for index in 0..compiled.windows.len() {
            context.add_variable_from_value(Variable::Window(index).to_string(), 1.0);
        }
        match Value::resolve(&compiled.expression, &context) {
            Ok(Value::Float(_) | Value::Bool(_)) => Ok(()),
            Ok(other) => Err(format!("the result is {other:?} and no number")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Derived points that passed [`Derived::check`] (others are left out). A derived point may be an input of another one.
    pub fn new(settings: Vec<Settings>, _catalog: &Catalog) -> Self {
        let mut windows = Store::default();
        let mut points = Vec::new();
        for settings in in_order(settings) {
            let Ok(compiled) = expression::compile(&settings.value, &settings.inputs, &settings.scales)
            else {
                continue;
            };
            let ids = compiled
                .windows
                .iter()
                .map(|call| windows.open(call.point, call.span, call.counter))
                .collect();
            let inputs = settings.inputs.iter().map(|(_, point)| *point).collect();
            points.push(Formula {
                point: settings.point,
                inputs,
                compiled,
                windows: ids,
                factor: settings.factor,
                told: None,
                settings,
            });
        }
        Self { points, latest: Latest::default(), windows, context: Context::default() }
    }

    /// Goes on for `old` after other documents: samples and windows of points that mean what they meant stay, and no time is told twice. `kept` is the new
    /// number of a point that is read as before, `named` that of any point of the same name.
    pub fn succeed(
        &mut self,
        old: Self,
        kept: impl Fn(PointId) -> Option<PointId>,
        named: impl Fn(PointId) -> Option<PointId>,
    ) {
        let mut told = BTreeMap::new();
        // A derived point is as before when its formula is, and all that it is computed from.
        let mut same: BTreeMap<PointId, Option<PointId>> = BTreeMap::new();
        for formula in &old.points {
            told.extend(named(formula.point).zip(formula.told));
            let input = |(name, point): &(String, PointId)| {
                Some((name.clone(), same.get(point).copied().unwrap_or_else(|| kept(*point))?))
            };
            let inputs: Option<Vec<_>> = formula.settings.inputs.iter().map(input).collect();
            let now = inputs.zip(kept(formula.point)).map(|(inputs, point)| Settings {
                inputs,
                point,
                ..formula.settings.clone()
            });
            let is = now.filter(|now| self.points.iter().any(|new| new.settings == *now));
            same.insert(formula.point, is.map(|settings| settings.point));
        }
        let kept = |point: PointId| same.get(&point).copied().unwrap_or_else(|| kept(point));
        for (point, sample) in old.latest.into_all() {
            if let Some(point) = kept(point) {
                self.latest.put(point, sample);
            }
        }
        self.windows.succeed(old.windows, kept);
        for formula in &mut self.points {
            formula.told = told.get(&formula.point).copied();
        }
    }

    /// Takes the readings of `batch` in and returns a reading for each derived point that one of them feeds.
    pub fn apply(&mut self, batch: &Batch, _now: Timestamp) -> Vec<Reading> {
        let mut fresh: Vec<PointId> = Vec::with_capacity(batch.readings.len());
        for reading in &batch.readings {
            self.take(reading);
            fresh.push(reading.point);
        }
        let mut results = Vec::new();
        for index in 0..self.points.len() {
            if let Some(reading) = self.evaluate(index, &fresh) {
                self.take(&reading);
                fresh.push(reading.point);
                results.push(reading);
            }
        }
        results
    }

    /// How far back [`Self::recall`] needs the readings of each point for its windows; of those with none, the last one.
    pub fn recalls(&self) -> BTreeMap<PointId, Duration> {
        let inputs =
            self.points.iter().flat_map(|formula| &formula.inputs).map(|point| (*point, Duration::ZERO));
        let own = self.points.iter().map(|formula| (formula.point, Duration::ZERO));
        let mut spans = BTreeMap::new();
        for (point, span) in inputs.chain(own).chain(self.windows.spans()) {
            let known: &mut Duration = spans.entry(point).or_default();
            *known = span.max(*known);
        }
        spans
    }

    /// Takes a reading of an earlier run, each point's oldest first: the points themselves, and what was derived of them then. Nothing is computed.
    pub fn recall(&mut self, reading: &Reading) {
        self.take(reading);
        if let Some(formula) = self.points.iter_mut().find(|formula| formula.point == reading.point) {
            formula.told = Some(reading.at);
        }
    }

    fn take(&mut self, reading: &Reading) {
        self.latest.put(reading.point, (reading.at, reading.sample.clone()));
        self.windows.push(reading);
    }

    fn evaluate(&mut self, index: usize, fresh: &[PointId]) -> Option<Reading> {
        let formula = self.points.get_mut(index)?;
        if !formula.inputs.iter().any(|input| fresh.contains(input)) {
            return None;
        }
        let inputs: Vec<_> = formula
            .inputs
            .iter()
            .map(|input| Some((*input, self.latest.get(*input)?)))
            .collect::<Option<_>>()?;
        let at = inputs.iter().map(|(_, (at, _))| *at).max()?;
        if formula.told.replace(at) == Some(at) {
            return None;
        }
        let mut doubt = None;
        let mut blind = None;
        for (input, (_, sample)) in inputs {
            match sample {
                Sample::Good(value) => set(&mut self.context, Variable::Latest(input), *value),
                Sample::Uncertain(value, of_input) => {
                    doubt = doubt.or(Some(*of_input));
                    set(&mut self.context, Variable::Latest(input), *value);
                }
                Sample::Bad(_) => blind = blind.or(Some(input)),
            }
        }
        for (index, (call, id)) in formula.compiled.windows.iter().zip(&formula.windows).enumerate() {
            match self.windows.get(*id).and_then(|window| window.value(call.function)) {
                Some((value, of_window)) => {
                    doubt = doubt.or(of_window);
                    set(&mut self.context, Variable::Window(index), value);
                }
                None => blind = blind.or(Some(call.point)),
            }
        }
        let sample = match blind {
            Some(input) => Sample::Bad(Reason::Input(input)),
            None => result(formula, &self.context, doubt),
        };
        Some(Reading { point: formula.point, at, sample })
    }
}

fn set(context: &mut Context<'static, 'static>, variable: Variable, value: f64) {
    context.add_variable_from_value(variable.to_string(), value);
}

fn result(formula: &Formula, context: &Context<'_, '_>, doubt: Option<Doubt>) -> Sample {
    let value = match Value::resolve(&formula.compiled.expression, context) {
        Ok(Value::Float(number)) => number * formula.factor + 0.0,
        Ok(Value::Bool(truth)) => f64::from(u8::from(truth)),
        _ => f64::NAN,
    };
    match doubt {
        _ if !value.is_finite() => Sample::Bad(Reason::OutOfRange),
        Some(doubt) => Sample::Uncertain(value, doubt),
        None => Sample::Good(value),
    }
}

/// Inputs before what is made of them; derived points that wait for each other come last as they stand, and never have all inputs.
fn in_order(mut waiting: Vec<Settings>) -> Vec<Settings> {
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let ready = |one: &Settings| {
            !one.inputs.iter().any(|(_, input)| waiting.iter().any(|other| other.point == *input))
        };
        let flags: Vec<bool> = waiting.iter().map(ready).collect();
        if !flags.contains(&true) {
            ordered.append(&mut waiting);
            break;
        }
        let (now, later): (Vec<_>, Vec<_>) = waiting.into_iter().zip(flags).partition(|(_, ready)| *ready);
        ordered.extend(now.into_iter().map(|(one, _)| one));
        waiting = later.into_iter().map(|(one, _)| one).collect();
    }
    ordered
}

/// The [`Settings::factor`] of a derived point whose document says `unit`, at a device of `class`; `inputs` are the names in the expression with the units of
/// their points. An expression that is nothing but an input or one window call has a unit of its own (`rate` of a level in cm: cm/min), which is converted;
/// of any other expression `unit` is taken to be the unit.
///
/// # Errors
/// Text for a person: the expression is in a unit of another quantity; a unit with an offset (degF) for a computed value.
pub fn factor(
    value: &str,
    inputs: &[(String, Option<Unit>)],
    unit: Option<Unit>,
    class: &str,
) -> Result<f64, String> {
    let Some(unit) = unit else { return Ok(1.0) };
    let own = expression::own_unit(value, inputs);
    if let Some((own, _)) = own
        && own.to(unit).is_none()
    {
        return Err(format!("{value} is in {}, which {} can't express", own.name(), unit.name()));
    }
    let (from, times) = own.unwrap_or((unit, 1.0));
    match from.to(unit.canonical_for(class)) {
        Some((factor, 0.0)) => Ok(factor * times),
        _ => Err(format!("{} has an offset: compute in {}", unit.name(), unit.canonical().name())),
    }
}

#[cfg(test)]
mod tests;
