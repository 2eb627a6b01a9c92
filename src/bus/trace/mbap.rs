//! Frames of Modbus TCP among what passed.
//!
//! In: the bytes of a connection. Out: an entry for each whole frame.
//! Invariant: a frame's transaction says whom it answers, late or not.
//! Source: Modbus Messaging on TCP/IP V1.0b, 3.1.3.

use tokio::time::Instant;

use crate::bus::says::Says;
use crate::bus::trace::frames::answers;
use crate::bus::trace::{Discard, Entry, Kind, Tracer, discarded};

impl Tracer {
    /// MBAP: every whole frame; its transaction says whom it answers.
    pub(crate) fn take_mbap(&mut self, entries: &mut Vec<Entry>) {
        let Some(at) = self.last else { return };
        while let Some([id_high, id_low, 0, 0, length_high, length_low]) = self.bytes.first_chunk::<6>() {
            let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
            if !(2..=254).contains(&length) {
                break;
            }
            let id = [*id_high, *id_low];
            let Some((frame, rest)) = self.bytes.split_at_checked(6 + length) else { return };
            let (frame, rest) = (frame.to_vec(), rest.to_vec());
            self.bytes = rest;
            entries.push(self.judge_mbap(at, id, frame));
        }
        if self.bytes.len() >= 6 {
            entries.push(discarded(at, Discard::Noise, &std::mem::take(&mut self.bytes)));
        }
    }

    fn judge_mbap(&mut self, at: Instant, id: [u8; 2], frame: Vec<u8>) -> Entry {
        let (slave, pdu) = match frame.get(6..) {
            Some([slave, pdu @ ..]) => (Some(*slave), pdu),
            _ => (None, [].as_slice()),
        };
        let asked = self.requests.iter_mut().rev().find(|request| request.frame.starts_with(&id));
        let (kind, says) = match asked {
            Some(asked) if answers(&asked.pdu, pdu) && Some(asked.slave) == slave => {
                let in_time = std::mem::replace(&mut asked.open, false);
                let kind = if in_time { Kind::Answer } else { Kind::Discarded(Discard::Late) };
                (kind, Says::answer(&asked.pdu, pdu))
            }
            _ => (Kind::Discarded(Discard::Foreign), Says::stranger(pdu)),
        };
        Entry { at, kind, slave, says, bytes: frame }
    }
}
