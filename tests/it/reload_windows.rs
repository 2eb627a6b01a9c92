//! A rule that a reload corrects is judged at once: by the next reading, and by what the gateway has seen before. Sockets are on loopback, in real time.

#![expect(clippy::disallowed_methods, reason = "sockets and processes live in real time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use lifeline_gateway::alarm::recall::Primed;
use lifeline_gateway::alarm::{Change, Severity};
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::gateway::core::{Core, Event};
use lifeline_gateway::reading::{Batch, Reading, Sample};
use lifeline_gateway::site::diff::ends::{self, Open, OpenAlarm, Voice};
use lifeline_gateway::site::{Site, diff};

use crate::conditions;
use crate::reload_live::{Field, Process, device, free_port, line, write};

/// The state of the rule's alarm and what it judges now; nothing while it has none.
fn told(gateway: &Process) -> Option<(String, Option<f64>)> {
    let (_, text) = gateway.ask(&["alarms", "--json"]);
    let alarms = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut known = alarms.filter(|alarm| alarm["rule"] == "wet");
    let alarm = known.next()?;
    Some((alarm["state"].as_str()?.to_owned(), alarm["now"]["value"].as_f64()))
}

fn until(gateway: &Process, within: Duration, says: impl Fn(&(String, Option<f64>)) -> bool) {
    let begun = Instant::now();
    loop {
        let found = told(gateway);
        if found.as_ref().is_some_and(&says) {
            return;
        }
        assert!(begun.elapsed() < within, "{found:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_corrected_window_is_known_at_once_from_the_journal() {
    let (folder, field, console) = (tempfile::tempdir().unwrap(), Field::default(), free_port());
    let lines = line("kept", field.serve());
    let site = |red: u32, window: u32| {
        let rule = format!(
            "[[rule]]\nname = \"wet\"\npoint = \"kept-1.x\"\nabove = {{ red = {red} }}\nsum_over = \"{window}s\"\nmax_gap = \"5s\"\nbasis = \"test\"\nadvice = \"none\"\n"
        );
        format!("{lines}{}{rule}", device("kept-1", "kept", 1, 10_000))
    };
    write(folder.path(), console, &site(50, 10));
    let gateway = Process::start(folder.path(), &[]);
    let begun = Instant::now();
    until(&gateway, Duration::from_secs(30), |(state, _)| state == "active-unacknowledged");
    std::thread::sleep(Duration::from_secs(12).saturating_sub(begun.elapsed()));
    // A window is known when four fifths are: by itself one of fourteen seconds would be eleven seconds later.
    std::fs::write(folder.path().join("site/site.toml"), site(1_000_000, 14)).unwrap();
    let (code, text) = gateway.ask(&["reload"]);
    assert_eq!(code, Some(0), "{text}");
    until(&gateway, Duration::from_secs(4), |(state, now)| {
        state == "returned-unacknowledged" && now.is_some_and(|now| now > 3_000.0)
    });
}

#[test]
fn a_window_has_no_readings_from_before_the_point_meant_what_it_means() {
    let (folder, field, console) = (tempfile::tempdir().unwrap(), Field::default(), free_port());
    let lines = line("kept", field.serve());
    let site = |red: u32, window: u32| {
        let rule = format!(
            "[[rule]]\nname = \"wet\"\npoint = \"kept-1.x\"\nabove = {{ red = {red} }}\nchange_over = \"{window}s\"\nmax_gap = \"5s\"\nbasis = \"test\"\nadvice = \"none\"\n"
        );
        format!("{lines}{}{rule}", device("kept-1", "kept", 1, 100_000))
    };
    write(folder.path(), console, &site(500, 6));
    let gateway = Process::start(folder.path(), &[]);
    gateway.until("polled", |status| status["devices"][0]["polls"].as_u64() > Some(50));
    let reload = || {
        let (code, text) = gateway.ask(&["reload"]);
        assert_eq!(code, Some(0), "{text}");
    };
    let profile = folder.path().join("profiles/probe.toml");
    let text = std::fs::read_to_string(&profile).unwrap();
    std::fs::write(profile, format!("{text}scale = 100.0\n")).unwrap();
    reload();
    std::fs::write(folder.path().join("site/site.toml"), site(600, 7)).unwrap();
    reload();
    // A window is known when half of it is full.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(told(&gateway), None);
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + second * 1000)
}

fn level(site: &Site, second: i64, value: f64) -> Event {
    let point = site.catalog.find("gauge.level").unwrap();
    let reading = Reading { point: point.id, at: at(second), sample: Sample::Good(value) };
    Event::Read(Batch { device: point.device, start: at(second), end: at(second), readings: vec![reading] })
}

/// What the next reading of 25 makes of a red alarm that stands when `was` becomes `is`.
fn corrected(was: &str, is: &str) -> Vec<Change> {
    let rule = |asks: &str| {
        let text = format!(
            "[[rule]]\nname = \"high\"\npoint = \"gauge.level\"\nunit = \"cm\"\n{asks}\nmax_gap = \"10s\"\nbasis = \"test\"\nadvice = \"none\"\n"
        );
        conditions::load(&text).unwrap_or_else(|report| panic!("{report}"))
    };
    let (was, is) = (rule(was), rule(is));
    let mut core = Core::new(&was);
    let raised = core.apply(level(&was, 0, 25.0), at(0), true).transitions;
    assert_eq!(raised.iter().map(|one| one.change).collect::<Vec<_>>(), [Change::Raised]);
    let site = Arc::new(is);
    assert!(core.apply(Event::Reloaded(Arc::clone(&site)), at(1), true).transitions.is_empty());
    core.apply(level(&site, 2, 25.0), at(2), true).transitions.iter().map(|one| one.change).collect()
}

#[test]
fn the_next_reading_ends_the_alarm_of_a_corrected_threshold() {
    assert_eq!(corrected("above = { red = 20 }", "above = { red = 200 }"), [Change::Cleared]);
    assert_eq!(corrected("above = { red = 20 }", "above = { blue = 20, red = 200 }"), [Change::Fell]);
    assert_eq!(corrected("above = { red = 20 }", "below = { red = 10 }"), [Change::Cleared]);
    let held = "above = { red = 200 }\noff_delay = \"5s\"";
    assert_eq!(corrected("above = { red = 20 }", held), [], "an off-delay is kept");
}

#[test]
fn a_corrected_unit_goes_with_the_numbers_that_are_in_it() {
    let rule = |unit: &str, levels: &str| {
        let text = format!(
            "[[rule]]\nname = \"rise\"\npoint = \"gauge.level\"\nunit = \"{unit}\"\nchange_over = \"10s\"\nabove = {levels}\nmax_gap = \"10s\"\nbasis = \"test\"\nadvice = \"none\"\n"
        );
        conditions::load(&text).unwrap_or_else(|report| panic!("{report}"))
    };
    let (was, is) =
        (rule("cm", "{ yellow = 2, red = 100 }"), Arc::new(rule("mm", "{ yellow = 20, red = 50 }")));
    let mut core = Core::new(&was);
    let mut told = Vec::new();
    let mut read = |core: &mut Core, site: &Site, seconds: std::ops::Range<i64>, value: fn(i64) -> f64| {
        for second in seconds {
            let transitions = core.apply(level(site, second, value(second)), at(second), true).transitions;
            for one in transitions.into_iter().filter(|one| one.alarm.rule == "rise") {
                told.push((one.change, one.alarm.value, one.alarm.threshold, one.alarm.unit));
            }
        }
    };
    read(&mut core, &was, 0..10, |second| second as f64 / 3.0);
    core.apply(Event::Reloaded(Arc::clone(&is)), at(9), true);
    read(&mut core, &is, 10..20, |second| second as f64);
    read(&mut core, &is, 20..40, |_| 20.0);
    let unit = |name: &str| Some(name.to_owned());
    assert_eq!(told[0], (Change::Raised, Some(2.0), Some(2.0), unit("cm")));
    let [(Change::Rose, Some(rise), threshold, of), .., (Change::Cleared, Some(last), _, at_last)] =
        &told[1..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((*rise >= 50.0, threshold, of), (true, &Some(50.0), &unit("mm")));
    assert_eq!((*last < 20.0, at_last), (true, &unit("mm")));
}

#[test]
fn a_derived_point_that_is_made_otherwise_and_what_is_made_of_it_are_not_the_same() {
    let derived = |window: &str| {
        let text = format!(
            "[[derived]]\nname = \"gauge.mean\"\ninputs = {{ level = \"gauge.level\" }}\nvalue = \"mean(level, '{window}')\"\nunit = \"cm\"\n\
             [[derived]]\nname = \"gauge.twice\"\ninputs = {{ mean = \"gauge.mean\" }}\nvalue = \"mean * 2.0\"\nunit = \"cm\"\n\
             [[derived]]\nname = \"gauge.half\"\ninputs = {{ level = \"gauge.level\" }}\nvalue = \"level / 2.0\"\nunit = \"cm\"\n"
        );
        conditions::load(&text).unwrap_or_else(|report| panic!("{report}"))
    };
    let same = |was: &Site, is: &Site| -> Vec<String> {
        let kept = diff::unmoved_points(was, is).into_iter().flatten();
        let names = kept.map(|point| is.catalog.point(point).unwrap().name.clone());
        names.filter(|name| name.starts_with("gauge.")).collect()
    };
    let was = derived("1m");
    assert_eq!(same(&was, &derived("2m")), ["gauge.level", "gauge.half"]);
    assert_eq!(same(&was, &was), ["gauge.level", "gauge.mean", "gauge.twice", "gauge.half"]);
}

/// A rule that is corrected after 600 readings, of which the journal has the first ones, judges the next as one that always asked so.
#[test]
fn a_corrected_rule_is_judged_as_if_it_had_always_asked_so() {
    let rule = |name: &str, keys: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\npoint = \"gauge.level\"\n{keys}\nmax_gap = \"10s\"\nbasis = \"test\"\nadvice = \"none\"\n"
        )
    };
    let rules = |window: u32| {
        [
            ("change", format!("unit = \"cm\"\nchange_over = \"{window}s\"\nabove = {{ red = 1 }}")),
            ("sum", format!("unit = \"cm\"\nsum_over = \"{window}s\"\nabove = {{ red = 1 }}")),
            ("slope", format!("unit = \"cm/min\"\nwindow = \"{window}s\"\nrise = {{ red = 1 }}")),
            (
                "median",
                format!(
                    "unit = \"cm/min\"\nwindow = \"{window}s\"\nrise = {{ red = 1 }}\nmethod = \"theil-sen\""
                ),
            ),
        ]
        .map(|(name, keys)| rule(name, &keys))
        .concat()
    };
    let [was, is] = [100, 300].map(|window| Arc::new(conditions::load(&rules(window)).unwrap()));
    let value = |second: i64| (second * second % 5000) as f64 / 10.0 + second as f64;
    let mut always = Core::new(&is);
    let mut core = Core::new(&was);
    let readings = (0..600).map(|second| {
        let point = is.catalog.find("gauge.level").unwrap().id;
        Reading { point, at: at(second), sample: Sample::Good(value(second)) }
    });
    let readings: Vec<Reading> = readings.collect();
    for second in 0..600 {
        always.apply(level(&is, second, value(second)), at(second), true);
        core.apply(level(&was, second, value(second)), at(second), true);
    }
    core.apply(Event::Reloaded(Arc::clone(&is)), at(599), true);
    // What was heard meanwhile stands in the journal in part.
    let primed = Primed::new(is.rules.clone(), &is.catalog, &readings[..500], at(499));
    core.refill(primed, &readings[480..], at(599));
    for second in 600..620 {
        always.apply(level(&is, second, value(second)), at(second), true);
        core.apply(level(&is, second, value(second)), at(second), true);
        let judged = core.judged();
        assert_eq!(judged, always.judged(), "after {second}");
        assert_eq!(judged.len(), 4, "{judged:?}");
    }
}

/// What becoming of the rule `rise` is told when `was` turns into `is`, with an orange alarm of it open that judges `judged` cm.
fn told_of(was: &str, is: &str, judged: Option<f64>) -> Vec<String> {
    let rule = |asks: &str| {
        let text = format!(
            "[[rule]]\nname = \"rise\"\npoint = \"gauge.level\"\nunit = \"cm\"\n{asks}\nmax_gap = \"10s\"\nbasis = \"test\"\n"
        );
        conditions::load(&text).unwrap_or_else(|report| panic!("{report}"))
    };
    let (was, is) = (rule(was), rule(is));
    let mut found = diff::diff(&was, &is);
    let alarm = OpenAlarm { severity: Severity::Orange, unseen: true, active: true, now: Some(1.0), judged };
    ends::tell(&mut found, (&was, &is), |_| Open { alarm: Some(alarm), ..Open::default() }, Voice::Asked);
    found.items.iter().map(ToString::to_string).collect()
}

#[test]
fn a_changed_window_is_told_with_what_it_ends_and_fills() {
    let base = "change_over = \"10m\"\nabove = { orange = 20 }\nadvice = \"look\"";
    let fills = |span: &str| format!("would fill its window of {span} from the journal");
    assert_eq!(told_of(base, base, Some(25.0)), [""; 0]);
    assert_eq!(
        told_of(base, &base.replace("10m", "1h"), Some(25.0)),
        [format!("~ rule rise: change_over 10m -> 1h, {}", fills("3600s"))]
    );
    assert_eq!(
        told_of(base, &base.replace("10m", "1h").replace("look", "go"), None),
        [format!("~ rule rise: change_over 10m -> 1h, advice, {}", fills("3600s"))],
        "another text hides no other window"
    );
    let raised = base.replace("20", "30");
    let clears = "would clear its open orange alarm (not acknowledged), at 25.25 cm";
    assert_eq!(
        told_of(base, &raised, Some(25.251_234)),
        [format!("~ rule rise: above.orange 20 -> 30, {clears}, {}", fills("600s"))]
    );
    assert_eq!(
        told_of(base, &raised, Some(31.0)),
        [format!("~ rule rise: above.orange 20 -> 30, {}", fills("600s"))]
    );
    let plain = "above = { orange = 20 }\nadvice = \"look\"";
    assert_eq!(
        told_of(plain, base, None),
        [format!("~ rule rise: condition, {}", fills("600s"))],
        "of a rule that gets a window"
    );
}
