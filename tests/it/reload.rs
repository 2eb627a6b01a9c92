//! Documents that change under a running gateway, in virtual time: what has not changed goes on as if nothing had happened.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifeline_gateway::alarm::desk::Act;
use lifeline_gateway::alarm::overlay::Overlay;
use lifeline_gateway::alarm::{Alarm, Change, Severity, Transition};
use lifeline_gateway::bus::master::Master;
use lifeline_gateway::clock::{SystemClock, Timestamp};
use lifeline_gateway::decode::{Raw, RawBatch};
use lifeline_gateway::gateway::core::{Core, Effects, Event};
use lifeline_gateway::gateway::line::{LineTask, Orders, Ports};
use lifeline_gateway::loss::Loss;
use lifeline_gateway::point::Catalog;
use lifeline_gateway::reading::{Reason, Sample};
use lifeline_gateway::site::diff::ends::{self, Open, OpenAlarm, Voice};
use lifeline_gateway::site::{self, Site, diff};
use tokio::sync::{mpsc, watch};

use crate::wire::Wire;

/// The devices, points and rules that every version of the documents has as it is.
const KEPT: u64 = 3;
const RELOADS: u64 = 1000;
/// Versions of the documents among which they go to and fro.
const SITES: u64 = 40;

pub(crate) const PROFILE: &str = "[profile]\nname = \"gauge\"\nclass = \"water-level\"\nmaker = \"test\"\nsource = \"test\"\n\
    [[point]]\nname = \"level\"\nat = \"holding 0\"\ntype = \"u16\"\nunit = \"cm\"\n";

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// A device of the documents with its rules and derived points.
fn device(name: &str, slave: u64, every: &str, orange: u64) -> String {
    let mut text = format!(
        "[[device]]\nname = \"{name}\"\nline = \"a\"\nslave = {slave}\nprofile = \"gauge\"\nevery = \"{every}\"\n"
    );
    write!(text, "[[derived]]\nname = \"{name}.rise\"\ninputs = {{ level = \"{name}.level\" }}\nvalue = \"rate(level, '1m')\"\nunit = \"cm/min\"\n").unwrap();
    write!(text, "[[derived]]\nname = \"{name}.dry\"\ninputs = {{ level = \"{name}.level\" }}\nvalue = \"level < 12.0 ? 1.0 : 0.0\"\n").unwrap();
    let rule = |name: &str, point: &str, unit: &str, orange: u64| {
        format!(
            "[[rule]]\nname = \"{name}\"\npoint = \"{point}\"\nunit = \"{unit}\"\nabove = {{ yellow = 10, orange = {orange} }}\n\
            deadband = 2\non_delay = \"15s\"\noff_delay = \"10s\"\nbasis = \"test\"\nadvice = \"none\"\n"
        )
    };
    text += &rule(&format!("{name}-high"), &format!("{name}.level"), "cm", orange);
    writeln!(text, "explains = [\"{name}\"]").unwrap();
    text += &rule(&format!("{name}-fast"), &format!("{name}.rise"), "cm/min", orange);
    text + &format!("suppress = {{ point = \"{name}.dry\", up_to = \"orange\", off_delay = \"10s\" }}\n")
}

fn kept(index: u64) -> String {
    device(&format!("kept-{index}"), index + 1, "5s", 20)
}

/// Documents with the kept devices, and others before, between and behind them.
fn documents(random: &mut Random) -> String {
    let mut devices: Vec<String> = (0..KEPT).map(kept).collect();
    for other in 0..5 {
        if random.below(2) == 0 {
            let every = ["5s", "7s", "20s"][usize::try_from(random.below(3)).unwrap()];
            let text = device(&format!("other-{other}"), 100 + other, every, 15 + random.below(9));
            devices.insert(usize::try_from(random.below(devices.len() as u64 + 1)).unwrap(), text);
        }
    }
    devices.concat()
}

/// Loads a site of these devices from files, as the gateway does.
pub(crate) fn load(folder: &Path, devices: &str) -> Site {
    load_with(folder, devices, PROFILE)
}

/// The same with another profile.
pub(crate) fn load_with(folder: &Path, devices: &str, profile: &str) -> Site {
    let path = |name: &str| folder.join(name);
    std::fs::create_dir_all(path("site")).unwrap();
    std::fs::create_dir_all(path("profiles")).unwrap();
    let line = "[[line]]\nname = \"a\"\nserial = { path = \"/dev/ttyUSB0\", speed = \"9600 8N1\" }\n";
    std::fs::write(path("site/site.toml"), format!("{line}{devices}")).unwrap();
    std::fs::write(path("profiles/gauge.toml"), profile).unwrap();
    let options =
        site::Options { site: path("site"), profiles: Some(path("profiles")), ..site::Options::default() };
    let (site, found, _) = site::load(&options);
    site.unwrap_or_else(|| panic!("{found:?}"))
}

/// A core and its documents' names.
struct Side {
    core: Core,
    catalog: Arc<Catalog>,
}

/// What the kept devices and rules made of an event.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    refused: Option<String>,
    transitions: Vec<Transition>,
    readings: Vec<(String, Sample, Timestamp)>,
}

impl Side {
    fn new(site: &Site) -> Self {
        Self { core: Core::new(site), catalog: Arc::clone(&site.catalog) }
    }

    fn apply(&mut self, event: Event, now: Timestamp) -> Seen {
        let Effects { batches, transitions, refused, .. } = self.core.apply(event, now, true);
        let is_kept = |name: &str| name.starts_with("kept-");
        let readings = batches.into_iter().flat_map(|batch| batch.readings);
        let named = readings.map(|reading| {
            let name = self.catalog.point(reading.point).unwrap().name.clone();
            // The number of an input is its name's, too.
            let sample = match reading.sample {
                Sample::Bad(Reason::Input(_)) => Sample::Bad(Reason::NotPolled),
                sample => sample,
            };
            (name, sample, reading.at)
        });
        Seen {
            refused,
            readings: named.filter(|(name, ..)| is_kept(name)).collect(),
            transitions: transitions.into_iter().filter(|one| is_kept(&one.alarm.rule)).collect(),
        }
    }

    fn poll(&mut self, device: &str, raw: Result<Raw, Reason>, at: Timestamp) -> Seen {
        let Some(named) = self.catalog.devices.iter().find(|named| named.name == device) else {
            return Seen::default();
        };
        let batch = RawBatch { device: named.id, start: at, end: at, raws: vec![(at, raw)] };
        self.apply(Event::Polled(batch), at)
    }
}

/// Something that a person does to a rule that is in all documents.
fn act(random: &mut Random) -> Event {
    let rule = ["high", "fast", "stale"][usize::try_from(random.below(3)).unwrap()];
    let target = format!("kept-{}-{rule}", random.below(KEPT));
    let (severity, span) = (Severity::Red, Duration::from_secs(20 + random.below(300)));
    let act = match random.below(6) {
        0 | 1 => Act::Shelve { seen: None, span },
        2 => Act::Unshelve,
        3 => Act::Lift { severity, span },
        4 => Act::Drill { severity, span },
        _ => return take_out(target, random),
    };
    Event::Act { target, act, by: "duty".to_owned(), note: Some("test".to_owned()) }
}

fn take_out(target: String, random: &mut Random) -> Event {
    let from =
        Timestamp::from_millis(1_800_000_000_000).shifted(i64::try_from(random.below(15_000_000)).unwrap());
    let act = Act::TakeOut {
        number: random.below(1 << 30).to_string(),
        from: Some(from),
        to: from.plus(Duration::from_secs(60 + random.below(300))),
        responsible: "installer".to_owned(),
        substitute: Some("patrol".to_owned()),
    };
    Event::Act { target, act, by: "duty".to_owned(), note: None }
}

/// A core whose documents change, and one whose documents stay: what the kept rules do in both is the same.
struct Pair {
    running: Side,
    reference: Side,
    now: Timestamp,
    /// Changes of kept alarms, by name.
    told: BTreeMap<&'static str, usize>,
    readings: usize,
    acts: usize,
}

impl Pair {
    fn new(site: &Site) -> Self {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let (running, reference) = (Side::new(site), Side::new(site));
        Self { running, reference, now, told: BTreeMap::new(), readings: 0, acts: 0 }
    }

    fn reload(&mut self, site: Arc<Site>) {
        self.running.catalog = Arc::clone(&site.catalog);
        let seen = self.running.apply(Event::Reloaded(site), self.now);
        assert_eq!(seen, self.reference.apply(Event::Tick, self.now));
    }

    fn poll(&mut self, device: &str, raw: Result<Raw, Reason>) {
        let want = self.reference.poll(device, raw.clone(), self.now);
        assert_eq!(self.running.poll(device, raw, self.now), want);
        self.readings += want.readings.len();
        want.transitions.iter().for_each(|one| *self.told.entry(one.change.name()).or_default() += 1);
    }

    fn act(&mut self, act: Event) {
        let want = self.reference.apply(act.clone(), self.now);
        assert_eq!(self.running.apply(act, self.now), want);
        self.acts += usize::from(want.refused.is_none());
    }

    /// An acknowledgement of one of the open alarms, and now and then something else.
    fn person(&mut self, random: &mut Random) {
        let open: Vec<Alarm> = alarms(&self.reference.core).into_values().collect();
        if let Some(alarm) = open.get(usize::try_from(random.below(8)).unwrap()) {
            let (id, seen, by) = (alarm.id.clone(), alarm.severity, "duty".to_owned());
            self.act(Event::Acknowledge { id, seen, by, note: None });
        }
        if random.below(3) == 0 {
            self.act(act(random));
        }
        assert_eq!(alarms(&self.running.core), alarms(&self.reference.core));
        let overlays = |core: &Core| -> BTreeMap<String, Overlay> {
            core.overlays().into_iter().filter(|(rule, _)| rule.starts_with("kept-")).collect()
        };
        assert_eq!(overlays(&self.running.core), overlays(&self.reference.core));
    }
}

/// Open alarms of the rules that are in all documents.
fn alarms(core: &Core) -> BTreeMap<String, Alarm> {
    let open = core.alarms().into_iter().filter(|alarm| alarm.rule.starts_with("kept-"));
    open.map(|alarm| (alarm.rule.clone(), alarm)).collect()
}

#[test]
fn a_thousand_reloads_move_no_alarm_no_delay_no_window_and_no_shelf_of_what_is_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(5);
    let steady: String = (0..KEPT).map(kept).collect();
    let mut pair = Pair::new(&load(folder.path(), &steady));
    let sites: Vec<Arc<Site>> =
        (0..SITES).map(|_| Arc::new(load(folder.path(), &documents(&mut random)))).collect();
    let mut levels = vec![0_i64; usize::try_from(KEPT).unwrap()];
    let mut silent = 0;
    for _ in 0..RELOADS {
        pair.reload(Arc::clone(&sites[usize::try_from(random.below(SITES)).unwrap()]));
        for _ in 0..1 + random.below(4) {
            pair.now = pair.now.shifted(5_000);
            if silent == 0 && random.below(40) == 0 {
                silent = 12;
            }
            silent -= u64::from(silent > 0);
            for (index, level) in (0..).zip(&mut levels) {
                *level = (*level + i64::try_from(random.below(9)).unwrap() - 4).clamp(0, 30);
                if index == 0 && silent > 0 {
                    continue;
                }
                let number = f64::from(i32::try_from(*level).unwrap());
                let raw = if random.below(12) == 0 { Err(Reason::Timeout) } else { Ok(Raw::Number(number)) };
                pair.poll(&format!("kept-{index}"), raw);
            }
            let (other, number) = (format!("other-{}", random.below(5)), random.below(30));
            pair.running.poll(&other, Ok(Raw::Number(f64::from(u32::try_from(number).unwrap()))), pair.now);
        }
        pair.person(&mut random);
    }
    let Pair { told, readings, acts, .. } = pair;
    assert!(
        told.values().sum::<usize>() > 300 && readings > 5000 && acts > 100,
        "{told:?}, {readings}, {acts}"
    );
    let ends = [
        Change::Unshelved,
        Change::InService,
        Change::Lowered,
        Change::Closed,
        Change::Suppressed,
        Change::Unsuppressed,
    ];
    assert!(ends.iter().all(|end| told.contains_key(end.name())), "{told:?}");
}

/// What changes from `old` to `new` devices.
fn told(old: &str, new: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (load(folder.path(), old), load(folder.path(), new));
    assert!(diff::diff(&new, &new).is_empty());
    let there = diff::diff(&old, &new);
    let back = diff::diff(&new, &old);
    assert_eq!(there.items.len(), back.items.len(), "{there}{back}");
    there.to_string()
}

#[test]
fn the_difference_is_told_by_name() {
    let (one, two) = (kept(0), kept(1));
    assert_eq!(told(&format!("{one}{two}"), &format!("{two}{one}")), "", "order means nothing");
    let other = one
        .replace("5s\"\n[[derived", "20s\"\nstale_after = \"3m\"\n[[derived")
        .replace("orange = 20", "orange = 25");
    assert_eq!(
        told(&format!("{one}{two}"), &format!("{other}{}", device("kept-7", 9, "5s", 20))),
        "~ device kept-0: every 5s -> 20s\n\
         - device kept-1\n\
         + device kept-7\n\
         ~ rule kept-0-fast: orange 20 -> 25, max_gap 15s -> 60s\n\
         ~ rule kept-0-high: orange 20 -> 25, max_gap 15s -> 60s\n\
         ~ rule kept-0-stale: stale_after 45s -> 180s\n\
         - rule kept-1-fast\n\
         - rule kept-1-high\n\
         + rule kept-7-fast\n\
         + rule kept-7-high\n"
    );
    let rain = |more: &str| {
        format!(
            "{one}[[rule]]\nname = \"rain\"\npoint = \"kept-0.level\"\nunit = \"cm\"\nsum_over = \"1h\"\nabove = {{ red = 30 }}\nbasis = \"b\"\nadvice = \"a\"\n{more}"
        )
    };
    assert_eq!(told(&rain(""), &rain("counts = \"total\"\n")), "~ rule rain: counts none -> total\n");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_reloads_leave_the_grid_and_the_connection_of_a_line_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(7);
    let sites: Vec<Orders> =
        (0..SITES).map(|_| Orders::of(&load(folder.path(), &documents(&mut random)))).collect();
    let wire = Wire::new(9600, Duration::from_millis(10));
    let (to, mut from) = mpsc::channel(10_000);
    let (told, orders) = watch::channel(sites[0].clone());
    let (site, clock) = (Arc::clone(&sites[0].site), Arc::new(SystemClock::new()));
    let master = Master::over(site.lines[0].settings.clone(), Box::new(wire.clone()));
    let mut task = LineTask::over(master, &site.lines[0], &site, Ports { clock, polled: to, orders });
    let mut times: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
    let reloads = async {
        // After its first poll every device moves to its grid.
        tokio::time::sleep(Duration::from_secs(60)).await;
        while from.try_recv().is_ok() {}
        for _ in 0..RELOADS {
            told.send_replace(sites[usize::try_from(random.below(SITES)).unwrap()].clone());
            tokio::time::sleep(Duration::from_millis(50 + random.below(9000))).await;
            while let Ok(polled) = from.try_recv() {
                let device = polled.site.catalog.device(polled.batch.device).unwrap();
                if !device.name.starts_with("kept-") {
                    continue;
                }
                assert_eq!(polled.failure, None);
                let missed = |(loss, place, _): &(Loss, String, u64)| {
                    *loss == Loss::MissedPoll && place.starts_with("kept-")
                };
                assert!(!polled.losses.iter().any(missed), "{:?}", polled.losses);
                times.entry(device.name.clone()).or_default().push(polled.batch.start);
            }
        }
    };
    tokio::select! {
        () = task.run() => panic!("the task ended"),
        () = reloads => {}
    }
    assert_eq!(times.len(), usize::try_from(KEPT).unwrap());
    for (name, times) in &times {
        let gaps = times.windows(2).map(|pair| pair[1].since(pair[0]).as_millis());
        let odd: Vec<u128> = gaps.filter(|gap| !(4_500..=5_500).contains(gap)).collect();
        assert!(odd.is_empty() && times.len() > 500, "{name}: {} polls, {odd:?}", times.len());
    }
    assert_eq!(wire.opened(), 1, "one connection");
}

#[test]
fn a_device_that_goes_says_which_alarms_of_it_end() {
    let folder = tempfile::tempdir().unwrap();
    let (both, one) = (format!("{}{}", kept(0), device("other", 100, "5s", 15)), kept(0));
    let (was, is) = (load(folder.path(), &both), load(folder.path(), &one));
    let mut found = diff::diff(&was, &is);
    let alarm = OpenAlarm { severity: Severity::Yellow, unseen: true, active: true, now: None, judged: None };
    let open = |rule: &str| Open { alarm: (rule == "other-stale").then_some(alarm), ..Open::default() };
    ends::tell(&mut found, (&was, &is), open, Voice::Asked);
    let gone = found.items.iter().find(|item| item.kind == "device").unwrap().to_string();
    let told = "would end its open yellow alarm (not acknowledged) of other-stale";
    assert_eq!(gone, format!("- device other: {told}"));
}
