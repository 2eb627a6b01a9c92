//! A line of devices in virtual time, polled by the task of the real gateway: fair, on time, full, and not hurt by dead devices.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use lifeline_gateway::bus::master::Master;
use lifeline_gateway::clock::{Clock, SystemClock, Timestamp};
use lifeline_gateway::gateway::core::{Core, Event};
use lifeline_gateway::gateway::line::{LineTask, Orders, Polled, Ports};
use lifeline_gateway::loss::Loss;
use lifeline_gateway::point::DeviceId;
use lifeline_gateway::site::{self, Site};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::wire::{Answer, Heard, Wire};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A site with one serial line, as its documents.
struct Documents {
    baud: u32,
    /// Places of the profile's points: address and type.
    points: Vec<(u16, &'static str)>,
    limits: &'static str,
    devices: u8,
    /// More keys of each device.
    device: &'static str,
    /// More of the site.
    more: &'static str,
}

impl Documents {
    fn new(baud: u32, registers: u16, devices: u8, device: &'static str) -> Self {
        let points = (0..registers).map(|address| (address, "u16")).collect();
        Self { baud, points, limits: "gap = 8", devices, device, more: "" }
    }

    fn site(&self) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut profile = format!(
            "[profile]\nname = \"probe\"\nclass = \"io\"\nmaker = \"test\"\nsource = \"test\"\n[limits]\n{}\n",
            self.limits
        );
        for (address, kind) in &self.points {
            write!(
                profile,
                "[[point]]\nname = \"p{address}\"\nat = \"holding {address}\"\ntype = \"{kind}\"\n"
            )
            .unwrap();
        }
        let mut site = format!(
            "[[line]]\nname = \"a\"\nserial = {{ path = \"/dev/ttyUSB0\", speed = \"{} 8N1\" }}\n",
            self.baud
        );
        for slave in 1..=self.devices {
            write!(
                site,
                "[[device]]\nname = \"d{slave}\"\nline = \"a\"\nslave = {slave}\nprofile = \"probe\"\n{}\n",
                self.device
            )
            .unwrap();
        }
        site.push_str(self.more);
        std::fs::create_dir_all(path("site")).unwrap();
        std::fs::create_dir_all(path("profiles")).unwrap();
        std::fs::write(path("site/site.toml"), site).unwrap();
        std::fs::write(path("profiles/probe.toml"), profile).unwrap();
        let options = site::Options {
            site: path("site"),
            profiles: Some(path("profiles")),
            ..site::Options::default()
        };
        let (site, found, _) = site::load(&options);
        site.unwrap_or_else(|| panic!("{found:?}"))
    }
}

/// A wall clock that a test steps.
#[derive(Default)]
struct Stepped(SystemClock, AtomicI64);

impl Clock for Stepped {
    fn now(&self) -> Timestamp {
        self.0.now().shifted(self.1.load(Ordering::Relaxed))
    }
    fn at(&self, instant: Instant) -> Timestamp {
        self.0.at(instant).shifted(self.1.load(Ordering::Relaxed))
    }
    fn trusted(&self) -> bool {
        true
    }
    fn step(&self) -> Option<i64> {
        None
    }
}

/// A line task that runs while the test waits.
struct Bench {
    task: LineTask,
    polled: mpsc::Receiver<Polled>,
    orders: watch::Sender<Orders>,
    clock: Arc<Stepped>,
}

impl Bench {
    fn new(site: &Site, wire: &Wire) -> Self {
        let (to, polled) = mpsc::channel(100_000);
        let told = Orders::of(site);
        let (orders, from) = watch::channel(told.clone());
        let clock = Arc::new(Stepped::default());
        let spec = &site.lines[0];
        let master = Master::over(spec.settings.clone(), Box::new(wire.clone()));
        let ports = Ports { clock: Arc::clone(&clock) as _, polled: to, orders: from };
        Self { task: LineTask::over(master, spec, &told.site, ports), polled, orders, clock }
    }

    /// Lets the line run; what was polled meanwhile.
    async fn run(&mut self, time: Duration) -> Vec<Polled> {
        assert!(tokio::time::timeout(time, self.task.run()).await.is_err());
        std::iter::from_fn(|| self.polled.try_recv().ok()).collect()
    }
}

/// Answered requests by slave.
fn answered(heard: &[Heard]) -> BTreeMap<u8, u32> {
    let mut counts = BTreeMap::new();
    for one in heard.iter().filter(|one| one.answer == Answer::Registers) {
        *counts.entry(one.slave).or_default() += 1;
    }
    counts
}

fn missed(polled: &[Polled]) -> u64 {
    let losses = polled.iter().flat_map(|polled| &polled.losses);
    losses.filter(|(loss, ..)| *loss == Loss::MissedPoll).map(|(.., count)| count).sum()
}

#[tokio::test(start_paused = true)]
async fn eight_dead_devices_of_32_leave_the_others_their_rate() {
    // 10 registers: 52 ms with silence and turnaround; 24 live devices need 63 % of the line, all 32 would need 84 %.
    for (period, every_s) in [("every = \"2s\"", 2), ("every = \"10s\"", 10)] {
        let wire = Wire::new(9600, Duration::from_millis(10));
        wire.manners.lock().unwrap().dead = (25..=32).collect();
        let mut bench = Bench::new(&Documents::new(9600, 10, 32, period).site(), &wire);
        // The first round finds out who is dead: each of them costs one timeout and one drain.
        bench.run(s(20)).await;
        wire.heard();
        let time = 1200;
        bench.run(s(time)).await;
        let heard = wire.heard();
        let counts = answered(&heard);
        let due = u32::try_from(time).unwrap() / every_s;
        let worst = counts.values().min().unwrap();
        let rate = f64::from(counts.values().sum::<u32>()) / f64::from(24 * due);
        let probes = heard.iter().filter(|one| one.slave > 24).count();
        println!(
            "every {every_s} s: live devices keep {:.2} % (worst {worst} of {due}), {probes} probes",
            100.0 * rate
        );
        assert_eq!(counts.len(), 24);
        assert!(rate >= 0.98 && f64::from(*worst) >= 0.97 * f64::from(due), "{counts:?}");
        let probed: BTreeSet<u8> = heard.iter().filter(|one| one.slave > 24).map(|one| one.slave).collect();
        assert_eq!(probed.len(), 8, "every dead device has its turn");
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_dies_costs_its_line_little_and_is_back_soon() {
    let wire = Wire::new(9600, Duration::from_millis(10));
    let mut bench = Bench::new(&Documents::new(9600, 10, 32, "every = \"2s\"").site(), &wire);
    bench.run(s(100)).await;
    wire.heard();
    wire.manners.lock().unwrap().dead = (25..=32).collect();
    bench.run(s(100)).await;
    let counts = answered(&wire.heard());
    let rate = f64::from((1..=24).map(|slave| counts[&slave]).sum::<u32>()) / (24.0 * 50.0);
    println!("in the 100 s in which eight devices die the others keep {:.1} %", 100.0 * rate);
    assert!(rate >= 0.95, "{counts:?}");
    wire.manners.lock().unwrap().dead.clear();
    bench.run(s(90)).await;
    let heard = wire.heard();
    let begin = heard[0].at;
    let back = |slave| {
        heard.iter().find(|one| one.slave == slave && one.answer == Answer::Registers).unwrap().at - begin
    };
    let latest = (25..=32).map(back).max().unwrap();
    println!("on a line that is 84 % full all eight are back after {latest:?}");
    assert!(latest < s(75), "{latest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_whole_line_is_back_within_seconds_after_a_power_cut() {
    let wire = Wire::new(9600, Duration::from_millis(10));
    let mut bench = Bench::new(&Documents::new(9600, 10, 32, "every = \"2s\"").site(), &wire);
    bench.run(s(60)).await;
    wire.manners.lock().unwrap().dead = (1..=32).collect();
    let cut = bench.run(s(600)).await;
    // Probes between two periods tell nothing new.
    assert!(cut.len() <= 32 * 310, "{} batches in the dark", cut.len());
    wire.manners.lock().unwrap().dead.clear();
    wire.heard();
    bench.run(s(30)).await;
    let heard = wire.heard();
    let begin = heard[0].at;
    let back = |slave| {
        heard.iter().find(|one| one.slave == slave && one.answer == Answer::Registers).unwrap().at - begin
    };
    let latest = (1..=32).map(back).max().unwrap();
    println!("32 devices are back within {latest:?}");
    assert!(latest < s(8), "{latest:?}");
}

/// The port is open and the wire well, yet nobody answers: what is wrong is the line's, until one of them is heard again.
#[tokio::test(start_paused = true)]
async fn a_line_whose_devices_are_all_silent_is_in_trouble() {
    let last = |polled: &[Polled]| polled.last().and_then(|polled| polled.trouble.clone());
    for (devices, says) in [(3, Some("none of its 3 devices answers")), (1, None)] {
        let wire = Wire::new(9600, Duration::from_millis(10));
        let mut bench = Bench::new(&Documents::new(9600, 10, devices, "every = \"2s\"").site(), &wire);
        assert_eq!(last(&bench.run(s(20)).await), None);
        wire.manners.lock().unwrap().dead = (2..=devices).collect();
        assert_eq!(last(&bench.run(s(60)).await), None, "one of them answers");
        wire.manners.lock().unwrap().dead = (1..=devices).collect();
        assert_eq!(last(&bench.run(s(60)).await).as_deref(), says);
        wire.manners.lock().unwrap().dead.remove(&1);
        assert_eq!(last(&bench.run(s(30)).await), None, "one is back");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_full_spares_dead_devices_a_twentieth() {
    // 24 live devices want three times what the line has.
    let mut documents = Documents::new(9600, 60, 32, "every = \"10s\"");
    documents.device = "every = \"10s\"";
    let site = documents.site();
    let mut tight = site.clone();
    tight.devices.iter_mut().for_each(|device| device.every = Duration::from_millis(1200));
    let wire = Wire::new(9600, Duration::from_millis(10));
    wire.manners.lock().unwrap().dead = (25..=32).collect();
    let mut bench = Bench::new(&tight, &wire);
    bench.run(s(100)).await;
    wire.heard();
    let polled = bench.run(s(2000)).await;
    let heard = wire.heard();
    let dead = heard.iter().filter(|one| one.slave > 24).count();
    let live: u32 = answered(&heard).values().sum();
    let live_s = f64::from(live) * 0.153;
    // A timeout of 1 s and the tail of a frame: late answers are told apart by a shorter question.
    let dead_s = f64::from(u32::try_from(dead).unwrap()) * 1.03;
    println!("full line: live devices had {live_s:.0} s, dead ones {dead_s:.0} s of 2000 s");
    assert!(dead >= 8 && dead_s <= live_s * 0.06, "{dead_s} of {live_s}");
    let counts = answered(&heard);
    let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    assert!(f64::from(*least) >= 0.9 * f64::from(*most), "nobody starves: {counts:?}");
    assert!(missed(&polled) > 1000, "what was not polled is counted");
}

/// The least time for the useful registers: bytes and turnaround, from the standard; with and without the 3.5 characters (1.75 ms above
/// 19200 baud) that must be silent between two frames.
fn bound(baud: u32, requests: &[u32], turnaround: Duration) -> (f64, f64) {
    let character = 10.0 / f64::from(baud);
    let silence = if baud > 19_200 { 0.001_75 } else { 3.5 * character };
    let bytes: u32 = requests.iter().map(|registers| 8 + 5 + 2 * registers).sum();
    let count = f64::from(u32::try_from(requests.len()).unwrap());
    let bare = f64::from(bytes) * character + count * turnaround.as_secs_f64();
    (bare, bare + count * silence)
}

#[tokio::test(start_paused = true)]
async fn useful_polling_fills_the_line() {
    // The points, and the requests that a person would find best: a hole of 4 is worth reading over, and not more than 125
    // registers come in one answer.
    let blocks: [(u16, u16); 3] = [(0, 20), (24, 40), (124, 60)];
    let points: Vec<(u16, &str)> =
        blocks.iter().flat_map(|(from, count)| (*from..from + count).map(|at| (at, "u16"))).collect();
    for (baud, turnaround) in [(9600, Duration::from_millis(10)), (115_200, Duration::from_millis(10))] {
        let documents = Documents {
            points: points.clone(),
            limits: "gap = 100",
            ..Documents::new(baud, 0, 4, "every = \"20s\"")
        };
        let mut site = documents.site();
        site.devices.iter_mut().for_each(|device| device.every = Duration::from_millis(20));
        let wire = Wire::new(baud, turnaround);
        let mut bench = Bench::new(&site, &wire);
        bench.run(s(30)).await;
        let whole = |polled: &&Polled| good(polled) == 120;
        let polls = u32::try_from(bench.run(s(60)).await.iter().filter(whole).count()).unwrap();
        let (bare, silent) = bound(baud, &[64, 60], turnaround);
        let share = |poll_s: f64| f64::from(polls) * poll_s / 60.0;
        println!(
            "{baud} baud: {:.1} % of the bound with the silences of the standard, {:.1} % of bytes and turnaround alone",
            100.0 * share(silent),
            100.0 * share(bare)
        );
        assert!(share(silent) >= 0.95 && share(silent) <= 1.0, "{polls} polls");
    }
}

fn good(polled: &Polled) -> usize {
    polled.batch.raws.iter().filter(|(_, raw)| raw.is_ok()).count()
}

#[tokio::test(start_paused = true)]
async fn a_refused_hole_is_not_read_again_and_costs_no_reading() {
    let mut documents = Documents::new(9600, 0, 1, "every = \"1s\"");
    documents.points = vec![(0, "f32"), (2, "u16"), (6, "u16"), (10, "u16")];
    let wire = Wire::new(9600, Duration::from_millis(10));
    wire.manners.lock().unwrap().missing = [4].into();
    let mut bench = Bench::new(&documents.site(), &wire);
    let polled = bench.run(s(10)).await;
    assert!(polled.iter().all(|polled| good(polled) == 4 && polled.failure.is_none()), "{polled:?}");
    let heard = wire.heard();
    let refused = heard.iter().filter(|one| one.answer == Answer::Exception(2)).count();
    assert_eq!(refused, 1, "{heard:?}");
    let asked: BTreeSet<(u16, u16)> = heard.iter().skip(4).map(|one| (one.address, one.count)).collect();
    assert_eq!(asked, BTreeSet::from([(0, 3), (6, 1), (10, 1)]));
    let advice = polled.last().unwrap().advice.clone();
    assert_eq!(advice.as_deref(), Some("it refuses larger blocks: 3 requests in each poll"));
}

#[tokio::test(start_paused = true)]
async fn one_refused_register_does_not_take_the_others_with_it() {
    let wire = Wire::new(9600, Duration::from_millis(10));
    wire.manners.lock().unwrap().missing = [5].into();
    let mut bench = Bench::new(&Documents::new(9600, 16, 1, "every = \"1s\"").site(), &wire);
    let polled = bench.run(s(20)).await;
    assert!(polled.iter().all(|polled| good(polled) == 15), "from the first poll on");
    let last: Vec<Heard> = wire.heard().into_iter().rev().take(5).collect();
    let refused: Vec<_> = last.iter().filter(|one| one.answer != Answer::Registers).collect();
    assert!(matches!(refused[..], [Heard { address: 5, count: 1, .. }]), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_block_that_is_never_answered_costs_less_and_less() {
    let mut documents = Documents::new(9600, 0, 1, "every = \"1s\"");
    documents.points = vec![(0, "f32"), (2, "u16"), (6, "u16"), (100, "u16"), (200, "u16")];
    let wire = Wire::new(9600, Duration::from_millis(10));
    // A hole and a whole block: the device says nothing where it should refuse.
    wire.manners.lock().unwrap().mute = [4, 100].into();
    let mut bench = Bench::new(&documents.site(), &wire);
    bench.run(s(60)).await;
    wire.heard();
    let polled = bench.run(s(320)).await;
    let heard = wire.heard();
    let silent: Vec<_> = heard.iter().filter(|one| one.answer == Answer::Silence).collect();
    assert!((9..=12).contains(&silent.len()) && silent.iter().all(|one| one.address == 100), "{silent:?}");
    assert!(polled.iter().all(|polled| good(polled) == 4), "the hole is not read over any more");
    assert!((318..=321).contains(&polled.len()));
}

#[tokio::test(start_paused = true)]
async fn the_first_round_of_a_line_with_many_dead_devices_is_over_soon() {
    let wire = Wire::new(9600, Duration::from_millis(10));
    wire.manners.lock().unwrap().dead = (1..=31).collect();
    let mut bench = Bench::new(&Documents::new(9600, 10, 32, "every = \"10s\"").site(), &wire);
    bench.run(s(8)).await;
    let heard = wire.heard();
    let live = heard.iter().find(|one| one.slave == 32).unwrap().at - heard[0].at;
    println!("behind 31 dead devices the first reading comes after {live:?}");
    assert!(live < s(8), "31 timeouts and drains of 1 s would be a minute: {live:?}");
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_wall_clock_neither_stalls_nor_hurries_a_poll() {
    let wire = Wire::new(9600, Duration::from_millis(10));
    wire.manners.lock().unwrap().dead = [2].into();
    let mut bench = Bench::new(&Documents::new(9600, 10, 2, "every = \"1s\"").site(), &wire);
    bench.run(s(30)).await;
    wire.heard();
    for by_ms in [-3_600_000, 86_400_000, -86_400_000 * 365] {
        bench.clock.1.fetch_add(by_ms, Ordering::Relaxed);
        let polled = bench.run(s(60)).await;
        let heard = wire.heard();
        let polls = answered(&heard)[&1];
        assert!((59..=61).contains(&polls), "{polls} polls after a step of {by_ms} ms");
        let lost = polled.iter().flat_map(|polled| &polled.losses);
        assert!(!lost.clone().any(|(loss, device, _)| *loss == Loss::MissedPoll && device == "d1"));
        let probes = heard.iter().filter(|one| one.slave == 2).count();
        assert!((1..=60).contains(&probes), "{probes} probes after a step of {by_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_in_alarm_is_polled_denser_as_far_as_its_line_has_time() {
    let site = Documents::new(9600, 10, 8, "every = \"10s\"\nevery_in_alarm = \"1s\"").site();
    let wire = Wire::new(9600, Duration::from_millis(10));
    let mut bench = Bench::new(&site, &wire);
    bench.run(s(60)).await;
    wire.heard();
    bench.orders.send_modify(|orders| orders.dense = [DeviceId(2)].into());
    let polled = bench.run(s(100)).await;
    let counts = answered(&wire.heard());
    assert!((100..=112).contains(&counts[&3]), "{counts:?}");
    assert!(counts.iter().all(|(slave, count)| *slave == 3 || (9..=11).contains(count)), "{counts:?}");
    assert_eq!(missed(&polled), 0);
    bench.orders.send_modify(|orders| orders.dense.clear());
    bench.run(s(100)).await;
    let counts = answered(&wire.heard());
    assert!((9..=11).contains(&counts[&3]), "{counts:?}");
    // Eight devices every 50 ms want eight times what the line has; the own periods of all are kept.
    let mut greedy = site.clone();
    greedy.devices.iter_mut().for_each(|device| device.every_in_alarm = Some(Duration::from_millis(50)));
    greedy.devices[7].every_in_alarm = None;
    greedy.devices[7].every = s(1);
    let wire = Wire::new(9600, Duration::from_millis(10));
    let mut bench = Bench::new(&greedy, &wire);
    bench.orders.send_modify(|orders| orders.dense = (0..7).map(DeviceId).collect());
    let polled = bench.run(s(100)).await;
    let counts = answered(&wire.heard());
    assert!((99..=101).contains(&counts[&8]), "{counts:?}");
    assert!((1..8).all(|slave| counts[&slave] > 150), "{counts:?}");
    assert!(missed(&polled) > 1000, "denser polls that were left out are counted");
}

#[tokio::test(start_paused = true)]
async fn the_core_asks_for_a_denser_look_near_a_threshold() {
    let mut documents = Documents::new(9600, 2, 4, "every = \"10s\"\nevery_in_alarm = \"500ms\"");
    documents.more = "[[rule]]\nname = \"high\"\npoint = \"d2.p1\"\nabove = { yellow = 100 }\nbasis = \"test\"\nadvice = \"none\"\n";
    let site = documents.site();
    let wire = Wire::new(9600, Duration::from_millis(10));
    let mut bench = Bench::new(&site, &wire);
    let mut core = Core::new(&site);
    let mut counts = Vec::new();
    // All devices read the same values; the rule looks at the second one alone.
    for value in [0, 89, 90, 120, 0] {
        wire.manners.lock().unwrap().values.insert(1, value);
        // The change is seen with the next poll, at most a period later.
        for time in [s(20), s(40)] {
            wire.heard();
            let Bench { task, polled, orders, clock } = &mut bench;
            let follow = async {
                while let Some(polled) = polled.recv().await {
                    let effects = core.apply(Event::Polled(polled.batch), clock.now(), true);
                    effects.dense.into_iter().for_each(|set| orders.send_modify(|orders| orders.dense = set));
                }
            };
            tokio::select! {
                () = task.run() => {}
                () = follow => {}
                () = tokio::time::sleep(time) => {}
            }
        }
        let counted = answered(&wire.heard());
        assert!([1, 3, 4].iter().all(|slave| (3..=5).contains(&counted[slave])), "{counted:?}");
        counts.push(counted[&2]);
    }
    assert_eq!(core.alarms().len(), 1);
    let dense: Vec<bool> = counts.iter().map(|count| (78..=90).contains(count)).collect();
    assert_eq!(dense, [false, false, true, true, false], "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_gives_up_answers_is_told() {
    let advice = |timeout: &'static str| async move {
        let wire = Wire::new(9600, Duration::from_millis(30));
        let mut bench = Bench::new(&Documents::new(9600, 10, 1, timeout).site(), &wire);
        bench.run(s(60)).await.last().unwrap().advice.clone()
    };
    // 25 bytes of answer take 26 ms.
    let told = advice("every = \"1s\"\ntimeout = \"100ms\"").await.unwrap();
    assert!(told.contains("below twice") && told.contains("raise `timeout`"), "{told}");
    assert_eq!(advice("every = \"1s\"\ntimeout = \"200ms\"").await, None);
}
