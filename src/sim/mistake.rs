//! A mistake in a story, with the place where it stands.
//!
//! In: the story's text, and which key of which entry is wrong. Out: file, line, column, and what to write instead.
//! Invariant: a place is found by reading the text anew, so that a story without mistakes carries none along.

use std::fmt;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::Place;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What is wrong and what is allowed, with the entry, `signal 2: ...`.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column, .. } = &self.place;
        write!(f, "{file}:{line}:{column}: {}", self.text)
    }
}

/// What is wrong in an entry, and under which of its keys.
pub(crate) type Wrong = (&'static str, String);

/// One mistake as it is, several below each other.
pub(crate) fn told(mistakes: &[Mistake]) -> String {
    match mistakes {
        [one] => one.to_string(),
        many => {
            let lines: String = many.iter().map(|one| format!("\n{one}")).collect();
            format!("the story has {} mistakes:{lines}", many.len())
        }
    }
}

/// A story as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Name of the file.
    pub file: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// The mistake under a key of the entry with this number, from 1.
    pub(crate) fn mistake(&self, entry: &str, number: usize, (key, why): Wrong) -> Mistake {
        let at = self.find(entry, number, key).unwrap_or_default();
        Mistake { place: self.place(at), text: format!("{entry} {number}: {why}") }
    }

    /// Where a key of an entry begins; the entry itself where the key is not written.
    fn find(&self, entry: &str, number: usize, key: &str) -> Option<(usize, usize)> {
        let (table, _) = DeTable::parse_recoverable(&self.text);
        let list = table.get_ref().get(entry)?;
        let DeValue::Array(list) = list.get_ref() else { return None };
        let one = list.get(number.checked_sub(1)?)?;
        let DeValue::Table(keys) = one.get_ref() else { return None };
        let own = keys.iter().find(|(name, _)| name.get_ref() == key).map(|(name, _)| name.span());
        let span = own.unwrap_or_else(|| one.span());
        Some((span.start, span.end))
    }

    /// The place of a byte range.
    pub(crate) fn place(&self, span: (usize, usize)) -> Place {
        let before = self.text.get(..span.0).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
        Place { file: self.file.clone(), line, column, span }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_stands_at_its_key_or_else_at_its_entry() {
        let text =
            "seed = 1\n[[signal]]\npoint = '甲.b'\n\n[[signal]]\npoint = 'c.d'\n  noise = -1\n".to_owned();
        let source = Source { file: "story.toml".to_owned(), text };
        let told = |number, key| source.mistake("signal", number, (key, "no".to_owned())).to_string();
        assert_eq!(told(2, "noise"), "story.toml:7:3: signal 2: no");
        assert_eq!(told(2, "line"), "story.toml:5:1: signal 2: no");
        assert_eq!(told(1, "point"), "story.toml:3:1: signal 1: no");
        assert_eq!(told(9, "point"), "story.toml:1:1: signal 9: no");
    }
}
