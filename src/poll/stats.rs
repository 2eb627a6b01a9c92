//! What the requests of a line came to: counts, answer times and load, for the line and for each of its devices.
//!
//! In: finished exchanges. Out: [`Figures`] since the start.
//! Invariant: memory is bounded whatever comes; every request is counted once, as a reply or as one fault; requests that overlap in time
//! make the line busy once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::{Exchange, Failure};

/// What one device's or one line's requests came to since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Requests that ended: replies and faults together.
    pub requests: u64,
    /// Answers with the cells asked for.
    pub replies: u64,
    /// Deadlines that passed.
    pub timeouts: u64,
    /// Damaged answers.
    pub bad_frames: u64,
    /// Requests without a port or connection.
    pub line_downs: u64,
    /// Refusals by exception code, in order of the code; codes that never came are absent.
    pub exceptions: Vec<(u8, u64)>,
    /// From the request's first byte to the answer's last one; replies and exceptions.
    pub answers: AnswerTimes,
    /// Time in which a request was under way: from its first byte to the last one of its answer, or its deadline.
    pub busy: Duration,
    /// Share of the last minute (of the time since the first request, when that's shorter) that was busy, 0 to 1.
    pub load: f64,
    /// The time that the load is of; nothing while the line is not open.
    pub load_over: Duration,
    /// Bytes sent; of a line only.
    pub bytes_sent: u64,
    /// Bytes received, whatever they were; of a line only.
    pub bytes_received: u64,
}

/// Answer times. A percentile is never below the true one, and at most an eighth above it; the largest is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerTimes {
    /// How many.
    pub count: u64,
    /// All together.
    pub sum: Duration,
    /// Half of the answers came within this.
    pub p50: Duration,
    /// Nine of ten came within this.
    pub p90: Duration,
    /// 99 of 100 came within this.
    pub p99: Duration,
    /// The slowest.
    pub max: Duration,
}

impl Figures {
    /// Requests that got no reply.
    pub fn faults(&self) -> u64 {
        self.requests.saturating_sub(self.replies)
    }

    /// Each fault that came, by its name as in readings (`timeout`, `exception-2`), with its count.
    pub fn by_fault(&self) -> Vec<(String, u64)> {
        let plain =
            [("timeout", self.timeouts), ("bad-frame", self.bad_frames), ("line-down", self.line_downs)];
        let plain = plain.into_iter().map(|(name, count)| (name.to_owned(), count));
        let refusals = self.exceptions.iter().map(|(code, count)| (format!("exception-{code}"), *count));
        plain.chain(refusals).filter(|(_, count)| *count > 0).collect()
    }
}

/// The counts of one line and of its devices.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    line: Tally,
    devices: Vec<Tally>,
}

impl Stats {
    /// For a line with this many devices.
    pub fn new(devices: usize) -> Self {
        Self { line: Tally::default(), devices: vec![Tally::default(); devices] }
    }

    /// The counts for a line whose devices stood at these places before; `None` for new ones.
    pub fn rearranged(&self, before: &[Option<usize>]) -> Self {
        let of = |place: &Option<usize>| place.and_then(|place| self.devices.get(place)).cloned();
        let devices = before.iter().map(|place| of(place).unwrap_or_default()).collect();
        Self { line: self.line.clone(), devices }
    }

    /// Counts an exchange with the line's device `index`.
    pub fn record(&mut self, index: usize, exchange: &Exchange) {
        self.line.record(exchange);
        if let Some(device) = self.devices.get_mut(index) {
            device.record(exchange);
        }
    }

    /// The figures of the line at `now`.
    pub fn line(&self, now: Instant) -> Figures {
        self.line.snapshot(now)
    }

    /// The figures of its device `index` at `now`.
    pub fn device(&self, index: usize, now: Instant) -> Figures {
        self.devices.get(index).map_or_else(Figures::default, |device| device.snapshot(now))
    }
}

/// The counts of one device or one line: about 1.7 kB.
///
/// ```
/// use std::time::Duration;
/// use lifeline_gateway::bus::{Exchange, Failure};
/// use lifeline_gateway::poll::stats::Tally;
///
/// # let start = tokio::time::Instant::from_std(std::time::Instant::now());
/// let mut tally = Tally::default();
/// let at = |ms| start + Duration::from_millis(ms);
/// tally.record(&Exchange { outcome: Ok(vec![1]), sent: at(0), ended: at(20) });
/// tally.record(&Exchange { outcome: Err(Failure::Timeout), sent: at(50), ended: at(80) });
/// let figures = tally.snapshot(at(100));
/// assert_eq!((figures.requests, figures.replies, figures.timeouts), (2, 1, 1));
/// assert_eq!(figures.answers.max, Duration::from_millis(20));
/// assert_eq!(figures.load, 0.5);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tally {
    requests: u64,
    replies: u64,
    timeouts: u64,
    bad_frames: u64,
    line_downs: u64,
    /// At most 256.
    exceptions: BTreeMap<u8, u64>,
    answers: Histogram,
    busy: Duration,
    /// Up to here the line's time is accounted for.
    busy_until: Option<Instant>,
    /// Busy time so far, at the begin of the window and every tenth of a minute since.
    marks: VecDeque<(Instant, Duration)>,
}

/// The load's window is cut into these.
const MARK_EVERY: Duration = Duration::from_secs(6);
/// The marks of one window, and the one before it.
const MARKS: usize = 11;

impl Tally {
    /// Counts one exchange; they come in the order in which they ended.
    pub fn record(&mut self, exchange: &Exchange) {
        self.requests += 1;
        let answered = match exchange.outcome {
            Ok(_) => {
                self.replies += 1;
                true
            }
            Err(Failure::Exception(code)) => {
                *self.exceptions.entry(code).or_default() += 1;
                true
            }
            Err(Failure::Timeout) => {
                self.timeouts += 1;
                false
            }
            Err(Failure::BadFrame) => {
                self.bad_frames += 1;
                false
            }
            Err(Failure::LineDown) => {
                self.line_downs += 1;
                false
            }
        };
        if answered {
            self.answers.record(exchange.ended.saturating_duration_since(exchange.sent));
        }
        // A line that is not open is not busy.
        if exchange.outcome != Err(Failure::LineDown) {
            self.occupy(exchange.sent, exchange.ended);
        }
    }

    /// The figures at `now`.
    pub fn snapshot(&self, now: Instant) -> Figures {
        let (load, load_over) = self.load(now);
        Figures {
            requests: self.requests,
            replies: self.replies,
            timeouts: self.timeouts,
            bad_frames: self.bad_frames,
            line_downs: self.line_downs,
            exceptions: self.exceptions.iter().map(|(code, count)| (*code, *count)).collect(),
            answers: self.answers.times(),
            busy: self.busy,
            load,
            load_over,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    fn occupy(&mut self, sent: Instant, ended: Instant) {
        let from = self.busy_until.map_or(sent, |until| until.max(sent));
        if self.marks.back().is_none_or(|(at, _)| *at + MARK_EVERY <= from) {
            if self.marks.len() == MARKS {
                self.marks.pop_front();
            }
            self.marks.push_back((from, self.busy));
        }
        self.busy += ended.saturating_duration_since(from);
        self.busy_until = Some(from.max(ended));
    }

    /// The load and the time it is of: a minute, or from the poll before on where polls are rarer.
    fn load(&self, now: Instant) -> (f64, Duration) {
        let window = MARK_EVERY * 10;
        let age = |at: Instant| now.saturating_duration_since(at);
        let recent = self.busy_until.filter(|until| age(*until) <= window);
        let whole = || self.marks.iter().rev().find(|(at, _)| window <= age(*at));
        let begin = recent.and_then(|_| whole().or_else(|| self.marks.front()));
        let Some((since, before)) = begin else { return (0.0, Duration::ZERO) };
        let (span, busy) = (age(*since), (self.busy - *before).as_secs_f64());
        (if span.is_zero() { 0.0 } else { (busy / span.as_secs_f64()).min(1.0) }, span)
    }
}

/// Steps of each doubling of the time.
const STEPS: u64 = 8;
/// Steps in all: 1 microsecond to 2^27 (134 s), twice the longest timeout.
const SLOTS: usize = 200;

/// Answer times in microseconds by size: exact below 8, then eight steps for each doubling.
#[derive(Clone, Debug)]
struct Histogram {
    slots: Box<[u64; SLOTS]>,
    count: u64,
    sum: Duration,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { slots: Box::new([0; SLOTS]), count: 0, sum: Duration::ZERO, max: Duration::ZERO }
    }
}

impl Histogram {
    fn record(&mut self, time: Duration) {
        let last = SLOTS - 1;
        if let Some(slot) = self.slots.get_mut(slot_of(micros(time)).min(last)) {
            *slot += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
        self.max = self.max.max(time);
    }

    fn times(&self) -> AnswerTimes {
        AnswerTimes {
            count: self.count,
            sum: self.sum,
            p50: self.within(50),
            p90: self.within(90),
            p99: self.within(99),
            max: self.max,
        }
    }

    /// The end of the step in which `percent` of the times are reached, and never more than the largest time.
    fn within(&self, percent: u64) -> Duration {
        let wanted = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (slot, count) in self.slots.iter().enumerate() {
            seen += count;
            if 0 < wanted && wanted <= seen {
                return Duration::from_micros(end_of(slot)).min(self.max);
            }
        }
        Duration::ZERO
    }
}

/// A part of a microsecond counts as a whole one, so that no step ends before its times.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}

fn slot_of(micros: u64) -> usize {
    let Some(octave) = micros.checked_ilog2().and_then(|log| log.checked_sub(STEPS.ilog2())) else {
        return usize::try_from(micros).unwrap_or(0);
    };
    let step = (micros >> octave) - STEPS;
    usize::try_from(STEPS * (u64::from(octave) + 1) + step).unwrap_or(usize::MAX)
}

/// The largest time of a step, in microseconds.
fn end_of(slot: usize) -> u64 {
    let slot = u64::try_from(slot).unwrap_or(0);
    match (slot / STEPS).checked_sub(1) {
        None => slot,
        Some(octave) => ((STEPS + slot % STEPS + 1) << octave) - 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        Instant::from_std(std::time::Instant::now())
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn steps_follow_each_other_without_gap() {
        for (micros, slot, end) in [
            (0, 0, 0),
            (7, 7, 7),
            (8, 8, 8),
            (15, 15, 15),
            (16, 16, 17),
            (17, 16, 17),
            (18, 17, 19),
            (31, 23, 31),
            (32, 24, 35),
            (1000, 63, 1023),
            (1_000_000, 143, 1_048_575),
            (60_000_000, 190, 62_914_559),
            ((1 << 27) - 1, 199, (1 << 27) - 1),
        ] {
            assert_eq!((slot_of(micros), end_of(slot_of(micros))), (slot, end), "{micros}");
        }
        for slot in 1..SLOTS {
            assert_eq!(slot_of(end_of(slot - 1) + 1), slot);
        }
    }

    #[test]
    fn percentiles_of_known_times() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.times(), AnswerTimes::default());
        for time in 1..=100 {
            histogram.record(ms(time));
        }
        let times = histogram.times();
        assert_eq!((times.count, times.sum, times.max), (100, ms(5050), ms(100)));
        for (found, truth) in [(times.p50, 50), (times.p90, 90), (times.p99, 99)] {
            assert!(ms(truth) <= found && found <= ms(truth) * 9 / 8, "{found:?} for {truth} ms");
        }
    }

    proptest! {
        #[test]
        fn a_percentile_is_at_most_an_eighth_too_large(mut times in prop::collection::vec(0_u64..120_000_000, 1..300)) {
            let mut histogram = Histogram::default();
            for time in &times {
                histogram.record(Duration::from_micros(*time));
            }
            times.sort_unstable();
            let found = histogram.times();
            for (found, percent) in [(found.p50, 50), (found.p90, 90), (found.p99, 99)] {
                let truth = Duration::from_micros(times[(times.len() * percent).div_ceil(100) - 1]);
                prop_assert!(truth <= found && found <= truth * 9 / 8, "{found:?} for {truth:?}");
            }
        }

        #[test]
        fn any_time_has_a_step(time in any::<u64>()) {
            let mut histogram = Histogram::default();
            histogram.record(Duration::from_micros(time));
            prop_assert_eq!(histogram.slots.iter().sum::<u64>(), 1);
        }
    }

    #[test]
    fn every_request_is_counted_once() {
        let (mut stats, begin) = (Stats::new(2), start());
        let outcomes = [
            (0, Ok(vec![1])),
            (0, Err(Failure::Timeout)),
            (0, Err(Failure::Exception(2))),
            (1, Err(Failure::BadFrame)),
            (1, Err(Failure::LineDown)),
            (1, Err(Failure::Exception(2))),
            (1, Err(Failure::Exception(11))),
        ];
        for (device, outcome) in outcomes {
            stats.record(device, &Exchange { outcome, sent: begin, ended: begin + ms(10) });
        }
        let line = stats.line(begin + ms(10));
        assert_eq!((line.requests, line.replies, line.faults()), (7, 1, 6));
        assert_eq!(line.answers.count, 4, "a refusal is an answer in time");
        let named = |figures: Figures| {
            figures.by_fault().iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>()
        };
        assert_eq!(
            named(line),
            ["timeout 1", "bad-frame 1", "line-down 1", "exception-2 2", "exception-11 1"]
        );
        assert_eq!(named(stats.device(0, begin)), ["timeout 1", "exception-2 1"]);
        assert_eq!(stats.device(2, begin), Figures::default());
    }

    #[test]
    fn load_is_the_share_of_the_last_minute() {
        let (mut tally, begin) = (Tally::default(), start());
        let mut ask = |from: u64, to: u64| {
            let exchange = Exchange { outcome: Ok(vec![0]), sent: begin + ms(from), ended: begin + ms(to) };
            tally.record(&exchange);
            format!("{:.3}", tally.snapshot(begin + ms(to)).load)
        };
        assert_eq!(ask(0, 100), "1.000");
        assert_eq!(ask(300, 400), "0.500");
        // Pipelined requests overlap: from 400 to 700 the line was busy once.
        ask(400, 600);
        assert_eq!(ask(450, 700), "0.714");
        // Two minutes at a tenth: nothing of the begin is left.
        let last = (1..=120).map(|second| ask(second * 1000, second * 1000 + 100)).last();
        assert!(last.as_deref().is_some_and(|load| load.starts_with("0.10")), "{last:?}");
        assert!(tally.marks.len() <= MARKS);
        assert!(tally.snapshot(begin + ms(1_000_000)).load.abs() < 1e-9, "nothing for a long time");
    }

    #[test]
    fn a_load_needs_a_window_and_an_open_line() {
        let (mut tally, begin) = (Tally::default(), start());
        let mut ask = |outcome, from: u64, to: u64| {
            tally.record(&Exchange { outcome, sent: begin + ms(from), ended: begin + ms(to) });
            let figures = tally.snapshot(begin + ms(to));
            (format!("{:.3}", figures.load), figures.load_over)
        };
        assert_eq!(ask(Err(Failure::LineDown), 0, 30_000), ("0.000".to_owned(), Duration::ZERO));
        assert_eq!(ask(Ok(vec![0]), 40_000, 41_000).1, Duration::from_secs(1));
        // Polled every five minutes, for a second each.
        assert_eq!(ask(Ok(vec![0]), 340_000, 341_000), ("0.007".to_owned(), Duration::from_secs(301)));
    }
}
