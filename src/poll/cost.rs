//! What a request costs its line, in time.
//!
//! In: a line's address, the silence it needs, the device's turnaround. Out: durations of requests.
//! Invariant: the same figures serve the planner, the line task and the load that `check` prints.
//! Source: Modbus over Serial Line V1.02, 2.5.1 (characters, t3.5); Modbus Messaging on TCP/IP V1.0b, 3.1.3 (MBAP header of 7 bytes).

use std::time::Duration;

use crate::bus::{Address, Framing, Parity, Read, SerialFormat};

/// A sensor on a wire begins its answer about this late; a measured time replaces it.
pub const TURNAROUND_SERIAL: Duration = Duration::from_millis(10);
/// Round trip of a request through TCP until it is measured.
pub const TURNAROUND_TCP: Duration = Duration::from_millis(20);
/// A byte through TCP: next to nothing, so that of two equal plans the one with fewer bytes wins.
const BYTE_TCP: Duration = Duration::from_micros(1);
/// The longest quiet that the master asks of a line after a failed request.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// What requests cost on one line with one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Time of one byte.
    pub byte: Duration,
    /// Bytes of a request's frame.
    pub request_bytes: u32,
    /// Bytes of an answer's frame beside its data.
    pub answer_bytes: u32,
    /// Silence before each request: t3.5 and `quiet`.
    pub silence: Duration,
    /// From the end of a request to the begin of its answer.
    pub turnaround: Duration,
    /// Whether a failed request is followed by a quiet as long as its timeout.
    pub drains: bool,
}

impl Cost {
    /// The costs on a line that leads to `address`, with `quiet` before each request beside t3.5.
    pub fn new(address: &Address, quiet: Duration) -> Self {
        // Nobody tells the speed behind a serial server or a DTU; most lines are this fast.
        let behind = |data_bits, parity| SerialFormat { baud: 9600, data_bits, parity, stop_bits: 1 };
        match (address.framing(), address) {
            (Framing::Ascii, Address::Serial { format, .. }) => Self::ascii(*format, quiet),
            (Framing::Rtu, Address::Serial { format, .. }) => Self::rtu(*format, quiet),
            (Framing::Ascii, _) => {
                Self { turnaround: TURNAROUND_TCP, ..Self::ascii(behind(7, Parity::Even), quiet) }
            }
            (Framing::Rtu, _) => {
                Self { turnaround: TURNAROUND_TCP, ..Self::rtu(behind(8, Parity::None), quiet) }
            }
            (Framing::Mbap, _) => Self {
                byte: BYTE_TCP,
                request_bytes: 12,
                answer_bytes: 9,
                silence: quiet,
                turnaround: TURNAROUND_TCP,
                drains: false,
            },
        }
    }

    fn rtu(format: SerialFormat, quiet: Duration) -> Self {
        Self {
            byte: format.character(),
            request_bytes: 8,
            answer_bytes: 5,
            silence: format.silence() + quiet,
            turnaround: TURNAROUND_SERIAL,
            drains: true,
        }
    }

    /// Each byte is two characters; a colon, an LRC and the line's end make 17 and 11 characters beside the data.
    fn ascii(format: SerialFormat, quiet: Duration) -> Self {
        Self { byte: format.character() * 2, request_bytes: 9, answer_bytes: 6, ..Self::rtu(format, quiet) }
    }

    /// The bytes of the answer on the line.
    pub fn answer(&self, read: Read) -> Duration {
        let data = u32::try_from(read.data_bytes()).unwrap_or(u32::MAX);
        self.byte.saturating_mul(self.answer_bytes.saturating_add(data))
    }

    /// The bytes of request and answer on the line.
    pub fn wire(&self, read: Read) -> Duration {
        self.byte * self.request_bytes + self.answer(read)
    }

    /// The whole of an answered request: silence, request, turnaround, answer.
    pub fn answered(&self, read: Read) -> Duration {
        self.silence + self.wire(read) + self.turnaround
    }

    /// The whole of a request that nobody answers within `timeout`, with the quiet after it.
    pub fn silent(&self, timeout: Duration) -> Duration {
        let drain = if self.drains { timeout.min(DRAIN_MAX) } else { Duration::ZERO };
        self.silence + self.byte * self.request_bytes + timeout + drain
    }

    /// The longest timeout with which [`Self::silent`] is not more than `time`.
    pub fn patience(&self, time: Duration) -> Duration {
        let left = time.saturating_sub(self.silence + self.byte * self.request_bytes);
        if self.drains { (left / 2).max(left.saturating_sub(DRAIN_MAX)) } else { left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Table;

    #[test]
    fn a_request_costs_what_the_standard_says() {
        let format = SerialFormat { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 };
        let address = Address::Serial { path: "x".to_owned(), format, framing: Framing::Rtu, rs485: None };
        let cost = Cost::new(&address, Duration::from_millis(5));
        let read = Read { table: Table::Holding, address: 0, count: 10 };
        // 8 and 25 characters of 10 bits, 3.5 characters of silence, 5 ms quiet, 10 ms turnaround.
        assert_eq!(cost.answered(read).as_micros(), 53_020);
        assert_eq!(cost.silent(Duration::from_secs(1)).as_millis(), 3 + 5 + 8 + 2000);
        for ms in [700, 2000, 9000].map(Duration::from_millis) {
            assert!(ms.abs_diff(cost.silent(cost.patience(ms))) < Duration::from_micros(1));
        }
        let bits = Read { table: Table::Coil, address: 0, count: 9 };
        assert_eq!(cost.wire(bits), format.character() * (8 + 5 + 2));
        let tcp = Cost::new(&Address::Tcp("x:502".to_owned()), Duration::ZERO);
        assert_eq!(tcp.silent(Duration::from_secs(1)).as_millis(), 1000);
    }
}
