//! Digits behind the point: what a field resolves, and what of it is shown.
//!
//! In: a field and the unit that its readings are kept in. Out: a number of digits.
//! Invariant: two values that differ by a step of what the profile says are never shown alike (up to 9 digits).

use crate::profile::{Field, Kind};
use crate::unit::Unit;

impl Field {
    /// Digits behind the point that count, in the field's own unit: those of the profile; none of a state, a bit or a whole number as it comes.
    /// `None` when nobody knows.
    pub fn resolved(&self) -> Option<u8> {
        let whole = !self.states.is_empty() || (self.kind.is_whole() && self.is_as_it_comes());
        self.decimals.or(whole.then_some(0))
    }

    /// Digits behind the point that are shown of readings kept in `kept`. When nobody knows, two of the field's own unit, and two at least.
    pub fn digits(&self, kept: Option<Unit>) -> u8 {
        match (self.resolved(), self.unit.zip(kept)) {
            (Some(decimals), Some((unit, kept))) => unit.digits(decimals, kept),
            (Some(decimals), None) => decimals,
            (None, Some((unit, kept))) => unit.usual_digits(kept),
            (None, None) => 2,
        }
    }

    /// Nothing stands between the raw number and the value in the field's unit, or only whole numbers do.
    fn is_as_it_comes(&self) -> bool {
        let whole = |number: f64| number.fract().abs() <= 0.0;
        whole(self.scale)
            && whole(self.offset)
            && self.group.is_none()
            && self.current_loop.is_none()
            && self.decimals_from.is_none()
            && self.scale_from.is_none()
            && self.unit_from.is_none()
    }
}

impl Kind {
    /// Raw numbers of this kind have nothing behind the point.
    fn is_whole(self) -> bool {
        !matches!(self, Self::F32 | Self::F64 | Self::Ascii)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Loop, Table};

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

    #[test]
    fn a_whole_number_as_it_comes_has_none() {
        for kind in [Kind::U16, Kind::I32, Kind::U8h, Kind::Bool, Kind::Bits { low: 0, high: 3 }, Kind::Bcd] {
            check(&field(kind, None), "", 0);
        }
        check(&field(Kind::U16, Some("mm")), "cm", 1);
        check(&Field { scale: 10.0, ..field(Kind::U16, None) }, "", 0);
        check(&Field { states: vec![(0, "off".into())], ..field(Kind::F32, None) }, "", 0);
    }

    #[test]
    fn two_of_the_fields_own_unit_and_two_at_least_where_nobody_knows() {
        for (unit, kept, want) in [("m3/h", "m3/s", 6), ("mm", "m", 5), ("kPa", "kPa", 2), ("m", "cm", 2)] {
            check(&field(Kind::F32, Some(unit)), kept, want);
        }
        let raw = || field(Kind::U16, None);
        let current_loop = Some(Loop { lo: 4.0, hi: 20.0, out_lo: 0.0, out_hi: 10.0 });
        for field in [
            field(Kind::F32, None),
            field(Kind::Ascii, None),
            Field { scale: 0.1, ..raw() },
            Field { offset: 0.5, ..raw() },
            Field { decimals_from: Some(0), ..raw() },
            Field { current_loop, ..raw() },
        ] {
            check(&field, "", 2);
        }
    }
}
