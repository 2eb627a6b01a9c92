//! `lifeline check --diff`: what a reload would change.
//!
//! In: the checked documents, and those that the running gateway or its journal holds. Out: one line for each difference, or a JSON object.
//! Invariant: both are compiled by the same program in the same environment, so that only the documents differ.

use std::io::Write;
use std::path::Path;

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
    let running =
        compile(&held, options).with_context(|| format!("the documents of {from} do not compile here"))?;
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

/// The site of documents as texts: a profile is what has `[profile]`, settings what stands first and has no device, line or rule.
fn compile(held: &DocumentsView, options: &Options) -> anyhow::Result<Site> {
    let folder = Scratch::new()?;
    for name in ["site", "profiles"] {
        std::fs::create_dir_all(folder.0.join(name))?;
    }
    let mut config = None;
    for (index, (name, text)) in held.documents.iter().enumerate() {
        let table: toml::Table = toml::from_str(text).unwrap_or_default();
        let has = |keys: &[&str]| keys.iter().any(|key| table.contains_key(*key));
        let extension =
            Path::new(name).extension().map_or_else(String::new, |end| end.to_string_lossy().into());
        let file = format!("{index:05}.{extension}");
        let path = if has(&["profile"]) {
            folder.0.join("profiles").join(file)
        } else if index == 0 && has(&["site", "journal", "console", "profiles", "sink"]) {
            config = Some(folder.0.join("gateway.toml"));
            folder.0.join("gateway.toml")
        } else {
            folder.0.join("site").join(if extension == "toml" { file } else { base(name) })
        };
        std::fs::write(path, text)?;
    }
    let options = Options {
        config,
        site: folder.0.join("site"),
        profiles: Some(folder.0.join("profiles")),
        ..options.clone()
    };
    let (site, found, texts) = site::load(&options);
    site.with_context(|| crate::diagnostic::render(&found, &texts))
}

fn base(name: &str) -> String {
    Path::new(name).file_name().map_or_else(String::new, |base| base.to_string_lossy().into_owned())
}

/// A folder that goes away.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("lifeline-diff-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
