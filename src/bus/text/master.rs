//! The master of one line of text sensors: it asks or listens, and opens and reopens the port itself.
//!
//! In: commands, or nothing. Out: words, or lines.
//! Invariant: a command goes out only on a quiet line, and after an unanswered one only when the line was quiet for that command's timeout, so a
//! late answer is never taken for the next one; waiting and draining are bounded.
//! Source: [`crate::bus::master`], whose manners these are.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::bus::backoff::Backoff;
use crate::bus::port::{Outward, Port, Stream, plain};
use crate::bus::tap::Tap;
use crate::bus::text::{Dialect, Echo, Format, Line, Receiver, Words};
use crate::bus::{Address, Failure, LineSettings};
use crate::loss::{Loss, Losses};

/// The longest quiet that an unanswered command asks of its line.
const GUARD_MAX: Duration = Duration::from_secs(3);
/// A line that talks on longer than its guard, twice, and this is opened anew.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// No answer is worth more time than this.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// While there is no line, listening looks again this often.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Listening looks at the line at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes that lay in the system's buffer for longer may be old: nobody knows when they came.
const STALE_AFTER: Duration = Duration::from_secs(2);
/// Listening or asking in vain this often in a row means that a connection is dead, although nobody closed it.
const SILENT_MAX: u32 = 3;

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The words of its line, or why there are none.
    pub outcome: Result<Words, Failure>,
    /// When the answer's last byte came; for a failure its deadline or the moment it was known.
    pub ended: Instant,
}

/// The master of one line.
pub struct TextMaster {
    name: String,
    address: Address,
    port: Box<dyn Port>,
    stream: Option<Box<dyn Stream>>,
    receiver: Receiver,
    backoff: Backoff,
    /// Silence before each command.
    pause: Duration,
    /// An unanswered command: the line must be quiet for this long from then on.
    suspect: Option<(Instant, Duration)>,
    /// A command was not written whole: its future was dropped.
    writing: bool,
    last_byte: Instant,
    /// When the line was last looked at.
    looked: Instant,
    silent: u32,
    trouble: Option<String>,
    chunk: Vec<u8>,
    /// Bytes so far.
    pub tap: Tap,
}

enum Got {
    Bytes(usize),
    Silence,
    End(String),
}

impl TextMaster {
    /// A master that has not opened its port yet. `format` is that of any device of the line.
    pub fn new(settings: LineSettings, format: &Format) -> Self {
        let port = Outward(settings.address.clone());
        Self::over(settings, format, Box::new(port))
    }

    /// The same over a given port.
    pub fn over(settings: LineSettings, format: &Format, port: Box<dyn Port>) -> Self {
        Self {
            receiver: Receiver::new(&format.terminator, format.gap, now()),
            pause: format.gap.max(settings.quiet).min(GUARD_MAX),
            name: settings.name,
            address: settings.address,
            port,
            stream: None,
            // Without a random source gateways that start together may knock together; nothing else depends on it.
            backoff: Backoff::new(getrandom::u64().unwrap_or_default()),
            suspect: None,
            writing: false,
            last_byte: now(),
            looked: now(),
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

    /// The device of `dialect` is asked once, and has `timeout` for its line. Lines of others, garbage and the command's own echo end
    /// nothing; when only such came the failure is `BadFrame`. The future may be dropped at any time.
    pub async fn ask(&mut self, dialect: &Dialect, timeout: Duration, losses: &mut Losses) -> Told {
        let told = self.asked(dialect, timeout, losses).await;
        self.tap.ended(&told.outcome, self.trouble(), told.ended);
        told
    }

    async fn asked(&mut self, dialect: &Dialect, timeout: Duration, losses: &mut Losses) -> Told {
        let timeout = timeout.min(TIMEOUT_MAX);
        let told = |outcome, ended| Told { outcome, ended };
        if !self.prepare(losses).await {
            return told(Err(Failure::LineDown), now());
        }
        self.receiver.asked(&self.name, losses);
        // Before the first byte goes out: from here on this future may be dropped at any await.
        let begun = now();
        self.suspect = Some((begun + timeout, timeout.min(GUARD_MAX)));
        self.writing = true;
        let Some(stream) = &mut self.stream else { return told(Err(Failure::LineDown), now()) };
        match timeout_at(begun + timeout, stream.write_all(dialect.command())).await {
            Ok(Ok(())) => {
                self.writing = false;
                self.tap.sent(dialect.command(), now());
            }
            Ok(Err(error)) => return told(Err(self.lost(&plain(&error), losses)), now()),
            Err(_) => return told(Err(self.lost("takes no bytes", losses)), now()),
        }
        let through = now() + self.time_on_line(dialect.command().len());
        let outcome = self.receive(dialect, through + timeout, losses).await;
        let ended = if outcome.is_ok() { self.last_byte } else { now() };
        told(outcome, ended)
    }

    /// Waits for lines until then; an empty list when none came.
    ///
    /// # Errors
    /// There is no line; that takes a moment, too.
    pub async fn hear(&mut self, until: Instant, losses: &mut Losses) -> Result<Vec<Line>, Failure> {
        if !self.open(losses).await {
            sleep_until(until.min(now() + LOOK_AGAIN)).await;
            return Err(Failure::LineDown);
        }
        if self.looked + STALE_AFTER < now() {
            self.forget_old(losses).await;
        }
        loop {
            match self.read(until.min(now() + LOOK_EVERY)).await {
                Got::Silence if self.looked < until => {}
                Got::Silence => return Ok(Vec::new()),
                Got::End(why) => return Err(self.lost(&why, losses)),
                Got::Bytes(count) => {
                    let bytes = self.chunk.get(..count).unwrap_or_default();
                    let lines = self.receiver.step(bytes, self.last_byte, &self.name, losses);
                    // Who speaks faster than anybody reads leaves no silence in which the time could be up.
                    if !lines.is_empty() || until <= self.looked {
                        return Ok(lines);
                    }
                }
            }
        }
    }

    /// Discards what came while nobody looked: an old line must not be taken for a new one.
    async fn forget_old(&mut self, losses: &mut Losses) {
        for _ in 0..128 {
            let Got::Bytes(count) = self.read(now() + Duration::from_millis(1)).await else { break };
            losses.record(Loss::StrayBytes, &self.name, u64::try_from(count).unwrap_or(u64::MAX));
        }
        self.receiver.reset(now(), &self.name, losses);
    }

    /// `line` was a reading: the line works.
    pub fn answered(&mut self, line: &Line) {
        self.tap.taken(&line.bytes, line.at);
        self.silent = 0;
        self.backoff.answered();
    }

    /// Nothing came when something should have. A peer that vanished without a word keeps a connection open for a quarter of an hour.
    pub fn missed(&mut self, losses: &mut Losses) {
        self.silent += 1;
        if self.silent >= SILENT_MAX && !matches!(self.address, Address::Serial { .. }) {
            self.close(losses);
        }
    }

    /// Waits for the line of the device that was asked.
    async fn receive(
        &mut self,
        dialect: &Dialect,
        deadline: Instant,
        losses: &mut Losses,
    ) -> Result<Words, Failure> {
        let mut echo = Echo::of(dialect.command());
        let mut heard = false;
        loop {
            match self.read(deadline).await {
                Got::End(why) => return Err(self.lost(&why, losses)),
                Got::Silence => return Err(self.unheard(heard, losses)),
                Got::Bytes(count) => {
                    let bytes = echo.strip(self.chunk.get(..count).unwrap_or_default());
                    heard |= !bytes.is_empty();
                    for line in self.receiver.step(&bytes, self.last_byte, &self.name, losses) {
                        match dialect.read(&line.bytes) {
                            Ok(words) => {
                                self.suspect = None;
                                self.answered(&line);
                                return Ok(words);
                            }
                            Err(refused) => losses.record(Loss::from(refused), &self.name, 1),
                        }
                    }
                    if deadline <= self.looked {
                        return Err(self.unheard(heard, losses));
                    }
                }
            }
        }
    }

    /// The time of an answer is up; `heard`: something came.
    fn unheard(&mut self, heard: bool, losses: &mut Losses) -> Failure {
        self.missed(losses);
        if heard || self.receiver.is_torn() { Failure::BadFrame } else { Failure::Timeout }
    }

    /// Opens the port when needed and lets the line fall quiet; `false` when there is no line.
    async fn prepare(&mut self, losses: &mut Losses) -> bool {
        if self.writing {
            self.close(losses);
        }
        // Twice, because a peer may close an idle connection at any time; that must not cost a poll.
        for _ in 0..2 {
            if !self.open(losses).await {
                return false;
            }
            match self.settle(losses).await {
                Ok(()) => return true,
                Err(why) => {
                    self.lost(&why, losses);
                }
            }
        }
        false
    }

    async fn open(&mut self, losses: &mut Losses) -> bool {
        if self.stream.is_some() {
            return true;
        }
        if !self.backoff.is_over(now()) {
            return false;
        }
        match self.port.open().await {
            Ok(stream) => {
                self.stream = Some(stream);
                self.trouble = None;
                self.last_byte = now();
                self.looked = self.last_byte;
                self.receiver.reset(self.last_byte, &self.name, losses);
                true
            }
            Err(error) => {
                self.trouble = Some(error.sentence());
                self.backoff.refused(now());
                false
            }
        }
    }

    /// Discards what comes unasked until the line was quiet for long enough.
    async fn settle(&mut self, losses: &mut Losses) -> Result<(), String> {
        let guard = self.suspect.map_or(Duration::ZERO, |(_, guard)| guard);
        let bound = now() + guard * 2 + self.pause + DRAIN_MAX;
        loop {
            let paused = self.last_byte + self.pause;
            let guarded = self.suspect.map(|(from, guard)| self.last_byte.max(from) + guard);
            let until = guarded.map_or(paused, |guarded| guarded.max(paused));
            match self.read(until.min(bound)).await {
                Got::End(why) => return Err(why),
                Got::Silence if until <= bound => return Ok(()),
                Got::Silence => break,
                Got::Bytes(count) => {
                    losses.record(Loss::StrayBytes, &self.name, u64::try_from(count).unwrap_or(u64::MAX));
                    if bound <= self.looked {
                        break;
                    }
                }
            }
        }
        self.suspect = None;
        Err("does not fall silent".to_owned())
    }

    /// Reads what is there or comes until then.
    async fn read(&mut self, until: Instant) -> Got {
        let Some(stream) = &mut self.stream else { return Got::End("it is closed".to_owned()) };
        let read = timeout_at(until, stream.read(&mut self.chunk)).await;
        self.looked = now();
        match read {
            Err(_) => Got::Silence,
            Ok(Ok(0)) => Got::End("the other side closed".to_owned()),
            Ok(Ok(count)) => {
                self.last_byte = self.looked;
                self.tap.received(self.chunk.get(..count).unwrap_or_default(), self.looked);
                Got::Bytes(count)
            }
            Ok(Err(error)) => Got::End(plain(&error)),
        }
    }

    fn close(&mut self, losses: &mut Losses) {
        self.stream = None;
        self.writing = false;
        self.silent = 0;
        self.receiver.reset(now(), &self.name, losses);
    }

    fn lost(&mut self, why: &str, losses: &mut Losses) -> Failure {
        self.close(losses);
        let place = match &self.address {
            Address::Serial { path, .. } => path,
            Address::RtuOverTcp(to) => to,
            _ => &self.name,
        };
        self.trouble = Some(format!("{place}: {why}"));
        self.backoff.lost(now());
        Failure::LineDown
    }

    /// A serial port takes bytes faster than it sends them.
    fn time_on_line(&self, bytes: usize) -> Duration {
        match &self.address {
            Address::Serial { format, .. } => format.character() * u32::try_from(bytes).unwrap_or(u32::MAX),
            _ => Duration::ZERO,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the port to the line's time")]
fn now() -> Instant {
    Instant::now()
}
