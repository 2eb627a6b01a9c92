use super::*;
use crate::point::DeviceId;
use proptest::prelude::*;

fn settings(point: u32, inputs: &[(&str, u32)], value: &str) -> Settings {
    let inputs = inputs.iter().map(|(name, id)| ((*name).to_owned(), PointId(*id))).collect();
    Settings { point: PointId(point), inputs, scales: Vec::new(), value: value.to_owned(), factor: 1.0 }
}

fn derived(settings: Vec<Settings>) -> Derived {
    for one in &settings {
        assert_eq!(Derived::check(one), Ok(()), "{}", one.value);
    }
    Derived::new(settings, &Catalog::default())
}

fn batch(readings: &[(u32, i64, Sample)]) -> Batch {
    let readings = readings
        .iter()
        .map(|(point, seconds, sample)| Reading {
            point: PointId(*point),
            at: Timestamp::from_millis(seconds * 1000),
            sample: sample.clone(),
        })
        .collect();
    Batch { device: DeviceId(0), start: Timestamp::default(), end: Timestamp::default(), readings }
}

fn feed(derived: &mut Derived, readings: &[(u32, i64, Sample)]) -> Vec<(u32, i64, Sample)> {
    derived
        .apply(&batch(readings), Timestamp::default())
        .into_iter()
        .map(|reading| (reading.point.0, reading.at.as_millis() / 1000, reading.sample))
        .collect()
}

use Sample::{Bad, Good, Uncertain};

#[test]
fn a_truth_is_one_or_zero_and_waits_for_all_inputs() {
    let mut derived =
        derived(vec![settings(9, &[("presence", 1), ("moving", 2)], "presence == 1 && moving == 0.0")]);
    assert_eq!(feed(&mut derived, &[(1, 10, Good(1.0))]), [], "moving was never heard of");
    assert_eq!(feed(&mut derived, &[(2, 11, Good(0.0))]), [(9, 11, Good(1.0))]);
    assert_eq!(feed(&mut derived, &[(5, 12, Good(0.0))]), [], "a batch of others");
    assert_eq!(
        feed(&mut derived, &[(1, 13, Good(1.0)), (2, 14, Good(1.0))]),
        [(9, 14, Good(0.0))],
        "once for a batch"
    );
}

#[test]
fn quality_is_carried_through() {
    let mut derived = derived(vec![settings(9, &[("a", 1), ("b", 2)], "a > 100 ? a : b")]);
    feed(&mut derived, &[(1, 1, Good(1.0)), (2, 1, Good(2.0))]);
    assert_eq!(feed(&mut derived, &[(1, 2, Bad(Reason::Timeout))]), [(9, 2, Bad(Reason::Input(PointId(1))))]);
    assert_eq!(
        feed(&mut derived, &[(1, 3, Uncertain(5.0, Doubt::Clock))]),
        [(9, 3, Uncertain(2.0, Doubt::Clock))]
    );
    assert_eq!(feed(&mut derived, &[(1, 4, Good(5.0))]), [(9, 4, Good(2.0))]);
}

#[test]
fn a_time_is_told_once() {
    let mut derived = derived(vec![settings(9, &[("a", 1), ("b", 2)], "a + b")]);
    feed(&mut derived, &[(1, 10, Good(1.0)), (2, 5, Good(2.0))]);
    assert_eq!(feed(&mut derived, &[(2, 8, Good(3.0))]), [], "10 has its value already");
    assert_eq!(feed(&mut derived, &[(2, 12, Good(3.0))]), [(9, 12, Good(4.0))]);
    feed(&mut derived, &[(1, 1, Good(1.0))]);
    assert_eq!(
        feed(&mut derived, &[(2, 2, Good(1.0))]),
        [(9, 2, Good(2.0))],
        "the clock went back and goes on"
    );
}

#[test]
fn division_by_zero_is_no_number() {
    let mut derived = derived(vec![settings(9, &[("a", 1)], "1 / a")]);
    assert_eq!(feed(&mut derived, &[(1, 1, Good(0.0))]), [(9, 1, Bad(Reason::OutOfRange))]);
    assert_eq!(feed(&mut derived, &[(1, 2, Good(4.0))]), [(9, 2, Good(0.25))]);
}

#[test]
fn rate_is_per_minute_and_needs_half_its_window() {
    let mut derived = derived(vec![settings(9, &[("level", 1)], "rate(level, '5m')")]);
    let blind = Bad(Reason::Input(PointId(1)));
    for second in (0_i32..=600).step_by(30) {
        let level = 3.0 + f64::from(second) / 60.0 * 0.5;
        let got = feed(&mut derived, &[(1, i64::from(second), Good(level))]);
        match got.as_slice() {
            [(9, _, Good(rate))] if second >= 150 => assert!((rate - 0.5).abs() < 1e-9, "{rate}"),
            [(9, _, sample)] if second < 150 => assert_eq!(*sample, blind, "after {second} s"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        feed(&mut derived, &[(1, 2_000, Good(9.0))])[0].2,
        blind,
        "the old samples are out of the window"
    );
    assert_eq!(feed(&mut derived, &[(1, 1_000, Good(9.0))])[0].2, blind, "time went back");
}

#[test]
fn the_slope_of_a_leaking_pipe() {
    let mut derived = derived(vec![settings(9, &[("p", 1)], "rate(p, '2m')")]);
    let mut last = None;
    for (step, kpa) in (0_i64..).zip([300.0, 299.6, 299.1, 298.9, 298.2, 297.9, 297.4]) {
        last = feed(&mut derived, &[(1, step * 10, Good(kpa))]).pop();
    }
    let (.., Good(rate)) = last.unwrap() else { panic!("no rate") };
    assert!((rate + 2.592_857_142_857).abs() < 1e-9, "{rate} kPa/min");
}

#[test]
fn an_hour_of_rain_rolls() {
    let mut derived = derived(vec![settings(9, &[("rain", 1)], "sum(rain, '1h')")]);
    let tips: [i32; 8] = [0, 5, 5, 17, 20, 20, 22, 30];
    let mut before = 0;
    for (step, count) in (0_i64..).zip(tips) {
        let fallen = f64::from(count - before) * 0.2;
        before = count;
        let (.., sample) = feed(&mut derived, &[(1, step * 600, Good(fallen))]).remove(0);
        let want = match step {
            6 => 4.4,
            7 => 5.0,
            _ => continue,
        };
        assert!((sample.value().unwrap() - want).abs() < 1e-9, "{sample:?} after {step} steps");
    }
}

#[test]
fn half_seen_windows_say_in_which_direction_they_hold() {
    let mut derived = derived(vec![
        settings(7, &[("rain", 1)], "sum(rain, '10m')"),
        settings(8, &[("rain", 1)], "max(rain, '10m') - min(rain, '10m')"),
    ]);
    assert_eq!(feed(&mut derived, &[(1, 0, Good(2.0))])[0].2, Uncertain(2.0, Doubt::OverRange));
    assert_eq!(feed(&mut derived, &[(1, 300, Good(3.0))])[0].2, Good(5.0));
    assert_eq!(feed(&mut derived, &[(1, 599, Good(4.0))])[0].2, Good(9.0));
    let last = feed(&mut derived, &[(1, 600, Uncertain(1.0, Doubt::Spike))]);
    assert_eq!(last, [(7, 600, Uncertain(8.0, Doubt::Spike)), (8, 600, Uncertain(3.0, Doubt::Spike))]);
}

#[test]
fn derived_points_of_derived_points_in_any_order() {
    let mut derived = derived(vec![
        settings(9, &[("rise", 8)], "rise * 2"),
        settings(8, &[("a", 1)], "a + 1"),
        settings(7, &[("x", 7)], "x"),
    ]);
    assert_eq!(feed(&mut derived, &[(1, 1, Good(3.0))]), [(8, 1, Good(4.0)), (9, 1, Good(8.0))]);
}

/// `vectors.json`: `tips` and `rolling_1h` of the detection numbers.
#[test]
fn tips_wrap_and_reset() {
    let mut derived = derived(vec![
        settings(8, &[("rain", 1)], "tips(rain, '1h', 16, 20)"),
        settings(9, &[("rain", 1)], "tips(rain, '1m', 16, 20)"),
    ]);
    let counts = [65_530, 4, 9, 9, 3, 5];
    let steps = [0.0, 10.0, 5.0, 0.0, 3.0, 2.0];
    let mut total = 0.0;
    for (minute, (count, step)) in (0_i64..).zip(counts.into_iter().zip(steps)) {
        total += step;
        let got = feed(&mut derived, &[(1, minute * 60, Good(f64::from(count)))]);
        assert_eq!(got[0].2, Uncertain(total, Doubt::OverRange), "half an hour is not seen yet");
        assert_eq!(got[1].2.value(), Some(step), "minute {minute}");
    }
    assert!((total * 0.2 - 4.0_f64).abs() < 1e-12, "20 tips are 4.0 mm");
}

#[test]
fn implausible_steps_are_left_out_and_long_gaps_are_doubtful() {
    let mut derived = derived(vec![settings(9, &[("rain", 1)], "tips(rain, '2m', 16, 20)")]);
    for (second, count) in [(0, 100.0), (60, 100.0)] {
        feed(&mut derived, &[(1, second, Good(count))]);
    }
    let got = feed(&mut derived, &[(1, 120, Good(200.0))]);
    assert_eq!(got[0].2, Uncertain(0.0, Doubt::OverRange), "100 in a minute are no rain");
    let got = feed(&mut derived, &[(1, 420, Good(210.0))]);
    assert_eq!(got[0].2, Uncertain(10.0, Doubt::Step), "5 minutes of rain in a window of 2");
    feed(&mut derived, &[(1, 480, Good(211.0))]);
    let got = feed(&mut derived, &[(1, 500, Good(212.0))]);
    assert_eq!(got[0].2, Uncertain(12.0, Doubt::Step), "5 minutes of rain in a window of 2");
    assert_eq!(feed(&mut derived, &[(1, 600, Good(213.0))])[0].2, Good(2.0));
}

#[test]
fn an_hour_of_tips_rolls() {
    let mut derived = derived(vec![settings(9, &[("rain", 1)], "tips(rain, '1h', 32, 20) * 0.2")]);
    for (second, count) in
        (0_i64..).zip([0, 5, 5, 17, 20, 20, 22, 30]).map(|(step, count)| (step * 600, count))
    {
        let (.., sample) = feed(&mut derived, &[(1, second, Good(f64::from(count)))]).remove(0);
        let want = match second {
            3600 => 4.4,
            4200 => 5.0,
            _ => continue,
        };
        assert!((sample.value().unwrap() - want).abs() < 1e-9, "{sample:?} at {second}");
    }
}

#[test]
fn a_total_is_the_area_under_the_flow() {
    let mut derived = derived(vec![settings(9, &[("flow", 1)], "total(flow, '1h')")]);
    for (minute, flow) in [(0_i64, 6.0), (10, 6.0), (20, 12.0)] {
        let got = feed(&mut derived, &[(1, minute * 60, Good(flow))]);
        assert_eq!(got[0].2, Bad(Reason::Input(PointId(1))), "half the window is not seen at {minute}");
    }
    let got = feed(&mut derived, &[(1, 1800, Good(12.0))]);
    assert_eq!(got[0].2, Good(60.0 + 90.0 + 120.0), "in m3/h times minutes");
    let inputs = [("flow".to_owned(), Unit::parse("m3/h"))];
    let factor = super::factor("total(flow, '1h')", &inputs, Unit::parse("m3"), "gas-flow").unwrap();
    assert!((270.0 * factor - 4.5).abs() < 1e-12, "{factor}");
    let litres = super::factor("total(flow, '1h')", &inputs, Unit::parse("L"), "gas-flow").unwrap();
    assert!((litres - factor).abs() < 1e-15, "kept in m3 whatever is said");
    assert!(
        super::factor("total(flow, '1h')", &inputs, Unit::parse("mm"), "rain").unwrap_err().contains("m3")
    );
    let slow = [("rain".to_owned(), Unit::parse("mm/h"))];
    let factor = super::factor("total(rain, '1h')", &slow, Unit::parse("mm"), "rain").unwrap();
    assert!((factor - 1.0 / 60.0).abs() < 1e-15, "{factor}");
}

proptest! {
    #[test]
    fn tips_are_never_negative_and_count_what_was_counted(
        steps in prop::collection::vec(0_u32..20, 2..60),
        start in 0_u32..65_536,
        bits in prop::sample::select(vec![16_u32, 24, 32]),
    ) {
        let mut derived = derived(vec![settings(9, &[("rain", 1)], &format!("tips(rain, '1d', {bits}, 20)"))]);
        let (mut count, mut last) = (u64::from(start), 0.0);
        feed(&mut derived, &[(1, 0, Good(f64::from(start)))]);
        for (minute, step) in (1_i64..).zip(&steps) {
            count = (count + u64::from(*step)) % (1 << bits);
            let shown = Good(f64::from(u32::try_from(count).unwrap()));
            let value = feed(&mut derived, &[(1, minute * 60, shown)])[0].2.value().unwrap();
            prop_assert!(value >= last);
            last = value;
        }
        prop_assert!((last - f64::from(steps.iter().sum::<u32>())).abs() < 1e-9);
    }
}

#[test]
fn mistakes_are_found_when_documents_load() {
    for (value, want) in [
        ("level +", "ends too early"),
        ("levle > 3", "unknown name levle; inputs are level"),
        ("[1, 2].all(x, x > 0)", "no macros"),
        ("[level]", "no lists"),
        ("level.high", "no fields"),
        ("sqrt(level)", "there is no function sqrt; functions are rate(input, '5m'), sum("),
        ("median(level, '30s')", "there is no function median; functions are rate("),
        ("level.rate('5m')", "rate takes its input in the brackets: rate(input, '5m')"),
        ("level.median('5m')", "there is no function median; functions are rate("),
        ("rate(level, 5)", "write rate(input, '5m')"),
        ("rate(level + 1, '5m')", "write rate(input, '5m')"),
        ("rate(level, '5 m')", "no span"),
        ("rate(level, '0s')", "no span"),
        ("rate(levle, '5m')", "unknown name levle"),
        ("tips(level, '1h')", "bits of the counter"),
        ("tips(level, '1h', 0, 20)", "bits of the counter"),
        ("tips(level, '1h', 16, 0.5)", "bits of the counter"),
        ("total(level)", "write total(input, '1d')"),
        ("level && true", "write `input == 1`"),
        ("level + true", "between a number and a truth value"),
        ("level ? 1 : 2", "write `input == 1`"),
        ("level > 1 ? 1 : true", "truth values"),
        ("'text'", "no texts"),
        ("level % 2", "no operator %"),
        ("", "ends too early"),
    ] {
        let error = Derived::check(&settings(9, &[("level", 1)], value)).unwrap_err();
        assert!(error.contains(want), "{value}: {error}");
    }
    let long = format!("level{}", " + 1".repeat(200));
    assert!(Derived::check(&settings(9, &[("level", 1)], &long)).unwrap_err().contains("longer than"));
    assert_eq!(Derived::check(&settings(9, &[("level", 1)], "!(level > -2) || 7 == level")), Ok(()));
}

#[test]
fn an_input_in_another_unit_is_what_converted_readings_would_be() {
    for (value, plain, factor, offset) in [
        ("i * 400", "i * 0.001 * 400", 0.001, 0.0),
        ("rate(i, '3m') + 1", "rate(i, '3m') * 0.001 + 1", 0.001, 0.0),
        ("rate(i, '3m')", "rate(i, '3m') * 1.8", 1.8, 32.0),
        ("mean(i, '3m')", "mean(i, '3m') * 1.8 + 32", 1.8, 32.0),
        ("max(i, '3m') - i", "(max(i, '3m') * 1.8 + 32) - (i * 1.8 + 32)", 1.8, 32.0),
        ("sum(i, '3m') + total(i, '3m')", "(sum(i, '3m') + total(i, '3m')) * 0.5", 0.5, 0.0),
        ("tips(i, '3m', 16, 90000)", "tips(i, '3m', 16, 90000)", 0.5, 0.0),
    ] {
        let last = |value, scales| {
            let mut derived = derived(vec![Settings { scales, ..settings(9, &[("i", 1)], value) }]);
            let mut last = Vec::new();
            for (at, number) in [(0, 1000.0), (60, 3000.0), (120, 2000.0), (180, 6000.0)] {
                last = feed(&mut derived, &[(1, at, Good(number))]);
            }
            last.pop().and_then(|(.., sample)| sample.value()).unwrap()
        };
        let scale = vec![("i".to_owned(), Scale { factor, offset })];
        let (got, want) = (last(value, scale), last(plain, Vec::new()));
        assert!((got - want).abs() < 1e-9, "{value}: {got}, not {want}");
    }
    let scales = vec![("i".to_owned(), Scale { factor: 1.8, offset: 32.0 })];
    let error = Derived::check(&Settings { scales, ..settings(9, &[("i", 1)], "sum(i, '3m')") });
    assert_eq!(error, Err("no sum of an input whose unit has an offset".to_owned()));
}

#[test]
fn the_factor_knows_what_a_window_call_is_in() {
    let unit = |name: &str| Unit::parse(name);
    let inputs = [("level".to_owned(), unit("cm"))];
    let factor = |value, to, class| factor(value, &inputs, unit(to), class);
    assert_eq!(factor("rate(level, '5m')", "cm/min", "water-level"), Ok(1.0));
    assert_eq!(factor("rate(level, '5m')", "mm/h", "rain"), Ok(600.0));
    assert_eq!(factor("rate(level, '5m') * 60", "cm/h", "water-level"), Ok(1.0 / 60.0));
    assert_eq!(factor("max(level, '1h')", "m", "displacement"), Ok(10.0));
    assert_eq!(factor("level * 2", "m", "water-level"), Ok(100.0));
    assert!(factor("rate(level, '5m')", "kPa", "water-level").unwrap_err().contains("is in cm/min"));
    assert!(factor("level * 2", "degF", "climate").unwrap_err().contains("offset"));
    assert_eq!(super::factor("level", &inputs, None, "io"), Ok(1.0));
}

#[test]
fn it_can_live_in_a_task() {
    fn sendable<T: Send>() {}
    sendable::<Derived>();
}

proptest! {
    #[test]
    fn any_text_is_an_answer_and_no_panic(value in "[ -~]{0,60}|[a-z0-9+*()<>=&|!?:' ,.-]{0,80}") {
        let _ = Derived::check(&settings(9, &[("a", 1), ("b", 2)], &value));
        let _ = super::factor(&value, &[("a".to_owned(), Unit::parse("cm"))], Unit::parse("cm"), "io");
    }

    #[test]
    fn what_compiles_gives_finite_numbers_or_a_reason(
        value in prop::sample::select(vec!["a / b", "a * a * b", "a - b > 0", "rate(a, '2s') / b", "a == b ? a : -b", "sum(a, '3s') + mean(b, '3s')"]),
        numbers in prop::collection::vec((prop::num::f64::NORMAL | prop::num::f64::ZERO, prop::num::f64::NORMAL | prop::num::f64::ZERO), 1..12),
    ) {
        let mut derived = derived(vec![settings(9, &[("a", 1), ("b", 2)], value)]);
        for (second, (a, b)) in (0_i64..).zip(numbers) {
            for (_, at, sample) in feed(&mut derived, &[(1, second, Good(a)), (2, second, Good(b))]) {
                prop_assert_eq!(at, second);
                prop_assert!(sample.value().is_none_or(f64::is_finite));
            }
        }
    }
}
