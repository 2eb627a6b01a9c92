//! What a device may be asked to find out whether it still owes an answer, where frames don't name their request.
//!
//! In: its plan, fields and limits. Out: reads whose answers look unlike each other.
//! Invariant: only what its polls ask anyway, or cells that the profile's `gap` lets a poll read over; no cell that reading changes.
//! Source: Modbus over Serial Line V1.02, 2.4.1: a device answers in the order it is asked.

use std::collections::BTreeMap;

use crate::bus::{Read, Table};
use crate::poll::plan::{Cuts, Plan};
use crate::profile::{Field, Limits};

/// Reads that are remembered for a device.
const FENCES_MAX: usize = 4;

/// The shortest read of each length and table in `plan`; when there is but one length, and it can't be shortened, one that reads a little
/// further than the first of them.
pub fn fences(plan: &Plan, fields: &[Field], limits: &Limits, cuts: &Cuts) -> Vec<Read> {
    let reads = || plan.0.iter().map(|planned| planned.read);
    let shapes: BTreeMap<(usize, Table), Read> =
        reads().map(|read| ((read.data_bytes(), read.table), read)).collect();
    let mut found: Vec<Read> = shapes.into_values().take(FENCES_MAX).collect();
    if let [only] = found.as_slice() {
        found.extend(longer(*only, fields, limits, cuts));
    }
    found
}

/// `read` and a little more behind it or before it, as far as the limits let a poll do that.
fn longer(read: Read, fields: &[Field], limits: &Limits, cuts: &Cuts) -> Option<Read> {
    let is_bits = matches!(read.table, Table::Coil | Table::Discrete);
    let extra = if is_bits { 8 } else { 1 };
    let count = read.count.checked_add(extra)?;
    let most = if is_bits { 2000 } else { limits.registers_per_read };
    if limits.single_register || limits.gap < extra || count > most {
        return None;
    }
    let (from, to) = (u32::from(read.address), u32::from(read.address) + u32::from(read.count));
    let extra = u32::from(extra);
    let behind = (to + extra <= 0x1_0000).then_some((from, to, to + extra, to));
    let before = from.checked_sub(extra).map(|begin| (begin, begin, from, from));
    let is_free = |(_, begin, end, cut): &(u32, u32, u32, u32)| {
        let touches = |field: &&Field| {
            let own = u32::from(field.address);
            field.table == read.table && own < *end && *begin < own + u32::from(field.count)
        };
        let is_cut = u16::try_from(*cut).is_ok_and(|cut| cuts.contains(&(read.table, cut)));
        !is_cut && !fields.iter().filter(touches).any(|field| field.destructive)
    };
    let (address, ..) = [behind, before].into_iter().flatten().find(is_free)?;
    Some(Read { address: u16::try_from(address).ok()?, count, ..read })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bus::{Address, LineSettings};
    use crate::poll::cost::Cost;
    use crate::poll::plan::wanted;
    use crate::profile::Kind;

    fn found(fields: &[Field], limits: &Limits) -> Vec<(Table, u16, u16)> {
        let line = LineSettings::plain("line", Address::RtuOverTcp("x:1".to_owned()));
        let cost = Cost::new(&line, Duration::ZERO);
        let plan = Plan::new(fields, &wanted(fields), limits, &cost, &Cuts::new());
        let reads = fences(&plan, fields, limits, &Cuts::new());
        reads.into_iter().map(|read| (read.table, read.address, read.count)).collect()
    }

    fn field(table: Table, address: u16, kind: Kind) -> Field {
        Field::new("f", table, address, kind)
    }

    #[test]
    fn what_the_polls_ask_tells_lengths_apart() {
        let fields = [
            field(Table::Holding, 0, Kind::U16),
            field(Table::Holding, 100, Kind::F32),
            field(Table::Input, 7, Kind::U16),
        ];
        let wanted = [(Table::Holding, 0, 1), (Table::Input, 7, 1), (Table::Holding, 100, 2)];
        assert_eq!(found(&fields, &Limits::default()), wanted);
    }

    #[test]
    fn one_length_is_joined_by_a_longer_one_where_the_profile_lets_holes_be_read() {
        let one = |address| [field(Table::Holding, address, Kind::U16)];
        assert_eq!(found(&one(5), &Limits::default()), [(Table::Holding, 5, 1), (Table::Holding, 5, 2)]);
        assert_eq!(
            found(&one(0xFFFF), &Limits::default()),
            [(Table::Holding, 0xFFFF, 1), (Table::Holding, 0xFFFE, 2)]
        );
        let coil = [field(Table::Coil, 3, Kind::Bool)];
        assert_eq!(found(&coil, &Limits::default()), [(Table::Coil, 3, 1), (Table::Coil, 3, 9)]);
        for limits in [
            Limits { gap: 0, ..Limits::default() },
            Limits { single_register: true, ..Limits::default() },
            Limits { registers_per_read: 1, ..Limits::default() },
        ] {
            assert_eq!(found(&one(5), &limits), [(Table::Holding, 5, 1)]);
        }
    }

    #[test]
    fn cells_that_reading_changes_are_left_alone() {
        let destructive =
            |address| Field { destructive: true, hidden: true, ..field(Table::Holding, address, Kind::U16) };
        let fields = [field(Table::Holding, 5, Kind::U16), destructive(6)];
        assert_eq!(found(&fields, &Limits::default()), [(Table::Holding, 5, 1), (Table::Holding, 4, 2)]);
        let fields = [fields[0].clone(), destructive(6), destructive(4)];
        assert_eq!(found(&fields, &Limits::default()), [(Table::Holding, 5, 1)]);
    }
}
