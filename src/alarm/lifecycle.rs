//! The base machine of an alarm as one total function.
//!
//! In: base state, event, whether the rule latches. Out: the next state and what to record.
//! Invariant: every pair of state and event is decided; an acknowledgement never clears, a clearing never acknowledges.
//! Source: ISA-18.2-2016 / IEC 62682, state model.

use crate::alarm::{Base, Change};

/// What can happen to an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The condition holds after its on-delay.
    Raise,
    /// The condition is gone after its off-delay.
    Clear,
    /// A person has seen it.
    Acknowledge,
    /// A person resets a latched alarm.
    Reset,
    /// Severity went up.
    Rise,
    /// Severity went down.
    Fall,
}

/// Why a person's act is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// There is nothing to acknowledge.
    Nothing,
    /// Somebody has acknowledged already.
    Already,
    /// The condition still holds.
    Active,
    /// To be acknowledged first.
    AcknowledgeFirst,
}

/// The next state and the change to record (`None`: nothing happened).
///
/// # Errors
/// A person's act that the state does not allow.
pub fn next(state: Base, step: Step, latched: bool) -> Result<(Base, Option<Change>), Refused> {
    use Base::{ActiveAcknowledged as AA, ActiveUnacknowledged as UA, LatchedAcknowledged as LA};
    use Base::{LatchedUnacknowledged as LU, Normal as N, ReturnedUnacknowledged as UR};
    Ok(match (state, step) {
        (N, Step::Raise) => (UA, Some(Change::Raised)),
        (UR | LU | LA, Step::Raise) => (UA, Some(Change::Reraised)),
        (UA, Step::Clear) if latched => (LU, Some(Change::Cleared)),
        (UA, Step::Clear) => (UR, Some(Change::Cleared)),
        (AA, Step::Clear) if latched => (LA, Some(Change::Cleared)),
        (AA, Step::Clear) => (N, Some(Change::Cleared)),
        (UA, Step::Acknowledge) => (AA, Some(Change::Acknowledged)),
        (UR, Step::Acknowledge) => (N, Some(Change::Acknowledged)),
        (LU, Step::Acknowledge) => (LA, Some(Change::Acknowledged)),
        (LA, Step::Reset) => (N, Some(Change::Reset)),
        (UA | AA | UR | LU | LA, Step::Rise) => (UA, Some(Change::Rose)),
        (UA | AA, Step::Fall) => (state, Some(Change::Fell)),
        (UA | AA, Step::Raise) | (N | UR | LU | LA, Step::Clear | Step::Fall) | (N, Step::Rise) => {
            (state, None)
        }
        (N, Step::Acknowledge | Step::Reset) => return Err(Refused::Nothing),
        (AA | LA, Step::Acknowledge) => return Err(Refused::Already),
        (UA | AA, Step::Reset) => return Err(Refused::Active),
        (UR | LU, Step::Reset) => return Err(Refused::AcknowledgeFirst),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATES: [Base; 6] = [
        Base::Normal,
        Base::ActiveUnacknowledged,
        Base::ActiveAcknowledged,
        Base::ReturnedUnacknowledged,
        Base::LatchedUnacknowledged,
        Base::LatchedAcknowledged,
    ];
    const STEPS: [Step; 6] =
        [Step::Raise, Step::Clear, Step::Acknowledge, Step::Reset, Step::Rise, Step::Fall];

    #[test]
    fn the_reference_page_is_the_table() {
        let mut page = String::from(
            "# Alarm lifecycle\n\nPrinted from `alarm::lifecycle`; each cell is the next state and what is recorded.\n",
        );
        for latched in [false, true] {
            page += if latched { "\n## Latched rules\n" } else { "\n## Other rules\n" };
            page += "| state | raise | clear | acknowledge | reset | rise | fall |\n| --- | --- | --- | --- | --- | --- | --- |\n";
            for state in STATES {
                page += &format!("| {state:?} |");
                for step in STEPS {
                    page += &match next(state, step, latched) {
                        Ok((same, None)) if same == state => " = |".to_owned(),
                        Ok((to, change)) => format!(" {to:?}, {:?} |", change.unwrap()),
                        Err(refused) => format!(" refused: {refused:?} |"),
                    };
                }
                page += "\n";
            }
        }
        let path = "docs/reference/alarm.md";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all("docs/reference").unwrap();
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), page, "run the tests with UPDATE=1");
    }

    proptest! {
        #[test]
        fn walks_stay_sound(latched: bool, steps in prop::collection::vec(0..6_usize, 0..60)) {
            let mut state = Base::Normal;
            for step in steps {
                let Ok((to, change)) = next(state, STEPS[step], latched) else { continue };
                prop_assert!(change.is_some() || to == state, "a silent change");
                if STEPS[step] == Step::Acknowledge {
                    let active = |base| matches!(base, Base::ActiveAcknowledged | Base::ActiveUnacknowledged);
                    prop_assert_eq!(active(to), active(state), "acknowledging never clears");
                }
                prop_assert!(latched || !matches!(to, Base::LatchedAcknowledged | Base::LatchedUnacknowledged));
                state = to;
            }
        }
    }
}
