//! `lifeline simulate`: the site's devices on ptys, loopback ports and DTUs that dial in, with scripted signals and faults.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::bus::Address;
use crate::bus::port::tls::Identity;
use crate::cli::run::Signals;
use crate::cli::{Documents, Purpose, duration, load, options};
use crate::sim::device::Control;
use crate::sim::script::Script;
use crate::sim::server;

/// Arguments of `simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// Script of signals and faults (default: the site's `sim/story.toml`, and without one each point stands in the middle of its range).
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// End by itself after this long.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    until: Option<Duration>,
    /// Certificate (PEM) that the devices of lines inside TLS show; the line's `ca` must have signed it for the line's `name`.
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

/// Serves until a signal comes; prints the `--line` arguments that lead a gateway to the simulated lines; DTUs dial in by themselves where the
/// documents say.
///
/// # Errors
/// Faulty documents or script, no pty or port.
pub async fn simulate(documents: &Documents, args: &Simulate) -> anyhow::Result<u8> {
    let options = options(documents, Purpose::Run);
    let own = options.site.join("sim/story.toml");
    let path = args.script.clone().or_else(|| own.exists().then_some(own));
    let script = path.as_deref().map(Script::load).transpose()?.unwrap_or_default();
    let control = Arc::new(Control::new());
    let mut tasks: Vec<BoxFuture<'static, ()>> = Vec::new();
    let loaded = load(&options)?;
    let identity = args.certificate.clone().zip(args.key.clone());
    let identity = identity.map(|(certificate, key)| Identity { certificate, key });
    let started = server::start(&loaded, &script, &control, identity.as_ref(), &mut tasks).await;
    let lines = started.context("cannot start the simulated devices")?;
    let mut signals = Signals::new()?;
    {
        let mut out = std::io::stdout().lock();
        for (line, address) in &lines {
            writeln!(out, "--line {line}={address}")?;
        }
        out.flush()?;
        for line in &loaded.lines {
            if let Address::DialIn(dtu) = &line.settings.address {
                eprintln!("{} dials in on {}", dtu.name, dtu.listen);
            }
        }
    }
    let mut serving: FuturesUnordered<_> = tasks.into_iter().collect();
    let until = args.until.unwrap_or(Duration::MAX);
    tokio::select! {
        () = async { while serving.next().await.is_some() {} } => {}
        () = signals.wait() => {}
        () = tokio::time::sleep(until) => {}
    }
    Ok(0)
}
