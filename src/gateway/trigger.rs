//! The one place that writes to the field: triggers that a profile declares and the site allows by name.
//!
//! In: an [`Allowed`] trigger. Out: when its values count, or the failure; an audit either way.
//! Invariant: nothing but an [`Allowed`] is ever written; each write has its audit; each is confirmed by its own device. There are no
//! broadcasts: nobody answers one, so a unit that missed it would serve an old value as a new one.
//! Source: DESIGN promise 6.

use std::time::Duration;

use tokio::time::Instant;

use crate::bus::ask::Write;
use crate::bus::master::{Master, Written};
use crate::bus::{Failure, Slave};
use crate::clock::{Clock, Timestamp};
use crate::journal::{Audit, Deed};
use crate::loss::Losses;
use crate::profile::trigger::{Act, Allowed};

/// Writes; what came of it, with its audit, unless nothing went out.
pub(crate) async fn fire(
    allowed: &Allowed,
    (slave, device): (Slave, &str),
    timeout: Duration,
    master: &mut Master,
    clock: &dyn Clock,
    losses: &mut Losses,
) -> (Result<Instant, Failure>, Option<Audit>) {
    let trigger = allowed.trigger();
    let Written { outcome, went_out } = master.write(slave, &write(&trigger.act), timeout, losses).await;
    // The wait counts from the confirmation: the write came before it.
    let written = clock.instant();
    let audit = went_out.then(|| audit(allowed, device, clock.at(written), outcome.err()));
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
    let deed = Deed::Trigger {
        name: trigger.name.clone(),
        write: trigger.act.to_string(),
        failure: failure.map(|failure| crate::gateway::polling::reason_of(failure).to_string()),
    };
    tracing::debug!(%device, trigger = %trigger.name, failure = ?failure, "a trigger was written");
    Audit { at, device: device.to_owned(), deed }
}
