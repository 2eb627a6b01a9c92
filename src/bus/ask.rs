//! What can be asked of a device, and what makes an answer of some bytes.
//!
//! In: an [`Ask`]; the bytes of a PDU. Out: the request's PDU; how long its answer is; what the answer says.
//! Invariant: an answer of another function, length or, for a write, content than the request's is not an answer.
//! Writes exist for the triggers that a profile declares and the site allows by name; the poll never makes one.
//! Source: Modbus Application Protocol V1.1b3, 6.1 to 6.6, 6.11, 6.12 and 6.21.

use crate::bus::pdu::Answer;
use crate::bus::{Read, identity};

/// The longest PDU in bytes.
pub const PDU_MAX: usize = 253;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Cells.
    Read(Read),
    /// A page of the device's identity (FC 43/14).
    Identity {
        /// 1 basic, 2 regular, 3 extended.
        level: u8,
        /// The first object wanted.
        object: u8,
    },
    /// A trigger.
    Write(Write),
}

/// One write request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// FC 5: one coil, at a 0-based wire address.
    Coil {
        /// Which.
        address: u16,
        /// What it becomes.
        on: bool,
    },
    /// FC 6: one holding register.
    Register {
        /// Which.
        address: u16,
        /// What it becomes.
        value: u16,
    },
    /// FC 15: 1 to 1968 coils in a row.
    Coils {
        /// The first.
        address: u16,
        /// What they become.
        on: Vec<bool>,
    },
    /// FC 16: 1 to 123 holding registers in a row.
    Registers {
        /// The first.
        address: u16,
        /// What they become.
        values: Vec<u16>,
    },
}

/// How long an answer's PDU is that begins with some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// So many bytes.
    Whole(usize),
    /// More of it is needed to tell.
    Open,
    /// No answer to this request begins so.
    Never,
}

impl Ask {
    /// The function code.
    pub const fn function(&self) -> u8 {
        match self {
            Self::Read(read) => read.function(),
            Self::Identity { .. } => identity::FUNCTION,
            Self::Write(write) => write.function(),
        }
    }

    /// Whether a device may be asked this.
    pub fn is_legal(&self) -> bool {
        match self {
            Self::Read(read) => read.is_legal(),
            Self::Identity { level, .. } => (1..=3).contains(level),
            Self::Write(write) => write.is_legal(),
        }
    }

    /// Appends the request's PDU to `to`.
    pub fn emit(&self, to: &mut Vec<u8>) {
        match self {
            Self::Read(read) => to.extend_from_slice(&read.emit()),
            Self::Identity { level, object } => {
                to.extend_from_slice(&[identity::FUNCTION, identity::KIND, *level, *object]);
            }
            Self::Write(write) => write.emit(to),
        }
    }

    /// Whether the answer repeats the request to the byte, so that an adapter that hears itself looks like a device.
    pub const fn is_echoed(&self) -> bool {
        matches!(self, Self::Write(Write::Coil { .. } | Write::Register { .. }))
    }

    /// How long an answer's PDU is that begins with `pdu`.
    pub fn extent(&self, pdu: &[u8]) -> Extent {
        match (self, pdu) {
            (_, []) => Extent::Open,
            (_, [function, ..]) if *function == self.function() | 0x80 => Extent::Whole(2),
            (_, [function, ..]) if *function != self.function() => Extent::Never,
            (Self::Read(_), [_]) => Extent::Open,
            (Self::Read(read), [_, count, ..]) if usize::from(*count) == read.data_bytes() => {
                Extent::Whole(2 + read.data_bytes())
            }
            (Self::Read(_), _) => Extent::Never,
            (Self::Identity { level, .. }, _) => identity::extent(pdu, Some(*level)),
            (Self::Write(_), _) => Extent::Whole(5),
        }
    }

    /// What `pdu` says to this; `None` when it isn't an answer to it.
    pub fn parse(&self, pdu: &[u8]) -> Option<Answer> {
        match (self, pdu) {
            (Self::Read(read), _) => read.parse(pdu),
            (_, [function, code]) if *function == self.function() | 0x80 => Some(Answer::Exception(*code)),
            (Self::Identity { level, .. }, _) => identity::parse(pdu, *level).map(Answer::Identity),
            (Self::Write(write), _) => (pdu == write.answer()).then_some(Answer::Written),
        }
    }

    /// What tells an answer to this from an answer to another request of the same device: function and byte count.
    pub fn shape(&self) -> (u8, usize) {
        let bytes = if let Self::Read(read) = self { read.data_bytes() } else { 0 };
        (self.function(), bytes)
    }
}

impl From<Read> for Ask {
    fn from(read: Read) -> Self {
        Self::Read(read)
    }
}

impl Write {
    const fn function(&self) -> u8 {
        match self {
            Self::Coil { .. } => 5,
            Self::Register { .. } => 6,
            Self::Coils { .. } => 15,
            Self::Registers { .. } => 16,
        }
    }

    fn is_legal(&self) -> bool {
        let (address, count, most) = match self {
            Self::Coil { address, .. } | Self::Register { address, .. } => (*address, 1, 1),
            Self::Coils { address, on } => (*address, on.len(), 1968),
            Self::Registers { address, values } => (*address, values.len(), 123),
        };
        (1..=most).contains(&count) && usize::from(address) + count <= 0x1_0000
    }

    /// Function, address, and value or count: the whole request of one cell, and the answer to any.
    fn answer(&self) -> [u8; 5] {
        let count = |cells: usize| u16::try_from(cells).unwrap_or(u16::MAX);
        let (address, word) = match self {
            Self::Coil { address, on } => (*address, if *on { 0xFF00 } else { 0 }),
            Self::Register { address, value } => (*address, *value),
            Self::Coils { address, on } => (*address, count(on.len())),
            Self::Registers { address, values } => (*address, count(values.len())),
        };
        let ([address_high, address_low], [high, low]) = (address.to_be_bytes(), word.to_be_bytes());
        [self.function(), address_high, address_low, high, low]
    }

    fn emit(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.answer());
        let data: Vec<u8> = match self {
            Self::Coil { .. } | Self::Register { .. } => return,
            Self::Coils { on, .. } => on
                .chunks(8)
                .map(|bits| bits.iter().rev().fold(0, |byte, bit| (byte << 1) | u8::from(*bit)))
                .collect(),
            Self::Registers { values, .. } => values.iter().flat_map(|value| value.to_be_bytes()).collect(),
        };
        to.push(u8::try_from(data.len()).unwrap_or(u8::MAX));
        to.extend_from_slice(&data);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bus::Table;

    fn pdu(ask: &Ask) -> Vec<u8> {
        let mut bytes = Vec::new();
        ask.emit(&mut bytes);
        bytes
    }

    fn any_ask() -> impl Strategy<Value = Ask> {
        prop_oneof![
            (any::<u16>(), 1..126_u16).prop_map(|(address, count)| Read {
                table: Table::Input,
                address,
                count
            }
            .into()),
            (1..4_u8, any::<u8>()).prop_map(|(level, object)| Ask::Identity { level, object }),
            (any::<u16>(), any::<bool>()).prop_map(|(address, on)| Ask::Write(Write::Coil { address, on })),
            (any::<u16>(), any::<u16>())
                .prop_map(|(address, value)| Ask::Write(Write::Register { address, value })),
            (any::<u16>(), prop::collection::vec(any::<u16>(), 1..124))
                .prop_map(|(address, values)| Ask::Write(Write::Registers { address, values })),
            (any::<u16>(), prop::collection::vec(any::<bool>(), 1..1969))
                .prop_map(|(address, on)| Ask::Write(Write::Coils { address, on })),
        ]
    }

    #[test]
    fn writes_are_the_standards_examples() {
        // The examples of 6.5, 6.6, 6.11 and 6.12.
        let coil = Ask::Write(Write::Coil { address: 0xAC, on: true });
        assert_eq!(pdu(&coil), [5, 0, 0xAC, 0xFF, 0]);
        let register = Ask::Write(Write::Register { address: 1, value: 3 });
        assert_eq!(pdu(&register), [6, 0, 1, 0, 3]);
        let on = [true, false, true, true, false, false, true, true, true, false].to_vec();
        let coils = Ask::Write(Write::Coils { address: 0x13, on });
        assert_eq!(pdu(&coils), [0x0F, 0, 0x13, 0, 0x0A, 2, 0xCD, 1]);
        assert_eq!(coils.parse(&[0x0F, 0, 0x13, 0, 0x0A]), Some(Answer::Written));
        let registers = Ask::Write(Write::Registers { address: 1, values: vec![0x0A, 0x0102] });
        assert_eq!(pdu(&registers), [0x10, 0, 1, 0, 2, 4, 0, 0x0A, 1, 2]);
        assert_eq!(registers.parse(&[0x10, 0, 1, 0, 2]), Some(Answer::Written));
        assert_eq!(registers.parse(&[0x10, 0, 1, 0, 1]), None, "another count");
        assert_eq!(coil.parse(&[5, 0, 0xAC, 0, 0]), None, "another value");
        assert_eq!(register.parse(&[0x86, 4]), Some(Answer::Exception(4)));
    }

    #[test]
    fn what_no_device_may_be_asked_is_illegal() {
        let registers = |count| Ask::Write(Write::Registers { address: 0xFF00, values: vec![0; count] });
        assert!(registers(123).is_legal());
        assert!(!registers(124).is_legal());
        assert!(!registers(0).is_legal());
        assert!(!Ask::Write(Write::Registers { address: 0xFFFF, values: vec![0; 2] }).is_legal());
        assert!(!Ask::Identity { level: 4, object: 0 }.is_legal(), "single objects are not asked for");
    }

    proptest! {
        #[test]
        fn what_parses_has_the_extent_that_was_told(
            ask in any_ask(),
            tail in prop::collection::vec(any::<u8>(), 0..252),
        ) {
            let pdu = [vec![ask.function()], tail].concat();
            if ask.parse(&pdu).is_some() {
                prop_assert_eq!(ask.extent(&pdu), Extent::Whole(pdu.len()));
                for length in 0..pdu.len() {
                    prop_assert_ne!(ask.extent(&pdu[..length]), Extent::Never);
                }
            }
        }

        #[test]
        fn a_legal_request_fits_a_pdu(ask in any_ask()) {
            prop_assert!(pdu(&ask).len() <= PDU_MAX);
            prop_assert_eq!(pdu(&ask)[0], ask.function());
        }
    }
}
