//! Lifts: somebody is trapped.
//!
//! In: contacts of one car. Out: seconds that a person has been shut in.
//! Invariant: once the time runs, only a door that opens at a floor ends it: a person who sits still, a power cut and a lost sensor do not. A person in a
//! parked car with closed doors who asks for nothing is not trapped.
//! Source: EN 81-28 and its Chinese counterpart GB/T 24475; 60 s for suspected, 180 s for trapped are operators' settings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alarm::condition::Entry;
use crate::clock::Timestamp;
use crate::reading::Sample;

/// A button that is held for this long is meant.
const HELD: Duration = Duration::from_secs(3);
/// A door that does not open this long after a request at a floor is shut.
const REQUEST: Duration = Duration::from_secs(15);

/// What a contact means, by the order of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Contact {
    /// Somebody is in the car.
    Presence,
    /// The car moves.
    Moving,
    /// The car is in the unlocking zone of a floor.
    Zone,
    /// The car's door is closed.
    Closed,
    /// The alarm or door-open button is pressed.
    Button,
    /// The car is under maintenance.
    Maintenance,
}

/// All contacts in the order of their slots.
pub const CONTACTS: [Contact; 6] = [
    Contact::Presence,
    Contact::Moving,
    Contact::Zone,
    Contact::Closed,
    Contact::Button,
    Contact::Maintenance,
];

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Entrapment {
    /// What the inputs are.
    contacts: Vec<Contact>,
    states: [Option<bool>; 6],
    since: Option<Timestamp>,
    pressed: Option<Timestamp>,
    requested: Option<Timestamp>,
    /// What the button reached in this entrapment, in seconds.
    floor: f64,
    /// Seconds of the first and of the last level: a held button reaches them at once.
    levels: (f64, f64),
}

impl Entrapment {
    pub(crate) const fn new(contacts: Vec<Contact>, levels: (f64, f64)) -> Self {
        Self { contacts, states: [None; 6], since: None, pressed: None, requested: None, floor: 0.0, levels }
    }

    fn is(&self, contact: Contact) -> Option<bool> {
        self.states.get(contact as usize).copied().flatten()
    }

    pub(crate) fn take(&mut self, slot: usize, at: Timestamp, sample: &Sample) -> Entry {
        let Some(contact) = self.contacts.get(slot).copied() else { return Entry::Ignored };
        let state = match Entry::plain(sample) {
            Entry::Whole(value) => Some(value >= 0.5),
            Entry::Frozen => None,
            Entry::Raise(_) | Entry::Ignored => return Entry::Ignored,
        };
        if let Some(place) = self.states.get_mut(contact as usize) {
            *place = state;
        }
        if contact == Contact::Button {
            self.pressed = (state == Some(true)).then(|| self.pressed.unwrap_or(at));
            self.requested = self.pressed.or(self.requested);
        }
        self.judge(at, state.is_none())
    }

    fn judge(&mut self, at: Timestamp, lost: bool) -> Entry {
        let (closed, zone) = (self.is(Contact::Closed), self.is(Contact::Zone));
        if closed == Some(false) && zone == Some(true) {
            (self.since, self.requested, self.floor) = (None, None, 0.0);
            return Entry::Whole(0.0);
        }
        if self.is(Contact::Maintenance) == Some(true) {
            (self.since, self.floor) = (None, 0.0);
            return if self.held(at) && closed == Some(true) {
                Entry::Whole(self.levels.0)
            } else {
                Entry::Ignored
            };
        }
        let standing = self.is(Contact::Moving) == Some(false);
        let refused = self.requested.is_some_and(|since| at.since(since) >= REQUEST);
        let between = zone == Some(false);
        let shut_in = self.is(Contact::Presence) == Some(true)
            && standing
            && closed == Some(true)
            && (between || (zone == Some(true) && refused));
        if shut_in {
            self.since = self.since.or(Some(at));
        }
        let held = self.held(at) && closed == Some(true);
        let at_least = match (held, between && standing) {
            (true, true) => self.levels.1,
            (true, false) => self.levels.0,
            (false, _) => 0.0,
        };
        // Who lets go of the button is no less shut in.
        self.floor = if self.since.is_some() { self.floor.max(at_least) } else { 0.0 };
        match self.since {
            Some(since) => Entry::Whole(at.since(since).as_secs_f64().max(self.floor)),
            None if at_least > 0.0 => Entry::Whole(at_least),
            None if lost => Entry::Frozen,
            None if self.states.iter().take(4).any(Option::is_none) => Entry::Ignored,
            None => Entry::Whole(0.0),
        }
    }

    fn held(&self, at: Timestamp) -> bool {
        self.pressed.is_some_and(|since| at.since(since) >= HELD)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alarm::condition::tests::{at, vectors};
    use crate::reading::Reason;

    fn car() -> Entrapment {
        Entrapment::new(CONTACTS.to_vec(), (60.0, 180.0))
    }

    fn set(car: &mut Entrapment, t: f64, states: [bool; 6]) -> Entry {
        let mut last = Entry::Frozen;
        for (slot, state) in states.iter().enumerate() {
            last = car.take(slot, at(t), &Sample::Good(f64::from(u8::from(*state))));
        }
        last
    }

    const TRAPPED: [bool; 6] = [true, false, false, true, false, false];
    const OPEN: [bool; 6] = [true, false, true, false, false, false];
    const PARKED: [bool; 6] = [true, false, true, true, false, false];

    #[test]
    fn trapped_between_floors() {
        for case in vectors()["elevator"]["entrapment"].as_array().unwrap() {
            let opens = case["door_open_at"].as_f64().unwrap();
            let (mut car, mut suspected, mut trapped, mut released) = (car(), None, None, None);
            for second in 0..=300 {
                let t = f64::from(second);
                let Entry::Whole(time) = set(&mut car, t, if t < opens { TRAPPED } else { OPEN }) else {
                    panic!()
                };
                suspected = suspected.or((time >= 60.0).then_some(t));
                trapped = trapped.or((time >= 180.0).then_some(t));
                released = released.or((suspected.is_some() && time < 1.0).then_some(t));
            }
            assert_eq!(suspected, case["suspected"].as_f64());
            assert_eq!(trapped, case["entrapped"].as_f64());
            assert_eq!(released, case["release"].as_f64());
        }
    }

    #[test]
    fn a_parked_car_is_no_trap_until_somebody_asks() {
        let mut car = car();
        for second in 0..600 {
            assert_eq!(set(&mut car, f64::from(second), PARKED), Entry::Whole(0.0));
        }
        let mut pressed = PARKED;
        pressed[4] = true;
        set(&mut car, 600.0, pressed);
        assert_eq!(set(&mut car, 610.0, PARKED), Entry::Whole(0.0), "the door has 15 s");
        set(&mut car, 616.0, PARKED);
        assert_eq!(set(&mut car, 676.0, PARKED), Entry::Whole(60.0));
    }

    #[test]
    fn a_held_button_is_heard_at_once() {
        let mut car = car();
        let mut pressed = TRAPPED;
        pressed[4] = true;
        set(&mut car, 0.0, pressed);
        assert_eq!(set(&mut car, 3.0, pressed), Entry::Whole(180.0));
        assert_eq!(set(&mut car, 4.0, TRAPPED), Entry::Whole(180.0), "letting go frees nobody");
        set(&mut car, 5.0, OPEN);
        assert_eq!(set(&mut car, 6.0, TRAPPED), Entry::Whole(0.0), "another time");
        set(&mut car, 7.0, pressed);
        set(&mut car, 10.0, pressed);
        pressed[5] = true;
        assert_eq!(set(&mut car, 11.0, pressed), Entry::Whole(60.0), "also under maintenance");
    }

    proptest! {
        /// Whatever sensors are lost and whoever sits still: a running time goes on until a door opens at a floor.
        #[test]
        fn only_an_open_door_at_a_floor_ends_it(what in prop::collection::vec((0..3_usize, 0..3_u8), 1..60)) {
            let mut car = car();
            set(&mut car, 0.0, TRAPPED);
            for (index, (slot, state)) in what.iter().enumerate() {
                let t = 1.0 + index as f64;
                let sample = if *state == 2 { Sample::Bad(Reason::Timeout) } else { Sample::Good(f64::from(*state)) };
                let entry = car.take(*slot, at(t), &sample);
                prop_assert_eq!(entry, Entry::Whole(t), "the door is still closed");
            }
        }

        /// An empty car traps nobody.
        #[test]
        fn nobody_is_trapped_where_nobody_is(states in prop::collection::vec(any::<[bool; 3]>(), 1..60)) {
            let mut car = car();
            for (second, [moving, zone, closed]) in states.iter().enumerate() {
                let entry = set(&mut car, second as f64, [false, *moving, *zone, *closed, false, false]);
                prop_assert!(entry.number().is_none_or(|(time, _)| time <= 0.0), "{:?}", entry);
            }
        }
    }
}
