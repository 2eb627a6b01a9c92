//! Raw numbers to readings: validity, decimals, scale, loop, range, canonical unit.
//!
//! In: one poll of one device with its raw numbers. Out: a [`Batch`] in canonical units with quality.
//! Invariant: a raw value that failed becomes a reason without a number; an old number is never used again.
//! Source: NAMUR NE 43 for the bands of a current loop.

pub mod vectors;

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::decode::{Raw, RawBatch};
use crate::point::{DeviceId, PointId};
use crate::profile::{Field, Loop, Profile};
use crate::reading::{Batch, Doubt, Reading, Reason, Sample};

/// One visible field, compiled.
#[derive(Clone, Debug)]
struct Step {
    field: usize,
    point: PointId,
    settings: Field,
    /// The field needs nothing but `raw * factor + shift` and a range.
    linear: bool,
    factor: f64,
    shift: f64,
    low: f64,
    high: f64,
    to_canonical: (f64, f64),
}

/// Settings of one device: its profile's fields compiled, and the point that each visible field feeds.
#[derive(Clone, Debug)]
pub struct Normalizer {
    device: DeviceId,
    steps: Vec<Step>,
}

impl Normalizer {
    /// `points[i]` is the point of field i of the profile; `None` for a field that is hidden or left out.
    pub fn new(device: DeviceId, profile: &Profile, points: &[Option<PointId>]) -> Self {
        let fields = profile.fields.iter().zip(points).enumerate();
        let steps = fields.filter_map(|(index, (field, point))| Some(Step::new(index, field, (*point)?, &profile.class)));
        Self { device, steps: steps.collect() }
    }

    /// The readings of one poll. `doubt_calibration`: the calibration is overdue; `doubt_clock`: the box's clock is not trusted.
    pub fn normalize(&self, raw: &RawBatch, doubt_calibration: bool, doubt_clock: bool) -> Batch {
        let doubt = if doubt_clock { Some(Doubt::Clock) } else { doubt_calibration.then_some(Doubt::Calibration) };
        let readings = self.steps.iter().map(|step| {
            let (at, sample) = match raw.raws.get(step.field) {
                Some((at, Ok(Raw::Number(number)))) => (*at, step.sample(*number, &raw.raws)),
                Some((at, Ok(Raw::Fault(name)))) => (*at, Sample::Bad(Reason::SensorFault(Arc::clone(name)))),
                Some((at, Err(reason))) => (*at, Sample::Bad(reason.clone())),
                None => (raw.end, Sample::Bad(Reason::NotPolled)),
            };
            let sample = match (sample, doubt) {
                (Sample::Good(value), Some(doubt)) => Sample::Uncertain(value, doubt),
                (sample, _) => sample,
            };
            Reading { point: step.point, at, sample }
        });
        Batch { device: self.device, start: raw.start, end: raw.end, readings: readings.collect() }
    }
}

/// The raw values of one poll, by field.
type Raws = [(Timestamp, Result<Raw, Reason>)];

impl Step {
    fn new(index: usize, field: &Field, point: PointId, class: &str) -> Self {
        let to_canonical = field.unit.map_or((1.0, 0.0), |unit| {
            let (factor, offset) = unit.to_canonical();
            let (kept, kept_offset) = unit.canonical_for(class).to_canonical();
            (factor / kept, (offset - kept_offset) / kept)
        });
        let linear = field.decimals_from.is_none()
            && field.pre_offset_from.is_none()
            && field.current_loop.is_none()
            && field.valid_when.is_none();
        let (low, high) = field.range.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        Self {
            field: index,
            point,
            settings: field.clone(),
            linear,
            factor: field.scale * to_canonical.0,
            shift: field.offset * to_canonical.0 + to_canonical.1,
            low: low * to_canonical.0 + to_canonical.1,
            high: high * to_canonical.0 + to_canonical.1,
            to_canonical,
        }
    }

    fn sample(&self, raw: f64, raws: &Raws) -> Sample {
        if self.linear {
            let value = raw * self.factor + self.shift + 0.0;
            if self.low <= value && value <= self.high {
                return Sample::Good(value);
            }
        }
        match engineering(&self.settings, raw, raws) {
            Err(reason) => Sample::Bad(reason),
            Ok((value, doubt)) => {
                let kept = value * self.to_canonical.0 + self.to_canonical.1 + 0.0;
                doubt.map_or(Sample::Good(kept), |doubt| Sample::Uncertain(kept, doubt))
            }
        }
    }
}

/// The value in the field's own unit, with its doubt.
fn engineering(field: &Field, raw: f64, raws: &Raws) -> Result<(f64, Option<Doubt>), Reason> {
    let number = |index: usize| match raws.get(index) {
        Some((_, Ok(Raw::Number(number)))) => Ok(*number),
        Some((_, Ok(Raw::Fault(name)))) => Err(Reason::SensorFault(Arc::clone(name))),
        Some((_, Err(reason))) => Err(reason.clone()),
        None => Err(Reason::NotPolled),
    };
    if let Some((index, wanted)) = field.valid_when {
        if (number(index)? - wanted).abs() > 0.5 {
            return Err(Reason::SensorFault(Arc::from("not valid")));
        }
    }
    let before = field.pre_offset_from.map_or(Ok(0.0), number)?;
    let decimals = field.decimals_from.map_or(Ok(0.0), number)?;
    if !(0.0..=9.0).contains(&decimals) {
        return Err(Reason::SensorFault(Arc::from("decimals out of range")));
    }
    let scaled = (raw + before) * field.scale / 10_f64.powf(decimals) + field.offset;
    let (value, doubt) = field.current_loop.map_or(Ok((scaled, None)), |current| of_loop(current, scaled))?;
    let in_range = in_range(field, value)?;
    if value.is_finite() { Ok((value, in_range.or(doubt))) } else { Err(Reason::OutOfRange) }
}

fn in_range(field: &Field, value: f64) -> Result<Option<Doubt>, Reason> {
    let Some((low, high)) = field.range else { return Ok(None) };
    // Decimal noise of a scale such as 0.1 must not push a value over its own limit.
    let noise = 1e-9 * (high - low).abs();
    if value < low - field.tolerance - noise || high + field.tolerance + noise < value {
        return Err(Reason::OutOfRange);
    }
    if value < low - noise {
        return Ok(Some(Doubt::UnderRange));
    }
    Ok((high + noise < value).then_some(Doubt::OverRange))
}

/// NE 43 on the scale of 4-20: up to 3.6 and from 21.0 the loop is broken; to 3.8 and from 20.5 it is saturated.
fn of_loop(current: Loop, value: f64) -> Result<(f64, Option<Doubt>), Reason> {
    let share = (value - current.lo) / (current.hi - current.lo);
    let ma = 4.0 + 16.0 * share;
    let out = current.out_lo + share * (current.out_hi - current.out_lo);
    let fault = |name: &str| Err(Reason::SensorFault(Arc::from(name)));
    match ma {
        ma if ma <= 3.6 + 1e-9 => fault("loop low"),
        ma if 21.0 - 1e-9 <= ma => fault("loop high"),
        ma if ma < 3.8 - 1e-9 => Ok((out, Some(Doubt::UnderRange))),
        ma if 20.5 + 1e-9 < ma => Ok((out, Some(Doubt::OverRange))),
        _ => Ok((out, None)),
    }
}
