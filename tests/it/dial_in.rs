//! 500 simulated DTUs of five vendors dial in on loopback, answer Modbus with heartbeats inside their replies, and half of them
//! reconnect during the run. Each holds its own number and counts its answers, so a crossed, late or lost value is always seen.
//! The DTUs' side is written here by hand from the vendors' formats: it shares nothing with the gateway's.
//! These tests run in real time on loopback sockets.

#![expect(clippy::disallowed_methods, reason = "sockets live in real time, and the test serves both sides")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lifeline_gateway::bus::master::Master;
use lifeline_gateway::bus::port::dial_in::door::Doors;
use lifeline_gateway::bus::port::dial_in::{Dtu, Kind, Manner};
use lifeline_gateway::bus::{Address, Failure, Framing, LineSettings, Read, Slave, Table};
use lifeline_gateway::loss::Losses;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

const EACH: u32 = 100;
const ROUNDS: u32 = 14;
const EVERY: Duration = Duration::from_millis(400);
const TIMEOUT: Duration = Duration::from_millis(1500);
const READ: Read = Read { table: Table::Holding, address: 0, count: 4 };

#[derive(Clone, Copy, Debug, PartialEq)]
enum Vendor {
    Usr,
    Hongdian,
    FourFaith,
    InHand,
    Alotcer,
}

const VENDORS: [Vendor; 5] =
    [Vendor::Usr, Vendor::Hongdian, Vendor::FourFaith, Vendor::InHand, Vendor::Alotcer];

/// How a DTU leaves its connection in the middle of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaves {
    Never,
    /// After an answer.
    Closing,
    /// In the middle of an answer.
    Torn,
    /// Without a word: the old connection stays open and silent, as after a lost radio link.
    Silent,
}

impl Vendor {
    fn id(self, number: u32) -> Vec<u8> {
        match self {
            Self::Usr => format!("LOGIN:{}", 10_000 + number).into_bytes(),
            _ => format!("138{number:08}").into_bytes(),
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Usr => Kind::Plain,
            Self::Hongdian => Kind::Ddp { after: false },
            Self::FourFaith => Kind::FourFaith,
            Self::InHand => Kind::InHand,
            Self::Alotcer => Kind::Alotcer,
        }
    }

    fn heartbeat(self, id: &[u8]) -> Vec<u8> {
        match self {
            Self::Usr => b"HEART".to_vec(),
            Self::Hongdian => self.registration(id),
            Self::FourFaith | Self::InHand => vec![0xFE],
            Self::Alotcer => alotcer(0x30, id, b"HEARTBEAT"),
        }
    }

    fn registration(self, id: &[u8]) -> Vec<u8> {
        match self {
            Self::Usr => id.to_vec(),
            Self::Hongdian => ddp(0x01, id, &[10, 0, 0, 5, 0x13, 0x89]),
            Self::FourFaith => [&[0x78, 0x56, 0x34, 0x12], id, &[0, 192, 168, 1, 66, 0]].concat(),
            Self::InHand => [&[0xAA, 1], id, &[0x0D]].concat(),
            Self::Alotcer => alotcer(0x31, id, b"10.0.0.5,5020"),
        }
    }

    /// Serial bytes as the DTU sends them, with a heartbeat inside.
    fn up(self, id: &[u8], bytes: &[u8]) -> Vec<u8> {
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        let beat = self.heartbeat(id);
        match self {
            // In front of an answer, or in its middle, where only its check sum tells them apart.
            Self::Usr | Self::InHand if id.ends_with(b"1") => [&beat, bytes].concat(),
            Self::Usr | Self::InHand => [head, &beat, tail].concat(),
            Self::Hongdian => [ddp(0x09, id, head), beat, ddp(0x09, id, tail)].concat(),
            Self::Alotcer => [alotcer(0x32, id, head), beat, alotcer(0x32, id, tail)].concat(),
            Self::FourFaith => [escape(head), beat, escape(tail)].concat(),
        }
    }

    /// The first whole request in what the gateway sent, taken out.
    fn down(self, held: &mut Vec<u8>) -> Option<Vec<u8>> {
        loop {
            let length = match (self, held.as_slice()) {
                (Self::Usr | Self::InHand, [_, _, _, _, _, _, _, _, ..]) => 8,
                (Self::Hongdian, [0x7B, _, high, low, ..]) => usize::from(u16::from_be_bytes([*high, *low])),
                (Self::Alotcer, [0x7B, _, low, high, ..]) => {
                    4 + usize::from(u16::from_le_bytes([*low, *high]))
                }
                (Self::FourFaith, bytes) => {
                    let escapes = bytes.iter().filter(|byte| **byte == 0xFD).count();
                    (bytes.len() == 8 + escapes).then_some(bytes.len())?
                }
                _ => return None,
            };
            if held.len() < length {
                return None;
            }
            let frame: Vec<u8> = held.drain(..length).collect();
            match (self, frame.as_slice()) {
                (Self::Usr | Self::InHand, _) => return Some(frame),
                (Self::FourFaith, _) => return Some(unescape(&frame)),
                (_, [_, 0x89 | 0x32, ..]) => return Some(frame[15..length - 1].to_vec()),
                // Replies to registrations, data and heartbeats.
                _ => {}
            }
        }
    }
}

fn ddp(kind: u8, id: &[u8], data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(16 + data.len()).unwrap().to_be_bytes();
    [&[0x7B, kind], length.as_slice(), id, data, &[0x7B]].concat()
}

fn alotcer(kind: u8, id: &[u8], data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + data.len()).unwrap().to_le_bytes();
    [&[0x7B, kind], length.as_slice(), id, data, &[0x7D]].concat()
}

fn escape(bytes: &[u8]) -> Vec<u8> {
    let one = |byte: &u8| match byte {
        0xFD => vec![0xFD, 0xED],
        0xFE => vec![0xFD, 0xEE],
        _ => vec![*byte],
    };
    bytes.iter().flat_map(one).collect()
}

fn unescape(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes.iter());
    while let Some(byte) = rest.next() {
        out.push(match byte {
            0xFD => rest.next().unwrap() ^ 0x10,
            _ => *byte,
        });
    }
    out
}

fn crc(bytes: &[u8]) -> [u8; 2] {
    let one = |crc: u16, _| if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 };
    bytes.iter().fold(0xFFFF, |crc, byte| (0..8).fold(crc ^ u16::from(*byte), one)).to_le_bytes()
}

/// The answer of a device that holds its number and a count.
fn answer(number: u32, count: u32) -> Vec<u8> {
    let body = [&[1, 3, 8], number.to_be_bytes().as_slice(), &count.to_be_bytes()].concat();
    [body.as_slice(), &crc(&body)].concat()
}

/// Lives as one DTU; `answered` counts the answers that were sent whole.
async fn dtu(vendor: Vendor, number: u32, to: SocketAddr, leaves: Leaves, answered: Arc<AtomicU32>) {
    let id = vendor.id(number);
    let mut forgotten = Vec::new();
    let mut lives = 0;
    // Each has an address of its own, as in a private network of a carrier.
    let [_, _, high, low] = number.to_be_bytes();
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 1, high, low], 0))).unwrap();
        let Ok(mut socket) = socket.connect(to).await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        socket.set_nodelay(true).unwrap();
        // What stood in its buffer while it was off line: an answer from long ago, glued to the registration.
        let stale = vendor.up(&id, &answer(number, u32::MAX));
        socket.write_all(&[vendor.registration(&id), stale].concat()).await.unwrap();
        lives += 1;
        let leave_after = if lives == 1 && leaves != Leaves::Never { 4 + number % 3 } else { u32::MAX };
        let ended = live(&mut socket, vendor, number, leaves, leave_after, &answered).await;
        if ended == Leaves::Silent {
            forgotten.push(socket);
        }
        sleep(Duration::from_millis(u64::from(number % 7) * 20)).await;
    }
}

async fn live(
    socket: &mut TcpStream,
    vendor: Vendor,
    number: u32,
    leaves: Leaves,
    leave_after: u32,
    answered: &AtomicU32,
) -> Leaves {
    let (mut held, mut chunk) = (Vec::new(), [0; 600]);
    let id = vendor.id(number);
    let mut asked = 0;
    loop {
        match socket.read(&mut chunk).await {
            Ok(count) if count > 0 => held.extend_from_slice(&chunk[..count]),
            _ => return Leaves::Closing,
        }
        while let Some(request) = vendor.down(&mut held) {
            let [1, 3, 0, 0, 0, cells, ..] = request[..] else {
                panic!("{vendor:?} {number}: {request:02x?}")
            };
            if cells < 4 {
                // After a silence fewer cells are asked for first; that answer is of no use but to be told apart.
                let whole = answer(number, u32::MAX);
                let body = [&[1, 3, cells * 2], &whole[3..3 + usize::from(cells) * 2]].concat();
                let short = [body.as_slice(), &crc(&body)].concat();
                if socket.write_all(&vendor.up(&id, &short)).await.is_err() {
                    return Leaves::Closing;
                }
                continue;
            }
            assert_eq!(request, [1, 3, 0, 0, 0, 4, 0x44, 0x09], "{vendor:?} {number}");
            asked += 1;
            let bytes = vendor.up(&id, &answer(number, answered.load(Ordering::SeqCst)));
            if asked == leave_after && leaves != Leaves::Closing {
                let part = if leaves == Leaves::Torn { bytes.len() / 2 } else { 0 };
                let _ = socket.write_all(&bytes[..part]).await;
                return leaves;
            }
            // In two parts, as a serial packing timer cuts it.
            let (head, tail) = bytes.split_at(bytes.len() * 2 / 3);
            socket.write_all(head).await.unwrap();
            if number.is_multiple_of(4) {
                sleep(Duration::from_millis(60)).await;
            }
            // Before it is sent: the other side may be done with it before this side goes on.
            answered.fetch_add(1, Ordering::SeqCst);
            if socket.write_all(tail).await.is_err() {
                answered.fetch_sub(1, Ordering::SeqCst);
                return Leaves::Closing;
            }
            if asked == leave_after {
                return leaves;
            }
        }
    }
}

fn settings(vendor: Vendor, number: u32, listen: SocketAddr) -> LineSettings {
    let heartbeat = match vendor {
        Vendor::Usr | Vendor::InHand => vendor.heartbeat(b""),
        _ => Vec::new(),
    };
    let name = format!("dtu-{number}");
    let dtu = Dtu {
        name: name.clone(),
        listen,
        framing: Framing::Rtu,
        id: vendor.id(number),
        manner: Manner { kind: vendor.kind(), heartbeat: heartbeat.clone(), ..Manner::default() },
        lively: (EVERY + TIMEOUT) * 2,
        idle: Duration::from_secs(60),
    };
    let heartbeats = [heartbeat].into_iter().filter(|bytes| !bytes.is_empty()).collect();
    let address = Address::DialIn(Box::new(dtu));
    LineSettings { timeout: TIMEOUT, heartbeats, ..LineSettings::plain(&name, address) }
}

/// A free port on loopback.
fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[derive(Debug, Default)]
struct Outcome {
    values: u32,
    failures: Vec<(u32, Failure)>,
    answered_last: bool,
}

/// Polls one line; a wrong value fails at once.
async fn poll(mut master: Master, number: u32, begun: Arc<AtomicU32>) -> Outcome {
    let (mut outcome, mut last) = (Outcome::default(), None);
    let mut losses = Losses::default();
    // The first connection takes its drain.
    while outcome.values == 0 {
        let exchange = master.read(Slave(1), READ, TIMEOUT, &mut losses).await;
        match exchange.outcome {
            Ok(cells) => {
                last = Some(check(&cells, number, last));
                outcome.values += 1;
            }
            Err(failure) if master.trouble().is_some_and(|why| why.contains("has not dialled in")) => {
                assert_eq!(failure, Failure::LineDown);
            }
            Err(failure) => outcome.failures.push((0, failure)),
        }
        sleep(Duration::from_millis(50)).await;
    }
    begun.fetch_add(1, Ordering::SeqCst);
    for round in 0..ROUNDS {
        sleep(EVERY).await;
        let exchange = master.read(Slave(1), READ, TIMEOUT, &mut losses).await;
        outcome.answered_last = exchange.outcome.is_ok();
        match exchange.outcome {
            Ok(cells) => {
                last = Some(check(&cells, number, last));
                outcome.values += 1;
            }
            Err(failure) => outcome.failures.push((round, failure)),
        }
    }
    outcome
}

/// The count in the answer: of this device, and later than the one before.
fn check(cells: &[u16], number: u32, last: Option<u32>) -> u32 {
    let [high, low, count_high, count_low] = *cells else { panic!("{cells:?}") };
    let pair = |high: u16, low: u16| u32::from(high) << 16 | u32::from(low);
    assert_eq!(pair(high, low), number, "a value of another device");
    let count = pair(count_high, count_low);
    assert!(
        count != u32::MAX && last.is_none_or(|last| count == last + 1),
        "{number}: {last:?}, then {count}"
    );
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_dtus_reconnect_and_no_value_is_lost_or_crossed() {
    let mut lines = Vec::new();
    for (vendor, base) in VENDORS.into_iter().zip((0..).step_by(1000)) {
        let listen = free();
        lines.extend((base..base + EACH).map(|number| (vendor, number, listen)));
    }
    let settings: Vec<LineSettings> =
        lines.iter().map(|(vendor, number, listen)| settings(*vendor, *number, *listen)).collect();
    let doors = Doors::new(settings.iter());
    let lost = Arc::new(std::sync::Mutex::new(Losses::default()));
    for door in doors.all() {
        let lost = Arc::clone(&lost);
        tokio::spawn(async move {
            door.run(|losses| {
                for (loss, place, count) in losses.drain() {
                    lost.lock().unwrap().record(loss, &place, count);
                }
            })
            .await;
        });
    }
    let begun = Arc::new(AtomicU32::new(0));
    let mut polls = Vec::new();
    for ((vendor, number, listen), line) in lines.iter().copied().zip(&settings) {
        let leaves = match number % 8 {
            0 => Leaves::Closing,
            1 | 2 => Leaves::Torn,
            3 => Leaves::Silent,
            _ => Leaves::Never,
        };
        let answered = Arc::new(AtomicU32::new(0));
        tokio::spawn(dtu(vendor, number, listen, leaves, Arc::clone(&answered)));
        let master = Master::over(line.clone(), doors.port(line));
        let polled = tokio::spawn(poll(master, number, Arc::clone(&begun)));
        polls.push((vendor, number, leaves, answered, polled));
    }
    let (mut values, mut failures) = (0, 0);
    for (vendor, number, leaves, answered, polled) in polls {
        let outcome = polled.await.unwrap();
        let place = format!("{vendor:?} {number} {leaves:?}: {outcome:?}");
        assert_eq!(outcome.values, answered.load(Ordering::SeqCst), "an answer was lost: {place}");
        assert!(outcome.answered_last, "it did not come back: {place}");
        // An outage of its own making costs the polls of a second and a half at most.
        let bearable = if leaves == Leaves::Never { 0 } else { 4 };
        assert!(outcome.failures.len() <= bearable, "{place}");
        values += outcome.values;
        failures += outcome.failures.len();
    }
    assert_eq!(begun.load(Ordering::SeqCst), 500);
    let mut sums = std::collections::BTreeMap::new();
    for (loss, _, count) in lost.lock().unwrap().drain() {
        *sums.entry(loss.name()).or_insert(0) += count;
    }
    assert!(sums["stray_bytes"] > 750 * 13, "stale answers are discarded: {sums:?}");
    assert!(sums["replaced_session"] >= 60, "silent connections are replaced: {sums:?}");
    assert!(!sums.contains_key("refused_dial_in") && !sums.contains_key("unknown_dial_in"), "{sums:?}");
    println!(
        "500 DTUs, 250 reconnected: {values} values, none wrong, {failures} polls failed in outages; {sums:?}"
    );
}
