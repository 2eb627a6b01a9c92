//! A sink that publishes to an MQTT 5 broker.
//!
//! In: parcels. Out: QoS 1 messages; a retained birth, and a last will for the day that we are gone.
//! Invariant: a message counts as delivered only by its own PUBACK without a failure; after any error client and event loop are
//! dropped and everything not acknowledged is sent again from the journal: rumqttc 0.25 loses messages silently when a broker
//! comes back without its session, and repeats an oversized one for ever.
//! Source: MQTT 5.0, 3.4.2.1 (PUBACK reasons), 3.2.2.3.6 (maximum packet size); DESIGN section 9.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, LastWill, Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Clock;
use crate::forward::Secret;
use crate::forward::drive::now;
use crate::forward::payload::{Message, messages, status_topic};
use crate::forward::sink::{Parcel, Receipt, Refusal, Refused, Sink, cut};

/// Messages without an acknowledgement at most.
const WINDOW: u16 = 100;
/// Messages of one lane that wait for the window.
const MAIL: usize = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A message that is not acknowledged for so long never will be on this connection.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// A lost connection is taken up again after this long even if nobody has anything to send.
const IDLE_RETRY: Duration = Duration::from_secs(60);
/// MQTT's own largest packet, for a broker that names none.
const PACKET_MAX: usize = 268_435_455;

/// The broker and how we present ourselves.
pub struct Mqtt {
    site: String,
    address: String,
    client_id: String,
    user: Option<String>,
    password: Option<Secret>,
    clock: Arc<dyn Clock>,
    link: watch::Sender<Link>,
    demand: Notify,
    /// To the connection, by lane.
    mail: [mpsc::Sender<Mail>; 3],
    post: tokio::sync::Mutex<[mpsc::Receiver<Mail>; 3]>,
}

/// State of the connection; each has its number.
#[derive(Clone, Debug)]
struct Link {
    number: u64,
    /// The largest packet that the broker takes, or why there is no connection.
    state: Result<usize, Refusal>,
}

struct Mail {
    /// The connection that it was made for.
    link: u64,
    message: Message,
    done: oneshot::Sender<PubAckReason>,
}

/// A message on its way; dropped without an answer when the connection breaks.
struct Waiting {
    since: Instant,
    /// `None`: the birth.
    done: Option<oneshot::Sender<PubAckReason>>,
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Default)]
struct Window {
    /// Handed to the client, in order; without a packet id yet.
    submitted: VecDeque<Waiting>,
    by_id: HashMap<u16, Waiting>,
    acknowledged: Option<Instant>,
}

impl Mqtt {
    /// A sink for the broker at `address` (`host:port`).
    pub fn new(
        site: String,
        (address, client_id): (String, String),
        (user, password): (Option<String>, Option<Secret>),
        clock: Arc<dyn Clock>,
    ) -> Self {
        let ((alarms, a), (live, b), (backlog, c)) =
            (mpsc::channel(MAIL), mpsc::channel(MAIL), mpsc::channel(MAIL));
        let state = Err(Refusal::Unreachable { why: "not connected yet".to_owned() });
        let (link, _) = watch::channel(Link { number: 0, state });
        let (mail, post) = ([alarms, live, backlog], tokio::sync::Mutex::new([a, b, c]));
        Self { site, address, client_id, user, password, clock, link, demand: Notify::new(), mail, post }
    }

    /// The present connection, or the next attempt's.
    async fn linked(&self) -> Result<(u64, usize), Refusal> {
        let mut link = self.link.subscribe();
        let first = link.borrow_and_update().clone();
        if let Ok(limit) = first.state {
            return Ok((first.number, limit));
        }
        self.demand.notify_one();
        loop {
            let gone = |_| Refusal::Unreachable { why: "the connection's keeper is gone".to_owned() };
            link.changed().await.map_err(gone)?;
            let now = link.borrow_and_update().clone();
            if now.number > first.number {
                return now.state.map(|limit| (now.number, limit));
            }
        }
    }

    fn options(&self) -> Result<MqttOptions, String> {
        let (host, port) = address(&self.address)?;
        let mut options = MqttOptions::new(self.client_id.clone(), host, port);
        options
            .set_clean_start(true)
            .set_keep_alive(KEEP_ALIVE)
            .set_outgoing_inflight_upper_limit(WINDOW)
            .set_connection_timeout(CONNECT_TIMEOUT.as_secs());
        let will = r#"{"online":false}"#;
        options.set_last_will(LastWill::new(status_topic(&self.site), will, QoS::AtLeastOnce, true, None));
        if let Some(user) = &self.user {
            let password = self.password.as_ref().map(Secret::read).transpose()?;
            options.set_credentials(user, password.unwrap_or_default());
        }
        Ok(options)
    }

    /// One connection from begin to end; returns why it ended.
    async fn session(&self, post: &mut [mpsc::Receiver<Mail>; 3]) -> Refusal {
        let options = match self.options() {
            Ok(options) => options,
            Err(why) => return Refusal::Denied { why },
        };
        let (client, mut events) = AsyncClient::new(options, usize::from(WINDOW) * 2);
        let limit = match connect(&mut events).await {
            Ok(limit) => limit,
            Err(refusal) => return refusal,
        };
        let window = Mutex::new(Window::default());
        let birth = format!(r#"{{"online":true,"since":"{}"}}"#, self.clock.now());
        let topic = status_topic(&self.site);
        if let Err(why) = submit(&client, &window, (topic, birth, true), None, None) {
            return Refusal::Unreachable { why };
        }
        let number = self.link.borrow().number.saturating_add(1);
        self.link.send_replace(Link { number, state: Ok(limit) });
        // Neither is dropped before the connection: rumqttc's poll may lose what it holds when it is.
        let why = tokio::select! {
            why = receive(&mut events, &window) => why,
            why = send(&client, &window, post, number) => why,
            why = watch_acks(&window) => why,
        };
        Refusal::Unreachable { why }
    }
}

impl Sink for Mqtt {
    async fn deliver(&self, parcel: Parcel) -> Result<Receipt, Refusal> {
        let (link, limit) = self.linked().await?;
        let (messages, mut refused) = messages(&parcel, &self.site, limit);
        let [alarms, live, backlog] = &self.mail;
        let mail = match &parcel {
            Parcel::Alarms(_) => alarms,
            Parcel::Readings { late: false, .. } => live,
            Parcel::Readings { late: true, .. } => backlog,
        };
        let broken = || Refusal::Unreachable { why: "the broker's connection broke".to_owned() };
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            let (done, answer) = oneshot::channel();
            answers.push((message.records, message.payload.clone(), answer));
            mail.send(Mail { link, message, done }).await.map_err(|_| broken())?;
        }
        for (records, payload, answer) in answers {
            match answer.await.map_err(|_| broken())? {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {}
                reason @ (PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid) => {
                    refused.push(Refused::new(records, &payload, &format!("{reason:?}")));
                }
                PubAckReason::NotAuthorized => {
                    return Err(Refusal::Unfit {
                        why: "the broker does not let us publish there".to_owned(),
                    });
                }
                reason => return Err(Refusal::Busy { why: format!("{reason:?}"), after: None }),
            }
        }
        Ok(Receipt { refused })
    }

    async fn keep(&self) {
        let mut post = self.post.lock().await;
        loop {
            let ended = self.session(&mut post).await;
            tracing::info!(address = self.address, ended = ?ended, "no connection to the broker");
            let number = self.link.borrow().number.saturating_add(1);
            self.link.send_replace(Link { number, state: Err(ended) });
            // The pause comes from the lanes: they ask again when their backoff is over.
            let asked = async {
                tokio::select! {
                    () = self.demand.notified() => {}
                    () = sleep(IDLE_RETRY) => {}
                }
            };
            tokio::select! {
                () = asked => {}
                () = discard(&mut post) => {}
            }
        }
    }
}

/// `host:port`; 1883 when there is no port.
pub(crate) fn address(text: &str) -> Result<(&str, u16), String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.ends_with(']') => {
            port.parse().map(|port| (host, port)).map_err(|_| format!("{text} has no port number"))
        }
        _ => Ok((text, 1883)),
    }
}

/// Mail for a connection that is gone; its senders see the answer dropped.
async fn discard(post: &mut [mpsc::Receiver<Mail>; 3]) {
    let [alarms, live, backlog] = post;
    loop {
        tokio::select! {
            Some(_) = alarms.recv() => {}
            Some(_) = live.recv() => {}
            Some(_) = backlog.recv() => {}
            else => std::future::pending().await,
        }
    }
}

/// Waits for the broker's CONNACK; its largest packet.
async fn connect(events: &mut EventLoop) -> Result<usize, Refusal> {
    let first = timeout(CONNECT_TIMEOUT, events.poll()).await;
    let first = first.map_err(|_| Refusal::Unreachable { why: "the broker does not answer".to_owned() })?;
    match first {
        Ok(Event::Incoming(Packet::ConnAck(answer))) => {
            let named = answer.properties.and_then(|properties| properties.max_packet_size);
            Ok(named.and_then(|size| usize::try_from(size).ok()).unwrap_or(PACKET_MAX))
        }
        Ok(_) => Err(Refusal::Unreachable { why: "the broker does not begin with CONNACK".to_owned() }),
        Err(error) => Err(refused(&error)),
    }
}

fn refused(error: &ConnectionError) -> Refusal {
    let why = cut(&error.to_string()).to_owned();
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword
            | ConnectReturnCode::NotAuthorized
            | ConnectReturnCode::Banned
            | ConnectReturnCode::BadClientId
            | ConnectReturnCode::ClientIdentifierNotValid
            | ConnectReturnCode::BadAuthenticationMethod
            | ConnectReturnCode::UnsupportedProtocolVersion
            | ConnectReturnCode::RefusedProtocolVersion
            | ConnectReturnCode::QoSNotSupported
            | ConnectReturnCode::RetainNotSupported,
        ) => Refusal::Denied { why },
        _ => Refusal::Unreachable { why },
    }
}

fn locked(window: &Mutex<Window>) -> std::sync::MutexGuard<'_, Window> {
    // Every change is one push or one take: a panic elsewhere leaves it whole.
    window.lock().unwrap_or_else(PoisonError::into_inner)
}

fn submit(
    client: &AsyncClient,
    window: &Mutex<Window>,
    (topic, payload, retain): (String, String, bool),
    done: Option<oneshot::Sender<PubAckReason>>,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<(), String> {
    locked(window).submitted.push_back(Waiting { since: now(), done, _permit: permit });
    let sent = client.try_publish(topic, QoS::AtLeastOnce, retain, payload);
    sent.map_err(|_| "the client takes no message".to_owned())
}

/// Turns the event loop and gives each acknowledgement to its message.
async fn receive(events: &mut EventLoop, window: &Mutex<Window>) -> String {
    loop {
        match events.poll().await {
            Ok(Event::Outgoing(Outgoing::Publish(id))) => {
                let mut window = locked(window);
                if let Some(waiting) = window.submitted.pop_front() {
                    window.by_id.insert(id, waiting);
                }
            }
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                let waiting = {
                    let mut window = locked(window);
                    window.acknowledged = Some(now());
                    window.by_id.remove(&ack.pkid)
                };
                if let Some(done) = waiting.and_then(|waiting| waiting.done) {
                    // A lane that was stopped does not listen any more.
                    let _ = done.send(ack.reason);
                }
            }
            Ok(_) => {}
            Err(error) => return cut(&error.to_string()).to_owned(),
        }
    }
}

/// Hands mail to the client, alarms first, as long as the window has room.
async fn send(
    client: &AsyncClient,
    window: &Mutex<Window>,
    post: &mut [mpsc::Receiver<Mail>; 3],
    number: u64,
) -> String {
    let room = Arc::new(Semaphore::new(usize::from(WINDOW)));
    let [alarms, live, backlog] = post;
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return "the window is closed".to_owned();
        };
        let mail = tokio::select! {
            biased;
            Some(mail) = alarms.recv() => mail,
            Some(mail) = live.recv() => mail,
            Some(mail) = backlog.recv() => mail,
            else => return "nobody sends".to_owned(),
        };
        if mail.link != number {
            // Made for another broker limit: its sender sees the answer dropped and comes again.
            continue;
        }
        let Message { topic, payload, retain, .. } = mail.message;
        if let Err(why) = submit(client, window, (topic, payload, retain), Some(mail.done), Some(permit)) {
            return why;
        }
    }
}

/// Ends when messages wait and none was acknowledged for too long.
async fn watch_acks(window: &Mutex<Window>) -> String {
    loop {
        sleep(ACK_TIMEOUT / 6).await;
        let oldest = {
            let window = locked(window);
            let oldest =
                window.submitted.iter().chain(window.by_id.values()).map(|waiting| waiting.since).min();
            oldest.map(|oldest| window.acknowledged.map_or(oldest, |last| last.max(oldest)))
        };
        if oldest.is_some_and(|since| now().saturating_duration_since(since) > ACK_TIMEOUT) {
            return "no message was acknowledged in 30 s".to_owned();
        }
    }
}
