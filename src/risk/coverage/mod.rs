//! Coverage: how many risk points are on each rung, from installed to effective.
//!
//! In: risk points with how they stand. Out: counts for each rung, and their percentages.
//! Invariant: effective <= calibrated <= valid <= fresh <= online <= installed <= points; a code counts once, however often it comes.
//! Source: the district's target counts "installed"; the ladder above it is ours. Percentages round down, on integers, so that only all is 100.0.
//!
//! ```
//! use lifeline_gateway::risk::coverage::percent;
//! assert_eq!(percent(1999, 2000), "99.9");
//! assert_eq!(percent(0, 0), "n/a");
//! ```

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::risk::ladder::Standing;

/// Class of the devices whose points tell rungs; also the name of their measurement.
pub const CLASS: &str = "coverage";

/// What a point that tells a sensor's rung is called: this, and the sensor's name.
pub const SENSOR: &str = "sensor-";
/// Points of a carrier that say how many sensors a need asks for begin so.
pub const NEED: &str = "need-";
/// What a point is called that tells a sensor's rung for another need than its first one: this, the need, and the sensor's name.
pub const ALSO: &str = "also-";

/// The rungs of the ladder, each above the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

    /// The name on Chinese pages.
    pub const fn chinese(self) -> &'static str {
        match self {
            Self::Installed => "已安装",
            Self::Online => "在线",
            Self::Fresh => "有新数据",
            Self::Valid => "有效",
            Self::Calibrated => "在检定期",
            Self::Effective => "有效感知",
        }
    }

    /// 0 for no rung, 1 for installed, up to 6 for effective: the number in a time series.
    pub fn number(rung: Option<Self>) -> u8 {
        rung.map_or(0, |rung| rung as u8 + 1)
    }
}

/// How many points of a group (a town, a hazard, the site) are on each rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Risk points, each code once.
    pub points: u32,
    /// Points on each rung or above, in the order of [`Rung::ALL`].
    pub reached: [u32; 6],
    /// Points with a sensor that nothing is known of yet; they are among `points`, and above `installed` not reached.
    pub unknown: u32,
    /// Points of which nobody said what they need; never reached.
    pub unspecified: u32,
}

impl Coverage {
    /// Counts points by code; one that comes twice (on a border, listed by two towns) counts once.
    pub fn of<'a>(points: impl IntoIterator<Item = &'a Standing>) -> Self {
        let points = points.into_iter();
        let mut coverage = Self::default();
        let mut codes = HashSet::with_capacity(points.size_hint().0);
        for standing in points {
            if !codes.insert(standing.code.as_str()) {
                continue;
            }
            coverage.points += 1;
            coverage.unknown += u32::from(standing.unknown);
            coverage.unspecified += u32::from(standing.unspecified);
            for (count, rung) in coverage.reached.iter_mut().zip(Rung::ALL) {
                *count += u32::from(standing.rung >= Some(rung));
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
    share(part.into(), whole.into())
}

/// The same of larger numbers, such as times in ms.
pub fn share(part: u64, whole: u64) -> String {
    match part.saturating_mul(1000).checked_div(whole) {
        Some(tenths) => format!("{}.{}", tenths / 10, tenths % 10),
        None => "n/a".to_owned(),
    }
}

/// Whether `part` of `whole` meets a target in percent, on integers; `None` of nothing: that turns no target green.
pub fn meets(part: u32, whole: u32, target_percent: u32) -> Option<bool> {
    (whole > 0).then(|| u64::from(part) * 100 >= u64::from(target_percent) * u64::from(whole))
}

#[cfg(test)]
mod tests;
