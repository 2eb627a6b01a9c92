use std::sync::Mutex;

use flate2::read::GzDecoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::clock::SystemClock;

fn class(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Taken => "taken",
        Verdict::Refused(_) => "refused",
        Verdict::TooOld(_) => "too old",
        Verdict::Lines(..) => "lines",
        Verdict::TooLarge(_) => "too large",
        Verdict::Failed(Refusal::Busy { .. }) => "busy",
        Verdict::Failed(Refusal::Denied { .. }) => "denied",
        Verdict::Failed(Refusal::Unreachable { .. }) => "unreachable",
        Verdict::Failed(Refusal::Unfit { .. }) => "unfit",
    }
}

#[test]
fn answers() {
    let table = [
        (204, "", "taken"),
        (200, "", "taken"),
        (200, r#"{"results":[{"statement_id":0}]}"#, "taken"),
        (200, r#"{"results":[{"error":"no such database"}]}"#, "refused"),
        (200, r#"{"error":"partial write"}"#, "refused"),
        (200, "<!DOCTYPE html><title>Login</title>", "unreachable"),
        (302, "", "denied"),
        (400, "unable to parse", "refused"),
        (401, "", "denied"),
        (403, "", "denied"),
        (404, "bucket not found", "denied"),
        (413, "", "too large"),
        (400, r#"{"error":"partial write: points beyond retention policy dropped=3"}"#, "too old"),
        (400, r#"{"error":"partial write: points beyond retention policy dropped=1"}"#, "refused"),
        (400, r#"{"error":"partial write of line protocol occurred","data":[{"line_number":2}]}"#, "lines"),
        (400, r#"{"data":[{"line_number":9}]}"#, "refused"),
        (
            400,
            r#"{"error":"partial write: max-series-per-database limit exceeded: (1) dropped=1"}"#,
            "denied",
        ),
        (405, "", "denied"),
        (407, "", "denied"),
        (408, "", "busy"),
        (415, "", "denied"),
        (422, "", "refused"),
        (429, "", "busy"),
        (500, "", "busy"),
        (503, "", "busy"),
        (507, "", "denied"),
        (100, "", "unreachable"),
        (999, "", "unreachable"),
    ];
    for (status, body, expected) in table {
        assert_eq!(class(&judge(status, None, body, 3)), expected, "{status} {body}");
    }
}

#[test]
fn retry_after_in_every_form() {
    let now = Timestamp::parse("1994-11-06T08:49:07Z").unwrap();
    let cases = [
        ("120", Some(120)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("999999999", Some(999_999_999)),
        ("-5", None),
        ("abc", None),
        ("1.5", None),
    ];
    for (text, expected) in cases {
        assert_eq!(retry_after(text, now), expected.map(Duration::from_secs), "{text}");
    }
}

/// A database of the tests: answers by the body, over a socket of its own, in real time. Bodies it took come out in order.
async fn serve(listener: TcpListener, answer: impl Fn(&str) -> String, bodies: &Mutex<Vec<String>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        let (head, start) = loop {
            stream.read_buf(&mut bytes).await.unwrap();
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break (String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase(), end + 4);
            }
        };
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        while bytes.len() < start + length.parse::<usize>().unwrap() {
            stream.read_buf(&mut bytes).await.unwrap();
        }
        let mut body = String::new();
        if head.contains("content-encoding: gzip") {
            std::io::Read::read_to_string(&mut GzDecoder::new(&bytes[start..]), &mut body).unwrap();
        } else {
            body = String::from_utf8(bytes[start..].to_vec()).unwrap();
        }
        let answer = answer(&body);
        if answer.starts_with("204") {
            bodies.lock().unwrap().push(body);
        }
        let (status, rest) = answer.split_once('|').unwrap_or((&answer, ""));
        let (header, text) = rest.split_once('|').unwrap_or(("", rest));
        let answer = format!("HTTP/1.1 {status} X\r\n{header}Connection: close\r\n\r\n{text}");
        // The client may have heard enough.
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

fn lines(count: usize) -> Lines {
    let mut lines = Lines::default();
    for index in 0..count {
        lines.text.push_str(&format!("gas_pressure,device=regulator-3 value={index} 1\n"));
        lines.ends.push((lines.text.len(), Timestamp::default()));
    }
    lines
}

fn sink(url: &str, api: Api, batch_max: usize, access: (Option<String>, Option<Secret>)) -> Influx {
    let address = Address { url: url.to_owned(), api, tls: Tls::default(), tags: Vec::new() };
    let clock = Arc::new(SystemClock::new());
    Influx::new("nanan-01".into(), batch_max, address, access, (Pace::default(), clock))
}

/// What became of `count` lines, and the values that were taken, in order.
async fn written(count: usize, answer: impl Fn(&str) -> String) -> (Result<Receipt, Refusal>, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let api = Api::V2 { org: "district".into(), bucket: "telemetry".into() };
    let sink = sink(&url, api, 64, (None, None));
    let bodies = Mutex::new(Vec::new());
    let receipt = tokio::select! {
        receipt = async { sink.write(&lines(count), Doubt::None).await } => receipt,
        () = serve(listener, answer, &bodies) => unreachable!(),
    };
    let taken = bodies.into_inner().unwrap().concat();
    let value = |line: &str| line.split("value=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    (receipt, taken.lines().map(value).collect())
}

#[tokio::test]
async fn the_bad_line_stands_alone_and_the_rest_goes_on_in_order() {
    let bad = |body: &str| body.contains("value=7 ") || body.contains("value=130 ");
    let answer =
        move |body: &str| if bad(body) { "400|unable to parse".to_owned() } else { "204".to_owned() };
    let (receipt, taken) = written(200, answer).await;
    let refused = receipt.unwrap().refused;
    let what: Vec<_> = refused.iter().map(|refused| refused.what.as_str()).collect();
    let record = |value| format!("gas_pressure,device=regulator-3 value={value} 1");
    assert_eq!(what, [record(7), record(130)]);
    assert!(refused[0].why.contains("unable to parse"));
    let expected: Vec<_> =
        (0..200).filter(|value| ![7, 130].contains(value)).map(|value| value.to_string()).collect();
    assert_eq!(taken, expected);
}

#[tokio::test]
async fn a_schema_that_fits_nothing_gives_nothing_up() {
    let requests = std::cell::Cell::new(0);
    let (receipt, taken) = written(1000, |_| {
        requests.set(requests.get() + 1);
        "422|field type conflict".to_owned()
    })
    .await;
    assert!(matches!(receipt, Err(Refusal::Unfit { why }) if why.contains("field type conflict")));
    assert!(taken.is_empty() && requests.get() < 30, "{}", requests.get());
}

#[tokio::test]
async fn an_endless_answer_is_cut_and_a_pause_is_heeded() {
    let (receipt, _) = written(1, |_| format!("503|Retry-After: 120\r\n|{}", "x".repeat(1 << 20))).await;
    let Err(Refusal::Busy { why, after, .. }) = receipt else { panic!("{receipt:?}") };
    assert_eq!(after, Some(Duration::from_secs(120)));
    assert!(why.len() < 600);
}

#[tokio::test]
async fn nobody_there_and_half_an_answer_are_no_receipts() {
    let (receipt, _) = written(1, |_| "200|Content-Length: 50\r\n|{}".to_owned()).await;
    assert!(matches!(receipt, Err(Refusal::Unreachable { .. })), "{receipt:?}");
    let (receipt, _) = written(1, |_| "not http".to_owned()).await;
    assert!(matches!(receipt, Err(Refusal::Unreachable { .. })), "{receipt:?}");
    let api = Api::V1 { database: "telemetry".into(), policy: String::new() };
    let sink = sink("http://u:secret@127.0.0.1:1", api, 10, (None, None));
    let answer = sink.write(&lines(1), Doubt::None).await;
    let Err(Refusal::Unreachable { kind: Kind::Refused, why }) = answer else { panic!("{answer:?}") };
    assert!(!why.contains("secret") && why.contains("refused"), "{why}");
}

#[test]
fn requests_carry_credentials_and_addresses() {
    let token = std::env::temp_dir().join(format!("lifeline-token-{}", std::process::id()));
    std::fs::write(&token, "s3cret\n").unwrap();
    let secret = Some(Secret::File(token.clone()));
    let api = Api::V2 { org: "南岸".into(), bucket: "a b".into() };
    let told = sink("http://h:1/", api, 10, (None, secret.clone()));
    let request = told.request("a").unwrap().build().unwrap();
    let url = "http://h:1/api/v2/write?org=%E5%8D%97%E5%B2%B8&bucket=a+b&precision=ms";
    assert_eq!(request.url().as_str(), url);
    assert_eq!(request.headers()[AUTHORIZATION], "Token s3cret");
    assert!(!format!("{request:?}").contains("s3cret"));
    let api = Api::V1 { database: "t".into(), policy: "a week".into() };
    let told = sink("http://h:1", api, 10, (Some("u".into()), secret));
    let request = told.request("a").unwrap().build().unwrap();
    assert_eq!(request.url().as_str(), "http://h:1/write?db=t&precision=ms&rp=a+week");
    assert_eq!(request.headers()[AUTHORIZATION], "Basic dTpzM2NyZXQ=");
    std::fs::remove_file(token).unwrap();
    assert!(matches!(told.request("a"), Err(why) if why.contains("cannot read")));
}
