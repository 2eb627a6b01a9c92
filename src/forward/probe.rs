//! Whether a sink can be reached and takes what is written, before a gateway depends on it.
//!
//! In: a sink's settings. Out: nothing when it took a record, or why it didn't.
//! Invariant: a probe is no reading, goes where no reading goes, leaves no retained message, and doesn't disturb a gateway that is connected.
//! Source: MQTT 5.0, 3.1.4 (a second connection of one client id takes the first one's place).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::clock::{Clock, Timestamp};
use crate::forward::backoff::Pace;
use crate::forward::influx::{Address, Influx};
use crate::forward::line_protocol::Lines;
use crate::forward::mqtt::{Broker, Mqtt};
use crate::forward::sink::{Doubt, Receipt, Refusal, Refused, Sink};
use crate::forward::{Settings, Target};

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
            Target::Influx { url, api, token, user, tls, .. } => {
                let access = (user.clone(), token.clone());
                let line = line(site, clock.now());
                let address =
                    Address { url: url.clone(), api: api.clone(), tls: tls.clone(), tags: Vec::new() };
                let sink = Influx::new(site.to_owned(), 1, address, access, (settings.pace, clock));
                sink.write(&line, Doubt::None).await.map_err(worded).and_then(taken)
            }
            Target::Mqtt(to) => broker(to, settings.pace, site, clock).await,
            Target::File(files) => folder(&files.path),
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
        Refusal::Unreachable { why, .. } => format!("cannot be reached: {why}"),
        Refusal::Busy { why, .. } => format!("takes nothing now: {why}"),
        Refusal::Denied { why, .. } | Refusal::Unfit { why } => format!("refuses: {why}"),
    }
}

async fn broker(broker: &Broker, pace: Pace, site: &str, clock: Arc<dyn Clock>) -> Result<(), String> {
    let own = if broker.client_id.is_empty() { format!("lifeline-{site}") } else { broker.client_id.clone() };
    let client_id = format!("{own}-check");
    let sink = Mqtt::new(site.to_owned(), Broker { client_id, ..broker.clone() }, pace, clock).quiet();
    let topic = format!("lifeline/{site}/check");
    let message = Refused::message(1, &topic, r#"{"check":true}"#, "");
    let sent = async {
        let receipt = sink.again(vec![message]).await.map_err(worded)?;
        let answer = taken(receipt).map_err(|why| format!("refuses messages on {topic}: {why}"));
        // Said goodbye, the broker frees the session at once.
        let _ = timeout(Duration::from_secs(1), sink.close()).await;
        answer
    };
    let mut sent = std::pin::pin!(sent);
    tokio::select! {
        biased;
        answer = &mut sent => answer,
        () = sink.keep() => sent.await,
    }
}

fn folder(path: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    std::fs::create_dir_all(path).map_err(told)?;
    let file = path.join(".lifeline-check");
    std::fs::write(&file, "check\n").map_err(told)?;
    std::fs::remove_file(&file).map_err(told)
}
