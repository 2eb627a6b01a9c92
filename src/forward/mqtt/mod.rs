//! A sink that publishes to an MQTT broker, 5 or 3.1.1, with or without TLS.
//!
//! In: parcels. Out: QoS 1 messages; a retained birth, and a last will for the day that we are gone.
//! Invariant: a message counts as delivered only by its own PUBACK without a failure; after any error the connection is given up,
//! and everything not acknowledged is sent again from the journal over a clean one: MQTT forbids a repeat on the same connection.
//! Source: MQTT 5.0, 3.2.2.3 (what a broker allows), 3.4.2.1 (PUBACK reasons), 4.4 (delivery); decision 0013.

pub mod packet;
mod session;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::Clock;
use crate::forward::Secret;
use crate::forward::backoff::Pace;
use crate::forward::drive::now;
use crate::forward::mqtt::packet::{Version, words};
use crate::forward::mqtt::session::{Ended, Rules};
use crate::forward::names::Names;
use crate::forward::payload::{Message, messages};
use crate::forward::shape::Topics;
use crate::forward::sink::{Doubt, Parcel, Receipt, Refusal, Refused, Sink};
use crate::forward::tls::Tls;
use crate::forward::trouble::Kind;

/// Messages of one lane that wait for the window.
const MAIL: usize = 16;
/// A lost connection is taken up again after this long even if nobody has anything to send.
const IDLE_RETRY: Duration = Duration::from_secs(60);
/// So many connections taken over within [`TAKEN_WITHIN`] mean that another client has our id.
const TAKEN_MAX: usize = 3;
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// Messages in a row that a broker refuses, after which the fault is not in the messages.
const REFUSED_ROW: usize = 3;

/// The broker and how we present ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `host:port`.
    pub address: String,
    /// Which MQTT.
    pub version: Version,
    /// Client id; `lifeline-SITE` when empty.
    pub client_id: String,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Files of TLS; `None`: without TLS.
    pub tls: Option<Tls>,
    /// Where messages go.
    pub topics: Topics,
}

impl Broker {
    /// MQTT 5 without TLS and credentials at `host:port`.
    pub fn at(address: &str) -> Self {
        let (user, password, tls) = (None, None, None);
        Self {
            address: address.to_owned(),
            version: Version::V5,
            client_id: String::new(),
            user,
            password,
            tls,
            topics: Topics::default(),
        }
    }
}

/// A sink to one broker.
pub struct Mqtt {
    site: String,
    broker: Broker,
    names: Names,
    pace: Pace,
    clock: Arc<dyn Clock>,
    link: watch::Sender<Link>,
    /// The number of the connection that somebody waits for.
    demand: watch::Sender<u64>,
    /// Asks the connection to end in order.
    bye: watch::Sender<bool>,
    /// To the connection, by lane.
    mail: [mpsc::Sender<Mail>; 3],
    post: tokio::sync::Mutex<[mpsc::Receiver<Mail>; 3]>,
    /// The broker keeps retained messages, as far as is known.
    retain: Mutex<bool>,
    /// Neither birth nor will.
    quiet: bool,
}

/// State of the connection; each has its number.
#[derive(Clone, Debug)]
struct Link {
    number: u64,
    /// What the broker allows, or why there is no connection.
    state: Result<Rules, Refusal>,
}

/// The broker's answer to one message.
type Answer = Result<(u8, String), Refusal>;

struct Mail {
    /// The connection that it was made for.
    link: u64,
    message: Message,
    done: oneshot::Sender<Answer>,
}

impl Mqtt {
    /// A sink of the gateway `site` for a broker.
    pub fn new(site: String, mut broker: Broker, pace: Pace, clock: Arc<dyn Clock>) -> Self {
        if broker.client_id.is_empty() {
            broker.client_id = format!("lifeline-{site}");
        }
        let ((alarms, a), (live, b), (backlog, c)) =
            (mpsc::channel(MAIL), mpsc::channel(MAIL), mpsc::channel(MAIL));
        let state = Err(Refusal::new(Kind::LostAck, "not connected yet"));
        let (link, _) = watch::channel(Link { number: 0, state });
        let (bye, _) = watch::channel(false);
        let (mail, post) = ([alarms, live, backlog], tokio::sync::Mutex::new([a, b, c]));
        let (names, demand, retain) = (Names::system(), watch::Sender::new(0), Mutex::new(true));
        Self { site, broker, names, pace, clock, link, demand, bye, mail, post, retain, quiet: false }
    }

    /// The same without birth and will: nobody shall take it for the gateway.
    pub fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// The present connection, or the next attempt's.
    async fn linked(&self) -> Result<(u64, Rules), Refusal> {
        let mut link = self.link.subscribe();
        let first = link.borrow_and_update().clone();
        if let Ok(rules) = first.state {
            return Ok((first.number, rules));
        }
        self.demand.send_replace(first.number.saturating_add(1));
        loop {
            link.changed().await.map_err(|_| broken())?;
            let now = link.borrow_and_update().clone();
            if now.number > first.number {
                return now.state.map(|rules| (now.number, rules));
            }
        }
    }

    fn tell(&self, state: Result<Rules, Refusal>) -> u64 {
        let number = self.link.borrow().number.saturating_add(1);
        self.link.send_replace(Link { number, state });
        number
    }

    /// Publishes, and waits for all acknowledgements.
    async fn publish(
        &self,
        mail: &mpsc::Sender<Mail>,
        link: u64,
        messages: Vec<Message>,
    ) -> Result<Vec<Refused>, Refusal> {
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            let (done, answer) = oneshot::channel();
            answers.push((message.clone(), answer));
            mail.send(Mail { link, message, done }).await.map_err(|_| broken())?;
        }
        let (mut refused, mut row) = (Vec::new(), 0_usize);
        for (message, answer) in answers {
            let (reason, text) = answer.await.map_err(|_| broken())??;
            let why = format!("0x{reason:02X} {}{}", words(reason), said(&text));
            match reason {
                0..0x80 => row = 0,
                0x87 | 0x90 | 0x95 | 0x99 => {
                    let Message { topic, payload, records, .. } = message;
                    row = row.saturating_add(1);
                    if row >= REFUSED_ROW {
                        let why = format!(
                            "the broker refuses one message after another, the last on {topic}: {why}"
                        );
                        return Err(Refusal::Unfit { why });
                    }
                    refused.push(Refused::message(records, &topic, &payload, &why));
                }
                0x97 => return Err(Refusal::Busy { kind: Kind::Throttled, why, after: None }),
                _ => return Err(Refusal::Busy { kind: Kind::Server, why, after: None }),
            }
        }
        Ok(refused)
    }

    /// Waits until somebody has something to send, or for a minute; mail for the connection that is gone is given back meanwhile.
    async fn asked(&self, post: &mut [mpsc::Receiver<Mail>; 3]) {
        let number = self.link.borrow().number;
        let mut demand = self.demand.subscribe();
        let asked = async {
            tokio::select! {
                _ = demand.wait_for(|wanted| number < *wanted) => {}
                () = sleep(IDLE_RETRY) => {}
            }
        };
        tokio::select! {
            () = asked => {}
            () = discard(post) => {}
        }
    }

    /// Answers everybody with `refusal` until `until`.
    async fn hold(&self, post: &mut [mpsc::Receiver<Mail>; 3], refusal: &Refusal, until: Instant) {
        while now() < until {
            tokio::select! {
                () = self.asked(post) => { self.tell(Err(refusal.clone())); }
                () = sleep_until(until) => {}
            }
        }
    }
}

fn broken() -> Refusal {
    Refusal::new(Kind::LostAck, "the broker's connection broke")
}

/// Words of a broker, as an addition to ours.
fn said(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({})", crate::forward::sink::cut(text)) }
}

impl Sink for Mqtt {
    async fn deliver(&self, parcel: Parcel, _: Doubt) -> Result<Receipt, Refusal> {
        let (link, rules) = self.linked().await?;
        let (messages, mut refused) = messages(&parcel, &self.site, &self.broker.topics, rules.packet_max);
        let [alarms, live, backlog] = &self.mail;
        let mail = match &parcel {
            Parcel::Alarms(_) | Parcel::Unjournaled { .. } => alarms,
            Parcel::Readings { late: false, .. } => live,
            Parcel::Readings { late: true, .. } => backlog,
        };
        refused.extend(self.publish(mail, link, messages).await?);
        Ok(Receipt { refused })
    }

    async fn keep(&self) {
        let mut post = self.post.lock().await;
        let mut taken: VecDeque<Instant> = VecDeque::new();
        loop {
            let Ended { refusal, taken_over } = self.session(&mut post).await;
            let leaving = *self.bye.borrow();
            if leaving {
                return;
            }
            tracing::info!(address = self.broker.address, ended = ?refusal, "no connection to the broker");
            let ended = now();
            taken.retain(|at| ended.saturating_duration_since(*at) < TAKEN_WITHIN);
            if taken_over {
                taken.push_back(ended);
            }
            if taken.len() >= TAKEN_MAX {
                taken.clear();
                let why = format!(
                    "the client id {} is in use elsewhere: the broker ended our connection {TAKEN_MAX} times within a minute, right after it \
                     began; give each gateway its own client_id",
                    self.broker.client_id
                );
                let refusal = Refusal::new(Kind::ClientId, why);
                self.tell(Err(refusal.clone()));
                let until = ended.checked_add(self.pace.hold).unwrap_or(ended);
                self.hold(&mut post, &refusal, until).await;
            } else {
                self.tell(Err(refusal));
            }
            // The pause comes from the lanes: they ask again when their backoff is over.
            self.asked(&mut post).await;
        }
    }

    async fn close(&self) {
        self.bye.send_replace(true);
        // A connection that is being waited for is not taken up any more.
        if self.link.borrow().state.is_ok() {
            std::future::pending::<()>().await;
        }
    }

    async fn again(&self, records: Vec<Refused>) -> Result<Receipt, Refusal> {
        let (link, rules) = self.linked().await?;
        let as_message = |one: Refused| Message {
            topic: one.place,
            payload: one.what,
            retain: false,
            records: one.records,
        };
        let (fits, large): (Vec<_>, Vec<_>) =
            records.into_iter().map(as_message).partition(|message| message.size() <= rules.packet_max);
        let too_large = |message: Message| {
            let why = format!("{} bytes, the broker takes {}", message.size(), rules.packet_max);
            Refused::message(message.records, &message.topic, &message.payload, &why)
        };
        let mut refused: Vec<_> = large.into_iter().map(too_large).collect();
        let [_, _, backlog] = &self.mail;
        for message in fits {
            // One by one: each stands for itself here.
            refused.extend(self.publish(backlog, link, vec![message]).await?);
        }
        Ok(Receipt { refused })
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

/// Whether the broker keeps retained messages, as far as is known.
fn locked(flag: &Mutex<bool>) -> std::sync::MutexGuard<'_, bool> {
    flag.lock().unwrap_or_else(PoisonError::into_inner)
}
