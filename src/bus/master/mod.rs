//! The master of one line: one request at a time; opens and reopens the port itself.
//!
//! In: reads. Out: exchanges. Invariant: after a timeout on a line without transaction ids nothing is sent before the line was
//! quiet for as long as that timeout (RTU over TCP: the connection is opened anew), so no late answer meets the next request;
//! a cancelled read counts as a timeout.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::bus::pdu::Answer;
use crate::bus::port::{Port, open};
use crate::bus::{Address, Exchange, Failure, LineSettings, Read, Slave, rtu, tcp};
use crate::loss::{Loss, Losses};

/// A damaged frame is given up after this much silence.
const DAMAGE_SILENCE: Duration = Duration::from_millis(20);
/// The longest wait for a line to fall quiet.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// Pause before the second try to open a port; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// See the module.
pub struct Master {
    settings: LineSettings,
    port: Option<Box<dyn Port>>,
    transaction: u16,
    held: Vec<u8>,
    /// A request may still be answered: stay off the line until it was quiet for this long.
    suspect: Option<Duration>,
    last_byte: Option<Instant>,
    trouble: Option<String>,
    pause: Duration,
    retry_at: Option<Instant>,
}

impl Master {
    /// A master that has not opened its port yet.
    pub fn new(settings: LineSettings) -> Self {
        Self {
            settings,
            port: None,
            transaction: 0,
            held: Vec::with_capacity(300),
            suspect: None,
            last_byte: None,
            trouble: None,
            pause: PAUSE_MIN,
            retry_at: None,
        }
    }

    /// A master on a stream that is open already.
    pub fn on(settings: LineSettings, port: Box<dyn Port>) -> Self {
        Self { port: Some(port), ..Self::new(settings) }
    }

    /// Why the line is down, in words for a person; `None` while it is up.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Sends one read and waits for its answer or `timeout`. Never hands up a foreign answer; what is discarded on the way is
    /// recorded in `losses` under the line's name. While the port cannot be opened the answer is `LineDown` at once.
    #[expect(clippy::disallowed_methods, reason = "this is the port to the line's time")]
    pub async fn read(
        &mut self,
        slave: Slave,
        read: Read,
        timeout: Duration,
        losses: &mut Losses,
    ) -> Exchange {
        let mut sent = Instant::now();
        let outcome = if self.ready(losses).await {
            sent = Instant::now();
            // Until proven otherwise this request's answer may come late, also when this future is dropped.
            self.suspect = Some(timeout.min(DRAIN_MAX));
            match self.settings.address {
                Address::Tcp(_) => self.transact_tcp(slave, read, sent + timeout, losses).await,
                _ => self.transact_rtu(slave, read, timeout, losses).await,
            }
        } else {
            Err(Failure::LineDown)
        };
        self.after(&outcome);
        Exchange { outcome, sent, ended: Instant::now() }
    }

    fn after(&mut self, outcome: &Result<Vec<u16>, Failure>) {
        match outcome {
            Ok(_) | Err(Failure::Exception(_)) => {
                self.suspect = None;
                self.trouble = None;
                self.pause = PAUSE_MIN;
            }
            Err(Failure::LineDown) => {
                self.port = None;
                self.held.clear();
            }
            Err(Failure::Timeout | Failure::BadFrame) => {}
        }
    }

    /// Opens the port and lets the line fall quiet; `false` when there is no line.
    #[expect(clippy::disallowed_methods, reason = "this is the port to the line's time")]
    async fn ready(&mut self, losses: &mut Losses) -> bool {
        if self.suspect.is_some() && matches!(self.settings.address, Address::RtuOverTcp(_)) {
            self.port = None;
        }
        if self.port.is_none() {
            self.suspect = None;
            if self.retry_at.is_some_and(|at| Instant::now() < at) {
                return false;
            }
            match open(&self.settings.address).await {
                Ok(port) => {
                    self.port = Some(port);
                    self.trouble = None;
                    self.retry_at = None;
                }
                Err(trouble) => {
                    self.trouble = Some(trouble);
                    self.retry_at = Some(Instant::now() + jittered(self.pause));
                    self.pause = (self.pause * 2).min(PAUSE_MAX);
                    return false;
                }
            }
        }
        match self.settings.address {
            Address::Tcp(_) => true,
            _ => self.fall_quiet(losses).await,
        }
    }

    /// Reads and counts what comes until the line was silent long enough to send.
    #[expect(clippy::disallowed_methods, reason = "this is the port to the line's time")]
    async fn fall_quiet(&mut self, losses: &mut Losses) -> bool {
        let silence = self.settings.quiet.max(self.frame_gap());
        let needed = self.suspect.map_or(silence, |guard| guard.max(silence));
        let begun = Instant::now();
        let mut quiet_from = self.last_byte.unwrap_or(begun - silence);
        if self.suspect.is_some() {
            quiet_from = begun;
        }
        let Some(port) = self.port.as_mut() else { return false };
        let mut buffer = [0_u8; 256];
        let mut stray = 0_usize;
        let up = loop {
            match timeout_at(quiet_from + needed, port.read(&mut buffer)).await {
                Err(_) => break true,
                Ok(Ok(0) | Err(_)) => break false,
                Ok(Ok(count)) => {
                    stray += count;
                    quiet_from = Instant::now();
                    if begun + needed + DRAIN_MAX < quiet_from {
                        break true;
                    }
                }
            }
        };
        losses.record(Loss::StrayBytes, &self.settings.name, u64::try_from(stray).unwrap_or(0));
        if !up {
            self.lost("the port has ended (unplugged?)");
        }
        up
    }

    /// Three and a half characters, at least 1.75 ms.
    fn frame_gap(&self) -> Duration {
        match &self.settings.address {
            Address::Serial { format, .. } => {
                let micros = 3_500_000 * 11 / u64::from(format.baud.max(1));
                Duration::from_micros(micros.max(1750))
            }
            _ => Duration::ZERO,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the port to the line's time")]
    async fn transact_rtu(
        &mut self,
        slave: Slave,
        read: Read,
        timeout: Duration,
        losses: &mut Losses,
    ) -> Result<Vec<u16>, Failure> {
        let name = self.settings.name.clone();
        let Some(port) = self.port.as_mut() else { return Err(Failure::LineDown) };
        let written = async {
            port.write_all(&rtu::emit(slave, read)).await?;
            port.flush().await
        };
        // The deadline counts from the end of the request; the bytes' own time on the line is added.
        let on_line = on_line(&self.settings.address, 8 + 5 + read.data_bytes());
        let deadline = Instant::now() + timeout + on_line;
        if !matches!(timeout_at(deadline, written).await, Ok(Ok(()))) {
            self.lost("cannot write to the port");
            return Err(Failure::LineDown);
        }
        let mut search = rtu::Search::new(slave, read);
        let mut buffer = [0_u8; 256];
        let mut damaged = false;
        loop {
            let silence = Instant::now() + DAMAGE_SILENCE;
            let until = if damaged { silence.min(deadline) } else { deadline };
            match timeout_at(until, port.read(&mut buffer)).await {
                Err(_) => {
                    search.give_up(damaged, &name, losses);
                    return Err(if damaged { Failure::BadFrame } else { Failure::Timeout });
                }
                Ok(Ok(0) | Err(_)) => {
                    self.lost("the port has ended (unplugged?)");
                    return Err(Failure::LineDown);
                }
                Ok(Ok(count)) => {
                    self.last_byte = Some(Instant::now());
                    match search.step(buffer.get(..count).unwrap_or_default(), &name, losses) {
                        rtu::Found::Answer(answer) => return cells(answer),
                        rtu::Found::Damaged => damaged = true,
                        rtu::Found::Wait => {}
                    }
                    // Bytes that never end must not keep the request alive.
                    if deadline <= Instant::now() {
                        search.give_up(damaged, &name, losses);
                        return Err(if damaged { Failure::BadFrame } else { Failure::Timeout });
                    }
                }
            }
        }
    }

    async fn transact_tcp(
        &mut self,
        slave: Slave,
        read: Read,
        deadline: Instant,
        losses: &mut Losses,
    ) -> Result<Vec<u16>, Failure> {
        self.transaction = self.transaction.wrapping_add(1);
        let request = tcp::emit(self.transaction, slave, read);
        let Some(port) = self.port.as_mut() else { return Err(Failure::LineDown) };
        if !matches!(timeout_at(deadline, port.write_all(&request)).await, Ok(Ok(()))) {
            self.lost("the connection was closed");
            return Err(Failure::LineDown);
        }
        let mut buffer = [0_u8; 512];
        loop {
            let Some(port) = self.port.as_mut() else { return Err(Failure::LineDown) };
            match timeout_at(deadline, port.read(&mut buffer)).await {
                Err(_) => {
                    if !self.held.is_empty() {
                        // Half a frame at the deadline: the stream is out of step.
                        self.drop_stream(losses);
                    }
                    return Err(Failure::Timeout);
                }
                Ok(Ok(0) | Err(_)) => {
                    self.lost("the connection was closed");
                    return Err(Failure::LineDown);
                }
                Ok(Ok(count)) => {
                    self.held.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    match tcp::look(
                        &mut self.held,
                        self.transaction,
                        slave,
                        read,
                        &self.settings.name,
                        losses,
                    ) {
                        tcp::Found::Answer(answer) => return cells(answer),
                        tcp::Found::Damaged => return Err(Failure::BadFrame),
                        tcp::Found::Broken => {
                            self.drop_stream(losses);
                            return Err(Failure::BadFrame);
                        }
                        tcp::Found::Wait => {}
                    }
                }
            }
        }
    }

    fn drop_stream(&mut self, losses: &mut Losses) {
        losses.record(Loss::StrayBytes, &self.settings.name, u64::try_from(self.held.len()).unwrap_or(0));
        self.held.clear();
        self.port = None;
    }

    fn lost(&mut self, why: &str) {
        self.port = None;
        self.held.clear();
        self.trouble = Some(format!("{}: {why}", self.settings.name));
    }
}

fn cells(answer: Answer) -> Result<Vec<u16>, Failure> {
    match answer {
        Answer::Cells(cells) => Ok(cells),
        Answer::Exception(code) => Err(Failure::Exception(code)),
    }
}

/// Time of `bytes` on a serial line, 11 bits each.
fn on_line(address: &Address, bytes: usize) -> Duration {
    match address {
        Address::Serial { format, .. } => {
            let bits = u64::try_from(bytes).unwrap_or(0).saturating_mul(11);
            Duration::from_micros(bits.saturating_mul(1_000_000) / u64::from(format.baud.max(1)))
        }
        _ => Duration::ZERO,
    }
}

/// Half to all of `pause`, so that many lines do not knock together.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests;
