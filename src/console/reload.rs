//! Documents over HTTP: what holds, and the wish that what is on disk holds from now on.
//!
//! In: requests with the token. Out: the difference that was taken, or why nothing was changed; the texts that hold.
//! Invariant: the answer comes when the first commit under the new documents is durable, or says that nothing was changed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::console::api::{self, Refused, json, refuse};
use crate::console::state::Console;
use crate::gateway::board::Reload;
use crate::site::diff::Item;

/// Reading and checking the documents, and the commit.
const RELOAD_MAX: Duration = Duration::from_secs(18);

/// Who wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadView {
    /// Who.
    pub by: String,
}

/// What became of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedView {
    /// Why nothing was changed; absent when the documents hold now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Findings as `check` shows them: errors, or warnings of documents that hold.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub report: String,
    /// Version of the documents that hold now.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// `1 added, 2 changed, 0 removed`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sums: String,
    /// One line for each difference, `+ device regulator-4`.
    #[serde(default)]
    pub changes: Vec<String>,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeView {
    /// `+`, `~` or `-`.
    pub sign: String,
    /// `device`, `rule` and so on.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What is other.
    pub what: Vec<String>,
}

impl ChangeView {
    /// The shape of `item`.
    pub fn new(item: &Item) -> Self {
        Self {
            sign: item.sign.name().to_owned(),
            kind: item.kind.to_owned(),
            name: item.name.clone(),
            what: item.what.clone(),
        }
    }
}

/// The documents that hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentsView {
    /// Their version.
    pub version: String,
    /// Name and text of each.
    pub documents: Vec<(String, String)>,
}

pub(crate) async fn documents(State(console): State<Arc<Console>>) -> Response {
    let shown = console.board.shown();
    let (version, documents) = (shown.catalog.version.clone(), shown.documents.clone());
    json(StatusCode::OK, &DocumentsView { version, documents })
}

pub(crate) async fn reload(
    State(console): State<Arc<Console>>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let by = match api::parse::<ReloadView>(body).and_then(|wish| api::text("by", &wish.by, api::NAME_MAX)) {
        Ok(by) => by,
        Err(Refused(status, why)) => return refuse(status, why),
    };
    let (answer, done) = oneshot::channel();
    if console.board.reloads.try_send(Reload { by, answer }).is_err() {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "the gateway takes no reload now; nothing was changed",
        );
    }
    match tokio::time::timeout(RELOAD_MAX, done).await {
        Ok(Ok(Ok(taken))) => json(
            StatusCode::OK,
            &ReloadedView {
                refused: None,
                report: taken.warnings,
                version: taken.version,
                sums: taken.diff.sums(),
                changes: taken.diff.items.iter().map(ToString::to_string).collect(),
            },
        ),
        Ok(Ok(Err(refused))) => {
            let view = ReloadedView {
                refused: Some(refused.why),
                report: refused.report,
                ..ReloadedView::default()
            };
            json(StatusCode::OK, &view)
        }
        Ok(Err(_)) | Err(_) => {
            let error =
                "the gateway did not confirm it; look at `documents` in its status before you try again";
            refuse(StatusCode::GATEWAY_TIMEOUT, error)
        }
    }
}
