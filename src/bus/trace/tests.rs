use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::bus::rtu;

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    Instant::from_std(std::time::Instant::now())
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn sealed(hex: &str) -> Vec<u8> {
    let body = bytes(hex);
    [body.clone(), rtu::crc16(&body).to_le_bytes().to_vec()].concat()
}

fn sent(frame: Vec<u8>) -> What {
    What::Sent(frame.into())
}

fn received(frame: &[u8]) -> What {
    What::Received(frame.into())
}

/// What the trace says, a line for each entry.
fn traced(framing: Framing, whats: Vec<What>) -> Vec<String> {
    let (mut tracer, at) = (Tracer::new(framing), start());
    let mut lines = Vec::new();
    for (what, ms) in whats.into_iter().zip(0..) {
        for entry in tracer.step(&Seen { at: at + Duration::from_millis(ms), what }) {
            let kind = match entry.kind {
                Kind::Request => ">".to_owned(),
                Kind::Answer => "<".to_owned(),
                Kind::Discarded(why) => format!("x {}:", why.words()),
                Kind::Failed(failure) => format!("! {failure:?}"),
                Kind::Heard => "beside <".to_owned(),
                Kind::Told => "beside >".to_owned(),
            };
            let slave = entry.slave.map(|slave| format!(" {slave}")).unwrap_or_default();
            lines.push(format!("{kind}{slave} {} [{}]", entry.says, entry.bytes.len()));
        }
    }
    lines
}

const ASK: &str = "11 03 00 6B 00 02";
const OTHER: &str = "11 03 00 00 00 01";

#[test]
fn a_read_and_its_answer() {
    let answer = sealed("11 03 04 02 2B 00 64");
    let (head, tail) = answer.split_at(4);
    let lines =
        traced(Framing::Rtu, vec![sent(sealed(ASK)), received(head), received(tail), What::Ended(None)]);
    assert_eq!(lines, ["> 17 read holding 0x006B..0x006C [8]", "< 17 holding 0x006B..0x006C = 555 100 [9]"]);
}

#[test]
fn what_is_discarded_is_named() {
    let mut damaged = sealed("11 03 04 02 2B 00 64");
    damaged[4] ^= 1;
    let late = sealed("11 03 04 02 2B 00 64");
    let own = sealed("11 03 02 00 07");
    let other = sealed("12 03 02 00 07");
    let lines = traced(
        Framing::Rtu,
        vec![
            sent(sealed(ASK)),
            received(&[0x00, 0xFF]),
            received(&damaged),
            What::Ended(Some(Failure::BadFrame)),
            sent(sealed(ASK)),
            What::Ended(Some(Failure::Timeout)),
            sent(sealed(OTHER)),
            received(&[sealed(OTHER), late, other, own].concat()),
            What::Ended(None),
            sent(sealed(ASK)),
            received(&[0x11, 3, 4, 2]),
            What::Ended(Some(Failure::Timeout)),
        ],
    );
    let expected = [
        "> 17 read holding 0x006B..0x006C [8]",
        "x noise:  [2]",
        "x bad check sum: 17  [9]",
        "! BadFrame 17  [0]",
        "> 17 read holding 0x006B..0x006C [8]",
        "! Timeout 17  [0]",
        "> 17 read holding 0x0000 [8]",
        "x echo of the request: 17 read holding 0x0000 [8]",
        "x late answer to an earlier request: 17 holding 0x006B..0x006C = 555 100 [9]",
        "x not an answer to us: 18 function 3 [7]",
        "< 17 holding 0x0000 = 7 [7]",
        "> 17 read holding 0x006B..0x006C [8]",
        "x cut off: 17  [4]",
        "! Timeout 17  [0]",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn an_answer_that_the_master_did_not_take_is_none() {
    let answer = sealed("11 03 02 00 07");
    let lines = traced(
        Framing::Rtu,
        vec![
            sent(sealed(OTHER)),
            received(&[answer.clone(), answer.clone()].concat()),
            What::Ended(Some(Failure::BadFrame)),
            sent(sealed(OTHER)),
            What::Ended(Some(Failure::Timeout)),
            received(&answer),
            sent(sealed(OTHER)),
        ],
    );
    assert_eq!(
        lines[1..],
        [
            "x not trusted: 17 holding 0x0000 = 7 [7]",
            "x not trusted: 17 holding 0x0000 = 7 [7]",
            "! BadFrame 17  [0]",
            "> 17 read holding 0x0000 [8]",
            "! Timeout 17  [0]",
            "x late answer to an earlier request: 17 holding 0x0000 = 7 [7]",
            "> 17 read holding 0x0000 [8]",
        ]
    );
}

#[test]
fn exceptions_bits_and_identity_have_words() {
    // The identity follows the example of V1.1b3, 6.21, as a serial frame.
    let identity = "0B 2B 0E 01 01 00 00 03 00 16 43 6F 6D 70 61 6E 79 20 69 64 65 6E 74 69 66 69 63 61 74 69 6F 6E \
                    01 0E 50 72 6F 64 75 63 74 20 63 6F 64 65 20 58 02 05 56 32 2E 31 31";
    let lines = traced(
        Framing::Rtu,
        vec![
            sent(sealed("11 04 00 00 00 01")),
            received(&sealed("11 84 02")),
            What::Ended(Some(Failure::Exception(2))),
            sent(sealed("11 02 00 C4 00 0A")),
            received(&sealed("11 02 02 05 02")),
            What::Ended(None),
            sent(sealed("0B 2B 0E 01 00")),
            received(&sealed(identity)),
            What::Ended(None),
        ],
    );
    let expected = [
        "> 17 read input 0x0000 [8]",
        "< 17 refused function 4: exception 2, illegal data address [5]",
        "> 17 read discrete 0x00C4..0x00CD [8]",
        "< 17 discrete 0x00C4..0x00CD = 1 0 1 0 0 0 0 0 0 1 [7]",
        "> 11 read identity from object 0 [7]",
        "< 11 identity maker \"Company identification\", product code \"Product code X\", revision \"V2.11\" [57]",
    ];
    assert_eq!(lines, expected);
}

/// Source: the examples of V1.1b3, 6.5, 6.6, 6.11 and 6.12.
#[test]
fn a_write_and_its_answer() {
    let coil = "11 05 00 AC FF 00";
    let register = "11 06 00 01 00 03";
    let lines = traced(
        Framing::Rtu,
        vec![
            sent(sealed(coil)),
            received(&sealed(coil)),
            What::Ended(None),
            // A two-wire adapter hears the request before its answer.
            sent(sealed(register)),
            received(&[sealed(register), sealed(register)].concat()),
            What::Ended(None),
            sent(sealed(register)),
            received(&sealed(register)),
            What::Ended(Some(Failure::Timeout)),
            sent(sealed("11 0F 00 13 00 0A 02 CD 01")),
            received(&sealed("11 0F 00 13 00 0A")),
            What::Ended(None),
            sent(sealed("11 10 00 01 00 02 04 00 0A 01 02")),
            received(&sealed("11 10 00 01 00 02")),
            What::Ended(None),
        ],
    );
    let expected = [
        "> 17 write coil 0x00AC = 1 [8]",
        "< 17 wrote coil 0x00AC = 1 [8]",
        "> 17 write holding 0x0001 = 3 [8]",
        "x echo of the request: 17 write holding 0x0001 = 3 [8]",
        "< 17 wrote holding 0x0001 = 3 [8]",
        "> 17 write holding 0x0001 = 3 [8]",
        "x echo of the request: 17 write holding 0x0001 = 3 [8]",
        "! Timeout 17  [0]",
        "> 17 write coil 0x0013..0x001C = 1 0 1 1 0 0 1 1 1 0 [11]",
        "< 17 wrote coil 0x0013..0x001C = 1 0 1 1 0 0 1 1 1 0 [8]",
        "> 17 write holding 0x0001..0x0002 = 10 258 [13]",
        "< 17 wrote holding 0x0001..0x0002 = 10 258 [8]",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_write_and_its_answer_in_other_framings() {
    let lines = traced(
        Framing::Mbap,
        vec![
            sent(bytes("00 01 00 00 00 06 11 06 00 01 00 03")),
            received(&bytes("00 01 00 00 00 06 11 06 00 01 00 03")),
            What::Ended(None),
        ],
    );
    assert_eq!(lines, ["> 17 write holding 0x0001 = 3 [12]", "< 17 wrote holding 0x0001 = 3 [12]"]);
    // Nobody answers what went to all; the next request has its own end.
    let lines = traced(
        Framing::Ascii,
        vec![
            sent(b":000600010003F6\r\n".to_vec()),
            sent(b":110600010003E5\r\n".to_vec()),
            received(b":110600010003E5\r\n"),
            What::Ended(None),
            sent(b":110600010003E5\r\n".to_vec()),
            What::Ended(Some(Failure::Timeout)),
        ],
    );
    let expected = [
        "> 0 write holding 0x0001 = 3 [17]",
        "> 17 write holding 0x0001 = 3 [17]",
        "< 17 wrote holding 0x0001 = 3 [17]",
        "> 17 write holding 0x0001 = 3 [17]",
        "! Timeout 17  [0]",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn ascii_frames_stand_between_colon_and_line_feed() {
    // 0x11 + 0x03 + 0x01 = 0x15, and 0x15 + 0xEB = 0x100.
    let lines = traced(
        Framing::Ascii,
        vec![
            sent(b":110300000001EB\r\n".to_vec()),
            received(b"\xFF:1103"),
            received(b":110300000001EB\r\n:1103020007E4\r\n"),
            received(b":1103020007E3\r\n"),
            What::Ended(None),
            sent(b":110300000001EB\r\n".to_vec()),
            received(b":11830"),
            What::Ended(Some(Failure::Timeout)),
        ],
    );
    let expected = [
        "> 17 read holding 0x0000 [17]",
        "x noise:  [1]",
        "x cut off:  [5]",
        "x echo of the request: 17 read holding 0x0000 [17]",
        "x bad check sum:  [15]",
        "< 17 holding 0x0000 = 7 [15]",
        "> 17 read holding 0x0000 [17]",
        "x cut off:  [6]",
        "! Timeout 17  [0]",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn transactions_tell_late_answers() {
    let lines = traced(
        Framing::Mbap,
        vec![
            sent(bytes("00 01 00 00 00 06 11 03 00 00 00 01")),
            What::Ended(Some(Failure::Timeout)),
            sent(bytes("00 02 00 00 00 06 11 03 00 00 00 01")),
            received(&bytes("00 01 00 00 00 05 11 03 02 00")),
            received(&bytes("05 00 02 00 00 00 05 11 03 02 00 06")),
            What::Ended(None),
            received(&bytes("00 63 00 00 00 03 11 83 02")),
            received(b"HTTP/1.1 400"),
        ],
    );
    let expected = [
        "> 17 read holding 0x0000 [12]",
        "! Timeout 17  [0]",
        "> 17 read holding 0x0000 [12]",
        "x late answer to an earlier request: 17 holding 0x0000 = 5 [11]",
        "< 17 holding 0x0000 = 6 [11]",
        "x not an answer to us: 17 refused function 3: exception 2, illegal data address [9]",
        "x noise:  [12]",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn several_requests_may_be_under_way() {
    let two = "00 01 00 00 00 06 11 03 00 00 00 01 00 02 00 00 00 06 12 03 00 00 00 01";
    let lines = traced(
        Framing::Mbap,
        vec![
            sent(bytes(two)),
            received(&bytes("00 02 00 00 00 05 12 03 02 00 06")),
            What::Ended(Some(Failure::Timeout)),
        ],
    );
    let expected = [
        "> 17 read holding 0x0000 [12]",
        "> 18 read holding 0x0000 [12]",
        "< 18 holding 0x0000 = 6 [11]",
        "! Timeout 17  [0]",
    ];
    assert_eq!(lines, expected);
}

proptest! {
    #[test]
    fn every_byte_stands_in_one_entry(
        pieces in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            Just(sealed("11 03 02 00 07")),
            Just(sealed("11 83 02")),
            Just(b":1103020007E3\r\n".to_vec()),
            Just(sealed(OTHER)),
            Just(bytes("00 01 00 00 00 05 11 03 02 00 05")),
        ], 0..20),
        ends in prop::collection::vec(prop::option::of(prop::sample::select(vec![None, Some(Failure::Timeout), Some(Failure::BadFrame)])), 20),
        framing in prop::sample::select(vec![Framing::Rtu, Framing::Ascii, Framing::Mbap]),
    ) {
        let request = match framing {
            Framing::Rtu => sealed(OTHER),
            Framing::Ascii => b":110300000001EB\r\n".to_vec(),
            Framing::Mbap => bytes("00 01 00 00 00 06 11 03 00 00 00 01"),
        };
        let (mut tracer, at) = (Tracer::new(framing), start());
        let mut got = Vec::new();
        let mut told = Vec::new();
        let mut step = |what| {
            for entry in tracer.step(&Seen { at, what }) {
                if entry.kind != Kind::Request {
                    told.extend(entry.bytes);
                }
            }
        };
        for (piece, end) in pieces.iter().zip(ends) {
            got.extend_from_slice(piece);
            step(received(piece));
            if let Some(end) = end {
                step(What::Ended(end));
                step(sent(request.clone()));
            }
        }
        step(What::Ended(Some(Failure::LineDown)));
        prop_assert_eq!(told, got);
    }
}
