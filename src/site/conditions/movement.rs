//! How fast and how far a point moves, when it will be at a threshold, and when a slope will fail.
//!
//! In: the keys of a section. Out: a measure with its levels. Invariant: slope units are converted to the point's unit per minute, or refused.

use std::time::Duration;

use crate::alarm::Direction;
use crate::alarm::condition::measure::{Measure, Measured};
use crate::alarm::condition::slope::{self, Failure};
use crate::alarm::condition::trail::Method;
use crate::site::conditions::{Common, named};
use crate::site::grades;

impl Common<'_> {
    pub(crate) fn rate(&self, key: &'static str, direction: Direction) -> Option<Measured> {
        let window = self.span("window", 5);
        let method = match self.section.word("method", &["least-squares", "end-point", "theil-sen"]) {
            Some("end-point") => Method::EndPoint,
            Some("theil-sen") => Method::TheilSen,
            _ => Method::LeastSquares,
        };
        let factor = self.slope_factor();
        let mut levels = grades::levels(self.section, key, Direction::Above, self.deadband, &self.delays)?;
        if direction == Direction::Below {
            levels.iter_mut().for_each(|level| level.threshold = -level.threshold);
        }
        let (factor, unit) = factor?;
        let measured = self.measured(Measure::Rate { window: window?, method }, direction, levels);
        Some(named(measured, factor, unit))
    }

    pub(crate) fn change(&self) -> Option<Measured> {
        let window = self.span("change_over", 5);
        let (factor, levels) = (self.factor(), self.levels());
        let ((factor, unit), (direction, levels)) = (factor?, levels?);
        Some(named(self.measured(Measure::Change { window: window? }, direction, levels), factor, unit))
    }

    pub(crate) fn arrives(&self) -> Option<Measured> {
        let window = self.span("window", 5);
        let factor = self.factor();
        let table = self.section.section("arrives")?;
        let at = table.need("at", table.float("at"));
        let falling = table.flag("falling").unwrap_or(false);
        let slowest = table.float("slowest_per_minute");
        table.finish();
        let levels = grades::spans(self.section, "within", Direction::Below, 60.0, &self.delays);
        let (at, (factor, _), levels) = (at?, factor?, levels?);
        let slowest = slowest.unwrap_or(0.0).max(0.0) * factor.abs();
        let measure = Measure::Arrival { window: window?, threshold: at * factor, slowest, falling };
        let measured = self.measured(measure, Direction::Below, levels);
        Some(Measured { unit: Some("min".to_owned()), ..measured })
    }

    pub(crate) fn tangential(&self) -> Option<Measured> {
        let window = self.span("window", 5);
        let factor = self.slope_factor();
        let table = self.section.section("tangential")?;
        let (creep, band) = (table.need("creep", table.float("creep")), table.float("band"));
        let reset = table.float("reset").unwrap_or(f64::MAX);
        table.finish();
        let (creep, (factor, _)) = (creep?, factor?);
        if creep <= 0.0 {
            let help = Some(
                "the mean speed of uniform creep, with the period it was taken from in `basis`".to_owned(),
            );
            table.error("creep", "out-of-range", "without a speed of creep there is no angle", help);
            return None;
        }
        let band = band.unwrap_or(creep / 4.0);
        let angle = |speed: f64| slope::angle(speed, creep);
        let (direction, levels) = if self.section.has("above") {
            self.levels()?
        } else {
            let grades = [angle(creep - band), angle(creep + band), 80.0, 85.0];
            (Direction::Above, grades::all(grades, &self.delays))
        };
        let measure = Measure::Tangential { window: window?, creep: creep * factor, reset };
        let measured = self.measured(measure, direction, levels);
        Some(Measured { unit: Some("deg".to_owned()), ..measured })
    }

    pub(crate) fn failure(&self) -> Option<Measured> {
        let factor = self.slope_factor();
        let table = self.section.section("failure")?;
        let step = table.need("step", table.duration("step"));
        let noise = table.need("noise", table.float("noise"));
        let fit_min = table.float("fit").unwrap_or(0.8);
        let horizon = table.duration("horizon").unwrap_or(Duration::from_secs(14 * 86_400));
        table.finish();
        let levels = grades::spans(self.section, "within", Direction::Below, 3600.0, &self.delays);
        let (step, noise, (factor, _), levels) = (step?, noise?, factor?, levels?);
        if step < self.point.every * 2 {
            let text = format!("a step of {step:?} holds less than two readings of {}", self.point.name);
            table.error("step", "short-window", text, None);
        }
        if !(0.64..1.0).contains(&fit_min) {
            table.error("fit", "out-of-range", "a line with R2 under 0.64 predicts nothing", None);
        }
        let rule = Failure { step, noise: noise * factor, fit_min, horizon };
        let measured = self.measured(Measure::Failure { rule }, Direction::Below, levels);
        Some(Measured { unit: Some("h".to_owned()), ..measured })
    }
}
