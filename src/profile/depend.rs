//! What a point takes from other points: whether it is valid, its byte order, its scale, its unit.
//!
//! In: numbers that other fields gave in the same poll. Out: whether a [`Gate`] is open, the case of a [`Choice`].
//! Invariant: a number that no case names chooses nothing; the point is a fault then and never a guess.
//! Source: register fact files (`valid_when`, `order_from`, `unit_from`): VEGA and Encardio for order and unit, Oldham and MicroFlex for scale,
//! Evikon and Otis for the age of a value.

use crate::profile::{Field, Order};

/// A condition on another field.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// Index of the field.
    pub field: usize,
    /// What its raw number must be.
    pub holds: Holds,
}

/// What a raw number must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Holds {
    /// One of these.
    Is(Vec<f64>),
    /// Inside this span, ends included.
    Within(f64, f64),
}

/// Something chosen by another field's raw number.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice<T> {
    /// Index of the field.
    pub field: usize,
    /// What each number chooses.
    pub cases: Vec<(f64, T)>,
}

/// From the unit that a device says to the field's own: `value * factor + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    /// The factor.
    pub factor: f64,
    /// Added after it, in the field's unit.
    pub offset: f64,
}

impl Gate {
    /// Open while the field's raw number is `number`.
    pub fn is(field: usize, number: f64) -> Self {
        Self { field, holds: Holds::Is(vec![number]) }
    }
}

impl Conversion {
    /// `value` in the field's unit.
    pub fn apply(self, value: f64) -> f64 {
        value * self.factor + self.offset
    }

    /// The opposite of [`Conversion::apply`].
    pub fn undo(self, value: f64) -> f64 {
        (value - self.offset) / self.factor
    }
}

impl Holds {
    /// Whether `number` is what it must be.
    pub fn holds(&self, number: f64) -> bool {
        match self {
            Self::Is(numbers) => numbers.iter().any(|held| same(*held, number)),
            Self::Within(low, high) => (*low..=*high).contains(&number),
        }
    }

    /// A number for which it holds.
    pub fn example(&self) -> f64 {
        match self {
            Self::Is(numbers) => numbers.first().copied().unwrap_or(0.0),
            Self::Within(low, high) => 0.0_f64.max(*low).min(*high),
        }
    }
}

impl<T> Choice<T> {
    /// What `number` chooses.
    pub fn of(&self, number: f64) -> Option<&T> {
        self.cases.iter().find(|(known, _)| same(*known, number)).map(|(_, case)| case)
    }
}

impl Field {
    /// Indexes of the fields that this one can't be read without.
    pub fn needs(&self) -> impl Iterator<Item = usize> {
        let single = [
            self.decimals_from,
            self.pre_offset_from,
            self.order_from.as_ref().map(|choice| choice.field),
            self.scale_from.as_ref().map(|choice| choice.field),
            self.unit_from.as_ref().map(|choice| choice.field),
        ];
        single.into_iter().flatten().chain(self.valid_when.iter().map(|gate| gate.field))
    }

    /// This field in the byte order that `number` of the field behind `order_from` names; `None` when it names none.
    pub fn ordered(&self, number: f64) -> Option<Self> {
        let order: &Order = self.order_from.as_ref()?.of(number)?;
        Some(Self { order: order.clone(), order_from: None, ..self.clone() })
    }
}

/// The same number, whatever the sign of a zero.
fn same(one: f64, other: f64) -> bool {
    (one + 0.0).total_cmp(&(other + 0.0)).is_eq()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Table;
    use crate::profile::Kind;

    #[test]
    fn gates_and_choices() {
        assert!(Gate::is(0, 0.0).holds.holds(-0.0));
        assert!(Holds::Is(vec![1.0, 3.0]).holds(3.0) && !Holds::Is(vec![1.0, 3.0]).holds(2.0));
        assert!(Holds::Within(0.0, 60.0).holds(60.0) && !Holds::Within(0.0, 60.0).holds(60.1));
        assert!(Holds::Within(f64::NEG_INFINITY, 60.0).holds(-1e9));
        for holds in [Holds::Is(vec![7.0]), Holds::Within(5.0, 9.0), Holds::Within(-9.0, -5.0)] {
            assert!(holds.holds(holds.example()), "{holds:?}");
        }
        let choice = Choice { field: 0, cases: vec![(0.0, "m"), (1.0, "mm")] };
        assert_eq!((choice.of(1.0), choice.of(2.0)), (Some(&"mm"), None));
    }

    #[test]
    fn a_field_names_all_that_it_needs() {
        let order_from = Some(Choice { field: 3, cases: vec![(1.0, Order::parse("CDAB").unwrap())] });
        let field = Field {
            decimals_from: Some(1),
            pre_offset_from: Some(2),
            order_from,
            scale_from: Some(Choice { field: 4, cases: vec![(0.0, 1.0)] }),
            unit_from: Some(Choice { field: 5, cases: vec![(0.0, Conversion { factor: 1.0, offset: 0.0 })] }),
            valid_when: vec![Gate::is(6, 0.0), Gate::is(7, 0.0)],
            ..Field::new("level", Table::Holding, 0, Kind::F32)
        };
        assert_eq!(field.needs().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
        let ordered = field.ordered(1.0).unwrap();
        assert_eq!((ordered.order.letters().as_str(), ordered.order_from), ("CDAB", None));
        assert_eq!(field.ordered(2.0), None);
    }
}
