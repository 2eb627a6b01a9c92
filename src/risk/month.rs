//! Coverage of a month: for how much of it the risk points were on each rung.
//!
//! In: rungs as they were told, risk points as the documents had them at each moment. Out: a [`Group`] for the site and each town, class, and high-risk gas.
//! Invariant: a ratio of sums, `sum of n / sum of d`, never a mean of percentages; time of which nothing was told counts, and nothing was reached in it.
//! Source: time-averaged coverage; a rung holds until another one is told, and no longer than [`HOLDS`] after it was told last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::risk::RiskPoint;
use crate::risk::coverage::{Rung, share};

/// A rung is told each minute at least: so long after the last time nobody knows it any more.
pub const HOLDS: Duration = Duration::from_secs(150);
const HOLDS_MS: i64 = 150_000;
/// From this grade on a gas point is 高风险点 here, until the district says another.
const HIGH: u8 = 3;

/// The rungs of a month as they were told.
#[derive(Clone, Debug)]
pub struct Month {
    from: Timestamp,
    to: Timestamp,
    /// By code, in order of time.
    told: BTreeMap<String, Vec<Run>>,
}

/// The same number again and again, without a gap.
#[derive(Clone, Copy, Debug)]
struct Run {
    from_ms: i64,
    last_ms: i64,
    number: u8,
}

/// A group's month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// `site`, `town`, `class`, `target`, or `point`.
    pub scope: &'static str,
    /// Its name.
    pub name: String,
    /// Codes that were counted in it at any time.
    pub codes: BTreeSet<String>,
    /// Time of its points, in ms: the sum of `d`.
    pub ms: u64,
    /// That on each rung or above: the sums of `n`.
    pub reached_ms: [u64; 6],
}

impl Group {
    /// The percentage of the time on a rung, rounded down.
    pub fn percent(&self, rung: Rung) -> String {
        share(self.on(rung), self.ms)
    }

    /// Time on a rung or above, in ms.
    pub fn on(&self, rung: Rung) -> u64 {
        self.reached_ms.get(rung as usize).copied().unwrap_or_default()
    }
}

impl Month {
    /// Nothing was told yet of `from..to`.
    pub fn new(from: Timestamp, to: Timestamp) -> Self {
        Self { from, to: to.max(from), told: BTreeMap::new() }
    }

    /// Takes a rung's number as it was told, later ones later.
    pub fn take(&mut self, code: &str, at: Timestamp, number: u8) {
        let at_ms = at.as_millis();
        if !self.told.contains_key(code) {
            self.told.insert(code.to_owned(), Vec::new());
        }
        let Some(runs) = self.told.get_mut(code) else { return };
        match runs.last_mut() {
            Some(run) if run.number == number && at_ms <= run.last_ms + HOLDS_MS => {
                run.last_ms = run.last_ms.max(at_ms);
            }
            _ => runs.push(Run { from_ms: at_ms, last_ms: at_ms, number }),
        }
    }

    /// The first moment, and one past the last.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        (self.from, self.to)
    }

    /// Time in which anything is known of any point, in ms: in the rest the gateway was not there.
    pub fn observed_ms(&self) -> u64 {
        let (from, to) = (self.from.as_millis(), self.to.as_millis());
        let mut spans: Vec<(i64, i64)> = self
            .told
            .values()
            .flat_map(|runs| spans(runs, from, to))
            .map(|(from, to, _)| (from, to))
            .collect();
        spans.sort_unstable();
        let (mut sum, mut end) = (0, i64::MIN);
        for (from, to) in spans {
            sum += length(from.max(end), to);
            end = end.max(to);
        }
        sum
    }

    /// The groups, then each point. `versions`: the documents' risk points, each from its moment on until the next, in order.
    pub fn groups(&self, versions: &[(Timestamp, Vec<RiskPoint>)]) -> Vec<Group> {
        let mut numbers: BTreeMap<(&'static str, String), usize> = BTreeMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let ends = versions.iter().skip(1).map(|(from, _)| *from).chain([self.to]);
        for ((from, points), end) in versions.iter().zip(ends) {
            for point in points {
                let (counted, reached) = self.count(point, *from, end);
                if counted == 0 {
                    continue;
                }
                for (scope, name) in keys(point) {
                    let number = *numbers.entry((scope, name.clone())).or_insert_with(|| {
                        groups.push(Group { scope, name, ..Group::default() });
                        groups.len() - 1
                    });
                    if let Some(group) = groups.get_mut(number) {
                        group.codes.insert(point.code.clone());
                        group.ms += counted;
                        group.reached_ms.iter_mut().zip(reached).for_each(|(sum, more)| *sum += more);
                    }
                }
            }
        }
        let order =
            |scope: &str| ["site", "target", "town", "class", "point"].iter().position(|one| *one == scope);
        groups.sort_by(|a, b| (order(a.scope), &a.name).cmp(&(order(b.scope), &b.name)));
        groups
    }

    /// Time that a point is counted in between two moments, and that on each rung, in ms.
    fn count(&self, point: &RiskPoint, from: Timestamp, to: Timestamp) -> (u64, [u64; 6]) {
        let from = from.max(self.from).max(point.span.from.unwrap_or(self.from)).as_millis();
        let to = to.min(self.to).min(point.span.until.unwrap_or(self.to)).as_millis();
        let mut reached = [0; 6];
        let runs = self.told.get(&point.code).map_or(&[][..], Vec::as_slice);
        for (from, to, number) in spans(runs, from, to) {
            for sum in reached.iter_mut().take(number.into()) {
                *sum += length(from, to);
            }
        }
        (length(from, to), reached)
    }
}

/// From when to when each number held, within `from..to`.
fn spans(runs: &[Run], from: i64, to: i64) -> impl Iterator<Item = (i64, i64, u8)> {
    let next = runs.iter().skip(1).map(|run| run.from_ms).chain([i64::MAX]);
    let whole = runs.iter().zip(next).map(|(run, next)| (run, (run.last_ms + HOLDS_MS).min(next)));
    whole
        .map(move |(run, end)| (run.from_ms.max(from), end.min(to), run.number))
        .filter(|(from, to, _)| from < to)
}

fn length(from: i64, to: i64) -> u64 {
    u64::try_from(to - from.min(to)).unwrap_or_default()
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

    /// Minutes after an arbitrary moment.
    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + minute * 60_000)
    }

    /// Tells a number each minute.
    fn tell(month: &mut Month, code: &str, minutes: std::ops::Range<i64>, number: u8) {
        minutes.for_each(|minute| month.take(code, at(minute), number));
    }

    fn row<'a>(groups: &'a [Group], scope: &str, name: &str) -> &'a Group {
        groups.iter().find(|group| group.scope == scope && group.name == name).unwrap()
    }

    fn minutes(ms: u64) -> u64 {
        assert_eq!(ms % 60_000, 0, "{ms}");
        ms / 60_000
    }

    /// One point is there for all ten hours, another for two: the mean of their percentages would be 75 %.
    #[test]
    fn a_ratio_of_sums_and_no_mean_of_ratios() {
        let mut late = point("B", "east");
        late.span.from = Some(at(480));
        let mut month = Month::new(at(0), at(600));
        tell(&mut month, "A", 0..300, 6);
        tell(&mut month, "A", 300..600, 3);
        tell(&mut month, "B", 400..600, 6);
        let groups = month.groups(&[(at(0), vec![point("A", "west"), late])]);
        let site = row(&groups, "site", "");
        assert_eq!((minutes(site.ms), minutes(site.on(Rung::Effective)), site.codes.len()), (720, 420, 2));
        assert_eq!(
            (site.percent(Rung::Effective), site.percent(Rung::Fresh)),
            ("58.3".into(), "100.0".into())
        );
        assert_eq!(row(&groups, "town", "east").percent(Rung::Effective), "100.0");
        assert_eq!(row(&groups, "point", "A").percent(Rung::Effective), "50.0");
    }

    #[test]
    fn an_hour_counts_by_the_part_that_the_gateway_saw() {
        let mut month = Month::new(at(0), at(240));
        // It comes for the last quarter of an hour, and is off for another; what is told after the end is of the next month.
        tell(&mut month, "A", 45..90, 6);
        tell(&mut month, "A", 105..300, 6);
        assert_eq!(
            minutes(month.observed_ms() - 90_000),
            45 + 135,
            "what was told last holds for two minutes and a half"
        );
        let groups = month.groups(&[(at(0), vec![point("A", "west")])]);
        let target = row(&groups, "target", "gas-high-risk");
        assert_eq!((minutes(target.ms), target.percent(Rung::Installed)), (240, "75.6".into()));
        assert_eq!(Month::new(at(0), at(4)).groups(&[(at(0), vec![])]), []);
    }

    #[test]
    fn what_was_told_before_the_month_holds_into_it() {
        let mut month = Month::new(at(0), at(60));
        month.take("A", at(0).shifted(-59_000), 6);
        (0..60).for_each(|minute| month.take("A", at(minute).shifted(1_000), 6));
        let groups = month.groups(&[(at(0), vec![point("A", "west")])]);
        assert_eq!(row(&groups, "site", "").percent(Rung::Effective), "100.0");
        assert_eq!(minutes(month.observed_ms()), 60);
    }

    #[test]
    fn a_point_that_moves_counts_in_each_town_for_its_time_there() {
        let mut month = Month::new(at(0), at(240));
        tell(&mut month, "A", 0..240, 6);
        let groups = month.groups(&[(at(0), vec![point("A", "west")]), (at(80), vec![point("A", "east")])]);
        let town = |name| minutes(row(&groups, "town", name).ms);
        assert_eq!((town("west"), town("east")), (80, 160));
        assert_eq!((minutes(row(&groups, "site", "").ms), row(&groups, "site", "").codes.len()), (240, 1));
    }
}
