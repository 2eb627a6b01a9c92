//! Reference pages are printed from the code: a page that differs fails, `UPDATE=1` writes it anew.

use std::path::Path;

#[test]
fn the_alarm_page_is_the_lifecycle() {
    check("docs/reference/alarm.md", &lifeline_gateway::alarm::reference::page());
}

#[test]
fn the_page_of_profiles_is_the_library() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles");
    check(
        "docs/reference/profiles.md",
        &lifeline_gateway::site::library::reference(&folder).expect("profiles"),
    );
}

#[test]
fn the_page_of_diagnostics_is_the_table_of_codes() {
    check("docs/reference/diagnostics.md", &lifeline_gateway::diagnostic::codes::reference());
}

#[test]
fn the_pages_of_documents_are_what_the_readers_ask_for() {
    use lifeline_gateway::site::schema::{Kind, page};
    for kind in Kind::ALL {
        check(&format!("docs/reference/{}.md", kind.name()), &page(kind));
    }
}

#[test]
fn the_page_of_units_is_the_table() {
    check("docs/reference/units.md", &lifeline_gateway::unit::table::reference());
}

/// Every code that a reader of documents writes has a row, and every row is written by one.
#[test]
fn every_code_has_a_row() {
    use std::collections::BTreeSet;
    let call = regex_lite::Regex::new(
        r#"(?:error|warning)\(([^;]{0,400}?)"([a-z]+(?:-[a-z0-9]+)+|syntax|unreadable)""#,
    )
    .unwrap();
    let word = regex_lite::Regex::new(r#""([a-z]+(?:-[a-z0-9]+)*)""#).unwrap();
    let (mut given, mut words) = (BTreeSet::new(), BTreeSet::new());
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/site")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            given.extend(call.captures_iter(&text).map(|found| found[2].to_owned()));
            words.extend(word.captures_iter(&text).map(|found| found[1].to_owned()));
        }
    }
    let known: BTreeSet<String> =
        lifeline_gateway::diagnostic::codes::CODES.iter().map(|code| code.name.to_owned()).collect();
    let missing: Vec<_> = given.difference(&known).collect();
    assert!(missing.is_empty(), "no row in src/diagnostic/codes.rs for {missing:?}");
    let never: Vec<_> = known.difference(&words).collect();
    assert!(never.is_empty(), "rows of src/diagnostic/codes.rs that nobody gives: {never:?}");
    assert!(given.len() > 60, "{}", given.len());
}

/// Compares the page at `path` (from the root of the crate) with `text`.
fn check(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some_and(|update| update == "1") {
        std::fs::create_dir_all(file.parent().expect("a page has a folder")).expect("the folder of the page");
        std::fs::write(&file, text).expect("the page");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == text, "{path} differs from the code; run UPDATE=1 cargo test reference");
}
