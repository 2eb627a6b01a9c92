//! Conditions that can never hold at once, found before anybody waits for them.
//!
//! In: the text of an expression and the ranges of its inputs. Out: which two comparisons exclude each other.
//! Invariant: what is reported is false for every value; silence proves nothing (only comparisons with a number, joined by `&&`, are looked at).

use std::collections::BTreeMap;

use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue, operators as op};

use crate::derive::expression::parse;

/// An input that must lie in a range: what is open to it, and which comparison closed each side.
#[derive(Clone, Debug)]
struct Room {
    low: (f64, bool, String),
    high: (f64, bool, String),
}

impl Room {
    fn is_empty(&self) -> bool {
        let open = self.low.1 && self.high.1;
        self.low.0 > self.high.0 || (self.low.0 >= self.high.0 && !open)
    }
}

/// Two parts of `value` that never hold at once, in words; `ranges` are those of the inputs, as far as they are known.
pub fn contradiction(value: &str, ranges: &[(String, Option<(f64, f64)>)]) -> Option<String> {
    let tree = parse(value).ok()?;
    let mut parts = Vec::new();
    conjuncts(&tree, &mut parts);
    let mut rooms: BTreeMap<String, Room> = BTreeMap::new();
    for part in parts {
        let Some((name, operator, number)) = comparison(part) else { continue };
        let known = ranges.iter().find(|(input, _)| *input == name).and_then(|(_, range)| *range);
        let (low, high) = known.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        let from_range = format!("the range of {name}");
        let room = rooms
            .entry(name.clone())
            .or_insert_with(|| Room { low: (low, true, from_range.clone()), high: (high, true, from_range) });
        narrow(room, &name, operator, number);
        if room.is_empty() {
            return Some(format!("{} and {} can never both hold", room.low.2, room.high.2));
        }
    }
    None
}

/// The parts that `&&` joins.
fn conjuncts<'a>(node: &'a IdedExpr, parts: &mut Vec<&'a IdedExpr>) {
    match &node.expr {
        Expr::Call(call) if call.func_name == op::LOGICAL_AND => {
            call.args.iter().for_each(|arg| conjuncts(arg, parts));
        }
        _ => parts.push(node),
    }
}

/// `(input, operator, number)` with the input on the left.
fn comparison(node: &IdedExpr) -> Option<(String, &'static str, f64)> {
    let Expr::Call(call) = &node.expr else { return None };
    let [left, right] = call.args.as_slice() else { return None };
    let sides = [(op::GREATER, op::LESS), (op::GREATER_EQUALS, op::LESS_EQUALS), (op::LESS, op::GREATER)];
    let sides = sides.into_iter().chain([(op::LESS_EQUALS, op::GREATER_EQUALS), (op::EQUALS, op::EQUALS)]);
    let (same, turned) = sides.into_iter().find(|(known, _)| *known == call.func_name)?;
    match (&left.expr, &right.expr) {
        (Expr::Ident(name), _) => Some((name.clone(), same, number(right)?)),
        (_, Expr::Ident(name)) => Some((name.clone(), turned, number(left)?)),
        _ => None,
    }
}

fn number(node: &IdedExpr) -> Option<f64> {
    match &node.expr {
        Expr::Literal(LiteralValue::Double(number)) => Some(*number.inner()),
        Expr::Literal(LiteralValue::Int(number)) => number.inner().to_string().parse().ok(),
        Expr::Literal(LiteralValue::UInt(number)) => number.inner().to_string().parse().ok(),
        Expr::Call(call) if call.func_name == op::NEGATE => number(call.args.first()?).map(|number| -number),
        _ => None,
    }
}

fn narrow(room: &mut Room, name: &str, operator: &str, number: f64) {
    let sign = operator.replace('_', "");
    let part = format!("`{name} {sign} {number}`");
    let (from_below, from_above) = match operator {
        op::GREATER => (Some(false), None),
        op::GREATER_EQUALS => (Some(true), None),
        op::LESS => (None, Some(false)),
        op::LESS_EQUALS => (None, Some(true)),
        _ => (Some(true), Some(true)),
    };
    if let Some(holds) = from_below
        && (room.low.0 < number || (room.low.0 <= number && !holds))
    {
        room.low = (number, holds, part.clone());
    }
    if let Some(holds) = from_above
        && (number < room.high.0 || (number <= room.high.0 && !holds))
    {
        room.high = (number, holds, part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_excludes_what() {
        let ranges = [("a".to_owned(), Some((0.0, 10.0))), ("b".to_owned(), None)];
        for (value, want) in [
            ("a > 5 && a < 3", Some("`a > 5` and `a < 3` can never both hold")),
            ("b == 1 && a > 2 && b == 0", Some("`b == 1` and `b == 0` can never both hold")),
            ("5 < b && (b <= 5.0 && a > 1)", Some("`b > 5` and `b <= 5` can never both hold")),
            ("a >= 11", Some("`a >= 11` and the range of a can never both hold")),
            ("b < -3 && b > -1", Some("`b > -1` and `b < -3` can never both hold")),
            ("a > 5 || a < 3", None),
            ("a >= 5 && a <= 5", None),
            ("a >= 10", None),
            ("b > 3 && a < 3", None),
            ("a + b > 3", None),
            ("a >", None),
        ] {
            assert_eq!(contradiction(value, &ranges).as_deref(), want, "{value}");
        }
    }

    proptest! {
        #[test]
        fn what_is_reported_holds_for_no_value(
            parts in prop::collection::vec((prop::sample::select(vec![">", ">=", "<", "<=", "=="]), -4_i32..5), 1..5),
            value in -10_i32..11,
        ) {
            let half = f64::from(value) / 2.0;
            let text: Vec<String> = parts.iter().map(|(sign, number)| format!("x {sign} {number}")).collect();
            let holds = parts.iter().all(|(sign, number)| {
                let order = half.total_cmp(&f64::from(*number));
                match *sign { ">" => order.is_gt(), ">=" => order.is_ge(), "<" => order.is_lt(), "<=" => order.is_le(), _ => order.is_eq() }
            });
            if holds {
                prop_assert_eq!(contradiction(&text.join(" && "), &[]), None);
            }
        }
    }
}
