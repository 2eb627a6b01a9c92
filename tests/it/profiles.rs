//! Every document in `firmware-profiles/` keeps to the keys of `profile`'s doc comment, and its vectors hold.
//!
//! The reader here is a second, strict one, small enough to be right at a glance; it panics where `site` gives a diagnostic.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use lifeline_gateway::bus::Slave;
use lifeline_gateway::bus::checksum::Checksum;
use lifeline_gateway::bus::text::{Format, Mode};
use lifeline_gateway::normalize::vectors::verify;
use lifeline_gateway::profile::at::At;
use lifeline_gateway::profile::names::{number, serial_format};
use lifeline_gateway::profile::version::{Scheme, matches};
use lifeline_gateway::profile::{
    CLASSES, Expect, Fault, FaultMatch, Field, Kind, Limits, Loop, Order, Profile, Vector,
};
use lifeline_gateway::unit::Unit;
use toml::{Table, Value};

#[test]
fn all_profiles_keep_their_own_vectors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles");
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let (mut files, mut vectors, mut of_makers) = (0, 0, 0);
    for path in names {
        let text = fs::read_to_string(&path).unwrap();
        let document: Table = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let profile = profile(&document);
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), profile.name);
        assert!(!profile.vectors.is_empty(), "{} proves nothing", profile.name);
        assert_eq!(verify(&profile), [], "{}", profile.name);
        files += 1;
        vectors += profile.vectors.len();
        of_makers += profile.vectors.iter().filter(|vector| vector.from_maker).count();
    }
    println!("{files} profiles, {vectors} vectors, {of_makers} of them from makers");
    assert!(files >= 6 && of_makers >= 3);
}

#[test]
fn a_broken_register_map_is_found_by_its_vectors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles/keller-series30.toml");
    let text = fs::read_to_string(path).unwrap().replace("order = \"ABCD\"", "order = \"CDAB\"");
    assert!(!verify(&profile(&text.parse().unwrap())).is_empty());
}

fn profile(document: &Table) -> Profile {
    keys(document, &["profile", "version", "text", "limits", "point", "firmware", "trigger", "vector"]);
    let head = document["profile"].as_table().unwrap();
    keys(
        head,
        &[
            "name",
            "class",
            "maker",
            "source",
            "model",
            "serial",
            "slave",
            "versions",
            "quirks",
            "uncertain",
            "note",
        ],
    );
    let text = |name: &str| head[name].as_str().unwrap().to_owned();
    assert!(CLASSES.contains(&text("class").as_str()), "{}", text("class"));
    let points = tables(document, "point");
    let fields: Vec<_> = points.iter().map(|point| field(point, &points)).collect();
    for (index, one) in fields.iter().enumerate() {
        assert!(
            one.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "{}",
            one.name
        );
        assert!(fields[..index].iter().all(|other| other.name != one.name), "{} stands twice", one.name);
    }
    overlays(document, head, &fields);
    let limits = limits(document.get("limits"));
    for field in &fields {
        assert!(field.count <= limits.registers_per_read, "{} fits in no read", field.name);
    }
    Profile {
        name: text("name"),
        class: text("class"),
        maker: text("maker"),
        source: text("source"),
        about: std::sync::Arc::default(),
        serial: head.get("serial").map(|format| serial_format(format.as_str().unwrap()).unwrap()),
        text: document.get("text").map(|table| format(table.as_table().unwrap(), head)),
        limits,
        fields,
        triggers: Vec::new(),
        // Those of a version are proved when the shipped documents load.
        vectors: tables(document, "vector")
            .into_iter()
            .filter(|one| !one.contains_key("firmware"))
            .map(vector)
            .collect(),
    }
}

/// The `[[firmware]]` of a profile.
fn overlays(document: &Table, head: &Table, fields: &[Field]) {
    let points = tables(document, "point");
    let scheme =
        head.get("versions").map(|name| Scheme::parse(name.as_str().unwrap()).unwrap()).unwrap_or_default();
    for overlay in tables(document, "firmware") {
        keys(overlay, &["versions", "limits", "without", "point", "note"]);
        let probe = if scheme == Scheme::ClassGroupYearWeek { "5.20-10.40" } else { "1.0" };
        matches(scheme, overlay["versions"].as_str().unwrap(), probe).unwrap();
        limits(overlay.get("limits"));
        for point in tables(overlay, "point") {
            field(point, &points);
        }
        for name in overlay.get("without").and_then(Value::as_array).into_iter().flatten() {
            assert!(fields.iter().any(|field| Some(field.name.as_str()) == name.as_str()));
        }
    }
}

/// The `[text]` of a profile.
fn format(table: &Table, head: &Table) -> Format {
    keys(table, &["mode", "command", "terminator", "pattern", "checksum", "gap", "period", "timeout"]);
    let text = |name: &str| table.get(name).map(|text| text.as_str().unwrap());
    let span = |name: &str| text(name).map(|text| lifeline_gateway::site::duration(text).unwrap());
    let checksum = text("checksum").unwrap_or("none");
    Format {
        mode: match text("mode").unwrap() {
            "ask" => Mode::Ask,
            "stream" => Mode::Stream,
            mode => panic!("mode {mode}"),
        },
        command: text("command").unwrap_or_default().to_owned(),
        terminator: text("terminator").unwrap_or("\r\n").as_bytes().to_vec(),
        pattern: text("pattern").unwrap().to_owned(),
        checksum: Checksum::ALL.into_iter().find(|known| known.name() == checksum).unwrap(),
        gap: span("gap").unwrap_or(Duration::from_millis(100)),
        period: span("period").unwrap_or(Duration::from_secs(1)),
        slave: Slave(head.get("slave").map_or(0, small)),
    }
}

fn keys(table: &Table, known: &[&str]) {
    for key in table.keys() {
        assert!(known.contains(&key.as_str()), "unknown key {key}");
    }
}

fn tables<'a>(table: &'a Table, name: &str) -> Vec<&'a Table> {
    table
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|one| one.as_table().unwrap())
        .collect()
}

fn float(value: &Value) -> f64 {
    value.as_float().unwrap_or_else(|| value.as_integer().unwrap().to_string().parse().unwrap())
}

fn small<T: TryFrom<i64>>(value: &Value) -> T {
    T::try_from(value.as_integer().unwrap()).ok().unwrap()
}

fn limits(table: Option<&Value>) -> Limits {
    let mut limits = Limits::default();
    let Some(table) = table.map(|table| table.as_table().unwrap()) else { return limits };
    keys(table, &["registers_per_read", "gap", "quiet", "timeout", "single_register", "wake"]);
    if let Some(most) = table.get("registers_per_read") {
        limits.registers_per_read = small(most);
    }
    limits
}

fn field(point: &Table, points: &[&Table]) -> Field {
    let known = "name at type count order scale offset decimals_from pre_offset_from loop unit range tolerance faults bits invert one_hot \
                 states valid_when destructive hidden decimals note";
    keys(point, &known.split(' ').collect::<Vec<_>>());
    let text = |name: &str| point.get(name).map(|text| text.as_str().unwrap());
    let flag = |name: &str| point.get(name).is_some_and(|flag| flag.as_bool().unwrap());
    let place = |name: &str| points.iter().position(|other| other["name"].as_str() == Some(name)).unwrap();
    let group = text("at").unwrap().strip_prefix("text ");
    let place_at = if group.is_some() { "holding 0" } else { text("at").unwrap() };
    let at = At::parse(place_at).unwrap();
    assert_eq!(group.is_some(), text("type").is_none(), "a word has no type");
    let mut kind = text("type").map_or(Kind::F64, |kind| Kind::parse(kind).unwrap());
    assert_eq!(
        kind == (Kind::Bits { low: 0, high: 15 }),
        point.contains_key("bits"),
        "bits belong to type bits"
    );
    if let Some(bits) = point.get("bits").and_then(Value::as_array) {
        kind = Kind::Bits { low: small(&bits[0]), high: small(&bits[1]) };
    }
    let mut field = Field::new(text("name").unwrap(), at.table, at.address, kind);
    field.group = group.map(str::to_owned);
    field.count = point.get("count").map_or(kind.cells(), small);
    assert!(kind.fits(field.count), "{}", field.name);
    field.order = text("order").map(|order| Order::parse(order).unwrap()).unwrap_or_default();
    field.scale = point.get("scale").map_or(1.0, float);
    field.offset = point.get("offset").map_or(0.0, float);
    field.decimals_from = text("decimals_from").map(place);
    field.pre_offset_from = text("pre_offset_from").map(place);
    field.unit = text("unit").map(|unit| Unit::parse(unit).unwrap_or_else(|| panic!("unit {unit}")));
    field.range =
        point.get("range").and_then(Value::as_array).map(|range| (float(&range[0]), float(&range[1])));
    field.tolerance = point.get("tolerance").map_or(0.0, float);
    if let Some(span) = point.get("loop").and_then(Value::as_table) {
        keys(span, &["lo", "hi", "out_lo", "out_hi"]);
        let end = |name: &str| float(&span[name]);
        field.current_loop =
            Some(Loop { lo: end("lo"), hi: end("hi"), out_lo: end("out_lo"), out_hi: end("out_hi") });
    }
    for fault in tables(point, "faults") {
        keys(fault, &["is", "raw", "text", "means"]);
        let text = |name: &str| fault.get(name).map(|text| text.as_str().unwrap());
        let matches = match (text("is"), text("text")) {
            (Some(is), _) => FaultMatch::parse_is(is).unwrap(),
            (None, Some(word)) => FaultMatch::Text(word.to_owned()),
            (None, None) => FaultMatch::parse_raw(text("raw").unwrap()).unwrap(),
        };
        field.faults.push(Fault { matches, means: text("means").unwrap().into() });
    }
    for (code, name) in point.get("states").and_then(Value::as_table).into_iter().flatten() {
        field.states.push((code.parse().unwrap(), name.as_str().unwrap().to_owned()));
    }
    if let Some(gate) = point.get("valid_when").and_then(Value::as_table) {
        keys(gate, &["point", "is"]);
        field.valid_when = Some((place(gate["point"].as_str().unwrap()), float(&gate["is"])));
    }
    (field.invert, field.one_hot) = (flag("invert"), flag("one_hot"));
    (field.destructive, field.hidden) = (flag("destructive"), flag("hidden"));
    field
}

fn vector(vector: &Table) -> Vector {
    keys(vector, &["registers", "text", "expect", "expect_state", "expect_fault", "tol", "from", "note"]);
    let cell = |cell: &Value| match cell.as_str() {
        Some(text) => u16::try_from(number(text).unwrap()).unwrap(),
        None => small(cell),
    };
    assert!(vector.contains_key("registers") != vector.contains_key("text"));
    let cells = vector
        .get("registers")
        .and_then(Value::as_table)
        .into_iter()
        .flatten()
        .map(|(at, cells)| {
            let at = At::parse(at).unwrap();
            (at.table, at.address, cells.as_array().unwrap().iter().map(cell).collect())
        })
        .collect();
    let tolerance = |value: f64| vector.get("tol").map_or((value.abs() * 1e-9).max(1e-9), float);
    let mut expect = Vec::new();
    for (key, make) in [
        (
            "expect",
            &(|value: &Value| Expect::Number(float(value), tolerance(float(value))))
                as &dyn Fn(&Value) -> Expect,
        ),
        ("expect_state", &|value: &Value| Expect::State(value.as_str().unwrap().to_owned())),
        ("expect_fault", &|value: &Value| Expect::Fault(value.as_str().unwrap().to_owned())),
    ] {
        for (name, value) in vector.get(key).and_then(Value::as_table).into_iter().flatten() {
            expect.push((name.clone(), make(value)));
        }
    }
    assert!(!expect.is_empty());
    let from = vector["from"].as_str().unwrap();
    assert!(matches!(from, "maker" | "worked"));
    let text = vector.get("text").map(|text| text.as_str().unwrap().to_owned());
    Vector { text, cells, expect, from_maker: from == "maker", firmware: None }
}
