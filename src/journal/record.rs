//! A commit as a record of a segment.
//!
//! In: the commit's numbers, its texts and its blob. Out: the bytes of the record, and back.
//! Invariant: a record is whole or it is none: its check sum covers every byte, the segment's generation and the journal's name, so
//! that neither a torn record nor one of an earlier use of the same file passes.
//! Source: `docs/journal.md` has the layout.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use crate::alarm::RuleState;
use crate::journal::{Group, Progress, blob};

/// Bytes before a record's texts and blob.
pub(crate) const HEAD: usize = 64;
/// "LFSG".
const MAGIC: [u8; 4] = *b"LFSG";
/// Bytes that are read at once where some may be unreadable.
const BLOCK: usize = 4096;
/// What stands before the part that the check sum covers.
const SUMMED: usize = 8;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the segment's present use.
    pub(crate) generation: u32,
    /// Its first byte in the file.
    pub(crate) offset: u32,
    /// Its length.
    pub(crate) bytes: u32,
}

impl Place {
    /// From columns `place` and `bytes`.
    pub(crate) fn from_columns(place: i64, bytes: i64) -> Option<Self> {
        let place = place.cast_unsigned();
        let generation = u32::try_from(place >> 32).ok()?;
        let offset = u32::try_from(place & u64::from(u32::MAX)).ok()?;
        Some(Self { generation, offset, bytes: u32::try_from(bytes).ok()? })
    }

    /// The column `place`.
    pub(crate) fn column(self) -> i64 {
        (u64::from(self.generation) << 32 | u64::from(self.offset)).cast_signed()
    }

    /// One past its last byte.
    pub(crate) const fn end(self) -> u32 {
        self.offset.saturating_add(self.bytes)
    }
}

/// What a commit holds beside readings and may still stand in a segment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Extra {
    /// Rule states that changed, by rule name.
    pub(crate) states: Vec<(String, RuleState)>,
    /// Progress that moved, by sink name.
    pub(crate) progress: Vec<(String, Progress)>,
}

impl Extra {
    /// The texts of `group` as they stand in a record; none for a group without.
    pub(crate) fn text(group: &Group) -> Vec<u8> {
        if group.states.is_empty() && group.progress.is_empty() {
            return Vec::new();
        }
        let extra = Self { states: group.states.clone(), progress: group.progress.clone() };
        serde_json::to_vec(&extra).expect("plain structs without maps always have a JSON text")
    }
}

/// A record without its blob.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// The commit.
    pub(crate) key: blob::Key,
    /// Time of its earliest reading; absent without readings.
    pub(crate) earliest: Option<i64>,
    /// Time of its latest.
    pub(crate) latest: Option<i64>,
    /// Where it stands.
    pub(crate) place: Place,
    /// What it holds beside readings.
    pub(crate) extra: Extra,
}

/// What a record is made of.
pub(crate) struct Parts<'a> {
    /// The commit.
    pub(crate) key: blob::Key,
    /// Times of the earliest and the latest reading; anything without readings.
    pub(crate) times: (i64, i64),
    /// See [`Extra::text`].
    pub(crate) extra: &'a [u8],
    /// The readings; empty without any.
    pub(crate) body: &'a [u8],
}

impl Parts<'_> {
    /// Bytes of the record.
    pub(crate) const fn len(&self) -> usize {
        HEAD.saturating_add(self.extra.len()).saturating_add(self.body.len())
    }

    /// Writes the record into `out`, which is emptied first.
    pub(crate) fn emit(&self, seed: u32, generation: u32, out: &mut Vec<u8>) {
        let blob::Key { seq, now, site, readings } = self.key;
        let length = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes();
        out.clear();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        for number in [seq, now, site, readings, self.times.0, self.times.1] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&length(self.extra));
        out.extend_from_slice(&length(self.body));
        out.extend_from_slice(self.extra);
        out.extend_from_slice(self.body);
        let sum = check_sum(seed, generation, out.get(SUMMED..).unwrap_or_default());
        if let Some(place) = out.get_mut(4..SUMMED) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
    }
}

fn check_sum(seed: u32, generation: u32, bytes: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&seed.to_le_bytes());
    sum.update(&generation.to_le_bytes());
    sum.update(bytes);
    sum.finalize()
}

/// The record at `offset` of `file` and its blob; `None` when none stands there whole.
///
/// # Errors
/// The disk refuses.
pub(crate) fn read(
    file: &File,
    seed: u32,
    generation: u32,
    offset: u32,
) -> io::Result<Option<(Record, Vec<u8>)>> {
    let mut head = [0; HEAD];
    if !fill(file, &mut head, offset)? || head.first_chunk() != Some(&MAGIC) {
        return Ok(None);
    }
    let Some((extra, body)) = lengths(&head) else { return Ok(None) };
    let length = file.metadata()?.len();
    let bytes = u64::from(extra).saturating_add(u64::from(body)).saturating_add(HEAD as u64);
    if u64::from(offset).saturating_add(bytes) > length {
        return Ok(None);
    }
    let Ok(bytes) = u32::try_from(bytes) else { return Ok(None) };
    let mut whole = vec![0; bytes as usize];
    if !fill(file, &mut whole, offset)? {
        return Ok(None);
    }
    Ok(parse(&whole, seed, Place { generation, offset, bytes }))
}

/// The first whole record of a segment, wherever it stands.
///
/// # Errors
/// The disk refuses.
pub(crate) fn first(file: &File, seed: u32, generation: u32) -> io::Result<Option<Record>> {
    let mut found = read(file, seed, generation, 0)?;
    if found.is_none()
        && let Some(offset) = find(file, seed, generation, 0)?
    {
        found = read(file, seed, generation, offset)?;
    }
    Ok(found.map(|(record, _)| record))
}

/// Where the first whole record behind `offset` begins: what stands there is damaged, or the end.
///
/// # Errors
/// The disk refuses.
pub(crate) fn find(file: &File, seed: u32, generation: u32, offset: u32) -> io::Result<Option<u32>> {
    let length = file.metadata()?.len().saturating_sub(u64::from(offset));
    let mut rest = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut at = offset;
    for block in rest.chunks_mut(BLOCK) {
        match fill(file, block, at) {
            // A sector that can't be read hides what stands on it, and no more.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => block.fill(0),
            read => drop(read?),
        }
        at = at.saturating_add(u32::try_from(block.len()).unwrap_or(u32::MAX));
    }
    for (at, _) in rest.windows(MAGIC.len()).enumerate().skip(1).filter(|(_, found)| **found == MAGIC) {
        let offset = offset.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
        let found = match read(file, seed, generation, offset) {
            Err(error) if error.raw_os_error() == Some(libc::EIO) => None,
            found => found?,
        };
        if found.is_some() {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

/// Whether `file` has all of `out` at `offset`.
fn fill(file: &File, out: &mut [u8], offset: u32) -> io::Result<bool> {
    match file.read_exact_at(out, u64::from(offset)) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

fn lengths(head: &[u8; HEAD]) -> Option<(u32, u32)> {
    let [extra, body] = *head.last_chunk::<8>()?.as_chunks::<4>().0 else { return None };
    Some((u32::from_le_bytes(extra), u32::from_le_bytes(body)))
}

/// The record that `bytes` are, and its blob.
pub(crate) fn parse(bytes: &[u8], seed: u32, place: Place) -> Option<(Record, Vec<u8>)> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let sum = u32::from_le_bytes(*head.get(4..)?.first_chunk()?);
    if head.first_chunk() != Some(&MAGIC) || sum != check_sum(seed, place.generation, bytes.get(SUMMED..)?) {
        return None;
    }
    let (extra, body) = lengths(head)?;
    let (extra, found) = rest.split_at_checked(usize::try_from(extra).ok()?)?;
    if found.len() != usize::try_from(body).ok()? {
        return None;
    }
    let mut numbers = [0_i64; 6];
    for (number, part) in numbers.iter_mut().zip(head.get(SUMMED..)?.as_chunks::<8>().0) {
        *number = i64::from_le_bytes(*part);
    }
    let [seq, now, site, readings, earliest, latest] = numbers;
    // Texts that another version wrote may say nothing to this one; the readings do.
    let extra = serde_json::from_slice(extra).unwrap_or_default();
    let time = |at| (readings > 0).then_some(at);
    let key = blob::Key { seq, now, site, readings };
    let record = Record { key, earliest: time(earliest), latest: time(latest), place, extra };
    Some((record, found.to_vec()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::Seq;

    const PLACE: Place = Place { generation: 7, offset: 64, bytes: 0 };

    fn bytes(seq: i64, sink: &str, body: &[u8]) -> Vec<u8> {
        let progress = vec![(sink.to_owned(), Progress { live: Seq(3), ..Progress::default() })];
        let extra = Extra::text(&Group { progress, ..Group::default() });
        let key = blob::Key { seq, now: -5, site: 2, readings: 9 };
        let mut out = vec![1, 2, 3];
        Parts { key, times: (i64::MIN, i64::MAX), extra: &extra, body }.emit(11, 7, &mut out);
        out
    }

    proptest! {
        #[test]
        fn parse_gives_back_what_emit_took(seq in any::<i64>(), sink in ".{0,8}", body in prop::collection::vec(any::<u8>(), 0..200)) {
            let (record, found) = parse(&bytes(seq, &sink, &body), 11, PLACE).unwrap();
            prop_assert_eq!(record.key, blob::Key { seq, now: -5, site: 2, readings: 9 });
            prop_assert_eq!((record.earliest, record.latest), (Some(i64::MIN), Some(i64::MAX)));
            prop_assert_eq!((&record.extra.progress[0].0, found), (&sink, body));
        }

        #[test]
        fn any_flipped_bit_is_found(bit in any::<prop::sample::Index>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes(1, "tsdb", &body);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(parse(&bytes, 11, PLACE), None);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(parse(&bytes, 11, PLACE), None);
        }
    }

    #[test]
    fn a_record_belongs_to_its_journal_and_its_segment_alone() {
        let bytes = bytes(1, "tsdb", b"blob");
        assert!(parse(&bytes, 11, PLACE).is_some());
        assert_eq!(parse(&bytes, 12, PLACE), None);
        assert_eq!(parse(&bytes, 11, Place { generation: 8, ..PLACE }), None);
    }

    #[test]
    fn texts_that_say_nothing_take_no_readings_with_them() {
        let key = blob::Key { seq: 1, now: 2, site: 3, readings: 4 };
        let mut out = Vec::new();
        Parts { key, times: (5, 6), extra: b"{\"states\":[[\"a\",7]]}", body: b"blob" }.emit(11, 7, &mut out);
        let (record, body) = parse(&out, 11, PLACE).unwrap();
        assert_eq!((record.key, record.extra, &*body), (key, Extra::default(), &b"blob"[..]));
    }

    #[test]
    fn a_place_is_one_column_and_its_length() {
        let place = Place { generation: u32::MAX, offset: 12, bytes: 5 };
        assert_eq!(Place::from_columns(place.column(), 5), Some(place));
    }
}
