//! `lifeline simulate` serves Modbus ASCII and dials in as a DTU, and `lifeline trace` shows what passes on these lines: everything by
//! the real binary, in real time.

#![expect(clippy::disallowed_methods, reason = "processes live in real time")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::certificates::lifeline;
use crate::reload_live::free_port;
use crate::text::Running;

const PROFILE: &str = "[profile]\nname = \"one\"\nclass = \"io\"\nmaker = \"test\"\nsource = \"test\"\n\
                       [[point]]\nname = \"x\"\nat = \"holding 0x0010\"\ntype = \"u16\"\n";

/// Lines with what they carry; each has one device whose register holds 1000 and its number.
fn documents(folder: &Path) -> Vec<&'static str> {
    let (port, dial_in, framed) = (free_port(), free_port(), free_port());
    let settings = format!(
        "[site]\nname = \"simulated\"\n[journal]\npath = \"journal\"\ncommit_every = \"100ms\"\n[console]\nlisten = \"127.0.0.1:{port}\"\n"
    );
    let lines = [
        (
            "wire",
            "serial = { path = \"/dev/ttyUSB0\", speed = \"9600 7E1\", framing = \"ascii\" }".to_owned(),
        ),
        ("served", "ascii_over_tcp = \"10.0.0.1:4001\"".to_owned()),
        (
            "dtu-text",
            format!(
                "dial_in = {{ listen = \"127.0.0.1:{dial_in}\", id = \"LOGIN:1\", heartbeat = \"HEART\", framing = \"ascii\" }}"
            ),
        ),
        (
            "dtu-framed",
            format!(
                "dial_in = {{ listen = \"127.0.0.1:{framed}\", kind = \"alotcer\", id = \"13800138000\" }}"
            ),
        ),
    ];
    let (mut site, mut script) = (String::new(), String::new());
    for (number, (line, address)) in (0..).zip(&lines) {
        site += &format!(
            "[[line]]\nname = \"{line}\"\n{address}\n[[device]]\nname = \"on-{line}\"\nline = \"{line}\"\nslave = {}\nprofile = \"one\"\nevery = \"300ms\"\n",
            number + 1
        );
        script += &format!("[[signal]]\npoint = \"on-{line}.x\"\nconstant = {}\n", 1000 + number);
    }
    for (name, text) in [
        ("profiles/one.toml", PROFILE),
        ("site/site.toml", &site),
        ("script.toml", &script),
        ("gateway.toml", &settings),
    ] {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }
    lines.map(|(line, _)| line).to_vec()
}

fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = lifeline(folder).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn ascii_lines_and_dtus_are_simulated_and_traced() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let lines = documents(folder);
    let simulate = ["simulate", "--script", "script.toml"];
    let mut simulated = lifeline(folder).args(simulate).stdout(Stdio::piped()).spawn().unwrap();
    let printed = BufReader::new(simulated.stdout.take().unwrap()).lines().take(2);
    let mut running = Running(vec![simulated]);
    let moved: Vec<String> = printed.map(|line| line.unwrap().replacen("--line ", "--line=", 1)).collect();
    running.0.push(lifeline(folder).arg("run").args(&moved).stdout(Stdio::null()).spawn().unwrap());

    let until = Instant::now() + Duration::from_secs(30);
    for (number, line) in lines.iter().enumerate() {
        let wanted = format!("on-{line}.x,{},,good,", 1000 + number);
        let export = || said(folder, &["export", "--journal", "journal", "--since", "1h", "--format", "csv"]);
        while !export().contains(&wanted) {
            assert!(Instant::now() < until, "{wanted} is not in {}", export());
        }
    }
    let traced = said(folder, &["trace", "wire", "--for", "1s", "--pcap", "wire.pcap"]);
    assert!(traced.contains("<   1  holding 0x0010 = 1000"), "{traced}");
    assert!(traced.contains("[3A 30 31 30 33 30 30 31 30"), "{traced}");
    let pcap = std::fs::read(folder.join("wire.pcap")).unwrap();
    assert!(pcap.windows(9).any(|piece| piece == b":01030010"), "the characters stand in the file");
    let traced = said(folder, &["trace", "dtu-text", "--for", "3s"]);
    assert!(traced.contains("<   3  holding 0x0010 = 1002"), "{traced}");
    assert!(traced.contains("<      sign of life of its DTU"), "{traced}");
    assert!(traced.contains("[48 45 41 52 54]"), "{traced}");
    let traced = said(folder, &["trace", "dtu-framed", "--for", "3s"]);
    assert!(traced.contains(">      answer to its DTU's sign of life"), "{traced}");
}

/// Five DTUs of one port; all others are documents as above.
fn fleet(folder: &Path) {
    documents(folder);
    let listen = free_port();
    let (mut site, mut script) = (String::new(), String::new());
    for number in 1..=5 {
        site += &format!(
            "[[line]]\nname = \"dtu-{number}\"\ndial_in = {{ listen = \"127.0.0.1:{listen}\", kind = \"four-faith\", id = \"1380000000{number}\", unregistered_per_source = 200 }}\n\
             [[device]]\nname = \"pump-{number}\"\nline = \"dtu-{number}\"\nslave = 1\nprofile = \"one\"\nevery = \"300ms\"\nstale_after = \"1s\"\n"
        );
        script += &format!("[[signal]]\npoint = \"pump-{number}.x\"\nconstant = {number}\n");
    }
    std::fs::write(folder.join("site/site.toml"), site).unwrap();
    std::fs::write(folder.join("script.toml"), script).unwrap();
}

#[test]
fn all_dtus_of_a_port_gone_at_once_are_one_alarm() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    fleet(folder);
    let mut running = Running(Vec::new());
    running.0.push(lifeline(folder).arg("run").stdout(Stdio::null()).spawn().unwrap());
    let simulate = ["simulate", "--script", "script.toml"];
    let mut simulated = lifeline(folder).args(simulate).stdout(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let export = || said(folder, &["export", "--journal", "journal", "--since", "1h", "--format", "csv"]);
    let all = |text: &str| (1..=5).all(|number| text.contains(&format!("pump-{number}.x,{number},,good,")));
    while !all(&export()) {
        assert!(Instant::now() < until, "{}", export());
    }
    simulated.kill().unwrap();
    simulated.wait().unwrap();
    let alarms = || -> Vec<serde_json::Value> {
        let text = said(folder, &["alarms", "--json"]);
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let of_line = |alarm: &serde_json::Value| {
        let rule = alarm["rule"].as_str().unwrap();
        rule.starts_with("gateway-line-dtu-") || rule.ends_with("-stale")
    };
    let mut found = alarms();
    while found.iter().filter(|alarm| of_line(alarm)).count() < 10 {
        assert!(Instant::now() < until, "{found:?}");
        found = alarms();
    }
    let group = found.iter().find(|alarm| alarm["rule"].as_str().unwrap().starts_with("gateway-dial-in-"));
    assert_eq!(group.unwrap()["severity"], "orange", "{found:?}");
    for alarm in found.iter().filter(|alarm| of_line(alarm)) {
        assert_eq!(alarm["suppressed"], true, "{alarm}");
    }
}
