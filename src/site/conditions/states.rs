//! Questions of states and of a sensor's own trouble.
//!
//! In: the keys of a section. Out: a measure with its levels. Invariant: a state is one that the point has.

use crate::alarm::Direction;
use crate::alarm::condition::measure::{Measure, Measured};
use crate::alarm::condition::state::Wanted;
use crate::site::conditions::Common;
use crate::site::rules::convert;
use crate::site::tree::{Node, Value};

impl Common<'_> {
    /// Codes or names of states, or a bit.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        if self.section.has("bit") {
            return self.section.int("bit", 0, 52).map(Wanted::Bit);
        }
        let code = |node: &Node| match &node.value {
            Value::Int(code) => Some(*code),
            Value::Text(name) => {
                let found = self.point.states.iter().find(|(_, known)| known == name).map(|(code, _)| *code);
                if found.is_none() {
                    let known: Vec<&str> = self.point.states.iter().map(|(_, name)| name.as_str()).collect();
                    let help = if known.is_empty() {
                        "write its code, a number".to_owned()
                    } else {
                        format!("one of {}", known.join(", "))
                    };
                    let text = format!("{} has no state `{name}`", self.point.name);
                    self.section.error("state", "unknown-state", text, Some(help));
                }
                found
            }
            _ => {
                self.section.error("state", "wrong-type", "a state is a name or a code", None);
                None
            }
        };
        let nodes =
            self.section.need("state", Some(self.section.list("state")).filter(|list| !list.is_empty()))?;
        let codes: Vec<i64> = nodes.iter().filter_map(code).collect();
        (codes.len() == nodes.len()).then_some(Wanted::Codes(codes))
    }

    pub(crate) fn state(&self) -> Option<Measured> {
        let levels = self.yes();
        Some(self.measured(Measure::State { wanted: self.wanted()? }, Direction::Above, levels))
    }

    pub(crate) fn repeats(&self) -> Option<Measured> {
        let window = self.span("repeats_over", 2);
        let levels = self.levels();
        let (wanted, (direction, levels)) = (self.wanted()?, levels?);
        Some(self.measured(Measure::Repeats { wanted, window: window? }, direction, levels))
    }

    pub(crate) fn share(&self) -> Option<Measured> {
        let window = self.span("share_over", 10);
        let levels = self.levels();
        let (wanted, (direction, levels)) = (self.wanted()?, levels?);
        let measured = self.measured(Measure::Share { wanted, window: window? }, direction, levels);
        Some(Measured { unit: Some("%".to_owned()), ..measured })
    }

    pub(crate) fn stuck(&self) -> Option<Measured> {
        let window = self.span("stuck_for", 4);
        let within = self.section.float("stuck_within").unwrap_or(0.0);
        let rest = self.section.section("rest").and_then(|table| {
            let (at, band) = (table.need("at", table.float("at")), table.need("band", table.float("band")));
            table.finish();
            Some((at?, band?))
        });
        let levels = self.yes();
        let window = window?;
        Some(self.measured(Measure::Stuck { window, within, rest }, Direction::Above, levels))
    }

    pub(crate) fn outside(&self) -> Option<Measured> {
        let unit = self.section.unit("unit");
        let converted = convert(self.section, unit, self.point);
        let table = self.section.section("outside")?;
        let (low, high) = (table.need("low", table.float("low")), table.need("high", table.float("high")));
        table.finish();
        let (low, high, (factor, offset)) = (low?, high?, converted?);
        if low >= high {
            table.error("high", "threshold-order", format!("high = {high} is not over low = {low}"), None);
        }
        let (low, high) = (low * factor + offset, high * factor + offset);
        Some(self.measured(Measure::Outside { low, high }, Direction::Above, self.yes()))
    }
}
