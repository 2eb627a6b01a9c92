//! The device-independent decode vectors of `tests/vectors/decode.toml`, through `decode` and `normalize`.
//!
//! 174 of its 182 vectors belong here; two of reply bytes of coils and six whole frames are `bus`'s.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lifeline_gateway::bus::Table;
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::decode::{self, Raw, RawBatch, decode};
use lifeline_gateway::derive::counter::{Advance, advance};
use lifeline_gateway::normalize::Normalizer;
use lifeline_gateway::point::{DeviceId, PointId};
use lifeline_gateway::profile::{Fault, FaultMatch, Field, Kind, Limits, Loop, Order, Profile};
use lifeline_gateway::reading::{Reason, Sample};
use toml::{Table as Toml, Value};

const VECTORS: &str = include_str!("../vectors/decode.toml");

#[test]
fn all_decode_vectors() {
    let document: Toml = VECTORS.parse().unwrap();
    let (mut registers, mut counters, mut of_bus) = (0, 0, 0);
    for vector in document["vector"].as_array().unwrap() {
        let vector = vector.as_table().unwrap();
        if vector.contains_key("regs") {
            registers_vector(vector);
            registers += 1;
        } else if vector.contains_key("sequence") {
            counter_vector(vector);
            counters += 1;
        } else {
            assert!(vector.contains_key("frame") || vector.contains_key("bytes"), "{vector:?}");
            of_bus += 1;
        }
    }
    println!("{registers} register vectors and {counters} counter vectors ran; {of_bus} are of bus");
    assert_eq!((registers, counters, of_bus), (171, 3, 8));
}

fn float(value: &Value) -> f64 {
    value.as_float().unwrap_or_else(|| value.as_integer().unwrap().to_string().parse().unwrap())
}

fn key(vector: &Toml, name: &str, otherwise: f64) -> f64 {
    vector.get(name).map_or(otherwise, float)
}

fn field(vector: &Toml, count: usize) -> Field {
    let mut kind = Kind::parse(vector["type"].as_str().unwrap()).unwrap();
    if let Some(bits) = vector.get("bits").and_then(Value::as_array) {
        let bit = |index: usize| u8::try_from(bits[index].as_integer().unwrap()).unwrap();
        kind = Kind::Bits { low: bit(0), high: bit(1) };
    }
    let mut field = Field::new("x", Table::Holding, 0, kind);
    field.count = u16::try_from(count).unwrap();
    assert!(kind.fits(field.count), "{vector:?}");
    field.order =
        vector.get("order").map(|order| Order::parse(order.as_str().unwrap()).unwrap()).unwrap_or_default();
    field.scale = key(vector, "scale", 1.0);
    field.offset = key(vector, "offset", 0.0);
    field.invert = vector.get("invert").is_some_and(|on| on.as_bool().unwrap());
    field.one_hot = vector.get("one_hot").is_some_and(|on| on.as_bool().unwrap());
    if let Some(span) = vector.get("loop").and_then(Value::as_table) {
        let end = |name: &str| float(&span[name]);
        field.current_loop =
            Some(Loop { lo: end("lo"), hi: end("hi"), out_lo: end("out_lo"), out_hi: end("out_hi") });
    }
    for raw in vector.get("sentinel").and_then(Value::as_array).into_iter().flatten() {
        let matches = FaultMatch::Raw(u64::try_from(raw.as_integer().unwrap()).unwrap());
        field.faults.push(Fault { matches, means: "sentinel".into() });
    }
    for (code, name) in vector.get("enum").and_then(Value::as_table).into_iter().flatten() {
        field.states.push((code.parse().unwrap(), name.as_str().unwrap().to_owned()));
    }
    field
}

/// The sample of this field, with what other registers say of decimals and offset.
fn sample(vector: &Toml, mut field: Field, raw: Raw) -> Sample {
    let mut raws = vec![raw];
    let mut fields = Vec::new();
    for (name, from) in [("decimals", &mut field.decimals_from), ("pre_offset", &mut field.pre_offset_from)] {
        if let Some(value) = vector.get(name) {
            *from = Some(raws.len());
            raws.push(Raw::Number(float(value)));
            fields.push(Field { hidden: true, ..Field::new(name, Table::Holding, 9, Kind::U16) });
        }
    }
    fields.insert(0, field);
    let profile = Profile {
        name: "vectors".into(),
        class: "io".into(),
        maker: String::new(),
        source: String::new(),
        about: std::sync::Arc::default(),
        serial: None,
        text: None,
        limits: Limits::default(),
        fields,
        triggers: Vec::new(),
        vectors: Vec::new(),
    };
    let mut points = vec![None; raws.len()];
    points[0] = Some(PointId(0));
    let at = Timestamp::from_millis(1);
    let raws = raws.into_iter().map(|raw| (at, Ok(raw))).collect();
    let batch = RawBatch { device: DeviceId(0), start: at, end: at, raws };
    let mut readings =
        Normalizer::new(DeviceId(0), &profile, &points).normalize(&batch, false, false).readings;
    assert_eq!(readings.len(), 1);
    readings.remove(0).sample
}

fn registers_vector(vector: &Toml) {
    let cells: Vec<u16> = vector["regs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| u16::try_from(cell.as_integer().unwrap()).unwrap())
        .collect();
    let field = field(vector, cells.len());
    if field.kind == Kind::Ascii {
        assert_eq!(decode::text(&field, &cells).as_deref(), vector["expect"].as_str(), "{vector:?}");
        return;
    }
    let raw = decode(&field, &cells);
    if let Some(name) = vector.get("expect_enum") {
        let Raw::Number(code) = raw else { panic!("{vector:?}: {raw:?}") };
        assert_eq!(field.state(code), name.as_str(), "{vector:?}");
        return;
    }
    exact_64(vector, &field, &cells);
    let sample = sample(vector, field, raw);
    let fault = match (vector.get("expect_fault"), vector.get("expect_unknown")) {
        (Some(fault), _) => Some(fault.as_str().unwrap().to_owned()),
        (_, Some(code)) => Some(format!("unknown state {}", code.as_integer().unwrap())),
        _ => None,
    };
    if let Some(fault) = fault {
        assert_eq!(sample, Sample::Bad(Reason::SensorFault(fault.into())), "{vector:?}");
        return;
    }
    let want = float(&vector["expect"]);
    let got = sample.value().unwrap_or_else(|| panic!("{vector:?}: {sample:?}"));
    let tolerance = want.abs() * key(vector, "rel_tol", 1e-12);
    assert!((got - want).abs() <= tolerance, "{vector:?}: {got}");
    assert!(got.is_sign_positive() || got < 0.0, "{vector:?}: a negative zero");
}

/// Whole numbers of 64 bits are exact as bits: fault patterns see more than a double can hold.
fn exact_64(vector: &Toml, field: &Field, cells: &[u16]) {
    if matches!(field.kind, Kind::U64 | Kind::I64) {
        let want = vector["expect"].as_integer().unwrap().cast_unsigned();
        assert_eq!(decode::bits(field, cells), Ok(want), "{vector:?}");
    }
}

fn counter_vector(vector: &Toml) {
    let sequence = vector["sequence"].as_array().unwrap();
    let reading = |index: usize| u64::try_from(sequence[index].as_integer().unwrap()).unwrap();
    let width = if vector["type"].as_str() == Some("u32") { 32 } else { 16 };
    let want = if vector.contains_key("expect_reset") {
        Advance::Reset
    } else {
        Advance::By(u64::try_from(vector["expect_delta"].as_integer().unwrap()).unwrap())
    };
    assert_eq!(advance(reading(0), reading(1), width, 1_000), want, "{vector:?}");
}
