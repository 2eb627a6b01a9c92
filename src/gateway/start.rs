//! Opening the journal and carrying the core's state over from the last run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::clock::{Clock, Timestamp};
use crate::gateway::RunError;
use crate::gateway::core::Core;
use crate::gateway::proof::Proof;
use crate::gateway::recall;
use crate::gateway::writer::{self, Store, Writer};
use crate::journal::mend::{self, Saved};
use crate::journal::{Group, Journal, OpenError, Progress, Reader, Seq};
use crate::risk::registry;
use crate::site::Site;

/// What a run starts from.
pub(crate) struct Begun {
    pub(crate) core: Core,
    /// What was proved of notices.
    pub(crate) proof: Proof,
    pub(crate) writer: Writer,
    pub(crate) progress: BTreeMap<String, Progress>,
    pub(crate) last: Seq,
    /// The last commit that is in the history, for who seals and who removes.
    pub(crate) sealed: Arc<AtomicU64>,
    /// A damaged journal was moved aside, or a part of its log was lost.
    pub(crate) set_aside: bool,
}

/// Opens the journal, keeps this version of the documents in it, and restores the core. A journal that is beyond use is moved aside, with
/// what it still says of the alarms carried over; one that finds no room gets the room that was kept for this, and without that
/// the gateway begins all the same.
pub(crate) fn begin(site: &Arc<Site>, clock: &Arc<dyn Clock>) -> Result<Begun, RunError> {
    let path = &site.journal.path;
    let begun = match carry_over(site, clock, None) {
        Err(error) if error.is_lack_of_room() && mend::give_reserve(path) => {
            tracing::error!("the disk has no room; the journal starts in the room that was kept for this");
            carry_over(site, clock, None)
        }
        begun => begun,
    };
    let begun = match begun {
        Err(error) if error.is_lack_of_room() => {
            tracing::error!(
                cause = chain(&error),
                "the disk has no room for the journal; polling and alarming begin without it"
            );
            without_journal(site, clock)
        }
        begun => begun,
    };
    let begun = match begun {
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
    }?;
    tell_open(&begun.core);
    Ok(begun)
}

/// Says which alarms go on from the last run.
fn tell_open(core: &Core) {
    let open = core.alarms();
    if !open.is_empty() {
        let unseen = open.iter().filter(|alarm| alarm.state.is_unseen()).count();
        tracing::info!(
            alarms = open.len(),
            not_acknowledged = unseen,
            "open alarms are taken over from the journal"
        );
    }
}

/// Begins with what the journal on a full disk says, and opens it for writing as soon as there is room.
fn without_journal(site: &Arc<Site>, clock: &Arc<dyn Clock>) -> Result<Begun, RunError> {
    let state = mend::look(&site.journal.path);
    let mut core = Core::new(site);
    core.restore(state.states, state.last.map(|(_, at)| at), clock.now());
    core.vigil().restore(&state.memories);
    let settings = site.journal.clone();
    let entries = registry::entries(&site.risk_points, &site.catalog.version, clock.now(), &state.memories);
    let (catalog, documents) = (Arc::clone(&site.catalog), site.documents.clone());
    let names: Vec<String> = site.sinks.iter().map(|sink| sink.name.clone()).collect();
    let (times, sealed) = (Arc::clone(clock), Arc::new(AtomicU64::new(0)));
    let follows = Arc::clone(&sealed);
    let open = move || {
        let mut journal = Journal::open(&settings).map_err(OpenError::into_store)?;
        journal.keep_site(&catalog, &documents, times.now())?;
        journal.remember(&entries)?;
        journal.keep_sinks(&names)?;
        journal.follow(Arc::clone(&follows));
        Ok(journal)
    };
    let writer = writer::start(Store::Closed(Box::new(open)), Arc::clone(clock), Arc::clone(site))?;
    let last = state.last.map_or(Seq(0), |(seq, _)| seq);
    let proof = Proof::restore(&state.memories);
    Ok(Begun { core, proof, writer, progress: state.progress, last, sealed, set_aside: false })
}

fn carry_over(site: &Arc<Site>, clock: &Arc<dyn Clock>, saved: Option<Saved>) -> Result<Begun, RunError> {
    let now = clock.now();
    let mut journal = Journal::open(&site.journal)?;
    journal.keep_site(&site.catalog, &site.documents, now)?;
    let names: Vec<String> = site.sinks.iter().map(|sink| sink.name.clone()).collect();
    journal.keep_sinks(&names)?;
    let hidden = journal.hidden();
    if hidden > 0 {
        tracing::error!(commits = hidden, "the journal's log is damaged; commits behind the damage are lost");
    }
    let set_aside = saved.is_some() || hidden > 0;
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
    remember(&mut core, site, &reader, now);
    let entries = registry::entries(&site.risk_points, &site.catalog.version, now, &memories);
    if !entries.is_empty() {
        journal.remember(&entries)?;
    }
    let progress = reader.progress()?;
    drop(reader);
    let sealed = Arc::new(AtomicU64::new(0));
    journal.follow(Arc::clone(&sealed));
    let writer = writer::start(Store::Open(Box::new(journal)), Arc::clone(clock), Arc::clone(site))?;
    let proof = Proof::restore(&memories);
    Ok(Begun { core, proof, writer, progress, last: last.map_or(Seq(0), |(seq, _)| seq), sealed, set_aside })
}

/// Gives the core the memory of the last run. What the journal can't say is no reason not to begin.
fn remember(core: &mut Core, site: &Site, reader: &Reader, now: Timestamp) {
    match recall::recall(core, site, reader, now) {
        Ok(readings) => tracing::debug!(readings, "windows and silences go on from the journal"),
        Err(error) => tracing::warn!(cause = chain(&error), "windows of rules begin anew"),
    }
}

/// The error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}
