//! Who dials in: the first bytes of a connection against the DTUs that lines name.
//!
//! In: all bytes of a connection so far. Out: which DTU it is and how many bytes told so, or why it is none.
//! Invariant: a verdict stands, whatever bytes follow and however they were cut; at most [`LONGEST`] bytes are looked at.
//! Nothing is guessed across vendors: a port knows one way of registering.
//! Source: vendors' manuals (Hongdian DDP, Four-Faith PROT, InHand, Alotcer: frames of fixed or counted length).

use crate::bus::port::dial_in::Kind;

/// A registration is at most this long.
pub const LONGEST: usize = 64;

/// The DTUs of one port.
#[derive(Clone, Debug)]
pub struct Recogniser {
    /// How they register.
    pub kind: Kind,
    /// What each one says: its whole registration ([`Kind::Plain`]), or the digits inside the vendor's frame.
    pub ids: Vec<Vec<u8>>,
    /// What may come before a plain registration.
    pub heartbeat: Vec<u8>,
}

/// What the first bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Too few to tell.
    More,
    /// The DTU of this place in [`Recogniser::ids`]; so many bytes told so.
    Known {
        /// Its place.
        index: usize,
        /// Bytes up to the end of the registration.
        used: usize,
    },
    /// A registration of nobody we know: its id, or for a plain one what came.
    Unknown(Vec<u8>),
    /// Not a registration of this kind.
    Wrong,
}

impl Recogniser {
    /// What `bytes`, all from the first one on, say.
    pub fn look(&self, bytes: &[u8]) -> Found {
        let bytes = bytes.get(..LONGEST).unwrap_or(bytes);
        let found = match self.kind {
            Kind::Plain => self.plain(bytes),
            // The source address said it.
            Kind::Source => Found::Wrong,
            Kind::Ddp { .. } => self.framed(bytes, &DDP),
            Kind::FourFaith => self.framed(bytes, &FOUR_FAITH),
            Kind::InHand => self.framed(bytes, &IN_HAND),
            Kind::Alotcer => self.counted(bytes),
        };
        if found == Found::More && bytes.len() == LONGEST { Found::Wrong } else { found }
    }

    fn plain(&self, bytes: &[u8]) -> Found {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..) {
            if let Some(index) = self.ids.iter().position(|id| rest.starts_with(id)) {
                return Found::Known { index, used: at + self.ids.get(index).map_or(0, Vec::len) };
            }
            if self.ids.iter().any(|id| id.starts_with(rest)) {
                return Found::More;
            }
            if !self.heartbeat.is_empty() && rest.starts_with(&self.heartbeat) {
                at += self.heartbeat.len();
            } else if self.heartbeat.starts_with(rest) {
                return Found::More;
            } else {
                return Found::Unknown(rest.to_vec());
            }
        }
        Found::Wrong
    }

    fn framed(&self, bytes: &[u8], frame: &Frame) -> Found {
        let wrong = bytes.iter().zip(frame.0).any(|(byte, wanted)| !wanted.allows(*byte));
        match bytes.get(..frame.0.len()) {
            _ if wrong => Found::Wrong,
            None => Found::More,
            Some(whole) => {
                let digits = whole.iter().zip(frame.0).filter(|(_, wanted)| matches!(wanted, Byte::Id));
                self.known(digits.map(|(byte, _)| *byte).collect(), whole.len())
            }
        }
    }

    /// `7B 31`, length (little endian, from the id to the end), 11 digits, data, `7D`.
    fn counted(&self, bytes: &[u8]) -> Found {
        let head = [0x7B, 0x31];
        if !bytes.iter().zip(head).all(|(byte, wanted)| *byte == wanted) {
            return Found::Wrong;
        }
        let [_, _, low, high, body @ ..] = bytes else { return Found::More };
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        if !(12..=LONGEST - 4).contains(&length) {
            return Found::Wrong;
        }
        let Some(body) = body.get(..length) else { return Found::More };
        match body.split_first_chunk::<11>() {
            Some((id, [.., 0x7D])) if id.iter().all(u8::is_ascii_digit) => {
                self.known(id.to_vec(), 4 + length)
            }
            _ => Found::Wrong,
        }
    }

    fn known(&self, id: Vec<u8>, used: usize) -> Found {
        match self.ids.iter().position(|known| *known == id) {
            Some(index) => Found::Known { index, used },
            None => Found::Unknown(id),
        }
    }
}

/// A registration of fixed length.
struct Frame(&'static [Byte]);

enum Byte {
    Is(u8),
    Any,
    /// A digit of the id.
    Id,
}

impl Byte {
    const fn allows(&self, byte: u8) -> bool {
        match self {
            Self::Is(wanted) => byte == *wanted,
            Self::Any => true,
            Self::Id => byte.is_ascii_digit(),
        }
    }
}

use Byte::{Any, Id, Is};

/// `7B 01 0016`, 11 digits, address, port, `7B`.
const DDP: Frame = Frame(&[
    Is(0x7B),
    Is(0x01),
    Is(0x00),
    Is(0x16),
    Id,
    Id,
    Id,
    Id,
    Id,
    Id,
    Id,
    Id,
    Id,
    Id,
    Id,
    Any,
    Any,
    Any,
    Any,
    Any,
    Any,
    Is(0x7B),
]);
/// Number, 11 digits, 0, address, 0.
const FOUR_FAITH: Frame = Frame(&[
    Any,
    Any,
    Any,
    Any,
    Id,
    Id,
    Id,
    Id,
    Id,
    Id,
    Id,
    Id,
    Id,
    Id,
    Id,
    Is(0),
    Any,
    Any,
    Any,
    Any,
    Is(0),
]);
/// `AA 01`, 11 digits, `0D`.
const IN_HAND: Frame = Frame(&[Is(0xAA), Is(0x01), Id, Id, Id, Id, Id, Id, Id, Id, Id, Id, Id, Is(0x0D)]);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bus::port::dial_in::hex;

    const PHONE: &str = "13800138000";

    fn port(kind: Kind, ids: &[&str]) -> Recogniser {
        let ids = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
        Recogniser { kind, ids, heartbeat: b"HEART".to_vec() }
    }

    #[test]
    fn registrations_of_the_vendors_are_known() {
        let known = |kind, id: &str, bytes: &str| {
            let bytes = hex(bytes).unwrap();
            let found = port(kind, &["x", id]).look(&bytes);
            assert_eq!(found, Found::Known { index: 1, used: bytes.len() }, "{id}");
            assert!(matches!(port(kind, &["x"]).look(&bytes), Found::Unknown(_)), "{id}");
        };
        known(Kind::Plain, "LOGIN:1001", "4C4F47494E3A31303031");
        known(Kind::Ddp { after: false }, PHONE, "7B01001631333830303133383030300A00000513897B");
        known(Kind::FourFaith, "13366668888", "78563412313333363636363838383800C0A8014200");
        known(Kind::InHand, PHONE, "AA0131333830303133383030300D");
        known(Kind::Alotcer, PHONE, "7B3115003133383030313338303030 484541525442454154 7D");
    }

    #[test]
    fn what_follows_and_what_goes_before_is_no_trouble() {
        let port = port(Kind::Plain, &["LOGIN:1001"]);
        assert_eq!(port.look(b"LOGIN:1001\r\n\x01\x03"), Found::Known { index: 0, used: 10 });
        assert_eq!(port.look(b"HEARTHEARTLOGIN:1001"), Found::Known { index: 0, used: 20 });
        assert_eq!(port.look(b"HEARTHEA"), Found::More);
        assert_eq!(port.look(b"LOG"), Found::More);
        assert_eq!(port.look(b""), Found::More);
        assert_eq!(port.look(b"LOGIN:1002"), Found::Unknown(b"LOGIN:1002".to_vec()));
        assert_eq!(port.look(&b"HEART".repeat(40)), Found::Wrong, "for ever heartbeats");
    }

    #[test]
    fn two_hundred_bytes_without_a_match_are_decided_by_the_64th() {
        for kind in [Kind::Plain, Kind::Ddp { after: true }, Kind::FourFaith, Kind::InHand, Kind::Alotcer] {
            for byte in [0, b'1', 0x7B, 0xFF] {
                let found = port(kind, &["LOGIN:1001"]).look(&[byte; 200]);
                assert!(matches!(found, Found::Wrong | Found::Unknown(_)), "{kind:?} {byte}");
            }
        }
    }

    fn any_kind() -> impl Strategy<Value = Kind> {
        prop::sample::select(vec![
            Kind::Plain,
            Kind::Ddp { after: false },
            Kind::FourFaith,
            Kind::InHand,
            Kind::Alotcer,
        ])
    }

    fn beginnings() -> impl Strategy<Value = Vec<u8>> {
        let known = prop::sample::select(vec![
            b"LOGIN:1001".to_vec(),
            b"HEART".to_vec(),
            b"LOGIN:".to_vec(),
            hex("7B01001631333830303133383030300A00000513897B").unwrap(),
            hex("78563412313333363636363838383800C0A8014200").unwrap(),
            hex("AA0131333830303133383030300D").unwrap(),
            hex("7B31150031333830303133383030304845415254424541547D").unwrap(),
        ]);
        let noise = prop::collection::vec(any::<u8>(), 0..40);
        prop::collection::vec(prop_oneof![3 => known, 1 => noise], 0..4).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn a_verdict_stands_whatever_follows(kind in any_kind(), bytes in beginnings(), cut in 0_usize..80) {
            let port = port(kind, &["LOGIN:1001", PHONE, "13366668888"]);
            let early = port.look(&bytes[..cut.min(bytes.len())]);
            let late = port.look(&bytes);
            match (&early, &late) {
                (Found::More, _) => {}
                // What came is reported as it came.
                (Found::Unknown(_), Found::Unknown(_)) => {}
                _ => prop_assert_eq!(early, late),
            }
        }
    }
}
