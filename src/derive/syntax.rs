//! What is wrong with the writing of an expression, in words for the person who wrote it.
//!
//! In: the expression, and where its parser gave up. Out: a sentence. Invariant: no word of the parser's own.

/// Why `value` cannot be read any further than to `column`, which counts from 1.
pub(crate) fn wording(value: &str, column: isize) -> String {
    let before = usize::try_from(column - 1).unwrap_or(0);
    let rest: String = value.chars().skip(before).collect();
    let token = token(rest.trim_start());
    let column = before + (rest.chars().count() - rest.trim_start().chars().count()) + 1;
    match token.chars().next() {
        None => "the expression ends too early".to_owned(),
        Some('\'' | '"') if rest.matches(&token).count() == 1 => {
            format!("the text that begins at column {column} does not end")
        }
        Some('=') => format!("cannot read = at column {column}: == compares"),
        Some('&') => format!("cannot read & at column {column}: && is and"),
        Some('|') => format!("cannot read | at column {column}: || is or"),
        Some(_) => format!("cannot read {token} at column {column}"),
    }
}

/// The word, number or sign at the beginning of `text`.
fn token(text: &str) -> String {
    let word = |letter: &char| letter.is_alphanumeric() || matches!(letter, '_' | '.');
    let whole: String = text.chars().take_while(word).collect();
    if whole.is_empty() { text.chars().take(1).collect() } else { whole }
}

#[cfg(test)]
mod tests {
    use crate::derive::expression::parse;

    #[test]
    fn mistakes_are_told_in_the_words_of_the_trade() {
        for (value, want) in [
            ("level +", "the expression ends too early"),
            ("", "the expression ends too early"),
            ("   ", "the expression ends too early"),
            ("(level * 2", "the expression ends too early"),
            ("level > 1 ? 1", "the expression ends too early"),
            ("level > 1 ? 1 :", "the expression ends too early"),
            ("level > 1 ? : 2", "cannot read : at column 13"),
            ("rate(level, )", "cannot read ) at column 13"),
            ("level >> 2", "cannot read > at column 8"),
            ("rate(level, '5m'", "the expression ends too early"),
            ("level * * 2", "cannot read * at column 9"),
            ("level 2", "cannot read 2 at column 7"),
            ("level * 2)", "cannot read ) at column 10"),
            ("level = 2", "cannot read = at column 7: == compares"),
            ("level > 1 & level < 2", "cannot read & at column 11: && is and"),
            ("level @ 2", "cannot read @ at column 7"),
            ("水位 * 2", "cannot read 水位 at column 1"),
            ("rate(level, '5m)", "the text that begins at column 13 does not end"),
        ] {
            assert_eq!(parse(value).unwrap_err(), want, "{value}");
        }
    }
}
