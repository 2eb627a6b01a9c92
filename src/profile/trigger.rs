//! Writes that a device needs in order to measure.
//!
//! In: what a profile declares, the names that a site allows. Out: [`Allowed`] triggers, the only ones that may reach a line.
//! Invariant: there is no other way to an [`Allowed`] than [`Trigger::allowed`] with a list that names the trigger; a point stands behind a
//! trigger when it, or a point that it needs, is named in `before`.
//! Source: DESIGN promise 6; Geokon 6150F and 3810A manuals, section 3 (a frozen value without the write).

use std::fmt;
use std::time::Duration;

use crate::bus::Table;
use crate::profile::{Field, Never};

/// One declared write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Kebab-case name, for `allow = [...]`.
    pub name: String,
    /// What is written.
    pub act: Act,
    /// From the write's answer until the new values stand in the registers.
    pub wait: Duration,
    /// Indexes of the fields that serve old values without it.
    pub before: Vec<usize>,
}

/// What a trigger writes; addresses are 0-based as on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// FC 5.
    Coil {
        /// Which.
        address: u16,
        /// What it becomes.
        on: bool,
    },
    /// FC 6.
    Register {
        /// Which.
        address: u16,
        /// What it becomes.
        value: u16,
    },
    /// FC 16, at most 123 registers.
    Registers {
        /// The first.
        address: u16,
        /// What they become.
        values: Vec<u16>,
    },
}

/// A trigger that the site's document allows by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed(Trigger);

impl Trigger {
    /// This trigger as an allowed one, when it stands among `names`.
    pub fn allowed(&self, names: &[String]) -> Option<Allowed> {
        names.contains(&self.name).then(|| Allowed(self.clone()))
    }

    /// The fields that serve old values without it: those of `before`, and those that need one of them.
    pub fn behind(&self, fields: &[Field]) -> Vec<usize> {
        let mut behind: Vec<bool> = (0..fields.len()).map(|index| self.before.contains(&index)).collect();
        // As many rounds as there are fields reach the end of every chain.
        for _ in 0..fields.len() {
            for (index, field) in fields.iter().enumerate() {
                let old = field.needs().any(|other| behind.get(other) == Some(&true));
                if let Some(own) = behind.get_mut(index).filter(|_| old) {
                    *own = true;
                }
            }
        }
        behind.iter().enumerate().filter(|(_, behind)| **behind).map(|(index, _)| index).collect()
    }
}

impl Allowed {
    /// What is allowed.
    pub const fn trigger(&self) -> &Trigger {
        &self.0
    }
}

impl Act {
    /// Whether it writes one of `never`.
    pub fn touches(&self, never: &Never) -> bool {
        let (table, first, count) = match self {
            Self::Coil { address, .. } => (Table::Coil, *address, 1),
            Self::Register { address, .. } => (Table::Holding, *address, 1),
            Self::Registers { address, values } => (Table::Holding, *address, values.len()),
        };
        let end = |first: u16, count: usize| usize::from(first) + count;
        table == never.table
            && usize::from(first) < end(never.address, usize::from(never.count))
            && usize::from(never.address) < end(first, count)
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coil { address, on } => write!(f, "coil 0x{address:04X} = {}", u8::from(*on)),
            Self::Register { address, value } => write!(f, "holding 0x{address:04X} = {value}"),
            Self::Registers { address, values } => write!(f, "holding 0x{address:04X} = {values:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Kind;
    use crate::profile::depend::Gate;

    fn trigger(before: Vec<usize>) -> Trigger {
        let act = Act::Register { address: 0x0118, value: 1 };
        let wait = Duration::from_millis(500);
        Trigger { name: "measure".to_owned(), act, wait, before }
    }

    #[test]
    fn only_a_name_allows() {
        let allowed = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            trigger(vec![0]).allowed(&names).is_some()
        };
        assert!(!allowed(&[]));
        assert!(!allowed(&["measur", "*", "all"]));
        assert!(allowed(&["reset", "measure"]));
        assert_eq!(trigger(vec![]).act.to_string(), "holding 0x0118 = 1");
    }

    #[test]
    fn what_must_not_be_written_is_seen_in_every_form() {
        let never = |table, address, count| Never { table, address, count, why: String::new() };
        let many = Act::Registers { address: 0x10, values: vec![0; 3] };
        assert!(
            many.touches(&never(Table::Holding, 0x12, 1)) && many.touches(&never(Table::Holding, 0, 0x11))
        );
        assert!(
            !many.touches(&never(Table::Holding, 0x13, 1)) && !many.touches(&never(Table::Holding, 0, 0x10))
        );
        assert!(!many.touches(&never(Table::Coil, 0x12, 1)));
        assert!(Act::Coil { address: 48, on: true }.touches(&never(Table::Coil, 48, 1)));
        assert!(Act::Register { address: 228, value: 1 }.touches(&never(Table::Holding, 0, 0xFFFF)));
    }

    #[test]
    fn what_needs_an_old_value_is_old() {
        let field = |address| Field::new("f", Table::Holding, address, Kind::U16);
        let fields = [
            Field { decimals_from: Some(3), ..field(0) },
            field(1),
            Field { valid_when: vec![Gate::is(0, 1.0)], ..field(2) },
            field(3),
        ];
        assert_eq!(trigger(vec![3]).behind(&fields), [0, 2, 3]);
        assert_eq!(trigger(vec![1]).behind(&fields), [1]);
    }
}
