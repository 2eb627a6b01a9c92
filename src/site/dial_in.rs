//! `dial_in` and `tls` of a line, and what lines that share an endpoint must agree on.
//!
//! In: the keys of a `[[line]]`. Out: addresses, with every mistake reported.
//! Invariant: of all DTUs of one port none can be taken for another: they register in one way, and no registration begins another's.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::bus::port::dial_in::lobby::{ALL_MAX, escaped};
use crate::bus::port::dial_in::recognise::LONGEST;
use crate::bus::port::dial_in::{Dtu, Kind, Manner, Reply, hex};
use crate::bus::port::tls;
use crate::bus::{Address, Framing};
use crate::site::lines::LineDraft;
use crate::site::section::Section;
use crate::site::tree::Report;

const KINDS: [&str; 9] = ["text", "hex", "imei", "iccid", "ddp", "four-faith", "inhand", "alotcer", "source"];
/// A DTU that says nothing for this long is gone, unless its line says otherwise.
const IDLE: Duration = Duration::from_secs(600);

/// Reads `dial_in`; `line` is the line's name.
pub(crate) fn dial_in(section: &Section<'_>, line: &str) -> Option<Address> {
    let own = section.section("dial_in")?;
    let listen = own.need("listen", own.text("listen")).and_then(|text| {
        let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.clone() };
        let found = full.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
        if found.is_none() {
            let help = Some("such as \"0.0.0.0:5020\"".to_owned());
            own.error("listen", "bad-address", format!("`{text}` is not an address and port of ours"), help);
        }
        found
    });
    let word = own.word("kind", &KINDS).unwrap_or("text");
    let after = own.word("data", &["inside", "after"]);
    if after.is_some() && word != "ddp" {
        own.error("data", "no-such-data", "only DDP frames have data inside or after them", None);
    }
    let kind = match word {
        "ddp" => Kind::Ddp { after: after == Some("after") },
        "four-faith" => Kind::FourFaith,
        "inhand" => Kind::InHand,
        "alotcer" => Kind::Alotcer,
        "source" => Kind::Source,
        _ => Kind::Plain,
    };
    let id = identity(&own, word, kind);
    let manner = manner(&own, kind);
    let framing = match own.word("framing", &["rtu", "ascii", "tcp"]) {
        Some("tcp") => Framing::Mbap,
        Some("ascii") => Framing::Ascii,
        _ => Framing::Rtu,
    };
    let idle = own.duration("idle").unwrap_or(IDLE);
    own.finish();
    let name = line.to_owned();
    let dtu = Dtu { name, listen: listen?, framing, id: id?, manner, lively: Duration::ZERO, idle };
    Some(Address::DialIn(Box::new(dtu)))
}

/// What the DTU says: for a plain one with what stands before and after its id.
fn identity(own: &Section<'_>, word: &str, kind: Kind) -> Option<Vec<u8>> {
    if kind == Kind::Source {
        let text = own.text("id").unwrap_or_default();
        let canonical = text.parse::<IpAddr>().map(|address| address.to_canonical().to_string());
        if canonical.is_err() && !text.is_empty() {
            let help = Some("such as \"10.64.0.17\"; without `id` every source is this DTU".to_owned());
            own.error("id", "bad-id", format!("`{text}` is not a source address"), help);
        }
        return Some(canonical.unwrap_or_default().into_bytes());
    }
    let text = own.need("id", own.text("id"))?;
    let digits = |count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    let wanted = match word {
        "hex" => hex(&text).is_none_or(|bytes| bytes.is_empty()).then_some("hexadecimal bytes (4C 4F 47)"),
        "imei" => (!digits(15) || !luhn(&text)).then_some("an IMEI: 15 digits, the last one a check digit"),
        "iccid" => (!is_iccid(&text)).then_some("an ICCID: 19 or 20 digits that begin with 89"),
        "text" => (text.is_empty() || !text.is_ascii()).then_some("ASCII text"),
        _ => (!digits(11)).then_some("11 digits, as the vendor's frame carries them"),
    };
    if let Some(wanted) = wanted {
        own.error("id", "bad-id", format!("`{text}` is not {wanted}"), None);
        return None;
    }
    let core = if word == "hex" { hex(&text).unwrap_or_default() } else { text.into_bytes() };
    if kind != Kind::Plain {
        return Some(core);
    }
    let around = |key| bytes(own, key).unwrap_or_default();
    let whole = [around("before"), core, around("after")].concat();
    if whole.len() > LONGEST {
        own.error("id", "bad-id", format!("a registration has {LONGEST} bytes at most"), None);
    }
    Some(whole)
}

fn manner(own: &Section<'_>, kind: Kind) -> Manner {
    let usual = Manner::default();
    let framed = !matches!(kind, Kind::Plain | Kind::Source | Kind::InHand);
    let heartbeat = bytes(own, "heartbeat").unwrap_or_default();
    let reply = match own.text("heartbeat_reply").as_deref() {
        None => Reply::None,
        Some("echo") => Reply::Echo,
        Some(_) => bytes(own, "heartbeat_reply").map_or(Reply::None, Reply::Fixed),
    };
    let prefix_every = own.flag("prefix_every").unwrap_or(false);
    if framed && !heartbeat.is_empty() {
        own.error("heartbeat", "own-heartbeat", "this kind has heartbeats of its own", None);
    }
    if prefix_every && kind != Kind::Plain {
        own.error(
            "prefix_every",
            "no-prefix",
            "only a plain registration can stand in front of packets",
            None,
        );
    }
    if let [1..=247, 1..=6 | 15 | 16 | 0x81..=0x90, ..] = heartbeat.as_slice() {
        let text = "a heartbeat that looks like Modbus cannot be told from an answer";
        own.error("heartbeat", "modbus-heartbeat", text, Some("let the DTU send another one".to_owned()));
    }
    if heartbeat.len() > LONGEST {
        own.error("heartbeat", "bad-bytes", format!("a heartbeat has {LONGEST} bytes at most"), None);
    }
    let register_within = own.duration("register_within").unwrap_or(usual.register_within);
    let most = i64::try_from(ALL_MAX).unwrap_or(i64::MAX);
    let per_source: Option<u16> = own.int("unregistered_per_source", 1, most);
    let unregistered_per_source = per_source.map_or(usual.unregistered_per_source, usize::from);
    Manner { kind, heartbeat, reply, prefix_every, register_within, unregistered_per_source }
}

/// Bytes as text, or as `hex:4C4F47`.
fn bytes(own: &Section<'_>, key: &'static str) -> Option<Vec<u8>> {
    let text = own.text(key)?;
    let Some(digits) = text.strip_prefix("hex:") else { return Some(text.into_bytes()) };
    let found = hex(digits);
    if found.is_none() {
        let help = Some("write text, or hex: and bytes: \"hex:FE\"".to_owned());
        own.error(key, "bad-bytes", format!("`{text}` is not hexadecimal"), help);
    }
    found
}

fn is_iccid(text: &str) -> bool {
    let long = matches!(text.len(), 19 | 20) && text.starts_with("89");
    // Some carriers write letters into the middle; then there is no check digit.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    long && if digits {
        text.len() == 19 || luhn(text)
    } else {
        text.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// ISO/IEC 7812-1, annex B.
fn luhn(text: &str) -> bool {
    let sum: u32 = (0..)
        .zip(text.chars().rev().filter_map(|letter| letter.to_digit(10)))
        .map(|(nth, digit)| match nth % 2 {
            0 => digit,
            _ if digit > 4 => 2 * digit - 9,
            _ => 2 * digit,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Reads `tls`, and the files that it names.
pub(crate) fn tls(section: &Section<'_>) -> Option<Address> {
    let own = section.section("tls")?;
    let to = own.need("to", own.text("to")).map(|text| tls_endpoint(&own, text));
    let ca = own.need("ca", own.text("ca")).map(PathBuf::from);
    let certificate = own.text("certificate").map(PathBuf::from);
    let key = own.text("key").map(PathBuf::from);
    let name = own.text("name");
    own.finish();
    if certificate.is_some() != key.is_some() {
        own.error("certificate", "half-identity", "`certificate` and `key` belong together", None);
    }
    let to = to?;
    let host = to.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']).to_owned();
    let identity = certificate.zip(key).map(|(certificate, key)| tls::Identity { certificate, key });
    let settings = tls::Settings { to, ca: ca?, identity, name: name.unwrap_or(host) };
    if let Err(error) = settings.read() {
        own.error("ca", "bad-certificate", error.to_string(), None);
    }
    if let Some(identity) = &settings.identity {
        check_key(&own, identity);
    }
    Some(Address::Tls(Box::new(settings)))
}

/// `host:port`; the port may be left out.
fn tls_endpoint(own: &Section<'_>, text: String) -> String {
    let bare = text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6());
    let text = if bare { format!("[{text}]") } else { text };
    let whole = match text.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => text,
        _ => format!("{text}:{}", tls::PORT),
    };
    super::lines::check_endpoint(own, "to", &whole);
    whole
}

/// A key that others can read is no secret.
fn check_key(own: &Section<'_>, identity: &tls::Identity) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(found) = std::fs::metadata(&identity.key) else { return };
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = identity.key.display();
        let text = format!("{path} can be read by others (mode {mode:03o})");
        own.warning("key", "open-key", text, Some(format!("chmod 600 {path}")));
    }
}

/// What lines that share an endpoint must agree on.
pub(crate) fn check_shared(lines: &[LineDraft], report: &Report) {
    for (index, line) in lines.iter().enumerate() {
        let before = lines.iter().take(index);
        match &line.settings.address {
            Address::DialIn(dtu) => {
                for other in before {
                    if let Address::DialIn(first) = &other.settings.address
                        && first.listen == dtu.listen
                    {
                        check_pair(line, first, dtu, report);
                    }
                }
            }
            // Two lines on one serial port are an error that is told with the port.
            Address::Serial { .. } => {}
            address => {
                let same = |other: &&LineDraft| other.settings.address.place() == address.place();
                if let Some(other) =
                    before.filter(|other| !matches!(other.settings.address, Address::DialIn(_))).find(same)
                {
                    let (name, first, place) = (&line.settings.name, &other.settings.name, address.place());
                    let text = format!("{name} and {first} are two connections to {place}");
                    let help =
                        "put their devices on one line, unless the other side serves several connections";
                    report.warning(&line.place, "shared-endpoint", text, Some(help.to_owned()));
                }
            }
        }
    }
}

fn check_pair(line: &LineDraft, first: &Dtu, dtu: &Dtu, report: &Report) {
    if first.manner != dtu.manner {
        let text = format!(
            "{} and {} listen on {} and differ in more than id, framing and idle",
            dtu.name, first.name, dtu.listen
        );
        let help = Some("give each way of registering a port of its own".to_owned());
        report.error(&line.place, "mixed-port", text, help);
    } else if first.id.is_empty()
        || dtu.id.is_empty()
        || first.id.starts_with(&dtu.id)
        || dtu.id.starts_with(&first.id)
    {
        let text = format!(
            "{} and {} cannot be told apart on {}: `{}` and `{}`",
            dtu.name,
            first.name,
            dtu.listen,
            escaped(&dtu.id),
            escaped(&first.id)
        );
        let help = "no id may begin another one; `after` gives them an end";
        report.error(&line.place, "same-id", text, Some(help.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_are_checked() {
        for good in ["355837089512343", "490154203237518", "89860321240250579179"] {
            assert!(luhn(good), "{good}");
        }
        for bad in ["866123456789012", "89860321240250579178"] {
            assert!(!luhn(bad), "{bad}");
        }
        assert!(is_iccid("8986032124025057917") && is_iccid("898604B2121870123456"));
        assert!(!is_iccid("88860321240250579179") && !is_iccid("8986"));
    }
}
