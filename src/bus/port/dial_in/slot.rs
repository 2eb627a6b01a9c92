//! The meeting point of a line and the connections of its DTU.
//!
//! In: sessions from the [`door`](super::door), the line's master through [`Caller`]. Out: one stream at a time.
//! Invariant: the stream that a line gets belongs to the current session of the [`roster`](super::roster).

use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::bus::port::dial_in::Dtu;
use crate::bus::port::dial_in::door::Door;
use crate::bus::port::dial_in::roster::{Arrival, Role, Roster};
use crate::bus::port::{OpenError, Opening, Port, Stream};
use crate::bus::tap::{self, Aside, Listeners, What};
use crate::loss::Loss;

/// How long a line waits for a DTU that is not there, before it says so.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// One DTU's place at a door.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) dtu: Dtu,
    inner: Mutex<Inner>,
    /// Counts up at each change of roles and offers.
    pub(crate) changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    roster: Roster,
    /// The stream that waits to be taken, and its session.
    offer: Option<(u64, DuplexStream)>,
    /// Who traces the line.
    listeners: Option<Listeners>,
}

impl Slot {
    pub(crate) fn new(dtu: Dtu) -> Self {
        Self { dtu, inner: Mutex::default(), changed: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let result = {
            let mut inner = self.lock();
            let result = change(&mut inner);
            // An offer of a session that speaks no more leads nowhere.
            let Inner { roster, offer, .. } = &mut *inner;
            offer.take_if(|(session, _)| roster.role(*session) != Role::Current);
            result
        };
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    /// A connection of this DTU registered.
    pub(crate) fn arrive(&self, now: Instant) -> (u64, Arrival) {
        self.change(|inner| inner.roster.arrive(self.dtu.lively, now))
    }

    pub(crate) fn leave(&self, session: u64) {
        self.change(|inner| inner.roster.leave(session));
    }

    pub(crate) fn role(&self, session: u64) -> Role {
        self.lock().roster.role(session)
    }

    pub(crate) fn asked(&self, session: u64) {
        self.lock().roster.asked(session);
    }

    pub(crate) fn is_asked(&self, session: u64) -> bool {
        self.lock().roster.is_asked(session)
    }

    pub(crate) fn heard(&self, session: u64) {
        self.lock().roster.heard(session);
    }

    /// Tells who traces the line what passed beside its own bytes.
    pub(crate) fn beside(&self, aside: Aside, bytes: &[u8]) {
        if bytes.is_empty() != (aside == Aside::Gone) {
            return;
        }
        if let Some(listeners) = &self.lock().listeners {
            tap::tell(listeners, now(), || What::Beside(aside, bytes.into()));
        }
    }

    /// The session's stream, for the line to take.
    pub(crate) fn offer(&self, session: u64, stream: DuplexStream) {
        self.change(|inner| inner.offer = Some((session, stream)));
    }
}

/// The port of a line whose DTU dials in.
pub(crate) struct Caller {
    pub(crate) slot: Arc<Slot>,
    pub(crate) door: Arc<Door>,
    pub(crate) session: u64,
}

impl Caller {
    async fn take(&mut self) -> Box<dyn Stream> {
        let mut changes = self.slot.changed.subscribe();
        loop {
            let offer = self.slot.lock().offer.take();
            if let Some((session, stream)) = offer {
                self.session = session;
                return Box::new(stream);
            }
            if changes.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}

impl Port for Caller {
    fn open(&mut self) -> Opening<'_> {
        Box::pin(async {
            let taken = timeout(WAIT_MAX, self.take()).await;
            taken.map_err(|_| {
                let (name, listen) = (self.slot.dtu.name.clone(), self.slot.dtu.listen);
                match self.door.trouble() {
                    Some(why) => OpenError::NotListening { name, listen, why },
                    None => OpenError::NotDialledIn { name, listen },
                }
            })
        })
    }

    fn is_ready(&self) -> bool {
        self.slot.lock().offer.is_some()
    }

    fn tell(&mut self, listeners: &Listeners) {
        self.slot.lock().listeners = Some(listeners.clone());
    }

    fn told(&mut self, answered: bool) {
        let session = self.session;
        let swap = self.slot.change(|inner| inner.roster.told(session, answered, now()));
        if let Some(arrival) = swap {
            self.door.swapped(&self.slot.dtu.name, arrival);
        }
    }
}

impl Door {
    /// Counts what became of a connection, and says when two devices seem to have one id.
    pub(crate) fn swapped(&self, name: &str, arrival: Arrival) {
        let Arrival::Replaced { often } = arrival else { return };
        self.lose(Loss::ReplacedSession, name, 1);
        if often {
            tracing::warn!(
                line = name,
                "its DTU's connection was replaced more than 6 times within an hour: two devices may have the same id"
            );
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the port to the line's time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
