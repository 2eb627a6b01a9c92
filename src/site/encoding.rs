//! Text as spreadsheets save it: UTF-8, UTF-16 with its mark, or GBK.
//!
//! In: bytes of a file. Out: its text without a byte order mark, or nothing.
//! Invariant: what is UTF-8 is read as UTF-8; a byte that no encoding explains makes the whole file unreadable, and never a wrong letter.

use encoding_rs::{Encoding, GB18030};

/// The text of these bytes.
pub fn decode(bytes: &[u8]) -> Option<String> {
    if let Some((marked, _)) = Encoding::for_bom(bytes) {
        let (text, _, broken) = marked.decode(bytes);
        return (!broken).then(|| text.into_owned());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(text.to_owned());
    }
    // GB18030 is GBK with four-byte letters beside: what Chinese spreadsheets call ANSI.
    GB18030.decode_without_bom_handling_and_without_replacement(bytes).map(std::borrow::Cow::into_owned)
}

/// The text in GBK; `None` when it has a letter that GBK does not have.
pub fn gbk(text: &str) -> Option<Vec<u8>> {
    let (bytes, _, missing) = encoding_rs::GBK.encode(text);
    (!missing).then(|| bytes.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_spreadsheets_save_is_read() {
        let cases: [(&[u8], Option<&str>); 7] = [
            ("名称,线路".as_bytes(), Some("名称,线路")),
            (b"\xEF\xBB\xBFname", Some("name")),
            (b"\xC3\xFB\xB3\xC6,\xCF\xDF\xC2\xB7", Some("名称,线路")),
            (b"\xFF\xFEn\x00,\x00", Some("n,")),
            (b"plain", Some("plain")),
            (b"\xC3", None),
            (b"a\xFF\xFFb", None),
        ];
        for (bytes, text) in cases {
            assert_eq!(decode(bytes).as_deref(), text, "{bytes:?}");
        }
    }
}
