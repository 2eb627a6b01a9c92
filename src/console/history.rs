//! History over HTTP: rows straight from the journal on disk, as fast as the visitor takes them.
//!
//! In: points, a window, a format. Out: a stream of rows; a journal that fails midway breaks the connection, so that a cut answer never looks whole.
//! Invariant: at most 5 pieces of 32 KiB wait for a visitor; a visitor who takes nothing for 30 s is let go, and his journal connection with him.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::clock::Timestamp;
use crate::clock::zone::Zone;
use crate::console::api::{json, refuse};
use crate::console::query::Asked;
use crate::console::rows::Format;
use crate::console::state::Console;
use crate::console::view::RefusalView;
use crate::console::window::{Window, nearest};
use crate::journal::Reader;
use crate::point::Catalog;
use crate::reading::Reading;

/// A piece is sent when it is this long.
const PIECE_BYTES: usize = 32 * 1024;

/// Pieces that may wait for the visitor.
const PIECES_MAX: usize = 4;

/// A visitor who takes nothing for this long is let go.
const STUCK_MAX: Duration = Duration::from_secs(30);

/// Points of one question at most.
const POINTS_MAX: usize = 1000;

/// What is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// Full names with commas between them; all points when left out.
    point: Option<String>,
    since: Option<String>,
    until: Option<String>,
    /// Rows at most.
    limit: Option<u64>,
    /// About so many rows of one point that look the same: no extreme is lost.
    most: Option<u32>,
    format: Option<String>,
}

/// The question, understood.
struct Job {
    journal: PathBuf,
    points: Vec<String>,
    window: Window,
    rows_max: u64,
    most: Option<u32>,
    format: Format,
    _place: OwnedSemaphorePermit,
}

/// What the reading thread sends. A stream that ends without `End` was cut.
enum Piece {
    Rows(Vec<u8>),
    End,
    Failed(String),
}

type Pieces = mpsc::Sender<Piece>;

pub(crate) async fn history(
    State(console): State<Arc<Console>>,
    Asked(question): Asked<Question>,
) -> Response {
    let Ok(place) = Arc::clone(&console.readers).try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "as many people read history as may; try again soon");
    };
    let now = console.look(|picture| picture.now);
    let zone = Zone::named(&console.board.shown().timezone);
    let job = match understand(question, (now, &zone), console.board.journal.clone(), place) {
        Ok(job) => job,
        Err(error) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, error),
    };
    let shown = console.board.shown();
    let unknown = job.points.iter().find(|name| shown.catalog.find(name).is_none()).cloned();
    let format = job.format;
    let (pieces, mut waiting) = mpsc::channel(PIECES_MAX);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || read(&job, &pieces, &runtime));
    // The first piece decides the answer: an error, no such point, or rows.
    match (waiting.recv().await, unknown) {
        (Some(Piece::End), Some(name)) => no_such_point(&console, &name),
        (Some(Piece::Failed(error)), _) => refuse(StatusCode::SERVICE_UNAVAILABLE, error),
        (Some(first), _) => rows(format, first, waiting),
        (None, _) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "reading the journal broke off"),
    }
}

fn understand(
    question: Question,
    (now, zone): (Timestamp, &Zone),
    journal: PathBuf,
    place: OwnedSemaphorePermit,
) -> Result<Job, String> {
    let window = Window::parse(question.since.as_deref(), question.until.as_deref(), now, "24h", zone);
    let window = window.map_err(|error| error.to_string())?;
    let named = question.point.unwrap_or_default();
    let points: Vec<String> = named.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if points.len() > POINTS_MAX {
        return Err(format!("at most {POINTS_MAX} points in one question"));
    }
    if question.most.is_some() && points.len() != 1 {
        return Err("most goes with one point".to_owned());
    }
    let format = question.format.as_deref().unwrap_or("jsonl");
    let format =
        Format::parse(format).ok_or_else(|| format!("format is \"{format}\"; write csv, jsonl or lp"))?;
    Ok(Job {
        journal,
        points,
        window,
        rows_max: question.limit.unwrap_or(u64::MAX),
        most: question.most,
        format,
        _place: place,
    })
}

/// A point that is not in today's documents may still have history; only without any is it unknown.
fn no_such_point(console: &Console, name: &str) -> Response {
    let shown = console.board.shown();
    let known = shown.catalog.points.iter().map(|point| point.name.as_str());
    let nearest = nearest(name, known).map(str::to_owned);
    json(StatusCode::NOT_FOUND, &RefusalView { error: format!("there is no point {name}"), nearest })
}

fn rows(format: Format, first: Piece, waiting: mpsc::Receiver<Piece>) -> Response {
    let head = stream::iter([Ok::<_, io::Error>(format.head().as_bytes().to_vec())]);
    let rest = stream::unfold(Some((Some(first), waiting)), async |state| {
        let (first, mut waiting) = state?;
        let piece = match first {
            Some(first) => Some(first),
            None => waiting.recv().await,
        };
        match piece {
            Some(Piece::Rows(rows)) => Some((Ok(rows), Some((None, waiting)))),
            Some(Piece::End) => None,
            Some(Piece::Failed(error)) => Some((Err(io::Error::other(error)), None)),
            None => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    });
    ([(header::CONTENT_TYPE, format.media_type())], Body::from_stream(head.chain(rest))).into_response()
}

/// Runs on a thread of its own, because SQLite blocks.
fn read(job: &Job, pieces: &Pieces, runtime: &tokio::runtime::Handle) {
    let send = |piece| {
        let sent = runtime.block_on(async { tokio::time::timeout(STUCK_MAX, pieces.send(piece)).await });
        matches!(sent, Ok(Ok(())))
    };
    match gather(job, &send) {
        Ok(Some(rest)) => {
            let _ = (rest.is_empty() || send(Piece::Rows(rest))) && send(Piece::End);
        }
        // He did not take it in time: without an `End` his connection breaks, so that he does not take it for the whole.
        Ok(None) => {}
        Err(error) => {
            let _ = send(Piece::Failed(chain_of(&*error)));
        }
    }
}

/// Sends all full pieces and returns the last one; `None` when the visitor is gone or stuck.
fn gather(job: &Job, send: &dyn Fn(Piece) -> bool) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
    let reader = Reader::open(&job.journal)?;
    let mut piece = Vec::new();
    let mut left = job.rows_max;
    let mut taken = true;
    let mut each = |catalog: &Catalog, reading: &Reading| {
        let Some(fewer) = left.checked_sub(1) else { return false };
        left = fewer;
        job.format.emit(catalog, reading, &mut piece);
        if piece.len() >= PIECE_BYTES {
            taken = send(Piece::Rows(std::mem::take(&mut piece)));
        }
        taken
    };
    match (job.most, job.points.as_slice()) {
        (Some(most), [point]) => reader.drawn(point, (job.window.from, job.window.to), most, &mut each)?,
        _ => reader.history(&job.points, job.window.from, job.window.to, &mut each)?,
    }
    Ok(taken.then_some(piece))
}

/// An error with its causes.
fn chain_of(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body_of(first: Piece, then: Vec<Piece>) -> Result<Vec<u8>, axum::Error> {
        let (pieces, waiting) = mpsc::channel(PIECES_MAX);
        for piece in then {
            pieces.try_send(piece).ok().unwrap();
        }
        drop(pieces);
        let body = rows(Format::Csv, first, waiting).into_body();
        axum::body::to_bytes(body, 1024).await.map(|bytes| bytes.to_vec())
    }

    #[tokio::test]
    async fn an_answer_is_whole_only_with_its_end() {
        let row = || Piece::Rows(b"row\r\n".to_vec());
        let whole = body_of(row(), vec![row(), Piece::End]).await.unwrap();
        assert_eq!(String::from_utf8(whole).unwrap(), format!("{}row\r\nrow\r\n", Format::Csv.head()));
        assert_eq!(body_of(Piece::End, Vec::new()).await.unwrap(), Format::Csv.head().as_bytes());

        assert!(body_of(row(), vec![row()]).await.is_err(), "the reading thread let go");
        assert!(body_of(row(), vec![Piece::Failed("the disk refuses".to_owned())]).await.is_err());
    }
}
