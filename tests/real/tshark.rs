//! The pcap of a trace is decoded by tshark as what the simulated line did: function, address, values, request with its answer.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::server::{find, free_port};

const PROFILE: &str = r#"
[profile]
name = "two"
class = "io"
maker = "test"
source = "test"
[[point]]
name = "x"
at = "holding 0x0010"
type = "u16"
[[point]]
name = "y"
at = "holding 0x0011"
type = "u16"
"#;

const SITE: &str = r#"
[[line]]
name = "stream"
tcp = "10.0.0.1:502"
[[line]]
name = "wire"
serial = { path = "/dev/ttyUSB0", speed = "115200 8N1" }
[[device]]
name = "a"
line = "stream"
slave = 3
profile = "two"
every = "100ms"
[[device]]
name = "b"
line = "wire"
slave = 4
profile = "two"
every = "100ms"
"#;

const SCRIPT: &str = "[[signal]]\npoint = 'a.x'\nconstant = 1234\n[[signal]]\npoint = 'a.y'\nconstant = 77\n\
                      [[signal]]\npoint = 'b.x'\nconstant = 555\n[[signal]]\npoint = 'b.y'\nconstant = 65535\n";

/// A child that ends with its scope.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lifeline(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeline"));
    command
        .args(["--config", "gateway.toml", "--site", "site", "--profiles", "profiles"])
        .current_dir(folder);
    command.stderr(Stdio::null());
    command
}

/// Rows of `fields`, one for each packet with Modbus in it.
fn decoded(file: &Path, more: &[&str], fields: &[&str]) -> Vec<Vec<String>> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(file).args(["-Y", "modbus", "-T", "fields"]).args(more);
    for field in fields {
        tshark.args(["-e", field]);
    }
    let output = tshark.stderr(Stdio::null()).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn documents(folder: &Path) {
    let port = free_port();
    let settings = format!(
        "[site]\nname = \"shark\"\n[journal]\npath = \"journal\"\n[console]\nlisten = \"127.0.0.1:{port}\"\n"
    );
    for (name, text) in [
        ("profiles/two.toml", PROFILE),
        ("site/site.toml", SITE),
        ("script.toml", SCRIPT),
        ("gateway.toml", &settings),
    ] {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }
}

#[test]
fn tshark_reads_a_trace_as_the_line_was() {
    if find("tshark").is_none() {
        assert!(std::env::var("LIFELINE_REQUIRE_SERVERS").is_err(), "tshark is required and not installed");
        println!("skipped: tshark not installed");
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    documents(folder);
    let mut simulate = lifeline(folder);
    simulate.args(["simulate", "--script", "script.toml"]).stdout(Stdio::piped());
    let mut simulated = Running(simulate.spawn().unwrap());
    let lines = BufReader::new(simulated.0.stdout.take().unwrap()).lines().take(2);
    let moved: Vec<String> = lines.map(|line| line.unwrap().replacen("--line ", "--line=", 1)).collect();
    let _gateway = Running(lifeline(folder).arg("run").args(&moved).spawn().unwrap());
    for line in ["stream", "wire"] {
        let trace = || {
            let status = lifeline(folder)
                .args(["trace", line, "--for", "2s", "--pcap", &format!("{line}.pcap")])
                .stdout(Stdio::null())
                .status()
                .unwrap();
            status.success()
        };
        // The gateway needs a moment until its console listens.
        assert!(
            (0..50).any(|_| trace() || {
                wait();
                false
            }),
            "{line} cannot be traced"
        );
    }

    let fields = |port: &'static str, unit: &'static str| {
        [port, unit, "modbus.func_code", "modbus.reference_num", "modbus.word_cnt", "modbus.regval_uint16"]
    };
    let sums =
        ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"];
    let stream = decoded(&folder.join("stream.pcap"), &sums, &fields("tcp.dstport", "mbtcp.unit_id"));
    check(&stream, ["502", "3"], "1234,77");
    let rtu = [&sums[..], &["-d", "udp.port==5020,mbrtu"]].concat();
    let wire = decoded(&folder.join("wire.pcap"), &rtu, &fields("udp.dstport", "mbrtu.unit_id"));
    check(&wire, ["5020", "4"], "555,65535");
    for (name, more) in [("stream", &sums[..]), ("wire", &rtu)] {
        let found = decoded(
            &folder.join(format!("{name}.pcap")),
            more,
            &["modbus.request_frame", "ip.checksum.status", "_ws.expert.message"],
        );
        assert!(found.iter().any(|row| !row[0].is_empty()), "{name}: answers are matched with requests");
        assert!(found.iter().all(|row| row[1] == "1" && row[2].is_empty()), "{name}: {found:?}");
    }
}

/// Requests to `to` (port and slave) for holding 16 and 17, each answered with `values`.
fn check(rows: &[Vec<String>], to: [&str; 2], values: &str) {
    assert!(rows.len() > 10, "{rows:?}");
    let (mut asked, mut answered) = (0, 0);
    for row in rows {
        let row: Vec<&str> = row.iter().map(String::as_str).collect();
        match row[..] {
            [port, slave, "3", "16", "2", ""] if [port, slave] == to => asked += 1,
            [port, slave, "3", _, _, found] if port != to[0] && slave == to[1] => {
                assert_eq!(found, values);
                answered += 1;
            }
            _ => panic!("{row:?}"),
        }
    }
    assert!(asked > 5 && answered > 5 && asked - answered <= 1, "{asked} {answered}");
}

#[expect(clippy::disallowed_methods, reason = "processes live in real time")]
fn wait() {
    std::thread::sleep(std::time::Duration::from_millis(100));
}
