//! The order of the house: `src/lib.rs` is the map, and this test holds the code to it.
//!
//! It reads source text: every `crate::room` outside tests must be the foundation, the room itself, or a room that the map names;
//! the map itself only names rooms that stand above; only ports name files, sockets, or write `async fn`.

#![expect(
    clippy::unwrap_used,
    reason = "a test panics when it is wrong; the lint's own exception misses helpers"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FOUNDATION: [&str; 6] = ["clock", "unit", "point", "reading", "loss", "diagnostic"];

/// Rooms in the order of the map, each with the rooms that it names.
fn map() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    let mut rooms = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("pub mod ")) {
        let (name, mark) = line.trim_start_matches("pub mod ").split_once(';').unwrap();
        let named = mark.split("<-").nth(1).unwrap_or("").split_whitespace().map(str::to_owned).collect();
        rooms.push((name.to_owned(), named));
    }
    rooms
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code of a file without its comments and without its tests (which stand last).
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let body = text.split("#[cfg(test)]").next().unwrap();
    let lines = body.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// Names after `crate::`, also inside `crate::{a, b::c}`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in code.split("crate::").skip(1) {
        if let Some(list) = part.strip_prefix('{') {
            let mut depth = 0_i32;
            let mut name = String::new();
            for letter in list.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut name)),
                    _ if depth == 0 => name.push(letter),
                    _ => {}
                }
            }
            found.push(name);
        } else {
            found.push(part.to_owned());
        }
    }
    let word = |text: &String| {
        text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    found.iter().map(word).filter(|name| !name.is_empty()).collect()
}

fn is_test_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs" || name == "line_tests.rs")
}

#[test]
fn the_map_names_only_rooms_that_stand_above() {
    let rooms = map();
    assert!(rooms.len() > 15, "the map was read");
    for (index, (room, named)) in rooms.iter().enumerate() {
        for other in named {
            let place = rooms.iter().position(|(name, _)| name == other);
            assert!(
                place.is_some_and(|place| place < index),
                "{room} names {other}, which does not stand above it"
            );
        }
    }
}

#[test]
fn rooms_import_only_what_the_map_names() {
    let rooms: BTreeMap<String, Vec<String>> = map().into_iter().collect();
    let order: Vec<String> = map().into_iter().map(|(room, _)| room).collect();
    let mut wrong = Vec::new();
    for (room, named) in &rooms {
        for path in sources(&Path::new("src").join(room)) {
            if is_test_file(&path) {
                continue;
            }
            for import in imports(&code(&path)) {
                if !rooms.contains_key(&import) || import == *room || named.contains(&import) {
                    continue;
                }
                let above = |name: &str| order.iter().position(|other| other == name);
                let foundation = FOUNDATION.contains(&import.as_str());
                if !foundation || (FOUNDATION.contains(&room.as_str()) && above(&import) > above(room)) {
                    wrong.push(format!("{} imports {import}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "against the map in src/lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn only_ports_touch_the_world() {
    let ports = ["bus", "forward", "sim", "gateway", "console", "cli"];
    let files = ["journal", "site", "clock"];
    let mut wrong = Vec::new();
    for (room, _) in map() {
        let port = ports.contains(&room.as_str());
        for path in sources(&Path::new("src").join(&room)) {
            let code = code(&path);
            for (word, allowed) in [
                ("async fn", port),
                ("std::fs", port || files.contains(&room.as_str())),
                ("std::net::Tcp", port),
                ("tokio::net", port),
                ("SystemTime::now", room == "clock"),
            ] {
                if !allowed && code.contains(word) {
                    wrong.push(format!("{} uses {word}", path.display()));
                }
            }
        }
    }
    for path in sources(Path::new("src/gateway/core")) {
        assert!(!code(&path).contains("async"), "the core is pure: {}", path.display());
    }
    assert!(wrong.is_empty(), "only ports touch the world:\n{}", wrong.join("\n"));
}

#[test]
fn files_start_with_their_story_and_stay_short() {
    let mut wrong = Vec::new();
    for path in sources(Path::new("src")) {
        let text = fs::read_to_string(&path).unwrap();
        if !is_test_file(&path) && !text.starts_with("//! ") {
            wrong.push(format!("{} has no story", path.display()));
        }
        let lines = text.split("#[cfg(test)]").next().unwrap().lines().count();
        if lines > 480 && !is_test_file(&path) {
            wrong.push(format!("{} has {lines} lines without tests", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn one_file_writes_to_the_field() {
    let mut wrong = Vec::new();
    for path in sources(Path::new("src")) {
        let (code, name) = (code(&path), path.display().to_string());
        let declares = name.starts_with("src/bus") || name == "src/gateway/trigger.rs";
        for word in
            ["ask::Write", "Write::Coil", "Write::Register", "Ask::Write", "master.write(", "Allowed("]
        {
            if code.contains(word) && !declares && !(word == "Allowed(" && name == "src/profile/trigger.rs") {
                wrong.push(format!("{name} says {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "only gateway::trigger writes to devices:\n{}", wrong.join("\n"));
    let trigger = code(Path::new("src/gateway/trigger.rs"));
    assert_eq!(trigger.matches("master.write(").count(), 1, "in one place");
    let allowed = code(Path::new("src/profile/trigger.rs"));
    assert!(allowed.contains("names.contains(&self.name).then(|| Allowed("), "a site's list is the only way");
}

#[test]
fn the_root_is_clean() {
    let known = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "src",
        "devices",
        "config",
        "firmware-profiles",
        "tests",
        "benches",
        "docs",
        "target",
    ];
    for entry in fs::read_dir(".").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.starts_with('.') || known.contains(&name.as_str()),
            "{name} does not belong into the root"
        );
    }
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let mut wrong = Vec::new();
    let mut files = sources(Path::new("src"));
    files.extend(["README.md", "CHANGELOG.md", "Cargo.toml"].map(PathBuf::from));
    for path in files {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for word in ["../shared", "/work/", "/root/", "TODO", "FIXME"] {
            if text.contains(word) {
                wrong.push(format!("{} says {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
