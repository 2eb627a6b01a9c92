//! Check sums of text lines.
//!
//! In: a line without its terminator. Out: the part that its check covers, once the check holds.
//! Invariant: a line whose check is missing or wrong gives nothing; any bytes are no panic.
//! Source: NMEA 0183 (`*hh`); SDI-12 V1.4, 4.4.12 (CRC of three characters), which Vaisala's WXT uses, too (M210906EN, appendix C).

use crate::bus::rtu::crc16;

/// How a line proves itself, and which bytes its check covers. Hexadecimal digits may be of either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// Not at all: only its form.
    #[default]
    None,
    /// `*hh` at the end: exclusive or of the bytes after the first `$` or `!` (without one: from the start) up to the `*`.
    XorHex,
    /// `hh` at the end: sum modulo 256 of all bytes before it.
    Sum8Hex,
    /// `hhhh` at the end: the CRC-16 of Modbus over all bytes before it, high byte first.
    Crc16Hex,
    /// Three characters at the end: the CRC of SDI-12 over all bytes before them.
    Crc16Sdi12,
}

impl Checksum {
    /// All of them, in the order of the reference.
    pub const ALL: [Self; 5] = [Self::None, Self::XorHex, Self::Sum8Hex, Self::Crc16Hex, Self::Crc16Sdi12];

    /// Its name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::XorHex => "xor-hex",
            Self::Sum8Hex => "sum8-hex",
            Self::Crc16Hex => "crc16-hex",
            Self::Crc16Sdi12 => "crc16-sdi12",
        }
    }

    /// What stands behind `body` when it is sent: the check, with its `*` where it has one.
    pub fn of(self, body: &[u8]) -> String {
        match self {
            Self::None => String::new(),
            Self::XorHex => format!("*{:02X}", xor(body)),
            Self::Sum8Hex => format!("{:02X}", sum(body)),
            Self::Crc16Hex => format!("{:04X}", crc16(body)),
            Self::Crc16Sdi12 => sdi12(body),
        }
    }

    /// The line without its check; `None` when the check is missing or wrong.
    pub fn strip(self, line: &[u8]) -> Option<&[u8]> {
        let length = match self {
            Self::None => return Some(line),
            Self::XorHex | Self::Crc16Sdi12 => 3,
            Self::Sum8Hex => 2,
            Self::Crc16Hex => 4,
        };
        let (body, check) = line.split_at_checked(line.len().checked_sub(length)?)?;
        let wanted = self.of(body);
        let same = match self {
            Self::Crc16Sdi12 => check == wanted.as_bytes(),
            _ => check.eq_ignore_ascii_case(wanted.as_bytes()),
        };
        same.then_some(body)
    }
}

fn xor(body: &[u8]) -> u8 {
    let from = body.iter().position(|byte| matches!(byte, b'$' | b'!')).map_or(0, |at| at + 1);
    body.iter().skip(from).fold(0, |sum, byte| sum ^ byte)
}

fn sum(body: &[u8]) -> u8 {
    body.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// CRC-16 (reversed 0x8005) from zero, six bits to a character.
fn sdi12(body: &[u8]) -> String {
    let step = |crc: u16, _| if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
    let crc = body.iter().fold(0, |crc: u16, byte| (0..8).fold(crc ^ u16::from(*byte), step));
    let character = |bits: u16| char::from(u8::try_from(0x40 | bits & 0x3F).unwrap_or(b'@'));
    [crc >> 12, crc >> 6, crc].map(character).iter().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sums_that_others_computed() {
        // Vaisala M211840EN, "Polling with CRC"; the line with `C}J` is from a logger in Hamburg, June 2020.
        for (body, check) in [
            ("0r1", "Goe"),
            ("0r2", "Gje"),
            ("0r3", "Kid"),
            ("0r5", "Kcd"),
            ("0r", "BVT"),
            ("0r0", "Kld"),
            ("0r3,Rc=0.00M,Rd=0s,Ri=0.0M,Hc=0.0M,Hd=0s,Hi=0.0M,Rp=0.7M,Hp=0.0M", "C}J"),
            ("0r2,Ta=13.8C,Tp=13.9C,Ua=75.2P,Pa=1015.7H", "GZZ"),
        ] {
            assert_eq!(Checksum::Crc16Sdi12.of(body.as_bytes()), check, "{body}");
        }
        // NMEA 0183, as many receivers print it; and the check value of CRC-16/MODBUS.
        let nmea = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,";
        assert_eq!(Checksum::XorHex.of(nmea), "*47");
        assert_eq!(Checksum::Crc16Hex.of(b"123456789"), "4B37");
        assert_eq!(Checksum::Sum8Hex.of(b"AB"), "83");
    }

    #[test]
    fn a_missing_or_wrong_check_gives_nothing() {
        assert_eq!(Checksum::XorHex.strip(b"$A*41"), Some(b"$A".as_slice()));
        assert_eq!(Checksum::Crc16Hex.strip(b"1234567894b37"), Some(b"123456789".as_slice()));
        for line in ["", "*", "41", "$A", "$A*40", "$B*41", "$A*4", "$A*41 "] {
            assert_eq!(Checksum::XorHex.strip(line.as_bytes()), None, "{line}");
        }
        assert_eq!(Checksum::Crc16Sdi12.strip(b"0r3kid"), None, "letters are digits of the CRC");
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_taken_and_one_turned_bit_is_not(body in "[ -~]{0,40}", which in 1_usize..5, at in any::<prop::sample::Index>(), bit in 0_u8..7) {
            let checksum = Checksum::ALL[which];
            let mut line = body.clone().into_bytes();
            line.extend(checksum.of(body.as_bytes()).into_bytes());
            prop_assert_eq!(checksum.strip(&line), Some(body.as_bytes()));
            let at = at.index(line.len());
            line[at] ^= 1 << bit;
            // The case of a hexadecimal digit says nothing; a new `$` moves the start of the sum.
            let check_from = body.len();
            let moved = checksum == Checksum::XorHex && line[..check_from].iter().chain(body.as_bytes()).any(|byte| matches!(byte, b'$' | b'!'));
            let case = checksum != Checksum::Crc16Sdi12 && check_from <= at && bit == 5;
            if !moved && !case {
                prop_assert_eq!(checksum.strip(&line), None);
            }
        }

        #[test]
        fn any_bytes_are_no_panic(line in prop::collection::vec(any::<u8>(), 0..60), which in 0_usize..5) {
            let _ = Checksum::ALL[which].strip(&line);
        }
    }
}
