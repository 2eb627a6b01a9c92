//! Simulated devices: what they encode decodes to the same, and what they do to a line is what the script says.

#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lifeline_gateway::bus::{Address, Framing, LineSettings, Parity, Read, SerialFormat, Slave, Table};
use lifeline_gateway::decode::{Raw, decode, text};
use lifeline_gateway::point::{Catalog, Device, DeviceId, Line, LineId};
use lifeline_gateway::profile::firmware::Firmware;
use lifeline_gateway::profile::{Fault, FaultMatch, Field, Kind, Limits, Order, Profile};
use lifeline_gateway::sim::device::{Answer, Control, SimDevice};
use lifeline_gateway::sim::encode::{put_fault, put_number, put_text};
use lifeline_gateway::sim::script::Script;
use lifeline_gateway::sim::server::start;
use lifeline_gateway::sim::wire::{Habits, SharedHabits, Wire, character_time};
use lifeline_gateway::site::{DeviceSpec, LineSpec, Site};
use lifeline_gateway::unit::Unit;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::Instant;

const FORMAT: SerialFormat = SerialFormat { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 };

// ---- numbers

fn field(kind: Kind) -> Field {
    Field::new("x", Table::Holding, 0, kind)
}

fn orders(bytes: usize) -> impl Strategy<Value = Order> {
    let places: Vec<u8> = (0..u8::try_from(bytes).unwrap()).collect();
    prop_oneof![Just(Order::default()), Just(places).prop_shuffle().prop_map(Order)]
}

/// A field of any numeric type in any byte order, and a raw number that the type holds exactly.
fn any_number() -> impl Strategy<Value = (Field, f64)> {
    let kinds = prop_oneof![
        Just((Kind::U8h, 0_i64, 255_i64)),
        Just((Kind::U8l, 0, 255)),
        Just((Kind::I8h, -128, 127)),
        Just((Kind::I8l, -128, 127)),
        Just((Kind::U16, 0, 65_535)),
        Just((Kind::I16, -32_768, 32_767)),
        Just((Kind::U32, 0, 4_294_967_295)),
        Just((Kind::I32, -2_147_483_648, 2_147_483_647)),
        Just((Kind::U64, 0, 1 << 53)),
        Just((Kind::I64, -(1 << 53), 1 << 53)),
        Just((Kind::F32, -(1 << 24), 1 << 24)),
        Just((Kind::F64, -(1 << 53), 1 << 53)),
        Just((Kind::Bool, 0, 1)),
        Just((Kind::Bcd, 0, 9_999)),
        Just((Kind::M10k, 0, 655_359_999)),
        Just((Kind::Sm16, -32_767, 32_767)),
        (0_u8..16, 0_u8..16).prop_map(|(one, other)| {
            let (low, high) = (one.min(other), one.max(other));
            (Kind::Bits { low, high }, 0, (1 << (high - low + 1)) - 1)
        }),
    ];
    kinds.prop_flat_map(|(kind, least, most)| {
        let order = orders(usize::from(kind.cells()) * 2);
        (order, least..=most, any::<bool>()).prop_map(move |(order, number, invert)| {
            let invert = invert && matches!(kind, Kind::Bool | Kind::Bits { .. });
            #[expect(clippy::cast_precision_loss, reason = "the spans above are exact in a double")]
            let number = number as f64;
            (Field { order, invert, ..field(kind) }, number)
        })
    })
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(
        (field, number) in any_number(),
        before in any::<u16>(),
    ) {
        // Parts of a register keep their neighbours: what stood there before must not matter.
        let mut cells = vec![before; usize::from(field.count)];
        put_number(&field, number, &mut cells);
        prop_assert_eq!(decode(&field, &cells), Raw::Number(number), "{:?} {:04X?}", field, cells);
    }

    #[test]
    fn no_number_panics_or_becomes_another_type_s(kind in any_number(), number in any::<f64>()) {
        let field = kind.0;
        let mut cells = vec![0; usize::from(field.count)];
        put_number(&field, number, &mut cells);
        prop_assert!(matches!(decode(&field, &cells), Raw::Number(_) | Raw::Fault(_)));
    }

    #[test]
    fn one_hot_positions_come_back(position in 0_u32..16, invert in any::<bool>()) {
        let kind = if invert { Kind::Bits { low: 0, high: 15 } } else { Kind::U16 };
        let field = Field { one_hot: true, invert, ..field(kind) };
        let mut cells = [0];
        put_number(&field, f64::from(position), &mut cells);
        prop_assert_eq!(decode(&field, &cells), Raw::Number(f64::from(position)));
    }

    #[test]
    fn text_comes_back(words in "[A-Za-z0-9.-]{0,12}", order in orders(2)) {
        let field = Field { count: 6, order, ..field(Kind::Ascii) };
        let mut cells = [0xFFFF; 6];
        put_text(&field, &words, &mut cells);
        prop_assert_eq!(text(&field, &cells), Some(words));
    }
}

#[test]
fn faults_come_back_by_name() {
    let fault = |matches, means: &str| Fault { matches, means: means.into() };
    let float = vec![
        fault(FaultMatch::Nan, "inactive"),
        fault(FaultMatch::PlusInf, "overflow"),
        fault(FaultMatch::MinusInf, "underflow"),
    ];
    for kind in [Kind::F32, Kind::F64] {
        let order = Order::parse(if kind == Kind::F32 { "CDAB" } else { "HGFEDCBA" }).unwrap();
        let field = Field { faults: float.clone(), order, ..field(kind) };
        for means in ["inactive", "overflow", "underflow"] {
            let mut cells = vec![0; usize::from(field.count)];
            assert!(put_fault(&field, means, &mut cells));
            assert_eq!(decode(&field, &cells), Raw::Fault(means.into()));
        }
    }
    let raw = Field { faults: vec![fault(FaultMatch::Raw(0xD903), "invalid setting")], ..field(Kind::U16) };
    let mut cells = [0];
    assert!(put_fault(&raw, "invalid setting", &mut cells));
    assert_eq!((cells, decode(&raw, &cells)), ([0xD903], Raw::Fault("invalid setting".into())));
    assert!(!put_fault(&raw, "overflow", &mut cells));
}

// ---- devices

fn profile(fields: Vec<Field>) -> Profile {
    Profile {
        name: "probe".to_owned(),
        class: "water-level".to_owned(),
        maker: String::new(),
        source: String::new(),
        about: std::sync::Arc::default(),
        serial: None,
        text: None,
        limits: Limits { registers_per_read: 4, ..Limits::default() },
        fields,
        triggers: Vec::new(),
        vectors: Vec::new(),
    }
}

fn level_and_battery() -> Profile {
    let level = Field {
        name: "level".to_owned(),
        address: 1,
        unit: Unit::parse("mm"),
        faults: vec![Fault { matches: FaultMatch::Raw(0xFFFF), means: "no echo".into() }],
        ..field(Kind::U16)
    };
    let battery =
        Field { name: "battery".to_owned(), address: 4, range: Some((9.0, 30.0)), ..field(Kind::F32) };
    profile(vec![level, battery])
}

fn device(name: &str, slave: u8, text: &str) -> SimDevice {
    let site = site(Vec::new(), vec![(name, slave, level_and_battery())]);
    lifeline_gateway::sim::cast::devices(&site, &Script::parse(text).unwrap()).unwrap().remove(0)
}

fn holding(address: u16, count: u16) -> Read {
    Read { table: Table::Holding, address, count }
}

const STORY: &str = r#"
[[signal]]
point = "probe-1.level"
unit = "cm"
line = [["0s", 2], ["10s", 32]]
[[fault]]
point = "probe-1.level"
kind = "sensor"
means = "no echo"
at = "20s"
for = "5s"
[[fault]]
device = "probe-1"
kind = "exception"
code = 6
at = "30s"
for = "5s"
[[fault]]
device = "probe-1"
kind = "dead"
at = "40s"
for = "5s"
"#;

#[test]
fn a_device_answers_as_its_script_says() {
    let device = device("probe-1", 7, STORY);
    let at = |seconds, read| device.answer(read, Duration::from_secs(seconds));
    assert_eq!(at(0, holding(1, 1)), Answer::Cells(vec![20]));
    assert_eq!(at(5, holding(1, 1)), Answer::Cells(vec![170]));
    assert_eq!(at(20, holding(1, 1)), Answer::Cells(vec![0xFFFF]));
    assert_eq!(at(25, holding(1, 1)), Answer::Cells(vec![320]));
    assert_eq!(at(30, holding(1, 1)), Answer::Exception(6));
    assert_eq!(at(44, holding(1, 1)), Answer::Silence);
    assert_eq!(at(45, holding(1, 1)), Answer::Cells(vec![320]));
}

#[test]
fn holes_are_zero_and_strangers_are_refused() {
    let device = device("probe-1", 7, "");
    let at = |read| device.answer(read, Duration::ZERO);
    // 19.5 as a float: the middle of what the battery may have, since nothing else was asked of it.
    assert_eq!(at(holding(2, 4)), Answer::Cells(vec![0, 0, 0x419C, 0]));
    assert_eq!(at(holding(5, 1)), Answer::Cells(vec![0]), "half of a value");
    assert_eq!(at(holding(0, 2)), Answer::Exception(2));
    assert_eq!(at(holding(5, 2)), Answer::Exception(2));
    assert_eq!(at(holding(2, 2)), Answer::Exception(2), "nothing but a hole");
    assert_eq!(at(holding(1, 5)), Answer::Exception(3), "more than the device serves at once");
    assert_eq!(at(Read { table: Table::Input, address: 1, count: 1 }), Answer::Exception(2));
    assert_eq!(at(holding(65_535, 125)), Answer::Exception(3));
}

#[test]
fn names_that_the_site_does_not_have_are_refused_with_the_nearest() {
    let site = site(Vec::new(), vec![("probe-1", 7, level_and_battery())]);
    for (from, to, expected) in [
        (
            "probe-1.level",
            "probe-1.leve",
            "point probe-1.leve is not in the site; did you mean probe-1.level?",
        ),
        ("\"probe-1\"", "\"prob-1\"", "device prob-1 is not in the site; did you mean probe-1?"),
        ("no echo", "no-echo", "fault no-echo is not in the site; did you mean no echo?"),
    ] {
        let script = Script::parse(&STORY.replace(from, to)).unwrap();
        let error = lifeline_gateway::sim::cast::devices(&site, &script).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("story.toml:") && text.ends_with(expected), "{text}");
    }
}

#[test]
fn all_mistakes_of_a_story_are_told_with_line_and_remedy() {
    let site = site(Vec::new(), vec![("probe-1", 7, level_and_battery())]);
    let story = "[[fault]]\ndevice = \"prob-1\"\nkind = \"dead\"\nat = \"1s\"\nfor = \"2s\"\n\n\
                 [[signal]]\npoint = \"probe-1.level\"\nconstant = 3\nunit = \"kPa\"\n\
                 [[signal]]\npoint = \"probe-1.battery\"\nconstant = 12\nunit = \"V\"\n";
    let error = lifeline_gateway::sim::cast::devices(&site, &Script::parse(story).unwrap()).unwrap_err();
    let told = "the story has 3 mistakes:\n\
                story.toml:2:1: fault 1: device prob-1 is not in the site; did you mean probe-1?\n\
                story.toml:10:1: signal 1: kPa does not convert: probe-1.level has the unit mm\n\
                story.toml:14:1: signal 2: V does not convert: probe-1.battery has no unit";
    assert_eq!(error.to_string(), told);
    // The same thing of the same kind, in another unit.
    let good = story.replace("kPa", "cm").replace("\"prob-1\"", "\"probe-1\"").replace("unit = \"V\"", "");
    assert!(lifeline_gateway::sim::cast::devices(&site, &Script::parse(&good).unwrap()).is_ok());
}

// ---- the wire, in virtual time

fn wire(character: Option<Duration>, habits: Habits) -> (Wire<DuplexStream>, DuplexStream) {
    let (inner, gateway) = tokio::io::duplex(1 << 16);
    (Wire::new(inner, character, SharedHabits::new(habits.into()), 1), gateway)
}

#[expect(clippy::disallowed_methods, reason = "the tests move tokio's clock themselves")]
fn now() -> Instant {
    Instant::now()
}

/// What `answer` becomes on a wire with these habits, and how long it takes.
async fn pass(character: Option<Duration>, habits: Habits, answer: &[u8]) -> (Vec<u8>, Duration) {
    let (mut wire, mut gateway) = wire(character, habits);
    let begin = now();
    wire.write_all(answer).await.unwrap();
    wire.flush().await.unwrap();
    let took = begin.elapsed();
    drop(wire);
    let mut got = Vec::new();
    gateway.read_to_end(&mut got).await.unwrap();
    (got, took)
}

#[tokio::test(start_paused = true)]
async fn bytes_take_their_time_on_the_line() {
    // 13 bytes: slave, function, count, 8 data bytes, check sum. 10 bits each at 9600 baud.
    let answer = [0x55; 13];
    let (got, took) = pass(Some(character_time(&FORMAT)), Habits::default(), &answer).await;
    assert_eq!(got, answer);
    assert!((Duration::from_micros(13_541)..Duration::from_millis(16)).contains(&took), "{took:?}");
    let (_, took) = pass(None, Habits::default(), &answer).await;
    assert_eq!(took, Duration::ZERO);
    let parity = SerialFormat { parity: Parity::Even, ..FORMAT };
    assert_eq!(character_time(&parity), Duration::from_nanos(1_145_833));
}

#[tokio::test(start_paused = true)]
async fn a_request_takes_its_time_too() {
    let (mut wire, mut gateway) = wire(Some(character_time(&FORMAT)), Habits::default());
    gateway.write_all(&[1, 3, 0, 0, 0, 4, 0x44, 0x09]).await.unwrap();
    let begin = now();
    let mut got = [0; 8];
    wire.read_exact(&mut got).await.unwrap();
    assert_eq!(got, [1, 3, 0, 0, 0, 4, 0x44, 0x09]);
    assert!((Duration::from_micros(8_333)..Duration::from_millis(11)).contains(&begin.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn delay_cut_and_flip_do_what_they_say() {
    let answer: Vec<u8> = (0..100).collect();
    let late = Habits { delay: Duration::from_millis(700), ..Habits::default() };
    assert_eq!(pass(None, late, &answer).await, (answer.clone(), Duration::from_millis(700)));

    let cut = Habits { cut: Some(9), ..Habits::default() };
    assert_eq!(pass(None, cut, &answer).await.0, answer[..9]);

    let flip = Habits { flip: 0.2, ..Habits::default() };
    let (got, _) = pass(None, flip.clone(), &answer).await;
    assert_eq!(got.len(), answer.len());
    let turned: Vec<u32> = got.iter().zip(&answer).map(|(one, other)| (one ^ other).count_ones()).collect();
    assert!(turned.iter().all(|bits| *bits <= 1), "one bit of a byte at most");
    assert!((5..40).contains(&turned.iter().sum::<u32>()), "about a fifth: {turned:?}");
    assert_eq!(pass(None, flip, &answer).await.0, got, "the same seed turns the same bits");
}

#[tokio::test(start_paused = true)]
async fn each_answer_is_cut_anew() {
    let (mut wire, mut gateway) = wire(None, Habits { cut: Some(3), ..Habits::default() });
    for _ in 0..3 {
        wire.write_all(&[1, 2, 3, 4, 5]).await.unwrap();
        wire.flush().await.unwrap();
    }
    drop(wire);
    let mut got = Vec::new();
    gateway.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, [1, 2, 3, 1, 2, 3, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn echo_and_babble_reach_the_gateway() {
    let (mut echoing, mut gateway) = wire(None, Habits { echo: true, ..Habits::default() });
    gateway.write_all(b"ask").await.unwrap();
    let mut asked = [0; 3];
    echoing.read_exact(&mut asked).await.unwrap();
    echoing.write_all(b"answer").await.unwrap();
    echoing.flush().await.unwrap();
    drop(echoing);
    let mut got = Vec::new();
    gateway.read_to_end(&mut got).await.unwrap();
    assert_eq!((&asked, got.as_slice()), (b"ask", b"askanswer".as_slice()));

    let every = Duration::from_millis(300);
    let (mut babbling, mut gateway) = wire(None, Habits { babble: Some(every), ..Habits::default() });
    let nobody_asks = tokio::time::timeout(Duration::from_secs(30), babbling.read_u8()).await;
    assert!(nobody_asks.is_err());
    drop(babbling);
    let mut got = Vec::new();
    gateway.read_to_end(&mut got).await.unwrap();
    // About 100 bursts of 1 to 16 bytes.
    assert!((400..2000).contains(&got.len()), "{}", got.len());
}

// ---- lines of real bytes, in real time

/// A site by hand: `lines` with the devices that hang on them.
fn site(lines: Vec<Address>, devices: Vec<(&str, u8, Profile)>) -> Site {
    let all: Vec<usize> = (0..devices.len()).collect();
    let number = |index: usize| u32::try_from(index).unwrap();
    let specs = lines.into_iter().enumerate().map(|(index, address)| LineSpec {
        id: LineId(number(index)),
        settings: LineSettings {
            timeout: Duration::from_millis(500),
            ..LineSettings::plain(&format!("line-{index}"), address)
        },
        devices: all.clone(),
    });
    let lines: Vec<LineSpec> = specs.collect();
    let names = devices.iter().enumerate().map(|(index, (name, _, profile))| Device {
        id: DeviceId(number(index)),
        name: (*name).to_owned(),
        line: None,
        class: profile.class.clone(),
        risk_point: None,
        town: None,
        tags: std::collections::BTreeMap::new(),
    });
    let catalog = Catalog {
        site: "test".to_owned(),
        version: String::new(),
        lines: lines.iter().map(|line| Line { id: line.id, name: line.settings.name.clone() }).collect(),
        devices: names.collect(),
        points: Vec::new(),
    };
    let specs = devices.into_iter().enumerate().map(|(index, (_, slave, profile))| DeviceSpec {
        id: DeviceId(number(index)),
        slave: Slave(slave),
        points: vec![None; profile.fields.len()],
        profile: std::sync::Arc::new(profile),
        every: Duration::from_secs(1),
        every_in_alarm: None,
        timeout: Duration::from_millis(500),
        calibration_due: None,
        firmware: Firmware::default(),
        triggers: Vec::new(),
        withheld: Vec::new(),
    });
    Site {
        catalog: Arc::new(catalog),
        timezone: "Asia/Shanghai".to_owned(),
        lines,
        devices: specs.collect(),
        ..Site::default()
    }
}

fn crc(bytes: &[u8]) -> [u8; 2] {
    let sum = bytes.iter().fold(0xFFFF_u16, |sum, byte| {
        (0..8)
            .fold(sum ^ u16::from(*byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xA001 } else { sum >> 1 })
    });
    sum.to_le_bytes()
}

fn rtu(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc(bytes)].concat()
}

async fn ask<T: AsyncReadExt + AsyncWriteExt + Unpin>(port: &mut T, request: &[u8], expected: &[u8]) {
    port.write_all(request).await.unwrap();
    let mut got = vec![0; expected.len()];
    tokio::time::timeout(Duration::from_secs(5), port.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, expected);
}

/// Whether nothing comes for a while.
async fn silent<T: AsyncReadExt + AsyncWriteExt + Unpin>(port: &mut T, request: &[u8]) -> bool {
    port.write_all(request).await.unwrap();
    tokio::time::timeout(Duration::from_millis(300), port.read_u8()).await.is_err()
}

fn three_lines() -> Site {
    let serial = Address::Serial {
        path: "/dev/ttyUSB0".to_owned(),
        format: FORMAT,
        framing: Framing::Rtu,
        rs485: None,
    };
    let lines = vec![serial, Address::Tcp("10.0.0.5:502".into()), Address::RtuOverTcp("10.0.0.5:503".into())];
    site(lines, vec![("probe-1", 7, level_and_battery()), ("probe-2", 9, level_and_battery())])
}

/// Runs `test` beside the simulation's futures.
async fn beside(tasks: Vec<BoxFuture<'static, ()>>, test: impl Future<Output = ()>) {
    let mut serving: FuturesUnordered<_> = tasks.into_iter().collect();
    tokio::select! {
        () = test => {}
        _ = serving.next() => panic!("a simulated line ended"),
    }
}

const STILL: &str = "[[signal]]\npoint = 'probe-1.level'\nconstant = 1234\n[[signal]]\npoint = 'probe-2.level'\nconstant = 99";

#[tokio::test]
async fn slaves_of_a_pty_and_of_tcp_ports_answer() {
    let (control, mut tasks) = (Arc::new(Control::new()), Vec::new());
    let script = Script::parse(STILL).unwrap();
    let addresses = start(&three_lines(), &script, &control, None, &mut tasks).await.unwrap();
    assert_eq!(
        addresses.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>(),
        ["line-0", "line-1", "line-2"]
    );
    beside(tasks, async {
        // A gateway opens a port by its path, and may do so again after it closed it.
        for _ in 0..2 {
            let mut pty =
                tokio_serial::SerialStream::open(&tokio_serial::new(&addresses[0].1, 9600)).unwrap();
            ask(&mut pty, &rtu(&[7, 3, 0, 1, 0, 1]), &rtu(&[7, 3, 2, 0x04, 0xD2])).await;
            ask(&mut pty, &rtu(&[9, 3, 0, 1, 0, 1]), &rtu(&[9, 3, 2, 0, 99])).await;
            ask(&mut pty, &rtu(&[9, 3, 0, 2, 0, 2]), &rtu(&[9, 0x83, 2])).await;
            assert!(silent(&mut pty, &rtu(&[8, 3, 0, 1, 0, 1])).await, "there is no slave 8");
            ask(&mut pty, &rtu(&[7, 3, 0, 1, 0, 1]), &rtu(&[7, 3, 2, 0x04, 0xD2])).await;
        }
        let mut tcp = TcpStream::connect(&addresses[1].1).await.unwrap();
        let mbap =
            |id: u8, body: &[u8]| [&[0, id, 0, 0, 0, u8::try_from(body.len()).unwrap()], body].concat();
        ask(&mut tcp, &mbap(1, &[7, 3, 0, 1, 0, 1]), &mbap(1, &[7, 3, 2, 0x04, 0xD2])).await;
        ask(&mut tcp, &mbap(2, &[9, 4, 0, 1, 0, 1]), &mbap(2, &[9, 0x84, 2])).await;
        ask(&mut tcp, &mbap(3, &[9, 6, 0, 1, 0, 1]), &mbap(3, &[9, 0x86, 1])).await;
        let mut tunnel = TcpStream::connect(&addresses[2].1).await.unwrap();
        ask(&mut tunnel, &rtu(&[9, 3, 0, 1, 0, 1]), &rtu(&[9, 3, 2, 0, 99])).await;
    })
    .await;
}

#[tokio::test]
async fn a_killed_device_is_silent_and_its_neighbour_is_not() {
    let (control, mut tasks) = (Arc::new(Control::new()), Vec::new());
    let script = Script::parse(STILL).unwrap();
    let addresses = start(&three_lines(), &script, &control, None, &mut tasks).await.unwrap();
    beside(tasks, async {
        let mut tunnel = TcpStream::connect(&addresses[2].1).await.unwrap();
        let (request, answer) = (rtu(&[7, 3, 0, 1, 0, 1]), rtu(&[7, 3, 2, 0x04, 0xD2]));
        ask(&mut tunnel, &request, &answer).await;
        control.kill("probe-1");
        assert!(silent(&mut tunnel, &request).await);
        ask(&mut tunnel, &rtu(&[9, 3, 0, 1, 0, 1]), &rtu(&[9, 3, 2, 0, 99])).await;
        control.revive("probe-1");
        ask(&mut tunnel, &request, &answer).await;
    })
    .await;
}

#[test]
fn without_a_story_a_point_stands_in_the_middle_of_its_range() {
    let options = lifeline_gateway::site::Options {
        site: "devices".into(),
        profiles: Some("firmware-profiles".into()),
        ..lifeline_gateway::site::Options::default()
    };
    let (site, ..) = lifeline_gateway::site::load(&options);
    let devices = lifeline_gateway::sim::cast::devices(&site.unwrap(), &Script::default()).unwrap();
    let mut seen = 0;
    for device in &devices {
        for (field, signal) in device.profile.fields.iter().zip(&device.signals) {
            let Some((signal, _)) = signal else { continue };
            let (low, high) = field.range.unwrap();
            let middle = signal.at(Duration::ZERO);
            let digit = 0.1_f64.powi(field.resolved().unwrap_or(2).into());
            assert!(low <= middle && middle <= high, "{}.{}: {middle}", device.name, field.name);
            assert!(
                (middle - f64::midpoint(low, high)).abs() <= digit,
                "{}.{}: {middle}",
                device.name,
                field.name
            );
            seen += 1;
        }
    }
    assert!(5 < seen, "{seen}");
}
