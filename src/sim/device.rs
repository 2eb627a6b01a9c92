//! A simulated device: the answer that a real one with this profile would give at a time.
//!
//! In: the device's profile, its scripted signals and faults, a read request and the time since the start. Out: cells, an exception or silence.
//! Invariant: a pure function of script, time and the kills of [`Control`]; never more cells than asked for.
//! Source: Modbus Application Protocol V1.1b3, 6.1 to 6.4 (exceptions 2 and 3); register fact files (holes inside a block read as 0).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::bus::{Read, Slave, Table};
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
}

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
    /// The answer to `read` at `time` after the start.
    pub fn answer(&self, read: Read, time: Duration) -> Answer {
        for trouble in self.troubles(time) {
            match trouble {
                Trouble::Dead => return Answer::Silence,
                Trouble::Exception(code) => return Answer::Exception(*code),
                _ => {}
            }
        }
        match self.refusal(read) {
            Some(code) => Answer::Exception(code),
            None => Answer::Cells(self.cells(read, time)),
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
        let mut fields = self.profile.fields.iter().filter(|field| field.table == read.table);
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

    fn cells(&self, read: Read, time: Duration) -> Vec<u16> {
        let mut cells = vec![0; usize::from(read.count)];
        for (index, field) in self.profile.fields.iter().enumerate() {
            if field.table != read.table {
                continue;
            }
            // A field that the request cuts in two is written whole and copied in part.
            let mut own: Vec<u16> = (0..field.count)
                .map(|nth| place(read, field, nth).and_then(|at| cells.get(at)).copied().unwrap_or(0))
                .collect();
            self.write(index, field, time, &mut own);
            for (nth, cell) in (0..field.count).zip(own) {
                if let Some(into) = place(read, field, nth).and_then(|at| cells.get_mut(at)) {
                    *into = cell;
                }
            }
        }
        cells
    }

    fn write(&self, index: usize, field: &Field, time: Duration, cells: &mut [u16]) {
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
        let others =
            Others { decimals: number(field.decimals_from), pre_offset: number(field.pre_offset_from) };
        encode::put_number(field, self.raw(index, others, time), cells);
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
        let mut conditions = self.profile.fields.iter().filter_map(|other| other.valid_when);
        match conditions.find(|(on, _)| *on == index) {
            Some((_, wanted)) => wanted,
            None => encode::unscale(field, resting(field), others),
        }
    }
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
