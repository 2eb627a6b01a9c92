//! Codes of risk points (一点一码): how they are written, and the check character of our own format.
//!
//! In: text as people and spreadsheets write it. Out: the code as it is stored, or why it can't be one.
//! Invariant: a city's own code is opaque: only its width and case are made one, nothing else is read into it.
//! Source: check character of ISO 7064 MOD 37,36 over the letters and digits before it.
//!
//! ```
//! use lifeline_gateway::risk::code;
//! assert_eq!(code::normal("５００１０８-gd-0001-z"), "500108-GD-0001-Z");
//! assert_eq!(code::check_character("500108GD0001"), Some('Z'));
//! assert_eq!(code::check_character("500108WL0012"), Some('J'));
//! ```

/// The alphabet of MOD 37,36, in the order of its values.
const ALPHABET: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The same code in one spelling: full-width letters as plain ones, upper case, no space around it.
pub fn normal(text: &str) -> String {
    let narrow = |letter: char| match u32::from(letter) {
        wide @ 0xFF01..=0xFF5E => char::from_u32(wide - 0xFEE0).unwrap_or(letter),
        0x3000 => ' ',
        _ => letter,
    };
    text.chars().map(narrow).collect::<String>().trim().to_uppercase()
}

/// The check character over the letters and digits of `text`; `None` when there is another kind of letter in it, or none at all.
pub fn check_character(text: &str) -> Option<char> {
    let mut carried = 36;
    let mut any = false;
    for letter in text.chars().filter(|letter| *letter != '-') {
        let value = ALPHABET.find(letter)?;
        let sum = (carried + value) % 36;
        carried = (if sum == 0 { 36 } else { sum }) * 2 % 37;
        any = true;
    }
    let value = (37 - carried % 36) % 36;
    any.then(|| ALPHABET.chars().nth(value)).flatten()
}

/// What is wrong with a code in our own format `{6 or 9 digits}-{2 letters}-{4 digits}-{check}`: `None` when it is not in this format (a city's own code) or right.
///
/// A code in this format whose check character doesn't fit was mistyped; the right character comes back.
pub fn mistyped(code: &str) -> Option<char> {
    let mut parts = code.split('-');
    let (division, hazard) = (parts.next()?, parts.next()?);
    let (serial, check) = (parts.next()?, parts.next()?);
    let digits = |text: &str| text.chars().all(|letter| letter.is_ascii_digit());
    let ours = parts.next().is_none()
        && matches!(division.len(), 6 | 9)
        && digits(division)
        && hazard.len() == 2
        && hazard.chars().all(|letter| letter.is_ascii_uppercase())
        && serial.len() == 4
        && digits(serial)
        && check.chars().count() == 1;
    if !ours {
        return None;
    }
    let right = check_character(&format!("{division}{hazard}{serial}"))?;
    (!check.starts_with(right)).then_some(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_and_worked_characters() {
        for (text, want) in [("A12425GABC1234002", 'M'), ("500108GD0001", 'Z'), ("500108WL0012", 'J')] {
            assert_eq!(check_character(text), Some(want), "{text}");
        }
        assert_eq!((check_character(""), check_character("5ü")), (None, None));
    }

    #[test]
    fn only_our_own_format_can_be_mistyped() {
        assert_eq!(mistyped("500108-GD-0001-Z"), None);
        assert_eq!(mistyped("500108-GD-0001-Y"), Some('Z'));
        assert_eq!(mistyped("5001080101-GD-0001-Y"), None);
        for theirs in ["", "-", "500108010023", "电梯-0001", "500108-GD-0001", "500108-G-0001-Y"] {
            assert_eq!(mistyped(theirs), None, "{theirs}");
        }
    }

    proptest! {
        #[test]
        fn one_wrong_letter_is_found(code in "[0-9A-Z]{5,17}", place in 0usize..17, other in "[0-9A-Z]") {
            let place = place % code.len();
            prop_assume!(code.get(place..=place) != Some(other.as_str()));
            let mut wrong = code.clone();
            wrong.replace_range(place..=place, &other);
            prop_assert_ne!(check_character(&code), check_character(&wrong));
        }

        #[test]
        fn a_normal_code_stays_as_it_is(text in "\\PC{0,20}") {
            let once = normal(&text);
            prop_assert_eq!(normal(&once), once);
        }
    }
}
