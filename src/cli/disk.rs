//! The other side of asking: a journal on disk, with or without a gateway that writes it.
//!
//! In: the journal's folder. Out: what was last committed there.
//! Invariant: only reads.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::alarm::Alarm;
use crate::cli::answers::Zone;
use crate::cli::ask::{NO, Refusal, UNREACHABLE};
use crate::clock::Timestamp;
use crate::console::now::NowView;
use crate::console::status::PointView;
use crate::console::window::nearest;
use crate::journal::{Kept, Progress, Reader, Seq, Span};
use crate::point::Catalog;
use crate::reading::Reading;

/// The newest reading of an alarm's point is looked for so far before the last commit, one after the other.
const BACK: [Duration; 3] =
    [Duration::from_secs(900), Duration::from_secs(86_400), Duration::from_secs(30 * 86_400)];

/// Readings are looked for so far behind it.
const AHEAD: Duration = Duration::from_secs(120);

/// A journal that was opened for reading.
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
    /// It stands in for a gateway that was asked and is not there.
    pub(crate) alone: bool,
    pub(crate) reader: Reader,
}

/// What a journal on disk says of itself; one line of `status --json`.
#[derive(Debug, Serialize)]
pub(crate) struct DiskView {
    /// Its folder.
    pub(crate) journal: String,
    /// Last commit.
    pub(crate) seq: u64,
    /// The time of that commit; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) as_of: Option<String>,
    /// False when the gateway was asked first and is not there; absent when only the journal was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) running: Option<bool>,
    /// Bytes on disk.
    pub(crate) bytes: u64,
    /// Alarms that are not closed.
    pub(crate) alarms_open: usize,
    /// What each sink has not confirmed.
    pub(crate) sinks: Vec<LagView>,
}

/// How far a sink is behind.
#[derive(Debug, Serialize)]
pub(crate) struct LagView {
    /// The sink's name.
    pub(crate) name: String,
    /// Commits not delivered yet.
    pub(crate) backlog: u64,
}

impl Disk {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        match Reader::open(path) {
            Ok(reader) => Ok(Self { path: path.to_owned(), alone: false, reader }),
            Err(error) => {
                // The cause of the cause says the same again.
                let cause =
                    std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
                let text = format!(
                    "{error}{cause}; `lifeline run` makes one: name its folder with --journal DIR, or its settings with --config FILE"
                );
                Err(Refusal::new(UNREACHABLE, text).into())
            }
        }
    }

    /// Version and texts of the documents that held last.
    pub(crate) fn documents(&self) -> anyhow::Result<Option<Kept>> {
        self.reader.documents().context("cannot read the documents")
    }

    /// Name and time zone of the site whose journal it is, as its documents say; what settings leave out is what the gateway takes then.
    pub(crate) fn site(&self) -> (String, Zone) {
        let kept = self.reader.documents().ok().flatten();
        let said = |key: &str| {
            let mut texts = kept.iter().flat_map(|kept| &kept.documents);
            texts.find_map(|(_, text)| {
                let table: toml::Table = toml::from_str(text).ok()?;
                Some(table.get("site")?.get(key)?.as_str()?.to_owned())
            })
        };
        let zone = Zone::named(&said("timezone").unwrap_or_else(|| "UTC".to_owned()));
        (said("name").unwrap_or_else(|| "journal".to_owned()), zone)
    }

    /// The first line of what people read, when a gateway was meant: how old the answer is.
    pub(crate) fn head(&self, zone: &Zone, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<()> {
        if !self.alone {
            return Ok(());
        }
        let last = self.reader.last().context("cannot read the last commit")?;
        let age = last.map_or_else(
            || "nothing was committed".to_owned(),
            |(_, at)| format!("as of {}, {} s ago", zone.show(&at.to_string()), now.since(at).as_secs()),
        );
        Ok(writeln!(out, "{age}; the gateway is not running")?)
    }

    pub(crate) fn status(&self) -> anyhow::Result<DiskView> {
        let last = self.reader.last().context("cannot read the last commit")?;
        let (seq, now) = last.unzip();
        let seq = seq.unwrap_or_default();
        let progress = self.reader.progress().context("cannot read the sinks' progress")?;
        let lag = |(name, progress): (String, Progress)| LagView { backlog: backlog(seq, &progress), name };
        Ok(DiskView {
            journal: self.path.display().to_string(),
            seq: seq.0,
            as_of: now.map(|now| now.to_string()),
            running: self.alone.then_some(false),
            bytes: self.reader.bytes(),
            alarms_open: self.alarms()?.len(),
            sinks: progress.into_iter().map(lag).collect(),
        })
    }

    /// Alarms that are not closed.
    pub(crate) fn alarms(&self) -> anyhow::Result<Vec<Alarm>> {
        let states = self.reader.states().context("cannot read the alarms")?;
        let alarms = states.into_iter().filter_map(|(_, state)| state.alarm);
        Ok(alarms.filter(|alarm| alarm.state != crate::alarm::Base::Normal).collect())
    }

    /// The newest readings of those of these alarms whose rules judge the reading of their point, by alarm id.
    pub(crate) fn now(&self, alarms: &[Alarm]) -> anyhow::Result<BTreeMap<String, NowView>> {
        let Some((_, last)) = self.reader.last().context("cannot read the last commit")? else {
            return Ok(BTreeMap::new());
        };
        let asked = || alarms.iter().filter(|alarm| alarm.marks.of_readings && !alarm.marks.drill);
        let mut newest: BTreeMap<String, (Timestamp, NowView)> = BTreeMap::new();
        for back in BACK {
            let left = asked().filter(|alarm| !newest.contains_key(&alarm.point));
            let left: BTreeSet<String> = left.map(|alarm| alarm.point.clone()).collect();
            if left.is_empty() {
                break;
            }
            self.newest(&Vec::from_iter(left), (last.minus(back), last.plus(AHEAD)), &mut newest)?;
        }
        let view = |alarm: &Alarm| Some((alarm.id.clone(), newest.get(&alarm.point)?.1.clone()));
        Ok(asked().filter_map(view).collect())
    }

    /// The newest readings of these points; a reading may be stamped a little ahead of the commit that holds it.
    fn newest(
        &self,
        points: &[String],
        (from, to): (Timestamp, Timestamp),
        newest: &mut BTreeMap<String, (Timestamp, NowView)>,
    ) -> anyhow::Result<()> {
        let mut each = |catalog: &Catalog, reading: &Reading| {
            let name = catalog.point(reading.point).map(|point| &point.name);
            let is_newer = |name: &&String| newest.get(*name).is_none_or(|(at, _)| *at <= reading.at);
            if let Some(name) = name.filter(is_newer)
                && let Some(view) = NowView::of(catalog, reading)
            {
                newest.insert(name.clone(), (reading.at, view));
            }
            true
        };
        self.reader.history(points, from, to, &mut each).context("cannot read the history")
    }

    /// The refusal for a point that the journal does not know, with the nearest name that it does.
    pub(crate) fn unknown(&self, name: &str) -> anyhow::Result<Option<Refusal>> {
        let names = self.names()?;
        Ok(stranger("the journal knows no point", name, &names))
    }

    /// Names of the points of the newest readings' catalog.
    pub(crate) fn names(&self) -> anyhow::Result<Vec<String>> {
        let catalog = self.catalog()?;
        Ok(catalog.iter().flat_map(|catalog| &catalog.points).map(|point| point.name.clone()).collect())
    }

    /// The points of the newest readings, for display.
    pub(crate) fn points(&self) -> anyhow::Result<Vec<PointView>> {
        let catalog = self.catalog()?;
        Ok(catalog.iter().flat_map(|catalog| &catalog.points).map(PointView::new).collect())
    }

    /// The newest readings' catalog, found by looking back in longer and longer steps.
    fn catalog(&self) -> anyhow::Result<Option<Arc<Catalog>>> {
        let Some((Seq(last), _)) = self.reader.last()? else { return Ok(None) };
        let to = Seq(last.saturating_add(1));
        for back in [16, 4096, last] {
            let from = Seq(to.0.saturating_sub(back).max(1));
            if from >= to {
                continue;
            }
            let (groups, _, _) = self.reader.groups(Span { from, to }, 1)?;
            if let Some(group) = groups.last() {
                return Ok(Some(Arc::clone(&group.catalog)));
            }
        }
        Ok(None)
    }

    /// Calls `each` for about `most` readings of the point that look like all of them.
    pub(crate) fn drawn(
        &self,
        point: &str,
        window: crate::console::window::Window,
        most: u32,
        each: &mut dyn FnMut(&crate::point::Catalog, &crate::reading::Reading) -> bool,
    ) -> anyhow::Result<()> {
        self.reader.drawn(point, (window.from, window.to), most, each).context("cannot read the history")
    }

    /// Calls `each` for all readings of the points in `from..to`.
    pub(crate) fn history(
        &self,
        points: &[String],
        window: crate::console::window::Window,
        each: &mut dyn FnMut(&crate::point::Catalog, &crate::reading::Reading) -> bool,
    ) -> anyhow::Result<()> {
        let (from, to): (Timestamp, Timestamp) = (window.from, window.to);
        self.reader.history(points, from, to, each).context("cannot read the history")
    }
}

/// The refusal for a name that is not among the known ones, with the nearest of them.
pub(crate) fn stranger(there_is_none: &str, name: &str, known: &[String]) -> Option<Refusal> {
    if known.iter().any(|known| known == name) {
        return None;
    }
    let hint = nearest(name, known.iter().map(String::as_str));
    let hint = hint.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
    Some(Refusal::new(NO, format!("{there_is_none} {name}{hint}")))
}

/// Commits after `live`, and the gaps before it.
fn backlog(last: Seq, progress: &Progress) -> u64 {
    let gaps: u64 = progress.gaps.iter().map(|gap| gap.to.0.saturating_sub(gap.from.0)).sum();
    gaps.saturating_add(last.0.saturating_sub(progress.live.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_is_what_is_not_confirmed() {
        let gaps = vec![Span { from: Seq(3), to: Seq(5) }, Span { from: Seq(8), to: Seq(9) }];
        let progress = Progress { alarms: 0, live: Seq(10), gaps };
        assert_eq!(backlog(Seq(12), &progress), 5);
        assert_eq!(backlog(Seq(0), &Progress::default()), 0);
    }
}
