//! Damage to frames, counted: used by a test with few frames and by a bench with many.

use std::time::Duration;

use lifeline_gateway::bus::line::{Line, Verdict};
use lifeline_gateway::bus::pdu::Answer;
use lifeline_gateway::bus::{Address, Framing, LineSettings, Parity, Read, SerialFormat, Slave, Table};
use lifeline_gateway::loss::Losses;

/// What is done to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    RtuBits,
    RtuBurst,
    RtuHeavy,
    AsciiCharacter,
    AsciiHeavy,
    MbapForeign,
}

pub(crate) const WAYS: &[(&str, Way)] = &[
    ("RTU, 1 to 3 flipped bits", Way::RtuBits),
    ("RTU, one burst of up to 16 bits", Way::RtuBurst),
    ("RTU, heavy damage", Way::RtuHeavy),
    ("ASCII, one changed character", Way::AsciiCharacter),
    ("ASCII, heavy damage", Way::AsciiHeavy),
    ("MBAP, another transaction, unit, protocol or length", Way::MbapForeign),
];

/// Damaged frames that were taken for answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// With another value than the device said.
    pub(crate) wrong: u64,
    /// With the device's value: what was damaged was not needed.
    pub(crate) right: u64,
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((word ^ (word >> 31)) % u64::try_from(below.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.roll(256)).unwrap()
    }
}

fn line(framing: Framing) -> Line {
    let format = SerialFormat { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    let address = match framing {
        Framing::Mbap => Address::Tcp(String::new()),
        framing => Address::Serial { path: String::new(), format, framing, rs485: None },
    };
    Line::of(&LineSettings::plain("line", address), Duration::from_millis(20), 0)
}

/// The answer's frame to the request that `line` has open.
fn frame(framing: Framing, request: &[u8], cells: &[u16]) -> Vec<u8> {
    let data: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
    let body = [vec![17, 3, u8::try_from(data.len()).unwrap()], data].concat();
    match framing {
        Framing::Rtu => {
            let sum = lifeline_gateway::bus::rtu::crc16(&body).to_le_bytes();
            [body, sum.to_vec()].concat()
        }
        Framing::Ascii => {
            let bytes = [body.clone(), vec![lifeline_gateway::bus::ascii::lrc(&body)]].concat();
            let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            format!(":{digits}\r\n").into_bytes()
        }
        Framing::Mbap => {
            let length = u16::try_from(body.len()).unwrap().to_be_bytes();
            [&request[..4], &length, &body].concat()
        }
    }
}

fn flip(frame: &mut [u8], bit: usize) {
    frame[bit / 8] ^= 1 << (bit % 8);
}

fn spoil(way: Way, frame: &mut Vec<u8>, dice: &mut Dice) {
    match way {
        Way::RtuBits => {
            let first = dice.roll(frame.len() * 8);
            flip(frame, first);
            for _ in 0..dice.roll(3) {
                // The same bit twice would be no damage.
                let bit = dice.roll(frame.len() * 8);
                if bit != first {
                    flip(frame, bit);
                }
            }
        }
        Way::RtuBurst => {
            // In the order of the line: bytes from first to last, the lowest bit first.
            let from = dice.roll(frame.len() * 8);
            let (length, bits) = (1 + dice.roll(16), frame.len() * 8);
            flip(frame, from);
            for bit in (from + 1..from + length).filter(|bit| *bit < bits) {
                if dice.roll(2) == 1 {
                    flip(frame, bit);
                }
            }
        }
        Way::RtuHeavy | Way::AsciiHeavy => {
            for _ in 0..=dice.roll(6) {
                let place = dice.roll(frame.len());
                match dice.roll(4) {
                    0 => frame.truncate(place + 1),
                    1 => frame.insert(place, dice.byte()),
                    2 => drop(frame.remove(place)),
                    _ => frame[place] = dice.byte(),
                }
                if frame.is_empty() {
                    frame.push(dice.byte());
                }
            }
        }
        Way::AsciiCharacter => {
            let place = dice.roll(frame.len());
            frame[place] = frame[place].wrapping_add(1 + u8::try_from(dice.roll(255)).unwrap());
        }
        Way::MbapForeign => {
            let place = dice.roll(7);
            frame[place] = frame[place].wrapping_add(1 + u8::try_from(dice.roll(255)).unwrap());
        }
    }
}

/// Sends `count` damaged answers, each to a request of its own.
pub(crate) fn count(way: Way, count: u64, seed: u64) -> Found {
    let framing = match way {
        Way::RtuBits | Way::RtuBurst | Way::RtuHeavy => Framing::Rtu,
        Way::AsciiCharacter | Way::AsciiHeavy => Framing::Ascii,
        Way::MbapForeign => Framing::Mbap,
    };
    let (mut dice, mut found, mut losses) = (Dice(seed), Found::default(), Losses::default());
    let mut line = line(framing);
    let timeout = Duration::from_millis(300);
    #[expect(clippy::disallowed_methods, reason = "the time of a test starts anywhere")]
    let mut at = tokio::time::Instant::now();
    for _ in 0..count {
        let cells: Vec<u16> =
            (0..=dice.roll(8)).map(|_| u16::try_from(dice.roll(0x1_0000)).unwrap()).collect();
        let read = Read { table: Table::Holding, address: 0, count: u16::try_from(cells.len()).unwrap() };
        line.reset(&mut losses);
        line.begin(Slave(17), &read.into(), &mut losses);
        line.sent(at, timeout);
        let mut frame = frame(framing, line.request(), &cells);
        let whole = frame.clone();
        spoil(way, &mut frame, &mut dice);
        if frame == whole {
            continue;
        }
        let verdict = line.step(&frame, at, &mut losses);
        at += timeout * 200;
        let verdict = verdict.or_else(|| line.elapse(at, &mut losses));
        match verdict {
            Some(Verdict::Answer { answer: Answer::Cells(got), .. }) if got == cells => found.right += 1,
            Some(Verdict::Answer { answer: Answer::Cells(_), .. }) => found.wrong += 1,
            _ => {}
        }
    }
    found
}
