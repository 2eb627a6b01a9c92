//! One registered connection: passes bytes between the DTU and the master of its line.
//!
//! In: a socket that said who it is, its slot. Out: payload to the line, wrapped requests to the DTU, answers to heartbeats.
//! Invariant: bytes that came before the line was quiet after the registration are never passed on (a DTU keeps serial bytes
//! while it is off line); a session that is not the current one passes nothing; it never waits for the line.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, timeout};

use crate::bus::port::Stream;
use crate::bus::port::dial_in::door::Door;
use crate::bus::port::dial_in::roster::Role;
use crate::bus::port::dial_in::slot::{Slot, now};
use crate::bus::port::dial_in::wrap::{Up, Wrapping};
use crate::bus::tap::Aside;
use crate::loss::Loss;

/// After a registration the line has to be quiet for this long.
const DRAIN: Duration = Duration::from_secs(1);
/// A line that is never quiet gets going all the same: its master drains it, too.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Bytes that may be the beginning of a heartbeat are passed on after this much silence.
const FLUSH: Duration = Duration::from_millis(50);
/// A DTU that takes no bytes for this long is gone.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// Bytes that nobody asked for, within a minute.
const NOISE_MAX: usize = 1024;
const NOISE_SPAN: Duration = Duration::from_secs(60);
/// Bytes between a session and its line; the line takes them at once or discards them before its next request.
const PIPE: usize = 4096;

pub(crate) struct Session<'a, S> {
    door: &'a Door,
    slot: &'a Slot,
    id: u64,
    socket: S,
    wrapping: Wrapping,
    changes: watch::Receiver<u64>,
    pipe: Option<DuplexStream>,
    /// Quiet from then on; `None` once it was.
    draining: Option<(Instant, Instant)>,
    heard: Instant,
    noise: (Instant, usize),
    asked: bool,
}

enum Turn {
    Socket(usize),
    Pipe(usize),
    Changed,
    Time,
    End,
}

impl<'a, S: Stream> Session<'a, S> {
    pub(crate) fn new(door: &'a Door, slot: &'a Slot, id: u64, socket: S) -> Self {
        let now = now();
        Self {
            door,
            slot,
            id,
            socket,
            wrapping: Wrapping::new(slot.dtu.manner.clone(), slot.dtu.id.clone()),
            changes: slot.changed.subscribe(),
            pipe: None,
            draining: Some((now + DRAIN, now + DRAIN_MAX)),
            heard: now,
            noise: (now, 0),
            asked: false,
        }
    }

    /// Passes bytes until the connection ends or is given up. `rest` came behind the registration.
    pub(crate) async fn run(mut self, rest: &[u8]) {
        let greeting = self.wrapping.greeting();
        self.slot.beside(Aside::Reply, &greeting);
        if self.send(&greeting).await && self.take(rest).await {
            self.pass().await;
        }
    }

    async fn pass(&mut self) {
        let (mut up, mut down) = ([0; 1024], [0; 512]);
        loop {
            match self.slot.role(self.id) {
                Role::Gone => return,
                Role::Current if self.draining.is_none() && self.pipe.is_none() => {
                    let (ours, theirs) = tokio::io::duplex(PIPE);
                    self.pipe = Some(ours);
                    self.slot.offer(self.id, theirs);
                }
                Role::Current | Role::Candidate => {}
            }
            let going_on = match self.turn(&mut up, &mut down).await {
                Turn::Socket(count) => self.take(up.get(..count).unwrap_or_default()).await,
                Turn::Pipe(0) => {
                    // The line wants a fresh stream; the connection may still be good.
                    self.pipe = None;
                    true
                }
                Turn::Pipe(count) => self.ask(down.get(..count).unwrap_or_default()).await,
                Turn::Changed => {
                    self.told();
                    true
                }
                Turn::Time => self.elapse(),
                Turn::End => false,
            };
            if !going_on {
                return;
            }
        }
    }

    async fn turn(&mut self, up: &mut [u8], down: &mut [u8]) -> Turn {
        let wake = self.wake();
        let asked = async {
            match &mut self.pipe {
                Some(pipe) => pipe.read(down).await.unwrap_or(0),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.changes.changed() => Turn::Changed,
            got = self.socket.read(up) => match got {
                Ok(0) | Err(_) => Turn::End,
                Ok(count) => Turn::Socket(count),
            },
            count = asked => Turn::Pipe(count),
            () = tokio::time::sleep_until(wake) => Turn::Time,
        }
    }

    fn wake(&self) -> Instant {
        let idle = self.heard + self.slot.dtu.idle;
        let drained = self.draining.map(|(quiet, most)| quiet.min(most));
        let flush = self.wrapping.holds().then(|| self.heard + FLUSH);
        [drained, flush].into_iter().flatten().fold(idle, Instant::min)
    }

    /// Takes bytes of the connection in; false when it has to end.
    async fn take(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        self.heard = now();
        self.slot.heard(self.id);
        // What was told meanwhile decides where a message may begin.
        self.told();
        let mut up = Up::default();
        self.wrapping.up(bytes, &mut up);
        self.slot.beside(Aside::Heartbeat, &self.wrapping.take_aside());
        self.slot.beside(Aside::Reply, &up.reply);
        self.deliver(&up) && self.send(&up.reply).await && !up.ended
    }

    /// Passes payload on, or discards it; false when there is too much of what nobody asked for.
    fn deliver(&mut self, up: &Up) -> bool {
        let mut lost = up.junk;
        if let Some((quiet, _)) = &mut self.draining {
            if !up.payload.is_empty() {
                *quiet = self.heard + DRAIN;
            }
            lost += up.payload.len();
        } else {
            lost += self.hand_over(&up.payload);
        }
        self.door.lose(Loss::StrayBytes, &self.slot.dtu.name, u64::try_from(lost).unwrap_or(u64::MAX));
        self.draining.is_some() || self.asked || self.is_bearable(up.payload.len() + up.junk)
    }

    /// Bytes that the line did not take.
    fn hand_over(&mut self, mut payload: &[u8]) -> usize {
        while !payload.is_empty() {
            // A door's connections share one task: its turn being over must not look like a full pipe.
            let write = |pipe: &mut DuplexStream| unconstrained(pipe.write(payload)).now_or_never();
            let written = self.pipe.as_mut().and_then(write);
            match written {
                Some(Ok(count)) if 0 < count => payload = payload.get(count..).unwrap_or_default(),
                _ => break,
            }
        }
        payload.len()
    }

    fn is_bearable(&mut self, unasked: usize) -> bool {
        if self.noise.0 + NOISE_SPAN <= self.heard {
            self.noise = (self.heard, 0);
        }
        self.noise.1 += unasked;
        if self.noise.1 <= NOISE_MAX {
            return true;
        }
        tracing::warn!(line = %self.slot.dtu.name, "its DTU sends without being asked; its connection is closed");
        self.door.lose(Loss::RefusedDialIn, &self.slot.dtu.name, 1);
        false
    }

    /// Sends a request of the line.
    async fn ask(&mut self, request: &[u8]) -> bool {
        self.slot.asked(self.id);
        self.asked = true;
        self.wrapping.begin();
        let wrapped = self.wrapping.down(request);
        self.send(&wrapped).await
    }

    /// The line may have told how its request ended.
    fn told(&mut self) {
        let asked = self.slot.is_asked(self.id);
        if self.asked && !asked {
            self.wrapping.begin();
        }
        self.asked = asked;
    }

    /// Time passed; false when the connection has been silent for too long.
    fn elapse(&mut self) -> bool {
        let now = now();
        if self.draining.is_some_and(|(quiet, most)| quiet.min(most) <= now) {
            self.draining = None;
        }
        if self.wrapping.holds() && self.heard + FLUSH <= now {
            let mut up = Up::default();
            self.wrapping.flush(&mut up);
            if !self.asked {
                self.wrapping.begin();
            }
            if !self.deliver(&up) {
                return false;
            }
        }
        now < self.heard + self.slot.dtu.idle
    }

    async fn send(&mut self, bytes: &[u8]) -> bool {
        bytes.is_empty() || matches!(timeout(WRITE_MAX, self.socket.write_all(bytes)).await, Ok(Ok(())))
    }
}

impl<S> Drop for Session<'_, S> {
    fn drop(&mut self) {
        self.slot.leave(self.id);
        self.slot.beside(Aside::Gone, &[]);
    }
}
