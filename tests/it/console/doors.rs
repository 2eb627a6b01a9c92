//! Who is let in, what the page brings along, and what is answered to questions that make no sense.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::console::{TOKEN, get, no_journal, raw, served, served_on};

#[tokio::test]
async fn foreign_host_names_are_turned_away_on_loopback() {
    let served = served().await;
    let ask = async |host: &str| {
        raw(&served, &format!("GET /api/v1/points HTTP/1.1\r\n{host}Connection: close\r\n\r\n")).await.0
    };
    assert_eq!(ask("Host: rebound.example\r\n").await, 421);
    assert_eq!(ask("").await, 421);
    assert_eq!(ask(&format!("Host: {}\r\n", served.address)).await, 200);
}

#[tokio::test]
async fn beyond_loopback_data_needs_the_token_and_health_does_not() {
    let served = served_on("0.0.0.0:0", no_journal()).await;
    let ask = async |path: &str, more: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: gateway.example\r\n{more}Connection: close\r\n\r\n");
        raw(&served, &request).await.0
    };
    for path in ["/", "/page.js", "/healthz"] {
        assert_eq!(ask(path, "").await, 200, "{path}");
    }
    for path in ["/metrics", "/api/v1/status", "/api/v1/points", "/api/v1/history", "/api/v1/events"] {
        assert_eq!(ask(path, "").await, 401, "{path}");
    }
    assert_eq!(ask("/metrics", &format!("Authorization: Bearer {TOKEN}\r\n")).await, 200);
}

#[tokio::test]
async fn the_page_needs_nothing_from_outside_and_makes_no_markup_of_data() {
    let served = served().await;
    for path in ["/", "/page.css", "/page.js"] {
        let (status, head, body) = get(&served, path).await;
        assert_eq!(status, 200, "{path}");
        assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
        for word in [
            "http:",
            "https:",
            "//cdn",
            "@import",
            "url(",
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!body.contains(word), "{path} contains {word}");
        }
        for word in ["<style", " style=", " onclick=", "<script>"] {
            assert!(path != "/" || !body.contains(word), "inline {word} is against the page's own policy");
        }
    }
}

#[tokio::test]
async fn listeners_hear_changes_and_the_33rd_is_turned_away() {
    let served = served().await;
    let request = "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut listeners = Vec::new();
    for _ in 0..32 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start[..], b"HTTP/1.1 200");
        listeners.push(stream);
    }
    assert_eq!(get(&served, "/api/v1/events").await.0, 503);

    served.board.changed.send_replace(77);
    let mut heard = String::new();
    while !heard.contains("data: {\"change\":77}\n\n") {
        let mut piece = [0; 1024];
        let count = listeners[31].read(&mut piece).await.unwrap();
        assert!(count > 0, "ended after {heard}");
        heard.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
}

#[tokio::test]
async fn stop_ends_listeners_and_the_server() {
    let served = served().await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.unwrap();
    served.stop.send(true).unwrap();
    served.serving.await.unwrap().unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn bad_questions_about_history_are_explained() {
    let served = served().await;
    for (query, word) in [
        ("since=yesterday", "since is \\\"yesterday\\\""),
        (
            "since=1h&until=2h",
            "the window is empty: since 2026-11-23 15:00:10 +08:00 is not before until 2026-11-23 14:00:10 +08:00",
        ),
        ("format=xml", "write csv, jsonl or lp"),
        ("points=x", "there is no parameter"),
        ("limit=-1", "limit"),
    ] {
        let (status, _, body) = get(&served, &format!("/api/v1/history?{query}")).await;
        assert_eq!(status, 422, "{query} {body}");
        assert!(body.contains(word), "{query} {body}");
    }
}

#[tokio::test]
async fn a_journal_that_cannot_be_opened_is_an_answer() {
    let served = served().await;
    let (status, _, body) = get(&served, "/api/v1/history").await;
    assert_eq!(status, 503, "{body}");
}
