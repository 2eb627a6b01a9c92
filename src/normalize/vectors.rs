//! A profile's own test vectors, run through decode and normalize.
//!
//! In: a profile. Out: one line for each vector that does not come out as stated.
//! Invariant: a point without cells in the vector is not judged.

use crate::clock::Timestamp;
use crate::decode::{Raw, RawBatch, decode};
use crate::normalize::engineering;
use crate::point::DeviceId;
use crate::profile::{Expect, Field, Profile, Vector};
use crate::reading::Reason;

/// What does not come out: number of the vector (from 0), field, text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Number of the vector, from 0.
    pub vector: usize,
    /// Name of the field.
    pub field: String,
    /// Expected and found.
    pub text: String,
}

/// Runs all vectors of `profile`.
pub fn verify(profile: &Profile) -> Vec<Mismatch> {
    let mut found = Vec::new();
    for (index, vector) in profile.vectors.iter().enumerate() {
        let raws = raws(profile, vector);
        for (name, expect) in &vector.expect {
            let place = profile.fields.iter().position(|field| field.name == *name);
            let got = place.and_then(|place| Some((profile.fields.get(place)?, raws.raws.get(place)?)));
            let text = match got {
                None => Some(format!("no point `{name}` in this profile")),
                Some((field, (_, raw))) => compare(field, raw, &raws, expect),
            };
            found.extend(text.map(|text| Mismatch { vector: index, field: name.clone(), text }));
        }
    }
    found
}

fn raws(profile: &Profile, vector: &Vector) -> RawBatch {
    let at = Timestamp::default();
    let raw = |field: &Field| match cells(vector, field) {
        Some(cells) => (at, Ok(decode(field, &cells))),
        None => (at, Err(Reason::NotPolled)),
    };
    RawBatch { device: DeviceId(0), start: at, end: at, raws: profile.fields.iter().map(raw).collect() }
}

fn cells(vector: &Vector, field: &Field) -> Option<Vec<u16>> {
    let cell = |address: u32| {
        vector.cells.iter().find_map(|(table, start, cells)| {
            let offset = usize::try_from(address.checked_sub(u32::from(*start))?).ok()?;
            (*table == field.table).then(|| cells.get(offset).copied()).flatten()
        })
    };
    (0..u32::from(field.count)).map(|offset| cell(u32::from(field.address) + offset)).collect()
}

fn compare(field: &Field, raw: &Result<Raw, Reason>, all: &RawBatch, expect: &Expect) -> Option<String> {
    let outcome = match raw {
        Err(reason) => Err(reason.to_string()),
        Ok(Raw::Fault(name)) => Err(name.to_string()),
        Ok(Raw::Number(number)) => match engineering(field, *number, &all.raws) {
            Ok((value, _)) => Ok(value),
            Err(Reason::SensorFault(name)) => Err(name.to_string()),
            Err(reason) => Err(reason.to_string()),
        },
    };
    match (expect, &outcome) {
        (Expect::Number(wanted, tolerance), Ok(value)) if (value - wanted).abs() <= *tolerance => None,
        (Expect::Fault(wanted), Err(name)) if wanted == name => None,
        (Expect::State(wanted), Ok(value)) => {
            #[expect(clippy::cast_precision_loss, reason = "state codes are small")]
            let state = field.states.iter().find(|(code, _)| (*code as f64 - value).abs() < 0.5);
            let name = state.map(|(_, name)| name.as_str());
            (name != Some(wanted)).then(|| format!("expected state {wanted}, found {}", name.unwrap_or("none")))
        }
        _ => Some(format!("expected {expect:?}, found {outcome:?}")),
    }
}
