//! `lifeline trace`: what passes on a line of a running gateway, live, as hex and meaning.
//!
//! In: the console's stream of one line. Out: text for people, JSON lines, a pcap file.
//! Invariant: tracing never slows the line; what was missed is said.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::cli::answers::Zone;
use crate::cli::ask::{Ask, GOOD, Refusal, UNREACHABLE, settle, zone_of};
use crate::cli::pcap::{self, Pcap};
use crate::cli::run::Signals;
use crate::cli::table::plain;
use crate::cli::{Where, duration};
use crate::console::trace::TraceView;

/// Bytes of one line of the stream.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Hexadecimal is written after a text of this width.
const WORDS_WIDTH: usize = 46;

/// Arguments of `trace`.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    pub(crate) place: Where,
    /// The line, as the site names it.
    line: String,
    /// Write the frames here too, for Wireshark. RTU: `tshark -r FILE -d udp.port==5020,mbrtu`; ASCII and text sensors: UDP port 5021.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// End by itself after this long.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    until: Option<Duration>,
}

/// Shows a line's frames until a signal or `--for`. Exit code 1 when there is no such line, 3 when no gateway runs.
///
/// # Errors
/// The answer or the file cannot be written.
pub(crate) async fn trace(ask: &Ask, args: &Trace, out: &mut dyn Write) -> anyhow::Result<u8> {
    settle(trace_of(ask, args, out).await)
}

async fn trace_of(ask: &Ask, args: &Trace, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = ask.gateway().await?;
    let mut signals = Signals::new()?;
    let zone = if ask.json { Zone::of_box() } else { zone_of(&client).await?.0 };
    let mut shown = Shown { json: ask.json, zone, file: Captured::open(args)?, rest: Vec::new() };
    let path = ["api", "v1", "lines", &args.line, "trace"];
    let mut each = |piece: &[u8]| shown.take(piece, out);
    let until = args.until.unwrap_or(Duration::MAX);
    tokio::select! {
        ended = client.stream(&path, &[], &mut each) => {
            ended?;
            Err(Refusal::new(UNREACHABLE, "the gateway ended the trace".to_owned()).into())
        }
        () = signals.wait() => Ok(GOOD),
        () = tokio::time::sleep(until) => Ok(GOOD),
    }
}

struct Shown {
    json: bool,
    zone: Zone,
    file: Option<Captured>,
    rest: Vec<u8>,
}

struct Captured {
    file: File,
    pcap: Pcap,
}

impl Captured {
    fn open(args: &Trace) -> anyhow::Result<Option<Self>> {
        let Some(path) = &args.pcap else { return Ok(None) };
        let cannot = || format!("cannot write {}", path.display());
        let mut file = File::create(path).with_context(cannot)?;
        file.write_all(&pcap::head()).with_context(cannot)?;
        Ok(Some(Self { file, pcap: Pcap::default() }))
    }
}

impl Shown {
    fn take(&mut self, piece: &[u8], out: &mut dyn Write) -> anyhow::Result<()> {
        self.rest.extend_from_slice(piece);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            if line.len() > 1 {
                self.show(&line, out)?;
            }
        }
        anyhow::ensure!(self.rest.len() <= LINE_BYTES_MAX, "a line of the answer is too long");
        Ok(())
    }

    fn show(&mut self, line: &[u8], out: &mut dyn Write) -> anyhow::Result<()> {
        let view: TraceView = serde_json::from_slice(line).context("the answer is no trace")?;
        if let Some(captured) = &mut self.file {
            captured.file.write_all(&captured.pcap.emit(&view)).context("cannot write the pcap file")?;
        }
        if self.json {
            out.write_all(line)?;
        } else {
            writeln!(out, "{} {}", self.zone.time_of_day(&view.time), text(&view))?;
        }
        Ok(out.flush()?)
    }
}

/// Direction, slave, meaning and bytes.
fn text(view: &TraceView) -> String {
    let why = view.why.as_deref().unwrap_or_default();
    let (sign, words) = match view.kind.as_str() {
        "request" => ('>', view.words.clone()),
        "answer" | "heard" => ('<', view.words.clone()),
        "told" => ('>', view.words.clone()),
        "discarded" if view.words.is_empty() => ('x', format!("discarded, {why}")),
        "discarded" => ('x', format!("discarded, {why}: {}", view.words)),
        "missed" => ('!', format!("{} events missed: {why}", view.count.unwrap_or(0))),
        _ if view.words.is_empty() => ('!', why.to_owned()),
        _ => ('!', format!("{why}: {}", view.words)),
    };
    let slave = view.slave.map(|slave| slave.to_string()).unwrap_or_default();
    let hex = if view.hex.is_empty() { String::new() } else { format!("  [{}]", view.hex) };
    plain(format!("{sign} {slave:>3}  {words:<WORDS_WIDTH$}{hex}").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discarded_bytes_are_marked() {
        let view = |kind: &str, why: Option<&str>, words: &str, hex: &str| TraceView {
            kind: kind.to_owned(),
            why: why.map(str::to_owned),
            words: words.to_owned(),
            hex: hex.to_owned(),
            slave: (kind == "request").then_some(17),
            ..TraceView::default()
        };
        let check = |view: TraceView, expected: &str| assert_eq!(text(&view), expected);
        check(
            view("request", None, "read holding 0x0000", "11 03"),
            ">  17  read holding 0x0000                             [11 03]",
        );
        check(
            view("discarded", Some("noise"), "", "00"),
            "x      discarded, noise                                [00]",
        );
        check(
            view("told", None, "answer to its DTU's sign of life", ""),
            ">      answer to its DTU's sign of life",
        );
        check(view("failed", Some("no answer in time"), "", ""), "!      no answer in time");
        check(
            view("failed", Some("the line is down"), "x: Connection refused", ""),
            "!      the line is down: x: Connection refused",
        );
    }
}
