//! Conditions combined by an expression: `deep && (rising || raining)`.
//!
//! In: what each named part says: yes, no, or nothing. Out: 1, 0, or nothing.
//! Invariant: three-valued: a part that says nothing decides nothing, and the whole says nothing unless the other parts decide it.
//! Source: Kleene's strong logic of three values.

use serde::{Deserialize, Serialize};

/// Parts of an expression, at most.
pub const PARTS_MAX: usize = 16;
/// Parentheses and `!` inside each other, at most.
const DEPTH_MAX: usize = 32;

/// One step of an expression in postfix order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// What the part of this number says.
    Part(usize),
    /// Not the last.
    Not,
    /// Both of the last two.
    And,
    /// One of the last two.
    Or,
}

/// Parses `text` over the names of parts.
///
/// # Errors
/// Text for a person.
pub fn parse(text: &str, names: &[String]) -> Result<Vec<Op>, String> {
    let mut parser = Parser { rest: text, names, ops: Vec::new(), depth: 0 };
    parser.either()?;
    match parser.rest.trim_start().chars().next() {
        None => Ok(parser.ops),
        Some(letter) => Err(format!("unexpected `{letter}`; write names with &&, ||, ! and parentheses")),
    }
}

struct Parser<'a> {
    rest: &'a str,
    names: &'a [String],
    ops: Vec<Op>,
    depth: usize,
}

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn either(&mut self) -> Result<(), String> {
        self.both()?;
        while self.eat("||") {
            self.both()?;
            self.ops.push(Op::Or);
        }
        Ok(())
    }

    fn both(&mut self) -> Result<(), String> {
        self.one()?;
        while self.eat("&&") {
            self.one()?;
            self.ops.push(Op::And);
        }
        Ok(())
    }

    fn one(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} parentheses inside each other"));
        }
        if self.eat("!") {
            self.one()?;
            self.ops.push(Op::Not);
        } else if self.eat("(") {
            self.either()?;
            if !self.eat(")") {
                return Err("a `)` is missing".to_owned());
            }
        } else {
            self.name()?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn name(&mut self) -> Result<(), String> {
        let rest = self.rest.trim_start();
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let Some(index) = self.names.iter().position(|known| known == name) else {
            let what = if name.is_empty() {
                "a name is missing".to_owned()
            } else {
                format!("no condition is called `{name}`")
            };
            return Err(format!("{what}; conditions are {}", self.names.join(", ")));
        };
        self.rest = rest;
        self.ops.push(Op::Part(index));
        Ok(())
    }
}

/// What the expression says of what its parts say.
pub(crate) fn evaluate(ops: &[Op], says: impl Fn(usize) -> Option<bool>) -> Option<bool> {
    // Deep enough for every parsed expression: its depth bounds what waits.
    let mut stack = [None; 2 * DEPTH_MAX + PARTS_MAX];
    let mut top = 0_usize;
    for op in ops {
        let value = match op {
            Op::Part(index) => says(*index),
            Op::Not => {
                top = top.checked_sub(1)?;
                stack.get(top).copied()?.map(|value: bool| !value)
            }
            Op::And | Op::Or => {
                top = top.checked_sub(2)?;
                let decides = *op == Op::Or;
                match (stack.get(top).copied()?, stack.get(top + 1).copied()?) {
                    (Some(one), _) if one == decides => Some(decides),
                    (_, Some(other)) if other == decides => Some(decides),
                    (Some(_), Some(_)) => Some(!decides),
                    _ => None,
                }
            }
        };
        *stack.get_mut(top)? = value;
        top += 1;
    }
    stack.first().copied().flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> Vec<String> {
        ["deep", "rising", "rain"].map(str::to_owned).to_vec()
    }

    fn says(text: &str, parts: [Option<bool>; 3]) -> Option<bool> {
        evaluate(&parse(text, &names()).unwrap(), |index| parts[index])
    }

    #[test]
    fn three_values() {
        let (yes, no, silent) = (Some(true), Some(false), None);
        for (text, parts, want) in [
            ("deep && rising", [yes, yes, no], yes),
            ("deep && rising", [no, silent, no], no),
            ("deep && rising", [yes, silent, no], silent),
            ("deep || rising", [yes, silent, no], yes),
            ("deep || rising", [no, silent, no], silent),
            ("deep && (rising || rain)", [yes, no, yes], yes),
            ("deep && rising || rain", [no, no, yes], yes),
            ("!deep && !(rising || rain)", [no, no, no], yes),
            ("!deep", [silent, no, no], silent),
        ] {
            assert_eq!(says(text, parts), want, "{text} of {parts:?}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, want) in [
            ("deep && storm", "no condition is called `storm`"),
            ("(deep", "a `)` is missing"),
            ("deep rising", "unexpected `r`"),
            ("deep &&", "a name is missing"),
            ("", "a name is missing"),
        ] {
            let error = parse(text, &names()).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
        assert!(parse(&format!("{}deep", "!".repeat(40)), &names()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[a-z!&|() ]{0,80}") {
            if let Ok(ops) = parse(&text, &names()) {
                prop_assert!(evaluate(&ops, |_| Some(true)).is_some());
                prop_assert_eq!(evaluate(&ops, |_| None), None);
            }
        }

        /// A silent part never turns an answer round: what is said with it is what both of its values say.
        #[test]
        fn silence_decides_nothing(text in "(!?(deep|rising|rain) (&&|[|][|]) ){0,4}(deep|rising|rain)", parts in any::<[Option<bool>; 3]>()) {
            let ops = parse(&text, &names()).unwrap();
            if let Some(found) = evaluate(&ops, |index| parts[index]) {
                for all in [false, true] {
                    prop_assert_eq!(evaluate(&ops, |index| Some(parts[index].unwrap_or(all))), Some(found));
                }
            }
        }
    }
}
