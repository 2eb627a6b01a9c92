//! A core rebuilt from the journal at any moment gives the same transitions as one that never stopped.

#![expect(clippy::disallowed_methods, reason = "processes live in real time")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lifeline_gateway::alarm::desk::Act;
use lifeline_gateway::alarm::{Change, Severity, Transition};
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::gateway::core::{Core, Effects, Event};
use lifeline_gateway::gateway::recall::recall;
use lifeline_gateway::journal::{Group, Journal, Reader, Settings};
use lifeline_gateway::point::PointId;
use lifeline_gateway::reading::{Batch, Doubt, Reading, Reason, Sample};
use lifeline_gateway::site::Site;
use proptest::prelude::*;

use crate::{conditions, running};

/// Rules that move within minutes, beside those of the reference page.
const RULES: &str = r#"
[[derived]]
name = "gauge.rise"
inputs = { level = "gauge.level" }
value = "rate(level, '40s')"
unit = "cm/min"
[[derived]]
name = "rain.recent"
inputs = { amount = "rain.amount" }
value = "sum(amount, '1m')"
unit = "mm"
[[rule]]
name = "rises"
point = "gauge.rise"
unit = "cm/min"
above = { yellow = 30, orange = 90 }
deadband = 5
on_delay = "4s"
off_delay = "6s"
max_gap = "15s"
basis = "test"
advice = "none"
[[rule]]
name = "wet"
point = "rain.recent"
unit = "mm"
above = { blue = 400 }
deadband = 20
max_gap = "15s"
basis = "test"
advice = "none"
[[rule]]
name = "slow-high"
point = "gauge.level"
unit = "cm"
above = { yellow = 40, orange = 60, red = 80 }
deadband = 10
on_delay = "7s"
off_delay = "9s"
max_gap = "10s"
basis = "test"
advice = "none"
[[rule]]
name = "quick-rise"
point = "gauge.level"
rise = { yellow = 20, orange = 60 }
window = "30s"
unit = "cm/min"
deadband = 2
max_gap = "10s"
basis = "test"
advice = "none"
[[rule]]
name = "two-of-three-low"
points = ["leak-a.gas", "leak-b.gas", "leak-c.gas"]
votes = 2
votes_within = "10s"
unit = "%LEL"
above = { orange = 40, red = 70 }
deadband = 8
on_delay = "3s"
off_delay = "5s"
basis = "test"
advice = "none"
"#;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + ms)
}

/// What happens after some time.
#[derive(Clone, Debug)]
enum Step {
    /// Devices of the mask say something, each reading by its number: mostly a number that wanders, sometimes none.
    Polls { devices: u16, numbers: Vec<u8> },
    /// Everybody is silent for so many seconds.
    Silence(u8),
    /// A person acts upon the rule or alarm of this number.
    Act(u8, u8),
    /// The gateway is killed, and begins again at once.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (any::<u16>(), prop::collection::vec(any::<u8>(), 20)).prop_map(|(devices, numbers)| Step::Polls { devices, numbers }),
        1 => (2..40_u8).prop_map(Step::Silence),
        1 => any::<(u8, u8)>().prop_map(|(which, what)| Step::Act(which, what)),
        2 => Just(Step::Kill),
    ]
}

/// What points say, wandering by steps.
struct World {
    values: Vec<f64>,
}

impl World {
    fn batches(&mut self, site: &Site, devices: u16, numbers: &[u8], now_ms: i64) -> Vec<(Batch, i64)> {
        let mut batches = Vec::new();
        for (place, device) in site.devices.iter().enumerate() {
            if devices & (1 << (place % 16)) == 0 {
                continue;
            }
            // Devices of several lines come out of step: a batch may hold readings that are older than those of the one before it.
            let (start, end) = (now_ms - 40 * i64::try_from(place % 3).unwrap(), now_ms);
            let readings: Vec<Reading> = device
                .points
                .iter()
                .flatten()
                .map(|point| self.reading(*point, numbers, at(start)))
                .collect();
            batches.push((Batch { device: device.id, start: at(start), end: at(end), readings }, end));
        }
        batches
    }

    fn reading(&mut self, point: PointId, numbers: &[u8], at: Timestamp) -> Reading {
        let place = usize::try_from(point.0).unwrap();
        let number = numbers[place % numbers.len()];
        self.values.resize(self.values.len().max(place + 1), 30.0);
        let value = &mut self.values[place];
        *value = (*value + f64::from(number % 32) - 15.0).clamp(0.0, 100.0);
        let sample = match number / 32 {
            7 if number.is_multiple_of(4) => Sample::Bad(Reason::Timeout),
            7 if number % 4 == 1 => Sample::Uncertain(*value, Doubt::Spike),
            7 if number % 4 == 2 => Sample::Uncertain(*value, Doubt::OverRange),
            6 => Sample::Good(f64::from(number % 2)),
            _ => Sample::Good(*value),
        };
        Reading { point, at, sample }
    }
}

/// A gateway that is killed again and again: its core, and its journal.
struct Killed {
    core: Core,
    journal: Option<Journal>,
    folder: tempfile::TempDir,
    site: Site,
}

impl Killed {
    fn new(site: &Site) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut killed = Self { core: Core::new(site), journal: None, folder, site: site.clone() };
        killed.open();
        killed
    }

    fn open(&mut self) {
        let day = Duration::from_secs(86_400);
        let path = self.folder.path().to_owned();
        let settings = Settings { path, commit_every: day, keep: 400 * day, max_bytes: 1 << 30 };
        // A process that another test is just starting holds every lock for a moment.
        let opened = (0..100).find_map(|_| {
            let opened = Journal::open(&settings);
            opened.map_err(|_| std::thread::sleep(Duration::from_millis(20))).ok()
        });
        let mut journal = opened.unwrap();
        journal.keep_site(&self.site.catalog, &[], at(0)).unwrap();
        self.journal = Some(journal);
    }

    fn commit(&mut self, effects: &Effects, now: Timestamp) {
        let group = Group {
            now,
            version: self.site.catalog.version.clone(),
            batches: effects.batches.clone(),
            transitions: effects.transitions.clone(),
            states: effects.states.clone(),
            ..Group::default()
        };
        self.journal.as_mut().unwrap().commit(&group).unwrap();
    }

    fn kill(&mut self, now: Timestamp) -> usize {
        drop(self.journal.take());
        self.open();
        let reader = Reader::open(self.folder.path()).unwrap();
        self.core = Core::new(&self.site);
        let last = reader.last().unwrap().map(|(_, at)| at);
        self.core.restore(reader.states().unwrap(), last, now);
        recall(&mut self.core, &self.site, &reader, now).unwrap()
    }
}

fn act(which: u8, what: u8, alarms: &[lifeline_gateway::alarm::Alarm], site: &Site) -> Event {
    let by = "test".to_owned();
    let alarm = alarms.get(usize::from(which) % alarms.len().max(1));
    let rule = site.rules[usize::from(which) % site.rules.len()].name.clone();
    let target = alarm.map_or(rule, |alarm| alarm.id.clone());
    let span = Duration::from_secs(u64::from(what) + 5);
    let act = match what % 5 {
        0 => Act::Shelve { seen: None, span },
        1 => Act::Reset,
        2 => Act::Lift { severity: Severity::Red, span },
        _ => {
            let seen = Severity::Red;
            return Event::Acknowledge { id: target, seen, by, note: None };
        }
    };
    Event::Act { target, act, by, note: Some("test".to_owned()) }
}

fn told(transitions: &[Transition]) -> Vec<String> {
    transitions
        .iter()
        .map(|one| format!("{} {:?} {:?} {one:?}", one.alarm.rule, one.change, one.alarm.state))
        .collect()
}

fn run(steps: &[Step]) -> Result<usize, TestCaseError> {
    let site = conditions::load(&format!("{RULES}{}", conditions::page()))
        .unwrap_or_else(|report| panic!("{report}"));
    let mut steady = Core::new(&site);
    let mut killed = Killed::new(&site);
    steady.restore(Vec::new(), None, at(0));
    killed.core.restore(Vec::new(), None, at(0));
    // The keeper's first commit.
    steady.apply(Event::Tick, at(0), true);
    let begun = killed.core.apply(Event::Tick, at(0), true);
    killed.commit(&begun, at(0));
    let (mut world, mut now, mut raised) = (World { values: Vec::new() }, 0_i64, 0);
    for (number, step) in steps.iter().enumerate() {
        let mut events: Vec<(Event, i64)> = Vec::new();
        match step {
            Step::Polls { devices, numbers } => {
                now += 1000;
                let batches = world.batches(&site, *devices, numbers, now);
                events.extend(batches.into_iter().map(|(batch, end)| (Event::Read(batch), end)));
            }
            Step::Silence(seconds) => {
                now += i64::from(*seconds) * 1000;
                events.push((Event::Tick, now));
            }
            Step::Act(which, what) => events.push((act(*which, *what, &steady.alarms(), &site), now)),
            Step::Kill => {
                killed.kill(at(now));
                events.push((Event::Tick, now));
            }
        }
        for (event, time) in events {
            let want = steady.apply(event.clone(), at(time), true);
            let found = killed.core.apply(event, at(time), true);
            let (found_, want_) = (told(&found.transitions), told(&want.transitions));
            prop_assert!(found_ == want_, "step {number}:\nFOUND {found_:#?}\nWANT {want_:#?}");
            prop_assert!(
                found.batches == want.batches,
                "step {number}:\nFOUND {:?}\nWANT {:?}",
                found.batches,
                want.batches
            );
            raised += found.transitions.len();
            killed.commit(&found, at(time));
        }
    }
    Ok(raised)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::default() })]
    #[test]
    fn a_core_from_the_journal_goes_on_as_if_it_had_never_stopped(steps in prop::collection::vec(step(), 20..160)) {
        run(&steps)?;
    }
}

/// A gauge that is asked each second.
fn level(site: &Site, second: i64, value: f64) -> Event {
    let point = site.catalog.find("gauge.level").unwrap();
    let readings = vec![Reading { point: point.id, at: at(second * 1000), sample: Sample::Good(value) }];
    Event::Read(Batch { device: point.device, start: at(second * 1000), end: at(second * 1000), readings })
}

#[test]
fn a_gateway_that_is_killed_every_twenty_seconds_still_finds_who_is_silent() {
    let site = conditions::load(&conditions::page()).unwrap();
    let mut killed = Killed::new(&site);
    killed.core.restore(Vec::new(), None, at(0));
    let mut raised = Vec::new();
    for second in 0..60 {
        if second % 20 == 19 {
            killed.kill(at(second * 1000));
        }
        let effects = killed.core.apply(level(&site, second, 1.0), at(second * 1000), true);
        killed.commit(&effects, at(second * 1000));
        raised.extend(effects.transitions.into_iter().map(|one| (one.alarm.rule, second)));
    }
    let of = |rule: &str| {
        raised.iter().filter(|(name, _)| name == rule).map(|(_, second)| *second).collect::<Vec<_>>()
    };
    assert_eq!(of("gauge-stale"), [0_i64; 0]);
    let after = site.rules.iter().find(|rule| rule.name == "climate-stale").unwrap();
    let lifeline_gateway::alarm::Condition::Stale { after, .. } = &after.condition else { panic!() };
    let due = i64::try_from(after.as_secs()).unwrap();
    // The second between the last commit and the start is not counted.
    assert_eq!(of("climate-stale"), [due + 2], "counted through the kill");
}

#[test]
fn time_without_the_gateway_is_no_silence() {
    let site = conditions::load(&conditions::page()).unwrap();
    let mut killed = Killed::new(&site);
    killed.core.restore(Vec::new(), None, at(0));
    let effects = killed.core.apply(level(&site, 0, 1.0), at(0), true);
    killed.commit(&effects, at(0));
    // Off for an hour: nobody is called silent for that.
    assert_eq!(killed.kill(at(3_600_000)), 1);
    let effects = killed.core.apply(level(&site, 3601, 1.0), at(3_601_000), true);
    assert_eq!(told(&effects.transitions), [""; 0]);
}

const STEADY: &str = "[[derived]]
name = \"d.hour\"
inputs = { x = \"d.x\" }
value = \"sum(x, '1h')\"
[[rule]]
name = \"seen\"
point = \"d.x\"
above = { yellow = 0 }
max_gap = \"60s\"
basis = \"test\"
advice = \"none\"
[[rule]]
name = \"shelved\"
point = \"d.x\"
above = { yellow = 0 }
max_gap = \"60s\"
basis = \"test\"
advice = \"none\"
[[rule]]
name = \"delayed\"
point = \"d.x\"
above = { orange = 0 }
on_delay = \"6s\"
max_gap = \"60s\"
basis = \"test\"
advice = \"none\"
";

/// A site with one device `d` and the rules above; `before` the devices, more keys of the device, more settings.
pub(crate) fn documents(folder: &Path, before: &str, device: &str, sinks: &str) {
    let server = running::serve();
    let profile = "[profile]\nname = \"saw\"\nclass = \"io\"\nmaker = \"test\"\nsource = \"test\"\n[[point]]\nname = \"x\"\nat = \"holding 0\"\ntype = \"u16\"\n";
    let site = format!(
        "[[line]]\nname = \"l\"\ntcp = \"{server}\"\n{before}[[device]]\nname = \"d\"\nline = \"l\"\nslave = 1\nprofile = \"saw\"\nevery = \"100ms\"\n{device}{STEADY}"
    );
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = format!(
        "[site]\nname = \"recall\"\n[journal]\npath = \"{}/journal\"\ncommit_every = \"50ms\"\n[console]\nlisten = \"127.0.0.1:{port}\"\n{sinks}",
        folder.display()
    );
    let files = [("profiles/saw.toml", profile), ("site/site.toml", &site), ("gateway.toml", &settings)];
    for (path, text) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn lifeline(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeline"));
    command
        .args(args)
        .args(["--config", "gateway.toml", "--site", "site", "--profiles", "profiles"])
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

pub(crate) fn start(folder: &Path) -> Child {
    lifeline(folder, &["run", "--log-filter", "error"]).stdout(Stdio::null()).spawn().unwrap()
}

/// Asks until the answer is good.
pub(crate) fn until(folder: &Path, args: &[&str], good: impl Fn(&Output) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let output = lifeline(folder, args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if good(&output) {
            return text;
        }
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(begun.elapsed() < Duration::from_secs(20), "{args:?}: {text}{error}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn shelves_acknowledgements_delays_and_windows_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    documents(folder, "", "", "");
    let mut child = start(folder);
    let begun = Instant::now();
    let done = |output: &Output| output.status.success();
    let shelve = ["alarms", "shelve", "shelved", "--for", "1h", "--by", "li", "--reason", "works"];
    until(folder, &shelve, done);
    let alarms = |want: &'static str| {
        until(folder, &["alarms", "--json"], move |output| {
            String::from_utf8_lossy(&output.stdout).contains(want)
        })
    };
    let line = alarms("\"rule\":\"seen\"")
        .lines()
        .find(|line| line.contains("\"rule\":\"seen\""))
        .unwrap()
        .to_owned();
    let id = serde_json::from_str::<serde_json::Value>(&line).unwrap()["id"].as_str().unwrap().to_owned();
    until(folder, &["alarms", "ack", &id, "--severity", "yellow", "--by", "li"], done);
    std::thread::sleep(Duration::from_millis(300));
    child.kill().unwrap();
    child.wait().unwrap();
    let before = begun.elapsed();
    let reader = || Reader::open(&folder.join("journal")).unwrap();
    let sums = || {
        let mut sums: Vec<(Timestamp, Sample)> = Vec::new();
        let (from, to) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
        let each = &mut |_: &lifeline_gateway::point::Catalog, reading: &Reading| {
            sums.push((reading.at, reading.sample.clone()));
            true
        };
        reader().history(&["d.hour".to_owned()], from, to, each).unwrap();
        sums
    };
    let held = sums();
    let (last, sum) = held.last().cloned().unwrap();

    let mut child = start(folder);
    let text = alarms("\"rule\":\"delayed\"");
    child.kill().unwrap();
    child.wait().unwrap();
    let of = |rule: &str| {
        text.lines().find(|line| line.contains(&format!("\"rule\":\"{rule}\""))).unwrap().to_owned()
    };
    assert!(of("shelved").contains("\"shelved\":true"), "{text}");
    assert!(of("seen").contains("active-acknowledged") && of("seen").contains(&id), "{text}");
    let raised: Vec<Transition> =
        reader().transitions(0, 1000).unwrap().into_iter().map(|(_, one)| one).collect();
    let first = held.first().unwrap().0;
    let delayed =
        raised.iter().find(|one| one.alarm.rule == "delayed" && one.change == Change::Raised).unwrap();
    let took = delayed.at.since(first);
    assert!(
        took < Duration::from_secs(6) + Duration::from_millis(1500),
        "{took:?}, and {before:?} before the kill"
    );
    // The sum of the hour goes on where it was, and does not begin anew.
    let after = sums().into_iter().find(|(at, _)| *at > last).unwrap().1;
    assert!(after.value() > sum.value(), "{after:?} after {sum:?}");
    assert!(held.len() > 3);
}
