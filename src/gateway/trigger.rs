//! The one place that writes to the field: triggers that a profile declares and the site allows by name.
//!
//! In: an [`Allowed`] trigger. Out: when its values count, or the failure; an audit either way.
//! Invariant: nothing but an [`Allowed`] is ever written; each write has its audit; units that one broadcast starts share it, and
//! none of them is read before the last broadcast's wait is over.
//! Source: DESIGN promise 6; Geokon 3810A manual, section 3 (a broadcast starts all units, each a little later).

use std::time::Duration;

use tokio::time::Instant;

use crate::bus::ask::Write;
use crate::bus::master::Master;
use crate::bus::{Failure, Slave};
use crate::clock::{Clock, Timestamp};
use crate::journal::{Audit, Deed};
use crate::loss::Losses;
use crate::profile::trigger::{Act, Allowed};

/// A broadcast is joined by devices that are due within its wait and this.
const JOIN: Duration = Duration::from_secs(2);

/// The broadcasts of one line: what was written last, and when.
#[derive(Debug, Default)]
pub(crate) struct Broadcasts(Vec<(Act, Instant)>);

impl Broadcasts {
    /// When this was last written to all.
    pub(crate) fn last(&self, act: &Act) -> Option<Instant> {
        self.0.iter().find(|(known, _)| known == act).map(|(_, at)| *at)
    }

    /// A broadcast that a device, whose last values came from the one at `used`, may share at `now`.
    pub(crate) fn joined(
        &self,
        allowed: &Allowed,
        wait: Duration,
        used: Option<Instant>,
        now: Instant,
    ) -> Option<Instant> {
        let trigger = allowed.trigger();
        let last = self.last(&trigger.act).filter(|_| trigger.broadcast)?;
        (used.is_none_or(|used| used < last) && now <= last + wait + JOIN).then_some(last)
    }

    fn wrote(&mut self, act: &Act, at: Instant) {
        self.0.retain(|(known, _)| known != act);
        self.0.push((act.clone(), at));
    }
}

/// Writes; what came of it, with its audit.
pub(crate) async fn fire(
    allowed: &Allowed,
    (slave, device): (Slave, &str),
    timeout: Duration,
    master: &mut Master,
    (broadcasts, clock): (&mut Broadcasts, &dyn Clock),
    losses: &mut Losses,
) -> (Result<Instant, Failure>, Audit) {
    let trigger = allowed.trigger();
    let to = if trigger.broadcast { Slave(0) } else { slave };
    let outcome = master.write(to, &write(&trigger.act), timeout, losses).await;
    // The wait counts from the confirmation: the write came before it.
    let written = clock.instant();
    if trigger.broadcast && outcome.is_ok() {
        broadcasts.wrote(&trigger.act, written);
    }
    let audit = audit(allowed, device, clock.at(written), outcome.err());
    (outcome.map(|()| written), audit)
}

fn write(act: &Act) -> Write {
    match act {
        Act::Coil { address, on } => Write::Coil { address: *address, on: *on },
        Act::Register { address, value } => Write::Register { address: *address, value: *value },
        Act::Registers { address, values } => Write::Registers { address: *address, values: values.clone() },
    }
}

fn audit(allowed: &Allowed, device: &str, at: Timestamp, failure: Option<Failure>) -> Audit {
    let trigger = allowed.trigger();
    let to = if trigger.broadcast { "all units: " } else { "" };
    let deed = Deed::Trigger {
        name: trigger.name.clone(),
        write: format!("{to}{}", trigger.act),
        failure: failure.map(|failure| crate::gateway::polling::reason_of(failure).to_string()),
    };
    tracing::debug!(%device, trigger = %trigger.name, failure = ?failure, "a trigger was written");
    Audit { at, device: device.to_owned(), deed }
}
