//! Names of hosts to addresses, through outages of the name service.
//!
//! In: a host's name. Out: its addresses as the system knows them, or for an hour the last ones that it knew.
//! Invariant: a hanging resolver holds up nothing but the question itself; every new connection asks anew.
//! Source: RFC 8767 (stale answers rather than none).

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::{Instant, timeout};

use crate::forward::drive::now;

/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long the last good answer may stand in.
const STALE: Duration = Duration::from_secs(3600);

/// An answer under way.
pub type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Asks for a host's addresses.
pub type Ask = Arc<dyn Fn(String) -> Answer + Send + Sync>;

/// What was answered last, and when, by host.
type Known = HashMap<String, (Instant, Vec<SocketAddr>)>;

/// The resolver of one sink.
#[derive(Clone)]
pub struct Names {
    ask: Ask,
    known: Arc<Mutex<Known>>,
}

/// A name has no address. The text begins with what the kind of trouble is told by.
#[derive(Debug, thiserror::Error)]
#[error("no address for {host}: {why}; check the name and this box's name server")]
pub struct NoAddress {
    host: String,
    why: String,
}

impl Names {
    /// The system's resolver, on a thread of its own.
    pub fn system() -> Self {
        let lookup = |host: String| -> Answer {
            Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
        };
        Self::new(Arc::new(lookup))
    }

    /// A resolver that asks `ask`.
    pub fn new(ask: Ask) -> Self {
        Self { ask, known: Arc::default() }
    }

    /// The host's addresses.
    ///
    /// # Errors
    /// There is none, and the last one known is too old.
    pub async fn look_up(&self, host: String) -> Result<Vec<SocketAddr>, NoAddress> {
        let answer = timeout(PATIENCE, (self.ask)(host.clone())).await;
        let why = match answer {
            Ok(Ok(found)) if !found.is_empty() => {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(host, (now(), found.clone()));
                return Ok(found);
            }
            Ok(Ok(_)) => "the name has none".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&host) {
            Some((at, found)) if now().saturating_duration_since(*at) < STALE => Ok(found.clone()),
            _ => Err(NoAddress { host, why }),
        }
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (names, host) = (self.clone(), name.as_str().to_owned());
        Box::pin(async move {
            let found = names.look_up(host).await?;
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `None` never answers.
    type Scripted = Option<io::Result<Vec<SocketAddr>>>;

    /// Answers in order.
    fn scripted(mut answers: Vec<Scripted>) -> Names {
        answers.reverse();
        let script = Arc::new(Mutex::new(answers));
        Names::new(Arc::new(move |_| {
            let next = script.lock().unwrap().pop().unwrap();
            Box::pin(async move {
                match next {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            })
        }))
    }

    /// SK-17, SK-18: what the name service may do.
    #[tokio::test(start_paused = true)]
    async fn an_outage_of_the_name_service_is_bridged_for_an_hour() {
        let (first, second) = (SocketAddr::from(([10, 0, 0, 1], 0)), SocketAddr::from(([10, 0, 0, 2], 0)));
        let failure = || Some(Err(io::Error::other("SERVFAIL")));
        let names = scripted(vec![
            failure(),
            Some(Ok(vec![first])),
            failure(),
            None,
            Some(Ok(Vec::new())),
            Some(Ok(vec![second])),
            failure(),
            failure(),
        ]);
        let ask = || names.look_up("tsdb.example".to_owned());
        let error = ask().await.unwrap_err().to_string();
        assert!(error.contains("tsdb.example") && error.contains("SERVFAIL"), "{error}");
        for _ in 0..4 {
            assert_eq!(ask().await.unwrap(), [first], "the last good one stands in");
        }
        assert_eq!(ask().await.unwrap(), [second], "a new one is used at once");
        tokio::time::sleep(Duration::from_secs(3500)).await;
        assert_eq!(ask().await.unwrap(), [second]);
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert!(ask().await.is_err(), "not for ever");
    }
}
