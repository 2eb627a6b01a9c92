use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::forward::gaps::GAPS_MAX;

const PACE: Pace = Pace {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(30),
    knock: Duration::from_secs(2),
    ask: Duration::from_secs(600),
    hold: Duration::from_secs(60),
    connect: Duration::from_secs(5),
    request: Duration::from_secs(30),
};

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "some instant to count from")]
    Instant::now()
}

fn span(from: u64, to: u64) -> Span {
    Span { from: Seq(from), to: Seq(to) }
}

fn whole(job: Job) -> Outcome {
    let reached = match job {
        Job::Alarms { after } => after,
        Job::Live(span) | Job::Backlog(span) => span.to.0,
    };
    Outcome::Done { reached, more: false, records: 1, refused: 0, passed: false }
}

fn unreachable() -> Outcome {
    Outcome::Failed(Refusal::Unreachable { kind: Kind::Timeout, why: "refused".to_owned() })
}

fn jobs(lanes: &mut Lanes, now: Instant) -> Vec<Job> {
    std::iter::from_fn(|| lanes.take(now)).collect()
}

#[test]
fn a_new_sink_starts_with_the_whole_journal_as_backlog() {
    let now = start();
    let mut lanes = Lanes::new(Progress::default(), Seq(9), PACE, 1);
    assert_eq!(jobs(&mut lanes, now), [Job::Alarms { after: 0 }, Job::Backlog(span(1, 10))]);
    lanes.committed(Seq(10));
    assert_eq!(jobs(&mut lanes, now), [Job::Live(span(10, 11))]);
    assert_eq!(lanes.backlog(), 10);
}

#[test]
fn an_outage_leaves_its_commits_to_the_backlog_and_live_goes_on_at_the_newest() {
    let mut now = start();
    let progress = Progress { alarms: 3, live: Seq(9), gaps: Vec::new() };
    let mut lanes = Lanes::new(progress, Seq(9), PACE, 1);
    lanes.committed(Seq(10));
    let [alarms, live] = jobs(&mut lanes, now)[..] else { panic!("two lanes have work") };
    assert!(lanes.done(alarms, whole(alarms), now));
    assert!(!lanes.done(live, unreachable(), now));
    lanes.committed(Seq(500));
    assert_eq!(lanes.take(now), None, "backoff");
    now += PACE.base * 2;
    // One probe while down, alarms first.
    let probe = lanes.take(now).unwrap();
    assert_eq!(probe, Job::Alarms { after: 3 });
    assert_eq!(lanes.take(now), None);
    assert!(lanes.done(probe, whole(probe), now));
    // The newest goes before everything older, even before the backlog may start.
    let live = lanes.take(now).unwrap();
    assert_eq!(live, Job::Live(span(500, 501)));
    assert_eq!(lanes.take(now), None);
    assert!(lanes.done(live, whole(live), now));
    assert_eq!(lanes.take(now), Some(Job::Backlog(span(10, 500))));
    lanes.committed(Seq(501));
    assert_eq!(jobs(&mut lanes, now)[1], Job::Live(span(501, 502)), "beside the backlog");
}

#[test]
fn what_does_not_fit_a_live_request_is_left_to_the_backlog() {
    let now = start();
    let mut lanes = Lanes::new(Progress::default(), Seq(0), PACE, 1);
    lanes.committed(Seq(20));
    let [_, live] = jobs(&mut lanes, now)[..] else { panic!("two lanes have work") };
    lanes.committed(Seq(25));
    lanes.done(live, Outcome::Done { reached: 8, more: false, records: 7, refused: 0, passed: false }, now);
    assert_eq!(jobs(&mut lanes, now), [Job::Live(span(25, 26)), Job::Backlog(span(8, 25))]);
}

#[test]
fn one_lanes_poison_does_not_starve_the_others() {
    let mut now = start();
    let mut lanes = Lanes::new(Progress::default(), Seq(0), PACE, 1);
    let mut live_done = 0;
    for seq in 1..200 {
        lanes.committed(Seq(seq));
        for job in jobs(&mut lanes, now) {
            let busy =
                Outcome::Failed(Refusal::Busy { kind: Kind::Server, why: "500".to_owned(), after: None });
            let outcome = if job.lane() == Lane::Alarms { busy } else { whole(job) };
            live_done += u32::from(lanes.done(job, outcome, now) && job.lane() == Lane::Live);
        }
        now += Duration::from_secs(31);
    }
    assert!(live_done > 50, "{live_done}");
}

#[test]
fn a_pause_grows_is_jittered_and_heeds_the_server() {
    let now = start();
    let mut spans = Vec::new();
    let mut lanes = Lanes::new(Progress::default(), Seq(1), PACE, 7);
    let mut at = now;
    for _ in 0..20 {
        let job = lanes.take(at).unwrap();
        lanes.done(job, unreachable(), at);
        let until = lanes.wake(at).unwrap();
        spans.push(until - at);
        at = until;
    }
    assert!(spans.iter().all(|pause| (PACE.base..=PACE.cap).contains(pause)), "{spans:?}");
    assert!(spans[0] <= PACE.base * 2);
    assert!(spans.iter().skip(7).any(|pause| *pause > Duration::from_secs(10)));
    assert!(spans.windows(2).any(|pair| pair[1] < pair[0]), "full jitter: {spans:?}");
    for (asked, least) in [(120, 120), (999_999, 600)] {
        let job = lanes.take(at).unwrap();
        let after = Some(Duration::from_secs(asked));
        lanes.done(
            job,
            Outcome::Failed(Refusal::Busy { kind: Kind::Server, why: "429".to_owned(), after }),
            at,
        );
        let until = lanes.wake(at).unwrap();
        let least = Duration::from_secs(least);
        assert!((least..=least + least / 10).contains(&(until - at)), "{:?}", until - at);
        at = until;
    }
    let refused = Outcome::Failed(Refusal::new(Kind::Refused, "refused"));
    for _ in 0..20 {
        let job = lanes.take(at).unwrap();
        lanes.done(job, refused.clone(), at);
        let until = lanes.wake(at).unwrap();
        assert!((PACE.base..=PACE.knock).contains(&(until - at)), "nobody at the door: {:?}", until - at);
        at = until;
    }
    assert_eq!(lanes.kinds().values().sum::<u64>(), 42);
    assert!(lanes.limit(Lane::Backlog, 1000) == 1000 && lanes.limit(Lane::Alarms, 100) < 100);
}

#[test]
fn a_refused_half_holds_its_lane_and_only_that() {
    let now = start();
    let mut lanes = Lanes::new(Progress::default(), Seq(5), PACE, 1);
    let [alarms, backlog] = jobs(&mut lanes, now)[..] else { panic!("two lanes have work") };
    lanes.done(alarms, whole(alarms), now);
    assert!(!lanes.done(
        backlog,
        Outcome::Done { reached: 6, more: false, records: 10, refused: 6, passed: false },
        now
    ));
    assert!(lanes.trouble().unwrap().contains("6 of 10"));
    assert_eq!(lanes.backlog(), 5, "nothing is given up");
    lanes.committed(Seq(6));
    let [_, live] = jobs(&mut lanes, now)[..] else { panic!("the other lanes go on") };
    assert_eq!(live, Job::Live(span(6, 7)));
    lanes.done(live, whole(live), now);
    let again = lanes.take(now + PACE.hold).unwrap();
    assert_eq!(again, backlog);
    assert!(lanes.done(
        again,
        Outcome::Done { reached: 6, more: false, records: 10, refused: 5, passed: false },
        now
    ));
    assert_eq!(lanes.trouble(), None);
}

fn denied() -> Outcome {
    Outcome::Failed(Refusal::new(Kind::Credentials, "401"))
}

/// A restart: whether it is held is known when the server has said so, or has taken something and every lane with work was tried.
#[test]
fn it_is_shown_held_or_not_by_an_answer_alone() {
    let now = start();
    let empty = Outcome::Done { reached: 0, more: false, records: 0, refused: 0, passed: false };
    let unfit = Outcome::Failed(Refusal::Unfit { why: "no such field".to_owned() });
    let misfit = Outcome::Done { reached: 6, more: false, records: 10, refused: 6, passed: false };
    // What becomes of the alarms, and of the backlog beside them.
    let rows: [(Option<Outcome>, Option<Outcome>, Option<bool>); 9] = [
        (None, None, None),
        (Some(unreachable()), None, None),
        (Some(denied()), None, Some(true)),
        (None, Some(denied()), Some(true)),
        (Some(whole(Job::Alarms { after: 1 })), None, None),
        (Some(whole(Job::Alarms { after: 1 })), Some(misfit), Some(true)),
        (Some(whole(Job::Alarms { after: 1 })), Some(unfit), Some(true)),
        (Some(empty.clone()), Some(empty.clone()), None),
        (Some(empty), Some(whole(Job::Backlog(span(1, 6)))), Some(false)),
    ];
    for (of_alarms, of_backlog, want) in rows {
        let told = format!("{of_alarms:?} {of_backlog:?}");
        let mut lanes = Lanes::new(Progress::default(), Seq(5), PACE, 1);
        let [alarms, backlog] = jobs(&mut lanes, now)[..] else { panic!("two lanes have work") };
        of_alarms.map(|outcome| lanes.done(alarms, outcome, now));
        of_backlog.map(|outcome| lanes.done(backlog, outcome, now));
        assert_eq!(lanes.shown().then(|| lanes.held()), want, "{told}");
    }
}

#[test]
fn a_held_sink_stays_so_until_something_is_taken() {
    let mut now = start();
    let mut lanes = Lanes::new(Progress::default(), Seq(5), PACE, 1);
    for outcome in [denied(), unreachable(), unreachable()] {
        let job = lanes.take(now).unwrap();
        lanes.done(job, outcome, now);
        now += PACE.hold * 2;
        assert!(lanes.held() && lanes.shown());
    }
    let job = lanes.take(now).unwrap();
    lanes.done(job, whole(job), now);
    assert!(!lanes.held());
}

#[test]
fn a_few_single_poisons_pass_and_a_row_of_them_holds() {
    let now = start();
    let mut lanes = Lanes::new(Progress::default(), Seq(0), PACE, 1);
    let mut passed = Vec::new();
    for seq in 1..=4 {
        lanes.committed(Seq(seq));
        let alarms = lanes.take(now).unwrap();
        lanes.done(
            alarms,
            Outcome::Done { reached: 0, more: false, records: 0, refused: 0, passed: false },
            now,
        );
        let live = lanes.take(now).unwrap();
        passed.push(lanes.done(
            live,
            Outcome::Done { reached: seq + 1, more: false, records: 1, refused: 1, passed: false },
            now,
        ));
    }
    assert_eq!(passed, [true, true, true, false]);
}

#[test]
fn an_empty_page_moves_no_report_and_ends_no_outage() {
    let mut now = start();
    let mut lanes = Lanes::new(Progress::default(), Seq(1), PACE, 1);
    let job = lanes.take(now).unwrap();
    lanes.done(job, unreachable(), now);
    now += PACE.base * 2;
    let job = lanes.take(now).unwrap();
    lanes.done(job, Outcome::Done { reached: 0, more: false, records: 0, refused: 0, passed: false }, now);
    assert!(!lanes.up());
    assert_eq!(lanes.take_moved(), None, "a report would be a commit, and a commit an empty page");
}

#[test]
fn sixty_four_gaps_at_most() {
    let mut gaps = Vec::new();
    for gap in 0..200_u64 {
        let from = gap * 100 - gap % 7;
        add(&mut gaps, span(from + 1, from + 3));
    }
    assert_eq!(gaps.len(), GAPS_MAX);
    assert!(gaps.windows(2).all(|pair| pair[0].to < pair[1].from));
    let covers = |seq: u64| gaps.iter().any(|gap| (gap.from.0..gap.to.0).contains(&seq));
    assert!((0..200_u64).all(|gap| covers(gap * 100 - gap % 7 + 1) && covers(gap * 100 - gap % 7 + 2)));
}

/// What may happen to a sink.
#[derive(Clone, Debug)]
enum Step {
    /// This many commits; whether the last has a transition.
    Commit(u64, bool),
    /// A request ends: which of those out, and how.
    Land(usize, u8),
    /// Time passes, in ms.
    Pass(u64),
    /// Progress is journaled.
    Report,
    /// The gateway starts anew from the progress journaled last.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..60, any::<bool>()).prop_map(|(count, alarm)| Step::Commit(count, alarm)),
        8 => (0_usize..3, 0_u8..9).prop_map(|(which, how)| Step::Land(which, how)),
        3 => (0_u64..40_000).prop_map(Step::Pass),
        2 => Just(Step::Report),
        1 => Just(Step::Restart),
    ]
}

/// The journal, the receiver, and a sink between them.
struct World {
    lanes: Lanes,
    now: Instant,
    newest: u64,
    /// Commits with a transition, in order; the number is the place + 1.
    transitions: Vec<u64>,
    readings: BTreeSet<u64>,
    alarms: BTreeSet<u64>,
    journaled: Progress,
    /// Requests that are out, with the page each read when it was made.
    out: Vec<(Job, Page)>,
}

/// What a request holds: transitions or commits, and how it ends when it is acknowledged.
struct Page {
    numbers: Vec<u64>,
    outcome: Outcome,
}

/// Every third commit holds no readings.
fn holds(seq: u64) -> bool {
    !seq.is_multiple_of(3)
}

impl World {
    fn new() -> Self {
        let lanes = Lanes::new(Progress::default(), Seq(0), PACE, 3);
        let (readings, alarms, out) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let journaled = Progress::default();
        Self { lanes, now: start(), newest: 0, transitions: Vec::new(), readings, alarms, journaled, out }
    }

    fn fly(&mut self) {
        while let Some(job) = self.lanes.take(self.now) {
            assert!(
                self.out.iter().all(|(out, _)| out.lane() != job.lane()),
                "one request of a lane at a time"
            );
            if let Job::Live(span) = job {
                assert_eq!(span.to.0, self.newest + 1, "live asks for the newest");
                assert!(span.to.0 - span.from.0 <= LAG_MAX);
            }
            let page = self.read(job);
            self.out.push((job, page));
        }
    }

    /// `true`: something was received.
    fn land(&mut self, which: usize, how: u8) {
        if self.out.is_empty() {
            return;
        }
        let (job, page) = self.out.remove(which % self.out.len());
        let why = "no".to_owned();
        let outcome = match how {
            0 => unreachable(),
            1 => Outcome::Failed(Refusal::Busy {
                kind: Kind::Server,
                why,
                after: Some(Duration::from_secs(3)),
            }),
            2 => Outcome::Failed(Refusal::Denied { kind: Kind::Missing, why }),
            3 => Outcome::Failed(Refusal::Unfit { why }),
            _ => self.receive(job, page),
        };
        // An answer that is lost: received, and failed all the same.
        let lost = how == 4;
        let outcome = if lost { unreachable() } else { outcome };
        self.lanes.done(job, outcome, self.now);
    }

    fn receive(&mut self, job: Job, page: Page) -> Outcome {
        let got = if job.lane() == Lane::Alarms { &mut self.alarms } else { &mut self.readings };
        got.extend(page.numbers);
        page.outcome
    }

    fn read(&self, job: Job) -> Page {
        let (numbers, reached, more) = match job {
            Job::Alarms { after } => {
                let last = u64::try_from(self.transitions.len()).unwrap();
                let numbers: Vec<u64> = (after + 1..=last).take(2).collect();
                let (reached, more) = (numbers.last().copied().unwrap_or(after), numbers.len() == 2);
                (numbers, reached, more)
            }
            Job::Live(span) | Job::Backlog(span) => {
                let reached = span.to.0.min(span.from.0 + 25);
                ((span.from.0..reached).filter(|seq| holds(*seq)).collect(), reached, false)
            }
        };
        let records = u64::try_from(numbers.len()).unwrap();
        Page { numbers, outcome: Outcome::Done { reached, more, records, refused: 0, passed: false } }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Commit(count, alarm) => {
                self.newest += count;
                if alarm {
                    self.transitions.push(self.newest);
                }
                self.lanes.committed(Seq(self.newest));
            }
            Step::Land(which, how) => self.land(which, how),
            Step::Pass(ms) => self.now += Duration::from_millis(ms),
            Step::Report => self.report(),
            Step::Restart => {
                self.out.clear();
                self.lanes = Lanes::new(self.journaled.clone(), Seq(self.newest), PACE, 5);
            }
        }
        self.fly();
        self.check();
    }

    fn report(&mut self) {
        if let Some(progress) = self.lanes.take_moved() {
            self.journaled = progress;
        }
    }

    /// What the progress calls delivered was received.
    fn check(&self) {
        let progress = &self.lanes.progress;
        assert!(progress.gaps.len() <= GAPS_MAX);
        assert!(progress.gaps.windows(2).all(|pair| pair[0].to < pair[1].from), "{:?}", progress.gaps);
        let waits = |seq: u64| progress.gaps.iter().any(|gap| (gap.from.0..gap.to.0).contains(&seq));
        let missing =
            (1..=progress.live.0).find(|seq| holds(*seq) && !waits(*seq) && !self.readings.contains(seq));
        assert_eq!(missing, None);
        assert!((1..=progress.alarms).all(|number| self.alarms.contains(&number)));
    }
}

proptest! {
    #[test]
    fn everything_is_delivered_at_least_once(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        // The other side is well again: all that is missing arrives in bounded time.
        for _ in 0..3000 {
            if world.out.is_empty() && world.lanes.backlog() == 0 && world.lanes.wake(world.now).is_none() {
                break;
            }
            world.step(Step::Land(0, 8));
            world.step(Step::Pass(if world.out.is_empty() { 60_000 } else { 1 }));
            world.step(Step::Report);
        }
        let wanted: BTreeSet<u64> = (1..=world.newest).filter(|seq| holds(*seq)).collect();
        prop_assert_eq!(&world.readings, &wanted);
        let numbers = u64::try_from(world.transitions.len()).unwrap();
        prop_assert_eq!(&world.alarms, &(1..=numbers).collect());
        prop_assert_eq!(world.lanes.backlog(), 0);
        prop_assert!(world.journaled.gaps.len() <= GAPS_MAX);
    }
}

/// SK-16: the size of a request follows the time that answers take.
#[test]
fn slow_answers_make_requests_smaller_and_quick_ones_larger_again() {
    let mut lanes = Lanes::new(Progress::default(), Seq(1), PACE, 1);
    for _ in 0..3 {
        lanes.took(Lane::Backlog, PACE.request / 2);
    }
    assert_eq!((lanes.limit(Lane::Backlog, 800), lanes.limit(Lane::Live, 800)), (100, 800));
    for _ in 0..GROW_FROM {
        lanes.took(Lane::Backlog, PACE.request / 6);
    }
    assert_eq!(lanes.limit(Lane::Backlog, 800), 100, "neither slow nor quick");
    for _ in 0..3 * GROW_FROM {
        lanes.took(Lane::Backlog, Duration::from_millis(50));
    }
    assert_eq!(lanes.limit(Lane::Backlog, 800), 800);
}

/// SK-40: a server that fails at one parcel for ten minutes, and takes others, fails because of it.
#[test]
fn what_alone_fails_for_long_is_in_doubt() {
    let mut now = start();
    let mut lanes = Lanes::new(Progress { live: Seq(1), ..Progress::default() }, Seq(1), PACE, 1);
    lanes.progress.gaps = vec![span(1, 2)];
    lanes.fresh = true;
    let mut seq = 1;
    while lanes.doubt(Lane::Backlog, now) == Doubt::None {
        seq += 1;
        lanes.committed(Seq(seq));
        for job in jobs(&mut lanes, now) {
            let failed =
                Outcome::Failed(Refusal::Busy { kind: Kind::Server, why: "500".to_owned(), after: None });
            let outcome = if job.lane() == Lane::Backlog { failed } else { whole(job) };
            lanes.done(job, outcome, now);
        }
        assert_eq!(lanes.doubt(Lane::Live, now), Doubt::None);
        now += Duration::from_secs(10);
        assert!(seq < 1000, "never in doubt");
    }
    assert!((60..200).contains(&seq), "not before ten minutes, and not for ever: {seq}");
}
