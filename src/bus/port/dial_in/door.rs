//! One port where DTUs dial in.
//!
//! In: the lines that share its address. Out: their ports, and a future that serves the door.
//! Invariant: an unregistered connection lives [`Manner::register_within`](super::Manner) at most, counted from its beginning,
//! and holds 128 bytes at most; there are 256 of them at most, 8 of one source. Nobody is told why he is refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};

use crate::bus::port::dial_in::lobby::{Lobby, Strangers, escaped};
use crate::bus::port::dial_in::recognise::{Found, LONGEST, Recogniser};
use crate::bus::port::dial_in::roster::Arrival;
use crate::bus::port::dial_in::session::Session;
use crate::bus::port::dial_in::slot::{Caller, Slot, now};
use crate::bus::port::dial_in::{Dtu, Kind, Manner};
use crate::bus::port::{Outward, Port, Stream, plain, tcp};
use crate::bus::tap::Aside;
use crate::bus::{Address, LineSettings};
use crate::loss::{Loss, Losses};

/// An unregistered connection is read so far: a registration and what may stand behind it.
const BUFFER: usize = 2 * LONGEST;
/// A port that cannot be listened on is tried again after this long.
const AGAIN: Duration = Duration::from_secs(5);
/// Losses are told this often.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// All doors of a site.
#[derive(Clone, Debug, Default)]
pub struct Doors(BTreeMap<SocketAddr, Arc<Door>>);

impl Doors {
    /// The doors that these lines need.
    pub fn new<'a>(lines: impl Iterator<Item = &'a LineSettings>) -> Self {
        let mut dtus: BTreeMap<SocketAddr, Vec<Dtu>> = BTreeMap::new();
        for line in lines {
            if let Address::DialIn(dtu) = &line.address {
                dtus.entry(dtu.listen).or_default().push(dtu.as_ref().clone());
            }
        }
        Self(dtus.into_iter().map(|(listen, dtus)| (listen, Arc::new(Door::new(listen, dtus)))).collect())
    }

    /// Exactly these.
    pub fn of(doors: impl Iterator<Item = Arc<Door>>) -> Self {
        Self(doors.map(|door| (door.listen, door)).collect())
    }

    /// The port of a line: its place at a door, or its own way out.
    pub fn port(&self, line: &LineSettings) -> Box<dyn Port> {
        let outward = || Box::new(Outward(line.address.clone()));
        let Address::DialIn(dtu) = &line.address else { return outward() };
        let Some(door) = self.0.get(&dtu.listen) else { return outward() };
        let Some(slot) = door.slots.iter().find(|slot| slot.dtu.name == line.name) else { return outward() };
        Box::new(Caller { slot: Arc::clone(slot), door: Arc::clone(door), session: 0 })
    }

    /// Each door, to be served.
    pub fn all(&self) -> impl Iterator<Item = Arc<Door>> {
        self.0.values().map(Arc::clone)
    }
}

/// One port and the DTUs that may dial in there.
#[derive(Debug)]
pub struct Door {
    /// Where.
    pub listen: SocketAddr,
    manner: Manner,
    slots: Vec<Arc<Slot>>,
    recogniser: Recogniser,
    desk: Mutex<Desk>,
}

/// What all connections share.
#[derive(Debug, Default)]
struct Desk {
    losses: Losses,
    strangers: Strangers,
    lobby: Lobby,
    trouble: Option<String>,
}

/// A place in the lobby; it is free again when this is dropped.
struct Waiting<'a>(&'a Door, IpAddr);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.desk().lobby.leave(self.1);
    }
}

impl Door {
    fn new(listen: SocketAddr, dtus: Vec<Dtu>) -> Self {
        let manner = dtus.first().map(|dtu| dtu.manner.clone()).unwrap_or_default();
        let recogniser = Recogniser {
            kind: manner.kind,
            ids: dtus.iter().map(|dtu| dtu.id.clone()).collect(),
            heartbeat: manner.heartbeat.clone(),
        };
        let slots = dtus.into_iter().map(|dtu| Arc::new(Slot::new(dtu))).collect();
        Self { listen, manner, slots, recogniser, desk: Mutex::default() }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nobody can dial in.
    pub fn trouble(&self) -> Option<String> {
        self.desk().trouble.clone()
    }

    /// What was given up since it was told last.
    #[cfg(test)]
    pub(crate) fn losses(&self) -> Vec<(Loss, String, u64)> {
        self.desk().losses.drain()
    }

    pub(crate) fn lose(&self, loss: Loss, place: &str, count: u64) {
        if 0 < count {
            self.desk().losses.record(loss, place, count);
        }
    }

    /// Listens, and serves all who come, for as long as it is polled. What is discarded is told once a second at most.
    pub async fn run(&self, mut tell: impl FnMut(&mut Losses) + Send) {
        loop {
            match TcpListener::bind(self.listen).await {
                Ok(listener) => {
                    self.desk().trouble = None;
                    self.serve(&listener, &mut tell).await;
                }
                Err(error) => {
                    let why = plain(&error);
                    tracing::error!(listen = %self.listen, %why, "DTUs cannot dial in");
                    self.desk().trouble = Some(why);
                }
            }
            sleep(AGAIN).await;
        }
    }

    /// Serves a listener until it fails.
    async fn serve(&self, listener: &TcpListener, tell: &mut (impl FnMut(&mut Losses) + Send)) {
        self.desk().lobby = Lobby::default();
        let mut calls = FuturesUnordered::new();
        let mut told = tokio::time::interval(TELL_EVERY);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, from)) => {
                        let source = from.ip().to_canonical();
                        if self.desk().lobby.enter(source, self.manner.unregistered_per_source) {
                            calls.push(self.call(socket, source));
                        } else {
                            self.lose(Loss::RefusedDialIn, &self.listen.to_string(), 1);
                        }
                    }
                    // Out of descriptors, or a connection that ended meanwhile.
                    Err(_) => sleep(Duration::from_millis(100)).await,
                },
                Some(()) = calls.next(), if !calls.is_empty() => {}
                _ = told.tick() => {
                    let mut losses = std::mem::take(&mut self.desk().losses);
                    if !losses.is_empty() {
                        tell(&mut losses);
                    }
                }
            }
        }
    }

    async fn call(&self, socket: TcpStream, source: IpAddr) {
        tcp::watch(&socket);
        self.welcome(socket, source).await;
    }

    /// Serves one connection from its first byte to its end.
    pub(crate) async fn welcome<S: Stream>(&self, mut socket: S, source: IpAddr) {
        let deadline = now() + self.manner.register_within;
        let waiting = Waiting(self, source);
        let mut buffer = [0; BUFFER];
        let Some((index, said, rest)) = self.register(&mut socket, source, deadline, &mut buffer).await
        else {
            return;
        };
        drop(waiting);
        let Some(slot) = self.slots.get(index) else { return };
        let (session, arrival) = slot.arrive(now());
        if arrival == Arrival::Waits {
            self.lose(Loss::DuplicateSession, &slot.dtu.name, 1);
        }
        self.swapped(&slot.dtu.name, arrival);
        slot.beside(Aside::Registration, said);
        tracing::debug!(line = %slot.dtu.name, %source, session, "its DTU has dialled in");
        Session::new(self, slot, session, socket).run(rest).await;
        tracing::debug!(line = %slot.dtu.name, %source, session, "its DTU's connection has ended");
    }

    /// Whose connection it is, its registration, and what stood behind that.
    async fn register<'b, S: Stream>(
        &self,
        socket: &mut S,
        source: IpAddr,
        deadline: Instant,
        buffer: &'b mut [u8; BUFFER],
    ) -> Option<(usize, &'b [u8], &'b [u8])> {
        if self.manner.kind == Kind::Source {
            let text = source.to_string();
            let own = |slot: &Arc<Slot>| slot.dtu.id.is_empty() || slot.dtu.id == text.as_bytes();
            let found = self.slots.iter().position(own);
            if found.is_none() {
                self.stranger(text.as_bytes(), source);
            }
            return found.map(|index| (index, &[] as &[u8], &[] as &[u8]));
        }
        let mut length = 0;
        loop {
            match self.recogniser.look(buffer.get(..length).unwrap_or_default()) {
                Found::More => {}
                Found::Known { index, used } => {
                    let (said, rest) = buffer.get(..length).unwrap_or_default().split_at_checked(used)?;
                    return Some((index, said, rest));
                }
                Found::Unknown(id) => {
                    self.stranger(&id, source);
                    return None;
                }
                Found::Wrong => {
                    self.lose(Loss::RefusedDialIn, &self.listen.to_string(), 1);
                    return None;
                }
            }
            let room = buffer.get_mut(length..).unwrap_or_default();
            match timeout_at(deadline, socket.read(room)).await {
                Ok(Ok(count)) if 0 < count => length += count,
                _ => {
                    self.lose(Loss::RefusedDialIn, &self.listen.to_string(), 1);
                    return None;
                }
            }
        }
    }

    fn stranger(&self, id: &[u8], source: IpAddr) {
        self.lose(Loss::UnknownDialIn, &self.listen.to_string(), 1);
        if self.desk().strangers.is_news(id, now()) {
            let id = escaped(id);
            tracing::warn!(listen = %self.listen, %source, %id, "a DTU dialled in that no line names; it was closed");
        }
    }
}
