//! `lifeline check --diff`: what a reload would change.
//!
//! In: the checked documents, and those that the running gateway or its journal holds, with what is open there. Out: one line for each difference, or a
//! JSON object.
//! Invariant: both are compiled by the same program in the same environment, so that only the documents differ.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context;

use crate::cli::ask::{Ask, Source};
use crate::cli::client::Client;
use crate::cli::disk::Disk;
use crate::console::reload::{ChangeView, DocumentsView};
use crate::console::view::{self, AlarmView, RuleView};
use crate::journal::Kept;
use crate::site::diff::ends::{self, Open, OpenAlarm, Voice};
use crate::site::{self, Options, Site, diff};

/// Shows the difference to what holds.
///
/// # Errors
/// Nobody knows what holds; what held cannot be compiled by this version.
pub(crate) async fn differ(
    ask: &Ask,
    options: &Options,
    site: &Site,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (from, held, open) = match ask.source().await? {
        Source::Gateway(client) => {
            let held = client.get(&["api", "v1", "documents"]).await?;
            ("the running gateway", held, open_of_gateway(&client).await)
        }
        Source::Disk(disk) => {
            let Kept { version, documents } =
                disk.documents()?.context("the journal holds no documents yet")?;
            ("the journal", DocumentsView { version, documents }, open_of_disk(&disk)?)
        }
    };
    let running = compile(&held.documents, options)
        .with_context(|| format!("the documents of {from} do not compile here"))?;
    let mut found = diff::diff(&running, site);
    let of = |rule: &str| open.get(rule).cloned().unwrap_or_default();
    ends::tell(&mut found, (&running, site), of, Voice::Asked);
    for item in &found.items {
        match ask.json {
            true => writeln!(out, "{}", serde_json::to_string(&ChangeView::new(item))?)?,
            false => writeln!(out, "{item}")?,
        }
    }
    if ask.json {
        return Ok(());
    }
    for why in &found.restart {
        writeln!(out, "! only a restart can take this: {why}")?;
    }
    writeln!(out, "against {from} ({}): {}", held.version, found.sums())?;
    Ok(())
}

/// What is open, by rule; nothing when the gateway does not say.
async fn open_of_gateway(client: &Client) -> BTreeMap<String, Open> {
    let alarms: Vec<AlarmView> = client.get(&["api", "v1", "alarms"]).await.unwrap_or_default();
    let overlays: Vec<RuleView> = client.get(&["api", "v1", "overlays"]).await.unwrap_or_default();
    open(alarms, overlays)
}

/// The same of a journal, as of its last commit.
fn open_of_disk(disk: &Disk) -> anyhow::Result<BTreeMap<String, Open>> {
    let states = disk.reader.states().context("cannot read the alarms")?;
    let overlays = states.into_iter().filter(|(_, state)| !state.overlay.is_empty());
    let overlays = overlays.map(|(rule, state)| RuleView::new(&rule, &state.overlay)).collect();
    let alarms = disk.alarms()?;
    let mut now = disk.now(&alarms)?;
    Ok(open(view::alarms(alarms.into_iter(), |alarm| now.remove(&alarm.id)), overlays))
}

fn open(alarms: Vec<AlarmView>, overlays: Vec<RuleView>) -> BTreeMap<String, Open> {
    let mut open: BTreeMap<String, Open> = BTreeMap::new();
    for RuleView { rule, overlay, .. } in overlays {
        open.entry(rule).or_default().overlay = overlay;
    }
    for alarm in alarms.into_iter().filter(|alarm| !alarm.tell.drill) {
        let now = alarm.now.filter(|now| now.quality == "good").and_then(|now| now.value);
        let (unseen, active) = (view::is_unseen(alarm.state), view::is_active(alarm.state));
        open.entry(alarm.rule).or_default().alarm =
            Some(OpenAlarm { severity: alarm.severity, unseen, active, now, judged: now });
    }
    open
}

/// The site of documents as texts.
pub(crate) fn compile(documents: &[(String, String)], options: &Options) -> anyhow::Result<Site> {
    let options = Options { held: Some(documents.to_vec()), ..options.clone() };
    let (site, found, texts) = site::load(&options);
    site.with_context(|| crate::diagnostic::render(&found, &texts))
}
