//! The guides as a person follows them: each file that they show is written, each command that they show is run, in their order.
//!
//! A block ```` ```toml site/site.toml ```` is a file; in a block ```` ```console ```` each line that begins with `$ ` is a command, and what
//! stands below it is its output. A command that ends with `&` stays running. Only times, ids of alarms, ports and ptys may differ: the text
//! of the output is compared with each of them replaced by its kind, and a later command uses the port or pty of the run.
//! In a block ```` ```excerpt ```` the lines below a command are among those of its output, or begin them, whatever stands between them; of
//! bytes that were discarded only the reason counts. A question to the running gateway is asked again until the answer is there, for at most 20 s.
//! `UPDATE=1` writes the outputs anew, but for an excerpt that still holds.

#![expect(clippy::disallowed_methods, reason = "processes live in real time")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The console of the guides; each run has a free port instead.
const CONSOLE: &str = "127.0.0.1:8080";
const PATIENCE: Duration = Duration::from_secs(20);

/// How the output that a guide shows is held against that of the run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Whole,
    Excerpt,
}

impl Shown {
    /// Whether the run gave what is shown, both masked.
    fn holds(self, wanted: &str, got: &str) -> bool {
        // What noise is made of differs from run to run.
        let reason = |line: &str| {
            let end = line.find(" [").into_iter().chain(line.find(": \"")).min();
            let end = end.filter(|_| line.contains(" discarded, ")).unwrap_or(line.len());
            line[..end].to_owned()
        };
        let got_lines: Vec<String> = got.lines().map(reason).collect();
        match self {
            Self::Whole => wanted == got,
            Self::Excerpt => {
                wanted.lines().map(reason).all(|line| got_lines.iter().any(|got| got.starts_with(&line)))
            }
        }
    }
}

/// A child that ends with its scope.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A text with what may differ replaced by its kind, and what stood there.
fn masked(text: &str) -> (String, Vec<String>) {
    let (mut out, mut found) = (String::new(), Vec::new());
    for line in text.lines() {
        let words: Vec<String> = line.split_whitespace().map(|word| mask(word, &mut found)).collect();
        out += &words.join(" ");
        out.push('\n');
    }
    (out, found)
}

/// One word: an address loses its port, a pty its number, a time its digits.
fn mask(word: &str, found: &mut Vec<String>) -> String {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    for (front, kind) in [("127.0.0.1:", "PORT"), ("/dev/pts/", "PTY")] {
        if let Some((before, rest)) = word.split_once(front) {
            let length = digits(rest);
            found.push(format!("{front}{}", &rest[..length]));
            return format!("{before}{kind}{}", &rest[length..]);
        }
    }
    let shape: String =
        word.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    let is_time = ["00:00", "0000-00-00"].iter().any(|time| shape.contains(time));
    let is_id = word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (is_time, is_id) {
        (true, _) => "TIME".to_owned(),
        (_, true) => "ID".to_owned(),
        _ => word.to_owned(),
    }
}

struct Guide<'g> {
    folder: &'g Path,
    /// What the guide writes, and what stands for it in this run.
    names: BTreeMap<String, String>,
    running: Vec<Running>,
}

impl Guide<'_> {
    fn real(&self, text: &str) -> String {
        // In two steps, for what stands for one name may be another one of the guide.
        let marks = || (0..).map(|number| format!("\u{1}{number}\u{2}"));
        let marked = self
            .names
            .keys()
            .zip(marks())
            .fold(text.to_owned(), |text, (shown, mark)| text.replace(shown, &mark));
        self.names.values().zip(marks()).fold(marked, |text, (real, mark)| text.replace(&mark, real))
    }

    fn shell(&self, command: &str) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_lifeline")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", &self.real(command)]).env("PATH", path);
        shell.current_dir(self.folder).stderr(Stdio::null());
        shell
    }

    /// The output of a command, as it is compared.
    fn output(&mut self, command: &str, lines: usize) -> String {
        if let Some(command) = command.strip_suffix(" &") {
            // The shell makes way, so that ending the child ends the program.
            let mut child =
                Running(self.shell(&format!("exec {command}")).stdout(Stdio::piped()).spawn().unwrap());
            let out = BufReader::new(child.0.stdout.take().unwrap()).lines().take(lines);
            let text: Vec<String> = out.map(|line| line.unwrap() + "\n").collect();
            self.running.push(child);
            return text.concat();
        }
        let done = self.shell(&format!("exec 2>&1; {command}")).output().unwrap();
        String::from_utf8(done.stdout).unwrap()
    }

    /// Runs one command; gives the output that the guide should show.
    fn step(&mut self, command: &str, shown: &str, kind: Shown) -> String {
        let asks = ["lifeline alarms", "lifeline status", "lifeline history", "lifeline trace", "out/"];
        let asks = !self.running.is_empty() && asks.iter().any(|word| command.contains(word));
        let update = std::env::var_os("UPDATE").is_some();
        if asks && update {
            std::thread::sleep(PATIENCE / 2);
        }
        let until = Instant::now() + PATIENCE;
        let (wanted, names) = masked(shown);
        loop {
            let out = self.output(command, shown.lines().count());
            let (got, real) = masked(&out);
            if kind == Shown::Excerpt && kind.holds(&wanted, &got) {
                return shown.to_owned();
            }
            if got == wanted || update {
                self.names.extend(names.into_iter().zip(real.clone()).filter(|(shown, real)| shown != real));
                if got == wanted {
                    return shown.to_owned();
                }
                let out = self.names.iter().fold(out, |out, (shown, real)| out.replace(real.as_str(), shown));
                self.names.extend(real.into_iter().map(|real| (real.clone(), real)));
                return out;
            }
            if !asks || Instant::now() > until {
                assert!(kind.holds(&wanted, &got), "$ {command}\n{out}\nis not\n{shown}");
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

/// Follows a guide in a folder of its own.
fn follow(page: &str) {
    let folder = tempfile::tempdir().unwrap();
    for shipped in ["firmware-profiles", "devices"] {
        let here = std::env::current_dir().unwrap().join(shipped);
        std::os::unix::fs::symlink(here, folder.path().join(shipped)).unwrap();
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let names = BTreeMap::from([(CONSOLE.to_owned(), free)]);
    let mut guide = Guide { folder: folder.path(), names, running: Vec::new() };
    let text = std::fs::read_to_string(page).unwrap();
    let mut written = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("```") {
        let (before, block) = rest.split_at(at);
        let (head, body) = block.split_once('\n').unwrap();
        let (body, after) = body.split_once("```").unwrap();
        written += before;
        written += head;
        written.push('\n');
        match head.trim_start_matches('`').split_once(' ') {
            Some((_, file)) => {
                let path = folder.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, guide.real(body)).unwrap();
                written += body;
            }
            None if head == "```console" || head == "```excerpt" => {
                let kind = if head == "```console" { Shown::Whole } else { Shown::Excerpt };
                for step in body.split("$ ").skip(1) {
                    let (command, shown) = step.split_once('\n').unwrap();
                    written += &format!("$ {command}\n{}", guide.step(command, shown, kind));
                }
            }
            None => written += body,
        }
        written += "```";
        rest = after;
    }
    written += rest;
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(page, written).unwrap();
    }
}

#[test]
fn a_new_sensor_goes_from_its_data_sheet_to_an_alarm() {
    follow("docs/guide/new-sensor.md");
}

#[test]
fn many_devices_are_checked_as_the_guide_writes_them() {
    follow("docs/guide/many-devices.md");
}

#[test]
fn a_story_is_served_as_the_guide_writes_it() {
    follow("docs/guide/simulate.md");
}

#[test]
fn a_spreadsheet_is_imported_as_the_guide_shows() {
    follow("docs/guide/import.md");
}

/// Left out: `scan --speeds common`, which takes minutes; tshark, which a machine need not have; a line whose DTU dials in (`it::dial_in`); `/metrics`
/// (`it::console`).
#[test]
fn the_installers_tools_do_on_a_spoilt_wire_what_the_guide_says() {
    follow("docs/guide/installer.md");
}
