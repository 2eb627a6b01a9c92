//! What a request costs its line, in time.
//!
//! In: a line's address, the silence it needs, the device's turnaround. Out: durations of requests.
//! Invariant: the same figures serve the planner, the line task and the load that `check` prints.
//! Source: Modbus over Serial Line V1.02, 2.5.1 (characters, t3.5); Modbus Messaging on TCP/IP V1.0b, 3.1.3 (MBAP header of 7 bytes).

use std::time::Duration;

use crate::bus::debts::GUARD_MAX;
use crate::bus::{Framing, LateAnswers, LineSettings, Parity, Read, SerialFormat};

/// A sensor on a wire begins its answer about this late; a measured time replaces it.
pub const TURNAROUND_SERIAL: Duration = Duration::from_millis(10);
/// Round trip of a request through TCP until it is measured.
pub const TURNAROUND_TCP: Duration = Duration::from_millis(20);
/// A byte through TCP: next to nothing, so that of two equal plans the one with fewer bytes wins.
const BYTE_TCP: Duration = Duration::from_micros(1);

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
    /// Quiet after a request that nobody answered, beside [`Self::silence`]: the tail of a frame may come yet.
    pub tail: Duration,
    /// How late answers are told apart; `None` where frames name their request.
    pub late_answers: Option<LateAnswers>,
}

impl Cost {
    /// The costs on this line, with `quiet` before each request beside t3.5.
    pub fn new(line: &LineSettings, quiet: Duration) -> Self {
        // Nobody tells the speed behind a serial server or a DTU unless the site does; most lines are this fast.
        let behind = |data_bits, parity| SerialFormat { baud: 9600, data_bits, parity, stop_bits: 1 };
        let on_wire = match line.address.framing() {
            Framing::Rtu => Self::rtu(line.format().unwrap_or_else(|| behind(8, Parity::None)), quiet),
            Framing::Ascii => Self::ascii(line.format().unwrap_or_else(|| behind(7, Parity::Even)), quiet),
            Framing::Mbap => {
                return Self {
                    byte: BYTE_TCP,
                    request_bytes: 12,
                    answer_bytes: 9,
                    silence: quiet,
                    turnaround: TURNAROUND_TCP,
                    tail: Duration::ZERO,
                    late_answers: None,
                };
            }
        };
        Self {
            turnaround: if line.address.is_serial() { TURNAROUND_SERIAL } else { TURNAROUND_TCP },
            tail: line.tail().saturating_sub(on_wire.silence),
            late_answers: Some(line.late_answers),
            ..on_wire
        }
    }

    fn rtu(format: SerialFormat, quiet: Duration) -> Self {
        Self {
            byte: format.character(),
            request_bytes: 8,
            answer_bytes: 5,
            silence: format.silence() + quiet,
            turnaround: TURNAROUND_SERIAL,
            tail: Duration::ZERO,
            late_answers: Some(LateAnswers::Fence),
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

    /// The whole of a confirmed write of one cell, or of several with `extra_bytes` of data: the answer repeats its head.
    pub fn written(&self, extra_bytes: u32) -> Duration {
        self.silence + self.byte * (2 * self.request_bytes + extra_bytes) + self.turnaround
    }

    /// The whole of a request that nobody answers within `timeout`, with the quiet that its line keeps for it: as long as the timeout where
    /// late answers are drained, and where nothing shorter or longer tells them apart (`fenced` is false).
    pub fn silent(&self, timeout: Duration, fenced: bool) -> Duration {
        let after = if self.drains(fenced) { self.drain(timeout) } else { self.tail };
        self.silence + self.byte * self.request_bytes + timeout + after
    }

    /// The longest timeout with which [`Self::silent`] is not more than `time`.
    pub fn patience(&self, time: Duration, fenced: bool) -> Duration {
        let left = time.saturating_sub(self.silence + self.byte * self.request_bytes);
        if !self.drains(fenced) {
            return left.saturating_sub(self.tail);
        }
        // The drain is the timeout, or GUARD_MAX, or the tail, less the silence before the next request.
        let most = GUARD_MAX.saturating_sub(self.silence);
        let half = (left + self.silence) / 2;
        if self.drain(half) == self.tail {
            left.saturating_sub(self.tail)
        } else {
            half.max(left.saturating_sub(most))
        }
    }

    fn drain(&self, timeout: Duration) -> Duration {
        timeout.min(GUARD_MAX).saturating_sub(self.silence).max(self.tail)
    }

    fn drains(&self, fenced: bool) -> bool {
        match self.late_answers {
            None => false,
            Some(LateAnswers::Drain) => true,
            Some(LateAnswers::Fence) => !fenced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Address, Table};

    #[test]
    fn a_request_costs_what_the_standard_says() {
        let format = SerialFormat { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 };
        let address = Address::Serial { path: "x".to_owned(), format, framing: Framing::Rtu, rs485: None };
        let line = LineSettings::plain("line", address);
        let cost = Cost::new(&line, Duration::from_millis(5));
        let read = Read { table: Table::Holding, address: 0, count: 10 };
        // 8 and 25 characters of 10 bits, 3.5 characters of silence, 5 ms quiet, 10 ms turnaround.
        assert_eq!(cost.answered(read).as_micros(), 53_020);
        let second = Duration::from_secs(1);
        // The quiet after it is 20 ms, of which the next request's own silence is a part.
        assert_eq!(cost.silent(second, true).as_micros(), 8_333 + 1_000_000 + 20_000);
        assert_eq!(cost.silent(second, false).as_micros(), 8_333 + 2_000_000);
        let drained = LineSettings { late_answers: LateAnswers::Drain, ..line };
        let drained = Cost::new(&drained, Duration::from_millis(5));
        assert_eq!(drained.silent(second, true), cost.silent(second, false));
        for ms in [100, 700, 2000, 9000].map(Duration::from_millis) {
            for fenced in [false, true] {
                assert!(
                    ms.abs_diff(cost.silent(cost.patience(ms, fenced), fenced)) < Duration::from_micros(1)
                );
            }
        }
        let bits = Read { table: Table::Coil, address: 0, count: 9 };
        assert_eq!(cost.wire(bits), format.character() * (8 + 5 + 2));
        let tcp = Cost::new(&LineSettings::plain("line", Address::Tcp("x:502".to_owned())), Duration::ZERO);
        assert_eq!(tcp.silent(second, false), second + BYTE_TCP * 12);
    }

    #[test]
    fn a_line_behind_a_serial_server_is_as_fast_as_the_site_says() {
        let line = LineSettings::plain("line", Address::RtuOverTcp("x:502".to_owned()));
        let read = Read { table: Table::Holding, address: 0, count: 10 };
        let wire_us = |line: &LineSettings| Cost::new(line, Duration::ZERO).wire(read).as_micros();
        assert!((34_370..=34_375).contains(&wire_us(&line)), "33 characters of 10 bits");
        let speed = SerialFormat { baud: 115_200, data_bits: 8, parity: Parity::None, stop_bits: 1 };
        assert!(wire_us(&LineSettings { speed: Some(speed), ..line }) <= 33 * 87);
    }
}
