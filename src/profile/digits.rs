//! Digits behind the point: what a field resolves, and what of it is shown.
//!
//! In: a field and the unit that its readings are kept in. Out: a number of digits.
//! Invariant: two values that differ by a step of what the profile says are never shown alike (up to 9 digits).

use crate::profile::{Field, Kind};
use crate::unit::Unit;

impl Field {
    /// Digits behind the point that count, in the field's own unit: those of the profile; none of a state or a bit. `None` when nobody knows.
    pub fn resolved(&self) -> Option<u8> {
        let whole = !self.states.is_empty() || matches!(self.kind, Kind::Bool | Kind::Bits { .. });
        self.decimals.or(whole.then_some(0))
    }

    /// Digits behind the point that are shown of readings kept in `kept`: two when nobody knows.
    pub fn digits(&self, kept: Option<Unit>) -> u8 {
        match (self.resolved(), self.unit.zip(kept)) {
            (Some(decimals), Some((unit, kept))) => unit.digits(decimals, kept),
            (Some(decimals), None) => decimals,
            (None, _) => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Table;

    fn field(kind: Kind, unit: Option<&str>) -> Field {
        Field { unit: unit.and_then(Unit::parse), ..Field::new("x", Table::Holding, 0, kind) }
    }

    #[track_caller]
    fn check(field: &Field, kept: &str, want: u8) {
        assert_eq!(field.digits(Unit::parse(kept)), want, "{field:?}");
    }

    #[test]
    fn what_the_profile_says_is_shown_in_the_kept_unit() {
        for (unit, decimals, kept, want) in
            [("m3/h", 1, "m3/s", 5), ("m", 3, "cm", 1), ("m", 0, "cm", 0), ("cm", 2, "cm", 2)]
        {
            let field = Field { decimals: Some(decimals), ..field(Kind::F32, Some(unit)) };
            check(&field, kept, want);
        }
        check(&Field { decimals: Some(3), ..field(Kind::U16, None) }, "", 3);
    }
}
