//! Who may come in: host names, the token, the time a request may take, and the headers every answer carries.
//!
//! In: requests. Out: the same requests, or a refusal with a reason.
//! Invariant: an act never reaches the core without the token; the token is compared in constant time.
//! Source: DNS rebinding (a foreign page that names this box by its own host name) is stopped by the host check.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::console::api::refuse;
use crate::console::state::Console;

/// A request must be answered (its head, for a stream) within this.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Nothing from outside, nothing inline; pictures only as the empty icon.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Turns away foreign hosts and those without the token where it is needed.
pub(crate) async fn admit(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    if console.loopback && !host_of(&request).is_some_and(is_own_host) {
        let text = "this console answers only to an IP address or localhost as host name";
        return refuse(StatusCode::MISDIRECTED_REQUEST, text);
    }
    let reading = *request.method() == Method::GET || *request.method() == Method::HEAD;
    let path = request.uri().path();
    let free = reading && !is_guarded(path) && (console.loopback || is_free(path));
    if !free && !carries(request.headers(), &console.token) {
        let mut refusal =
            refuse(StatusCode::UNAUTHORIZED, "this needs the token: Authorization: Bearer TOKEN");
        refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return refusal;
    }
    match tokio::time::timeout(ANSWER_MAX, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => refuse(StatusCode::GATEWAY_TIMEOUT, "the request took too long"),
    }
}

/// Puts the safety headers on every answer.
pub(crate) async fn protect(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await.into_response();
    let fixed: [(HeaderName, &'static str); 6] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// What even a stranger may see: whether the gateway is well, and the page without its data.
fn is_free(path: &str) -> bool {
    matches!(path, "/" | "/page.css" | "/page.js" | "/healthz")
}

/// What only a person with the token may see, on this box too: a trace costs the line's master work, documents hold addresses and thresholds.
fn is_guarded(path: &str) -> bool {
    path.ends_with("/trace") || path.ends_with("/documents")
}

fn host_of(request: &Request) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(header::HOST)?.to_str().ok(),
    }
}

/// An IP address or localhost, with or without a port.
fn is_own_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(ip, port)| ip.parse::<Ipv6Addr>().is_ok() && is_port(port));
    }
    let (name, port) = host.find(':').map_or((host, ""), |at| host.split_at(at));
    is_port(port) && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok())
}

/// Nothing, or a colon and a port.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

fn carries(headers: &HeaderMap, token: &str) -> bool {
    let Some(Ok(value)) = headers.get(header::AUTHORIZATION).map(HeaderValue::to_str) else { return false };
    let Some((scheme, given)) = value.split_once(' ') else { return false };
    scheme.eq_ignore_ascii_case("bearer") && is_same(given.trim(), token)
}

/// Compares every byte whatever the outcome; only the length may show. An empty token matches nothing.
fn is_same(given: &str, token: &str) -> bool {
    let differ =
        given.bytes().zip(token.bytes()).fold(0, |differ, (a, b)| std::hint::black_box(differ | (a ^ b)));
    !token.is_empty() && given.len() == token.len() && differ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_hosts_are_addresses_and_localhost() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "localhost:8080",
            "LOCALHOST",
            "[::1]:8080",
            "[::1]",
            "10.0.0.5:80",
        ] {
            assert!(is_own_host(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8080",
            "",
            "127.0.0.1:x",
            "[::1",
            "[evil]:80",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_own_host(host), "{host}");
        }
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        assert!(is_same("abc", "abc"));
        for (given, token) in [("abd", "abc"), ("ab", "abc"), ("abcd", "abc"), ("", "abc"), ("", "")] {
            assert!(!is_same(given, token), "{given} {token}");
        }
    }

    #[test]
    fn the_scheme_may_be_written_in_any_case() {
        let check = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            carries(&headers, "abc")
        };
        assert!(check("Bearer abc"));
        assert!(check("bearer  abc"));
        assert!(!check("Basic abc"));
        assert!(!check("abc"));
        assert!(!carries(&HeaderMap::new(), "abc"));
    }
}
