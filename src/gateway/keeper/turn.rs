//! What the supervisor asks of the keeper: other documents, above all.
//!
//! In: an [`Ask`]. Out: core, board, orders and what waits for the disk under the new documents, from one event to the next.
//! Invariant: what waits for the disk keeps the documents that it was read by.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::alarm::recall::Primed;
use crate::clock::Timestamp;
use crate::gateway::core::Event;
use crate::gateway::keeper::{Keeper, polls};
use crate::gateway::known::KnownLines;
use crate::gateway::outage::Outages;
use crate::gateway::own::Own;
use crate::gateway::refill;
use crate::gateway::seam::Seam;
use crate::gateway::supervise::Ask;
use crate::journal::{Audit, Deed, Progress};
use crate::reading::Batch;
use crate::risk::registry;
use crate::site::Site;

/// Batches that are kept for a reload at most; a look at the journal takes seconds.
const HEARD_MAX: usize = 100_000;

impl Keeper {
    pub(crate) fn ask(&mut self, ask: Ask, confirmed: &mut mpsc::Receiver<(String, Progress)>) {
        let now = self.clock.now();
        match ask {
            Ask::Listen { durable } => {
                self.heard = Some(Vec::new());
                if self.disk_refuses {
                    let _ = durable.send(Some("the disk refuses".to_owned()));
                } else {
                    self.pending.urgent = true;
                    self.answers.push(durable);
                }
            }
            Ask::Reload { site, by, changes, before, turned, durable } => {
                let deed = Deed::Reload {
                    was: self.site.catalog.version.clone(),
                    is: site.catalog.version.clone(),
                    by,
                    changes,
                };
                self.reload(site, before, now);
                self.pending.audit(vec![Audit { at: now, device: "gateway".to_owned(), deed }], now);
                self.pending.urgent = true;
                let _ = turned.send(());
                if self.disk_refuses {
                    let _ = durable.send(None);
                } else {
                    self.answers.push(durable);
                }
            }
            Ask::Unapplied { by, why } => {
                self.board.unapplied(&why, now);
                let deed = Deed::Unapplied { by, why };
                self.pending.audit(vec![Audit { at: now, device: "gateway".to_owned(), deed }], now);
                self.unapplied = true;
                self.read_own_soon();
            }
            Ask::Progress(sink, answer) => {
                // The sink has ended: what it confirmed last is in the channel at most.
                while let Ok((sink, progress)) = confirmed.try_recv() {
                    self.confirmed(sink, progress);
                }
                let _ = answer.send(self.progress.get(&sink).cloned().unwrap_or_default());
            }
        }
    }

    /// Keeps what was read while somebody looks at the journal.
    pub(crate) fn hear(&mut self, batches: &[Batch]) {
        let Some(heard) = self.heard.as_mut() else { return };
        heard.extend(batches.iter().cloned());
        if HEARD_MAX < heard.len() {
            self.heard = None;
        }
    }

    /// Goes on by other documents: what waits for the disk keeps its own, the core takes the new ones as one event, and the lines are told.
    fn reload(&mut self, site: Arc<Site>, before: Option<Box<Primed>>, now: Timestamp) {
        let undated = (!self.clock.trusted()).then(|| self.clock.boot());
        self.pending.reload(Arc::clone(&site), now, undated);
        let old = std::mem::replace(&mut self.site, site);
        let numbers = old.catalog.renumbered(&self.site.catalog);
        let version = &self.site.catalog.version;
        if old.catalog.version != *version {
            let risk_points = &self.site.risk_points;
            self.pending.remember(registry::entries(risk_points, version, now, &BTreeMap::new()), now);
        }
        self.board.reload(&old, &self.site, now);
        self.board.proved(self.proved().cloned());
        self.own = Own::of(&self.site);
        let outages = std::mem::replace(&mut self.outages, Outages::of(&self.site));
        self.outages.succeed(outages, |line| numbers.line(line));
        let known = std::mem::replace(&mut self.known, KnownLines::of(&self.site, self.clock.instant()));
        self.known.succeed(&known, |line| numbers.line(line));
        self.health.turn(&self.site);
        let troubles = std::mem::take(&mut self.troubles);
        self.troubles =
            troubles.into_iter().filter_map(|(id, trouble)| Some((numbers.line(id)?, trouble))).collect();
        // Told anew with the next poll of each device.
        self.firmware.clear();
        self.unapplied = false;
        self.alive.polled = polls(&self.site).then_some(now);
        let heard = self.heard.take();
        self.apply(Event::Reloaded(Arc::clone(&self.site)));
        if let (Some(before), Some(heard)) = (before, heard) {
            let since = refill::since(heard, &Seam::new(&old, &self.site));
            tracing::info!("windows of changed rules are filled from the journal");
            self.core.refill(*before, &since, now);
        }
        self.read_own_soon();
    }
}
