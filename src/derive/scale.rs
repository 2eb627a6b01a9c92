//! An input in another unit than its point is in: what its numbers are put through, alone and in window calls.
//!
//! In: factor and offset. Out: expressions. Invariant: what a window call gives is what it would give of converted readings.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, LiteralValue, operators as op};

use crate::derive::window::Function;

/// value in the expression = value of the point * factor + offset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The factor; more than nothing.
    pub factor: f64,
    /// Added after it.
    pub offset: f64,
}

impl Scale {
    /// What the result of a call is put through.
    ///
    /// # Errors
    /// Text for a person: no factor does it.
    pub(crate) fn of(self, function: Function) -> Result<Self, String> {
        match function {
            Function::Max | Function::Min | Function::Mean => Ok(self),
            Function::Rate => Ok(Self { offset: 0.0, ..self }),
            Function::Tips => Ok(Self { factor: 1.0, offset: 0.0 }),
            Function::Sum | Function::Total if self.offset.abs() > 0.0 => {
                Err(format!("no {} of an input whose unit has an offset", function.name()))
            }
            Function::Sum | Function::Total => Ok(self),
        }
    }

    /// Puts what stands at `node`, a checked number, through this.
    pub(crate) fn wrap(self, node: &mut IdedExpr) {
        for (operator, number, nothing) in [(op::MULTIPLY, self.factor, 1.0), (op::ADD, self.offset, 0.0)] {
            if (number - nothing).abs() > 0.0 {
                let number = Expr::Literal(LiteralValue::Double(number.into()));
                let args = vec![std::mem::take(node), IdedExpr { id: 0, expr: number }];
                node.expr = Expr::Call(CallExpr { func_name: operator.to_owned(), target: None, args });
            }
        }
    }
}
