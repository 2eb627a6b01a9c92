//! What bytes of a line may be, for one who was not asked to frame them.
//!
//! In: bytes that begin a frame, a request. Out: lengths, what stands inside, whether one answers the other.
//! Invariant: any bytes have an answer; nothing is remembered.
//! Source: Modbus Application Protocol V1.1b3, 6; Modbus over Serial Line V1.02, 2.5.1 and 2.5.2.

use crate::bus::{ascii, rtu};

/// Slave and PDU of a whole ASCII frame with a right check sum.
pub(crate) fn ascii_body(frame: &[u8]) -> Option<Vec<u8>> {
    let digits = std::str::from_utf8(frame.strip_prefix(b":")?.strip_suffix(b"\r\n")?).ok()?;
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let byte = |pair: Option<&str>| u8::from_str_radix(pair.filter(|pair| pair.len() == 2)?, 16).ok();
    let bytes: Vec<u8> = pairs.map(byte).collect::<Option<_>>()?;
    let (sum, body) = bytes.split_last()?;
    (ascii::lrc(body) == *sum).then(|| body.to_vec())
}

/// The lengths that a frame may have that begins so, the shortest first.
pub(crate) fn lengths(rest: &[u8]) -> [Option<usize>; 3] {
    match *rest {
        [1..=247, 0x80..=0xFF, ..] => [Some(5), None, None],
        [1..=247, 1..=4, count, ..] => {
            let answer = 5 + usize::from(count);
            [Some(answer.min(8)), Some(answer.max(8)), None]
        }
        [1..=247, 5 | 6, ..] => [Some(8), None, None],
        [1..=247, 15 | 16, _, _, _, _, count, ..] => [Some(8), Some(9 + usize::from(count)), None],
        [1..=247, 15 | 16, ..] => [Some(8), None, None],
        [1..=247, 43, ..] => [Some(7), identity_length(rest), None],
        _ => [None; 3],
    }
}

/// The length of the answer to `request` that begins so; `None` when it can't be told or isn't one.
pub(crate) fn answer_length(request: &[u8], rest: &[u8]) -> Option<usize> {
    match *request {
        [1..=4, ..] => Some(5 + usize::from(*rest.get(2)?)),
        [5 | 6 | 15 | 16, ..] => Some(8),
        [43, ..] => identity_length(rest),
        _ => None,
    }
}

/// Of an RTU frame with a device identification: its objects say how long each is.
fn identity_length(rest: &[u8]) -> Option<usize> {
    let (count, mut objects) = rest.get(7..)?.split_first()?;
    let mut length = 8;
    for _ in 0..*count {
        let size = usize::from(*objects.get(1)?);
        objects = objects.get(2 + size..)?;
        length += 2 + size;
    }
    Some(length + 2)
}

/// Whether so many bytes end in their right check sum.
pub(crate) fn is_sound(rest: &[u8], length: usize) -> bool {
    rest.get(..length)
        .and_then(|frame| frame.split_last_chunk::<2>())
        .is_some_and(|(body, sum)| rtu::crc16(body) == u16::from_le_bytes(*sum))
}

/// Whether `pdu` is an answer to `request`, by function and byte count.
pub(crate) fn answers(request: &[u8], pdu: &[u8]) -> bool {
    match (request, pdu) {
        ([function, ..], [said, _]) if *said == function | 0x80 => true,
        ([function @ 1..=2, _, _, high, low], [said, count, data @ ..]) => {
            let bits = usize::from(u16::from_be_bytes([*high, *low]));
            function == said && data.len() == usize::from(*count) && data.len() == bits.div_ceil(8)
        }
        ([function @ 3..=4, _, _, high, low], [said, count, data @ ..]) => {
            let cells = usize::from(u16::from_be_bytes([*high, *low]));
            function == said && data.len() == usize::from(*count) && data.len() == cells * 2
        }
        ([5 | 6, ..], _) => request == pdu,
        ([15 | 16, ..], _) => request.get(..5) == Some(pdu),
        ([43, kind, ..], [43, said, ..]) => kind == said && pdu.len() >= 7,
        _ => false,
    }
}

/// Whether the answer to `request` repeats it, so that an echo of the line looks like one.
pub(crate) const fn is_repeated(request: &[u8]) -> bool {
    matches!(request, [5 | 6, ..])
}
