//! The wire between a simulated device and the gateway: a byte stream with the manners of a real line.
//!
//! In: a byte stream, a pace and [`Habits`] that may change at any time. Out: the same stream with bytes late, missing, turned or added.
//! Invariant: without a pace and with default habits every byte passes unchanged and in order; both directions hold a bounded number of bytes.
//! Source: 10 bits a character at 8N1 (Modbus over Serial Line V1.02, 2.5.1); DESIGN section 4, `sim`.
//!
//! Reading and writing must be done by one task (as `Framed` and `copy_bidirectional` do): there is one timer for both directions.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::bus::{Parity, SerialFormat};
use crate::sim::signal::Random;

/// What the wire does to bytes now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Habits {
    /// An answer begins this much later.
    pub delay: Duration,
    /// Only this many bytes of each answer pass.
    pub cut: Option<usize>,
    /// Probability that a byte of an answer has one bit turned.
    pub flip: f64,
    /// Bytes that the master sends come back to it.
    pub echo: bool,
    /// Bytes nobody asked for, about this far apart.
    pub babble: Option<Duration>,
}

/// Habits shared by the wire and whoever changes them.
pub type SharedHabits = Arc<Mutex<Habits>>;

/// Bytes held in each direction at most.
const HELD_MAX: usize = 4096;
/// Bytes of one burst of babble at most.
const BABBLE_MAX: u64 = 16;

/// The time one character takes on a line of this format.
pub fn character_time(format: &SerialFormat) -> Duration {
    let parity = u32::from(format.parity != Parity::None);
    let bits = 1 + u32::from(format.data_bits) + parity + u32::from(format.stop_bits);
    Duration::from_nanos(u64::from(bits) * 1_000_000_000 / u64::from(format.baud.max(1)))
}

/// A byte stream with habits. `inner` leads to the gateway; the simulated device reads and writes this.
pub struct Wire<T> {
    inner: T,
    character: Option<Duration>,
    habits: SharedHabits,
    random: Random,
    incoming: Queue,
    outgoing: Queue,
    /// Bytes of the present answer that were taken for sending.
    answered: usize,
    babble_at: Option<Instant>,
    ended: bool,
    timer: Pin<Box<Sleep>>,
}

/// Bytes on their way, each with the moment at which it is through.
#[derive(Default)]
struct Queue {
    bytes: VecDeque<(Instant, u8)>,
    /// When the last byte will be through.
    busy_until: Option<Instant>,
}

impl Queue {
    fn push(&mut self, byte: u8, now: Instant, character: Option<Duration>) {
        let begin = self.busy_until.map_or(now, |busy| busy.max(now));
        let through = begin + character.unwrap_or_default();
        self.busy_until = Some(through);
        self.bytes.push_back((through, byte));
    }

    fn due(&self, now: Instant) -> impl Iterator<Item = u8> + '_ {
        self.bytes.iter().take_while(move |(at, _)| *at <= now).map(|(_, byte)| *byte)
    }

    fn next(&self) -> Option<Instant> {
        self.bytes.front().map(|(at, _)| *at)
    }
}

impl<T> Wire<T> {
    /// A wire over `inner`; `character` is the time one byte takes (`None`: no time at all), `seed` makes flips and babble repeatable.
    pub fn new(inner: T, character: Option<Duration>, habits: SharedHabits, seed: u64) -> Self {
        let timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        let (incoming, outgoing) = (Queue::default(), Queue::default());
        let random = Random::new(seed);
        Self {
            inner,
            character,
            habits,
            random,
            incoming,
            outgoing,
            answered: 0,
            babble_at: None,
            ended: false,
            timer,
        }
    }

    fn habits(&self) -> Habits {
        self.habits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes bytes of an answer; returns how many of `bytes` (cut ones count, they are gone).
    fn take(&mut self, bytes: &[u8], now: Instant) -> usize {
        let habits = self.habits();
        if self.outgoing.bytes.is_empty() {
            self.answered = 0;
            let begin = now + habits.delay;
            self.outgoing.busy_until = Some(self.outgoing.busy_until.map_or(begin, |busy| busy.max(begin)));
        }
        let room = HELD_MAX.saturating_sub(self.outgoing.bytes.len());
        let taken = bytes.len().min(room);
        for byte in bytes.iter().take(taken) {
            self.answered = self.answered.saturating_add(1);
            if habits.cut.is_some_and(|whole| self.answered > whole) {
                continue;
            }
            let turned = if self.random.unit() < habits.flip { 1 << self.random.below(8) } else { 0 };
            self.outgoing.push(byte ^ turned, now, self.character);
        }
        taken
    }

    /// Puts a burst of babble before everything that waits: into the middle of an answer, if one is going out.
    fn babble(&mut self, now: Instant) {
        let Some(every) = self.habits().babble else {
            self.babble_at = None;
            return;
        };
        if now < *self.babble_at.get_or_insert(now) {
            return;
        }
        let half = u64::try_from(every.as_millis() / 2).unwrap_or(u64::MAX);
        self.babble_at = Some(now + Duration::from_millis(half + self.random.below(half.saturating_mul(2))));
        if self.outgoing.bytes.len() >= HELD_MAX {
            return;
        }
        for _ in 0..=self.random.below(BABBLE_MAX) {
            let byte = self.random.next().to_le_bytes()[0];
            self.outgoing.bytes.push_front((now, byte));
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// Passes outgoing bytes that are due to the inner stream.
    fn send_due(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>> {
        self.babble(now);
        loop {
            let due: Vec<u8> = self.outgoing.due(now).collect();
            if due.is_empty() {
                return Pin::new(&mut self.inner).poll_flush(cx);
            }
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, &due))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.bytes.drain(..sent.min(due.len()));
        }
    }

    /// Fetches what the inner stream has.
    fn fetch(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<()> {
        let echo = self.habits().echo;
        while !self.ended && self.incoming.bytes.len() < HELD_MAX {
            let mut space = [0; 256];
            let mut buf = ReadBuf::new(&mut space);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) => {}
            }
            self.ended = buf.filled().is_empty();
            for byte in buf.filled() {
                self.incoming.push(*byte, now, self.character);
                if echo && self.outgoing.bytes.len() < HELD_MAX {
                    self.outgoing.push(*byte, now, self.character);
                }
            }
        }
        Ok(())
    }

    /// Sets the timer to the next moment at which a byte is due; pending until then. While the inner stream takes nothing (`blocked`) it
    /// wakes us itself.
    fn wait(&mut self, cx: &mut Context<'_>, blocked: bool) -> Poll<()> {
        let outgoing = if blocked { None } else { self.outgoing.next() };
        let moments = [self.incoming.next(), outgoing, self.babble_at];
        let Some(next) = moments.into_iter().flatten().min() else { return Poll::Pending };
        if self.timer.deadline() != next {
            self.timer.as_mut().reset(next);
        }
        self.timer.as_mut().poll(cx)
    }
}

#[expect(clippy::disallowed_methods, reason = "the wire is a port: it holds bytes back until their time")]
fn now() -> Instant {
    Instant::now()
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let now = now();
            let this = &mut *self;
            let sent = this.send_due(cx, now)?;
            this.fetch(cx, now)?;
            let due: Vec<u8> = this.incoming.due(now).take(buf.remaining()).collect();
            if !due.is_empty() || (this.ended && this.incoming.bytes.is_empty()) {
                this.incoming.bytes.drain(..due.len());
                buf.put_slice(&due);
                return Poll::Ready(Ok(()));
            }
            ready!(this.wait(cx, sent.is_pending()));
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let now = now();
            let this = &mut *self;
            let sent = this.send_due(cx, now)?;
            let taken = this.take(bytes, now);
            if taken > 0 || bytes.is_empty() {
                return Poll::Ready(Ok(taken));
            }
            ready!(this.wait(cx, sent.is_pending()));
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let this = &mut *self;
            ready!(this.send_due(cx, now()))?;
            if this.outgoing.bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(this.wait(cx, false));
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
