//! Which connection speaks for a DTU: one at a time, and a newer one takes over only from one that is silent.
//!
//! In: connections that come and go, requests and how they ended. Out: the role of each connection.
//! Invariant: at most one connection is the current one, so two never feed one point. One that answered lately is kept while the
//! next request proves it; the newer one waits as the candidate. Judged by valid answers, never by the socket.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Requests in a row without any byte after which a connection counts as dead.
const SILENT_MAX: u32 = 3;
/// More swaps than this in [`SWAPS_SPAN`] mean that two devices have the same id.
const SWAPS_MAX: usize = 6;
const SWAPS_SPAN: Duration = Duration::from_secs(3600);

/// The connections of one DTU.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    current: Option<Seat>,
    candidate: Option<u64>,
    last: u64,
    swaps: VecDeque<Instant>,
}

#[derive(Clone, Debug)]
struct Seat {
    session: u64,
    answered: Option<Instant>,
    silent: u32,
    /// A request is open.
    asked: bool,
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It speaks for the DTU.
    Current,
    /// It waits until the current one has failed.
    Candidate,
    /// It is to be closed.
    Gone,
}

/// How a connection was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// There was none.
    First,
    /// The one before was silent and is closed; `often` when that happened more than 6 times within an hour.
    Replaced {
        /// Two devices seem to have the same id.
        often: bool,
    },
    /// The one before answered lately.
    Waits,
}

impl Roster {
    /// A connection of this DTU registered at `now`. One that had a valid answer within `lively` is kept.
    pub fn arrive(&mut self, lively: Duration, now: Instant) -> (u64, Arrival) {
        self.last += 1;
        let session = self.last;
        let arrival = match &self.current {
            Some(seat) if seat.answered.is_some_and(|at| now < at + lively) => {
                self.candidate = Some(session);
                Arrival::Waits
            }
            Some(_) => {
                self.seat(session);
                Arrival::Replaced { often: self.swapped(now) }
            }
            None => {
                self.seat(session);
                Arrival::First
            }
        };
        (session, arrival)
    }

    /// What this connection may do.
    pub fn role(&self, session: u64) -> Role {
        match (&self.current, self.candidate) {
            (Some(seat), _) if seat.session == session => Role::Current,
            (_, Some(candidate)) if candidate == session => Role::Candidate,
            _ => Role::Gone,
        }
    }

    /// A request goes out.
    pub fn asked(&mut self, session: u64) {
        if let Some(seat) = self.own(session) {
            seat.asked = true;
        }
    }

    /// Whether a request is open.
    pub fn is_asked(&self, session: u64) -> bool {
        self.current.as_ref().is_some_and(|seat| seat.session == session && seat.asked)
    }

    /// The request ended. Returns whether the connection was given up for the candidate, and if so, whether that happens often.
    pub fn told(&mut self, session: u64, answered: bool, now: Instant) -> Option<Arrival> {
        let waits = self.candidate;
        let seat = self.own(session)?;
        seat.asked = false;
        if answered {
            seat.answered = Some(now);
            seat.silent = 0;
            // The newer one is a duplicate.
            self.candidate = None;
            return None;
        }
        seat.silent += 1;
        if let Some(candidate) = waits {
            self.seat(candidate);
            return Some(Arrival::Replaced { often: self.swapped(now) });
        }
        if seat.silent >= SILENT_MAX {
            self.current = None;
        }
        None
    }

    /// Bytes came: the connection is not dead, whatever they mean.
    pub fn heard(&mut self, session: u64) {
        if let Some(seat) = self.own(session) {
            seat.silent = 0;
        }
    }

    /// The connection ended.
    pub fn leave(&mut self, session: u64) {
        match self.role(session) {
            Role::Current => match self.candidate {
                Some(candidate) => self.seat(candidate),
                None => self.current = None,
            },
            Role::Candidate => self.candidate = None,
            Role::Gone => {}
        }
    }

    fn own(&mut self, session: u64) -> Option<&mut Seat> {
        self.current.as_mut().filter(|seat| seat.session == session)
    }

    fn seat(&mut self, session: u64) {
        self.current = Some(Seat { session, answered: None, silent: 0, asked: false });
        self.candidate = None;
    }

    /// Notes a swap at `now`; whether there were too many.
    fn swapped(&mut self, now: Instant) -> bool {
        self.swaps.push_back(now);
        while self.swaps.len() > SWAPS_MAX + 1
            || self.swaps.front().is_some_and(|first| *first + SWAPS_SPAN <= now)
        {
            self.swaps.pop_front();
        }
        self.swaps.len() > SWAPS_MAX
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIVELY: Duration = Duration::from_secs(10);

    fn begin() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        Instant::from_std(std::time::Instant::now())
    }

    #[test]
    fn a_silent_connection_is_replaced_at_once() {
        let (mut roster, now) = (Roster::default(), begin());
        let (first, arrival) = roster.arrive(LIVELY, now);
        assert_eq!(arrival, Arrival::First);
        let (second, arrival) = roster.arrive(LIVELY, now);
        assert_eq!(arrival, Arrival::Replaced { often: false });
        assert_eq!((roster.role(first), roster.role(second)), (Role::Gone, Role::Current));
        roster.told(second, true, now);
        let (third, arrival) = roster.arrive(LIVELY, now + LIVELY);
        assert_eq!((arrival, roster.role(third)), (Arrival::Replaced { often: false }, Role::Current));
    }

    #[test]
    fn a_lively_connection_is_proved_by_the_next_request() {
        let (mut roster, now) = (Roster::default(), begin());
        let (old, _) = roster.arrive(LIVELY, now);
        roster.told(old, true, now);
        let (new, arrival) = roster.arrive(LIVELY, now + LIVELY / 2);
        assert_eq!((arrival, roster.role(new)), (Arrival::Waits, Role::Candidate));
        assert_eq!(roster.told(old, true, now + LIVELY / 2), None);
        assert_eq!((roster.role(old), roster.role(new)), (Role::Current, Role::Gone), "a duplicate");
        let (new, _) = roster.arrive(LIVELY, now + LIVELY);
        assert_eq!(roster.told(old, false, now + LIVELY), Some(Arrival::Replaced { often: false }));
        assert_eq!((roster.role(old), roster.role(new)), (Role::Gone, Role::Current));
        roster.told(old, true, now);
        assert_eq!(roster.role(new), Role::Current, "an old connection says nothing any more");
    }

    #[test]
    fn three_silent_requests_end_a_connection_and_any_byte_saves_it() {
        let (mut roster, now) = (Roster::default(), begin());
        let (session, _) = roster.arrive(LIVELY, now);
        for _ in 0..10 {
            roster.told(session, false, now);
            roster.told(session, false, now);
            roster.heard(session);
        }
        assert_eq!(roster.role(session), Role::Current);
        for _ in 0..3 {
            roster.told(session, false, now);
        }
        assert_eq!(roster.role(session), Role::Gone);
    }

    #[test]
    fn the_seventh_swap_within_an_hour_is_told() {
        let (mut roster, now) = (Roster::default(), begin());
        roster.arrive(LIVELY, now);
        let often =
            |roster: &mut Roster, at| roster.arrive(LIVELY, at).1 == Arrival::Replaced { often: true };
        for minute in 0..6 {
            assert!(!often(&mut roster, now + Duration::from_secs(60 * minute)));
        }
        assert!(often(&mut roster, now + Duration::from_secs(360)));
        assert!(!often(&mut roster, now + SWAPS_SPAN + Duration::from_secs(360)), "an hour later");
    }

    #[derive(Clone, Debug)]
    enum Act {
        Arrive,
        Told(u64, bool),
        Heard(u64),
        Leave(u64),
        Wait(u64),
    }

    proptest! {
        #[test]
        fn one_speaks_at_most_and_none_is_forgotten(acts in prop::collection::vec(prop_oneof![
            Just(Act::Arrive),
            (1..6_u64, any::<bool>()).prop_map(|(session, answered)| Act::Told(session, answered)),
            (1..6_u64).prop_map(Act::Heard),
            (1..6_u64).prop_map(Act::Leave),
            (0..20_u64).prop_map(Act::Wait),
        ], 0..60)) {
            let (mut roster, mut now) = (Roster::default(), begin());
            for act in acts {
                let before: Vec<u64> = (1..=roster.last).filter(|one| roster.role(*one) == Role::Current).collect();
                match act {
                    Act::Arrive => {
                        let (new, arrival) = roster.arrive(LIVELY, now);
                        let waits = arrival == Arrival::Waits;
                        prop_assert_eq!(roster.role(new), if waits { Role::Candidate } else { Role::Current });
                    }
                    Act::Told(session, answered) => { roster.told(session, answered, now); }
                    Act::Heard(session) => roster.heard(session),
                    Act::Leave(session) => {
                        roster.leave(session);
                        prop_assert_eq!(roster.role(session), Role::Gone);
                    }
                    Act::Wait(seconds) => now += Duration::from_secs(seconds),
                }
                let current: Vec<u64> = (1..=roster.last).filter(|one| roster.role(*one) == Role::Current).collect();
                let candidates = (1..=roster.last).filter(|one| roster.role(*one) == Role::Candidate).count();
                prop_assert!(current.len() <= 1 && candidates <= 1);
                prop_assert!(candidates == 0 || current.len() == 1, "a candidate without anyone before it");
                prop_assert!(before.is_empty() || current.is_empty() || current >= before, "never back to an older one");
            }
        }
    }
}
