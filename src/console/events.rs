//! Live events: a tick each time that the board changes, as server-sent events.
//!
//! In: the board's change counter. Out: `data: {"change":N}`, at most two a second; a listener then fetches what it shows.
//! Invariant: ticks are merged, never queued, so a slow listener costs nothing and misses no last state.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::console::api::refuse;
use crate::console::state::Console;

/// Ticks are at least this far apart.
const APART: Duration = Duration::from_millis(500);

/// A sign of life when nothing changes.
const ALIVE: Duration = Duration::from_secs(10);

struct Listening {
    changed: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

pub(crate) async fn events(State(console): State<Arc<Console>>) -> Response {
    let Ok(place) = Arc::clone(&console.listeners).try_acquire_owned() else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "there are as many live listeners as may be; ask /api/v1/points instead",
        );
    };
    let mut changed = console.board.changed.subscribe();
    changed.mark_changed();
    let listening = Listening { changed, stop: console.stop.clone(), _place: place };
    Sse::new(stream::unfold(listening, tick)).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}

async fn tick(mut listening: Listening) -> Option<(Result<Event, Infallible>, Listening)> {
    let change = tokio::select! {
        _ = listening.stop.wait_for(|stop| *stop) => return None,
        change = next(&mut listening.changed) => change?,
    };
    Some((Ok(Event::default().data(format!("{{\"change\":{change}}}"))), listening))
}

async fn next(changed: &mut watch::Receiver<u64>) -> Option<u64> {
    changed.changed().await.ok()?;
    tokio::time::sleep(APART).await;
    Some(*changed.borrow_and_update())
}
