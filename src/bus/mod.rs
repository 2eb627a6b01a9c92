//! Modbus framing and one master for each line.
//!
//! A request is built by [`pdu`], framed by [`rtu`] or [`mbap`], kept by [`line`] until its answer or its deadline, and
//! carried by [`master`] over a [`port`]. All but the last two are pure: bytes and instants in, verdicts out.
//!
//! In: reads. Out: exactly the cells asked for, or why there are none.
//! Invariant: one transaction at a time on a line; every request ends in an answer, an exception or its deadline; late
//! bytes never answer the next request.
//! Source: Modbus Application Protocol V1.1b3; Modbus over Serial Line V1.02; Modbus Messaging on TCP/IP V1.0b.

#![warn(clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::port::{dial_in, tls};

pub mod ascii;
pub mod ask;
pub mod backoff;
pub mod checksum;
pub mod debts;
mod fine;
pub mod identity;
pub mod line;
pub mod master;
pub mod mbap;
pub mod pdu;
pub mod port;
pub mod rtu;
pub mod tap;
pub mod says;
pub mod trace;
pub mod serial;
mod serial_driver;
pub mod text;
pub mod transaction;

/// A Modbus address of a device, 1 to 247 (0 is accepted from Modbus TCP gateways that want it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slave(pub u8);

/// The four tables of a Modbus device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// FC 1.
    Coil,
    /// FC 2.
    Discrete,
    /// FC 3.
    Holding,
    /// FC 4.
    Input,
}

/// One read request: `count` cells of `table` from the 0-based wire `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Read {
    /// Which table.
    pub table: Table,
    /// First cell, 0-based as on the wire.
    pub address: u16,
    /// Cells: 1..=125 registers or 1..=2000 bits.
    pub count: u16,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Nothing (whole) came before the deadline.
    Timeout,
    /// A damaged answer came.
    BadFrame,
    /// The device refused with this code.
    Exception(u8),
    /// The port or connection is gone or cannot be opened.
    LineDown,
}

/// One finished request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange<T = Vec<u16>> {
    /// Of a read, the cells, one `u16` each (a coil or input is 0 or 1): exactly `count` of them. Or the failure.
    pub outcome: Result<T, Failure>,
    /// When the request went out.
    pub sent: Instant,
    /// When the answer was whole; for a failure its deadline or the moment it was known.
    pub ended: Instant,
}

/// Parity of a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parity {
    /// None.
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

/// Speed and format of a serial line, `9600 8N1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SerialFormat {
    /// Bits per second.
    pub baud: u32,
    /// 7 or 8.
    pub data_bits: u8,
    /// Parity.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
}

/// Where a line leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Modbus TCP (MBAP), `host:port`.
    Tcp(String),
    /// RTU frames through a TCP serial server, `host:port`.
    RtuOverTcp(String),
    /// ASCII frames through a TCP serial server, `host:port`.
    AsciiOverTcp(String),
    /// A serial port.
    Serial {
        /// `/dev/ttyUSB0`.
        path: String,
        /// Speed and format.
        format: SerialFormat,
        /// How frames stand on it: RTU or ASCII.
        framing: Framing,
        /// Direction of a two-wire transceiver, when the driver turns it round.
        rs485: Option<serial::Rs485>,
    },
    /// Modbus/TCP Security (MBAP inside TLS).
    Tls(Box<tls::Settings>),
    /// A DTU that dials in.
    DialIn(Box<dial_in::Dtu>),
}

/// How frames stand on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Framing {
    /// Bytes with a CRC, framed by silence.
    Rtu,
    /// Hexadecimal characters with an LRC, between a colon and a line's end.
    Ascii,
    /// Bytes with a transaction id and a length, on TCP.
    Mbap,
}

/// What a line task needs of its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineSettings {
    /// The line's name, for losses.
    pub name: String,
    /// Where it leads.
    pub address: Address,
    /// Time from the end of the request to the end of the answer, when the device names none.
    pub timeout: Duration,
    /// Silence before each request beside t3.5 (the largest `quiet` of the line's devices).
    pub quiet: Duration,
    /// What a DTU says by itself, also in the middle of an answer: cut out where a frame is whole without it.
    pub heartbeats: Vec<Vec<u8>>,
    /// Devices behind Modbus TCP that answer with another unit than they were asked by.
    pub any_unit: Vec<Slave>,
    /// How late answers are told apart where frames don't name their request.
    pub late_answers: LateAnswers,
    /// Speed and format of the wire behind a serial server or a DTU, where the site names them.
    pub speed: Option<SerialFormat>,
}

/// How a late answer is told from the next one on a line whose frames don't name their request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LateAnswers {
    /// A device that left a request unanswered is first asked for fewer of the same cells: a device answers in order, so
    /// when that answer, of another length, is there, the late one can't follow. Where no shorter request is possible, as
    /// [`Self::Drain`].
    Fence,
    /// The line has to be quiet for as long as the request's timeout.
    Drain,
}

impl Framing {
    /// `rtu`, `ascii` or `mbap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rtu => "rtu",
            Self::Ascii => "ascii",
            Self::Mbap => "mbap",
        }
    }
}

impl Address {
    /// Serial port or `host:port`, for people.
    pub fn place(&self) -> &str {
        match self {
            Self::Tcp(to) | Self::RtuOverTcp(to) | Self::AsciiOverTcp(to) => to,
            Self::Serial { path, .. } => path,
            Self::Tls(settings) => &settings.to,
            Self::DialIn(dtu) => &dtu.name,
        }
    }

    /// Whether it is a serial port of this box.
    pub const fn is_serial(&self) -> bool {
        matches!(self, Self::Serial { .. })
    }

    /// Where its DTU dials in; `None` for a line that is opened from here.
    pub fn dials_in_at(&self) -> Option<SocketAddr> {
        if let Self::DialIn(dtu) = self { Some(dtu.listen) } else { None }
    }

    /// How frames stand on the line.
    pub fn framing(&self) -> Framing {
        match self {
            Self::Tcp(_) | Self::Tls(_) => Framing::Mbap,
            Self::DialIn(dtu) => dtu.framing,
            Self::RtuOverTcp(_) => Framing::Rtu,
            Self::AsciiOverTcp(_) => Framing::Ascii,
            Self::Serial { framing, .. } => *framing,
        }
    }
}

impl LineSettings {
    /// A line without habits: a timeout of 1 s, no further silence, no heartbeats.
    pub fn plain(name: &str, address: Address) -> Self {
        Self {
            name: name.to_owned(),
            address,
            timeout: Duration::from_secs(1),
            quiet: Duration::ZERO,
            heartbeats: Vec::new(),
            any_unit: Vec::new(),
            late_answers: LateAnswers::Fence,
            speed: None,
        }
    }

    /// Speed and format of the wire, where they are known.
    pub fn format(&self) -> Option<SerialFormat> {
        if let Address::Serial { format, .. } = &self.address { Some(*format) } else { self.speed }
    }

    /// The tail of a frame has passed after so much silence: longer than the 16 ms that USB adapters hold bytes back, and than the packets of
    /// a serial server are apart.
    pub fn tail(&self) -> Duration {
        match &self.address {
            Address::Serial { format, .. } => format.silence().max(Duration::from_millis(20)),
            _ => Duration::from_millis(50),
        }
    }
}

impl std::fmt::Display for SerialFormat {
    /// As documents write it: `9600 8N1`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{} {}{parity}{}", self.baud, self.data_bits, self.stop_bits)
    }
}

impl SerialFormat {
    /// The time of one character on the line: start bit, data, parity, stop.
    pub fn character(self) -> Duration {
        let parity = u32::from(self.parity != Parity::None);
        let bits = 1 + u32::from(self.data_bits) + parity + u32::from(self.stop_bits);
        Duration::from_secs(1) * bits / self.baud.max(1)
    }

    /// The silence that separates frames: 3.5 characters, and 1.75 ms above 19200 baud.
    ///
    /// Source: Modbus over Serial Line V1.02, 2.5.1.1.
    pub fn silence(self) -> Duration {
        if self.baud > 19_200 { Duration::from_micros(1_750) } else { self.character() * 7 / 2 }
    }
}
