//! `lifeline reload`, and what makes `run` read its documents again: SIGHUP, a change of the files.
//!
//! In: a running gateway, or the documents' paths. Out: the difference that was taken, or why nothing was changed.
//! Invariant: a gateway reads its documents again exactly as it read them at its start.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::cli::ask::{self, Ask};
use crate::cli::watch::{Files, Watch};
use crate::clock::{Clock, SystemClock};
use crate::console::reload::{ReloadView, ReloadedView};
use crate::diagnostic::render;
use crate::gateway::board::{Board, Refused, Reload};
use crate::gateway::{ExtraTask, Loader};
use crate::site::{self, Options};

/// How often the files are looked at: editors write aside and rename, and network file systems tell nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Documents that change while they are read are read so often at most.
const READS_MAX: usize = 5;

/// Arguments of `reload`.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Who asks, for the journal.
    #[arg(long, env = "USER", default_value = "operator")]
    pub(crate) by: String,
}

/// Asks a running gateway to go on by the documents on its disk; 1 when it refuses them.
///
/// # Errors
/// No gateway answers, or it does not take the token.
pub async fn reload(ask: &Ask, args: &ReloadArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let outcome = async {
        let body = ReloadView { by: args.by.clone() };
        let taken: ReloadedView = ask.gateway().await?.post(&["api", "v1", "reload"], &body).await?;
        show(&taken, ask.json, out)
    };
    ask::settle(outcome.await)
}

fn show(taken: &ReloadedView, json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    if json {
        writeln!(out, "{}", serde_json::to_string(taken)?)?;
    } else if let Some(refused) = &taken.refused {
        write!(out, "{}", taken.report)?;
        writeln!(out, "not reloaded, nothing was changed: {refused}")?;
    } else {
        taken.changes.iter().try_for_each(|change| writeln!(out, "{change}"))?;
        writeln!(out, "reloaded: {}; documents {}", taken.sums, taken.version)?;
    }
    Ok(u8::from(taken.refused.is_some()))
}

/// Reads the documents of `options` again, at the date of then. What somebody wrote while they were read is read once more.
pub(crate) fn loader(options: &Options) -> Loader {
    let options = options.clone();
    Arc::new(move || {
        let mut files = Watch::new(&options);
        let mut before = files.look();
        for _ in 0..READS_MAX {
            let options = Options { now: SystemClock::new().now(), ..options.clone() };
            let (site, found, texts) = site::load(&options);
            let after = files.look();
            if before != after {
                before = after;
                continue;
            }
            return match site {
                Some(site) if found.0.is_empty() => Ok((site, String::new())),
                Some(site) => Ok((site, render(&found, &texts))),
                None => Err(Refused::new(&found, &texts)),
            };
        }
        let why = "somebody is writing the documents; ask again when they are whole".to_owned();
        Err(Refused { why, report: String::new() })
    })
}

/// Asks for a reload at each SIGHUP, and with `watched` when the files have changed and then stood still for a second.
///
/// # Errors
/// The signal cannot be listened to.
pub(crate) fn triggers(options: &Options, watched: bool) -> anyhow::Result<ExtraTask> {
    let mut hangups = signal(SignalKind::hangup()).context("cannot listen to signals")?;
    let options = options.clone();
    Ok(Box::new(move |board, mut stop| {
        Box::pin(async move {
            let wishes = async {
                let mut files = Watch::new(&options);
                let mut seen = files.look();
                loop {
                    tokio::select! {
                        Some(()) = hangups.recv() => {
                            wish(&board, "SIGHUP").await;
                            seen = files.look();
                        }
                        () = changed(&mut files, &mut seen), if watched => wish(&board, "changed files").await,
                    }
                }
            };
            tokio::select! {
                () = wishes => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        })
    }))
}

/// Until the files are others than `seen` and somebody has finished writing them.
async fn changed(files: &mut Watch, seen: &mut Files) {
    let mut last = seen.clone();
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        let now = files.look();
        if now == last && now != *seen {
            *seen = now;
            return;
        }
        last = now;
    }
}

async fn wish(board: &Board, by: &str) {
    let (answer, done) = oneshot::channel();
    let by = by.to_owned();
    match board.reloads.try_send(Reload { by, answer }) {
        // The supervisor logs what became of it.
        Ok(()) => drop(done.await),
        Err(mpsc::error::TrySendError::Full(_)) => tracing::warn!("reloads wait already"),
        Err(mpsc::error::TrySendError::Closed(_)) => {}
    }
}
