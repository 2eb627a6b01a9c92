//! The commands: what a person types, and what they get back.
//!
//! In: arguments and environment. Out: text, or JSON lines with `--json`, and an exit code:
//! 0 good, 1 the answer is no, 2 usage, 3 could not reach.
//! Invariant: a mistake is answered with one clear sentence that names the place and the remedy.

mod act;
mod acts;
mod alarms;
mod answers;
pub mod ask;
mod audits;
pub mod check;
mod client;
pub mod coverage;
mod differ;
pub mod demo;
mod disk;
mod findings;
pub mod export;
pub mod history;
pub mod import;
pub mod indicators;
pub mod journal;
pub mod map;
pub mod month;
mod month_page;
pub mod new;
pub mod reload;
pub mod run;
pub mod screen;
pub mod simulate;
mod spacing;
pub mod span;
mod pcap;
mod plot;
pub mod points;
mod probe;
mod prove;
mod quarantine;
mod rates;
mod read;
mod read_text;
mod recorded;
mod risk;
pub mod replay;
pub mod backtest;
mod scan;
mod table;
mod target;
mod trace;
pub mod view;
mod watch;
mod whole;
pub mod words;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::alarm::Severity;
use crate::clock::{Clock, SystemClock};
use crate::console::rows::Format;
use crate::site::{self, Site};

/// Where a package puts the example site and the profiles.
const SHARE: &str = "/usr/share/lifeline";

/// Edge gateway for gas-pressure, waterlogging, landslide and elevator sensors.
#[derive(Debug, Parser)]
#[command(name = "lifeline", version, about)]
struct Cli {
    #[command(flatten)]
    documents: Documents,
    #[command(subcommand)]
    command: Command,
}

/// Which documents a command reads.
#[derive(Clone, Debug, Args)]
pub struct Documents {
    /// Settings of the gateway (default: config/gateway.toml in this folder, else /etc/lifeline/gateway.toml).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the site's documents (default: `site` beside the file of `--config`, else devices in this folder, else /etc/lifeline/site).
    #[arg(long, global = true, value_name = "DIR")]
    site: Option<PathBuf>,
    /// Folder of device profiles, instead of the configured one.
    #[arg(long, global = true, value_name = "DIR")]
    profiles: Option<PathBuf>,
    /// A line that leads elsewhere, `rs485-1=/dev/pts/3` or `tcp-1=127.0.0.1:5502`.
    #[arg(long = "line", global = true, value_name = "NAME=ADDRESS", value_parser = pair)]
    lines: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Simulated devices of all four classes with faults, and the whole gateway; nothing to install.
    Demo(demo::Demo),
    /// Run the gateway.
    Run(run::Run),
    /// Check all documents, the profiles' vectors and the lines' load.
    Check(check::Check),
    /// The JSON Schema of a kind of document, for editors.
    Schema {
        /// site, profile or gateway.
        #[arg(default_value = "site", value_parser = kind)]
        kind: site::schema::Kind,
    },
    /// Carry a table of points (CSV) or a Telegraf configuration over into the documents of a site.
    Import(import::ImportArgs),
    /// A correct entry for the site's document.
    #[command(subcommand)]
    New(new::New),
    /// Serve the site's devices on TCP ports and ptys, with scripted signals and faults.
    Simulate(simulate::Simulate),
    /// Have the running gateway go on by its changed documents, without a restart.
    Reload(Reloading),
    /// What the gateway is doing.
    Status(Where),
    /// Open alarms; `ack`, `shelve`, `out-of-service`, `raise`, `reset` and others act on them.
    Alarms(AlarmsArgs),
    /// Work on a sensor: what looks at it pages nobody until the end, stays on record, and the sensor does not count as online.
    Maintenance(act::MaintenanceArgs),
    /// Read registers of a device and show them in every type and byte order, or by a profile.
    Read(read::ReadArgs),
    /// Search a line for devices, and for the profiles that fit them; reads only.
    Scan(scan::Scan),
    /// What passes on a line of a running gateway, live: frames as hex and meaning.
    Trace(trace::Trace),
    /// How many risk points are really watched, and what keeps the others from it.
    Coverage(risk::CoverageArgs),
    /// The state of every risk point, worst first; `--geojson` for the risk map (风险图).
    Map(risk::MapArgs),
    /// Indicators of the plan: 困人率, time to rescue, 检验率, ponding by level, rain; each with its definition.
    Indicators(risk::IndicatorsArgs),
    /// Recorded data through the same core: which alarms it gives.
    Replay(replay::ReplayArgs),
    /// How well rules would have done on recorded data: events met, lead, false alarms.
    Backtest(backtest::BacktestArgs),
    /// What was written to devices, what was learnt of their firmware, and which documents were taken: from the journal on disk.
    Audits(audits::AuditsArgs),
    /// Records that sinks refused for good: look, export, send again, delete.
    Quarantine(quarantine::QuarantineArgs),
    /// Readings of one point.
    History(Asked<history::History>),
    /// Readings as CSV, JSON lines or line protocol.
    Export(Asked<export::Export>),
    /// Check, copy or repair the journal on disk.
    Journal(journal::JournalArgs),
}

/// Whom to ask.
#[derive(Clone, Debug, Args)]
struct Where {
    /// A running gateway (default: the console address of the settings).
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// A journal on disk instead of a running gateway.
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "url")]
    journal: Option<PathBuf>,
    /// The console's token file (default: beside the journal).
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// One JSON object per line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Args)]
struct Reloading {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    args: reload::ReloadArgs,
}

#[derive(Debug, Args)]
struct AlarmsArgs {
    #[command(flatten)]
    place: Where,
    /// How many alarms reach a person, against the figures of ISA-18.2, and which rules talk most.
    #[arg(long)]
    rates: bool,
    #[command(subcommand)]
    act: Option<act::AlarmsAct>,
}

/// A question, and whom to ask.
#[derive(Debug, Args)]
struct Asked<T: Args> {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    what: T,
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "lifeline: {error:#}");
            ExitCode::from(1)
        }
    }
}

#[expect(clippy::too_many_lines, reason = "one flat match, an arm for each command")]
fn dispatch(cli: Cli) -> anyhow::Result<u8> {
    // A provider that is already there is just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let documents = cli.documents;
    if let Some((name, _)) = documents.lines.iter().find(|(_, to)| to.is_empty())
        && !matches!(cli.command, Command::New(_))
    {
        let text = format!("--line {name}: write NAME=ADDRESS, such as rs485-1=/dev/pts/3");
        Cli::command().error(clap::error::ErrorKind::ValueValidation, text).exit();
    }
    let out = &mut std::io::stdout();
    match cli.command {
        Command::Check(args) => check::check(&documents, &args, out),
        Command::Schema { kind } => {
            writeln!(out, "{:#}", site::schema::schema(kind))?;
            Ok(0)
        }
        Command::Import(args) => import::carry(&args, &documents, out),
        Command::New(what) => new::new(&options(&documents, Purpose::Run), &what, out),
        Command::Run(args) => runtime()?.block_on(run::run(&documents, &args)),
        Command::Demo(args) => runtime()?.block_on(demo::demo(&documents, &args)),
        Command::Simulate(args) => runtime()?.block_on(simulate::simulate(&documents, &args)),
        Command::Reload(reloading) => {
            let place = asked(&documents, &reloading.place)?;
            one_thread()?.block_on(reload::reload(&place, &reloading.args, out))
        }
        Command::Status(place) => one_thread()?.block_on(ask::status(&asked(&documents, &place)?, out)),
        Command::Alarms(args) => {
            let place = asked(&documents, &args.place)?;
            match args.act {
                None if args.rates => one_thread()?.block_on(ask::rates(&place, out)),
                None => one_thread()?.block_on(ask::alarms(&place, out)),
                Some(act) => one_thread()?.block_on(act::act(&place, act, out)),
            }
        }
        Command::Maintenance(args) => {
            let place = asked(&documents, &args.place)?;
            one_thread()?.block_on(act::maintain(&place, args, out))
        }
        Command::Read(args) => {
            let (ask, kit) =
                (own_gateway(&documents, args.json)?, site::kit::kit(&options(&documents, Purpose::Run)));
            one_thread()?.block_on(read::read(&ask, &kit, &args, out))
        }
        Command::Scan(args) => {
            let (ask, kit) =
                (own_gateway(&documents, args.json)?, site::kit::kit(&options(&documents, Purpose::Run)));
            one_thread()?.block_on(scan::scan(&ask, &kit, &args, out))
        }
        Command::Trace(args) => {
            one_thread()?.block_on(trace::trace(&asked(&documents, &args.place)?, &args, out))
        }
        Command::Coverage(args) => risk::coverage(&documents, args, out),
        Command::Map(args) => risk::map(&documents, args, out),
        Command::Indicators(args) => risk::indicators(&documents, args, out),
        Command::Replay(args) => replay::replay(load(&options(&documents, Purpose::Run))?, &args, out),
        Command::Backtest(args) => backtest::backtest(&load(&options(&documents, Purpose::Run))?, &args, out),
        Command::Audits(args) => {
            one_thread()?.block_on(audits::audits(&asked(&documents, &args.place)?, &args, out))
        }
        Command::Quarantine(args) => {
            let place = Where { url: None, journal: args.journal.clone(), token_file: None, json: args.json };
            quarantine::quarantine(&asked(&documents, &place)?, &args, out)
        }
        Command::History(args) => {
            one_thread()?.block_on(history::history(&asked(&documents, &args.place)?, &args.what, out))
        }
        Command::Journal(args) => {
            let settings =
                site::journal_settings(&options(&documents, Purpose::Run)).map_err(anyhow::Error::msg)?;
            journal::journal(&settings, &args, out)
        }
        Command::Export(args) => {
            one_thread()?.block_on(export::export(&asked(&documents, &args.place)?, &args.what, out))
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

fn one_thread() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

/// Whom an asking command asks: the settings give the defaults, and a missing settings file leaves the built-in ones.
fn asked(documents: &Documents, place: &Where) -> anyhow::Result<ask::Ask> {
    let (url, journal, site) =
        site::console_and_journal(&options(documents, Purpose::Run)).map_err(anyhow::Error::msg)?;
    Ok(ask::Ask {
        url: place.url.clone(),
        journal: place.journal.clone(),
        token_file: place.token_file.clone(),
        json: place.json,
        default_url: url,
        default_journal: journal,
        site,
    })
}

/// The gateway of this box, if one runs.
fn own_gateway(documents: &Documents, json: bool) -> anyhow::Result<ask::Ask> {
    asked(documents, &Where { url: None, journal: None, token_file: None, json })
}

/// What the documents are for: all commands take the site beside the settings that a person names, else that of this folder, else that of the box;
/// `demo` alone the packaged example.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Run,
    Example,
}

fn options(documents: &Documents, purpose: Purpose) -> site::Options {
    let found = |here: &str, box_has: &str| {
        let else_at = match purpose {
            Purpose::Run => Path::new("/etc/lifeline").join(box_has),
            Purpose::Example => Path::new(SHARE).join(here),
        };
        let here = PathBuf::from(here);
        if here.exists() { here } else { else_at }
    };
    let settings = found("config/gateway.toml", "gateway.toml");
    let config = documents.config.clone().or_else(|| settings.exists().then_some(settings));
    let beside = documents.config.as_ref().filter(|_| purpose == Purpose::Run);
    let beside = beside.map(|settings| settings.with_file_name("site")).filter(|site| site.is_dir());
    let site = documents.site.clone().or(beside).unwrap_or_else(|| found("devices", "site"));
    let profiles = documents.profiles.clone().or_else(|| {
        let here = PathBuf::from("firmware-profiles");
        here.is_dir().then_some(here)
    });
    site::Options {
        config,
        site,
        profiles,
        lines: documents.lines.clone(),
        env: std::env::vars().filter(|(name, _)| name.starts_with("LIFELINE__")).collect(),
        now: SystemClock::new().now(),
        held: None,
    }
}

/// Loads and checks; on errors prints the report to standard error.
fn load(options: &site::Options) -> anyhow::Result<Site> {
    let (site, diagnostics, texts) = site::load(options);
    match site {
        Some(site) => Ok(site),
        None => {
            let report = crate::diagnostic::render(&diagnostics, &texts);
            let _ = write!(std::io::stderr(), "{report}");
            let errors = u64::try_from(diagnostics.errors()).unwrap_or(u64::MAX);
            anyhow::bail!("the documents have {}; nothing was started", table::many(errors, "error"))
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    // A name alone is only good for `new`.
    let (name, address) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() || (text.contains('=') && address.is_empty()) {
        return Err("write NAME=ADDRESS, such as rs485-1=/dev/pts/3".to_owned());
    }
    Ok((name.to_owned(), address.to_owned()))
}

fn severity(text: &str) -> Result<Severity, String> {
    match text {
        "blue" => Ok(Severity::Blue),
        "yellow" => Ok(Severity::Yellow),
        "orange" => Ok(Severity::Orange),
        "red" => Ok(Severity::Red),
        _ if text.to_lowercase() != text && severity(&text.to_lowercase()).is_ok() => {
            Err(format!("write `{}`", text.to_lowercase()))
        }
        _ => Err("one of blue, yellow, orange, red".to_owned()),
    }
}

fn format(text: &str) -> Result<Format, String> {
    Format::parse(text).ok_or_else(|| "one of csv, jsonl, lp".to_owned())
}

fn kind(text: &str) -> Result<site::schema::Kind, String> {
    let found = site::schema::Kind::ALL.into_iter().find(|kind| kind.name() == text);
    found.ok_or_else(|| "one of site, profile, gateway".to_owned())
}

/// A duration as documents write it, `60s` or `2h`.
fn duration(text: &str) -> Result<Duration, String> {
    site::duration(text)
        .ok_or_else(|| format!("`{text}` is not a duration; write a number and ms, s, m, h or d"))
}
