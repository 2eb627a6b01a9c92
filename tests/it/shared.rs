//! Where measured data and vectors stand that are not part of this repository.

use std::path::PathBuf;

/// The file `name` of the shared folder beside the checkout. Without that folder the test is skipped with a word, and fails with
/// `LIFELINE_REQUIRE_DATA=1`; with it, a missing file is a failure.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    if !folder.is_dir() {
        let required = std::env::var_os("LIFELINE_REQUIRE_DATA").is_some();
        assert!(!required, "no shared folder beside the checkout, and it is required");
        println!("skipped: no shared folder beside the checkout, so no {name}");
        return None;
    }
    let file = folder.join(name);
    assert!(file.is_file(), "{name} is missing from the shared folder");
    Some(file)
}
