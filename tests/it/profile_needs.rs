//! The 32 things that registers of real devices ask of the profile language, each with the shipped profile that proves it.
//!
//! One test for each: it decodes the device's registers, or plans its requests, by the document in `firmware-profiles/`. What the language
//! leaves to other parts is said at its place; what can't be said at all:
//!
//! - Enron Modbus (Rockwell 1758-FLO, need 10): one address is asked and four bytes come. An answer of another length than the request's is
//!   thrown away as a foreign one, and that check keeps late answers from being taken for others; such a computer needs its Modicon mode.
//! - Private functions (EV3200 0x41, `ProScan` 2 0x66, need 18): they write or save settings, and a monitor does neither.
//! - An answer by another serial address (SMT100 as 253, Yunyi as 0, need 19): on a shared line it can't be told from a foreign device's; both
//!   serve a normal address, and over Modbus TCP `any_unit` takes it.
//! - A check sum that is wrong on purpose (KELLER 5.50, need 2): a damaged frame proves nothing. It is a bad frame, and a quirk of the profile.
//! - Broadcast triggers (Geokon, need 5): nobody confirms them, so each unit is told by itself.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use lifeline_gateway::bus::{Address, LineSettings, Parity, Table};
use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::decode::RawBatch;
use lifeline_gateway::normalize::Normalizer;
use lifeline_gateway::normalize::vectors::verify;
use lifeline_gateway::point::{DeviceId, PointId};
use lifeline_gateway::poll::cost::Cost;
use lifeline_gateway::poll::plan::{Plan, wanted};
use lifeline_gateway::profile::at::At;
use lifeline_gateway::profile::firmware::Firmware;
use lifeline_gateway::profile::{Expect, Profile, Vector};
use lifeline_gateway::reading::{Reason, Sample};
use lifeline_gateway::site::library;

fn device(name: &str) -> &'static (Profile, Firmware) {
    static ALL: OnceLock<Vec<(Profile, Firmware)>> = OnceLock::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles");
    let all = ALL.get_or_init(|| library::profiles(&folder).unwrap_or_else(|found| panic!("{found:?}")));
    all.iter().find(|(profile, _)| profile.name == name).unwrap_or_else(|| panic!("no profile {name}"))
}

/// The model, or one version of it.
fn model(name: &str, version: Option<&str>) -> Profile {
    let (profile, firmware) = device(name);
    match version {
        None => profile.clone(),
        Some(_) => {
            firmware.apply(&Profile { fields: firmware.layout(), ..profile.clone() }, version).unwrap()
        }
    }
}

/// What a point must come to.
enum Want {
    /// A number in the profile's unit.
    N(f64),
    /// A state.
    S(&'static str),
    /// A fault.
    F(&'static str),
}
use Want::{F, N, S};

type Cells<'c> = &'c [(&'c str, &'c [u16])];

#[track_caller]
fn at_version(name: &str, version: Option<&str>, cells: Cells<'_>, wants: &[(&str, Want)]) {
    let expect = wants.iter().map(|(point, want)| {
        let want = match want {
            N(number) => Expect::Number(*number, 1e-6 * number.abs().max(1.0)),
            S(state) => Expect::State((*state).to_owned()),
            F(fault) => Expect::Fault((*fault).to_owned()),
        };
        ((*point).to_owned(), want)
    });
    let cells = cells.iter().map(|(at, cells)| {
        let at = At::parse(at).unwrap();
        (at.table, at.address, cells.to_vec())
    });
    let vector = Vector {
        text: None,
        cells: cells.collect(),
        expect: expect.collect(),
        from_maker: false,
        firmware: None,
    };
    let own = Profile { vectors: vec![vector], ..model(name, version) };
    assert_eq!(verify(&own), [], "{name} {version:?}");
}

/// Decodes `cells` by the profile `name`.
#[track_caller]
fn decodes(name: &str, cells: Cells<'_>, wants: &[(&str, Want)]) {
    at_version(name, None, cells, wants);
}

/// The requests of one poll.
fn requests(profile: &Profile) -> Vec<(Table, u16, u16)> {
    let line = LineSettings::plain("a", Address::RtuOverTcp(String::new()));
    let cost = Cost::new(&line, profile.limits.quiet);
    let plan = Plan::new(&profile.fields, &wanted(&profile.fields), &profile.limits, &cost, &BTreeSet::new());
    plan.0.iter().map(|planned| (planned.read.table, planned.read.address, planned.read.count)).collect()
}

fn longest(profile: &Profile) -> u16 {
    requests(profile).into_iter().map(|(.., count)| count).max().unwrap()
}

/// What the point says when its read is refused with `code`.
fn refused(profile: &Profile, point: &str, code: u8) -> Sample {
    let place = profile.fields.iter().position(|field| field.name == point).unwrap();
    let at = Timestamp::from_millis(0);
    let raws = vec![(at, Err(Reason::Exception(code))); profile.fields.len()];
    let points: Vec<_> = (0..).map(|n| Some(PointId(n))).take(profile.fields.len()).collect();
    let batch = RawBatch { device: DeviceId(0), start: at, end: at, raws };
    let normalizer = Normalizer::new(DeviceId(0), profile, &points);
    normalizer.normalize(&batch, false, false).readings[place].sample.clone()
}

fn fault(name: &str) -> Sample {
    Sample::Bad(Reason::SensorFault(name.into()))
}

fn serial(name: &str) -> String {
    device(name).0.serial.map(|format| format.to_string()).unwrap_or_default()
}

#[test]
fn need_01_the_largest_read_of_a_device_and_of_its_firmware() {
    for (version, most) in [("5.20-5.50", 2), ("5.20-12.28", 4), ("5.21-1.1", 80)] {
        assert_eq!(model("keller-series30", Some(version)).limits.registers_per_read, most);
    }
    assert_eq!(longest(&model("keller-series30", Some("5.20-5.50"))), 2);
    for (name, most) in [("techwind-sdk500", 16), ("emerson-ev3200", 4), ("hycontrol-microflex", 1)] {
        assert!(longest(&model(name, None)) <= most, "{name}");
    }
    let lambrecht = model("lambrecht-raine", None);
    let values = lambrecht.fields.iter().filter(|field| !field.hidden).count();
    assert_eq!(requests(&lambrecht).len(), values, "one value for each request");
}

#[test]
fn need_02_faults_as_exceptions_before_and_as_numbers_after() {
    let old = model("keller-series30", Some("5.20-5.50"));
    assert_eq!(refused(&old, "p1", 2), fault("inactive"));
    assert_eq!(refused(&old, "p1", 3), fault("over or under"));
    assert_eq!(
        refused(&model("keller-series30", Some("5.20-12.28")), "p1", 2),
        Sample::Bad(Reason::Exception(2))
    );
    let at: &[(&str, &[u16])] = &[("holding 0x0100", &[0x7F80, 0, 0x7FC0, 0])];
    at_version("keller-series30", Some("5.20-12.28"), at, &[("p1", F("overflow")), ("tob1", F("inactive"))]);
}

#[test]
fn need_03_registers_that_are_not_there_answer_zero() {
    // Nothing is read over, so a zero from a hole is never taken for a value.
    for name in ["keller-series30", "ysi-h3553t"] {
        let profile = model(name, None);
        assert_eq!(profile.limits.gap, 0, "{name}");
        let own = |table, cell| {
            let inside = |field: &&lifeline_gateway::profile::Field| {
                field.table == table && (field.address..field.address + field.count).contains(&cell)
            };
            profile.fields.iter().any(|field| inside(&field))
        };
        for (table, first, count) in requests(&profile) {
            assert!((first..first + count).all(|cell| own(table, cell)), "{name} reads {first} {count}");
        }
    }
}

#[test]
fn need_04_a_first_read_that_is_refused_and_services_that_are_absent() {
    let wake = model("gropoint-gplp8", None).limits.wake.unwrap();
    assert_eq!(wake.exception, Some(5));
    assert!(wake.longest() >= Duration::from_millis(13 * 200), "13 temperatures take 200 ms each");
    // Absence is no fault of the sensor: the reason keeps the code.
    assert_eq!(
        refused(&model("victron-gx-battery", None), "voltage", 10),
        Sample::Bad(Reason::Exception(10))
    );
}

#[test]
fn need_05_a_write_and_a_wait_before_the_read() {
    for name in ["geokon-6150f", "geokon-3810a"] {
        let profile = model(name, None);
        let trigger = &profile.triggers[0];
        assert_eq!((trigger.act.to_string().as_str(), trigger.wait.as_millis()), ("holding 0x0118 = 1", 500));
        assert_eq!(
            trigger.behind(&profile.fields).len(),
            profile.fields.len(),
            "all of {name} is old without it"
        );
    }
}

#[test]
fn need_06_a_read_that_changes_the_device() {
    let lambrecht = model("lambrecht-raine", None);
    let since = lambrecht.fields.iter().find(|field| field.name == "rain-since-read").unwrap();
    assert!(since.destructive);
    let mut without = lambrecht.clone();
    for field in &mut without.fields {
        field.hidden |= field.destructive;
    }
    without.limits.single_register = false;
    without.limits.gap = 124;
    let touches = |(_, first, count): (Table, u16, u16)| (first..first + count).contains(&since.address);
    assert!(!requests(&without).into_iter().any(touches), "not even as a hole of a larger read");
}

#[test]
fn need_07_literal_addresses_against_minus_one_and_a_base_by_setting() {
    decodes("lambrecht-raine", &[("input 31001", &[1])], &[("rain-total", N(0.1))]);
    decodes(
        "igd-toc635",
        &[("input 30001", &[0x64]), ("input 33001", &[0])],
        &[("s1-concentration", N(0.0))],
    );
    // The Optidrive's 256 is 255; the iTrans' 40101 is 100.
    decodes("invertek-core", &[("holding 255", &[1])], &[("running", S("yes"))]);
    decodes("oldham-itrans", &[("holding 100", &[0x0401, 5])], &[("ch1-toxic", N(5.0))]);
    for (version, at) in [(None, "holding 14"), (Some("one-based"), "holding 15")] {
        at_version("emco-fp93b", version, &[(at, &[0x40A0, 0])], &[("process-pressure", N(5.0))]);
    }
}

#[test]
fn need_08_scale_by_decimals_offset_type_range_and_setting() {
    decodes(
        "mpd380-pressure",
        &[("holding 2", &[3, 2, 0x12]), ("holding 12", &[4])],
        &[("pressure", N(0.22))],
    );
    decodes("generic-submersible485", &[("holding 2", &[0, 1, 0x04D2])], &[("level", N(123.4))]);
    decodes("apg-mpx", &[("input 0x012F", &[0, 12345]), ("holding 0x0194", &[2])], &[("top", N(123.45))]);
    decodes("owen-mb210", &[("holding 0x0FE0", &[253]), ("holding 0x1007", &[1])], &[("ch1-whole", N(25.3))]);
    for (kind, level) in [(0, 1500.0), (2, 6000.0)] {
        decodes("hycontrol-microflex", &[("holding 0", &[1500, 4711, kind])], &[("level", N(level))]);
    }
    for (head, gas) in [(0x0401, N(209.0)), (0x0501, N(20.9)), (0x0301, F("unknown scale 3"))] {
        decodes("oldham-itrans", &[("40101", &[head, 209])], &[("ch1-gas", gas)]);
    }
    for (version, gas) in [(None, 105.0), (Some("tenths"), 10.5)] {
        at_version("pemtech-pt495", version, &[("40001", &[105])], &[("gas", N(gas))]);
    }
    for (version, pascal) in [(None, -10.0), (Some("2500-and-above"), -100.0)] {
        let cells: Cells<'_> = &[("holding 143", &[0x10]), ("holding 157", &[0xFF9C])];
        at_version("cmr-vsensor", version, cells, &[("pressure-whole", N(pascal))]);
    }
    // A span that only a menu knows: the file is copied with another `scale`.
    decodes("nivus-nivusonic", &[("input 1", &[1234])], &[("level", N(1.234))]);
}

#[test]
fn need_09_unit_by_code_by_text_and_none_at_all() {
    for (code, level) in [(45, N(5.0)), (49, N(0.005)), (32, F("unknown unit 32"))] {
        let cells: Cells<'_> =
            &[("input 0x64", &[0, 0]), ("input 0x68", &[0, code]), ("input 0x07D2", &[0x40A0, 0])];
        decodes("vega-vegapuls", cells, &[("level", level)]);
    }
    let cells: Cells<'_> =
        &[("holding 0xD8", &[0, 1]), ("holding 0xE0", &[3]), ("holding 0x012C", &[0, 0x4148, 0])];
    decodes("encardio-esm12s", cells, &[("parameter", N(0.0125))]);
    // "barg", "kPag" and "bara".
    for (text, pressure) in [
        ([0x6261, 0x7267], N(10.0)),
        ([0x6B50, 0x6167], N(0.1)),
        ([0x6261, 0x7261], F("unknown unit 1650553441")),
    ] {
        decodes(
            "spirax-vlm20",
            &[("input 4", &[0x4120, 0]), ("input 2018", &text)],
            &[("pressure", pressure)],
        );
    }
    // Not on the wire: the file says it.
    let unit = |name, point: &str| {
        let profile = model(name, None);
        profile
            .fields
            .iter()
            .find(|field| field.name == point)
            .and_then(|field| field.unit)
            .map(|unit| unit.name())
    };
    assert_eq!(unit("crowcon-xgard-bright", "concentration"), Some("%LEL"));
    assert_eq!(unit("evikon-e2418dp", "pressure"), Some("Pa"));
    // A unit byte that lies: ppb is told, ppm is sent.
    let cells: Cells<'_> = &[("holding 0", &[1, 0, 0, 0x4148, 0, 0, 2])];
    decodes("honeywell-midas", cells, &[("unit-shown", S("ppb")), ("concentration", N(12.5))]);
}

#[test]
fn need_10_bcd_fields_and_a_value_in_two_maps() {
    // Enron widths: see the head of this file.
    let cells: Cells<'_> = &[("holding 13", &[0x3112, 0x2021])];
    decodes("biffi-elbs20", cells, &[("date-day-month", N(3112.0)), ("date-year", N(2021.0))]);
    decodes("biffi-elbs20", &[("holding 13", &[0x3A12])], &[("date-day-month", F("not bcd"))]);
    // The halves of its float are taken at two moments, so its 16-bit number is the one to use.
    let cells: Cells<'_> = &[("holding 0", &[12345]), ("holding 0x0108", &[0x1F85, 0x4541])];
    decodes("dualaxis-wtupro", cells, &[("angle-x", N(12.345)), ("angle-x-float", N(12.345))]);
}

#[test]
fn need_11_four_byte_orders_and_one_that_a_register_chooses() {
    let unit: (&str, &[u16]) = ("input 0x68", &[0, 45]);
    let valid: (&str, &[u16]) = ("input 0x64", &[0, 0]);
    for (at, cells, point) in [
        ("input 0x07D2", [0x40A3, 0xD70A], "level"),
        ("input 0x006A", [0xD70A, 0x40A3], "level-cdab"),
        ("input 0x0836", [0x0AD7, 0xA340], "level-dcba"),
        ("input 0x089A", [0xA340, 0x0AD7], "level-badc"),
    ] {
        decodes("vega-vegapuls", &[valid, unit, (at, &cells)], &[(point, N(5.12))]);
    }
    for (setting, cells) in
        [(0, [0x40A3, 0xD70A]), (1, [0xD70A, 0x40A3]), (2, [0x0AD7, 0xA340]), (3, [0xA340, 0x0AD7])]
    {
        let cells: Cells<'_> = &[valid, unit, ("holding 0x0BB8", &[setting]), ("input 0x0516", &cells)];
        decodes("vega-vegapuls", cells, &[("level-by-setting", N(5.12))]);
    }
    let swapped: Cells<'_> =
        &[("holding 0xD8", &[0, 0]), ("holding 0xE0", &[1]), ("holding 0x012C", &[0, 0x3E1B, 0x3B21])];
    decodes("encardio-esm12s", swapped, &[("parameter", N(0.00246))]);
    decodes("peacefair-pzem016", &[("input 1", &[0x86A0, 1])], &[("current", N(100.0))]);
    decodes("epever-tracer", &[("input 0x3102", &[0x93E0, 4])], &[("pv-power", N(3000.0))]);
    decodes("levelpro-proscan2", &[("input 0x0A0F", &[0, 0x4020])], &[("level", N(2.5))]);
    decodes("yosemitech-y700", &[("holding 0x2602", &[0, 0x803F, 0])], &[("depth", N(1.0))]);
}

#[test]
fn need_12_fault_values_of_one_point_that_are_legal_of_another() {
    decodes("lambrecht-raine", &[("input 31001", &[0xD8F1])], &[("rain-total", F("sensor-error"))]);
    decodes("balluff-bsi", &[("input 0", &[55555])], &[("inclination", F("invalid-setting"))]);
    decodes("victron-gx-battery", &[("holding 0x0103", &[0xFFFF])], &[("voltage", F("reserved"))]);
    decodes("generic-xymd02", &[("input 1", &[0xFFFF])], &[("temperature", N(-0.1))]);
    decodes("nivus-nivusonic", &[("input 0", &[0xFFFF])], &[("flow", N(-0.001))]);
}

#[test]
fn need_13_validity_that_stands_elsewhere() {
    for (state, gas) in [(3, N(1.0)), (2, F("not valid"))] {
        let cells: Cells<'_> = &[("holding 99", &[state]), ("holding 301", &[0x3F80, 0])];
        decodes("crowcon-xgardiq", cells, &[("concentration", gas)]);
    }
    for status in [0x01, 0x02, 0x10, 0x20] {
        decodes("copeland-cseries", &[("input 101", &[500, status])], &[("gas", F("not valid"))]);
    }
    decodes("copeland-cseries", &[("input 101", &[500, 0x0C])], &[("gas", N(500.0))]);
    let cells: Cells<'_> =
        &[("input 0x64", &[0, 1]), ("input 0x68", &[0, 45]), ("input 0x07D2", &[0x40A3, 0xD70A])];
    decodes("vega-vegapuls", cells, &[("level", F("not valid"))]);
    decodes("fts-sdi-radar", &[("holding 0x14", &[0, 2350])], &[("level-distance", F("not valid"))]);
    // In another table; the bits of the NivuSonic's groups have no meaning in its manual and are no points.
    for (there, current) in [(0, N(12.0)), (1, F("not valid"))] {
        let cells: Cells<'_> = &[("input 0", &[12000]), ("discrete 0x80", &[there]), ("coil 0x010C", &[1])];
        decodes("icpdas-m7017c", cells, &[("ai1", current)]);
    }
}

#[test]
fn need_14_numbers_that_are_stored_above_themselves() {
    let cells: Cells<'_> = &[("holding 0", &[0x1770])];
    decodes("truebner-smt100", cells, &[("temperature", N(-40.0))]);
    for (raw, gas) in [(100, 0.0), (95, -0.5), (300, 20.0)] {
        let cells: Cells<'_> = &[("input 30001", &[raw]), ("input 33001", &[0])];
        decodes("igd-toc635", cells, &[("s1-concentration", N(gas))]);
    }
}

#[test]
fn need_15_rational_and_large_scales_and_percent_of_range() {
    decodes(
        "witmotion-wt901c485",
        &[("holding 0x3D", &[0x2000, 0xC000])],
        &[("roll", N(45.0)), ("pitch", N(-90.0))],
    );
    decodes("tripplite-modbuscard", &[("input 0x0434", &[65])], &[("input-power", N(650.0))]);
    decodes("crowcon-nimbus", &[("holding 99", &[200])], &[("gas", N(20.0))]);
}

#[test]
fn need_16_bytes_bit_groups_one_hot_and_inverted_bits() {
    let cells: Cells<'_> = &[("holding 1", &[0x0302])];
    decodes("techwind-sdk500", cells, &[("door-state", S("closing")), ("door-error", S("door blocked"))]);
    decodes(
        "monarch-nice3000",
        &[("holding 0xFA0F", &[0x0504])],
        &[("car-state", S("running")), ("lift-locked", N(1.0))],
    );
    decodes(
        "hpmont-hd3nl",
        &[("holding 0x330A", &[0x13])],
        &[("accel-state", S("accelerating")), ("run", S("yes"))],
    );
    decodes("honeywell-midas", &[("holding 6", &[8])], &[("unit-shown", S("%LEL"))]);
    decodes("honeywell-midas", &[("holding 6", &[9])], &[("unit-shown", F("not one-hot"))]);
    decodes("apc-nmc2", &[("holding 0", &[0])], &[("output", S("on"))]);
}

#[test]
fn need_17_states_from_two_registers_sums_and_pairs() {
    for (flags, door) in [
        ([1, 0], S("open")),
        ([0, 1], S("closed")),
        ([0, 0], S("moving or unknown")),
        ([1, 1], F("contradiction")),
    ] {
        decodes("techno-board", &[("holding 23", &flags)], &[("door", door)]);
    }
    let cells: Cells<'_> = &[("holding 0x0119", &[12])];
    decodes("geokon-6150f", cells, &[("temperature-verify", S("failed")), ("system-reset", S("reset"))]);
    let busy: Cells<'_> =
        &[("holding 0xD8", &[0, 0]), ("holding 0xE0", &[3]), ("holding 0x012C", &[1, 0x3B21, 0x3E1B])];
    decodes("encardio-esm12s", busy, &[("channel-1", S("busy")), ("parameter", F("not valid"))]);
}

#[test]
fn need_18_a_reply_in_reverse_order_and_private_exceptions() {
    let door = model("emerson-ev3200", None);
    assert!(requests(&door).into_iter().all(|(.., count)| count == 1), "a block would come back to front");
    assert_eq!(refused(&door, "dc-bus", 0x22), fault("password"));
    assert_eq!(refused(&door, "dc-bus", 0x20), Sample::Bad(Reason::Exception(0x20)));
}

#[test]
fn need_19_an_answer_as_another_unit() {
    // On a serial line: see the head of this file. The profile says so to whoever wires it.
    for name in ["truebner-smt100", "yunyi-integrated"] {
        let quirks = &device(name).0.about.quirks;
        assert!(quirks.iter().any(|quirk| quirk.contains("slave")), "{name}: {quirks:?}");
    }
}

#[test]
fn need_20_several_units_that_make_one_device() {
    // Each unit is a device of the site with a profile of its own.
    let slave = |name| device(name).0.about.slave;
    assert_eq!((slave("lambrecht-raine"), slave("lambrecht-thp")), (Some(3), Some(4)));
    decodes("lambrecht-thp", &[("input 30401", &[0xFFCE])], &[("air-temperature", N(-5.0))]);
    decodes("victron-gx-solar", &[], &[]);
    assert_eq!(slave("vega-vegapuls"), Some(246));
}

#[test]
fn need_21_several_tables_in_one_profile() {
    let tables = |name| {
        let fields = &device(name).0.fields;
        fields.iter().map(|field| format!("{:?}", field.table)).collect::<BTreeSet<_>>().len()
    };
    for (name, least) in [
        ("icpdas-m7017c", 3),
        ("thingweb-elevator", 3),
        ("epever-tracer", 2),
        ("rika-rk520", 2),
        ("spirax-vlm20", 2),
    ] {
        assert!(tables(name) >= least, "{name}: {}", tables(name));
    }
    decodes("generic-di16", &[("discrete 0", &[1, 1])], &[("car-door-closed", N(1.0))]);
    decodes("arkel-arcode", &[("coil 0x028F", &[1])], &[("door-bypass-travel-alarm", N(1.0))]);
}

#[test]
fn need_22_channels_that_repeat_at_their_own_steps() {
    let cells: Cells<'_> = &[
        ("holding 0x005E", &[0x4120, 0]),
        ("holding 0x00DF", &[3]),
        ("holding 0x011F", &[6]),
        ("holding 0x013F", &[0]),
    ];
    decodes("otis-oi7032", cells, &[("ch32-reading", N(10.0)), ("ch32-lel", N(10.0))]);
    decodes("igd-toc635", &[("input 31002", &[0x0953])], &[("s2-supply", N(23.87))]);
}

#[test]
fn need_23_how_old_a_value_is() {
    for (age, pressure) in [(3, N(-200.0)), (61, F("not valid"))] {
        decodes(
            "evikon-e2418dp",
            &[("holding 17", &[age]), ("holding 259", &[0xFF38])],
            &[("pressure", pressure)],
        );
    }
    for (age, reading) in [(600, N(10.0)), (601, F("not valid"))] {
        let cells: Cells<'_> =
            &[("holding 0x20", &[0x4120, 0]), ("holding 0xC0", &[age]), ("holding 0x0120", &[0])];
        decodes("otis-oi7032", cells, &[("ch1-reading", reading)]);
    }
    // A heartbeat and a stamp are points; that they stand still is a rule of the site.
    decodes("cmr-vsensor", &[("holding 145", &[65535])], &[("heartbeat", N(65535.0))]);
    decodes("owen-mb210", &[("holding 0x0FA2", &[150])], &[("ch1-cycle-time", N(150.0))]);
}

#[test]
fn need_24_what_must_not_be_written_by_chance() {
    for (name, table, cell) in [
        ("arkel-arcode", Table::Coil, 5000),
        ("invertek-core", Table::Holding, 0),
        ("hpmont-hd3nl", Table::Holding, 0x3200),
        ("evikon-e2418dp", Table::Holding, 17),
        ("biffi-elbs20", Table::Holding, 228),
        ("honeywell-midas", Table::Holding, 21),
        ("emco-fp93b", Table::Coil, 48),
    ] {
        let never = &device(name).0.about.never;
        let covers = never.iter().any(|never| {
            never.table == table && (never.address..never.address + never.count).contains(&cell)
        });
        assert!(covers, "{name}: {never:?}");
        assert!(device(name).0.triggers.is_empty());
    }
    // Silence trips the drive: its settings are points, so that a rule can watch them.
    let cells: Cells<'_> = &[("holding 203", &[10, 0])];
    decodes("invertek-core", cells, &[("comms-loss-timeout", N(1.0)), ("comms-loss-action", S("trip"))]);
}

#[test]
fn need_25_talkers_nobody_asked() {
    // What they say is dropped by the line, see `it::damaged` and `it::lines`; the profile warns whoever sets them up.
    for (name, word) in [("witmotion-wtvb01", "0x0062"), ("seeed-soil02", "by itself")] {
        let about = &device(name).0.about;
        let said =
            [about.quirks.clone(), about.uncertain.clone(), vec![about.note.clone()]].concat().join(" ");
        assert!(said.contains(word), "{name}: {said}");
    }
}

#[test]
fn need_26_one_map_in_several_variants() {
    for (version, gas) in [(None, 105.0), (Some("tenths"), 10.5)] {
        at_version("pemtech-pt495", version, &[("40001", &[105])], &[("gas", N(gas))]);
    }
    // Same addresses and another scale, same maker and another map: files of their own.
    decodes("rika-rk520", &[("holding 0", &[0xFFDD])], &[("temperature", N(-3.5))]);
    decodes(
        "seeed-soil02",
        &[("holding 0", &[0xFF05]), ("holding 0x21", &[0])],
        &[("temperature", N(-2.51))],
    );
    decodes("hpmont-hd5l", &[("holding 0x3329", &[7])], &[("present-fault", N(7.0))]);
    decodes("hpmont-hd3nl", &[("holding 0x333D", &[7])], &[("present-fault", N(7.0))]);
}

#[test]
fn need_27_silence_before_a_request_and_devices_that_sleep() {
    let limits = |name| device(name).0.limits.clone();
    assert_eq!(limits("crowcon-nimbus").quiet, Duration::from_millis(10));
    // 50 ms of the VEGA, between request and answer, lie within every answer time.
    assert!(limits("apg-mpx").quiet >= Duration::from_millis(300));
    for name in ["insitu-aquatroll400", "generic-ultrasonic4800"] {
        assert!(limits(name).wake.is_some_and(|wake| wake.silence), "{name}");
    }
}

#[test]
fn need_28_line_settings_that_are_not_9600_8n1() {
    for (name, format) in [
        ("crowcon-xgard-bright", "9600 8N2"),
        ("crowcon-xgardiq", "38400 8N2"),
        ("lambrecht-raine", "19200 8E1"),
        ("tripplite-modbuscard", "2400 8N1"),
        ("generic-ultrasonic4800", "4800 8N1"),
        ("encardio-esm12s", "115200 8N1"),
    ] {
        assert_eq!(serial(name), format, "{name}");
    }
    assert_eq!(device("truebner-smt100").0.serial.unwrap().parity, Parity::Even);
}

#[test]
fn need_29_holes_odd_addresses_and_read_maps() {
    let holes = |name, cells: &[u16]| {
        let reads = requests(&model(name, None));
        let read = |cell: &u16| reads.iter().any(|(_, first, count)| (*first..first + count).contains(cell));
        assert!(!cells.iter().any(read), "{name} reads over a hole: {reads:?}");
    };
    holes("hpmont-hd3nl", &[0x3302, 0x3304, 0x3309]);
    holes("eastron-sdm120", &[2, 3, 4, 5]);
    decodes(
        "crowcon-xgardiq",
        &[("holding 99", &[3]), ("holding 301", &[0x3F80, 0])],
        &[("concentration", N(1.0))],
    );
    decodes("ysi-h3553t", &[("holding 0x21", &[0xC0A0, 0])], &[("temperature", N(-5.0))]);
    // A text is one value and comes in one read; what is only written (FTS) is no point.
    decodes(
        "vaisala-hmd60",
        &[("holding 0x1F03", &[0x2D31, 0x3233, 0x2E34, 0x3500])],
        &[("test-text", N(-123.45))],
    );
}

#[test]
fn need_30_counters_wraps_and_loops() {
    // Differences, wraps and resets of totals are `derive`'s: see `derive::counter`.
    decodes("jxct-optical-rain", &[("holding 3", &[0xFFFF])], &[("rain-total", N(6553.5))]);
    decodes("rika-rain", &[("holding 0", &[126])], &[("rain-total", N(12.6))]);
    decodes("emco-fp93b", &[("holding 26", &[0x4B80, 0])], &[("std-volume-total", N(16_777_216.0))]);
    decodes("balluff-bsi", &[("input 0", &[35999])], &[("inclination", N(359.99))]);
    for (raw, current) in [(12000, N(12.0)), (3400, F("loop low")), (21300, F("loop high"))] {
        decodes("waveshare-ai8", &[("input 0", &[raw]), ("holding 0x1000", &[3])], &[("ai1", current)]);
    }
    decodes(
        "icpdas-m7017c",
        &[("input 0", &[3400]), ("discrete 0x80", &[0]), ("coil 0x010C", &[1])],
        &[("ai1", F("loop low"))],
    );
}

#[test]
fn need_31_no_word_of_faults_and_constants_for_a_self_test() {
    let raeguard = &device("honeywell-raeguard3").0;
    assert_eq!(raeguard.fields.len(), 1, "nothing but the value is on the bus");
    decodes("honeywell-raeguard3", &[("holding 8", &[0, 0xD1])], &[("concentration", N(209.0))]);
    let right: Cells<'_> = &[("holding 0x1F01", &[0xE666, 0xC2F6])];
    let wrong: Cells<'_> = &[("holding 0x1F01", &[0xC2F6, 0xE666])];
    decodes("vaisala-hmd60", right, &[("test-float", N(-123.45))]);
    decodes("vaisala-hmd60", wrong, &[("test-float", F("out-of-range"))]);
}

#[test]
fn need_32_sources_that_disagree_are_told() {
    // The installer's copy of the file decides, so it says what is open.
    for name in [
        "lambrecht-raine",
        "otis-oi7032",
        "monarch-nice3000",
        "peacefair-pzem016",
        "witmotion-wt901c485",
        "rika-rkl01",
        "oldham-itrans",
    ] {
        let about = &device(name).0.about;
        assert!(!about.uncertain.is_empty(), "{name} says nothing of what its sources disagree on");
    }
}

#[test]
fn every_need_has_its_test() {
    let own = include_str!("profile_needs.rs");
    for need in 1..=32 {
        assert!(own.contains(&format!("fn need_{need:02}_")), "need {need} has no test");
    }
}
