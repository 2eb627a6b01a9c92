//! `lifeline alarms ...`: what a person does to an alarm or a rule.
//!
//! In: arguments. Out: the alarm, or what lies over the rule, as it is once that is committed; exit code 1 when the gateway refuses.
//! Invariant: nothing is done without a name, and nothing is hidden or raised without a reason.

use std::io::Write;
use std::time::Duration;

use clap::Subcommand;

use crate::alarm::Severity;
use crate::cli::ask::{self, Ask, Refusal, USAGE};
use crate::cli::{Where, duration, prove, severity};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::console::view::ActView;
use crate::console::window::placed;

/// Acts on alarms.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AlarmsAct {
    /// Acknowledge an alarm: you have seen it at this severity.
    Ack {
        /// The alarm's id, or its rule's name.
        id: String,
        /// The severity that you saw: blue, yellow, orange or red. After a rise the acknowledgement is refused.
        #[arg(long, value_parser = severity)]
        severity: Severity,
        /// Who acknowledges.
        #[arg(long, env = "USER", default_value = "operator")]
        by: String,
        /// A note for the log.
        #[arg(long)]
        note: Option<String>,
    },
    /// End a latched alarm whose condition is gone, or a drill.
    Reset {
        /// The alarm's id, or its rule's name.
        id: String,
        #[command(flatten)]
        who: Who,
    },
    /// Hide an alarm for a while, 8 h at most; never a red one. A rise in severity ends it.
    Shelve {
        /// The alarm's id, or a rule's name.
        target: String,
        /// How long, such as 30m or 2h.
        #[arg(long = "for", value_name = "TIME", value_parser = lasting)]
        span: Duration,
        /// The severity that you saw; after a rise it is refused.
        #[arg(long, value_parser = severity)]
        severity: Option<Severity>,
        #[command(flatten)]
        who: Who,
    },
    /// End a shelf: an alarm that is still active tells people again.
    Unshelve {
        /// The alarm's id, or the rule's name.
        target: String,
        #[command(flatten)]
        who: Who,
    },
    /// Take an alarm's rule out of service under a permit, 24 h at most.
    OutOfService {
        /// The alarm's id, or the rule's name.
        target: String,
        /// Number of the permit to work.
        #[arg(long)]
        permit: String,
        /// The person responsible for the work.
        #[arg(long)]
        responsible: String,
        /// Begin: a date or time, of the site's zone without an offset (`2026-11-23T18:00`); now when left out.
        #[arg(long)]
        from: Option<String>,
        /// End: a date or time, of the site's zone without an offset.
        #[arg(long, required_unless_present = "span")]
        to: Option<String>,
        /// How long from the begin, such as 2h, instead of the end.
        #[arg(long = "for", value_name = "TIME", value_parser = lasting, conflicts_with = "to")]
        span: Option<Duration>,
        /// What watches the place meanwhile; needed where the rule has a red level.
        #[arg(long)]
        substitute: Option<String>,
        #[command(flatten)]
        who: Who,
    },
    /// Put a rule back into service, or give up a permit that has not begun.
    Return {
        /// The alarm's id, or the rule's name.
        target: String,
        #[command(flatten)]
        who: Who,
    },
    /// Raise the severity of an active alarm by hand (提级响应).
    Raise {
        /// The alarm's id, or its rule's name.
        target: String,
        /// The severity that it is to have.
        #[arg(long, value_parser = severity)]
        severity: Severity,
        /// How long, 24 h at most.
        #[arg(long = "for", value_name = "TIME", value_parser = lasting)]
        span: Duration,
        #[command(flatten)]
        who: Who,
    },
    /// Begin a drill (演练) of a rule: an alarm of its own, marked everywhere; `reset` ends it.
    Drill {
        /// The rule's name.
        target: String,
        /// The severity of the exercise.
        #[arg(long, value_parser = severity)]
        severity: Severity,
        /// How long, 24 h at most.
        #[arg(long = "for", value_name = "TIME", value_parser = lasting)]
        span: Duration,
        #[command(flatten)]
        who: Who,
    },
    /// Prove that a notice gets out: a drill goes through the alarm lane, and each sink says whether it took it. `lifeline coverage` needs that every 90 days.
    Test {
        /// The rule; the first one of the process when left out.
        #[arg(long)]
        rule: Option<String>,
        /// The sink that must confirm it, such as the broker behind which people are called; any one when left out.
        #[arg(long, value_name = "NAME")]
        sink: Option<String>,
        /// Wait so long for the sinks.
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
        wait: Duration,
        /// The severity of the drill.
        #[arg(long, value_parser = severity, default_value = "blue")]
        severity: Severity,
        #[command(flatten)]
        who: Who,
    },
    /// Rules over which something lies: shelved, out of service, suppressed.
    Hidden,
}

/// The end that lies `span` behind the begin that was written, in the zone of the gateway's site where that has no offset, or behind now.
async fn end_of(place: &Ask, from: Option<&str>, span: Duration) -> anyhow::Result<Timestamp> {
    let Some(from) = from else { return Ok(SystemClock::new().now().plus(span)) };
    let zone = ask::zone_of(&place.gateway().await?).await?.0.name();
    let begin = Timestamp::parse(&placed(from, &zone)).map_err(|_| {
        let text = format!("--from is `{from}`; write a time like 2026-11-23T18:00:00 (of the site's zone, {zone}) or 2026-11-23T18:00:00+08:00");
        Refusal::new(USAGE, text)
    })?;
    Ok(begin.plus(span))
}

/// A duration that is not nothing.
fn lasting(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must last; write 30m or 2h".to_owned()),
        span => Ok(span),
    }
}

/// Who does it, and why.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Who {
    /// Who does it.
    #[arg(long, env = "USER", default_value = "operator")]
    by: String,
    /// Why.
    #[arg(long)]
    reason: Option<String>,
}

/// Work on a sensor.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MaintenanceArgs {
    /// Name of the device.
    sensor: String,
    /// How long, 30 days at most.
    #[arg(long = "for", value_name = "TIME", value_parser = lasting, required_unless_present = "end")]
    span: Option<Duration>,
    /// End it now.
    #[arg(long, conflicts_with = "span")]
    end: bool,
    /// The role of the person who works on it.
    #[arg(long, default_value = "maintainer")]
    role: String,
    /// What watches the place meanwhile; needed when an active red alarm is hidden by it.
    #[arg(long, value_name = "TEXT", conflicts_with = "end")]
    substitute: Option<String>,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    pub(crate) place: Where,
}

/// Begins or ends the maintenance of a sensor.
///
/// # Errors
/// The answer cannot be read or written.
pub(crate) async fn maintain(place: &Ask, args: MaintenanceArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let MaintenanceArgs { sensor, span, role, substitute, who, .. } = args;
    let view = ActView { by: who.by, reason: who.reason, ..ActView::default() };
    let (what, view) = match span {
        Some(span) => {
            let seconds = Some(span.as_secs().max(1));
            ("maintenance", ActView { seconds, responsible: Some(role), substitute, ..view })
        }
        None => ("maintained", view),
    };
    if let Err(error) = reasoned(what, &view) {
        return ask::settle(Err(error.into()));
    }
    ask::other(place, &sensor, what, &view, out).await
}

/// Refuses what the gateway would refuse, in the words of the command line.
fn reasoned(what: &str, view: &ActView) -> Result<(), Refusal> {
    let given = view.reason.as_deref().is_some_and(|reason| !reason.trim().is_empty());
    if given || !["shelve", "raise", "drill", "maintenance"].contains(&what) {
        return Ok(());
    }
    Err(Refusal::new(USAGE, format!("{what} needs a reason: --reason \"...\"")))
}

/// Does it.
///
/// # Errors
/// The answer cannot be read or written.
pub(crate) async fn act(place: &Ask, act: AlarmsAct, out: &mut dyn Write) -> anyhow::Result<u8> {
    let of = |who: Who| ActView { by: who.by, reason: who.reason, ..ActView::default() };
    let seconds = |span: Duration| Some(span.as_secs().max(1));
    let (target, what, view) = match act {
        AlarmsAct::Ack { id, severity, by, note } => {
            return ask::ack(place, &ask::Ack { id, severity, by, note }, out).await;
        }
        AlarmsAct::Hidden => return ask::hidden(place, out).await,
        AlarmsAct::Test { rule, sink, wait, severity, who } => {
            let reason = who.reason.unwrap_or_else(|| "test of the way of a notice".to_owned());
            let view = ActView {
                by: who.by,
                reason: Some(reason),
                severity: Some(severity),
                seconds: Some(wait.as_secs() + 60),
                ..ActView::default()
            };
            let test = prove::Test { rule: rule.as_deref(), sink: sink.as_deref(), wait };
            return prove::prove(place, test, &view, out).await;
        }
        AlarmsAct::Reset { id, who } => (id, "reset", of(who)),
        AlarmsAct::Unshelve { target, who } => (target, "unshelve", of(who)),
        AlarmsAct::Return { target, who } => (target, "return", of(who)),
        AlarmsAct::Shelve { target, span, severity, who } => {
            (target, "shelve", ActView { severity, seconds: seconds(span), ..of(who) })
        }
        AlarmsAct::Raise { target, severity, span, who } => {
            (target, "raise", ActView { severity: Some(severity), seconds: seconds(span), ..of(who) })
        }
        AlarmsAct::Drill { target, severity, span, who } => {
            (target, "drill", ActView { severity: Some(severity), seconds: seconds(span), ..of(who) })
        }
        AlarmsAct::OutOfService { target, permit, responsible, from, to, span, substitute, who } => {
            let to = match span {
                Some(span) => match end_of(place, from.as_deref(), span).await {
                    Ok(to) => Some(to.to_string()),
                    Err(error) => return ask::settle(Err(error)),
                },
                None => to,
            };
            let (permit, responsible) = (Some(permit), Some(responsible));
            (target, "out-of-service", ActView { permit, from, to, responsible, substitute, ..of(who) })
        }
    };
    if let Err(error) = reasoned(what, &view) {
        return ask::settle(Err(error.into()));
    }
    ask::other(place, &target, what, &view, out).await
}
