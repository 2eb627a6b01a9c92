//! Reference pages are printed from the code: a page that differs fails, `UPDATE=1` writes it anew.

use std::path::Path;

#[test]
fn the_alarm_page_is_the_lifecycle() {
    check("docs/reference/alarm.md", &lifeline_gateway::alarm::lifecycle::reference());
}

#[test]
fn the_page_of_profiles_is_the_library() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles");
    check(
        "docs/reference/profiles.md",
        &lifeline_gateway::site::library::reference(&folder).expect("profiles"),
    );
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
