//! The ports of a line: a serial device, a connection that we open, or one that a DTU opens to us, each as one stream of bytes.
//!
//! In: an address. Out: an open stream, or why there is none.
//! Invariant: opening is bounded in time. A stream that reads zero bytes has ended: an unplugged serial adapter does
//! that for ever.

pub mod dial_in;
mod tcp;
pub mod tls;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::bus::tap::Listeners;
use crate::bus::{Address, serial};

/// An open stream of bytes to the devices of a line.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream that is being opened.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Stream>, OpenError>> + Send + 'a>>;

/// Where a line's streams come from: the world ([`Outward`], [`dial_in::Caller`]), or a test.
pub trait Port: Send {
    /// Opens a new stream; an earlier one is closed by then.
    fn open(&mut self) -> Opening<'_>;

    /// Whether it leads to a wire of the real world, on which a fraction of a millisecond counts.
    fn is_wire(&self) -> bool {
        false
    }

    /// Whether the other side has come by itself, so that there is no reason to hold back.
    fn is_ready(&self) -> bool {
        false
    }

    /// How the last request on the stream ended: with a valid answer (a refusal is one, too) or without.
    fn told(&mut self, _answered: bool) {}

    /// Lets others see what passes beside the stream: what a DTU says for itself.
    fn tell(&mut self, _listeners: &Listeners) {}
}

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The serial device.
    #[error("cannot open {path}")]
    Serial {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The connection was refused, or the name is not known.
    #[error("cannot connect to {to}")]
    Connect {
        /// `host:port`.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody answered.
    #[error("cannot connect to {to}: no answer within {} s", tcp::CONNECT_MAX.as_secs())]
    Silent {
        /// `host:port`.
        to: String,
    },
    /// Our certificates cannot be used.
    #[error("cannot speak TLS with {to}")]
    Tls {
        /// `host:port`.
        to: String,
        /// Why.
        source: tls::FileError,
    },
    /// The other side's certificate was refused, or it refused ours.
    #[error("cannot speak TLS with {to}: {why}")]
    Untrusted {
        /// `host:port`.
        to: String,
        /// Why, in words.
        why: String,
    },
    /// The DTU is not there.
    #[error("{name} has not dialled in on {listen}")]
    NotDialledIn {
        /// The line.
        name: String,
        /// Where we listen.
        listen: SocketAddr,
    },
    /// Nobody can dial in.
    #[error("{name} cannot dial in: cannot listen on {listen}: {why}")]
    NotListening {
        /// The line.
        name: String,
        /// Where we wanted to listen.
        listen: SocketAddr,
        /// Why.
        why: String,
    },
}

impl OpenError {
    /// The error with its cause, in words for a person.
    pub fn sentence(&self) -> String {
        match self.source() {
            Some(cause) => format!("{self}: {}", plain(cause)),
            None => self.to_string(),
        }
    }
}

/// The cause without the system's error number.
pub(crate) fn plain(cause: &dyn Error) -> String {
    let text = cause.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// The real port of an address that is opened from here. Who dials in is met at a [`dial_in::Door`] instead.
#[derive(Clone, Debug)]
pub struct Outward(pub Address);

impl Port for Outward {
    fn is_wire(&self) -> bool {
        self.0.is_serial()
    }

    fn open(&mut self) -> Opening<'_> {
        match &self.0 {
            Address::Tcp(to) | Address::RtuOverTcp(to) | Address::AsciiOverTcp(to) => Box::pin(async {
                let stream = tcp::connect(to).await?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            }),
            Address::Tls(settings) => Box::pin(tls::open(settings)),
            Address::Serial { path, format, rs485, .. } => {
                Box::pin(async { serial::open(path, *format, *rs485) })
            }
            Address::DialIn(dtu) => Box::pin(async {
                let why = "only the running gateway listens".to_owned();
                Err(OpenError::NotListening { name: dtu.name.clone(), listen: dtu.listen, why })
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Framing, Parity, SerialFormat};

    fn address(text: &str) -> Address {
        match text.strip_prefix("tcp ") {
            Some(to) => Address::Tcp(to.to_owned()),
            None => Address::Serial {
                path: text.to_owned(),
                format: SerialFormat { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 },
                framing: Framing::Rtu,
                rs485: None,
            },
        }
    }

    async fn trouble(text: &str) -> String {
        Outward(address(text)).open().await.err().unwrap().sentence()
    }

    #[tokio::test]
    async fn trouble_is_told_in_words() {
        let missing = trouble("/dev/ttyUSB9").await;
        assert_eq!(missing, "cannot open /dev/ttyUSB9: No such file or directory");
        let refused = trouble("tcp 127.0.0.1:1").await;
        assert_eq!(refused, "cannot connect to 127.0.0.1:1: Connection refused");
    }
}
