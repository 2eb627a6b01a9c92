//! What passed on a line, as frames with their meaning, for a person who looks for a fault.
//!
//! In: [`Seen`] in order. Out: [`Entry`]s: requests, answers, what was discarded and why, requests without an answer.
//! Invariant: every byte received stands in exactly one entry; what the master did not take is never shown as an answer; a bounded number
//! of bytes and requests is remembered.
//! Source: Modbus Application Protocol V1.1b3, 6 and 7; Modbus over Serial Line V1.02, 2.5.1; Modbus Messaging on TCP/IP V1.0b, 3.1.3.

pub mod text;

mod down;
mod frames;
mod mbap;

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::bus::says::Says;
use crate::bus::tap::{Aside, Seen, What};
use crate::bus::trace::down::Down;
use crate::bus::trace::frames::{answer_length, answers, ascii_body, is_repeated, is_sound, lengths};
use crate::bus::{Failure, Framing};

/// Why bytes were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// They begin no frame.
    Noise,
    /// A frame that ends too early.
    Cut,
    /// An answer with a wrong check sum.
    BadChecksum,
    /// Our own request, come back.
    Echo,
    /// The answer to an earlier request.
    Late,
    /// A sound frame that answers no request of ours.
    Foreign,
    /// It looks like the answer, and the master did not trust it.
    Doubtful,
}

impl Discard {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::Cut => "cut off",
            Self::BadChecksum => "bad check sum",
            Self::Echo => "echo of the request",
            Self::Late => "late answer to an earlier request",
            Self::Foreign => "not an answer to us",
            Self::Doubtful => "not trusted",
        }
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// We asked.
    Request,
    /// The answer that the master took.
    Answer,
    /// Bytes that it did not take.
    Discarded(Discard),
    /// A request ended without an answer; no bytes.
    Failed(Failure),
    /// What a DTU says for itself.
    Heard,
    /// What we say to the DTU itself.
    Told,
}

/// A line of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it went out, when its last byte came, or when it was given up.
    pub at: Instant,
    /// What it is.
    pub kind: Kind,
    /// The slave that is asked or answers, when the bytes name one.
    pub slave: Option<u8>,
    /// What the PDU says.
    pub says: Says,
    /// The bytes as they passed.
    pub bytes: Vec<u8>,
}

/// Requests that a late answer is looked up in.
const REQUESTS_MAX: usize = 32;
/// More bytes than this without a frame are told as noise.
const BYTES_MAX: usize = 2048;

#[derive(Clone, Debug)]
struct Request {
    slave: u8,
    pdu: Vec<u8>,
    frame: Vec<u8>,
    open: bool,
}

impl Request {
    /// What its own bytes are when they come.
    fn come_back(&self) -> Kind {
        if self.open && is_repeated(&self.pdu) { Kind::Answer } else { Kind::Discarded(Discard::Echo) }
    }
}

/// Makes entries of what passes on one line.
#[derive(Clone, Debug)]
pub struct Tracer {
    framing: Framing,
    /// The newest last.
    requests: VecDeque<Request>,
    bytes: Vec<u8>,
    last: Option<Instant>,
    down: Down,
}

impl Tracer {
    /// For a line of this framing; one may begin at any time.
    pub const fn new(framing: Framing) -> Self {
        Self { framing, requests: VecDeque::new(), bytes: Vec::new(), last: None, down: Down::new() }
    }

    /// Takes the next thing seen; the entries that are settled by it.
    pub fn step(&mut self, seen: &Seen) -> Vec<Entry> {
        let mut entries = Vec::new();
        match &seen.what {
            What::Sent(bytes) => {
                self.flush(None, &mut entries);
                for frame in self.requests_in(bytes) {
                    entries.extend(self.sent(frame, seen.at));
                }
            }
            What::Received(bytes) => {
                self.bytes.extend_from_slice(bytes);
                self.last = Some(seen.at);
                if self.framing == Framing::Mbap {
                    self.take_mbap(&mut entries);
                } else if self.bytes.len() > BYTES_MAX {
                    self.flush(None, &mut entries);
                }
            }
            What::Ended(failure) => {
                let slave = self.ended(*failure, &mut entries);
                if let Some(failure) = failure.filter(|failure| !matches!(failure, Failure::Exception(_))) {
                    let kind = Kind::Failed(failure);
                    entries.push(Entry { at: seen.at, kind, slave, says: Says::Nothing, bytes: Vec::new() });
                }
            }
            What::Down(why) => {
                let slave = self.ended(Some(Failure::LineDown), &mut entries);
                entries.extend(self.down.entry(seen.at, slave, why));
            }
            What::Beside(aside, bytes) => entries.push(beside(seen.at, *aside, bytes)),
            What::Taken(_) => {}
        }
        entries
    }

    /// Closes the request that ended so; its slave, when one was open.
    fn ended(&mut self, failure: Option<Failure>, entries: &mut Vec<Entry>) -> Option<u8> {
        self.flush(Some(failure), entries);
        // Of Modbus TCP an answer has closed its own request already.
        let settled = self.framing == Framing::Mbap && matches!(failure, None | Some(Failure::Exception(_)));
        let request = self.requests.iter_mut().find(|request| request.open && !settled)?;
        request.open = false;
        Some(request.slave)
    }

    /// The frames that went out together; one, but for MBAP.
    fn requests_in<'a>(&self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let (mut frames, mut rest) = (Vec::new(), bytes);
        while let (Framing::Mbap, Some([_, _, _, _, high, low])) = (self.framing, rest.first_chunk::<6>())
            && let Some((frame, later)) =
                rest.split_at_checked(6 + usize::from(u16::from_be_bytes([*high, *low])))
        {
            frames.push(frame);
            rest = later;
        }
        if !rest.is_empty() {
            frames.push(rest);
        }
        frames
    }

    fn sent(&mut self, frame: &[u8], at: Instant) -> Option<Entry> {
        let body = self.body(frame)?;
        let (slave, pdu) = body.split_first()?;
        if self.requests.len() == REQUESTS_MAX {
            self.requests.pop_front();
        }
        if self.framing != Framing::Mbap {
            // What went to all devices has no end of its own.
            self.requests.iter_mut().for_each(|request| request.open = false);
        }
        let says = Says::request(pdu);
        self.requests.push_back(Request {
            slave: *slave,
            pdu: pdu.to_vec(),
            frame: frame.to_vec(),
            open: true,
        });
        Some(Entry { at, kind: Kind::Request, slave: Some(*slave), says, bytes: frame.to_vec() })
    }

    /// Tells the bytes that wait. `ended` is how the open request ended; `None` when none is open.
    fn flush(&mut self, ended: Option<Option<Failure>>, entries: &mut Vec<Entry>) {
        let answered = matches!(ended, Some(None | Some(Failure::Exception(_))));
        if self.framing == Framing::Mbap && (answered || ended.is_none()) {
            // Half a frame: the rest comes in the same connection, whoever is asked meanwhile.
            return;
        }
        let at = self.last;
        let bytes = std::mem::take(&mut self.bytes);
        let Some(at) = at.filter(|_| !bytes.is_empty()) else { return };
        let mut found = match self.framing {
            Framing::Rtu => self.split(&bytes, at),
            Framing::Ascii => self.split_ascii(&bytes, at),
            Framing::Mbap => vec![discarded(at, Discard::Cut, &bytes)],
        };
        // Of several that look like the answer the master took the last, or none.
        let taken = found.iter().rposition(|entry| entry.kind == Kind::Answer).filter(|_| answered);
        for (index, entry) in found.iter_mut().enumerate() {
            if entry.kind == Kind::Answer && Some(index) != taken {
                let echoes = self.requests.back().is_some_and(|request| request.frame == entry.bytes);
                let why = if ended.is_some() { Discard::Doubtful } else { Discard::Late };
                if echoes {
                    *entry = self.entry(at, Kind::Discarded(Discard::Echo), &entry.bytes);
                } else {
                    entry.kind = Kind::Discarded(why);
                }
            }
        }
        entries.append(&mut found);
    }

    /// RTU: frames and what lies between them. What looks like the open request's answer is marked as one.
    fn split(&self, bytes: &[u8], at: Instant) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut noise = Vec::new();
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            let Some((kind, length)) = self.head(rest) else {
                noise.push(*first);
                rest = rest.get(1..).unwrap_or_default();
                continue;
            };
            if !noise.is_empty() {
                entries.push(discarded(at, Discard::Noise, &std::mem::take(&mut noise)));
            }
            let (frame, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            entries.push(self.entry(at, kind, frame));
            rest = after;
        }
        if !noise.is_empty() {
            entries.push(discarded(at, Discard::Noise, &noise));
        }
        entries
    }

    /// What stands at the front of `rest` and how long it is; `None` for a byte that begins nothing.
    fn head(&self, rest: &[u8]) -> Option<(Kind, usize)> {
        let open = self.requests.back();
        if let Some(request) = open
            && rest.starts_with(&request.frame)
        {
            return Some((request.come_back(), request.frame.len()));
        }
        if let Some(length) = lengths(rest).into_iter().flatten().find(|length| is_sound(rest, *length)) {
            return Some((self.judge(rest.get(..length)?), length));
        }
        let request = open?;
        if !request.open || !rest.starts_with(&[request.slave]) {
            return None;
        }
        let function = request.pdu.first()?;
        let length = match rest.get(1) {
            Some(said) if said == function => answer_length(&request.pdu, rest),
            Some(said) if *said == function | 0x80 => Some(5),
            _ => return None,
        };
        match length {
            Some(length) if length <= rest.len() => Some((Kind::Discarded(Discard::BadChecksum), length)),
            _ => Some((Kind::Discarded(Discard::Cut), rest.len())),
        }
    }

    /// Slave and PDU of a whole frame; an ASCII frame's check sum must be right for it.
    fn body(&self, frame: &[u8]) -> Option<Vec<u8>> {
        match self.framing {
            Framing::Rtu => frame.split_last_chunk::<2>().map(|(body, _)| body.to_vec()),
            Framing::Ascii => ascii_body(frame),
            Framing::Mbap => frame.get(6..).map(<[u8]>::to_vec),
        }
    }

    /// ASCII: from a colon to a line feed.
    fn split_ascii(&self, bytes: &[u8], at: Instant) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let begin = rest.iter().position(|byte| *byte == b':').unwrap_or(rest.len());
            let (noise, frames) = rest.split_at_checked(begin).unwrap_or((rest, &[]));
            if !noise.is_empty() {
                entries.push(discarded(at, Discard::Noise, noise));
            }
            let end = frames.iter().skip(1).position(|byte| matches!(byte, b':' | b'\n'));
            let length =
                end.map_or(frames.len(), |end| end + 1 + usize::from(frames.get(end + 1) == Some(&b'\n')));
            let (frame, after) = frames.split_at_checked(length).unwrap_or((frames, &[]));
            if !frame.is_empty() {
                entries.push(self.entry(at, self.kind_of_ascii(frame), frame));
            }
            rest = after;
        }
        entries
    }

    fn kind_of_ascii(&self, frame: &[u8]) -> Kind {
        if let Some(request) = self.requests.back().filter(|request| request.frame == frame) {
            return request.come_back();
        }
        match ascii_body(frame) {
            Some(_) => self.judge(frame),
            None if frame.ends_with(b"\n") => Kind::Discarded(Discard::BadChecksum),
            None => Kind::Discarded(Discard::Cut),
        }
    }

    /// Whom a sound frame answers.
    fn judge(&self, frame: &[u8]) -> Kind {
        let body = self.body(frame).unwrap_or_default();
        let Some((slave, pdu)) = body.split_first() else { return Kind::Discarded(Discard::Noise) };
        let fits = |request: &&Request| request.slave == *slave && answers(&request.pdu, pdu);
        let mut newest_first = self.requests.iter().rev();
        if newest_first.clone().take(1).any(|request| request.open && fits(&request)) {
            return Kind::Answer;
        }
        Kind::Discarded(if newest_first.any(|request| fits(&request)) {
            Discard::Late
        } else {
            Discard::Foreign
        })
    }

    fn entry(&self, at: Instant, kind: Kind, frame: &[u8]) -> Entry {
        let damaged = matches!(kind, Kind::Discarded(Discard::BadChecksum | Discard::Cut | Discard::Noise));
        let body = self.body(frame).filter(|_| !damaged).unwrap_or_default();
        let Some((slave, pdu)) = body.split_first() else {
            let slave = frame.first().copied().filter(|_| self.framing == Framing::Rtu);
            return Entry { slave, ..discarded_as(at, kind, frame) };
        };
        let asked =
            self.requests.iter().rev().find(|asked| asked.slave == *slave && answers(&asked.pdu, pdu));
        let says = match (kind, asked) {
            (Kind::Discarded(Discard::Echo), _) => Says::request(pdu),
            (_, Some(asked)) => Says::answer(&asked.pdu, pdu),
            (_, None) => Says::stranger(pdu),
        };
        Entry { at, kind, slave: Some(*slave), says, bytes: frame.to_vec() }
    }
}

fn beside(at: Instant, aside: Aside, bytes: &[u8]) -> Entry {
    let kind = if aside == Aside::Reply { Kind::Told } else { Kind::Heard };
    Entry { at, kind, slave: None, says: Says::Aside(aside), bytes: bytes.to_vec() }
}

fn discarded(at: Instant, why: Discard, bytes: &[u8]) -> Entry {
    discarded_as(at, Kind::Discarded(why), bytes)
}

fn discarded_as(at: Instant, kind: Kind, bytes: &[u8]) -> Entry {
    Entry { at, kind, slave: None, says: Says::Nothing, bytes: bytes.to_vec() }
}

#[cfg(test)]
mod tests;
