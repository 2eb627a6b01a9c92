//! `lifeline read --profile` of a sensor that speaks lines of text: asked once, or heard once.
//!
//! In: a line, a profile with `[text]`, the sensor's address. Out: its points as one poll of the gateway would give them, or why there are none.
//! Invariant: nothing is sent but the profile's own command; to a sensor that speaks by itself nothing at all.

use std::time::Duration;

use crate::bus::says::printable;
use crate::bus::text::master::TextMaster;
use crate::bus::text::{Dialect, Format, Mode, Words};
use crate::bus::{Failure, LineSettings, Slave};
use crate::cli::ask::{NO, Refusal, USAGE};
use crate::cli::target::unreachable;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::decode::RawBatch;
use crate::decode::words::decode_words;
use crate::loss::{Loss, Losses};
use crate::point::DeviceId;
use crate::profile::Profile;

/// As for a device of a line that names no timeout.
const TIMEOUT: Duration = Duration::from_secs(1);

/// One poll of the sensor.
pub(crate) async fn poll(
    line: LineSettings,
    profile: &Profile,
    format: &Format,
    slave: Option<u8>,
    timeout: Option<Duration>,
) -> Result<RawBatch, Refusal> {
    let slave = slave.map_or(format.slave, Slave);
    let dialect = Dialect::new(format, slave).map_err(|why| Refusal::new(USAGE, why))?;
    let timeout = timeout.or(profile.limits.timeout).unwrap_or(TIMEOUT);
    let mut talk = Talk {
        master: TextMaster::new(line, format),
        losses: Losses::default(),
        clock: SystemClock::new(),
        stranger: None,
    };
    let start = talk.clock.now();
    let told = match format.mode {
        Mode::Ask => talk.ask(&dialect, timeout).await,
        Mode::Stream => talk.hear(&dialect, format.period * 2 + timeout).await,
    };
    let (words, at) = told.map_err(|failure| talk.refusal(failure, (&dialect, format, profile)))?;
    let raws = decode_words(profile, &words, at);
    Ok(RawBatch { device: DeviceId(0), start, end: at, raws })
}

struct Talk {
    master: TextMaster,
    losses: Losses,
    clock: SystemClock,
    /// The last line that is none of the sensor's.
    stranger: Option<String>,
}

impl Talk {
    async fn ask(&mut self, dialect: &Dialect, timeout: Duration) -> Result<(Words, Timestamp), Failure> {
        let mut told = self.master.ask(dialect, timeout, &mut self.losses).await;
        if told.outcome == Err(Failure::Timeout) {
            // Some sensors only wake up by the first command.
            told = self.master.ask(dialect, timeout, &mut self.losses).await;
        }
        told.outcome.map(|words| (words, self.clock.at(told.ended)))
    }

    async fn hear(&mut self, dialect: &Dialect, span: Duration) -> Result<(Words, Timestamp), Failure> {
        let until = self.clock.instant() + span;
        while self.clock.instant() < until {
            for line in self.master.hear(until, &mut self.losses).await? {
                match dialect.read(&line.bytes) {
                    Ok(words) => return Ok((words, self.clock.at(line.at))),
                    Err(why) => {
                        self.losses.record(Loss::from(why), "line", 1);
                        self.stranger = Some(printable(&line.bytes));
                    }
                }
            }
        }
        Err(if self.stranger.is_some() { Failure::BadFrame } else { Failure::Timeout })
    }

    fn refusal(
        &mut self,
        failure: Failure,
        (dialect, format, profile): (&Dialect, &Format, &Profile),
    ) -> Refusal {
        if failure == Failure::LineDown {
            return unreachable(self.master.trouble());
        }
        let lost: Vec<String> = self
            .losses
            .drain()
            .into_iter()
            .map(|(loss, _, count)| format!("{} {count}", loss.name()))
            .collect();
        let seen = match (&self.stranger, lost.is_empty()) {
            (Some(line), _) => format!("the last line was `{line}`; discarded: {}", lost.join(", ")),
            (None, true) => "not one byte came".to_owned(),
            (None, false) => format!("discarded: {}", lost.join(", ")),
        };
        let name = &profile.name;
        let text = match (failure, format.mode) {
            (Failure::BadFrame, _) => format!(
                "no line that came is one of {name} ({seen}): another speed, address, profile or check sum"
            ),
            (_, Mode::Ask) => format!(
                "the sensor does not answer `{}` ({seen}): check its address, the speed and the wires",
                printable(dialect.command())
            ),
            (_, Mode::Stream) => format!(
                "a sensor of {name} speaks by itself each {} ms, and no line came ({seen}): check the speed and the wires",
                format.period.as_millis()
            ),
        };
        Refusal::new(NO, text)
    }
}
