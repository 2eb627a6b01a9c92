use super::*;
use crate::clock::Timestamp;
use crate::profile::at::At;
use crate::profile::{Fault, Kind, Limits, Order};
use crate::unit::Unit;
use proptest::prelude::*;

fn profile(class: &str, fields: Vec<Field>) -> Profile {
    Profile {
        name: "x".into(),
        class: class.into(),
        maker: String::new(),
        source: String::new(),
        about: std::sync::Arc::default(),
        serial: None,
        text: None,
        limits: Limits::default(),
        fields,
        triggers: Vec::new(),
        vectors: Vec::new(),
    }
}

fn field() -> Field {
    Field::new("x", At::parse("40001").unwrap().table, 0, Kind::F64)
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn batch(raws: Vec<Result<Raw, Reason>>) -> RawBatch {
    let raws = (10..).map(at).zip(raws).collect();
    RawBatch { device: DeviceId(4), start: at(1), end: at(99), raws }
}

fn one(class: &str, field: Field, raw: f64) -> Sample {
    let normalizer = Normalizer::new(DeviceId(4), &profile(class, vec![field]), &[Some(PointId(0))]);
    normalizer.normalize(&batch(vec![Ok(Raw::Number(raw))]), false, false).readings.remove(0).sample
}

fn fault(name: &str) -> Sample {
    Sample::Bad(Reason::SensorFault(name.into()))
}

#[test]
fn the_unit_is_the_class_s_canonical_one() {
    let level = Field { unit: Unit::parse("mm"), ..field() };
    assert_eq!(one("water-level", level.clone(), 31.0), Sample::Good(3.1));
    assert_eq!(one("crack", level, 31.0), Sample::Good(31.0));
    let bar = Field { unit: Unit::parse("bar"), ..field() };
    assert_eq!(one("gas-pressure", bar, 2.0), Sample::Good(200.0));
    assert_eq!(one("gas-pressure", Field { unit: Unit::parse("Pa"), ..field() }, 2630.0), Sample::Good(2.63));
    assert_eq!(one("climate", Field { unit: Unit::parse("K"), ..field() }, 273.15), Sample::Good(0.0));
}

#[test]
fn scales_leave_no_noise_and_zero_has_no_sign() {
    assert_eq!(one("io", Field { scale: 0.1, ..field() }, 3.0), Sample::Good(0.3));
    assert_eq!(one("io", Field { scale: 0.001, ..field() }, 1234.0), Sample::Good(1.234));
    let zero = one("io", field(), -0.0).value().unwrap();
    assert!(zero.is_sign_positive());
    assert_eq!(one("io", Field { scale: 1e300, ..field() }, 1e300), Sample::Bad(Reason::OutOfRange));
}

#[test]
fn current_loop_as_ne_43_has_it() {
    let level =
        Field { current_loop: Some(Loop { lo: 4.0, hi: 20.0, out_lo: 0.0, out_hi: 10.0 }), ..field() };
    for (current, want) in [
        (0.0, fault("loop low")),
        (3.6, fault("loop low")),
        (3.7, Sample::Uncertain(-0.1875, Doubt::UnderRange)),
        (3.8, Sample::Good(-0.125)),
        (4.0, Sample::Good(0.0)),
        (12.0, Sample::Good(5.0)),
        (20.5, Sample::Good(10.3125)),
        (20.8, Sample::Uncertain(10.5, Doubt::OverRange)),
        (21.0, fault("loop high")),
    ] {
        let got = one("io", level.clone(), current);
        match (got.value(), want.value()) {
            (Some(got_value), Some(want_value)) => {
                assert!((got_value - want_value).abs() < 1e-9, "{current} mA: {got:?}");
                assert_eq!(got.quality(), want.quality(), "{current} mA");
            }
            _ => assert_eq!(got, want, "{current} mA"),
        }
    }
    let dead_zero =
        Field { current_loop: Some(Loop { lo: 0.0, hi: 27_648.0, out_lo: 0.0, out_hi: 20.0 }), ..field() };
    assert_eq!(one("io", dead_zero.clone(), 0.0), Sample::Good(0.0));
    assert_eq!(one("io", dead_zero, 13_824.0), Sample::Good(10.0));
}

#[test]
fn range_has_a_band_of_doubt() {
    let probe = Field { range: Some((0.0, 10.0)), tolerance: 0.5, unit: Unit::parse("bar"), ..field() };
    for (raw, want) in [
        (-0.6, Sample::Bad(Reason::OutOfRange)),
        (-0.5, Sample::Uncertain(-50.0, Doubt::UnderRange)),
        (0.0, Sample::Good(0.0)),
        (10.0, Sample::Good(1000.0)),
        (10.5, Sample::Uncertain(1050.0, Doubt::OverRange)),
        (10.6, Sample::Bad(Reason::OutOfRange)),
    ] {
        assert_eq!(one("gas-pressure", probe.clone(), raw), want, "{raw} bar");
    }
}

#[test]
fn one_doubt_the_most_restrictive() {
    let probe = Field { range: Some((0.0, 10.0)), tolerance: 0.5, ..field() };
    let normalizer = Normalizer::new(DeviceId(4), &profile("io", vec![probe]), &[Some(PointId(0))]);
    let sample = |raw: Result<Raw, Reason>, calibration, clock| {
        normalizer.normalize(&batch(vec![raw]), calibration, clock).readings.remove(0).sample
    };
    let good = || Ok(Raw::Number(1.0));
    assert_eq!(sample(good(), true, false), Sample::Uncertain(1.0, Doubt::Calibration));
    assert_eq!(sample(good(), true, true), Sample::Uncertain(1.0, Doubt::Clock));
    assert_eq!(sample(Ok(Raw::Number(10.5)), true, true), Sample::Uncertain(10.5, Doubt::OverRange));
    assert_eq!(sample(Err(Reason::Timeout), true, true), Sample::Bad(Reason::Timeout));
}

#[test]
fn what_other_fields_say() {
    let gate = Field { hidden: true, ..field() };
    let mut value = field();
    value.valid_when = vec![Gate::is(0, 3.0)];
    value.decimals_from = Some(1);
    value.pre_offset_from = Some(2);
    let profile = profile("io", vec![gate.clone(), gate.clone(), gate, value]);
    let normalizer = Normalizer::new(DeviceId(4), &profile, &[None, None, None, Some(PointId(7))]);
    let n = |number| Ok(Raw::Number(number));
    let sample = |raws| {
        let readings = normalizer.normalize(&batch(raws), false, false).readings;
        assert_eq!(readings.len(), 1, "hidden fields make no readings");
        assert_eq!((readings[0].point, readings[0].at), (PointId(7), at(13)));
        readings[0].sample.clone()
    };
    assert_eq!(sample(vec![n(3.0), n(2.0), n(4.0), n(18.0)]), Sample::Good(0.22));
    assert_eq!(sample(vec![n(2.0), n(2.0), n(4.0), n(18.0)]), fault("not valid"));
    assert_eq!(sample(vec![Err(Reason::Timeout), n(2.0), n(4.0), n(18.0)]), Sample::Bad(Reason::Timeout));
    assert_eq!(sample(vec![n(3.0), n(2.5), n(4.0), n(18.0)]), fault("2.5 decimals"));
    assert_eq!(sample(vec![n(3.0), Ok(Raw::Fault("nan".into())), n(4.0), n(18.0)]), fault("nan"));
    assert_eq!(sample(vec![n(2.0), n(2.0), n(4.0), Ok(Raw::Fault("+inf".into()))]), fault("+inf"));
}

#[test]
fn other_fields_choose_order_scale_and_unit() {
    let other = Field { hidden: true, ..field() };
    let order = |letters| Order::parse(letters).unwrap();
    let probe = Field {
        kind: Kind::F32,
        order_from: Some(Choice { field: 0, cases: vec![(0.0, order("ABCD")), (1.0, order("CDAB"))] }),
        scale_from: Some(Choice { field: 1, cases: vec![(0.0, 1.0), (1.0, 0.1)] }),
        unit_from: Some(Choice { field: 2, cases: vec![(45.0, Conversion { factor: 1000.0, offset: 0.0 })] }),
        count: 2,
        ..field()
    };
    let profile = profile("io", vec![other.clone(), other.clone(), other, probe.clone()]);
    let normalizer = Normalizer::new(DeviceId(4), &profile, &[None, None, None, Some(PointId(7))]);
    let n = |number| Ok(Raw::Number(number));
    let sample = |order, scale, unit, cells: [u16; 2]| {
        let raws = vec![n(order), n(scale), n(unit), Ok(decode(&probe, &cells))];
        normalizer.normalize(&batch(raws), false, false).readings.remove(0).sample
    };
    assert_eq!(sample(0.0, 0.0, 45.0, [0x40A0, 0]), Sample::Good(5000.0));
    assert_eq!(sample(1.0, 1.0, 45.0, [0, 0x40A0]), Sample::Good(500.0));
    assert_eq!(sample(2.0, 1.0, 45.0, [0, 0x40A0]), fault("unknown byte order 2"));
    assert_eq!(sample(1.0, 7.0, 45.0, [0, 0x40A0]), fault("unknown scale 7"));
    assert_eq!(sample(1.0, 1.0, 44.0, [0, 0x40A0]), fault("unknown unit 44"));
    assert_eq!(sample(0.0, 0.0, 45.0, [0x7FC0, 0]), fault("nan"));
}

#[test]
fn a_refusal_with_a_name_is_a_fault() {
    let named = Fault { matches: FaultMatch::Exception(2), means: "inactive".into() };
    let probe = Field { faults: vec![named], ..field() };
    let normalizer = Normalizer::new(DeviceId(4), &profile("io", vec![probe]), &[Some(PointId(0))]);
    let sample = |code| {
        let raws = vec![Err(Reason::Exception(code))];
        normalizer.normalize(&batch(raws), false, false).readings.remove(0).sample
    };
    assert_eq!(sample(2), fault("inactive"));
    assert_eq!(sample(3), Sample::Bad(Reason::Exception(3)));
}

#[test]
fn a_short_batch_is_not_polled_and_never_an_older_number() {
    let normalizer = Normalizer::new(DeviceId(4), &profile("io", vec![field()]), &[Some(PointId(0))]);
    assert_eq!(
        normalizer.normalize(&batch(vec![Ok(Raw::Number(5.0))]), false, false).readings[0].sample,
        Sample::Good(5.0)
    );
    let late = normalizer.normalize(&batch(vec![]), false, false);
    assert_eq!(late.readings[0].sample, Sample::Bad(Reason::NotPolled));
    assert_eq!(
        (late.device, late.start, late.end, late.readings[0].at),
        (DeviceId(4), at(1), at(99), at(99))
    );
}

proptest! {
    #[test]
    fn numbers_stay_finite(
        raw in prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL,
        scale in prop::num::f64::ANY,
        offset in prop::num::f64::ANY,
        span in any::<[f64; 4]>(),
        looped in any::<bool>(),
        unit in prop::sample::select(Unit::names().collect::<Vec<_>>()),
    ) {
        let [lo, hi, out_lo, out_hi] = span;
        let current_loop = looped.then_some(Loop { lo, hi, out_lo, out_hi });
        let sample = one("rain", Field { scale, offset, current_loop, unit: Unit::parse(unit), ..field() }, raw);
        prop_assert!(sample.value().is_none_or(f64::is_finite));
    }
}
