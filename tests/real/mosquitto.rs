//! Mosquitto: MQTT 5, killed without a word and started again. Real time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_gateway::forward::Target;
use lifeline_gateway::forward::mqtt::Broker;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::time::sleep;

use crate::feed::{Feed, through_an_outage, wanted};
use crate::server::Server;

/// Topic and payload, in order of arrival.
type Heard = Arc<Mutex<Vec<(String, serde_json::Value)>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_committed_record_arrives_and_live_before_the_backlog() {
    let arguments = |port, folder: &std::path::Path| {
        let path = folder.join("mosquitto.conf");
        // Without persistence: the broker forgets every session and what it holds.
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n"
        );
        std::fs::write(&path, text).unwrap();
        vec!["-c".to_owned(), path.display().to_string()]
    };
    let Some(mut server) = Server::new("mosquitto", arguments) else { return };
    server.start();
    let heard = Heard::default();
    #[expect(clippy::disallowed_methods, reason = "an independent subscriber")]
    let subscriber = tokio::spawn(listen(server.port, Arc::clone(&heard)));
    sleep(Duration::from_millis(300)).await;
    let address = format!("127.0.0.1:{}", server.port);
    let target = Target::Mqtt(Broker::at(&address));
    let story = through_an_outage(&mut server, Server::kill, target).await;
    sleep(Duration::from_millis(500)).await;
    subscriber.abort();
    let heard = heard.lock().unwrap().clone();
    let (killed, back) = story.outage;
    let mut found = BTreeSet::new();
    for (topic, payload) in &heard {
        for reading in payload["readings"].as_array().into_iter().flatten() {
            let at = lifeline_gateway::clock::Timestamp::parse(reading["time"].as_str().unwrap()).unwrap();
            let point = reading["point"].as_str().unwrap().trim_start_matches("regulator-3.").to_owned();
            let value = point.trim_start_matches('p').parse::<f64>().unwrap() + 0.5;
            assert_eq!(reading["value"].as_f64(), Some(value));
            found.insert((point, at.as_millis()));
            let late = at.as_millis() > killed + 100 && at.as_millis() < back + 1300;
            assert!(!(late && topic.ends_with("/reading")), "a late reading looks fresh: {topic} {payload}");
        }
    }
    assert_eq!(found, wanted(&story.feed));
    let alarms = heard.iter().filter(|(topic, _)| topic.ends_with("/alarm/outlet-pressure-high"));
    let alarms: BTreeSet<_> = alarms.map(|(_, payload)| payload["seq"].as_u64().unwrap()).collect();
    assert_eq!(alarms, (1..=story.feed.alarms).collect());
    let last_birth =
        heard.iter().rposition(|(topic, body)| topic.ends_with("/status") && body["online"] == true);
    let after: Vec<_> = heard.iter().skip(last_birth.unwrap()).map(|(topic, _)| topic.as_str()).collect();
    let first = |end: &str| after.iter().position(|topic| topic.ends_with(end)).unwrap();
    assert!(first("/outlet-pressure-high") < first("/reading"), "alarms first");
    assert!(first("/reading") < first("/backlog"), "fresh before late");
    assert_eq!(heard.last().unwrap().1["online"], false, "the last will");
}

/// rumqttc alone would reconnect with the oversized message for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_with_small_packets_gets_small_messages() {
    let arguments = |port, folder: &std::path::Path| {
        let path = folder.join("mosquitto.conf");
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_packet_size 400\n");
        std::fs::write(&path, text).unwrap();
        vec!["-c".to_owned(), path.display().to_string()]
    };
    let Some(mut server) = Server::new("mosquitto", arguments) else { return };
    server.start();
    let mut feed = Feed::new();
    let address = format!("127.0.0.1:{}", server.port);
    let target = Target::Mqtt(Broker::at(&address));
    let sink = feed.sink(target);
    feed.load(Duration::from_secs(1)).await;
    let readings = u64::try_from(wanted(&feed).len()).unwrap();
    let status = sink.until(Duration::from_secs(5), |status| status.readings >= readings).await;
    // No alarm fits and none is given up: the lane says so and waits.
    assert_eq!((status.readings, status.failures), (readings, 1), "{status:?}");
    assert!(status.trouble.as_ref().is_some_and(|why| why.contains("alarms held")), "{status:?}");
    sink.stop().await;
}

/// Subscribes to everything, again after each lost connection, until aborted.
async fn listen(port: u16, heard: Heard) {
    let mut options = MqttOptions::new("witness", "127.0.0.1", port);
    options.set_clean_start(true).set_max_packet_size(Some(10_000_000));
    let (client, mut events) = AsyncClient::new(options, 10);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                client.subscribe("lifeline/#", QoS::AtLeastOnce).await.unwrap();
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                let payload = serde_json::from_slice(&publish.payload).unwrap();
                heard.lock().unwrap().push((topic, payload));
            }
            Ok(_) => {}
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}
