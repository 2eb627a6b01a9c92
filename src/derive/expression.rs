//! The part of CEL that derived points are written in, checked whole before it runs.
//!
//! In: the text of an expression and its input names. Out: a checked expression over variables of our own, and its window calls.
//! Invariant: what compiles can't fail for types or names, has no loops, and its cost is bounded by its length.
//! Source: cel-spec, language definition; no macros (`map`, `all`, `exists`, `filter`, `has`), because their cost is not bounded.
//!
//! Allowed: numbers (`2` is `2.0`), `true`, `false`, inputs, `+ - * /`, `== != < <= > >=`, `&& || !`, `a ? b : c`, parentheses, and the window calls
//! `rate`, `sum`, `max`, `min`, `mean`, `total` of an input and a span (`'5m'`; ms, s, m, h, d), and `tips(input, '1h', 16, 20)`: of a counter with so many
//! bits that counts at most so many a minute.

use std::fmt;
use std::time::Duration;

use cel::IdedExpr;
use cel::Program;
use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};

use crate::derive::counter::Counter;
use crate::derive::functions;
use crate::derive::scale::Scale;
use crate::derive::syntax;
use crate::derive::window::Function;
use crate::point::PointId;
use crate::unit::Unit;

/// Longest expression, in bytes.
const LENGTH_MAX: usize = 500;
/// Longest window.
const SPAN_MAX: Duration = Duration::from_secs(31 * 86_400);

/// A checked expression.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Over the names of [`Variable`].
    pub expression: IdedExpr,
    /// Its window calls, each once.
    pub windows: Vec<Call>,
}

/// One window call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is asked of the window.
    pub function: Function,
    /// Of which point.
    pub point: PointId,
    /// How far back.
    pub span: Duration,
    /// What the point is taken for, for `tips`.
    pub counter: Option<Counter>,
}

/// The variables of a compiled expression, by the names they have in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// The latest number of a point.
    Latest(PointId),
    /// The result of the window call at this index.
    Window(usize),
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest(point) => write!(f, "p{}", point.0),
            Self::Window(index) => write!(f, "w{index}"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Number,
    Truth,
}

/// Parses and checks `value`; `scales` are those of inputs that it has in another unit than their points are in.
///
/// # Errors
/// Text for a person.
pub fn compile(
    value: &str,
    inputs: &[(String, PointId)],
    scales: &[(String, Scale)],
) -> Result<Compiled, String> {
    let mut expression = parse(value)?;
    let mut checker = Checker { inputs, scales, windows: Vec::new() };
    checker.check(&mut expression)?;
    Ok(Compiled { expression, windows: checker.windows })
}

/// The unit of an expression that is nothing but an input or one window call, and the factor to it; `None` for any other and where there is no such unit.
pub fn own_unit(value: &str, inputs: &[(String, Option<Unit>)]) -> Option<(Unit, f64)> {
    let unit = |name: &str| inputs.iter().find(|(known, _)| known == name).and_then(|(_, unit)| *unit);
    match parse(value).ok()?.expr {
        Expr::Ident(name) => Some((unit(&name)?, 1.0)),
        Expr::Call(call) => {
            let Some(Expr::Ident(name)) = call.args.first().map(|arg| &arg.expr) else { return None };
            match Function::parse(&call.func_name)? {
                Function::Rate => Some((unit(name)?.per_minute()?, 1.0)),
                Function::Sum | Function::Max | Function::Min | Function::Mean => Some((unit(name)?, 1.0)),
                Function::Total => unit(name)?.over_minutes(),
                Function::Tips => Some((Unit::parse("count")?, 1.0)),
            }
        }
        _ => None,
    }
}

pub(crate) fn parse(value: &str) -> Result<IdedExpr, String> {
    if value.len() > LENGTH_MAX {
        return Err(format!("longer than {LENGTH_MAX} bytes"));
    }
    let program = Program::compile(value).map_err(|errors| {
        // What follows from a mistake may stand before it.
        let first = errors.errors.iter().find(|error| error.msg.starts_with("Syntax error"));
        syntax::wording(value, first.or(errors.errors.first()).map_or(1, |error| error.pos.1))
    })?;
    Ok(program.expression().clone())
}

struct Checker<'a> {
    inputs: &'a [(String, PointId)],
    scales: &'a [(String, Scale)],
    windows: Vec<Call>,
}

impl Checker<'_> {
    /// Finds the type, and puts our own variables and doubles in.
    fn check(&mut self, node: &mut IdedExpr) -> Result<Type, String> {
        match &mut node.expr {
            Expr::Literal(literal) => {
                if let Some(number) = whole(literal)? {
                    *literal = LiteralValue::Double(number.into());
                }
                Ok(if matches!(literal, LiteralValue::Boolean(_)) { Type::Truth } else { Type::Number })
            }
            Expr::Ident(name) => {
                let point = self.input(name)?;
                let scale = self.scale(name);
                *name = Variable::Latest(point).to_string();
                scale.into_iter().for_each(|scale| scale.wrap(node));
                Ok(Type::Number)
            }
            Expr::Call(call) if call.target.is_none() => match Function::parse(&call.func_name) {
                Some(function) => {
                    let index = self.window(function, call)?;
                    let of = call.args.first().and_then(|of| self.scale(ident(of)?));
                    let scale = of.map(|scale| scale.of(function)).transpose()?;
                    node.expr = Expr::Ident(Variable::Window(index).to_string());
                    scale.into_iter().for_each(|scale| scale.wrap(node));
                    Ok(Type::Number)
                }
                None => self.operator(call),
            },
            Expr::Call(call) => Err(unknown(&call.func_name)),
            Expr::Select(select) => Err(format!("no fields: .{}", select.field)),
            Expr::Comprehension(_) => Err("no macros (all, exists, map, filter, has)".to_owned()),
            Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => Err("no lists and maps".to_owned()),
            Expr::Unspecified => Err("empty".to_owned()),
        }
    }

    fn input(&self, name: &str) -> Result<PointId, String> {
        self.inputs.iter().find(|(known, _)| known == name).map(|(_, point)| *point).ok_or_else(|| {
            let known: Vec<_> = self.inputs.iter().map(|(known, _)| known.as_str()).collect();
            format!("unknown name {name}; inputs are {}", known.join(", "))
        })
    }

    fn scale(&self, name: &str) -> Option<Scale> {
        self.scales.iter().find(|(known, _)| known == name).map(|(_, scale)| *scale)
    }

    fn window(&mut self, function: Function, call: &CallExpr) -> Result<usize, String> {
        let usage = || match function {
            Function::Tips => format!("write {}: bits of the counter, most counts a minute", function.call()),
            _ => format!("write {}", function.call()),
        };
        let (of, span, counter) = match (function, call.args.as_slice()) {
            (Function::Tips, [of, span, bits, most]) => {
                let counter =
                    number(bits).zip(number(most)).map(|(bits, per_minute)| Counter { bits, per_minute });
                let fits = |counter: &Counter| (1..=53).contains(&counter.bits) && counter.per_minute > 0;
                (of, span, Some(counter.filter(fits).ok_or_else(usage)?))
            }
            (Function::Tips, _) => return Err(usage()),
            (_, [of, span]) => (of, span, None),
            _ => return Err(usage()),
        };
        let (Expr::Ident(name), Expr::Literal(LiteralValue::String(span))) = (&of.expr, &span.expr) else {
            return Err(usage());
        };
        let span = duration(span.inner())
            .filter(|span| !span.is_zero() && *span <= SPAN_MAX)
            .ok_or_else(|| format!("no span {:?}: write '5m' (ms, s, m, h, d; at most 31d)", span.inner()))?;
        let call = Call { function, point: self.input(name)?, span, counter };
        if let Some(index) = self.windows.iter().position(|known| *known == call) {
            return Ok(index);
        }
        self.windows.push(call);
        Ok(self.windows.len() - 1)
    }

    fn operator(&mut self, call: &mut CallExpr) -> Result<Type, String> {
        use operators as op;
        // A name that is none is told before what stands in its brackets.
        if call.func_name.starts_with(char::is_alphabetic) {
            return Err(unknown(&call.func_name));
        }
        let mut types = Vec::with_capacity(call.args.len());
        for arg in &mut call.args {
            types.push(self.check(arg)?);
        }
        let all = |want| types.iter().all(|found| *found == want);
        let name = call.func_name.as_str();
        match (name, types.as_slice()) {
            (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::NEGATE, _) if all(Type::Number) => {
                Ok(Type::Number)
            }
            (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, _) if all(Type::Number) => {
                Ok(Type::Truth)
            }
            (op::EQUALS | op::NOT_EQUALS, [a, b]) if a == b => Ok(Type::Truth),
            (op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT, _) if all(Type::Truth) => Ok(Type::Truth),
            (op::CONDITIONAL, [Type::Truth, a, b]) if a == b => Ok(*a),
            (op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT | op::CONDITIONAL, _) => {
                Err(format!("{} needs truth values: an input is a number, write `input == 1`", sign(name)))
            }
            (
                op::ADD
                | op::SUBSTRACT
                | op::MULTIPLY
                | op::DIVIDE
                | op::NEGATE
                | op::LESS
                | op::LESS_EQUALS
                | op::GREATER
                | op::GREATER_EQUALS
                | op::EQUALS
                | op::NOT_EQUALS,
                _,
            ) => Err(format!("{} between a number and a truth value", sign(name))),
            _ => Err(format!("no operator {}: only + - * / == != < <= > >= && || ! and ?:", sign(name))),
        }
    }
}

/// The name that this is.
pub(crate) fn ident(node: &IdedExpr) -> Option<&str> {
    if let Expr::Ident(name) = &node.expr { Some(name) } else { None }
}

/// That there is no such function, and which there are.
fn unknown(name: &str) -> String {
    match Function::parse(name) {
        Some(function) => format!("{name} takes its input in the brackets: {}", function.call()),
        None => format!("there is no function {name}; functions are {}", functions::calls()),
    }
}

/// A whole number that is written out.
fn number(node: &IdedExpr) -> Option<u32> {
    match &node.expr {
        Expr::Literal(LiteralValue::Int(number)) => u32::try_from(*number.inner()).ok(),
        _ => None,
    }
}

/// The sign of an operator for a person: `&&` of `_&&_`.
fn sign(operator: &str) -> String {
    operator.replace('_', "")
}

/// A literal as a double when it is a number; an error when it is neither number nor truth value.
fn whole(literal: &LiteralValue) -> Result<Option<f64>, String> {
    let digits = match literal {
        LiteralValue::Boolean(_) | LiteralValue::Double(_) => return Ok(None),
        LiteralValue::Int(number) => number.inner().to_string(),
        LiteralValue::UInt(number) => number.inner().to_string(),
        LiteralValue::Bytes(_) | LiteralValue::Null | LiteralValue::String(_) => {
            return Err("no texts here, only numbers".to_owned());
        }
    };
    digits.parse().map(Some).map_err(|_| format!("no number {digits}"))
}

/// `5m`, `90s`, `500ms`, `1h`, `2d`.
fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(at)?;
    let count: u64 = digits.parse().ok()?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(ms).map(Duration::from_millis)
}
