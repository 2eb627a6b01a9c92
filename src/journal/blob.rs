//! One commit's readings as bytes: small, checked, and readable years later.
//!
//! In: batches. Out: bytes with a checksum over content and commit number, and the batches again.
//! Invariant: any damaged byte is found; no length in the bytes is believed before it is compared with what is left.
//! Layout: version 1, base time, batches (device, start, end, readings); a reading is point delta, time delta, tag, value.
//! A value is the XOR of its bits with the last value of the same place in the former batch of that device, shortened by its zero bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::journal::Seq;
use crate::point::{DeviceId, PointId};
use crate::reading::{Batch, Doubt, Reading, Reason, Sample};

const VERSION: u8 = 1;

/// Bytes of `batches`, bound to commit `seq`, appended to `out`.
pub(crate) fn emit(seq: Seq, batches: &[Batch], out: &mut Vec<u8>) {
    out.clear();
    out.push(VERSION);
    put(out, u64::try_from(batches.len()).unwrap_or(0));
    let mut last_ms = 0_i64;
    for batch in batches {
        put(out, u64::from(batch.device.0));
        signed(out, batch.start.as_millis().wrapping_sub(last_ms));
        last_ms = batch.start.as_millis();
        signed(out, batch.end.as_millis().wrapping_sub(last_ms));
        put(out, u64::try_from(batch.readings.len()).unwrap_or(0));
        let (mut point, mut ms, mut bits) = (0_i64, last_ms, 0_u64);
        for reading in &batch.readings {
            signed(out, i64::from(reading.point.0) - point);
            point = i64::from(reading.point.0) + 1;
            signed(out, reading.at.as_millis().wrapping_sub(ms));
            ms = reading.at.as_millis();
            sample(out, &reading.sample, &mut bits);
        }
    }
    out.extend_from_slice(&check(seq, out).to_le_bytes());
}

/// The batches of commit `seq`; `None` when the bytes are damaged or of another commit.
pub(crate) fn parse(seq: Seq, bytes: &[u8]) -> Option<Vec<Batch>> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != check(seq, body) {
        return None;
    }
    let mut from = From { left: body };
    if from.byte()? != VERSION {
        return None;
    }
    let count = from.number()?;
    let mut batches = Vec::new();
    let mut last_ms = 0_i64;
    for _ in 0..count {
        let device = DeviceId(u32::try_from(from.number()?).ok()?);
        last_ms = last_ms.wrapping_add(from.signed()?);
        let start = Timestamp::from_millis(last_ms);
        let end = Timestamp::from_millis(last_ms.wrapping_add(from.signed()?));
        let readings = readings(&mut from, last_ms)?;
        batches.push(Batch { device, start, end, readings });
    }
    from.left.is_empty().then_some(batches)
}

fn readings(from: &mut From<'_>, start_ms: i64) -> Option<Vec<Reading>> {
    let count = from.number()?;
    let mut readings = Vec::with_capacity(usize::try_from(count).ok()?.min(from.left.len() / 3 + 1));
    let (mut point, mut ms, mut bits) = (0_i64, start_ms, 0_u64);
    for _ in 0..count {
        let id = u32::try_from(point.checked_add(from.signed()?)?).ok()?;
        point = i64::from(id) + 1;
        ms = ms.wrapping_add(from.signed()?);
        let sample = from.sample(&mut bits)?;
        readings.push(Reading { point: PointId(id), at: Timestamp::from_millis(ms), sample });
    }
    Some(readings)
}

fn check(seq: Seq, body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&seq.0.to_le_bytes());
    sum.update(body);
    sum.finalize()
}

/// Tag 0: good; 1-6: doubt; 20-27: reason; 100: exception, then its code.
fn sample(out: &mut Vec<u8>, sample: &Sample, bits: &mut u64) {
    match sample {
        Sample::Good(value) => {
            out.push(0);
            number(out, *value, bits);
        }
        Sample::Uncertain(value, doubt) => {
            out.push(doubt_code(*doubt));
            number(out, *value, bits);
        }
        Sample::Bad(Reason::Exception(code)) => out.extend_from_slice(&[100, *code]),
        Sample::Bad(reason) => {
            out.push(u8::try_from(reason.code()).unwrap_or(20));
            match reason {
                Reason::SensorFault(name) => {
                    put(out, u64::try_from(name.len()).unwrap_or(0));
                    out.extend_from_slice(name.as_bytes());
                }
                Reason::Input(point) => put(out, u64::from(point.0)),
                _ => {}
            }
        }
    }
}

fn doubt_code(doubt: Doubt) -> u8 {
    let place = Doubt::ALL.iter().position(|known| *known == doubt).unwrap_or(0);
    u8::try_from(place + 1).unwrap_or(1)
}

/// The changed bits against the former value, without their zero bytes at the low end.
fn number(out: &mut Vec<u8>, value: f64, bits: &mut u64) {
    let changed = value.to_bits() ^ *bits;
    *bits = value.to_bits();
    let bytes = changed.to_be_bytes();
    let kept = 8 - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let lead = bytes.iter().take_while(|byte| **byte == 0).count().min(kept);
    out.push(u8::try_from(lead * 16 + kept).unwrap_or(8));
    out.extend_from_slice(bytes.get(lead..kept).unwrap_or_default());
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7F).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

fn signed(out: &mut Vec<u8>, number: i64) {
    put(out, number.wrapping_shl(1).cast_unsigned() ^ (number >> 63).cast_unsigned());
}

/// What is left to read.
struct From<'a> {
    left: &'a [u8],
}

impl From<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, left) = self.left.split_first()?;
        self.left = left;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn value(&mut self, bits: &mut u64) -> Option<f64> {
        let head = self.byte()?;
        let (lead, kept) = (usize::from(head >> 4), usize::from(head & 15));
        let mut bytes = [0_u8; 8];
        for place in lead..kept.min(8) {
            *bytes.get_mut(place)? = self.byte()?;
        }
        *bits ^= u64::from_be_bytes(bytes);
        Some(f64::from_bits(*bits))
    }

    fn sample(&mut self, bits: &mut u64) -> Option<Sample> {
        Some(match self.byte()? {
            0 => Sample::Good(self.value(bits)?),
            100 => Sample::Bad(Reason::Exception(self.byte()?)),
            20 => Sample::Bad(Reason::Timeout),
            21 => Sample::Bad(Reason::LineDown),
            22 => Sample::Bad(Reason::BadFrame),
            23 => {
                let length = usize::try_from(self.number()?).ok()?;
                let (name, left) = self.left.split_at_checked(length)?;
                self.left = left;
                Sample::Bad(Reason::SensorFault(Arc::from(std::str::from_utf8(name).ok()?)))
            }
            24 => Sample::Bad(Reason::OutOfRange),
            25 => Sample::Bad(Reason::Stuck),
            26 => Sample::Bad(Reason::NotPolled),
            27 => Sample::Bad(Reason::Input(PointId(u32::try_from(self.number()?).ok()?))),
            doubt => Sample::Uncertain(self.value(bits)?, *Doubt::ALL.get(usize::from(doubt).checked_sub(1)?)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_sample() -> impl Strategy<Value = Sample> {
        let value = prop_oneof![(-1e6_f64..1e6), Just(0.0), Just(-0.0), Just(f64::MAX), Just(f64::MIN_POSITIVE)];
        prop_oneof![
            4 => value.clone().prop_map(Sample::Good),
            1 => (value, 0..6_usize).prop_map(|(value, doubt)| Sample::Uncertain(value, Doubt::ALL[doubt])),
            1 => any::<u8>().prop_map(|code| Sample::Bad(Reason::Exception(code))),
            1 => ".{0,20}".prop_map(|name| Sample::Bad(Reason::SensorFault(Arc::from(name.as_str())))),
            1 => any::<u32>().prop_map(|point| Sample::Bad(Reason::Input(PointId(point)))),
            1 => prop::sample::select(vec![Reason::Timeout, Reason::LineDown, Reason::BadFrame, Reason::OutOfRange, Reason::Stuck, Reason::NotPolled]).prop_map(Sample::Bad),
        ]
    }

    fn any_batch() -> impl Strategy<Value = Batch> {
        let reading = (any::<u32>(), any::<i64>(), any_sample()).prop_map(|(point, ms, sample)| Reading { point: PointId(point), at: Timestamp::from_millis(ms), sample });
        (any::<u32>(), any::<i64>(), any::<i64>(), prop::collection::vec(reading, 0..12)).prop_map(|(device, start, end, readings)| Batch {
            device: DeviceId(device),
            start: Timestamp::from_millis(start),
            end: Timestamp::from_millis(end),
            readings,
        })
    }

    proptest! {
        #[test]
        fn comes_back_as_it_went(seq: u64, batches in prop::collection::vec(any_batch(), 0..6)) {
            let mut bytes = Vec::new();
            emit(Seq(seq), &batches, &mut bytes);
            prop_assert_eq!(parse(Seq(seq), &bytes), Some(batches));
            prop_assert_eq!(parse(Seq(seq ^ 1), &bytes), None, "bytes of another commit");
        }

        #[test]
        fn a_flipped_bit_is_found(batches in prop::collection::vec(any_batch(), 1..3), place: prop::sample::Index, bit in 0..8_u8) {
            let mut bytes = Vec::new();
            emit(Seq(7), &batches, &mut bytes);
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            prop_assert_eq!(parse(Seq(7), &bytes), None);
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut body = vec![VERSION];
            body.extend(&bytes);
            body.extend_from_slice(&check(Seq(1), &body).to_le_bytes());
            let _ = parse(Seq(1), &body);
        }
    }
}
