//! A sink that speaks the InfluxDB write API: InfluxDB 1.x and 2.x, VictoriaMetrics.
//!
//! In: parcels. Out: POSTs of line protocol, gzip from 1 KiB on.
//! Invariant: a receipt only after 2xx without an error in the body; a line is refused only when it was refused alone.
//! Source: InfluxDB API v1 and v2 write; DESIGN section 9; RFC 9110 (Retry-After).

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, Url};
use tokio::time::Instant;

use crate::clock::{Clock, Timestamp};
use crate::forward::backoff::Pace;
use crate::forward::drive::now;
use crate::forward::line_protocol::Lines;
use crate::forward::names::Names;
use crate::forward::shape::Template;
use crate::forward::sink::{Doubt, Parcel, Receipt, Refusal, Refused, Sink, cut};
use crate::forward::tls::{self, Stamp, Tls};
use crate::forward::trouble::{self, Kind, chain};
use crate::forward::{Api, Secret};

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;
/// Bodies above this are compressed.
const PLAIN_MAX: usize = 1024;
/// Single lines refused, and none taken, after which the fault is not in the lines.
const REFUSED_MAX: usize = 8;
/// A size that the server called too large is not tried again for this long.
const REMEMBER: Duration = Duration::from_secs(3600);
/// Bytes of the head of an answer at most.
const HEAD_MAX: usize = 16 * 1024;

/// Where a database is.
#[derive(Clone, Debug)]
pub struct Address {
    /// `http://127.0.0.1:8086`.
    pub url: String,
    /// Which write API.
    pub api: Api,
    /// Files of TLS.
    pub tls: Tls,
    /// Tags beside our own.
    pub tags: Vec<(String, Template)>,
}

/// How to write to one database.
pub struct Influx {
    site: String,
    batch_max: usize,
    address: Address,
    /// `Err`: what is wrong with the url.
    url: Result<Url, String>,
    names: Names,
    /// The client, and the files of TLS that it was made from.
    client: Mutex<Option<(Stamp, Client)>>,
    user: Option<String>,
    token: Option<Secret>,
    pace: Pace,
    clock: Arc<dyn Clock>,
    /// Lines that one request may hold, since the server called more too large, and when that was.
    lines_max: Mutex<Option<(usize, Instant)>>,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Taken,
    /// Some line in it is not accepted.
    Refused(String),
    /// All lines in it are older than the database keeps them.
    TooOld(String),
    /// These lines, from 0, are not accepted; the others stand alone.
    Lines(Vec<usize>, String),
    /// It is too large as a whole.
    TooLarge(String),
    Failed(Refusal),
}

impl Influx {
    /// A sink to `address`; `batch_max` lines in one request at most.
    pub fn new(
        site: String,
        batch_max: usize,
        address: Address,
        (user, token): (Option<String>, Option<Secret>),
        (pace, clock): (Pace, Arc<dyn Clock>),
    ) -> Self {
        let (url, names) = (write_url(&address), Names::system());
        let (client, lines_max) = (Mutex::default(), Mutex::default());
        let batch_max = batch_max.max(1);
        Self { site, batch_max, address, url, names, client, user, token, pace, clock, lines_max }
    }

    /// Delivers what it can; splits what is refused until the bad line stands alone.
    pub(crate) async fn write(&self, lines: &Lines, doubt: Doubt) -> Result<Receipt, Refusal> {
        let total = lines.ends.len();
        let step = self.remembered();
        let mut todo: Vec<(usize, usize)> =
            (0..total).step_by(step).map(|from| (from, from.saturating_add(step).min(total))).collect();
        // The top of the stack is the oldest part: order is kept.
        todo.reverse();
        let (mut refused, mut taken, mut bad) = (Vec::new(), 0_usize, 0_usize);
        while let Some((from, to)) = todo.pop() {
            let text = lines.slice(from, to);
            let count = to.saturating_sub(from);
            let alone = count <= 1;
            match suspected(self.post(text, count).await, doubt) {
                Verdict::Taken => taken = taken.saturating_add(count),
                Verdict::TooOld(why) => {
                    refused.extend((from..to).map(|at| Refused::too_old(line(lines, at), &why)));
                }
                Verdict::Refused(why) | Verdict::Lines(_, why) | Verdict::TooLarge(why) if alone => {
                    refused.push(Refused::new(1, text.trim_end(), &why));
                    bad = bad.saturating_add(1);
                    let most = bad.saturating_mul(2) > total && total >= 4;
                    if most || (taken == 0 && bad >= REFUSED_MAX) {
                        let why = format!("{bad} of {total} records refused: {}", cut(&why));
                        return Err(Refusal::Unfit { why });
                    }
                }
                Verdict::Lines(bad, _) => todo.extend(parts((from, to), &bad).into_iter().rev()),
                Verdict::TooLarge(_) => {
                    self.remember(count / 2);
                    todo.extend([(from.midpoint(to), to), (from, from.midpoint(to))]);
                }
                Verdict::Refused(_) => todo.extend([(from.midpoint(to), to), (from, from.midpoint(to))]),
                Verdict::Failed(refusal) => return Err(refusal),
            }
        }
        Ok(Receipt { refused })
    }

    /// Lines in one request at most.
    fn remembered(&self) -> usize {
        let mut most = self.lines_max.lock().unwrap_or_else(PoisonError::into_inner);
        most.take_if(|(_, at)| now().saturating_duration_since(*at) > REMEMBER);
        most.map_or(self.batch_max, |(lines, _)| lines.min(self.batch_max)).max(1)
    }

    fn remember(&self, lines: usize) {
        let mut most = self.lines_max.lock().unwrap_or_else(PoisonError::into_inner);
        *most = Some((lines.max(1), now()));
    }

    async fn post(&self, text: &str, lines: usize) -> Verdict {
        let request = match self.request(text) {
            Ok(request) => request,
            Err(why) => return Verdict::Failed(Refusal::new(Kind::Settings, why)),
        };
        match request.send().await {
            Ok(response) => self.answer(response, lines).await,
            Err(error) => Verdict::Failed(self.failed(error)),
        }
    }

    /// What an error of the client means; its words are without the address (it may hold a password).
    fn failed(&self, error: reqwest::Error) -> Refusal {
        let error = error.without_url();
        let known = trouble::transport(&error, self.clock.as_ref());
        let words = chain(&error);
        let (kind, why) = match known {
            Some(known) => known,
            None if words.contains("no address for") => (Kind::Dns, words),
            None if error.is_timeout() && error.is_connect() => (Kind::ConnectTimeout, words),
            None if error.is_timeout() => (Kind::Timeout, words),
            None if words.contains("closed before message completed") || words.contains("end of file") => {
                (Kind::LostAck, format!("{words}: no answer, so it is sent again"))
            }
            None => (Kind::Protocol, format!("{words}; is it an HTTP server, and the port the right one?")),
        };
        Refusal::new(kind, why)
    }

    /// The client; a new one when a file of TLS is another than before.
    fn client(&self) -> Result<Client, String> {
        let stamp = self.address.tls.stamp();
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref() {
            Some((old, client)) if *old == stamp => return Ok(client.clone()),
            _ => {}
        }
        match (client(&self.address, self.pace, &self.names), kept.as_mut()) {
            (Ok(client), _) => {
                *kept = Some((stamp, client.clone()));
                Ok(client)
            }
            // Files that are being replaced do not fit together for a moment; what is there still works.
            (Err(why), Some((_, client))) => {
                tracing::warn!(why, "the new files of TLS cannot be used yet; the ones before are");
                Ok(client.clone())
            }
            (Err(why), None) => Err(why),
        }
    }

    fn request(&self, text: &str) -> Result<RequestBuilder, String> {
        let url = self.url.as_ref().map_err(Clone::clone)?;
        let request = self.client()?.post(url.clone()).header(CONTENT_TYPE, "text/plain; charset=utf-8");
        let token = self.token.as_ref().map(Secret::read).transpose()?;
        let request = match (&self.address.api, &self.user, token) {
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

    async fn answer(&self, mut response: Response, lines: usize) -> Verdict {
        let status = response.status().as_u16();
        let head: usize = response
            .headers()
            .iter()
            .map(|(name, value)| name.as_str().len().saturating_add(value.len()))
            .sum();
        if head > HEAD_MAX {
            let why = format!("the head of the answer is larger than {HEAD_MAX} bytes");
            return Verdict::Failed(Refusal::new(Kind::Protocol, why));
        }
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = header.and_then(|text| retry_after(text, self.clock.now()));
        if status == 204 {
            return Verdict::Taken;
        }
        match body(&mut response).await {
            Ok(body) => judge(status, after, &String::from_utf8_lossy(&body), lines),
            // A success whose body was cut off may hold an error.
            Err(error) if status < 300 => Verdict::Failed(self.failed(error)),
            Err(_) => judge(status, after, "", lines),
        }
    }
}

impl Sink for Influx {
    async fn deliver(&self, parcel: Parcel, doubt: Doubt) -> Result<Receipt, Refusal> {
        let lines = Lines::tagged(&parcel, &self.site, &self.address.tags);
        let mut receipt = self.write(&lines, doubt).await?;
        if lines.nameless > 0 {
            receipt.refused.push(Refused::new(lines.nameless, "", "the catalog does not name the point"));
        }
        Ok(receipt)
    }

    async fn keep(&self) {
        std::future::pending().await
    }

    async fn again(&self, records: Vec<Refused>) -> Result<Receipt, Refusal> {
        let mut refused = Vec::new();
        for record in records {
            match self.post(&format!("{}\n", record.what), 1).await {
                Verdict::Taken => {}
                Verdict::Refused(why)
                | Verdict::TooOld(why)
                | Verdict::Lines(_, why)
                | Verdict::TooLarge(why) => {
                    refused.push(Refused { why: cut(&why).to_owned(), ..record });
                }
                Verdict::Failed(refusal) => return Err(refusal),
            }
        }
        Ok(Receipt { refused })
    }
}

/// The line numbered `at`, without its end.
fn line(lines: &Lines, at: usize) -> &str {
    lines.slice(at, at.saturating_add(1)).trim_end()
}

/// The spans between the bad lines, and each bad line alone, in order. Other lines may be in the database already; to send them again
/// is harmless, and the only proof.
fn parts((from, to): (usize, usize), bad: &[usize]) -> Vec<(usize, usize)> {
    let mut parts = Vec::new();
    let mut start = from;
    for at in bad.iter().map(|bad| from.saturating_add(*bad)) {
        parts.extend([(start, at), (at, at.saturating_add(1))]);
        start = at.saturating_add(1);
    }
    parts.push((start, to));
    parts.retain(|(from, to)| from < to);
    parts
}

/// Of a parcel that alone fails for long, a failure inside the server means one of its lines.
fn suspected(verdict: Verdict, doubt: Doubt) -> Verdict {
    match (verdict, doubt) {
        (Verdict::Failed(Refusal::Busy { kind: Kind::Server, why, .. }), Doubt::Poison) => {
            Verdict::Refused(format!("suspected poison: {why}"))
        }
        (verdict, _) => verdict,
    }
}

fn write_url(address: &Address) -> Result<Url, String> {
    let base = address.url.trim_end_matches('/');
    let url = match &address.api {
        Api::V2 { org, bucket } => {
            let query = [("org", org.as_str()), ("bucket", bucket), ("precision", "ms")];
            Url::parse_with_params(&format!("{base}/api/v2/write"), query)
        }
        Api::V1 { database, policy } => {
            let mut query = vec![("db", database.as_str()), ("precision", "ms")];
            query.extend((!policy.is_empty()).then_some(("rp", policy.as_str())));
            Url::parse_with_params(&format!("{base}/write"), query)
        }
    };
    url.map_err(|error| format!("the url {base} is not one: {error}"))
}

fn client(address: &Address, pace: Pace, names: &Names) -> Result<Client, String> {
    // The system's certificates are read only where they are asked.
    let tls = if address.url.starts_with("https:") { address.tls.read()? } else { tls::untrusting()? };
    Client::builder()
        .connect_timeout(pace.connect)
        .timeout(pace.request)
        // One for each lane; what a race leaves over is closed.
        .pool_max_idle_per_host(3)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Arc::new(names.clone()))
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| chain(&error))
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

fn judge(status: u16, after: Option<Duration>, body: &str, lines: usize) -> Verdict {
    let why = format!("answer {status}: {}", cut(body.trim()));
    let lower = body.get(..body.len().min(4096)).unwrap_or(body).to_lowercase();
    let says = |words: &str| lower.contains(words);
    match status {
        200..=299 if body.trim().is_empty() => Verdict::Taken,
        200..=299 => success(body, why),
        // In whatever status: the server's storage or its limit of series is full, which no other batch would change.
        400..=599 if says("max-series-per-database") || says("max-values-per-tag") || says("cardinality") => {
            Verdict::Failed(Refusal::new(Kind::Full, why))
        }
        400 | 422 if says("retention") && (lines <= 1 || dropped(&lower) == Some(lines)) => {
            Verdict::TooOld(why)
        }
        400 | 422 => match numbered(body, lines) {
            Some(bad) => Verdict::Lines(bad, why),
            None => Verdict::Refused(why),
        },
        413 => Verdict::TooLarge(why),
        429 => Verdict::Failed(Refusal::Busy { kind: Kind::Throttled, why, after }),
        408 | 425 | 500..=506 | 508..=599 => {
            Verdict::Failed(Refusal::Busy { kind: Kind::Server, why, after })
        }
        401 | 403 | 407 => Verdict::Failed(Refusal::new(
            Kind::Credentials,
            format!("credentials refused; check the token or user and password: {why}"),
        )),
        404 => Verdict::Failed(Refusal::new(
            Kind::Missing,
            format!("no such database, bucket or path; create it or correct the settings: {why}"),
        )),
        300..=399 => Verdict::Failed(Refusal::new(
            Kind::Redirect,
            format!(
                "a redirect is not followed with credentials and data; set the address itself as url: {why}"
            ),
        )),
        507 => Verdict::Failed(Refusal::new(Kind::Full, why)),
        402..=499 => {
            Verdict::Failed(Refusal::new(Kind::Mode, format!("is `api` right for this server? {why}")))
        }
        _ => Verdict::Failed(Refusal::new(Kind::Protocol, why)),
    }
}

/// The number behind `dropped=`.
fn dropped(text: &str) -> Option<usize> {
    let digits = text.split("dropped=").nth(1)?;
    let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

/// The refused lines that an InfluxDB 3 names, from 0, in order; `None` when it names none, or nonsense.
fn numbered(body: &str, lines: usize) -> Option<Vec<usize>> {
    let json: serde_json::Value = serde_json::from_str(body).ok()?;
    let named = json.get("data")?.as_array()?;
    let number = |one: &serde_json::Value| -> Option<usize> {
        let number = usize::try_from(one.get("line_number")?.as_u64()?).ok()?.checked_sub(1)?;
        (number < lines).then_some(number)
    };
    let mut bad: Vec<usize> = named.iter().map(number).collect::<Option<_>>()?;
    bad.sort_unstable();
    bad.dedup();
    (!bad.is_empty() && bad.len() < lines).then_some(bad)
}

/// A 2xx with a body: JSON without an `error` is a success, a page of HTML comes from something in between.
fn success(body: &str, why: String) -> Verdict {
    match serde_json::from_str::<serde_json::Value>(body) {
        Ok(json) => {
            let mut results = json.get("results").and_then(|list| list.as_array()).into_iter().flatten();
            let error = json.get("error").is_some() || results.any(|result| result.get("error").is_some());
            if error { Verdict::Refused(why) } else { Verdict::Taken }
        }
        Err(_) => Verdict::Failed(Refusal::new(Kind::UnexpectedAnswer, why)),
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
