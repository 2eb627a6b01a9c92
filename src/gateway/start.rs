//! Opening the journal and carrying the core's state over from the last run.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::gateway::RunError;
use crate::gateway::core::Core;
use crate::gateway::writer::{self, Writer};
use crate::journal::{Journal, Progress, Reader, Seq};
use crate::site::Site;

/// What a run starts from.
pub(crate) struct Begun {
    pub(crate) core: Core,
    pub(crate) writer: Writer,
    pub(crate) progress: BTreeMap<String, Progress>,
    pub(crate) last: Seq,
}

/// Opens the journal, keeps this version of the documents in it, and restores the core.
pub(crate) fn begin(site: &Site, clock: &Arc<dyn Clock>) -> Result<Begun, RunError> {
    let now = clock.now();
    let mut journal = Journal::open(&site.journal)?;
    journal.keep_site(&site.catalog, &site.documents, now)?;
    let names: Vec<String> = site.sinks.iter().map(|sink| sink.name.clone()).collect();
    journal.keep_sinks(&names)?;
    let reader = Reader::open(&site.journal.path)?;
    let last = reader.last()?;
    let mut core = Core::new(site);
    core.restore(reader.states()?, last.map(|(_, at)| at), now);
    let progress = reader.progress()?;
    drop(reader);
    let writer = writer::start(journal, Arc::clone(clock), site.journal.path.clone())?;
    Ok(Begun { core, writer, progress, last: last.map_or(Seq(0), |(seq, _)| seq) })
}
