//! `lifeline new device`: the entry passes the check, says what the model wants, and is appended without harm.

use std::path::Path;
use std::process::Command;

fn new(site: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    new_of(Path::new("firmware-profiles"), site, args)
}

fn new_of(profiles: &Path, site: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["new", "device", "--profiles"])
        .arg(profiles)
        .arg("--site")
        .arg(site)
        .args(args)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

fn check(site: &Path) -> String {
    check_of(Path::new("firmware-profiles"), site)
}

fn check_of(profiles: &Path, site: &Path) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["check", "--profiles"])
        .arg(profiles)
        .arg("--site")
        .arg(site)
        .output()
        .unwrap();
    let out = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{out}");
    out
}

#[test]
fn an_entry_for_each_profile_of_the_library_passes_the_check() {
    let folder = tempfile::tempdir().unwrap();
    for path in std::fs::read_dir("firmware-profiles").unwrap().map(|entry| entry.unwrap().path()) {
        let profile = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (library, site) = (folder.path().join(&profile), folder.path().join(format!("{profile}-site")));
        std::fs::create_dir(&library).unwrap();
        std::fs::copy(&path, library.join("profile.toml")).unwrap();
        let args = [
            "--profile",
            &profile,
            "--line",
            "rs485-1=/dev/ttyUSB0",
            "--slave",
            "7",
            "--name",
            "x",
            "--write",
        ];
        let (code, out, error) = new_of(&library, &site, &args);
        assert!(code == Some(0) && out.contains("[[device]]"), "{profile}: {out}{error}");
        assert!(check_of(&library, &site).contains("1 line, 1 device,"), "{profile}");
    }
}

#[test]
fn an_entry_is_printed_or_appended_and_names_what_the_model_wants() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    let base = ["--profile", "crowcon-nimbus", "--unit", "3", "--name", "leak-3"];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    let (code, out, _) = new(&site, &with(&["--line", "rs485-1=/dev/ttyUSB0"]));
    assert!(code == Some(0) && !site.exists(), "printed only: {out}");
    assert!(
        out.contains("leaves the factory with 9600 8N1") && out.contains("speed = \"9600 8N1\""),
        "{out}"
    );
    let (_, written, _) = new(&site, &with(&["--line", "rs485-1=/dev/ttyUSB0", "--write"]));
    assert!(written.contains("appended to") && written.ends_with(&out), "{written}");

    let (code, out, _) = new(
        &site,
        &["--profile", "eastron-sdm120", "--line", "rs485-1", "--name", "meter", "--slave", "4", "--write"],
    );
    assert!(code == Some(0) && out.contains("# The line runs at 9600 8N1"), "{out}");
    assert_eq!(std::fs::read_dir(&site).unwrap().count(), 1, "it stands in the same document: {out}");
    assert!(check(&site).contains("1 line, 2 devices"));

    // What is there already is refused, and stays as it is.
    let before = std::fs::read_to_string(site.join("site.toml")).unwrap();
    let (code, _, error) = new(&site, &with(&["--line", "rs485-1", "--write"]));
    assert!(
        code == Some(1) && error.contains("duplicate-name") && error.contains("duplicate-slave"),
        "{error}"
    );
    let (code, _, error) = new(&site, &with(&["--line", "rs485-2"]));
    assert!(code == Some(1) && error.contains("there is no line `rs485-2`; the site has rs485-1"), "{error}");
    assert_eq!(std::fs::read_to_string(site.join("site.toml")).unwrap(), before);
}

#[test]
fn an_unknown_profile_is_answered_with_the_nearest_ones() {
    let site = Path::new("devices");
    let ask =
        |profile| new(site, &["--profile", profile, "--line", "tcp-gas", "--slave", "9", "--name", "x"]).2;
    let error = ask("crowcon");
    assert!(error.contains("crowcon-nimbus") && error.contains("crowcon-xgardiq"), "{error}");
    assert!(ask("vega-vegapulse").contains("vega-vegapuls"));
    // A line without an address is only good here.
    let done =
        Command::new(env!("CARGO_BIN_EXE_lifeline")).args(["check", "--line", "tcp-gas"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
}

#[test]
fn a_document_with_lists_gets_a_neighbour() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    std::fs::create_dir(&site).unwrap();
    std::fs::copy("tests/short/with-profile/site/site.toml", site.join("site.toml")).unwrap();
    let args =
        ["--profile", "crowcon-nimbus", "--line", "rs485-1", "--slave", "9", "--name", "cellar", "--write"];
    let (code, out, error) = new(&site, &args);
    assert!(code == Some(0) && out.contains("cellar.toml"), "{out}{error}");
    assert!(check(&site).contains("1 line, 4 devices"));
}

#[test]
fn what_cannot_be_written_whole_leaves_the_document_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    let args = |slave, name| {
        ["--profile", "eastron-sdm120", "--line", "rs485-1", "--slave", slave, "--name", name, "--write"]
    };
    let mut first = args("1", "one");
    first[3] = "rs485-1=/dev/ttyUSB0";
    assert_eq!(new(&site, &first).0, Some(0));
    let before = std::fs::read_to_string(site.join("site.toml")).unwrap();
    std::fs::create_dir(site.join("site.toml.part")).unwrap();
    let (code, _, error) = new(&site, &args("2", "two"));
    assert!(code == Some(1) && error.contains("cannot write"), "{error}");
    assert_eq!(std::fs::read_to_string(site.join("site.toml")).unwrap(), before);
    std::fs::remove_dir(site.join("site.toml.part")).unwrap();
    assert_eq!(new(&site, &args("2", "two")).0, Some(0));
    assert_eq!(std::fs::read_dir(&site).unwrap().count(), 1, "no part is left behind");
}

#[test]
fn a_device_behind_a_dtu_gets_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    let base =
        ["--profile", "eastron-sdm120", "--slave", "3", "--line", "dtu-17=dial-in:5020,LOGIN:1001", "--name"];
    let (code, out, error) = new(&site, &[&base[..], &["pump", "--write"]].concat());
    let line = "dial_in = { listen = \"0.0.0.0:5020\", id = \"LOGIN:1001\" }";
    assert!(code == Some(0) && out.contains(line), "{out}{error}");
    assert!(check(&site).contains("1 line, 1 device,"));
    let (code, _, error) = new(&site, &[&base[..], &["Pump 1"]].concat());
    assert!(code == Some(1) && error.contains("such as --name pump-1") && !error.contains("-->"), "{error}");
}
