//! `lifeline demo`: simulated devices on real wires, and the very gateway of `run` on the documents of the example site.
//!
//! In: the documents on disk; each line of theirs is led to a simulated one (a pty or a loopback port).
//! Out: a live picture on a terminal or plain lines in a pipe, and a summary.

use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::cli::run::{Signals, bind, console_task};
use crate::cli::{Documents, Purpose, duration, load, options, view};
use crate::clock::SystemClock;
use crate::console::token;
use crate::gateway::{self, ExtraTask};
use crate::sim::device::Control;
use crate::sim::script::Script;
use crate::sim::server;

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// End by itself after this long, with a summary.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    until: Option<Duration>,
    /// Script of signals and faults (default: the site's `sim/story.toml`).
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Keep the journal in this folder (default: a temporary one, removed at the end).
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
}

/// Runs the demo until `--for` is over, `q` is pressed, or a signal comes.
///
/// # Errors
/// Faulty documents or script, no pty, a journal that cannot be opened.
pub async fn demo(documents: &Documents, args: &Demo) -> anyhow::Result<u8> {
    let scratch = Scratch::new(args.journal.as_deref())?;
    let mut options = options(documents, Purpose::Example);
    options.env.retain(|(name, _)| name != "LIFELINE__JOURNAL__PATH");
    options.env.push(("LIFELINE__JOURNAL__PATH".to_owned(), scratch.folder.display().to_string()));
    let script_path = args.script.clone().unwrap_or_else(|| options.site.join("sim/story.toml"));

    let script = Script::load(&script_path)?;
    let control = Arc::new(Control::new());
    let mut tasks: Vec<BoxFuture<'static, ()>> = Vec::new();
    let started = server::start(&load(&options)?, &script, &control, None, &mut tasks).await;
    options.lines = started.context("cannot start the simulated devices")?;
    let site = load(&options)?;

    let (stop_to, stop) = watch::channel(false);
    let mut signals = Signals::new()?;
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = bind(&[site.listen, any_port]).await;
    let page = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let doors = view::Doors { page, token: site.journal.path.join(token::FILE) };
    let mut extra: Vec<ExtraTask> = tasks.into_iter().map(beside).collect();
    extra.extend(console_task(&site, listener)?);
    let (until, view_stop) = (args.until, stop_to.clone());
    extra.push(Box::new(move |board, stop| {
        Box::pin(async move {
            if let Err(error) = view::show(board, doors, until, stop, Some(control)).await {
                tracing::error!(%error, "the picture cannot be drawn");
            }
            let _ = view_stop.send(true);
        })
    }));

    let gateway = gateway::run(site, Arc::new(SystemClock::new()), extra, stop);
    let signalled = async {
        signals.wait().await;
        let _ = stop_to.send(true);
        std::future::pending::<()>().await
    };
    let board = tokio::select! {
        board = gateway => board?,
        () = signalled => return Ok(0),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", view::summary(&board))?;
    if !scratch.temporary && std::io::stdout().is_terminal() {
        writeln!(out, "journal kept: lifeline history POINT --journal {}", scratch.folder.display())?;
    }
    Ok(0)
}

/// A simulation's task beside the gateway: it ends with it.
fn beside(task: BoxFuture<'static, ()>) -> ExtraTask {
    Box::new(move |_, mut stop| {
        Box::pin(async move {
            tokio::select! {
                () = task => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        })
    })
}

/// The demo's journal folder; a temporary one goes away with it.
struct Scratch {
    folder: PathBuf,
    temporary: bool,
}

impl Scratch {
    fn new(given: Option<&std::path::Path>) -> anyhow::Result<Self> {
        let temporary = given.is_none();
        let own = || std::env::temp_dir().join(format!("lifeline-demo-{}", std::process::id()));
        let folder = given.map_or_else(own, PathBuf::from);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { folder, temporary })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
