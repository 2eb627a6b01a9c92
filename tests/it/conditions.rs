//! The conditions of rules as documents write them: the reference page's examples load, and raise and clear in the engine.

use std::collections::BTreeMap;

use lifeline_gateway::alarm::engine::Engine;
use lifeline_gateway::alarm::{Change, Kind};
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::diagnostic;
use lifeline_gateway::reading::{Doubt, Reading, Reason, Sample};
use lifeline_gateway::site::{self, Site};

const PAGE: &str = include_str!("../../docs/reference/conditions.md");

/// A device: name, class, and each point with its unit or states.
type Device = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Devices and points of the page's examples.
const DEVICES: [Device; 9] = [
    ("gauge", "water-level", &[("level", "cm")]),
    ("regulator", "gas-pressure", &[("p1", "kPa")]),
    ("climate", "climate", &[("temperature", "degC")]),
    ("meter", "gas-flow", &[("flow", "m3/h")]),
    ("crack", "displacement", &[("distance", "mm")]),
    ("rain", "rain", &[("amount", "mm"), ("total", "mm")]),
    (
        "lift",
        "elevator",
        &[
            ("top-limit", ""),
            ("faults", ""),
            ("door", "states"),
            ("presence", ""),
            ("moving", ""),
            ("zone", ""),
            ("closed", ""),
            ("button", ""),
        ],
    ),
    ("leak-a", "gas-concentration", &[("gas", "%LEL")]),
    ("leak-b", "gas-concentration", &[("gas", "%LEL")]),
];

/// A site with these rules; every point is polled once a second.
pub(crate) fn load(rules: &str) -> Result<Site, String> {
    let folder = tempfile::tempdir().unwrap();
    let (site, profiles) = (folder.path().join("site"), folder.path().join("profiles"));
    std::fs::create_dir_all(&site).unwrap();
    std::fs::create_dir_all(&profiles).unwrap();
    let mut text = "[[line]]\nname = \"l\"\ntcp = \"127.0.0.1:502\"\n".to_owned();
    let third = ("leak-c", "gas-concentration", &[("gas", "%LEL")][..]);
    for (slave, (name, class, points)) in (1..).zip(DEVICES.into_iter().chain([third])) {
        text += &format!(
            "[[device]]\nname = \"{name}\"\nline = \"l\"\nslave = {slave}\nprofile = \"{name}\"\nevery = \"1s\"\n"
        );
        let mut profile = format!(
            "[profile]\nname = \"{name}\"\nclass = \"{class}\"\nmaker = \"test\"\nsource = \"test\"\n"
        );
        for (address, (point, unit)) in points.iter().enumerate() {
            profile +=
                &format!("[[point]]\nname = \"{point}\"\nat = \"holding {address}\"\ntype = \"u16\"\n");
            profile += &match *unit {
                "" => String::new(),
                "states" => "states = { \"0\" = \"closed\", \"1\" = \"open\", \"2\" = \"opening\", \"3\" = \"closing\" }\n".to_owned(),
                unit => format!("unit = \"{unit}\"\n"),
            };
        }
        std::fs::write(profiles.join(format!("{name}.toml")), profile).unwrap();
    }
    std::fs::write(site.join("site.toml"), text).unwrap();
    std::fs::write(site.join("rules.toml"), rules).unwrap();
    let options = site::Options { site, profiles: Some(profiles), ..site::Options::default() };
    let (found, diagnostics, texts) = site::load(&options);
    found.ok_or_else(|| diagnostic::render(&diagnostics, &texts))
}

pub(crate) fn page() -> String {
    let blocks = PAGE.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The rules of a site in recorded time.
struct Course {
    site: Site,
    engine: Engine,
    second: i64,
}

impl Course {
    fn new(rules: &str) -> Self {
        let site = load(rules).unwrap_or_else(|report| panic!("{report}"));
        let rules =
            site.rules.iter().filter(|rule| rule.kind == Kind::Process || !rule.name.ends_with("-stale"));
        let rules = rules.filter(|rule| !rule.name.starts_with("gateway-")).cloned().collect();
        let engine = Engine::new("test", rules, &site.catalog);
        Self { site, engine, second: 0 }
    }

    /// Of the page's rules this one.
    fn of_page(name: &str) -> Self {
        let mut course = Self::new(&page());
        let rules: Vec<_> = course.site.rules.iter().filter(|rule| rule.name == name).cloned().collect();
        assert_eq!(rules.len(), 1, "{name}");
        course.engine = Engine::new("test", rules, &course.site.catalog);
        course
    }

    /// The samples of a moment so many seconds later; the changes that they make.
    fn after(&mut self, seconds: i64, samples: &[(&str, Sample)]) -> Vec<String> {
        self.second += seconds;
        let at = Timestamp::from_millis(1_800_000_000_000 + self.second * 1000);
        self.engine.tick(at);
        for (name, sample) in samples {
            let point = self.site.catalog.find(name).unwrap_or_else(|| panic!("{name}")).id;
            self.engine.reading(&Reading { point, at, sample: sample.clone() }, at);
        }
        let told = self.engine.drain();
        told.iter().map(|one| format!("{} {:?}", one.change.name(), one.alarm.severity)).collect()
    }

    /// A number of a point every `step` seconds; all changes.
    fn run(&mut self, name: &str, step: i64, values: impl IntoIterator<Item = f64>) -> Vec<String> {
        values.into_iter().flat_map(|value| self.after(step, &[(name, Sample::Good(value))])).collect()
    }
}

#[test]
fn the_page_loads_whole() {
    let site = load(&page()).unwrap_or_else(|report| panic!("{report}"));
    let written = page().matches("[[rule]]").count();
    let own = site.rules.iter().filter(|rule| rule.basis != "implicit").count();
    assert_eq!((own, written), (written, 24));
    let sensors: Vec<&str> = site
        .rules
        .iter()
        .filter(|rule| rule.kind == Kind::Sensor && rule.basis != "implicit")
        .map(|rule| rule.name.as_str())
        .collect();
    assert_eq!(sensors, ["gauge-stuck", "gauge-range", "gauge-silent"]);
}

#[test]
fn a_rise_raises_in_its_own_unit_and_a_gap_does_not() {
    let mut course = Course::of_page("ponding-rises");
    assert!(course.run("gauge.level", 1, (0..200).map(|_| 3.0)).is_empty());
    // 12 cm higher after a gap of an hour, and still there.
    assert!(course.run("gauge.level", 3600, [15.0]).is_empty());
    assert!(course.run("gauge.level", 1, (0..300).map(|_| 15.0)).is_empty(), "a gap is no rise");
    let told = course.run("gauge.level", 1, (0..300).map(|second| 15.0 + f64::from(second) / 30.0));
    assert_eq!(told, ["raised Yellow"]);
    let alarm = course.engine.alarms().remove(0);
    assert_eq!((alarm.unit.as_deref(), alarm.threshold), (Some("cm/min"), Some(1.0)));
    assert!((1.0..1.1).contains(&alarm.value.unwrap()), "{:?}", alarm.value);
    assert_eq!(course.after(1, &[("gauge.level", Sample::Bad(Reason::Timeout))]), ["unverified Yellow"]);
    let told = course.run("gauge.level", 1, (0..300).map(|_| 25.0));
    assert_eq!(told, ["verified Yellow", "cleared Yellow"]);
}

#[test]
fn a_falling_pressure_has_a_delay_for_each_colour() {
    let mut course = Course::of_page("pressure-falls");
    let slow: Vec<f64> = (0..120).map(|second| 300.0 - 12.0 / 60.0 * f64::from(second)).collect();
    assert_eq!(course.run("regulator.p1", 1, slow), ["raised Orange"]);
    let alarm = course.engine.alarms().remove(0);
    assert_eq!(alarm.threshold, Some(-10.0));
    assert!(alarm.value.unwrap() < -10.0);
}

#[test]
fn rain_of_an_unknown_hour_raises_and_does_not_clear() {
    let mut course = Course::of_page("rain-hour");
    // 20 mm in the first ten minutes after a start: a lower bound is enough to raise.
    assert_eq!(course.run("rain.amount", 1, (0..600).map(|_| 20.0 / 600.0)), ["raised Blue"]);
    assert!(course.run("rain.amount", 1, (0..2900).map(|_| 0.0)).is_empty());
    assert_eq!(course.run("rain.amount", 1, (0..800).map(|_| 0.0)), ["cleared Blue"]);
    assert_eq!(
        course.run("rain.amount", 7200, [17.0]),
        ["closed Blue", "raised Blue"],
        "hours later it is a new one"
    );
    assert!(course.run("rain.amount", 7200, [0.0]).is_empty(), "of the last hour nothing is known");
}

#[test]
fn votes_say_how_well_they_are_confirmed() {
    let mut course = Course::of_page("methane-2-of-3");
    let good = Sample::Good;
    let all = |a: Sample, b: Sample, c: Sample| [("leak-a.gas", a), ("leak-b.gas", b), ("leak-c.gas", c)];
    assert!(course.after(1, &all(good(3.0), good(4.0), good(2.0))).is_empty());
    assert_eq!(
        course.after(1, &all(good(60.0), good(4.0), good(2.0))),
        ["raised Orange"],
        "one of three: one lower"
    );
    assert_eq!(course.after(1, &all(good(60.0), good(55.0), good(2.0))), ["rose Red"]);
    let alarm = course.engine.alarms().remove(0);
    assert_eq!((alarm.threshold, alarm.unit.as_deref()), (Some(50.0), Some("%LEL")));
    let bad = || Sample::Bad(Reason::Timeout);
    assert!(course.after(1, &all(bad(), bad(), bad())).contains(&"unverified Red".to_owned()));
    assert_eq!(course.after(1, &all(good(2.0), bad(), bad())), ["verified Red"], "one sensor clears nothing");
}

#[test]
fn somebody_trapped_stays_trapped_until_the_door_opens() {
    let mut course = Course::of_page("trapped");
    let states = |presence: f64, zone: f64, closed: f64| {
        [("presence", presence), ("moving", 0.0), ("zone", zone), ("closed", closed), ("button", 0.0)]
    };
    let mut run = |seconds: i64, states: [(&str, f64); 5]| -> Vec<String> {
        let names: Vec<(String, Sample)> =
            states.iter().map(|(name, state)| (format!("lift.{name}"), Sample::Good(*state))).collect();
        let samples: Vec<(&str, Sample)> =
            names.iter().map(|(name, sample)| (name.as_str(), sample.clone())).collect();
        (0..seconds).flat_map(|_| course.after(1, &samples)).collect()
    };
    assert!(run(300, states(1.0, 1.0, 1.0)).is_empty(), "parked at a floor");
    assert_eq!(run(61, states(1.0, 0.0, 1.0)), ["raised Orange"]);
    assert_eq!(run(121, states(0.0, 0.0, 1.0)), ["rose Red"], "a person who sits still is there");
    assert_eq!(run(1, states(1.0, 1.0, 0.0)), ["cleared Red"]);
}

#[test]
fn questions_together() {
    let mut course = Course::of_page("deep-and-wet");
    let mut moment = |level: f64, rain: f64| {
        course.after(1, &[("gauge.level", Sample::Good(level)), ("rain.amount", Sample::Good(rain))])
    };
    assert!((0..300).flat_map(|_| moment(12.0, 0.0)).next().is_none(), "deep alone");
    let told: Vec<String> = (0..100).flat_map(|_| moment(12.0, 1.0)).collect();
    assert_eq!(told, ["raised Orange"]);
    let told: Vec<String> = (0..60).flat_map(|_| moment(8.0, 0.0)).collect();
    assert_eq!(told, ["cleared Orange"], "not deep any more decides it");
}

#[test]
fn a_spike_does_not_pass_and_a_doubt_does_not_clear() {
    let mut course = Course::of_page("ponding");
    assert!(course.run("gauge.level", 1, (0..20).map(|_| 1.0)).is_empty());
    assert!(course.run("gauge.level", 1, [300.0, 300.0, 1.0, 1.0]).is_empty());
    assert_eq!(course.run("gauge.level", 1, (0..80).map(|_| 30.0)), ["raised Red"]);
    let low = || Sample::Uncertain(0.0, Doubt::UnderRange);
    let told: Vec<String> = (0..900).flat_map(|_| course.after(1, &[("gauge.level", low())])).collect();
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(course.run("gauge.level", 1, (0..610).map(|_| 0.0)).last().unwrap(), "cleared Red");
}

#[test]
fn a_silent_point_of_a_device_that_speaks() {
    let mut course = Course::new(&page());
    let rule = course.site.rules.iter().find(|rule| rule.name == "gauge-silent").unwrap().clone();
    course.engine = Engine::new("test", vec![rule], &course.site.catalog);
    assert!(course.run("gauge.level", 1, [1.0]).is_empty());
    assert_eq!(course.after(601, &[]), ["raised Yellow"]);
    assert_eq!(course.run("gauge.level", 1, [1.0]), ["cleared Yellow"]);
}

#[test]
fn a_restart_keeps_the_alarm_of_a_measure_and_its_memory_is_given_back() {
    let mut course = Course::of_page("ponding-rises");
    let rising = |second: i32| f64::from(second) / 30.0;
    assert_eq!(course.run("gauge.level", 1, (0..200).map(rising)), ["raised Yellow"]);
    let at = |second: i64| Timestamp::from_millis(1_800_000_000_000 + second * 1000);
    let mut later = Engine::new(
        "test",
        course.site.rules.iter().filter(|rule| rule.name == "ponding-rises").cloned().collect(),
        &course.site.catalog,
    );
    later.restore(course.engine.states(), Some(at(course.second)), at(course.second + 1));
    let point = course.site.catalog.find("gauge.level").unwrap().id;
    let reading = |second: i64, value: f64| Reading { point, at: at(second), sample: Sample::Good(value) };
    for second in 1..=200 {
        later.recall(&reading(second, rising(i32::try_from(second).unwrap() - 1)), at(course.second + 1));
    }
    assert!(later.drain().is_empty(), "memory is no event");
    // The level stands from now on: with its memory the rule knows the rise of the last minutes, and clears when it is over.
    let mut changes = BTreeMap::new();
    for second in 202..520 {
        later.reading(&reading(second, rising(199)), at(second));
        changes.extend(later.drain().into_iter().map(|one| (one.change.name(), second)));
    }
    let cleared = changes.get(Change::Cleared.name()).copied().unwrap();
    assert!((240..500).contains(&cleared), "{changes:?}");
}
