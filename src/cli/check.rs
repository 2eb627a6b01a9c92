//! `lifeline check`: every mistake of the documents at once.

use std::io::Write;

use clap::Args;

use crate::cli::{Documents, Purpose, options};
use crate::diagnostic;
use crate::site;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// One JSON object per finding.
    #[arg(long)]
    json: bool,
    /// Warnings count as errors.
    #[arg(long)]
    deny_warnings: bool,
}

/// Checks the documents; 1 when there are errors.
///
/// # Errors
/// Standard output cannot be written.
pub fn check(documents: &Documents, args: &Check, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (site, found, texts) = site::load(&options(documents, Purpose::Example));
    if args.json {
        write!(out, "{}", diagnostic::to_json(&found))?;
    } else {
        write!(out, "{}", diagnostic::render(&found, &texts))?;
        if let Some(site) = &site {
            writeln!(
                out,
                "{}: {} lines, {} devices, {} points, {} rules, {} risk points, {} sinks",
                site.catalog.site,
                site.lines.len(),
                site.devices.len(),
                site.catalog.points.len(),
                site.rules.len(),
                site.risk_points.len(),
                site.sinks.len()
            )?;
        }
    }
    let refused = site.is_none() || (args.deny_warnings && !found.0.is_empty());
    Ok(u8::from(refused))
}
