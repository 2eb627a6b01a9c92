//! Indicators of the plan, from a journal with alarms and readings of known times, over the example site's documents.

use std::collections::BTreeMap;
use std::time::Duration;

use lifeline_gateway::alarm::condition::measure::{Measure, Measured};
use lifeline_gateway::alarm::condition::rain::Counting;
use lifeline_gateway::alarm::overlay::Hand;
use lifeline_gateway::alarm::{Alarm, Base, Change, Condition, Direction, Severity, Transition};
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::console::indicators::{self, IndicatorView, Question, Sources};
use lifeline_gateway::journal::{Group, Reader};
use lifeline_gateway::reading::{Batch, Reading, Reason, Sample};
use lifeline_gateway::risk::registry;
use lifeline_gateway::site::{self, Site};

use crate::{console, coverage};

const FROM: &str = "2026-11-01T00:00:00Z";

fn example() -> Site {
    let options = site::Options {
        site: "devices".into(),
        profiles: Some("firmware-profiles".into()),
        now: at(0),
        ..site::Options::default()
    };
    site::load(&options).0.unwrap()
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(Timestamp::parse(FROM).unwrap().as_millis() + minute * 60_000)
}

fn trapped(id: &str, since: i64, severity: Severity) -> Alarm {
    Alarm {
        rule: "lift-1-trapped".to_owned(),
        point: "lift-1.presence-in-car".to_owned(),
        since: at(since),
        ..console::alarm(id, severity, Base::ActiveUnacknowledged)
    }
}

fn change(alarm: &Alarm, change: Change, minute: i64, note: Option<&str>) -> Transition {
    let state = if change == Change::Cleared { Base::LatchedUnacknowledged } else { alarm.state };
    let alarm = Alarm { state, ..alarm.clone() };
    Transition { alarm, change, at: at(minute), by: None, note: note.map(str::to_owned) }
}

struct Asked {
    rows: Vec<IndicatorView>,
}

impl Asked {
    fn of(site: &Site, batches: Vec<Batch>, transitions: Vec<Transition>) -> Self {
        Self::within(site, batches, transitions, (0, 100))
    }

    fn within(
        site: &Site,
        batches: Vec<Batch>,
        transitions: Vec<Transition>,
        (from, to): (i64, i64),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = coverage::open(folder.path());
        journal.keep_site(&site.catalog, &site.documents, at(0)).unwrap();
        let version = site.catalog.version.clone();
        journal.remember(&registry::entries(&site.risk_points, &version, at(0), &BTreeMap::new())).unwrap();
        journal.commit(&Group { now: at(60), version, batches, transitions, ..Group::default() }).unwrap();
        let reader = Reader::open(folder.path()).unwrap();
        let question = Question { from: Some(at(from).to_string()), to: Some(at(to).to_string()) };
        let sources = Sources { catalog: &site.catalog, rules: &site.rules, timezone: &site.timezone };
        Self { rows: indicators::of(&reader, &question, &sources, at(to + 100)).unwrap().rows }
    }

    fn row(&self, indicator: &str, of: &str) -> &IndicatorView {
        let fits = |row: &&IndicatorView| row.indicator == indicator && row.of.contains(of);
        self.rows.iter().find(fits).unwrap_or_else(|| panic!("{indicator} of {of}: {:#?}", self.rows))
    }
}

#[test]
fn entrapments_by_both_readings_and_the_time_to_rescue() {
    use Change::{Acknowledged, Cleared, Raised, Rose};
    let site = example();
    let mut log = Vec::new();
    let mut begin = |id: &str, since: i64| {
        let (suspected, sure) = (trapped(id, since, Severity::Orange), trapped(id, since, Severity::Red));
        log.push(change(&suspected, Raised, since, None));
        log.push(change(&sure, Rose, since + 3, None));
        sure
    };
    let first = begin("a", 10);
    let second = begin("b", 30);
    let earlier = begin("c", -50);
    let open = begin("d", 90);
    log.push(change(&first, Cleared, 22, None));
    log.push(change(&second, Acknowledged, 33, Some("cause: external, power cut")));
    log.push(change(&second, Cleared, 34, None));
    log.push(change(&earlier, Cleared, 12, None));
    // Suspected only: the door opened after 130 s, before anybody was sure (the worked example).
    let suspected = trapped("e", 50, Severity::Orange);
    log.push(change(&suspected, Raised, 51, None));
    log.push(change(&suspected, Cleared, 52, None));
    // The same, raised by a person and then acknowledged: what a person raises measures nothing.
    let mut lifted = trapped("g", 55, Severity::Orange);
    log.push(change(&lifted, Raised, 55, None));
    lifted.severity = Severity::Red;
    lifted.overlay.hand = Some(Hand {
        severity: Severity::Red,
        by: "duty".to_owned(),
        reason: "a call from the car".to_owned(),
        until: at(90),
        before: None,
    });
    log.push(change(&lifted, Change::Lifted, 56, None));
    log.push(change(&lifted, Acknowledged, 57, None));
    log.push(change(&lifted, Cleared, 58, None));
    let mut drill = trapped("f", 60, Severity::Red);
    drill.marks.drill = true;
    log.push(change(&drill, Raised, 60, None));
    let _ = open;
    let asked = Asked::of(&site, Vec::new(), log);
    let rate = asked.row("entrapment-rate-a", "site");
    assert_eq!(
        (rate.part, rate.whole),
        (Some(2), Some(1)),
        "an external cause is no fault, one that is not said is"
    );
    assert_eq!((rate.value.as_deref(), rate.met), (Some("200.00"), Some(false)));
    assert!(rate.definition.contains("3 entrapments of any cause"), "{}", rate.definition);
    let lifts = asked.row("entrapment-rate-b", "site");
    assert_eq!((lifts.part, lifts.whole, lifts.value.as_deref()), (Some(1), Some(1), Some("100.00")));
    let rescue = asked.row("rescue-median", "site");
    assert_eq!((rescue.value.as_deref(), rescue.part), (Some("8.0"), Some(2)), "12 and 4 minutes");
    assert_eq!(rescue.not_measured.as_deref(), Some("1 not over yet"));
    assert_eq!(asked.row("rescue-longest", "site").value.as_deref(), Some("12.0"));
}

#[test]
fn the_target_of_a_year_is_not_met_in_less() {
    let day = 24 * 60;
    let mut site = example();
    let rate = |site: &Site, from: i64, log: Vec<Transition>| {
        Asked::within(site, Vec::new(), log, (from, 366 * day)).row("entrapment-rate-a", "site").clone()
    };
    let told = |row: IndicatorView| (row.met, row.too_early);
    assert_eq!(told(rate(&site, 0, Vec::new())), (Some(true), false), "a whole year");
    assert_eq!(told(rate(&site, 2 * day, Vec::new())), (None, true), "a day less");
    assert_eq!(told(rate(&site, -day, Vec::new())), (None, true), "the journal begins later");
    let sure = change(&trapped("a", 300 * day, Severity::Red), Change::Raised, 300 * day, None);
    assert_eq!(told(rate(&site, 2 * day, vec![sure])), (Some(false), false), "failed already");
    let mut other = site.risk_points.iter().find(|point| point.class == "elevator").unwrap().clone();
    other.code = "500108-LT-999999".to_owned();
    site.risk_points.push(other);
    assert_eq!(told(rate(&site, 0, Vec::new())), (None, false), "of the other lift nobody knows");
}

#[test]
fn what_nothing_measures_is_no_nought() {
    let mut site = example();
    site.rules.retain(|rule| rule.name != "lift-1-trapped");
    let asked = Asked::of(&site, Vec::new(), Vec::new());
    let rate = asked.row("entrapment-rate-a", "site");
    assert_eq!((rate.value.as_deref(), rate.met), (None, None));
    assert_eq!(rate.not_measured.as_deref(), Some("1 of 1 lifts have no rule that sees an entrapment"));
    assert_eq!(asked.row("rescue-median", "site").value, None);
    let inspected = asked.row("regulator-inspection", "site");
    assert_eq!((inspected.value.as_deref(), inspected.met), (None, None), "no date is written anywhere");
    assert_eq!((inspected.part, inspected.whole), (None, None));
    assert_eq!(inspected.not_measured.as_deref(), Some("none of 2 has an `inspection_due`"));
    let water = asked.row("ponding-above", "underpass-1.level");
    assert_eq!(
        (water.value.as_deref(), water.not_measured.as_deref()),
        (None, Some("measured 0.0 % of the time"))
    );
}

#[test]
fn inspections_in_date_are_counted_to_their_last_day() {
    let mut site = example();
    let regulators: Vec<_> = site.risk_points.iter_mut().filter(|point| point.class == "gas").collect();
    assert_eq!(regulators.len(), 2);
    for (point, due) in regulators.into_iter().zip([100, 101]) {
        point.inspection_due = Some(at(due));
    }
    let asked = Asked::of(&site, Vec::new(), Vec::new());
    let rate = asked.row("regulator-inspection", "site");
    assert_eq!((rate.part, rate.whole, rate.value.as_deref()), (Some(1), Some(2), Some("50.0")));
    assert_eq!((rate.met, rate.not_measured.as_deref()), (Some(false), None));
    site.risk_points.iter_mut().find(|point| point.class == "gas").unwrap().inspection_due = None;
    let asked = Asked::of(&site, Vec::new(), Vec::new());
    let rate = asked.row("regulator-inspection", "site");
    assert_eq!((rate.part, rate.whole, rate.met), (Some(1), Some(2), Some(false)));
    let note = rate.not_measured.as_deref();
    assert_eq!(note, Some("1 of 2 have no `inspection_due`; they count as not inspected"));
}

#[test]
fn ponding_and_rain_from_readings() {
    let site = example();
    let point = |name: &str| site.catalog.find(name).unwrap().clone();
    let (level, rain) = (point("underpass-2.level"), point("rain-1.rain-hour"));
    let mut batches = Vec::new();
    let mut say = |point: &lifeline_gateway::point::Point, second: i64, sample: Sample| {
        let time = at(0).plus(Duration::from_secs(u64::try_from(second).unwrap()));
        let readings = vec![Reading { point: point.id, at: time, sample }];
        batches.push(Batch { device: point.device, start: time, end: time, readings });
    };
    // Each 2 s: 8 cm for 100 s, 11, 15, 20 for 22 s, then nothing to be believed.
    for poll in 0..=160 {
        let cm = [8.0, 11.0, 15.0, 20.0][usize::try_from(poll / 50).unwrap()];
        say(&level, 2 * poll, Sample::Good(cm));
    }
    say(&level, 322, Sample::Bad(Reason::Timeout));
    for (second, mm) in [(0, 0.0), (60, 4.4), (120, 5.0), (180, 2.0)] {
        say(&rain, second, Sample::Good(mm));
    }
    let asked = Asked::of(&site, batches, Vec::new());
    let times: Vec<_> = ["5 cm", "15 cm", "20 cm", "27 cm"]
        .map(|threshold| {
            let row = asked.row("ponding-above", &format!("underpass-2.level >= {threshold}"));
            assert_eq!(row.not_measured.as_deref(), Some("measured 5.3 % of the time"));
            (row.value.clone().unwrap(), row.part)
        })
        .into();
    let want = [("5.3", 1), ("2.0", 1), ("0.3", 1), ("0.0", 0)];
    assert_eq!(times, want.map(|(time, times)| (time.to_owned(), Some(times))));
    let row = asked.row("rain-highest", "rain-1.rain-hour");
    assert_eq!(row.value.as_deref(), Some("5.0"));
    assert!(row.definition.ends_with(", at 2026-11-01 00:02:00 +00:00"), "{}", row.definition);
}

/// What fell since the gauge was mounted is no sum of any time, and no highest rain.
#[test]
fn a_running_total_is_no_sum_of_rain() {
    let mut site = example();
    let rain = site.catalog.find("rain-1.rain-hour").unwrap().clone();
    let called = |site: &mut Site, name: &str| {
        let mut catalog = (*site.catalog).clone();
        let point = catalog.points.iter_mut().find(|point| point.id == rain.id).unwrap();
        (point.name, point.short) = (format!("rain-1.{name}"), name.to_owned());
        site.catalog = catalog.into();
    };
    let told = |site: &Site, name: &str| {
        let reading = |minute| Reading { point: rain.id, at: at(minute), sample: Sample::Good(812.4) };
        let batch = |minute| Batch {
            device: rain.device,
            start: at(minute),
            end: at(minute),
            readings: vec![reading(minute)],
        };
        let asked = Asked::of(site, vec![batch(1), batch(2)], Vec::new());
        let row = asked.row("rain-highest", name);
        (row.value.clone(), row.not_measured.clone())
    };
    called(&mut site, "rain-total");
    assert_eq!(told(&site, "rain-1.rain-total"), (None, Some("a running total".to_owned())));
    called(&mut site, "rain-total-1h");
    assert_eq!(told(&site, "rain-1.rain-total-1h").0.as_deref(), Some("812.4"), "of an hour");
    called(&mut site, "rain");
    let rule = site.rules.iter_mut().find(|rule| rule.point == rain.id).unwrap();
    let counting = Counting::Total { wraps_at: None, per_minute_max: None };
    let measure = Measure::Sum { window: Duration::from_secs(3600), counting };
    let measured = Measured {
        measure,
        spikes: None,
        factor: 1.0,
        unit: None,
        direction: Direction::Above,
        levels: Vec::new(),
        deadband: 0.0,
        max_gap: Duration::from_secs(600),
    };
    rule.condition = Condition::Measured { measured, inputs: vec![rain.id] };
    assert_eq!(told(&site, "rain-1.rain"), (None, Some("a running total".to_owned())), "as a rule counts it");
}
