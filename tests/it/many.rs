//! Many devices from few lines: templates, ranges, a table from a spreadsheet in GBK, included documents, tags.

use std::path::Path;

use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::diagnostic;
use lifeline_gateway::forward::line_protocol::Lines;
use lifeline_gateway::reading::{Reading, Sample};
use lifeline_gateway::site::{self, Site};

fn options(folder: &Path) -> site::Options {
    site::Options {
        site: folder.join("site"),
        profiles: Some(folder.join("profiles")),
        now: Timestamp::parse("2026-11-24T00:00:00Z").unwrap(),
        ..site::Options::default()
    }
}

fn load(options: &site::Options) -> Site {
    let (site, found, texts) = site::load(options);
    assert!(found.0.is_empty(), "{}", diagnostic::render(&found, &texts));
    site.unwrap()
}

/// The same site with each device written out.
fn written_out() -> String {
    let mut text = "line = [{ name = \"tcp-1\", tcp = \"10.0.0.5:502\" }, { name = \"tcp-2\", tcp = \"10.0.0.6:502\" }]\n".to_owned();
    let mut device = |name: &str, line: u8, slave: usize, every: &str, tags: &str| {
        text += &format!(
            "[[device]]\nname = \"{name}\"\nline = \"tcp-{line}\"\nslave = {slave}\nprofile = \"probe\"\nevery = \"{every}\"\ntags = {{ {tags} }}\n"
        );
    };
    let owned = "owner = \"water works\", district = \"nanan\"";
    for slave in (1..=10).chain([21]) {
        device(&format!("pump-{slave}"), 1, slave, "10s", owned);
    }
    device("pump-house", 1, 30, "1s", "owner = \"city\", district = \"nanan\"");
    let places = ["南坪街道", "海棠溪街道", "弹子石街道"];
    for n in 1..=200 {
        let tags = format!("place = \"{}, {n}号\", {owned}", places[n % 3]);
        device(&format!("meter-{n}"), 2, n, "10s", &tags);
    }
    device("spare", 1, 99, "1m", owned);
    text
}

#[test]
fn templates_ranges_and_tables_are_the_devices_that_they_stand_for() {
    let few = load(&options(Path::new("tests/many")));
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("site")).unwrap();
    std::fs::write(folder.path().join("site/site.toml"), written_out()).unwrap();
    let all = load(&site::Options { profiles: Some("tests/many/profiles".into()), ..options(folder.path()) });
    assert_eq!(few.devices.len(), 213);
    assert_eq!(few.devices, all.devices);
    assert_eq!((&few.lines, &few.rules), (&all.lines, &all.rules));
    assert_eq!((&few.catalog.devices, &few.catalog.points), (&all.catalog.devices, &all.catalog.points));
}

#[test]
fn tags_reach_the_store() {
    let site = load(&options(Path::new("tests/many")));
    let point = site.catalog.points.iter().find(|point| point.name == "meter-3.power").unwrap();
    let reading = Reading { point: point.id, at: Timestamp::from_millis(0), sample: Sample::Good(5.0) };
    let mut lines = Lines::default();
    lines.reading(&reading, &site.catalog).unwrap();
    let text = lines.slice(0, 1);
    assert!(text.contains("district=nanan,owner=water\\ works,place=南坪街道\\,\\ 3号 "), "{text}");
}

/// What a journal holds of a site gives that site again, wherever the files are now.
#[test]
fn held_documents_are_the_site() {
    for options in [
        options(Path::new("tests/many")),
        site::Options {
            config: Some("config/gateway.toml".into()),
            site: "devices".into(),
            profiles: Some("firmware-profiles".into()),
            now: Timestamp::parse("2026-11-24T00:00:00Z").unwrap(),
            ..site::Options::default()
        },
    ] {
        let site = site::load(&options).0.unwrap();
        let nowhere = site::Options {
            config: None,
            site: "nowhere".into(),
            profiles: Some("nowhere".into()),
            held: Some(site.documents.clone()),
            ..options
        };
        let again = site::load(&nowhere).0.unwrap();
        assert_eq!(again, site);
    }
}

#[test]
fn a_table_and_an_included_document_are_watched() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("site/lines")).unwrap();
    for name in ["site/site.toml", "site/meters.csv", "site/lines/tcp.toml"] {
        std::fs::copy(Path::new("tests/many").join(name), at(name)).unwrap();
    }
    let mut watching = std::process::Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["check", "--watch", "--profiles", "tests/many/profiles", "--site"])
        .arg(at("site"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut until = |wanted: &str| lines.by_ref().find(|line| line.contains(wanted)).is_some();
    assert!(until("2 lines, 213 devices") && until("watching"));
    std::fs::write(at("site/meters.csv"), "name,line,slave\nm-{n},tcp-2,7\n").unwrap();
    assert!(until("2 lines, 13 devices") && until("watching"));
    std::fs::write(at("site/lines/more.toml"), "line = [{ name = \"tcp-3\", tcp = \"10.0.0.7:502\" }]\n")
        .unwrap();
    assert!(until("3 lines, 13 devices") && until("watching"));
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn an_include_that_is_no_toml_document_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("site")).unwrap();
    std::fs::copy("tests/many/site/lines/tcp.toml", at("site/lines.conf")).unwrap();
    std::fs::write(at("site/site.toml"), "include = \"lines.conf\"\n").unwrap();
    let (site, found, _) =
        site::load(&site::Options { profiles: Some("tests/many/profiles".into()), ..options(folder.path()) });
    let told = found.0.iter().find(|one| one.code == "missing-include").unwrap();
    assert!(site.is_none() && told.message.contains("`lines.conf` is no .toml document"), "{}", told.message);
}

/// A site of one table and a rule on its first device.
fn tabled(folder: &Path, table: &str) -> (Option<Site>, Vec<String>) {
    let site = "devices_csv = { file = \"meters.csv\" }\nline = [{ name = \"l\", tcp = \"10.0.0.1:502\" }]\n\
        [[rule]]\nname = \"r\"\npoint = \"m1.value\"\nabove = { red = 1 }\nbasis = \"b\"\nadvice = \"a\"\n";
    std::fs::create_dir_all(folder.join("site")).unwrap();
    std::fs::write(folder.join("site/site.toml"), site).unwrap();
    std::fs::write(folder.join("site/meters.csv"), table).unwrap();
    let options = site::Options { profiles: Some("tests/many/profiles".into()), ..options(folder) };
    let (site, found, _) = site::load(&options);
    (site, found.0.into_iter().map(|one| format!("{} {}", one.code, one.message)).collect())
}

#[test]
fn wrong_heads_are_one_mistake_and_chinese_ones_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (1..=30).map(|n| format!("m{n},{n},l,probe,5s\n")).collect();
    let (_, told) = tabled(folder.path(), &format!("naam,slaave,line,profile,every\n{rows}"));
    assert_eq!(told, ["bad-table there are no columns `naam`, `slaave` (did you mean `slave`?)"]);
    let rows: String = (1..=30).map(|n| format!("m{n},{n},l,probe,5s,2028年3月1日,南坪\n")).collect();
    let heads = "名称,站号,线路,型号,采集周期,校准有效期至,标签.place";
    let (site, told) = tabled(folder.path(), &format!("{heads}\n{rows}"));
    assert!(
        told.iter().all(|one| one.starts_with("unknown-point") || one.starts_with("missing")),
        "{told:?}"
    );
    let told: Vec<_> = told.iter().filter(|one| !one.contains("m1.value")).collect();
    assert!(told.is_empty(), "{told:?}");
    assert!(site.is_none_or(|site| site.devices.len() == 30));
}

#[test]
fn a_library_that_is_not_there_is_one_mistake() {
    let mut options = options(Path::new("."));
    (options.site, options.profiles) = ("devices".into(), Some("nowhere".into()));
    let (_, found, texts) = site::load(&options);
    assert_eq!(found.0.len(), 1, "{}", diagnostic::render(&found, &texts));
    assert_eq!(found.0[0].code, "missing-folder");
}

#[test]
fn one_rule_stands_for_each_device_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("site")).unwrap();
    let tried = |each: &str, name: &str| {
        let rule = format!(
            "[[rule]]\nname = \"{name}\"\npoint = \"{{device}}.power\"\neach = {each}\nunit = \"W\"\nabove = {{ red = 9 }}\nbasis = \"b\"\nadvice = \"look at {{device}}\"\n"
        );
        std::fs::write(folder.path().join("site/site.toml"), written_out() + &rule).unwrap();
        let options =
            site::Options { profiles: Some("tests/many/profiles".into()), ..options(folder.path()) };
        let (site, found, texts) = site::load(&options);
        let rules = site.map_or(0, |site| {
            let own = site.rules.iter().filter(|rule| rule.name.ends_with("-power"));
            own.inspect(|rule| assert!(rule.advice.starts_with("look at "))).count()
        });
        (rules, diagnostic::render(&found, &texts))
    };
    for (each, count) in [
        ("{ device = \"meter-*\" }", 200),
        ("{ device = \"pump-*\" }", 12),
        ("{ tags = { owner = \"city\" } }", 1),
        ("{ device = \"*-1\", tags = { owner = \"water works\" } }", 2),
    ] {
        let (rules, told) = tried(each, "{device}-power");
        assert_eq!(rules, count, "{each}: {told}");
    }
    for (each, name, want) in [
        ("{ device = \"motor-*\" }", "{device}-power", "no device is among"),
        ("{ template = \"metre\" }", "{device}-power", "no device is among"),
        ("{ model = \"probe\" }", "{device}-power", "`each` has no key `model`"),
        ("{ tags = { owner = 3 } }", "{device}-power", "must be a text"),
        ("{}", "{device}-power", "names no devices"),
        ("{ device = \"*\" }", "power", "would have one name"),
        ("3", "{device}-power", "must be a table"),
    ] {
        let (_, told) = tried(each, name);
        assert!(told.contains(want) && told.matches("error[").count() == 1, "{want}: {told}");
    }
}

#[test]
fn one_rule_stands_for_each_device_of_a_template() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["site.toml", "meters.csv", "lines/tcp.toml"] {
        let to = folder.path().join("site").join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(Path::new("tests/many/site").join(file), to).unwrap();
    }
    let of = |each: &str| {
        let rule = format!(
            "[[rule]]\nname = \"{{device}}-power\"\npoint = \"{{device}}.power\"\neach = {each}\nunit = \"W\"\nabove = {{ red = 9 }}\nbasis = \"b\"\nadvice = \"a\"\n"
        );
        std::fs::write(folder.path().join("site/rules.toml"), rule).unwrap();
        let options =
            site::Options { profiles: Some("tests/many/profiles".into()), ..options(folder.path()) };
        load(&options).rules.iter().filter(|rule| rule.name.ends_with("-power")).count()
    };
    assert_eq!(of("{ template = \"meter\" }"), 213, "ranges, single devices and rows of a table");
    assert_eq!(of("{ template = \"meter\", device = \"pump-*\" }"), 12);
}

#[test]
fn a_mistake_of_one_rule_for_many_devices_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("site")).unwrap();
    let rule = "[[rule]]\nname = \"{device}-power\"\npoint = \"{device}.powr\"\neach = { device = \"meter-*\" }\nunit = \"W\"\nabove = { red = 9 }\nadvice = \"a\"\nbasis = \"b\"\nlatcht = true\n";
    std::fs::write(folder.path().join("site/site.toml"), written_out() + rule).unwrap();
    let options = site::Options { profiles: Some("tests/many/profiles".into()), ..options(folder.path()) };
    let (_, found, texts) = site::load(&options);
    let told = diagnostic::render(&found, &texts);
    let own: Vec<_> = found.0.iter().filter(|one| one.code == "unknown-point").collect();
    assert_eq!(own.len(), 1, "{told}");
    assert!(
        own[0].message.contains("there is no point `meter-1.powr`, and so for 199 more devices"),
        "{told}"
    );
    assert_eq!(found.0.iter().filter(|one| one.code == "unknown-key").count(), 1, "{told}");
    assert_eq!(found.0.len(), 2, "{told}");
}
