//! 213 scripted ways of a slave to answer wrongly (`tests/faults/modbus_faults.json`), played byte by byte to the real
//! master: over duplex pipes in paused time, and over loopback sockets and ptys in real time.
//!
//! A step passes when its outcome is of an accepted class, its values are the right ones, and nothing that must never be
//! handed up is; the counters that it names go up; and the clean request at the end succeeds, over the same connection or
//! a new one as the case wants it. The cases fix each request to the byte, so they are played on lines that drain; on
//! lines that fence, the slave answers the fences as a device would: after what it still owes.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_gateway::bus::ask::Write;
use lifeline_gateway::bus::master::Master;
use lifeline_gateway::bus::port::{Opening, Port, Stream};
use lifeline_gateway::bus::rtu::crc16;
use lifeline_gateway::bus::{
    Address, Exchange, Failure, Framing, LateAnswers, LineSettings, Parity, Read, SerialFormat, Slave, Table,
};
use lifeline_gateway::loss::{Loss, Losses};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_serial::{SerialPort, SerialStream};

/// When the next request follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// After all that the slave says before the time-out, as the cases mean it.
    Patient,
    /// At once, into what the slave still says. Then requests may fail, but nothing wrong may be handed up.
    Hasty,
    /// At once, on a line that fences.
    Fenced,
}

/// What lies between master and slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// Pipes in memory.
    Pipes,
    /// Loopback sockets and ptys, with all times of the case longer by this factor.
    Real(u32),
}

/// A case on one of its transports.
#[derive(Clone)]
struct Played {
    case: Value,
    transport: String,
    pace: Pace,
    wire: Wire,
}

impl Played {
    fn name(&self) -> String {
        format!("{} {} {:?}", self.transport, self.case["id"].as_str().unwrap(), self.pace)
    }

    fn time(&self, ms: &Value) -> Duration {
        let scale = if let Wire::Real(scale) = self.wire { scale } else { 1 };
        Duration::from_millis(ms.as_u64().unwrap_or(0)) * scale
    }

    fn is_serial(&self) -> bool {
        matches!(self.transport.as_str(), "rtu" | "ascii")
    }
}

/// Each case on its transport and on those that it holds for, too; ASCII also through a serial server.
fn every_case(wire: Wire, paces: &[Pace]) -> Vec<Played> {
    let text = fs::read_to_string("tests/faults/modbus_faults.json").unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut all = Vec::new();
    for case in document["cases"].as_array().unwrap() {
        let also = case["also"].as_array().into_iter().flatten().cloned();
        let own = case["transport"].clone();
        let served = (own == "ascii").then(|| json!("ascii_over_tcp"));
        for transport in [own].into_iter().chain(also).chain(served) {
            for pace in paces {
                all.push(Played {
                    case: case.clone(),
                    transport: transport.as_str().unwrap().to_owned(),
                    pace: *pace,
                    wire,
                });
            }
        }
    }
    let ids: std::collections::BTreeSet<_> = all.iter().map(|played| played.case["id"].to_string()).collect();
    assert_eq!(ids.len(), 213);
    all
}

#[test]
fn every_scripted_fault_ends_right() {
    let mut failed = BTreeMap::new();
    let all = every_case(Wire::Pipes, &[Pace::Patient, Pace::Hasty, Pace::Fenced]);
    for played in &all {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        if let Err(why) = runtime.block_on(play(played)) {
            failed.insert(played.name(), why);
        }
    }
    println!("{} played in virtual time", all.len());
    assert_eq!(failed, BTreeMap::new());
}

#[test]
fn every_scripted_fault_ends_right_over_sockets_and_ptys() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let begun = now();
    let mut failed = BTreeMap::new();
    let mut left = every_case(Wire::Real(1), &[Pace::Patient]);
    let count = left.len();
    // A machine under load says late what a case times; the same case with longer times says what it means, except
    // where a limit of the standard is timed.
    for scale in [1, 2, 5, 1] {
        failed.clear();
        let trying = left.iter().map(|played| Played { wire: Wire::Real(scale), ..played.clone() });
        let outcomes = futures_util::future::join_all(trying.map(|played| async move {
            let outcome = play(&played).await;
            (played, outcome)
        }));
        let (outcomes, late) = runtime.block_on(lateness(outcomes));
        left.clear();
        for (played, outcome) in outcomes {
            let Err(why) = outcome else { continue };
            // A slave that spoke after the master's drain instead of within it has not played the case; the next round does.
            let meant = late < LATE_MAX * scale;
            assert!(!meant || !why.contains("false value"), "{}: {why}, late by {late:?}", played.name());
            failed.insert(played.name(), why);
            left.push(played);
        }
        println!(
            "{count} cases over real wires, times x{scale}, late by {late:?}: {} failed, {failed:?}",
            left.len()
        );
        if left.is_empty() {
            break;
        }
    }
    assert_eq!(failed, BTreeMap::new());
    assert!(begun.elapsed() < Duration::from_secs(60), "took {:?}", begun.elapsed());
}

/// What the players may be late by while a case still means what it times, at times as they are written: RTU-096 leaves 90 ms.
const LATE_MAX: Duration = Duration::from_millis(30);

/// The outcome of `work`, and by how much this thread came late to a timer meanwhile, at most.
async fn lateness<T>(work: impl Future<Output = T>) -> (T, Duration) {
    const BEAT: Duration = Duration::from_millis(5);
    let mut late = Duration::ZERO;
    let mut work = std::pin::pin!(work);
    loop {
        let asleep = now();
        tokio::select! {
            biased;
            () = sleep(BEAT) => late = late.max(asleep.elapsed().saturating_sub(BEAT)),
            done = &mut work => return (done, late),
        }
    }
}

fn chunks(step: &Value) -> impl Iterator<Item = &Value> {
    step["slave"].as_array().into_iter().flatten()
}

fn bytes(hex: &Value) -> Vec<u8> {
    unhex(hex.as_str().unwrap().as_bytes())
}

fn unhex(digits: &[u8]) -> Vec<u8> {
    let pairs = digits.chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

enum Asked {
    Read(Read),
    Write(Write),
}

/// What a request asks of whom.
fn asked_of(request: &[u8], transport: &str) -> (Slave, Asked) {
    let body = match transport {
        "tcp" => request[6..].to_vec(),
        "ascii" | "ascii_over_tcp" => unhex(&request[1..request.len() - 2]),
        _ => request.to_vec(),
    };
    let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let (address, count) = (word(2), word(4));
    let read = |table| Asked::Read(Read { table, address, count });
    let asked = match body[1] {
        1 => read(Table::Coil),
        2 => read(Table::Discrete),
        3 => read(Table::Holding),
        4 => read(Table::Input),
        5 => Asked::Write(Write::Coil { address, on: count == 0xFF00 }),
        6 => Asked::Write(Write::Register { address, value: count }),
        15 => {
            let on = (0..usize::from(count)).map(|bit| body[7 + bit / 8] >> (bit % 8) & 1 == 1);
            Asked::Write(Write::Coils { address, on: on.collect() })
        }
        _ => {
            let values = (0..usize::from(count)).map(|cell| word(7 + 2 * cell));
            Asked::Write(Write::Registers { address, values: values.collect() })
        }
    };
    (Slave(body[0]), asked)
}

/// How long the request is that begins so.
fn request_length(bytes: &[u8], transport: &str) -> Option<usize> {
    let long = |function: usize, count: usize| match bytes.get(function)? {
        15 | 16 => Some(usize::from(*bytes.get(count)?)),
        _ => Some(0),
    };
    match transport {
        "tcp" => Some(6 + usize::from(*bytes.get(5)?)),
        "ascii" | "ascii_over_tcp" => Some(bytes.iter().position(|byte| *byte == b'\n')? + 1),
        _ => long(1, 6).map(|data| if data == 0 { 8 } else { 9 + data }),
    }
}

enum Say {
    /// Bytes; told when they are on the wire.
    Bytes(Vec<u8>, oneshot::Sender<()>),
    Fin,
    Rst,
}

/// Transaction ids by step, with the connection they came on.
type Sent = Arc<Mutex<Vec<(usize, [u8; 2])>>>;

/// The slave's side: connections in order of opening, requests in order of arrival.
#[derive(Clone)]
struct World {
    connections: Arc<Mutex<Vec<mpsc::Sender<Say>>>>,
    requests: mpsc::Sender<(usize, Vec<u8>)>,
    /// Bytes that a connection says as soon as it's open.
    greeting: Arc<Mutex<Vec<u8>>>,
    transport: String,
    /// Where the real wire leads.
    address: Option<Address>,
}

impl World {
    fn opened(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// Takes a connection to the slave into service.
    fn serve<S: Stream + 'static>(&self, far: S, reset: fn(&S)) {
        let (says, heard) = mpsc::channel(1024);
        let mut connections = self.connections.lock().unwrap();
        connections.push(says);
        let (requests, transport) = (self.requests.clone(), self.transport.clone());
        beside(serve(far, heard, connections.len() - 1, requests, transport, reset));
    }
}

#[expect(clippy::disallowed_methods, reason = "the slave of a test runs beside its master")]
fn beside(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

#[expect(clippy::disallowed_methods, reason = "the player of a test keeps its time")]
fn now() -> Instant {
    Instant::now()
}

async fn serve<S: Stream>(
    mut far: S,
    mut says: mpsc::Receiver<Say>,
    number: usize,
    requests: mpsc::Sender<(usize, Vec<u8>)>,
    transport: String,
    reset: fn(&S),
) {
    let (mut heard, mut chunk) = (Vec::new(), vec![0; 512]);
    loop {
        tokio::select! {
            say = says.recv() => match say {
                Some(Say::Bytes(bytes, through)) => {
                    if far.write_all(&bytes).await.is_err() { return }
                    let _ = through.send(());
                }
                Some(Say::Fin) => { let _ = far.shutdown().await; }
                Some(Say::Rst) => return reset(&far),
                None => return,
            },
            got = far.read(&mut chunk) => {
                let Ok(count @ 1..) = got else { return };
                heard.extend_from_slice(&chunk[..count]);
                while let Some(length) = request_length(&heard, &transport).filter(|length| *length <= heard.len()) {
                    let request = heard.drain(..length).collect();
                    if requests.send((number, request)).await.is_err() { return }
                }
            }
        }
    }
}

impl Port for World {
    fn open(&mut self) -> Opening<'_> {
        let greeting = std::mem::take(&mut *self.greeting.lock().unwrap());
        let Some(address) = self.address.clone() else {
            let (near, mut far) = tokio::io::duplex(64 * 1024);
            use futures_util::FutureExt;
            far.write_all(&greeting).now_or_never().unwrap().unwrap();
            self.serve(far, |_| {});
            return Box::pin(std::future::ready(Ok(Box::new(near) as _)));
        };
        let world = self.clone();
        Box::pin(async move {
            let before = world.opened();
            let stream = lifeline_gateway::bus::port::Outward(address.clone()).open().await?;
            while !matches!(address, Address::Serial { .. }) && world.opened() == before {
                sleep(Duration::from_millis(1)).await;
            }
            let says = world.connections.lock().unwrap().last().unwrap().clone();
            if !greeting.is_empty() {
                let (through, told) = oneshot::channel();
                let _ = says.send(Say::Bytes(greeting, through)).await;
                let _ = told.await;
                sleep(Duration::from_millis(20)).await;
            }
            Ok(stream)
        })
    }
}

/// What is known of the steps so far: the connection and transaction id of each, and how many have ended.
#[derive(Clone)]
struct Story {
    played: Played,
    world: World,
    sent: Sent,
    ended: watch::Receiver<usize>,
    /// Scripts that are not at their end.
    speaking: Arc<Mutex<u32>>,
    /// Chunks of each step that were said so far.
    said: watch::Sender<BTreeMap<usize, usize>>,
}

impl Story {
    /// Plays the chunks of a step (or what comes unasked before it) on the connection `present`.
    async fn play(self, script: Vec<Value>, index: usize, present: usize) {
        for chunk in script {
            let delay = self.played.time(&chunk["delay_ms"]);
            let until_timeout = chunk["repeat"] == "until_timeout";
            loop {
                sleep(delay).await;
                if until_timeout && *self.ended.borrow() > index {
                    break;
                }
                let alive = self.write(&chunk, present).await;
                self.said.send_modify(|said| *said.entry(index).or_default() += 1);
                if !until_timeout || !alive {
                    break;
                }
            }
        }
        *self.speaking.lock().unwrap() -= 1;
    }

    async fn write(&self, chunk: &Value, present: usize) -> bool {
        let number = match chunk["conn"].as_u64() {
            _ if self.played.is_serial() => self.world.opened() - 1,
            Some(step) => self.sent.lock().unwrap()[usize::try_from(step).unwrap()].0,
            None => present,
        };
        let mut bytes = bytes(&chunk["hex"]);
        for patch in chunk["tid"].as_array().into_iter().flatten() {
            let value = |name: &str| usize::try_from(patch[name].as_u64().unwrap()).unwrap();
            let id = u16::from_be_bytes(self.sent.lock().unwrap()[value("step")].1);
            let [high, low] = id.wrapping_add(u16::try_from(value("add")).unwrap()).to_be_bytes();
            let at = value("at");
            match patch["part"].as_str() {
                None => bytes[at..at + 2].copy_from_slice(&[high, low]),
                Some("hi") => bytes[at] = high,
                Some(_) => bytes[at] = low,
            }
        }
        let connection = self.world.connections.lock().unwrap()[number].clone();
        let (through, told) = oneshot::channel();
        let _ = connection.send(Say::Bytes(bytes, through)).await;
        let alive = told.await.is_ok();
        for name in ["action", "action_after"] {
            let _ = match chunk[name].as_str() {
                Some("fin") => connection.send(Say::Fin).await,
                Some("rst") => connection.send(Say::Rst).await,
                // A listener gives up the old connection of a DTU that dials in anew.
                Some("new_connection") => connection.send(Say::Fin).await,
                _ => Ok(()),
            };
        }
        alive
    }

    /// Answers requests in their order. A fence is answered after what is owed to earlier requests.
    async fn answer(self, steps: Vec<Value>, mut asked: mpsc::Receiver<(usize, Vec<u8>)>) {
        let mut steps: VecDeque<(usize, Value)> = steps.into_iter().enumerate().collect();
        while let Some((number, request)) = asked.recv().await {
            let Some((index, mut step)) = steps.pop_front() else { return };
            let wanted = bytes(&step["request"]);
            let same = match self.played.transport.as_str() {
                "tcp" => request[2..] == wanted[2..],
                _ => request == wanted,
            };
            if !same {
                assert_eq!(self.played.pace, Pace::Fenced, "step {index} asks {request:02x?}");
                let script = step["slave"].as_array_mut().unwrap();
                let mut owed = Vec::new();
                script.retain(|chunk| {
                    let late = !chunk["conn"].is_null();
                    owed.extend(late.then(|| chunk.clone()));
                    !late
                });
                for chunk in owed {
                    self.write(&chunk, number).await;
                }
                while *self.speaking.lock().unwrap() > 0 {
                    sleep(Duration::from_millis(1)).await;
                }
                let reply = json!({ "hex": fence_reply(&request, &self.played.transport) });
                self.write(&reply, number).await;
                steps.push_front((index, step));
                continue;
            }
            self.sent.lock().unwrap().push((number, [request[0], request[1]]));
            *self.speaking.lock().unwrap() += 1;
            beside(self.clone().play(chunks(&step).cloned().collect(), index, number));
        }
    }
}

/// What a device answers to a read, all cells 0xEEEE.
fn fence_reply(request: &[u8], transport: &str) -> String {
    let (slave, Asked::Read(read)) = asked_of(request, transport) else { panic!("a fence is a read") };
    let count = read.data_bytes();
    let mut frame =
        [vec![slave.0, read.function(), u8::try_from(count).unwrap()], vec![0xEE; count]].concat();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    if transport.starts_with("ascii") {
        frame.push(lifeline_gateway::bus::ascii::lrc(&frame));
        return hex(format!(":{}\r\n", hex(&frame)).as_bytes());
    }
    let sum = crc16(&frame).to_le_bytes();
    frame.extend(sum);
    hex(&frame)
}

/// The line's settings, with what the case wants of the master.
fn settings(played: &Played) -> LineSettings {
    let format = SerialFormat { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    let to = || "slave:502".to_owned();
    let serial = |framing| Address::Serial { path: "slave".to_owned(), format, framing, rs485: None };
    let address = match played.transport.as_str() {
        "tcp" => Address::Tcp(to()),
        "rtu_over_tcp" => Address::RtuOverTcp(to()),
        "ascii_over_tcp" => Address::AsciiOverTcp(to()),
        "ascii" => serial(Framing::Ascii),
        _ => serial(Framing::Rtu),
    };
    let options = &played.case["options"];
    let mut settings = LineSettings::plain("line", address);
    if played.pace != Pace::Fenced {
        settings.late_answers = LateAnswers::Drain;
    }
    settings.heartbeats.extend(Some(&options["heartbeat_hex"]).filter(|hex| !hex.is_null()).map(bytes));
    if options["ignore_unit_in_reply"] == true {
        settings.any_unit.push(Slave(17));
    }
    settings
}

/// Lays the real wire of a case; what must live as long as it.
async fn lay(settings: &mut LineSettings, world: &mut World) -> Option<SerialStream> {
    if let Address::Serial { path, .. } = &mut settings.address {
        let (near, far) = SerialStream::pair().unwrap();
        *path = far.name().unwrap();
        world.serve(near, |_| {});
        world.address = Some(settings.address.clone());
        return Some(far);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap().to_string();
    settings.address = match settings.address {
        Address::Tcp(_) => Address::Tcp(to),
        Address::AsciiOverTcp(_) => Address::AsciiOverTcp(to),
        _ => Address::RtuOverTcp(to),
    };
    world.address = Some(settings.address.clone());
    let accepting = world.clone();
    beside(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            accepting.serve(stream, |stream: &TcpStream| stream.set_zero_linger().unwrap());
        }
    });
    None
}

/// The steps with the clean request; a line that is known to echo has echoed a read before.
fn steps_of(case: &Value) -> Vec<Value> {
    let mut steps: Vec<Value> =
        case["steps"].as_array().unwrap().iter().chain([&case["next_clean"]]).cloned().collect();
    if case["options"]["local_echo"] == true {
        let clean = &case["next_clean"];
        let echoed =
            format!("{}{}", clean["request"].as_str().unwrap(), clean["slave"][0]["hex"].as_str().unwrap());
        steps.insert(
            0,
            json!({ "request": clean["request"], "slave": [{ "delay_ms": 1, "hex": echoed }],
                "outcome": "ok", "values": clean["values"] }),
        );
    }
    steps
}

/// The reads of all steps but the last.
fn reads_of(steps: &[Value], played: &Played) -> Vec<(Slave, Read)> {
    let read = |step: &Value| match asked_of(&bytes(&step["request"]), &played.transport) {
        (slave, Asked::Read(read)) => (slave, read),
        (_, Asked::Write(_)) => panic!("writes are not piped"),
    };
    steps[..steps.len() - 1].iter().map(read).collect()
}

async fn play(played: &Played) -> Result<(), String> {
    let case = &played.case;
    let (requests, asked) = mpsc::channel(16);
    let mut world = World {
        connections: Arc::default(),
        requests,
        greeting: Arc::default(),
        transport: played.transport.clone(),
        address: None,
    };
    let mut settings = settings(played);
    let _far = match played.wire {
        Wire::Pipes => None,
        Wire::Real(_) => lay(&mut settings, &mut world).await,
    };
    let (ended, watching) = watch::channel(0);
    let story = Story {
        played: played.clone(),
        world: world.clone(),
        sent: Arc::default(),
        ended: watching,
        speaking: Arc::default(),
        said: watch::Sender::default(),
    };
    let mut master = Master::over(settings, Box::new(world.clone()));
    let steps = steps_of(case);
    beside(story.clone().answer(steps.clone(), asked));

    let (mut losses, mut counted) = (Losses::default(), BTreeMap::new());
    let timeout = played.time(&case["timeout_ms"]);
    let mut opened = world.opened();
    let mut piped = VecDeque::new();
    if case["options"]["pipelined"] == true {
        piped.extend(master.read_many(&reads_of(&steps, played), timeout, &mut losses).await);
    }
    for (index, step) in steps.iter().enumerate() {
        speak_unasked(step, index, &story, opened).await;
        let before = world.opened();
        let exchange = match piped.pop_front() {
            Some(exchange) => exchange,
            None => ask(&mut master, step, played, timeout, &mut losses).await,
        };
        ended.send(index + 1).unwrap();
        for (loss, _, count) in losses.drain() {
            *counted.entry(loss).or_insert(0) += count;
        }
        let judged = match played.pace {
            Pace::Hasty | Pace::Fenced => judge_value(played, step, &exchange),
            Pace::Patient if index + 1 == steps.len() => {
                judge_clean(step, &exchange, world.opened() - before)
            }
            Pace::Patient => judge(played, step, &exchange),
        };
        judged.map_err(|why| format!("step {index}: {why}"))?;
        opened = world.opened();
        if played.pace == Pace::Patient {
            all_said(&story, step, (index, exchange.sent), timeout).await;
        }
    }
    if played.pace == Pace::Patient { counters(case, &counted) } else { Ok(()) }
}

async fn ask(
    master: &mut Master,
    step: &Value,
    played: &Played,
    timeout: Duration,
    losses: &mut Losses,
) -> Exchange {
    match asked_of(&bytes(&step["request"]), &played.transport) {
        (slave, Asked::Read(read)) => master.read(slave, read, timeout, losses).await,
        (slave, Asked::Write(write)) => {
            let sent = now();
            let outcome = master.write(slave, &write, timeout, losses).await.outcome.map(|()| Vec::new());
            Exchange { outcome, sent, ended: now() }
        }
    }
}

/// Waits until the slave's words of this step, as far as they come before the time-out, are on the wire, however busy the machine is. A request
/// that never reached it is answered by nothing.
async fn all_said(story: &Story, step: &Value, (index, sent): (usize, Instant), timeout: Duration) {
    let said = sent + time_of(step, timeout, &story.played) + Duration::from_millis(1);
    tokio::time::sleep_until(said).await;
    if story.played.wire == Wire::Pipes {
        return;
    }
    let mut at = Duration::ZERO;
    let in_time = chunks(step).filter(|chunk| chunk["repeat"].is_null()).take_while(|chunk| {
        at += story.played.time(&chunk["delay_ms"]);
        at < timeout
    });
    let (count, mut said) = (in_time.count(), story.said.subscribe());
    let all = said.wait_for(|said| count <= said.get(&index).copied().unwrap_or(0));
    let _ = tokio::time::timeout(Duration::from_secs(2), all).await;
    sleep(SETTLE).await;
}

/// How long the slave talks in this step, as far as it does before the time-out.
fn time_of(step: &Value, timeout: Duration, played: &Played) -> Duration {
    let mut at = Duration::ZERO;
    for chunk in chunks(step).filter(|chunk| chunk["repeat"].is_null()) {
        let next = at + played.time(&chunk["delay_ms"]);
        if next < timeout {
            at = next;
        }
    }
    at
}

/// From a script's end of a wire to ours.
const SETTLE: Duration = Duration::from_millis(10);

/// Lets the slave say what comes before the request, on the open connection or on the next one.
async fn speak_unasked(step: &Value, index: usize, story: &Story, opened: usize) {
    let unasked: Vec<Value> = step["unsolicited_before"].as_array().into_iter().flatten().cloned().collect();
    let fresh = unasked.iter().all(|chunk| chunk["conn"].is_null());
    let idle = story.played.time(&step["idle_before_ms"]);
    let before = unasked.iter().map(|chunk| story.played.time(&chunk["delay_ms"])).sum::<Duration>() < idle;
    let ended = now() + idle;
    if fresh {
        // Its connection is opened by the request that follows.
        story.world.greeting.lock().unwrap().extend(unasked.iter().flat_map(|chunk| bytes(&chunk["hex"])));
    } else {
        *story.speaking.lock().unwrap() += 1;
        let play = story.clone().play(unasked, index, opened.saturating_sub(1));
        if before && matches!(story.played.wire, Wire::Real(_)) {
            // However busy the machine is: what the case has before the request is on the wire before it.
            play.await;
            sleep(SETTLE).await;
        } else {
            beside(play);
        }
    }
    sleep(ended.saturating_duration_since(now())).await;
}

fn classes(exchange: &Exchange) -> &'static [&'static str] {
    match &exchange.outcome {
        Ok(_) => &["ok", "ok_broadcast"],
        Err(Failure::Timeout) => &["timeout", "discarded"],
        Err(Failure::BadFrame) => &[
            "crc_error",
            "lrc_error",
            "bad_framing",
            "bad_length",
            "bad_protocol_id",
            "bad_echo",
            "wrong_function",
            "frame_too_long",
            "discarded",
        ],
        Err(Failure::Exception(_)) => &["exception"],
        Err(Failure::LineDown) => &["connection_closed", "connection_reset", "discarded"],
    }
}

fn cells(list: &Value) -> Vec<u16> {
    list.as_array().unwrap().iter().map(|cell| u16::try_from(cell.as_u64().unwrap()).unwrap()).collect()
}

/// A value is right or it isn't handed up: also where the case would let it pass. A write has no value.
fn judge_value(played: &Played, step: &Value, exchange: &Exchange) -> Result<(), String> {
    let Ok(got) = &exchange.outcome else { return Ok(()) };
    if matches!(asked_of(&bytes(&step["request"]), &played.transport), (_, Asked::Write(_))) {
        let wrong = step["outcome"] == "bad_echo";
        return if wrong { Err("false value: a write taken for done".to_owned()) } else { Ok(()) };
    }
    let options = &played.case["options"];
    let any_of = options["values_any_of"].as_array().into_iter().flatten().map(cells);
    // Only a fence tells the two answers of this case apart; the second one is right.
    let decided = (played.pace == Pace::Fenced && options["known_limit"] == true).then(|| vec![5, 6]);
    let never = step["never_values"].as_array().into_iter().flatten();
    let right = [&step["values"]].into_iter().filter(|values| !values.is_null()).map(cells);
    if !right.chain(any_of).chain(decided).any(|right| right == *got)
        || never.map(cells).any(|never| never == *got)
    {
        return Err(format!("false value {got:?}"));
    }
    Ok(())
}

fn judge(played: &Played, step: &Value, exchange: &Exchange) -> Result<(), String> {
    judge_value(played, step, exchange)?;
    let found = classes(exchange);
    let also = step["accept"].as_array().into_iter().flatten();
    let accepted: Vec<&str> = [&step["outcome"]].into_iter().chain(also).filter_map(Value::as_str).collect();
    let outcome = &exchange.outcome;
    let says = |what: &str| Err(format!("{what}: {outcome:?}, accepted {accepted:?}"));
    if !found.iter().any(|class| accepted.contains(class)) {
        return says("wrong class");
    }
    if let (Err(Failure::Exception(code)), Some(detail)) = (outcome, step["detail"].as_u64())
        && u64::from(*code) != detail
    {
        return says("wrong code");
    }
    if exchange.ended < exchange.sent {
        return says("ended before it was sent");
    }
    Ok(())
}

fn judge_clean(step: &Value, exchange: &Exchange, reopened: usize) -> Result<(), String> {
    if exchange.outcome != Ok(cells(&step["values"])) {
        return Err(format!("the clean request failed: {:?}", exchange.outcome));
    }
    // A connection may also be closed and opened anew inside the last step; only its absence is wrong then.
    match (step["reconnect"].as_str(), reopened) {
        (Some("forbidden"), 1..) => Err("reconnected needlessly".to_owned()),
        (Some("required"), 0) => Err("went on with a dead connection".to_owned()),
        _ => Ok(()),
    }
}

fn counters(case: &Value, counted: &BTreeMap<Loss, u64>) -> Result<(), String> {
    let steps = case["steps"].as_array().unwrap().iter();
    for name in steps.flat_map(|step| step["counters"].as_array().into_iter().flatten()) {
        let losses: &[Loss] = match name.as_str().unwrap() {
            "junk" => &[Loss::StrayBytes, Loss::BadChecksum],
            _ => &[Loss::ForeignFrame],
        };
        if !losses.iter().any(|loss| counted.contains_key(loss)) {
            return Err(format!("{name} is not counted: {counted:?}"));
        }
    }
    Ok(())
}
