//! Consumers that share one subscription, and one that comes late: an independent MQTT client.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::time::{sleep, timeout};

use crate::many::sites::Gateway;

/// A message with readings: one poll of a device. A commit may hold several of them, so its number alone does not tell two apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    topic: String,
    commit: u64,
    payload: u64,
    bytes: usize,
}

/// What one consumer heard, and how often it was connected.
#[derive(Clone, Default)]
struct Ear {
    messages: Vec<Message>,
    connections: usize,
}

type Heard = Arc<Mutex<Vec<Ear>>>;

pub(crate) struct Listeners {
    port: u16,
    heard: Heard,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Listeners {
    /// So many consumers in one group.
    pub(crate) fn start(port: u16, count: usize) -> Self {
        let heard = Heard::new(Mutex::new(vec![Ear::default(); count]));
        #[expect(clippy::disallowed_methods, reason = "independent subscribers")]
        let tasks =
            (0..count).map(|number| tokio::spawn(consume(port, number, Arc::clone(&heard)))).collect();
        Self { port, heard, tasks }
    }

    /// Each consumer got a part and together all gateways; none got what another had, unless a connection broke and the message was
    /// sent again; one that comes late is told who is there.
    pub(crate) async fn share(self, gateways: &[Gateway], failures: u64) {
        let names: BTreeSet<String> = gateways.iter().map(|gateway| gateway.name.clone()).collect();
        let online = timeout(Duration::from_secs(10), online(self.port, names.len())).await.unwrap();
        assert_eq!(online, names, "retained births");
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        let heard = self.heard.lock().unwrap();
        let kept = failures == 0 && heard.iter().all(|ear| ear.connections == 1);
        let (mut all, mut counts) = (BTreeMap::new(), Vec::new());
        for (consumer, ear) in heard.iter().enumerate() {
            counts.push(ear.messages.len());
            for message in &ear.messages {
                let before = all.insert(message.clone(), consumer);
                let alone = before.is_none_or(|before| before == consumer);
                assert!(alone || !kept, "{message:?} came to two consumers, and no connection broke");
            }
        }
        let site = |message: Message| message.topic.split('/').nth(1).unwrap().to_owned();
        let sites: BTreeSet<String> = all.into_keys().map(site).collect();
        let bytes: usize = heard.iter().flat_map(|ear| &ear.messages).map(|message| message.bytes).sum();
        println!("messages by consumer: {counts:?}, {bytes} bytes, {failures} failures");
        assert!(counts.iter().all(|count| *count > 0) && sites == names, "{counts:?} of {sites:?}");
    }
}

async fn consume(port: u16, number: usize, heard: Heard) {
    let mut options = MqttOptions::new(format!("consumer-{number}"), "127.0.0.1", port);
    options.set_clean_start(true).set_max_packet_size(Some(10_000_000));
    let (client, mut events) = AsyncClient::new(options, 10);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                heard.lock().unwrap()[number].connections += 1;
                client.subscribe("$share/district/lifeline/#", QoS::AtLeastOnce).await.unwrap();
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                let payload: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
                if let (true, Some(commit)) = (payload["readings"].is_array(), payload["seq"].as_u64()) {
                    let mut hasher = DefaultHasher::new();
                    publish.payload.hash(&mut hasher);
                    let message =
                        Message { topic, commit, payload: hasher.finish(), bytes: publish.payload.len() };
                    heard.lock().unwrap()[number].messages.push(message);
                }
            }
            Ok(_) => {}
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// The gateways whose retained birth says that they are there, once there are `count`.
async fn online(port: u16, count: usize) -> BTreeSet<String> {
    let (client, mut events) = AsyncClient::new(MqttOptions::new("late", "127.0.0.1", port), 10);
    let mut found = BTreeSet::new();
    while found.len() < count {
        match events.poll().await.unwrap() {
            Event::Incoming(Packet::ConnAck(_)) => {
                client.subscribe("lifeline/+/status", QoS::AtLeastOnce).await.unwrap();
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                let payload: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
                assert!(publish.retain && payload["online"] == true, "{topic} {payload}");
                found.insert(topic.split('/').nth(1).unwrap().to_owned());
            }
            _ => {}
        }
    }
    found
}
