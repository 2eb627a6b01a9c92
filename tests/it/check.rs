//! Broken documents and the whole report of each: every fault at once, with place and remedy.
//! `UPDATE=1` rewrites the expected reports; read them before they are committed.

use std::path::{Path, PathBuf};

use lifeline_gateway::clock::Timestamp;
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
fn the_shipped_documents_load_without_errors() {
    let options = site::Options {
        config: Some("config/gateway.toml".into()),
        site: "devices".into(),
        profiles: Some("firmware-profiles".into()),
        now: Timestamp::parse("2026-11-24T00:00:00Z").unwrap(),
        ..site::Options::default()
    };
    let (site, found, texts) = site::load(&options);
    let Some(site) = site else { panic!("{}", diagnostic::render(&found, &texts)) };
    assert!(site.devices.len() >= 8 && site.risk_points.len() >= 4);
    let classes = ["gas-pressure", "water-level", "displacement", "elevator"];
    for class in classes {
        assert!(site.devices.iter().any(|device| device.profile.class == class), "no {class}");
    }
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
