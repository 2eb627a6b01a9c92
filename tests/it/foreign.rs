//! Never a foreign answer: devices whose every answer is unlike any other, on lines that lose, delay, cut, flip, echo and
//! babble. A value is right only when it is the answer to a request that was sent within the very call that hands it up.
//!
//! What the lines here obey, as real ones do: a device answers in the order it was asked, and each request once; damage
//! is such as the framing's check sum is sure to see (at most three flipped bits with a CRC, one with an LRC).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_gateway::bus::ascii::lrc;
use lifeline_gateway::bus::master::Master;
use lifeline_gateway::bus::port::{Opening, Port};
use lifeline_gateway::bus::rtu::crc16;
use lifeline_gateway::bus::{
    Address, Framing, LateAnswers, LineSettings, Parity, Read, SerialFormat, Slave, Table,
};
use lifeline_gateway::loss::Losses;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, sleep_until};

const TIMEOUT: Duration = Duration::from_millis(300);

/// How a line misbehaves: shares of answers in percent.
#[derive(Clone, Copy, Debug)]
struct Habits {
    lost: u64,
    late: u64,
    damaged: u64,
    noisy: u64,
    /// An answer takes this long, or is never given.
    late_max: Duration,
    echoes: bool,
}

/// A seeded source (SplitMix64).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)) % below.max(1)
    }

    fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.roll(u64::try_from(length).unwrap() + 1)).unwrap()
    }

    fn percent(&mut self, share: u64) -> bool {
        self.roll(100) < share
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.place(most)).map(|_| u8::try_from(self.roll(256)).unwrap()).collect()
    }
}

/// All requests that ever reached the device, in order.
type Heard = Arc<Mutex<Vec<(u8, u16, u16)>>>;

struct World {
    framing: Framing,
    habits: Habits,
    dice: Dice,
    heard: Heard,
}

impl Port for World {
    fn open(&mut self) -> Opening<'_> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let seed = self.dice.roll(u64::MAX);
        let device = Device {
            framing: self.framing,
            habits: self.habits,
            dice: Dice(seed),
            heard: Arc::clone(&self.heard),
            said: BTreeMap::new(),
            busy_until: now(),
        };
        beside(device.run(far));
        Box::pin(std::future::ready(Ok(Box::new(near) as _)))
    }
}

#[expect(clippy::disallowed_methods, reason = "the device of a test runs beside its master")]
fn beside(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

#[expect(clippy::disallowed_methods, reason = "the device of a test keeps its time")]
fn now() -> Instant {
    Instant::now()
}

/// What the cell at `address` holds for request `number`: no other request sees it.
fn cell(number: usize, address: u16) -> u16 {
    let word = u64::try_from(number).unwrap() << 16 | u64::from(address);
    u16::try_from(Dice(word).roll(0x1_0000)).unwrap()
}

struct Device {
    framing: Framing,
    habits: Habits,
    dice: Dice,
    heard: Heard,
    /// What will be said, by time and number.
    said: BTreeMap<(Instant, usize), Vec<u8>>,
    busy_until: Instant,
}

impl Device {
    async fn run(mut self, mut far: DuplexStream) {
        let (mut chunk, mut request) = (vec![0; 512], Vec::new());
        loop {
            let next = self.said.first_key_value().map(|((at, _), _)| *at);
            tokio::select! {
                () = sleep_until(next.unwrap_or_else(now)), if next.is_some() => {
                    let (_, bytes) = self.said.pop_first().unwrap();
                    if far.write_all(&bytes).await.is_err() { return }
                }
                got = far.read(&mut chunk) => {
                    let Ok(count @ 1..) = got else { return };
                    request.extend_from_slice(&chunk[..count]);
                    let whole = match self.framing {
                        Framing::Rtu => request.len() >= 8,
                        Framing::Mbap => request.len() >= 12,
                        Framing::Ascii => request.ends_with(b"\n"),
                    };
                    if whole {
                        self.hear(&std::mem::take(&mut request));
                    }
                }
            }
        }
    }

    fn hear(&mut self, request: &[u8]) {
        let body = match self.framing {
            Framing::Rtu => request.to_vec(),
            Framing::Mbap => request[6..].to_vec(),
            Framing::Ascii => {
                let digits = request[1..request.len() - 2].chunks(2);
                digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
            }
        };
        let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let (slave, address, count) = (body[0], word(2), word(4));
        let number = self.heard.lock().unwrap().len();
        self.heard.lock().unwrap().push((slave, address, count));
        if self.habits.echoes && self.framing != Framing::Mbap {
            self.said.insert((now(), number), request.to_vec());
        }
        if self.dice.percent(self.habits.lost) {
            return;
        }
        let cells: Vec<u8> = (0..count).flat_map(|at| cell(number, address + at).to_be_bytes()).collect();
        let pdu = [vec![body[1], u8::try_from(cells.len()).unwrap()], cells].concat();
        let frame = self.frame(slave, &pdu, request);
        let delay = match self.dice.percent(self.habits.late) {
            true => u64::try_from(self.habits.late_max.as_millis()).unwrap(),
            false => 40,
        };
        let wanted = now() + Duration::from_millis(5 + self.dice.roll(delay));
        // One device after the other, except where frames name their request.
        let due = if self.framing == Framing::Mbap { wanted } else { wanted.max(self.busy_until) };
        if due > now() + self.habits.late_max.max(TIMEOUT) {
            return;
        }
        self.busy_until = due;
        let bytes = self.spoil(frame);
        // In two pieces, at times far apart; the pieces of answers on TCP never mix.
        let cut = if self.framing == Framing::Mbap { 0 } else { self.dice.place(bytes.len()) };
        let (first, second) = bytes.split_at(cut);
        let later = due + Duration::from_millis(self.dice.roll(4));
        self.busy_until = self.busy_until.max(later);
        self.said.insert((due, 2 * number), first.to_vec());
        self.said.insert((later, 2 * number + 1), second.to_vec());
    }

    fn frame(&self, slave: u8, pdu: &[u8], request: &[u8]) -> Vec<u8> {
        let body = [&[slave], pdu].concat();
        match self.framing {
            Framing::Rtu => [body.clone(), crc16(&body).to_le_bytes().to_vec()].concat(),
            Framing::Mbap => {
                let length = u16::try_from(body.len()).unwrap().to_be_bytes();
                [&request[..4], &length, &body].concat()
            }
            Framing::Ascii => {
                let bytes = [body.clone(), vec![lrc(&body)]].concat();
                let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
                format!(":{digits}\r\n").into_bytes()
            }
        }
    }

    /// Damage that the framing is sure to see, and bytes that are not of the frame.
    fn spoil(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        if self.framing == Framing::Mbap {
            // TCP delivers what was sent or nothing.
            return frame;
        }
        if self.dice.percent(self.habits.damaged) {
            let flips = if self.framing == Framing::Rtu { 1 + self.dice.roll(3) } else { 1 };
            match self.dice.roll(2) {
                0 => frame.truncate(self.dice.place(frame.len())),
                _ => (0..flips).for_each(|_| {
                    let place = self.dice.place(frame.len() - 1);
                    frame[place] ^= 1 << self.dice.roll(8);
                }),
            }
        }
        if self.dice.percent(self.habits.noisy) {
            let noise = match self.dice.roll(3) {
                0 => self.dice.bytes(12),
                1 => self.frame(18, &[3, 4, 1, 2, 3, 4], &[]),
                _ => self.frame(17, &[0x83, 4], &[])[..3].to_vec(),
            };
            let place = match self.dice.roll(3) {
                0 => 0,
                1 => frame.len(),
                _ => self.dice.place(frame.len()),
            };
            frame.splice(place..place, noise);
        }
        frame
    }
}

fn settings(framing: Framing, served: bool, late_answers: LateAnswers) -> LineSettings {
    let format = SerialFormat { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    let to = || "device:502".to_owned();
    let address = match (framing, served) {
        (Framing::Mbap, _) => Address::Tcp(to()),
        (Framing::Rtu, true) => Address::RtuOverTcp(to()),
        (Framing::Ascii, true) => Address::AsciiOverTcp(to()),
        (framing, false) => Address::Serial { path: "device".to_owned(), format, framing, rs485: None },
    };
    LineSettings { late_answers, ..LineSettings::plain("line", address) }
}

/// How a run went.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    good: u32,
    failed: u32,
}

/// Asks again and again until `until` has passed; fails at the first wrong value. `rest` follows each failure.
async fn run(
    settings: LineSettings,
    habits: Habits,
    seed: u64,
    counts: &[u16],
    until: Duration,
    rest: Duration,
    is_fenced: bool,
) -> Result<Run, String> {
    let heard = Heard::default();
    let world =
        World { framing: settings.address.framing(), habits, dice: Dice(seed), heard: Arc::clone(&heard) };
    let mut master = Master::over(settings, Box::new(world));
    if counts == [1] && is_fenced {
        // As the gateway does where a profile's `gap` lets it: a single register leaves no shorter request.
        let longer = Read { table: Table::Holding, address: 3, count: 2 };
        for slave in [17, 19].map(Slave) {
            master.allow(slave, &[longer]);
            // One that was never answered is not tried for long.
            while master.read(slave, longer, TIMEOUT, &mut Losses::default()).await.outcome.is_err() {
                sleep(rest).await;
            }
        }
    }
    let (mut dice, mut losses, mut run) = (Dice(!seed), Losses::default(), Run::default());
    let begun = now();
    while now() < begun + until {
        let slave = if dice.percent(70) { 17 } else { 19 };
        let count = counts[dice.place(counts.len() - 1)];
        let address = u16::try_from(dice.roll(4)).unwrap() * 16;
        let before = heard.lock().unwrap().len();
        let read = Read { table: Table::Holding, address, count };
        let exchange = master.read(Slave(slave), read, TIMEOUT, &mut losses).await;
        let Ok(cells) = exchange.outcome else {
            run.failed += 1;
            sleep(rest).await;
            continue;
        };
        run.good += 1;
        let asked = heard.lock().unwrap();
        let right = (before..asked.len()).filter(|number| asked[*number] == (slave, address, count));
        let values =
            |number, address| (0..count).map(move |at| cell(number, address + at)).collect::<Vec<_>>();
        if !right.clone().any(|number| values(number, address) == cells) {
            let alike = |number: usize| {
                values(number, asked[number].1).iter().zip(&cells).filter(|(one, other)| one == other).count()
            };
            let whose: Vec<(usize, usize, (u8, u16, u16))> = (0..asked.len())
                .map(|number| (alike(number), number, asked[number]))
                .filter(|(alike, ..)| *alike > 0)
                .collect();
            return Err(format!(
                "{cells:?} for request {before}.. of {slave}, {address}, {count}: the answer to (cells alike, request, what) {whose:?}"
            ));
        }
    }
    Ok(run)
}

fn played(
    settings: LineSettings,
    habits: Habits,
    seed: u64,
    counts: &[u16],
    until_s: u64,
    rest: Duration,
) -> Result<Run, String> {
    played_as(settings, habits, seed, counts, (until_s, rest), false)
}

fn played_as(
    settings: LineSettings,
    habits: Habits,
    seed: u64,
    counts: &[u16],
    (until_s, rest): (u64, Duration),
    is_fenced: bool,
) -> Result<Run, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run(settings, habits, seed, counts, Duration::from_secs(until_s), rest, is_fenced))
}

fn any_habits() -> impl Strategy<Value = Habits> {
    (0..40_u64, 0..40_u64, 0..30_u64, 0..40_u64, any::<bool>()).prop_map(
        |(lost, late, damaged, noisy, echoes)| Habits {
            lost,
            late,
            damaged,
            noisy,
            late_max: Duration::from_secs(4),
            echoes,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Single registers, where the device may be asked for two: answers may be later than any drain.
    #[test]
    fn no_late_single_register_is_taken_for_another(
        habits in any_habits(),
        framing in prop::sample::select(vec![Framing::Rtu, Framing::Ascii]),
        served in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let settings = settings(framing, served, LateAnswers::Fence);
        let run = played_as(settings, habits, seed, &[1], (60, Duration::ZERO), true);
        prop_assert!(run.is_ok(), "{run:?}");
    }

    /// A modem that holds answers back for minutes.
    #[test]
    fn minutes_late_is_late_too(
        habits in any_habits(),
        framing in prop::sample::select(vec![Framing::Rtu, Framing::Ascii]),
        counts in prop::sample::select(vec![vec![1], vec![2, 3, 10]]),
        seed in any::<u64>(),
    ) {
        let habits = Habits { late_max: Duration::from_secs(200), ..habits };
        let settings = settings(framing, true, LateAnswers::Fence);
        let run = played_as(settings, habits, seed, &counts, (600, Duration::from_secs(20)), true);
        prop_assert!(run.is_ok(), "{run:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn no_interleaving_yields_a_foreign_value(
        habits in any_habits(),
        framing in prop::sample::select(vec![Framing::Rtu, Framing::Ascii, Framing::Mbap]),
        served in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let settings = settings(framing, served, LateAnswers::Fence);
        let run = played(settings, habits, seed, &[2, 3, 10], 60, Duration::ZERO);
        prop_assert!(run.is_ok(), "{run:?}");
    }

    /// A single register leaves no shorter request; then the line falls quiet for the timeout, which is enough while
    /// answers are no later than that.
    #[test]
    fn a_drain_tells_answers_apart_that_are_late_by_no_more_than_the_timeout(
        habits in any_habits(),
        framing in prop::sample::select(vec![Framing::Rtu, Framing::Ascii]),
        late_answers in prop::sample::select(vec![LateAnswers::Fence, LateAnswers::Drain]),
        seed in any::<u64>(),
    ) {
        let habits = Habits { late_max: TIMEOUT * 2 - Duration::from_millis(20), ..habits };
        let run = played(settings(framing, true, late_answers), habits, seed, &[1], 60, Duration::ZERO);
        prop_assert!(run.is_ok(), "{run:?}");
    }
}

/// What a storm leaves of a line: exchanges that gave their value in ten minutes, as a share of those of a calm line.
#[test]
fn a_fence_keeps_more_of_a_storm_than_a_drain() {
    let calm = Habits { lost: 0, late: 0, damaged: 0, noisy: 0, late_max: Duration::ZERO, echoes: false };
    let storm =
        Habits { lost: 10, late: 12, damaged: 8, noisy: 10, late_max: Duration::from_secs(1), echoes: false };
    let kept = |late_answers, rest: Duration| {
        let settings = || settings(Framing::Rtu, false, late_answers);
        let good = |habits| played(settings(), habits, 7, &[2, 3, 10], 600, rest).unwrap().good;
        let (ideal, got) = (good(calm), good(storm));
        (f64::from(got) / f64::from(ideal) * 100.0, got, ideal)
    };
    let fence = kept(LateAnswers::Fence, Duration::ZERO);
    let drain = kept(LateAnswers::Drain, Duration::from_secs(3));
    println!(
        "kept of a calm line's exchanges in a storm, no wrong number: fence {:.1} % ({} of {}), drain of 3 s {:.1} % ({} of {})",
        fence.0, fence.1, fence.2, drain.0, drain.1, drain.2
    );
    assert!(fence.0 > 2.0 * drain.0, "{fence:?} {drain:?}");
}
