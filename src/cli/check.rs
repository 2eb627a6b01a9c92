//! `lifeline check`: every mistake of the documents at once.
//!
//! In: documents. Out: findings for a person, as JSON lines or as SARIF; with `--online` whether each sink takes a record.
//! Invariant: with `--json` and `--format sarif` standard output holds nothing else.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::alarm::Kind;
use crate::cli::table::many_of;
use crate::cli::watch::Watch;
use crate::cli::{Documents, Purpose, differ, one_thread, options, own_gateway};
use crate::clock::SystemClock;
use crate::diagnostic::{self, codes, sarif};
use crate::forward::probe::probe;
use crate::site::health::written;
use crate::site::{self, Options, Site};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// One JSON object per finding; the same as `--format json`.
    #[arg(long)]
    json: bool,
    /// How findings are written.
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    /// Warnings count as errors.
    #[arg(long)]
    deny_warnings: bool,
    /// Write one record of its own to each sink: whether it can be reached and takes it.
    #[arg(long, conflicts_with = "watch")]
    online: bool,
    /// Check again whenever a document changes, until interrupted.
    #[arg(long)]
    watch: bool,
    /// What is other than in the documents that the running gateway (or the journal of the settings) holds; nothing is changed.
    #[arg(long, conflicts_with = "watch")]
    diff: bool,
    /// What a code means and what to do, such as `wrong-unit`.
    #[arg(long, value_name = "CODE")]
    explain: Option<String>,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For a person.
    Text,
    /// One JSON object per line.
    Json,
    /// SARIF 2.1.0, for code forges.
    Sarif,
}

/// How often changed files are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Checks the documents; 1 when there are errors, 3 when a sink does not take a record.
///
/// # Errors
/// Standard output cannot be written; an unknown code.
pub fn check(documents: &Documents, args: &Check, out: &mut dyn Write) -> anyhow::Result<u8> {
    if let Some(name) = &args.explain {
        return explain(name, out);
    }
    let options = options(documents, Purpose::Run);
    if args.watch {
        return watch(&options, args, out);
    }
    let (refused, site) = once(&options, args, out)?;
    if args.diff
        && let Some(site) = &site
    {
        let ask = own_gateway(documents, args.json)?;
        one_thread()?.block_on(differ::differ(&ask, &options, site, out))?;
    }
    match site {
        Some(site) if args.online && !refused => one_thread()?.block_on(online(&site, args, out)),
        _ => Ok(u8::from(refused)),
    }
}

/// One report; whether the documents are refused.
fn once(options: &Options, args: &Check, out: &mut dyn Write) -> anyhow::Result<(bool, Option<Site>)> {
    let (site, found, texts) = site::load(options);
    match if args.json { Form::Json } else { args.format } {
        Form::Json => write!(out, "{}", diagnostic::to_json(&found))?,
        Form::Sarif => write!(out, "{}", sarif::emit(&found))?,
        Form::Text => {
            write!(out, "{}", diagnostic::render(&found, &texts))?;
            if let Some(site) = &site {
                let told = found.0.iter().any(|one| one.code == "no-sink");
                summary(site, (&options.site, told), out)?;
            }
        }
    }
    out.flush()?;
    Ok((site.is_none() || (args.deny_warnings && !found.0.is_empty()), site))
}

/// `told`: a finding says already that nobody hears of alarms.
fn summary(site: &Site, (folder, told): (&Path, bool), out: &mut dyn Write) -> anyhow::Result<()> {
    let catalog = &site.catalog;
    let points: Vec<_> = written(catalog).collect();
    writeln!(
        out,
        "{}: {}, {}, {}, {}, {}, {}; read from {}",
        catalog.site,
        many_of(&site.lines, "line"),
        many_of(&site.devices, "device"),
        many_of(&points, "point"),
        many_of(&site.rules, "rule"),
        many_of(&site.risk_points, "risk point"),
        many_of(&site.sinks, "sink"),
        folder.display()
    )?;
    let written: Vec<_> = site.rules.iter().filter(|rule| rule.kind == Kind::Process).collect();
    if !written.is_empty() && site.sinks.is_empty() && !told {
        writeln!(
            out,
            "note: {} and no sink: alarms are on the status page and in `lifeline alarms`, and nobody is told; a [[sink]] in gateway.toml tells people",
            many_of(&written, "rule")
        )?;
    }
    Ok(())
}

fn explain(name: &str, out: &mut dyn Write) -> anyhow::Result<u8> {
    let Some(code) = codes::find(name) else {
        let near = codes::CODES.iter().map(|code| code.name);
        let near = near.min_by_key(|known| strsim::damerau_levenshtein(known, name)).unwrap_or_default();
        anyhow::bail!("there is no code `{name}`; the nearest one is `{near}`");
    };
    writeln!(out, "{}\n\n{}\n\n{}", code.name, code.means, code.remedy)?;
    Ok(0)
}

/// Each sink's answer to one record.
async fn online(site: &Site, args: &Check, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut failed = false;
    for sink in &site.sinks {
        let answer = probe(sink, &site.catalog.site, Arc::new(SystemClock::new())).await;
        failed |= answer.is_err();
        let text = match (&answer, args.json || args.format != Form::Text) {
            (Ok(()), true) => serde_json::json!({ "sink": sink.name, "writable": true }).to_string(),
            (Err(why), true) => {
                serde_json::json!({ "sink": sink.name, "writable": false, "why": why }).to_string()
            }
            (Ok(()), false) => format!("sink {}: takes records", sink.name),
            (Err(why), false) => format!("sink {}: {why}", sink.name),
        };
        if args.format == Form::Sarif {
            writeln!(std::io::stderr(), "{text}")?;
        } else {
            writeln!(out, "{text}")?;
        }
    }
    Ok(if failed { 3 } else { 0 })
}

/// Checks again after each change; ends when standard output does.
fn watch(options: &Options, args: &Check, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut files = Watch::new(options);
    loop {
        let before = files.look();
        once(options, args, out)?;
        if args.format == Form::Text && !args.json {
            writeln!(out, "watching {} documents; interrupt to end\n", before.len())?;
        }
        out.flush()?;
        while files.look() == before {
            #[expect(
                clippy::disallowed_methods,
                reason = "file systems that tell nothing (NFS) are looked at in real time"
            )]
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
