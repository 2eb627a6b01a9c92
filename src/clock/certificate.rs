//! Until when a certificate holds.
//!
//! In: a certificate (X.509, DER). Out: the last moment of its validity.
//! Invariant: any bytes end in a time or in none; nothing is believed of a certificate here but its dates, which only warn people.
//! Source: RFC 5280, 4.1 (order of fields) and 4.1.2.5 (UTCTime with two digits of the year: 50 and above is 19xx).

use crate::clock::Timestamp;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0]`, in front of the version.
const VERSION: u8 = 0xA0;

/// The last moment at which `der` holds; `None` for what is no certificate.
///
/// ```
/// assert_eq!(lifeline_gateway::clock::certificate::ends(b"no certificate"), None);
/// ```
pub fn ends(der: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = take(der, SEQUENCE)?;
    let (mut fields, _) = take(certificate, SEQUENCE)?;
    if let Some((_, rest)) = take(fields, VERSION) {
        fields = rest;
    }
    let (_, fields) = take(fields, INTEGER)?;
    let (_algorithm, fields) = take(fields, SEQUENCE)?;
    let (_issuer, fields) = take(fields, SEQUENCE)?;
    let (validity, _) = take(fields, SEQUENCE)?;
    let (_, rest) = take(validity, UTC_TIME).or_else(|| take(validity, GENERALIZED_TIME))?;
    if let Some((text, _)) = take(rest, UTC_TIME) {
        let century = if text.first()? < &b'5' { "20" } else { "19" };
        return moment(&format!("{century}{}", std::str::from_utf8(text).ok()?));
    }
    let (text, _) = take(rest, GENERALIZED_TIME)?;
    moment(std::str::from_utf8(text).ok()?)
}

/// The content of the element of this kind that `bytes` begin with, and what follows it.
fn take(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (length, rest) = match rest.split_first()? {
        (short @ 0..=0x7F, rest) => (usize::from(*short), rest),
        (0x81, [length, rest @ ..]) => (usize::from(*length), rest),
        (0x82, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    (*found == kind).then(|| rest.split_at_checked(length))?
}

/// `20270301120000Z`.
fn moment(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let part = |from: usize, to: usize| digits.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    Timestamp::parse(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["plc-1".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 3, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        for year in [2027, 2049, 2050, 4096] {
            let ends = ends(&certificate(year)).unwrap();
            assert_eq!(ends.to_string(), format!("{year}-03-01T00:00:00.000Z"));
        }
    }

    #[test]
    fn a_cut_certificate_has_no_end() {
        let whole = certificate(2027);
        for length in 0..whole.len() {
            assert_eq!(ends(&whole[..length]), None);
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, place in 0_usize..400, byte: u8) {
            let _ = ends(&bytes);
            let mut damaged = certificate(2027);
            let place = place % damaged.len();
            damaged[place] = byte;
            let _ = ends(&damaged);
        }
    }
}
