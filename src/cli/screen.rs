//! Draws the live picture: devices with their readings, alarms, figures.
//!
//! In: a [`Shown`], a copy of the board at one moment, and a frame of any size. Out: the frame, filled.
//! Invariant: pure; no size makes it panic, and every text is cut at its cell's width (a Chinese character takes two columns).

use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

use crate::alarm::{Alarm, Rule, Severity};
use crate::cli::table::many;
use crate::cli::words;
use crate::forward;
use crate::gateway::board::{DeviceStatus, Picture};
use crate::point::{Catalog, Device};
use crate::reading::{Quality, Reading};

/// Everything that is on the screen at one moment.
pub struct Shown<'a> {
    /// Names.
    pub catalog: &'a Catalog,
    /// The board's picture.
    pub picture: &'a Picture,
    /// Sinks by name.
    pub sinks: &'a [(String, forward::Status)],
    /// For thresholds.
    pub rules: &'a [Rule],
    /// For times of day.
    pub zone: &'a TimeZone,
    /// Where the status page is.
    pub address: &'a str,
    /// File of the token that acts on alarms need.
    pub token: Option<&'a Path>,
    /// Time left; `None`: until stopped.
    pub left: Option<Duration>,
    /// Names of devices that a person switched off.
    pub killed: &'a [String],
    /// Whether devices can be switched off.
    pub can_kill: bool,
    /// The selected row of [`rows`].
    pub selected: usize,
}

const DIM: Style = Style::new().fg(Color::DarkGray);
const TITLE: Style = Style::new().add_modifier(Modifier::BOLD);

/// Devices in the order of their rows: all but the gateway itself, whose points speak through alarms.
pub fn rows(catalog: &Catalog) -> impl Iterator<Item = &Device> {
    catalog.devices.iter().filter(|device| device.name != "gateway")
}

/// Draws everything.
pub fn draw(frame: &mut Frame, shown: &Shown) {
    let devices = u16::try_from(rows(shown.catalog).count()).unwrap_or(u16::MAX).saturating_add(1);
    let [top, table, alarms, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Max(devices.saturating_add(1)),
        Constraint::Min(4),
        Constraint::Length(4),
    ])
    .areas(frame.area());
    header(frame, top, shown);
    device_table(frame, table, shown);
    alarm_table(frame, alarms, shown);
    footer(frame, foot, shown);
}

fn header(frame: &mut Frame, area: Rect, shown: &Shown) {
    let picture = shown.picture;
    let ran = picture.now.since(picture.started).as_secs();
    let left = shown.left.map(|left| format!(" of {} s", ran + left.as_secs())).unwrap_or_default();
    let token = shown.token.map(|path| format!("  token {}", path.display())).unwrap_or_default();
    let first = Line::from(vec![
        Span::styled(format!(" lifeline  {}", shown.catalog.site), TITLE),
        Span::raw(format!(
            "  {}  {ran}{left}{}",
            words::time_of_day(picture.now, shown.zone),
            if left.is_empty() { " s" } else { "" }
        )),
        Span::styled(token, DIM),
    ]);
    let kill = if shown.can_kill { "↑↓ select  k kill/revive  " } else { "" };
    let second = Line::from(vec![
        Span::raw(format!(" status page {}  ", shown.address)),
        Span::styled(format!("{kill}q quit"), DIM),
    ]);
    frame.render_widget(Paragraph::new(vec![first, second]), area);
}

fn device_table(frame: &mut Frame, area: Rect, shown: &Shown) {
    let rows = rows(shown.catalog).map(|device| {
        let status = usize::try_from(device.id.0).ok().and_then(|at| shown.picture.devices.get(at));
        let place = device.town.as_deref().unwrap_or("");
        Row::new([
            Cell::from(device.name.clone()),
            Cell::from(Span::styled(place.to_owned(), DIM)),
            Cell::from(Line::from(readings(shown, device))),
            Cell::from(condition(shown, device, status)),
        ])
    });
    let widths =
        [Constraint::Length(12), Constraint::Length(10), Constraint::Fill(1), Constraint::Length(16)];
    let head = Row::new(["device", "town", "latest readings", "quality"]).style(DIM);
    let table = Table::new(rows, widths).header(head).highlight_symbol("▸").row_highlight_style(TITLE);
    let mut state = TableState::new().with_selected(shown.can_kill.then_some(shown.selected));
    frame.render_stateful_widget(table, area, &mut state);
}

fn latest<'a>(
    shown: &'a Shown,
    device: &'a Device,
) -> impl Iterator<Item = (&'a crate::point::Point, &'a Reading)> {
    let points = shown.catalog.points.iter().filter(|point| point.device == device.id);
    points.filter_map(|point| {
        let at = usize::try_from(point.id.0).ok()?;
        Some((point, shown.picture.latest.get(at)?.as_ref()?))
    })
}

fn readings(shown: &Shown, device: &Device) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    for (point, reading) in latest(shown, device) {
        spans.push(Span::styled(format!("{} ", point.short), DIM));
        let text = words::sample(shown.catalog, point, &reading.sample);
        spans.push(Span::styled(text + "  ", quality_style(reading.sample.quality())));
    }
    if spans.is_empty() {
        spans.push(Span::styled("no reading yet", DIM));
    }
    spans
}

const fn quality_style(quality: Quality) -> Style {
    match quality {
        Quality::Good => Style::new(),
        Quality::Uncertain => Style::new().fg(Color::Yellow),
        Quality::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::DIM),
    }
}

/// The worst quality of the device's readings, or why its polls fail.
fn condition(shown: &Shown, device: &Device, status: Option<&DeviceStatus>) -> Span<'static> {
    if shown.killed.contains(&device.name) {
        return Span::styled("killed by you", Style::new().fg(Color::Magenta));
    }
    if let Some(trouble) = status.and_then(|status| status.trouble.clone()) {
        return Span::styled(format!("bad: {trouble}"), Style::new().fg(Color::Red));
    }
    let rank = |quality: &Quality| match quality {
        Quality::Good => 0,
        Quality::Uncertain => 1,
        Quality::Bad => 2,
    };
    match latest(shown, device).map(|(_, reading)| reading.sample.quality()).max_by_key(rank) {
        Some(Quality::Good) => Span::styled("good", Style::new().fg(Color::Green)),
        Some(worst) => Span::styled(format!("{} in part", worst.name()), quality_style(worst)),
        None => Span::styled("waiting", DIM),
    }
}

fn alarm_table(frame: &mut Frame, area: Rect, shown: &Shown) {
    let mut alarms: Vec<&Alarm> = shown.picture.alarms.values().collect();
    alarms.sort_by_key(|alarm| (!words::active(alarm), std::cmp::Reverse(alarm.severity), alarm.since));
    let room = usize::from(area.height.saturating_sub(2));
    let wide = area.width >= 110;
    let rows = alarms.iter().take(room).map(|alarm| alarm_row(shown, alarm, wide));
    let hidden = alarms.len().saturating_sub(room);
    let more = if hidden > 0 { format!(", {hidden} more below") } else { String::new() };
    let title = Line::from(vec![
        Span::styled(format!(" alarms: {}", words::tally(&shown.picture.alarms)), TITLE),
        Span::styled(
            format!("  raised {}, cleared {}{more}", shown.picture.raised, shown.picture.cleared),
            DIM,
        ),
    ]);
    let [head, body] = Layout::vertical([Constraint::Length(2), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(vec![Line::default(), title]), head);
    let mut widths = vec![
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Fill(2),
        Constraint::Length(24),
        Constraint::Length(18),
    ];
    if wide {
        widths.push(Constraint::Fill(3));
    }
    frame.render_widget(Table::new(rows, widths), body);
}

fn alarm_row(shown: &Shown, alarm: &Alarm, wide: bool) -> Row<'static> {
    let style = if words::active(alarm) { severity_style(alarm.severity) } else { DIM };
    let mut cells = vec![
        Cell::from(Span::styled(format!(" {}", words::colour(alarm.severity)), style)),
        Cell::from(words::time_of_day(alarm.since, shown.zone)),
        Cell::from(alarm.rule.clone()),
        Cell::from(words::comparison(shown.catalog, shown.rules, alarm)),
        Cell::from(words::state(alarm)),
    ];
    if wide {
        cells.push(Cell::from(Span::styled(alarm.advice.clone(), DIM)));
    }
    Row::new(cells)
}

const fn severity_style(severity: Severity) -> Style {
    let colour = match severity {
        Severity::Blue => Color::LightBlue,
        Severity::Yellow => Color::Yellow,
        Severity::Orange => Color::Rgb(255, 140, 0),
        Severity::Red => Color::Red,
    };
    Style::new().fg(colour).add_modifier(Modifier::BOLD)
}

fn footer(frame: &mut Frame, area: Rect, shown: &Shown) {
    let journal = &shown.picture.journal;
    let polls: u64 = shown.picture.devices.iter().map(|device| device.polls).sum();
    let failed: u64 = shown.picture.devices.iter().map(|device| device.failed).sum();
    let refuses = journal.trouble.as_ref().map(|trouble| format!("  DISK: {trouble}")).unwrap_or_default();
    let waiting = match journal.waiting {
        0 => String::new(),
        number => format!(", {} waiting", many(number, "reading")),
    };
    let sinks: Vec<String> = shown.sinks.iter().map(|(name, status)| words::sink(name, status)).collect();
    let line =
        |title: &'static str, text: String| Line::from(vec![Span::styled(title, DIM), Span::raw(text)]);
    let lines = vec![
        line(" polls   ", format!("{}, {} failed", words::count(polls), words::count(failed))),
        line(
            " journal ",
            format!(
                "{} readings, {} transitions; on disk {} in {}{waiting}{refuses}",
                words::count(journal.readings),
                words::count(journal.transitions),
                words::bytes(journal.bytes),
                many(journal.seq, "commit"),
            ),
        ),
        line(" sinks   ", if sinks.is_empty() { "none".to_owned() } else { sinks.join("; ") }),
        line(" losses  ", words::losses(shown.picture)),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}
