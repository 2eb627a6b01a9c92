//! Every document in `firmware-profiles/` loads without a finding, is called as its file, and its vectors hold.

use std::fs;
use std::path::{Path, PathBuf};

use lifeline_gateway::normalize::vectors::verify;
use lifeline_gateway::profile::Profile;
use lifeline_gateway::profile::firmware::Firmware;
use lifeline_gateway::site::library;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles")
}

fn read(text: &str) -> Result<(Profile, Firmware), String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("probe.toml"), text).unwrap();
    let found = library::profiles(folder.path()).map_err(|found| format!("{found:?}"))?;
    Ok(found.into_iter().next().unwrap())
}

#[test]
fn all_profiles_keep_their_own_vectors() {
    let profiles = library::profiles(&folder()).unwrap_or_else(|found| panic!("{found:?}"));
    let mut stems: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    stems.sort();
    let names: Vec<String> = profiles.iter().map(|(profile, _)| profile.name.clone()).collect();
    assert_eq!(names, stems, "a profile is called as its file");
    let (mut vectors, mut of_makers) = (0, 0);
    for (profile, firmware) in &profiles {
        assert!(!profile.vectors.is_empty(), "{} proves nothing", profile.name);
        let mut own = profile.clone();
        own.vectors.retain(|vector| vector.firmware.is_none());
        assert_eq!(verify(&own), [], "{}", profile.name);
        for vector in profile.vectors.iter().filter(|vector| vector.firmware.is_some()) {
            let whole =
                Profile { fields: firmware.layout(), vectors: vec![vector.clone()], ..profile.clone() };
            let own = firmware.apply(&whole, vector.firmware.as_deref()).unwrap();
            assert_eq!(verify(&own), [], "{} {:?}", profile.name, vector.firmware);
        }
        for vector in &profile.vectors {
            assert!(!vector.expect.is_empty(), "a vector of {} expects nothing", profile.name);
        }
        let longest = firmware.layout().iter().map(|field| field.count).max().unwrap_or(0);
        let most = firmware.overlays.iter().map(|overlay| overlay.limits.registers_per_read);
        let most = most.chain([profile.limits.registers_per_read]).max().unwrap();
        assert!(longest <= most, "{}: a point fits in no read", profile.name);
        vectors += profile.vectors.len();
        of_makers += profile.vectors.iter().filter(|vector| vector.from_maker).count();
    }
    println!("{} profiles, {vectors} vectors, {of_makers} of them from makers", profiles.len());
    assert!(profiles.len() >= 18 && of_makers >= 3);
}

#[test]
fn every_class_of_risk_points_has_its_library() {
    let profiles = library::profiles(&folder()).unwrap();
    let count = |classes: &[&str]| {
        profiles.iter().filter(|(profile, _)| classes.contains(&profile.class.as_str())).count()
    };
    assert!(count(&["gas-pressure", "gas-concentration", "gas-flow"]) >= 8);
    assert!(count(&["water-level", "rain", "water-flow"]) >= 8);
    assert!(count(&["displacement", "crack", "tilt", "soil", "vibration"]) >= 8);
    assert!(count(&["elevator"]) >= 8);
    assert!(profiles.len() >= 40);
    for (profile, _) in &profiles {
        let text = profile.about.quirks.len() + profile.about.uncertain.len();
        assert!(text > 0, "{} has neither quirks nor what is not proved", profile.name);
        assert!(
            profile.serial.is_some() || profile.about.slave.is_some() || profile.class == "power",
            "{}",
            profile.name
        );
    }
}

#[test]
fn a_broken_register_map_is_found_by_its_vectors() {
    let text = fs::read_to_string(folder().join("keller-series30.toml")).unwrap();
    assert!(read(&text).is_ok());
    let broken = read(&text.replace("order = \"ABCD\"", "order = \"CDAB\"")).unwrap_err();
    assert!(broken.contains("vector-failed"), "{broken}");
}

/// A profile of one device with these points.
fn probe(points: &str) -> String {
    format!(
        "[profile]\nname = \"probe\"\nclass = \"io\"\nmaker = \"test\"\nsource = \"test\"\n{points}\n\
         [[vector]]\nregisters = {{ \"holding 0\" = [0] }}\nexpect_fault = {{ far = \"not-polled\" }}\nfrom = \"worked\"\n\
         [[point]]\nname = \"far\"\nat = \"holding 9000\"\ntype = \"u16\"\n"
    )
}

#[test]
fn a_repeated_point_is_many_points_that_know_their_own() {
    let text = probe(
        "[[point]]\nname = \"ch{n}-age\"\nat = \"holding 0x40\"\ntype = \"u16\"\nhidden = true\nrepeat = { to = 3, step = 1 }\n\
         [[point]]\nname = \"ch{n}_reading\"\nat = \"holding 0x20\"\ntype = \"f32\"\nrepeat = { from = 1, to = 3, step = 2 }\n\
         valid_when = { point = \"ch{n}-age\", max = 60 }\n",
    );
    let (profile, _) = read(&text).unwrap();
    let seen: Vec<_> = profile.fields.iter().map(|field| (field.name.as_str(), field.address)).collect();
    let wanted = [
        ("ch1-age", 0x40),
        ("ch2-age", 0x41),
        ("ch3-age", 0x42),
        ("ch1-reading", 0x20),
        ("ch2-reading", 0x22),
        ("ch3-reading", 0x24),
        ("far", 9000),
    ];
    assert_eq!(seen, wanted);
    let gates: Vec<usize> =
        profile.fields.iter().flat_map(|field| field.valid_when.iter().map(|gate| gate.field)).collect();
    assert_eq!(gates, [0, 1, 2], "each channel has its own age");
}

#[test]
fn what_points_take_from_each_other_is_checked() {
    let value = |key: &str| {
        probe(&format!(
            "[[point]]\nname = \"code\"\nat = \"holding 1\"\ntype = \"u16\"\n\
             [[point]]\nname = \"value\"\nat = \"holding 2\"\ntype = \"f32\"\n{key}\n"
        ))
    };
    for right in [
        "valid_when = [{ point = \"code\", min = 1 }, { point = \"far\", is = [0, 2] }]",
        "order_from = { point = \"code\", 0 = \"ABCD\", 0x10 = \"CDAB\" }",
        "scale_from = { point = \"code\", \"0\" = 1, \"1\" = 0.1 }",
        "unit = \"m\"\nunit_from = { point = \"code\", \"45\" = \"m\", \"0x62617267\" = \"mm\" }",
        "faults = [{ exception = 2, means = \"inactive\" }]",
    ] {
        assert!(read(&value(right)).is_ok(), "{right}: {:?}", read(&value(right)).err());
    }
    for (wrong, code) in [
        ("valid_when = { point = \"cod\", is = 1 }", "unknown-point"),
        ("valid_when = { point = \"code\" }", "bad-gate"),
        ("valid_when = { point = \"code\", is = 1, max = 2 }", "bad-gate"),
        ("valid_when = { point = \"code\", is = [] }", "wrong-type"),
        ("valid_when = { point = \"code\", is = 1, most = 2 }", "unknown-key"),
        ("order_from = { point = \"code\", \"0\" = \"AB\" }", "bad-order"),
        ("order_from = { point = \"code\" }", "bad-case"),
        ("order_from = { point = \"code\", one = \"ABCD\" }", "bad-case"),
        ("scale_from = { point = \"code\", \"0\" = 0 }", "wrong-type"),
        ("unit_from = { point = \"code\", \"0\" = \"m\" }", "missing-key"),
        ("unit = \"m\"\nunit_from = { point = \"code\", \"0\" = \"bar\" }", "wrong-unit"),
        ("unit = \"m\"\nunit_from = { point = \"code\", \"0\" = \"meter\" }", "unknown-unit"),
        ("repeat = { to = 3, step = 2 }", "bad-repeat"),
        ("faults = [{ exception = 0, means = \"x\" }]", "out-of-range"),
        (
            "order_from = { point = \"code\", \"0\" = \"ABCD\" }\n[[point]]\nname = \"gated\"\nat = \"holding 8\"\ntype = \"u16\"\nvalid_when = { point = \"value\", is = 1 }",
            "unordered-point",
        ),
    ] {
        let found = read(&value(wrong)).expect_err(wrong);
        assert!(found.contains(code), "{wrong}: {found}");
    }
    let act = "[[trigger]]\nname = \"test\"\nwrite = { register = 9, value = 1 }\nwait = \"1s\"\nbefore = [\"far\"]\n";
    let never = |at: &str| format!("{act}[[never]]\nwrite = \"{at}\"\nwhy = \"it closes the valve\"\n");
    assert!(read(&probe(&never("holding 10"))).is_ok());
    assert!(read(&probe(&never("holding 9"))).expect_err("a trigger").contains("never-written"));
    assert!(read(&probe(&never("input 9"))).expect_err("an input").contains("bad-place"));
    let past = "[[point]]\nname = \"ch{n}\"\nat = \"holding 65530\"\ntype = \"u16\"\nrepeat = { to = 9, step = 1 }\n";
    assert!(read(&probe(past)).expect_err("past the end").contains("past-the-end"));
}
