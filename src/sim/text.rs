//! Simulated text sensors: lines as their profiles' vectors show them, spoken by themselves or as answers to their command.
//!
//! In: devices whose profile has `[text]`, time. Out: bytes on a pty or a loopback port.
//! Invariant: a vector's line is the template: numbers stand where its groups stand, with as many digits; check sums are computed here once more,
//! so that both sides cannot share a mistake.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use regex_lite::Regex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until};
use tokio_serial::{SerialPort, SerialStream};

use crate::bus::Address;
use crate::bus::checksum::Checksum;
use crate::bus::text::{Format, Mode};
use crate::profile::{FaultMatch, Field};
use crate::sim::device::{Control, SimDevice};
use crate::sim::encode::Others;
use crate::sim::script::Trouble;
use crate::sim::server::{AGAIN, drop_waiting, open};
use crate::sim::wire::{Habits, SharedHabits, Wire, character_time};
use crate::site::LineSpec;

/// A sensor needs this long to begin its answer.
const TURNAROUND: Duration = Duration::from_millis(20);
/// More waiting bytes than this mean that nobody reads: a real port that is not open keeps none.
const UNREAD_MAX: u32 = 512;
/// No command is longer.
const COMMAND_MAX: usize = 256;

/// All that speaks on one line.
pub(crate) struct Hall {
    voices: Vec<Voice>,
    control: Arc<Control>,
    begin: Instant,
}

/// One sensor with what its lines are made of.
struct Voice {
    device: SimDevice,
    format: Format,
    command: Vec<u8>,
    pieces: Vec<Piece>,
}

enum Piece {
    Literal(String),
    Address,
    /// The word of a field of the profile.
    Word {
        field: usize,
        width: usize,
        decimals: usize,
    },
}

impl Hall {
    /// `None` when these devices speak no text.
    pub(crate) fn new(devices: &[SimDevice], control: &Arc<Control>, begin: Instant) -> Option<Self> {
        let voices: Vec<Voice> = devices.iter().filter_map(Voice::new).collect();
        (!voices.is_empty()).then(|| Self { voices, control: Arc::clone(control), begin })
    }

    fn time(&self) -> Duration {
        now().saturating_duration_since(self.begin)
    }

    fn lives(&self, voice: &Voice, time: Duration) -> bool {
        let dead = voice.device.troubles(time).any(|trouble| matches!(trouble, Trouble::Dead));
        !dead && !self.control.killed(&voice.device.name)
    }

    /// What the troubles of all sensors do to the line.
    fn habits(&self, time: Duration) -> Habits {
        let mut all = Habits::default();
        for habits in self.voices.iter().map(|voice| voice.device.habits(time)) {
            all.delay = all.delay.max(habits.delay);
            all.cut = all.cut.or(habits.cut);
            all.flip = all.flip.max(habits.flip);
            all.echo |= habits.echo;
            all.babble = all.babble.or(habits.babble);
        }
        all
    }

    fn is_stream(&self) -> bool {
        self.voices.iter().any(|voice| voice.format.mode == Mode::Stream)
    }

    fn period(&self) -> Duration {
        let periods = self.voices.iter().map(|voice| voice.format.period);
        periods.min().unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(10))
    }
}

impl Voice {
    fn new(device: &SimDevice) -> Option<Self> {
        let format = device.profile.text.clone()?;
        let pattern = Regex::new(&format.pattern.replace("{slave}", "(?P<address_>[0-9]+)")).ok()?;
        let body = |text: &String| {
            let length = match format.checksum {
                Checksum::None => 0,
                Checksum::Sum8Hex => 2,
                Checksum::XorHex | Checksum::Crc16Sdi12 => 3,
                Checksum::Crc16Hex => 4,
            };
            text.get(..text.len().checked_sub(length)?).map(str::to_owned)
        };
        let bodies = device.profile.vectors.iter().filter_map(|vector| vector.text.as_ref().and_then(body));
        // The vector that shows most of the sensor.
        let words = |body: &String| {
            let found = pattern.captures(body);
            found.map_or(0, |found| found.iter().flatten().count())
        };
        let body = bodies.max_by_key(words).filter(|body| words(body) > 0)?;
        let pieces = pieces(&pattern, &body, &device.profile.fields);
        let command = format.command.replace("{slave}", &device.slave.0.to_string());
        let command = match command.split_once("{check}") {
            Some((before, after)) => format!("{before}{}{after}", check(format.checksum, before.as_bytes())),
            None => command,
        };
        Some(Self { device: device.clone(), format, command: command.into_bytes(), pieces })
    }

    /// Its line at `time`, with check and terminator.
    fn line(&self, time: Duration) -> Vec<u8> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text += literal,
                Piece::Address => text += &self.device.slave.0.to_string(),
                Piece::Word { field, width, decimals } => text += &self.word(*field, *width, *decimals, time),
            }
        }
        text += &check(self.format.checksum, text.as_bytes());
        let mut bytes = text.into_bytes();
        bytes.extend(&self.format.terminator);
        bytes
    }

    fn word(&self, index: usize, width: usize, decimals: usize, time: Duration) -> String {
        let field = self.device.profile.fields.get(index);
        for trouble in self.device.troubles(time) {
            let Trouble::Sensor { field: name, means } = trouble else { continue };
            let fault = field
                .filter(|field| field.name == *name)
                .and_then(|field| field.faults.iter().find(|fault| *fault.means == **means));
            if let Some(FaultMatch::Text(text)) = fault.map(|fault| &fault.matches) {
                return text.clone();
            }
        }
        let number = self.device.raw(index, Others::default(), time);
        if decimals == 0 { format!("{number:0width$.0}") } else { format!("{number:.decimals$}") }
    }
}

/// The template: where the pattern's groups stand in `body`.
fn pieces(pattern: &Regex, body: &str, fields: &[Field]) -> Vec<Piece> {
    let Some(found) = pattern.captures(body) else { return Vec::new() };
    let mut spans: Vec<(usize, usize, Piece)> = Vec::new();
    for name in pattern.capture_names().flatten() {
        let Some(word) = found.name(name) else { continue };
        let field = fields.iter().position(|field| field.group.as_deref() == Some(name));
        let decimals = word.as_str().split_once('.').map_or(0, |(_, after)| after.len());
        let piece = match (name, field) {
            ("address_", _) => Piece::Address,
            (_, Some(field)) => Piece::Word { field, width: word.as_str().len(), decimals },
            (_, None) => continue,
        };
        spans.push((word.start(), word.end(), piece));
    }
    spans.sort_by_key(|(start, ..)| *start);
    let mut pieces = Vec::new();
    let mut at = 0;
    for (start, end, piece) in spans {
        pieces.extend(body.get(at..start).map(|literal| Piece::Literal(literal.to_owned())));
        pieces.push(piece);
        at = end;
    }
    pieces.extend(body.get(at..).map(|literal| Piece::Literal(literal.to_owned())));
    pieces
}

/// The check that a sensor puts behind a line, by the text of its standard.
fn check(checksum: Checksum, body: &[u8]) -> String {
    let shifted = |crc: u16| if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0xA001 };
    let crc = |start: u16| {
        let mut crc = start;
        for byte in body {
            crc ^= u16::from(*byte);
            for _ in 0..8 {
                crc = shifted(crc);
            }
        }
        crc
    };
    let letter = |bits: u16| u8::try_from(bits % 64).map_or('?', |bits| char::from(bits + 64));
    match checksum {
        Checksum::None => String::new(),
        Checksum::XorHex => {
            let mut sum = 0;
            let mut counts = !body.iter().any(|byte| matches!(byte, b'$' | b'!'));
            for byte in body {
                if counts {
                    sum ^= byte;
                }
                counts |= matches!(byte, b'$' | b'!');
            }
            format!("*{sum:02X}")
        }
        Checksum::Sum8Hex => {
            let sum: u32 = body.iter().map(|byte| u32::from(*byte)).sum();
            format!("{:02X}", sum % 256)
        }
        Checksum::Crc16Hex => format!("{:04X}", crc(0xFFFF)),
        Checksum::Crc16Sdi12 => {
            let crc = crc(0);
            [letter(crc / 4096), letter(crc / 64), letter(crc)].iter().collect()
        }
    }
}

/// Serves a line of text sensors; the address to reach it by, and the future that serves.
pub(crate) async fn serve(
    spec: &LineSpec,
    hall: Hall,
    seed: u64,
) -> io::Result<(String, BoxFuture<'static, ()>)> {
    if let Address::Serial { format, .. } = &spec.settings.address {
        let (near, far) = SerialStream::pair()?;
        let path = far.name().ok_or_else(|| io::Error::other("the pty has no name"))?;
        let character = character_time(format);
        return Ok((path, Box::pin(serve_pty(hall, near, far, character, seed))));
    }
    let (listener, address) = open().await?;
    Ok((address.to_string(), Box::pin(serve_tcp(hall, listener, seed))))
}

/// `far` is the end that the gateway opens by its path: held open here, so that the gateway may close and open it again.
async fn serve_pty(hall: Hall, mut near: SerialStream, far: SerialStream, character: Duration, seed: u64) {
    let unread = || far.bytes_to_read().is_ok_and(|bytes| UNREAD_MAX < bytes);
    loop {
        let habits = SharedHabits::default();
        let wire = Wire::new(&mut near, Some(character), Arc::clone(&habits), seed);
        let empty = || {
            if unread() {
                drop_waiting(&far);
            }
        };
        if let Err(error) = speak(&hall, wire, &habits, &empty).await {
            tracing::debug!(%error, "simulated text line begins anew");
        }
        tokio::time::sleep(AGAIN).await;
        drop_waiting(&far);
    }
}

/// One client at a time, as a serial server; a new one takes the place of the old.
async fn serve_tcp(hall: Hall, listener: TcpListener, seed: u64) {
    let mut next = listener.accept().await;
    loop {
        let Ok((stream, _)) = next else {
            tokio::time::sleep(AGAIN).await;
            next = listener.accept().await;
            continue;
        };
        let habits = SharedHabits::default();
        let wire = Wire::new(stream, None, Arc::clone(&habits), seed);
        next = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = speak(&hall, wire, &habits, &|| ()) => listener.accept().await,
        };
    }
}

/// Speaks until the stream ends. `empty` takes away what nobody reads.
async fn speak<T: AsyncRead + AsyncWrite + Unpin>(
    hall: &Hall,
    mut wire: Wire<T>,
    habits: &SharedHabits,
    empty: &(dyn Fn() + Sync),
) -> io::Result<()> {
    let (stream, period) = (hall.is_stream(), hall.period());
    let mut due = now() + period;
    let mut heard: Vec<u8> = Vec::new();
    let mut chunk = [0; 64];
    loop {
        *habits.lock().unwrap_or_else(PoisonError::into_inner) = hall.habits(hall.time());
        let spoken = tokio::select! {
            read = wire.read(&mut chunk) => {
                let count = read?;
                if count == 0 {
                    return Ok(());
                }
                heard.extend(chunk.iter().take(count));
                let asked = hall.voices.iter().find(|voice| !voice.command.is_empty() && heard.ends_with(&voice.command));
                if asked.is_none() && COMMAND_MAX < heard.len() {
                    heard.clear();
                }
                match asked {
                    Some(voice) => {
                        heard.clear();
                        tokio::time::sleep(TURNAROUND).await;
                        vec![voice]
                    }
                    None => continue,
                }
            }
            () = sleep_until(due) => {
                due = (due + period).max(now());
                if stream { hall.voices.iter().collect() } else { Vec::new() }
            }
        };
        empty();
        let time = hall.time();
        for voice in spoken.into_iter().filter(|voice| hall.lives(voice, time)) {
            wire.write_all(&voice.line(time)).await?;
            wire.flush().await?;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the story runs in real time from its start")]
fn now() -> Instant {
    Instant::now()
}
