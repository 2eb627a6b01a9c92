//! The ports of a line: a serial device or a TCP connection, each as one stream of bytes.
//!
//! In: an address. Out: an open stream, or why there is none.
//! Invariant: opening is bounded in time. A stream that reads zero bytes has ended: an unplugged serial adapter does
//! that for ever.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bus::{Address, serial};

/// A connection that takes longer to come up is of no use to a poll.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// An open stream of bytes to the devices of a line.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream that is being opened.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Stream>, OpenError>> + Send + 'a>>;

/// Where a line's streams come from: the world ([`Outward`]), or a test.
pub trait Port: Send {
    /// Opens a new stream; an earlier one is closed by then.
    fn open(&mut self) -> Opening<'_>;
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
    /// The connection was refused.
    #[error("cannot connect to {to}")]
    Connect {
        /// `host:port`.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody answered.
    #[error("cannot connect to {to}: no answer within {} s", CONNECT_MAX.as_secs())]
    Silent {
        /// `host:port`.
        to: String,
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

/// The real port of an address.
#[derive(Clone, Debug)]
pub struct Outward(pub Address);

impl Port for Outward {
    fn open(&mut self) -> Opening<'_> {
        match &self.0 {
            Address::Tcp(to) | Address::RtuOverTcp(to) | Address::AsciiOverTcp(to) => Box::pin(connect(to)),
            Address::Serial { path, format, rs485, .. } => {
                Box::pin(async { serial::open(path, *format, *rs485) })
            }
        }
    }
}

async fn connect(to: &str) -> Result<Box<dyn Stream>, OpenError> {
    let stream = match timeout(CONNECT_MAX, TcpStream::connect(to)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(source)) => return Err(OpenError::Connect { to: to.to_owned(), source }),
        Err(_) => return Err(OpenError::Silent { to: to.to_owned() }),
    };
    // Without it a request may wait 40 ms for the acknowledgement of the last one; it still arrives when this fails.
    let _ = stream.set_nodelay(true);
    Ok(Box::new(stream))
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
