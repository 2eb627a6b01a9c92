//! What passes on a line, for those who listen, and how many bytes that is.
//!
//! In: each request as it goes out, bytes as they come in, how each request ended. Out: the same to every listener.
//! Invariant: the line never waits for a listener, and nothing is copied while there is none; a slow listener loses the oldest and is
//! told how much ([`broadcast::error::RecvError::Lagged`]).

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::bus::Failure;

/// A listener's arrears at most.
const WAITING_MAX: usize = 128;

/// Something passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When; of a request when it was handed to the port.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// What passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A whole request went out, or several at once where frames name their request.
    Sent(Arc<[u8]>),
    /// Bytes came, in pieces of any size.
    Received(Arc<[u8]>),
    /// A request ended: with the answer that came last (`None`), or without one.
    Ended(Option<Failure>),
    /// There is no line for a request, or no longer; why, for a person.
    Down(Arc<str>),
    /// Of a text sensor: this line, without its terminator, was taken for a reading.
    Taken(Arc<[u8]>),
    /// What a DTU and we say to each other beside the line's own bytes, which have neither.
    Beside(Aside, Arc<[u8]>),
}

/// What passes between a DTU and us for its connection's sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// It said who it is.
    Registration,
    /// Its signs of life, and what else it says for itself.
    Heartbeat,
    /// Our answer to these.
    Reply,
    /// Its connection ended; no bytes.
    Gone,
}

/// Where listeners of one line join ([`broadcast::Sender::subscribe`]).
pub type Listeners = broadcast::Sender<Seen>;

/// A place to listen at, with nobody there.
pub fn listeners() -> Listeners {
    broadcast::channel(WAITING_MAX).0
}

/// The master's side.
#[derive(Clone, Debug, Default)]
pub struct Tap {
    /// `None`: nobody can ever listen.
    pub listeners: Option<Listeners>,
    /// Bytes sent since the start.
    pub bytes_sent: u64,
    /// Bytes received since the start.
    pub bytes_received: u64,
}

impl Tap {
    pub(crate) fn sent(&mut self, request: &[u8], at: Instant) {
        self.bytes_sent += u64::try_from(request.len()).unwrap_or(0);
        self.tell(at, || What::Sent(request.into()));
    }

    pub(crate) fn received(&mut self, bytes: &[u8], at: Instant) {
        self.bytes_received += u64::try_from(bytes.len()).unwrap_or(0);
        self.tell(at, || What::Received(bytes.into()));
    }

    /// How a request ended; `trouble` is why the line is down.
    pub(crate) fn ended<T>(&self, outcome: &Result<T, Failure>, trouble: Option<&str>, at: Instant) {
        let failure = outcome.as_ref().err().copied();
        self.tell(at, || match trouble.filter(|_| failure == Some(Failure::LineDown)) {
            Some(why) => What::Down(why.into()),
            None => What::Ended(failure),
        });
    }

    pub(crate) fn taken(&self, line: &[u8], at: Instant) {
        self.tell(at, || What::Taken(line.into()));
    }

    fn tell(&self, at: Instant, what: impl FnOnce() -> What) {
        if let Some(listeners) = &self.listeners {
            tell(listeners, at, what);
        }
    }
}

/// Tells those who listen, if anybody does.
pub(crate) fn tell(listeners: &Listeners, at: Instant, what: impl FnOnce() -> What) {
    if listeners.receiver_count() > 0 {
        // The last listener may have left just now.
        let _ = listeners.send(Seen { at, what: what() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_before_somebody_listens_and_arrears_are_counted() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let at = Instant::from_std(std::time::Instant::now());
        let listeners = listeners();
        let mut tap = Tap { listeners: Some(listeners.clone()), ..Tap::default() };
        tap.sent(&[1, 2, 3], at);
        let mut listener = listeners.subscribe();
        tap.received(&[4], at);
        let outcome: Result<(), _> = Err(Failure::Timeout);
        tap.ended(&outcome, None, at);
        tap.ended(&Err::<(), _>(Failure::LineDown), Some("it is gone"), at);
        assert_eq!(listener.try_recv().unwrap().what, What::Received([4].as_slice().into()));
        assert_eq!(listener.try_recv().unwrap().what, What::Ended(Some(Failure::Timeout)));
        assert_eq!(listener.try_recv().unwrap().what, What::Down("it is gone".into()));
        assert_eq!((tap.bytes_sent, tap.bytes_received), (3, 1));
        for _ in 0..WAITING_MAX + 5 {
            tap.sent(&[0], at);
        }
        assert_eq!(listener.try_recv(), Err(broadcast::error::TryRecvError::Lagged(5)));
    }
}
