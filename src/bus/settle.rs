//! What comes between two requests: the line falls quiet.
//!
//! In: what came since the last request, for how long its late answer is to be feared. Out: whether the next request may go out.
//! Invariant: nothing goes out before the silence between two frames has passed, nor before the guard of a failed request where late
//! answers are drained; waiting is bounded in time and bytes.
//! Source: Modbus over Serial Line V1.02, 2.4.1 and 2.5.1.1.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::bus::LateAnswers;
use crate::bus::debts::Approach;
use crate::bus::fine::Fine;
use crate::bus::master::{Got, Master, Suspect, now};
use crate::loss::Losses;

/// A line that talks on longer than its guard, twice, and this is opened anew.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// A line that says more than this between two requests is opened anew.
const DRAIN_BYTES_MAX: usize = 16 * 1024;

/// How the line fell quiet.
pub(super) enum Settled {
    Ready,
    OutOfStep(&'static str),
    Lost(String),
}

impl Master {
    /// Discards what came since the last request and waits until the line was quiet for long enough.
    pub(super) async fn settle(&mut self, approach: Approach, losses: &mut Losses) -> Settled {
        if !self.has_transactions() {
            // Bytes that lie in the system's buffer are seen only after the runtime looked for them.
            tokio::task::yield_now().await;
        }
        let suspect = self.suspicion(approach);
        let guard = suspect.map_or(Duration::ZERO, |suspect| suspect.guard);
        let bound = now() + guard * 2 + self.pause + DRAIN_MAX;
        let mut bytes = 0;
        loop {
            let quiet_until = self.quiet_until(suspect);
            let Some(stream) = &mut self.stream else { return Settled::Lost("it is closed".to_owned()) };
            // Without the runtime's budget, which when used up makes bytes that are there look like silence.
            let got = match tokio::task::unconstrained(stream.read(&mut self.chunk)).now_or_never() {
                Some(result) => Got::of(result),
                None => match quiet_until.map(|until| (until, now())) {
                    Some((until, now)) if now < until && now < bound => {
                        let came =
                            waited(stream.read(&mut self.chunk), until.min(bound), self.fine.as_ref()).await;
                        came.map_or(Got::Silence, Got::of)
                    }

                    Some((until, now)) if now < until => return Settled::OutOfStep("does not fall silent"),
                    _ => break,
                },
            };
            match got {
                Got::Silence => {}
                Got::End(why) => return Settled::Lost(why),
                Got::Bytes(count) => {
                    let at = now();
                    self.last_byte = Some(at);
                    self.tap.received(self.chunk.get(..count).unwrap_or_default(), at);
                    self.line.step(self.chunk.get(..count).unwrap_or_default(), at, losses);
                    bytes += count;
                    if bytes > DRAIN_BYTES_MAX {
                        return Settled::OutOfStep("does not fall silent");
                    }
                }
            }
        }
        if self.line.is_torn() { Settled::OutOfStep("sent what is not Modbus TCP") } else { Settled::Ready }
    }

    /// When the line will have been quiet for long enough, if nothing more comes.
    fn quiet_until(&self, suspect: Option<Suspect>) -> Option<Instant> {
        let paused = self.last_byte.filter(|_| !self.pause.is_zero()).map(|last| last + self.pause);
        let guarded = suspect.map(|suspect| {
            let last = self.last_byte.map_or(suspect.from, |last| last.max(suspect.from));
            last + suspect.guard
        });
        paused.max(guarded).max(self.rest_until)
    }

    /// For how long the line has to be quiet before the request.
    fn suspicion(&self, approach: Approach) -> Option<Suspect> {
        match (self.late_answers, approach) {
            (LateAnswers::Drain, _) => self.suspect,
            (LateAnswers::Fence, Approach::Drain { from, guard }) => {
                Some(Suspect { from, guard: guard.max(self.silence) })
            }
            // What is owed looks different; only the tail of a frame must have passed.
            (LateAnswers::Fence, Approach::Plain | Approach::Fence(_)) => {
                self.suspect.map(|suspect| Suspect { guard: suspect.guard.min(self.silence), ..suspect })
            }
        }
    }
}

/// What comes before `until`, by the fine timer where there is one.
async fn waited<T>(work: impl Future<Output = T>, until: Instant, fine: Option<&Fine>) -> Option<T> {
    let over = async {
        if let Some(fine) = fine
            && fine.sleep(until.saturating_duration_since(now())).await.is_ok()
        {
            return;
        }
        tokio::time::sleep_until(until).await;
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = over => None,
    }
}
