//! `lifeline scan`: which devices hang on a line, and which profiles fit them.
//!
//! In: a line, a range of slaves, on a serial port speeds and formats too. Out: what answered, its identity, ranked profiles, and the lines to
//! paste into the site.
//! Invariant: only reads go out; the time that it takes at most is said before and kept.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;

use crate::bus::{Address, Failure, LineSettings, Read, SerialFormat, Slave, Table};
use crate::cli::ask::{Ask, GOOD, NO, Refusal, USAGE, settle};
use crate::cli::findings::{Found, Match, Model, add, emit, summary};
use crate::cli::probe::{Known, Probe, plan};
use crate::cli::target::{Target, leave_alone, speed, unreachable};
use crate::normalize::fit::Fit;
use crate::poll::cost::Cost;
use crate::site::kit::Kit;

/// Profiles shown for a device.
const MATCHES_MAX: usize = 3;
/// What a silent request costs beside its timeout and the same time of quiet after it.
const OVERHEAD: Duration = Duration::from_millis(60);
/// Speeds and formats that most devices leave the factory with.
const COMMON: [&str; 8] =
    ["9600 8N1", "9600 8E1", "19200 8E1", "19200 8N1", "4800 8N1", "38400 8N1", "115200 8N1", "2400 8N1"];

/// Arguments of `scan`.
#[derive(Debug, Args)]
pub(crate) struct Scan {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Addresses to ask: `1-32`, `5`, `1-10,20,30-40`.
    #[arg(long, value_name = "RANGE", default_value = "1-32", value_parser = slaves)]
    slaves: Slaves,
    /// Speeds and formats to try on a serial port: "9600 8N1,19200 8E1", or `common`.
    #[arg(long, value_name = "LIST", value_parser = speeds)]
    speeds: Option<Speeds>,
    /// One JSON object for each device.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Addresses in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slaves(Vec<u8>);

/// Formats in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Speeds(Vec<SerialFormat>);

fn slaves(text: &str) -> Result<Slaves, String> {
    let wrong = || format!("`{text}` is no range of addresses: 1 to 247, such as 1-32 or 5,7,10-20");
    let number = |text: &str| text.trim().parse::<u8>().ok().filter(|slave| (1..=247).contains(slave));
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = number(first).zip(number(last)).ok_or_else(wrong)?;
        if last < first {
            return Err(wrong());
        }
        all.extend((first..=last).filter(|slave| !all.contains(slave)).collect::<Vec<u8>>());
    }
    Ok(Slaves(all))
}

fn speeds(text: &str) -> Result<Speeds, String> {
    if text == "common" {
        return COMMON.iter().map(|text| speed(text)).collect::<Result<_, _>>().map(Speeds);
    }
    text.split(',').map(|text| speed(text.trim())).collect::<Result<_, _>>().map(Speeds)
}

/// Searches and shows what it found. Exit code 1 when nobody answers, 3 when the line cannot be opened.
///
/// # Errors
/// The answer cannot be written.
pub(crate) async fn scan(ask: &Ask, kit: &Kit, args: &Scan, out: &mut dyn Write) -> anyhow::Result<u8> {
    settle(scan_of(ask, kit, args, out).await)
}

async fn scan_of(ask: &Ask, kit: &Kit, args: &Scan, out: &mut dyn Write) -> anyhow::Result<u8> {
    let line = args.target.settings(kit)?;
    leave_alone(ask, &line).await?;
    let lines = at_speeds(&line, args.speeds.as_ref())?;
    let mut search = Search {
        models: models(kit),
        timeout: args.target.timeout(&line),
        slaves: args.slaves.0.clone(),
        json: args.json,
        shows: std::io::stderr().is_terminal() && !args.json,
        damaged: Vec::new(),
    };
    let most = search.cost(search.slaves.len() * 2 + 1) * u32::try_from(lines.len()).unwrap_or(u32::MAX);
    let each = search.cost(search.requests_of_profiles(&line));
    if !args.json {
        let (first, last) = (search.slaves.first(), search.slaves.last());
        let range = first.zip(last).map(|(first, last)| format!("{first} to {last}")).unwrap_or_default();
        writeln!(
            out,
            "asking slaves {range} on {}: at most {}, and at most {} for each device that answers",
            place(&line),
            span(most),
            span(each)
        )?;
    }
    let mut found = Vec::new();
    for line in &lines {
        if lines.len() > 1 && !args.json {
            writeln!(out, "at {}", format_of(line).map(|format| format.to_string()).unwrap_or_default())?;
        }
        found = search.line(line, most, each, out).await?;
        if !found.is_empty() {
            break;
        }
    }
    finish(args, &line, &search, &found, out)
}

/// The line in each format that is to be tried.
fn at_speeds(line: &LineSettings, speeds: Option<&Speeds>) -> Result<Vec<LineSettings>, Refusal> {
    let Some(Speeds(speeds)) = speeds else { return Ok(vec![line.clone()]) };
    let Address::Serial { .. } = &line.address else {
        return Err(Refusal::new(USAGE, format!("{} is no serial port: it has no --speeds", place(line))));
    };
    let at = |speed: &SerialFormat| {
        let mut line = line.clone();
        if let Address::Serial { format, .. } = &mut line.address {
            *format = *speed;
        }
        line
    };
    Ok(speeds.iter().map(at).collect())
}

/// What is tried on a device: a profile, or one map of it.
fn models(kit: &Kit) -> Vec<Model<'_>> {
    let mut models = Vec::new();
    for (profile, maps) in kit.profiles.iter().zip(&kit.maps) {
        if maps.is_empty() {
            models.push(Model { profile, firmware: None });
        }
        models.extend(maps.iter().map(|(version, profile)| Model { profile, firmware: Some(version) }));
    }
    models
}

struct Search<'a> {
    models: Vec<Model<'a>>,
    timeout: Duration,
    slaves: Vec<u8>,
    json: bool,
    /// A person watches the progress.
    shows: bool,
    /// Slaves whose answers were damaged.
    damaged: Vec<u8>,
}

impl Search<'_> {
    /// The time of this many requests that nobody answers.
    fn cost(&self, requests: usize) -> Duration {
        (self.timeout * 2 + OVERHEAD) * u32::try_from(requests).unwrap_or(u32::MAX)
    }

    /// All that one device may be asked, with its identity.
    fn requests_of_profiles(&self, line: &LineSettings) -> usize {
        let cost = Cost::new(line, line.quiet);
        // One more for each profile: its first silence is asked again.
        self.models.iter().map(|model| plan(model.profile, &cost).0.len() + 1).sum::<usize>() + 3
    }

    /// What hangs on a line.
    async fn line(
        &mut self,
        line: &LineSettings,
        most: Duration,
        each: Duration,
        out: &mut dyn Write,
    ) -> anyhow::Result<Vec<Found>> {
        let profiles = self.models.iter().map(|model| model.profile);
        let mut probe = Probe::new(line.clone(), self.timeout, profiles);
        let mut answering = Vec::new();
        match tokio::time::timeout(most, self.search(&mut probe, line, &mut answering, out)).await {
            Ok(searched) => searched?,
            Err(_) if self.json => {}
            Err(_) => {
                writeln!(out, "the time is up: this line does not fall silent, so not every slave was asked")?
            }
        }
        let mut all = Vec::new();
        for mut found in answering {
            // What was not tried in time is not proposed.
            let _ = tokio::time::timeout(each, self.examine(&mut probe, &mut found)).await;
            found.profiles.sort_by(|one, other| other.score.total_cmp(&one.score));
            found.profiles.truncate(MATCHES_MAX);
            found.format = format_of(line).map(|format| format.to_string());
            if self.json {
                writeln!(out, "{}", serde_json::to_string(&found)?)?;
            } else {
                emit(&found, out)?;
            }
            out.flush()?;
            all.push(found);
        }
        Ok(all)
    }

    /// Who answers at all.
    async fn search(
        &mut self,
        probe: &mut Probe,
        line: &LineSettings,
        found: &mut Vec<Found>,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        if self.answers_to_all(probe, line).await {
            if !self.json {
                writeln!(out, "it answers to every address, so it is taken for one device")?;
            }
            self.slaves.truncate(1);
        }
        for slave in self.slaves.clone() {
            self.progress(slave, found.len());
            match self.knock(probe, Slave(slave)).await {
                Knock::Answered(said) => found.push(Found::new(slave, said)),
                Knock::Damaged => self.damaged.push(slave),
                Knock::Silent => {}
                Knock::Down => {
                    self.clear_progress();
                    return Err(unreachable(probe.master.trouble()).into());
                }
            }
        }
        self.clear_progress();
        Ok(())
    }

    /// A Modbus TCP device of its own mostly answers whatever unit is asked.
    async fn answers_to_all(&self, probe: &mut Probe, line: &LineSettings) -> bool {
        let Address::Tcp(_) = line.address else { return false };
        let stranger = (1..=247).rev().find(|slave| !self.slaves.contains(slave));
        let (Some(stranger), true) = (stranger, self.slaves.len() > 1) else { return false };
        matches!(self.knock(probe, Slave(stranger)).await, Knock::Answered(_))
    }

    /// Asks for the first holding register, and a silent slave for the first input register.
    async fn knock(&self, probe: &mut Probe, slave: Slave) -> Knock {
        let mut damaged = false;
        for table in [Table::Holding, Table::Input] {
            let read = Read { table, address: 0, count: 1 };
            if probe.may_change(read) {
                continue;
            }
            match probe.read(slave, read).await {
                Ok(cells) => {
                    let value = cells.first().copied().unwrap_or(0);
                    let what = if table == Table::Holding { "holding" } else { "input" };
                    return Knock::Answered(format!("{what} 0x0000 is {value}"));
                }
                // The gateway between has no such device.
                Err(Failure::Exception(10 | 11)) => return Knock::Silent,
                Err(failure @ Failure::Exception(_)) => return Knock::Answered(failure.words()),
                Err(Failure::BadFrame) => damaged = true,
                Err(Failure::LineDown) => return Knock::Down,
                Err(Failure::Timeout) => {}
            }
        }
        if damaged { Knock::Damaged } else { Knock::Silent }
    }

    /// Tries every profile on a device and asks it who it is; last, because some devices are deaf for a while after a function
    /// that they don't know.
    async fn examine(&self, probe: &mut Probe, found: &mut Found) {
        let slave = Slave(found.slave);
        let mut known = Known::new();
        let mut fits = Vec::new();
        for model in &self.models {
            let batch = probe.poll(slave, model.profile, &mut known).await;
            let fit = Fit::new(model.profile, &batch);
            if fit.is_likely() {
                // So that it is shown even when the time is up before the identity came.
                let shown = Match::new(model, &fit, found);
                add(&mut found.profiles, shown);
                fits.push((model, fit));
            }
        }
        found.identity = probe.identify(slave).await;
        let fits: Vec<Match> = fits.iter().map(|(model, fit)| Match::new(model, fit, found)).collect();
        found.profiles.clear();
        fits.into_iter().for_each(|fit| add(&mut found.profiles, fit));
    }

    fn progress(&self, slave: u8, found: usize) {
        if self.shows {
            eprint!("\r\x1b[Kslave {slave}, {found} found");
        }
    }

    fn clear_progress(&self) {
        if self.shows {
            eprint!("\r\x1b[K");
        }
    }
}

/// What came back for a slave.
enum Knock {
    Answered(String),
    Damaged,
    Silent,
    Down,
}

fn finish(
    args: &Scan,
    line: &LineSettings,
    search: &Search<'_>,
    found: &[Found],
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    if args.json {
        return Ok(if found.is_empty() { NO } else { GOOD });
    }
    if !search.damaged.is_empty() {
        let slaves: Vec<String> = search.damaged.iter().map(u8::to_string).collect();
        writeln!(
            out,
            "damaged answers from {}: another speed, or two devices with one address",
            slaves.join(", ")
        )?;
    }
    if found.is_empty() {
        writeln!(out, "nobody answered: check the supply and the wires A and B, then try more")?;
        if args.speeds.is_none() && format_of(line).is_some() {
            writeln!(out, "  other speeds and formats: --speeds common")?;
        }
    } else {
        summary(found, line, args.target.line.is_none(), out)?;
    }
    let all = (1..=247).all(|slave| args.slaves.0.contains(&slave));
    if !all {
        writeln!(out, "  other addresses: --slaves 1-247 (at most {})", span(search.cost(247 * 2 + 1)))?;
    }
    Ok(if found.is_empty() { NO } else { GOOD })
}

/// Path or address of a line.
pub(crate) fn place(line: &LineSettings) -> String {
    match &line.address {
        Address::Serial { path, format, .. } => format!("{path} {format}"),
        other => other.place().to_owned(),
    }
}

fn format_of(line: &LineSettings) -> Option<SerialFormat> {
    match &line.address {
        Address::Serial { format, .. } => Some(*format),
        _ => None,
    }
}

/// `4 min 10 s`.
fn span(time: Duration) -> String {
    let seconds = time.as_millis().div_ceil(1000);
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_slaves() {
        assert_eq!(slaves("1-3,7,2-4"), Ok(Slaves(vec![1, 2, 3, 7, 4])));
        assert_eq!(slaves("247"), Ok(Slaves(vec![247])));
        for text in ["", "0", "248", "5-3", "1-", "a", "1,,2"] {
            assert!(slaves(text).is_err(), "{text}");
        }
    }

    #[test]
    fn speeds_are_formats_or_the_common_ones() {
        assert_eq!(speeds("common").unwrap().0.len(), COMMON.len());
        let two: Vec<String> =
            speeds("9600 8N1, 19200 8E1").unwrap().0.into_iter().map(|format| format.to_string()).collect();
        assert_eq!(two, ["9600 8N1", "19200 8E1"]);
        assert!(speeds("fast").is_err());
    }

    #[test]
    fn spans_are_rounded_up() {
        for (ms, text) in [(100, "1 s"), (59_001, "1 min"), (250_000, "4 min 10 s")] {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }
}
