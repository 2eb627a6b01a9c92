//! DTUs that dial in: they connect to us from behind carriers' networks, say who they are, and pass serial bytes both ways.
//!
//! ```text
//! DTU ──TCP──▶ door (lobby: who is it?) ──▶ session (heartbeats, wrapping, drain) ──pipe──▶ master of its line
//! ```
//!
//! In: connections on a port, the DTUs that lines name. Out: for each line the stream of its DTU while it is there.
//! Invariant: who is not named by a line never gets to a line; memory, time and log for strangers are bounded; a line has one
//! connection at a time ([`roster`]).

pub mod door;
pub mod lobby;
pub mod recognise;
pub mod roster;
pub mod session;
pub mod slot;
pub mod wrap;

use std::net::SocketAddr;
use std::time::Duration;

use crate::bus::Framing;

/// One DTU as its line names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dtu {
    /// The line.
    pub name: String,
    /// Where we listen; all lines of one address share a [`door::Door`].
    pub listen: SocketAddr,
    /// What the DTU passes through.
    pub framing: Framing,
    /// What it says: its whole registration ([`Kind::Plain`]), the digits in the vendor's frame, or its source address as text
    /// ([`Kind::Source`]; empty: any).
    pub id: Vec<u8>,
    /// How DTUs of this port behave.
    pub manner: Manner,
    /// A connection with a valid answer within this time is not given up for a newer one without proof.
    pub lively: Duration,
    /// A connection without any byte for this long is closed.
    pub idle: Duration,
}

/// How the DTUs of one port behave: the same for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Manner {
    /// How they register.
    pub kind: Kind,
    /// Their sign of life, where the vendor's frames have none of their own; empty: none.
    pub heartbeat: Vec<u8>,
    /// What they want to hear after it.
    pub reply: Reply,
    /// The registration stands in front of every packet.
    pub prefix_every: bool,
    /// Time from the connection to the end of the registration.
    pub register_within: Duration,
    /// Connections of one source address that may be unregistered at a time.
    pub unregistered_per_source: usize,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            kind: Kind::Plain,
            heartbeat: Vec::new(),
            reply: Reply::None,
            prefix_every: false,
            register_within: Duration::from_secs(10),
            unregistered_per_source: lobby::SOURCE_MAX,
        }
    }
}

/// How a DTU says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes of its own: text, hex, IMEI, ICCID. Then transparent.
    Plain,
    /// Not at all; its source address says it. Transparent.
    Source,
    /// Hongdian DDP: every packet is framed. `after`: data stand behind their frame and not inside.
    Ddp {
        /// Where data stand.
        after: bool,
    },
    /// Four-Faith PROT: bytes are escaped, FE alone is a heartbeat.
    FourFaith,
    /// InHand: `AA 01`, 11 digits, `0D`. Then transparent.
    InHand,
    /// Alotcer: every packet is framed, heartbeats are echoed.
    Alotcer,
}

/// What follows a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Nothing.
    None,
    /// The heartbeat itself.
    Echo,
    /// These bytes.
    Fixed(Vec<u8>),
}

/// Bytes as documents write them, `4C 4F 47` or `4C4F47`; `None` for anything else.
pub fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|letter| *letter != ' ')
        .map(|letter| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests;
