//! Which line an installer's tool speaks on: one of the site's, or an address on the command line.
//!
//! In: arguments and the documents. Out: settings for a master, or why not.
//! Invariant: a serial port that a running gateway holds is left alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::bus::{Address, Framing, LineSettings, SerialFormat};
use crate::cli::ask::{Ask, Refusal, UNREACHABLE, USAGE};
use crate::cli::client::Client;
use crate::cli::duration;
use crate::console::status::StatusView;
use crate::profile::names::serial_format;
use crate::site::kit::Kit;

/// Which line.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// A line of the site, by its name.
    #[arg(value_name = "LINE", required_unless_present_any = ["serial", "tcp", "rtu_over_tcp"])]
    pub(crate) line: Option<String>,
    /// A serial port instead of a line of the site.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["line", "tcp", "rtu_over_tcp"])]
    serial: Option<String>,
    /// Speed and format of the serial port.
    #[arg(long, value_name = "FORMAT", value_parser = speed, requires = "serial", default_value = "9600 8N1")]
    speed: SerialFormat,
    /// A Modbus TCP device or gateway instead of a line of the site.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["line", "rtu_over_tcp"])]
    tcp: Option<String>,
    /// A TCP serial server that passes RTU frames on, instead of a line of the site.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "line")]
    rtu_over_tcp: Option<String>,
    /// How long an answer is waited for (default: 300ms on a serial port, else 1s).
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

/// `9600 8N1`.
pub(crate) fn speed(text: &str) -> Result<SerialFormat, String> {
    serial_format(text).ok_or_else(|| format!("`{text}` is no serial format; write it as \"9600 8N1\""))
}

impl Target {
    /// The line's settings.
    ///
    /// # Errors
    /// The site has no such line, or it carries no Modbus.
    pub(crate) fn settings(&self, kit: &Kit) -> Result<LineSettings, Refusal> {
        let address = match (&self.serial, &self.tcp, &self.rtu_over_tcp) {
            (Some(path), _, _) => {
                Address::Serial { path: path.clone(), format: self.speed, framing: Framing::Rtu, rs485: None }
            }
            (_, Some(to), _) => Address::Tcp(host_port(to)?),
            (_, _, Some(to)) => Address::RtuOverTcp(host_port(to)?),
            (None, None, None) => return self.of_site(kit),
        };
        Ok(LineSettings::plain("line-1", address))
    }

    /// The settings of a line for a sensor that speaks lines of text.
    ///
    /// # Errors
    /// The site has no such line.
    pub(crate) fn of_text(&self, kit: &Kit) -> Result<LineSettings, Refusal> {
        match (&self.tcp, &self.line) {
            // A serial server passes text on as it passes frames on.
            (Some(to), _) => Ok(LineSettings::plain("line-1", Address::RtuOverTcp(host_port(to)?))),
            (None, Some(_)) => self.named(kit),
            (None, None) => self.settings(kit),
        }
    }

    fn of_site(&self, kit: &Kit) -> Result<LineSettings, Refusal> {
        let wanted = self.line.as_deref().unwrap_or_default();
        if kit.text_lines.contains(wanted) {
            let what = format!("line {wanted} carries lines of text");
            return Err(no_modbus(&what, wanted));
        }
        self.named(kit)
    }

    fn named(&self, kit: &Kit) -> Result<LineSettings, Refusal> {
        let wanted = self.line.as_deref().unwrap_or_default();
        if let Some(line) = kit.lines.iter().find(|line| line.name == wanted) {
            return Ok(line.clone());
        }
        let names: Vec<&str> = kit.lines.iter().map(|line| line.name.as_str()).collect();
        let known = if names.is_empty() {
            "no line was found: name the site's folder with --site DIR, or an address with --serial, --tcp or --rtu-over-tcp"
                .to_owned()
        } else {
            format!("its lines are {}", names.join(", "))
        };
        Err(Refusal::new(USAGE, format!("the site has no line `{wanted}`; {known}")))
    }

    /// The answer timeout on this line.
    pub(crate) fn timeout(&self, line: &LineSettings) -> Duration {
        let serial = matches!(line.address, Address::Serial { .. });
        self.timeout.unwrap_or(Duration::from_millis(if serial { 300 } else { 1000 }))
    }
}

/// Why what speaks lines of text is not asked for registers.
pub(crate) fn no_modbus(what: &str, line: &str) -> Refusal {
    let text = format!(
        "{what}, and this command asks for Modbus registers: `lifeline read {line} --profile NAME` asks a sensor of text, `lifeline trace {line}` shows what passes there while a gateway runs"
    );
    Refusal::new(USAGE, text)
}

fn host_port(text: &str) -> Result<String, Refusal> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(_) => Ok(text.to_owned()),
        None => Err(Refusal::new(USAGE, format!("`{text}` is not host and port, such as 10.0.0.5:502"))),
    }
}

/// Refuses when a running gateway holds the serial port of `line`: two masters on one wire damage each other's answers.
///
/// # Errors
/// It does.
pub(crate) async fn leave_alone(ask: &Ask, line: &LineSettings) -> anyhow::Result<()> {
    let Address::Serial { path, .. } = &line.address else { return Ok(()) };
    let Ok(client) = Client::new(&ask.default_url, ask.own_token()) else { return Ok(()) };
    let Ok(status) = client.get::<StatusView>(&["api", "v1", "status"]).await else { return Ok(()) };
    let own = real(path);
    let held = status.lines.iter().find(|line| line.address.as_deref().is_some_and(|held| real(held) == own));
    match held {
        Some(held) => Err(Refusal::new(UNREACHABLE, refusal(path, &held.name)).into()),
        None => Ok(()),
    }
}

fn refusal(path: &str, line: &str) -> String {
    format!(
        "a running gateway polls {path} (its line {line}), and two masters on one wire damage each other's answers: \
         watch it with `lifeline trace {line}`, or stop the gateway first (systemctl stop lifeline)"
    )
}

/// What a stable path like `/dev/serial/by-id/...` leads to.
fn real(path: &str) -> PathBuf {
    Path::new(path).canonicalize().unwrap_or_else(|_| PathBuf::from(path))
}

/// Why the line cannot be reached, with what to do when another program holds the port.
pub(crate) fn unreachable(trouble: Option<&str>) -> Refusal {
    let trouble = trouble.unwrap_or("the line cannot be opened");
    let busy = ["busy", "lock", "in use"].iter().any(|word| trouble.to_lowercase().contains(word));
    let remedy = if busy {
        "; another program holds it: stop the gateway (systemctl stop lifeline) or close that program"
    } else {
        ""
    };
    Refusal::new(UNREACHABLE, format!("{trouble}{remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_says_what_to_do() {
        let text = unreachable(Some("cannot open /dev/ttyUSB0: Device or resource busy")).to_string();
        assert!(text.ends_with("stop the gateway (systemctl stop lifeline) or close that program"), "{text}");
        let plain = unreachable(Some("cannot connect to 10.0.0.5:502: Connection refused")).to_string();
        assert_eq!(plain, "cannot connect to 10.0.0.5:502: Connection refused");
        assert!(refusal("/dev/ttyUSB0", "rs485-1").contains("lifeline trace rs485-1"));
    }

    #[test]
    fn an_address_needs_its_port() {
        assert!(host_port("10.0.0.5:502").is_ok());
        for text in ["10.0.0.5", ":502", "10.0.0.5:x", ""] {
            assert!(host_port(text).is_err(), "{text}");
        }
    }
}
