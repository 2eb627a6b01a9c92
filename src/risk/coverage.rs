//! Coverage: how many risk points are watched, on a ladder from installed to effective.
//!
//! In: risk points and plain facts about their sensors. Out: counts for each rung, and their percentages.
//! Invariant: effective <= calibrated <= valid <= fresh <= online <= installed <= points.
//! Source: the district's target counts "installed"; the ladder above it is ours. Percentages round down, on integers, so that only all is 100.0.
//!
//! ```
//! use lifeline_gateway::risk::coverage::percent;
//! assert_eq!(percent(1999, 2000), "99.9");
//! assert_eq!(percent(0, 0), "n/a");
//! ```

use std::collections::BTreeMap;

use crate::risk::{Need, RiskPoint};

/// The rungs of the ladder, each above the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// 已安装: bound to the point and not removed.
    Installed,
    /// 在线: any valid exchange lately.
    Online,
    /// 有新数据: the newest sample is not older than its limit.
    Fresh,
    /// 有效: the newest sample is good, and enough of the last day's.
    Valid,
    /// 在检定期: calibration not past due.
    Calibrated,
    /// 有效感知: a rule watches it and its notice reaches people.
    Effective,
}

impl Rung {
    /// All rungs, lowest first.
    pub const ALL: [Self; 6] =
        [Self::Installed, Self::Online, Self::Fresh, Self::Valid, Self::Calibrated, Self::Effective];

    /// The name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Online => "online",
            Self::Fresh => "fresh",
            Self::Valid => "valid",
            Self::Calibrated => "calibrated",
            Self::Effective => "effective",
        }
    }
}

/// What is known of one sensor at one risk point, each rung's own condition by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Sensor class, `gas-pressure`.
    pub role: String,
    /// Bound to the point and not removed.
    pub installed: bool,
    /// Answered lately.
    pub online: bool,
    /// Its newest sample is young enough.
    pub fresh: bool,
    /// Its newest sample is good, and enough of the last day's are.
    pub valid: bool,
    /// Calibration not past due, or none required.
    pub calibrated: bool,
    /// A rule is enabled, not shelved and not out of service, and notice was proved.
    pub watched: bool,
}

impl Facts {
    /// The highest rung whose condition and all below it hold.
    pub fn rung(&self) -> Option<Rung> {
        let holds = [self.installed, self.online, self.fresh, self.valid, self.calibrated, self.watched];
        Rung::ALL.into_iter().zip(holds).take_while(|(_, holds)| *holds).last().map(|(rung, _)| rung)
    }
}

/// The rung of a risk point: the highest at which every need has enough sensors. A point that needs nothing is on none: nobody said what watches it.
pub fn reached(needs: &[Need], sensors: &[Facts]) -> Option<Rung> {
    let of_need = |need: &Need| {
        let enough = |rung: &Rung| {
            let there =
                sensors.iter().filter(|facts| facts.role == need.role && facts.rung() >= Some(*rung)).count();
            u32::try_from(there).is_ok_and(|there| there >= need.min.max(1))
        };
        Rung::ALL.into_iter().rev().find(enough)
    };
    needs.iter().map(of_need).min().flatten()
}

/// How many points of a group (a town, a hazard, the site) are on each rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Risk points, each code once.
    pub points: u32,
    /// Points on each rung or above, in the order of [`Rung::ALL`].
    pub reached: [u32; 6],
}

impl Coverage {
    /// Counts points by code; a code that comes twice (a point on a border, listed by two towns) counts once, with all its sensors.
    pub fn of<'a>(points: impl IntoIterator<Item = (&'a RiskPoint, &'a [Facts])>) -> Self {
        let mut united: BTreeMap<&str, (&[Need], Vec<Facts>)> = BTreeMap::new();
        for (point, sensors) in points {
            let (_, facts) = united.entry(&point.code).or_insert((&point.needs, Vec::new()));
            facts.extend(sensors.iter().cloned());
        }
        let mut coverage = Self::default();
        for (needs, facts) in united.into_values() {
            coverage.points += 1;
            let rung = reached(needs, &facts);
            for (count, known) in coverage.reached.iter_mut().zip(Rung::ALL) {
                *count += u32::from(rung >= Some(known));
            }
        }
        coverage
    }

    /// Points on `rung` or above.
    pub fn on(&self, rung: Rung) -> u32 {
        Rung::ALL
            .into_iter()
            .zip(self.reached)
            .find(|(known, _)| *known == rung)
            .map_or(0, |(_, count)| count)
    }

    /// The percentage on `rung`, [`percent`].
    pub fn percent(&self, rung: Rung) -> String {
        percent(self.on(rung), self.points)
    }
}

/// `part` of `whole` in percent with one decimal, rounded down; `n/a` of nothing.
pub fn percent(part: u32, whole: u32) -> String {
    match (u64::from(part) * 1000).checked_div(u64::from(whole)) {
        Some(tenths) => format!("{}.{}", tenths / 10, tenths % 10),
        None => "n/a".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point(code: &str, needs: &[(&str, u32)]) -> RiskPoint {
        RiskPoint {
            code: code.into(),
            name: None,
            class: "gas".into(),
            town: "x".into(),
            supervisor: "x".into(),
            grade: 3,
            place: None,
            needs: needs.iter().map(|(role, min)| Need { role: (*role).into(), min: *min }).collect(),
        }
    }

    fn sensor(role: &str, rung: Rung) -> Facts {
        Facts {
            role: role.into(),
            installed: true,
            online: rung >= Rung::Online,
            fresh: rung >= Rung::Fresh,
            valid: rung >= Rung::Valid,
            calibrated: rung >= Rung::Calibrated,
            watched: rung >= Rung::Effective,
        }
    }

    #[test]
    fn percentages_round_down_on_integers() {
        for (part, whole, want) in [
            (999, 1000, "99.9"),
            (9996, 10_000, "99.9"),
            (2, 3, "66.6"),
            (6, 6, "100.0"),
            (0, 1, "0.0"),
            (0, 0, "n/a"),
            (29, 50, "58.0"),
            (23, 40, "57.5"),
            (u32::MAX, u32::MAX, "100.0"),
        ] {
            assert_eq!(percent(part, whole), want, "{part}/{whole}");
        }
    }

    #[test]
    fn six_points_with_six_different_troubles() {
        use Rung::{Calibrated, Effective, Fresh, Online, Valid};
        let points = [
            (point("P1", &[("gas", 1)]), vec![sensor("gas", Effective)]),
            (
                point("P2", &[("gas", 1), ("pressure", 1)]),
                vec![sensor("gas", Effective), sensor("pressure", Effective)],
            ),
            (point("P3", &[("gas", 1)]), vec![sensor("gas", Online)]),
            (point("P4", &[("gas", 2)]), vec![sensor("gas", Effective), sensor("gas", Fresh)]),
            (point("P5", &[("gas", 1)]), vec![Facts { watched: true, ..sensor("gas", Valid) }]),
            (point("P6", &[("gas", 1)]), vec![sensor("gas", Effective)]),
        ];
        let coverage = Coverage::of(points.iter().map(|(point, facts)| (point, facts.as_slice())));
        assert_eq!((coverage.points, coverage.reached), (6, [6, 6, 5, 4, 3, 3]));
        assert_eq!(
            (coverage.percent(Rung::Installed).as_str(), coverage.percent(Calibrated).as_str()),
            ("100.0", "50.0")
        );
    }

    #[test]
    fn a_code_counts_once_and_a_point_without_needs_never() {
        let (border, other, unspecified) =
            (point("P3", &[("gas", 1)]), point("P4", &[("gas", 1)]), point("P5", &[]));
        let gas = [sensor("gas", Rung::Effective)];
        let coverage = Coverage::of([
            (&border, gas.as_slice()),
            (&border, &[]),
            (&other, &[]),
            (&unspecified, gas.as_slice()),
        ]);
        assert_eq!((coverage.points, coverage.on(Rung::Effective)), (3, 1));
        assert_eq!(Coverage::default().percent(Rung::Installed), "n/a");
        assert_eq!(
            reached(&[Need { role: "gas".into(), min: 1 }], &[sensor("pressure", Rung::Effective)]),
            None
        );
    }

    proptest! {
        #[test]
        fn the_ladder_is_nested(
            sensors in prop::collection::vec((any::<bool>(), any::<[bool; 6]>()), 0..8),
            min in 0u32..4,
        ) {
            let facts: Vec<_> = sensors
                .into_iter()
                .map(|(gas, [installed, online, fresh, valid, calibrated, watched])| Facts {
                    role: if gas { "gas" } else { "level" }.into(), installed, online, fresh, valid, calibrated, watched,
                })
                .collect();
            let coverage = Coverage::of([(&point("P", &[("gas", min), ("level", 1)]), facts.as_slice())]);
            prop_assert!(coverage.reached.is_sorted_by(|a, b| a >= b) && coverage.reached[0] <= coverage.points);
        }
    }
}
