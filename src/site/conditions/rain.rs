//! Questions of rain: sums, intensity against duration, and the days before.
//!
//! In: the keys of a section. Out: a measure with its levels. Invariant: a total that wraps says how fast it can grow; a point that is called a total says whether it is one.

use std::time::Duration;

use crate::alarm::Direction;
use crate::alarm::condition::measure::{Measure, Measured};
use crate::alarm::condition::rain::{Antecedent, Counting, Curve};
use crate::point;
use crate::site::conditions::{Common, named};
use crate::unit::Unit;

impl Common<'_> {
    pub(crate) fn counting(&self) -> Counting {
        let section = self.section;
        let (wraps_at, per_minute_max) = (section.float("wraps_at"), section.float("per_minute_max"));
        let total = section.word("counts", &["amounts", "total"]) == Some("total");
        if !total && let Some(key) = ["wraps_at", "per_minute_max"].into_iter().find(|key| section.has(key)) {
            let text = format!("`{key}` is of a total");
            section.error(key, "needs-total", text, Some("counts = \"total\"".to_owned()));
        }
        if !section.has("counts") && point::is_total(&self.point.name) {
            let text = format!("`{}` is a total by its name: each poll would add all of it", self.point.name);
            let help = "counts = \"total\" for one that grows; counts = \"amounts\" if each reading is what came since the one before";
            let key = if section.has("point") { "point" } else { "sum_over" };
            section.warning(key, "sum-of-totals", text, Some(help.to_owned()));
        }
        if wraps_at.is_some() && per_minute_max.is_none() {
            let text = "a total that wraps needs `per_minute_max` to tell a wrap from a reset";
            section.error("wraps_at", "missing-key", text, None);
        }
        if total { Counting::Total { wraps_at, per_minute_max } } else { Counting::Amounts }
    }

    pub(crate) fn sum(&self) -> Option<Measured> {
        let window = self.span("sum_over", 1);
        let (counting, factor, levels) = (self.counting(), self.factor(), self.levels());
        let ((factor, unit), (direction, levels)) = (factor?, levels?);
        if direction == Direction::Below {
            self.section.error(
                "below",
                "sum-below",
                "a sum is looked at from below only",
                Some("above".to_owned()),
            );
        }
        Some(named(
            self.measured(Measure::Sum { window: window?, counting }, direction, levels),
            factor,
            unit,
        ))
    }

    pub(crate) fn intensity(&self) -> Option<Measured> {
        let table = self.section.section("intensity")?;
        let caine = table.word("curve", &["caine"]).is_some();
        let (alpha, beta) = (table.float("alpha"), table.float("beta"));
        let durations: Vec<Duration> =
            table.texts("durations").iter().filter_map(|(text, _)| crate::site::duration(text)).collect();
        table.finish();
        let (counting, levels) = (self.counting(), self.levels());
        let Some((to_mm, _)) = self.point.unit.zip(Unit::parse("mm")).and_then(|(own, mm)| mm.to(own)) else {
            let text = format!("{} is no rain: it is not kept in a length", self.point.name);
            self.section.error("point", "wrong-unit", text, None);
            return None;
        };
        if durations.is_empty()
            || durations
                .iter()
                .any(|one| *one < Duration::from_secs(600) || *one > Duration::from_secs(10 * 86_400))
        {
            let help = Some("durations = [\"1h\", \"3h\", \"6h\", \"12h\", \"24h\"]".to_owned());
            self.section.error("intensity", "bad-durations", "durations are 10m to 10d", help);
            return None;
        }
        let curve = match (caine, alpha, beta) {
            (true, None, None) => Curve::caine(durations),
            (false, Some(alpha), Some(beta)) => Curve { alpha, beta, durations },
            _ => {
                let help = Some("curve = \"caine\", or alpha and beta of the site".to_owned());
                self.section.error("intensity", "bad-curve", "the curve is not given once", help);
                return None;
            }
        };
        let curve = Curve { alpha: curve.alpha * to_mm, ..curve };
        let (direction, levels) = levels?;
        Some(self.measured(Measure::Intensity { curve, counting }, direction, levels))
    }

    pub(crate) fn antecedent(&self) -> Option<Measured> {
        let table = self.section.section("antecedent")?;
        let k = table.float("k").unwrap_or(0.84);
        let days = table.int("days", 1, 60).unwrap_or(10);
        let today = table.flag("today").unwrap_or(false);
        let day_from = table.duration("day_from").unwrap_or_default();
        table.finish();
        if !(0.0..1.0).contains(&k) {
            table.error("k", "out-of-range", format!("k = {k} is no share that is left after a day"), None);
        }
        let (counting, factor, levels) = (self.counting(), self.factor(), self.levels());
        let ((factor, unit), (direction, levels)) = (factor?, levels?);
        let day_from = i64::try_from(day_from.as_millis()).unwrap_or(0);
        let rule = Antecedent { k, days, today, day_from };
        Some(named(self.measured(Measure::Antecedent { rule, counting }, direction, levels), factor, unit))
    }
}
