//! 213 scripted ways of a slave to answer wrongly (`tests/faults/modbus_faults.json`), played byte by byte to the real
//! master over duplex pipes in paused time.
//!
//! A step passes when its outcome is of an accepted class, its values are the right ones, and nothing that must never be
//! handed up is; the counters that it names go up; and the clean request at the end succeeds, over the same connection or
//! a new one as the case wants it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use lifeline_gateway::bus::master::Master;
use lifeline_gateway::bus::port::{Opening, Port};
use lifeline_gateway::bus::{
    Address, Exchange, Failure, LineSettings, Parity, Read, SerialFormat, Slave, Table,
};
use lifeline_gateway::loss::{Loss, Losses};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// Cases whose demand is not met today, each as `transport id`, with what happens instead. None hands up a wrong value.
const NOT_MET: [(&str, &str); 0] = [];

/// Settings that a case may need and that don't exist here: it is skipped.
const NO_SUCH_SETTING: [&str; 3] = ["heartbeat_hex", "ignore_unit_in_reply", "pipelined"];

/// When the next request follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// After all that the slave says before the time-out, as the cases mean it.
    Patient,
    /// At once, into what the slave still says. Then requests may fail, but nothing wrong may be handed up.
    Hasty,
}

#[test]
fn every_scripted_fault_ends_right() {
    let text = fs::read_to_string("tests/faults/modbus_faults.json").unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let (mut run, mut failed) = (0, BTreeMap::new());
    let mut skipped: BTreeMap<&str, u32> = BTreeMap::new();
    for case in document["cases"].as_array().unwrap() {
        let also = case["also"].as_array().into_iter().flatten();
        for transport in [&case["transport"]].into_iter().chain(also) {
            let transport = transport.as_str().unwrap();
            if let Some(why) = skips(case, transport) {
                *skipped.entry(why).or_default() += 1;
                continue;
            }
            run += 1;
            for pace in [Pace::Patient, Pace::Hasty] {
                if let Err(why) = play(case, transport, pace) {
                    failed.insert(format!("{transport} {} {pace:?}", case["id"].as_str().unwrap()), why);
                }
            }
        }
    }
    println!("{run} played, skipped: {skipped:?}");
    let expected: BTreeMap<String, String> =
        NOT_MET.iter().map(|(case, why)| ((*case).to_owned(), (*why).to_owned())).collect();
    assert_eq!(failed, expected);
    assert!(run >= 220, "only {run} were played");
}

fn skips(case: &Value, transport: &str) -> Option<&'static str> {
    if transport == "ascii" {
        return Some("ascii: not spoken yet");
    }
    let steps = || case["steps"].as_array().unwrap().iter();
    if steps().any(|step| read_of(step, transport).is_none()) {
        return Some("write: the master only reads");
    }
    if steps().any(|step| chunks(step).any(|chunk| chunk["action"] == "new_connection")) {
        return Some("dial-in: not there yet");
    }
    let options = &case["options"];
    NO_SUCH_SETTING.into_iter().find(|name| !options[*name].is_null())
}

fn chunks(step: &Value) -> impl Iterator<Item = &Value> {
    step["slave"].as_array().into_iter().flatten()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let text = hex.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The read that a step's request is; `None` for a write.
fn read_of(step: &Value, transport: &str) -> Option<(Slave, Read)> {
    let request = bytes(&step["request"]);
    let body = if transport == "tcp" { &request[6..] } else { &request[..] };
    let table = match body[1] {
        1 => Table::Coil,
        2 => Table::Discrete,
        3 => Table::Holding,
        4 => Table::Input,
        _ => return None,
    };
    let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    Some((Slave(body[0]), Read { table, address: word(2), count: word(4) }))
}

/// The slave's end of one connection.
type Connection = Arc<tokio::sync::Mutex<WriteHalf<DuplexStream>>>;

/// Transaction ids by step.
type Sent = Arc<Mutex<Vec<(usize, [u8; 2])>>>;

/// The slave's side: connections in order of opening, requests in order of arrival.
#[derive(Clone)]
struct World {
    connections: Arc<Mutex<Vec<Connection>>>,
    requests: mpsc::Sender<(usize, Vec<u8>)>,
    /// Bytes that a connection says as soon as it's open.
    greeting: Arc<Mutex<Vec<u8>>>,
    request_bytes: usize,
}

impl World {
    fn opened(&self) -> usize {
        self.connections.lock().unwrap().len()
    }
}

#[expect(clippy::disallowed_methods, reason = "the slave of a test runs beside its master")]
fn beside(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

impl Port for World {
    fn open(&mut self) -> Opening<'_> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (read, mut write) = tokio::io::split(far);
        let greeting = std::mem::take(&mut *self.greeting.lock().unwrap());
        write.write_all(&greeting).now_or_never().unwrap().unwrap();
        let number = self.opened();
        self.connections.lock().unwrap().push(Arc::new(tokio::sync::Mutex::new(write)));
        beside(hear(read, number, self.request_bytes, self.requests.clone()));
        Box::pin(std::future::ready(Ok(Box::new(near) as _)))
    }
}

async fn hear(
    mut half: ReadHalf<DuplexStream>,
    number: usize,
    length: usize,
    requests: mpsc::Sender<(usize, Vec<u8>)>,
) {
    let mut request = vec![0; length];
    while half.read_exact(&mut request).await.is_ok() {
        requests.send((number, request.clone())).await.unwrap();
    }
}

/// What is known of the steps so far: the connection and transaction id of each, and how many have ended.
#[derive(Clone)]
struct Story {
    world: World,
    serial: bool,
    sent: Sent,
    ended: watch::Receiver<usize>,
}

impl Story {
    /// Plays the chunks of a step (or what comes unasked before it) on the connection `present`.
    async fn play(self, script: Vec<Value>, index: usize, present: usize) {
        for chunk in script {
            let delay = Duration::from_millis(chunk["delay_ms"].as_u64().unwrap_or(0));
            let until_timeout = chunk["repeat"] == "until_timeout";
            loop {
                sleep(delay).await;
                if until_timeout && *self.ended.borrow() > index {
                    break;
                }
                let alive = self.write(&chunk, present).await;
                if !until_timeout || !alive {
                    break;
                }
            }
        }
    }

    async fn write(&self, chunk: &Value, present: usize) -> bool {
        let number = match chunk["conn"].as_u64() {
            _ if self.serial => self.world.opened() - 1,
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
        let mut connection = connection.lock().await;
        let written = connection.write_all(&bytes).await.is_ok();
        // A reset looks the same through a pipe.
        let ends = |name: &str| matches!(chunk[name].as_str(), Some("fin" | "rst"));
        if ends("action") || ends("action_after") {
            let _ = connection.shutdown().await;
        }
        written
    }
}

fn settings(transport: &str) -> LineSettings {
    let format = SerialFormat { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    let address = match transport {
        "tcp" => Address::Tcp("slave:502".to_owned()),
        "rtu_over_tcp" => Address::RtuOverTcp("slave:502".to_owned()),
        _ => Address::Serial { path: "slave".to_owned(), format },
    };
    LineSettings {
        name: "line".to_owned(),
        address,
        timeout: Duration::from_secs(1),
        quiet: Duration::ZERO,
        heartbeats: Vec::new(),
    }
}

fn play(case: &Value, transport: &str, pace: Pace) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play_steps(case, transport, pace))
}

async fn play_steps(case: &Value, transport: &str, pace: Pace) -> Result<(), String> {
    let (requests, mut asked) = mpsc::channel(16);
    let world = World {
        connections: Arc::default(),
        requests,
        greeting: Arc::default(),
        request_bytes: if transport == "tcp" { 12 } else { 8 },
    };
    let (ended, watching) = watch::channel(0);
    let story =
        Story { world: world.clone(), serial: transport == "rtu", sent: Arc::default(), ended: watching };
    let mut master = Master::over(settings(transport), Box::new(world.clone()));
    let steps: Vec<Value> =
        case["steps"].as_array().unwrap().iter().chain([&case["next_clean"]]).cloned().collect();

    let (script, told) = (steps.clone(), story.clone());
    beside(async move {
        for (index, step) in script.iter().enumerate() {
            let Some((number, request)) = asked.recv().await else { return };
            let wanted = bytes(&step["request"]);
            let same = if request.len() == 12 { request[2..] == wanted[2..] } else { request == wanted };
            assert!(same, "step {index} asks {request:02x?}");
            told.sent.lock().unwrap().push((number, [request[0], request[1]]));
            beside(told.clone().play(chunks(step).cloned().collect(), index, number));
        }
    });

    let (mut losses, mut counted) = (Losses::default(), BTreeMap::new());
    let timeout = Duration::from_millis(case["timeout_ms"].as_u64().unwrap());
    let mut opened = 0;
    for (index, step) in steps.iter().enumerate() {
        speak_unasked(step, index, &story, opened).await;
        let before = world.opened();
        let (slave, read) = read_of(step, transport).unwrap();
        let exchange = master.read(slave, read, timeout, &mut losses).await;
        ended.send(index + 1).unwrap();
        for (loss, _, count) in losses.drain() {
            *counted.entry(loss).or_insert(0) += count;
        }
        let judged = match pace {
            Pace::Hasty => judge_value(case, step, &exchange),
            Pace::Patient if index + 1 == steps.len() => {
                judge_clean(step, &exchange, world.opened() - before)
            }
            Pace::Patient => judge(case, step, &exchange),
        };
        judged.map_err(|why| format!("step {index}: {why}"))?;
        opened = world.opened();
        if pace == Pace::Patient {
            tokio::time::sleep_until(exchange.sent + time_of(step, timeout) + Duration::from_millis(1)).await;
        }
    }
    if pace == Pace::Patient { counters(case, &counted) } else { Ok(()) }
}

/// How long the slave talks in this step, as far as it does before the time-out.
fn time_of(step: &Value, timeout: Duration) -> Duration {
    let mut at = Duration::ZERO;
    for chunk in chunks(step).filter(|chunk| chunk["repeat"].is_null()) {
        let next = at + Duration::from_millis(chunk["delay_ms"].as_u64().unwrap_or(0));
        if next < timeout {
            at = next;
        }
    }
    at
}

/// Lets the slave say what comes before the request, on the open connection or on the next one.
async fn speak_unasked(step: &Value, index: usize, story: &Story, opened: usize) {
    let unasked: Vec<Value> = step["unsolicited_before"].as_array().into_iter().flatten().cloned().collect();
    let fresh = unasked.iter().all(|chunk| chunk["conn"].is_null());
    if fresh {
        // Its connection is opened by the request that follows.
        story.world.greeting.lock().unwrap().extend(unasked.iter().flat_map(|chunk| bytes(&chunk["hex"])));
    } else {
        beside(story.clone().play(unasked, index, opened.saturating_sub(1)));
    }
    sleep(Duration::from_millis(step["idle_before_ms"].as_u64().unwrap_or(0))).await;
}

fn classes(exchange: &Exchange) -> &'static [&'static str] {
    match &exchange.outcome {
        Ok(_) => &["ok"],
        Err(Failure::Timeout) => &["timeout", "discarded"],
        Err(Failure::BadFrame) => {
            &["crc_error", "bad_length", "bad_protocol_id", "wrong_function", "frame_too_long", "discarded"]
        }
        Err(Failure::Exception(_)) => &["exception"],
        Err(Failure::LineDown) => &["connection_closed", "connection_reset", "discarded"],
    }
}

fn cells(list: &Value) -> Vec<u16> {
    list.as_array().unwrap().iter().map(|cell| u16::try_from(cell.as_u64().unwrap()).unwrap()).collect()
}

/// A value is right or it isn't handed up: also where the case would let it pass.
fn judge_value(case: &Value, step: &Value, exchange: &Exchange) -> Result<(), String> {
    let Ok(got) = &exchange.outcome else { return Ok(()) };
    let any_of = case["options"]["values_any_of"].as_array().into_iter().flatten();
    let never = step["never_values"].as_array().into_iter().flatten();
    let right = [&step["values"]].into_iter().filter(|values| !values.is_null()).chain(any_of);
    if !right.map(cells).any(|right| right == *got) || never.map(cells).any(|never| never == *got) {
        return Err(format!("false value {got:?}"));
    }
    Ok(())
}

fn judge(case: &Value, step: &Value, exchange: &Exchange) -> Result<(), String> {
    judge_value(case, step, exchange)?;
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
