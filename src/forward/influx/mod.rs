//! A sink that speaks the InfluxDB write API: InfluxDB 1.x and 2.x, VictoriaMetrics.
//!
//! In: parcels. Out: POSTs of line protocol, gzip from 1 KiB on.
//! Invariant: a receipt only after 2xx without an error in the body; a line is refused only when it was refused alone.
//! Source: InfluxDB API v1 and v2 write; DESIGN section 9; RFC 9110 (Retry-After).

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, Url};

use crate::clock::{Clock, Timestamp};
use crate::forward::line_protocol::Lines;
use crate::forward::sink::{Parcel, Receipt, Refusal, Refused, Sink, cut};
use crate::forward::{Api, Secret};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;
/// Bodies above this are compressed.
const PLAIN_MAX: usize = 1024;
/// Single lines refused, and none taken, after which the fault is not in the lines.
const REFUSED_MAX: usize = 8;

/// How to write to one database.
pub struct Influx {
    site: String,
    batch_max: usize,
    /// `Err`: what is wrong with the settings.
    access: Result<(Client, Url), String>,
    api: Api,
    user: Option<String>,
    token: Option<Secret>,
    clock: Arc<dyn Clock>,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Taken,
    /// Some line in it is not accepted.
    Refused(String),
    Failed(Refusal),
}

impl Influx {
    /// A sink to `url`; `batch_max` lines in one request at most.
    pub fn new(
        site: String,
        batch_max: usize,
        (url, api): (&str, Api),
        (user, token): (Option<String>, Option<Secret>),
        clock: Arc<dyn Clock>,
    ) -> Self {
        // A provider that is installed already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { site, batch_max: batch_max.max(1), access: access(url, &api), api, user, token, clock }
    }

    /// Delivers what it can; splits what is refused until the bad line stands alone.
    pub(crate) async fn write(&self, lines: &Lines) -> Result<Receipt, Refusal> {
        let total = lines.ends.len();
        let mut todo: Vec<(usize, usize)> = (0..total)
            .step_by(self.batch_max)
            .map(|from| (from, from.saturating_add(self.batch_max).min(total)))
            .collect();
        // The top of the stack is the oldest part: order is kept.
        todo.reverse();
        let (mut refused, mut taken) = (Vec::new(), 0_usize);
        while let Some((from, to)) = todo.pop() {
            let text = lines.slice(from, to);
            match self.post(text).await {
                Verdict::Taken => taken = taken.saturating_add(to.saturating_sub(from)),
                Verdict::Refused(why) if to.saturating_sub(from) <= 1 => {
                    refused.push(Refused::new(1, text.trim_end(), &why));
                    let most = refused.len().saturating_mul(2) > total && total >= 4;
                    if most || (taken == 0 && refused.len() >= REFUSED_MAX) {
                        let why = format!("{} of {total} records refused: {}", refused.len(), cut(&why));
                        return Err(Refusal::Unfit { why });
                    }
                }
                Verdict::Refused(_) => {
                    let middle = from.midpoint(to);
                    todo.extend([(middle, to), (from, middle)]);
                }
                Verdict::Failed(refusal) => return Err(refusal),
            }
        }
        Ok(Receipt { refused })
    }

    async fn post(&self, text: &str) -> Verdict {
        let request = match self.request(text) {
            Ok(request) => request,
            Err(why) => return Verdict::Failed(Refusal::Denied { why }),
        };
        match request.send().await {
            Ok(response) => self.answer(response).await,
            Err(error) => Verdict::Failed(Refusal::Unreachable { why: chain(error) }),
        }
    }

    fn request(&self, text: &str) -> Result<RequestBuilder, String> {
        let (client, url) = self.access.as_ref().map_err(Clone::clone)?;
        let request = client.post(url.clone()).header(CONTENT_TYPE, "text/plain; charset=utf-8");
        let token = self.token.as_ref().map(Secret::read).transpose()?;
        let request = match (&self.api, &self.user, token) {
            (Api::V1 { .. }, Some(user), token) => request.basic_auth(user, token),
            (_, _, Some(token)) => {
                let mut value = HeaderValue::try_from(format!("Token {token}"))
                    .map_err(|_| "the token holds characters that no header may hold".to_owned())?;
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            (_, _, None) => request,
        };
        if text.len() <= PLAIN_MAX {
            return Ok(request.body(text.to_owned()));
        }
        let mut packer = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::new(1));
        let packed = packer.write_all(text.as_bytes()).and_then(|()| packer.finish());
        let packed = packed.map_err(|error| error.to_string())?;
        Ok(request.header(CONTENT_ENCODING, "gzip").body(packed))
    }

    async fn answer(&self, mut response: Response) -> Verdict {
        let status = response.status().as_u16();
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = header.and_then(|text| retry_after(text, self.clock.now()));
        if status == 204 {
            return Verdict::Taken;
        }
        match body(&mut response).await {
            Ok(body) => judge(status, after, &String::from_utf8_lossy(&body)),
            // A success whose body was cut off may hold an error.
            Err(error) if status < 300 => Verdict::Failed(Refusal::Unreachable { why: chain(error) }),
            Err(_) => judge(status, after, ""),
        }
    }
}

impl Sink for Influx {
    async fn deliver(&self, parcel: Parcel) -> Result<Receipt, Refusal> {
        let lines = Lines::new(&parcel, &self.site);
        let mut receipt = self.write(&lines).await?;
        if lines.nameless > 0 {
            receipt.refused.push(Refused::new(lines.nameless, "", "the catalog does not name the point"));
        }
        Ok(receipt)
    }

    async fn keep(&self) {
        std::future::pending().await
    }
}

fn access(url: &str, api: &Api) -> Result<(Client, Url), String> {
    let base = url.trim_end_matches('/');
    let url = match api {
        Api::V2 { org, bucket } => {
            let query = [("org", org.as_str()), ("bucket", bucket), ("precision", "ms")];
            Url::parse_with_params(&format!("{base}/api/v2/write"), query)
        }
        Api::V1 { database } => {
            Url::parse_with_params(&format!("{base}/write"), [("db", database.as_str()), ("precision", "ms")])
        }
    };
    let url = url.map_err(|error| format!("the url {base} is not one: {error}"))?;
    let client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(chain)?;
    Ok((client, url))
}

/// At most [`ANSWER_MAX`] bytes; the rest stays unread and ends the connection.
async fn body(response: &mut Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < ANSWER_MAX
        && let Some(chunk) = response.chunk().await?
    {
        let room = ANSWER_MAX.saturating_sub(body.len());
        body.extend(chunk.iter().take(room));
    }
    Ok(body)
}

/// The error and its causes, without the address (it may hold a password).
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    cut(&text).to_owned()
}

fn judge(status: u16, after: Option<Duration>, body: &str) -> Verdict {
    let why = format!("answer {status}: {}", cut(body.trim()));
    match status {
        200..=299 if body.trim().is_empty() => Verdict::Taken,
        200..=299 => success(body, why),
        400 | 413 | 422 => Verdict::Refused(why),
        408 | 425 | 429 | 500..=506 | 508..=599 => Verdict::Failed(Refusal::Busy { why, after }),
        // Credentials, a missing database, a redirect to a login page, a full store: nothing that waiting alone cures.
        300..=499 | 507 => Verdict::Failed(Refusal::Denied { why }),
        _ => Verdict::Failed(Refusal::Unreachable { why }),
    }
}

/// A 2xx with a body: JSON without an `error` is a success, a page of HTML comes from something in between.
fn success(body: &str, why: String) -> Verdict {
    match serde_json::from_str::<serde_json::Value>(body) {
        Ok(json) => {
            let mut results = json.get("results").and_then(|list| list.as_array()).into_iter().flatten();
            let error = json.get("error").is_some() || results.any(|result| result.get("error").is_some());
            if error { Verdict::Refused(why) } else { Verdict::Taken }
        }
        Err(_) => Verdict::Failed(Refusal::Unreachable { why }),
    }
}

/// Seconds or an HTTP date; anything else asks for nothing.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(Timestamp::from_millis(until.as_millisecond()).since(now))
}

#[cfg(test)]
mod tests;
