//! Answers packed for a client that takes it: what a page of thousands of points fetches again and again is a tenth then.
//!
//! In: answers as they were made. Out: the same, with gzip where that is asked for and worth it.
//! Invariant: a stream (events, history, a trace) passes as it comes, so nothing of it is ever held back.
//! Source: RFC 9110, 12.5.3 (Accept-Encoding); RFC 1952 (gzip).

use std::io::Write;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Less than this is one packet anyway.
const WORTH_BYTES: u64 = 1024;

/// Packs what is made; on a small processor the quickest level costs less than sending the rest.
pub(crate) async fn pack(request: Request, next: Next) -> Response {
    let takes = takes_gzip(request.headers());
    let mut answer = next.run(request).await;
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    // Only of a body that is whole the size is known.
    let worth = answer.body().size_hint().exact().is_some_and(|bytes| WORTH_BYTES <= bytes);
    if !takes || !worth {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    let plain = to_bytes(body, usize::MAX).await.expect("a body that is whole has no error");
    let packed = gzip(&plain);
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(packed.len()));
    Response::from_parts(head, Body::from(packed))
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("memory takes every byte")
}

/// `gzip` is among what the client names, and not with the weight 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        let weight = weight.split_once('=').map_or("1", |(_, weight)| weight).trim();
        name.trim().eq_ignore_ascii_case("gzip") && weight.parse().is_ok_and(|weight: f32| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_client_names_is_taken() {
        let takes = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            takes_gzip(&headers)
        };
        for value in ["gzip", "gzip, deflate", "br;q=1.0, GZIP;q=0.8", "deflate,gzip ; q=1"] {
            assert!(takes(value), "{value}");
        }
        for value in ["", "br", "gzip;q=0", "gzip; q=0.000", "identity", "x-gzipped"] {
            assert!(!takes(value), "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
