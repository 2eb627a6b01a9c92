//! A serial device as a stream.
//!
//! In: a path and a format. Out: the open port, locked for others.
//! Invariant: what came before the opening is not read.

use tokio_serial::{DataBits, SerialPort, SerialStream, StopBits};

use crate::bus::port::{OpenError, Stream};
use crate::bus::{Parity, SerialFormat};

pub(crate) fn open(path: &str, format: SerialFormat) -> Result<Box<dyn Stream>, OpenError> {
    let settings = tokio_serial::new(path, format.baud)
        .data_bits(if format.data_bits == 7 { DataBits::Seven } else { DataBits::Eight })
        .stop_bits(if format.stop_bits == 2 { StopBits::Two } else { StopBits::One })
        .parity(match format.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        })
        .exclusive(true);
    let stream = SerialStream::open(&settings)
        .map_err(|error| OpenError::Serial { path: path.to_owned(), source: error.into() })?;
    // What came before this moment answers nothing of ours; what slips through is drained before the first request.
    let _ = stream.clear(tokio_serial::ClearBuffer::Input);
    Ok(Box::new(stream))
}
