//! Which request a sink makes next: three lanes, one outage, durable progress. No I/O, no clock.
//!
//! In: the newest commit, how each request ended, time. Out: [`Job`]s, at most one of each lane at a time, and [`Progress`].
//! Invariant: a commit leaves `live` only by being delivered or by standing in `gaps`, and leaves `gaps` only by being
//! delivered; after an outage the newest commit is asked for before any older one.
//! Source: DESIGN promises 2, 3, 4 and section 9.

mod job;
mod post;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::forward::backoff::{Backoff, Pace};
use crate::forward::gaps::{add, remove};
use crate::forward::lanes::post::{Outage, Post};
use crate::forward::sink::{Doubt, Refusal};
use crate::forward::trouble::Kind;
use crate::journal::{Progress, Seq, Span};

pub use job::{Job, Lane, Outcome};

/// Commits that the live lane may be behind before it leaves them to the backlog.
const LAG_MAX: u64 = 30;
/// Whole requests refused in a row before the lane takes it for a wrong setting and not for poison.
const REFUSED_ROW: u32 = 3;
/// Records in a request from which a refused half is a wrong setting.
const REFUSED_FROM: u64 = 4;
/// Failures of one lane in a row after which its requests shrink.
const SHRINK_FROM: u32 = 3;
/// A request shrinks to this power of a half at most.
const SHRINK_MAX: u32 = 10;
/// Quick answers in a row after which a lane's requests grow again.
const GROW_FROM: u32 = 4;
/// Failures of one lane in a row, and for how long, while another lane's requests are taken, after which a record of its is the cause.
const SUSPECT_FROM: u32 = 10;
const SUSPECT_AFTER: Duration = Duration::from_secs(600);

/// The state machine of one sink.
#[derive(Clone, Debug)]
pub struct Lanes {
    progress: Progress,
    newest: Seq,
    backoff: Backoff,
    posts: [Post; 3],
    outage: Option<Outage>,
    /// The newest commit that the alarms lane has looked behind.
    alarms_seen: Seq,
    alarms_asked: Seq,
    /// The live lane gives what it missed to the backlog and goes on at the newest commit.
    jump: bool,
    /// A live request has been delivered since the last outage.
    fresh: bool,
    moved: bool,
    /// A record has been taken since the start.
    took: bool,
    /// See [`Lanes::shown`].
    shown: bool,
    kinds: BTreeMap<Kind, u64>,
}

impl Lanes {
    /// Lanes that go on from `progress`; all commits up to `newest` that it does not know become backlog. `seed` feeds the jitter.
    pub fn new(mut progress: Progress, newest: Seq, pace: Pace, seed: u64) -> Self {
        // A journal restored from an older copy knows fewer commits than were confirmed.
        progress.live = progress.live.min(newest);
        let end = after(progress.live);
        progress.gaps.retain_mut(|gap| {
            gap.to = gap.to.min(end);
            gap.from < gap.to
        });
        let mut lanes = Self {
            progress,
            newest,
            backoff: Backoff::new(pace, seed),
            posts: Default::default(),
            outage: None,
            alarms_seen: Seq(0),
            alarms_asked: Seq(0),
            jump: false,
            fresh: false,
            moved: false,
            took: false,
            shown: false,
            kinds: BTreeMap::new(),
        };
        lanes.leave_to_backlog(newest);
        lanes
    }

    /// There is a newer commit.
    pub fn committed(&mut self, newest: Seq) {
        self.newest = self.newest.max(newest);
    }

    /// The next request to make, alarms before live before backlog; call until `None`.
    pub fn take(&mut self, now: Instant) -> Option<Job> {
        let first = match &self.outage {
            Some(outage) if now < outage.until || self.posts.iter().any(|post| post.flying.is_some()) => {
                return None;
            }
            Some(outage) => outage.turn,
            None => 0,
        };
        let lanes = Lane::ALL.into_iter().cycle().skip(first % Lane::ALL.len()).take(Lane::ALL.len());
        for lane in lanes {
            let post = self.post(lane);
            if post.flying.is_some() || post.until.is_some_and(|until| now < until) {
                continue;
            }
            if let Some(job) = self.work(lane) {
                self.post(lane).flying = Some(job);
                return Some(job);
            }
        }
        None
    }

    /// How many readings (or transitions) the lane's next request may hold, given the configured most.
    pub fn limit(&self, lane: Lane, batch_max: usize) -> usize {
        let halvings = self.posts.get(lane.place()).map_or(0, |post| post.halvings);
        (batch_max >> halvings.min(SHRINK_MAX)).max(1)
    }

    /// Whether the lane's request is what the server cannot take, and not the moment.
    pub fn doubt(&self, lane: Lane, now: Instant) -> Doubt {
        let suspect = self.posts.get(lane.place()).is_some_and(|post| {
            let long =
                post.failing.is_some_and(|since| SUSPECT_AFTER <= now.saturating_duration_since(since));
            post.failures >= SUSPECT_FROM && post.alone && long
        });
        if suspect { Doubt::Poison } else { Doubt::None }
    }

    /// Tells how long a request of the lane took: one that comes near the limit of time is too large for this server and this
    /// network, and several quick ones may become larger again.
    pub fn took(&mut self, lane: Lane, span: Duration) {
        let most = self.backoff.pace.request;
        let post = self.post(lane);
        if span > most / 3 {
            post.halvings = post.halvings.saturating_add(1).min(SHRINK_MAX);
            post.quick = 0;
        } else if span < most / 12 && post.halvings > 0 {
            post.quick = post.quick.saturating_add(1);
            if post.quick >= GROW_FROM {
                (post.halvings, post.quick) = (post.halvings.saturating_sub(1), 0);
            }
        }
    }

    /// Takes the end of a job. `true` when progress moved over it: only then are its records delivered or set aside.
    pub fn done(&mut self, job: Job, outcome: Outcome, now: Instant) -> bool {
        let moved = self.ended(job, outcome, now);
        self.shown |= self.held() || self.works();
        moved
    }

    fn ended(&mut self, job: Job, outcome: Outcome, now: Instant) -> bool {
        let lane = job.lane();
        self.post(lane).flying = None;
        match outcome {
            Outcome::Done { reached, more, records, refused, passed } => {
                if records > 0 {
                    (self.outage, self.took) = (None, true);
                }
                self.post(lane).tried = true;
                if self.misfit(lane, records, refused) {
                    let why =
                        format!("{refused} of {records} records refused: a wrong setting, not a bad record");
                    self.hold(lane, why, now);
                    return false;
                }
                self.delivered(job, reached, more, records);
                self.moved |= passed;
                true
            }
            Outcome::Failed(refusal) => {
                self.failed(lane, refusal, now);
                false
            }
        }
    }

    /// The next moment after `now` at which [`Lanes::take`] may have something although nothing else happens.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        let outage = self.outage.iter().map(|outage| outage.until);
        let pauses = self.posts.iter().filter_map(|post| post.until).chain(outage);
        pauses.filter(|until| now < *until).min()
    }

    /// Whether there is progress to hand on.
    pub const fn moved(&self) -> bool {
        self.moved
    }

    /// Progress, once after each acknowledgement that moved it.
    pub fn take_moved(&mut self) -> Option<Progress> {
        std::mem::take(&mut self.moved).then(|| self.progress.clone())
    }

    /// Puts progress back that could not be handed on.
    pub const fn keep_moved(&mut self) {
        self.moved = true;
    }

    /// Commits that are not delivered yet.
    pub fn backlog(&self) -> u64 {
        let live = self.newest.0.saturating_sub(self.progress.live.0);
        self.progress
            .gaps
            .iter()
            .fold(live, |sum, gap| sum.saturating_add(gap.to.0.saturating_sub(gap.from.0)))
    }

    /// What is wrong: of the sink first, else of its first troubled lane.
    pub fn trouble(&self) -> Option<String> {
        if let Some(outage) = &self.outage {
            return Some(outage.why.clone());
        }
        Lane::ALL
            .into_iter()
            .zip(&self.posts)
            .find_map(|(lane, post)| post.trouble.as_ref().map(|why| format!("{} held: {why}", lane.name())))
    }

    /// Whether the sink takes requests.
    pub const fn up(&self) -> bool {
        self.outage.is_none()
    }

    /// Whether nothing goes on until a person changes something: of the whole sink, or of one lane.
    pub fn held(&self) -> bool {
        self.outage.as_ref().is_some_and(|outage| outage.held)
            || self.posts.iter().any(|post| post.until.is_some())
    }

    /// Whether requests have shown since the start that it is held, or that it is not: what an earlier run was told of it holds until then.
    pub const fn shown(&self) -> bool {
        self.shown
    }

    /// Whether it takes records, and every lane that has something to deliver was tried.
    fn works(&self) -> bool {
        let [alarms, live, backlog] = &self.posts;
        self.took
            && (alarms.tried || self.alarms_seen == self.newest)
            && (live.tried || self.progress.live == self.newest)
            && (backlog.tried || self.progress.gaps.is_empty())
    }

    /// Failed requests so far, by kind.
    pub const fn kinds(&self) -> &BTreeMap<Kind, u64> {
        &self.kinds
    }

    fn post(&mut self, lane: Lane) -> &mut Post {
        let [alarms, live, backlog] = &mut self.posts;
        match lane {
            Lane::Alarms => alarms,
            Lane::Live => live,
            Lane::Backlog => backlog,
        }
    }

    fn work(&mut self, lane: Lane) -> Option<Job> {
        match lane {
            Lane::Alarms => (self.alarms_seen < self.newest).then(|| {
                self.alarms_asked = self.newest;
                Job::Alarms { after: self.progress.alarms }
            }),
            Lane::Live => {
                let lag = self.newest.0.saturating_sub(self.progress.live.0);
                if lag > 1 && (self.jump || lag > LAG_MAX) {
                    self.leave_to_backlog(Seq(self.newest.0.saturating_sub(1)));
                }
                self.jump = false;
                let span = Span { from: after(self.progress.live), to: after(self.newest) };
                (lag > 0).then_some(Job::Live(span))
            }
            Lane::Backlog => {
                let [_, live, _] = &self.posts;
                let live_idle = live.flying.is_none() && self.progress.live == self.newest;
                let live_held = live.until.is_some();
                let span = *self.progress.gaps.first()?;
                (self.fresh || live_idle || live_held).then_some(Job::Backlog(span))
            }
        }
    }

    /// Everything up to `upto` that the live lane has not delivered becomes backlog.
    fn leave_to_backlog(&mut self, upto: Seq) {
        if self.progress.live < upto {
            add(&mut self.progress.gaps, Span { from: after(self.progress.live), to: after(upto) });
            self.progress.live = upto;
        }
    }

    fn delivered(&mut self, job: Job, reached: u64, more: bool, records: u64) {
        self.moved |= records > 0;
        match job {
            Job::Alarms { after } => {
                self.progress.alarms = self.progress.alarms.max(reached.max(after));
                if !more {
                    self.alarms_seen = self.alarms_asked;
                }
            }
            Job::Live(span) => {
                // Nothing else moves `live` while a live job is out.
                self.progress.live = Seq(reached.min(span.to.0).saturating_sub(1)).max(self.progress.live);
                self.jump = reached < span.to.0;
                self.fresh |= records > 0;
            }
            Job::Backlog(span) => {
                remove(&mut self.progress.gaps, Span { from: span.from, to: Seq(reached.min(span.to.0)) });
            }
        }
        let post = self.post(job.lane());
        (post.until, post.trouble, post.failures, post.failing, post.alone) = (None, None, 0, None, false);
        if records > 0 {
            for other in Lane::ALL.into_iter().filter(|lane| *lane != job.lane()) {
                let other = self.post(other);
                other.alone |= other.failing.is_some();
            }
        }
    }

    /// Counts refusals of whole requests; `true` when this one should not be believed to be poison.
    fn misfit(&mut self, lane: Lane, records: u64, refused: u64) -> bool {
        let post = self.post(lane);
        if refused == 0 {
            if records > 0 {
                post.refused = 0;
            }
            return false;
        }
        post.refused = if refused >= records { post.refused.saturating_add(1) } else { 0 };
        let half = refused.saturating_mul(2) > records;
        half && (records >= REFUSED_FROM || post.refused > REFUSED_ROW)
    }

    fn count(&mut self, kind: Kind) {
        self.kinds.entry(kind).and_modify(|count| *count = count.saturating_add(1)).or_insert(1);
    }

    fn hold(&mut self, lane: Lane, why: String, now: Instant) {
        let until = now.checked_add(self.backoff.pace.hold);
        let post = self.post(lane);
        (post.until, post.trouble) = (until, Some(why));
        self.jump |= lane == Lane::Live;
        self.count(Kind::Misfit);
    }

    fn failed(&mut self, lane: Lane, refusal: Refusal, now: Instant) {
        let post = self.post(lane);
        post.failures = post.failures.saturating_add(1);
        post.failing.get_or_insert(now);
        if post.failures >= SHRINK_FROM {
            (post.halvings, post.quick) = (post.halvings.saturating_add(1).min(SHRINK_MAX), 0);
        }
        let (kind, why, asked, answered) = match refusal {
            Refusal::Unfit { why } => {
                self.outage = None;
                return self.hold(lane, why, now);
            }
            Refusal::Denied { kind, why } => (kind, why, Some(self.backoff.pace.hold), true),
            Refusal::Unreachable { kind, why } => (kind, why, None, false),
            Refusal::Busy { kind, why, after } => {
                (kind, why, after.map(|asked| asked.min(self.backoff.pace.ask)), true)
            }
        };
        self.count(kind);
        let (attempts, turn, held) =
            self.outage.as_ref().map_or((0, 0, false), |outage| (outage.attempts, outage.turn, outage.held));
        let cheap = matches!(kind, Kind::Refused | Kind::NoRoute | Kind::Dns);
        let most = if cheap { self.backoff.pace.knock } else { self.backoff.pace.cap };
        let own = self.backoff.pause(attempts, most);
        // Those who were told the same moment must not all come at it.
        let pause = asked.map_or(own, |asked| asked.max(own).saturating_add(self.backoff.jitter(asked / 10)));
        self.outage = Some(Outage {
            until: now.checked_add(pause).unwrap_or(now),
            why,
            attempts: attempts.saturating_add(1),
            // A server that is not reached any more has not shown that it would take anything now.
            held: held || kind.needs_a_person(),
            turn: if answered { lane.place().saturating_add(1) } else { turn },
        });
        self.jump = true;
        self.fresh = false;
    }
}

const fn after(seq: Seq) -> Seq {
    Seq(seq.0.saturating_add(1))
}

#[cfg(test)]
mod tests;
