//! Figures of lines and devices, and live traces: a scripted device says what it did, and the gateway must have counted the same.
//! These tests run in real time on loopback sockets.

#![expect(clippy::disallowed_methods, reason = "a scripted device lives in real time")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lifeline_gateway::clock::SystemClock;
use lifeline_gateway::console::{serve, status::StatusView, trace::TraceView};
use lifeline_gateway::gateway::board::Board;
use lifeline_gateway::gateway::{self, ExtraTask};
use lifeline_gateway::poll::stats::Figures;
use lifeline_gateway::site::{self, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

use crate::console::TOKEN;

/// What the device does with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Reply,
    Refuse(u8),
    Silence,
    BadSum,
    NoiseThenReply,
}

fn sealed(body: &[u8]) -> Vec<u8> {
    [body, &lifeline_gateway::bus::rtu::crc16(body).to_le_bytes()].concat()
}

/// Serves RTU frames over TCP by the script, then is silent; how many bytes it sent. Holding register 0 is 1234, the others are 0.
fn scripted(acts: Vec<Act>) -> (SocketAddr, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut acts = acts.into_iter();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 8];
            while stream.read_exact(&mut request).is_ok() {
                let cells = usize::from(request[5]);
                let mut reply = vec![7, 3, request[5] * 2, 0x04, 0xD2];
                reply.resize(3 + cells * 2, 0);
                let answer = match acts.next().unwrap_or(Act::Silence) {
                    Act::Silence => continue,
                    Act::Reply => sealed(&reply),
                    Act::Refuse(code) => sealed(&[7, 0x83, code]),
                    Act::BadSum => [reply, vec![0, 0]].concat(),
                    Act::NoiseThenReply => [vec![0xFF, 0x00], sealed(&reply)].concat(),
                };
                count.fetch_add(answer.len() as u64, Ordering::Relaxed);
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    (address, sent)
}

fn documents(folder: &Path, device: SocketAddr) -> Options {
    let profile = "[profile]\nname = \"one\"\nclass = \"io\"\nmaker = \"test\"\nsource = \"test\"\n[[point]]\nname = \"x\"\nat = \"holding 0\"\ntype = \"u16\"\n";
    let site = format!(
        "[[line]]\nname = \"wire\"\nrtu_over_tcp = \"{device}\"\n[[device]]\nname = \"probe\"\nline = \"wire\"\nslave = 7\nprofile = \"one\"\nevery = \"40ms\"\ntimeout = \"250ms\"\n"
    );
    let settings =
        format!("[site]\nname = \"traffic\"\n[journal]\npath = \"{}/journal\"\n", folder.display());
    for (name, text) in
        [("profiles/one.toml", profile), ("site/site.toml", &site), ("gateway.toml", &settings)]
    {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }
    Options {
        config: Some(folder.join("gateway.toml")),
        site: folder.join("site"),
        profiles: Some(folder.join("profiles")),
        ..Options::default()
    }
}

/// Runs the whole gateway with its console against the scripted device while `body` looks at it.
async fn watched<F: Future<Output = ()>>(
    acts: Vec<Act>,
    body: impl FnOnce(Arc<Board>, SocketAddr, Arc<AtomicU64>) -> F,
) {
    let folder = tempfile::tempdir().unwrap();
    let (device, sent) = scripted(acts);
    let (site, found, _) = site::load(&documents(folder.path(), device));
    let site = site.unwrap_or_else(|| panic!("{found:?}"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (board_to, board) = oneshot::channel();
    let console: ExtraTask = Box::new(move |board, stop| {
        Box::pin(async move {
            let _ = board_to.send(Arc::clone(&board));
            serve(listener, board, TOKEN.to_owned(), stop).await.unwrap();
        })
    });
    let (stop, stopped) = watch::channel(false);
    let running = gateway::run(site, Arc::new(SystemClock::new()), vec![console], stopped);
    let looking = async {
        body(board.await.unwrap(), address, sent).await;
        stop.send(true).unwrap();
    };
    let (ran, ()) = tokio::join!(running, looking);
    ran.unwrap();
}

async fn figures_after(board: &Board, requests: u64) -> (Figures, Figures) {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let picture = board.look();
        let (line, device) = (&picture.traffic[0], &picture.devices[0].figures);
        if line.requests >= requests {
            return (line.clone(), device.clone());
        }
        assert!(Instant::now() < patience, "{line:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn the_figures_are_what_the_device_did() {
    use Act::{BadSum, Refuse, Reply, Silence};
    let acts = vec![
        Reply,
        Reply,
        Refuse(2),
        Reply,
        Silence,
        Reply,
        BadSum,
        Reply,
        Refuse(6),
        Reply,
        Refuse(2),
        Reply,
        Silence,
        Reply,
        Reply,
    ];
    let did = |wanted: Act| u64::try_from(acts.iter().filter(|act| **act == wanted).count()).unwrap();
    let total = u64::try_from(acts.len()).unwrap();
    watched(acts.clone(), async |board, address, sent| {
        let (line, device) = figures_after(&board, total).await;
        for figures in [&line, &device] {
            // After its script the device is silent.
            let after = figures.requests - total;
            assert_eq!(figures.replies, did(Reply));
            assert_eq!(figures.timeouts, did(Silence) + after);
            assert_eq!(figures.bad_frames, did(BadSum));
            assert_eq!(figures.exceptions, [(2, did(Refuse(2))), (6, did(Refuse(6)))]);
            assert_eq!(figures.answers.count, did(Reply) + did(Refuse(2)) + did(Refuse(6)));
            assert!(figures.busy >= Duration::from_millis(200), "two timeouts and more: {figures:?}");
            assert!(figures.answers.max < Duration::from_millis(250), "{figures:?}");
        }
        assert_eq!(line.bytes_sent, 8 * line.requests);
        // A single register may be asked for together with its neighbour.
        let answers = sent.load(Ordering::Relaxed);
        assert_eq!(line.bytes_received, answers);
        assert!(line.load > 0.0 && line.load <= 1.0);

        let status: StatusView = serde_json::from_str(&get(address, "/api/v1/status").await).unwrap();
        let traffic =
            status.devices.iter().find(|device| device.name == "probe").unwrap().traffic.clone().unwrap();
        assert_eq!(traffic.replies, did(Reply));
        let fault = traffic.faults.iter().find(|fault| fault.fault == "exception-2").unwrap();
        assert_eq!(fault.count, did(Refuse(2)));
        assert_eq!(status.lines[0].traffic.load, None, "too short a time for a load");

        let metrics = get(address, "/metrics").await;
        for sample in [
            format!("lifeline_replies_total{{line=\"wire\",device=\"probe\"}} {}\n", did(Reply)),
            "lifeline_request_faults_total{line=\"wire\",device=\"probe\",fault=\"bad-frame\"} 1\n"
                .to_owned(),
            format!(
                "lifeline_answer_seconds_count{{line=\"wire\",device=\"probe\"}} {}\n",
                device.answers.count
            ),
            format!("lifeline_line_received_bytes_total{{line=\"wire\"}} {answers}\n"),
        ] {
            assert!(metrics.contains(&sample), "{sample} in {metrics}");
        }
    })
    .await;
}

/// Reads the trace of `line` until `done`; the views so far.
async fn traced(address: SocketAddr, line: &str, done: impl Fn(&[TraceView]) -> bool) -> Vec<TraceView> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /api/v1/lines/{line}/trace HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    loop {
        let read =
            tokio::time::timeout(Duration::from_secs(10), stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(read > 0, "the trace ended: {text}");
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        let whole =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<TraceView>>();
        if done(&whole) {
            return whole;
        }
    }
}

#[tokio::test]
async fn a_trace_shows_answers_noise_and_silence() {
    let acts = [Act::Reply, Act::NoiseThenReply, Act::BadSum, Act::Refuse(2), Act::Silence].repeat(20);
    watched(acts, async |_, address, _| {
        let views = traced(address, "wire", |views| views.len() > 30).await;
        let says = |kind: &str, why: Option<&str>, words: &str| {
            views.iter().any(|view| view.kind == kind && view.why.as_deref() == why && view.words == words)
        };
        assert!(says("request", None, "read holding 0x0000"), "{views:?}");
        assert!(says("answer", None, "holding 0x0000 = 1234"));
        assert!(says("answer", None, "refused function 3: exception 2, illegal data address"));
        assert!(says("discarded", Some("noise"), ""));
        assert!(says("discarded", Some("bad check sum"), ""));
        assert!(says("failed", Some("no answer in time"), ""));
        let answer = views.iter().find(|view| view.kind == "answer" && !view.values.is_empty()).unwrap();
        assert_eq!((answer.slave, answer.function, answer.address), (Some(7), Some(3), Some(0)));
        assert_eq!(
            (answer.values.as_slice(), answer.hex.as_str()),
            ([1234].as_slice(), "07 03 02 04 D2 B2 D9")
        );
        // Without the token nobody listens, on this box neither.
        let refused = get(address, "/api/v1/lines/wire/trace").await;
        assert!(refused.contains("needs the token"), "{refused}");
    })
    .await;
}
