//! The cheapest requests for a device.
//!
//! In: fields of a profile, which of them are wanted, the device's limits, what a request costs, places that no request may span.
//! Out: a [`Plan`].
//! Invariant: every wanted field stands whole in exactly one request, so that no value is torn; no request touches an unwanted
//! register that reading changes; no other plan within the limits takes less time on the line.
//!
//! By dynamic programming over the fields of each table, sorted by address: `best[j]` is the cheapest way to read the first `j`,
//! and the last request reads `i..j`. Requests that read runs of the sorted fields are enough. Whether a request is allowed depends on
//! the cells it spans alone. Suppose `a < b < c` with `a` and `c` in one request and `b` in another. When `c` ends inside the other
//! request it can move there, and when it doesn't, the first request spans `b`, which can move over; neither request grows.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::bus::{Read, Table};
use crate::poll::cost::Cost;
use crate::profile::{Field, Limits};

/// One request of a plan and the fields that its answer holds: `(field index, offset of its first cell)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRead {
    /// The request.
    pub read: Read,
    /// Fields inside, by address.
    pub fields: Vec<(usize, usize)>,
}

/// The requests for one device, in order.
///
/// ```
/// use std::collections::BTreeSet;
/// use std::time::Duration;
/// use lifeline_gateway::bus::{Address, LineSettings, Table};
/// use lifeline_gateway::poll::{cost::Cost, plan::Plan};
/// use lifeline_gateway::profile::{Field, Kind, Limits};
///
/// let fields = [0, 2, 90].map(|address| Field::new("level", Table::Holding, address, Kind::F32));
/// let line = LineSettings::plain("plc", Address::Tcp("10.0.0.5:502".to_owned()));
/// let cost = Cost::new(&line, Duration::ZERO);
/// let plan = Plan::new(&fields, &[0, 1, 2], &Limits::default(), &cost, &BTreeSet::new());
/// let reads: Vec<(u16, u16)> = plan.0.iter().map(|planned| (planned.read.address, planned.read.count)).collect();
/// assert_eq!(reads, [(0, 4), (90, 2)]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan(pub Vec<PlannedRead>);

/// Places that no request may span, each the first cell behind it.
pub type Cuts = BTreeSet<(Table, u16)>;

/// Most bits of one read.
const BITS_MAX: u32 = 2000;

/// A wanted field: its index and its cells `from..to`.
#[derive(Clone, Copy)]
struct Item {
    index: usize,
    from: u32,
    to: u32,
}

/// What a request for fields of one table may span.
struct Bounds<'a> {
    table: Table,
    most: u32,
    gap: u32,
    single: bool,
    /// Cells of unwanted fields that reading changes.
    forbidden: Vec<(u32, u32)>,
    cuts: &'a Cuts,
}

impl Plan {
    /// The cheapest requests for the `wanted` fields (indexes into `fields`) within `limits`; holes are read over where that costs
    /// less than a second request, up to `limits.gap` cells each.
    pub fn new(fields: &[Field], wanted: &[usize], limits: &Limits, cost: &Cost, cuts: &Cuts) -> Self {
        let mut plan = Vec::new();
        for table in [Table::Coil, Table::Discrete, Table::Holding, Table::Input] {
            let of = |index: &usize| fields.get(*index).filter(|field| field.table == table);
            let mut items: Vec<Item> =
                wanted.iter().filter_map(|index| Some(item(*index, of(index)?))).collect();
            items.sort_by_key(|item| (item.from, item.to, item.index));
            items.dedup_by_key(|item| item.index);
            let bits = matches!(table, Table::Coil | Table::Discrete);
            let unwanted = fields.iter().enumerate().filter(|(index, field)| {
                field.table == table && field.destructive && !wanted.contains(index)
            });
            let bounds = Bounds {
                table,
                most: if bits { BITS_MAX } else { u32::from(limits.registers_per_read) },
                gap: u32::from(limits.gap),
                single: limits.single_register,
                forbidden: unwanted
                    .map(|(index, field)| item(index, field))
                    .map(|own| (own.from, own.to))
                    .collect(),
                cuts,
            };
            plan.extend(cheapest(&items, &bounds, cost));
        }
        Self(plan)
    }

    /// Time on the line when all requests are answered.
    pub fn time(&self, cost: &Cost) -> Duration {
        self.0.iter().map(|planned| cost.answered(planned.read)).sum()
    }
}

/// The fields that a poll must read: the visible ones and those that they need.
pub fn wanted(fields: &[Field]) -> Vec<usize> {
    let mut wanted = BTreeSet::new();
    let mut open: Vec<usize> =
        fields.iter().enumerate().filter(|(_, field)| !field.hidden).map(|(index, _)| index).collect();
    while let Some(index) = open.pop() {
        let Some(field) = fields.get(index).filter(|_| wanted.insert(index)) else { continue };
        open.extend(field.needs());
    }
    wanted.into_iter().filter(|index| *index < fields.len()).collect()
}

fn item(index: usize, field: &Field) -> Item {
    let from = u32::from(field.address);
    Item { index, from, to: from + u32::from(field.count) }
}

/// The cheapest requests for `items`, sorted by address.
fn cheapest(items: &[Item], bounds: &Bounds<'_>, cost: &Cost) -> Vec<PlannedRead> {
    // For the first j items: the time of the cheapest requests, and where the last of them begins.
    let mut best: Vec<(Duration, usize)> = vec![(Duration::ZERO, 0)];
    best.resize(items.len() + 1, (Duration::MAX, 0));
    for (begin, first) in items.iter().enumerate() {
        let Some((before, _)) = best.get(begin).copied() else { break };
        let mut to = first.to;
        for (at, next) in items.iter().enumerate().skip(begin) {
            if at > begin && !bounds.joins(first, to, next) {
                break;
            }
            to = to.max(next.to);
            let time = before.saturating_add(cost.answered(read(bounds.table, first.from, to)));
            if let Some(slot) = best.get_mut(at + 1).filter(|slot| time < slot.0) {
                *slot = (time, begin);
            }
        }
    }
    let mut plan = Vec::new();
    let mut end = items.len();
    while let Some((_, begin)) = best.get(end).copied().filter(|_| end > 0) {
        plan.push(planned(bounds.table, items.get(begin..end).unwrap_or_default()));
        end = begin;
    }
    plan.reverse();
    plan
}

impl Bounds<'_> {
    /// Whether a request that begins with `first` and ends at `to` may go on to `next`. What a longer request may not span, one that
    /// is longer still may not either.
    fn joins(&self, first: &Item, to: u32, next: &Item) -> bool {
        let end = to.max(next.to);
        if self.single {
            return next.from == first.from && next.to == to;
        }
        // A field longer than the limit is asked for all the same, alone or with what lies inside it.
        let longest = next.to <= to || (first.from == next.from && end == next.to);
        let within = end - first.from <= self.most || longest;
        let hole = |(from, until): &(u32, u32)| to < next.from && *from < next.from && to < *until;
        let spared = !self.forbidden.iter().any(hole);
        let cut = |at: u32| u16::try_from(at).is_ok_and(|at| self.cuts.contains(&(self.table, at)));
        within && spared && next.from.saturating_sub(to) <= self.gap && !(to..=next.from).any(cut)
    }
}

fn read(table: Table, from: u32, to: u32) -> Read {
    let cell = |at: u32| u16::try_from(at).unwrap_or(u16::MAX);
    Read { table, address: cell(from), count: cell(to.saturating_sub(from)) }
}

fn planned(table: Table, items: &[Item]) -> PlannedRead {
    let from = items.first().map_or(0, |item| item.from);
    let to = items.iter().map(|item| item.to).max().unwrap_or(from);
    let offset = |item: &Item| usize::try_from(item.from - from).unwrap_or(usize::MAX);
    let fields = items.iter().map(|item| (item.index, offset(item))).collect();
    PlannedRead { read: read(table, from, to), fields }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bus::{Address, LineSettings};
    use crate::profile::Kind;
    use crate::profile::depend::Gate;

    fn field(address: u16, count: u16) -> Field {
        Field { count, ..Field::new("f", Table::Holding, address, Kind::U16) }
    }

    fn reads(plan: &Plan) -> Vec<(u16, u16)> {
        plan.0.iter().map(|planned| (planned.read.address, planned.read.count)).collect()
    }

    fn costs(byte_us: u64, turnaround_ms: u64) -> Cost {
        Cost {
            byte: Duration::from_micros(byte_us),
            turnaround: Duration::from_millis(turnaround_ms),
            ..Cost::new(&LineSettings::plain("line", Address::RtuOverTcp(String::new())), Duration::ZERO)
        }
    }

    fn plan(fields: &[Field], limits: &Limits, cost: &Cost, cuts: &[u16]) -> Plan {
        let wanted: Vec<usize> = (0..fields.len()).filter(|index| !fields[*index].hidden).collect();
        Plan::new(fields, &wanted, limits, cost, &cuts.iter().map(|at| (Table::Holding, *at)).collect())
    }

    #[test]
    fn holes_are_read_over_where_that_is_cheaper_and_nothing_that_reading_changes() {
        let mut fields = vec![field(0, 2), field(2, 1), field(6, 1), field(30, 1), field(200, 1)];
        let limits = Limits { gap: 30, ..Limits::default() };
        // At 1041 us a byte, a second request costs 13 bytes, 4 ms silence and the turnaround.
        let slow = costs(1_041, 10);
        assert_eq!(reads(&plan(&fields, &limits, &slow, &[])), [(0, 7), (30, 1), (200, 1)]);
        assert_eq!(reads(&plan(&fields, &limits, &costs(1_041, 40), &[])), [(0, 31), (200, 1)]);
        assert_eq!(reads(&plan(&fields, &limits, &slow, &[3])), [(0, 3), (6, 1), (30, 1), (200, 1)]);
        fields.push(Field { destructive: true, hidden: true, ..field(4, 1) });
        assert_eq!(reads(&plan(&fields, &limits, &slow, &[])), [(0, 3), (6, 1), (30, 1), (200, 1)]);
        let single = Limits { single_register: true, ..limits };
        assert_eq!(reads(&plan(&fields[..2], &single, &slow, &[])), [(0, 2), (2, 1)]);
    }

    #[test]
    fn fields_of_the_same_registers_come_from_one_answer() {
        let fields = [field(4, 1), field(4, 1), field(3, 4), field(5, 1)];
        let plan = plan(&fields, &Limits::default(), &costs(1_041, 10), &[]);
        assert_eq!(plan.0.len(), 1);
        assert_eq!(plan.0[0].fields, [(2, 0), (0, 1), (1, 1), (3, 2)]);
    }

    #[test]
    fn hidden_fields_are_read_only_when_others_need_them() {
        let hidden = || Field { hidden: true, ..field(0, 1) };
        let seen = Field { decimals_from: Some(1), ..field(9, 1) };
        let gated = Field { valid_when: vec![Gate::is(2, 1.0)], ..hidden() };
        assert_eq!(wanted(&[seen, gated, hidden(), hidden()]), [0, 1, 2]);
    }

    /// All ways to put `count` things into groups.
    fn partitions(count: usize) -> Vec<Vec<Vec<usize>>> {
        let Some(last) = count.checked_sub(1) else { return vec![vec![]] };
        let mut all = Vec::new();
        for smaller in partitions(last) {
            for group in 0..=smaller.len() {
                let mut larger = smaller.clone();
                if group == larger.len() {
                    larger.push(vec![last]);
                } else {
                    larger[group].push(last);
                }
                all.push(larger);
            }
        }
        all
    }

    /// Time of one request for these fields, from first principles; `None` when it is not allowed.
    fn time_of(
        group: &[usize],
        fields: &[Field],
        limits: &Limits,
        cost: &Cost,
        cuts: &[u16],
    ) -> Option<Duration> {
        let ends = |field: &Field| field.address + field.count;
        let from = group.iter().map(|index| fields[*index].address).min()?;
        let to = group.iter().map(|index| ends(&fields[*index])).max()?;
        let whole = |index: &usize| (fields[*index].address, ends(&fields[*index])) == (from, to);
        if limits.single_register && !group.iter().all(whole) {
            return None;
        }
        if to - from > limits.registers_per_read && !group.iter().any(whole) {
            return None;
        }
        let covers = |cell: u16, hidden: bool| {
            fields.iter().any(|field| field.hidden == hidden && (field.address..ends(field)).contains(&cell))
        };
        let hole = |cell: &u16| !covers(*cell, false);
        if (from..to).any(|cell| hole(&cell) && covers(cell, true)) {
            return None;
        }
        let run = |cell: u16| (cell..to).take_while(hole).count();
        if (from..to).any(|cell| run(cell) > usize::from(limits.gap)) {
            return None;
        }
        let inside = |cut: &u16, field: &Field| field.address < *cut && *cut < ends(field);
        let through = |cut: &u16| fields.iter().any(|field| !field.hidden && inside(cut, field));
        if cuts.iter().any(|cut| from < *cut && *cut < to && !through(cut)) {
            return None;
        }
        Some(cost.silence + cost.byte * (8 + 5 + 2 * u32::from(to - from)) + cost.turnaround)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn no_other_plan_takes_less_time(
            places in prop::collection::vec((0_u16..40, 1_u16..5), 1..7),
            changed in prop::collection::vec((0_u16..40, 1_u16..3), 0..3),
            cuts in prop::collection::vec(0_u16..44, 0..3),
            (most, gap, byte_us, turnaround_ms) in (2_u16..30, 0_u16..12, 1_u64..3_000, 0_u64..30),
            single in prop::bool::weighted(0.1),
        ) {
            let mut fields: Vec<Field> = places.iter().map(|(at, count)| field(*at, *count)).collect();
            fields.extend(changed.iter().map(|(at, count)| Field { destructive: true, hidden: true, ..field(*at, *count) }));
            let limits = Limits { registers_per_read: most, gap, single_register: single, ..Limits::default() };
            let cost = costs(byte_us, turnaround_ms);
            let found = plan(&fields, &limits, &cost, &cuts);
            let ways = partitions(places.len()).into_iter().filter_map(|groups| {
                groups.iter().map(|group| time_of(group, &fields, &limits, &cost, &cuts)).sum::<Option<Duration>>()
            });
            prop_assert_eq!(Some(found.time(&cost)), ways.min(), "{:?}", reads(&found));
            let mut seen: Vec<usize> = Vec::new();
            for planned in &found.0 {
                let group: Vec<usize> = planned.fields.iter().map(|(index, _)| *index).collect();
                prop_assert!(time_of(&group, &fields, &limits, &cost, &cuts).is_some());
                for (index, offset) in &planned.fields {
                    prop_assert_eq!(usize::from(fields[*index].address), usize::from(planned.read.address) + offset);
                    prop_assert!(offset + usize::from(fields[*index].count) <= usize::from(planned.read.count));
                }
                seen.extend(group);
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..places.len()).collect::<Vec<_>>());
        }
    }
}
