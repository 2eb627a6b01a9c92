//! What a derived point is computed from, and the units that its expression has them in.
//!
//! In: the table `inputs` of a `[[derived]]` section. Out: names, points, conversions, a warning where the numbers may not be those that were meant.
//! Invariant: an input is in the unit that its point is kept in, unless the document names another one of the same quantity.

use std::time::Duration;

use crate::derive::expression;
use crate::derive::scale::Scale;
use crate::derive::terms::Terms;
use crate::point::PointId;
use crate::site::rules::{Known, Points};
use crate::site::section::Section;
use crate::site::tree::{Entry, Value};
use crate::unit::Unit;

/// What a derived point is computed from.
pub(crate) struct Inputs<'a> {
    list: Vec<Input<'a>>,
    /// Without all of its inputs an expression says nothing more about itself.
    pub(crate) whole: bool,
}

/// One name in an expression.
struct Input<'a> {
    name: String,
    point: &'a Known,
    /// The unit that the document has it in.
    said: Option<Unit>,
}

impl Input<'_> {
    /// The unit that the expression has it in.
    fn unit(&self) -> Option<Unit> {
        self.said.or(self.point.unit)
    }

    /// From the kept unit to the one in the expression: factor, offset.
    fn scale(&self) -> Option<Scale> {
        let (factor, offset) = self.point.unit?.to(self.said?)?;
        Some(Scale { factor, offset })
    }

    /// The range of its point, in the unit of the expression.
    fn range(&self) -> Option<(f64, f64)> {
        let Scale { factor, offset } = self.scale().unwrap_or(Scale { factor: 1.0, offset: 0.0 });
        self.point.range.map(|(low, high)| (low * factor + offset, high * factor + offset))
    }
}

impl<'a> Inputs<'a> {
    pub(crate) fn read(section: &Section<'_>, points: Points<'a>) -> Self {
        let mut found = Self { list: Vec::new(), whole: true };
        let Some(table) = section.need("inputs", section.section("inputs")) else { return found };
        for entry in table.all() {
            match input(section, points, entry) {
                Some(Some(input)) => found.list.push(input),
                Some(None) => found.whole = false,
                None => {}
            }
        }
        found
    }

    pub(crate) fn points(&self) -> Vec<(String, PointId)> {
        self.list.iter().map(|input| (input.name.clone(), input.point.id)).collect()
    }

    pub(crate) fn units(&self) -> Vec<(String, Option<Unit>)> {
        self.list.iter().map(|input| (input.name.clone(), input.unit())).collect()
    }

    pub(crate) fn ranges(&self) -> Vec<(String, Option<(f64, f64)>)> {
        self.list.iter().map(|input| (input.name.clone(), input.range())).collect()
    }

    pub(crate) fn scales(&self) -> Vec<(String, Scale)> {
        self.list.iter().filter_map(|input| Some((input.name.clone(), input.scale()?))).collect()
    }

    /// The longest period of an input.
    pub(crate) fn every(&self) -> Duration {
        let periods = self.list.iter().map(|input| input.point.every);
        periods.max().unwrap_or_default().max(Duration::from_secs(1))
    }

    /// The zero of the first level among them.
    pub(crate) fn datum(&self) -> Option<String> {
        self.list.iter().find_map(|input| input.point.datum.clone())
    }

    /// Warns of each input whose numbers may not be those that the author of `value` has in mind: the point is kept in another unit than its profile writes,
    /// and nothing else tells which one is meant. `unit` is that of the result.
    pub(crate) fn doubt(&self, section: &Section<'_>, value: &str, unit: Option<Unit>) {
        if expression::own_unit(value, &self.units()).is_some() {
            return;
        }
        let Some(terms) = Terms::of(value) else { return };
        for input in &self.list {
            let (Some(kept), Some(written)) = (input.point.unit, input.point.written) else { continue };
            let is_meant = input.said.is_some() || unit == Some(kept);
            let counts = if unit.is_some() { terms.has(&input.name) } else { terms.measures(&input.name) };
            if kept == written || is_meant || !counts {
                continue;
            }
            let (name, point, is, was) = (&input.name, &input.point.name, kept.name(), written.name());
            let text = format!("`{name}` is in {is} here ({point} is written in {was})");
            let help = format!(
                "{name} = {{ point = \"{point}\", unit = \"{was}\" }} to compute in {was}, unit = \"{is}\" if {is} is meant{}",
                by_hand(name, kept, written)
            );
            section.warning("value", "input-unit", text, Some(help));
        }
    }
}

/// `; i / 1000 is A`, where that is no more than a whole factor.
fn by_hand(name: &str, kept: Unit, written: Unit) -> String {
    let is = written.name();
    match kept.to(written) {
        Some((factor, 0.0)) if factor >= 1.0 && factor.fract().abs() <= 0.0 => {
            format!("; {name} * {factor} is {is}")
        }
        Some((factor, 0.0)) if factor > 0.0 && ((1.0 / factor).round() * factor - 1.0).abs() < 1e-12 => {
            format!("; {name} / {} is {is}", (1.0 / factor).round())
        }
        _ => String::new(),
    }
}

/// One entry of `inputs`: `None` when it is no input, `Some(None)` when its point is not known.
fn input<'a>(
    section: &Section<'_>,
    points: Points<'a>,
    (name, span, node): &Entry,
) -> Option<Option<Input<'a>>> {
    let (point, said) = match &node.value {
        Value::Text(point) => (points.find(section, "inputs", point), None),
        Value::Table(_) => {
            let table = Section::under(section.document, section.report, "an input", node, None);
            let point = table.need("point", table.text("point"));
            let point = point.and_then(|point| points.find(&table, "point", &point));
            let unit = table.unit("unit");
            table.finish();
            if let (Some(point), Some(unit)) = (point, unit)
                && point.unit.is_none_or(|kept| kept.to(unit).is_none())
            {
                let (of, not) = (&point.name, unit.name());
                let text = match point.unit {
                    Some(kept) => format!("{of} is in {}, not in {not}", kept.name()),
                    None => format!("{of} has no unit, so none in {not}"),
                };
                table.error("unit", "wrong-unit", text, None);
                return Some(None);
            }
            (point, unit)
        }
        _ => {
            let text = "an input is the name of a point, or { point = \"...\", unit = \"...\" }";
            section.report.error(&section.document.place(*span), "wrong-type", text, None);
            return None;
        }
    };
    Some(point.map(|point| Input { name: name.clone(), point, said }))
}
