//! How well a profile fits what a device answered.
//!
//! In: a profile and one poll of all its fields. Out: a [`Fit`].
//! Invariant: what any register would satisfy counts little; what the profile forbids (a refused register, a number out of range, a state
//! without a name) counts against it.

use crate::decode::{Raw, RawBatch};
use crate::normalize::Normalizer;
use crate::point::{DeviceId, PointId};
use crate::profile::{Field, Kind, Profile};
use crate::reading::{Reason, Sample};

/// What a poll says for and against a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Points of the profile.
    pub points: usize,
    /// Points with a number that the profile allows, or with a fault that it names.
    pub good: usize,
    /// Points that the device refused, or whose number the profile forbids.
    pub against: usize,
    /// Sum over the points: up to 1 for one that would hardly fit by chance, -1 for one against.
    pub score: f64,
    /// Each point's reading, by index of its field.
    pub readings: Vec<(usize, Sample)>,
}

impl Fit {
    /// Judges `batch`, which holds an entry for each field of `profile`.
    pub fn new(profile: &Profile, batch: &RawBatch) -> Self {
        let points: Vec<Option<PointId>> = (0..)
            .zip(&profile.fields)
            .map(|(index, field)| (!field.hidden).then_some(PointId(index)))
            .collect();
        let readings = Normalizer::new(DeviceId(0), profile, &points).normalize(batch, false, false).readings;
        let mut fit = Self { points: readings.len(), good: 0, against: 0, score: 0.0, readings: Vec::new() };
        for reading in readings {
            let index = usize::try_from(reading.point.0).unwrap_or(usize::MAX);
            let Some(field) = profile.fields.get(index) else { continue };
            let raw = batch.raws.get(index).and_then(|(_, raw)| raw.as_ref().ok());
            match weight(field, raw, &reading.sample) {
                Some(weight) => {
                    fit.good += 1;
                    fit.score += weight;
                }
                None => {
                    fit.against += 1;
                    fit.score -= 1.0;
                }
            }
            fit.readings.push((index, reading.sample));
        }
        fit
    }

    /// Worth showing: most of its points are good.
    pub fn is_likely(&self) -> bool {
        self.score > 0.0 && self.against * 2 < self.good
    }
}

/// How unlikely it is that another device's registers look like this; `None` speaks against the profile.
fn weight(field: &Field, raw: Option<&Raw>, sample: &Sample) -> Option<f64> {
    match sample {
        Sample::Good(value) if is_zero(*value) => Some(0.1),
        Sample::Good(_) => evidence(field, raw),
        Sample::Uncertain(..) => Some(0.1),
        // A refusal is one, whatever the profile calls it.
        Sample::Bad(Reason::SensorFault(name)) => {
            raw?;
            field.faults.iter().any(|fault| fault.means.as_ref() == name.as_ref()).then_some(0.5)
        }
        Sample::Bad(_) => None,
    }
}

fn evidence(field: &Field, raw: Option<&Raw>) -> Option<f64> {
    if !field.states.is_empty() {
        return Some(0.5);
    }
    let Some(Raw::Number(number)) = raw else { return None };
    match field.kind {
        // Random bits give such a number once in eight times.
        Kind::F32 | Kind::F64 => (1e-4..1e7).contains(&number.abs()).then_some(1.0),
        Kind::U32 | Kind::I32 | Kind::U64 | Kind::I64 => Some(if number.abs() < 1e7 { 0.7 } else { 0.1 }),
        Kind::U16 | Kind::I16 => Some(field.range.map_or(0.2, |(low, high)| narrow(field, high - low))),
        _ => Some(0.2),
    }
}

/// A range that a sixteenth of all words falls into says much, one that takes them all says little.
fn narrow(field: &Field, width: f64) -> f64 {
    let share = (width / field.scale.abs().max(f64::MIN_POSITIVE) / 65_536.0).clamp(0.0, 1.0);
    0.2 + 0.6 * (1.0 - share)
}

fn is_zero(value: f64) -> bool {
    value.abs() < f64::MIN_POSITIVE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Table;
    use crate::clock::Timestamp;
    use crate::profile::{Fault, FaultMatch, Limits};

    fn profile() -> Profile {
        let level = Field { range: Some((0.0, 500.0)), ..Field::new("level", Table::Holding, 0, Kind::U16) };
        let pressure = Field { range: Some((-1.0, 300.0)), ..Field::new("p", Table::Holding, 2, Kind::F32) };
        Profile {
            name: "probe".to_owned(),
            class: "io".to_owned(),
            maker: String::new(),
            source: String::new(),
            about: std::sync::Arc::default(),
            serial: None,
            text: None,
            limits: Limits::default(),
            fields: vec![level, pressure],
            vectors: Vec::new(),
            triggers: Vec::new(),
        }
    }

    fn fit(raws: [Result<f64, Reason>; 2]) -> Fit {
        fit_of(&profile(), raws)
    }

    fn fit_of(profile: &Profile, raws: [Result<f64, Reason>; 2]) -> Fit {
        let at = Timestamp::from_millis(0);
        let raws = raws.map(|raw| (at, raw.map(Raw::Number))).to_vec();
        Fit::new(profile, &RawBatch { device: DeviceId(0), start: at, end: at, raws })
    }

    #[test]
    fn legal_numbers_speak_for_a_profile_and_refusals_against_it() {
        let right = fit([Ok(120.0), Ok(1.01)]);
        assert_eq!((right.points, right.good, right.against), (2, 2, 0));
        assert!(right.is_likely() && right.score > 1.5, "{right:?}");
        let half = fit([Ok(120.0), Err(Reason::Exception(2))]);
        assert!(!half.is_likely() && half.score < right.score, "{half:?}");
        let mut named = profile();
        named.fields[1].faults = vec![Fault { matches: FaultMatch::Exception(2), means: "inactive".into() }];
        let refused = fit_of(&named, [Ok(120.0), Err(Reason::Exception(2))]);
        assert_eq!((refused.good, refused.against), (half.good, half.against), "{refused:?}");
        let foreign = fit([Ok(40_000.0), Ok(1e20)]);
        assert_eq!((foreign.good, foreign.against), (0, 2));
        let denormal = fit([Ok(120.0), Ok(1e-30)]);
        assert_eq!(denormal.against, 1, "within the range, and no measurement");
        let zeros = fit([Ok(0.0), Ok(0.0)]);
        assert!(zeros.is_likely() && zeros.score < 0.5, "zero is legal and says little: {zeros:?}");
    }
}
