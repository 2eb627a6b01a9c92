//! A simulated RS-485 line in tokio's time: RTU slaves behind a duplex pipe, paced as the wire is.
//!
//! Written from the standard and not from the crate's code, so that no mistake is mirrored. An answer arrives when its last byte would.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_gateway::bus::port::{Opening, Port};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

/// One request that went over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// When its first byte was written.
    pub(crate) at: Instant,
    /// Who was asked.
    pub(crate) slave: u8,
    /// First register.
    pub(crate) address: u16,
    /// Registers.
    pub(crate) count: u16,
    /// How it ended: registers, an exception, nothing.
    pub(crate) answer: Answer,
}

/// What a slave says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Each register is its own address, or what stands in it.
    Registers,
    /// Refused.
    Exception(u8),
    /// Nothing.
    Silence,
}

/// What the slaves do, for tests to change.
#[derive(Default)]
pub(crate) struct Manners {
    /// Who says nothing.
    pub(crate) dead: BTreeSet<u8>,
    /// Registers that nobody has: a request that touches one is refused with exception 2.
    pub(crate) missing: BTreeSet<u16>,
    /// Registers that the slaves are silent on.
    pub(crate) mute: BTreeSet<u16>,
    /// What stands in registers that are not their own address.
    pub(crate) values: BTreeMap<u16, u16>,
    /// How often the line was opened.
    pub(crate) opened: u32,
    /// All that was asked.
    pub(crate) heard: Vec<Heard>,
}

/// The line; clones are the same line.
#[derive(Clone)]
pub(crate) struct Wire {
    /// What the slaves do.
    pub(crate) manners: Arc<Mutex<Manners>>,
    character: Duration,
    turnaround: Duration,
}

impl Wire {
    /// A line at `baud` with 10 bits a character.
    pub(crate) fn new(baud: u32, turnaround: Duration) -> Self {
        Self { manners: Arc::default(), character: Duration::from_secs(10) / baud, turnaround }
    }

    /// The time of `bytes` on the wire.
    pub(crate) fn time(&self, bytes: u32) -> Duration {
        self.character * bytes
    }

    /// A stream to the slaves.
    pub(crate) fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(4096);
        self.manners.lock().unwrap().opened += 1;
        beside(self.clone().serve(far));
        near
    }

    /// Takes what was asked so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.manners.lock().unwrap().heard)
    }

    /// How often the line was opened.
    pub(crate) fn opened(&self) -> u32 {
        self.manners.lock().unwrap().opened
    }

    fn answer(&self, slave: u8, address: u16, count: u16) -> Answer {
        let manners = self.manners.lock().unwrap();
        let touches = |registers: &BTreeSet<u16>| registers.range(address..address + count).next().is_some();
        if manners.dead.contains(&slave) || touches(&manners.mute) {
            Answer::Silence
        } else if touches(&manners.missing) {
            Answer::Exception(2)
        } else {
            Answer::Registers
        }
    }

    async fn serve(self, mut stream: DuplexStream) {
        let mut request = [0; 8];
        while stream.read_exact(&mut request).await.is_ok() {
            let at = now();
            let word = |place: usize| u16::from_be_bytes([request[place], request[place + 1]]);
            assert_eq!(crc(&request), 0, "a request is damaged");
            let (slave, function, address, count) = (request[0], request[1], word(2), word(4));
            let answer = self.answer(slave, address, count);
            self.manners.lock().unwrap().heard.push(Heard { at, slave, address, count, answer });
            let mut frame = match answer {
                Answer::Silence => continue,
                Answer::Exception(code) => vec![slave, function | 0x80, code],
                Answer::Registers => {
                    let manners = self.manners.lock().unwrap();
                    let value = |at: u16| manners.values.get(&at).copied().unwrap_or(at);
                    let data = (address..address + count).map(value).flat_map(u16::to_be_bytes);
                    let bytes = u8::try_from(count * 2).unwrap();
                    [slave, function, bytes].into_iter().chain(data).collect()
                }
            };
            frame.extend(crc(&frame).to_le_bytes());
            let bytes = u32::try_from(8 + frame.len()).unwrap();
            tokio::time::sleep_until(at + self.time(bytes) + self.turnaround).await;
            if stream.write_all(&frame).await.is_err() {
                return;
            }
        }
    }
}

impl Port for Wire {
    fn open(&mut self) -> Opening<'_> {
        let stream = self.connect();
        Box::pin(std::future::ready(Ok(Box::new(stream) as _)))
    }
}

#[expect(clippy::disallowed_methods, reason = "the slaves of a test run beside their master")]
fn beside(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

#[expect(clippy::disallowed_methods, reason = "the time of the paused runtime")]
fn now() -> Instant {
    Instant::now()
}

/// CRC-16 of Modbus over Serial Line V1.02, 6.2.2, bit by bit.
pub(crate) fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8)
            .fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 })
    })
}
