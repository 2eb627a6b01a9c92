//! Units from documents to a person: digits, inputs, spellings, rounding.

use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::site::{self, Site};
use lifeline_gateway::{diagnostic, unit};

const PROFILE: &str = r#"
[profile]
name = "probe"
class = "water-level"
maker = "a maker"
source = "a manual"
[[point]]
name = "flow"
at = "holding 0"
type = "f32"
unit = "m3/h"
decimals = 1
[[point]]
name = "level"
at = "holding 2"
type = "f32"
unit = "m"
decimals = 3
[[point]]
name = "depth"
at = "holding 4"
type = "f32"
unit = "m"
[[point]]
name = "current"
at = "holding 6"
type = "f32"
unit = "A"
[[point]]
name = "status"
at = "holding 8"
type = "u16"
[[point]]
name = "distance"
at = "holding 9"
type = "u16"
unit = "mm"
[[point]]
name = "scaled"
at = "holding 10"
type = "u16"
scale = 0.1
"#;

const LINE: &str = r#"
[[line]]
name = "a"
tcp = "127.0.0.1:22001"
[[device]]
name = "probe"
line = "a"
slave = 1
profile = "probe"
every = "5s"
"#;

/// The site of these documents beside a line with one probe, and the report on it.
fn site(documents: &str) -> (Option<Site>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("site")).unwrap();
    std::fs::create_dir_all(folder.path().join("profiles")).unwrap();
    std::fs::write(folder.path().join("profiles/probe.toml"), PROFILE).unwrap();
    std::fs::write(folder.path().join("site/site.toml"), format!("{LINE}{documents}")).unwrap();
    let options = site::Options {
        site: folder.path().join("site"),
        profiles: Some(folder.path().join("profiles")),
        now: Timestamp::parse("2026-11-24T00:00:00Z").unwrap(),
        ..site::Options::default()
    };
    let (site, found, texts) = site::load(&options);
    (site, diagnostic::render(&found, &texts))
}

fn shown(site: &Site, point: &str) -> (Option<&'static str>, u8) {
    let point = site.catalog.find(point).unwrap_or_else(|| panic!("no {point}"));
    (point.unit.map(unit::Unit::name), point.decimals)
}

#[test]
fn a_register_without_a_scale_is_a_whole_number() {
    let (site, report) = site("");
    let site = site.unwrap_or_else(|| panic!("{report}"));
    assert_eq!(shown(&site, "probe.status"), (None, 0));
    assert_eq!(shown(&site, "probe.distance"), (Some("cm"), 1));
    assert_eq!(shown(&site, "probe.scaled"), (None, 2));
}

#[test]
fn digits_are_those_of_the_profiles_unit_in_the_kept_one() {
    let derived = |name: &str, keys: &str| {
        format!(
            "[[derived]]\nname = \"probe.{name}\"\ninputs = {{ flow = \"probe.flow\" }}\nvalue = \"flow\"\n{keys}\n"
        )
    };
    let documents = derived("q", "unit = \"m3/h\"\ndecimals = 1")
        + &derived("p", "unit = \"m3/s\"")
        + &derived("r", "unit = \"m3/h\"");
    let (site, report) = site(&documents);
    let site = site.unwrap_or_else(|| panic!("{report}"));
    assert_eq!(shown(&site, "probe.flow"), (Some("m3/s"), 5));
    assert_eq!(shown(&site, "probe.level"), (Some("cm"), 1));
    assert_eq!(shown(&site, "probe.depth"), (Some("cm"), 2));
    assert_eq!(shown(&site, "probe.q"), (Some("m3/s"), 5));
    assert_eq!(shown(&site, "probe.p"), (Some("m3/s"), 2));
    assert_eq!(shown(&site, "probe.r"), (Some("m3/s"), 6), "two of m3/h");
}

/// A derived point of these inputs.
fn computed(name: &str, inputs: &str, value: &str, unit: &str) -> String {
    let unit = if unit.is_empty() { String::new() } else { format!("unit = \"{unit}\"\n") };
    format!("[[derived]]\nname = \"probe.{name}\"\ninputs = {{ {inputs} }}\nvalue = \"{value}\"\n{unit}")
}

const CURRENT: &str = "i = \"probe.current\"";

#[test]
fn an_input_that_is_kept_in_another_unit_than_its_profile_writes_is_told() {
    let (_, report) = site(&computed("w", CURRENT, "i * 400 * 1.732", "W"));
    for part in [
        "warning[input-unit]: `i` is in mA here (probe.current is written in A)",
        "i = { point = \"probe.current\", unit = \"A\" } to compute in A",
        "unit = \"mA\" if mA is meant; i / 1000 is A",
    ] {
        assert!(report.contains(part), "{part}\n{report}");
    }
    for (inputs, value, unit, warns) in [
        (CURRENT, "i > 2 ? 1 : 0", "", true),
        (CURRENT, "rate(i, '5m') * 2", "A", true),
        ("q = \"probe.flow\"", "q + q", "m3/h", true),
        (CURRENT, "i > 0 ? 1 : 0", "", false),
        (CURRENT, "i * 2", "mA", false),
        (CURRENT, "i", "A", false),
        (CURRENT, "max(i, '1h')", "A", false),
        ("i = { point = \"probe.current\", unit = \"A\" }", "i * 400 * 1.732", "W", false),
        ("i = { point = \"probe.current\", unit = \"mA\" }", "i * 0.4 * 1.732", "W", false),
        ("s = \"probe.status\"", "s * 2", "", false),
    ] {
        let (found, report) = site(&computed("x", inputs, value, unit));
        assert!(found.is_some(), "{report}");
        assert_eq!(report.contains("input-unit"), warns, "{inputs} {value} {unit}\n{report}");
    }
}

#[test]
fn the_unit_of_an_input_is_one_that_its_point_can_have() {
    let of = |point: &str, unit: &str| {
        site(&computed("x", &format!("i = {{ point = \"probe.{point}\", unit = \"{unit}\" }}"), "i * 2", "W"))
    };
    for (point, unit, want) in [
        ("current", "m3/h", "probe.current is in mA, not in m3/h"),
        ("status", "A", "probe.status has no unit, so none in A"),
        ("curent", "A", "there is no point `probe.curent`"),
    ] {
        let (found, report) = of(point, unit);
        assert!(found.is_none() && report.contains(want), "{report}");
    }
    let (found, report) = site(&computed("x", "i = { unit = \"A\", of = 1 }", "i * 2", "W"));
    assert!(
        found.is_none() && report.contains("needs `point`") && report.contains("has no key `of`"),
        "{report}"
    );
}

#[test]
fn a_unit_is_read_with_signs_of_print_and_a_prefix_is_never_guessed() {
    let of = |unit: &str| {
        site(&format!(
            "[[rule]]\nname = \"r\"\npoint = \"probe.depth\"\nunit = \"{unit}\"\nabove = 1.0\nbasis = \"a plan\"\nadvice = \"look\"\n"
        ))
        .1
    };
    for unit in ["\u{b5}m", "\u{3bc}m"] {
        assert!(!of(unit).contains("unknown-unit"), "{}", of(unit));
    }
    for unit in ["nS/cm", "mpa", "\u{b5}A", "S/cm", "Mbar"] {
        let report = of(unit);
        assert!(report.contains("unknown-unit") && !report.contains("did you mean"), "{report}");
    }
    assert!(of("us/cm").contains("did you mean `uS/cm`?"));
    assert!(of("℃").contains("degC does not convert to cm"), "{}", of("℃"));
}

/// A rule on the level in m, which is kept in cm.
fn limit(red: &str) -> String {
    format!(
        "[[rule]]\nname = \"r\"\npoint = \"probe.depth\"\nunit = \"m\"\nabove = {{ red = {red} }}\nbasis = \"a plan\"\nadvice = \"look\"\n"
    )
}

#[test]
fn a_threshold_after_a_conversion_is_the_number_that_was_meant() {
    let (old, new) = (site(&limit("0.27")).0.unwrap(), site(&limit("0.29")).0.unwrap());
    let told = site::diff::diff(&old, &new).items.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told, ["~ rule r: red 27 -> 29"]);
}
