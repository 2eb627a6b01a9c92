//! What is known of one sensor: when it was last heard, when it last had a sample, and what is wrong with that.
//!
//! In: the readings of its polls. Out: [`Seen`], a plain memory that survives a restart.
//! Invariant: no sample is ever made up: a poll without an answer moves nothing but the reason.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::reading::{Doubt, Reading, Reason, Sample};
use crate::risk::share::Share;

/// What one poll says of its sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The device spoke: an answer, a refusal, or its own fault.
    pub heard: bool,
    /// It gave samples, good or bad ones.
    pub sampled: bool,
    /// Why they are not good; `None` when they are.
    pub wrong: Option<String>,
}

/// Reads a poll: the points that count are those a rule looks at, or all when no rule does.
///
/// A doubt about the clock or the calibration leaves a sample good here: those are told by rungs of their own.
pub fn told<'a>(readings: impl IntoIterator<Item = &'a Reading>, has_session: bool) -> Option<Told> {
    let mut told: Option<Told> = None;
    for reading in readings {
        let (heard, sampled, wrong) = match &reading.sample {
            Sample::Good(_) | Sample::Uncertain(_, Doubt::Clock | Doubt::Calibration) => (true, true, None),
            Sample::Uncertain(_, doubt) => (true, true, Some(doubt.name().to_owned())),
            // A device that is left alone says nothing, and did not fail to.
            Sample::Bad(Reason::NotPolled | Reason::Input(_)) => continue,
            Sample::Bad(reason @ Reason::Timeout) => (has_session, false, Some(reason.words())),
            Sample::Bad(reason @ (Reason::LineDown | Reason::BadFrame)) => {
                (false, false, Some(reason.words()))
            }
            Sample::Bad(reason @ Reason::Exception(_)) => (true, false, Some(reason.words())),
            Sample::Bad(reason) => (true, true, Some(reason.words())),
        };
        let all = told.get_or_insert(Told { heard: false, sampled: false, wrong: None });
        all.heard |= heard;
        all.sampled |= sampled;
        all.wrong = all.wrong.take().or(wrong);
    }
    told
}

/// The memory of one sensor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The first poll that is known of.
    pub since: Option<Timestamp>,
    /// The last time that the device spoke.
    pub heard: Option<Timestamp>,
    /// Its newest sample.
    pub sampled: Option<Timestamp>,
    /// What is wrong with the newest poll, and since when; `None` when nothing is.
    pub wrong: Option<(String, Timestamp)>,
    /// A day's samples.
    pub share: Share,
    /// The newest poll.
    #[serde(default)]
    pub last: Option<Timestamp>,
}

impl Seen {
    /// Takes one poll of this time.
    pub fn take(&mut self, told: Told, at: Timestamp) {
        self.since.get_or_insert(at);
        self.last = self.last.max(Some(at));
        if told.heard {
            self.heard = self.heard.max(Some(at));
        }
        if told.sampled {
            self.sampled = self.sampled.max(Some(at));
        }
        self.share.record(at, told.wrong.is_none());
        self.wrong = match (told.wrong, self.wrong.take()) {
            (Some(now), Some((before, since))) if now == before => Some((before, since)),
            // Another reason, and still no good sample: wrong since the first of them.
            (Some(now), Some((_, since))) => Some((now, since)),
            (Some(now), None) => Some((now, at)),
            (None, _) => None,
        };
    }

    /// The wall clock was stepped by `ms`: what was seen lately moves with it.
    pub fn shifted(&mut self, ms: i64) {
        for at in [&mut self.since, &mut self.heard, &mut self.sampled, &mut self.last] {
            *at = at.map(|at| at.shifted(ms));
        }
        self.wrong = self.wrong.take().map(|(why, at)| (why, at.shifted(ms)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::PointId;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn poll(samples: &[Sample], has_session: bool) -> Option<Told> {
        let reading = |sample: &Sample| Reading { point: PointId(0), at: at(0), sample: sample.clone() };
        told(samples.iter().map(reading).collect::<Vec<_>>().iter(), has_session)
    }

    #[test]
    fn what_a_poll_says() {
        let bad = |reason: Reason| Sample::Bad(reason);
        let cases = [
            (vec![Sample::Good(1.0)], false, (true, true, None)),
            (vec![Sample::Uncertain(1.0, Doubt::Calibration)], false, (true, true, None)),
            (
                vec![Sample::Good(1.0), Sample::Uncertain(1.0, Doubt::Spike)],
                false,
                (true, true, Some("spike")),
            ),
            (
                vec![bad(Reason::SensorFault("loop-low".into()))],
                false,
                (true, true, Some("sensor-fault: loop-low")),
            ),
            (vec![bad(Reason::Timeout)], false, (false, false, Some("timeout"))),
            // A DTU that is there with a sensor behind it that is not.
            (vec![bad(Reason::Timeout)], true, (true, false, Some("timeout"))),
            (vec![bad(Reason::LineDown)], true, (false, false, Some("line-down"))),
            (vec![Sample::Good(1.0), bad(Reason::Timeout)], false, (true, true, Some("timeout"))),
        ];
        for (samples, has_session, (heard, sampled, wrong)) in cases {
            let want = Told { heard, sampled, wrong: wrong.map(str::to_owned) };
            assert_eq!(poll(&samples, has_session), Some(want), "{samples:?}");
        }
        assert_eq!(poll(&[bad(Reason::NotPolled)], false), None);
    }

    #[test]
    fn wrong_since_the_first_of_a_row() {
        let mut seen = Seen::default();
        let told = |wrong: Option<&str>| Told {
            heard: true,
            sampled: wrong.is_none(),
            wrong: wrong.map(str::to_owned),
        };
        seen.take(told(None), at(10));
        seen.take(told(Some("timeout")), at(20));
        seen.take(told(Some("bad-frame")), at(30));
        assert_eq!(seen.wrong, Some(("bad-frame".to_owned(), at(20))));
        assert_eq!((seen.heard, seen.sampled), (Some(at(30)), Some(at(10))));
        seen.take(told(None), at(40));
        assert_eq!(seen.wrong, None);
    }
}
