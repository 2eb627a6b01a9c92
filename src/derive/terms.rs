//! Where the size of a number matters: an input beside numbers that are written out.
//!
//! In: the text of an expression. Out: which inputs are computed with. Invariant: nothing is judged, only found.

use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue, operators as op};

use crate::derive::expression::parse;
use crate::derive::window::Function;

/// A parsed expression.
pub struct Terms(IdedExpr);

/// What stands in a part of an expression.
#[derive(Clone, Copy, Default)]
struct Found {
    input: bool,
    number: bool,
}

impl Terms {
    /// Those of `value`; `None` when it cannot be read.
    pub fn of(value: &str) -> Option<Self> {
        parse(value).ok().map(Self)
    }

    /// Whether `input` stands in it.
    pub fn has(&self, input: &str) -> bool {
        found(&self.0, input).input
    }

    /// Whether `input` is compared or computed with a number other than 0.
    pub fn measures(&self, input: &str) -> bool {
        measures(&self.0, input)
    }
}

fn measures(node: &IdedExpr, input: &str) -> bool {
    let Expr::Call(call) = &node.expr else { return false };
    let joins =
        [op::LOGICAL_AND, op::LOGICAL_OR, op::LOGICAL_NOT, op::CONDITIONAL].contains(&&*call.func_name);
    let Found { input: has, number } = found(node, input);
    (!joins && has && number) || call.args.iter().any(|arg| measures(arg, input))
}

fn found(node: &IdedExpr, input: &str) -> Found {
    match &node.expr {
        Expr::Ident(name) => Found { input: name == input, number: false },
        Expr::Literal(LiteralValue::Int(number)) => Found { input: false, number: *number.inner() != 0 },
        Expr::Literal(LiteralValue::Double(number)) => {
            Found { input: false, number: number.inner().abs() > 0.0 }
        }
        Expr::Call(call) => {
            let parts = call.args.iter().map(|arg| found(arg, input));
            let all = parts.fold(Found::default(), |all, part| Found {
                input: all.input || part.input,
                number: all.number || part.number,
            });
            // Spans and bits of a counter are no measured numbers.
            let is_window = Function::parse(&call.func_name).is_some();
            Found { number: all.number && !is_window, ..all }
        }
        _ => Found::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_beside_a_number_is_measured() {
        for (value, has, measures) in [
            ("i * 400 * 1.732", true, true),
            ("i > 1 ? 1 : 0", true, true),
            ("i > 0 ? 1 : 0", true, false),
            ("i - j > 0", true, false),
            ("i - j > 0.5", true, true),
            ("mean(i, '5m') < j && j > 3", true, false),
            ("rate(i, '5m') > 0.5", true, true),
            ("tips(i, '1h', 16, 20) > j", true, false),
            ("j == 1", false, false),
            ("i + j", true, false),
        ] {
            let terms = Terms::of(value).unwrap();
            assert_eq!((terms.has("i"), terms.measures("i")), (has, measures), "{value}");
        }
        assert!(Terms::of("i +").is_none());
    }
}
