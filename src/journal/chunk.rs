//! Many readings of one point as few bytes: times and values as columns, each by what it is made of.
//!
//! In: readings of one point, in the order in which they were taken. Out: a chunk with its check sum, and back.
//! Invariant: `parse(emit(x)) == x` bit for bit; damage is found by the check sum before anything is believed.
//!
//! | part | content |
//! | --- | --- |
//! | head | byte 2 (the version); number of readings; bytes of the times; the times as `pco` gives them; form of the values; their bytes; the values |
//! | samples | runs: how many; code 0 good, 1 to 6 a doubt, 7 and more a reason, its number or text behind it; one run of good is left out |
//! | foot | CRC-32, little endian, over all before it and the key of the chunk |
//!
//! The form is that of the journal's numbers, one for all: 0 to 5, whole numbers `n` with value `n` / 10^form; 6 to 11, `n` * 10^-(form - 6); 13, floats.
//! Version 1 has no form, and floats. `pco` (lossless) finds what steps and patterns there are.

use crate::clock::Timestamp;
use crate::journal::blob::{doubt_code, doubt_of};
use crate::journal::numbers::{DOUBLE, FORMS, Input, number_of, put, whole_of, wide};
use crate::point::PointId;
use crate::reading::{Reading, Reason, Sample};

const VERSION: u8 = 2;
const VERSION_FLOATS: u8 = 1;
/// A chunk holds fewer readings than this, so that no damaged count reserves memory.
pub(crate) const READINGS_MAX: usize = 1 << 20;

/// Writes the readings of one point, `key` being what the chunk stands under.
pub(crate) fn emit(key: (i64, i64), readings: &[Reading]) -> Option<Vec<u8>> {
    let times: Vec<i64> = readings.iter().map(|reading| reading.at.as_millis()).collect();
    let values: Vec<f64> = readings.iter().filter_map(|reading| reading.sample.value()).collect();
    let config = pco::ChunkConfig::default();
    let times = pco::standalone::simple_compress(&times, &config).ok()?;
    let (form, values) = match decimals(&values) {
        Some((form, whole)) => (form, pco::standalone::simple_compress(&whole, &config).ok()?),
        None => (DOUBLE, pco::standalone::simple_compress(&values, &config).ok()?),
    };
    let mut out = vec![VERSION];
    put(&mut out, wide(readings.len()));
    put(&mut out, wide(times.len()));
    out.extend_from_slice(&times);
    out.push(form);
    put(&mut out, wide(values.len()));
    out.extend_from_slice(&values);
    let mut runs: Vec<(u64, &Sample)> = Vec::new();
    for reading in readings {
        match runs.last_mut() {
            Some((count, sample)) if alike(sample, &reading.sample) => *count = count.saturating_add(1),
            _ => runs.push((1, &reading.sample)),
        }
    }
    if !matches!(runs.as_slice(), [] | [(_, Sample::Good(_))]) {
        for (count, sample) in runs {
            put(&mut out, count);
            emit_kind(sample, &mut out);
        }
    }
    let sum = check_sum(key, &out);
    out.extend_from_slice(&sum.to_le_bytes());
    Some(out)
}

/// All values as whole numbers in one form, the shortest that gives back every bit of each.
fn decimals(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    FORMS.into_iter().find_map(|form| {
        let whole = values.iter().map(|value| whole_of(form, *value).map(i64::from));
        whole.collect::<Option<Vec<i64>>>().map(|whole| (form, whole))
    })
}

/// Whether two samples differ in their number alone.
fn alike(one: &Sample, other: &Sample) -> bool {
    match (one, other) {
        (Sample::Good(_), Sample::Good(_)) => true,
        (Sample::Uncertain(_, one), Sample::Uncertain(_, other)) => one == other,
        (Sample::Bad(one), Sample::Bad(other)) => one == other,
        _ => false,
    }
}

fn emit_kind(sample: &Sample, out: &mut Vec<u8>) {
    match sample {
        Sample::Good(_) => out.push(0),
        Sample::Uncertain(_, doubt) => out.push(doubt_code(*doubt)),
        Sample::Bad(reason) => {
            let (code, number, name) = match reason {
                Reason::Timeout => (7, None, None),
                Reason::LineDown => (8, None, None),
                Reason::BadFrame => (9, None, None),
                Reason::Exception(code) => (10, Some(u64::from(*code)), None),
                Reason::SensorFault(name) => (11, None, Some(name)),
                Reason::OutOfRange => (12, None, None),
                Reason::Stuck => (13, None, None),
                Reason::NotPolled => (14, None, None),
                Reason::Input(point) => (15, Some(u64::from(point.0)), None),
            };
            out.push(code);
            if let Some(number) = number {
                put(out, number);
            }
            if let Some(name) = name {
                put(out, wide(name.len()));
                out.extend_from_slice(name.as_bytes());
            }
        }
    }
}

/// The readings in `bytes`; `None` when they are damaged or stand under another key.
pub(crate) fn parse(key: (i64, i64), point: PointId, bytes: &[u8]) -> Option<Vec<Reading>> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != check_sum(key, body) {
        return None;
    }
    let mut input = Input::new(body);
    let version = input.byte()?;
    if ![VERSION, VERSION_FLOATS].contains(&version) {
        return None;
    }
    let count = usize::try_from(input.number()?).ok().filter(|count| *count < READINGS_MAX)?;
    let length = input.count()?;
    let times: Vec<i64> = pco::standalone::simple_decompress(input.take(length)?).ok()?;
    let form = if version == VERSION { input.byte()? } else { DOUBLE };
    let length = input.count()?;
    let values: Vec<f64> = if form == DOUBLE {
        pco::standalone::simple_decompress(input.take(length)?).ok()?
    } else {
        let whole: Vec<i64> = pco::standalone::simple_decompress(input.take(length)?).ok()?;
        let number = |whole| number_of(form, f64::from(i32::try_from(whole).ok()?));
        whole.into_iter().map(number).collect::<Option<_>>()?
    };
    if times.len() != count {
        return None;
    }
    let (mut times, mut values) = (times.into_iter(), values.into_iter());
    let mut readings = Vec::with_capacity(count);
    while readings.len() < count {
        let left = count.saturating_sub(readings.len());
        // Without runs all are good.
        let (run, kind) = if input.is_empty() && readings.is_empty() {
            (left, Kind::Good)
        } else {
            (
                usize::try_from(input.number()?).ok().filter(|run| (1..=left).contains(run))?,
                parse_kind(&mut input)?,
            )
        };
        for at in times.by_ref().take(run) {
            let sample = match &kind {
                Kind::Good => Sample::Good(values.next()?),
                Kind::Doubt(code) => Sample::Uncertain(values.next()?, doubt_of(*code)?),
                Kind::Bad(reason) => Sample::Bad(reason.clone()),
            };
            readings.push(Reading { point, at: Timestamp::from_millis(at), sample });
        }
    }
    (input.is_empty() && values.next().is_none()).then_some(readings)
}

enum Kind {
    Good,
    Doubt(u8),
    Bad(Reason),
}

fn parse_kind(input: &mut Input) -> Option<Kind> {
    let reason = match input.byte()? {
        0 => return Some(Kind::Good),
        code @ 1..=6 => return Some(Kind::Doubt(code)),
        7 => Reason::Timeout,
        8 => Reason::LineDown,
        9 => Reason::BadFrame,
        10 => Reason::Exception(u8::try_from(input.number()?).ok()?),
        11 => {
            let length = input.count()?;
            Reason::SensorFault(std::str::from_utf8(input.take(length)?).ok()?.into())
        }
        12 => Reason::OutOfRange,
        13 => Reason::Stuck,
        14 => Reason::NotPolled,
        15 => Reason::Input(PointId(u32::try_from(input.number()?).ok()?)),
        _ => return None,
    };
    Some(Kind::Bad(reason))
}

fn check_sum((site, point): (i64, i64), body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&site.to_le_bytes());
    sum.update(&point.to_le_bytes());
    sum.update(body);
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reading::Doubt;

    fn sample() -> impl Strategy<Value = Sample> {
        let number = prop_oneof![any::<f64>(), any::<i16>().prop_map(|raw| f64::from(raw) / 10.0)];
        let reasons = vec![
            Reason::Timeout,
            Reason::LineDown,
            Reason::BadFrame,
            Reason::Exception(2),
            Reason::SensorFault("过载".into()),
            Reason::OutOfRange,
            Reason::Stuck,
            Reason::NotPolled,
            Reason::Input(PointId(7)),
        ];
        (number, prop::sample::select(&Doubt::ALL[..]), prop::sample::select(reasons), 0..5).prop_map(
            |(number, doubt, reason, kind)| match kind {
                0..3 => Sample::Good(number),
                3 => Sample::Uncertain(number, doubt),
                _ => Sample::Bad(reason),
            },
        )
    }

    fn readings() -> impl Strategy<Value = Vec<Reading>> {
        let reading = (any::<i64>(), sample()).prop_map(|(at, sample)| Reading {
            point: PointId(3),
            at: Timestamp::from_millis(at),
            sample,
        });
        prop::collection::vec(reading, 0..60)
    }

    /// Not `==`: every bit counts.
    fn text(readings: &[Reading]) -> String {
        let bits = readings.iter().map(|reading| reading.sample.value().map(f64::to_bits));
        format!("{readings:?} {:?}", bits.collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn parse_gives_back_what_emit_took(readings in readings()) {
            let bytes = emit((1, 2), &readings).unwrap();
            prop_assert_eq!(text(&parse((1, 2), PointId(3), &bytes).unwrap()), text(&readings));
            prop_assert_eq!(parse((1, 3), PointId(3), &bytes), None, "another key");
        }

        #[test]
        fn any_flipped_bit_is_found(readings in readings(), bit in any::<prop::sample::Index>()) {
            let mut bytes = emit((1, 2), &readings).unwrap();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(parse((1, 2), PointId(3), &bytes), None);
        }
    }

    /// What format 1 of the history wrote: no form, and floats.
    fn emit_floats(key: (i64, i64), readings: &[(i64, f64)]) -> Vec<u8> {
        let config = pco::ChunkConfig::default();
        let (times, values): (Vec<i64>, Vec<f64>) = readings.iter().copied().unzip();
        let times = pco::standalone::simple_compress(&times, &config).unwrap();
        let values = pco::standalone::simple_compress(&values, &config).unwrap();
        let mut out = vec![VERSION_FLOATS];
        put(&mut out, wide(readings.len()));
        for column in [&times, &values] {
            put(&mut out, wide(column.len()));
            out.extend_from_slice(column);
        }
        let sum = check_sum(key, &out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    #[test]
    fn chunks_of_format_1_are_read() {
        let readings: Vec<(i64, f64)> =
            (0..500).map(|n| (1_700_000_000_000 + n * 1000, 0.1 + n as f64)).collect();
        let back = parse((1, 2), PointId(3), &emit_floats((1, 2), &readings)).unwrap();
        let back: Vec<(i64, f64)> =
            back.iter().map(|one| (one.at.as_millis(), one.sample.value().unwrap())).collect();
        assert_eq!(back, readings);
    }

    #[test]
    fn decimals_are_whole_numbers_where_every_bit_comes_back() {
        let of = |values: &[f64]| decimals(values).map(|(form, _)| form);
        assert_eq!(of(&[25.37, 0.1, -3.0]), Some(2), "n / 100");
        assert_eq!(of(&[3.0 * 0.1, 0.1]), Some(7), "n * 0.1");
        assert_eq!(of(&[0.3, 3.0 * 0.1]), None, "not one form for both");
        for odd in [-0.0, f64::NAN, f64::INFINITY, 1e300, 1.0 / 3.0] {
            assert_eq!(of(&[1.5, odd]), None, "{odd}");
        }
    }

    #[test]
    fn an_hour_of_a_point_at_one_a_second_takes_a_byte_each_at_most() {
        let mut at = 1_700_000_000_000;
        let readings: Vec<Reading> = (0..3600_u32)
            .map(|n| {
                at += 998 + i64::from(n * 7919 % 5);
                let value = f64::from(2500 + n / 100 + n * 31 % 3) / 100.0;
                Reading { point: PointId(3), at: Timestamp::from_millis(at), sample: Sample::Good(value) }
            })
            .collect();
        let bytes = emit((1, 2), &readings).unwrap();
        assert!(bytes.len() <= 3600, "{} bytes", bytes.len());
    }
}
