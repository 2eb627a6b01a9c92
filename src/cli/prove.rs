//! `lifeline alarms test`: a drill through the alarm lane, until a sink confirms it.
//!
//! In: a running gateway. Out: which sink confirmed the drill, and how long that took; exit code 1 when none did in time.
//! Invariant: the drill is ended whatever came of it.

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm::Kind;
use crate::cli::ask::{self, Ask, GOOD, NO, Refusal};
use crate::cli::client::Client;
use crate::clock::{Clock, SystemClock};
use crate::console::status::{ProvedView, StatusView};
use crate::console::view::{ActView, AlarmView};

/// The gateway is asked this often.
const LOOK: Duration = Duration::from_millis(250);

/// Proves it.
///
/// # Errors
/// The answer cannot be read or written.
pub(crate) async fn prove(
    place: &Ask,
    rule: Option<&str>,
    view: &ActView,
    wait: Duration,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    ask::settle(proved(place, rule, view, wait, out).await)
}

async fn proved(
    place: &Ask,
    rule: Option<&str>,
    view: &ActView,
    wait: Duration,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let client = place.gateway().await?;
    let status: StatusView = client.get(&["api", "v1", "status"]).await?;
    if status.sinks.is_empty() {
        let text = "no sink is set up: a notice has no way to a person; add a [[sink]] to the settings";
        return Err(Refusal::new(NO, text.to_owned()).into());
    }
    let rule = match rule.or(status
        .rules
        .iter()
        .find(|rule| rule.kind == Kind::Process)
        .map(|rule| rule.name.as_str()))
    {
        Some(rule) => rule,
        None => {
            return Err(Refusal::new(
                NO,
                "the site has no rule of the process; name one by --rule".to_owned(),
            )
            .into());
        }
    };
    let clock = SystemClock::new();
    let begun = clock.instant();
    let drill: AlarmView = client.post(&["api", "v1", "alarms", rule, "drill"], view).await?;
    let found = confirmed(&client, &drill.id, (&clock, begun + wait)).await;
    let end = ActView { by: view.by.clone(), ..ActView::default() };
    let ended: anyhow::Result<AlarmView> =
        client.post(&["api", "v1", "alarms", &drill.id, "reset"], &end).await;
    let found = found?;
    ended?;
    if place.json {
        ask::line(out, &found)?;
    } else if let Some(proved) = &found {
        let took = clock.instant().saturating_duration_since(begun).as_secs_f64();
        writeln!(out, "the drill of {rule} reached the sink {} after {took:.1} s", proved.sink)?;
    } else {
        let down = status.sinks.iter().map(|sink| sink.name.as_str()).collect::<Vec<_>>().join(", ");
        writeln!(
            out,
            "no sink that leaves this box confirmed the drill of {rule} within {} s: look at {down} in lifeline status; a file here reaches nobody",
            wait.as_secs()
        )?;
    }
    Ok(if found.is_some() { GOOD } else { NO })
}

async fn confirmed(
    client: &Client,
    id: &str,
    (clock, until): (&SystemClock, Instant),
) -> anyhow::Result<Option<ProvedView>> {
    loop {
        let status: StatusView = client.get(&["api", "v1", "status"]).await?;
        if let Some(proved) = status.proved.filter(|proved| proved.id == id) {
            return Ok(Some(proved));
        }
        if until <= clock.instant() {
            return Ok(None);
        }
        tokio::time::sleep(LOOK).await;
    }
}
