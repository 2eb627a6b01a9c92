//! Lines inside TLS by the real binary: `lifeline trace` shows what was said inside, and why there is no line; `lifeline simulate` serves them.

#![expect(clippy::disallowed_methods, reason = "processes live in real time")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lifeline_gateway::console::trace::TraceView;

use crate::certificates::lifeline;
use crate::reload_live::free_port;
use crate::tcp::{Authority, secure_plc};
use crate::text::Running;

const PROFILE: &str = "[profile]\nname = \"one\"\nclass = \"io\"\nmaker = \"test\"\nsource = \"test\"\n\
                       [[point]]\nname = \"x\"\nat = \"holding 0x0010\"\ntype = \"u16\"\n";

/// A line to `to` that wants the device to be called so.
fn line(folder: &Path, name: &str, to: &str, called: &str) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    let (ca, certificate, key) = (file("ca.pem"), file("gateway.pem"), file("gateway.key"));
    format!(
        "[[line]]\nname = \"{name}\"\n\
         tls = {{ to = \"{to}\", ca = \"{ca}\", certificate = \"{certificate}\", key = \"{key}\", name = \"{called}\" }}\n"
    )
}

fn device(name: &str, line: &str, slave: u8) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\nline = \"{line}\"\nslave = {slave}\nprofile = \"one\"\nevery = \"100ms\"\n"
    )
}

fn documents(folder: &Path, site: &str) {
    let settings = format!(
        "[site]\nname = \"secure\"\n[journal]\npath = \"journal\"\ncommit_every = \"100ms\"\n\
         [console]\nlisten = \"127.0.0.1:{}\"\n",
        free_port()
    );
    for (name, text) in
        [("profiles/one.toml", PROFILE), ("site/site.toml", site), ("gateway.toml", settings.as_str())]
    {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }
}

fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = lifeline(folder).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What `trace` says, once it says `wanted`.
fn traced(folder: &Path, line: &str, wanted: &str) -> String {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let text = said(folder, &["trace", line, "--for", "1s"]);
        if text.contains(wanted) {
            return text;
        }
        assert!(Instant::now() < until, "{wanted} is not in {text}");
    }
}

/// The bytes of all entries of this kind, one after the other.
fn bytes(views: &[TraceView], kind: &str) -> Vec<u8> {
    let of_kind = views.iter().filter(|view| view.kind == kind);
    of_kind.flat_map(|view| view.hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap())).collect()
}

/// What a pcap file of TCP segments carries to port 502, and from it.
fn carried(file: &[u8]) -> [Vec<u8>; 2] {
    let (mut rest, mut ways) = (&file[24..], [Vec::new(), Vec::new()]);
    while let Some((head, later)) = rest.split_first_chunk::<16>() {
        let size = usize::try_from(u32::from_le_bytes(*head[8..12].first_chunk().unwrap())).unwrap();
        let (frame, later) = later.split_at(size);
        // Ethernet 14 bytes, IPv4 20, TCP 20; the source's port stands first.
        let from_line = frame[34..36] == 502_u16.to_be_bytes();
        ways[usize::from(from_line)].extend_from_slice(&frame[54..]);
        rest = later;
    }
    ways
}

fn holds(whole: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && whole.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_trace_shows_what_was_said_inside_tls() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let authority = Authority::new("ours");
    let ca = authority.write(folder, "ca.pem");
    authority.sign(folder, "gateway");
    let served = authority.sign(folder, "plc-1");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (address, passed) = runtime.block_on(secure_plc(&ca, &served));
    let to = address.to_string();
    let site = [
        line(folder, "cabinet", &to, "plc-1"),
        line(folder, "wrong", &to, "plc-2"),
        device("plc", "cabinet", 3),
        device("other", "wrong", 3),
    ];
    documents(folder, &site.concat());
    let _running = Running(vec![lifeline(folder).arg("run").stdout(Stdio::null()).spawn().unwrap()]);

    let text = traced(folder, "cabinet", "<   3  holding 0x0010 = 316 ");
    assert!(text.contains(">   3  read holding 0x0010 "), "{text}");
    assert!(text.contains(" 00 00 00 06 03 03 00 10 00 01]"), "{text}");
    assert!(text.contains(" 00 00 00 05 03 03 02 01 3C]"), "{text}");

    let json = said(folder, &["trace", "cabinet", "--for", "1s", "--json", "--pcap", "inside.pcap"]);
    let views: Vec<TraceView> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(views.len() > 10 && views.iter().all(|view| view.framing == "mbap"), "{json}");
    let (asked, answered) = (bytes(&views, "request"), bytes(&views, "answer"));
    {
        let passed = passed.lock().unwrap();
        assert!(holds(&passed[0], &asked) && holds(&passed[1], &answered), "{passed:02X?} has {json}");
    }
    let pcap = std::fs::read(folder.join("inside.pcap")).unwrap();
    assert_eq!(carried(&pcap), [asked, answered]);

    traced(
        folder,
        "wrong",
        &format!("!      the line is down: cannot speak TLS with {to}: its certificate is for another name"),
    );
    runtime.shutdown_background();
    traced(
        folder,
        "cabinet",
        &format!("!      the line is down: cannot connect to {to}: Connection refused"),
    );
}

#[test]
fn a_line_inside_tls_is_simulated_once_its_devices_have_a_certificate() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let authority = Authority::new("ours");
    authority.write(folder, "ca.pem");
    authority.sign(folder, "gateway");
    authority.sign(folder, "plc-1");
    documents(folder, &(line(folder, "cabinet", "10.0.0.5:802", "plc-1") + &device("plc", "cabinet", 3)));
    std::fs::write(folder.join("script.toml"), "[[signal]]\npoint = \"plc.x\"\nconstant = 4242\n").unwrap();
    let simulate = |more: &[&str]| {
        let mut command = lifeline(folder);
        command.args(["simulate", "--script", "script.toml"]).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let refused = |more: &[&str]| {
        let output = simulate(more).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let cannot = "lifeline: cannot start the simulated devices: ";
    assert_eq!(
        refused(&[]),
        format!("{cannot}line cabinet is inside TLS: its devices need --certificate and --key\n")
    );
    assert_eq!(
        refused(&["--certificate", "none.pem", "--key", "plc-1.key"]),
        format!("{cannot}cannot read none.pem: No such file or directory\n")
    );

    let mut simulated = simulate(&["--certificate", "plc-1.pem", "--key", "plc-1.key"]);
    let printed = BufReader::new(simulated.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let mut running = Running(vec![simulated]);
    let moved = printed.replacen("--line ", "--line=", 1);
    assert!(moved.starts_with("--line=cabinet=127.0.0.1:"), "{moved}");
    // Whoever speaks plain Modbus, or shows another's certificate, is not served, and disturbs nobody.
    let address = moved.rsplit_once('=').unwrap().1;
    let _silent = std::net::TcpStream::connect(address).unwrap();
    running.0.push(lifeline(folder).args([&moved, "run"]).stdout(Stdio::null()).spawn().unwrap());
    traced(folder, "cabinet", "<   3  holding 0x0010 = 4242 ");

    let stranger = tempfile::tempdir().unwrap();
    Authority::new("other").sign(stranger.path(), "gateway");
    for file in ["gateway.pem", "gateway.key"] {
        std::fs::copy(stranger.path().join(file), folder.join(file)).unwrap();
    }
    // Only one of them may use a line.
    let mut gateway = running.0.pop().unwrap();
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    let read = [&moved, "read", "cabinet", "--slave", "3", "--at", "holding 0x0010"];
    let output = lifeline(folder).args(read).stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("it refuses our certificate"), "{told} {:?}", output.status);
}
