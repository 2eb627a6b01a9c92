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

use std::time::Duration;

use tokio::time::Instant;

use crate::bus::port::{dial_in, tls};

pub mod backoff;
pub mod line;
pub mod master;
pub mod mbap;
pub mod pdu;
pub mod port;
pub mod rtu;

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
pub struct Exchange {
    /// The cells, one `u16` each (a coil or input is 0 or 1): exactly `count` of them. Or the failure.
    pub outcome: Result<Vec<u16>, Failure>,
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

/// How PDUs become frames where the address does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// RTU frames.
    Rtu,
    /// MBAP frames, as in Modbus TCP.
    Mbap,
}

/// Where a line leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Modbus TCP (MBAP), `host:port`.
    Tcp(String),
    /// RTU frames through a TCP serial server, `host:port`.
    RtuOverTcp(String),
    /// A serial port speaking RTU.
    Serial {
        /// `/dev/ttyUSB0`.
        path: String,
        /// Speed and format.
        format: SerialFormat,
    },
    /// Modbus/TCP Security (MBAP inside TLS).
    Tls(Box<tls::Settings>),
    /// A DTU that dials in.
    DialIn(Box<dial_in::Dtu>),
}

impl Address {
    /// The line's framing.
    pub fn framing(&self) -> Framing {
        match self {
            Self::Tcp(_) | Self::Tls(_) => Framing::Mbap,
            Self::RtuOverTcp(_) | Self::Serial { .. } => Framing::Rtu,
            Self::DialIn(dtu) => dtu.framing,
        }
    }

    /// Its name for people: a path, `host:port`, or who dials in.
    pub fn place(&self) -> &str {
        match self {
            Self::Tcp(to) | Self::RtuOverTcp(to) => to,
            Self::Serial { path, .. } => path,
            Self::Tls(settings) => &settings.to,
            Self::DialIn(dtu) => &dtu.name,
        }
    }
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
    /// Byte strings that others put between and inside answers (heartbeats of a DTU): removed when check sum and length fit then.
    pub heartbeats: Vec<Vec<u8>>,
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
