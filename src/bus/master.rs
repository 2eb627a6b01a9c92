//! The master of one line: one request at a time; it opens and reopens the port itself.
//!
//! In: reads. Out: exchanges.
//! Invariant: on a line without transaction ids nothing is sent after a failed or abandoned request before the line was
//! quiet for that request's timeout, so a late answer is never taken for the next one; waiting and draining are bounded.
//! Source: Modbus over Serial Line V1.02, 2.4 and 2.5; Modbus Messaging on TCP/IP Implementation Guide V1.0b, 4.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::bus::ask::Ask;
use crate::bus::backoff::Backoff;
use crate::bus::debts::{Approach, EXCEPTIONS_BEFORE_ANSWER, GUARD_MAX};
use crate::bus::fine::Fine;
use crate::bus::line::{Line, Verdict};
use crate::bus::master::settle::Settled;
use crate::bus::pdu::Answer;
use crate::bus::port::{Outward, Port, Stream, plain};
use crate::bus::tap::{Listeners, Tap};
use crate::bus::{Address, Exchange, Failure, Framing, LateAnswers, LineSettings, Read, Slave};
use crate::loss::Losses;

#[path = "exchange.rs"]
mod exchange;
#[path = "pipeline.rs"]
mod pipeline;
#[path = "settle.rs"]
mod settle;

pub use exchange::Written;

/// Timeouts in a row after which a connection counts as dead, although nobody closed it.
const SILENT_MAX: u32 = 3;
/// No answer is worth more time than this.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// The master of one line.
///
/// ```no_run
/// # use std::time::Duration;
/// # use lifeline_gateway::bus::master::Master;
/// # use lifeline_gateway::bus::{Address, LineSettings, Read, Slave, Table};
/// # use lifeline_gateway::loss::Losses;
/// # async fn example() {
/// let mut master = Master::new(LineSettings::plain("cabinet", Address::Tcp("10.0.0.5:502".to_owned())));
/// let read = Read { table: Table::Holding, address: 2, count: 2 };
/// let exchange = master.read(Slave(12), read, Duration::from_secs(1), &mut Losses::default()).await;
/// if let Ok(cells) = exchange.outcome {
///     assert_eq!(cells.len(), 2);
/// }
/// # }
/// ```
pub struct Master {
    address: Address,
    port: Box<dyn Port>,
    stream: Option<Box<dyn Stream>>,
    /// Of a serial port of this box.
    fine: Option<Fine>,
    line: Line,
    /// Answered requests that only told late answers apart, and that nobody has counted yet.
    fenced: Vec<Exchange>,
    backoff: Backoff,
    /// Silence before each request.
    pause: Duration,
    late_answers: LateAnswers,
    /// The tail of a frame has passed after so much silence.
    silence: Duration,
    suspect: Option<Suspect>,
    /// Nothing is sent before: devices are still at what was asked of all.
    rest_until: Option<Instant>,
    /// A request was not written whole: its future was dropped.
    writing: bool,
    last_byte: Option<Instant>,
    silent: u32,
    trouble: Option<String>,
    chunk: Vec<u8>,
    /// Who listens, and bytes so far.
    pub tap: Tap,
}

/// A request that may still be answered: the line has to be quiet for `guard`, counted from `from`.
#[derive(Clone, Copy)]
struct Suspect {
    from: Instant,
    guard: Duration,
}

enum Got {
    Bytes(usize),
    Silence,
    End(String),
}

impl Master {
    /// A master that has not opened its port yet.
    pub fn new(settings: LineSettings) -> Self {
        let port = Outward(settings.address.clone());
        Self::over(settings, Box::new(port))
    }

    /// A master over another port than the one that its address names; the address still says how to speak.
    pub fn over(settings: LineSettings, port: Box<dyn Port>) -> Self {
        // Without a random source gateways that start together may knock together; nothing else depends on it.
        let seed = getrandom::u64().unwrap_or_default();
        let [low, high, ..] = seed.to_le_bytes();
        let pause = match &settings.address {
            Address::Serial { format, .. } => format.silence(),
            _ => Duration::ZERO,
        };
        let silence = settings.tail();
        // An answer that a serial gateway kept from before our start must not meet its id again.
        let line = Line::of(&settings, silence, u16::from_le_bytes([low, high]));
        Self {
            address: settings.address,
            port,
            stream: None,
            fine: None,
            line,
            fenced: Vec::new(),
            backoff: Backoff::new(seed),
            pause: pause + settings.quiet.min(TIMEOUT_MAX),
            late_answers: settings.late_answers,
            silence,
            suspect: None,
            rest_until: None,
            writing: false,
            last_byte: None,
            silent: 0,
            trouble: None,
            chunk: vec![0; 512],
            tap: Tap::default(),
        }
    }

    /// Why the line is down, in words for a person; `None` while it is up.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Lets others see what passes on the line.
    pub fn tell(&mut self, listeners: &Listeners) {
        self.port.tell(listeners);
        self.tap.listeners = Some(listeners.clone());
    }

    /// Sends one read and waits for its answer or `timeout`, counted from the end of the request (60 s at most). Never
    /// panics, never hands up a foreign answer; what is discarded on the way is recorded in `losses` under the line's
    /// name. A closed line is opened first; while it cannot be opened (backoff, jittered, at most 30 s) the answer is
    /// `LineDown` at once. A read that no device may be asked is refused as one would do it, with exception 3.
    ///
    /// The future may be dropped at any time; the next read then treats its request as failed.
    pub async fn read(
        &mut self,
        slave: Slave,
        read: Read,
        timeout: Duration,
        losses: &mut Losses,
    ) -> Exchange {
        let Exchange { outcome, sent, ended } = self.ask(slave, &read.into(), timeout, losses).await;
        let cells = outcome.and_then(|answer| match answer {
            Answer::Cells(cells) => Ok(cells),
            _ => Err(Failure::BadFrame),
        });
        Exchange { outcome: cells, sent, ended }
    }

    /// Opens the port when needed and lets the line fall quiet; `false` when there is no line.
    async fn prepare(&mut self, approach: Approach, losses: &mut Losses) -> bool {
        if self.writing || self.line.is_torn() {
            self.close(losses);
        }
        // Twice, because a peer may close an idle connection at any time; that must not cost a poll.
        for _ in 0..2 {
            if !self.open().await {
                return false;
            }
            match self.settle(approach, losses).await {
                Settled::Ready => return true,
                Settled::Lost(why) => self.lost(&why, losses),
                Settled::OutOfStep(why) => {
                    // The line was drained for longer than any guard.
                    self.suspect = None;
                    self.close(losses);
                    self.trouble = Some(format!("{} {why}", self.place()));
                }
            }
        }
        false
    }

    async fn open(&mut self) -> bool {
        if self.stream.is_some() {
            return true;
        }
        if !self.backoff.is_over(now()) && !self.port.is_ready() {
            return false;
        }
        match self.port.open().await {
            Ok(stream) => {
                self.stream = Some(stream);
                if self.fine.is_none() && self.port.is_wire() {
                    // Without one the runtime's own timers serve, later by 1 ms.
                    self.fine = Fine::new().ok();
                }
                self.trouble = None;
                self.silent = 0;
                true
            }
            Err(error) => {
                self.trouble = Some(error.sentence());
                self.backoff.refused(now());
                false
            }
        }
    }

    /// Writes the request; when that was, or `None` when the line is gone.
    async fn send(
        &mut self,
        slave: Slave,
        ask: &Ask,
        timeout: Duration,
        losses: &mut Losses,
    ) -> Option<Instant> {
        self.line.begin(slave, ask, losses);
        let begun = now();
        if !self.has_transactions() {
            // Before the first byte goes out: from here on this future may be dropped at any await.
            self.suspect = Some(Suspect { from: begun + timeout, guard: timeout.min(GUARD_MAX) });
        }
        self.writing = true;
        let stream = self.stream.as_mut()?;
        let written = timeout_at(begun + timeout, stream.write_all(self.line.request())).await;
        let why = match written {
            Ok(Ok(())) => {
                self.writing = false;
                let sent = now();
                self.tap.sent(self.line.request(), sent);
                let last_byte = sent + self.time_on_line(self.line.request().len());
                self.last_byte = Some(last_byte);
                self.line.sent(last_byte, timeout);
                return Some(sent);
            }
            Ok(Err(error)) => plain(&error),
            Err(_) => "takes no bytes".to_owned(),
        };
        self.lost(&why, losses);
        None
    }

    /// Waits for the verdict on the open request.
    async fn receive(
        &mut self,
        deadline: Instant,
        losses: &mut Losses,
    ) -> (Result<Answer, Failure>, Instant) {
        loop {
            let wake = self.line.wake().unwrap_or(deadline);
            let Some(stream) = &mut self.stream else { return (Err(Failure::LineDown), now()) };
            let got = Got::of_timed(timeout_at(wake, stream.read(&mut self.chunk)).await);
            let at = now();
            let verdict = match got {
                Got::Silence => self.line.elapse(at, losses),
                Got::Bytes(count) => {
                    self.last_byte = Some(at);
                    self.tap.received(self.chunk.get(..count).unwrap_or_default(), at);
                    self.line.step(self.chunk.get(..count).unwrap_or_default(), at, losses)
                }
                Got::End(why) => {
                    self.lost(&why, losses);
                    return (Err(Failure::LineDown), at);
                }
            };
            if let Some(verdict) = verdict {
                let ended = if let Verdict::Answer { at, .. } = &verdict { *at } else { at };
                return (self.conclude(verdict, at, losses), ended);
            }
        }
    }

    /// What a verdict means for the caller, and for the line.
    fn conclude(&mut self, verdict: Verdict, at: Instant, losses: &mut Losses) -> Result<Answer, Failure> {
        self.port.told(matches!(verdict, Verdict::Answer { .. }));
        match verdict {
            Verdict::Answer { answer, .. } => {
                self.silent = 0;
                self.backoff.answered();
                let suspect = self.suspect.take();
                match answer {
                    Answer::Exception(code) => {
                        self.suspect = suspect
                            .filter(|_| EXCEPTIONS_BEFORE_ANSWER.contains(&code))
                            .map(|suspect| Suspect { from: at, ..suspect });
                        Err(Failure::Exception(code))
                    }
                    answer => Ok(answer),
                }
            }
            Verdict::Damaged => {
                // What was taken for a damaged answer may have been noise before the answer: the suspicion
                // still counts from the deadline.
                self.suspect = self.suspect.map(|suspect| Suspect { from: suspect.from.max(at), ..suspect });
                Err(Failure::BadFrame)
            }
            Verdict::Broken => {
                self.lost("the other side does not speak Modbus TCP", losses);
                Err(Failure::BadFrame)
            }
            Verdict::Expired { heard } => {
                self.count_silence(heard);
                if self.line.is_torn() || self.silent >= SILENT_MAX {
                    self.close(losses);
                }
                Err(Failure::Timeout)
            }
        }
    }

    /// A peer that vanished without a word (a mobile modem does) keeps a connection open for a quarter of an hour, and
    /// one whose answers are all one too late stays so until the connection is new.
    fn count_silence(&mut self, heard: bool) {
        self.silent = match self.address {
            Address::Serial { .. } => 0,
            _ if self.has_transactions() || !heard => self.silent + 1,
            _ => 0,
        };
    }

    fn close(&mut self, losses: &mut Losses) {
        self.stream = None;
        self.writing = false;
        self.silent = 0;
        self.line.reset(losses);
    }

    fn lost(&mut self, why: &str, losses: &mut Losses) {
        self.close(losses);
        self.trouble = Some(format!("{}: {why}", self.place()));
        self.backoff.lost(now());
    }

    fn place(&self) -> &str {
        self.address.place()
    }

    /// Whether each frame names its request.
    pub fn has_transactions(&self) -> bool {
        self.address.framing() == Framing::Mbap
    }

    /// A serial port takes bytes faster than it sends them.
    fn time_on_line(&self, bytes: usize) -> Duration {
        match &self.address {
            Address::Serial { format, .. } => format.character() * u32::try_from(bytes).unwrap_or(u32::MAX),
            _ => Duration::ZERO,
        }
    }
}

impl Got {
    fn of(result: io::Result<usize>) -> Self {
        match result {
            Ok(0) => Self::End("the other side closed".to_owned()),
            Ok(count) => Self::Bytes(count),
            Err(error) => Self::End(plain(&error)),
        }
    }

    fn of_timed(result: Result<io::Result<usize>, tokio::time::error::Elapsed>) -> Self {
        result.map_or(Self::Silence, Self::of)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the port to the line's time")]
fn now() -> Instant {
    Instant::now()
}
