//! A secret that somebody wrote into a document is not printed on a screen that others see.
//!
//! In: a line of a document. Out: the same line with stars in place of the secret, as long as it was.
//! Invariant: the number of characters stays, so that a mark below the line still points at the right place.

/// Keys whose text is a secret.
const KEYS: [&str; 3] = ["token", "password", "passphrase"];

/// The line with stars for the text of a secret key and for the user and password of an address.
pub(crate) fn blotted(line: &str) -> String {
    let mut letters: Vec<char> = line.chars().collect();
    for at in 0..letters.len() {
        let span = value_span(&letters, at).or_else(|| userinfo_span(&letters, at));
        if let Some(secret) = span.and_then(|(from, to)| letters.get_mut(from..to)) {
            secret.fill('*');
        }
    }
    letters.into_iter().collect()
}

/// Where the quoted text stands when a secret key begins `at` this letter.
fn value_span(letters: &[char], at: usize) -> Option<(usize, usize)> {
    let begins =
        at.checked_sub(1).and_then(|before| letters.get(before)).is_none_or(|before| !is_word(*before));
    let key = KEYS.iter().find(|key| begins && starts_with(letters, at, key))?;
    let equals = past_blanks(letters, at + key.len());
    let open = past_blanks(letters, equals + 1);
    let quote = letters.get(open).filter(|quote| matches!(quote, '"' | '\''))?;
    if letters.get(equals) != Some(&'=') {
        return None;
    }
    let length = letters.iter().skip(open + 1).take_while(|letter| *letter != quote).count();
    Some((open + 1, open + 1 + length))
}

/// Where `user:password` stands when `://` begins `at` this letter.
fn userinfo_span(letters: &[char], at: usize) -> Option<(usize, usize)> {
    if !starts_with(letters, at, "://") {
        return None;
    }
    let ends = |letter: &char| matches!(letter, '/' | '"' | '\'' | ' ');
    let host: Vec<char> = letters.iter().skip(at + 3).take_while(|letter| !ends(letter)).copied().collect();
    host.iter().rposition(|letter| *letter == '@').map(|length| (at + 3, at + 3 + length))
}

fn starts_with(letters: &[char], at: usize, word: &str) -> bool {
    letters.get(at..).is_some_and(|rest| rest.iter().take(word.len()).copied().eq(word.chars()))
}

fn past_blanks(letters: &[char], at: usize) -> usize {
    at + letters.iter().skip(at).take_while(|letter| letter.is_whitespace()).count()
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_blotted_and_nothing_else() {
        for (line, shown) in [
            ("token = \"s3cret\"", "token = \"******\""),
            ("password='水密码'  # x", "password='***'  # x"),
            (
                "sink = [{ name = \"a\", token = \"b c\", url = \"x\" }]",
                "sink = [{ name = \"a\", token = \"***\", url = \"x\" }]",
            ),
            ("token = \"never closed", "token = \"************"),
            ("url = \"http://me:pw@host:1/a@b\"", "url = \"http://*****@host:1/a@b\""),
            ("url = \"http://host:1/a@b\"", "url = \"http://host:1/a@b\""),
            ("token = { file = \"/etc/x\" }", "token = { file = \"/etc/x\" }"),
            ("my-token = \"x\"", "my-token = \"x\""),
            ("token", "token"),
            ("", ""),
        ] {
            assert_eq!(blotted(line), shown);
        }
    }
}
