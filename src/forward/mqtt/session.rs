//! One connection to a broker, from its beginning to its end.
//!
//! In: mail of the lanes, bytes of the broker. Out: bytes, and each message's own acknowledgement.
//! Invariant: never more messages without an acknowledgement than the broker allows; reading never waits for writing.
//! Source: MQTT 5.0, 3.1.2.10 (keep alive), 3.3.4 (receive maximum), 4.9 (flow control).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use crate::forward::drive::now;
use crate::forward::mqtt::packet::{
    Connack, Connect, Incoming, PINGREQ, Publish, Version, connect, disconnect, parse, publish, words,
};
use crate::forward::mqtt::{Answer, Mail, Mqtt, address, locked, said};
use crate::forward::payload::{Message, status_topic};
use crate::forward::sink::Refusal;
use crate::forward::tls::Stamp;
use crate::forward::trouble::{self, Kind, chain};

/// Messages without an acknowledgement at most.
const WINDOW: u16 = 100;
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Bytes that wait for the socket before no more mail is taken.
const OUT_MAX: usize = 64 * 1024;
/// A connection that the broker closes this soon after CONNACK may have been given to another client of our id.
const SOON: Duration = Duration::from_secs(2);
/// The files of TLS are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What a broker allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Bytes of a packet.
    pub(super) packet_max: usize,
    /// Messages without an acknowledgement.
    window: usize,
    /// It keeps retained messages.
    retain: bool,
    keep_alive: Duration,
}

/// Why a connection is no more.
pub(super) struct Ended {
    pub(super) refusal: Refusal,
    /// Another client has our id, as far as can be told.
    pub(super) taken_over: bool,
}

impl Ended {
    fn new(kind: Kind, why: impl Into<String>) -> Self {
        Self { refusal: Refusal::new(kind, why), taken_over: false }
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A message on its way; dropped without an answer when the connection breaks.
struct Waiting {
    /// `None`: the birth.
    done: Option<oneshot::Sender<Answer>>,
}

/// State of one connection.
struct Session {
    version: Version,
    rules: Rules,
    out: Vec<u8>,
    waiting: HashMap<u16, Waiting>,
    next_id: u16,
    begun: Instant,
    /// When the oldest of `waiting` went out, or the last acknowledgement came.
    acknowledged: Instant,
    said: Instant,
    pinged: Option<Instant>,
    strays: u64,
}

impl Mqtt {
    /// One connection from begin to end; returns why it ended.
    pub(super) async fn session(&self, post: &mut [mpsc::Receiver<Mail>; 3]) -> Ended {
        let stamp = self.stamp();
        let mut wire = match self.open().await {
            Ok(wire) => wire,
            Err(refusal) => return Ended { refusal, taken_over: false },
        };
        let (rules, rest) = match self.greet(&mut wire).await {
            Ok(met) => met,
            Err(refusal) => return Ended { refusal, taken_over: false },
        };
        let begun = now();
        let mut session = Session {
            version: self.broker.version,
            rules,
            out: Vec::new(),
            waiting: HashMap::new(),
            next_id: 1,
            begun,
            acknowledged: begun,
            said: begun,
            pinged: None,
            strays: 0,
        };
        // Two gateways of one name would take turns here under two client ids.
        let client = serde_json::Value::from(self.broker.client_id.as_str());
        let birth = format!(r#"{{"online":true,"since":"{}","client":{client}}}"#, self.clock.now());
        if !self.quiet {
            session.say(&status_topic(&self.site), &birth, true, None);
        }
        let number = self.tell(Ok(rules));
        let ended = self.run(&mut session, wire, rest, post, (number, stamp)).await;
        if session.strays > 0 {
            tracing::warn!(
                address = self.broker.address,
                packets = session.strays,
                "the broker sent what nobody asked for"
            );
        }
        for done in session.waiting.into_values().filter_map(|waiting| waiting.done) {
            // A lane that was stopped does not listen any more.
            let _ = done.send(Err(ended.refusal.clone()));
        }
        ended
    }

    fn stamp(&self) -> Stamp {
        self.broker.tls.as_ref().map(crate::forward::tls::Tls::stamp).unwrap_or_default()
    }

    async fn open(&self) -> Result<Box<dyn Wire>, Refusal> {
        let (host, port) = address(&self.broker.address).map_err(|why| Refusal::new(Kind::Settings, why))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = self.names.look_up(host.to_owned()).await;
        let found = found.map_err(|error| Refusal::new(Kind::Dns, error.to_string()))?;
        let share = self.pace.connect / u32::try_from(found.len()).unwrap_or(1).max(1);
        let mut why = Refusal::new(Kind::Dns, format!("{host} has no address"));
        for mut one in found {
            one.set_port(port);
            match timeout(share, TcpStream::connect(one)).await {
                Ok(Ok(stream)) => return self.secure(stream, host).await,
                Ok(Err(error)) => why = self.failed(&error, Kind::NoRoute),
                Err(_) => why = Refusal::new(Kind::ConnectTimeout, format!("{one} does not answer")),
            }
        }
        Err(why)
    }

    async fn secure(&self, stream: TcpStream, host: &str) -> Result<Box<dyn Wire>, Refusal> {
        // Neither is needed for being right, and a kernel without them is no reason to stay away.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(KEEP_ALIVE + KEEP_ALIVE / 2));
        let Some(tls) = &self.broker.tls else { return Ok(Box::new(stream)) };
        let settings = |why: String| Refusal::new(Kind::Settings, why);
        let config = tls.read().map_err(settings)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| settings(format!("`{host}` is not the name of a host")))?;
        let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream);
        match timeout(self.pace.connect, shaken).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(self.failed(&error, Kind::Tls)),
            Err(_) => Err(Refusal::new(Kind::ConnectTimeout, "the TLS handshake takes too long")),
        }
    }

    fn failed(&self, error: &std::io::Error, otherwise: Kind) -> Refusal {
        let (kind, why) =
            trouble::transport(error, self.clock.as_ref()).unwrap_or_else(|| (otherwise, chain(error)));
        Refusal::new(kind, why)
    }

    /// Says who we are, and waits for the broker's word; what it sent behind it.
    async fn greet(&self, wire: &mut Box<dyn Wire>) -> Result<(Rules, Vec<u8>), Refusal> {
        let broker = &self.broker;
        let password = broker.password.as_ref().map(crate::forward::Secret::read).transpose();
        let password = password.map_err(|why| Refusal::new(Kind::Settings, why))?.unwrap_or_default();
        let retain = *locked(&self.retain);
        let topic = status_topic(&self.site);
        let hello = connect(&Connect {
            version: broker.version,
            client_id: &broker.client_id,
            keep_alive_s: u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(15),
            user: broker.user.as_deref().map(|user| (user, password.as_str())),
            will: (!self.quiet).then_some((topic.as_str(), r#"{"online":false}"#)),
            retain,
        });
        let talk = async {
            wire.write_all(&hello).await?;
            wire.flush().await?;
            let mut bytes = Vec::new();
            loop {
                if let Some((packet, length)) =
                    parse(broker.version, &bytes).map_err(std::io::Error::other)?
                {
                    bytes.drain(..length);
                    return Ok((packet, bytes));
                }
                if wire.read_buf(&mut bytes).await? == 0 {
                    return Err(std::io::Error::other("the connection was closed before CONNACK"));
                }
            }
        };
        let silent = || Refusal::new(Kind::Timeout, "the broker does not answer CONNECT");
        let answer = timeout(self.pace.connect.saturating_mul(2), talk).await.map_err(|_| silent())?;
        match answer {
            Ok((Incoming::Connack(connack), rest)) => Ok((self.rules(connack, retain)?, rest)),
            Ok(_) => Err(Refusal::new(Kind::Protocol, "the broker does not begin with CONNACK; is it MQTT?")),
            Err(error) => match self.failed(&error, Kind::Protocol) {
                Refusal::Unreachable { kind: Kind::Protocol, why } => Err(Refusal::new(
                    Kind::Protocol,
                    format!("{why}; is it an MQTT broker, and the port the right one?"),
                )),
                refusal => Err(refusal),
            },
        }
    }

    fn rules(&self, connack: Connack, retain: bool) -> Result<Rules, Refusal> {
        let Connack { code, text, receive_max, packet_max, qos, retain: keeps, keep_alive_s } = connack;
        if code != 0 {
            let why =
                format!("the broker refuses the connection: 0x{code:02X} {}{}", words(code), said(&text));
            let kind = match code {
                0x04 | 0x05 | 0x86 | 0x87 | 0x8A | 0x8C => Kind::Credentials,
                0x01 | 0x84 => Kind::Mode,
                0x02 | 0x85 => Kind::ClientId,
                0x9A if retain => {
                    // The next attempt comes without it.
                    *locked(&self.retain) = false;
                    Kind::Server
                }
                0x9B => Kind::Mode,
                0x97 | 0x9F => Kind::Throttled,
                _ => Kind::Server,
            };
            return Err(if kind.needs_a_person() {
                Refusal::new(kind, why)
            } else {
                Refusal::Busy { kind, why, after: None }
            });
        }
        if !qos {
            let why = "the broker takes QoS 0 only, which acknowledges nothing; allow QoS 1 there";
            return Err(Refusal::new(Kind::Mode, why));
        }
        let window = usize::from(receive_max.min(WINDOW));
        let keep_alive = keep_alive_s.map_or(KEEP_ALIVE, |seconds| Duration::from_secs(u64::from(seconds)));
        let keep_alive = if keep_alive.is_zero() { KEEP_ALIVE } else { keep_alive };
        Ok(Rules { packet_max, window, retain: retain && keeps, keep_alive })
    }

    async fn run(
        &self,
        session: &mut Session,
        wire: Box<dyn Wire>,
        mut bytes: Vec<u8>,
        [alarms, live, backlog]: &mut [mpsc::Receiver<Mail>; 3],
        (number, stamp): (u64, Stamp),
    ) -> Ended {
        let (mut read, mut write) = split(wire);
        let mut bye = self.bye.subscribe();
        let (mut leaving, mut held) = (false, false);
        let mut look = now().checked_add(LOOK_EVERY).unwrap_or_else(now);
        loop {
            if let Err(ended) = session.hear(&mut bytes) {
                return ended;
            }
            if leaving && !held && session.out.is_empty() {
                let _ = write.shutdown().await;
                return Ended::new(Kind::LostAck, "we have left");
            }
            let room =
                !leaving && session.waiting.len() < session.rules.window && session.out.len() < OUT_MAX;
            tokio::select! {
                got = read.read_buf(&mut bytes) => match got {
                    Ok(0) => return session.closed("the broker closed the connection"),
                    Ok(_) => {}
                    Err(error) => return session.closed(&chain(&error)),
                },
                sent = push(&mut write, &session.out), if held || !session.out.is_empty() => match sent {
                    Ok(count) => {
                        session.out.drain(..count);
                        held = count > 0;
                    }
                    Err(error) => return session.closed(&chain(&error)),
                },
                mail = next(alarms, live, backlog), if room => session.post(mail, number),
                () = sleep_until(session.wake(self.pace.request).min(look)) => {
                    if let Err(ended) = session.tick(self.pace.request) {
                        return ended;
                    }
                    if look <= now() {
                        look = now().checked_add(LOOK_EVERY).unwrap_or(look);
                        if self.stamp() != stamp && self.broker.tls.as_ref().is_some_and(|tls| tls.read().is_ok()) {
                            session.out.extend(disconnect());
                            leaving = true;
                        }
                    }
                }
                () = async { let _ = bye.wait_for(|bye| *bye).await; }, if !leaving => {
                    leaving = true;
                    if !self.quiet {
                        session.say(&status_topic(&self.site), r#"{"online":false}"#, true, None);
                    }
                    session.out.extend(disconnect());
                }
            }
        }
    }
}

/// Writes some of `out`; when there is none, has TLS send what it keeps. How much was written.
async fn push(write: &mut (impl AsyncWrite + Unpin), out: &[u8]) -> std::io::Result<usize> {
    if out.is_empty() {
        write.flush().await?;
        return Ok(0);
    }
    match write.write(out).await? {
        0 => Err(std::io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

/// The next mail, alarms first.
async fn next(
    alarms: &mut mpsc::Receiver<Mail>,
    live: &mut mpsc::Receiver<Mail>,
    backlog: &mut mpsc::Receiver<Mail>,
) -> Mail {
    tokio::select! {
        biased;
        Some(mail) = alarms.recv() => mail,
        Some(mail) = live.recv() => mail,
        Some(mail) = backlog.recv() => mail,
        else => std::future::pending().await,
    }
}

impl Session {
    fn say(&mut self, topic: &str, payload: &str, retain: bool, done: Option<oneshot::Sender<Answer>>) {
        let id = self.free_id();
        if self.waiting.is_empty() {
            self.acknowledged = now();
        }
        self.waiting.insert(id, Waiting { done });
        let retain = retain && self.rules.retain;
        publish(&mut self.out, self.version, &Publish { topic, payload, id, retain });
        self.said = now();
    }

    /// An id that nothing on its way has; there are 65,535 and at most [`WINDOW`] and a birth on their way.
    fn free_id(&mut self) -> u16 {
        while self.next_id == 0 || self.waiting.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        id
    }

    fn post(&mut self, mail: Mail, number: u64) {
        if mail.link != number {
            // Made for another broker limit: its sender sees the answer dropped and comes again.
            return;
        }
        let Message { topic, payload, retain, .. } = mail.message;
        self.say(&topic, &payload, retain, Some(mail.done));
    }

    /// Takes all whole packets out of `bytes`.
    fn hear(&mut self, bytes: &mut Vec<u8>) -> Result<(), Ended> {
        loop {
            let parsed = parse(self.version, bytes);
            let wrong = |error| Ended::new(Kind::Protocol, format!("the broker sent no MQTT: {error}"));
            let Some((packet, length)) = parsed.map_err(wrong)? else { return Ok(()) };
            bytes.drain(..length);
            match packet {
                Incoming::Puback { id, reason, text } => {
                    let Some(waiting) = self.waiting.remove(&id) else {
                        self.strays = self.strays.saturating_add(1);
                        continue;
                    };
                    self.acknowledged = now();
                    if let Some(done) = waiting.done {
                        // A lane that was stopped does not listen any more.
                        let _ = done.send(Ok((reason, text)));
                    }
                }
                Incoming::Pingresp => self.pinged = None,
                Incoming::Disconnect { reason, text } => return Err(self.dismissed(reason, &text)),
                Incoming::Connack(_) | Incoming::Other(_) => self.strays = self.strays.saturating_add(1),
            }
        }
    }

    fn dismissed(&self, reason: u8, text: &str) -> Ended {
        let why = format!("the broker ended the connection: 0x{reason:02X} {}{}", words(reason), said(text));
        let kind = match reason {
            0x87 => Kind::Credentials,
            0x93 | 0x96 | 0x97 | 0x9F => Kind::Throttled,
            _ => Kind::Server,
        };
        Ended { taken_over: reason == 0x8E, ..Ended::new(kind, why) }
    }

    fn closed(&self, why: &str) -> Ended {
        let soon = now().saturating_duration_since(self.begun) < SOON;
        Ended { taken_over: soon, ..Ended::new(Kind::LostAck, why) }
    }

    /// When [`Session::tick`] has something to look at.
    fn wake(&self, patience: Duration) -> Instant {
        let ping = match self.pinged {
            Some(at) => at.checked_add(self.rules.keep_alive / 2),
            None => self.said.checked_add(self.rules.keep_alive),
        };
        let acks = (!self.waiting.is_empty()).then(|| self.acknowledged.checked_add(patience)).flatten();
        ping.into_iter().chain(acks).min().unwrap_or(self.said)
    }

    fn tick(&mut self, patience: Duration) -> Result<(), Ended> {
        let now = now();
        if !self.waiting.is_empty() && now.saturating_duration_since(self.acknowledged) >= patience {
            let why = format!("no message was acknowledged in {} s", patience.as_secs_f64());
            return Err(Ended::new(Kind::Timeout, why));
        }
        match self.pinged {
            Some(at) if now.saturating_duration_since(at) >= self.rules.keep_alive / 2 => {
                Err(Ended::new(Kind::Timeout, "the broker does not answer a ping"))
            }
            None if now.saturating_duration_since(self.said) >= self.rules.keep_alive => {
                self.out.extend(PINGREQ);
                (self.said, self.pinged) = (now, Some(now));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
