//! `/api/v1/lines/NAME/trace`: what passes on a line, live, as JSON lines.
//!
//! In: what the line's master tells its listeners. Out: one [`TraceView`] a line; an empty line every 10 s as a sign of life.
//! Invariant: the line never waits for a listener; what a slow one missed is counted in its next line.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::bus::says::Says;
use crate::bus::tap::Seen;
use crate::bus::trace::text::Tracing;
use crate::bus::trace::{Entry, Kind};
use crate::clock::Clock;
use crate::console::api::{json, refuse};
use crate::console::state::Console;
use crate::console::view::RefusalView;

/// A sign of life when nothing passes.
const ALIVE: Duration = Duration::from_secs(10);

/// One line of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceView {
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    /// `rtu`, `ascii`, `mbap`, or `text` of a text sensor.
    pub framing: String,
    /// `request`, `answer`, `discarded`, `failed`; `heard` and `told` for what a DTU and we say for its connection's sake; or `missed` for
    /// entries that this listener was too slow for.
    pub kind: String,
    /// Why it was discarded, or how the request failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The slave that is asked or answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slave: Option<u8>,
    /// Function code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<u8>,
    /// First wire address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<u16>,
    /// Cells asked for, or entries missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Cells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<u16>,
    /// Exception code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<u8>,
    /// The meaning in words, or why the line is down.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
    /// The bytes as they passed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hex: String,
}

impl TraceView {
    fn new(entry: &Entry, framing: &str, clock: &dyn Clock) -> Self {
        let (kind, why) = match entry.kind {
            Kind::Request => ("request", None),
            Kind::Answer => ("answer", None),
            Kind::Discarded(why) => ("discarded", Some(why.words().to_owned())),
            Kind::Failed(failure) => ("failed", Some(failure.words())),
            Kind::Heard => ("heard", None),
            Kind::Told => ("told", None),
        };
        let (read, values, exception) = match &entry.says {
            Says::Read(read) => (Some(*read), Vec::new(), None),
            Says::Cells(read, cells) => (Some(*read), cells.clone(), None),
            Says::Write(written) | Says::Wrote(written) => {
                (Some(written.cells), written.values.clone(), None)
            }
            Says::Exception { code, .. } => (None, Vec::new(), Some(*code)),
            _ => (None, Vec::new(), None),
        };
        let hex: Vec<String> = entry.bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        Self {
            time: clock.at(entry.at).to_string(),
            framing: framing.to_owned(),
            kind: kind.to_owned(),
            why,
            slave: entry.slave,
            function: entry.says.function(),
            address: read.map(|read| read.address),
            count: read.map(|read| u64::from(read.count)),
            values,
            exception,
            words: entry.says.to_string(),
            hex: hex.join(" "),
        }
    }

    fn missed(count: u64, framing: &str, clock: &dyn Clock) -> Self {
        Self {
            time: clock.now().to_string(),
            framing: framing.to_owned(),
            kind: "missed".to_owned(),
            why: Some("the listener was too slow".to_owned()),
            count: Some(count),
            ..Self::default()
        }
    }
}

struct Listening {
    seen: Receiver<Seen>,
    tracing: Tracing,
    console: Arc<Console>,
    stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

pub(crate) async fn trace(State(console): State<Arc<Console>>, Path(name): Path<String>) -> Response {
    let shown = console.board.shown();
    let catalog = &shown.catalog;
    let found = catalog.lines.iter().position(|line| line.name == name);
    let Some(tap) = found.and_then(|index| shown.taps.get(index)) else {
        let known = catalog.lines.iter().map(|line| line.name.clone());
        let nearest = known.min_by_key(|known| strsim::damerau_levenshtein(known, &name));
        return json(
            StatusCode::NOT_FOUND,
            &RefusalView { error: format!("there is no line {name}"), nearest },
        );
    };
    let Ok(place) = Arc::clone(&console.listeners).try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "there are as many live listeners as may be");
    };
    let tracing = Tracing::of(tap.address.framing(), tap.speakers.as_ref());
    let listening = Listening {
        seen: tap.listeners.subscribe(),
        tracing,
        stop: console.stop.clone(),
        console: Arc::clone(&console),
        _place: place,
    };
    let body = Body::from_stream(stream::unfold(listening, next));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// The next piece of the answer: whole lines.
async fn next(mut listening: Listening) -> Option<(Result<Vec<u8>, Infallible>, Listening)> {
    loop {
        let seen = tokio::select! {
            _ = listening.stop.wait_for(|stop| *stop) => return None,
            seen = tokio::time::timeout(ALIVE, listening.seen.recv()) => seen,
        };
        let clock = listening.console.clock();
        let views = match seen {
            Err(_) => return Some((Ok(b"\n".to_vec()), listening)),
            Ok(Err(RecvError::Closed)) => return None,
            Ok(Err(RecvError::Lagged(count))) => {
                // What is half known would be told wrongly.
                listening.tracing = listening.tracing.anew();
                vec![TraceView::missed(count, listening.tracing.name(), clock)]
            }
            Ok(Ok(seen)) => {
                let entries = listening.tracing.step(&seen);
                let framing = listening.tracing.name();
                entries.iter().map(|entry| TraceView::new(entry, framing, clock)).collect()
            }
        };
        if !views.is_empty() {
            return Some((Ok(lines(&views)), listening));
        }
    }
}

fn lines(views: &[TraceView]) -> Vec<u8> {
    let mut text = Vec::new();
    for view in views {
        if let Ok(line) = serde_json::to_vec(view) {
            text.extend(line);
            text.push(b'\n');
        }
    }
    text
}
