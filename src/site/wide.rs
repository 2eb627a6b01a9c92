//! Full-width punctuation that an input method left in a document.
//!
//! In: a line of a document. Out: each such character outside a string, with its place and what TOML wants there; the line as it was meant.
//! Invariant: what stands in a closed string or a comment is a person's own text and never told.

/// A character that TOML does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wide {
    /// Its first byte in the line.
    pub(crate) at: usize,
    /// Its column, from 1.
    pub(crate) column: usize,
    /// As it stands there.
    pub(crate) letter: char,
    /// To be written instead.
    pub(crate) plain: char,
}

/// The full-width characters of a line that stand where TOML reads them.
pub(crate) fn wide(line: &str) -> Vec<Wide> {
    let letters: Vec<(usize, char)> = line.char_indices().collect();
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some((_, letter)) = letters.get(from).copied() {
        if letter == '#' {
            break;
        }
        found.extend(one(&letters, from));
        let end = string(&letters, from);
        // Only a full-width quote ends a string that has no end of its own.
        found.extend(end.and_then(|end| one(&letters, end)));
        from = end.unwrap_or(from) + 1;
    }
    found
}

/// The line with what TOML wants, of the same length in bytes, so that all else stands where it stood.
pub(crate) fn mended(line: &str) -> String {
    let mut out = line.to_owned();
    for Wide { at, letter, plain, .. } in wide(line) {
        let before = line.get(..at).unwrap_or_default().trim_end().chars().last();
        let opens = before.is_none_or(|before| "=[,{＝［，｛：【、".contains(before));
        let width = letter.len_utf8();
        let text = if opens { format!("{plain:>width$}") } else { format!("{plain:<width$}") };
        out.replace_range(at..at + width, &text);
    }
    out
}

fn one(letters: &[(usize, char)], index: usize) -> Option<Wide> {
    let (at, letter) = letters.get(index).copied()?;
    let before = letters.get(..index)?;
    let in_value = before.iter().any(|(_, letter)| *letter == '=');
    let is_time = in_value && before.last().is_some_and(|(_, letter)| letter.is_ascii_digit());
    plain(letter, is_time).map(|plain| Wide { at, column: index + 1, letter, plain })
}

/// Where the string ends that begins here, by its own quote or else a full-width one; `None` when it does not in this line.
fn string(letters: &[(usize, char)], from: usize) -> Option<usize> {
    let first = letters.get(from)?.1;
    let quote = plain(first, false).unwrap_or(first);
    if !matches!(quote, '"' | '\'') {
        return None;
    }
    let ends = |letter: char| plain(letter, false) == Some(quote);
    let mut at = from + 1;
    while let Some((_, letter)) = letters.get(at) {
        match letter {
            letter if *letter == quote || (first != quote && ends(*letter)) => return Some(at),
            '\\' if quote == '"' => at += 2,
            _ => at += 1,
        }
    }
    (from + 1..letters.len()).find(|at| letters.get(*at).is_some_and(|(_, letter)| ends(*letter)))
}

/// What TOML has for it. A colon parts keys from values for people, and hours from minutes.
fn plain(letter: char, is_time: bool) -> Option<char> {
    match letter {
        '\u{ff1a}' if !is_time => Some('='),
        '“' | '”' | '„' | '‟' => Some('"'),
        '‘' | '’' => Some('\''),
        '、' => Some(','),
        '。' => Some('.'),
        '【' => Some('['),
        '】' => Some(']'),
        '\u{3000}' => Some(' '),
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(letter) - 0xfee0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, wanted: &[(usize, char, char)]) {
        let found: Vec<_> =
            wide(line).into_iter().map(|wide| (wide.column, wide.letter, wide.plain)).collect();
        assert_eq!(found, wanted, "{line}");
        assert_eq!(mended(line).len(), line.len(), "{line}");
    }

    #[test]
    fn characters_outside_of_strings_are_found() {
        check("name ＝ \"a\"", &[(6, '＝', '=')]);
        check("p1： 2", &[(3, '：', '=')]);
        check("at = 10：30", &[(8, '：', ':')]);
        check("name = “泵”", &[(8, '“', '"'), (10, '”', '"')]);
        check("list = [1， 2，3]", &[(10, '，', ','), (13, '，', ',')]);
        check("advice = \"去看，“快”\" # 注：看", &[]);
        check("advice = 'a，b' ， \"c\\\"，\"", &[(16, '，', ',')]);
        check("name = \"pump”", &[(13, '”', '"')]);
        check("advice = “看，走”， 1", &[(10, '“', '"'), (14, '”', '"'), (15, '，', ',')]);
        assert_eq!(mended("name ＝ “泵”， 1"), "name =     \"泵\"  ,   1");
    }
}
