//! One task for each line of text sensors: ask them in turn, or listen and hand on the newest line of each.
//!
//! In: the line's devices. Out: one [`Polled`] for each poll, good or failed.
//! Invariant: a reading has the time its own line arrived at, and is handed on once; a sensor that says nothing for a period and its timeout
//! is a failed poll; one that fails again and again is asked less and less often.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::bus::tap::Listeners;
use crate::bus::text::master::TextMaster;
use crate::bus::text::{Dialect, Line, Mode, Words};
use crate::bus::trace::text::Speakers;
use crate::bus::{Exchange, Failure};
use crate::decode::RawBatch;
use crate::decode::words::decode_words;
use crate::gateway::line::{Left, Orders, Polled, Ports, commanded, stopped};
use crate::gateway::polling::reason_of;
use crate::loss::{Loss, Losses};
use crate::point::{DeviceId, LineId};
use crate::poll::stats::{Figures, Stats};
use crate::profile::Profile;
use crate::site::{DeviceSpec, LineSpec, Site, diff};

/// Failures in a row before a device is asked less often.
const FAILURES_FREE: u32 = 3;
/// The longest pause of a failing device, unless its own period is longer.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// One sensor of the line.
struct Speaker {
    id: DeviceId,
    name: String,
    every_in_alarm: Option<Duration>,
    profile: Arc<Profile>,
    dialect: Dialect,
    timeout: Duration,
    beat: Beat,
    /// When the poll before was.
    before: Instant,
    /// Whether lines came since then that nobody understands.
    garbled: bool,
    /// The newest line since then, with its arrival.
    newest: Option<(Words, Instant)>,
}

/// When a sensor's polls are due: no drift, missed ones counted, fewer after failures.
#[derive(Clone, Copy, Debug)]
struct Beat {
    every: Duration,
    /// The period while it is polled denser.
    dense: Option<Duration>,
    due: Instant,
    failures: u32,
    mode: Mode,
}

/// One line and all that speaks on it.
pub(crate) struct TextTask {
    id: LineId,
    pub(crate) name: String,
    site: Arc<Site>,
    /// Another task is to follow after the present poll.
    pub(crate) stop: Option<watch::Receiver<bool>>,
    mode: Mode,
    master: TextMaster,
    speakers: Vec<Speaker>,
    ports: Ports,
    losses: Losses,
    stats: Stats,
}

impl TextTask {
    /// The task of a line of text sensors; `None` for a line that speaks Modbus, or has no device.
    pub(crate) fn new(spec: &LineSpec, site: &Arc<Site>, ports: Ports) -> Option<Self> {
        let specs = || spec.devices.iter().filter_map(|index| site.devices.get(*index));
        let format = specs().find_map(|device| device.profile.text.clone())?;
        let begun = now();
        let count = u32::try_from(spec.devices.len()).unwrap_or(u32::MAX);
        let speaker = |(nth, device): (u32, &DeviceSpec)| {
            let format = device.profile.text.as_ref()?;
            // Phases are spread over the first second.
            let due = begun + device.every.min(Duration::from_secs(1)) * nth / count;
            Some(Speaker {
                id: device.id,
                name: site.catalog.device(device.id).map(|named| named.name.clone()).unwrap_or_default(),
                // Who speaks by itself can't be heard more often than that.
                every_in_alarm: device.every_in_alarm.map(|dense| match format.mode {
                    Mode::Ask => dense,
                    Mode::Stream => dense.max(format.period).min(device.every),
                }),
                profile: Arc::clone(&device.profile),
                // The site has checked the pattern.
                dialect: Dialect::new(format, device.slave).ok()?,
                timeout: device.timeout,
                beat: Beat {
                    every: device.every,
                    dense: None,
                    due: if format.mode == Mode::Stream { due + device.every } else { due },
                    failures: 0,
                    mode: format.mode,
                },
                before: begun,
                garbled: false,
                newest: None,
            })
        };
        Some(Self {
            id: spec.id,
            site: Arc::clone(site),
            stop: None,
            name: spec.settings.name.clone(),
            mode: format.mode,
            master: TextMaster::new(spec.settings.clone(), &format),
            speakers: (0..).zip(specs()).filter_map(speaker).collect(),
            stats: Stats::new(spec.devices.len()),
            ports,
            losses: Losses::default(),
        })
    }

    /// Lets others see what passes on the line.
    pub(crate) fn tell(&mut self, listeners: &Listeners) {
        self.master.tap.listeners = Some(listeners.clone());
    }

    /// Goes on with the counts of the task that the line had before.
    pub(crate) fn inherit(&mut self, before: Left) {
        let names = self.speakers.iter().map(|speaker| speaker.name.as_str());
        (self.stats, (self.master.tap.bytes_sent, self.master.tap.bytes_received)) = before.taken(names);
    }

    /// What its successor goes on with.
    pub(crate) fn leave(self) -> Left {
        let bytes = (self.master.tap.bytes_sent, self.master.tap.bytes_received);
        let devices = self.speakers.into_iter().map(|speaker| speaker.name).collect();
        Left { stats: self.stats, devices, bytes }
    }

    /// Polls until the core is gone, or the line is to be polled in another way.
    pub(crate) async fn run(&mut self) {
        while self.obey() {
            let ended = match self.mode {
                Mode::Ask => self.ask().await,
                Mode::Stream => self.listen().await,
            };
            if ended.is_err() {
                return;
            }
        }
    }

    /// Takes new orders; whether this task is the one to follow them.
    fn obey(&mut self) -> bool {
        if self.stop.as_ref().is_some_and(|stop| *stop.borrow()) {
            return false;
        }
        if !self.ports.orders.has_changed().unwrap_or(false) {
            return true;
        }
        let Orders { site, dense } = self.ports.orders.borrow_and_update().clone();
        if !Arc::ptr_eq(&site, &self.site) && !self.turn_to(site) {
            return false;
        }
        self.densify(&dense);
        true
    }

    /// Goes on by other documents over the same connection, when the same sensors are heard as before. Whether that is possible.
    fn turn_to(&mut self, site: Arc<Site>) -> bool {
        let lines = diff::named(&self.site, &self.name).zip(diff::named(&site, &self.name));
        let same = |(was, is): &(&LineSpec, &LineSpec)| {
            diff::same_connection(&self.site, &site, &self.name)
                && same_speakers((&self.site, was), (&site, is))
        };
        let Some((_, is)) = lines.filter(same) else { return false };
        let names = named_specs(&site, is);
        for speaker in &mut self.speakers {
            speaker.id = names.get(speaker.name.as_str()).map_or(speaker.id, |spec| spec.id);
        }
        self.id = is.id;
        self.site = site;
        true
    }

    /// Asks the sensor that is due first.
    async fn ask(&mut self) -> Result<(), mpsc::error::SendError<Polled>> {
        let first = self.speakers.iter().enumerate().min_by_key(|(_, speaker)| speaker.beat.due);
        let Some((index, due)) = first.map(|(index, speaker)| (index, speaker.beat.due)) else {
            return std::future::pending().await;
        };
        tokio::select! {
            () = sleep_until(due) => {}
            () = commanded(&mut self.ports.orders) => return Ok(()),
            () = stopped(self.stop.as_mut()) => return Ok(()),
        }
        let Some(speaker) = self.speakers.get(index) else { return Ok(()) };
        let start = now();
        let told = self.master.ask(&speaker.dialect, speaker.timeout, &mut self.losses).await;
        let outcome = told.outcome.map(|words| (words, told.ended)).map_err(|failure| (failure, told.ended));
        self.report(index, start, outcome).await
    }

    /// Listens until a line comes or a poll is due, and hands on what is due.
    async fn listen(&mut self) -> Result<(), mpsc::error::SendError<Polled>> {
        let Some(wake) = self.speakers.iter().map(Speaker::wake).min() else {
            return std::future::pending().await;
        };
        let heard = tokio::select! {
            heard = self.master.hear(wake, &mut self.losses) => heard,
            () = commanded(&mut self.ports.orders) => return Ok(()),
            () = stopped(self.stop.as_mut()) => return Ok(()),
        };
        for line in heard.iter().flatten() {
            self.take(line);
        }
        let now = now();
        for index in 0..self.speakers.len() {
            let Some(speaker) = self.speakers.get_mut(index).filter(|speaker| speaker.wake() <= now) else {
                continue;
            };
            let start = speaker.before;
            let outcome = match speaker.newest.take() {
                Some(newest) => Ok(newest),
                None => {
                    self.master.missed(&mut self.losses);
                    let failure = match (self.master.trouble(), speaker.garbled) {
                        (Some(_), _) => Failure::LineDown,
                        (None, true) => Failure::BadFrame,
                        (None, false) => Failure::Timeout,
                    };
                    self.master.tap.ended(&Err::<(), _>(failure), self.master.trouble(), now);
                    Err((failure, now))
                }
            };
            self.report(index, start, outcome).await?;
        }
        Ok(())
    }

    /// Takes the command which devices are polled denser.
    fn densify(&mut self, wanted: &BTreeSet<DeviceId>) {
        let now = now();
        for speaker in &mut self.speakers {
            let dense = speaker.every_in_alarm.filter(|_| wanted.contains(&speaker.id));
            speaker.beat.densify(dense, now);
        }
    }

    /// Keeps a line for the sensor that it is of.
    fn take(&mut self, line: &Line) {
        let mut refused = None;
        for speaker in &mut self.speakers {
            match speaker.dialect.read(&line.bytes) {
                Ok(words) => {
                    speaker.newest = Some((words, line.at));
                    self.master.answered(line);
                    return;
                }
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        if let Some(why) = refused {
            self.losses.record(Loss::from(why), &self.name, 1);
            for speaker in &mut self.speakers {
                speaker.garbled = true;
            }
        }
    }

    async fn report(
        &mut self,
        index: usize,
        start: Instant,
        outcome: Result<(Words, Instant), (Failure, Instant)>,
    ) -> Result<(), mpsc::error::SendError<Polled>> {
        let Some(speaker) = self.speakers.get_mut(index) else { return Ok(()) };
        speaker.garbled = false;
        speaker.before = speaker.beat.due;
        let missed = speaker.beat.step(outcome.is_ok(), now());
        let (sent, ended) = match &outcome {
            Ok((_, at)) | Err((_, at)) => (start.min(*at), *at),
        };
        // Who speaks by itself was asked nothing: its line is busy while it speaks.
        let sent = if self.mode == Mode::Stream { ended } else { sent };
        let told = outcome.as_ref().map(|_| Vec::new()).map_err(|(failure, _)| *failure);
        self.stats.record(index, &Exchange { outcome: told, sent, ended });
        self.losses.record(Loss::MissedPoll, &speaker.name, missed);
        let (at, failure) = match &outcome {
            Ok((_, at)) => (self.ports.clock.at(*at), None),
            Err((failure, at)) => (self.ports.clock.at(*at), Some(reason_of(*failure))),
        };
        let raws = match (&outcome, &failure) {
            (Err(_), Some(reason)) => vec![(at, Err(reason.clone())); speaker.profile.fields.len()],
            (Ok((words, _)), _) => decode_words(&speaker.profile, words, at),
            (Err(_), None) => Vec::new(),
        };
        let batch = RawBatch { device: speaker.id, start: self.ports.clock.at(start).min(at), end: at, raws };
        let trouble = self.master.trouble().map(str::to_owned);
        let losses = self.losses.drain();
        let (bytes_sent, bytes_received) = (self.master.tap.bytes_sent, self.master.tap.bytes_received);
        let line = Figures { bytes_sent, bytes_received, ..self.stats.line(now()) };
        let figures = (line, self.stats.device(index, now()));
        self.ports
            .polled
            .send(Polled {
                batch,
                failure,
                line: self.id,
                trouble,
                advice: None,
                firmware: None,
                woken: 0,
                audits: Vec::new(),
                losses,
                figures,
                site: Arc::clone(&self.site),
            })
            .await
    }
}

/// How the text sensors of a line speak, for who traces it; `None` for a line that speaks Modbus.
pub(crate) fn speakers(site: &Site, line: &LineSpec) -> Option<Speakers> {
    let specs = || line.devices.iter().filter_map(|place| site.devices.get(*place));
    let terminator = specs().find_map(|spec| Some(spec.profile.text.as_ref()?.terminator.clone()))?;
    let dialect = |spec: &DeviceSpec| {
        let dialect = Dialect::new(spec.profile.text.as_ref()?, spec.slave).ok()?;
        Some((site.catalog.device(spec.id)?.name.clone(), dialect))
    };
    Some(Speakers { terminator, dialects: specs().filter_map(dialect).collect() })
}

/// Whether a line is one of text sensors.
pub(crate) fn speaks(site: &Site, line: &LineSpec) -> bool {
    let mut specs = line.devices.iter().filter_map(|place| site.devices.get(*place));
    specs.any(|spec| spec.profile.text.is_some())
}

/// Whether the same sensors stand on a line, and are heard as before.
pub(crate) fn same_speakers((old, was): (&Site, &LineSpec), (new, is): (&Site, &LineSpec)) -> bool {
    let (was, is) = (named_specs(old, was), named_specs(new, is));
    was.len() == is.len()
        && was.iter().all(|(name, was)| is.get(name).is_some_and(|is| diff::same_device(was, is)))
}

fn named_specs<'a>(site: &'a Site, line: &LineSpec) -> BTreeMap<&'a str, &'a DeviceSpec> {
    let specs = line.devices.iter().filter_map(|place| site.devices.get(*place));
    specs.filter_map(|spec| Some((site.catalog.device(spec.id)?.name.as_str(), spec))).collect()
}

impl Speaker {
    /// When there is something to say of it: at its poll, or, when no line has come by then, its timeout later.
    fn wake(&self) -> Instant {
        let due = self.beat.due;
        if self.newest.is_some() { due } else { due + self.timeout.min(self.beat.every()) }
    }
}

impl Beat {
    /// The period now.
    fn every(&self) -> Duration {
        self.dense.unwrap_or(self.every)
    }

    /// Polls every `every` from now on; `None` ends that.
    fn densify(&mut self, every: Option<Duration>, now: Instant) {
        if every != self.dense {
            self.dense = every;
            self.due = self.due.min(now + self.every());
        }
    }

    /// Moves on from a poll that ended at `now`; how many were missed on the way.
    fn step(&mut self, good: bool, now: Instant) -> u64 {
        self.failures = if good { 0 } else { self.failures.saturating_add(1) };
        let every = self.every();
        let every_ms = every.as_millis().max(1);
        let behind = now.saturating_duration_since(self.due).as_millis() / every_ms;
        // Who only listens holds nobody up.
        let doublings = match self.mode {
            Mode::Ask => self.failures.saturating_sub(FAILURES_FREE - 1).min(6),
            Mode::Stream => 0,
        };
        let pause = every.saturating_mul((1 << doublings) - 1).min(PAUSE_MAX).as_millis() / every_ms;
        let missed = u32::try_from(behind.saturating_add(pause)).unwrap_or(u32::MAX);
        self.due += every.saturating_mul(missed.saturating_add(1));
        u64::from(missed)
    }
}

#[expect(clippy::disallowed_methods, reason = "a task of a line lives in the line's time")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(mode: Mode) -> Beat {
        Beat { every: Duration::from_secs(1), dense: None, due: now(), failures: 0, mode }
    }

    #[test]
    fn no_drift_and_missed_polls_are_counted() {
        let mut beat = beat(Mode::Ask);
        let begun = beat.due;
        assert_eq!(beat.step(true, begun + Duration::from_millis(70)), 0);
        assert_eq!(beat.due, begun + Duration::from_secs(1), "70 ms are not carried on");
        assert_eq!(beat.step(true, begun + Duration::from_millis(4_500)), 3);
        assert_eq!(beat.due, begun + Duration::from_secs(5));
    }

    #[test]
    fn a_denser_period_begins_at_once_and_ends_on_its_grid() {
        let mut beat = beat(Mode::Ask);
        let begun = beat.due;
        beat.step(true, begun);
        beat.densify(Some(Duration::from_millis(100)), begun + Duration::from_millis(300));
        assert_eq!(beat.due, begun + Duration::from_millis(400));
        assert_eq!(beat.step(true, beat.due), 0);
        assert_eq!(beat.due, begun + Duration::from_millis(500));
        beat.densify(None, beat.due);
        assert_eq!((beat.step(true, beat.due), beat.due), (0, begun + Duration::from_millis(1500)));
    }

    #[test]
    fn who_does_not_answer_is_asked_less_often_and_who_streams_is_not() {
        let pauses = |mode| -> Vec<u64> {
            let mut beat = beat(mode);
            (0..11).map(|_| beat.step(false, beat.due)).collect()
        };
        assert_eq!(pauses(Mode::Ask), [0, 0, 1, 3, 7, 15, 31, 60, 60, 60, 60]);
        assert_eq!(pauses(Mode::Stream), [0; 11]);
        let mut beat = beat(Mode::Ask);
        (0..9).for_each(|_| {
            beat.step(false, beat.due);
        });
        assert_eq!(
            (beat.step(true, beat.due), beat.step(false, beat.due)),
            (0, 0),
            "one answer makes it well"
        );
    }
}
