//! Opening the journal and carrying the core's state over from the last run.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::gateway::RunError;
use crate::gateway::core::Core;
use crate::gateway::writer::{self, Writer};
use crate::journal::mend::{self, Saved};
use crate::journal::{Group, Journal, Progress, Reader, Seq};
use crate::risk::registry;
use crate::site::Site;

/// What a run starts from.
pub(crate) struct Begun {
    pub(crate) core: Core,
    pub(crate) writer: Writer,
    pub(crate) progress: BTreeMap<String, Progress>,
    pub(crate) last: Seq,
    /// A damaged journal was moved aside.
    pub(crate) set_aside: bool,
}

/// Opens the journal, keeps this version of the documents in it, and restores the core. A journal that is beyond use is moved aside, with
/// what it still says of the alarms carried over; one that finds no room gets the room that was kept for this.
pub(crate) fn begin(site: &Site, clock: &Arc<dyn Clock>) -> Result<Begun, RunError> {
    let path = &site.journal.path;
    let begun = match carry_over(site, clock, None) {
        Err(error) if error.is_lack_of_room() => {
            if !mend::give_reserve(path) {
                return Err(RunError::Full(Box::new(error)));
            }
            tracing::error!("the disk has no room; the journal starts in the room that was kept for this");
            carry_over(site, clock, None)
        }
        begun => begun,
    };
    match begun {
        Err(error) if error.is_damage() => {
            let aside = mend::set_aside(path, clock.now())?;
            let saved = mend::salvage(&aside);
            tracing::error!(
                cause = chain(&error),
                moved_to = %aside.display(),
                alarms = saved.transitions.len(),
                "the journal is damaged and was moved aside; a new one is begun"
            );
            carry_over(site, clock, Some(saved))
        }
        begun => begun,
    }
}

fn carry_over(site: &Site, clock: &Arc<dyn Clock>, saved: Option<Saved>) -> Result<Begun, RunError> {
    let now = clock.now();
    let mut journal = Journal::open(&site.journal)?;
    journal.keep_site(&site.catalog, &site.documents, now)?;
    let names: Vec<String> = site.sinks.iter().map(|sink| sink.name.clone()).collect();
    journal.keep_sinks(&names)?;
    let set_aside = saved.is_some();
    if let Some(Saved { transitions, states }) = saved {
        let version = site.catalog.version.clone();
        journal.commit(&Group { now, version, transitions, states, ..Group::default() })?;
    }
    let reader = Reader::open(&site.journal.path)?;
    let last = reader.last()?;
    let mut core = Core::new(site);
    core.restore(reader.states()?, last.map(|(_, at)| at), now);
    let memories = reader.memories()?;
    core.vigil().restore(&memories);
    let entries = registry::entries(&site.risk_points, &site.catalog.version, now, &memories);
    if !entries.is_empty() {
        journal.remember(&entries)?;
    }
    let progress = reader.progress()?;
    drop(reader);
    let writer = writer::start(journal, Arc::clone(clock), site.journal.path.clone())?;
    Ok(Begun { core, writer, progress, last: last.map_or(Seq(0), |(seq, _)| seq), set_aside })
}

/// The error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}
