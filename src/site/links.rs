//! What the points of a profile take from each other, and points that repeat.
//!
//! In: `[[point]]` sections, the names of all points. Out: fields that know each other by place.
//! Invariant: a name that no point has, a case that says nothing and a unit of another quantity are diagnostics and never a field.

use crate::profile::depend::{Choice, Conversion, Gate, Holds};
use crate::profile::names::number as raw_number;
use crate::profile::{Field, Order};
use crate::site::section::{Section, kebab, nearest, number, unit_help};
use crate::site::tree::{Node, Value};
use crate::unit::Unit;

/// Most points that one section may stand for.
const REPEAT_MAX: i64 = 1000;

/// A point that stands for many: `{n}` in its names counts, its address goes on by `step`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeat {
    from: u16,
    to: u16,
    step: u16,
}

impl Repeat {
    /// The numbers that `{n}` counts through.
    pub(crate) fn numbers(self) -> impl Iterator<Item = u16> {
        self.from..=self.to
    }

    /// The address of the `n`th; `None` past the end of the table.
    pub(crate) fn address(self, first: u16, n: u16) -> Option<u16> {
        n.checked_sub(self.from)?.checked_mul(self.step)?.checked_add(first)
    }
}

/// The key `repeat` of a point.
pub(crate) fn repeat(section: &Section<'_>) -> Option<Repeat> {
    let table = section.section("repeat")?;
    let from = table.int("from", 0, REPEAT_MAX).unwrap_or(1);
    let to = table.need("to", table.int("to", i64::from(from), i64::from(from) + REPEAT_MAX));
    let step = table.need("step", table.int("step", 0, 0xFFFF));
    table.finish();
    Some(Repeat { from, to: to?, step: step? })
}

/// `text` with `{n}` replaced.
pub(crate) fn count(text: &str, n: Option<u16>) -> String {
    n.map_or_else(|| text.to_owned(), |n| text.replace("{n}", &n.to_string()))
}

/// The names of the point or points of a section, each with its `{n}`.
pub(crate) fn own_names(section: &Section<'_>) -> Vec<(Option<u16>, String)> {
    let Some(name) = section.text("name") else { return Vec::new() };
    match section.section("repeat").and_then(|_| repeat(section)) {
        Some(repeat) => repeat.numbers().map(|n| (Some(n), kebab(&count(&name, Some(n))))).collect(),
        None => vec![(None, kebab(&name))],
    }
}

/// Connects fields that need each other, by name.
pub(crate) fn links(sections: &[Section<'_>], names: &[String], fields: &mut [Field]) {
    for section in sections {
        for (n, own) in own_names(section) {
            let Some(index) = fields.iter().position(|field| field.name == own) else { continue };
            let find = Find { section, names, n };
            let Some(field) = fields.get_mut(index) else { continue };
            field.decimals_from = find.key("decimals_from");
            field.pre_offset_from = find.key("pre_offset_from");
            field.valid_when = find.gates();
            field.order_from =
                find.choice("order_from", |table, key, node| order(table, key, node, field.count));
            field.scale_from = find.choice("scale_from", scale);
            field.unit_from = find.choice("unit_from", |table, key, node| unit(table, key, node, field.unit));
        }
        orderless(section, fields);
    }
}

/// A point whose order is not known when it is decoded can't help others.
fn orderless(section: &Section<'_>, fields: &[Field]) {
    let unordered = |index: usize| fields.get(index).is_some_and(|field| field.order_from.is_some());
    for (_, own) in own_names(section) {
        let helped = fields.iter().find(|field| field.name == own);
        if helped.is_some_and(|field| field.needs().any(unordered)) {
            let text = format!("`{own}` needs a point whose byte order is told by another one");
            section.error("name", "unordered-point", text, None);
        }
    }
}

/// Looks points up by name for one section.
struct Find<'s, 'a> {
    section: &'s Section<'a>,
    names: &'s [String],
    n: Option<u16>,
}

impl Find<'_, '_> {
    fn name(&self, section: &Section<'_>, key: &'static str, name: &str) -> Option<usize> {
        let name = kebab(&count(name, self.n));
        let found = self.names.iter().position(|known| *known == name);
        if found.is_none() {
            let help = nearest(&name, self.names.iter().map(String::as_str));
            section.error(key, "unknown-point", format!("this profile has no point `{name}`"), help);
        }
        found
    }

    fn key(&self, key: &'static str) -> Option<usize> {
        let name = self.section.text(key)?;
        self.name(self.section, key, &name)
    }

    fn point(&self, table: &Section<'_>) -> Option<usize> {
        let name = table.need("point", table.text("point"))?;
        self.name(table, "point", &name)
    }

    /// `valid_when`: one condition, or a list of them that must all hold.
    fn gates(&self) -> Vec<Gate> {
        let tables = match self.section.node("valid_when").map(|node| &node.value) {
            None => return Vec::new(),
            Some(Value::List(_)) => self.section.sections("valid_when"),
            Some(_) => self.section.section("valid_when").into_iter().collect(),
        };
        tables.iter().filter_map(|table| self.gate(table)).collect()
    }

    fn gate(&self, table: &Section<'_>) -> Option<Gate> {
        let field = self.point(table);
        let is = match table.node("is") {
            Some(Node { value: Value::List(list), .. }) => {
                let numbers: Vec<f64> = list.iter().filter_map(number).collect();
                let whole = numbers.len() == list.len() && !numbers.is_empty();
                if !whole {
                    table.error("is", "wrong-type", "`is` must be a number or a list of numbers", None);
                }
                whole.then_some(numbers)
            }
            _ => table.float("is").map(|is| vec![is]),
        };
        let (min, max) = (table.float("min"), table.float("max"));
        table.finish();
        let holds = match (is, min, max) {
            (Some(numbers), None, None) => Holds::Is(numbers),
            (None, None, None) | (Some(_), ..) => {
                if table.node("is").is_none() || min.or(max).is_some() {
                    let help =
                        Some("{ point = \"status\", is = 3 } or { point = \"age\", max = 60 }".to_owned());
                    let text = "`valid_when` says either what the point is, or its `min` and `max`";
                    table.error("is", "bad-gate", text, help);
                }
                return None;
            }
            (None, min, max) => Holds::Within(min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY)),
        };
        Some(Gate { field: field?, holds })
    }

    /// `{ point = "unit-code", "0" = "m", "1" = "mm" }`.
    fn choice<T>(
        &self,
        key: &'static str,
        case: impl Fn(&Section<'_>, &str, &Node) -> Option<T>,
    ) -> Option<Choice<T>> {
        let table = self.section.section(key)?;
        let field = self.point(&table);
        let mut cases = Vec::new();
        for (code, span, node) in table.all().iter().filter(|(code, ..)| code != "point") {
            let number = raw_number(code).and_then(|number| u32::try_from(number).ok()).map(f64::from);
            match (number.or_else(|| code.parse().ok()), case(&table, code, node)) {
                (Some(number), Some(found)) => cases.push((number, found)),
                (_, None) => {}
                (None, Some(_)) => {
                    let text = format!("`{code}` is no number of a point: \"3\" or \"0x62617267\"");
                    table.report.error(&table.document.place(*span), "bad-case", text, None);
                }
            }
        }
        if cases.is_empty() {
            let text = format!("`{key}` names no number of that point, such as \"0\" = ...");
            self.section.error(key, "bad-case", text, None);
        }
        Some(Choice { field: field?, cases })
    }
}

fn order(table: &Section<'_>, key: &str, node: &Node, count: u16) -> Option<Order> {
    let letters = if let Value::Text(letters) = &node.value { letters.as_str() } else { "" };
    let order = Order::parse(letters).filter(|order| order.0.len() == usize::from(count) * 2);
    if order.is_none() {
        let help = Some("such as ABCD, CDAB, BADC, DCBA".to_owned());
        table.error(key, "bad-order", format!("this is no byte order of {count} registers"), help);
    }
    order
}

fn scale(table: &Section<'_>, key: &str, node: &Node) -> Option<f64> {
    let factor = number(node).filter(|factor| *factor != 0.0);
    if factor.is_none() {
        table.error(key, "wrong-type", "a scale is a number and not 0", None);
    }
    factor
}

fn unit(table: &Section<'_>, key: &str, node: &Node, own: Option<Unit>) -> Option<Conversion> {
    let name = if let Value::Text(name) = &node.value { name.as_str() } else { "" };
    let Some(unit) = Unit::spelled(name) else {
        table.error(key, "unknown-unit", format!("there is no unit `{name}`"), unit_help(name));
        return None;
    };
    let Some(own) = own else {
        let help = Some("`range` is in this unit, whatever the device tells".to_owned());
        table.error("point", "missing-key", "`unit_from` needs `unit` beside it", help);
        return None;
    };
    let found = unit.to(own);
    if found.is_none() {
        let text = format!("`{name}` does not measure what `{}` measures", own.name());
        table.error(key, "wrong-unit", text, None);
    }
    found.map(|(factor, offset)| Conversion { factor, offset })
}
