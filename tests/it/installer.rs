//! The installer's tools as a person runs them: scan, read, and what they leave alone.
//! These tests run the binary in real time, against simulated lines and servers on loopback.

#![expect(clippy::disallowed_methods, reason = "processes live in real time")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PROFILES: [(&str, &str); 2] = [
    (
        "pressure",
        "[profile]\nname = \"pressure\"\nclass = \"gas-pressure\"\nmaker = \"Acme Sensors\"\nsource = \"test\"\n[[point]]\nname = \"p\"\nat = \"holding 0x0002\"\ntype = \"f32\"\norder = \"CDAB\"\nunit = \"bar\"\nrange = [-1.0, 300.0]\n[[point]]\nname = \"t\"\nat = \"holding 0x0004\"\ntype = \"f32\"\norder = \"CDAB\"\nunit = \"degC\"\nrange = [-40.0, 120.0]\n",
    ),
    (
        "level",
        "[profile]\nname = \"level\"\nclass = \"water-level\"\nmaker = \"Other\"\nsource = \"test\"\n[[point]]\nname = \"level\"\nat = \"input 0x0001\"\ntype = \"u16\"\nunit = \"mm\"\nrange = [0, 5000]\n",
    ),
];

const SITE: &str = "[[line]]\nname = \"stream\"\ntcp = \"10.0.0.1:502\"\n[[line]]\nname = \"wire\"\nserial = { path = \"/dev/ttyUSB0\", speed = \"115200 8N1\" }\n[[device]]\nname = \"a\"\nline = \"stream\"\nslave = 3\nprofile = \"pressure\"\nevery = \"1s\"\n[[device]]\nname = \"b\"\nline = \"stream\"\nslave = 5\nprofile = \"level\"\nevery = \"1s\"\n[[device]]\nname = \"c\"\nline = \"wire\"\nslave = 4\nprofile = \"pressure\"\nevery = \"1s\"\n";

const SCRIPT: &str = "[[signal]]\npoint = 'a.p'\nconstant = 1.01\nunit = 'bar'\n[[signal]]\npoint = 'a.t'\nconstant = 21.5\n[[signal]]\npoint = 'b.level'\nconstant = 420\n[[signal]]\npoint = 'c.p'\nconstant = 2.5\nunit = 'bar'\n[[signal]]\npoint = 'c.t'\nconstant = 18\n";

/// A child that ends with its scope.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder with documents; the simulation of its site and the arguments that lead to it.
struct Bench {
    folder: tempfile::TempDir,
    lines: Vec<String>,
    _simulation: Option<Running>,
}

impl Bench {
    /// Documents alone.
    fn documents(listen: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = format!("[journal]\npath = \"journal\"\n[console]\nlisten = \"127.0.0.1:{listen}\"\n");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for (name, text) in PROFILES {
            write(&format!("profiles/{name}.toml"), text);
        }
        write("site/site.toml", SITE);
        write("script.toml", SCRIPT);
        write("gateway.toml", &settings);
        Self { folder, lines: Vec::new(), _simulation: None }
    }

    fn simulated(listen: u16) -> Self {
        let mut bench = Self::documents(listen);
        let mut simulate = bench.lifeline(&["simulate", "--script", "script.toml"]);
        let mut child = Running(simulate.stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines().take(2);
        bench.lines = lines.map(|line| line.unwrap().replacen("--line ", "--line=", 1)).collect();
        bench._simulation = Some(child);
        bench
    }

    fn lifeline(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeline"));
        command.args(arguments).args(&self.lines);
        command.args(["--config", "gateway.toml", "--site", "site", "--profiles", "profiles"]);
        command.current_dir(self.folder.path()).stderr(Stdio::null());
        command
    }

    /// Exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } =
            self.lifeline(arguments).stderr(Stdio::piped()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    fn address(&self, line: &str) -> &str {
        let found = self.lines.iter().find_map(|argument| argument.strip_prefix(&format!("--line={line}=")));
        found.unwrap()
    }
}

/// A port where no console listens.
fn nobody() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_scan_finds_devices_and_what_it_proposes_is_a_document() {
    let bench = Bench::simulated(nobody());
    let address = bench.address("stream").to_owned();
    let arguments = ["scan", "--tcp", &address, "--slaves", "2-6", "--timeout", "200ms"];
    let (code, out, error) = bench.run(&arguments);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    for wanted in [
        "asking slaves 2 to 6",
        "at most 6 s",
        "slave 3 answers",
        "pressure: 2 of 2 points fit, strong evidence: p 101.00 kPa, t 21.50 degC",
        "slave 5 answers",
        "level: 1 of 1 points fit, fair evidence: level 42.0 cm",
    ] {
        assert!(out.contains(wanted), "{wanted} in {out}");
    }
    assert!(!out.contains("slave 4 answers"), "{out}");
    let (_, paste) = out.split_once("first):\n").unwrap();
    let (paste, _) = paste.split_once("  other addresses").unwrap();
    std::fs::write(bench.folder.path().join("site/site.toml"), paste).unwrap();
    let (code, out, error) = Bench { lines: Vec::new(), _simulation: None, ..bench }.run(&["check"]);
    assert_eq!(code, 0, "{out}{error}");
}

/// Versions with maps of their own: one by number that moved the pressure, one by name whose numbers are tenths.
const VERSIONS: [(&str, &str); 2] = [
    (
        "moved",
        "[profile]\nname = \"moved\"\nclass = \"gas-pressure\"\nmaker = \"Acme\"\nsource = \"test\"\n[[point]]\nname = \"p\"\nat = \"holding 0x0100\"\ntype = \"f32\"\nunit = \"bar\"\n[[firmware]]\nversions = \"<2.0\"\n[[firmware.point]]\nname = \"p\"\nat = \"holding 0x0200\"\ntype = \"f32\"\nunit = \"bar\"\n",
    ),
    (
        "tenths",
        "[profile]\nname = \"tenths\"\nclass = \"gas-pressure\"\nmaker = \"Acme\"\nsource = \"test\"\nversions = \"text\"\n[[point]]\nname = \"p\"\nat = \"holding 0x0300\"\ntype = \"u16\"\nunit = \"kPa\"\n[[firmware]]\nversions = \"tenths\"\n[[firmware.point]]\nname = \"p\"\nat = \"holding 0x0300\"\ntype = \"u16\"\nunit = \"kPa\"\nscale = 0.1\n",
    ),
];

#[test]
fn what_a_scan_proposes_names_the_firmware_that_the_map_depends_on() {
    let (address, _) = server(|unit, pdu| match (unit, pdu) {
        (1, [3, 1, 0, 0, 2]) | (2, [3, 2, 0, 0, 2]) => Some(vec![3, 4, 0x3F, 0x81, 0x47, 0xAE]),
        (3, [3, 3, 0, 0, 1]) => Some(vec![3, 2, 0, 105]),
        (1..=3, _) => Some(vec![pdu[0] | 0x80, 2]),
        _ => None,
    });
    let bench = Bench::documents(nobody());
    for (name, text) in VERSIONS {
        std::fs::write(bench.folder.path().join(format!("profiles/{name}.toml")), text).unwrap();
    }
    let (code, out, _) = bench.run(&["scan", "--tcp", &address, "--slaves", "1-4", "--timeout", "150ms"]);
    assert_eq!(code, 0, "{out}");
    for wanted in [
        "moved, firmware like 2.0: 1 of 1 points fit",
        "moved, firmware like 1.0: 1 of 1 points fit",
        "slave = 1\nprofile = \"moved\"\nfirmware = \"2.0\"    # one with the registers that answered",
        "slave = 2\nprofile = \"moved\"\nfirmware = \"1.0\"",
        "firmware = \"standard\"    # a guess, \"tenths\" fits as well",
    ] {
        assert!(out.contains(wanted), "{wanted} in {out}");
    }
    let (_, paste) = out.split_once("first):\n").unwrap();
    let (paste, _) = paste.split_once("  other addresses").unwrap();
    std::fs::write(bench.folder.path().join("site/site.toml"), paste).unwrap();
    let (code, out, error) = bench.run(&["check", "--deny-warnings"]);
    assert!(code == 0 || !out.contains("firmware-not-given"), "{out}{error}");
    assert!(out.contains("0 errors"), "{out}{error}");
}

#[test]
fn a_scan_of_a_pty_tries_speeds_and_says_no() {
    let bench = Bench::simulated(nobody());
    let (code, out, _) = bench.run(&[
        "scan",
        "wire",
        "--slaves",
        "3-4",
        "--speeds",
        "19200 8E1,115200 8N1",
        "--timeout",
        "150ms",
        "--json",
    ]);
    assert_eq!(code, 0, "{out}");
    let found: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), 1, "{out}");
    assert_eq!((&found[0]["slave"], &found[0]["profiles"][0]["profile"]), (&4.into(), &"pressure".into()));
    let args = ["scan", "wire", "--slaves", "4", "--speeds", "19200 8E1", "--timeout", "150ms"];
    let (code, out, _) = bench.run(&args);
    let told =
        "first change the line wire: it has speed = \"115200 8N1\", and what answered speaks \"19200 8E1\"";
    assert!(code == 0 && out.contains(told), "{out}");
    let (code, out, _) = bench.run(&["scan", "wire", "--slaves", "9", "--timeout", "100ms"]);
    assert_eq!(code, 1);
    assert!(out.contains("nobody answered") && out.contains("--speeds common"), "{out}");
    assert_eq!(bench.run(&["scan", "wire", "--slaves", "0-3"]).0, 2);
    let (code, _, error) = bench.run(&["scan", "stream", "--speeds", "common"]);
    assert!(code == 2 && error.contains("no serial port"), "{error}");
}

#[test]
fn a_read_shows_orders_side_by_side_or_a_profile() {
    let bench = Bench::simulated(nobody());
    let (code, out, _) = bench.run(&["read", "stream", "--slave", "3", "--at", "40003", "--count", "2"]);
    assert_eq!(code, 0);
    let float = out.lines().find(|line| line.starts_with("f32")).unwrap();
    assert!(float.contains("1.01 *"), "{out}");
    assert!(out.contains("holding 0x0002 (40003)  0x47AE"), "{out}");

    let (_, out, _) = bench.run(&["read", "stream", "--slave", "3", "--at", "holding 2", "--json"]);
    let view: serde_json::Value = serde_json::from_str(&out).unwrap();
    let marked = |guess: &&serde_json::Value| guess["plausible"] == true && guess["type"] == "f32";
    let marked: Vec<_> = view["guesses"].as_array().unwrap().iter().filter(marked).collect();
    // 89215.01 in the natural order is possible, too: a person decides.
    let texts: Vec<_> = marked.iter().map(|guess| (&guess["order"], &guess["text"])).collect();
    assert_eq!(texts, [(&"ABCD".into(), &"89215.01".into()), (&"CDAB".into(), &"1.01".into())]);

    let (code, out, _) = bench.run(&["read", "wire", "--slave", "4", "--profile", "pressure"]);
    assert!(code == 0 && out.contains("250.00 kPa") && out.contains("2 of 2 points fit pressure"), "{out}");
    let silent = ["read", "stream", "--slave", "9", "--profile", "pressure", "--timeout", "100ms"];
    let (code, out, error) = bench.run(&silent);
    assert!(code == 1 && out.is_empty() && error.contains("slave 9 does not answer"), "{out}{error}");
}

#[test]
fn a_no_is_told_with_its_reason() {
    let bench = Bench::simulated(nobody());
    for (arguments, code, wanted) in [
        (
            vec!["read", "stream", "--slave", "3", "--at", "holding 900"],
            1,
            "exception 2, illegal data address",
        ),
        (
            vec!["read", "stream", "--slave", "9", "--at", "holding 2", "--timeout", "200ms"],
            1,
            "does not answer (not one byte came)",
        ),
        (vec!["read", "streem", "--slave", "3", "--at", "holding 2"], 2, "its lines are stream, wire"),
        (
            vec!["read", "stream", "--slave", "3", "--at", "holding 2", "--count", "200"],
            2,
            "1 to 125 registers",
        ),
        (vec!["read", "stream", "--slave", "3", "--profile", "presure"], 2, "did you mean pressure?"),
        (vec!["read", "--tcp", "127.0.0.1:1", "--slave", "3", "--at", "holding 2"], 3, "Connection refused"),
        (
            vec!["read", "--serial", "/dev/none", "--slave", "3", "--at", "holding 2"],
            3,
            "cannot open /dev/none",
        ),
        (vec!["scan", "--tcp", "127.0.0.1:1"], 3, "Connection refused"),
        (vec!["trace", "stream"], 3, "none answers"),
    ] {
        let (found, out, error) = bench.run(&arguments);
        assert_eq!(found, code, "{arguments:?} {out}{error}");
        assert!(error.contains(wanted), "{arguments:?}: {error}");
    }
}

#[test]
fn a_port_that_a_running_gateway_polls_is_left_alone() {
    let port = nobody();
    let bench = Bench::simulated(port);
    let _gateway = Running(bench.lifeline(&["run"]).spawn().unwrap());
    let up = || {
        let up = bench.run(&["status"]).1.contains("is running");
        if !up {
            std::thread::sleep(Duration::from_millis(100));
        }
        up
    };
    assert!((0..100).any(|_| up()), "the gateway does not come up");
    for arguments in [
        vec!["read", "wire", "--slave", "4", "--at", "holding 2"],
        vec!["scan", "--serial", bench.address("wire")],
    ] {
        let (code, _, error) = bench.run(&arguments);
        assert_eq!(code, 3, "{error}");
        assert!(error.contains("lifeline trace wire") && error.contains("stop the gateway first"), "{error}");
    }
    assert_eq!(bench.run(&["read", "stream", "--slave", "3", "--at", "holding 2"]).0, 0, "TCP bears two");
}

/// Serves Modbus TCP by `answer` (unit and PDU to PDU); the requests it got.
fn server(answer: fn(u8, &[u8]) -> Option<Vec<u8>>) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let got = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&got);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut head = [0; 7];
                while stream.read_exact(&mut head).is_ok() {
                    let mut pdu = vec![0; usize::from(head[5]) - 1];
                    stream.read_exact(&mut pdu).unwrap();
                    seen.lock().unwrap().push([&[head[6]], pdu.as_slice()].concat());
                    let Some(pdu) = answer(head[6], &pdu) else { continue };
                    let length = u8::try_from(pdu.len() + 1).unwrap();
                    let frame = [&[head[0], head[1], 0, 0, 0, length, head[6]], pdu.as_slice()].concat();
                    stream.write_all(&frame).unwrap();
                }
            });
        }
    });
    (address, got)
}

fn add_destructive_profile(folder: &Path) {
    let text = "[profile]\nname = \"tips\"\nclass = \"rain\"\nmaker = \"Third\"\nsource = \"test\"\n[[point]]\nname = \"tips\"\nat = \"holding 0\"\ntype = \"u16\"\ndestructive = true\n[[point]]\nname = \"serial\"\nat = \"input 0x0040\"\ntype = \"u16\"\n";
    std::fs::write(folder.join("profiles/tips.toml"), text).unwrap();
}

#[test]
fn a_scan_only_reads_and_never_what_reading_changes() {
    let (address, got) = server(|unit, pdu| (unit == 2).then(|| vec![pdu[0] | 0x80, 2]));
    let bench = Bench::documents(nobody());
    add_destructive_profile(bench.folder.path());
    let (code, out, _) = bench.run(&["scan", "--tcp", &address, "--slaves", "1-3", "--timeout", "100ms"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("slave 2 answers: exception 2") && out.contains("no profile fits"), "{out}");
    let got = got.lock().unwrap();
    assert!(got.len() >= 5);
    for request in got.iter() {
        assert!(matches!(request[1], 1..=4 | 43), "{request:?} is no read");
        assert!(request[1] != 3 || request[2..4] != [0, 0], "{request:?} would empty the rain gauge");
    }
}

#[test]
fn a_device_of_its_own_that_answers_to_every_unit_is_one() {
    let (address, _) = server(|_, pdu| Some(vec![pdu[0] | 0x80, 2]));
    let bench = Bench::documents(nobody());
    let (code, out, _) = bench.run(&["scan", "--tcp", &address, "--slaves", "1-20"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("answers to every address") && out.matches("answers: ").count() == 1, "{out}");
}

/// Basic identity as in the example of V1.1b3, 6.21, with another maker; what asks for more is refused.
fn identified(unit: u8, pdu: &[u8]) -> Option<Vec<u8>> {
    let answer = match *pdu {
        _ if unit != 1 => return None,
        [43, 14, 1, 0] => {
            let mut page = vec![0x2B, 0x0E, 1, 1, 0, 0, 3];
            for (object, text) in [(0, "ACME"), (1, "PT-100"), (2, "V2.11")] {
                page.extend([object, u8::try_from(text.len()).unwrap()]);
                page.extend(text.as_bytes());
            }
            page
        }
        [43, 14, ..] => vec![0xAB, 3],
        // 1.01 bar and 21.5 degrees, the low word first.
        [3, 0, 2, 0, 4] => vec![3, 8, 0x47, 0xAE, 0x3F, 0x81, 0, 0, 0x41, 0xAC],
        [function, ..] => vec![function | 0x80, 2],
        [] => return None,
    };
    Some(answer)
}

#[test]
fn a_device_is_asked_who_it_is() {
    let (address, got) = server(identified);
    let bench = Bench::documents(nobody());
    let arguments = ["scan", "--tcp", &address, "--slaves", "1-2", "--timeout", "150ms"];
    let (code, out, _) = bench.run(&arguments);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("says of itself: maker ACME, product code PT-100, revision V2.11"), "{out}");
    assert!(out.contains("pressure: 2 of 2 points fit, strong evidence: p 101.00 kPa"), "{out}");
    assert!(got.lock().unwrap().contains(&vec![1, 0x2B, 0x0E, 1, 0]));
    let (_, json, _) = bench.run(&[&arguments[..], &["--json"]].concat());
    let found: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(found["identity"][0], serde_json::json!(["maker", "ACME"]));
    // The maker's name counts as much as ten points.
    assert!(found["profiles"][0]["score"].as_f64().unwrap() > 10.0, "{json}");
}
