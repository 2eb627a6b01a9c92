//! What a lane asks for, and how that ends.
//!
//! In: numbers of commits and transitions. Out: the words between [`super::Lanes`] and who does the work.
//! Invariant: none; plain data.

use crate::forward::sink::Refusal;
use crate::journal::Span;

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Transitions, first.
    Alarms,
    /// The newest readings.
    Live,
    /// What was missed.
    Backlog,
}

impl Lane {
    /// All lanes, the first one first.
    pub const ALL: [Self; 3] = [Self::Alarms, Self::Live, Self::Backlog];

    /// The name in texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alarms => "alarms",
            Self::Live => "live",
            Self::Backlog => "backlog",
        }
    }

    /// Its place in [`Lane::ALL`].
    pub const fn place(self) -> usize {
        match self {
            Self::Alarms => 0,
            Self::Live => 1,
            Self::Backlog => 2,
        }
    }
}

/// What to read and deliver now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Transitions numbered above `after`.
    Alarms {
        /// The last one confirmed.
        after: u64,
    },
    /// Readings of these commits, as fresh ones.
    Live(Span),
    /// Readings of these commits, as late ones.
    Backlog(Span),
}

impl Job {
    /// The lane that it belongs to.
    pub const fn lane(self) -> Lane {
        match self {
            Self::Alarms { .. } => Lane::Alarms,
            Self::Live(_) => Lane::Live,
            Self::Backlog(_) => Lane::Backlog,
        }
    }
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has acknowledged everything, or there was nothing to send.
    Done {
        /// The last transition, or one past the last commit.
        reached: u64,
        /// There may be more of it in the journal.
        more: bool,
        /// Records sent, refused ones included.
        records: u64,
        /// Records that the sink refused for good.
        refused: u64,
        /// There was more than was sent: the sink does not get it.
        passed: bool,
    },
    /// Nothing may be taken for delivered.
    Failed(Refusal),
}
