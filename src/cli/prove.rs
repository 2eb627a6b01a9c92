//! `lifeline alarms test`: a drill through the alarm lane, until every sink that can tell a person has confirmed it.
//!
//! In: a running gateway. Out: which sinks confirmed the drill and after how long, and which did not in time; exit code 1 when none did, or not the one that was asked for.
//! Invariant: the drill is ended whatever came of it.

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm::Kind;
use crate::cli::ask::{self, Ask, GOOD, NO, Refusal, USAGE};
use crate::cli::client::Client;
use crate::clock::{Clock, SystemClock};
use crate::console::status::{ProvedView, StatusView};
use crate::console::view::{ActView, AlarmView};
use crate::console::window::nearest;

/// The gateway is asked this often.
const LOOK: Duration = Duration::from_millis(250);

/// What is to be proved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Test<'a> {
    /// The rule; the first one of the process when there is none.
    pub(crate) rule: Option<&'a str>,
    /// The sink that must confirm it; any one when there is none.
    pub(crate) sink: Option<&'a str>,
    /// Wait so long.
    pub(crate) wait: Duration,
}

/// What came of a drill.
#[derive(serde::Serialize)]
struct Came {
    /// The proof, once a sink has confirmed it.
    #[serde(flatten)]
    proved: Option<ProvedView>,
    /// Sinks that did not confirm it in time.
    missing: Vec<String>,
    /// Each sink that did, and after how long.
    #[serde(skip)]
    took: Vec<(String, Duration)>,
}

impl Came {
    fn confirms(&self, sink: &str) -> bool {
        self.took.iter().any(|(known, _)| known == sink)
    }
}

/// Proves it.
///
/// # Errors
/// The answer cannot be read or written.
pub(crate) async fn prove(
    place: &Ask,
    test: Test<'_>,
    view: &ActView,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    ask::settle(proved(place, test, view, out).await)
}

async fn proved(place: &Ask, test: Test<'_>, view: &ActView, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = place.gateway().await?;
    let status: StatusView = client.get(&["api", "v1", "status"]).await?;
    let asked = sinks(&status, test.sink)?;
    let rule = rule(&status, test.rule)?;
    let clock = SystemClock::new();
    let drill: AlarmView = client.post(&["api", "v1", "alarms", rule, "drill"], view).await?;
    let came = confirmed(&client, &drill.id, asked, (&clock, test.wait)).await;
    let end = ActView { by: view.by.clone(), ..ActView::default() };
    let ended: anyhow::Result<AlarmView> =
        client.post(&["api", "v1", "alarms", &drill.id, "reset"], &end).await;
    let came = came?;
    ended?;
    if place.json {
        ask::line(out, &came)?;
    } else {
        tell(&came, rule, &status, test.wait, out)?;
    }
    let good = match test.sink {
        Some(sink) => came.confirms(sink),
        None => !came.took.is_empty(),
    };
    Ok(if good { GOOD } else { NO })
}

/// The sinks that are waited for: those that can tell a person, and the one that was asked for.
fn sinks(status: &StatusView, asked: Option<&str>) -> Result<Vec<String>, Refusal> {
    if status.sinks.is_empty() {
        let text = "no sink is set up: a notice has no way to a person; add a [[sink]] to the settings";
        return Err(Refusal::new(NO, text.to_owned()));
    }
    let names = || status.sinks.iter().map(|sink| sink.name.as_str());
    if let Some(asked) = asked {
        match status.sinks.iter().find(|sink| sink.name == asked) {
            Some(sink) if sink.tells_nobody => {
                let text = format!(
                    "from the sink {asked} nobody is called: it is a file, gets no alarms, or is a store (`calls_people = true` if its alerts call people)"
                );
                return Err(Refusal::new(NO, text));
            }
            Some(_) => {}
            None => {
                let meant = nearest(asked, names()).map(|near| format!("; did you mean {near}?"));
                let text = format!("there is no sink {asked}{}", meant.unwrap_or_default());
                return Err(Refusal::new(USAGE, text));
            }
        }
    }
    let telling = status.sinks.iter().filter(|sink| !sink.tells_nobody);
    Ok(telling.map(|sink| sink.name.clone()).collect())
}

fn rule<'a>(status: &'a StatusView, asked: Option<&'a str>) -> Result<&'a str, Refusal> {
    let first = || status.rules.iter().find(|rule| rule.kind == Kind::Process).map(|rule| rule.name.as_str());
    asked
        .or_else(first)
        .ok_or_else(|| Refusal::new(NO, "the site has no rule of the process; name one by --rule".to_owned()))
}

/// Says of each sink what it did.
fn tell(
    came: &Came,
    rule: &str,
    status: &StatusView,
    wait: Duration,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let within = wait.as_secs();
    for (sink, took) in &came.took {
        writeln!(out, "the drill of {rule} reached the sink {sink} after {:.1} s", took.as_secs_f64())?;
    }
    if came.took.is_empty() {
        let all = status.sinks.iter().map(|sink| sink.name.as_str()).collect::<Vec<_>>().join(", ");
        writeln!(
            out,
            "no sink from which people are called confirmed the drill of {rule} within {within} s: look at {all} in lifeline status; a file or a store reaches nobody"
        )?;
        return Ok(());
    }
    for sink in &came.missing {
        let trouble = status.sinks.iter().find(|known| known.name == *sink);
        let why = trouble.and_then(|sink| sink.trouble.as_deref()).map(|why| format!(": {why}"));
        let why = why.unwrap_or_default();
        writeln!(out, "the sink {sink} did NOT confirm it within {within} s{why}")?;
    }
    Ok(())
}

/// Waits until all of `asked` have confirmed the drill, or the time is over.
async fn confirmed(
    client: &Client,
    id: &str,
    asked: Vec<String>,
    (clock, wait): (&SystemClock, Duration),
) -> anyhow::Result<Came> {
    let begun: Instant = clock.instant();
    let mut came = Came { proved: None, missing: asked, took: Vec::new() };
    loop {
        let status: StatusView = client.get(&["api", "v1", "status"]).await?;
        let took = clock.instant().saturating_duration_since(begun);
        if let Some(proved) = status.proved.filter(|proved| proved.id == id) {
            // A gateway of an earlier version names the first one alone.
            let first = proved.sinks.is_empty().then_some(&proved.sink);
            for sink in proved.sinks.iter().chain(first) {
                if !came.confirms(sink) {
                    came.took.push((sink.clone(), took));
                }
            }
            came.proved = Some(proved);
        }
        came.missing = came.missing.iter().filter(|sink| !came.confirms(sink)).cloned().collect();
        if came.missing.is_empty() || wait <= took {
            return Ok(came);
        }
        tokio::time::sleep(LOOK).await;
    }
}
