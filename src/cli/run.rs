//! `lifeline run`: the gateway until it is told to stop.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cli::{Documents, Purpose, load, options, reload};
use crate::clock::SystemClock;
use crate::console;
use crate::gateway::{self, ExtraTask};
use crate::journal::{Journal, told};
use crate::site::Site;
use crate::site::health::written;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Form of the log on standard error.
    #[arg(long, value_enum, default_value = "text")]
    log: LogForm,
    /// What to log, as `info` or `lifeline_gateway::bus=trace` (also `LIFELINE_LOG`).
    #[arg(long, env = "LIFELINE_LOG", default_value = "info")]
    log_filter: String,
    /// Go on by the documents whenever they have changed, as with `lifeline reload`; faulty ones change nothing.
    #[arg(long)]
    watch: bool,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogForm {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Faulty documents, a journal that cannot be opened.
pub async fn run(documents: &Documents, args: &Run) -> anyhow::Result<u8> {
    start_log(args.log, &args.log_filter)?;
    let options = options(documents, Purpose::Run);
    let site = load(&options)?;
    // A second gateway gets no further: neither its console nor its serial ports are to blame.
    Journal::is_free(&site.journal.path)?;
    let (stop_to, stop) = watch::channel(false);
    let mut signals = Signals::new()?;
    let mut extra: Vec<ExtraTask> = vec![reload::triggers(&options, args.watch)?];
    if let Some(console) = console_task(&site, bind(&[site.listen]).await)? {
        extra.push(console);
    }
    let points = written(&site.catalog).count();
    let journal = std::path::absolute(&site.journal.path).unwrap_or_else(|_| site.journal.path.clone());
    tracing::info!(
        site = %site.catalog.site,
        devices = site.devices.len(),
        points,
        own_points = site.catalog.points.len() - points,
        rules = site.rules.len(),
        journal = %journal.display(),
        "lifeline starts"
    );
    let clock = Arc::new(SystemClock::trusting(site.trust));
    let gateway = gateway::run_with(site, Some(reload::loader(&options)), clock, extra, stop);
    let wait = async {
        signals.wait().await;
        tracing::info!("stopping");
        let _ = stop_to.send(true);
        std::future::pending::<()>().await
    };
    tokio::select! {
        board = gateway => { board?; }
        () = wait => {}
    }
    tracing::info!("stopped, everything is committed");
    Ok(0)
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self { term: listen(SignalKind::terminate())?, int: listen(SignalKind::interrupt())? })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// The first of these addresses that can be bound.
pub(crate) async fn bind(addresses: &[SocketAddr]) -> Option<TcpListener> {
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => return Some(listener),
            Err(error) => tracing::error!(%address, %error, "the console cannot listen here"),
        }
    }
    None
}

/// The console as a task beside the gateway; without a listener the gateway watches without it.
pub(crate) fn console_task(site: &Site, listener: Option<TcpListener>) -> anyhow::Result<Option<ExtraTask>> {
    let Some(listener) = listener else {
        tracing::error!("watching without a console; set another console.listen");
        return Ok(None);
    };
    let folder = &site.journal.path;
    let token = std::fs::create_dir_all(folder).and_then(|()| console::token(folder)).or_else(|error| {
        tracing::error!(folder = %told(folder), %error, "no token file can be kept here: people can look, and not acknowledge, until the next start");
        console::random_token()
    });
    let token = token.context("the system has no random source")?;
    Ok(Some(Box::new(move |board, stop| {
        Box::pin(async move {
            if let Err(error) = console::serve(listener, board, token, stop).await {
                tracing::error!(%error, "the console has ended; watching goes on without it");
            }
        })
    })))
}

fn start_log(form: LogForm, filter: &str) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .with_context(|| format!("cannot read the log filter `{filter}`"))?;
    let colours = std::io::stderr().is_terminal();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let started = match form {
        LogForm::Text => log.with_target(false).try_init(),
        LogForm::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
