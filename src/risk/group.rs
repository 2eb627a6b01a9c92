//! Groups of risk points: by town, hazard, grade, supervising body.
//!
//! In: risk points with how they stand. Out: the [`Coverage`] of each group.
//! Invariant: a group's figures are counts of the union of its codes, never sums or means of other groups' figures.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::risk::RiskPoint;
use crate::risk::coverage::Coverage;
use crate::risk::ladder::{SensorStanding, Standing};

/// What a group has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// 镇街.
    Town,
    /// Hazard class.
    Class,
    /// 1 to 4.
    Grade,
    /// Supervising body.
    Supervisor,
    /// Grade and class, `4 gas`.
    GradeAndClass,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Town, Self::Class, Self::Grade, Self::Supervisor, Self::GradeAndClass];

    /// The name in commands and outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Town => "town",
            Self::Class => "class",
            Self::Grade => "grade",
            Self::Supervisor => "supervisor",
            Self::GradeAndClass => "grade-and-class",
        }
    }

    /// The group of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.name() == name)
    }

    /// The group that a point is in.
    pub fn key(self, point: &RiskPoint) -> Cow<'_, str> {
        match self {
            Self::Town => Cow::Borrowed(&point.town),
            Self::Class => Cow::Borrowed(&point.class),
            Self::Grade => Cow::Owned(point.grade.to_string()),
            Self::Supervisor => Cow::Borrowed(&point.supervisor),
            Self::GradeAndClass => Cow::Owned(format!("{} {}", point.grade, point.class)),
        }
    }
}

/// The coverage of each group, by its name.
pub fn groups(by: By, points: &[(&RiskPoint, &Standing)]) -> BTreeMap<String, Coverage> {
    let mut found: BTreeMap<Cow<'_, str>, Vec<&Standing>> = BTreeMap::new();
    for (point, standing) in points {
        found.entry(by.key(point)).or_default().push(standing);
    }
    found.into_iter().map(|(name, standings)| (name.into_owned(), Coverage::of(standings))).collect()
}

/// How a point stands when several gateways hold its sensors: all sensors once, each at its best-known rung.
pub fn united(
    point: &RiskPoint,
    reports: impl IntoIterator<Item = SensorStanding>,
    now: crate::clock::Timestamp,
) -> Standing {
    let mut sensors: BTreeMap<String, SensorStanding> = BTreeMap::new();
    for report in reports {
        match sensors.get(&report.name) {
            Some(known) if known.rung >= report.rung => {}
            _ => {
                sensors.insert(report.name.clone(), report);
            }
        }
    }
    crate::risk::ladder::point(point, sensors.into_values().collect(), now)
}
