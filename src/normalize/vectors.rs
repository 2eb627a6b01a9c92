//! A profile's own test vectors, run through the same decoding and normalizing as the field.
//!
//! In: a [`Profile`]. Out: what came out differently from what its vectors expect.
//! Invariant: vectors speak the raw unit, so units are taken off first and everything else is the way of a live reading.

use crate::clock::Timestamp;
use crate::decode::words::{decode_words, hear};
use crate::decode::{Raw, RawBatch, decode};
use crate::normalize::Normalizer;
use crate::point::{DeviceId, PointId};
use crate::profile::{Expect, Field, Profile, Vector};
use crate::reading::{Reason, Sample};

/// A vector whose outcome is not the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Index of the vector.
    pub vector: usize,
    /// Name of the field.
    pub field: String,
    /// What was expected and what came, for a person.
    pub text: String,
}

/// Runs all vectors of `profile`; empty when each of them holds.
pub fn verify(profile: &Profile) -> Vec<Mismatch> {
    let mut bare = profile.clone();
    for field in &mut bare.fields {
        field.unit = None;
    }
    let points: Vec<_> = (0..).map(|number| Some(PointId(number))).take(bare.fields.len()).collect();
    let normalizer = Normalizer::new(DeviceId(0), &bare, &points);
    let mut mismatches = Vec::new();
    for (index, vector) in bare.vectors.iter().enumerate() {
        let raw = exchange(&bare, vector);
        let refused = vector.text.as_ref().and_then(|line| hear(&bare, line).err());
        let samples = normalizer.normalize(&raw, false, false).readings;
        for (name, expect) in &vector.expect {
            let place = bare.fields.iter().position(|field| field.name == *name);
            let found = place
                .and_then(|place| Some((bare.fields.get(place)?, raw.raws.get(place)?, samples.get(place)?)));
            let text = match found {
                Some((field, (_, raw), reading)) => differs(field, expect, raw, &reading.sample),
                None => Some("the profile has no such point".to_owned()),
            };
            let text = text.map(|text| refused.as_ref().map_or(text.clone(), |why| format!("{text}: {why}")));
            if let Some(text) = text {
                mismatches.push(Mismatch { vector: index, field: name.clone(), text });
            }
        }
    }
    mismatches
}

/// The poll that gave these cells; a field that they don't cover was not polled.
fn exchange(profile: &Profile, vector: &Vector) -> RawBatch {
    let at = Timestamp::from_millis(0);
    if let Some(line) = &vector.text {
        let raws = match hear(profile, line) {
            Ok(words) => decode_words(profile, &words, at),
            Err(_) => vec![(at, Err(Reason::BadFrame)); profile.fields.len()],
        };
        return RawBatch { device: DeviceId(0), start: at, end: at, raws };
    }
    let raw = |field: &Field| {
        let cells = vector
            .cells
            .iter()
            .filter(|(table, ..)| *table == field.table)
            .find_map(|(_, first, cells)| covered(field, *first, cells));
        (at, cells.map(|cells| decode(field, cells)).ok_or(Reason::NotPolled))
    };
    RawBatch { device: DeviceId(0), start: at, end: at, raws: profile.fields.iter().map(raw).collect() }
}

fn covered<'a>(field: &Field, first: u16, cells: &'a [u16]) -> Option<&'a [u16]> {
    let from = usize::from(field.address.checked_sub(first)?);
    cells.get(from..from.checked_add(usize::from(field.count))?)
}

fn differs(field: &Field, expect: &Expect, raw: &Result<Raw, Reason>, sample: &Sample) -> Option<String> {
    let got = match (sample, raw) {
        (Sample::Bad(Reason::SensorFault(fault)), _) => format!("fault \"{fault}\""),
        (Sample::Bad(reason), _) => reason.to_string(),
        (_, Ok(Raw::Number(code))) if !field.states.is_empty() => {
            format!("state \"{}\"", field.state(*code).unwrap_or_default())
        }
        (Sample::Good(value) | Sample::Uncertain(value, _), _) => value.to_string(),
    };
    let (holds, want) = match (expect, sample) {
        (Expect::Number(want, tolerance), Sample::Good(value) | Sample::Uncertain(value, _)) => {
            ((value - want).abs() <= *tolerance, want.to_string())
        }
        (Expect::Number(want, _), Sample::Bad(_)) => (false, want.to_string()),
        (Expect::State(want), _) => (got == format!("state \"{want}\""), format!("state \"{want}\"")),
        (Expect::Fault(want), Sample::Bad(Reason::SensorFault(_))) => {
            (got == format!("fault \"{want}\""), format!("fault \"{want}\""))
        }
        (Expect::Fault(want), _) => (got == *want, format!("fault \"{want}\"")),
    };
    (!holds).then(|| format!("expected {want}, got {got}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::at::At;
    use crate::profile::{Kind, Limits, Loop};
    use crate::unit::Unit;

    fn field(name: &str, address: u16, kind: Kind) -> Field {
        Field::new(name, At::parse("40001").unwrap().table, address, kind)
    }

    fn profile(fields: Vec<Field>, vectors: Vec<Vector>) -> Profile {
        Profile {
            name: "x".into(),
            class: "water-level".into(),
            maker: String::new(),
            source: String::new(),
            about: std::sync::Arc::default(),
            serial: None,
            text: None,
            limits: Limits::default(),
            fields,
            triggers: Vec::new(),
            vectors,
        }
    }

    fn vector(cells: &[u16], name: &str, expect: Expect) -> Vector {
        Vector {
            text: None,
            cells: vec![(field("x", 0, Kind::U16).table, 3, cells.to_vec())],
            expect: vec![(name.into(), expect)],
            from_maker: false,
            firmware: None,
        }
    }

    #[test]
    fn raw_units_and_what_other_registers_say() {
        let decimals = Field { hidden: true, ..field("decimals", 3, Kind::U16) };
        let mut level = field("level", 4, Kind::I16);
        level.decimals_from = Some(0);
        level.unit = Unit::parse("m");
        let mut state = field("state", 5, Kind::U16);
        state.states = vec![(0, "off".into()), (1, "on".into())];
        let held = profile(
            vec![decimals, level, state],
            vec![
                vector(&[3, 1234, 1], "level", Expect::Number(1.234, 1e-12)),
                vector(&[3, 1234, 1], "state", Expect::State("on".into())),
                vector(&[3, 1234, 7], "state", Expect::Fault("unknown state 7".into())),
                vector(&[77, 1234, 7], "level", Expect::Fault("77 decimals".into())),
                vector(&[3], "level", Expect::Fault("not-polled".into())),
            ],
        );
        assert_eq!(verify(&held), []);
    }

    #[test]
    fn a_wrong_expectation_is_found() {
        let mut level = field("level", 3, Kind::U16);
        level.scale = 0.001;
        level.current_loop = Some(Loop { lo: 4.0, hi: 20.0, out_lo: 0.0, out_hi: 10.0 });
        let wrong = profile(
            vec![level],
            vec![
                vector(&[12_000], "level", Expect::Number(5.1, 1e-9)),
                vector(&[3_400], "level", Expect::Number(0.0, 1.0)),
                vector(&[3_400], "level", Expect::Fault("loop high".into())),
                vector(&[12_000], "level", Expect::Fault("loop low".into())),
                vector(&[12_000], "levle", Expect::Number(5.0, 1e-9)),
                vector(&[12_000], "level", Expect::Number(5.0, 1e-9)),
            ],
        );
        let found: Vec<_> =
            verify(&wrong).into_iter().map(|mismatch| (mismatch.vector, mismatch.text)).collect();
        let text = |index: usize| found[index].1.as_str();
        assert_eq!(found.len(), 5);
        assert_eq!(text(0), "expected 5.1, got 5");
        assert_eq!(text(1), "expected 0, got fault \"loop low\"");
        assert_eq!(text(2), "expected fault \"loop high\", got fault \"loop low\"");
        assert_eq!(text(3), "expected fault \"loop low\", got 5");
        assert_eq!(text(4), "the profile has no such point");
    }
}
