//! Lines of the site's documents.
//!
//! In: `[[line]]` sections, and where lines lead instead. Out: drafts with places.
//! Invariant: a line leads one way.

use crate::bus::{Address, LateAnswers, LineSettings};
use crate::diagnostic::Place;
use crate::site::profiles::TIMEOUT;
use crate::site::section::Section;
use crate::site::{dial_in, serial};

/// A line as written.
pub(crate) struct LineDraft {
    pub(crate) settings: LineSettings,
    /// A serial server that carries lines of text.
    pub(crate) text_over_tcp: bool,
    pub(crate) place: Place,
}

/// Reads one line; `elsewhere` leads lines by name to another address of the same kind.
pub(crate) fn line(section: &Section<'_>, elsewhere: &[(String, String)]) -> Option<LineDraft> {
    let name = section.name("name");
    let serial = section.section("serial").and_then(|table| serial::address(&table));
    let tcp = host_port(section, "tcp").map(Address::Tcp);
    let rtu_over_tcp = host_port(section, "rtu_over_tcp").map(Address::RtuOverTcp);
    let ascii_over_tcp = host_port(section, "ascii_over_tcp").map(Address::AsciiOverTcp);
    let text_over_tcp = host_port(section, "text_over_tcp").map(Address::RtuOverTcp);
    let carries_text = text_over_tcp.is_some();
    let dial_in = dial_in::dial_in(section, name.as_deref().unwrap_or_default());
    let tls = dial_in::tls(section);
    let ways = ["serial", "tcp", "rtu_over_tcp", "ascii_over_tcp", "text_over_tcp", "dial_in", "tls"];
    if section.ways(&ways) != 1 {
        let help = Some("serial = { path = \"/dev/ttyUSB0\", speed = \"9600 8N1\" }, tcp = \"10.0.0.5:502\", rtu_over_tcp = \"...\", dial_in = { ... } or tls = { ... }".to_owned());
        section.error(
            "name",
            "line-address",
            "a line needs exactly one of serial, tcp, rtu_over_tcp, ascii_over_tcp, text_over_tcp, dial_in and tls",
            help,
        );
    }
    let timeout = section.duration("timeout").unwrap_or(TIMEOUT);
    let quiet = section.duration("quiet").unwrap_or_default();
    let late_answers = match section.word("late_answers", &["fence", "drain"]) {
        Some("drain") => LateAnswers::Drain,
        _ => LateAnswers::Fence,
    };
    let speed = serial::behind(section);
    section.finish();
    let address = serial.or(tcp).or(rtu_over_tcp).or(ascii_over_tcp).or(text_over_tcp).or(dial_in).or(tls);
    let (name, address) = (name?, address?);
    let moved = elsewhere.iter().find(|(line, _)| *line == name).map(|(_, to)| to.clone());
    let address = lead(section, address, moved);
    let heartbeats = heartbeats(&address);
    let settings = LineSettings {
        timeout,
        quiet,
        heartbeats,
        late_answers,
        speed,
        ..LineSettings::plain(&name, address)
    };
    Some(LineDraft { settings, text_over_tcp: carries_text, place: section.place("name") })
}

/// The same kind of line, to somewhere else.
fn lead(section: &Section<'_>, address: Address, elsewhere: Option<String>) -> Address {
    match (address, elsewhere) {
        (Address::Tcp(_), Some(to)) => Address::Tcp(to),
        (Address::RtuOverTcp(_), Some(to)) => Address::RtuOverTcp(to),
        (Address::AsciiOverTcp(_), Some(to)) => Address::AsciiOverTcp(to),
        (Address::Serial { format, framing, rs485, .. }, Some(path)) => {
            Address::Serial { path, format, framing, rs485 }
        }
        (Address::Tls(mut settings), Some(to)) => {
            settings.to = to;
            Address::Tls(settings)
        }
        (Address::DialIn(mut dtu), Some(to)) => {
            match to.parse() {
                Ok(listen) => dtu.listen = listen,
                Err(_) => section.error(
                    "dial_in",
                    "bad-address",
                    format!("`{to}` is not an address and port"),
                    None,
                ),
            }
            Address::DialIn(dtu)
        }
        (address, None) => address,
    }
}

/// What the line's DTU puts between and inside answers.
fn heartbeats(address: &Address) -> Vec<Vec<u8>> {
    let Address::DialIn(dtu) = address else { return Vec::new() };
    let prefix = dtu.manner.prefix_every.then(|| dtu.id.clone());
    [Some(dtu.manner.heartbeat.clone()), prefix]
        .into_iter()
        .flatten()
        .filter(|bytes| !bytes.is_empty())
        .collect()
}

fn host_port(section: &Section<'_>, key: &'static str) -> Option<String> {
    let text = section.text(key)?;
    check_endpoint(section, key, &text);
    Some(text)
}

/// Reports what is not `host:port`; an IPv6 address stands in brackets.
pub(crate) fn check_endpoint(section: &Section<'_>, key: &str, text: &str) {
    let is_host = |host: &str| {
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let plain = !host.is_empty() && !host.contains([':', '[', ']', ' ', '/']);
        bracketed.map_or(plain, |inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
    };
    let port = text
        .rsplit_once(':')
        .filter(|(host, _)| is_host(host))
        .and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none_or(|port| port == 0) {
        section.error(
            key,
            "bad-address",
            format!("`{text}` is not host and port"),
            Some("such as 10.0.0.5:502, plc.example:502 or [fd00::5]:502".to_owned()),
        );
    }
}
