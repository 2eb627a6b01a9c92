//! SK-01 to SK-48: HTTP. A scripted server on a loopback port, and behind it a database that keeps what it took.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::read::GzDecoder;
use lifeline_gateway::forward::trouble::Kind;
use lifeline_gateway::forward::{Api, Settings, Status, Target};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::{Desk, now, pace};

/// What one connection, or one request of it, comes to. Texts are sent as they stand.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Reads the request whole, keeps its lines, answers 204.
    Take,
    /// As [`Act::Take`], and the connection ends behind the answer, unannounced.
    TakeAndClose,
    /// Reads the request whole and sends this.
    Answer(String),
    /// Reads the request whole, sends this, and then says nothing more.
    AnswerAndHang(String),
    /// As [`Act::AnswerAndHang`], one byte every 20 ms.
    Drip(String),
    /// Sends this without end, after the head.
    Flood(String, Vec<u8>),
    /// Reads the request and closes.
    Close,
    /// Keeps the lines, and closes without an answer.
    TakeAndSayNothing,
    /// Reads so many bytes and resets the connection.
    Reset(usize),
    /// Says nothing, ever.
    Hang,
    /// Says this before it has read anything, and closes.
    Banner(String),
}

/// What a server was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Numbers of the readings taken.
    pub(super) taken: BTreeSet<i64>,
    /// How many lines each request held, and when it came.
    pub(super) requests: Vec<(usize, Instant)>,
    /// The heads of requests.
    pub(super) heads: Vec<String>,
    pub(super) connections: usize,
    pub(super) alarms: usize,
}

/// Decides by the number of the request, from 0, and its text.
pub(super) type Script = Arc<dyn Fn(usize, &str) -> Act + Send + Sync>;

/// A server; dropped, it is gone.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn serve(script: Script) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    serve_on(listener, script)
}

pub(super) fn serve_on(listener: TcpListener, script: Script) -> Server {
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::<Mutex<Seen>>::default();
    let kept = Arc::clone(&seen);
    #[expect(clippy::disallowed_methods, reason = "the other side of the network")]
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            kept.lock().unwrap().connections += 1;
            connections.spawn(attend(stream, Arc::clone(&script), Arc::clone(&kept)));
        }
    });
    Server { port, seen, task }
}

/// The lines of the next request, and its head; `None` when there is none.
pub(super) async fn request(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let (head, start) = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break (String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase(), end + 4);
        }
    };
    let length: usize = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
    while bytes.len() < start + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let mut body = String::new();
    if head.contains("content-encoding: gzip") {
        GzDecoder::new(&bytes[start..]).read_to_string(&mut body).unwrap();
    } else {
        body = String::from_utf8(bytes[start..].to_vec()).unwrap();
    }
    Some((head, body))
}

fn numbers(body: &str) -> impl Iterator<Item = i64> {
    let value = |line: &str| {
        line.starts_with("gas").then(|| line.split("value=").nth(1)?.split(' ').next()?.parse().ok())?
    };
    body.lines().filter_map(value)
}

#[expect(clippy::too_many_lines, reason = "one flat match")]
async fn attend(mut stream: TcpStream, script: Script, seen: Arc<Mutex<Seen>>) {
    loop {
        // A banner, a hang and a reset do not wait for a request.
        let number = seen.lock().unwrap().requests.len();
        match script(number, "") {
            Act::Banner(text) => {
                seen.lock().unwrap().requests.push((0, now()));
                let _ = stream.write_all(text.as_bytes()).await;
                return;
            }
            Act::Reset(bytes) => {
                let mut some = vec![0; bytes];
                let _ = stream.read_exact(&mut some).await;
                seen.lock().unwrap().requests.push((0, now()));
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
            _ => {}
        }
        let Some((head, body)) = request(&mut stream).await else { return };
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.requests.push((body.lines().count(), now()));
            seen.heads.push(head);
            seen.requests.len() - 1
        };
        let act = script(number, &body);
        let take = || {
            let mut seen = seen.lock().unwrap();
            seen.taken.extend(numbers(&body));
            seen.alarms += body.lines().filter(|line| line.starts_with("alarm")).count();
        };
        match act {
            Act::Take | Act::TakeAndClose => {
                take();
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                if matches!(act, Act::TakeAndClose) {
                    return;
                }
            }
            Act::Answer(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                if text.to_lowercase().contains("connection: close") {
                    return;
                }
            }
            Act::AnswerAndHang(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                std::future::pending::<()>().await;
            }
            Act::Drip(text) => {
                for byte in text.bytes() {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_millis(20)).await;
                }
            }
            Act::Flood(head, chunk) => {
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.write_all(&chunk).await.is_ok() {}
                return;
            }
            Act::Close | Act::Banner(_) | Act::Reset(_) => return,
            Act::TakeAndSayNothing => {
                take();
                return;
            }
            Act::Hang => std::future::pending().await,
        }
    }
}

/// An answer with a body.
pub(super) fn answer(status: &str, body: &str) -> Act {
    Act::Answer(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn api() -> Api {
    Api::V1 { database: "telemetry".into(), policy: String::new() }
}

pub(super) fn target(port: u16) -> Target {
    Target::influx(&format!("http://127.0.0.1:{port}"), api())
}

fn twenty() -> Desk {
    let mut desk = Desk::new();
    desk.commit(20);
    desk
}

/// A server that does `act` `times` times and is well afterwards; everything arrives. What the sink was when it came to it.
async fn through(desk: Desk, act: Act, times: usize) -> (Status, Seen) {
    let script = move |number: usize, _: &str| if number < times { act.clone() } else { Act::Take };
    let server = serve(Arc::new(script)).await;
    let mut desk = desk;
    desk.start(target(server.port));
    let status = desk.drained().await;
    let seen = server.seen.lock().unwrap().clone();
    assert_eq!(seen.taken, desk.wanted(), "{status:?}");
    assert_eq!(status.rejected, 0);
    desk.stop().await;
    (status, seen)
}

/// One fault, then health: the kind that is counted, and everything arrives.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one flat table")]
async fn a_fault_of_the_network_is_named_and_loses_nothing() {
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}");
    let many: String = (0..10_000).map(|number| format!("X-{number}: x\r\n")).collect();
    let cases = [
        ("SK-03 silent for ever", Act::Hang, Kind::Timeout),
        ("SK-04 no answer", Act::Close, Kind::LostAck),
        ("SK-04 taken and no answer", Act::TakeAndSayNothing, Kind::LostAck),
        ("SK-05 reset in the middle", Act::Reset(60), Kind::Reset),
        ("SK-06 a byte at a time", Act::Drip(head("X: ") + &"x".repeat(100)), Kind::Timeout),
        ("SK-07 the body stalls", Act::AnswerAndHang(head("Content-Length: 50\r\n\r\n{")), Kind::Timeout),
        (
            "SK-10 1xx without end",
            Act::Flood(String::new(), b"HTTP/1.1 100 Continue\r\n\r\n".repeat(50)),
            Kind::Timeout,
        ),
        (
            "SK-10 ten thousand headers",
            Act::Answer(head(&many) + "Connection: close\r\n\r\n"),
            Kind::Protocol,
        ),
        (
            "SK-10 a header of 1 MB",
            Act::Answer(head(&format!("X: {}\r\nConnection: close\r\n\r\n", "x".repeat(1 << 20)))),
            Kind::Protocol,
        ),
        (
            "SK-10 a header of 100 kB",
            Act::Answer(head(&format!(
                "X: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                "x".repeat(100_000)
            ))),
            Kind::Protocol,
        ),
        ("SK-11 a banner", Act::Banner("SSH-2.0-OpenSSH_9.2\r\n".into()), Kind::Protocol),
        ("SK-11 no HTTP", Act::Answer("\x20\x02\x00\x00 connection: close".into()), Kind::Protocol),
        (
            "SK-12 two lengths",
            Act::Answer(head("Content-Length: 0\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")),
            Kind::Protocol,
        ),
        (
            "SK-12 too short",
            Act::Answer(head("Content-Length: 50\r\nConnection: close\r\n\r\n{}")),
            Kind::LostAck,
        ),
        (
            "SK-12 chunks of garbage",
            Act::Answer(head("Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n")),
            Kind::Protocol,
        ),
        ("SK-20 a proxy's 502", answer("502 Bad Gateway", "<html>"), Kind::Server),
        (
            "SK-20 a page with 200",
            answer("200 OK", "<!DOCTYPE html><title>Login</title>"),
            Kind::UnexpectedAnswer,
        ),
        ("SK-39", answer("408 Request Timeout", ""), Kind::Server),
        ("SK-39", answer("425 Too Early", ""), Kind::Server),
        ("SK-39", answer("500 Internal Server Error", "x"), Kind::Server),
        ("SK-39", answer("503 Service Unavailable", ""), Kind::Server),
        ("SK-39", answer("504 Gateway Timeout", ""), Kind::Server),
        ("SK-47 a status of its own", answer("999 What", ""), Kind::Protocol),
        (
            "SK-47 no status",
            Act::Answer("HTTP/1.1 000 No\r\nConnection: close\r\n\r\n".into()),
            Kind::Protocol,
        ),
        // Held until a person acts, and nothing is lost meanwhile.
        (
            "SK-20 a proxy wants a password",
            answer("407 Proxy Authentication Required", ""),
            Kind::Credentials,
        ),
        ("SK-36", answer("401 Unauthorized", ""), Kind::Credentials),
        ("SK-36", answer("403 Forbidden", ""), Kind::Credentials),
        ("SK-37", answer("404 Not Found", r#"{"error":"database not found"}"#), Kind::Missing),
        ("SK-38", answer("405 Method Not Allowed", ""), Kind::Mode),
        ("SK-38", answer("406 Not Acceptable", ""), Kind::Mode),
        ("SK-38", answer("415 Unsupported Media Type", ""), Kind::Mode),
        ("SK-45", answer("301 Moved", ""), Kind::Redirect),
        ("SK-45", answer("307 Temporary Redirect", ""), Kind::Redirect),
        ("SK-45", answer("308 Permanent Redirect", ""), Kind::Redirect),
        ("SK-46", answer("507 Insufficient Storage", ""), Kind::Full),
        (
            "SK-46",
            answer("400 Bad Request", r#"{"error":"partial write: max-series-per-database limit exceeded"}"#),
            Kind::Full,
        ),
    ];
    // Journals are made first: their syncs would hold up the requests of others.
    let cases = cases.map(|case| (case, twenty()));
    let cases = cases.map(|((row, act, kind), desk)| async move {
        let begun = now();
        let (status, seen) = through(desk, act, 2).await;
        assert_eq!(status.kinds.keys().collect::<Vec<_>>(), [&kind], "{row}");
        let least = if kind.needs_a_person() { pace().hold } else { pace().base } * 2;
        assert!(begun + least <= now(), "{row}: not at once");
        assert!(seen.requests.len() <= 5, "{row}: {} requests", seen.requests.len());
    });
    futures_util::future::join_all(cases).await;
}

/// SK-01, SK-14, SK-02: nobody is there; it is asked again, not in a loop, and another sink is not slowed.
#[tokio::test]
async fn nobody_there_is_asked_again_and_hurts_nobody_else() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    // A port whose queue is full answers no SYN: connections to it hang.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let hole = socket.local_addr().unwrap().as_socket().unwrap();
    let _queue: Vec<_> = (0..3)
        .map(|_| {
            let stream = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            stream.set_nonblocking(true).unwrap();
            let _ = stream.connect(&hole.into());
            stream
        })
        .collect();
    let well = serve(Arc::new(|_, _: &str| Act::Take)).await;
    let (mut refused, mut hanging, mut healthy) = (Desk::new(), Desk::new(), Desk::new());
    refused.start(target(gone));
    hanging.start(target(hole.port()));
    healthy.start(target(well.port));
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        for desk in [&mut refused, &mut hanging, &mut healthy] {
            desk.commit(1);
        }
        let begun = now();
        healthy.drained().await;
        slowest = slowest.max(now() - begun);
        sleep(Duration::from_millis(30)).await;
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    let status = refused.until("refused", |status| status.kinds.contains_key(&Kind::Refused)).await;
    // About 0.7 s with pauses of 10 to 20 ms.
    assert!((10..150).contains(&status.failures), "{status:?}");
    assert!(!status.up && !status.held && status.backlog >= 20, "{status:?}");
    let status = hanging.until("no answer", |status| status.kinds.contains_key(&Kind::ConnectTimeout)).await;
    assert!(status.kinds.keys().all(|kind| *kind == Kind::ConnectTimeout), "{status:?}");
    let revived =
        serve_on(TcpListener::bind(("127.0.0.1", gone)).await.unwrap(), Arc::new(|_, _: &str| Act::Take));
    refused.drained().await;
    assert_eq!(revived.seen.lock().unwrap().taken, refused.wanted());
    for mut desk in [refused, hanging, healthy] {
        desk.stop().await;
    }
}

/// SK-08, SK-09: an answer without end is read up to its limit; a compressed one is not unpacked.
#[tokio::test]
async fn an_endless_answer_is_cut() {
    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
    for (head, kind) in [
        ("HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n", Kind::Server),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Kind::UnexpectedAnswer),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
            Kind::UnexpectedAnswer,
        ),
    ] {
        let (status, seen) = through(twenty(), Act::Flood(head.to_owned(), chunk.clone()), 1).await;
        assert_eq!(status.kinds.keys().collect::<Vec<_>>(), [&kind], "{head}");
        assert!(
            seen.heads.iter().all(|head| !head.contains("accept-encoding")),
            "no compressed answer is asked for"
        );
    }
}

/// SK-13: a server that ends its idle connections costs no failure.
#[tokio::test]
async fn a_connection_closed_between_requests_is_no_failure() {
    let server = serve(Arc::new(|_, _: &str| Act::TakeAndClose)).await;
    let mut desk = Desk::new();
    desk.start(target(server.port));
    for _ in 0..15 {
        desk.commit(1);
        desk.drained().await;
        sleep(Duration::from_millis(5)).await;
    }
    let status = desk.drained().await;
    assert_eq!((status.failures, server.seen.lock().unwrap().connections), (0, 15));
    desk.stop().await;
}

/// SK-15: a link that flaps: nothing is lost, and no socket is left over.
#[tokio::test]
async fn a_flapping_link_leaves_no_sockets_behind() {
    let server = serve(Arc::new(|number, _: &str| match number % 5 {
        0 => Act::Close,
        1 => Act::Reset(10),
        2 => Act::TakeAndSayNothing,
        _ => Act::Take,
    }))
    .await;
    let mut desk = Desk::new();
    desk.start(target(server.port));
    for _ in 0..60 {
        desk.commit(2);
        sleep(Duration::from_millis(5)).await;
    }
    desk.drained().await;
    assert_eq!(server.seen.lock().unwrap().taken, desk.wanted());
    let seen = server.seen.lock().unwrap().clone();
    assert!(seen.connections > 10, "{} connections", seen.connections);
    let to_server = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let port = format!(":{:04X}", server.port);
    let established = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(2).is_some_and(|remote| remote.ends_with(&port)) && fields.get(3) == Some(&"01")
    };
    let left: Vec<_> = to_server.lines().filter(established).collect();
    assert!(
        left.len() <= 3,
        "{} of {} connections are open\n{}",
        left.len(),
        seen.connections,
        left.join("\n")
    );
    desk.stop().await;
}

/// SK-30, SK-31: what is a success, and what only looks like one.
#[tokio::test]
async fn a_success_is_looked_into() {
    let (status, _) = through(twenty(), answer("200 OK", r#"{"results":[{"statement_id":0}]}"#), 0).await;
    assert_eq!(status.failures, 0);
    for success in ["200 OK", "201 Created", "202 Accepted"] {
        let server = serve(Arc::new(move |_, _: &str| answer(success, ""))).await;
        let mut desk = Desk::new();
        desk.commit(3);
        desk.start(target(server.port));
        assert_eq!(desk.drained().await.failures, 0, "{success}");
        desk.stop().await;
    }
    // An error in the body of a 200 is bisected like a 400.
    bisected(answer("200 OK", r#"{"results":[{"error":"partial write: field type conflict"}]}"#)).await;
}

/// SK-32, SK-33, SK-42: one bad line of 50: alone in quarantine, everything else arrives, and it takes few requests.
#[tokio::test]
async fn a_bad_line_is_found_and_the_rest_arrives() {
    bisected(answer("400 Bad Request", "unable to parse 'gas': invalid field format")).await;
    bisected(answer(
        "400 Bad Request",
        r#"{"error":"partial write: field type conflict: input field \"value\" is float dropped=1"}"#,
    ))
    .await;
    bisected(answer("422 Unprocessable Entity", "points rejected")).await;
}

async fn bisected(refusal: Act) {
    let script =
        move |_: usize, body: &str| if body.contains("value=17 ") { refusal.clone() } else { Act::Take };
    let server = serve(Arc::new(script)).await;
    let mut desk = Desk::new();
    desk.commit(50);
    desk.start(target(server.port));
    let status = desk.drained().await;
    let seen = server.seen.lock().unwrap().clone();
    let mut wanted = desk.wanted();
    wanted.remove(&17);
    assert_eq!(seen.taken, wanted);
    assert_eq!((status.rejected, status.readings), (1, 49));
    // Each of the rounds halves: 7 of them, two requests each.
    assert!(seen.requests.len() <= 14, "{} requests", seen.requests.len());
    desk.stop().await;
}

/// SK-34: what is older than the database keeps is counted apart, is no poison, and stops nothing.
#[tokio::test]
async fn what_is_too_old_is_counted_apart() {
    let script = |_: usize, body: &str| {
        let old = numbers(body).filter(|number| *number < 40).count();
        let text = format!(r#"{{"error":"partial write: points beyond retention policy dropped={old}"}}"#);
        if old > 0 { answer("400 Bad Request", &text) } else { Act::Take }
    };
    let server = serve(Arc::new(script)).await;
    let mut desk = Desk::new();
    desk.commit(50);
    desk.start(target(server.port));
    let status = desk.drained().await;
    assert_eq!((status.too_old, status.rejected, status.readings, status.held), (40, 0, 10, false));
    desk.stop().await;
}

/// SK-35: an InfluxDB 3 names the lines: no search is needed.
#[tokio::test]
async fn line_numbers_are_used() {
    let script = |_: usize, body: &str| {
        let bad = numbers(body).position(|number| number == 17);
        match bad.map(|at| at + 1) {
            Some(_) if body.lines().count() == 1 => answer("400 Bad Request", r#"{"error":"partial write"}"#),
            Some(line) => {
                let text = format!(
                    r#"{{"error":"partial write of line protocol occurred","data":[{{"line_number":{line}}}]}}"#
                );
                answer("400 Bad Request", &text)
            }
            None => Act::Take,
        }
    };
    let server = serve(Arc::new(script)).await;
    let mut desk = Desk::new();
    desk.commit(50);
    desk.start(target(server.port));
    let status = desk.drained().await;
    let seen = server.seen.lock().unwrap().clone();
    assert_eq!((status.rejected, seen.taken.len(), seen.requests.len()), (1, 49, 4));
    desk.stop().await;
}

/// Ground rule 7: a schema that most records break is a wrong setting. Nothing is given up, and when it is put right, all arrives.
#[tokio::test]
async fn a_refused_half_holds_its_lane_and_gives_nothing_up() {
    let right = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let fixed = Arc::clone(&right);
    let script = move |_: usize, body: &str| {
        let fixed = fixed.load(std::sync::atomic::Ordering::Relaxed);
        if fixed || numbers(body).all(|number| number % 3 == 0) {
            Act::Take
        } else {
            answer("400 Bad Request", "field type conflict")
        }
    };
    let server = serve(Arc::new(script)).await;
    let mut desk = Desk::new();
    desk.commit(50);
    desk.start(target(server.port));
    let status = desk.until("held", |status| status.held).await;
    assert!(status.trouble.as_ref().is_some_and(|why| why.contains("refused")), "{status:?}");
    assert_eq!((status.rejected, status.readings, status.backlog), (0, 0, 1));
    right.store(true, std::sync::atomic::Ordering::Relaxed);
    let status = desk.drained().await;
    assert_eq!((status.rejected, status.held), (0, false));
    assert_eq!(server.seen.lock().unwrap().taken, desk.wanted());
    desk.stop().await;
}

/// SK-41: a request that is too large is halved, and the size is remembered; a single record over the limit is set aside.
#[tokio::test]
async fn a_large_request_is_halved_and_the_size_remembered() {
    let script = |_: usize, body: &str| {
        let bad = body.lines().count() > 10 || body.contains("value=33 ");
        if bad { answer("413 Payload Too Large", "") } else { Act::Take }
    };
    let server = serve(Arc::new(script)).await;
    let mut desk = Desk::new();
    desk.commit(64);
    desk.start(target(server.port));
    let status = desk.drained().await;
    assert_eq!((status.rejected, status.readings), (1, 63));
    let before = server.seen.lock().unwrap().requests.len();
    desk.commit(60);
    desk.drained().await;
    let seen = server.seen.lock().unwrap().clone();
    assert!(seen.requests[before..].iter().all(|(lines, _)| *lines <= 10), "{:?}", &seen.requests[before..]);
    assert_eq!(seen.taken.len(), 123);
    desk.stop().await;
}

/// SK-43, SK-44: no request before the moment that the server names; nonsense is no moment.
#[tokio::test]
async fn a_pause_is_kept() {
    for (header, least, most) in
        [("0.9", 10, 150), ("-5", 10, 150), ("abc", 10, 150), ("999999999", 500, 700), ("1", 500, 700)]
    {
        let act =
            Act::Answer(format!("HTTP/1.1 429 X\r\nRetry-After: {header}\r\nContent-Length: 0\r\n\r\n"));
        let (status, seen) = through(twenty(), act, 1).await;
        assert_eq!(status.kinds.keys().collect::<Vec<_>>(), [&Kind::Throttled]);
        let [(_, first), (_, second), ..] = seen.requests[..] else { panic!("{:?}", seen.requests) };
        let pause = u64::try_from((second - first).as_millis()).unwrap();
        assert!((least..most).contains(&pause), "{header}: {pause} ms");
    }
}

/// SK-16: three requests that do not end in time make the next one half as large; in the end all arrives.
#[tokio::test]
async fn what_cannot_be_sent_in_time_becomes_smaller() {
    let script = |_: usize, body: &str| if body.lines().count() > 8 { Act::Hang } else { Act::Take };
    let server = serve(Arc::new(script)).await;
    let mut desk = Desk::new();
    for _ in 0..40 {
        desk.commit(1);
    }
    let hasty = super::Pace { request: Duration::from_millis(100), ..pace() };
    desk.start_with(Settings { pace: hasty, batch_max: 64, ..Settings::new("sink", target(server.port)) });
    let status = desk.drained().await;
    assert!(status.batch < 64 && status.kinds.contains_key(&Kind::Timeout), "{status:?}");
    assert_eq!(server.seen.lock().unwrap().taken, desk.wanted());
    desk.stop().await;
}

/// SK-36: the token comes from a file that changes while the gateway runs, and stands in no text.
#[tokio::test]
async fn a_new_token_in_its_file_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "old-secret\n").unwrap();
    let script = |_: usize, _: &str| answer("401 Unauthorized", "{\"error\":\"old-secret?\"}");
    let server = serve(Arc::new(script)).await;
    let mut desk = Desk::new();
    desk.commit(3);
    let token = Some(lifeline_gateway::forward::Secret::File(file.clone()));
    let Target::Influx { url, tls, .. } = target(server.port) else { unreachable!() };
    let api = Api::V2 { org: "district".into(), bucket: "telemetry".into() };
    desk.start(Target::Influx { url, api, token, user: None, tls, tags: Vec::new() });
    desk.until("held", |status| status.held).await;
    std::fs::write(&file, "new-secret\n").unwrap();
    let until = now() + Duration::from_secs(2);
    while !server.seen.lock().unwrap().heads.last().unwrap().contains("new-secret") {
        assert!(now() < until, "the new token is not used");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(server.seen.lock().unwrap().heads[0].contains("authorization: token old-secret"));
    desk.stop().await;
}

/// SK-102: every third answer is a 500.
#[tokio::test]
async fn every_third_answer_bad_costs_no_record() {
    let script = |number: usize, _: &str| if number % 3 == 2 { answer("500 X", "") } else { Act::Take };
    let server = serve(Arc::new(script)).await;
    let mut desk = Desk::new();
    desk.start(target(server.port));
    for _ in 0..40 {
        desk.commit_with(1, vec![super::transition(0)]);
        sleep(Duration::from_millis(5)).await;
    }
    desk.until("alarms", |status| status.alarms == 40).await;
    desk.drained().await;
    let seen = server.seen.lock().unwrap().clone();
    assert_eq!(seen.taken, desk.wanted());
    assert_eq!(seen.alarms, 40, "nothing that was acknowledged is sent again");
    desk.stop().await;
}

/// Quarantine: what is refused for good is on disk, can be listed, and is sent again on a person's word; it survives a restart, and
/// one that is refused again stays.
#[tokio::test]
async fn what_is_set_aside_can_be_sent_again() {
    use lifeline_gateway::journal::quarantine::{Make, Quarantine};
    let fixed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let well = Arc::clone(&fixed);
    let script = move |_: usize, body: &str| {
        let well = well.load(std::sync::atomic::Ordering::Relaxed);
        let bad = body.contains("value=31 ") || !well && body.contains("value=17 ");
        if bad { answer("400 Bad Request", "field type conflict") } else { Act::Take }
    };
    let server = serve(Arc::new(script)).await;
    let mut desk = Desk::new();
    desk.commit(50);
    desk.start(target(server.port));
    let status = desk.until("set aside", |status| status.quarantined == 2).await;
    assert_eq!((status.rejected, status.readings), (2, 48));
    // Progress was handed on only after they were on disk.
    let progress = desk.stop().await.unwrap();
    assert!(progress.gaps.is_empty() && progress.live.0 == 1, "{progress:?}");
    let mut kept = Quarantine::open(desk.folder(), Make::No).unwrap().unwrap();
    let list = kept.list(Some("sink"), 0, 10).unwrap();
    assert_eq!(list.iter().map(|one| numbers(&one.what).next().unwrap()).collect::<Vec<_>>(), [17, 31]);
    assert!(list[0].why.contains("field type conflict"), "{}", list[0].why);
    fixed.store(true, std::sync::atomic::Ordering::Relaxed);
    kept.send_again(None, None).unwrap();
    desk.start(target(server.port));
    let status = desk.until("sent again", |status| status.quarantined == 1).await;
    assert!(status.up);
    assert!(server.seen.lock().unwrap().taken.contains(&17));
    let list = kept.list(None, 0, 10).unwrap();
    assert!(list.len() == 1 && !list[0].again && list[0].what.contains("value=31 "));
    desk.stop().await;
}

/// Promise 3: what the disk refuses is told, marked; when it is committed it comes again under the same key, and the alarm's mark goes.
#[tokio::test]
async fn notice_goes_out_without_the_journal_and_is_marked() {
    let bodies = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&bodies);
    let script = move |_: usize, body: &str| {
        if !body.is_empty() {
            kept.lock().unwrap().push(body.to_owned());
        }
        Act::Take
    };
    let server = serve(Arc::new(script)).await;
    let mut desk = Desk::new();
    desk.start(target(server.port));
    desk.refused_by_the_disk(0);
    desk.until("told", |status| status.unjournaled == 2).await;
    desk.commit_with(1, vec![super::transition(0)]);
    desk.until("alarms", |status| status.alarms == 1).await;
    desk.drained().await;
    let text = bodies.lock().unwrap().concat();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("alarm")).collect();
    assert!(lines[0].contains(",unjournaled=1i") && lines[1].contains(",unjournaled=0i"), "{text}");
    let keys = |line: &str| {
        (line.split(' ').next().unwrap().to_owned(), line.rsplit(' ').next().unwrap().to_owned())
    };
    assert_eq!(keys(lines[0]), keys(lines[1]), "a repeat is harmless");
    let readings: Vec<_> = text.lines().filter(|line| line.starts_with("gas")).collect();
    assert!(readings[0].contains(",unjournaled=1i") && !readings[1].contains("unjournaled"), "{text}");
    desk.stop().await;
}

/// Filters and tags: what a sink does not get counts as delivered, also when it is everything; a name cannot break a line.
#[tokio::test]
async fn a_sink_gets_what_it_wants_under_the_tags_it_wants() {
    use lifeline_gateway::forward::shape::{Only, Template, Topics};
    let bodies = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&bodies);
    let script = move |_: usize, body: &str| {
        if !body.is_empty() {
            kept.lock().unwrap().push(body.to_owned());
        }
        Act::Take
    };
    let server = serve(Arc::new(script)).await;
    let tags = vec![("where".to_owned(), Template::parse("{site}, {class} = {town}", &Topics::TAG).unwrap())];
    let Target::Influx { url, api, token, user, tls, .. } = target(server.port) else { unreachable!() };
    let target = Target::Influx { url, api, token, user, tls, tags };
    for (devices, readings) in [(vec!["*-3".to_owned()], 5), (vec!["pump-*".to_owned()], 0)] {
        let mut desk = Desk::new();
        desk.commit_with(5, vec![super::transition(0)]);
        let only = Only { devices, ..Only::default() };
        desk.start_with(Settings { pace: pace(), only, ..Settings::new("sink", target.clone()) });
        desk.until("all", |status| status.backlog == 0 && status.alarms == 1 && status.readings == readings)
            .await;
        let progress = desk.stop().await.unwrap();
        assert_eq!((progress.live.0, progress.alarms, progress.gaps.len()), (1, 1, 0));
    }
    let text = bodies.lock().unwrap().concat();
    let line = text.lines().find(|line| line.starts_with("gas")).unwrap();
    assert!(line.contains(r",where=nanan-01\,\ gas-pressure\ \=\  quality"), "{line}");
    assert_eq!(text.lines().filter(|line| line.starts_with("gas")).count(), 5);
}
