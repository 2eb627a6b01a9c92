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
            Err(rejection) => Err(refuse(StatusCode::UNPROCESSABLE_ENTITY, plain(&rejection.body_text()))),
        }
    }
}

/// What was not understood, in a sentence for the person who asked.
fn plain(text: &str) -> String {
    let unknown = text.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`'));
    match unknown {
        Some((name, rest)) => {
            let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
            format!("there is no parameter `{name}` here; there are {}", known.join(", "))
        }
        None => text.to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_parameter_is_told_with_the_valid_ones() {
        let told = plain(
            "Failed to deserialize query string: unknown field `pont`, expected one of `point`, `since`",
        );
        assert_eq!(told, "there is no parameter `pont` here; there are point, since");
        assert_eq!(plain("limit: invalid digit"), "limit: invalid digit");
    }
}
