//! What the kinds of sink share: the parcel they are given and the answers they may give.
//!
//! In: a page of the journal. Out: a receipt when the other side has it for good, or why not.
//! Invariant: `Ok` only after the other side acknowledged every record that the receipt does not name as refused.
//! Source: DESIGN sections 4 and 9.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use crate::alarm::Transition;
use crate::clock::Timestamp;
use crate::journal::Stored;

/// A transition with its number and a time that is unique within its rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its number in the journal.
    pub number: u64,
    /// [`Transition::at`], moved by the milliseconds that keep two transitions of one rule apart.
    pub at: Timestamp,
    /// The transition.
    pub transition: Transition,
}

/// Gives each transition of a page a time that no other of its rule has: one in the same millisecond comes a millisecond
/// later. The same log gives the same times, if the page starts some transitions before the first that is sent.
pub fn told(page: Vec<(u64, Transition)>) -> Vec<Told> {
    let mut last: HashMap<String, (Timestamp, Timestamp)> = HashMap::new();
    let mut tell = |(number, transition): (u64, Transition)| {
        let mut at = transition.at;
        if let Some((before, given)) = last.get(&transition.alarm.rule) {
            // A clock that was put back starts anew: moving a whole hour of transitions would be a lie.
            if *before <= at && at <= *given {
                at = given.shifted(1);
            }
        }
        last.insert(transition.alarm.rule.clone(), (transition.at, at));
        Told { number, at, transition }
    };
    page.into_iter().map(&mut tell).collect()
}

/// What one request delivers.
#[derive(Clone, Debug, PartialEq)]
pub enum Parcel {
    /// Transitions, in order.
    Alarms(Vec<Told>),
    /// Readings of whole commits, in order.
    Readings {
        /// From the backlog: must not look fresh.
        late: bool,
        /// The commits.
        groups: Vec<Stored>,
    },
}

impl Parcel {
    /// Readings or transitions in it.
    pub fn records(&self) -> u64 {
        let count = match self {
            Self::Alarms(alarms) => alarms.len(),
            Self::Readings { groups, .. } => {
                groups.iter().flat_map(|group| &group.batches).map(|batch| batch.readings.len()).sum()
            }
        };
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// A record that the other side refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Readings or transitions in it.
    pub records: u64,
    /// The record as sent, cut to [`Refused::TEXT_MAX`] bytes.
    pub what: String,
    /// The answer, cut likewise.
    pub why: String,
}

impl Refused {
    /// Bytes of text kept for the log.
    pub const TEXT_MAX: usize = 512;

    /// A refusal, its texts cut.
    pub fn new(records: u64, what: &str, why: &str) -> Self {
        Self { records, what: cut(what).to_owned(), why: cut(why).to_owned() }
    }
}

/// The first [`Refused::TEXT_MAX`] bytes of `text`, in whole characters.
pub fn cut(text: &str) -> &str {
    let most = text.len().min(Refused::TEXT_MAX);
    (0..=most).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

/// What became of a parcel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Refused for good; everything else is delivered.
    pub refused: Vec<Refused>,
}

/// Why a parcel is not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No usable answer: the whole sink waits, with backoff.
    Unreachable {
        /// In words.
        why: String,
    },
    /// An answer that says "not now": the whole sink waits, with backoff.
    Busy {
        /// In words.
        why: String,
        /// The pause that the server asks for.
        after: Option<Duration>,
    },
    /// A person has to change something before anything is taken (credentials, database): the whole sink waits.
    Denied {
        /// In words.
        why: String,
    },
    /// The records of this lane do not fit the sink's settings: the lane waits.
    Unfit {
        /// In words.
        why: String,
    },
}

/// Where influx, mqtt and file differ.
pub trait Sink: Send + Sync {
    /// Delivers the parcel. Called for several lanes at once.
    ///
    /// # Errors
    /// Nothing of the parcel may be taken for delivered; a repeat is harmless.
    fn deliver(&self, parcel: Parcel) -> impl Future<Output = Result<Receipt, Refusal>> + Send;

    /// Keeps up what the sink needs between parcels (a connection); never ends.
    fn keep(&self) -> impl Future<Output = ()> + Send;
}
