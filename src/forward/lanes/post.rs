//! What is known of one lane, and of the sink as a whole while it takes nothing.
//!
//! In: nothing. Out: the words of [`super::Lanes`] for it.
//! Invariant: none; plain data.

use tokio::time::Instant;

use crate::forward::lanes::Job;

/// State of one lane.
#[derive(Clone, Debug, Default)]
pub(super) struct Post {
    pub(super) flying: Option<Job>,
    /// Not before this; set while the lane waits for a person.
    pub(super) until: Option<Instant>,
    pub(super) trouble: Option<String>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Requests refused as a whole, in a row.
    pub(super) refused: u32,
    /// Since the first of the failures in a row.
    pub(super) failing: Option<Instant>,
    /// Another lane's request was taken since then.
    pub(super) alone: bool,
    /// Requests hold the configured most, halved so often.
    pub(super) halvings: u32,
    /// Quick answers in a row since the last change of that.
    pub(super) quick: u32,
    /// One of its requests was taken or refused for good, or found nothing to send.
    pub(super) tried: bool,
}

/// The sink as a whole does not take anything.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    pub(super) until: Instant,
    pub(super) why: String,
    pub(super) attempts: u32,
    /// A person has to change something: a refusal said so, and nothing was taken since.
    pub(super) held: bool,
    /// The lane that asks next; moves on when the server answers, so that one lane's poison cannot starve the others.
    pub(super) turn: usize,
}
