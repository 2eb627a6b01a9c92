//! The base machine of an alarm: one total function of state and event.
//!
//! In: a [`Base`] state and an [`Event`]. Out: what comes [`Next`].
//! Invariant: every pair is decided here; an acknowledgement never clears, a clearing never acknowledges, and no event about the quality of the input
//! moves the state.
//! Source: ISA-18.2-2016 and IEC 62682, the states without overlays.

use std::fmt::Write as _;
use std::time::Duration;

use crate::alarm::{Base, Change};

/// A return of the condition within this time belongs to the same occurrence.
pub const RERAISE_WINDOW: Duration = Duration::from_secs(600);

/// What can happen to an alarm. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The condition became true and its on-delay is over.
    Raise {
        /// Within [`RERAISE_WINDOW`] of the last return.
        recent: bool,
    },
    /// The condition became false and its off-delay is over.
    Clear {
        /// The rule latches.
        latched: bool,
    },
    /// A person has seen it.
    Acknowledge,
    /// A person ends a latched alarm.
    Reset,
    /// Severity went up.
    Escalate,
    /// Severity went down.
    Deescalate,
    /// The input is bad or silent.
    Bad,
    /// The input is good again.
    Good,
}

impl Event {
    /// All events with all their circumstances, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Raise { recent: true },
        Self::Raise { recent: false },
        Self::Clear { latched: false },
        Self::Clear { latched: true },
        Self::Acknowledge,
        Self::Reset,
        Self::Escalate,
        Self::Deescalate,
        Self::Bad,
        Self::Good,
    ];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raise { recent: true } => "raise",
            Self::Raise { recent: false } => "raise, late",
            Self::Clear { latched: false } => "clear",
            Self::Clear { latched: true } => "clear, latched",
            Self::Acknowledge => "acknowledge",
            Self::Reset => "reset",
            Self::Escalate => "severity up",
            Self::Deescalate => "severity down",
            Self::Bad => "input bad",
            Self::Good => "input good",
        }
    }
}

/// Why a person's act is refused. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// No open alarm has this id.
    #[error("no such alarm is open")]
    NoSuchAlarm,
    /// The severity is higher than the one that the person saw.
    #[error("changed: the severity has risen since")]
    Changed,
    /// Another person was first.
    #[error("already acknowledged")]
    AlreadyAcknowledged,
    /// There is no alarm to see.
    #[error("nothing to acknowledge")]
    NothingToAcknowledge,
    /// Only a latched alarm whose condition is gone can be reset.
    #[error("the alarm is still active")]
    StillActive,
    /// A latched alarm is seen first and reset then.
    #[error("acknowledge it first")]
    AcknowledgeFirst,
    /// The alarm does not wait for a reset.
    #[error("nothing to reset")]
    NothingToReset,
    /// Neither an open alarm nor a rule has this name.
    #[error("no rule and no open alarm of this name")]
    NoSuchRule,
    /// Red alarms stay in sight.
    #[error("a red alarm cannot be shelved")]
    RedStays,
    /// It ends after it began, and after now.
    #[error("the end must come after the beginning, and after now")]
    NoSpan,
    /// It ends within its limit.
    #[error("{0} at most")]
    TooLong(&'static str),
    /// It is not shelved.
    #[error("it is not shelved")]
    NotShelved,
    /// It is in service.
    #[error("it is in service, and no permit waits")]
    InService,
    /// One permit at a time.
    #[error("it is under a permit already")]
    UnderPermit,
    /// A rule with a red level needs something else that watches.
    #[error("a rule with a red level needs a substitute: say what watches the place meanwhile")]
    NeedsSubstitute,
    /// Nobody would see an active red alarm any more.
    #[error("an active red alarm would be hidden: say what watches the place meanwhile")]
    HidesRed,
    /// Only an active alarm's severity is raised.
    #[error("the alarm is not active")]
    NotActive,
    /// A person raises a severity and never lowers it.
    #[error("the severity is that high already")]
    NotHigher,
    /// No device has this name.
    #[error("no sensor of this name")]
    NoSuchSensor,
    /// Nothing looks at it, or it is not in maintenance.
    #[error("it is not in maintenance, or every rule that looks at it is under a permit of its own")]
    NotMaintained,
    /// A drill is under way.
    #[error("a drill of this rule is under way")]
    DrillUnderWay,
}

/// What an event leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// Nothing changes.
    Same,
    /// A new occurrence, active and unacknowledged; an open one is closed first.
    New,
    /// The same occurrence in this state after this change. In `Normal` it is over.
    To(Base, Change),
    /// A person's act that is not possible here.
    Refused(Refusal),
}

/// What `event` does in `state`.
///
/// ```
/// use lifeline_gateway::alarm::{Base, Change, lifecycle::{Event, Next, next}};
/// let seen = Next::To(Base::ActiveAcknowledged, Change::Acknowledged);
/// assert_eq!(next(Base::ActiveUnacknowledged, Event::Acknowledge), seen);
/// ```
pub const fn next(state: Base, event: Event) -> Next {
    use Base::{
        ActiveAcknowledged as Aa, ActiveUnacknowledged as Ua, LatchedAcknowledged as La,
        LatchedUnacknowledged as Lu, Normal as N, ReturnedUnacknowledged as Ur,
    };
    match (state, event) {
        (N, Event::Raise { .. }) | (Ur, Event::Raise { recent: false }) => Next::New,
        (Ua | Aa, Event::Raise { .. }) => Next::Same,
        (Ur, Event::Raise { recent: true }) | (Lu | La, Event::Raise { .. }) => {
            Next::To(Ua, Change::Reraised)
        }

        (Ua, Event::Clear { latched: false }) => Next::To(Ur, Change::Cleared),
        (Ua, Event::Clear { latched: true }) => Next::To(Lu, Change::Cleared),
        (Aa, Event::Clear { latched: false }) => Next::To(N, Change::Cleared),
        (Aa, Event::Clear { latched: true }) => Next::To(La, Change::Cleared),
        (N | Ur | Lu | La, Event::Clear { .. }) => Next::Same,

        (N, Event::Acknowledge) => Next::Refused(Refusal::NothingToAcknowledge),
        (Ua, Event::Acknowledge) => Next::To(Aa, Change::Acknowledged),
        (Ur, Event::Acknowledge) => Next::To(N, Change::Acknowledged),
        (Lu, Event::Acknowledge) => Next::To(La, Change::Acknowledged),
        (Aa | La, Event::Acknowledge) => Next::Refused(Refusal::AlreadyAcknowledged),

        (N | Ur, Event::Reset) => Next::Refused(Refusal::NothingToReset),
        (Ua | Aa, Event::Reset) => Next::Refused(Refusal::StillActive),
        (Lu, Event::Reset) => Next::Refused(Refusal::AcknowledgeFirst),
        (La, Event::Reset) => Next::To(N, Change::Reset),

        (Ua | Aa | Ur | Lu | La, Event::Escalate) => Next::To(Ua, Change::Rose),
        (Ua, Event::Deescalate) => Next::To(Ua, Change::Fell),
        (Aa, Event::Deescalate) => Next::To(Aa, Change::Fell),
        (N, Event::Escalate) | (N | Ur | Lu | La, Event::Deescalate) => Next::Same,

        (Ua, Event::Bad) => Next::To(Ua, Change::Unverified),
        (Aa, Event::Bad) => Next::To(Aa, Change::Unverified),
        (Ua, Event::Good) => Next::To(Ua, Change::Verified),
        (Aa, Event::Good) => Next::To(Aa, Change::Verified),
        (N | Ur | Lu | La, Event::Bad | Event::Good) => Next::Same,
    }
}

impl Base {
    /// All states, in the order of the table.
    pub const ALL: [Self; 6] = [
        Self::Normal,
        Self::ActiveUnacknowledged,
        Self::ActiveAcknowledged,
        Self::ReturnedUnacknowledged,
        Self::LatchedUnacknowledged,
        Self::LatchedAcknowledged,
    ];

    /// The kebab-case name, as in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::ActiveUnacknowledged => "active-unacknowledged",
            Self::ActiveAcknowledged => "active-acknowledged",
            Self::ReturnedUnacknowledged => "returned-unacknowledged",
            Self::LatchedUnacknowledged => "latched-unacknowledged",
            Self::LatchedAcknowledged => "latched-acknowledged",
        }
    }

    /// Nobody has acknowledged it.
    pub const fn is_unseen(self) -> bool {
        matches!(
            self,
            Self::ActiveUnacknowledged | Self::ReturnedUnacknowledged | Self::LatchedUnacknowledged
        )
    }

    /// Whether the condition holds.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::ActiveUnacknowledged | Self::ActiveAcknowledged)
    }
}

impl Change {
    /// The kebab-case name, as in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Reraised => "reraised",
            Self::Rose => "rose",
            Self::Fell => "fell",
            Self::Acknowledged => "acknowledged",
            Self::Cleared => "cleared",
            Self::Closed => "closed",
            Self::Unverified => "unverified",
            Self::Verified => "verified",
            Self::Reset => "reset",
            Self::Lifted => "lifted",
            Self::Lowered => "lowered",
            Self::Shelved => "shelved",
            Self::Unshelved => "unshelved",
            Self::Suppressed => "suppressed",
            Self::Unsuppressed => "unsuppressed",
            Self::Planned => "planned",
            Self::OutOfService => "out-of-service",
            Self::InService => "in-service",
            Self::Unverifiable => "unverifiable",
            Self::Chattering => "chattering",
            Self::Quiet => "quiet",
        }
    }
}

/// The reference page of the lifecycle, in Markdown, printed from [`next`].
pub fn reference() -> String {
    let mut page = String::from(ABOVE);
    page.push_str("\n| event |");
    for state in Base::ALL {
        page.push_str(&format!(" {} |", state.name()));
    }
    page.push_str("\n| --- |");
    page.push_str(&" --- |".repeat(Base::ALL.len()));
    for event in Event::ALL {
        page.push_str(&format!("\n| {} |", event.name()));
        for state in Base::ALL {
            page.push_str(&format!(" {} |", cell(next(state, event))));
        }
    }
    page.push('\n');
    let _ = write!(page, "{BELOW}");
    page
}

fn cell(next: Next) -> String {
    match next {
        Next::Same => "=".to_owned(),
        Next::New => format!("**{}**, a new occurrence: raised", Base::ActiveUnacknowledged.name()),
        Next::To(state, change) => format!("**{}**: {}", state.name(), change.name()),
        Next::Refused(refusal) => format!("refused: {refusal}"),
    }
}

const ABOVE: &str = "# Alarm lifecycle

Generated from the code: `UPDATE=1 cargo test reference` writes it anew.

A row is an event, a column the state it meets.
The cell names the state after it in bold and the change that is journaled; `=` changes nothing.
";

const BELOW: &str = "
- The condition is true for `raise` and false for `clear` only after the level's delay, counted on the readings' own times.
- `raise, late` is a return of the condition more than 10 minutes after it went: the open occurrence is closed and a new one is raised.
- A rise in severity voids the acknowledgement; an acknowledgement names the severity that was seen and is refused when it has risen since.
- Shown, acknowledged and sent is the highest severity since the alarm was raised or last acknowledged; of one that latches until its reset. `present` beside it is what is measured now, while that is lower.
- The same person may acknowledge twice; the second one changes nothing.
- `input bad` and `input good` set and remove the mark `unverified`.
- An alarm in `normal` is over. `closed` is written when its rule was removed, when its rule looks at another point, and before a late raise.
";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_pair_follows_the_table() {
        // Rows as in the source's table; R a refusal, * a new occurrence, = no change.
        let table = "
            N   UA* UA* =  =  R  R  =  =  =  =
            UA  =   =   UR LU AA R  UA UA UA UA
            AA  =   =   N  LA R  R  UA AA AA AA
            UR  UA  UA* =  =  N  R  UA =  =  =
            LU  UA  UA  =  =  LA R  UA =  =  =
            LA  UA  UA  =  =  R  N  UA =  =  =";
        let short = ["N", "UA", "AA", "UR", "LU", "LA"];
        let rows: Vec<Vec<&str>> =
            table.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
        for (row, state) in rows.iter().zip(Base::ALL) {
            for (&expected, event) in row[1..].iter().zip(Event::ALL) {
                let seen = match next(state, event) {
                    Next::Same => "=".to_owned(),
                    Next::New => "UA*".to_owned(),
                    Next::Refused(_) => "R".to_owned(),
                    Next::To(to, _) => {
                        short[Base::ALL.iter().position(|&base| base == to).unwrap()].to_owned()
                    }
                };
                assert_eq!(seen, expected, "{} on {}", event.name(), state.name());
            }
            assert_eq!(row.len(), Event::ALL.len() + 1);
        }
        assert_eq!(rows.len(), Base::ALL.len());
    }

    #[test]
    fn names_are_those_of_the_outputs() {
        for state in Base::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        assert_eq!(serde_json::to_value(Change::Reraised).unwrap(), Change::Reraised.name());
    }

    fn acknowledged(state: Base) -> bool {
        matches!(state, Base::Normal | Base::ActiveAcknowledged | Base::LatchedAcknowledged)
    }

    proptest! {
        /// Walks as long as any alarm's life: what each event may do and what it may never do.
        #[test]
        fn walks_keep_the_rules(walk in prop::collection::vec(0..Event::ALL.len(), 0..200)) {
            let mut state = Base::Normal;
            let mut condition = false;
            for event in walk.into_iter().map(|index| Event::ALL[index]) {
                // A level can only move while one is reached.
                if matches!(event, Event::Escalate | Event::Deescalate) && !condition {
                    continue;
                }
                let before = state;
                match next(state, event) {
                    Next::Same | Next::Refused(_) => {}
                    Next::New => state = Base::ActiveUnacknowledged,
                    Next::To(to, _) => state = to,
                }
                match event {
                    Event::Raise { .. } => condition = true,
                    Event::Clear { .. } => condition = false,
                    Event::Acknowledge | Event::Reset => prop_assert_eq!(state.is_active(), before.is_active()),
                    Event::Bad | Event::Good | Event::Deescalate => prop_assert_eq!(state, before),
                    Event::Escalate => prop_assert_eq!(state, Base::ActiveUnacknowledged),
                }
                prop_assert_eq!(state.is_active(), condition);
                if acknowledged(state) && !acknowledged(before) {
                    prop_assert_eq!(event, Event::Acknowledge);
                }
            }
        }
    }
}
