//! Questions in an address: how they are read, and who answers them from the journal.
//!
//! In: the query of a request. Out: the question, or a refusal in JSON; what a reader of the journal found.
//! Invariant: readers are bounded and never block the console.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::de::DeserializeOwned;

use crate::console::api::refuse;
use crate::console::state::Console;
use crate::journal::Reader;

/// A question that could be read.
pub(crate) struct Asked<Q>(pub(crate) Q);

impl<S: Send + Sync, Q: DeserializeOwned> FromRequestParts<S> for Asked<Q> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(question)) => Ok(Self(question)),
            Err(rejection) => Err(refuse(StatusCode::UNPROCESSABLE_ENTITY, rejection.body_text())),
        }
    }
}

/// Reads the journal on disk beside the gateway; a reader too many, or one that finds nothing, is an answer of its own.
pub(crate) async fn of_journal<T: Send + 'static>(
    console: &Console,
    work: impl FnOnce(&Reader) -> Result<T, String> + Send + 'static,
) -> Result<T, Response> {
    let Ok(place) = Arc::clone(&console.readers).try_acquire_owned() else {
        let text = "as many people read history as may; try again soon";
        return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    let path = console.board.journal.clone();
    let read = tokio::task::spawn_blocking(move || {
        let _place = place;
        let reader = Reader::open(&path).map_err(|error| error.to_string())?;
        work(&reader)
    });
    match read.await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(refuse(StatusCode::UNPROCESSABLE_ENTITY, error)),
        Err(error) => Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}
