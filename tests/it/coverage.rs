//! Risk points that are really watched, through the core and the journal, in virtual time.

use std::collections::BTreeMap;
use std::path::Path;

use lifeline_gateway::alarm::desk::Act;
use lifeline_gateway::alarm::{Change, Transition};
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::clock::zone::Zone;
use lifeline_gateway::console::coverage::{self, Question};
use lifeline_gateway::decode::{Raw, RawBatch};
use lifeline_gateway::gateway::core::{Core, Event};
use lifeline_gateway::gateway::vigil::{Stand, Surroundings};
use lifeline_gateway::journal::{Group, Journal, Reader, Settings};
use lifeline_gateway::reading::{Batch, Reason};
use lifeline_gateway::risk::coverage::Rung;
use lifeline_gateway::risk::registry;
use lifeline_gateway::risk::work::Task;
use lifeline_gateway::site::{self, Site};

use crate::recall;
use crate::reload_sinks::{Store, sinks};

const PROFILE: &str = "[profile]\nname = \"gauge\"\nclass = \"gas-pressure\"\nmaker = \"test\"\nsource = \"test\"\n\
    [[point]]\nname = \"p\"\nat = \"holding 0\"\ntype = \"u16\"\nunit = \"kPa\"\n";

/// A point that needs two sensors, one of which serves another point too.
pub(crate) const DOCUMENTS: &str = r#"
[[line]]
name = "a"
tcp = "127.0.0.1:1"
[[risk_point]]
code = "P1"
class = "gas"
town = "南坪街道"
supervisor = "gas company"
grade = 4
blind_after = "10m"
needs = [{ role = "gas-pressure", min = 2 }]
[[risk_point]]
code = "P2"
class = "gas"
town = "弹子石街道"
supervisor = "gas company"
grade = 2
needs = [{ role = "gas-pressure" }]
until = 2027-01-01
[[device]]
name = "one"
line = "a"
slave = 1
profile = "gauge"
every = "10s"
risk_point = "P1"
also_at = ["P2"]
calibration_due = 2026-12-31
[[device]]
name = "two"
line = "a"
slave = 2
profile = "gauge"
every = "10s"
risk_point = "P1"
[[rule]]
name = "high"
point = "one.p"
unit = "kPa"
above = { red = 900 }
deadband = 1
basis = "test"
advice = "none"
"#;

pub(crate) const START: &str = "2026-12-31T12:00:00+08:00";

pub(crate) fn load(documents: &str) -> (tempfile::TempDir, Site) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("site/site.toml", documents);
    write("profiles/gauge.toml", PROFILE);
    write("gateway.toml", "[site]\nname = \"test\"\ntimezone = \"Asia/Shanghai\"\n");
    let options = site::Options {
        config: Some(folder.path().join("gateway.toml")),
        site: folder.path().join("site"),
        profiles: Some(folder.path().join("profiles")),
        now: Timestamp::parse(START).unwrap(),
        ..site::Options::default()
    };
    let (site, found, texts) = site::load(&options);
    let site = site.unwrap_or_else(|| panic!("{}", lifeline_gateway::diagnostic::render(&found, &texts)));
    (folder, site)
}

/// A gateway without wires: a core, its time, and what it told.
pub(crate) struct World {
    pub(crate) core: Core,
    site: Site,
    pub(crate) now: Timestamp,
    pub(crate) around: Surroundings,
    pub(crate) silent: Vec<&'static str>,
    pub(crate) told: Vec<Batch>,
    alarms: Vec<Transition>,
}

impl World {
    pub(crate) fn new(site: &Site, now: &str) -> Self {
        Self {
            core: Core::new(site),
            site: site.clone(),
            now: Timestamp::parse(now).unwrap(),
            around: Surroundings::default(),
            silent: Vec::new(),
            told: Vec::new(),
            alarms: Vec::new(),
        }
    }

    fn apply(&mut self, event: Event) {
        let effects = self.core.apply(event, self.now, true);
        self.told.extend(effects.batches);
        self.alarms.extend(effects.transitions);
    }

    /// A person acknowledges what the alarm of this rule shows.
    pub(crate) fn acknowledge(&mut self, rule: &str) {
        let alarm = self.core.alarms().into_iter().find(|alarm| alarm.rule == rule).unwrap();
        let (id, seen) = (alarm.id, alarm.severity);
        self.apply(Event::Acknowledge { id, seen, by: "duty".into(), note: None });
    }

    /// Goes on by these documents.
    pub(crate) fn apply_documents(&mut self, site: &Site) {
        self.apply(Event::Reloaded(std::sync::Arc::new(site.clone())));
        self.site = site.clone();
    }

    /// Polls every 10 s, and looks at the risk points as often.
    pub(crate) fn run(&mut self, seconds: u64) -> Vec<Stand> {
        for _ in 0..seconds / 10 {
            self.now = self.now.plus(std::time::Duration::from_secs(10));
            for spec in self.site.devices.clone() {
                let name = &self.site.catalog.device(spec.id).unwrap().name;
                let silent = self.silent.iter().any(|silent| silent == name);
                let raw = if silent { Err(Reason::Timeout) } else { Ok(Raw::Number(42.0)) };
                let (start, end, raws) = (self.now, self.now, vec![(self.now, raw)]);
                self.apply(Event::Polled(RawBatch { device: spec.id, start, end, raws }));
            }
            let stands = self.core.stands(&self.around, self.now);
            let states = self.core.conditions(&stands);
            for batch in self.core.vigil().readings(&stands, &states, self.now) {
                self.apply(Event::Read(batch));
            }
        }
        self.core.stands(&self.around, self.now)
    }
}

fn rungs(stands: &[Stand]) -> BTreeMap<&str, Option<Rung>> {
    stands.iter().map(|(point, standing)| (point.code.as_str(), standing.rung)).collect()
}

#[test]
fn a_point_climbs_and_falls_with_its_sensors() {
    let (_folder, site) = load(DOCUMENTS);
    let mut world = World::new(&site, START);
    let stands = world.run(60);
    // No rule looks at the second sensor, and no notice was proved to get out.
    assert_eq!(rungs(&stands), [("P1", Some(Rung::Calibrated)), ("P2", Some(Rung::Calibrated))].into());
    world.around.proved = Some(world.now);
    let stands = world.run(10);
    assert_eq!(rungs(&stands), [("P1", Some(Rung::Calibrated)), ("P2", Some(Rung::Effective))].into());
    let weakest: Vec<_> =
        stands[0].1.weakest().iter().map(|(sensor, gap)| (sensor.name.clone(), gap.why.clone())).collect();
    assert_eq!(weakest, [("two".to_owned(), "no rule looks at it".to_owned())]);

    world.silent = vec!["two"];
    let stands = world.run(70);
    assert_eq!(rungs(&stands)["P1"], Some(Rung::Online), "its last sample is older than 3 periods and 30 s");
    assert_eq!(rungs(&stands)["P2"], Some(Rung::Effective));
    let stands = world.run(900);
    assert_eq!(rungs(&stands)["P1"], Some(Rung::Installed));
    world.silent.clear();
    // Back, and the share of good samples of the day is still too low.
    let stands = world.run(60);
    assert_eq!(rungs(&stands)["P1"], Some(Rung::Fresh));
}

#[test]
fn a_calibration_holds_until_the_end_of_its_day_and_a_point_until_its_last() {
    let (_folder, site) = load(DOCUMENTS);
    let mut world = World::new(&site, "2026-12-31T23:58:00+08:00");
    let stands = world.run(110);
    assert_eq!(rungs(&stands).len(), 2);
    assert_eq!(rungs(&stands)["P2"], Some(Rung::Calibrated));
    let stands = world.run(10);
    assert_eq!(rungs(&stands), [("P1", Some(Rung::Valid))].into(), "the year is over");
}

#[test]
fn a_blind_point_is_an_alarm_after_its_own_deadline() {
    let (_folder, site) = load(DOCUMENTS);
    let mut world = World::new(&site, START);
    world.run(60);
    world.silent = vec!["one", "two"];
    world.run(600);
    let blind = |world: &World| {
        let raised = world.alarms.iter().filter(|transition| transition.alarm.rule == "coverage-p1-blind");
        raised.map(|transition| (transition.change, transition.at)).collect::<Vec<_>>()
    };
    assert_eq!(blind(&world), []);
    world.run(120);
    let raised = blind(&world);
    assert!(raised.len() == 1, "{raised:?}");
    let alarm = &world.alarms.iter().find(|told| told.alarm.rule == "coverage-p1-blind").unwrap().alarm;
    assert_eq!((alarm.risk_point.as_deref(), alarm.town.as_deref()), (Some("P1"), Some("南坪街道")));
    world.silent = vec!["two"];
    world.run(20);
    assert_eq!(blind(&world).len(), 2, "one sensor sees again, whatever its share of the day");
    world.run(9000);
    assert_eq!(blind(&world).len(), 2);
}

/// A line that never gets as far as a poll tells nothing, and that is no reason to wait for ever.
#[test]
fn a_point_that_no_poll_tells_of_is_blind_too() {
    let (_folder, site) = load(DOCUMENTS);
    let mut world = World::new(&site, START);
    let mut look = |seconds: u64| {
        for _ in 0..seconds / 10 {
            world.now = world.now.plus(std::time::Duration::from_secs(10));
            let stands = world.core.stands(&world.around, world.now);
            let states = world.core.conditions(&stands);
            for batch in world.core.vigil().readings(&stands, &states, world.now) {
                world.apply(Event::Read(batch));
            }
        }
        world.alarms.iter().filter(|told| told.alarm.rule == "coverage-p1-blind").count()
    };
    assert_eq!(look(600), 0);
    assert_eq!(look(180), 1);
}

#[test]
fn what_was_seen_outlives_a_restart_and_a_reload() {
    let (_folder, site) = load(DOCUMENTS);
    let mut world = World::new(&site, START);
    world.run(6000);
    world.silent = vec!["two"];
    let before = world.run(200);
    let memories: BTreeMap<_, _> = world.core.vigil().memories(world.now, true).into_iter().collect();
    let mut restarted = Core::new(&site);
    restarted.vigil().restore(&memories);
    assert_eq!(restarted.stands(&world.around, world.now), before);
    assert_eq!(Core::new(&site).stands(&world.around, world.now)[0].1.rung, Some(Rung::Installed));

    let (_other, changed) = load(&DOCUMENTS.replace("min = 2", "min = 1"));
    world.apply(Event::Reloaded(std::sync::Arc::new(changed)));
    let after = world.core.stands(&world.around, world.now);
    assert_eq!(after[0].1.sensors, before[0].1.sensors);
    assert_eq!((before[0].1.rung, after[0].1.rung), (Some(Rung::Online), Some(Rung::Calibrated)));
}

/// The memory on disk may be from before the first poll; what was polled since stands in the journal.
#[test]
fn missing_samples_outlive_a_restart_soon_after_the_first_start() {
    let (_folder, site) = load(DOCUMENTS);
    let mut world = World::new(&site, START);
    let stands = world.core.stands(&world.around, world.now);
    let states = world.core.conditions(&stands);
    world.core.vigil().readings(&stands, &states, world.now);
    let memories: BTreeMap<_, _> = world.core.vigil().memories(world.now, false).into_iter().collect();
    world.silent = vec!["one", "two"];
    world.run(300);
    world.silent.clear();
    let before = world.run(300);
    let mut restarted = Core::new(&site);
    restarted.vigil().restore(&memories);
    for batch in &world.told {
        restarted.recall_batch(batch, world.now);
    }
    assert_eq!(restarted.stands(&world.around, world.now), before);
    assert_eq!(rungs(&before)["P1"], Some(Rung::Fresh), "half of the samples are missing");
}

fn keep(journal: &mut Journal, folder: &Path, world: &World, site: &Site) {
    journal.keep_site(&site.catalog, &site.documents, world.now).unwrap();
    let memories = Reader::open(folder).unwrap().memories().unwrap();
    let entries = registry::entries(&site.risk_points, &site.catalog.version, world.now, &memories);
    journal.remember(&entries).unwrap();
}

fn commit(journal: &mut Journal, world: &mut World, site: &Site) {
    let version = site.catalog.version.clone();
    let batches = std::mem::take(&mut world.told);
    journal.commit(&Group { now: world.now, version, batches, ..Group::default() }).unwrap();
}

pub(crate) fn open(folder: &Path) -> Journal {
    let hour = std::time::Duration::from_secs(3600);
    let settings =
        Settings { path: folder.into(), commit_every: hour, keep: hour * 9999, max_bytes: 1 << 30 };
    Journal::open(&settings).unwrap()
}

/// "What did we watch then, as known then, and as known now?": a need is corrected afterwards.
#[test]
fn another_day_as_known_then_and_as_known_now() {
    let folder = tempfile::tempdir().unwrap();
    let (_first, site) = load(DOCUMENTS);
    let mut journal = open(folder.path());
    let mut world = World::new(&site, START);
    keep(&mut journal, folder.path(), &world, &site);
    world.silent = vec!["two"];
    world.run(1200);
    commit(&mut journal, &mut world, &site);
    let then = world.now;

    let (_second, corrected) = load(&DOCUMENTS.replace("min = 2", "min = 1"));
    world.apply(Event::Reloaded(std::sync::Arc::new(corrected.clone())));
    world.run(3600);
    keep(&mut journal, folder.path(), &world, &corrected);
    commit(&mut journal, &mut world, &corrected);

    let reader = Reader::open(folder.path()).unwrap();
    let zone = Zone::named("Asia/Shanghai");
    let asked = |at: Option<Timestamp>, known_at: Option<Timestamp>| {
        let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let question = Question { at: text(at), known_at: text(known_at), ..Question::default() };
        let view = coverage::past(&reader, &question, ("test", &zone), world.now).unwrap();
        view.points.iter().find(|point| point.code == "P1").unwrap().rung
    };
    assert_eq!(asked(Some(then), Some(then)), Some(Rung::Installed), "as known then: two were needed");
    assert_eq!(asked(Some(then), None), Some(Rung::Calibrated), "as known now: one was enough");
    let before = Timestamp::parse("2026-12-31T11:00:00+08:00").unwrap();
    let question = Question { at: Some(before.to_string()), ..Question::default() };
    let told = coverage::past(&reader, &question, ("test", &zone), world.now).unwrap_err();
    assert!(
        told.contains("nothing was recorded at 2026-12-31 11:00:00 +08:00"),
        "the gateway was not there: {told}"
    );
    let question = Question { known_at: Some(before.to_string()), ..Question::default() };
    assert!(
        coverage::past(&reader, &question, ("test", &zone), world.now).unwrap_err().contains("no documents")
    );
}

#[test]
fn rows_add_up_and_groups_are_what_they_are_asked_to_be() {
    let (_folder, site) = load(DOCUMENTS);
    let mut world = World::new(&site, START);
    let stands: Vec<_> =
        world.run(60).into_iter().map(|(point, standing)| (point.as_ref().clone(), standing)).collect();
    let question = Question { by: Some("town".into()), ..Question::default() };
    let view = coverage::view(&question, "test", "1", &stands, world.now).unwrap();
    let names: Vec<_> =
        view.rows.iter().map(|row| (row.scope.as_str(), row.name.as_str(), row.points)).collect();
    assert_eq!(names, [("site", "test", 2), ("town", "南坪街道", 1), ("town", "弹子石街道", 1)]);
    assert_eq!(view.rows[0].percent["calibrated"], "100.0");
    assert_eq!(view.rows[0].percent["effective"], "0.0");
    let high = Question { grade: Some(3), ..Question::default() };
    assert_eq!(coverage::view(&high, "test", "1", &stands, world.now).unwrap().rows[0].points, 1);
    let none = Question { class: Some("elevator".into()), ..Question::default() };
    assert_eq!(
        coverage::view(&none, "test", "1", &stands, world.now).unwrap().rows[0].percent["installed"],
        "n/a"
    );
    let wrong = Question { by: Some("colour".into()), ..Question::default() };
    assert!(coverage::view(&wrong, "test", "1", &stands, world.now).unwrap_err().contains("town"));
}

fn act(world: &mut World, target: &str, act: Act) -> Option<String> {
    let event = Event::Act {
        target: target.to_owned(),
        act,
        by: "li".to_owned(),
        note: Some("bump test".to_owned()),
    };
    let effects = world.core.apply(event, world.now, true);
    world.alarms.extend(effects.transitions);
    effects.refused
}

fn rung_of(world: &mut World, seconds: u64) -> (Option<Rung>, String) {
    world.around = world.core.surroundings(Some(world.now));
    let stands = world.run(seconds);
    let sensor = &stands.iter().find(|(point, _)| point.code == "P2").unwrap().1.sensors[0];
    (sensor.rung, sensor.gap.as_ref().map(|gap| gap.why.clone()).unwrap_or_default())
}

#[test]
fn what_is_shelved_or_out_of_service_is_not_effective_and_says_so() {
    let documents = DOCUMENTS.replace("red = 900", "yellow = 900");
    let (_folder, site) = load(&documents);
    let mut world = World::new(&site, START);
    assert_eq!(rung_of(&mut world, 60).0, Some(Rung::Effective));
    let minutes = |minutes: u64| std::time::Duration::from_secs(60 * minutes);
    assert_eq!(act(&mut world, "high", Act::Shelve { seen: None, span: minutes(5) }), None);
    let (rung, why) = rung_of(&mut world, 10);
    assert_eq!(rung, Some(Rung::Calibrated));
    assert!(
        why.starts_with("high is shelved until 20")
            && why.contains(" +08:00 by")
            && why.ends_with("by li: bump test"),
        "{why}"
    );
    assert_eq!(act(&mut world, "high", Act::Unshelve), None);
    assert_eq!(rung_of(&mut world, 10).0, Some(Rung::Effective));
    let (number, responsible, to) = ("W-7".to_owned(), "wang".to_owned(), world.now.plus(minutes(60)));
    let out = Act::TakeOut { number, from: None, to, responsible, substitute: None };
    assert_eq!(act(&mut world, "high", out), None);
    let (rung, why) = rung_of(&mut world, 10);
    assert!(
        rung == Some(Rung::Calibrated)
            && why.contains("out of service until 20")
            && why.contains(" +08:00 (")
            && why.contains("W-7"),
        "{why}"
    );
}

#[test]
fn a_sensor_in_maintenance_pages_nobody_and_leaves_the_rungs_from_online_up() {
    let (_folder, site) = load(DOCUMENTS);
    let mut world = World::new(&site, START);
    rung_of(&mut world, 60);
    let span = std::time::Duration::from_secs(7200);
    let role = "gas company".to_owned();
    assert_eq!(
        act(&mut world, "nobody", Act::Maintain { span, role: role.clone(), substitute: None }).as_deref(),
        Some("no sensor of this name")
    );
    assert_eq!(act(&mut world, "one", Act::Maintain { span, role, substitute: None }), None);
    let (rung, why) = rung_of(&mut world, 10);
    assert_eq!(rung, Some(Rung::Installed));
    assert!(why.contains(" +08:00: li (gas company): bump test"), "{why}");
    let work = world.core.work(&world.around, world.now);
    assert!(work.iter().any(|work| work.task == Task::Maintain && work.of == "one"), "{work:?}");

    // It falls silent and is a case for nobody; the point is not blind for that.
    world.silent = vec!["one"];
    world.alarms.clear();
    rung_of(&mut world, 3000);
    let told = |world: &World| {
        let told = world.alarms.iter().filter(|one| one.notifies());
        told.map(|one| one.alarm.rule.clone()).collect::<Vec<_>>()
    };
    assert_eq!(told(&world), [""; 0]);
    assert!(
        world.alarms.iter().any(|one| one.alarm.rule == "one-stale" && one.change == Change::Raised),
        "on record"
    );
    // The end comes by itself, and what is still wrong is told then.
    rung_of(&mut world, 4500);
    assert_eq!(told(&world), ["one-stale"]);
    assert_eq!(world.core.surroundings(None).maintenance, BTreeMap::new());
    assert!(act(&mut world, "one", Act::Maintained).is_some(), "there is none");
}

#[test]
fn work_opens_and_closes_by_itself() {
    let (_folder, site) = load(DOCUMENTS);
    let tasks = |at: &str, site: &Site| {
        let mut world = World::new(site, at);
        world.around.proved = Some(world.now);
        let work = world.core.work(&world.around, world.now);
        work.into_iter().map(|work| (work.task, work.of, work.overdue)).collect::<Vec<_>>()
    };
    let one = |overdue| vec![(Task::Calibrate, "one".to_owned(), overdue)];
    assert_eq!(tasks("2026-11-30T12:00:00+08:00", &site), []);
    assert_eq!(tasks("2026-12-05T12:00:00+08:00", &site), one(false));
    assert_eq!(tasks("2027-01-01T00:00:00+08:00", &site), one(true));
    let (_other, calibrated) =
        load(&DOCUMENTS.replace("calibration_due = 2026-12-31", "calibration_due = 2027-12-31"));
    assert_eq!(tasks("2027-01-01T00:00:00+08:00", &calibrated), []);
    let unproved = World::new(&site, START);
    let work = unproved.core.work(&unproved.around, unproved.now);
    assert!(work.iter().any(|work| work.task == Task::Test && work.overdue));
}

#[test]
fn a_test_of_notices_says_of_each_sink_whether_it_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    recall::documents(folder, "", "", "[[sink]]\nname = \"files\"\nkind = \"file\"\npath = \"out\"\n");
    // Nobody listens where the second one leads.
    sinks(folder, &[("store", Store::of("device=d").serve()), ("broker", crate::reload_live::free_port())]);
    let mut child = recall::start(folder);
    let test = ["alarms", "test", "--rule", "seen", "--by", "li", "--wait", "3s"];
    let text = recall::until(folder, &test, |output| output.status.success());
    assert!(text.contains("the drill of seen reached the sink store after"), "{text}");
    assert!(text.contains("the sink broker did NOT confirm it within 3 s"), "{text}");
    let of = |sink: &'static str| [&test[..], &["--sink", sink]].concat();
    let text = recall::until(folder, &of("store"), |output| output.status.success());
    assert!(text.contains("reached the sink store"), "{text}");
    let text = recall::until(folder, &of("broker"), |output| output.status.code() == Some(1));
    assert!(text.contains("reached the sink store") && text.contains("the sink broker did NOT"), "{text}");
    let json = [&of("broker")[..], &["--json"]].concat();
    let text = recall::until(folder, &json, |output| output.status.code() == Some(1));
    let came: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&came["sinks"], &came["missing"]),
        (&serde_json::json!(["store"]), &serde_json::json!(["broker"]))
    );
    recall::until(folder, &of("stoer"), |output| output.status.code() == Some(2));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_drill_that_a_sink_confirms_makes_a_point_effective_and_outlives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    recall::documents(
        folder,
        "[[risk_point]]\ncode = \"P1\"\nclass = \"gas\"\ntown = \"t\"\nsupervisor = \"s\"\ngrade = 3\nneeds = [{ role = \"io\" }]\n",
        "risk_point = \"P1\"\n",
        "[[sink]]\nname = \"files\"\nkind = \"file\"\npath = \"out\"\n",
    );
    let mut child = recall::start(folder);
    let alone = ["alarms", "test", "--rule", "seen", "--by", "li", "--wait", "2s"];
    let text = recall::until(folder, &alone, |output| {
        String::from_utf8_lossy(&output.stdout).contains("a file or a store reaches nobody")
    });
    assert!(text.contains("no sink from which people are called confirmed the drill of seen"), "{text}");
    child.kill().unwrap();
    child.wait().unwrap();
    sinks(folder, &[("store", Store::of("device=d").serve())]);
    let mut child = recall::start(folder);
    let rung = |want: &'static str| {
        recall::until(folder, &["coverage", "--json"], move |output| {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().any(|line| {
                line.contains("\"code\":\"P1\"") && line.contains(&format!("\"rung\":\"{want}\""))
            })
        })
    };
    rung("calibrated");
    let text = recall::until(folder, &["alarms", "test", "--rule", "seen", "--by", "li"], |output| {
        output.status.success()
    });
    assert!(text.contains("the drill of seen reached the sink store after"), "{text}");
    assert!(!text.contains("NOT confirm"), "{text}");
    rung("effective");
    child.kill().unwrap();
    child.wait().unwrap();
    let mut child = recall::start(folder);
    rung("effective");
    let maintain =
        ["maintenance", "d", "--for", "1h", "--reason", "bump test", "--role", "gas company", "--by", "li"];
    let told = recall::until(folder, &maintain, |output| output.status.success());
    assert!(
        told.contains("out of service") && told.contains("gas company") && told.contains("bump test"),
        "{told}"
    );
    // The first answer, not one of some seconds later.
    let at_once = || recall::until(folder, &["coverage"], |_| true);
    let told = at_once();
    assert!(told.contains("in maintenance until") && told.contains("bump test"), "{told}");
    rung("installed");
    recall::until(folder, &["maintenance", "d", "--end", "--by", "li"], |output| output.status.success());
    let told = at_once();
    assert!(!told.contains("in maintenance until"), "{told}");
    rung("effective");
    child.kill().unwrap();
    child.wait().unwrap();
}
