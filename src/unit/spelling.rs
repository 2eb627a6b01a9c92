//! Units as people type them: signs that keyboards and manuals have beside the plain letters of the names.
//!
//! In: a text of a document, a table, a command line. Out: the unit that it can only mean, or whether a suggestion would be a guess.
//! Invariant: a prefix is never guessed: mS/cm is no correction of another kind of S/cm.

use crate::unit::Unit;

/// SI prefixes of one letter.
const PREFIXES: &[char] = &['p', 'n', 'u', 'm', 'c', 'd', 'h', 'k', 'M', 'G', 'T'];

impl Unit {
    /// The unit of this name, also with signs of print: `Nm³/h`, `kgf/cm²`, `µS/cm` (the micro sign or the Greek letter), `°C`, `℃`. Nothing else about the
    /// name is guessed.
    pub fn spelled(name: &str) -> Option<Self> {
        Self::parse(&plain(name))
    }

    /// Whether this unit is `text` but for the prefix, as mS/cm and `nS/cm`: then a person who wrote one did not mean the other.
    pub fn differs_in_prefix(self, text: &str) -> bool {
        let (text, mut differ) = (plain(text), false);
        let (own, parts): (Vec<&str>, Vec<&str>) =
            (self.name().split('/').collect(), text.split('/').collect());
        let alike = own.iter().zip(&parts).all(|(one, other)| {
            let other_prefix = rests(one).any(|(prefix, rest)| {
                rests(other)
                    .any(|(of, same)| prefix != of && !rest.is_empty() && rest.eq_ignore_ascii_case(same))
            });
            differ |= other_prefix;
            other_prefix || one.eq_ignore_ascii_case(other)
        });
        own.len() == parts.len() && alike && differ
    }
}

/// The name in plain letters.
fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for letter in name.trim().chars() {
        match letter {
            '²' => plain.push('2'),
            '³' => plain.push('3'),
            '\u{b5}' | '\u{3bc}' => plain.push('u'),
            '°' | 'º' => plain.push_str("deg"),
            '℃' => plain.push_str("degC"),
            '℉' => plain.push_str("degF"),
            'Ω' | '\u{2126}' => plain.push_str("ohm"),
            other => plain.push(other),
        }
    }
    plain
}

/// A part of a name with no prefix, and with the one that its first letter may be.
fn rests(part: &str) -> impl Iterator<Item = (Option<char>, &str)> {
    let prefix = part.chars().next().filter(|letter| PREFIXES.contains(letter));
    std::iter::once((None, part))
        .chain(prefix.and_then(|letter| Some((Some(letter), part.strip_prefix(letter)?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_print_are_a_spelling() {
        for (spelled, name) in [
            ("Nm³/h", "Nm3/h"),
            ("Sm³", "Sm3"),
            (" m³/h ", "m3/h"),
            ("kgf/cm²", "kgf/cm2"),
            ("kPa", "kPa"),
            ("\u{b5}S/cm", "uS/cm"),
            ("\u{3bc}S/cm", "uS/cm"),
            ("\u{b5}m", "um"),
            ("\u{3bc}g/m³", "ug/m3"),
            ("°C", "degC"),
            ("℃", "degC"),
            ("°F", "degF"),
            ("°", "deg"),
            ("°/s", "deg/s"),
            ("kΩ", "kohm"),
        ] {
            assert_eq!(Unit::spelled(spelled).map(Unit::name), Some(name), "{spelled}");
        }
        for none in ["NM³/H", "\u{b5}Q", "° C", "C"] {
            assert_eq!(Unit::spelled(none), None, "{none}");
        }
        assert_eq!(Unit::parse("Nm³/h"), None);
    }

    #[test]
    fn another_prefix_is_another_unit() {
        for (text, unit, differs) in [
            ("nS/cm", "mS/cm", true),
            ("\u{b5}S/cm", "mS/cm", true),
            ("S/cm", "mS/cm", true),
            ("mPa", "MPa", true),
            ("mpa", "MPa", true),
            ("mpa", "kPa", true),
            ("Mbar", "mbar", true),
            ("pA", "mA", true),
            ("m3/ms", "m3/s", true),
            ("kpa", "kPa", false),
            ("KPA", "kPa", false),
            ("us/cm", "uS/cm", false),
            ("mm/hr", "mm/h", false),
            ("Bar", "bar", false),
            ("m3h", "m3/h", false),
            ("Kv", "kV", false),
        ] {
            let unit = Unit::parse(unit).unwrap();
            assert_eq!(unit.differs_in_prefix(text), differs, "{text} and {}", unit.name());
        }
    }
}
