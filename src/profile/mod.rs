//! What a device model's registers mean. Plain data: `site` reads it from TOML.
//!
//! In: the documents in `firmware-profiles/`, read by `site`. Out: [`Profile`]s for `poll`, `decode`, `normalize` and `sim`.
//! Invariant: what a type or address is called is said here alone; a profile knows no site.
//! Source: DESIGN section 6; a manual's 1-based literals exist only here, everything else has the 0-based wire address.
//!
//! # The keys of a profile document
//!
//! Anything else is an unknown key. Point names are kebab-case (`_` is turned into `-`). Numbers may be TOML integers or floats.
//!
//! | table | keys |
//! |---|---|
//! | `[profile]` | `name`, `class` (one of [`CLASSES`]), `maker`, `source`: required. `model`, `serial` (`"9600 8N1"`), `slave` (factory address), `versions` (scheme of firmware versions, [`version::Scheme`]: `semantic`, `class.group-year.week`, `number`, `text`), `quirks` and `uncertain` (lists of sentences: what surprises whoever wires or reads it; what of the map is not proved), `note` |
//! | `[version]` | where a device tells its version: `at` with `type` (`u16`, `u32`, `u64`, `u8h`, `u8l`, `bcd` or `ascii`), `count`, `order` and `format` ([`firmware::Form`], left out: `"{n}"`), or `identity` (object of FC 43/14, 2 the standard's). `refused` (the version of a device that refuses this request), `note` |
//! | `[limits]` | `registers_per_read`, `gap`, `quiet` (`"300ms"`), `timeout` (`"1s"`), `single_register`, `any_unit` (Modbus TCP: answers with another unit), `wake` ([`Wake`]) |
//! | `[[point]]` | `name`, `at`, `type`: required. `count`, `order`, `scale`, `offset`, `decimals_from`, `pre_offset_from`, `order_from`, `scale_from`, `unit_from`, `repeat`, `loop`, `unit`, `range`, `tolerance`, `faults`, `bits`, `invert`, `one_hot`, `states`, `valid_when`, `destructive`, `hidden`, `decimals`, `note` |
//! | `[text]` | a sensor that speaks lines of text: `mode`, `pattern`: required. `command`, `terminator`, `checksum`, `gap`, `period`, `timeout` |
//! | `[[firmware]]` | `versions` (`">=5.20-10.40, <5.20-12.28"`, [`version::matches`]): required. `limits.*` as above, `without = ["point", ...]` (points that these versions don't have), `[[firmware.point]]` (replaces the point of the same `name` whole, or adds one), `note` |
//! | `[[trigger]]` | a write that the device needs in order to measure ([`trigger::Trigger`]); a site allows it by name, `allow = ["measure"]`. `name`, `write`, `wait`, `before` (points that serve old values without it): required. `note` |
//! | `[[never]]` | cells that must not be written by chance: `write` (`"holding 0x00E4"`) and `why`: required. `count`. A trigger that touches them is refused; a point whose read acts is `destructive` |
//! | `[[vector]]` | `registers`, or `text` of a text sensor: required. `expect`, `expect_state`, `expect_fault`, `tol`, `from` (`maker` or `worked`), `firmware` (the version it is of; left out: the model before any overlay), `note` |
//!
//! Values of a point's keys:
//!
//! | key | value |
//! |---|---|
//! | `at` | `"holding 0x0002"`, `"input 5"`, `"discrete 0"`, `"coil 0"`: table and wire address; or a manual's literal, `"40003"`, `"30001"`, `"10001"`, `"400003"` ([`at::At::parse`]) |
//! | `type` | [`Kind::parse`]; `bits` needs the key `bits` |
//! | `count` | registers; left out: [`Kind::cells`] (`ascii`, `bcd` over one register and `bits` over one register name it) |
//! | `order` | `"CDAB"`: letters in the order of arrival, [`Order::parse`]; left out: natural |
//! | `decimals_from`, `pre_offset_from` | name of another point of the profile |
//! | `order_from` | `{ point = "byte-order", "0" = "ABCD", "1" = "CDAB" }`: the order that this point's number names; another number is a fault |
//! | `scale_from` | `{ point = "sensor-type", "4" = 1, "5" = 0.1 }`: a factor beside `scale` |
//! | `unit_from` | `{ point = "unit-code", "0" = "m", "1" = "mm" }`: the device's unit; range and vectors are in `unit`, which stands beside it. Numbers may be hexadecimal: text in registers is a `u32`, `"0x62617267"` is `barg` |
//! | `repeat` | `{ to = 32, step = 2 }`: the section stands for a point for each number `from` (1) to `to`, addresses `step` apart; `{n}` in its `name` and in the names of points that it takes from is the number |
//! | `loop` | `{ lo = 4.0, hi = 20.0, out_lo = 0.0, out_hi = 1.0 }` |
//! | `range` | `[-1.0, 300.0]`, in the raw unit |
//! | `faults` | `[{ is = "nan", means = "inactive" }, { raw = "0x7FFF", means = "..." }]`; `is` is `nan`, `+inf` or `-inf`; `raw` a text (hexadecimal or decimal) or an integer; `exception = 2`: the refusal of its read with this code |
//! | `bits` | `[low, high]`, bit 0 the lowest, `high` included; on `type = "bits"` only |
//! | `destructive` | `true`: reading it changes the device. It is read only where a site's `points` names it, and never to bridge a hole |
//! | `states` | `{ "0" = "open", "1" = "closed" }` |
//! | `valid_when` | `{ point = "status", is = 3 }`, `is = [1, 2]`, or `min` and `max` (`{ point = "age", max = 60 }`); a list of such when all must hold |
//! | `wake` | `{ exception = 5, wait = "200ms", tries = 10 }`: a read refused with this code is asked again after the wait, so many times; `{ silence = true, ... }`: the same for a first read of a poll that gets no answer |
//! | `write` | `{ register = 0x0118, value = 1 }` (FC 6), `{ register = 0x0118, values = [1, 2] }` (FC 16) or `{ coil = 3, on = true }` (FC 5) |
//! | `decimals` | digits after the point that count, in `unit`; they are shown in the unit that readings are kept in (1 of m3/h are 5 of m3/s). Left out: 0 for a state, `bool`, `bits` and a whole number without scale, else 2, and 2 of the kept unit at least |
//!
//! Values of the keys of `[text]`, and what changes for the points of such a profile:
//!
//! | key | value |
//! |---|---|
//! | `mode` | `ask` (it answers `command`) or `stream` (it speaks by itself) |
//! | `command` | `"{slave}R2\r\n"`; `{slave}` is the device's `slave`, `{check}` the check sum of what stands before it |
//! | `terminator` | what ends a line, 1 to 4 bytes; left out: `"\r\n"` |
//! | `pattern` | `'^R(?P<level>\d{4})$'`: the whole line without terminator and check, anchored at both ends; each named group is a word for a point. `{slave}` as above |
//! | `checksum` | `none`, `xor-hex`, `sum8-hex`, `crc16-hex`, `crc16-sdi12`; which bytes it covers: [`crate::bus::checksum::Checksum`]. Without one a line that lost its front must not fit the pattern |
//! | `gap` | `"100ms"`: a silence this long inside a line spoils it; before a command the line is silent for this long |
//! | `period` | how often a streaming sensor speaks, `"1s"` |
//! | `timeout` | of an answer; of a streaming sensor: how much later than its poll a line may come |
//! | a point's `at` | `"text level"`: the group's name; `type`, `count`, `order`, `bits`, `invert`, `one_hot` and `destructive` don't exist. A group that took no part in the line is the fault `no value` |
//! | a point's `faults` | `[{ text = "9999", means = "no-target" }]` |
//! | a vector's `text` | one line without its terminator, from a device with the address `[profile] slave`. A line that must be refused: `expect_fault = { level = "bad-frame" }` |
//!
//! A vector's `registers` is `{ "holding 0x0100" = ["0x3F75", "0xE3D2"] }` (hexadecimal text or integers; cells of `discrete` and `coil` are 0 or 1),
//! `expect = { p1 = 0.960508 }` a number in the raw unit within `tol` (left out: 1e-9 of the number, at least 1e-9),
//! `expect_state = { car-state = "running" }`, `expect_fault = { p1 = "inactive" }`.

pub mod at;
pub mod names;
pub mod depend;
mod digits;
pub mod version;
pub mod trigger;
pub mod firmware;

use std::sync::Arc;
use std::time::Duration;

use crate::bus::text::Format;
use crate::bus::{SerialFormat, Table};
use crate::profile::depend::{Choice, Conversion, Gate};
use crate::profile::trigger::Trigger;
use crate::unit::Unit;

/// Sensor classes, a closed list: they name measurements (`gas_pressure`) and choose canonical units.
pub const CLASSES: [&str; 15] = [
    "gas-pressure",
    "gas-concentration",
    "gas-flow",
    "water-level",
    "rain",
    "water-flow",
    "displacement",
    "crack",
    "tilt",
    "soil",
    "vibration",
    "elevator",
    "power",
    "io",
    "climate",
];

/// Type of the raw number in the registers. Names as in documents: u8h u8l i8h i8l u16 i16 u32 i32 u64 i64 f32 f64 bool bits ascii bcd m10k sm16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// High byte, unsigned.
    U8h,
    /// Low byte, unsigned.
    U8l,
    /// High byte, signed.
    I8h,
    /// Low byte, signed.
    I8l,
    /// 16 bits unsigned.
    U16,
    /// 16 bits, two's complement.
    I16,
    /// 32 bits unsigned.
    U32,
    /// 32 bits, two's complement.
    I32,
    /// 64 bits unsigned.
    U64,
    /// 64 bits, two's complement.
    I64,
    /// IEEE 754 single.
    F32,
    /// IEEE 754 double.
    F64,
    /// A coil or input, or a register that is 0 or 1 (0xFF00 is 1 too).
    Bool,
    /// The bits `low..=high` of the registers as one unsigned number; bit 0 is the lowest.
    Bits {
        /// Lowest bit.
        low: u8,
        /// Highest bit, included.
        high: u8,
    },
    /// Text; as a number, the number that it spells.
    Ascii,
    /// Four decimal digits to a register.
    Bcd,
    /// High register times 10,000 and low register.
    M10k,
    /// Sign bit and 15 bits of magnitude.
    Sm16,
}

/// Order in which the bytes of a value arrive, A the most significant: `order[i]` is the letter's index (0 = A) at place i.
/// Empty means the natural order (ABCD...).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Order(pub Vec<u8>);

/// A raw value that is a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultMatch {
    /// Exact unsigned bits after re-ordering (of `bits` the group, of `u8h` the byte).
    Raw(u64),
    /// Not a number.
    Nan,
    /// Plus infinity.
    PlusInf,
    /// Minus infinity.
    MinusInf,
    /// The word of a text sensor, or a word that spells the same number.
    Text(String),
    /// The read is refused with this code.
    Exception(u8),
}

/// A fault and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The pattern.
    pub matches: FaultMatch,
    /// Its name for people.
    pub means: Arc<str>,
}

/// Current loop or other two-point scaling: the number (after scale, in mA or another unit) `lo..hi` is `out_lo..out_hi`. What a live
/// zero (`lo` above zero, 4..20 mA) says of wire break and saturation: NAMUR NE 43, see `normalize`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loop {
    /// Raw number at the low end, 4 (mA).
    pub lo: f64,
    /// Raw number at the high end, 20 (mA).
    pub hi: f64,
    /// Value at the low end, in the field's unit.
    pub out_lo: f64,
    /// Value at the high end, in the field's unit.
    pub out_hi: f64,
}

/// One point of a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Kebab-case (documents may write snake_case; `site` turns `_` into `-`).
    pub name: String,
    /// Of a text sensor: the named group of the pattern whose word this is. Table, address, count and type mean nothing then.
    pub group: Option<String>,
    /// Table and first wire address.
    pub table: Table,
    /// 0-based wire address.
    pub address: u16,
    /// Cells asked for.
    pub count: u16,
    /// Raw type.
    pub kind: Kind,
    /// Byte order.
    pub order: Order,
    /// value = (raw + pre_offset) * scale / 10^decimals + offset.
    pub scale: f64,
    /// See `scale`.
    pub offset: f64,
    /// Byte order by another field, instead of `order`.
    pub order_from: Option<Choice<Order>>,
    /// A factor beside `scale` by another field.
    pub scale_from: Option<Choice<f64>>,
    /// The device's unit by another field; what leaves here is in `unit`.
    pub unit_from: Option<Choice<Conversion>>,
    /// Index of the field whose number is the decimals.
    pub decimals_from: Option<usize>,
    /// Index of the field whose number is added to the raw number.
    pub pre_offset_from: Option<usize>,
    /// Two-point scaling after `scale`.
    pub current_loop: Option<Loop>,
    /// The raw unit; `None` for a bare number or a state.
    pub unit: Option<Unit>,
    /// Legal span in the raw unit.
    pub range: Option<(f64, f64)>,
    /// Width of the band outside `range` in which a value is doubtful and not bad, in the raw unit.
    pub tolerance: f64,
    /// Fault patterns on raw bits.
    pub faults: Vec<Fault>,
    /// Bit meaning is turned round (bool and bits).
    pub invert: bool,
    /// Value is the position of the single set bit.
    pub one_hot: bool,
    /// Names of states; when not empty a code that is not in it is a fault.
    pub states: Vec<(i64, String)>,
    /// Valid only while all of these hold.
    pub valid_when: Vec<Gate>,
    /// Reading it changes the device: never read as a hole, only where a site names the point.
    pub destructive: bool,
    /// Read for others (decimals, validity) and not a point of its own.
    pub hidden: bool,
    /// Digits after the point that count, in `unit`; what is shown of them: [`Field::digits`].
    pub decimals: Option<u8>,
}

/// What the device bears on its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest register read.
    pub registers_per_read: u16,
    /// Registers worth reading over instead of a second request.
    pub gap: u16,
    /// Silence before each request beside t3.5.
    pub quiet: Duration,
    /// Answer time out.
    pub timeout: Option<Duration>,
    /// One value for each request.
    pub single_register: bool,
    /// Requests that it takes at once over Modbus TCP.
    pub pipeline: u8,
    /// Over Modbus TCP it answers with another unit than it was asked by.
    pub any_unit: bool,
    /// The first request may be refused, and is asked again.
    pub wake: Option<Wake>,
}

/// A device whose first answer is no answer yet: it begins to measure, or it slept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// A read refused with this code is asked again.
    pub exception: Option<u8>,
    /// A first read of a poll that gets no answer is asked again.
    pub silence: bool,
    /// How long after.
    pub wait: Duration,
    /// How often at most.
    pub tries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            registers_per_read: 125,
            gap: 8,
            quiet: Duration::ZERO,
            timeout: None,
            single_register: false,
            pipeline: 1,
            any_unit: false,
            wake: None,
        }
    }
}

/// Expected outcome of a vector for one point.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// Number in the raw unit, within tolerance.
    Number(f64, f64),
    /// State name.
    State(String),
    /// Fault name.
    Fault(String),
}

/// Registers in, readings out: a test that travels with the profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector {
    /// Of a text sensor: a line without its terminator.
    pub text: Option<String>,
    /// Cells by table and address.
    pub cells: Vec<(Table, u16, Vec<u16>)>,
    /// Expected outcome by field name.
    pub expect: Vec<(String, Expect)>,
    /// The source prints the value (`maker`), or it was computed from the map (`worked`).
    pub from_maker: bool,
    /// The firmware version that it is of; `None`: the model before any overlay.
    pub firmware: Option<String>,
}

/// What a profile says to people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Models of the maker that have this map.
    pub model: String,
    /// Factory address.
    pub slave: Option<u8>,
    /// One remark.
    pub note: String,
    /// What surprises whoever wires or reads the device.
    pub quirks: Vec<String>,
    /// What of the map is not proved.
    pub uncertain: Vec<String>,
    /// What no one may write by chance.
    pub never: Vec<Never>,
}

/// Cells that act when they are written: no trigger may touch them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Never {
    /// Which table.
    pub table: Table,
    /// The first, 0-based as on the wire.
    pub address: u16,
    /// How many.
    pub count: u16,
    /// What happens.
    pub why: String,
}

/// A device model (with the firmware overlay of one device already applied).
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Kebab-case name.
    pub name: String,
    /// Sensor class, `gas-pressure`.
    pub class: String,
    /// Who makes it.
    pub maker: String,
    /// Where the map comes from.
    pub source: String,
    /// For people; shared by all devices of the model.
    pub about: Arc<About>,
    /// Factory serial format.
    pub serial: Option<SerialFormat>,
    /// How it speaks when it speaks lines of text and no Modbus.
    pub text: Option<Format>,
    /// Limits on the line.
    pub limits: Limits,
    /// Points.
    pub fields: Vec<Field>,
    /// Writes that it needs in order to measure.
    pub triggers: Vec<Trigger>,
    /// Its own test vectors.
    pub vectors: Vec<Vector>,
}

impl Field {
    /// A plain visible field: natural order, scale 1, no unit, no range, no faults.
    pub fn new(name: &str, table: Table, address: u16, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            group: None,
            table,
            address,
            count: kind.cells(),
            kind,
            order: Order::default(),
            scale: 1.0,
            offset: 0.0,
            order_from: None,
            scale_from: None,
            unit_from: None,
            decimals_from: None,
            pre_offset_from: None,
            current_loop: None,
            unit: None,
            range: None,
            tolerance: 0.0,
            faults: Vec::new(),
            invert: false,
            one_hot: false,
            states: Vec::new(),
            valid_when: Vec::new(),
            destructive: false,
            hidden: false,
            decimals: None,
        }
    }

    /// The name of the state with this code; `None` when the field has no such state.
    pub fn state(&self, code: f64) -> Option<&str> {
        self.states
            .iter()
            .find(|(known, _)| {
                i32::try_from(*known).is_ok_and(|known| f64::from(known).total_cmp(&(code + 0.0)).is_eq())
            })
            .map(|(_, name)| name.as_str())
    }
}
