//! A simulated device: the answer that a real one with this profile would give at a time.
//!
//! In: the device's profile, its scripted signals, faults and versions, a request, the time since the start. Out: cells, an exception or silence.
//! Invariant: a pure function of script, time, the kills of [`Control`] and what the device remembers in [`Memory`]; never more cells than
//! asked for.
//! Source: Modbus Application Protocol V1.1b3, 6.1 to 6.4 (exceptions 2 and 3); register fact files (holes inside a block read as 0).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::bus::{Read, Slave, Table};
use crate::profile::firmware::{Firmware, Form, Told};
use crate::profile::trigger::Act;
use crate::profile::{Field, Kind, Profile};
use crate::sim::encode::{self, Others};
use crate::sim::script::{Fault, Trouble};
use crate::sim::signal::Signal;
use crate::sim::wire::Habits;
use crate::unit::Unit;

/// Which simulated devices a person has switched off.
#[derive(Debug, Default)]
pub struct Control(Mutex<BTreeSet<String>>);

impl Control {
    /// Nothing is switched off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Switches a device off: it answers nothing.
    pub fn kill(&self, device: &str) {
        self.off().insert(device.to_owned());
    }

    /// Switches it on again.
    pub fn revive(&self, device: &str) {
        self.off().remove(device);
    }

    /// Whether it is switched off.
    pub fn killed(&self, device: &str) -> bool {
        self.off().contains(device)
    }

    fn off(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A signal as the script gives it, with the unit of its numbers (`None`: the field's raw unit).
pub type FieldSignal = (Signal, Option<Unit>);

/// One simulated device.
#[derive(Clone, Debug, PartialEq)]
pub struct SimDevice {
    /// Its name in the site.
    pub name: String,
    /// Its address.
    pub slave: Slave,
    /// Its model.
    pub profile: Profile,
    /// For each field of the profile: how it moves; the others stand still.
    pub signals: Vec<Option<FieldSignal>>,
    /// What breaks of it.
    pub faults: Vec<Fault>,
    /// What its firmware changes of `profile`.
    pub firmware: Firmware,
    /// Which firmware it has from when on, by rising time; before the first one, and without any, the model before any overlay.
    pub versions: Vec<(Duration, String)>,
}

/// What a device remembers between requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// When each trigger was written last: the measurement before, and this one.
    triggered: BTreeMap<String, (Option<Duration>, Duration)>,
    /// Reads that were refused first, and when.
    begun: BTreeMap<(Table, u16, u16), Duration>,
    /// When it was last spoken to.
    spoken: Option<Duration>,
}

/// A sleeper falls asleep after so much silence.
const SLEEPY: Duration = Duration::from_millis(500);

/// What a device says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// One cell for each asked for; coils and discrete inputs are 0 or 1.
    Cells(Vec<u16>),
    /// A refusal with this code.
    Exception(u8),
    /// Nothing.
    Silence,
}

impl SimDevice {
    /// The answer to `read` at `time` of a device that remembers: it may refuse or sleep through a first read, it has the firmware of that
    /// time, and points behind a trigger stand still until it is written.
    pub fn remembered(&self, read: Read, time: Duration, memory: &mut Memory) -> Answer {
        let current = self.at_version(time);
        let woken = current.wakes(read, time, memory);
        memory.spoken = Some(time);
        if let Err(instead) = woken {
            return instead;
        }
        current.answer_of(read, time, |index| current.measured(index, time, memory))
    }

    /// The answer to a write: done when it is one of the profile's triggers, refused with exception 2 otherwise.
    pub fn write(&self, act: &Act, time: Duration, memory: &mut Memory) -> Result<(), Answer> {
        memory.spoken = Some(time);
        for trouble in self.troubles(time) {
            match trouble {
                Trouble::Dead => return Err(Answer::Silence),
                Trouble::Exception(code) => return Err(Answer::Exception(*code)),
                _ => {}
            }
        }
        if self.profile.triggers.is_empty() {
            return Err(Answer::Exception(1));
        }
        let found = self.profile.triggers.iter().find(|trigger| trigger.act == *act);
        let Some(trigger) = found else { return Err(Answer::Exception(2)) };
        let before = memory
            .triggered
            .get(&trigger.name)
            .and_then(|(before, at)| if *at + trigger.wait <= time { Some(*at) } else { *before });
        memory.triggered.insert(trigger.name.clone(), (before, time));
        Ok(())
    }

    /// The version that it tells at `time`: the script's, the one that the site names, or what its registers spell when they are zero.
    pub fn version(&self, time: Duration) -> String {
        let now = self.versions.iter().rev().find(|(from, _)| *from <= time).map(|(_, version)| version);
        let zero = || self.version_field().map(|(field, form)| form.emit(0, usize::from(field.count) * 2));
        now.or(self.firmware.named.as_ref()).cloned().or_else(zero).unwrap_or_default()
    }

    /// This device with the fields and limits that it has at `time`; what it lacks doesn't exist.
    fn at_version(&self, time: Duration) -> Cow<'_, Self> {
        let version = self.version(time);
        if version.is_empty() {
            return Cow::Borrowed(self);
        }
        let Ok(variant) = self.firmware.variant(Some(&version)) else { return Cow::Borrowed(self) };
        let mut own = self.clone();
        own.profile.limits = variant.limits;
        own.profile.fields = variant.fields;
        for (field, absent) in own.profile.fields.iter_mut().zip(variant.absent) {
            if absent {
                // No request ever touches it.
                field.count = 0;
            }
        }
        Cow::Owned(own)
    }

    /// Whether it is awake for this read; what it says instead when not.
    fn wakes(&self, read: Read, time: Duration, memory: &mut Memory) -> Result<(), Answer> {
        let Some(wake) = self.profile.limits.wake else { return Ok(()) };
        if wake.silence && memory.spoken.is_none_or(|spoken| spoken + SLEEPY <= time) {
            return Err(Answer::Silence);
        }
        let Some(code) = wake.exception else { return Ok(()) };
        let key = (read.table, read.address, read.count);
        match memory.begun.get(&key) {
            Some(begun) if *begun + wake.wait <= time => {
                memory.begun.remove(&key);
                Ok(())
            }
            Some(_) => Err(Answer::Exception(code)),
            None => {
                memory.begun.insert(key, time);
                Err(Answer::Exception(code))
            }
        }
    }

    /// When the value of a field that is read at `time` was measured: at the start for one whose trigger was never written.
    fn measured(&self, index: usize, time: Duration, memory: &Memory) -> Duration {
        let own = self.profile.triggers.iter().filter(|trigger| trigger.before.contains(&index));
        let measured = own.map(|trigger| match memory.triggered.get(&trigger.name) {
            Some((_, at)) if *at + trigger.wait <= time => *at,
            Some((before, _)) => before.unwrap_or_default(),
            None => Duration::ZERO,
        });
        measured.min().unwrap_or(time)
    }

    /// The answer to `read` at `time` after the start.
    pub fn answer(&self, read: Read, time: Duration) -> Answer {
        self.answer_of(read, time, |_| time)
    }

    /// The same with the time at which each field was measured.
    fn answer_of(&self, read: Read, time: Duration, measured: impl Fn(usize) -> Duration) -> Answer {
        for trouble in self.troubles(time) {
            match trouble {
                Trouble::Dead => return Answer::Silence,
                Trouble::Exception(code) => return Answer::Exception(*code),
                _ => {}
            }
        }
        match self.refusal(read) {
            Some(code) => Answer::Exception(code),
            None if self.tells(read) => Answer::Cells(self.version_cells(time)),
            None => Answer::Cells(self.cells(read, measured)),
        }
    }

    /// What its troubles do to the bytes of its line at `time`.
    pub fn habits(&self, time: Duration) -> Habits {
        let mut habits = Habits::default();
        for trouble in self.troubles(time) {
            match trouble {
                Trouble::Delay(by) => habits.delay = *by,
                Trouble::Cut(bytes) => habits.cut = Some(*bytes),
                Trouble::Flip(share) => habits.flip = *share,
                Trouble::Babble(every) => habits.babble = Some(*every),
                Trouble::Echo => habits.echo = true,
                Trouble::Dead | Trouble::Exception(_) | Trouble::Sensor { .. } => {}
            }
        }
        habits
    }

    pub(crate) fn troubles(&self, time: Duration) -> impl Iterator<Item = &Trouble> {
        let active = move |fault: &&Fault| fault.at <= time && time < fault.until;
        self.faults.iter().filter(active).map(|fault| &fault.trouble)
    }

    /// The exception code of a read that the device cannot serve.
    fn refusal(&self, read: Read) -> Option<u8> {
        let bits = matches!(read.table, Table::Coil | Table::Discrete);
        if !bits && read.count > self.profile.limits.registers_per_read {
            return Some(3);
        }
        let same = |field: &Field| field.address == read.address && field.count == read.count;
        let there = |field: &&Field| field.table == read.table && field.count > 0;
        let mut fields = self.profile.fields.iter().filter(there);
        if self.tells(read) {
            return None;
        }
        if self.profile.limits.single_register && !fields.clone().any(same) {
            return Some(2);
        }
        let begin = u32::from(read.address);
        let end = begin + u32::from(read.count);
        let first = fields.clone().map(|field| u32::from(field.address)).min().unwrap_or(u32::MAX);
        let last = fields.clone().map(end_of).max().unwrap_or(0);
        let touched = fields.any(|field| u32::from(field.address) < end && begin < end_of(field));
        (begin < first || last < end || !touched).then_some(2)
    }

    /// Whether `read` asks for the version.
    fn tells(&self, read: Read) -> bool {
        self.version_field().is_some_and(|(field, _)| {
            (field.table, field.address, field.count) == (read.table, read.address, read.count)
        })
    }

    fn version_field(&self) -> Option<(&Field, &Form)> {
        match &self.firmware.telling.as_ref()?.from {
            Told::Cells(field, form) => Some((field, form)),
            Told::Identity(_) => None,
        }
    }

    fn version_cells(&self, time: Duration) -> Vec<u16> {
        let Some((field, form)) = self.version_field() else { return Vec::new() };
        let mut cells = vec![0; usize::from(field.count)];
        let version = self.version(time);
        if field.kind == Kind::Ascii {
            encode::put_text(field, &version, &mut cells);
        } else if let Some(number) =
            form.number(&version, cells.len() * 2).and_then(|number| u32::try_from(number).ok())
        {
            encode::put_number(field, f64::from(number), &mut cells);
        }
        cells
    }

    fn cells(&self, read: Read, measured: impl Fn(usize) -> Duration) -> Vec<u16> {
        let mut cells = vec![0; usize::from(read.count)];
        for (index, field) in self.profile.fields.iter().enumerate() {
            if field.table != read.table {
                continue;
            }
            // A field that the request cuts in two is written whole and copied in part.
            let mut own: Vec<u16> = (0..field.count)
                .map(|nth| place(read, field, nth).and_then(|at| cells.get(at)).copied().unwrap_or(0))
                .collect();
            self.put(index, field, measured(index), &mut own);
            for (nth, cell) in (0..field.count).zip(own) {
                if let Some(into) = place(read, field, nth).and_then(|at| cells.get_mut(at)) {
                    *into = cell;
                }
            }
        }
        cells
    }

    fn put(&self, index: usize, field: &Field, time: Duration, cells: &mut [u16]) {
        for trouble in self.troubles(time) {
            if let Trouble::Sensor { field: name, means } = trouble
                && *name == field.name
                && encode::put_fault(field, means, cells)
            {
                return;
            }
        }
        if field.kind == Kind::Ascii && self.signal(index).is_none() {
            return encode::put_text(field, &self.name, cells);
        }
        let number =
            |other: Option<usize>| other.map_or(0.0, |other| self.raw(other, Others::default(), time));
        let default = Others::default();
        let scale = field.scale_from.as_ref().and_then(|by| by.of(number(Some(by.field)))).copied();
        let unit = field.unit_from.as_ref().and_then(|by| by.of(number(Some(by.field)))).copied();
        let others = Others {
            decimals: number(field.decimals_from),
            pre_offset: number(field.pre_offset_from),
            scale: scale.unwrap_or(default.scale),
            unit: unit.unwrap_or(default.unit),
        };
        let raw = self.raw(index, others, time);
        match field.order_from.as_ref().and_then(|by| field.ordered(number(Some(by.field)))) {
            Some(ordered) => encode::put_number(&ordered, raw, cells),
            None => encode::put_number(field, raw, cells),
        }
    }

    fn signal(&self, index: usize) -> Option<&FieldSignal> {
        self.signals.get(index).and_then(Option::as_ref)
    }

    /// The raw number of a field.
    pub(crate) fn raw(&self, index: usize, others: Others, time: Duration) -> f64 {
        let Some(field) = self.profile.fields.get(index) else { return 0.0 };
        if let Some((signal, unit)) = self.signal(index) {
            let number = signal.at(time);
            let value =
                unit.zip(field.unit).and_then(|(from, to)| from.convert(number, to)).unwrap_or(number);
            return encode::unscale(field, value, others);
        }
        // A field that others depend on rests where they are valid.
        let wanted = self.profile.fields.iter().find_map(|other| helpful(other, index));
        wanted.unwrap_or_else(|| encode::unscale(field, resting(field), others))
    }
}

/// What a device of this model measures when nobody says anything: the middle of each range, to the digits that are shown.
pub(crate) fn middling(profile: &Profile) -> Vec<Option<FieldSignal>> {
    let middle = |(index, field): (usize, &Field)| {
        let needed = profile.fields.iter().any(|other| helpful(other, index).is_some());
        let (low, high) = field.range.filter(|_| !needed && field.states.is_empty())?;
        let step = 10_f64.powi(field.resolved().unwrap_or(2).into());
        let middle = ((low + (high - low) / 2.0) * step).round() / step;
        Some((Signal::constant(middle.clamp(low, high)), None))
    };
    profile.fields.iter().enumerate().map(middle).collect()
}

/// A raw number of field `index` with which `other` has a value.
fn helpful(other: &Field, index: usize) -> Option<f64> {
    let gate = other.valid_when.iter().find(|gate| gate.field == index).map(|gate| gate.holds.example());
    let first = |field: usize, number: Option<f64>| number.filter(|_| field == index);
    let order = other.order_from.as_ref().and_then(|by| first(by.field, by.cases.first().map(|case| case.0)));
    let scale = other.scale_from.as_ref().and_then(|by| first(by.field, by.cases.first().map(|case| case.0)));
    let unit = other.unit_from.as_ref().and_then(|by| first(by.field, by.cases.first().map(|case| case.0)));
    gate.or(order).or(scale).or(unit)
}

/// The value of a field that the script doesn't move: a legal one nearest to 0.
fn resting(field: &Field) -> f64 {
    if let Some((first, _)) = field.states.first()
        && !field.states.iter().any(|(code, _)| *code == 0)
    {
        return i32::try_from(*first).map_or(0.0, f64::from);
    }
    let inside = field.current_loop.map_or(0.0, |span| clamp(0.0, span.out_lo, span.out_hi));
    field.range.map_or(inside, |(low, high)| clamp(inside, low, high))
}

fn clamp(value: f64, one: f64, other: f64) -> f64 {
    value.max(one.min(other)).min(one.max(other))
}

/// Where the `nth` cell of a field stands in the answer.
fn place(read: Read, field: &Field, nth: u16) -> Option<usize> {
    let at = u32::from(field.address) + u32::from(nth);
    at.checked_sub(u32::from(read.address)).and_then(|at| usize::try_from(at).ok())
}

fn end_of(field: &Field) -> u32 {
    u32::from(field.address) + u32::from(field.count)
}
