//! The words of a text sensor's line to raw numbers; faults matched on the word itself.
//!
//! In: a profile's [`Field`] and the word of its group. Out: a finite number or a fault by name.
//! Invariant: only a plain decimal number is one; no word makes it panic.
//! Source: order of work: fault texts, number, states. Scaling is `normalize`'s.

use std::sync::Arc;

use crate::bus::text::{Dialect, Refused, Words};
use crate::clock::Timestamp;
use crate::decode::{Raw, known_state};
use crate::profile::{FaultMatch, Field, Profile};
use crate::reading::Reason;

/// The raw number in the word of the field's group. Faults that are not the profile's: `no value` (the group took no part in the line),
/// `not a number`, `unknown state N`.
pub fn decode_word(field: &Field, word: Option<&str>) -> Raw {
    match meaning(field, word).and_then(|number| known_state(field, number)) {
        Ok(number) => Raw::Number(number),
        Err(fault) => Raw::Fault(fault),
    }
}

/// What a line that came at `at` says of each field of `profile`, in its order.
pub fn decode_words(
    profile: &Profile,
    words: &Words,
    at: Timestamp,
) -> Vec<(Timestamp, Result<Raw, Reason>)> {
    let word = |field: &Field| field.group.as_deref().and_then(|group| words.get(group));
    profile.fields.iter().map(|field| (at, Ok(decode_word(field, word(field))))).collect()
}

/// The words of a line (without terminator) from a device with the profile's factory address.
///
/// # Errors
/// Text for a person: a pattern that is none, a wrong check sum, a line that doesn't fit, a profile without `[text]`.
pub fn hear(profile: &Profile, line: &str) -> Result<Words, String> {
    let Some(format) = &profile.text else { return Err("the profile has no [text]".to_owned()) };
    let ends = line.as_bytes().windows(format.terminator.len().max(1)).any(|part| part == format.terminator);
    if ends {
        return Err("this is more than one line".to_owned());
    }
    Dialect::new(format, format.slave)?.read(line.as_bytes()).map_err(|refused| match refused {
        Refused::Checksum => format!("its check ({}) is missing or wrong", format.checksum.name()),
        Refused::Foreign => "the line does not fit the pattern".to_owned(),
    })
}

fn meaning(field: &Field, word: Option<&str>) -> Result<f64, Arc<str>> {
    let word = word.ok_or("no value")?.trim();
    let number = number(word);
    let means = |fault: &crate::profile::Fault| match &fault.matches {
        FaultMatch::Text(text) => {
            // `9999` is the fault in `9999.0`, too.
            let spelled = number.zip(self::number(text));
            text == word || spelled.is_some_and(|(one, other)| (one + 0.0).total_cmp(&(other + 0.0)).is_eq())
        }
        _ => false,
    };
    match field.faults.iter().find(|fault| means(fault)) {
        Some(fault) => Err(fault.means.clone()),
        None => number.ok_or_else(|| "not a number".into()),
    }
}

/// A decimal number: sign, digits, at most one point, an exponent. `inf`, `nan`, `0x10` and `1_000` are none.
fn number(word: &str) -> Option<f64> {
    let plain = word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    word.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bus::Table;
    use crate::profile::{Fault, Kind};

    fn field() -> Field {
        let fault = |text: &str, means: &str| Fault {
            matches: FaultMatch::Text(text.to_owned()),
            means: means.into(),
        };
        let faults = vec![fault("9999", "no target"), fault("ERR", "sensor error")];
        Field { group: Some("level".to_owned()), faults, ..Field::new("level", Table::Holding, 0, Kind::F64) }
    }

    #[test]
    fn words_and_what_they_mean() {
        for (word, wanted) in [
            ("1234", Ok(1234.0)),
            ("0042", Ok(42.0)),
            (" +1.50 ", Ok(1.5)),
            ("-0.25", Ok(-0.25)),
            ("1.2e3", Ok(1200.0)),
            ("9999", Err("no target")),
            ("9999.0", Err("no target")),
            ("ERR", Err("sensor error")),
            ("err", Err("not a number")),
            ("", Err("not a number")),
            ("nan", Err("not a number")),
            ("inf", Err("not a number")),
            ("1e999", Err("not a number")),
            ("1.2.3", Err("not a number")),
            ("0x10", Err("not a number")),
            ("12 34", Err("not a number")),
        ] {
            let wanted = wanted.map_or_else(|fault| Raw::Fault(fault.into()), Raw::Number);
            assert_eq!(decode_word(&field(), Some(word)), wanted, "{word:?}");
        }
        assert_eq!(decode_word(&field(), None), Raw::Fault("no value".into()));
        let states = Field { states: vec![(0, "dry".to_owned()), (1, "wet".to_owned())], ..field() };
        assert_eq!(decode_word(&states, Some("1")), Raw::Number(1.0));
        assert_eq!(decode_word(&states, Some("2")), Raw::Fault("unknown state 2".into()));
    }

    proptest! {
        #[test]
        fn no_word_is_a_panic_or_no_number(word in ".{0,20}") {
            if let Raw::Number(number) = decode_word(&field(), Some(&word)) {
                prop_assert!(number.is_finite());
            }
        }
    }
}
