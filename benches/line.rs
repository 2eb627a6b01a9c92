//! A serial line in virtual time: how full it is, and what eight dead devices of 32 cost the others, beside a naive loop and a bare
//! `tokio-modbus` client loop (aims: >= 95 % of the bound, >= 98 % of the rate).
//!
//! The slaves, the wire's pace and the bounds are written from the standard (`tests/it/wire.rs`); the line task is the gateway's own.
//! Time is tokio's paused clock, so that the figures are exact and the same on every machine; it has a grain of 1 ms, as in real time.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a bench stops at the first surprise"
)]

#[path = "../tests/it/wire.rs"]
mod wire;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use lifeline_gateway::bus::master::Master;
use lifeline_gateway::bus::{Address, Read, Slave, Table};
use lifeline_gateway::clock::SystemClock;
use lifeline_gateway::gateway::line::{LineTask, Orders, Ports};
use lifeline_gateway::loss::Losses;
use lifeline_gateway::site::{self, Site};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_modbus::client::Reader;
use tokio_modbus::slave::SlaveContext;
use wire::{Answer, Wire};

const DEVICES: u8 = 32;
const LIVE: u8 = 24;
const REGISTERS: u16 = 10;
const TURNAROUND: Duration = Duration::from_millis(10);
const TIMEOUT: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(1200);

fn main() {
    for (baud, blocks) in [(9600, vec![60]), (9600, vec![10]), (115_200, vec![125, 125]), (115_200, vec![60])]
    {
        virtually(efficiency(baud, &blocks, 1));
        virtually(efficiency(baud, &blocks, 100));
    }
    for (baud, registers) in [(9600, 10), (115_200, 60)] {
        on_a_pty(baud, registers);
    }
    for every in [Duration::from_secs(2), Duration::from_secs(10)] {
        let due = f64::from(LIVE) * TIME.as_secs_f64() / every.as_secs_f64();
        let share = |polls: usize| 100.0 * f64::from(u32::try_from(polls).unwrap()) / due;
        let ours = virtually(ours(every));
        let naive = virtually(naive(every));
        let peer = virtually(peer(every));
        println!(
            "line: 9600 baud, 8 of 32 dead, timeout 1 s, every {} s: live devices keep {:.1} % of their rate (aim >= 98); \
             a naive loop over the same master {:.1} %; a bare tokio-modbus loop {:.1} %",
            every.as_secs(),
            share(ours),
            share(naive),
            share(peer)
        );
    }
}

fn virtually<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

/// A site with `devices` devices on one serial line, each with these blocks of registers 1000 apart.
fn site(baud: u32, devices: u8, blocks: &[u16], every: Duration) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut profile =
        "[profile]\nname = \"probe\"\nclass = \"io\"\nmaker = \"bench\"\nsource = \"bench\"\n".to_owned();
    for (block, count) in (0..).zip(blocks) {
        for at in 0..*count {
            let address: u16 = block * 1000 + at;
            write!(profile, "[[point]]\nname = \"p{address}\"\nat = \"holding {address}\"\ntype = \"u16\"\n")
                .unwrap();
        }
    }
    let mut text = format!("[[line]]\nname = \"a\"\nserial = {{ path = \"x\", speed = \"{baud} 8N1\" }}\n");
    for slave in 1..=devices {
        let keys = format!("line = \"a\"\nslave = {slave}\nprofile = \"probe\"\nevery = \"60s\"");
        write!(text, "[[device]]\nname = \"d{slave}\"\n{keys}\n").unwrap();
    }
    std::fs::create_dir_all(path("site")).unwrap();
    std::fs::create_dir_all(path("profiles")).unwrap();
    std::fs::write(path("site/site.toml"), text).unwrap();
    std::fs::write(path("profiles/probe.toml"), profile).unwrap();
    let options =
        site::Options { site: path("site"), profiles: Some(path("profiles")), ..site::Options::default() };
    let mut site = site::load(&options).0.unwrap();
    // Faster than `check` would let it pass: the line is to be full.
    site.devices.iter_mut().for_each(|device| device.every = every);
    site
}

/// Runs the gateway's task on the line; the polls without a failure after a minute.
async fn run(site: &Site, wire: &Wire, time: Duration) -> usize {
    let (polled_to, mut polled) = mpsc::channel(1_000_000);
    let told = Orders::of(site);
    let (_orders_to, orders) = watch::channel(told.clone());
    let spec = &site.lines[0];
    let master = Master::over(spec.settings.clone(), Box::new(wire.clone()));
    let ports = Ports { clock: Arc::new(SystemClock::new()), polled: polled_to, orders };
    let mut task = LineTask::over(master, spec, &told.site, ports);
    let _ = tokio::time::timeout(Duration::from_secs(60), task.run()).await;
    while polled.try_recv().is_ok() {}
    wire.heard();
    let _ = tokio::time::timeout(time, task.run()).await;
    std::iter::from_fn(|| polled.try_recv().ok()).filter(|polled| polled.failure.is_none()).count()
}

/// `slow`: so many times slower than the line would be, so that the grain of the clock counts so many times less.
async fn efficiency(baud: u32, blocks: &[u16], slow: u32) {
    let wire = Wire::new(baud / slow, TURNAROUND * slow);
    let time = Duration::from_secs(120);
    let mut site = site(baud, 4, blocks, Duration::from_millis(10) * slow);
    let settings = &mut site.lines[0].settings;
    if let Address::Serial { format, .. } = &mut settings.address {
        let silence = format.silence() * slow;
        format.baud /= slow;
        // Above 19200 baud the silence is not one of characters.
        settings.quiet = silence.saturating_sub(format.silence());
    }
    site.devices.iter_mut().for_each(|device| device.timeout *= slow);
    let polls = run(&site, &wire, time * slow).await;
    // From the standard: 8 bytes ask, 5 and the registers answer; t3.5, or 1.75 ms above 19200 baud, is silence.
    let character = 10.0 / f64::from(baud);
    let silence = if baud > 19_200 { 0.001_75 } else { 3.5 * character };
    let bare = |registers: &u16| f64::from(13 + 2 * registers) * character + TURNAROUND.as_secs_f64();
    let bare: f64 = blocks.iter().map(bare).sum();
    let silent = bare + silence * f64::from(u32::try_from(blocks.len()).unwrap());
    let share = |poll_s: f64| 100.0 * f64::from(u32::try_from(polls).unwrap()) * poll_s / time.as_secs_f64();
    println!(
        "line: {baud} baud, requests of {blocks:?} registers{}: {:.1} % of the bound by bytes, t3.5 and a turnaround of 10 ms \
         (aim >= 95); {:.1} % of bytes and turnaround alone, of which the standard's silence leaves at most {:.1} %",
        if slow == 1 { String::new() } else { format!(", {slow} times slower") },
        share(silent),
        share(bare),
        100.0 * bare / silent
    );
}

/// A real pty in real time, whose device answers to the microsecond: what the box itself adds to bytes, turnaround and silence.
fn on_a_pty(baud: u32, registers: u16) {
    let (to, from) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (near, far) = tokio_serial::SerialStream::pair().unwrap();
            to.send(tokio_serial::SerialPort::name(&far).unwrap()).unwrap();
            drop(far);
            answer_on_time(near, Duration::from_secs(10) / baud).await;
        });
    });
    let mut settings = site(baud, 1, &[registers], TIMEOUT).lines[0].settings.clone();
    if let Address::Serial { path, .. } = &mut settings.address {
        *path = from.recv().unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (count, seconds, gap_ms) = runtime.block_on(async {
        let (mut master, mut losses) = (Master::new(settings), Losses::default());
        let read = Read { table: Table::Holding, address: 0, count: registers };
        while master.read(Slave(1), read, TIMEOUT, &mut losses).await.outcome.is_err() {}
        let (begun, mut count) = (Instant::now(), 0_u32);
        let (mut answered, mut gaps): (Option<Instant>, Vec<Duration>) = (None, Vec::new());
        while begun.elapsed() < Duration::from_secs(8) {
            let exchange = master.read(Slave(1), read, TIMEOUT, &mut losses).await;
            count += u32::from(exchange.outcome.is_ok());
            gaps.extend(answered.replace(exchange.ended).map(|answered| exchange.sent - answered));
        }
        gaps.sort_unstable();
        (f64::from(count), begun.elapsed().as_secs_f64(), gaps[gaps.len() / 2].as_secs_f64() * 1000.0)
    });
    let character = 10.0 / f64::from(baud);
    let silence = if baud > 19_200 { 0.001_75 } else { 3.5 * character };
    let bare = f64::from(13 + 2 * registers) * character + TURNAROUND.as_secs_f64();
    println!(
        "line: pty at {baud} baud in real time, requests of {registers} registers: {:.1} % of the bound by bytes, t3.5 and a turnaround \
         of 10 ms; {:.1} % of bytes and turnaround alone, of which the standard's silence leaves at most {:.1} %; \
         from an answer to the next request {gap_ms:.2} ms (median) where t3.5 is {:.2} ms",
        100.0 * count * (bare + silence) / seconds,
        100.0 * count * bare / seconds,
        100.0 * bare / (bare + silence),
        1000.0 * silence
    );
}

/// A device whose answer's last byte comes when it would come over a wire; the last millisecond is spun away.
async fn answer_on_time(mut near: tokio_serial::SerialStream, character: Duration) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut request = [0; 8];
    loop {
        if near.read_exact(&mut request).await.is_err() {
            // Nobody has opened the other end yet.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let begun = std::time::Instant::now();
        let count = u16::from_be_bytes([request[4], request[5]]);
        let data = (0..count).flat_map(u16::to_be_bytes);
        let mut frame: Vec<u8> =
            [request[0], request[1], u8::try_from(2 * count).unwrap()].into_iter().chain(data).collect();
        frame.extend(wire::crc(&frame).to_le_bytes());
        let due = begun + character * u32::try_from(8 + frame.len()).unwrap() + TURNAROUND;
        std::thread::sleep(
            due.saturating_duration_since(std::time::Instant::now()).saturating_sub(Duration::from_millis(1)),
        );
        while std::time::Instant::now() < due {
            std::hint::spin_loop();
        }
        near.write_all(&frame).await.unwrap();
    }
}

fn half_dead() -> Wire {
    let wire = Wire::new(9600, TURNAROUND);
    wire.manners.lock().unwrap().dead = (LIVE + 1..=DEVICES).collect();
    wire
}

async fn ours(every: Duration) -> usize {
    run(&site(9600, DEVICES, &[REGISTERS], every), &half_dead(), TIME).await
}

/// When the round that comes after `begun` is due.
async fn next_round(begun: &mut Instant, every: Duration) {
    while *begun <= Instant::now() {
        *begun += every;
    }
    tokio::time::sleep_until(*begun).await;
}

/// All devices in turn, each with its timeout, once in each period.
async fn naive(every: Duration) -> usize {
    let wire = half_dead();
    let settings = site(9600, 1, &[REGISTERS], every).lines[0].settings.clone();
    let mut master = Master::over(settings, Box::new(wire.clone()));
    let (mut losses, begun) = (Losses::default(), Instant::now());
    let mut round = begun;
    while begun.elapsed() < TIME {
        for slave in 1..=DEVICES {
            let read = Read { table: Table::Holding, address: 0, count: REGISTERS };
            master.read(Slave(slave), read, TIMEOUT, &mut losses).await;
        }
        next_round(&mut round, every).await;
    }
    good(&wire)
}

/// The same with `tokio-modbus`, a timeout around each call, and t3.5 between them.
async fn peer(every: Duration) -> usize {
    let wire = half_dead();
    let mut client = tokio_modbus::client::rtu::attach(wire.connect());
    let begun = Instant::now();
    let mut round = begun;
    while begun.elapsed() < TIME {
        for slave in 1..=DEVICES {
            client.set_slave(tokio_modbus::Slave(slave));
            let _ = tokio::time::timeout(TIMEOUT, client.read_holding_registers(0, REGISTERS)).await;
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        next_round(&mut round, every).await;
    }
    good(&wire)
}

fn good(wire: &Wire) -> usize {
    wire.heard().iter().filter(|one| one.answer == Answer::Registers).count()
}
