//! What expressions of derived points are made of, for people: the section of the reference, and what a message names.
//!
//! In: the functions of windows. Out: their calls, Markdown. Invariant: each function that an expression can call is told, with an example that works.

use std::fmt::Write as _;

use crate::derive::window::Function;

impl Function {
    /// How it is called.
    pub const fn call(self) -> &'static str {
        match self {
            Self::Rate => "rate(input, '5m')",
            Self::Sum => "sum(input, '1h')",
            Self::Max => "max(input, '1h')",
            Self::Min => "min(input, '1h')",
            Self::Mean => "mean(input, '10m')",
            Self::Total => "total(input, '1d')",
            Self::Tips => "tips(input, '1h', 16, 20)",
        }
    }

    /// What it gives, and in which unit.
    const fn gives(self) -> &'static str {
        match self {
            Self::Rate => {
                "The slope (least squares) per minute, in the input's unit: cm/min of cm. Needs 3 readings over half the span"
            }
            Self::Sum => {
                "The sum of the readings; `over-range` (at least what it says) while they span less than half of it"
            }
            Self::Max => {
                "The largest reading; `over-range` (at least what it says) while they span less than half of it"
            }
            Self::Min => {
                "The smallest reading; `under-range` (at most what it says) while they span less than half of it"
            }
            Self::Mean => "The mean of the readings. Needs half the span",
            Self::Total => {
                "The integral over time: m3 of m3/h; of a unit without a time, that unit times minutes. Needs half the span"
            }
            Self::Tips => {
                "How many a counter of so many bits (16) counted that counts at most so many a minute (20): over its top, and through resets"
            }
        }
    }

    /// A derived value that uses it.
    pub const fn example(self) -> &'static str {
        match self {
            Self::Rate => "rate(level, '5m') > 0.5 ? 1 : 0",
            Self::Sum => "sum(rain, '1h')",
            Self::Max => "max(level, '1d') - min(level, '1d')",
            Self::Min => "min(pressure, '10m')",
            Self::Mean => "mean(level, '10m')",
            Self::Total => "total(flow, '1d')",
            Self::Tips => "tips(counter, '1h', 16, 20) * 0.2",
        }
    }
}

/// All calls, for a message.
pub fn calls() -> String {
    Function::ALL.map(Function::call).join(", ")
}

/// The section of the reference about expressions.
pub fn reference() -> String {
    let mut page = "\n## Expressions of derived points\n\
        Numbers, the names of the inputs, `+ - * /`, `== != < <= > >=`, `&& || !`, `condition ? one : other`, parentheses, and these functions of the readings within a span of time (ms, s, m, h or d, at most 31d).\n\
        A comparison gives 1 or 0.\n\n\
        | call | gives | example |\n| --- | --- | --- |\n"
        .to_owned();
    for function in Function::ALL {
        let _ = writeln!(page, "| `{}` | {} | `{}` |", function.call(), function.gives(), function.example());
    }
    page += "\nInputs are numbers in the unit that readings are kept in ([units](units.md)), which depends on the class of the sensor and need not be the one that its profile writes: \
        a current that a profile reads in A is kept in mA (in A for the classes power and elevator).\n\
        To compute in another unit, name it: `inputs = { i = { point = \"meter.current\", unit = \"A\" } }`.\n\
        `unit` is the unit of the result. A value that is one input or one call alone has a unit of its own, which is checked and converted.\n\
        Without a number of one of its inputs a derived point has none (`input`); the doubt of an input is its own.\n";
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::{Derived, Settings};
    use crate::point::PointId;

    #[test]
    fn each_function_is_in_the_page_with_an_example_that_works() {
        let page = reference();
        for function in Function::ALL {
            assert!(page.contains(&format!("| `{}(", function.name())), "{}", function.name());
            assert!(function.example().contains(function.name()));
            for value in [function.call(), function.example()] {
                let inputs = ["input", "level", "rain", "pressure", "flow", "counter"];
                let inputs = (0..).map(PointId).zip(inputs).map(|(point, name)| (name.to_owned(), point));
                let settings = Settings {
                    point: PointId(9),
                    inputs: inputs.collect(),
                    scales: Vec::new(),
                    value: value.to_owned(),
                    factor: 1.0,
                };
                assert_eq!(Derived::check(&settings), Ok(()), "{value}");
            }
        }
    }
}
