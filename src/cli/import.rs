//! `lifeline import`: a table of points or a Telegraf configuration becomes the documents of a site.
//!
//! In: a file. Out: `site.toml` and `profiles/*.toml` in a folder, and a line for each thing that was not carried over, or that has another address than before; 1 when there is one.
//! Invariant: what is written passes the check; a file that is there is never overwritten without `--force`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::cli::{Documents, whole};
use crate::clock::{Clock, SystemClock};
use crate::diagnostic::{self, Severity};
use crate::profile::CLASSES;
use crate::site::encoding::decode;
use crate::site::import::{self, Imported, Wishes};
use crate::site::{self, Options};

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A table of points saved as CSV (UTF-8 or GBK), or a Telegraf configuration with `[[inputs.modbus]]`.
    file: PathBuf,
    /// Folder of the new site's documents.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What the devices measure, such as water-level; io when left out.
    #[arg(long)]
    class: Option<String>,
    /// Overwrite documents that are there.
    #[arg(long)]
    force: bool,
}

/// Carries a file over; the lines of `documents` say where a line leads that the file only names.
///
/// # Errors
/// The file cannot be read, nothing in it can be carried over, or a document is there already.
pub fn carry(args: &ImportArgs, documents: &Documents, out: &mut dyn Write) -> anyhow::Result<u8> {
    if let Some(class) = args.class.as_deref().filter(|class| !CLASSES.contains(class)) {
        anyhow::bail!("there is no class `{class}`; one of {}", CLASSES.join(", "));
    }
    let name = args.file.display().to_string();
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {name}"))?;
    let text = decode(&bytes).with_context(|| format!("{name} is neither UTF-8 nor GBK"))?;
    let wishes = Wishes { lines: documents.lines.clone(), class: args.class.clone() };
    let found = import::import(&name, text, &wishes);
    for remark in &found.remarks.0 {
        let place = &remark.place;
        let word = if remark.severity == Severity::Error { "" } else { "note: " };
        let help = remark.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
        writeln!(out, "{}:{}:{}: {word}{}{help}", place.file, place.line, place.column, remark.message)?;
    }
    anyhow::ensure!(
        !found.documents.is_empty(),
        "nothing of {name} can be carried over; nothing was written"
    );
    check(&found, &args.out)?;
    let moved = readdressed(&found, args);
    write(&found, args, out)?;
    for text in &moved {
        writeln!(out, "warning: {text}: its history goes on with readings of another place")?;
    }
    let left = found.remarks.errors();
    writeln!(out, "{} devices, {} points carried over; {left} things were not", found.devices, found.points)?;
    let named = [("config", &documents.config), ("profiles", &documents.profiles)];
    let named =
        named.into_iter().filter_map(|(key, path)| Some(format!(" --{key} {}", path.as_ref()?.display())));
    writeln!(out, "next: lifeline check --site {}{}", args.out.display(), named.collect::<String>())?;
    Ok(u8::from(left > 0 || !moved.is_empty()))
}

/// The documents as they will be, through the very check that reads them later.
fn check(found: &Imported, folder: &Path) -> anyhow::Result<()> {
    let held =
        found.documents.iter().map(|(name, text)| (folder.join(name).display().to_string(), text.clone()));
    let options = Options { held: Some(held.collect()), now: SystemClock::new().now(), ..Options::default() };
    let (site, report, texts) = site::load(&options);
    anyhow::ensure!(
        site.is_some(),
        "what was carried over does not pass the check; nothing was written\n\n{}",
        diagnostic::render(&report, &texts)
    );
    Ok(())
}

/// What of the document that is overwritten keeps its name, and not its address.
fn readdressed(found: &Imported, args: &ImportArgs) -> Vec<String> {
    let moved = |(name, text): &(String, String)| {
        let before = std::fs::read_to_string(args.out.join(name)).unwrap_or_default();
        import::readdressed(&before, text)
    };
    found.documents.iter().filter(|(name, _)| name == "site.toml").flat_map(moved).collect()
}

fn write(found: &Imported, args: &ImportArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let paths = || found.documents.iter().map(|(name, text)| (args.out.join(name), text));
    if let Some((path, _)) = paths().find(|(path, _)| path.exists() && !args.force) {
        anyhow::bail!("{} is there already; nothing was written (--force overwrites)", path.display());
    }
    for (path, text) in paths() {
        let folder = path.parent().unwrap_or(&args.out);
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        whole::write(&path, text)?;
        writeln!(out, "wrote {}", path.display())?;
    }
    Ok(())
}
