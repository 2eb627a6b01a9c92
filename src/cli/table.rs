//! Tables for people: columns aligned by the width that a terminal gives to each character.
//!
//! In: rows of cells. Out: text.
//! Invariant: no cell can move the cursor or colour the screen, whatever a device or a person wrote into it.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

/// Cells wider than this are cut, so that columns stay columns; the last one, which holds advice and causes, never is.
const WIDTH_MAX: usize = 60;

/// A table; a cell that holds only a number is set to the right.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// No cell is cut.
    whole: bool,
}

impl Table {
    /// A table with these heads.
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()], whole: false }
    }

    /// A table that cuts no cell: a cut time would be another one.
    pub(crate) fn whole(self) -> Self {
        Self { whole: true, ..self }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        let last = cells.len().saturating_sub(1);
        let cells = cells.iter().enumerate();
        let shown = cells
            .map(|(column, cell)| if column < last && !self.whole { cut(&plain(cell)) } else { plain(cell) });
        self.rows.push(shown.collect());
    }

    /// No row beside the heads.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// Writes the table; nothing when it has no row beside its heads.
    pub(crate) fn emit(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let widths: Vec<usize> =
            (0..columns).map(|column| cells(column).map(|cell| cell.width()).max().unwrap_or(0)).collect();
        let numeric: Vec<bool> =
            (0..columns).map(|column| cells(column).skip(1).all(|cell| is_number(cell))).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&numeric) {
                let pad = " ".repeat(width.saturating_sub(cell.width()));
                line.push_str(&if *right { format!("{pad}{cell}") } else { format!("{cell}{pad}") });
                line.push_str("  ");
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn is_number(cell: &str) -> bool {
    cell.bytes().all(|byte| byte.is_ascii_digit() || b",.-".contains(&byte))
}

/// Without control characters and without characters that turn the direction of text.
pub(crate) fn plain(text: &str) -> String {
    let turns = |letter| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|letter| if letter.is_control() || turns(letter) { '\u{fffd}' } else { letter })
        .collect()
}

fn cut(text: &str) -> String {
    if text.width() <= WIDTH_MAX {
        return text.to_owned();
    }
    let mut short = String::new();
    for letter in text.chars() {
        short.push(letter);
        if short.width() >= WIDTH_MAX {
            break;
        }
    }
    short + "…"
}

/// `1 line`, `2 lines`, `1,234 lines`.
pub(crate) fn many(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// The same of a length.
pub(crate) fn many_of<T>(things: &[T], thing: &str) -> String {
    many(u64::try_from(things.len()).unwrap_or(u64::MAX), thing)
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_for_wide_letters_too() {
        let mut table = Table::new(&["town", "polls", "class"]);
        table.row(vec!["南坪街道".into(), "5".into(), "gas".into()]);
        table.row(vec!["a".into(), "1,200".into(), "lift".into()]);
        let mut out = Vec::new();
        table.emit(&mut out).unwrap();
        let expected = "town      polls  class\n南坪街道      5  gas\na         1,200  lift\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_long_cell_is_cut_and_advice_never() {
        let mut table = Table::new(&["name", "advice"]);
        table.row(vec!["n".repeat(100), "a".repeat(100)]);
        let mut out = Vec::new();
        table.emit(&mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains(&format!("{}…  {}\n", "n".repeat(60), "a".repeat(100))), "{out}");
    }

    #[test]
    fn a_whole_table_cuts_nothing() {
        let mut table = Table::new(&["when", "why"]).whole();
        table.row(vec!["t".repeat(100), "w".to_owned()]);
        let mut out = Vec::new();
        table.emit(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains(&"t".repeat(100)));
    }

    #[test]
    fn an_empty_table_is_silent() {
        let mut out = Vec::new();
        Table::new(&["town"]).emit(&mut out).unwrap();
        assert!(out.is_empty());
    }

    #[test]
    fn nothing_in_a_cell_reaches_the_terminal_as_a_command() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n\u{202e}c"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}c");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(
            [many(1, "line"), many(0, "line"), many(1234, "line")],
            ["1 line", "0 lines", "1,234 lines"]
        );
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }
}
