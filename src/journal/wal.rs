//! What a damaged page of the write-ahead log hides.
//!
//! In: the log and the file of a journal that is about to be opened. Out: how many transactions stand behind the log's first damaged frame.
//! Invariant: only reads; a torn end, as a cut of power leaves it, is no damage.
//! Source: SQLite, "WAL-mode File Format", 1 to 4.
//!
//! SQLite reads the log up to the first frame that does not fit the sum of all before it. That is right for a torn end and silent
//! for damage in the middle. But each frame carries the sum that the next one starts from, so what stands behind can be told from rubbish.
//! Each transaction is synced before the next begins: one alone behind a bad frame may be torn itself, two may not. What the file has
//! already is not lost either: a log is begun anew over frames that were moved into the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::journal::store::PAGE_BYTES;

const HEAD: usize = 32;
const FRAME_HEAD: usize = 24;
/// Magic number of a log whose sums read words with the low byte first; one more: with the high byte first.
const MAGIC: u32 = 0x377F_0682;

/// The two running sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums(u32, u32);

/// Bytes of a page of the file; those of a new one when it doesn't tell.
fn page_of(file: &Path) -> usize {
    let mut head = [0; 18];
    let told = File::open(file).and_then(|mut file| file.read_exact(&mut head));
    match u16::from_be_bytes([head[16], head[17]]) {
        1 => 65_536,
        size if told.is_ok() && size >= 512 => usize::from(size),
        _ => usize::try_from(PAGE_BYTES).unwrap_or(512),
    }
}

/// Transactions that SQLite will not find because the log is damaged before them; 0 for a sound log, a torn one, or none.
pub(crate) fn hidden(log: &Path, file: &Path) -> io::Result<u64> {
    let mut log = match File::open(log) {
        Ok(file) => BufReader::with_capacity(1 << 16, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut head = [0; HEAD];
    if log.read_exact(&mut head).is_err() {
        return Ok(0);
    }
    let [magic, _, size, _, salt_1, salt_2, sum_1, sum_2] = words(&head);
    let low_first = magic & 1 == 0;
    let Some(sound) = head.get(..24) else { return Ok(0) };
    let whole = magic & !1 == MAGIC && sums(Sums::default(), sound, low_first) == Sums(sum_1, sum_2);
    let size = usize::try_from(size).unwrap_or(0);
    // Without a sound head the file says how long pages are, and the first frame what the others must agree with.
    let page = if whole && (512..=65_536).contains(&size) { size } else { page_of(file) };
    let mut salts = whole.then_some((salt_1, salt_2));
    let mut before = Sums(sum_1, sum_2);
    let (mut broken, mut behind) = (!whole, 0_u64);
    // Damaged frames that ended a transaction, or may have: its number must not be used again either.
    let (mut ends, mut doubtful) = (0_u64, 0_u64);
    // The last content of each page behind the damage, as a check sum, and what a transaction adds to it.
    let (mut pages, mut open) = (BTreeMap::new(), Vec::new());
    let mut frame = vec![0; FRAME_HEAD.saturating_add(page)];
    while log.read_exact(&mut frame).is_ok() {
        let (Some(told), Some(content)) = (frame.first_chunk::<FRAME_HEAD>(), frame.get(FRAME_HEAD..)) else {
            break;
        };
        let [number, commit, salt_1, salt_2, sum_1, sum_2] = words(told);
        let same = *salts.get_or_insert((salt_1, salt_2)) == (salt_1, salt_2);
        let link = told.first_chunk::<8>().map(|start| sums(before, start, low_first));
        let good = same && link.map(|sum| sums(sum, content, low_first)) == Some(Sums(sum_1, sum_2));
        before = Sums(sum_1, sum_2);
        broken |= !good;
        if !good && (commit != 0 || !same) {
            doubtful = doubtful.saturating_add(1);
        }
        if broken && good {
            // Behind the last good frame stand those of an earlier log, which hide nothing.
            ends = ends.saturating_add(std::mem::take(&mut doubtful));
            open.push((number, crc32fast::hash(content)));
            if commit != 0 {
                behind = behind.saturating_add(1);
                pages.extend(open.drain(..));
            }
        }
    }
    Ok(if behind < 2 || has(file, page, &pages)? { 0 } else { behind.saturating_add(ends) })
}

/// Whether the file has all these pages as they are.
fn has(file: &Path, size: usize, pages: &BTreeMap<u32, u32>) -> io::Result<bool> {
    let mut file = File::open(file)?;
    let mut content = vec![0; size];
    let wide = u64::try_from(size).unwrap_or(0);
    for (number, sum) in pages {
        file.seek(SeekFrom::Start(u64::from(number.saturating_sub(1)).saturating_mul(wide)))?;
        if file.read_exact(&mut content).is_err() || crc32fast::hash(&content) != *sum {
            return Ok(false);
        }
    }
    Ok(true)
}

fn words<const BYTES: usize, const WORDS: usize>(bytes: &[u8; BYTES]) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    for (word, part) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*part);
    }
    words
}

fn sums(Sums(mut one, mut two): Sums, bytes: &[u8], low_first: bool) -> Sums {
    let word = |part: [u8; 4]| if low_first { u32::from_le_bytes(part) } else { u32::from_be_bytes(part) };
    for &[a, b, c, d, e, f, g, h] in bytes.as_chunks::<8>().0 {
        one = one.wrapping_add(word([a, b, c, d])).wrapping_add(two);
        two = two.wrapping_add(word([e, f, g, h])).wrapping_add(one);
    }
    Sums(one, two)
}
