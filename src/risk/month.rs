//! Coverage of a month: on how many of its hours the risk points were on each rung.
//!
//! In: rungs as they were told, risk points as the documents had them in each hour. Out: a [`Group`] for the site and each town, class, and high-risk gas.
//! Invariant: a ratio of sums, `sum of n_h / sum of d_h`, never a mean of percentages; an hour of which nothing was told counts, and nothing was reached in it.
//! Source: time-averaged coverage; an hour's rung is the one told last in it.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::risk::RiskPoint;
use crate::risk::coverage::{Rung, meets, percent};

const HOUR_MS: i64 = 3_600_000;
/// Nothing was told in this hour.
const SILENT: u8 = u8::MAX;
/// From this grade on a gas point is 高风险点 here, until the district says another.
const HIGH: u8 = 3;

/// The rungs of a month as they were told.
#[derive(Clone, Debug)]
pub struct Month {
    from: Timestamp,
    hours: usize,
    /// By code, the number of the rung of each hour.
    told: BTreeMap<String, Vec<u8>>,
}

/// A group's hours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// `site`, `town`, `class`, `target`, or `point`.
    pub scope: &'static str,
    /// Its name.
    pub name: String,
    /// Codes that were counted in it at any hour.
    pub codes: BTreeSet<String>,
    /// Hours of its points: the sum of `d_h`.
    pub hours: u32,
    /// Those on each rung or above: the sums of `n_h`.
    pub reached: [u32; 6],
}

impl Group {
    /// The percentage of hours on a rung, rounded down.
    pub fn percent(&self, rung: Rung) -> String {
        percent(self.on(rung), self.hours)
    }

    /// Hours on a rung or above.
    pub fn on(&self, rung: Rung) -> u32 {
        self.reached.get(rung as usize).copied().unwrap_or_default()
    }

    /// Whether every hour of every point was on `rung`.
    pub fn whole(&self, rung: Rung) -> Option<bool> {
        meets(self.on(rung), self.hours, 100)
    }
}

impl Month {
    /// Nothing was told yet of the whole hours `from..to`.
    pub fn new(from: Timestamp, to: Timestamp) -> Self {
        let hours = (to.as_millis() - from.as_millis()).max(0) / HOUR_MS;
        Self { from, hours: usize::try_from(hours).unwrap_or_default(), told: BTreeMap::new() }
    }

    /// Takes a rung's number as it was told, later ones later.
    pub fn take(&mut self, code: &str, at: Timestamp, number: u8) {
        let hour = (at.as_millis() - self.from.as_millis()).div_euclid(HOUR_MS);
        let Some(hour) = usize::try_from(hour).ok().filter(|hour| *hour < self.hours) else { return };
        if !self.told.contains_key(code) {
            self.told.insert(code.to_owned(), vec![SILENT; self.hours]);
        }
        if let Some(slot) = self.told.get_mut(code).and_then(|hours| hours.get_mut(hour)) {
            *slot = number;
        }
    }

    /// The first moment, and one past the last.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        let hours = i64::try_from(self.hours).unwrap_or_default();
        (self.from, Timestamp::from_millis(self.from.as_millis() + hours * HOUR_MS))
    }

    /// When each hour begins.
    pub fn hours(&self) -> impl Iterator<Item = Timestamp> + use<> {
        let from = self.from.as_millis();
        (0..i64::try_from(self.hours).unwrap_or_default())
            .map(move |hour| Timestamp::from_millis(from + hour * HOUR_MS))
    }

    /// Hours in which anything was told of any point: the others the gateway was not there.
    pub fn observed(&self) -> u32 {
        let told = |hour: usize| {
            self.told.values().any(|hours| hours.get(hour).is_some_and(|number| *number != SILENT))
        };
        u32::try_from((0..self.hours).filter(|hour| told(*hour)).count()).unwrap_or(u32::MAX)
    }

    /// The groups, then each point. `versions`: the documents' risk points, each with the number of hours that they held for, in order.
    pub fn groups(&self, versions: &[(usize, Vec<RiskPoint>)]) -> Vec<Group> {
        let mut numbers: BTreeMap<(&'static str, String), usize> = BTreeMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut first = 0;
        for (hours, points) in versions {
            for point in points {
                let own: Vec<usize> = keys(point)
                    .into_iter()
                    .map(|(scope, name)| {
                        *numbers.entry((scope, name.clone())).or_insert_with(|| {
                            groups.push(Group { scope, name, ..Group::default() });
                            groups.len() - 1
                        })
                    })
                    .collect();
                let (counted, reached) = self.count(point, first..first + hours);
                for number in own.into_iter().filter(|_| counted > 0) {
                    if let Some(group) = groups.get_mut(number) {
                        group.codes.insert(point.code.clone());
                        group.hours += counted;
                        group.reached.iter_mut().zip(reached).for_each(|(sum, more)| *sum += more);
                    }
                }
            }
            first += hours;
        }
        groups.retain(|group| group.hours > 0);
        let order =
            |scope: &str| ["site", "target", "town", "class", "point"].iter().position(|one| *one == scope);
        groups.sort_by(|a, b| (order(a.scope), &a.name).cmp(&(order(b.scope), &b.name)));
        groups
    }

    /// Hours that a point is counted in, and those on each rung.
    fn count(&self, point: &RiskPoint, hours: std::ops::Range<usize>) -> (u32, [u32; 6]) {
        let told = self.told.get(&point.code);
        let (mut counted, mut reached) = (0, [0; 6]);
        for hour in hours {
            let begins = self.from.as_millis() + i64::try_from(hour).unwrap_or_default() * HOUR_MS;
            if !point.span.holds(Timestamp::from_millis(begins)) {
                continue;
            }
            counted += 1;
            let number = told.and_then(|told| told.get(hour)).filter(|number| **number != SILENT);
            for sum in reached.iter_mut().take(number.copied().map_or(0, usize::from)) {
                *sum += 1;
            }
        }
        (counted, reached)
    }
}

fn keys(point: &RiskPoint) -> Vec<(&'static str, String)> {
    let mut keys = vec![
        ("site", String::new()),
        ("town", point.town.clone()),
        ("class", point.class.clone()),
        ("point", point.code.clone()),
    ];
    if point.class == "gas" && point.grade >= HIGH {
        keys.push(("target", "gas-high-risk".to_owned()));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::risk::{Kind, Span};

    fn point(code: &str, town: &str) -> RiskPoint {
        RiskPoint {
            code: code.into(),
            name: None,
            class: "gas".into(),
            kind: Kind::Asset,
            town: town.into(),
            supervisor: String::new(),
            grade: 3,
            place: None,
            blind_after: crate::risk::blind_after(3),
            needs: vec![],
            span: Span::default(),
            plates: vec![],
            inspection_due: None,
            predecessors: vec![],
            asset: None,
            joint: Vec::new(),
        }
    }

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + hour * HOUR_MS)
    }

    fn row<'a>(groups: &'a [Group], scope: &str, name: &str) -> &'a Group {
        groups.iter().find(|group| group.scope == scope && group.name == name).unwrap()
    }

    /// One point is there for all ten hours, another for two: the mean of their percentages would be 75 %.
    #[test]
    fn a_ratio_of_sums_and_no_mean_of_ratios() {
        let mut late = point("B", "east");
        late.span.from = Some(at(8));
        let mut month = Month::new(at(0), at(10));
        for hour in 0..10 {
            month.take("A", at(hour).plus(std::time::Duration::from_secs(60)), 6);
            month.take("A", at(hour).plus(std::time::Duration::from_secs(90)), if hour < 5 { 6 } else { 3 });
        }
        month.take("B", at(8), 6);
        month.take("B", at(9), 6);
        let groups = month.groups(&[(10, vec![point("A", "west"), late])]);
        let site = row(&groups, "site", "");
        assert_eq!((site.hours, site.on(Rung::Effective), site.codes.len()), (12, 7, 2));
        assert_eq!(
            (site.percent(Rung::Effective), site.percent(Rung::Fresh)),
            ("58.3".into(), "100.0".into())
        );
        assert_eq!((site.whole(Rung::Effective), site.whole(Rung::Fresh)), (Some(false), Some(true)));
        assert_eq!(row(&groups, "town", "east").percent(Rung::Effective), "100.0");
        assert_eq!(row(&groups, "point", "A").percent(Rung::Effective), "50.0");
    }

    #[test]
    fn hours_without_the_gateway_count_as_not_reached() {
        let mut month = Month::new(at(0), at(4));
        month.take("A", at(0), 6);
        month.take("A", at(3), 6);
        month.take("A", at(4), 6);
        assert_eq!(month.observed(), 2);
        let groups = month.groups(&[(4, vec![point("A", "west")])]);
        assert_eq!(row(&groups, "target", "gas-high-risk").percent(Rung::Installed), "50.0");
        assert_eq!(Month::new(at(0), at(4)).groups(&[(4, vec![])]), []);
    }

    #[test]
    fn a_point_that_moves_counts_in_each_town_for_its_hours_there() {
        let mut month = Month::new(at(0), at(4));
        (0..4).for_each(|hour| month.take("A", at(hour), 6));
        let groups = month.groups(&[(1, vec![point("A", "west")]), (3, vec![point("A", "east")])]);
        assert_eq!((row(&groups, "town", "west").hours, row(&groups, "town", "east").hours), (1, 3));
        assert_eq!((row(&groups, "site", "").hours, row(&groups, "site", "").codes.len()), (4, 1));
    }
}
