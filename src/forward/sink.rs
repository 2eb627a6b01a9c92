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
use crate::forward::trouble::Kind;
use crate::journal::Stored;

/// A transition with its number and a time that is unique within its rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its number in the journal; 0 of one that is not there yet.
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
    /// What is not on disk, because the disk refuses: transitions without a number, readings of no commit. It may come again.
    Unjournaled {
        /// Transitions, in order.
        alarms: Vec<Told>,
        /// Readings.
        group: Stored,
    },
}

impl Parcel {
    /// Readings or transitions in it.
    pub fn records(&self) -> u64 {
        let readings = |group: &Stored| group.batches.iter().map(|batch| batch.readings.len()).sum::<usize>();
        let count = match self {
            Self::Alarms(alarms) => alarms.len(),
            Self::Unjournaled { alarms, group } => alarms.len().saturating_add(readings(group)),
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
    /// Where to, when the record's text does not say it: a topic.
    pub place: String,
    /// The record as sent.
    pub what: String,
    /// The answer, cut to [`Refused::TEXT_MAX`] bytes.
    pub why: String,
    /// It is older than the other side keeps anything: no fault of the record, and not worth keeping.
    pub too_old: bool,
}

impl Refused {
    /// Bytes of text kept for the log.
    pub const TEXT_MAX: usize = 512;

    /// A refusal of a record whose text says where it goes.
    pub fn new(records: u64, what: &str, why: &str) -> Self {
        let (what, why) = (what.to_owned(), cut(why).to_owned());
        Self { records, place: String::new(), what, why, too_old: false }
    }

    /// A refusal of a message to this topic.
    pub fn message(records: u64, topic: &str, payload: &str, why: &str) -> Self {
        Self { place: topic.to_owned(), ..Self::new(records, payload, why) }
    }

    /// A refusal of a line for its age.
    pub fn too_old(what: &str, why: &str) -> Self {
        Self { too_old: true, ..Self::new(1, what, why) }
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
        /// What kind of trouble.
        kind: Kind,
        /// In words.
        why: String,
    },
    /// An answer that says "not now": the whole sink waits, with backoff.
    Busy {
        /// What kind of trouble.
        kind: Kind,
        /// In words.
        why: String,
        /// The pause that the server asks for.
        after: Option<Duration>,
    },
    /// A person has to change something before anything is taken (credentials, database): the whole sink waits.
    Denied {
        /// What kind of trouble.
        kind: Kind,
        /// In words.
        why: String,
    },
    /// The records of this lane do not fit the sink's settings: the lane waits.
    Unfit {
        /// In words.
        why: String,
    },
}

impl Refusal {
    /// A refusal by what is known of it: held where a person has to act, else tried again.
    pub fn new(kind: Kind, why: impl Into<String>) -> Self {
        let why = why.into();
        if kind.needs_a_person() { Self::Denied { kind, why } } else { Self::Unreachable { kind, why } }
    }
}

/// What the lanes think of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing special.
    None,
    /// The server failed at this parcel for a long time and took others meanwhile: its "cannot now" means one of these records.
    Poison,
}

/// Where influx, mqtt and file differ.
pub trait Sink: Send + Sync {
    /// Delivers the parcel. Called for several lanes at once.
    ///
    /// # Errors
    /// Nothing of the parcel may be taken for delivered; a repeat is harmless.
    fn deliver(&self, parcel: Parcel, doubt: Doubt) -> impl Future<Output = Result<Receipt, Refusal>> + Send;

    /// Keeps up what the sink needs between parcels (a connection); never ends.
    fn keep(&self) -> impl Future<Output = ()> + Send;

    /// Says goodbye; what [`Sink::keep`] keeps is still being kept meanwhile.
    fn close(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Delivers records that were refused before, as they were sent then.
    ///
    /// # Errors
    /// None of them may be taken for delivered.
    fn again(&self, records: Vec<Refused>) -> impl Future<Output = Result<Receipt, Refusal>> + Send;
}
