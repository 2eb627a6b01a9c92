//! The ports of a line: a serial device or a TCP connection, as one stream of bytes.
//!
//! In: an address. Out: an open stream, or a sentence why not.
//! Invariant: opening is bounded in time; a stream that reads no bytes at all has ended (an unplugged adapter does that for ever).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_serial::SerialPortBuilderExt;

use crate::bus::{Address, Parity, SerialFormat};

/// A TCP connection may take this long.
const CONNECT: Duration = Duration::from_secs(3);

/// A stream of bytes to the devices of a line.
pub trait Port: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Port for T {}

/// Opens the stream of `address`.
///
/// # Errors
/// A sentence that names the address and what is wrong.
pub async fn open(address: &Address) -> Result<Box<dyn Port>, String> {
    match address {
        Address::Tcp(to) | Address::RtuOverTcp(to) => {
            let connecting = tokio::time::timeout(CONNECT, TcpStream::connect(to));
            let stream = connecting.await.map_err(|_| format!("{to} does not answer within 3 s"))?;
            let stream = stream.map_err(|error| format!("cannot connect to {to}: {error}"))?;
            // Delayed small packets would cost 40 ms for each request; a stream that cannot be told is still usable.
            let _ = stream.set_nodelay(true);
            Ok(Box::new(stream))
        }
        Address::Serial { path, format } => {
            let stream = serial(path, *format).map_err(|error| format!("cannot open {path}: {error}"))?;
            Ok(Box::new(stream))
        }
    }
}

fn serial(path: &str, format: SerialFormat) -> tokio_serial::Result<tokio_serial::SerialStream> {
    let parity = match format.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    let data_bits =
        if format.data_bits == 7 { tokio_serial::DataBits::Seven } else { tokio_serial::DataBits::Eight };
    let stop_bits =
        if format.stop_bits == 2 { tokio_serial::StopBits::Two } else { tokio_serial::StopBits::One };
    tokio_serial::new(path, format.baud)
        .parity(parity)
        .data_bits(data_bits)
        .stop_bits(stop_bits)
        .open_native_async()
}
