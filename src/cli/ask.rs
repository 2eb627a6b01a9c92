//! Asking: status, alarms, acknowledging. Of a running gateway, or of a journal on disk.
//!
//! In: what a person asks and where. Out: text for people, or JSON with one object a line.
//! Invariant: an answer from disk is never shown as one of a running gateway.
//! Source: DESIGN section 8 (shapes and exit codes).

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::alarm::Severity;
use crate::alarm::tell::OverlayView;
use crate::cli::alarms::{self, Ages};
use crate::cli::answers::{self, Zone};
use crate::cli::client::Client;
use crate::cli::disk::Disk;
use crate::cli::rates;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::console::rates::RatesView;
use crate::console::status::{PointView, StatusView};
use crate::console::token;
use crate::console::view::{self, AckView, ActView, AlarmView, RuleView};

/// Exit code: good.
pub const GOOD: u8 = 0;
/// Exit code: the answer is no.
pub const NO: u8 = 1;
/// Exit code: not understood.
pub const USAGE: u8 = 2;
/// Exit code: no gateway and no journal there.
pub const UNREACHABLE: u8 = 3;

/// Whom to ask and how to answer.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Ask this gateway.
    pub url: Option<String>,
    /// Ask the journal in this folder.
    pub journal: Option<PathBuf>,
    /// File of the gateway's token. Without it, the token beside the default journal is used, for the default address only.
    pub token_file: Option<PathBuf>,
    /// One JSON object a line instead of text.
    pub json: bool,
    /// Asked when neither `url` nor `journal` is given.
    pub default_url: String,
    /// Asked when nobody answers at `default_url`.
    pub default_journal: PathBuf,
    /// The site of the settings that named `default_url`: another gateway may have its port.
    pub site: Option<String>,
}

/// An acknowledgement.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack {
    /// Id of the alarm.
    pub id: String,
    /// The severity that was seen.
    pub severity: Severity,
    /// Who.
    pub by: String,
    /// A note.
    pub note: Option<String>,
}

/// An answer that is no, with its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refusal {
    code: u8,
    text: String,
}

impl Refusal {
    pub(crate) fn new(code: u8, text: String) -> Self {
        Self { code, text }
    }
}

/// Who answers.
pub(crate) enum Source {
    Gateway(Client),
    Disk(Disk),
}

impl Ask {
    /// The named source, or the default gateway, or else the default journal.
    pub(crate) async fn source(&self) -> anyhow::Result<Source> {
        match (&self.url, &self.journal) {
            (Some(_), Some(_)) => {
                Err(Refusal::new(USAGE, "give --url or --journal, not both".to_owned()).into())
            }
            (Some(url), None) => {
                let client = Client::new(url, self.named_token()?)?;
                Ok(Source::Gateway(match &self.token_file {
                    Some(file) => client.tried(file.clone()),
                    None => client,
                }))
            }
            (None, Some(path)) => Ok(Source::Disk(Disk::open(path)?)),
            (None, None) => self.default_source().await,
        }
    }

    async fn default_source(&self) -> anyhow::Result<Source> {
        let client = self.default_client()?;
        if client.answers().await {
            self.tell_stranger(&client).await;
            return Ok(Source::Gateway(client));
        }
        match Disk::open(&self.default_journal) {
            Ok(mut disk) => {
                disk.alone = true;
                eprintln!(
                    "no gateway answers at {}; this is the journal in {}",
                    client.url(),
                    disk.path.display()
                );
                Ok(Source::Disk(disk))
            }
            Err(error) => {
                let text = format!(
                    "no gateway answers at {} (--url names another one), and {error:#}",
                    client.url()
                );
                Err(Refusal::new(UNREACHABLE, text).into())
            }
        }
    }

    /// The gateway at the default address.
    fn default_client(&self) -> anyhow::Result<Client> {
        let file = self.token_file.clone().unwrap_or_else(|| self.default_journal.join(token::FILE));
        // Reading on loopback needs no token, so a token file of another user is no reason to fail.
        let token = self.named_token()?.or_else(|| self.own_token());
        Ok(Client::new(&self.default_url, token)?.tried(file))
    }

    /// The token beside the default journal, when it can be read.
    pub(crate) fn own_token(&self) -> Option<String> {
        token::read(&self.default_journal.join(token::FILE)).ok()
    }

    fn named_token(&self) -> anyhow::Result<Option<String>> {
        let read = |path: &PathBuf| {
            token::read(path)
                .map_err(|error| Refusal::new(USAGE, format!("cannot read {}: {error}", path.display())))
        };
        Ok(self.token_file.as_ref().map(read).transpose()?)
    }

    /// That the gateway at the default address is another site's than the settings'. Nothing is refused for it: an act needs that gateway's token,
    /// and the name may come from the environment of the service alone.
    async fn stranger(&self, client: &Client) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Named {
            site: String,
        }
        let own = self.site.as_ref()?;
        let Named { site } = client.get(&["api", "v1", "status"]).await.ok()?;
        let text = || {
            format!("the gateway at {} is that of site {site}, and the settings are of {own}", client.url())
        };
        (site != *own).then(text)
    }

    async fn tell_stranger(&self, client: &Client) {
        if let Some(stranger) = self.stranger(client).await {
            eprintln!("{}", crate::cli::table::plain(&stranger));
        }
    }

    async fn default_gateway(&self) -> anyhow::Result<Client> {
        let client = self.default_client()?;
        if client.answers().await { Ok(client) } else { Err(alone(&format!(" at {}", client.url())).into()) }
    }

    /// A running gateway, for acts and for questions that a journal cannot answer.
    pub(crate) async fn gateway(&self) -> anyhow::Result<Client> {
        if self.url.is_none() && self.journal.is_none() {
            let client = self.default_gateway().await?;
            self.tell_stranger(&client).await;
            return Ok(client);
        }
        match self.source().await? {
            Source::Gateway(client) => Ok(client),
            Source::Disk(_) => Err(alone("").into()),
        }
    }
}

fn alone(of: &str) -> Refusal {
    Refusal::new(UNREACHABLE, format!("only a running gateway can do this, and none answers{of}"))
}

/// The exit code of `answer`: a refusal is told on stderr; a reader who has seen enough (`| head`) is no trouble.
pub(crate) fn settle(answer: anyhow::Result<u8>) -> anyhow::Result<u8> {
    let error = match answer {
        Ok(code) => return Ok(code),
        Err(error) => error,
    };
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        eprintln!("{}", crate::cli::table::plain(&refusal.text));
        return Ok(refusal.code);
    }
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    if io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe) {
        return Ok(GOOD);
    }
    Err(error)
}

/// How the gateway is. Exit code 1 when it says that something is wrong with it, 3 when only its journal is there and was not asked for.
///
/// # Errors
/// The answer cannot be read or written.
pub async fn status(args: &Ask, out: &mut dyn Write) -> anyhow::Result<u8> {
    settle(status_of(args, out).await)
}

async fn status_of(args: &Ask, out: &mut dyn Write) -> anyhow::Result<u8> {
    match args.source().await? {
        Source::Gateway(client) => {
            let view: StatusView = client.get(&["api", "v1", "status"]).await?;
            if args.json {
                line(out, &view)?;
            } else {
                answers::status(&view, out)?;
            }
            Ok(if view.troubles.is_empty() { GOOD } else { NO })
        }
        Source::Disk(disk) => {
            let view = disk.status()?;
            if args.json {
                line(out, &view)?;
            } else {
                let zone = disk.site().1;
                disk.head(&zone, SystemClock::new().now(), out)?;
                answers::disk(&view, &zone, out)?;
            }
            Ok(if disk.alone { UNREACHABLE } else { GOOD })
        }
    }
}

/// The alarms that are not closed, worst first.
///
/// # Errors
/// The answer cannot be read or written.
pub async fn alarms(args: &Ask, out: &mut dyn Write) -> anyhow::Result<u8> {
    settle(alarms_of(args, out).await)
}

async fn alarms_of(args: &Ask, out: &mut dyn Write) -> anyhow::Result<u8> {
    let now = SystemClock::new().now();
    let (alarms, (zone, points, ages)) = match args.source().await? {
        Source::Gateway(client) => {
            let alarms: Vec<AlarmView> = client.get(&["api", "v1", "alarms"]).await?;
            let (zone, points, now) =
                if args.json { (Zone::of_box(), Vec::new(), now) } else { around(&client).await? };
            (alarms, (zone, points, Ages::running(now)))
        }
        Source::Disk(disk) => {
            let zone = disk.site().1;
            if !args.json {
                disk.head(&zone, now, out)?;
            }
            let points = if args.json { Vec::new() } else { disk.points()? };
            let open = disk.alarms()?;
            let mut judged = disk.now(&open)?;
            (
                view::alarms(open.into_iter(), |alarm| judged.remove(&alarm.id)),
                (zone, points, Ages::on_disk(now)),
            )
        }
    };
    if args.json {
        alarms.iter().try_for_each(|alarm| line(out, alarm))?;
    } else {
        alarms::alarms(&alarms, &points, (&zone, ages), out)?;
    }
    Ok(GOOD)
}

/// How many alarms reach a person. Exit code 1 when they are too many.
///
/// # Errors
/// The answer cannot be read or written.
pub async fn rates(args: &Ask, out: &mut dyn Write) -> anyhow::Result<u8> {
    settle(rates_of(args, out).await)
}

async fn rates_of(args: &Ask, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = args.gateway().await?;
    let view: RatesView = client.get(&["api", "v1", "rates"]).await?;
    if args.json {
        line(out, &view)?;
    } else {
        rates::rates(&view, &zone_of(&client).await?.0, out)?;
    }
    let many = view.figures.flood_since.is_some() || view.figures.rate > view.manageable;
    Ok(if many { NO } else { GOOD })
}

/// Acknowledges an alarm. Exit code 1 when the gateway refuses.
///
/// # Errors
/// The answer cannot be read or written.
pub async fn ack(args: &Ask, ack: &Ack, out: &mut dyn Write) -> anyhow::Result<u8> {
    settle(ack_of(args, ack, out).await)
}

async fn ack_of(args: &Ask, ack: &Ack, out: &mut dyn Write) -> anyhow::Result<u8> {
    let body = AckView { severity: ack.severity, by: ack.by.clone(), note: ack.note.clone() };
    act(args, &ack.id, "ack", &body, out).await
}

/// Any other act on an alarm or a rule. Exit code 1 when the gateway refuses.
///
/// # Errors
/// The answer cannot be read or written.
pub async fn other(
    args: &Ask,
    target: &str,
    what: &str,
    body: &ActView,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    settle(act(args, target, what, body, out).await)
}

/// Rules over which something lies.
///
/// # Errors
/// The answer cannot be read or written.
pub async fn hidden(args: &Ask, out: &mut dyn Write) -> anyhow::Result<u8> {
    settle(hidden_of(args, out).await)
}

async fn hidden_of(args: &Ask, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = args.gateway().await?;
    let rules: Vec<RuleView> = client.get(&["api", "v1", "overlays"]).await?;
    if args.json {
        rules.iter().try_for_each(|rule| line(out, rule))?;
    } else {
        alarms::hidden(&rules, &zone_of(&client).await?.0, out)?;
    }
    Ok(GOOD)
}

/// The gateway answers with the alarm, or with what lies over a rule that has none.
#[derive(serde::Deserialize, serde::Serialize)]
#[serde(untagged)]
enum Done {
    Alarm(Box<AlarmView>),
    Rule(Box<RuleView>),
}

async fn act(
    args: &Ask,
    target: &str,
    what: &str,
    body: &impl serde::Serialize,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    if target.is_empty() {
        return Err(Refusal::new(USAGE, "which alarm? lifeline alarms shows the ids".to_owned()).into());
    }
    let client = args.gateway().await?;
    let done: Done = client.post(&["api", "v1", "alarms", target, what], body).await?;
    match done {
        done if args.json => line(out, &done)?,
        Done::Alarm(alarm) => {
            let (zone, points, now) = around(&client).await?;
            alarms::acted(&alarm, &points, (&zone, Ages::running(now)), out)?;
        }
        Done::Rule(rule) if rule.overlay == OverlayView::default() => {
            writeln!(out, "{target}: in service; nothing shelves or suppresses it any more")?;
        }
        Done::Rule(rule) if what == "maintenance" => {
            alarms::maintained(&rule, &zone_of(&client).await?.0, out)?;
        }
        Done::Rule(rule) => alarms::hidden(&[*rule], &zone_of(&client).await?.0, out)?,
    }
    Ok(GOOD)
}

/// The gateway's time zone, and its points for display.
pub(crate) async fn zone_of(client: &Client) -> anyhow::Result<(Zone, Vec<PointView>)> {
    let (zone, points, _) = around(client).await?;
    Ok((zone, points))
}

/// The same with the gateway's time: this box may have another one.
async fn around(client: &Client) -> anyhow::Result<(Zone, Vec<PointView>, Timestamp)> {
    let status: StatusView = client.get(&["api", "v1", "status"]).await?;
    let points = status.devices.into_iter().flat_map(|device| device.points).collect();
    let now = Timestamp::parse(&status.now).unwrap_or_else(|_| SystemClock::new().now());
    Ok((Zone::named(&status.timezone), points, now))
}

/// One JSON object as a line.
pub(crate) fn line(out: &mut dyn Write, view: &impl serde::Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, view)
        .map_err(std::io::Error::from)
        .context("cannot write the answer")?;
    Ok(out.write_all(b"\n")?)
}
