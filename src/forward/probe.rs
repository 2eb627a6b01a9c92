//! Whether a sink can be reached and takes what is written, before a gateway depends on it.
//!
//! In: a sink's settings. Out: nothing when it took a record, or why it didn't.
//! Invariant: a probe is no reading, goes where no reading goes, leaves no retained message, and doesn't disturb a gateway that is connected.
//! Source: MQTT 5.0, 3.1.4 (a second connection of one client id takes the first one's place).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::time::timeout;

use crate::clock::{Clock, Timestamp};
use crate::forward::influx::Influx;
use crate::forward::line_protocol::Lines;
use crate::forward::mqtt::address;
use crate::forward::sink::{Receipt, Refusal};
use crate::forward::{Secret, Settings, Target};

/// Longer than any pause that a person would take for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Writes one record of its own: a line `lifeline_check,site=SITE value=1` to a database, a message to `lifeline/SITE/check` (not retained) to a
/// broker, a file that is removed again to a folder.
///
/// # Errors
/// In words: it cannot be reached, or it does not take the record.
pub async fn probe(settings: &Settings, site: &str, clock: Arc<dyn Clock>) -> Result<(), String> {
    let tried = async {
        match &settings.target {
            Target::Influx { url, api, token, user } => {
                let access = (user.clone(), token.clone());
                let line = line(site, clock.now());
                let sink = Influx::new(site.to_owned(), 1, (url, api.clone()), access, clock);
                sink.write(&line).await.map_err(worded).and_then(taken)
            }
            Target::Mqtt { address, client_id, user, password } => {
                let own = if client_id.is_empty() { format!("lifeline-{site}") } else { client_id.clone() };
                broker(address, &format!("{own}-check"), (user.as_ref(), password.as_ref()), site).await
            }
            Target::File { path } => folder(path),
        }
    };
    timeout(PATIENCE, tried)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

fn line(site: &str, now: Timestamp) -> Lines {
    let text = format!("lifeline_check,site={site} value=1 {}\n", now.as_millis());
    Lines { ends: vec![(text.len(), now)], text, ..Lines::default() }
}

fn taken(receipt: Receipt) -> Result<(), String> {
    receipt.refused.into_iter().next().map_or(Ok(()), |refused| Err(refused.why))
}

fn worded(refusal: Refusal) -> String {
    match refusal {
        Refusal::Unreachable { why } => format!("cannot be reached: {why}"),
        Refusal::Busy { why, .. } => format!("takes nothing now: {why}"),
        Refusal::Denied { why } | Refusal::Unfit { why } => format!("refuses: {why}"),
    }
}

async fn broker(
    to: &str,
    client_id: &str,
    (user, password): (Option<&String>, Option<&Secret>),
    site: &str,
) -> Result<(), String> {
    let (host, port) = address(to)?;
    let mut options = MqttOptions::new(client_id.to_owned(), host, port);
    options.set_clean_start(true).set_connection_timeout(PATIENCE.as_secs());
    if let Some(user) = user {
        options.set_credentials(user, password.map(Secret::read).transpose()?.unwrap_or_default());
    }
    let (client, mut events) = AsyncClient::new(options, 4);
    let topic = format!("lifeline/{site}/check");
    client
        .try_publish(topic.clone(), QoS::AtLeastOnce, false, r#"{"check":true}"#)
        .map_err(|error| error.to_string())?;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::PubAck(ack))) => {
                let answer = match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
                    reason => Err(format!("refuses messages on {topic}: {reason:?}")),
                };
                // Said goodbye, the broker frees the session at once.
                let _ = client.try_disconnect();
                let _ = timeout(Duration::from_secs(1), events.poll()).await;
                return answer;
            }
            Ok(_) => {}
            Err(error) => return Err(format!("cannot be reached: {error}")),
        }
    }
}

fn folder(path: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    std::fs::create_dir_all(path).map_err(told)?;
    let file = path.join(".lifeline-check");
    std::fs::write(&file, "check\n").map_err(told)?;
    std::fs::remove_file(&file).map_err(told)
}
