//! `/api/v1/audits`: what the gateway wrote to devices, what it learnt of their firmware, which documents it took.
//!
//! In: a window of time, a device, from which audit on. Out: [`AuditsView`], oldest first.
//! Invariant: a page is bounded; following `next` shows each audit once.
//! Source: DESIGN promise 6 (each write is an audit).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::clock::zone::Zone;
use crate::console::api::{json, refuse};
use crate::console::query::{Asked, of_journal};
use crate::console::state::Console;
use crate::console::window::Window;
use crate::journal::{Audit, Reader, StoreError};

/// Audits of one answer at most.
pub const PAGE_MAX: usize = 1000;
/// Audits that are looked at for one answer at most; the next one goes on from there.
const LOOKED_MAX: usize = 100_000;

/// One audit with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditView {
    /// Grows with each audit.
    pub id: u64,
    /// What was done or learnt.
    #[serde(flatten)]
    pub audit: Audit,
}

/// A page of audits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditsView {
    /// Oldest first.
    pub audits: Vec<AuditView>,
    /// Ask for those after this number, too; absent when there are no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Which audits are wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// When.
    pub window: Window,
    /// Of this device only.
    pub device: Option<String>,
    /// Numbered above this.
    pub after: u64,
    /// At most.
    pub limit: usize,
}

impl Wanted {
    /// The next page. A clock that was set back makes times go back, so no audit is left out because of those before it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn of(&self, reader: &Reader) -> Result<AuditsView, StoreError> {
        let (mut view, mut after, mut looked) = (AuditsView::default(), self.after, 0);
        loop {
            let page = reader.audits(after, PAGE_MAX)?;
            let is_last = page.len() < PAGE_MAX;
            looked += page.len();
            for (id, audit) in page {
                after = id;
                if self.is_wanted(&audit) {
                    view.audits.push(AuditView { id, audit });
                    if self.limit <= view.audits.len() {
                        view.next = Some(after);
                        return Ok(view);
                    }
                }
            }
            if is_last {
                return Ok(view);
            }
            if LOOKED_MAX <= looked {
                view.next = Some(after);
                return Ok(view);
            }
        }
    }

    fn is_wanted(&self, audit: &Audit) -> bool {
        let window = &self.window;
        (window.from..window.to).contains(&audit.at)
            && self.device.as_ref().is_none_or(|device| *device == audit.device)
    }
}

/// What is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    device: Option<String>,
    since: Option<String>,
    until: Option<String>,
    after: Option<u64>,
    limit: Option<usize>,
}

pub(crate) async fn audits(
    State(console): State<Arc<Console>>,
    Asked(question): Asked<Question>,
) -> Response {
    let now = console.look(|picture| picture.now);
    let zone = Zone::named(&console.board.shown().timezone);
    let window = match Window::parse(question.since.as_deref(), question.until.as_deref(), now, "1d", &zone) {
        Ok(window) => window,
        Err(error) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
    };
    let limit = question.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let wanted = Wanted { window, device: question.device, after: question.after.unwrap_or(0), limit };
    match of_journal(&console, move |reader| wanted.of(reader).map_err(|error| error.to_string())).await {
        Ok(view) => json(StatusCode::OK, &view).into_response(),
        Err(refused) => refused,
    }
}
