//! Text lines of sensors that speak no Modbus: whole, proved lines out of bytes, and the words in them.
//!
//! In: bytes with the time of their arrival, and how the sensor speaks ([`Format`]). Out: lines; of each line the words of its named groups.
//! Invariant: at most 1 KiB is held; any split of the bytes gives the same lines. A line counts only when it began right after a terminator,
//! or after a quiet gap on a line just opened or just asked; a gap inside a line spoils it, because bytes may be lost there. The pattern holds
//! for the whole line or not at all. Garbage ends at the next terminator.
//! Source: the manuals that the profiles name; NMEA 0183 and SDI-12 for check sums.

pub mod master;

use std::time::Duration;

use regex_lite::{Regex, RegexBuilder};
use tokio::time::Instant;

use crate::bus::Slave;
use crate::bus::checksum::Checksum;
use crate::loss::{Loss, Losses};

/// No sensor's line is longer.
pub const LINE_MAX: usize = 1024;
/// A pattern's text and program are not larger than this; matching takes linear time.
const PATTERN_MAX: usize = 2000;
const PROGRAM_MAX: usize = 1 << 20;

/// Who begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The sensor answers a command.
    Ask,
    /// The sensor speaks by itself.
    Stream,
}

/// How a text sensor speaks. `{slave}` in command and pattern stands for the device's address, `{check}` in the command for the check sum of
/// what stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// Who begins.
    pub mode: Mode,
    /// What it is asked with; empty in stream mode.
    pub command: String,
    /// What ends each line, 1 to 4 bytes.
    pub terminator: Vec<u8>,
    /// What a whole line looks like, without terminator and check; its named groups are the words.
    pub pattern: String,
    /// How a line proves itself.
    pub checksum: Checksum,
    /// A silence this long inside a line spoils it.
    pub gap: Duration,
    /// How often it speaks in stream mode.
    pub period: Duration,
    /// Its factory address: that of the profile's vectors.
    pub slave: Slave,
}

/// A format for one device.
#[derive(Clone, Debug)]
pub struct Dialect {
    command: Vec<u8>,
    pattern: Regex,
    groups: Vec<String>,
    checksum: Checksum,
}

/// The words of one line by group; `None` for a group that took no part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<(String, Option<String>)>);

/// Why a line is no reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its check sum is wrong or missing.
    Checksum,
    /// It doesn't look like a line of this device.
    Foreign,
}

impl Dialect {
    /// What `format` is for the device with this address.
    ///
    /// # Errors
    /// Text for a person: a pattern that is none, too large, or not anchored at both ends.
    pub fn new(format: &Format, slave: Slave) -> Result<Self, String> {
        let text = format.pattern.replace("{slave}", &slave.0.to_string());
        if !text.starts_with('^') || !text.ends_with('$') || text.ends_with("\\$") {
            return Err(
                "a pattern begins with ^ and ends with $, so that half a line is never taken for one"
                    .to_owned(),
            );
        }
        if text.len() > PATTERN_MAX {
            return Err(format!("a pattern has {PATTERN_MAX} bytes at most"));
        }
        // Grouped, so that `^a|b$` means the whole line in each branch.
        let built = RegexBuilder::new(&format!("^(?:{text})$")).size_limit(PROGRAM_MAX).build();
        let pattern = built.map_err(|error| error.to_string())?;
        let groups = pattern.capture_names().flatten().map(str::to_owned).collect();
        let command = format.command.replace("{slave}", &slave.0.to_string());
        let command = match command.split_once("{check}") {
            Some((body, rest)) => format!("{body}{}{rest}", format.checksum.of(body.as_bytes())),
            None => command,
        };
        Ok(Self { command: command.into_bytes(), pattern, groups, checksum: format.checksum })
    }

    /// What to send.
    pub fn command(&self) -> &[u8] {
        &self.command
    }

    /// The names of the groups.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// The words of a line.
    ///
    /// # Errors
    /// The line proves nothing, or is not one of this device.
    pub fn read(&self, line: &[u8]) -> Result<Words, Refused> {
        let body = self.checksum.strip(line).ok_or(Refused::Checksum)?;
        let text = std::str::from_utf8(body).ok().filter(|text| text.is_ascii()).ok_or(Refused::Foreign)?;
        let found = self.pattern.captures(text).ok_or(Refused::Foreign)?;
        let word = |group: &String| (group.clone(), found.name(group).map(|word| word.as_str().to_owned()));
        Ok(Words(self.groups.iter().map(word).collect()))
    }
}

impl From<Refused> for Loss {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Checksum => Self::BadChecksum,
            Refused::Foreign => Self::ForeignFrame,
        }
    }
}

impl Words {
    /// The word of a group; `None` when it took no part, or there is no such group.
    pub fn get(&self, group: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == group).and_then(|(_, word)| word.as_deref())
    }
}

/// A whole line, without its terminator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its bytes; never empty.
    pub bytes: Vec<u8>,
    /// When its last byte came.
    pub at: Instant,
}

/// What is known of the line's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// Just opened: it depends on whether the first byte comes after a gap.
    Open,
    /// After a terminator, or after a quiet gap.
    Clean,
    /// In the middle of a line, or with a gap inside: nothing counts up to the next terminator.
    Spoilt,
}

/// Cuts a stream of bytes into lines.
///
/// ```
/// use std::time::Duration;
/// use lifeline_gateway::bus::text::Receiver;
/// use lifeline_gateway::loss::Losses;
/// # let opened = tokio::time::Instant::from_std(std::time::Instant::now());
/// let mut losses = Losses::default();
/// let mut receiver = Receiver::new(b"\r", Duration::from_millis(100), opened);
/// let at = opened + Duration::from_millis(20);
/// // Opened in the middle of a line: its rest is no line.
/// let lines = receiver.step(b"34\rR1235\r", at, "sonar", &mut losses);
/// assert_eq!(lines.len(), 1);
/// assert_eq!(lines[0].bytes, b"R1235");
/// ```
#[derive(Clone, Debug)]
pub struct Receiver {
    terminator: Vec<u8>,
    gap: Duration,
    held: Vec<u8>,
    begin: Begin,
    /// When the last byte came, or the line was opened.
    last: Instant,
}

impl Receiver {
    /// For a line that was opened at `now`.
    pub fn new(terminator: &[u8], gap: Duration, now: Instant) -> Self {
        Self { terminator: terminator.to_owned(), gap, held: Vec::new(), begin: Begin::Open, last: now }
    }

    /// The line was opened anew.
    pub fn reset(&mut self, now: Instant, name: &str, losses: &mut Losses) {
        self.drop_held(name, losses);
        (self.begin, self.last) = (Begin::Open, now);
    }

    /// The line was quiet for a gap and is asked something now: what comes next begins a line.
    pub fn asked(&mut self, name: &str, losses: &mut Losses) {
        self.drop_held(name, losses);
        self.begin = Begin::Clean;
    }

    /// Whether half a line is held.
    pub fn is_torn(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes in bytes that came at `now`; the lines that they end. What belongs to no line is recorded.
    pub fn step(&mut self, bytes: &[u8], now: Instant, name: &str, losses: &mut Losses) -> Vec<Line> {
        if bytes.is_empty() {
            return Vec::new();
        }
        let quiet = self.last + self.gap <= now;
        self.begin = match (self.begin, quiet, self.held.is_empty()) {
            (Begin::Open, true, _) => Begin::Clean,
            (Begin::Open, false, _) | (Begin::Clean, true, false) => Begin::Spoilt,
            (begin, _, _) => begin,
        };
        self.last = now;
        let mut lines = Vec::new();
        for byte in bytes {
            self.held.push(*byte);
            if self.held.ends_with(&self.terminator) {
                lines.extend(self.ended(now, name, losses));
            } else if LINE_MAX < self.held.len() {
                // The front is given up; the end may be the first half of a terminator.
                let given_up = self.held.len() - self.terminator.len();
                self.held.drain(..given_up);
                losses.record(Loss::StrayBytes, name, count(given_up));
                self.begin = Begin::Spoilt;
            }
        }
        lines
    }

    fn ended(&mut self, now: Instant, name: &str, losses: &mut Losses) -> Option<Line> {
        let length = self.held.len() - self.terminator.len();
        let clean = self.begin == Begin::Clean;
        self.begin = Begin::Clean;
        let mut bytes = std::mem::take(&mut self.held);
        bytes.truncate(length);
        if !clean {
            losses.record(Loss::StrayBytes, name, count(length));
        }
        (clean && !bytes.is_empty()).then_some(Line { bytes, at: now })
    }

    fn drop_held(&mut self, name: &str, losses: &mut Losses) {
        losses.record(Loss::StrayBytes, name, count(self.held.len()));
        self.held.clear();
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Takes the echo of a command off the front of what comes back on a two-wire line.
#[derive(Clone, Debug, Default)]
pub struct Echo {
    command: Vec<u8>,
    /// Bytes of it that came so far; `None` when what comes is no echo, or it is through.
    matched: Option<usize>,
}

impl Echo {
    /// `command` was sent.
    pub fn of(command: &[u8]) -> Self {
        Self { command: command.to_owned(), matched: (!command.is_empty()).then_some(0) }
    }

    /// `bytes` without the echo. Bytes that may be its beginning are held back until it is clear.
    pub fn strip(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            let Some(matched) = self.matched else {
                out.push(*byte);
                continue;
            };
            if self.command.get(matched) == Some(byte) {
                self.matched = (matched + 1 < self.command.len()).then_some(matched + 1);
                continue;
            }
            out.extend(self.command.iter().take(matched));
            out.push(*byte);
            self.matched = None;
        }
        out
    }
}

#[cfg(test)]
mod tests;
