//! Raw numbers to readings: validity, decimals, scale, loop, range, canonical unit.
//!
//! In: [`RawBatch`]es of one device and its profile. Out: [`Batch`]es of readings in canonical units.
//! Invariant: a sample with a number has a finite one; a field without a number gives a reason and never an older number.
//! Source: NAMUR NE 43 for current loops; DESIGN section 7 for doubts.
//!
//! Order of work: the field's own failure or fault (an exception that the profile names is one); `valid_when`; byte order by `order_from`;
//! `(raw + pre_offset) * scale * scale_from / 10^decimals + offset`; from the unit that `unit_from` tells; loop; range with tolerance; unit.
//! A sample carries one doubt, the most restrictive: over- and under-range before `clock` before `calibration`.
//!
//! A loop with a live zero (`lo` above 0, 4..20 mA): at or below 3.6/4 of `lo` it is the fault `loop low`, up to 3.8/4 in doubt; at or above 21/20 of `hi`
//! the fault `loop high`, from 20.5/20 in doubt. A loop with a dead zero (0..20 mA) has the upper limits only. A `range` beside a loop must leave room for what
//! the loop still calls good (3.8..20.5 mA): set `tolerance`.

pub mod fit;
pub mod vectors;

use std::sync::Arc;

use crate::decode::{Raw, RawBatch, decode};
use crate::point::{DeviceId, PointId};
use crate::profile::depend::{Choice, Conversion, Gate};
use crate::profile::{FaultMatch, Field, Loop, Profile};
use crate::reading::{Batch, Doubt, Reading, Reason, Sample};

/// Settings of one device: its profile's fields compiled, and the point that each visible field feeds.
#[derive(Clone, Debug)]
pub struct Normalizer {
    device: DeviceId,
    steps: Steps,
    points: Vec<Option<PointId>>,
    not_valid: Arc<str>,
}

/// The fields of a profile compiled: devices of one kind share them.
#[derive(Clone, Debug)]
pub struct Steps(Arc<[Step]>);

impl Steps {
    /// Those of a profile.
    pub fn new(profile: &Profile) -> Self {
        let fields = profile.fields.iter().enumerate();
        Self(fields.map(|(index, field)| Step::new(index, field, &profile.class)).collect())
    }
}

/// One field of the profile.
#[derive(Clone, Debug)]
struct Step {
    field: usize,
    /// Exceptions that are faults of the sensor.
    refused: Vec<(u8, Arc<str>)>,
    valid_when: Vec<Gate>,
    /// The field in each of its orders.
    ordered: Option<Choice<Field>>,
    pre_offset_from: Option<usize>,
    decimals_from: Option<usize>,
    scale: Linear,
    scale_from: Option<Choice<Linear>>,
    unit_from: Option<Choice<Conversion>>,
    current_loop: Option<Loop>,
    range: Option<(f64, f64)>,
    tolerance: f64,
    unit: Linear,
}

/// value * times / over + offset. A scale of 0.1 is a division by 10: 3 becomes 0.3 and not 0.30000000000000004.
#[derive(Clone, Copy, Debug)]
struct Linear {
    times: f64,
    over: f64,
    offset: f64,
}

impl Linear {
    fn new(factor: f64, offset: f64) -> Self {
        let over = factor.recip().round();
        let exact = over.is_finite() && over.recip().total_cmp(&factor).is_eq();
        if exact { Self { times: 1.0, over, offset } } else { Self { times: factor, over: 1.0, offset } }
    }

    fn apply(self, value: f64) -> f64 {
        value * self.times / self.over + self.offset
    }
}

impl Normalizer {
    /// `points[i]` is the point of field i of the profile; `None` for a field that is hidden or left out.
    pub fn new(device: DeviceId, profile: &Profile, points: &[Option<PointId>]) -> Self {
        Self::of(device, Steps::new(profile), points)
    }

    /// The same with steps that were made for another device of the same profile.
    pub fn of(device: DeviceId, steps: Steps, points: &[Option<PointId>]) -> Self {
        Self { device, steps, points: points.to_vec(), not_valid: "not valid".into() }
    }

    /// The readings of one poll. `doubt_calibration`: the device's calibration is overdue; `doubt_clock`: the box's clock is not trusted.
    pub fn normalize(&self, raw: &RawBatch, doubt_calibration: bool, doubt_clock: bool) -> Batch {
        let doubt = match (doubt_clock, doubt_calibration) {
            (true, _) => Some(Doubt::Clock),
            (false, true) => Some(Doubt::Calibration),
            (false, false) => None,
        };
        let mut readings = Vec::with_capacity(self.points.iter().flatten().count());
        for (step, point) in self.steps.0.iter().zip(&self.points) {
            let Some(point) = *point else { continue };
            let at = raw.raws.get(step.field).map_or(raw.end, |(at, _)| *at);
            let sample = match self.sample(step, raw) {
                Ok(sample) => doubted(sample, doubt),
                Err(reason) => Sample::Bad(reason),
            };
            readings.push(Reading { point, at, sample });
        }
        Batch { device: self.device, start: raw.start, end: raw.end, readings }
    }

    fn sample(&self, step: &Step, raw: &RawBatch) -> Result<Sample, Reason> {
        let own = step.own(raw)?;
        for gate in &step.valid_when {
            if !gate.holds.holds(raw_number(raw, gate.field)?) {
                return Err(Reason::SensorFault(self.not_valid.clone()));
            }
        }
        let number = match own {
            Raw::Unordered(cells) => step.in_order(raw, cells)?,
            own => plain(own)?,
        };
        let number = match step.pre_offset_from {
            Some(other) => number + raw_number(raw, other)?,
            None => number,
        };
        let scale = match &step.scale_from {
            Some(choice) => *chosen(raw, choice, "scale")?,
            None => step.scale,
        };
        let scale = match step.decimals_from {
            Some(other) => scale.shifted(raw_number(raw, other)?)?,
            None => scale,
        };
        let scaled = scale.apply(number);
        let scaled = match &step.unit_from {
            Some(choice) => chosen(raw, choice, "unit")?.apply(scaled),
            None => scaled,
        };
        step.judge(scaled)
    }
}

impl Linear {
    /// This scale divided by 10^`decimals`.
    fn shifted(self, decimals: f64) -> Result<Self, Reason> {
        const POWERS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
        (0_u8..)
            .zip(POWERS)
            .find(|(power, _)| f64::from(*power).total_cmp(&decimals).is_eq())
            .map(|(_, power)| Self { over: self.over * power, ..self })
            .ok_or_else(|| Reason::SensorFault(format!("{decimals} decimals").into()))
    }
}

impl Step {
    fn new(index: usize, field: &Field, class: &str) -> Self {
        let (factor, offset) =
            field.unit.and_then(|unit| unit.to(unit.canonical_for(class))).unwrap_or((1.0, 0.0));
        let refused = field.faults.iter().filter_map(|fault| match fault.matches {
            FaultMatch::Exception(code) => Some((code, fault.means.clone())),
            _ => None,
        });
        let ordered = field.order_from.as_ref().map(|choice| {
            let cases = choice.cases.iter();
            let cases = cases.filter_map(|(number, _)| Some((*number, field.ordered(*number)?))).collect();
            Choice { field: choice.field, cases }
        });
        let scale_from = field.scale_from.as_ref().map(|choice| {
            let linear = |factor: f64| Linear::new(field.scale * factor, field.offset);
            let cases = choice.cases.iter().map(|(number, factor)| (*number, linear(*factor))).collect();
            Choice { field: choice.field, cases }
        });
        Self {
            field: index,
            refused: refused.collect(),
            valid_when: field.valid_when.clone(),
            ordered,
            scale_from,
            unit_from: field.unit_from.clone(),
            pre_offset_from: field.pre_offset_from,
            decimals_from: field.decimals_from,
            scale: Linear::new(field.scale, field.offset),
            current_loop: field.current_loop,
            range: field.range,
            tolerance: field.tolerance,
            unit: Linear::new(factor, offset),
        }
    }

    /// What the field itself says; a refusal that the profile has a name for is a fault of the sensor.
    fn own<'a>(&self, raw: &'a RawBatch) -> Result<&'a Raw, Reason> {
        match raw.raws.get(self.field) {
            Some((_, Ok(Raw::Fault(fault)))) => Err(Reason::SensorFault(fault.clone())),
            Some((_, Ok(own))) => Ok(own),
            Some((_, Err(Reason::Exception(code)))) => {
                let named = self.refused.iter().find(|(known, _)| known == code);
                Err(named.map_or(Reason::Exception(*code), |(_, means)| Reason::SensorFault(means.clone())))
            }
            Some((_, Err(reason))) => Err(reason.clone()),
            None => Err(Reason::NotPolled),
        }
    }

    /// The number in registers whose order another field tells.
    fn in_order(&self, raw: &RawBatch, cells: &[u16]) -> Result<f64, Reason> {
        let Some(choice) = &self.ordered else { return Err(Reason::NotPolled) };
        plain(&decode(chosen(raw, choice, "byte order")?, cells))
    }

    /// A scaled number through loop, range and unit.
    fn judge(&self, scaled: f64) -> Result<Sample, Reason> {
        let (value, mut doubt) = match self.current_loop {
            Some(current_loop) => looped(current_loop, scaled)?,
            None => (scaled, None),
        };
        if let Some((low, high)) = self.range {
            if value < low - self.tolerance || value > high + self.tolerance {
                return Err(Reason::OutOfRange);
            }
            if value < low {
                doubt = Some(Doubt::UnderRange);
            } else if value > high {
                doubt = Some(Doubt::OverRange);
            }
        }
        // Adding zero takes the sign off a negative zero.
        let canonical = self.unit.apply(value) + 0.0;
        if !canonical.is_finite() {
            return Err(Reason::OutOfRange);
        }
        Ok(doubt.map_or(Sample::Good(canonical), |doubt| Sample::Uncertain(canonical, doubt)))
    }
}

fn raw_number(raw: &RawBatch, field: usize) -> Result<f64, Reason> {
    match raw.raws.get(field) {
        Some((_, Ok(raw))) => plain(raw),
        Some((_, Err(reason))) => Err(reason.clone()),
        None => Err(Reason::NotPolled),
    }
}

fn plain(raw: &Raw) -> Result<f64, Reason> {
    match raw {
        // The same zero whatever its sign.
        Raw::Number(number) => Ok(number + 0.0),
        Raw::Fault(fault) => Err(Reason::SensorFault(fault.clone())),
        Raw::Unordered(_) => Err(Reason::SensorFault("byte order not known".into())),
    }
}

/// What the choice's field chooses; a number without a case is the fault `unknown scale 7`.
fn chosen<'a, T>(raw: &RawBatch, choice: &'a Choice<T>, what: &str) -> Result<&'a T, Reason> {
    let number = raw_number(raw, choice.field)?;
    choice.of(number).ok_or_else(|| Reason::SensorFault(format!("unknown {what} {number}").into()))
}

fn looped(span: Loop, current: f64) -> Result<(f64, Option<Doubt>), Reason> {
    let live_zero = span.lo > 0.0;
    if live_zero && current <= span.lo * 0.9 {
        return Err(Reason::SensorFault("loop low".into()));
    }
    if current >= span.hi * 1.05 {
        return Err(Reason::SensorFault("loop high".into()));
    }
    let doubt = if live_zero && current < span.lo * 0.95 {
        Some(Doubt::UnderRange)
    } else if current > span.hi * 1.025 {
        Some(Doubt::OverRange)
    } else {
        None
    };
    let value = span.out_lo + (current - span.lo) * (span.out_hi - span.out_lo) / (span.hi - span.lo);
    Ok((value, doubt))
}

fn doubted(sample: Sample, doubt: Option<Doubt>) -> Sample {
    match (sample, doubt) {
        (Sample::Good(value), Some(doubt)) => Sample::Uncertain(value, doubt),
        (sample, _) => sample,
    }
}

#[cfg(test)]
mod tests;
