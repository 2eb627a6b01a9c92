//! The span of time that `history`, `export` and `audits` ask for.
//!
//! In: `--since` and `--until`. Out: a window in the site's zone, or the same question for a gateway.
//! Invariant: a gateway and a journal read the same words alike.

use clap::Args;

use crate::cli::answers::Zone;
use crate::cli::ask::{Refusal, USAGE};
use crate::clock::Timestamp;
use crate::console::window::Window;

/// From when to when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Span {
    /// From: a date or time (of the site's zone without an offset), a duration back from now (`2h`), or `all`.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Until, written the same way; no end when left out.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

impl Span {
    /// As a query of the API.
    pub(crate) fn query(&self) -> Vec<(&'static str, &str)> {
        let until = self.until.as_deref().map(|until| ("until", until));
        std::iter::once(("since", self.from())).chain(until).collect()
    }

    /// As times.
    ///
    /// # Errors
    /// A text is no time, or nothing lies between the two.
    pub(crate) fn window(&self, zone: &Zone, now: Timestamp) -> anyhow::Result<Window> {
        Window::parse(Some(self.from()), self.until.as_deref(), now, "all", &zone.0)
            .map_err(|error| Refusal::new(USAGE, error.to_string()).into())
    }

    fn from(&self) -> &str {
        self.since.as_deref().unwrap_or("all")
    }
}
