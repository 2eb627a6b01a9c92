//! What a DTU puts around the bytes of its serial line, taken off and put on.
//!
//! In: bytes of the connection, or a request. Out: the line's own bytes, what to reply, and how many heartbeats came.
//! Invariant: however the bytes were cut, the result is the same (while nothing is flushed); at most [`HELD_MAX`] bytes are
//! held. On a transparent connection heartbeats are taken off only where a message may begin; those inside an answer are left to the
//! line, which has check sums and lengths to tell.
//! Source: vendors' manuals (Hongdian DDP, Four-Faith PROT escapes, Alotcer).

use crate::bus::port::dial_in::{Kind, Manner, Reply};

/// A frame of a vendor carries 1 KiB of data at most.
const HELD_MAX: usize = 1100;

/// What a DDP device sends: registration, good-bye, invalid, acknowledgement, data, answers to queries and settings.
const DDP_KINDS: [u8; 7] = [0x01, 0x02, 0x04, 0x05, 0x09, 0x0B, 0x0D];

/// The wrapping of one connection.
#[derive(Clone, Debug)]
pub struct Wrapping {
    manner: Manner,
    /// Its id, or its whole registration when that is plain.
    id: Vec<u8>,
    held: Vec<u8>,
    /// A message may begin here.
    fresh: bool,
    /// DDP data stand behind their frame.
    raw: bool,
    /// What the DTU said for itself since [`Self::take_aside`].
    aside: Vec<u8>,
}

/// What some bytes of the connection came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Up {
    /// Bytes of the serial line.
    pub payload: Vec<u8>,
    /// To be sent to the DTU.
    pub reply: Vec<u8>,
    /// Heartbeats, registrations and other signs of life.
    pub heartbeats: u64,
    /// Bytes that mean nothing.
    pub junk: usize,
    /// The DTU says good-bye.
    pub ended: bool,
}

/// What stands at the front of the held bytes.
enum Front {
    /// So many bytes of a whole frame.
    Frame(usize),
    /// A byte that begins no frame.
    Junk,
    /// Too few to tell.
    More,
}

impl Wrapping {
    /// A connection that has just registered as `id`.
    pub fn new(manner: Manner, id: Vec<u8>) -> Self {
        Self { manner, id, held: Vec::new(), fresh: true, raw: false, aside: Vec::new() }
    }

    /// Heartbeats, registrations and other frames of the DTU's own since the last call, as they came.
    pub fn take_aside(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.aside)
    }

    /// Takes in bytes of the connection.
    pub fn up(&mut self, bytes: &[u8], up: &mut Up) {
        self.held.extend_from_slice(bytes);
        match self.manner.kind {
            Kind::Plain | Kind::Source | Kind::InHand => self.transparent(up),
            Kind::Ddp { after } => self.ddp(after, up),
            Kind::FourFaith => self.four_faith(up),
            Kind::Alotcer => self.alotcer(up),
        }
    }

    /// Whether bytes are held that may be the line's own.
    pub fn holds(&self) -> bool {
        let transparent = matches!(self.manner.kind, Kind::Plain | Kind::Source | Kind::InHand);
        (transparent || self.raw) && !self.held.is_empty()
    }

    /// Nothing came for a while: what is held is the line's own after all.
    pub fn flush(&mut self, up: &mut Up) {
        if self.holds() {
            up.payload.append(&mut self.held);
            self.fresh = false;
        }
    }

    /// A message begins with the next byte: a request ended or goes out.
    pub fn begin(&mut self) {
        self.fresh = true;
    }

    /// A request as the DTU wants it.
    pub fn down(&self, request: &[u8]) -> Vec<u8> {
        match self.manner.kind {
            Kind::Plain | Kind::Source | Kind::InHand => request.to_vec(),
            Kind::Ddp { after: false } => self.ddp_frame(0x89, request),
            Kind::Ddp { after: true } => [self.ddp_frame(0x89, &[]), request.to_vec()].concat(),
            Kind::FourFaith => escaped(request),
            Kind::Alotcer => self.alotcer_frame(0x32, request),
        }
    }

    /// What the DTU is told when it registers.
    pub fn greeting(&self) -> Vec<u8> {
        match self.manner.kind {
            Kind::Ddp { .. } => self.ddp_frame(0x81, &[]),
            _ => Vec::new(),
        }
    }

    fn transparent(&mut self, up: &mut Up) {
        while self.fresh && !self.held.is_empty() {
            let heartbeat = &self.manner.heartbeat;
            let prefix: &[u8] = if self.manner.prefix_every { &self.id } else { &[] };
            let front = [heartbeat.as_slice(), prefix];
            let tokens = || front.into_iter().filter(|token| !token.is_empty());
            let length = tokens().find(|token| self.held.starts_with(token)).map(<[u8]>::len);
            match length {
                Some(length) => {
                    if self.held.starts_with(heartbeat) && !heartbeat.is_empty() {
                        up.heartbeats += 1;
                        match &self.manner.reply {
                            Reply::None => {}
                            Reply::Echo => up.reply.extend_from_slice(heartbeat),
                            Reply::Fixed(bytes) => up.reply.extend_from_slice(bytes),
                        }
                    }
                    self.aside.extend(self.held.drain(..length));
                }
                None if tokens().any(|token| token.starts_with(&self.held)) => return,
                None => self.fresh = false,
            }
        }
        up.payload.append(&mut self.held);
    }

    fn ddp(&mut self, after: bool, up: &mut Up) {
        loop {
            if self.raw && !self.raw_data(up) {
                return;
            }
            match self.ddp_front() {
                Front::More => return,
                Front::Junk => self.junk(up),
                Front::Frame(length) => {
                    let frame: Vec<u8> = self.held.drain(..length).collect();
                    let kind = frame.get(1).copied().unwrap_or_default();
                    match kind {
                        0x01 => up.reply.extend(self.ddp_frame(0x81, &[])),
                        0x02 => {
                            up.reply.extend(self.ddp_frame(0x82, &[]));
                            up.ended = true;
                        }
                        0x09 => {
                            let data = frame.get(15..length - 1).unwrap_or_default();
                            up.payload.extend_from_slice(data);
                            up.reply.extend(self.ddp_frame(0x85, &[]));
                            self.raw = after;
                        }
                        _ => {}
                    }
                    if kind != 0x09 {
                        up.heartbeats += 1;
                        self.aside.extend(frame);
                    }
                }
            }
        }
    }

    /// Data behind a DDP frame, up to the next frame of this DTU; false when it may go on.
    fn raw_data(&mut self, up: &mut Up) -> bool {
        let begins = |window: &[u8]| {
            let fits = |(at, byte): (usize, &u8)| match at {
                0 => *byte == 0x7B,
                1 => DDP_KINDS.contains(byte),
                2 => *byte == 0,
                3 => matches!(byte, 0x10 | 0x16),
                _ => self.id.get(at - 4) == Some(byte),
            };
            window.iter().take(15).enumerate().all(fits)
        };
        let next = (0..self.held.len()).find(|at| self.held.get(*at..).is_some_and(begins));
        let end = next.unwrap_or(self.held.len());
        up.payload.extend(self.held.drain(..end));
        self.raw = self.held.len() < 15;
        !self.raw
    }

    /// `7B`, kind, length of the whole (big endian), 11 digits, data, `7B`.
    fn ddp_front(&self) -> Front {
        let (kind, length) = match *self.held.as_slice() {
            [0x7B, kind, high, low, ..] => (kind, usize::from(u16::from_be_bytes([high, low]))),
            [0x7B, ..] | [] => return Front::More,
            _ => return Front::Junk,
        };
        if !DDP_KINDS.contains(&kind) || !(16..=HELD_MAX).contains(&length) {
            return Front::Junk;
        }
        self.framed(length, 0x7B)
    }

    fn framed(&self, length: usize, end: u8) -> Front {
        match self.held.get(..length) {
            None => Front::More,
            Some([_, _, _, _, rest @ .., last]) if *last == end && rest.starts_with(&self.id) => {
                Front::Frame(length)
            }
            Some(_) => Front::Junk,
        }
    }

    fn ddp_frame(&self, kind: u8, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(16 + data.len()).unwrap_or(u16::MAX);
        [&[0x7B, kind], length.to_be_bytes().as_slice(), &self.id, data, &[0x7B]].concat()
    }

    fn four_faith(&mut self, up: &mut Up) {
        let mut at = 0;
        while let Some(window) = self.held.get(at..).filter(|window| !window.is_empty()) {
            at += match window {
                [0xFE, ..] => {
                    up.heartbeats += 1;
                    self.aside.push(0xFE);
                    1
                }
                [0xFD] => break,
                [0xFD, 0xED, ..] => {
                    up.payload.push(0xFD);
                    2
                }
                [0xFD, 0xEE, ..] => {
                    up.payload.push(0xFE);
                    2
                }
                [0xFD, ..] => {
                    up.junk += 1;
                    1
                }
                [byte, ..] => {
                    up.payload.push(*byte);
                    1
                }
                [] => break,
            };
        }
        self.held.drain(..at);
    }

    /// `7B`, kind, length of what follows (little endian), 11 digits, data, `7D`.
    fn alotcer(&mut self, up: &mut Up) {
        loop {
            let length = match *self.held.as_slice() {
                [0x7B, 0x30..=0x33, low, high, ..] => 4 + usize::from(u16::from_le_bytes([low, high])),
                [0x7B] | [0x7B, 0x30..=0x33, ..] | [] => return,
                _ => 0,
            };
            let front =
                if (16..=HELD_MAX).contains(&length) { self.framed(length, 0x7D) } else { Front::Junk };
            match front {
                Front::More => return,
                Front::Junk => self.junk(up),
                Front::Frame(length) => {
                    let frame: Vec<u8> = self.held.drain(..length).collect();
                    if let [_, 0x32, ..] = frame.as_slice() {
                        up.payload.extend(frame.get(15..length - 1).unwrap_or_default());
                        continue;
                    }
                    up.heartbeats += 1;
                    if let [_, 0x30, ..] = frame.as_slice() {
                        up.reply.extend_from_slice(&frame);
                    }
                    self.aside.extend(frame);
                }
            }
        }
    }

    fn alotcer_frame(&self, kind: u8, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(self.id.len() + data.len() + 1).unwrap_or(u16::MAX);
        [&[0x7B, kind], length.to_le_bytes().as_slice(), &self.id, data, &[0x7D]].concat()
    }

    fn junk(&mut self, up: &mut Up) {
        self.held.remove(0);
        up.junk += 1;
    }
}

fn escaped(request: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(request.len() * 2);
    for byte in request {
        match byte {
            0xFD => out.extend([0xFD, 0xED]),
            0xFE => out.extend([0xFD, 0xEE]),
            _ => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests;
