//! The readings of one commit as bytes.
//!
//! In: batches. Out: a compact blob with its check sum, and back.
//! Invariant: `parse(emit(x)) == x` bit for bit; no byte string makes `parse` panic or reserve more than its own length.
//!
//! `docs/journal.md` has the layout. Most readings follow the one before (next point, same time) and are a decimal of
//! few digits: then a reading is one tag byte and a number of two or three.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::journal::numbers::{Input, emit_number, put, put_step, wide};
use crate::point::{DeviceId, PointId};
use crate::reading::{Batch, Doubt, Reading, Reason, Sample};

/// First byte of a blob.
const VERSION: u8 = 1;

/// Tag bit: the point's number is one above the last one's, and the time is the same.
const FOLLOWS: u8 = 0x80;
/// Quality of a reading without a number; 0 is good, 1..=6 are the doubts.
const BAD: u8 = 7;

/// Columns of the commit that its check sum covers too, so that no blob passes under another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Number of the commit.
    pub(crate) seq: i64,
    /// Its `now`.
    pub(crate) now: i64,
    /// Number of its site version.
    pub(crate) site: i64,
    /// How many readings it holds.
    pub(crate) readings: i64,
}

/// Writes `batches` into `out`, which is emptied first.
pub(crate) fn emit(key: Key, batches: &[Batch], out: &mut Vec<u8>) {
    out.clear();
    out.push(VERSION);
    put(out, wide(batches.len()));
    let mut names = HashMap::new();
    let mut point = u32::MAX;
    let mut time = key.now;
    for batch in batches {
        put(out, u64::from(batch.device.0));
        put_step(out, time, batch.start.as_millis());
        put_step(out, batch.start.as_millis(), batch.end.as_millis());
        put(out, wide(batch.readings.len()));
        time = batch.end.as_millis();
        let mut at = time;
        for reading in &batch.readings {
            emit_reading(reading, &mut point, &mut at, &mut names, out);
        }
    }
    let sum = check_sum(key, out);
    out.extend_from_slice(&sum.to_le_bytes());
}

fn emit_reading<'a>(
    reading: &'a Reading,
    point: &mut u32,
    at: &mut i64,
    names: &mut HashMap<&'a str, u64>,
    out: &mut Vec<u8>,
) {
    let next = reading.at.as_millis();
    let follows = reading.point.0 == point.wrapping_add(1) && next == *at;
    let tag = out.len();
    out.push(0);
    if !follows {
        put_step(out, i64::from(*point), i64::from(reading.point.0));
        put_step(out, *at, next);
    }
    (*point, *at) = (reading.point.0, next);
    let (quality, form) = match &reading.sample {
        Sample::Good(value) => (0, emit_number(*value, out)),
        Sample::Uncertain(value, doubt) => (doubt_code(*doubt), emit_number(*value, out)),
        Sample::Bad(reason) => (BAD, emit_reason(reason, names, out)),
    };
    if let Some(byte) = out.get_mut(tag) {
        *byte = if follows { FOLLOWS } else { 0 } | quality << 4 | form;
    }
}

fn emit_reason<'a>(reason: &'a Reason, names: &mut HashMap<&'a str, u64>, out: &mut Vec<u8>) -> u8 {
    match reason {
        Reason::Timeout => 0,
        Reason::LineDown => 1,
        Reason::BadFrame => 2,
        Reason::Exception(code) => {
            out.push(*code);
            3
        }
        Reason::SensorFault(name) => {
            // A name stands at its first use and is a number from then on.
            let new = wide(names.len());
            let number = *names.entry(name).or_insert(new);
            put(out, number);
            if number == new {
                put(out, wide(name.len()));
                out.extend_from_slice(name.as_bytes());
            }
            4
        }
        Reason::OutOfRange => 5,
        Reason::Stuck => 6,
        Reason::NotPolled => 7,
        Reason::Input(point) => {
            put(out, u64::from(point.0));
            8
        }
    }
}

pub(crate) fn doubt_code(doubt: Doubt) -> u8 {
    match doubt {
        Doubt::Clock => 1,
        Doubt::Calibration => 2,
        Doubt::OverRange => 3,
        Doubt::UnderRange => 4,
        Doubt::Spike => 5,
        Doubt::Step => 6,
    }
}

/// The doubt of a code from 1 on.
pub(crate) fn doubt_of(code: u8) -> Option<Doubt> {
    Doubt::ALL.into_iter().find(|doubt| doubt_code(*doubt) == code)
}

/// The batches in `bytes`; `None` when they are damaged or belong to another commit.
pub(crate) fn parse(key: Key, bytes: &[u8]) -> Option<Vec<Batch>> {
    sift(key, bytes, &mut |_, _, reading| Some(reading))
}

/// The same, but of the readings only what `keep` gives back; it is given the device, the end of the poll, and each reading in turn.
pub(crate) fn sift(key: Key, bytes: &[u8], keep: &mut Keep<'_>) -> Option<Vec<Batch>> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != check_sum(key, body) {
        return None;
    }
    parse_body(key.now, body, keep)
}

/// Which readings of a blob are wanted.
pub(crate) type Keep<'a> = dyn FnMut(DeviceId, Timestamp, Reading) -> Option<Reading> + 'a;

fn parse_body(now: i64, body: &[u8], keep: &mut Keep<'_>) -> Option<Vec<Batch>> {
    let mut input = Input::new(body);
    if input.byte()? != VERSION {
        return None;
    }
    let count = input.count()?;
    let mut batches = Vec::with_capacity(count.min(64));
    let mut point = u32::MAX;
    let mut time = now;
    for _ in 0..count {
        let device = DeviceId(u32::try_from(input.number()?).ok()?);
        let start = input.step(time)?;
        let end = input.step(start)?;
        time = end;
        let mut at = time;
        let held = input.count()?;
        let (start, end) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
        let mut readings = Vec::with_capacity(held.min(256));
        for _ in 0..held {
            readings.extend(keep(device, end, input.reading(&mut point, &mut at)?));
        }
        // Of a sieved hour few are kept, and thousands of batches stand in memory at once.
        if readings.len() < readings.capacity() / 2 {
            readings.shrink_to_fit();
        }
        batches.push(Batch { device, start, end, readings });
    }
    input.rest.is_empty().then_some(batches)
}

impl Input<'_> {
    fn reading(&mut self, point: &mut u32, at: &mut i64) -> Option<Reading> {
        let tag = self.byte()?;
        if tag & FOLLOWS != 0 {
            *point = point.wrapping_add(1);
        } else {
            *point = u32::try_from(self.step(i64::from(*point))?).ok()?;
            *at = self.step(*at)?;
        }
        let form = tag & 0x0F;
        let sample = match tag >> 4 & 7 {
            0 => Sample::Good(self.value(form)?),
            BAD => Sample::Bad(self.reason(form)?),
            code => Sample::Uncertain(self.value(form)?, doubt_of(code)?),
        };
        Some(Reading { point: PointId(*point), at: Timestamp::from_millis(*at), sample })
    }

    fn reason(&mut self, form: u8) -> Option<Reason> {
        Some(match form {
            0 => Reason::Timeout,
            1 => Reason::LineDown,
            2 => Reason::BadFrame,
            3 => Reason::Exception(self.byte()?),
            4 => Reason::SensorFault(self.name()?),
            5 => Reason::OutOfRange,
            6 => Reason::Stuck,
            7 => Reason::NotPolled,
            8 => Reason::Input(PointId(u32::try_from(self.number()?).ok()?)),
            _ => return None,
        })
    }

    fn name(&mut self) -> Option<Arc<str>> {
        let number = usize::try_from(self.number()?).ok()?;
        if let Some(name) = self.names.get(number) {
            return Some(Arc::clone(name));
        }
        if number != self.names.len() {
            return None;
        }
        let length = self.count()?;
        let (name, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let name: Arc<str> = std::str::from_utf8(name).ok()?.into();
        self.names.push(Arc::clone(&name));
        Some(name)
    }
}

fn check_sum(key: Key, body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    for number in [key.seq, key.now, key.site, key.readings] {
        sum.update(&number.to_le_bytes());
    }
    sum.update(body);
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: Key = Key { seq: 7, now: 1_700_000_000_000, site: 1, readings: 2 };

    fn number() -> impl Strategy<Value = f64> {
        let decimal = (any::<i32>(), 0..8).prop_map(|(whole, places)| f64::from(whole) / 10_f64.powi(places));
        let scaled = any::<i16>().prop_map(|raw| f64::from(raw) * 0.01);
        prop_oneof![decimal, scaled, any::<f32>().prop_map(f64::from), any::<f64>(), Just(-0.0)]
    }

    fn reason() -> impl Strategy<Value = Reason> {
        prop_oneof![
            Just(Reason::Timeout),
            Just(Reason::LineDown),
            Just(Reason::BadFrame),
            any::<u8>().prop_map(Reason::Exception),
            ".{0,8}|open-circuit".prop_map(|name| Reason::SensorFault(name.into())),
            Just(Reason::OutOfRange),
            Just(Reason::Stuck),
            Just(Reason::NotPolled),
            any::<u32>().prop_map(|point| Reason::Input(PointId(point))),
        ]
    }

    fn sample() -> impl Strategy<Value = Sample> {
        prop_oneof![
            number().prop_map(Sample::Good),
            (number(), prop::sample::select(&Doubt::ALL[..]))
                .prop_map(|(value, doubt)| Sample::Uncertain(value, doubt)),
            reason().prop_map(Sample::Bad),
        ]
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        prop_oneof![0..3_000_000_000_000_i64, any::<i64>(), Just(i64::MIN), Just(i64::MAX)]
            .prop_map(Timestamp::from_millis)
    }

    fn batch() -> impl Strategy<Value = Batch> {
        let point = prop_oneof![0..20_u32, any::<u32>()].prop_map(PointId);
        let reading = (point, time(), sample()).prop_map(|(point, at, sample)| Reading { point, at, sample });
        (any::<u32>(), time(), time(), prop::collection::vec(reading, 0..20)).prop_map(
            |(device, start, end, readings)| Batch { device: DeviceId(device), start, end, readings },
        )
    }

    /// Not `==`: NaN is not itself and 0.0 is -0.0 there; here every bit counts.
    fn text(batches: &[Batch]) -> String {
        let bits = |batch: &Batch| {
            batch.readings.iter().map(|reading| reading.sample.value().map(f64::to_bits)).collect::<Vec<_>>()
        };
        format!("{batches:?} {:?}", batches.iter().map(bits).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn parse_gives_back_what_emit_took(batches in prop::collection::vec(batch(), 0..5), now in any::<i64>()) {
            let key = Key { now, ..KEY };
            let mut bytes = vec![1, 2, 3];
            emit(key, &batches, &mut bytes);
            prop_assert_eq!(text(&parse(key, &bytes).unwrap()), text(&batches));
        }

        #[test]
        fn any_flipped_bit_is_found(batches in prop::collection::vec(batch(), 0..3), bit in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            emit(KEY, &batches, &mut bytes);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(parse(KEY, &bytes), None);
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(KEY, &bytes);
            bytes.insert(0, VERSION);
            parse_body(0, &bytes, &mut |_, _, reading| Some(reading));
        }
    }

    #[test]
    fn a_blob_belongs_to_its_commit_alone() {
        let mut bytes = Vec::new();
        emit(KEY, &[], &mut bytes);
        assert_eq!(parse(KEY, &bytes), Some(Vec::new()));
        for other in
            [Key { seq: 8, ..KEY }, Key { now: 1, ..KEY }, Key { site: 2, ..KEY }, Key { readings: 3, ..KEY }]
        {
            assert_eq!(parse(other, &bytes), None);
        }
    }

    #[test]
    fn a_hundred_readings_stay_under_six_bytes_each() {
        let at = Timestamp::from_millis(KEY.now - 40);
        let check = |value: fn(u32) -> f64, bytes_max: usize| {
            let reading =
                |point: u32| Reading { point: PointId(point), at, sample: Sample::Good(value(point)) };
            let readings = (0..100).map(reading).collect();
            let mut bytes = Vec::new();
            emit(KEY, &[Batch { device: DeviceId(3), start: at, end: at, readings }], &mut bytes);
            assert!(bytes.len() <= bytes_max, "{} bytes", bytes.len());
        };
        check(|point| f64::from(point * 37) * 0.01, 320);
        check(|point| f64::from(point * 3701 + 100_000) / 1000.0, 430);
        check(|point| f64::from(1.1_f32 * f32::from(u8::try_from(point).unwrap())), 530);
    }
}
