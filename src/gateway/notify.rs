//! What the service manager is told (sd_notify): ready, alive, stopping.
//!
//! Invariant: "alive" is said only while polling, the core and the journal's thread make progress; without a service
//! manager nothing is said.

use std::time::Duration;

use crate::clock::Timestamp;

/// Polling may stand still this long before the watchdog is no longer fed (all devices held back, slow lines).
const STILL_MAX: Duration = Duration::from_secs(120);

/// The gateway is up.
pub(crate) fn ready(site: &str, devices: usize) {
    let status = format!("site {site}, {devices} devices");
    tell(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(&status)]);
}

/// The gateway is going down as asked.
pub(crate) fn stopping() {
    tell(&[sd_notify::NotifyState::Stopping]);
}

/// When each part last made progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alive {
    /// The last report of any line; `None` when nothing is to be polled.
    pub(crate) polled: Option<Timestamp>,
    /// The last answer of the journal's thread (a refusal is an answer).
    pub(crate) written: Timestamp,
}

/// Feeds the watchdog when every part made progress; says whether it did.
pub(crate) fn watchdog(alive: Alive, now: Timestamp) -> bool {
    let still = |at: Timestamp| STILL_MAX < now.since(at);
    if alive.polled.is_some_and(still) || still(alive.written) {
        return false;
    }
    tell(&[sd_notify::NotifyState::Watchdog]);
    true
}

fn tell(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(error = %error, "the service manager was not reached");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_stands_still_starves_the_watchdog() {
        let at = |s: i64| Timestamp::from_millis(s * 1000);
        assert!(watchdog(Alive { polled: Some(at(0)), written: at(0) }, at(120)));
        assert!(!watchdog(Alive { polled: Some(at(0)), written: at(100) }, at(121)));
        assert!(!watchdog(Alive { polled: Some(at(100)), written: at(0) }, at(121)));
        assert!(watchdog(Alive { polled: None, written: at(100) }, at(121)));
    }
}
