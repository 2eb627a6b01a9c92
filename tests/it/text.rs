//! Text sensors: asked or speaking by themselves, on wires that lose, add and delay bytes. Whatever the wire does, a reading is one that the
//! sensor said for this question, or since the last one.
//!
//! Through pipes in virtual time; through ptys and in processes in real time.

#![expect(clippy::disallowed_methods, reason = "ptys and processes live in real time")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_gateway::bus::checksum::Checksum;
use lifeline_gateway::bus::port::{Opening, Port};
use lifeline_gateway::bus::text::master::TextMaster;
use lifeline_gateway::bus::text::{Dialect, Format, Mode};
use lifeline_gateway::bus::{Address, Failure, Framing, LineSettings, Parity, SerialFormat, Slave};
use lifeline_gateway::loss::{Loss, Losses};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_serial::{SerialPort, SerialStream};

use crate::reload_live::free_port;

const TIMEOUT: Duration = Duration::from_millis(500);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn format(mode: Mode) -> Format {
    Format {
        mode,
        command: "M?\r".to_owned(),
        terminator: b"\r".to_vec(),
        pattern: "^R(?P<level>\\d{4})$".to_owned(),
        checksum: Checksum::None,
        gap: ms(60),
        period: ms(100),
        slave: Slave(0),
    }
}

fn settings(address: Address) -> LineSettings {
    LineSettings { timeout: TIMEOUT, ..LineSettings::plain("line", address) }
}

/// Hands out our ends of pipes; the sensor's ends are put into the list.
struct Pipes(Arc<Mutex<Vec<DuplexStream>>>);

impl Port for Pipes {
    fn open(&mut self) -> Opening<'_> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        self.0.lock().unwrap().push(theirs);
        Box::pin(std::future::ready(Ok(Box::new(ours) as Box<dyn lifeline_gateway::bus::port::Stream>)))
    }
}

fn master(mode: Mode) -> (TextMaster, Dialect, Arc<Mutex<Vec<DuplexStream>>>) {
    let (format, ends) = (format(mode), Arc::default());
    let serial = SerialFormat { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    let address =
        Address::Serial { path: "sensor".to_owned(), format: serial, framing: Framing::Rtu, rs485: None };
    let master = TextMaster::over(settings(address), &format, Box::new(Pipes(Arc::clone(&ends))));
    (master, Dialect::new(&format, Slave(0)).unwrap(), ends)
}

/// The sensor waits for a command, then says each text after its delay.
async fn answer(ends: &Arc<Mutex<Vec<DuplexStream>>>, says: &[(u64, &str)]) {
    let mut end = loop {
        if let Some(end) = ends.lock().unwrap().pop() {
            break end;
        }
        sleep(ms(1)).await;
    };
    let mut command = [0; 3];
    end.read_exact(&mut command).await.unwrap();
    assert_eq!(&command, b"M?\r");
    for (after, text) in says {
        sleep(ms(*after)).await;
        end.write_all(text.as_bytes()).await.unwrap();
    }
    ends.lock().unwrap().push(end);
}

async fn ask(
    master: &mut TextMaster,
    dialect: &Dialect,
    ends: &Arc<Mutex<Vec<DuplexStream>>>,
    says: &[(u64, &str)],
) -> Result<String, Failure> {
    let mut losses = Losses::default();
    let (told, ()) = tokio::join!(master.ask(dialect, TIMEOUT, &mut losses), answer(ends, says));
    told.outcome.map(|words| words.get("level").unwrap().to_owned())
}

#[tokio::test(start_paused = true)]
async fn asked_sensors_on_bad_wires() {
    for (story, says, wanted) in [
        ("at once", vec![(20, "R0001\r")], Ok("0001")),
        ("in pieces", vec![(20, "R0"), (30, "00"), (30, "1\r")], Ok("0001")),
        ("the command comes back first", vec![(2, "M?\r"), (20, "R0001\r")], Ok("0001")),
        ("nothing", vec![], Err(Failure::Timeout)),
        ("only the echo", vec![(2, "M?\r")], Err(Failure::Timeout)),
        ("its front is lost", vec![(20, "001\r")], Err(Failure::BadFrame)),
        ("its end is lost", vec![(20, "R0001")], Err(Failure::BadFrame)),
        ("a piece is lost while time passes", vec![(20, "R0"), (200, "01\r")], Err(Failure::BadFrame)),
        ("noise in front", vec![(20, "\u{7f}R0001\r")], Err(Failure::BadFrame)),
        ("noise with an end of its own", vec![(20, "x\rR0001\r")], Ok("0001")),
    ] {
        let (mut master, dialect, ends) = master(Mode::Ask);
        let outcome = ask(&mut master, &dialect, &ends, &says).await;
        assert_eq!(outcome, wanted.map(str::to_owned), "{story}");
        let next = ask(&mut master, &dialect, &ends, &[(20, "R0002\r")]).await;
        assert_eq!(next, Ok("0002".to_owned()), "{story}: the next one");
    }
}

/// A line on which bytes without an end come faster than anybody reads them.
struct Babble;

impl Port for Babble {
    fn open(&mut self) -> Opening<'_> {
        let stream = tokio::io::join(tokio::io::repeat(b'x'), tokio::io::sink());
        Box::pin(std::future::ready(Ok(Box::new(stream) as Box<dyn lifeline_gateway::bus::port::Stream>)))
    }
}

#[tokio::test]
async fn babble_ends_at_the_deadline() {
    for mode in [Mode::Stream, Mode::Ask] {
        let (format, mut losses) = (format(mode), Losses::default());
        let address = Address::RtuOverTcp("babble".to_owned());
        let mut master = TextMaster::over(settings(address), &format, Box::new(Babble));
        let dialect = Dialect::new(&format, Slave(0)).unwrap();
        let heard = async {
            match mode {
                Mode::Stream => master.hear(Instant::now() + ms(50), &mut losses).await.map(drop),
                Mode::Ask => master.ask(&dialect, ms(50), &mut losses).await.outcome.map(drop),
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(5), heard).await;
        assert!(ended.is_ok(), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_never_the_next_one() {
    for late in (10..1_400).step_by(10) {
        let (mut master, dialect, ends) = master(Mode::Ask);
        let first = {
            let mut losses = Losses::default();
            let asked = master.ask(&dialect, TIMEOUT, &mut losses);
            let sensor = async {
                answer(&ends, &[]).await;
                let ends = Arc::clone(&ends);
                let end = ends.lock().unwrap().pop().unwrap();
                (end, ends)
            };
            let (told, (end, ends)) = tokio::join!(asked, sensor);
            ends.lock().unwrap().push(end);
            told.outcome
        };
        assert_eq!(first, Err(Failure::Timeout));
        // The old answer arrives while the next question waits for a quiet line, or has gone out already.
        let end = ends.lock().unwrap().pop().unwrap();
        let (mut read, mut write) = tokio::io::split(end);
        let mut losses = Losses::default();
        let begun = Instant::now();
        let sensor = async {
            let stale = async {
                sleep(ms(late)).await;
                write.write_all(b"R0001\r").await.unwrap();
            };
            let mut command = [0; 3];
            let asked = async { read.read_exact(&mut command).await.map(|_| Instant::now()) };
            let ((), asked) = tokio::join!(stale, asked);
            asked.unwrap()
        };
        let (told, asked) = tokio::join!(master.ask(&dialect, TIMEOUT, &mut losses), sensor);
        let before_it = begun + ms(late) <= asked;
        if before_it {
            assert_eq!(told.outcome, Err(Failure::Timeout), "late by {late} ms");
        } else {
            // It came later than a whole timeout of silence: nobody can tell it from a prompt one.
            assert!(ms(late) >= TIMEOUT, "late by {late} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_never_falls_silent_is_not_asked() {
    let (mut master, dialect, ends) = master(Mode::Ask);
    let mut losses = Losses::default();
    let babble = async {
        loop {
            for end in ends.lock().unwrap().iter_mut() {
                let _ = futures_util::FutureExt::now_or_never(end.write_all(b"x"));
            }
            sleep(ms(20)).await;
        }
    };
    let told = tokio::select! {
        told = master.ask(&dialect, TIMEOUT, &mut losses) => told,
        () = babble => unreachable!(),
    };
    assert_eq!(told.outcome, Err(Failure::LineDown));
    assert!(master.trouble().unwrap().contains("does not fall silent"), "{:?}", master.trouble());
    assert!(losses.drain().iter().any(|(loss, ..)| *loss == Loss::StrayBytes));
}

#[tokio::test(start_paused = true)]
async fn what_lay_in_the_buffer_while_nobody_looked_is_not_new() {
    let (mut master, _, ends) = master(Mode::Stream);
    let mut losses = Losses::default();
    let until = Instant::now() + ms(200);
    assert_eq!(master.hear(until, &mut losses).await, Ok(Vec::new()));
    let mut end = ends.lock().unwrap().pop().unwrap();
    end.write_all(b"R0001\rR0002\r").await.unwrap();
    // The whole process stands still: suspended, swapped out.
    tokio::time::advance(Duration::from_secs(30)).await;
    let heard = master.hear(Instant::now() + ms(50), &mut losses).await;
    assert_eq!(heard, Ok(Vec::new()));
    assert_eq!(losses.drain(), [(Loss::StrayBytes, "line".to_owned(), 12)]);
    let (heard, ()) = tokio::join!(master.hear(Instant::now() + ms(500), &mut losses), async {
        sleep(ms(100)).await;
        end.write_all(b"R0003\r").await.unwrap();
    });
    let lines = heard.unwrap();
    assert_eq!(lines.iter().map(|line| line.bytes.as_slice()).collect::<Vec<_>>(), [b"R0003"]);
}

/// A stream on a pty of which bytes get lost (with the time they take), and to which noise is added between lines.
#[tokio::test]
async fn a_stream_with_noise_over_a_pty_gives_only_what_was_said() {
    let (mut near, far) = SerialStream::pair().unwrap();
    let serial = SerialFormat { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    let address =
        Address::Serial { path: far.name().unwrap(), format: serial, framing: Framing::Rtu, rs485: None };
    let format = Format { gap: ms(20), ..format(Mode::Stream) };
    let mut master = TextMaster::new(settings(address), &format);
    let dialect = Dialect::new(&format, Slave(0)).unwrap();
    let said: Mutex<BTreeSet<u32>> = Mutex::default();
    let sensor = async {
        let mut random = 0x9E37_79B9_u64;
        for number in 0..150_u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(number.into());
            let line = format!("R{:04}\r", number * 7);
            let cut = usize::try_from(random >> 40).unwrap() % line.len();
            match (random >> 33) % 4 {
                // Cut in front, in the middle (with the time that the bytes took), or noise before it.
                0 => near.write_all(&line.as_bytes()[cut..]).await.unwrap(),
                1 => {
                    near.write_all(&line.as_bytes()[..cut]).await.unwrap();
                    sleep(ms(30)).await;
                    near.write_all(&line.as_bytes()[(cut + 1).min(line.len())..]).await.unwrap();
                }
                2 => {
                    let noise = [random.to_le_bytes()[5], random.to_le_bytes()[6], 0xFF];
                    near.write_all(&noise).await.unwrap();
                    near.write_all(line.as_bytes()).await.unwrap();
                }
                _ => near.write_all(line.as_bytes()).await.unwrap(),
            }
            said.lock().unwrap().insert(number * 7);
            sleep(ms(3)).await;
        }
        sleep(ms(50)).await;
    };
    let mut heard = BTreeSet::new();
    let mut losses = Losses::default();
    let listen = async {
        loop {
            for line in master.hear(Instant::now() + ms(20), &mut losses).await.unwrap() {
                if let Ok(words) = dialect.read(&line.bytes) {
                    heard.insert(words.get("level").unwrap().parse::<u32>().unwrap());
                }
            }
        }
    };
    tokio::select! {
        () = sensor => {}
        () = listen => {}
    }
    assert!(heard.is_subset(&said.lock().unwrap()), "{heard:?}");
    assert!(heard.len() > 30, "{} lines came through", heard.len());
    assert!(!losses.is_empty());
}

/// Ends the processes it holds.
pub(crate) struct Running(pub(crate) Vec<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn lifeline(folder: &std::path::Path, command: &str, more: &[String]) -> Command {
    let mut built = Command::new(env!("CARGO_BIN_EXE_lifeline"));
    let profiles = concat!(env!("CARGO_MANIFEST_DIR"), "/firmware-profiles");
    built.arg(command).args(["--config", "gateway.toml", "--site", "site", "--profiles", profiles]);
    built.args(more).current_dir(folder).stderr(Stdio::null());
    built
}

const SITE: &str = r#"
[[line]]
name = "sonar"
serial = { path = "/dev/serial/by-id/usb-sonar", speed = "9600 8N1" }
[[line]]
name = "rain"
text_over_tcp = "10.0.0.9:4001"
[[device]]
name = "underpass-1"
line = "sonar"
profile = "maxbotix-mb7360"
every = "500ms"
[[device]]
name = "roof-1"
line = "rain"
slave = 3
profile = "vaisala-wxt-rain"
every = "500ms"
points = ["rain-total", "rain-intensity"]
[[device]]
name = "roof-2"
line = "rain"
slave = 4
profile = "vaisala-wxt-rain"
every = "500ms"
points = ["rain-total"]
"#;

const STORY: &str = r#"
[[signal]]
point = "underpass-1.distance"
unit = "mm"
constant = 1234
[[signal]]
point = "roof-1.rain-total"
unit = "mm"
constant = 12.46
[[signal]]
point = "roof-1.rain-intensity"
unit = "mm/h"
constant = 8.4
[[signal]]
point = "roof-2.rain-total"
unit = "mm"
constant = 0.02
[[fault]]
device = "roof-1"
kind = "babble"
every = "900ms"
at = "0s"
for = "1h"
"#;

#[test]
fn registers_are_not_asked_of_lines_of_text() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("site")).unwrap();
    // A template's profile counts as well.
    let site = SITE.replacen("line = \"sonar\"\nprofile = \"maxbotix-mb7360\"", "template = \"sonar\"", 1)
        + "[template.sonar]\nline = \"sonar\"\nprofile = \"maxbotix-mb7360\"\n";
    std::fs::write(folder.path().join("site/site.toml"), site).unwrap();
    std::fs::write(folder.path().join("gateway.toml"), "[site]\nname = \"s\"\n").unwrap();
    let refused = |command: &str, more: &[&str], wanted: &str| {
        let more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        let done = lifeline(folder.path(), command, &more).stderr(Stdio::piped()).output().unwrap();
        let told = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.code() == Some(2) && told.contains(wanted), "{command} {more:?}: {told}");
    };
    for line in ["sonar", "rain"] {
        let wanted = format!("line {line} carries lines of text");
        refused("scan", &[line], &wanted);
        refused("read", &[line, "--slave", "1", "--at", "holding 0"], &wanted);
        refused("scan", &[line], &format!("`lifeline trace {line}`"));
    }
    let modbus = ["rain", "--slave", "3", "--profile", "keller-series30"];
    refused("read", &modbus, "`lifeline read rain --profile NAME` asks a sensor of text");
    refused("read", &["rain", "--profile", "keller-series30"], "which device? --slave N");
}

#[test]
fn a_sensor_is_read_by_its_profile_without_a_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir_all(folder.path().join("site/sim")).unwrap();
    write("site/site.toml", SITE);
    write("site/sim/story.toml", STORY.split("[[fault]]").next().unwrap());
    write(
        "gateway.toml",
        &format!("[site]\nname = \"text\"\n[console]\nlisten = \"127.0.0.1:{}\"\n", free_port()),
    );
    let mut running = Running(Vec::new());
    let mut simulate = lifeline(folder.path(), "simulate", &[]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(simulate.stdout.take().unwrap()).lines().take(2);
    running.0.push(simulate);
    let arguments: Vec<String> =
        lines.flat_map(|line| line.unwrap().split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
    let read = |more: &[&str]| {
        let more: Vec<String> =
            more.iter().map(|word| (*word).to_owned()).chain(arguments.iter().cloned()).collect();
        let done = lifeline(folder.path(), "read", &more).stderr(Stdio::piped()).output().unwrap();
        let text = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, told) = read(&["rain", "--profile", "vaisala-wxt-rain", "--slave", "3"]);
    assert!(code == Some(0) && told.contains("text intensity  good     8.4 mm/h"), "{told}");
    let (code, told) = read(&["sonar", "--profile", "maxbotix-mb7360", "--json"]);
    let view: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert!(code == Some(0) && view["points"][0]["value"] == 123.4, "{told}");
    assert_eq!((&view["points"][0]["at"], view.get("slave")), (&"text range".into(), None));
    let (code, told) = read(&["rain", "--profile", "vaisala-wxt-rain", "--slave", "7", "--timeout", "200ms"]);
    let wanted = "the sensor does not answer `7r3";
    assert!(code == Some(1) && told.contains(wanted) && told.contains("not one byte came"), "{told}");
    let (code, told) = read(&["sonar", "--profile", "vaisala-wxt-rain"]);
    assert!(code == Some(1) && told.contains("no line that came is one of vaisala-wxt-rain"), "{told}");
}

#[test]
fn simulated_sensors_reach_the_journal_of_a_running_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir_all(folder.path().join("site/sim")).unwrap();
    write("site/site.toml", SITE);
    write("site/sim/story.toml", STORY);
    let journal = "[journal]\npath = \"journal\"\ncommit_every = \"100ms\"\n";
    write(
        "gateway.toml",
        &format!("[site]\nname = \"text\"\n{journal}[console]\nlisten = \"127.0.0.1:{}\"\n", free_port()),
    );

    let mut running = Running(Vec::new());
    let mut simulate = lifeline(folder.path(), "simulate", &[]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(simulate.stdout.take().unwrap()).lines().take(2);
    running.0.push(simulate);
    let lines: Vec<String> = lines.map(|line| line.unwrap()).collect();
    let arguments: Vec<String> = lines.iter().flat_map(|line| line.split(' ')).map(str::to_owned).collect();
    assert_eq!(arguments.len(), 4, "{lines:?}");
    running.0.push(lifeline(folder.path(), "run", &arguments).stdout(Stdio::null()).spawn().unwrap());

    let wanted = [
        "underpass-1.distance,123.4,cm,good,",
        "roof-1.rain-total,12.46,mm,good,",
        "roof-1.rain-intensity,8.4,mm/h,good,",
        "roof-2.rain-total,0.02,mm,good,",
    ];
    let until = std::time::Instant::now() + Duration::from_secs(30);
    let export = || {
        let more = ["--journal", "journal", "--since", "1h", "--format", "csv"].map(str::to_owned);
        let output = lifeline(folder.path(), "export", &more).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut text = export();
    let count = |text: &str, part: &str| text.lines().filter(|line| line.ends_with(part)).count();
    while wanted.iter().any(|part| count(&text, part) < 3) {
        assert!(std::time::Instant::now() < until, "{text}");
        text = export();
    }
    let traced = trace(folder.path(), "sonar");
    assert!(
        traced.contains("underpass-1: range = 1234") && traced.contains("[52 31 32 33 34 0D]"),
        "{traced}"
    );
    let traced = trace(folder.path(), "rain");
    for part in [">      \"3r3", "<      roof-1: ", "12.46", "x      discarded, "] {
        assert!(traced.contains(part), "{part} in {traced}");
    }
    for line in text.lines().filter(|line| line.contains(",good,")) {
        assert!(
            wanted.iter().any(|part| line.ends_with(part))
                || line.contains("gateway.")
                || line.contains("-health")
                || line.contains("rule-limit-"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_sensor_behind_a_serial_server_is_met_again_after_a_cut() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::RtuOverTcp(listener.local_addr().unwrap().to_string());
    let mut master = TextMaster::new(settings(address), &format(Mode::Stream));
    let server = async {
        for number in 0..2_u32 {
            let (mut stream, _) = listener.accept().await.unwrap();
            sleep(ms(100)).await;
            stream.write_all(format!("R000{number}\rR0").as_bytes()).await.unwrap();
            sleep(ms(20)).await;
        }
        listener
    };
    let mut losses = Losses::default();
    let listen = async {
        let (mut heard, until) = (Vec::new(), Instant::now() + Duration::from_secs(10));
        while heard.len() < 2 && Instant::now() < until {
            match master.hear(until, &mut losses).await {
                Ok(lines) => {
                    lines.iter().for_each(|line| master.answered(line));
                    heard.extend(lines.into_iter().map(|line| String::from_utf8(line.bytes).unwrap()));
                }
                Err(failure) => assert_eq!(failure, Failure::LineDown),
            }
            sleep_until(Instant::now()).await;
        }
        heard
    };
    let (_, heard) = tokio::join!(server, listen);
    assert_eq!(heard, ["R0000", "R0001"], "the cut line is not glued to the next one");
}

/// A trace of one line of the running gateway, as the binary prints it.
fn trace(folder: &std::path::Path, line: &str) -> String {
    let more = [line, "--for", "2s"].map(str::to_owned);
    let output = lifeline(folder, "trace", &more).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
