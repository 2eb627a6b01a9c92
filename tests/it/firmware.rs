//! Devices whose firmware makes a difference, that refuse their first read, or that serve old values until they are triggered: simulated
//! devices behind an RTU line in virtual time, polled by the task of the real gateway.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_gateway::bus::master::Master;
use lifeline_gateway::bus::port::{Opening, Port};
use lifeline_gateway::bus::{Read, Slave, Table};
use lifeline_gateway::clock::{Clock, SystemClock, Timestamp};
use lifeline_gateway::decode::Raw;
use lifeline_gateway::gateway::core::{Core, Event};
use lifeline_gateway::gateway::firmware::By;
use lifeline_gateway::gateway::line::{LineTask, Orders, Polled, Ports};
use lifeline_gateway::journal::Deed;
use lifeline_gateway::profile::trigger::Act;
use lifeline_gateway::reading::{Reason, Sample};
use lifeline_gateway::sim::cast;
use lifeline_gateway::sim::device::{Answer, Memory, SimDevice};
use lifeline_gateway::sim::script::Script;
use lifeline_gateway::site::{self, Site};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::wire::crc;

/// What a model with three versions says: `level` moves with the second, `extra` comes with the third, `state` is always there.
const PROBE: &str = r#"
[profile]
name = "probe"
class = "water-level"
maker = "test"
source = "test"
[version]
at = "holding 0x0010"
type = "u16"
format = "{A}.{B}"
[limits]
gap = 0
registers_per_read = 4
[[point]]
name = "level"
at = "holding 0"
type = "u16"
unit = "cm"
[[point]]
name = "state"
at = "holding 1"
type = "u16"
[[firmware]]
versions = "<2.0"
without = ["state"]
[[firmware]]
versions = ">=3.0"
limits.registers_per_read = 80
[[firmware.point]]
name = "level"
at = "holding 8"
type = "u16"
scale = 0.1
unit = "cm"
[[firmware.point]]
name = "extra"
at = "holding 9"
type = "u16"
"#;

/// A site of one serial line: its devices, the profile, and what the devices do.
fn site(devices: &str, profile: &str) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["site", "profiles"] {
        std::fs::create_dir_all(path(name)).unwrap();
    }
    let line = "[[line]]\nname = \"a\"\nserial = { path = \"/dev/ttyUSB0\", speed = \"115200 8N1\" }\n";
    std::fs::write(path("site/site.toml"), format!("{line}{devices}")).unwrap();
    std::fs::write(path("profiles/profile.toml"), profile).unwrap();
    let options =
        site::Options { site: path("site"), profiles: Some(path("profiles")), ..site::Options::default() };
    let (site, found, _) = site::load(&options);
    site.unwrap_or_else(|| panic!("{found:?}"))
}

fn device(name: &str, slave: u8, profile: &str, more: &str) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\nline = \"a\"\nslave = {slave}\nprofile = \"{profile}\"\nevery = \"10s\"\n{more}\n"
    )
}

fn shipped(name: &str) -> String {
    std::fs::read_to_string(format!("firmware-profiles/{name}.toml")).unwrap()
}

/// One request: when it came, its slave and function code, its first address.
type Heard = (Duration, u8, u8, u16);

/// Simulated devices on a wire without length; clones are the same wire.
#[derive(Clone)]
struct Field {
    devices: Arc<Vec<SimDevice>>,
    memories: Arc<Mutex<Vec<Memory>>>,
    begin: Instant,
    heard: Arc<Mutex<Vec<Heard>>>,
}

#[expect(clippy::disallowed_methods, reason = "the time of the paused runtime")]
fn now() -> Instant {
    Instant::now()
}

impl Field {
    fn new(site: &Site, story: &str) -> Self {
        let devices = cast::devices(site, &Script::parse(story).unwrap()).unwrap();
        let memories = Arc::new(Mutex::new(vec![Memory::default(); devices.len()]));
        Self { devices: Arc::new(devices), memories, begin: now(), heard: Arc::default() }
    }

    fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    /// The PDU of the answer of `slave`; none for silence.
    fn answer(&self, slave: u8, pdu: &[u8]) -> Option<Vec<u8>> {
        let time = now() - self.begin;
        let word = |place: usize| u16::from_be_bytes([pdu[place], pdu[place + 1]]);
        let (function, address, count) = (pdu[0], word(1), word(3));
        self.heard.lock().unwrap().push((time, slave, function, address));
        let mut memories = self.memories.lock().unwrap();
        let own = |device: &SimDevice| slave == 0 || device.slave == Slave(slave);
        let mut said = None;
        for (device, memory) in self.devices.iter().zip(memories.iter_mut()).filter(|(device, _)| own(device))
        {
            said = Some(match function {
                6 => device
                    .write(&Act::Register { address, value: count }, time, memory)
                    .err()
                    .unwrap_or(Answer::Cells(vec![])),
                3 | 4 => {
                    let table = if function == 3 { Table::Holding } else { Table::Input };
                    device.remembered(Read { table, address, count }, time, memory)
                }
                _ => panic!("function {function} is neither a read nor a trigger"),
            });
        }
        match said.filter(|_| slave != 0)? {
            Answer::Silence => None,
            Answer::Exception(code) => Some(vec![function | 0x80, code]),
            Answer::Cells(_) if function == 6 => Some(pdu.to_vec()),
            Answer::Cells(cells) => {
                let bytes = u8::try_from(cells.len() * 2).unwrap();
                Some(
                    [function, bytes]
                        .into_iter()
                        .chain(cells.into_iter().flat_map(u16::to_be_bytes))
                        .collect(),
                )
            }
        }
    }

    async fn serve(self, mut stream: DuplexStream) {
        let mut request = [0; 8];
        while stream.read_exact(&mut request).await.is_ok() {
            assert_eq!(crc(&request), 0, "a request is damaged");
            let Some(pdu) = self.answer(request[0], &request[1..6]) else { continue };
            let mut frame = [vec![request[0]], pdu].concat();
            frame.extend(crc(&frame).to_le_bytes());
            tokio::time::sleep(Duration::from_millis(10)).await;
            if stream.write_all(&frame).await.is_err() {
                return;
            }
        }
    }
}

impl Port for Field {
    #[expect(clippy::disallowed_methods, reason = "the devices of a test run beside their master")]
    fn open(&mut self) -> Opening<'_> {
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(self.clone().serve(far));
        Box::pin(std::future::ready(Ok(Box::new(near) as _)))
    }
}

/// The line task, and the core behind it.
struct Bench {
    task: LineTask,
    polled: mpsc::Receiver<Polled>,
    _orders: watch::Sender<Orders>,
    core: Core,
    site: Site,
    clock: Arc<SystemClock>,
}

impl Bench {
    fn new(site: Site, field: &Field) -> Self {
        let (to, polled) = mpsc::channel(100_000);
        let told = Orders::of(&site);
        let (orders, from) = watch::channel(told.clone());
        let spec = &site.lines[0];
        let master = Master::over(spec.settings.clone(), Box::new(field.clone()));
        let clock = Arc::new(SystemClock::new());
        let ports = Ports { clock: Arc::clone(&clock) as _, polled: to, orders: from };
        let task = LineTask::over(master, spec, &told.site, ports);
        Self { task, polled, _orders: orders, core: Core::new(&site), site, clock }
    }

    async fn run(&mut self, time: Duration) -> Vec<Polled> {
        tokio::select! {
            () = self.task.run() => {}
            () = tokio::time::sleep(time) => {}
        }
        std::iter::from_fn(|| self.polled.try_recv().ok()).collect()
    }

    /// The readings of `polled` as the core makes them, by point name.
    fn readings(&mut self, polled: &Polled) -> Vec<(String, Sample)> {
        let device = polled.batch.device;
        let at = polled.batch.end;
        if let Some(known) = &polled.firmware {
            self.core.apply(Event::Identified { device, version: known.applied.clone() }, at, true);
        }
        let effects = self.core.apply(Event::Polled(polled.batch.clone()), at, true);
        let name = |reading: &lifeline_gateway::reading::Reading| {
            self.site.catalog.point(reading.point).unwrap().short.clone()
        };
        effects
            .batches
            .iter()
            .flat_map(|batch| &batch.readings)
            .map(|one| (name(one), one.sample.clone()))
            .collect()
    }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn values(list: &[(&str, Sample)]) -> Vec<(String, Sample)> {
    list.iter().map(|(name, sample)| ((*name).to_owned(), sample.clone())).collect()
}

fn not_polled() -> Sample {
    Sample::Bad(Reason::NotPolled)
}

#[tokio::test(start_paused = true)]
#[expect(clippy::too_many_lines, reason = "one story, told from its begin to its end")]
async fn an_exchanged_device_is_read_by_its_own_firmware_and_that_is_said() {
    let story = r#"
[[signal]]
point = "p.level"
constant = 123
[[signal]]
point = "p.state"
constant = 7
[[signal]]
point = "p.extra"
constant = 5
[[firmware]]
device = "p"
version = "2.4"
[[fault]]
device = "p"
kind = "dead"
at = "60s"
for = "60s"
[[firmware]]
device = "p"
at = "90s"
version = "3.1"
[[fault]]
device = "p"
kind = "dead"
at = "200s"
for = "60s"
[[firmware]]
device = "p"
at = "230s"
version = "1.0"
"#;
    let site = site(&device("p", 1, "probe", ""), PROBE);
    let field = Field::new(&site, story);
    let mut bench = Bench::new(site, &field);
    let polled = bench.run(s(58)).await;
    let known = polled[0].firmware.clone().unwrap();
    assert_eq!((known.applied.as_deref(), known.by), (Some("2.4"), By::Register));
    assert_eq!(known.note.as_deref(), Some("this version has no extra"));
    let second =
        values(&[("level", Sample::Good(123.0)), ("state", Sample::Good(7.0)), ("extra", not_polled())]);
    for one in &polled {
        assert_eq!(bench.readings(one), second, "from the first poll on");
    }
    let asked = field.heard().iter().filter(|(.., address)| *address == 0x10).count();
    assert_eq!(asked, 1, "a device that keeps answering is asked once");

    let polled = bench.run(s(140)).await;
    let third =
        values(&[("level", Sample::Good(123.0)), ("state", Sample::Good(7.0)), ("extra", Sample::Good(5.0))]);
    let good: Vec<_> = polled.iter().filter(|one| one.failure.is_none()).collect();
    assert!(good.len() > 3);
    for one in &good {
        assert_eq!(bench.readings(one), third);
    }
    let changes: Vec<_> = polled.iter().flat_map(|one| &one.audits).map(|audit| audit.deed.clone()).collect();
    let was = |was: &str, is: &str, note: Option<&str>| Deed::Firmware {
        was: Some(was.to_owned()),
        is: Some(is.to_owned()),
        note: note.map(str::to_owned),
    };
    assert_eq!(changes, [was("2.4", "3.1", None)]);

    let polled = bench.run(s(120)).await;
    let last = polled.last().unwrap();
    let first = values(&[("level", Sample::Good(123.0)), ("state", not_polled()), ("extra", not_polled())]);
    assert_eq!(bench.readings(last), first);
    let changes: Vec<_> = polled.iter().flat_map(|one| &one.audits).map(|audit| audit.deed.clone()).collect();
    assert_eq!(changes, [was("3.1", "1.0", Some("this version has no state, extra"))]);
}

#[tokio::test(start_paused = true)]
async fn the_site_s_version_wins_and_another_one_is_told() {
    let story =
        "[[signal]]\npoint = \"p.level\"\nconstant = 123\n[[firmware]]\ndevice = \"p\"\nversion = \"2.4\"\n";
    let named = site(&device("p", 1, "probe", "firmware = \"2.1\""), PROBE);
    let field = Field::new(&named, story);
    let mut bench = Bench::new(named, &field);
    let polled = bench.run(s(25)).await;
    let known = polled[0].firmware.clone().unwrap();
    assert_eq!(
        (known.applied.as_deref(), known.told.as_deref(), known.by),
        (Some("2.1"), Some("2.4"), By::Site)
    );
    assert_eq!(known.note.as_deref(), Some("the site's document says 2.1, the device says 2.4"));
    assert!(matches!(&polled[0].audits[0].deed, Deed::Firmware { note: Some(_), .. }));
    assert!(polled[1..].iter().all(|one| one.audits.is_empty()), "once");
    assert_eq!(bench.readings(&polled[0])[0], ("level".to_owned(), Sample::Good(123.0)));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_refuses_to_tell_is_read_where_all_versions_agree() {
    // The version's register is one that the simulated device doesn't have.
    let telling = PROBE.replace("at = \"holding 0x0010\"", "at = \"holding 0x0300\"");
    let site = site(&device("p", 1, "probe", ""), &telling);
    let mut other = site.clone();
    other.devices[0].firmware.telling = None;
    let field = Field::new(&other, "");
    let mut bench = Bench::new(site, &field);
    let polled = bench.run(s(25)).await;
    let known = polled[0].firmware.clone().unwrap();
    assert_eq!((known.applied, known.by), (None, By::Unknown));
    assert_eq!(
        known.note.as_deref(),
        Some("it refuses to tell its version (exception 2): only what all versions agree on is polled")
    );
    let readings = bench.readings(&polled[0]);
    assert!(
        readings.iter().all(|(_, sample)| *sample == not_polled()),
        "they agree on nothing: {readings:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_first_read_is_a_wait_for_this_device_and_for_no_other() {
    let site = site(
        &[device("soil", 1, "gropoint-gplp8", ""), device("other", 2, "gropoint-gplp8", "")].concat(),
        &shipped("gropoint-gplp8"),
    );
    let field = Field::new(&site, "[[signal]]\npoint = \"soil.m1\"\nconstant = 12.3\n");
    let mut bench = Bench::new(site, &field);
    let polled = bench.run(s(60)).await;
    let soil: Vec<_> = polled.iter().filter(|one| one.batch.device.0 == 0).collect();
    assert!((6..=7).contains(&soil.len()), "{} polls in 60 s", soil.len());
    for one in &polled {
        assert_eq!((one.failure.clone(), one.woken), (None, 2), "two blocks, each refused once");
        let good = bench.readings(one).iter().filter(|(_, sample)| matches!(sample, Sample::Good(_))).count();
        assert_eq!(good, 21);
    }
    // While one device measures, the other one is asked.
    let heard = field.heard();
    let switches = heard.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
    assert!(switches >= 10, "{switches} changes of the device asked");
}

/// Values of a model that tells the time of its measurement: each comes from a write, and from none before its own
/// poll. How many there were.
fn check_fresh(polled: &[Polled], heard: &[Heard], begin: Timestamp) -> usize {
    let mut good = 0;
    for one in polled {
        let (at, Ok(Raw::Number(measured))) = &one.batch.raws[0] else { continue };
        let slave = u8::try_from(one.batch.device.0).unwrap() + 1;
        let written = |(time, to, function, _): &&Heard| {
            *function == 6 && (*to == slave || *to == 0) && (time.as_secs_f64() - measured).abs() < 0.002
        };
        assert!(heard.iter().any(|heard| written(&heard)), "{measured} s is the time of no write");
        let age = at.since(begin).as_secs_f64() - measured;
        let own = at.since(one.batch.start).as_secs_f64();
        assert!(age >= 0.7, "read {age} s after the write");
        assert!(age <= own + 0.002, "{age} s old in a poll of {own} s");
        good += 1;
    }
    good
}

/// A model whose one value is the time of its measurement in seconds.
fn stamped() -> String {
    "[profile]\nname = \"stamp\"\nclass = \"tilt\"\nmaker = \"test\"\nsource = \"test\"\n[limits]\ngap = 0\n\
         [[point]]\nname = \"stamp\"\nat = \"holding 0\"\ntype = \"f64\"\n\
         [[trigger]]\nname = \"measure\"\nwrite = { register = 0x0118, value = 1 }\nwait = \"700ms\"\nbefore = [\"stamp\"]\n"
        .to_owned()
}

/// A signal that is the time itself, for a day.
fn clockwork(device: &str) -> String {
    format!("[[signal]]\npoint = \"{device}.stamp\"\nline = [[\"0s\", 0], [\"1d\", 86400]]\n")
}

#[tokio::test(start_paused = true)]
async fn a_trigger_is_written_audited_and_waited_for() {
    let one = device("i", 1, "stamp", "allow = [\"measure\"]");
    let site = site(&one, &stamped());
    let field = Field::new(&site, &clockwork("i"));
    let mut bench = Bench::new(site, &field);
    let polled = bench.run(s(60)).await;
    let heard = field.heard();
    assert!((6..=7).contains(&polled.len()), "{} polls", polled.len());
    assert_eq!(check_fresh(&polled, &heard, bench.clock.at(field.begin)), polled.len());
    for one in &polled {
        let [audit] = &one.audits[..] else { panic!("one write, one audit: {:?}", one.audits) };
        let done =
            Deed::Trigger { name: "measure".into(), write: "holding 0x0118 = 1".into(), failure: None };
        assert_eq!(audit.deed, done);
        let Ok(Raw::Number(_)) = one.batch.raws[0].1 else { panic!("{:?}", one.batch) };
        assert!(one.batch.raws[0].0.since(audit.at) >= Duration::from_millis(700), "read after the wait");
    }
    let writes: Vec<_> = heard.iter().filter(|(_, _, function, _)| *function == 6).collect();
    assert_eq!(writes.len(), polled.len());
}

#[tokio::test(start_paused = true)]
async fn without_a_permit_nothing_is_written_and_nothing_old_is_read() {
    let site = site(&device("i", 1, "geokon-6150f", ""), &shipped("geokon-6150f"));
    let field = Field::new(&site, "[[signal]]\npoint = \"i.a-axis\"\nconstant = 1.5\n");
    let mut bench = Bench::new(site, &field);
    let polled = bench.run(s(60)).await;
    assert!(polled.len() >= 5, "the device's silence is told");
    for one in &polled {
        assert!(bench.readings(one).iter().all(|(_, sample)| *sample == not_polled()));
        assert!(one.audits.is_empty());
        assert_eq!(one.failure, Some(Reason::NotPolled), "no sign of life is claimed");
    }
    assert_eq!(polled.len(), 7, "it keeps its period");
    assert_eq!(field.heard(), [], "neither a write nor a read");
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_trigger_points_are_bad_with_the_failure() {
    // The device refuses for a while, and is then silent for a while.
    let story = format!(
        "{}[[fault]]\ndevice = \"i\"\nkind = \"exception\"\ncode = 4\nat = \"20s\"\nfor = \"30s\"\n[[fault]]\ndevice = \"i\"\nkind = \"dead\"\nat = \"60s\"\nfor = \"30s\"\n",
        clockwork("i")
    );
    let site = site(&device("i", 1, "stamp", "allow = [\"measure\"]"), &stamped());
    let field = Field::new(&site, &story);
    let mut bench = Bench::new(site, &field);
    let polled = bench.run(s(200)).await;
    let mut seen = BTreeSet::new();
    for one in &polled {
        match &one.batch.raws[0].1 {
            Ok(_) => assert!(
                one.audits.iter().all(|audit| matches!(audit.deed, Deed::Trigger { failure: None, .. }))
            ),
            Err(reason) => {
                seen.insert(reason.to_string());
                assert_eq!(one.failure.as_ref(), Some(reason));
                // No audit when the device did not even answer what had to be asked first.
                for audit in &one.audits {
                    let Deed::Trigger { failure, .. } = &audit.deed else { panic!() };
                    assert_eq!(failure.as_deref(), Some(reason.to_string().as_str()));
                }
            }
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["exception-4", "timeout"]);
    let failed = polled.iter().flat_map(|one| &one.audits);
    assert!(
        failed.filter(|audit| matches!(&audit.deed, Deed::Trigger { failure: Some(_), .. })).count() >= 2
    );
    assert!(polled.last().unwrap().failure.is_none(), "it is back");
    check_fresh(&polled, &field.heard(), bench.clock.at(field.begin));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn no_value_is_older_than_its_trigger(
        units in 1_u8..5,
        faults in prop::collection::vec((0_u8..4, 0_u8..3, 0_u32..100, 1_u32..30), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let devices: String = (1..=units).map(|slave| device(&format!("d{slave}"), slave, "stamp", "allow = [\"measure\"]")).collect();
            let mut story: String = (1..=units).map(|slave| clockwork(&format!("d{slave}"))).collect();
            for (unit, kind, at, span) in faults {
                let kind = ["kind = \"dead\"", "kind = \"exception\"\ncode = 6", "kind = \"exception\"\ncode = 2"][usize::from(kind)];
                story += &format!("[[fault]]\ndevice = \"d{}\"\n{kind}\nat = \"{at}s\"\nfor = \"{span}s\"\n", unit % units + 1);
            }
            let site = site(&devices, &stamped());
            let field = Field::new(&site, &story);
            let mut bench = Bench::new(site, &field);
            let polled = bench.run(s(160)).await;
            let heard = field.heard();
            check_fresh(&polled, &heard, bench.clock.at(field.begin));
            let audits: usize = polled.iter().map(|one| one.audits.len()).sum();
            let writes = heard.iter().filter(|(_, _, function, _)| *function == 6).count();
            prop_assert!(audits <= writes && writes <= audits + usize::from(units), "{} writes, {} audits", writes, audits);
            Ok(())
        })?;
    }
}
