//! `docs/guide/new-sensor.md` as it stands: its documents are written, its commands run, its outputs compared.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use regex_lite::Regex;

/// How long an output may take to be as it should.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends what runs in the background.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The fenced blocks of a page: language and text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let fence = Regex::new("(?ms)^```([a-z]+)\n(.*?)^```$").unwrap();
    fence.captures_iter(page).map(|block| (block[1].to_owned(), block[2].to_owned())).collect()
}

/// A whole document is written; `FILE: LINE becomes` changes one line of it.
fn write(folder: &Path, text: &str) {
    let (head, body) = text.split_once('\n').unwrap();
    let head = head.strip_prefix("# ").unwrap();
    let Some((name, change)) = head.split_once(": ") else {
        let path = folder.join(head);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        return std::fs::write(path, text).unwrap();
    };
    let before = std::fs::read_to_string(folder.join(name)).unwrap();
    let old = change.strip_suffix(" becomes").unwrap();
    assert_eq!(before.matches(old).count(), 1, "{head}");
    std::fs::write(folder.join(name), before.replace(old, body.trim_end())).unwrap();
}

/// What differs each time: times, ids of alarms, ports of this run; trailing blanks.
fn same_each_time(text: &str) -> String {
    let time = Regex::new(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \+\d\d:\d\d").unwrap();
    let id = Regex::new(r"(?m)^[0-9a-f]{16}").unwrap();
    let text = time.replace_all(text, "TIME").into_owned();
    id.replace_all(&text, "ID").into_owned()
}

fn command(folder: &Path, words: &str, ports: &BTreeMap<String, String>) -> Command {
    let mut line = words.to_owned();
    ports.iter().for_each(|(page, here)| line = line.replace(page, here));
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), Some("lifeline"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeline"));
    command.args(words).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs until the output is the page's: an alarm takes its time.
fn run(folder: &Path, words: &str, wanted: &str, ports: &BTreeMap<String, String>) {
    #[expect(clippy::disallowed_methods, reason = "a gateway runs in real time")]
    let begun = Instant::now();
    loop {
        let done = command(folder, words, ports).output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        if same_each_time(text.trim_end()) == same_each_time(wanted.trim_end()) {
            return;
        }
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(begun.elapsed() < PATIENCE, "$ {words}\n{text}{error}\nand the page says\n{wanted}");
    }
}

/// Starts a command whose first lines are the page's; their addresses stand for the real ones from here on.
fn start(folder: &Path, words: &str, wanted: &str, ports: &mut BTreeMap<String, String>) -> Background {
    let address = Regex::new(r"127\.0\.0\.1:\d+").unwrap();
    let mut command = command(folder, words, ports);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let background = Background(child);
    for line in wanted.lines() {
        let found = lines.next().unwrap().unwrap();
        if let (Some(page), Some(here)) = (address.find(line), address.find(&found)) {
            ports.insert(page.as_str().to_owned(), here.as_str().to_owned());
        }
        assert_eq!(address.replace_all(line, "HERE"), address.replace_all(&found, "HERE"), "$ {words}");
    }
    background
}

#[test]
fn the_guide_to_a_new_sensor_is_what_happens() {
    let page = std::fs::read_to_string("docs/guide/new-sensor.md").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles");
    std::os::unix::fs::symlink(library, folder.path().join("firmware-profiles")).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut ports = BTreeMap::new();
    let (mut background, mut commands) = (Vec::new(), 0);
    for (language, text) in blocks(&page) {
        if language == "toml" {
            write(folder.path(), &text.replace("127.0.0.1:8080", &free));
            continue;
        }
        for part in text.split("$ ").skip(1) {
            let (words, wanted) = part.split_once('\n').unwrap();
            commands += 1;
            match words.strip_suffix(" &") {
                Some(words) => background.push(start(folder.path(), words, wanted, &mut ports)),
                None => run(folder.path(), words, wanted, &ports),
            }
        }
    }
    assert!(commands >= 6, "{commands} commands");
    let links = Regex::new(r"\]\(([^)]+)\)").unwrap();
    for link in links.captures_iter(&page) {
        assert!(Path::new("docs/guide").join(&link[1]).exists(), "{} is missing", &link[1]);
    }
}
