//! The worked example of six points and each of its variations, the union of two towns, and that the ladder is nested.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::clock::zone::Zone;
use crate::risk::group::{By, groups, united};
use crate::risk::ladder::{self, Guard, Standing};
use crate::risk::seen::{Seen, Told};
use crate::risk::{Kind, Need, RiskPoint, Sensor, Span, Windows};

/// 2025-06-30T08:00+08:00.
const NOW: Timestamp = Timestamp::from_millis(1_751_241_600_000);
const DAY: Duration = Duration::from_secs(86_400);
const EVERY: Duration = Duration::from_secs(300);

fn ago(seconds: u64) -> Timestamp {
    NOW.minus(Duration::from_secs(seconds))
}

/// The end of a day of the local calendar (UTC+8), `days` after 2025-06-30.
fn end_of_day(days: i64) -> Timestamp {
    Timestamp::from_millis(1_751_241_600_000 + 16 * 3_600_000 + days * 86_400_000)
}

fn risk_point(code: &str, needs: &[(&str, u32)]) -> RiskPoint {
    let need = |(role, min): &(&str, u32)| Need { role: (*role).into(), min: *min, ..Need::default() };
    RiskPoint {
        code: code.into(),
        name: None,
        class: "gas".into(),
        kind: Kind::Asset,
        town: "A".into(),
        supervisor: "gas company".into(),
        grade: 3,
        place: None,
        blind_after: crate::risk::blind_after(3),
        needs: needs.iter().map(need).collect(),
        span: Span::default(),
        plates: vec![],
        inspection_due: None,
        predecessors: vec![],
        asset: None,
        joint: Vec::new(),
    }
}

/// One sensor as the example tells of it.
#[derive(Clone)]
struct Fact {
    role: &'static str,
    age_s: u64,
    heard_s: u64,
    bad: u32,
    fault: Option<&'static str>,
    due: Timestamp,
    proved_d: u32,
    maintenance: bool,
    hidden: bool,
}

impl Default for Fact {
    fn default() -> Self {
        let due = end_of_day(150);
        Self {
            role: "gas",
            age_s: 120,
            heard_s: 60,
            bad: 0,
            fault: None,
            due,
            proved_d: 20,
            maintenance: false,
            hidden: false,
        }
    }
}

fn stand(code: &str, number: usize, fact: &Fact) -> ladder::SensorStanding {
    let sensor = Sensor {
        name: format!("{code}-{number}"),
        role: fact.role.into(),
        code: code.into(),
        span: Span::default(),
        every: EVERY,
        stale_after: Duration::from_secs(930),
        calibration_due: Some(fact.due),
        has_session: true,
    };
    let mut seen = Seen::default();
    let base = if fact.age_s > 930 { fact.heard_s % 300 } else { fact.age_s };
    for sample in (0..288u32).rev() {
        let age_s = u64::from(sample) * 300 + base;
        let silent = age_s < fact.age_s;
        let newest_bad = fact.fault.filter(|_| sample == 0);
        let wrong = if silent { Some("timeout") } else { newest_bad };
        let wrong = wrong.or((1..=fact.bad).contains(&sample).then_some("out-of-range"));
        let told = Told { heard: !silent, sampled: !silent, wrong: wrong.map(str::to_owned) };
        seen.take(told, ago(age_s));
    }
    // The DTU's heartbeat.
    seen.heard = Some(ago(fact.heard_s));
    let guard = Guard {
        ruled: !fact.hidden,
        hidden: if fact.hidden { vec!["gas-high is shelved".into()] } else { vec![] },
        proved: Some(NOW.minus(DAY * fact.proved_d)),
        maintenance: fact.maintenance.then(|| ("bump test".to_owned(), end_of_day(0))),
    };
    ladder::sensor(&sensor, &seen, &guard, &Windows::default(), (NOW, &Zone::default()))
}

fn standing(point: &RiskPoint, facts: &[Fact]) -> Standing {
    let sensors = facts.iter().enumerate().map(|(number, fact)| stand(&point.code, number, fact));
    ladder::point(point, sensors.collect(), NOW)
}

/// The six points of the example.
fn six() -> Vec<(RiskPoint, Vec<Fact>)> {
    let fact = Fact::default;
    vec![
        (risk_point("P1", &[("gas", 1)]), vec![fact()]),
        (
            risk_point("P2", &[("gas", 1), ("pressure", 1)]),
            vec![Fact { bad: 3, age_s: 60, ..fact() }, Fact { role: "pressure", age_s: 60, ..fact() }],
        ),
        (risk_point("P3", &[("gas", 1)]), vec![Fact { age_s: 3 * 3600, heard_s: 60, ..fact() }]),
        (
            risk_point("P4", &[("gas", 2)]),
            vec![fact(), Fact { fault: Some("sensor-fault: loop-low"), age_s: 90, ..fact() }],
        ),
        (risk_point("P5", &[("gas", 1)]), vec![Fact { age_s: 200, due: end_of_day(-1), ..fact() }]),
        (
            risk_point("P6", &[("gas", 1)]),
            vec![Fact { bad: 8, age_s: 100, due: end_of_day(0), proved_d: 89, ..fact() }],
        ),
    ]
}

fn counted(points: &[(RiskPoint, Vec<Fact>)]) -> Coverage {
    let standings: Vec<_> = points
        .iter()
        .filter(|(point, _)| point.span.holds(NOW))
        .map(|(point, facts)| standing(point, facts))
        .collect();
    Coverage::of(&standings)
}

#[test]
fn six_points_with_six_different_troubles() {
    let coverage = counted(&six());
    assert_eq!((coverage.points, coverage.reached), (6, [6, 6, 5, 4, 3, 3]));
    let percents = Rung::ALL.map(|rung| coverage.percent(rung));
    assert_eq!(percents, ["100.0", "100.0", "83.3", "66.6", "50.0", "50.0"]);
}

#[test]
fn every_variation_of_the_example() {
    let with = |change: fn(&mut Vec<(RiskPoint, Vec<Fact>)>)| {
        let mut points = six();
        change(&mut points);
        counted(&points)
    };
    let late_proof = with(|points| points[5].1[0].proved_d = 91);
    assert_eq!((late_proof.on(Rung::Effective), late_proof.percent(Rung::Effective)), (2, "33.3".into()));
    let recalibrated = with(|points| points[4].1[0].due = end_of_day(365));
    assert_eq!(recalibrated.percent(Rung::Effective), "66.6");
    let one_is_enough = with(|points| points[3].0.needs[0].min = 1);
    assert_eq!((one_is_enough.on(Rung::Valid), one_is_enough.percent(Rung::Valid)), (5, "83.3".into()));
    let from_tomorrow = with(|points| {
        let mut seventh = risk_point("P7", &[("gas", 1)]);
        seventh.span.from = Some(end_of_day(0));
        points.push((seventh, vec![]));
    });
    assert_eq!(from_tomorrow.points, 6);
    let none = with(Vec::clear);
    assert_eq!(Rung::ALL.map(|rung| none.percent(rung)), ["n/a"; 6]);
    assert_eq!(meets(0, 0, 100), None);
    let alone = with(|points| points.retain(|(point, _)| point.code == "P3"));
    assert_eq!(
        (alone.percent(Rung::Installed), alone.percent(Rung::Effective)),
        ("100.0".into(), "0.0".into())
    );
    let maintained = with(|points| points[0].1[0].maintenance = true);
    assert_eq!((maintained.on(Rung::Installed), maintained.on(Rung::Online)), (6, 5));
    let shelved = with(|points| points[0].1[0].hidden = true);
    assert_eq!((shelved.on(Rung::Calibrated), shelved.on(Rung::Effective)), (3, 2));
    let poor = with(|points| points[0].1[0].bad = 40);
    assert_eq!((poor.on(Rung::Fresh), poor.on(Rung::Valid)), (5, 3));
}

#[test]
fn the_weakest_link_says_why_since_when_and_what_to_do() {
    let gaps: Vec<_> = six()
        .iter()
        .map(|(point, facts)| standing(point, facts))
        .flat_map(|standing| {
            let gaps: Vec<_> = standing
                .weakest()
                .into_iter()
                .map(|(sensor, gap)| (sensor.name.clone(), gap.missed, gap.why.clone(), gap.since))
                .collect();
            gaps
        })
        .collect();
    let want = [
        ("P3-0", Rung::Fresh, "no sample (timeout)", Some(ago(3 * 3600 + 60))),
        ("P4-1", Rung::Valid, "sensor-fault: loop-low", Some(ago(90))),
        ("P5-0", Rung::Calibrated, "calibration overdue by 1 d", Some(end_of_day(-1))),
    ];
    assert_eq!(gaps, want.map(|(name, rung, why, since)| (name.to_owned(), rung, why.to_owned(), since)));
}

#[test]
fn a_point_on_a_border_counts_once() {
    let good = [Fact::default()];
    let silent = [Fact { age_s: 80_000, heard_s: 80_000, ..Fact::default() }];
    let point = |code: &str, town: &str| RiskPoint { town: town.into(), ..risk_point(code, &[("gas", 1)]) };
    let listed = [
        (point("P1", "A"), &good),
        (point("P2", "A"), &silent),
        (point("P3", "A"), &good),
        (point("P3", "B"), &good),
        (point("P4", "B"), &silent),
    ];
    let standings: Vec<_> = listed.iter().map(|(point, facts)| standing(point, *facts)).collect();
    let pairs: Vec<_> = listed.iter().map(|(point, _)| point).zip(&standings).collect();
    let towns = groups(By::Town, &pairs);
    let effective = |town: &str| towns[town].percent(Rung::Effective);
    assert_eq!((effective("A"), effective("B")), ("66.6".into(), "50.0".into()));
    let district = Coverage::of(&standings);
    assert_eq!((district.points, district.percent(Rung::Effective)), (4, "50.0".into()));
}

#[test]
fn two_gateways_with_half_a_point_each() {
    let point = risk_point("P1", &[("gas", 2)]);
    let (one, two) = (stand("P1", 1, &Fact::default()), stand("P1", 2, &Fact::default()));
    let stale = stand("P1", 2, &Fact { age_s: 8000, heard_s: 8000, ..Fact::default() });
    let rung = |reports: Vec<ladder::SensorStanding>| united(&point, reports, NOW).rung;
    assert_eq!(rung(vec![one.clone()]), None);
    assert_eq!(rung(vec![one.clone(), two.clone()]), Some(Rung::Effective));
    assert_eq!(rung(vec![one.clone(), one.clone()]), None);
    assert_eq!(rung(vec![one, stale, two]), Some(Rung::Effective));
}

#[test]
fn a_point_without_needs_is_never_reached() {
    let unspecified = standing(&risk_point("P1", &[]), &[Fact::default()]);
    assert!(unspecified.unspecified && unspecified.rung.is_none());
    let coverage = Coverage::of([&unspecified]);
    assert_eq!((coverage.points, coverage.unspecified, coverage.on(Rung::Installed)), (1, 1, 0));
    let missing = standing(&risk_point("P2", &[("gas", 1), ("pressure", 2)]), &[Fact::default()]);
    assert_eq!(missing.missing, ["2 pressure needed, 0 installed"]);
    let mut either = risk_point("P3", &[("pressure", 1)]);
    either.needs[0].or = vec!["gas".into()];
    assert_eq!(standing(&either, &[Fact::default()]).rung, Some(Rung::Effective));
}

#[test]
fn nothing_heard_yet_is_unknown_for_a_while_and_then_a_fault() {
    let point = risk_point("P1", &[("gas", 1)]);
    let sensor = Sensor {
        name: "s".into(),
        role: "gas".into(),
        code: "P1".into(),
        span: Span::default(),
        every: EVERY,
        stale_after: Duration::from_secs(930),
        calibration_due: None,
        has_session: false,
    };
    let at = |seen: &Seen, now| {
        let sensor =
            ladder::sensor(&sensor, seen, &Guard::default(), &Windows::default(), (now, &Zone::default()));
        ladder::point(&point, vec![sensor], now)
    };
    let mut seen = Seen::default();
    assert!(at(&seen, NOW).unknown);
    let gap = at(&seen, NOW).sensors[0].gap.clone().unwrap();
    assert_eq!((gap.why.as_str(), gap.remedy), ("unknown: nothing heard yet", "wait for its first samples"));
    seen.take(Told { heard: false, sampled: false, wrong: Some("timeout".into()) }, NOW);
    assert!(at(&seen, NOW.plus(Duration::from_secs(930))).unknown);
    let late = at(&seen, NOW.plus(Duration::from_secs(931)));
    assert!(!late.unknown && late.rung == Some(Rung::Installed) && late.blind);
    assert_eq!(late.sensors[0].gap.as_ref().unwrap().why, "nothing heard (timeout)");
}

/// What a sensor did not say yesterday makes no point blind of which it says something now.
#[test]
fn a_point_is_blind_while_nothing_valid_comes_and_no_longer() {
    let point = risk_point("P1", &[("gas", 1)]);
    let back = standing(&point, &[Fact { bad: 100, ..Fact::default() }]);
    assert_eq!((back.rung, back.blind), (Some(Rung::Fresh), false), "{:?}", back.sensors[0].gap);
    for fact in [
        Fact { fault: Some("timeout"), ..Fact::default() },
        Fact { age_s: 1000, ..Fact::default() },
        Fact { age_s: 5000, heard_s: 5000, ..Fact::default() },
    ] {
        assert!(standing(&point, std::slice::from_ref(&fact)).blind);
        assert!(!standing(&point, &[fact, Fact { bad: 100, ..Fact::default() }]).blind);
    }
    assert!(!standing(&point, &[Fact { maintenance: true, ..Fact::default() }]).blind);
}

#[test]
fn percentages_round_down_on_integers() {
    let vectors = [
        (999, 1000, "99.9"),
        (9996, 10_000, "99.9"),
        (1999, 2000, "99.9"),
        (2, 3, "66.6"),
        (1, 3, "33.3"),
        (6, 6, "100.0"),
        (3, 6, "50.0"),
        (0, 1, "0.0"),
        (0, 0, "n/a"),
        (29, 50, "58.0"),
        (23, 40, "57.5"),
        (278, 288, "96.5"),
        (u32::MAX, u32::MAX, "100.0"),
    ];
    for (part, whole, want) in vectors {
        assert_eq!(percent(part, whole), want, "{part}/{whole}");
    }
    assert_eq!(
        (meets(999, 1000, 100), meets(3, 4, 75), meets(6, 6, 100)),
        (Some(false), Some(true), Some(true))
    );
}

proptest! {
    #[test]
    fn the_ladder_is_nested(
        facts in prop::collection::vec(
            (any::<bool>(), 0u64..20_000, 0u64..20_000, 0u32..60, any::<[bool; 4]>(), -3i64..3, 0u32..120),
            0..6,
        ),
        min in 0u32..4,
    ) {
        let facts: Vec<_> = facts
            .into_iter()
            .map(|(gas, age_s, heard_s, bad, [fault, maintenance, hidden, _], due, proved_d)| Fact {
                role: if gas { "gas" } else { "level" },
                age_s, heard_s, bad, maintenance, hidden, proved_d,
                fault: fault.then_some("loop-low"),
                due: end_of_day(due),
            })
            .collect();
        let coverage = Coverage::of([&standing(&risk_point("P", &[("gas", min), ("level", 1)]), &facts)]);
        prop_assert!(coverage.reached.is_sorted_by(|a, b| a >= b) && coverage.reached[0] <= coverage.points);
    }
}
