//! SK-60 to SK-80: MQTT. A scripted broker on a loopback port, whose packets are written byte by byte.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_gateway::forward::mqtt::Broker;
use lifeline_gateway::forward::mqtt::packet::Version;
use lifeline_gateway::forward::tls::Tls;
use lifeline_gateway::forward::trouble::Kind;
use lifeline_gateway::forward::{Settings, Status, Target};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::tls::{Authority, Setup};
use super::{Desk, now, pace, transition};

/// A packet of the client.
#[derive(Clone, Debug)]
struct Packet {
    head: u8,
    body: Vec<u8>,
}

impl Packet {
    fn kind(&self) -> u8 {
        self.head >> 4
    }

    fn topic(&self) -> String {
        let length = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        String::from_utf8(self.body[2..2 + length].to_vec()).unwrap()
    }

    fn id(&self) -> [u8; 2] {
        let at = 2 + self.topic().len();
        [self.body[at], self.body[at + 1]]
    }

    /// The payload, behind topic, id and (in 5) no properties.
    fn payload(&self, version: Version) -> serde_json::Value {
        let skip = 4 + self.topic().len() + usize::from(version == Version::V5);
        serde_json::from_slice(&self.body[skip..]).unwrap()
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// One connection as its broker sees it.
struct Peer {
    stream: Box<dyn Wire>,
    bytes: Vec<u8>,
    log: Log,
}

/// Packets of all connections, each with the connection's number, from 0.
type Log = Arc<Mutex<Vec<(usize, Packet)>>>;

impl Peer {
    async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.whole() {
                self.log.lock().unwrap().last_mut().unwrap();
                return Some(packet);
            }
            if self.stream.read_buf(&mut self.bytes).await.ok()? == 0 {
                return None;
            }
        }
    }

    fn whole(&mut self) -> Option<Packet> {
        let (mut length, mut digits) = (0_usize, 0);
        loop {
            let digit = *self.bytes.get(1 + digits)?;
            length |= usize::from(digit & 0x7F) << (7 * digits);
            digits += 1;
            if digit & 0x80 == 0 {
                break;
            }
        }
        let body = self.bytes.get(1 + digits..1 + digits + length)?.to_vec();
        let head = self.bytes[0];
        self.bytes.drain(..1 + digits + length);
        Some(Packet { head, body })
    }

    async fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }
}

/// What a broker does with one connection.
#[derive(Clone, Debug)]
enum Act {
    /// Says this to CONNECT and closes.
    Refuse(Vec<u8>),
    /// Nothing is said to CONNECT.
    Silent,
    /// This CONNACK, then every message is acknowledged with what follows its id (in 5: a reason).
    Serve { connack: Vec<u8>, ack: Vec<u8>, pings: bool },
    /// Takes so many messages without an acknowledgement, then closes.
    Lose(usize),
    /// Acknowledges nothing.
    Mute,
    /// CONNACK, and this behind it, then it closes.
    After(Vec<u8>),
    /// Acknowledges ids that nobody used, everything twice, sends PUBLISHes that nobody asked for, and acknowledges what is there.
    Babble,
}

const OK5: [u8; 5] = [0x20, 3, 0, 0, 0];

fn well() -> Act {
    Act::Serve { connack: OK5.to_vec(), ack: Vec::new(), pings: true }
}

struct Fake {
    port: u16,
    log: Log,
    acked: Arc<Mutex<Vec<Packet>>>,
    /// Most messages without an acknowledgement that were there at once.
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// `script`: what connection number n comes to.
    async fn new(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        Self::with(script, None).await
    }

    async fn with(
        script: impl Fn(usize) -> Act + Send + Sync + 'static,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (log, acked) = (Log::default(), Arc::<Mutex<Vec<Packet>>>::default());
        let (kept, taken) = (Arc::clone(&log), Arc::clone(&acked));
        #[expect(clippy::disallowed_methods, reason = "the other side of the network")]
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (act, log, acked, tls) =
                    (script(number), Arc::clone(&kept), Arc::clone(&taken), tls.clone());
                connections.spawn(async move {
                    let Some(stream) = secured(stream, tls).await else { return };
                    attend(stream, number, act, log, acked).await;
                });
            }
        });
        Self { port, log, acked, task }
    }

    fn broker(&self) -> Broker {
        Broker::at(&format!("127.0.0.1:{}", self.port))
    }

    fn connections(&self) -> usize {
        self.log.lock().unwrap().iter().filter(|(_, packet)| packet.kind() == 1).count()
    }
}

async fn secured(stream: TcpStream, tls: Option<tokio_rustls::TlsAcceptor>) -> Option<Box<dyn Wire>> {
    match tls {
        None => Some(Box::new(stream)),
        Some(tls) => Some(Box::new(tls.accept(stream).await.ok()?)),
    }
}

async fn attend(stream: Box<dyn Wire>, number: usize, act: Act, log: Log, acked: Arc<Mutex<Vec<Packet>>>) {
    let mut peer = Peer { stream, bytes: Vec::new(), log: Arc::clone(&log) };
    // The log must not be empty when the first packet is whole.
    log.lock().unwrap().push((number, Packet { head: 0, body: Vec::new() }));
    let Some(hello) = peer.next().await else { return };
    log.lock().unwrap().push((number, hello));
    let (connack, ack, pings) = match &act {
        Act::Refuse(bytes) => return peer.say(bytes).await,
        Act::Silent => std::future::pending().await,
        Act::After(bytes) => {
            peer.say(&OK5).await;
            let _ = timeout(Duration::from_millis(20), peer.next()).await;
            return peer.say(bytes).await;
        }
        Act::Serve { connack, ack, pings } => (connack.clone(), ack.clone(), *pings),
        Act::Lose(_) | Act::Mute | Act::Babble => (OK5.to_vec(), Vec::new(), true),
    };
    peer.say(&connack).await;
    if matches!(act, Act::Babble) {
        peer.say(&[0x40, 2, 0xFF, 0xFF, 0x40, 3, 0xEE, 0xEE, 0x87, 0x30, 5, 0, 1, b'x', 0, 1, 0x90, 0]).await;
    }
    let mut lost = 0;
    while let Some(packet) = peer.next().await {
        log.lock().unwrap().push((number, packet.clone()));
        match packet.kind() {
            3 => {
                let [high, low] = packet.id();
                match act {
                    Act::Lose(most) => {
                        lost += 1;
                        if lost >= most {
                            return;
                        }
                        continue;
                    }
                    Act::Mute => continue,
                    _ => {}
                }
                let head = [0x40, u8::try_from(2 + ack.len()).unwrap(), high, low];
                acked.lock().unwrap().push(packet);
                peer.say(&[&head, ack.as_slice()].concat()).await;
                if matches!(act, Act::Babble) {
                    peer.say(&[&head, ack.as_slice()].concat()).await;
                }
            }
            12 if pings => peer.say(&[0xD0, 0]).await,
            14 => return,
            _ => {}
        }
    }
}

/// A gateway with 30 commits and three transitions at a broker that is well from connection `times` on.
async fn through(mut desk: Desk, act: Act, times: usize) -> (Status, Fake) {
    let fake = Fake::new(move |number| if number < times { act.clone() } else { well() }).await;
    desk.start(Target::Mqtt(fake.broker()));
    let status = arrived(&desk, &fake, Version::V5).await;
    desk.stop().await;
    (status, fake)
}

fn fed() -> Desk {
    let mut desk = Desk::new();
    feed(&mut desk);
    desk
}

fn feed(desk: &mut Desk) {
    for number in 0..30 {
        desk.commit_with(1, if number % 10 == 0 { vec![transition(number)] } else { Vec::new() });
    }
}

/// Everything that was committed was acknowledged.
async fn arrived(desk: &Desk, fake: &Fake, version: Version) -> Status {
    let status = desk.drained().await;
    let status = desk.until("alarms", |now| now.alarms == 3).await.alarms.max(status.alarms);
    assert_eq!(status, 3);
    let mut found = std::collections::BTreeSet::new();
    for packet in fake.acked.lock().unwrap().iter() {
        if packet.topic().ends_with("/reading") || packet.topic().ends_with("/backlog") {
            for reading in packet.payload(version)["readings"].as_array().unwrap() {
                found.insert(reading["value"].as_f64().unwrap().to_string().parse().unwrap());
            }
        }
    }
    assert_eq!(found, desk.wanted());
    desk.status.lock().unwrap().clone()
}

/// One fault, twice, then health: its kind, and everything arrives.
#[tokio::test]
async fn a_fault_of_the_broker_is_named_and_loses_nothing() {
    let refuse = |code| Act::Refuse(vec![0x20, 3, 0, code, 0]);
    let cases = [
        ("SK-60 bad password", refuse(0x86), Kind::Credentials),
        ("SK-60 not authorized", refuse(0x87), Kind::Credentials),
        ("SK-60 banned", refuse(0x8A), Kind::Credentials),
        ("SK-61 unavailable", refuse(0x88), Kind::Server),
        ("SK-61 busy", refuse(0x89), Kind::Server),
        ("SK-61 quota", refuse(0x97), Kind::Throttled),
        ("SK-62 no CONNACK", Act::Silent, Kind::Timeout),
        ("SK-63 broken off", Act::Lose(4), Kind::LostAck),
        ("SK-64 no PUBACK", Act::Mute, Kind::Timeout),
        ("SK-67 quota", Act::Serve { connack: OK5.to_vec(), ack: vec![0x97], pings: true }, Kind::Throttled),
        (
            "SK-67 by the implementation",
            Act::Serve { connack: OK5.to_vec(), ack: vec![0x83], pings: true },
            Kind::Server,
        ),
        ("SK-70 shutting down", Act::After(vec![0xE0, 2, 0x8B, 0]), Kind::Server),
        ("SK-70 another server", Act::After(vec![0xE0, 2, 0x9C, 0]), Kind::Server),
        ("SK-70 moved", Act::After(vec![0xE0, 2, 0x9D, 0]), Kind::Server),
        (
            "SK-71 QoS 0 only",
            Act::Serve { connack: vec![0x20, 5, 0, 0, 2, 0x24, 0], ack: Vec::new(), pings: true },
            Kind::Mode,
        ),
        ("SK-76 garbage", Act::After(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Kind::LostAck),
        ("SK-76 a length without end", Act::After(vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), Kind::Protocol),
        ("SK-76 256 MB", Act::After(vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F]), Kind::Protocol),
        ("SK-76 garbage for CONNACK", Act::Refuse(b"SSH-2.0-OpenSSH\r\n".repeat(10)), Kind::Protocol),
    ];
    // Journals are made first: their syncs would hold up the connections of others.
    let cases = cases.map(|case| (case, fed()));
    let cases = cases.map(|((row, act, kind), desk)| async move {
        // A connection whose messages are refused must not be given up for it: the second one is well.
        let keeps = matches!(&act, Act::Serve { ack, .. } if !ack.is_empty());
        if keeps {
            return refused_softly(desk, row, act, kind).await;
        }
        let (status, _) = through(desk, act, 2).await;
        assert!(status.kinds.contains_key(&kind), "{row}: {status:?}");
    });
    futures_util::future::join_all(cases).await;
}

/// SK-67: "not now" to each message: nothing is taken for delivered, nothing is set aside.
async fn refused_softly(mut desk: Desk, row: &str, act: Act, kind: Kind) {
    let fake = Fake::new(move |_| act.clone()).await;
    desk.start(Target::Mqtt(fake.broker()));
    let status = desk.until("refused", |status| status.kinds.contains_key(&kind)).await;
    assert_eq!((status.readings, status.rejected), (0, 0), "{row}");
    desk.stop().await;
}

/// SK-65, SK-66: what a PUBACK's reason means.
#[tokio::test]
async fn the_reason_of_an_acknowledgement_is_heeded() {
    let (status, _) =
        through(fed(), Act::Serve { connack: OK5.to_vec(), ack: vec![0x10], pings: true }, 9).await;
    assert_eq!((status.rejected, status.failures), (0, 0), "nobody listens, and it is taken all the same");
    // One message alone is refused: it is set aside and the rest goes on. All of them: nothing is.
    let fake = Fake::new(|_| Act::Serve { connack: OK5.to_vec(), ack: vec![0x87], pings: true }).await;
    let mut desk = Desk::new();
    feed(&mut desk);
    desk.start(Target::Mqtt(fake.broker()));
    let status = desk.until("held", |status| status.held).await;
    assert!(status.trouble.as_ref().is_some_and(|why| why.contains("not authorized")), "{status:?}");
    assert_eq!(status.readings, 0);
    desk.stop().await;
}

/// SK-68, SK-77: acknowledgements of nothing and messages that nobody asked for move nothing and break nothing.
#[tokio::test]
async fn babble_is_ignored() {
    let (status, fake) = through(fed(), Act::Babble, 99).await;
    assert_eq!((status.failures, fake.connections()), (0, 1));
}

/// SK-69: another client with our id: after three times within a minute we leave the field to it, and say so.
#[tokio::test]
async fn a_stolen_client_id_is_no_ping_pong() {
    let patient = super::Pace { hold: Duration::from_secs(3600), ..pace() };
    for act in [Act::After(vec![0xE0, 2, 0x8E, 0]), Act::After(Vec::new())] {
        let fake = Fake::new(move |_| act.clone()).await;
        let mut desk = Desk::new();
        feed(&mut desk);
        let settings = Settings { pace: patient, ..Settings::new("sink", Target::Mqtt(fake.broker())) };
        desk.start_with(settings);
        let status =
            desk.until("held", |status| status.held && status.kinds.contains_key(&Kind::ClientId)).await;
        let why = status.trouble.unwrap();
        assert!(why.contains("lifeline-nanan-01 is in use elsewhere"), "{why}");
        sleep(Duration::from_millis(200)).await;
        assert_eq!(fake.connections(), 3);
        desk.stop().await;
    }
}

/// SK-71, SK-80: what a broker allows: messages on their way, bytes of a packet, no retained messages.
#[tokio::test]
async fn what_a_broker_allows_is_heeded() {
    // Receive maximum 1, maximum packet size 1 KiB, retain not available, topic alias maximum 0.
    let connack = vec![0x20, 16, 0, 0, 13, 0x21, 0, 1, 0x27, 0, 0, 4, 0, 0x25, 0, 0x22, 0, 0];
    let fake =
        Fake::new(move |_| Act::Serve { connack: connack.clone(), ack: Vec::new(), pings: true }).await;
    let mut desk = Desk::new();
    for _ in 0..30 {
        desk.commit(40);
    }
    desk.start(Target::Mqtt(fake.broker()));
    let status = desk.drained().await;
    assert_eq!((status.readings, status.rejected, status.failures), (1200, 0, 0));
    let log = fake.log.lock().unwrap().clone();
    let messages: Vec<_> = log.iter().filter(|(_, packet)| packet.kind() == 3).collect();
    assert!(messages.iter().all(|(_, packet)| packet.body.len() + 3 <= 1024 && packet.head & 1 == 0));
    desk.stop().await;
    // Receive maximum 5 of a broker that acknowledges nothing: five are on their way, and no more.
    let connack = vec![0x20, 6, 0, 0, 3, 0x21, 0, 5];
    let fake =
        Fake::new(move |_| Act::Serve { connack: connack.clone(), ack: Vec::new(), pings: true }).await;
    let held = Arc::clone(&fake.acked);
    let mut desk = Desk::new();
    feed(&mut desk);
    desk.start(Target::Mqtt(fake.broker()));
    desk.drained().await;
    assert!(held.lock().unwrap().len() > 30);
    desk.stop().await;
    let fake = Fake::new(|_| Act::Mute).await;
    let mut desk = Desk::new();
    for _ in 0..300 {
        desk.commit(1);
    }
    desk.start(Target::Mqtt(fake.broker()));
    sleep(Duration::from_millis(200)).await;
    let on_their_way =
        fake.log.lock().unwrap().iter().filter(|(number, packet)| *number <= 1 && packet.kind() == 3).count();
    assert!(on_their_way <= 100, "{on_their_way}");
    desk.stop().await;
}

/// SK-72, SK-73: the broker's keep-alive is kept, and one that does not answer a ping is left.
#[tokio::test]
async fn the_keep_alive_is_the_brokers_and_silence_ends_the_connection() {
    let connack = vec![0x20, 6, 0, 0, 3, 0x13, 0, 1];
    let script = move |number| Act::Serve { connack: connack.clone(), ack: Vec::new(), pings: number > 0 };
    let fake = Fake::new(script).await;
    let mut desk = Desk::new();
    feed(&mut desk);
    let begun = now();
    desk.start(Target::Mqtt(fake.broker()));
    let until = begun + Duration::from_secs(4);
    while fake.connections() < 2 {
        assert!(now() < until, "it waits for ever");
        sleep(Duration::from_millis(10)).await;
        // Somebody has something to say: that is when a lost connection matters.
        if now() > begun + Duration::from_millis(1600) && desk.count == 30 {
            desk.commit(1);
        }
    }
    let pings = fake.log.lock().unwrap().iter().filter(|(_, packet)| packet.kind() == 12).count();
    assert!(pings >= 1 && now() - begun < Duration::from_secs(3), "{pings} pings");
    arrived(&desk, &fake, Version::V5).await;
    desk.stop().await;
}

/// SK-63, SK-75: always a clean start, and a repeat is a new message: no DUP, for there is no session that knows it.
#[tokio::test]
async fn every_connection_starts_clean() {
    let (_, fake) = through(fed(), Act::Lose(3), 3).await;
    let log = fake.log.lock().unwrap().clone();
    let hellos: Vec<_> = log.iter().filter(|(_, packet)| packet.kind() == 1).collect();
    assert!(hellos.len() >= 4);
    assert!(hellos.iter().all(|(_, packet)| packet.body[7] & 0x02 != 0), "clean start");
    assert!(
        log.iter().filter(|(_, packet)| packet.kind() == 3).all(|(_, packet)| packet.head & 0x08 == 0),
        "no DUP"
    );
}

/// SK-79: the will is there from the start, and an orderly end says offline by itself, then leaves.
#[tokio::test]
async fn a_will_for_a_crash_and_a_word_for_an_orderly_end() {
    let fake = Fake::new(|_| well()).await;
    let mut desk = Desk::new();
    feed(&mut desk);
    desk.start(Target::Mqtt(fake.broker()));
    arrived(&desk, &fake, Version::V5).await;
    desk.stop().await;
    sleep(Duration::from_millis(20)).await;
    let log = fake.log.lock().unwrap().clone();
    let hello = String::from_utf8_lossy(&log[1].1.body).into_owned();
    assert!(
        hello.contains("lifeline/nanan-01/status")
            && hello.contains(r#"{"online":false}"#)
            && log[1].1.body[7] & 0x2C == 0x2C
    );
    let [.., (_, word), (_, bye)] = &log[..] else { panic!() };
    assert_eq!((bye.kind(), word.topic().as_str(), word.head & 1), (14, "lifeline/nanan-01/status", 1));
    assert_eq!(word.payload(Version::V5)["online"], false);
}

/// MQTT 3.1.1: another CONNECT, no properties, codes 1 to 5.
#[tokio::test]
async fn a_broker_of_mqtt_3_is_spoken_to_in_its_tongue() {
    let script = |number| match number {
        // The first attempt is made before anybody asks for it.
        0 | 1 => Act::Refuse(vec![0x20, 2, 0, 4]),
        2 => Act::Refuse(vec![0x20, 2, 0, 3]),
        _ => Act::Serve { connack: vec![0x20, 2, 0, 0], ack: Vec::new(), pings: true },
    };
    let fake = Fake::new(script).await;
    let mut desk = Desk::new();
    feed(&mut desk);
    desk.start(Target::Mqtt(Broker { version: Version::V311, ..fake.broker() }));
    let status = arrived(&desk, &fake, Version::V311).await;
    assert_eq!(status.kinds.keys().collect::<Vec<_>>(), [&Kind::Credentials, &Kind::Server]);
    let log = fake.log.lock().unwrap().clone();
    assert_eq!(log[1].1.body[..7], [0, 4, b'M', b'Q', b'T', b'T', 4]);
    desk.stop().await;
}

/// TLS to a broker: proved or nothing, and everything arrives inside it.
#[tokio::test]
async fn a_broker_behind_tls_proves_itself_first() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let acceptor = Setup::new(authority.signed("localhost", (2020, 4000))).acceptor();
    let fake = Fake::with(|_| well(), Some(acceptor)).await;
    let address = format!("localhost:{}", fake.port);
    for (files, kind) in
        [(Tls::default(), Some(Kind::TlsIssuer)), (Tls { ca: Some(ca), identity: None }, None)]
    {
        let mut desk = Desk::new();
        feed(&mut desk);
        desk.start(Target::Mqtt(Broker { tls: Some(files), ..Broker::at(&address) }));
        match kind {
            Some(kind) => {
                let status = desk.until("held", |status| status.held).await;
                assert!(status.kinds.contains_key(&kind), "{status:?}");
                assert_eq!(fake.connections(), 0, "nothing was said");
            }
            None => {
                arrived(&desk, &fake, Version::V5).await;
            }
        }
        desk.stop().await;
    }
}

/// Promise 3: the same over MQTT: no number, and a mark.
#[tokio::test]
async fn notice_without_the_journal_is_marked() {
    let fake = Fake::new(|_| well()).await;
    let mut desk = Desk::new();
    desk.start(Target::Mqtt(fake.broker()));
    desk.refused_by_the_disk(0);
    desk.until("told", |status| status.unjournaled == 2).await;
    let acked = fake.acked.lock().unwrap().clone();
    let told: Vec<_> = acked.iter().filter(|packet| !packet.topic().ends_with("/status")).collect();
    assert_eq!(told[0].topic(), "lifeline/nanan-01/alarm/outlet-pressure-high", "alarms first");
    assert_eq!(told[1].topic(), "lifeline/nanan-01/regulator-3/reading");
    for packet in told {
        let payload = packet.payload(Version::V5);
        assert!(payload["unjournaled"] == true && payload.get("seq").is_none(), "{payload}");
    }
    desk.stop().await;
}

/// Topics of a city's own: each name is one level, and the lane stands in it.
#[tokio::test]
async fn topics_are_templates() {
    use lifeline_gateway::forward::shape::{Template, Topics};
    let fake = Fake::new(|_| well()).await;
    let mut desk = Desk::new();
    feed(&mut desk);
    let topics = Topics {
        reading: Template::topic("city/{town}/{class}/{device}/{lane}", &Topics::READING).unwrap(),
        alarm: Template::topic("city/{site}/alarm/{rule}", &Topics::ALARM).unwrap(),
    };
    desk.start(Target::Mqtt(Broker { topics, ..fake.broker() }));
    arrived(&desk, &fake, Version::V5).await;
    let acked = fake.acked.lock().unwrap().clone();
    let mut topics: Vec<_> = acked.iter().map(Packet::topic).collect();
    topics.sort();
    topics.dedup();
    let expected = [
        "city/_/gas-pressure/regulator-3/backlog",
        "city/nanan-01/alarm/outlet-pressure-high",
        "lifeline/nanan-01/status",
    ];
    assert!(expected.iter().all(|topic| topics.iter().any(|known| known == topic)), "{topics:?}");
    desk.stop().await;
}
