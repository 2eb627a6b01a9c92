//! Care for a journal by hand: check it, copy it while it is written, make a sound one of a damaged one.
//!
//! In: the folder of a journal. Out: what was found, the copy, the new journal.
//! Invariant: `check` and `backup` only read and never hold up the writer; `repair` deletes nothing: the old files stay in `damaged-TIME`.
//! Source: faults ST-28 to ST-41, ST-59.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

use crate::clock::{Boot, Timestamp};
use crate::journal::aside::root;
use crate::journal::date::store_undated;
use crate::journal::mend::set_aside;
use crate::journal::record::Record;
use crate::journal::rows::{Commit, Inner};
use crate::journal::store::{FILE, bytes, last, open_read, text_sum};
use crate::journal::write::{BLOCK, count, store_commit, write};
use crate::journal::{Journal, OpenError, Reader, Seq, Settings, Span, StoreError, Stored, blob, chunks};

/// Readings of one page.
const PAGE: usize = 50_000;
/// Rows of one page of texts.
const TEXTS: usize = 1000;
/// Commits of one page while they are copied.
const PLACED: i64 = 1000;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Commits with readings, whole ones.
    pub groups: u64,
    /// Their readings.
    pub readings: u64,
    /// Whole transitions.
    pub transitions: u64,
    /// Whole audits.
    pub audits: u64,
    /// Records that do not match their check sum, and commits on damaged pages.
    pub damaged: u64,
    /// What SQLite says of its own structures; empty when well.
    pub structure: Vec<String>,
}

impl Health {
    fn see(&mut self, page: &[Stored], damaged: u64) {
        self.damaged = self.damaged.saturating_add(damaged);
        self.groups = self.groups.saturating_add(u64::try_from(page.len()).unwrap_or(0));
        let readings = page.iter().map(|stored| count(&stored.batches).unsigned_abs());
        self.readings = readings.fold(self.readings, u64::saturating_add);
    }

    /// Whether everything is whole.
    pub fn is_sound(&self) -> bool {
        self.damaged == 0 && self.structure.is_empty()
    }
}

/// Why care failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the text says it")]
pub enum CareError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{} is there already", path.display())]
    Exists { path: PathBuf },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

/// Reads everything and counts it. `each` is told the last commit looked at and the last one of all.
///
/// # Errors
/// No journal there, or one that cannot be opened.
pub fn check(path: &Path, each: &mut dyn FnMut(Seq, Seq)) -> Result<Health, CareError> {
    let reader = Reader::open(path)?;
    let mut health = Health::default();
    match structure(&reader) {
        Ok(found) => health.structure = found,
        Err(error) => health.structure.push(error.to_string()),
    }
    let last = reader.last()?.map_or(Seq(0), |(seq, _)| seq);
    groups(&reader, last, &mut |page, damaged| {
        health.see(&page, damaged);
        each(page.last().map_or(last, |stored| stored.seq), last);
        Ok(())
    })?;
    let before = reader.damaged();
    health.transitions = texts(|after| reader.transitions(after, TEXTS))?;
    health.audits = texts(|after| reader.audits(after, TEXTS))?;
    reader.states()?;
    reader.progress()?;
    let in_tail = reader.inner().tail.damaged;
    let in_texts = reader.damaged().saturating_sub(before);
    health.damaged = health.damaged.saturating_add(in_tail).saturating_add(in_texts);
    Ok(health)
}

fn structure(reader: &Reader) -> rusqlite::Result<Vec<String>> {
    let inner = reader.inner();
    let mut query = inner.db.prepare("PRAGMA quick_check(10)")?;
    let rows = query.query_map([], |row| row.get::<_, String>(0))?;
    Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().filter(|line| line != "ok").collect())
}

/// Every group with readings, in pages, and the damage between them.
fn groups(
    reader: &Reader,
    last: Seq,
    each: &mut dyn FnMut(Vec<Stored>, u64) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let end = Seq(last.0.saturating_add(1));
    let mut from = Seq(1);
    while from < end {
        let (stored, next, damaged) = reader.groups(Span { from, to: end }, PAGE)?;
        each(stored, damaged)?;
        from = next.max(Seq(from.0.saturating_add(1)));
    }
    Ok(())
}

fn texts<T>(mut page: impl FnMut(u64) -> Result<Vec<(u64, T)>, StoreError>) -> Result<u64, StoreError> {
    let (mut after, mut sum) = (0, 0_u64);
    loop {
        let rows = page(after)?;
        let Some((id, _)) = rows.last() else { return Ok(sum) };
        after = *id;
        sum = sum.saturating_add(u64::try_from(rows.len()).unwrap_or(0));
    }
}

/// Copies the journal in `path` into the new folder `to`, also while a gateway writes it: the copy is what was committed at one moment. Its bytes.
///
/// # Errors
/// The folder is there already, no journal, no room.
pub fn backup(path: &Path, to: &Path) -> Result<u64, CareError> {
    if to.exists() {
        return Err(CareError::Exists { path: to.to_owned() });
    }
    let reader = Reader::open(path)?;
    reader.last()?;
    let at = |source| CareError::Write { path: to.to_owned(), source };
    fs::create_dir_all(to).map_err(at)?;
    let file = to.join(FILE);
    // The journal first: what it no longer has by then is in the history.
    let copied = reader.inner().db.execute("VACUUM INTO ?1", [file.to_string_lossy()]);
    let copied = copied.and_then(|_| reader.inner().gather(&mut Connection::open(&file)?)).and_then(|()| {
        let history = path.join(chunks::FILE);
        if history.exists() {
            let history = Connection::open_with_flags(history, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            history.execute("VACUUM INTO ?1", [to.join(chunks::FILE).to_string_lossy()])?;
        }
        Ok(())
    });
    let copied = copied.map_err(StoreError::from);
    if let Err(error) = copied {
        // A part of a copy must not be taken for one.
        let _ = fs::remove_dir_all(to);
        return Err(error.into());
    }
    fs::File::open(&file).and_then(|file| file.sync_all()).map_err(at)?;
    Ok(bytes(to))
}

impl Inner {
    /// Puts the readings that stand in segments into the rows of `copy`, a copy of the database made after this reader last looked for new commits.
    fn gather(&mut self, copy: &mut Connection) -> rusqlite::Result<()> {
        if !self.shelf.is_there() {
            return Ok(());
        }
        let tx = copy.transaction()?;
        let last: Option<i64> = tx.query_row("SELECT max(seq) FROM commits", [], |row| row.get(0))?;
        let behind = |record: &&Record| record.key.seq > last.unwrap_or(0);
        let tail: Vec<Record> = self.tail.records().iter().filter(behind).cloned().collect();
        root(&tx, &tail)?;
        // A name of its own: segments that it is put beside one day say nothing to it.
        tx.execute("UPDATE meta SET value = lower(hex(randomblob(8))) WHERE key = 'segments'", [])?;
        let mut after = 0;
        loop {
            let rows: Vec<Commit> = tx
                .prepare_cached(&format!(
                    "SELECT {} FROM commits WHERE seq > ?1 AND place IS NOT NULL ORDER BY seq LIMIT ?2",
                    self.columns()
                ))?
                .query_map([after, PLACED], Commit::from_row)?
                .collect::<rusqlite::Result<_>>()?;
            let Some(row) = rows.last() else { break };
            after = row.key.seq;
            for commit in rows {
                let (seq, readings) = (commit.key.seq, commit.key.readings);
                let bytes = self.bytes(commit)?;
                let row = "UPDATE commits SET blob = ?2, place = NULL, bytes = NULL WHERE seq = ?1";
                if bytes.is_empty() && readings > 0 && self.is_gone(seq)? {
                    // What the journal let go of meanwhile is in the history.
                    tx.prepare_cached("DELETE FROM commits WHERE seq = ?1")?.execute([seq])?;
                } else {
                    let blob = (readings > 0).then_some(bytes);
                    tx.prepare_cached(row)?.execute(params![seq, blob])?;
                }
            }
        }
        tx.commit()
    }
}

/// Moves a damaged journal aside and makes a new one of everything whole in it, with the same numbers. Where the old one stands now, and what
/// is in the new one.
///
/// # Errors
/// A gateway runs on it, or the disk refuses; the old files are where they were or in `damaged-TIME`.
pub fn repair(settings: &Settings, now: Timestamp) -> Result<(PathBuf, Health), CareError> {
    let aside = set_aside(&settings.path, now)?;
    let mut journal = Journal::open(settings)?;
    let reader = Reader::open(&aside)?;
    journal.adopt_id(&reader.id()?)?;
    let mut health = Health::default();
    let end = reader.last()?.map_or(Seq(0), |(seq, _)| seq);
    groups(&reader, end, &mut |page, damaged| {
        health.see(&page, damaged);
        journal.adopt(&page)
    })?;
    journal.adopt_undated(&aside)?;
    let before = reader.damaged();
    health.transitions = texts(|after| {
        let page = reader.transitions(after, TEXTS)?;
        let row =
            |(id, one): &(u64, crate::alarm::Transition)| (*id, one.alarm.rule.clone(), one.at, text(one));
        journal.adopt_texts(
            "INSERT INTO transitions (id, seq, rule, at, json, crc) VALUES (?1, 0, ?2, ?3, ?4, ?5)",
            page.iter().map(row),
        )?;
        Ok(page)
    })?;
    health.audits = texts(|after| {
        let page = reader.audits(after, TEXTS)?;
        let row = |(id, one): &(u64, crate::journal::Audit)| (*id, one.device.clone(), one.at, text(one));
        journal.adopt_texts(
            "INSERT INTO audits (id, seq, device, at, json, crc) VALUES (?1, 0, ?2, ?3, ?4, ?5)",
            page.iter().map(row),
        )?;
        Ok(page)
    })?;
    let group = crate::journal::Group {
        now: reader.last()?.map_or(now, |(_, at)| at),
        states: reader.states()?,
        progress: reader.progress()?.into_iter().collect(),
        memories: reader.memories()?.into_iter().collect(),
        ..crate::journal::Group::default()
    };
    health.damaged = health.damaged.saturating_add(reader.damaged().saturating_sub(before));
    journal.settle(end)?;
    journal.commit(&group)?;
    Ok((aside, health))
}

fn text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain structs without maps always have a JSON text")
}

impl Journal {
    /// Takes groups of another journal, with their numbers.
    fn adopt(&mut self, page: &[Stored]) -> Result<(), StoreError> {
        for stored in page {
            if !self.sites.contains_key(&stored.catalog.version) {
                self.keep_site(&stored.catalog, &[], stored.now)?;
            }
        }
        let Self { db, blob, sites, .. } = self;
        write(db, |tx| {
            for stored in page {
                let site = sites.get(&stored.catalog.version).copied().unwrap_or(0);
                let (seq, now) = (stored.seq.0.cast_signed(), stored.now.as_millis());
                let key = blob::Key { seq, now, site, readings: count(&stored.batches) };
                store_commit(tx, key, &stored.batches, blob)?;
            }
            Ok(())
        })
    }

    /// Takes what waits for its time in the journal of folder `aside`.
    fn adopt_undated(&mut self, aside: &Path) -> Result<(), StoreError> {
        let Ok(old) = open_read(aside) else { return Ok(()) };
        if !old.table_exists(None, "undated")? {
            return Ok(());
        }
        let mut query = old.prepare(
            "SELECT undated.id, boot, origin, undated.now, version, readings, blob, site
             FROM undated JOIN sites ON sites.id = site ORDER BY undated.id",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (seq, now, version): (i64, i64, String) = (row.get(0)?, row.get(3)?, row.get(4)?);
            let key = blob::Key { seq, now, site: row.get(7)?, readings: row.get(5)? };
            let bytes: Vec<u8> = row.get(6)?;
            let (Some(batches), Some(site)) = (blob::parse(key, &bytes), self.sites.get(&version).copied())
            else {
                continue;
            };
            let boot = Boot { id: row.get::<_, String>(1)?.into(), at: Timestamp::from_millis(row.get(2)?) };
            let Self { db, blob, .. } = self;
            write(db, |tx| store_undated(tx, &boot, blob::Key { site, ..key }, &batches, blob))?;
        }
        Ok(())
    }

    /// Takes the name of the journal whose numbers it takes: what is sealed of them stays sealed.
    fn adopt_id(&mut self, id: &str) -> Result<(), StoreError> {
        if !id.is_empty() {
            self.db.execute("UPDATE meta SET value = ?1 WHERE key = 'id'", [id])?;
        }
        Ok(())
    }

    fn adopt_texts(
        &mut self,
        insert: &str,
        rows: impl Iterator<Item = (u64, String, Timestamp, String)>,
    ) -> Result<(), StoreError> {
        write(&mut self.db, |tx| {
            for (id, key, at, text) in rows {
                tx.prepare_cached(insert)?.execute(params![
                    id.cast_signed(),
                    key,
                    at.as_millis(),
                    text,
                    text_sum(&key, &text)
                ])?;
            }
            Ok(())
        })
    }

    /// Goes on after number `end`, with the blocks of what was adopted.
    fn settle(&mut self, end: Seq) -> Result<(), StoreError> {
        write(&mut self.db, |tx| {
            tx.execute("DELETE FROM blocks", [])?;
            tx.execute(
                "INSERT INTO blocks SELECT seq / ?1, min(earliest), max(latest) FROM commits
                 WHERE seq / ?1 < ?2 / ?1 GROUP BY seq / ?1",
                [BLOCK, end.0.cast_signed()],
            )
        })?;
        self.rooted = last(&self.db)?.map_or(0, |(seq, _)| seq.cast_unsigned());
        self.last = self.rooted.max(end.0);
        Ok(())
    }
}
