//! Blocks that a device refuses: smaller requests instead, so that one refused register does not take the others with it.
//!
//! In: a refused request. Out: the requests that take its place, and the places that later plans may not span.
//! Invariant: parts hold every field of the whole once; the number of divisions is bounded for each poll, each request and each
//! device, also when the device refuses everything.
//! Source: Modbus Application Protocol V1.1b3, 7 (codes 2 and 3; 5, 6, 10 and 11 say nothing of the registers).

use std::collections::BTreeMap;

use crate::bus::{Read, Table};
use crate::poll::plan::{Cuts, PlannedRead};
use crate::profile::Field;

/// Divisions within one poll of one device.
const PER_POLL: u32 = 8;
/// Places that one device's plan is cut at.
const CUTS_MAX: usize = 64;
/// So often a request is divided although none of its parts was answered.
const FUTILE_MAX: u32 = 3;

/// What one device has taught about its blocks.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    cuts: Cuts,
    /// How often dividing this request brought nothing.
    futile: BTreeMap<(Table, u16, u16), u32>,
}

/// The divisions of one poll.
#[derive(Debug, Default)]
pub struct Divisions(Vec<Division>);

#[derive(Debug)]
struct Division {
    whole: Read,
    /// The first cell of each part but the first.
    cuts: Vec<(Table, u16)>,
    parent: Option<usize>,
    answered: bool,
}

impl Refusals {
    /// Places that no request may span.
    pub fn cuts(&self) -> &Cuts {
        &self.cuts
    }

    /// The requests to ask at once instead of `refused` (with this exception, or 0: silently), which came from the division `parent` of this
    /// poll; empty when there is nothing to divide or dividing would not help. The division's number goes with the parts.
    pub fn divide(
        &self,
        refused: &PlannedRead,
        code: u8,
        fields: &[Field],
        poll: &mut Divisions,
        parent: Option<usize>,
    ) -> (usize, Vec<PlannedRead>) {
        let number = poll.0.len();
        let runs = runs(refused, fields);
        let helps = match code {
            1 | 5 | 6 | 10 | 11 => false,
            2 | 3 => true,
            _ => runs.len() > 1,
        };
        let futile = self.futile.get(&key(refused.read)).copied().unwrap_or(0);
        let spent = u32::try_from(number).is_ok_and(|number| number >= PER_POLL);
        if !helps || spent || futile >= FUTILE_MAX || self.cuts.len() >= CUTS_MAX {
            return (number, Vec::new());
        }
        let parts = if runs.len() > 1 { runs } else { halves(refused, fields) };
        if parts.len() > 1 {
            let starts = parts.iter().skip(1).map(|part| (part.read.table, part.read.address));
            poll.0.push(Division { whole: refused.read, cuts: starts.collect(), parent, answered: false });
        }
        (number, parts)
    }

    /// Learns from a poll's divisions: where a part was answered and the whole was refused, later requests end. Whether the plan
    /// changes by it.
    pub fn learn(&mut self, poll: Divisions) -> bool {
        let before = self.cuts.len();
        for division in poll.0 {
            if division.answered {
                self.cuts.extend(division.cuts);
            } else {
                *self.futile.entry(key(division.whole)).or_default() += 1;
            }
        }
        self.cuts.len() > before
    }
}

impl Divisions {
    /// A part of this division was answered.
    pub fn answered(&mut self, number: Option<usize>) {
        let mut at = number;
        while let Some(division) = at.and_then(|at| self.0.get_mut(at)) {
            division.answered = true;
            at = division.parent;
        }
    }
}

const fn key(read: Read) -> (Table, u16, u16) {
    (read.table, read.address, read.count)
}

/// The request without its holes: one part for each run of wanted cells.
fn runs(whole: &PlannedRead, fields: &[Field]) -> Vec<PlannedRead> {
    split(whole, fields, |to, from| to < from)
}

/// Two parts of about the same size; one when a single value, or values that overlap, fill it.
fn halves(whole: &PlannedRead, fields: &[Field]) -> Vec<PlannedRead> {
    let middle = u32::from(whole.read.address) + u32::from(whole.read.count) / 2;
    let far = |at: u32| at.abs_diff(middle);
    let mut borders = Vec::new();
    split(whole, fields, |to, from| {
        if to <= from {
            borders.push(from);
        }
        false
    });
    let Some(border) = borders.into_iter().min_by_key(|at| far(*at)) else { return Vec::new() };
    split(whole, fields, |_, from| from == border)
}

/// Cuts `whole` before each field where `is_cut(end of the cells so far, begin of the field)`.
fn split(
    whole: &PlannedRead,
    fields: &[Field],
    mut is_cut: impl FnMut(u32, u32) -> bool,
) -> Vec<PlannedRead> {
    let mut parts: Vec<PlannedRead> = Vec::new();
    let (mut begin, mut to) = (0, 0);
    for (index, _) in &whole.fields {
        let Some(field) = fields.get(*index) else { continue };
        let from = u32::from(field.address);
        if parts.is_empty() || is_cut(to, from) {
            begin = from;
            to = from;
            let read = Read { table: field.table, address: field.address, count: 0 };
            parts.push(PlannedRead { read, fields: Vec::new() });
        }
        to = to.max(from + u32::from(field.count));
        if let Some(part) = parts.last_mut() {
            part.read.count = u16::try_from(to - begin).unwrap_or(u16::MAX);
            part.fields.push((*index, usize::try_from(from - begin).unwrap_or(usize::MAX)));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Kind;

    fn fields(places: &[(u16, u16)]) -> Vec<Field> {
        let field = |(address, count): &(u16, u16)| Field {
            count: *count,
            ..Field::new("f", Table::Holding, *address, Kind::U16)
        };
        places.iter().map(field).collect()
    }

    fn whole(fields: &[Field]) -> PlannedRead {
        let from = fields[0].address;
        let to = fields.iter().map(|field| field.address + field.count).max().unwrap();
        PlannedRead {
            read: Read { table: Table::Holding, address: from, count: to - from },
            fields: fields.iter().map(|field| usize::from(field.address - from)).enumerate().collect(),
        }
    }

    fn divided(refusals: &Refusals, places: &[(u16, u16)], code: u8) -> Vec<(u16, u16)> {
        let fields = fields(places);
        let (_, parts) = refusals.divide(&whole(&fields), code, &fields, &mut Divisions::default(), None);
        parts.iter().map(|part| (part.read.address, part.read.count)).collect()
    }

    #[test]
    fn holes_go_first_and_then_halves() {
        let refusals = Refusals::default();
        assert_eq!(divided(&refusals, &[(10, 2), (12, 1), (20, 1), (30, 2)], 2), [(10, 3), (20, 1), (30, 2)]);
        assert_eq!(divided(&refusals, &[(10, 2), (12, 1), (13, 1), (14, 2)], 2), [(10, 3), (13, 3)]);
        assert_eq!(divided(&refusals, &[(10, 4), (11, 1), (14, 1)], 3), [(10, 4), (14, 1)]);
        assert_eq!(divided(&refusals, &[(10, 4), (11, 1)], 2), []);
        assert_eq!(divided(&refusals, &[(10, 1), (12, 1)], 4), [(10, 1), (12, 1)]);
        assert_eq!(divided(&refusals, &[(10, 1), (11, 1)], 4), [], "a failure is not about registers");
        assert_eq!(divided(&refusals, &[(10, 1), (12, 1)], 6), [], "busy");
    }

    /// Polls a device that refuses every request that touches `bad`; the plans of later polls are cut as learnt.
    fn requests(polls: usize, bad: &[u16], places: &[(u16, u16)]) -> (usize, Cuts) {
        let fields = fields(places);
        let mut refusals = Refusals::default();
        let mut asked = 0;
        for _ in 0..polls {
            let mut poll = Divisions::default();
            let start = split(&whole(&fields), &fields, |_, from| {
                u16::try_from(from).is_ok_and(|from| refusals.cuts.contains(&(Table::Holding, from)))
            });
            let mut open: Vec<(PlannedRead, Option<usize>)> =
                start.into_iter().map(|part| (part, None)).collect();
            asked = 0;
            while let Some((part, parent)) = open.pop() {
                asked += 1;
                let cells = part.read.address..part.read.address + part.read.count;
                if !bad.iter().any(|cell| cells.contains(cell)) {
                    poll.answered(parent);
                    continue;
                }
                let (number, parts) = refusals.divide(&part, 2, &fields, &mut poll, parent);
                open.extend(parts.into_iter().map(|part| (part, Some(number))));
            }
            refusals.learn(poll);
        }
        (asked, refusals.cuts)
    }

    #[test]
    fn one_refused_register_does_not_take_the_others_with_it() {
        let places: Vec<(u16, u16)> = (0..16).map(|at| (at, 1)).collect();
        let (asked, cuts) = requests(2, &[5], &places);
        assert_eq!((asked, cuts.len()), (5, 4), "8 + 4 + 1 + 1 + 2 registers");
        let (asked, cuts) = requests(2, &[], &places);
        assert_eq!((asked, cuts.len()), (1, 0));
    }

    #[test]
    fn a_device_that_refuses_everything_is_soon_left_alone() {
        let places: Vec<(u16, u16)> = (0..60).map(|at| (at, 1)).collect();
        let all: Vec<u16> = (0..60).collect();
        let (asked, cuts) = requests(40, &all, &places);
        assert_eq!((asked, cuts.len()), (1, 0));
        assert!(requests(1, &all, &places).0 <= 17, "eight divisions in a poll");
    }
}
