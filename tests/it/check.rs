//! Broken documents and the whole report of each: every fault at once, with place and remedy.
//! `UPDATE=1` rewrites the expected reports; read them before they are committed.

use std::path::{Path, PathBuf};

use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::site::health::LIMIT;
use lifeline_gateway::{diagnostic, site};

fn options(folder: &Path) -> site::Options {
    let config = folder.join("gateway.toml");
    site::Options {
        config: config.exists().then_some(config),
        site: folder.join("site"),
        profiles: Some(folder.join("profiles")),
        now: Timestamp::parse("2026-11-24T00:00:00Z").unwrap(),
        ..site::Options::default()
    }
}

/// The report of a folder of documents, with paths as a reader of the folder sees them.
fn report(folder: &Path) -> (bool, usize, String) {
    let (site, found, texts) = site::load(&options(folder));
    let text = diagnostic::render(&found, &texts);
    (site.is_some(), found.0.len(), text.replace(&format!("{}/", folder.display()), ""))
}

#[test]
fn broken_documents_have_the_expected_report() {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir("tests/documents").unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let (mut different, mut many) = (Vec::new(), 0);
    for folder in &folders {
        let (loaded, findings, text) = report(folder);
        many += usize::from(findings >= 5);
        assert!(findings > 0, "{} is not broken", folder.display());
        assert!(!loaded || text.contains("0 errors"), "{} loads with errors", folder.display());
        let told = |kind: &str| text.matches(kind).count();
        assert_eq!(told("\n  help: "), findings, "{}: a finding says what to do\n{text}", folder.display());
        assert_eq!(
            told("\n   see: docs/reference/diagnostics.md#"),
            findings,
            "{}: a code without a row\n{text}",
            folder.display()
        );
        let expected = folder.join("expected.txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, &text).unwrap();
        }
        if std::fs::read_to_string(&expected).unwrap_or_default() != text {
            different.push(format!("{}:\n{text}", folder.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(
        folders.len() >= 25 && many >= 10,
        "{} documents, {many} with five faults or more",
        folders.len()
    );
}

#[test]
fn the_shipped_documents_load_without_a_finding() {
    let options = site::Options {
        config: Some("config/gateway.toml".into()),
        site: "devices".into(),
        profiles: Some("firmware-profiles".into()),
        now: Timestamp::parse("2026-11-24T00:00:00Z").unwrap(),
        ..site::Options::default()
    };
    let (site, found, texts) = site::load(&options);
    let report = diagnostic::render(&found, &texts);
    assert!(found.0.is_empty(), "{report}");
    let Some(site) = site else { panic!("{report}") };
    assert!(site.devices.len() >= 8 && site.risk_points.len() >= 4);
    let classes = ["gas-pressure", "water-level", "displacement", "elevator"];
    for class in classes {
        assert!(site.devices.iter().any(|device| device.profile.class == class), "no {class}");
    }
}

/// What a sink writes as the unit of a point is the quantity's own, also where the gateway tells of itself.
#[test]
fn every_unit_is_the_canonical_one() {
    let options = site::Options {
        site: "devices".into(),
        profiles: Some("firmware-profiles".into()),
        ..site::Options::default()
    };
    let catalog = site::load(&options).0.unwrap().catalog;
    let mut own = 0;
    for point in &catalog.points {
        let device = catalog.device(point.device).unwrap();
        own += usize::from(device.line.is_none() && point.unit.is_some());
        // A limit has the unit of what it is compared with.
        let class = device.tags.get("class").filter(|_| device.class == LIMIT).unwrap_or(&device.class);
        assert_eq!(point.unit, point.unit.map(|unit| unit.canonical_for(class)), "{}", point.name);
    }
    assert!(own > 40, "{own} points of the gateway's own have a unit");
}

/// Fields of the devices and derived points, and none of those that tell of the gateway and of risk points.
#[test]
fn the_summary_counts_what_the_documents_hold() {
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["check", "--site", "devices", "--profiles", "firmware-profiles"])
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let options = site::Options {
        site: "devices".into(),
        profiles: Some("firmware-profiles".into()),
        ..site::Options::default()
    };
    let site = site::load(&options).0.unwrap();
    let polled: usize = site.devices.iter().map(|device| device.points.iter().flatten().count()).sum();
    let points = polled + site.derived.len();
    assert!(points < site.catalog.points.len() / 4, "the gateway's own are many: {points}");
    assert!(text.contains(&format!(" 10 devices, {points} points, ")), "{points}: {text}");
}

/// The log of a start counts as the summary of the check does, and a journal that cannot be made is told with its whole path.
#[test]
fn a_start_tells_the_points_of_the_documents_and_where_its_journal_is() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "[journal]\npath = \"gateway.toml/journal\"\n[console]\nlisten = \"127.0.0.1:0\"\n";
    std::fs::write(folder.path().join("gateway.toml"), settings).unwrap();
    let from = |name: &str| std::path::absolute(name).unwrap();
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["run", "--config", "gateway.toml", "--site"])
        .arg(from("devices"))
        .arg("--profiles")
        .arg(from("firmware-profiles"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8(done.stderr).unwrap();
    let journal = folder.path().canonicalize().unwrap().join("gateway.toml/journal");
    for wanted in [
        " points=29 own_points=".to_owned(),
        format!(" journal={}", journal.display()),
        format!("cannot create the journal folder {} (`gateway.toml/journal` counts from", journal.display()),
    ] {
        assert!(text.contains(&wanted), "{wanted}: {text}");
    }
}

/// The members that SARIF 2.1.0 requires, and those that forges read (3.13 to 3.30).
#[test]
fn sarif_has_what_the_standard_requires() {
    let (_, found, _) = site::load(&options(Path::new("tests/documents/suspicious")));
    let log: serde_json::Value = serde_json::from_str(&diagnostic::sarif::emit(&found)).unwrap();
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().ends_with("sarif-schema-2.1.0.json"));
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "lifeline");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert!(results.len() == found.0.len() && results.len() >= 10, "{}", results.len());
    for (result, finding) in results.iter().zip(&found.0) {
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert!(rule["id"] == result["ruleId"] && rule["id"] == finding.code, "{result}");
        assert!(rule["help"]["text"].as_str().is_some_and(|text| text.contains("docs/reference/")), "{rule}");
        assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()), "{result}");
        assert!(result["message"]["text"].as_str().unwrap().starts_with(&finding.message), "{result}");
        let physical = &result["locations"][0]["physicalLocation"];
        assert!(
            physical["artifactLocation"]["uri"].as_str().is_some_and(|uri| !uri.contains(' ')),
            "{result}"
        );
        assert!(physical["region"]["startLine"].as_u64().is_some_and(|line| line >= 1), "{result}");
        assert!(physical["region"]["startColumn"].as_u64().is_some_and(|column| column >= 1), "{result}");
    }
}

/// Runs the program on the suspicious documents with `args`.
fn checked(args: &[&str]) -> (Option<i32>, String, String) {
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["check", "--site", "tests/documents/suspicious/site"])
        .args(["--profiles", "tests/documents/suspicious/profiles"])
        .args(args)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[test]
fn warnings_are_good_unless_they_are_denied() {
    let (code, out, _) = checked(&[]);
    assert!(code == Some(0) && out.contains("0 errors"), "{code:?} {out}");
    assert_eq!(checked(&["--deny-warnings"]).0, Some(1));
    let (code, out, _) = checked(&["--json"]);
    assert_eq!(code, Some(0));
    for line in out.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        let named = |key: &str| object[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(named("code") && named("message") && named("help") && named("reference"), "{line}");
    }
    let (_, out, _) = checked(&["--format", "sarif"]);
    assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{out}");
    let (code, out, _) = checked(&["--explain", "wrong-unit"]);
    assert!(code == Some(0) && out.contains("another quantity"), "{out}");
    let (code, _, error) = checked(&["--explain", "wrong-unt"]);
    assert!(code == Some(1) && error.contains("`wrong-unit`"), "{error}");
}

/// The site beside the settings that are named, also where the folder of the command has another one.
#[test]
fn settings_lead_to_the_site_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["box/site", "here/devices"] {
        let to = folder.path().join(name);
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy("tests/documents/suspicious/site/site.toml", to.join("site.toml")).unwrap();
    }
    std::fs::write(folder.path().join("box/gateway.toml"), "[journal]\npath = \"nowhere\"\n").unwrap();
    let profiles = std::path::absolute("tests/documents/suspicious/profiles").unwrap();
    let run = |args: &[&str]| {
        let mut done = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"));
        let done = done.args(args).arg("--profiles").arg(&profiles).current_dir(folder.path().join("here"));
        let done = done.output().unwrap();
        String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap()
    };
    for args in [
        &["check", "--config", "../box/gateway.toml"][..],
        &["check", "--diff", "--config", "../box/gateway.toml"],
    ] {
        let out = run(args);
        assert!(out.contains("read from ../box/site"), "{out}");
    }
    assert!(run(&["check"]).contains("read from devices"));
    std::fs::remove_dir_all(folder.path().join("box/site")).unwrap();
    assert!(run(&["check", "--config", "../box/gateway.toml"]).contains("read from devices"));
    let out = run(&["check", "--site", "elsewhere"]);
    assert!(out.contains("cannot read the site folder elsewhere: ") && out.contains("--site DIR"), "{out}");
}

/// A site with one rule and these settings.
fn with_settings(
    settings: &str,
    rule: bool,
) -> (tempfile::TempDir, lifeline_gateway::diagnostic::Diagnostics) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let rule = if rule {
        "[[rule]]\nname = \"high\"\npoint = \"d-1.value\"\nabove = { red = 9 }\nbasis = \"b\"\nadvice = \"a\"\n"
    } else {
        ""
    };
    let device =
        "[[device]]\nname = \"d-1\"\nline = \"tcp-1\"\nslave = 1\nprofile = \"gauge\"\nevery = \"5s\"\n";
    write("site/site.toml", &format!("[[line]]\nname = \"tcp-1\"\ntcp = \"127.0.0.1:1502\"\n{device}{rule}"));
    write(
        "profiles/gauge.toml",
        "[profile]\nname = \"gauge\"\nclass = \"water-level\"\nmaker = \"m\"\nsource = \"s\"\nserial = \"9600 8N1\"\nversions = \"semantic\"\n\
         [[point]]\nname = \"value\"\nat = \"holding 0\"\ntype = \"u16\"\n\
         [[firmware]]\nversions = \">=2.0\"\nlimits.registers_per_read = 2\n",
    );
    write("gateway.toml", settings);
    let found = site::load(&options(folder.path())).1;
    (folder, found)
}

#[test]
fn rules_of_which_nobody_is_told_are_warned_of() {
    let told = |settings: &str, rule: bool| {
        let (_, found) = with_settings(settings, rule);
        found.0.iter().filter(|one| one.code == "no-sink").count()
    };
    let sink = "[[sink]]\nname = \"disk\"\nkind = \"file\"\npath = \"out\"\n";
    assert_eq!(told("[site]\nname = \"own\"\n", true), 1);
    assert_eq!(told("[site]\nname = \"own\"\n", false), 0, "nothing to tell");
    let broker = "[[sink]]\nname = \"broker\"\nkind = \"mqtt\"\nurl = \"mqtt://127.0.0.1:1883\"\n";
    assert_eq!(told(sink, true), 1, "a file reaches nobody");
    let store =
        "[[sink]]\nname = \"tsdb\"\nkind = \"influx\"\nurl = \"http://127.0.0.1:8086\"\nbucket = \"b\"\n";
    assert_eq!(told(store, true), 1, "a store calls nobody");
    assert_eq!(told(&format!("{store}calls_people = true\n"), true), 0, "the alerts of its dashboards do");
    assert_eq!(told(&format!("{broker}calls_people = false\n"), true), 1, "a broker that feeds a store");
    assert_eq!(told(&format!("{store}{broker}"), true), 0);
    assert_eq!(told(&format!("[console]\nwatched = true\n{sink}"), true), 0);
    assert_eq!(told(&format!("{sink}{broker}"), true), 0);
    let readings = broker.replace("broker", "store") + "only = { alarms = false }\n";
    assert_eq!(told(&readings, true), 1, "its filter lets no alarm through");
    assert_eq!(told(&format!("{readings}{broker}"), true), 0, "another one gets them");
    assert_eq!(
        told(&format!("{broker}only = {{ devices = [\"none\"] }}\n"), true),
        0,
        "devices strain readings alone"
    );
    assert_eq!(
        told(&broker.replace("mqtt://", "nonsense"), true),
        0,
        "a sink with a mistake may reach people"
    );
    assert_eq!(told("[console]\nwatched = true\n", true), 0);
    let all = format!("{sink}{store}{readings}");
    let (_, found) = with_settings(&all, true);
    let no_sink = found.0.iter().find(|one| one.code == "no-sink").unwrap();
    assert_eq!(
        no_sink.message,
        "1 rules and no sink from which people are called: `only` keeps alarms from store, tsdb stores them (`calls_people` says otherwise), a file reaches nobody (disk); so no risk point can become effective"
    );
    for wrong in [sink, &readings] {
        let (_, found) = with_settings(&format!("{wrong}calls_people = true\n"), true);
        assert!(found.0.iter().any(|one| one.code == "calls-nobody"), "{found:?}");
        let (_, found) = with_settings(&format!("{wrong}calls_people = false\n"), true);
        assert_eq!(found.errors(), 0, "{found:?}");
    }
    let (folder, _) = with_settings("[site]\nname = \"own\"\n", true);
    let run = |args: &[&str]| {
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"))
            .args(["check", "--site", "site", "--profiles", "profiles", "--config", "gateway.toml"])
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let (code, out) = run(&["--json"]);
    assert!(code == Some(0) && out.contains("\"no-sink\"") && out.contains("gateway.toml"), "{out}");
    assert_eq!(run(&["--deny-warnings"]).0, Some(1));
    let (_, out) = run(&[]);
    assert!(out.contains("warning[no-sink]: 1 rules and no sink") && !out.contains("note:"), "{out}");
}

#[test]
fn a_map_that_depends_on_a_firmware_that_nobody_names_is_warned_of() {
    let (folder, found) = with_settings("", false);
    let of = |found: &lifeline_gateway::diagnostic::Diagnostics| {
        found.0.iter().filter(|one| one.code == "firmware-not-given").cloned().collect::<Vec<_>>()
    };
    let told = of(&found);
    assert_eq!(told.len(), 1, "{found:?}");
    assert!(told[0].help.as_ref().unwrap().contains(">=2.0"), "{told:?}");
    assert!(told[0].place.file.ends_with("site.toml") && told[0].place.line == 8, "{told:?}");
    let path = folder.path().join("site/site.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("every =", "firmware = \"2.1\"\nevery =")).unwrap();
    assert_eq!(of(&site::load(&options(folder.path())).1).len(), 0);
}

#[test]
fn a_watched_document_is_checked_again_when_it_is_saved() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("site")).unwrap();
    let site = folder.path().join("site/site.toml");
    let good = "line = [{ name = \"tcp-1\", tcp = \"127.0.0.1:1502\" }]\n";
    std::fs::write(&site, good).unwrap();
    let mut watching = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["check", "--watch", "--profiles", "firmware-profiles", "--site"])
        .arg(folder.path().join("site"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut until = |wanted: &str| lines.by_ref().find(|line| line.contains(wanted)).is_some();
    assert!(until("0 errors") && until("watching"));
    std::fs::write(&site, good.replace("tcp =", "tpc =")).unwrap();
    assert!(until("error[unknown-key]: [[line]] has no key `tpc`") && until("watching"));
    std::fs::write(&site, good).unwrap();
    assert!(until("0 errors"));
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn online_says_of_each_sink_whether_it_takes_records() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let sinks = |path: &str| {
        let path = folder.path().join(path);
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!(
            "[[sink]]\nname = \"disk\"\nkind = \"file\"\npath = \"{}\"\n\
             [[sink]]\nname = \"db\"\nkind = \"influx\"\nurl = \"http://{closed}\"\nbucket = \"b\"\n\
             [[sink]]\nname = \"broker\"\nkind = \"mqtt\"\nurl = \"mqtt://{closed}\"\n",
            path.display()
        );
        std::fs::write(&config, text).unwrap();
        checked(&["--online", "--config", config.to_str().unwrap()])
    };
    let (code, out, _) = sinks("out");
    assert_eq!(code, Some(3), "{out}");
    assert!(out.contains("sink disk: takes records"), "{out}");
    assert!(
        out.contains("sink db: cannot be reached") && out.contains("sink broker: cannot be reached"),
        "{out}"
    );
    assert_eq!(std::fs::read_dir(folder.path().join("out")).unwrap().count(), 0, "the probe is removed");
    let (_, out, _) = sinks("file");
    assert!(out.contains("sink disk: cannot write"), "{out}");
}

fn one_finding(write: impl Fn(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("site")).unwrap();
    std::fs::create_dir_all(folder.path().join("profiles")).unwrap();
    write(&folder.path().join("site/site.toml"));
    report(folder.path()).2
}

#[test]
fn impossible_files_are_one_clear_sentence() {
    let text = one_finding(|path| std::fs::write(path, [b'a', b'\n', 0xC4, 0xCF]).unwrap());
    assert!(text.contains("not-utf-8") && text.contains("GBK"), "{text}");
    let text = one_finding(|path| std::fs::write(path, vec![b'#'; 4_000_001]).unwrap());
    assert!(text.contains("larger than 4 MB"), "{text}");
    let text = one_finding(|_| {});
    assert!(text.contains("holds no .toml document"), "{text}");
    let (_, found, _) = site::load(&site::Options { site: "nowhere".into(), ..site::Options::default() });
    assert!(found.0.iter().any(|finding| finding.code == "missing-folder"));
}

#[test]
fn ten_thousand_faults_are_a_bounded_report() {
    let text = one_finding(|path| std::fs::write(path, "[[line]]\nname = \"A\"\n".repeat(10_000)).unwrap());
    assert!(text.contains("more findings are not shown"), "{}", text.len());
    assert!(text.len() < 1_000_000, "{}", text.len());
}

#[test]
fn the_environment_is_checked_too() {
    let name = |name: &str| vec![(name.to_owned(), "x".to_owned())];
    let (_, found, _) =
        site::load(&site::Options { env: name("LIFELINE__JOURNAL__PAHT"), ..site::Options::default() });
    let wrong = found.0.iter().find(|finding| finding.code == "unknown-setting").unwrap();
    assert!(wrong.help.as_ref().unwrap().contains("LIFELINE__JOURNAL__PATH"), "{wrong:?}");
}
