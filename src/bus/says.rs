//! The meaning of a PDU in words and numbers, for people.
//!
//! In: PDUs of requests and answers. Out: [`Says`].
//! Invariant: any bytes have a meaning, if only that it's unknown; an answer's cells stand at the addresses that its request named.
//! Source: Modbus Application Protocol V1.1b3, 6.1 to 6.6, 6.11, 6.12, 6.21 and 7.

use std::fmt;

use crate::bus::pdu::Answer;
use crate::bus::tap::Aside;
use crate::bus::{Failure, Read, Table};

/// What a PDU says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// Nothing: there is none, or it is damaged.
    Nothing,
    /// A read.
    Read(Read),
    /// What the read's cells hold.
    Cells(Read, Vec<u16>),
    /// What the cells are to hold.
    Write(Written),
    /// What the cells were told to hold.
    Wrote(Written),
    /// The function was refused with this code.
    Exception {
        /// The function that was asked.
        function: u8,
        /// Why not.
        code: u8,
    },
    /// Who the device is, from this object on.
    IdentityAsked(u8),
    /// Objects of the device's identity: 0 maker, 1 product, 2 revision, and more.
    Identity(Vec<(u8, String)>),
    /// A function that we don't read.
    Other(u8),
    /// What a text sensor is asked with, or a line of it that is no reading.
    Text(Vec<u8>),
    /// A text sensor's line: the device, and its words by name.
    Words(String, Vec<(String, String)>),
    /// What a DTU and we say beside the line's own bytes.
    Aside(Aside),
    /// Why there is no line.
    Trouble(String),
}

/// Coils or holding registers that are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Function code.
    pub function: u8,
    /// Which cells.
    pub cells: Read,
    /// What they hold; of a coil 1 or 0.
    pub values: Vec<u16>,
}

impl Says {
    /// Of a request's PDU.
    pub fn request(pdu: &[u8]) -> Self {
        match *pdu {
            [function @ 1..=4, high, low, count_high, count_low] => {
                let address = u16::from_be_bytes([high, low]);
                let count = u16::from_be_bytes([count_high, count_low]);
                Self::Read(Read { table: table(function), address, count })
            }
            [43, 14, _, object] => Self::IdentityAsked(object),
            [function, ..] => Written::parse(pdu).map_or(Self::Other(function), Self::Write),
            [] => Self::Nothing,
        }
    }

    /// Of the PDU that answers `request`.
    pub fn answer(request: &[u8], pdu: &[u8]) -> Self {
        match Self::request(request) {
            Self::Read(read) => match read.parse(pdu) {
                Some(Answer::Cells(cells)) => Self::Cells(read, cells),
                _ => Self::stranger(pdu),
            },
            Self::Write(written) if pdu.first() == Some(&written.function) => Self::Wrote(written),
            _ => Self::stranger(pdu),
        }
    }

    /// Of an answer whose request is not known.
    pub fn stranger(pdu: &[u8]) -> Self {
        match *pdu {
            [function @ 0x80..=0xFF, code] => Self::Exception { function: function & 0x7F, code },
            [43, 14, _, _, _, _, count, ref objects @ ..] => Self::Identity(objects_of(count, objects)),
            [function, ..] => Self::Other(function),
            [] => Self::Nothing,
        }
    }

    /// The function code.
    pub const fn function(&self) -> Option<u8> {
        match self {
            Self::Nothing | Self::Text(_) | Self::Words(..) | Self::Aside(_) | Self::Trouble(_) => None,
            Self::Read(read) | Self::Cells(read, _) => Some(read.function()),
            Self::Write(written) | Self::Wrote(written) => Some(written.function),
            Self::Exception { function, .. } | Self::Other(function) => Some(*function),
            Self::IdentityAsked(_) | Self::Identity(_) => Some(43),
        }
    }
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Read(read) => write!(f, "read {} {}", cell(read.table), span(*read)),
            Self::Cells(read, cells) => {
                write!(f, "{} {} = {}", cell(read.table), span(*read), spaced(cells))
            }
            Self::Write(Written { cells, values, .. }) => {
                write!(f, "write {} {} = {}", cell(cells.table), span(*cells), spaced(values))
            }
            Self::Wrote(Written { cells, values, .. }) => {
                write!(f, "wrote {} {} = {}", cell(cells.table), span(*cells), spaced(values))
            }
            Self::Exception { function, code } => {
                write!(f, "refused function {function}: exception {code}, {}", exception(*code))
            }
            Self::IdentityAsked(object) => write!(f, "read identity from object {object}"),
            Self::Identity(objects) => {
                let text: Vec<String> = objects
                    .iter()
                    .map(|(object, text)| format!("{} \"{text}\"", object_name(*object)))
                    .collect();
                write!(f, "identity {}", text.join(", "))
            }
            Self::Other(function) => write!(f, "function {function}"),
            Self::Text(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Words(device, words) => {
                let text: Vec<String> = words.iter().map(|(name, word)| format!("{name} = {word}")).collect();
                write!(f, "{device}: {}", text.join(", "))
            }
            Self::Trouble(why) => f.write_str(why),
            Self::Aside(aside) => f.write_str(match aside {
                Aside::Registration => "its DTU dialled in",
                Aside::Heartbeat => "sign of life of its DTU",
                Aside::Reply => "answer to its DTU's sign of life",
                Aside::Gone => "its DTU's connection ended",
            }),
        }
    }
}

impl Written {
    /// Of a write request's PDU; `None` for all else.
    fn parse(pdu: &[u8]) -> Option<Self> {
        let [function, high, low, count_high, count_low, rest @ ..] = pdu else { return None };
        let (address, word) =
            (u16::from_be_bytes([*high, *low]), u16::from_be_bytes([*count_high, *count_low]));
        let bit = |place: u16| Some(u16::from(rest.get(1 + usize::from(place / 8))? >> (place % 8) & 1));
        let register =
            |place: u16| Some(u16::from_be_bytes(*rest.get(1 + 2 * usize::from(place)..)?.first_chunk()?));
        let (table, count, values) = match (*function, word, rest) {
            (5, 0xFF00 | 0, []) => (Table::Coil, 1, vec![u16::from(word != 0)]),
            (6, _, []) => (Table::Holding, 1, vec![word]),
            (15, _, _) => (Table::Coil, word, (0..word).map(bit).collect::<Option<_>>()?),
            (16, _, _) => (Table::Holding, word, (0..word).map(register).collect::<Option<_>>()?),
            _ => return None,
        };
        Some(Self { function: *function, cells: Read { table, address, count }, values })
    }
}

impl Failure {
    /// In words.
    pub fn words(self) -> String {
        match self {
            Self::Timeout => "no answer in time".to_owned(),
            Self::BadFrame => "damaged answer".to_owned(),
            Self::Exception(code) => format!("exception {code}, {}", exception(code)),
            Self::LineDown => "the line is down".to_owned(),
        }
    }
}

/// The standard's name of an exception code.
pub const fn exception(code: u8) -> &'static str {
    match code {
        1 => "illegal function",
        2 => "illegal data address",
        3 => "illegal data value",
        4 => "device failure",
        5 => "acknowledge, will answer later",
        6 => "device busy",
        8 => "memory parity error",
        10 => "gateway has no path",
        11 => "the device behind the gateway does not answer",
        _ => "not in the standard",
    }
}

/// The standard's name of an identity object.
pub fn object_name(object: u8) -> String {
    let name = match object {
        0 => "maker",
        1 => "product code",
        2 => "revision",
        3 => "maker's address",
        4 => "product",
        5 => "model",
        6 => "application",
        other => return format!("object {other}"),
    };
    name.to_owned()
}

/// An identity's text: what is no printable ASCII becomes a question mark.
pub fn printable(bytes: &[u8]) -> String {
    let plain = |byte: &u8| if (0x20..0x7F).contains(byte) { char::from(*byte) } else { '?' };
    let text: String = bytes.iter().map(plain).collect();
    text.trim().to_owned()
}

fn objects_of(count: u8, mut objects: &[u8]) -> Vec<(u8, String)> {
    let mut found = Vec::new();
    while let [object, size, rest @ ..] = objects
        && let Some((text, rest)) = rest.split_at_checked(usize::from(*size))
        && found.len() < usize::from(count)
    {
        found.push((*object, printable(text)));
        objects = rest;
    }
    found
}

const fn table(function: u8) -> Table {
    match function {
        1 => Table::Coil,
        2 => Table::Discrete,
        3 => Table::Holding,
        _ => Table::Input,
    }
}

const fn cell(table: Table) -> &'static str {
    match table {
        Table::Coil => "coil",
        Table::Discrete => "discrete",
        Table::Holding => "holding",
        Table::Input => "input",
    }
}

fn spaced(values: &[u16]) -> String {
    let values: Vec<String> = values.iter().map(u16::to_string).collect();
    values.join(" ")
}

/// `0x0002`, or `0x0002..0x0003`.
fn span(read: Read) -> String {
    match read.count {
        0 | 1 => format!("0x{:04X}", read.address),
        count => format!("0x{:04X}..0x{:04X}", read.address, u32::from(read.address) + u32::from(count) - 1),
    }
}
