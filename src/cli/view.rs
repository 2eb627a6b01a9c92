//! The terminal view of a running gateway: a live picture on a terminal, plain lines in a pipe.
//!
//! In: the live board. Out: the screen, or one line every five seconds and one for each alarm change.
//! Invariant: only what is on the board is shown; the terminal is put back whatever happens (quit, stop, error, panic).

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::cli::screen::{self, Shown};
use crate::cli::table::many;
use crate::cli::words;
use crate::forward;
use crate::gateway::board::{Board, Picture};
use crate::sim::device::Control;

/// How often keys are looked for and the picture is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// How often a plain line of figures is written.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Where a person goes on from the view.
pub struct Doors {
    /// The status page.
    pub page: Option<SocketAddr>,
    /// File of the token that acts need.
    pub token: PathBuf,
}

impl Doors {
    fn address(&self) -> String {
        self.page.map_or_else(|| "no status page".to_owned(), |page| format!("http://{page}/"))
    }
}

/// Shows the board until `until` is over, `stop` turns true, or a person quits. `control` lets that person switch simulated devices off.
///
/// # Errors
/// The terminal or the pipe fails; a pipe whose reader went away is no error.
pub async fn show(
    board: Arc<Board>,
    doors: Doors,
    until: Option<Duration>,
    mut stop: watch::Receiver<bool>,
    control: Option<Arc<Control>>,
) -> io::Result<()> {
    let ends = until.map(|until| now() + until);
    let over = async {
        match ends {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    let shown = async {
        if io::stdout().is_terminal() {
            picture(&board, &doors, ends, control.as_deref()).await
        } else {
            let mut out = io::stdout();
            match plain(&board, &doors, &mut out).await {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                other => other,
            }
        }
    };
    tokio::select! {
        ended = shown => ended,
        () = over => Ok(()),
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "the view runs in real time")]
fn now() -> Instant {
    Instant::now()
}

/// The board at one moment.
fn snapshot(board: &Board) -> (Picture, Vec<(String, forward::Status)>) {
    let picture = board.picture.read().unwrap_or_else(PoisonError::into_inner).clone();
    let status = |status: &std::sync::Mutex<forward::Status>| {
        status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    };
    let sinks = picture.shown.sinks.iter().map(|(name, shared)| (name.clone(), status(shared))).collect();
    (picture, sinks)
}

// ---- on a terminal

/// Puts the terminal back when it goes, however that comes.
struct Screen(DefaultTerminal);

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn picture(
    board: &Board,
    doors: &Doors,
    ends: Option<Instant>,
    control: Option<&Control>,
) -> io::Result<()> {
    let (mut terminal, address) = (Screen(ratatui::try_init()?), doors.address());
    let zone = words::zone(&board.shown().timezone);
    let mut selected = 0;
    let mut frames = tokio::time::interval(FRAME);
    loop {
        frames.tick().await;
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()?
                && pressed(key, board, control, &mut selected)
            {
                return Ok(());
            }
        }
        let (picture, sinks) = snapshot(board);
        let names = screen::rows(&picture.shown.catalog).map(|device| device.name.clone());
        let killed: Vec<String> =
            names.filter(|name| control.is_some_and(|control| control.killed(name))).collect();
        let shown = Shown {
            catalog: &picture.shown.catalog,
            picture: &picture,
            sinks: &sinks,
            rules: &picture.shown.rules,
            zone: &zone,
            address: &address,
            token: doors.page.map(|_| doors.token.as_path()),
            left: ends.map(|at| at.saturating_duration_since(now())),
            killed: &killed,
            can_kill: control.is_some(),
            selected,
        };
        terminal.0.draw(|frame| screen::draw(frame, &shown))?;
    }
}

/// Does what the key asks for; true to quit.
fn pressed(key: KeyEvent, board: &Board, control: Option<&Control>, selected: &mut usize) -> bool {
    if key.kind == KeyEventKind::Release {
        return false;
    }
    let documents = board.shown();
    let last = screen::rows(&documents.catalog).count().saturating_sub(1);
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        // A terminal in raw mode sends the interrupt as a key.
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Up => *selected = selected.saturating_sub(1),
        KeyCode::Down => *selected = selected.saturating_add(1).min(last),
        KeyCode::Char('k') => {
            if let (Some(control), Some(device)) = (control, screen::rows(&documents.catalog).nth(*selected))
            {
                toggle(control, &device.name);
            }
        }
        _ => {}
    }
    false
}

fn toggle(control: &Control, device: &str) {
    if control.killed(device) { control.revive(device) } else { control.kill(device) }
}

// ---- in a pipe

async fn plain(board: &Board, doors: &Doors, out: &mut impl Write) -> io::Result<()> {
    let zone = words::zone(&board.shown().timezone);
    let mut changed = board.changed.subscribe();
    let mut figures = tokio::time::interval(PLAIN_EVERY);
    let mut before = BTreeMap::new();
    writeln!(out, "lifeline {}  status page {}", board.shown().catalog.site, doors.address())?;
    if let Some(page) = doors.page {
        writeln!(out, "{}", acting(page, &doors.token))?;
    }
    loop {
        let now_figures = tokio::select! {
            _ = figures.tick() => true,
            alive = changed.changed() => { alive.map_err(io::Error::other)?; false }
        };
        let (picture, sinks) = snapshot(board);
        for line in alarm_lines(&before, &picture, &zone) {
            writeln!(out, "{line}")?;
        }
        before.clone_from(&picture.alarms);
        if now_figures {
            writeln!(out, "{}", figure_line(&picture, &sinks, &zone))?;
        }
        out.flush()?;
    }
}

/// The command that acts on an alarm; the page asks for the same token.
fn acting(page: SocketAddr, token: &Path) -> String {
    let token = token.display();
    format!(
        "to act: lifeline alarms ack RULE --severity COLOUR --url http://{page} --token-file {token} (the page asks for the text in that file)"
    )
}

/// One line for each alarm that changed: `08:00:12 ALARM red underpass-1-level raised 31.0 cm >= 30.0 cm`.
pub fn alarm_lines(before: &BTreeMap<String, Alarm>, picture: &Picture, zone: &TimeZone) -> Vec<String> {
    let at = words::time_of_day(picture.now, zone);
    let line = |alarm: &Alarm, what: &str| {
        let compared = words::comparison(&picture.shown.catalog, &picture.shown.rules, alarm);
        format!("{at} ALARM {} {} {what} {compared}", words::severity(alarm.severity), alarm.rule)
    };
    let mut lines = Vec::new();
    for (id, alarm) in &picture.alarms {
        if let Some(what) = change(before.get(id), alarm) {
            let advice = if before.contains_key(id) || alarm.advice.is_empty() { "" } else { "  " };
            let text = if advice.is_empty() { "" } else { alarm.advice.as_str() };
            lines.push(line(alarm, &what) + advice + text);
        }
    }
    let closed = before.iter().filter(|(id, _)| !picture.alarms.contains_key(*id));
    lines.extend(closed.map(|(_, alarm)| line(alarm, "closed, last")));
    lines
}

fn change(before: Option<&Alarm>, alarm: &Alarm) -> Option<String> {
    let Some(before) = before else { return Some("raised".to_owned()) };
    if before.severity != alarm.severity {
        let rose = if before.severity < alarm.severity { "rose from" } else { "fell from" };
        return Some(format!("{rose} {},", words::severity(before.severity)));
    }
    if before.present() != alarm.present() && alarm.state.is_active() {
        return Some(format!("is measured {} now,", words::severity(alarm.present())));
    }
    if before.state != alarm.state || before.unverified != alarm.unverified {
        return Some(format!("is {},", words::state(alarm)));
    }
    None
}

/// `08:00:15 polls 120 (2 failed)  readings 560 in 15 commits  active alarms: red 1  losses: none  sinks: file up ...`.
pub fn figure_line(picture: &Picture, sinks: &[(String, forward::Status)], zone: &TimeZone) -> String {
    let polls: u64 = picture.devices.iter().map(|device| device.polls).sum();
    let failed: u64 = picture.devices.iter().map(|device| device.failed).sum();
    let sinks: Vec<String> = sinks.iter().map(|(name, status)| words::sink(name, status)).collect();
    format!(
        "{} polls {polls} ({failed} failed)  readings {} in {}  active alarms: {}  losses: {}  sinks: {}",
        words::time_of_day(picture.now, zone),
        picture.journal.readings,
        many(picture.journal.seq, "commit"),
        words::tally(&picture.alarms),
        words::losses(picture),
        if sinks.is_empty() { "none".to_owned() } else { sinks.join("; ") },
    )
}

/// What the run came to, in a few lines: polls, readings, alarms, commits, sinks, losses.
pub fn summary(board: &Board) -> String {
    let (picture, sinks) = snapshot(board);
    let polls: u64 = picture.devices.iter().map(|device| device.polls).sum();
    let failed: u64 = picture.devices.iter().map(|device| device.failed).sum();
    let mut lines = vec![
        format!("ran      {} s", picture.now.since(picture.started).as_secs()),
        format!("polls    {}, {} failed", words::count(polls), words::count(failed)),
        format!("readings {} journaled", words::count(picture.journal.readings)),
        format!(
            "alarms   {} raised, {} cleared, now active: {}",
            words::count(picture.raised),
            words::count(picture.cleared),
            words::tally(&picture.alarms)
        ),
        format!(
            "journal  {} on disk in {}",
            words::bytes(picture.journal.bytes),
            many(picture.journal.seq, "commit")
        ),
        format!("losses   {}", words::losses(&picture)),
    ];
    lines.extend(sinks.iter().map(|(name, status)| format!("sink     {}", words::sink(name, status))));
    lines.join("\n")
}
