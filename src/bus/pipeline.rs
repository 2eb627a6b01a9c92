//! Several reads under way at once, on a connection whose frames name their request.
//!
//! In: reads. Out: one exchange for each, in the same order.
//! Invariant: an answer belongs to the read whose transaction id it carries; whatever has none by the deadline failed.
//! Source: Modbus Messaging on TCP/IP Implementation Guide V1.0b, 4.4.2.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout_at;

use crate::bus::debts::Approach;
use crate::bus::master::{Got, Master, SILENT_MAX, TIMEOUT_MAX, now};
use crate::bus::pdu::Answer;
use crate::bus::port::plain;
use crate::bus::{Exchange, Failure, Read, Slave};
use crate::loss::Losses;

impl Master {
    /// Sends all `reads` at once and takes their answers in any order, each within `timeout` of the answer before
    /// it, the first of the sending: most devices do one thing at a time. For devices whose profile allows so many requests
    /// at a time. On lines whose frames don't name their request they go one after the other.
    pub async fn read_many(
        &mut self,
        reads: &[(Slave, Read)],
        timeout: Duration,
        losses: &mut Losses,
    ) -> Vec<Exchange> {
        let legal = reads.iter().all(|(_, read)| read.is_legal());
        if !self.has_transactions() || !legal {
            let mut exchanges = Vec::new();
            for (slave, read) in reads {
                exchanges.push(self.read(*slave, *read, timeout, losses).await);
            }
            return exchanges;
        }
        let begun = now();
        let mut exchanges =
            vec![Exchange { outcome: Err(Failure::LineDown), sent: begun, ended: begun }; reads.len()];
        if !reads.is_empty() && self.prepare(Approach::Plain, losses).await {
            self.pipe(reads, &mut exchanges, timeout.min(TIMEOUT_MAX), losses).await;
        }
        for exchange in exchanges.iter().filter(|exchange| exchange.outcome.is_err()) {
            self.tap.ended(&exchange.outcome, self.trouble(), exchange.ended);
        }
        exchanges
    }

    async fn pipe(
        &mut self,
        reads: &[(Slave, Read)],
        exchanges: &mut [Exchange],
        timeout: Duration,
        losses: &mut Losses,
    ) {
        let ids = self.line.begin_many(reads);
        let Some(sent) = self.send_many(timeout, losses).await else { return };
        let mut deadline = sent + timeout;
        for exchange in &mut *exchanges {
            *exchange = Exchange { outcome: Err(Failure::Timeout), sent, ended: deadline };
        }
        let (mut open, mut heard) = (reads.len(), false);
        while open > 0 {
            let Some(stream) = &mut self.stream else { return };
            let got = Got::of_timed(timeout_at(deadline, stream.read(&mut self.chunk)).await);
            let at = now();
            let answers = match got {
                Got::Bytes(count) => {
                    self.last_byte = Some(at);
                    heard = true;
                    self.tap.received(self.chunk.get(..count).unwrap_or_default(), at);
                    self.line.step_many(self.chunk.get(..count).unwrap_or_default(), losses)
                }
                Got::Silence => break,
                Got::End(why) => {
                    self.lost(&why, losses);
                    return end_rest(exchanges, Failure::LineDown, at);
                }
            };
            let Some(answers) = answers else {
                self.lost("the other side does not speak Modbus TCP", losses);
                return end_rest(exchanges, Failure::BadFrame, at);
            };
            for (id, pdu) in answers {
                let Some(place) = ids.iter().position(|known| *known == id) else { continue };
                let (Some((_, read)), Some(exchange)) = (reads.get(place), exchanges.get_mut(place)) else {
                    continue;
                };
                (exchange.outcome, exchange.ended) = (outcome(*read, &pdu), at);
                open -= 1;
                deadline = at + timeout;
            }
            end_rest(exchanges, Failure::Timeout, deadline);
        }
        // What is late from here on is foreign.
        self.line.close(losses);
        if open == 0 {
            self.silent = 0;
            self.backoff.answered();
            return;
        }
        self.count_silence(heard);
        if self.line.is_torn() || self.silent >= SILENT_MAX {
            self.close(losses);
        }
    }

    /// Writes what the line has begun; when that was, or `None` when the line is gone.
    async fn send_many(&mut self, timeout: Duration, losses: &mut Losses) -> Option<tokio::time::Instant> {
        self.writing = true;
        let stream = self.stream.as_mut()?;
        let why = match timeout_at(now() + timeout, stream.write_all(self.line.request())).await {
            Ok(Ok(())) => {
                self.writing = false;
                let sent = now();
                self.tap.sent(self.line.request(), sent);
                return Some(sent);
            }
            Ok(Err(error)) => plain(&error),
            Err(_) => "takes no bytes".to_owned(),
        };
        self.lost(&why, losses);
        None
    }
}

fn outcome(read: Read, pdu: &[u8]) -> Result<Vec<u16>, Failure> {
    match read.parse(pdu) {
        Some(Answer::Cells(cells)) => Ok(cells),
        Some(Answer::Exception(code)) => Err(Failure::Exception(code)),
        _ => Err(Failure::BadFrame),
    }
}

fn end_rest(exchanges: &mut [Exchange], failure: Failure, at: tokio::time::Instant) {
    for exchange in exchanges.iter_mut().filter(|exchange| exchange.outcome == Err(Failure::Timeout)) {
        (exchange.outcome, exchange.ended) = (Err(failure), at);
    }
}
