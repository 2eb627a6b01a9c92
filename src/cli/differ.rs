//! `lifeline check --diff`: what a reload would change.
//!
//! In: the checked documents, and those that the running gateway or its journal holds. Out: one line for each difference, or a JSON object.
//! Invariant: both are compiled by the same program in the same environment, so that only the documents differ.

use std::io::Write;

use anyhow::Context;

use crate::cli::ask::{Ask, Source};
use crate::console::reload::{ChangeView, DocumentsView};
use crate::journal::Kept;
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
    let (from, held) = match ask.source().await? {
        Source::Gateway(client) => ("the running gateway", client.get(&["api", "v1", "documents"]).await?),
        Source::Disk(disk) => {
            let Kept { version, documents } =
                disk.documents()?.context("the journal holds no documents yet")?;
            ("the journal", DocumentsView { version, documents })
        }
    };
    let running = compile(&held.documents, options)
        .with_context(|| format!("the documents of {from} do not compile here"))?;
    let found = diff::diff(&running, site);
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

/// The site of documents as texts.
pub(crate) fn compile(documents: &[(String, String)], options: &Options) -> anyhow::Result<Site> {
    let options = Options { held: Some(documents.to_vec()), ..options.clone() };
    let (site, found, texts) = site::load(&options);
    site.with_context(|| crate::diagnostic::render(&found, &texts))
}
