//! The JSON API: status, points, alarms, and people's acts on alarms.
//!
//! In: requests that the guard let in. Out: JSON in the shapes of `view`; acts go to the core and are answered once they are committed.
//! Invariant: an act is answered with 200 only when the core says that it is done.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::console::act::send;
use crate::console::metrics as figures;
use crate::console::now;
use crate::console::state::Console;
use crate::console::status::StatusView;
use crate::console::view::{self, AckView, RefusalView};
use crate::gateway::board::Picture;
use crate::gateway::core::Event;

/// The core answers once the act is on disk; a disk that hangs is not waited for any longer than this.
pub(crate) const CORE_MAX: Duration = Duration::from_secs(10);

/// Characters in a person's name at most.
pub(crate) const NAME_MAX: usize = 64;

/// Characters in a note at most.
pub(crate) const NOTE_MAX: usize = 500;

/// A refusal in JSON.
pub(crate) fn refuse(status: StatusCode, error: impl Into<String>) -> Response {
    json(status, &RefusalView { error: error.into(), nearest: None })
}

/// `body` as JSON.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

pub(crate) async fn unknown() -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        "there is nothing at this address; see /api/v1/status, points, alarms, rates, overlays, coverage, coverage/month, map, indicators, history, audits, events, documents, lines/NAME/trace",
    )
}

pub(crate) async fn wrong_method() -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, "this address does not take this method")
}

/// `ok`, or 503 with what is wrong.
pub(crate) async fn healthz(State(console): State<Arc<Console>>) -> Response {
    let troubles = console.troubles();
    if troubles.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", troubles.join("\n"))).into_response()
}

pub(crate) async fn metrics(State(console): State<Arc<Console>>) -> Response {
    let text = figures::emit(&console.picture());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

pub(crate) async fn status(State(console): State<Arc<Console>>) -> Response {
    let view = StatusView::new(&console.picture(), console.still_for(), console.troubles());
    json(StatusCode::OK, &view)
}

pub(crate) async fn points(State(console): State<Arc<Console>>) -> Response {
    let (shown, latest) = console.look(|picture| (Arc::clone(&picture.shown), picture.latest.clone()));
    json(StatusCode::OK, &view::points(&shown.catalog, &latest))
}

pub(crate) async fn alarms(State(console): State<Arc<Console>>) -> Response {
    let (open, mut now) = console.look(|picture| (picture.alarms.clone(), now::now(picture)));
    json(StatusCode::OK, &view::alarms(open.into_values(), |alarm| now.remove(&alarm.id)))
}

pub(crate) async fn acknowledge(
    State(console): State<Arc<Console>>,
    Path(target): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let id = console.look(|picture| id_of(picture, target));
    let checked = parse::<AckView>(body).and_then(|ack| {
        let by = text("by", &ack.by, NAME_MAX)?;
        let note = ack.note.filter(|note| !note.trim().is_empty());
        let note = note.map(|note| text("note", &note, NOTE_MAX)).transpose()?;
        Ok(Event::Acknowledge { id: id.clone(), seen: ack.severity, by, note })
    });
    match checked {
        Ok(event) => send(&console, &id, event).await,
        Err(Refused(status, why)) => refuse(status, why),
    }
}

/// The id of the alarm that is meant: a rule's name stands for its open alarm, where it has exactly one.
fn id_of(picture: &Picture, target: String) -> String {
    if picture.alarms.contains_key(&target) {
        return target;
    }
    let mut of_rule = picture.alarms.values().filter(|alarm| alarm.rule == target);
    match (of_rule.next(), of_rule.next()) {
        (Some(alarm), None) => alarm.id.clone(),
        _ => target,
    }
}

/// Why an act is not in order.
pub(crate) struct Refused(pub(crate) StatusCode, pub(crate) String);

pub(crate) fn parse<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refused> {
    let bytes = body.map_err(|rejection| Refused(rejection.status(), rejection.body_text()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Refused(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

/// A person's words: something, not too long, nothing that a terminal would obey.
pub(crate) fn text(key: &str, given: &str, max: usize) -> Result<String, Refused> {
    let given = given.trim();
    if given.is_empty() || given.chars().count() > max || given.chars().any(char::is_control) {
        let error = format!("{key} must be 1 to {max} characters on one line");
        return Err(Refused(StatusCode::UNPROCESSABLE_ENTITY, error));
    }
    Ok(given.to_owned())
}
