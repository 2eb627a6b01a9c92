//! What passed on a line of text sensors, as lines with their words; and the one way to trace a line, whatever it speaks.
//!
//! In: [`Seen`] in order, how the line's sensors speak. Out: [`Entry`]s.
//! Invariant: every byte received stands in exactly one entry; a line that the master did not take is never shown as an answer; a bounded
//! number of bytes is remembered.
//! Source: [`crate::bus::text`], which says what a line is.

use tokio::time::Instant;

use crate::bus::says::Says;
use crate::bus::tap::{Listeners, Seen, What};
use crate::bus::text::{Dialect, LINE_MAX, Refused};
use crate::bus::trace::down::Down;
use crate::bus::trace::{Discard, Entry, Kind, Tracer, beside, discarded};
use crate::bus::{Address, Failure, Framing};

/// Lines that nobody took are told after so many.
const WAITING_MAX: usize = 8;

/// Whoever speaks on a line of text sensors.
#[derive(Clone, Debug)]
pub struct Speakers {
    /// What ends each line.
    pub terminator: Vec<u8>,
    /// Each device with its name.
    pub dialects: Vec<(String, Dialect)>,
}

/// One line, for those who listen.
#[derive(Clone, Debug)]
pub struct LineTap {
    /// Where it leads.
    pub address: Address,
    /// Where to listen.
    pub listeners: Listeners,
    /// How its text sensors speak; `None` where Modbus is spoken.
    pub speakers: Option<Speakers>,
}

/// Makes entries of what passes on a line, whatever it speaks.
#[derive(Clone, Debug)]
pub enum Tracing {
    /// Modbus, in any framing.
    Modbus(Framing, Tracer),
    /// Lines of text.
    Text(TextTracer),
}

impl Tracing {
    /// For a line of this framing, or of these text sensors; one may begin at any time.
    pub fn of(framing: Framing, speakers: Option<&Speakers>) -> Self {
        match speakers {
            Some(speakers) => Self::Text(TextTracer::new(speakers.clone())),
            None => Self::Modbus(framing, Tracer::new(framing)),
        }
    }

    /// The same, knowing nothing of what passed.
    #[must_use]
    pub fn anew(&self) -> Self {
        match self {
            Self::Modbus(framing, _) => Self::of(*framing, None),
            Self::Text(tracer) => Self::Text(TextTracer::new(tracer.speakers.clone())),
        }
    }

    /// `rtu`, `ascii`, `mbap` or `text`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Modbus(framing, _) => framing.name(),
            Self::Text(_) => "text",
        }
    }

    /// Takes the next thing seen; the entries that are settled by it.
    pub fn step(&mut self, seen: &Seen) -> Vec<Entry> {
        match self {
            Self::Modbus(_, tracer) => tracer.step(seen),
            Self::Text(tracer) => tracer.step(seen),
        }
    }
}

/// Makes entries of what passes on one line of text sensors.
#[derive(Clone, Debug)]
pub struct TextTracer {
    speakers: Speakers,
    /// The newest command, whose echo is no line.
    command: Vec<u8>,
    /// Whether its answer is waited for.
    open: bool,
    /// Whole lines with their terminator that may still be taken.
    waiting: Vec<(Instant, Vec<u8>)>,
    /// The beginning of a line.
    held: Vec<u8>,
    last: Option<Instant>,
    down: Down,
}

impl TextTracer {
    /// Knows nothing of what passed.
    pub const fn new(speakers: Speakers) -> Self {
        Self {
            speakers,
            command: Vec::new(),
            open: false,
            waiting: Vec::new(),
            held: Vec::new(),
            last: None,
            down: Down::new(),
        }
    }

    /// Takes the next thing seen; the entries that are settled by it.
    pub fn step(&mut self, seen: &Seen) -> Vec<Entry> {
        let mut entries = Vec::new();
        match &seen.what {
            What::Sent(bytes) => {
                self.flush(&mut entries);
                (self.command, self.open) = (bytes.to_vec(), true);
                let says = Says::Text(bytes.to_vec());
                entries.push(Entry {
                    at: seen.at,
                    kind: Kind::Request,
                    slave: None,
                    says,
                    bytes: bytes.to_vec(),
                });
            }
            What::Received(bytes) => self.received(bytes, seen.at, &mut entries),
            What::Taken(line) => self.taken(line, &mut entries),
            What::Ended(failure) => {
                self.ended(&mut entries);
                if let Some(failure) = failure {
                    entries.push(failed(seen.at, *failure));
                }
            }
            What::Down(why) => {
                self.ended(&mut entries);
                entries.extend(self.down.entry(seen.at, None, why));
            }
            What::Beside(aside, bytes) => entries.push(beside(seen.at, *aside, bytes)),
        }
        entries
    }

    fn ended(&mut self, entries: &mut Vec<Entry>) {
        if self.open {
            self.flush(entries);
        }
        self.open = false;
    }

    fn received(&mut self, bytes: &[u8], at: Instant, entries: &mut Vec<Entry>) {
        self.last = Some(at);
        for byte in bytes {
            self.held.push(*byte);
            if self.open && self.held == self.command {
                entries.push(discarded(at, Discard::Echo, &std::mem::take(&mut self.held)));
            } else if self.held.ends_with(&self.speakers.terminator) {
                self.waiting.push((at, std::mem::take(&mut self.held)));
            } else if LINE_MAX < self.held.len() {
                entries.push(discarded(at, Discard::Noise, &std::mem::take(&mut self.held)));
            }
        }
        while WAITING_MAX < self.waiting.len() {
            let (at, line) = self.waiting.remove(0);
            entries.push(self.untaken(at, line));
        }
    }

    /// The master took this line; what came before it was none.
    fn taken(&mut self, line: &[u8], entries: &mut Vec<Entry>) {
        let terminator = self.speakers.terminator.as_slice();
        let is_it = |(_, whole): &(Instant, Vec<u8>)| whole.strip_suffix(terminator) == Some(line);
        let Some(place) = self.waiting.iter().position(is_it) else { return };
        let rest = self.waiting.split_off(place + 1);
        for (nth, (at, line)) in std::mem::replace(&mut self.waiting, rest).into_iter().enumerate() {
            entries.push(if nth == place { self.answer(at, line) } else { self.untaken(at, line) });
        }
    }

    /// Tells all that waits; nobody will take it any more.
    fn flush(&mut self, entries: &mut Vec<Entry>) {
        for (at, line) in std::mem::take(&mut self.waiting) {
            entries.push(self.untaken(at, line));
        }
        if let Some(at) = self.last.filter(|_| !self.held.is_empty()) {
            entries.push(discarded(at, Discard::Cut, &std::mem::take(&mut self.held)));
        }
    }

    fn answer(&self, at: Instant, line: Vec<u8>) -> Entry {
        let says = self.words(&line).unwrap_or_else(|_| Says::Text(line.clone()));
        Entry { at, kind: Kind::Answer, slave: None, says, bytes: line }
    }

    /// A line that is no reading, and why.
    fn untaken(&self, at: Instant, line: Vec<u8>) -> Entry {
        let (why, says) = match self.words(&line) {
            Ok(words) if self.open => (Discard::Doubtful, words),
            Ok(words) => (Discard::Late, words),
            Err(Refused::Checksum) => (Discard::BadChecksum, Says::Text(line.clone())),
            Err(Refused::Foreign) => (Discard::Foreign, Says::Text(line.clone())),
        };
        Entry { at, kind: Kind::Discarded(why), slave: None, says, bytes: line }
    }

    /// What a whole line says, by the first device that it is of.
    fn words(&self, line: &[u8]) -> Result<Says, Refused> {
        let line = line.strip_suffix(self.speakers.terminator.as_slice()).unwrap_or(line);
        let mut refused = None;
        for (device, dialect) in &self.speakers.dialects {
            match dialect.read(line) {
                Ok(words) => {
                    let named = words.0.into_iter().filter_map(|(name, word)| Some((name, word?)));
                    return Ok(Says::Words(device.clone(), named.collect()));
                }
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        Err(refused.unwrap_or(Refused::Foreign))
    }
}

fn failed(at: Instant, failure: Failure) -> Entry {
    Entry { at, kind: Kind::Failed(failure), slave: None, says: Says::Nothing, bytes: Vec::new() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bus::Slave;
    use crate::bus::checksum::Checksum;
    use crate::bus::tap::Aside;
    use crate::bus::text::{Format, Mode};

    fn tracing() -> Tracing {
        let format = Format {
            mode: Mode::Ask,
            command: "M?\r".to_owned(),
            terminator: b"\r".to_vec(),
            pattern: "^R(?P<level>\\d{4})$".to_owned(),
            checksum: Checksum::None,
            gap: Duration::from_millis(60),
            period: Duration::from_secs(1),
            slave: Slave(0),
        };
        let dialects = vec![("sonar".to_owned(), Dialect::new(&format, Slave(0)).unwrap())];
        Tracing::of(Framing::Rtu, Some(&Speakers { terminator: format.terminator, dialects }))
    }

    fn traced(whats: &[What]) -> Vec<String> {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let at = Instant::from_std(std::time::Instant::now());
        let mut tracing = tracing();
        let entries = whats.iter().flat_map(|what| tracing.step(&Seen { at, what: what.clone() }));
        entries.map(|entry| format!("{:?} {} [{}]", entry.kind, entry.says, entry.bytes.len())).collect()
    }

    fn sent() -> What {
        What::Sent(b"M?\r".as_slice().into())
    }

    fn received(text: &str) -> What {
        What::Received(text.as_bytes().into())
    }

    fn taken(text: &str) -> What {
        What::Taken(text.as_bytes().into())
    }

    #[test]
    fn a_command_its_echo_and_its_answer() {
        let lines =
            traced(&[sent(), received("M?\rR0"), received("123\r"), taken("R0123"), What::Ended(None)]);
        assert_eq!(
            lines,
            [r#"Request "M?\r" [3]"#, "Discarded(Echo)  [3]", "Answer sonar: level = 0123 [6]"]
        );
    }

    #[test]
    fn what_is_no_reading_says_why() {
        let lines = traced(&[
            sent(),
            received("x\rR0001"),
            What::Ended(Some(Failure::BadFrame)),
            received("R0002\r"),
            sent(),
            received("R0003\rR0004\r"),
            taken("R0004"),
            What::Ended(None),
        ]);
        assert_eq!(
            lines,
            [
                r#"Request "M?\r" [3]"#,
                r#"Discarded(Foreign) "x\r" [2]"#,
                "Discarded(Cut)  [5]",
                "Failed(BadFrame)  [0]",
                "Discarded(Late) sonar: level = 0002 [6]",
                r#"Request "M?\r" [3]"#,
                "Discarded(Doubtful) sonar: level = 0003 [6]",
                "Answer sonar: level = 0004 [6]",
            ]
        );
    }

    #[test]
    fn what_comes_unasked_is_bounded_and_a_dtu_is_heard_beside() {
        let beside = What::Beside(Aside::Heartbeat, b"hb".as_slice().into());
        let lines = traced(&[received(&"?\r".repeat(9)), received(&"x".repeat(LINE_MAX + 1)), beside]);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1], format!("Discarded(Noise)  [{}]", LINE_MAX + 1));
        assert_eq!(lines[2], "Heard sign of life of its DTU [2]");
    }
}
