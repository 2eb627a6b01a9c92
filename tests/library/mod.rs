//! The shipped profiles as a site: each vector is a device, all vectors of a model hang on one line, and the whole gateway polls them.
//! What answers at the other end of the lines is the business of whoever uses this.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lifeline_gateway::bus::Table;
use lifeline_gateway::clock::SystemClock;
use lifeline_gateway::gateway::board::{Board, Picture};
use lifeline_gateway::gateway::{self, ExtraTask};
use lifeline_gateway::point::Catalog;
use lifeline_gateway::profile::firmware::Firmware;
use lifeline_gateway::profile::version::matches;
use lifeline_gateway::profile::{Expect, Field, Profile, Vector};
use lifeline_gateway::reading::{Reason, Sample};
use lifeline_gateway::site::library::profiles;
use lifeline_gateway::site::{self, Options};
use tokio::sync::{oneshot, watch};

/// The longest that anything may take, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A model, and what its versions change.
pub(crate) struct Entry {
    pub(crate) profile: Profile,
    pub(crate) firmware: Firmware,
}

/// One vector as a device.
pub(crate) struct Case {
    /// The device's name.
    pub(crate) device: String,
    /// Its address.
    pub(crate) slave: u8,
    /// Its model.
    pub(crate) model: Arc<Entry>,
    /// What it has in its registers, or says.
    pub(crate) vector: Vector,
    /// The version that the site's document names.
    pub(crate) firmware: Option<String>,
}

impl Case {
    /// The points as its firmware has them.
    fn fields(&self) -> Vec<Field> {
        match &self.firmware {
            Some(version) => self.model.firmware.variant(Some(version)).unwrap().fields,
            None => self.model.profile.fields.clone(),
        }
    }

    /// What the device holds, by table and wire address: the registers of its vector, and zeros in those of its model that the vector does not
    /// speak of.
    pub(crate) fn cells(&self) -> BTreeMap<(Table, u16), u16> {
        let fields = self.fields();
        let there = |(index, field): (usize, &Field)| {
            let missing = is_missing(self, &fields, index);
            let own =
                (field.address..=field.address.saturating_add(field.count - 1)).filter(move |_| !missing);
            let table = field.table;
            own.map(move |address| ((table, address), 0))
        };
        let mut all: BTreeMap<_, _> = fields.iter().enumerate().flat_map(there).collect();
        for (table, first, cells) in &self.vector.cells {
            all.extend((*first..).zip(cells).map(|(address, cell)| ((*table, address), *cell)));
        }
        all
    }

    /// `points` of the site's document: all of them by name where some are read only by name.
    fn points(&self) -> String {
        let fields = self.fields();
        let names: Vec<_> = fields.iter().filter(|field| !field.hidden).map(|field| &field.name).collect();
        let by_name = fields.iter().any(|field| field.destructive);
        if by_name { format!("points = {names:?}\n") } else { String::new() }
    }

    /// Period and timeout. A machine that stands still for seconds is no silent device; only a damaged line must be waited out.
    fn pace(&self) -> (Duration, Duration) {
        let long = Duration::from_secs(15);
        let damaged = |(_, expect): &(String, Expect)| *expect == Expect::Fault("bad-frame".to_owned());
        match &self.model.profile.text {
            None => (Duration::from_secs(20), long),
            Some(format) => {
                let every = (format.period * 2).max(Duration::from_millis(500));
                (every, if self.vector.expect.iter().any(damaged) { every } else { long })
            }
        }
    }
}

/// The shipped models, Modbus ones as one line each, text sensors one line for each vector.
pub(crate) fn lines() -> Vec<Vec<Case>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles");
    let mut lines = Vec::new();
    for (profile, firmware) in profiles(&folder).unwrap() {
        let model = Arc::new(Entry { profile, firmware });
        let vectors = model.profile.vectors.iter().enumerate();
        let cases = vectors.map(|(number, vector)| {
            let text = model.profile.text.is_some();
            let firmware = vector.firmware.clone().or_else(|| outside_all_overlays(&model));
            Case {
                device: format!("{}-{}", model.profile.name, number + 1),
                slave: if text {
                    model.profile.about.slave.unwrap_or(0)
                } else {
                    u8::try_from(number + 1).unwrap()
                },
                model: Arc::clone(&model),
                vector: vector.clone(),
                firmware,
            }
        });
        match model.profile.text {
            Some(_) => lines.extend(cases.map(|case| vec![case])),
            None => lines.push(cases.collect()),
        }
    }
    lines
}

/// A version that no overlay speaks of: a vector that names none is of the model before any overlay.
fn outside_all_overlays(model: &Entry) -> Option<String> {
    let firmware = &model.firmware;
    firmware.telling.as_ref()?;
    let of_none = |version: &str| {
        let overlays = firmware.overlays.iter();
        overlays
            .map(|overlay| matches(firmware.scheme, &overlay.versions, version))
            .all(|met| met == Ok(false))
    };
    let some = ["0", "0.0", "9999", "0.0-0.0", "9999.0", "9999.0-0.0", "1", "2"];
    some.into_iter().find(|version| of_none(version)).map(str::to_owned)
}

/// Whether the case expects that this field, or one that needs it, could not be read.
fn is_missing(case: &Case, fields: &[Field], index: usize) -> bool {
    let needs = |field: &Field| field.needs().any(|other| other == index);
    case.vector.expect.iter().any(|(name, expect)| {
        let own = fields.iter().position(|field| field.name == *name);
        let touches = |own: usize| own == index || fields.get(own).is_some_and(needs);
        *expect == Expect::Fault("not-polled".to_owned()) && own.is_some_and(touches)
    })
}

/// Polls the devices of `lines`, each over its way (`serial = { ... }` or `tcp = "..."`), until every expectation was met; panics with all
/// that were not.
pub(crate) async fn poll(lines: &[(Vec<Case>, String)]) {
    let folder = tempfile::tempdir().unwrap();
    let (site, found, _) = site::load(&documents(folder.path(), lines));
    let site = site.unwrap_or_else(|| panic!("{found:?}"));
    let (board_to, board) = oneshot::channel();
    let look: ExtraTask = Box::new(move |board, _| {
        Box::pin(async move {
            let _ = board_to.send(board);
        })
    });
    let (stop, stopped) = watch::channel(false);
    let running = gateway::run(site, Arc::new(SystemClock::new()), vec![look], stopped);
    let looking = async {
        let board = board.await.unwrap();
        let cases: Vec<&Case> = lines.iter().flat_map(|(cases, _)| cases).collect();
        let waited = tokio::time::timeout(PATIENCE, settled(&board, &cases)).await;
        let wrong = waited.unwrap_or_else(|_| judge(&board.look(), &board.shown().catalog, &cases).wrong());
        stop.send(true).unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    };
    let (ran, ()) = tokio::join!(running, looking);
    ran.unwrap();
}

fn documents(folder: &Path, lines: &[(Vec<Case>, String)]) -> Options {
    let mut site = String::new();
    for (cases, way) in lines {
        let line = &cases[0].device;
        writeln!(site, "[[line]]\nname = \"{line}\"\n{way}").unwrap();
        for case in cases {
            let triggers: Vec<_> = case.model.profile.triggers.iter().map(|trigger| &trigger.name).collect();
            let points = case.points();
            let Case { device, slave, model, firmware, .. } = case;
            write!(
                site,
                "[[device]]\nname = \"{device}\"\nline = \"{line}\"\nslave = {slave}\nprofile = \"{}\"\nallow = {triggers:?}\n{points}",
                model.profile.name
            )
            .unwrap();
            let (every, timeout) = case.pace();
            writeln!(site, "every = \"{}ms\"\ntimeout = \"{}ms\"", every.as_millis(), timeout.as_millis())
                .unwrap();
            if let Some(version) = firmware {
                writeln!(site, "firmware = \"{version}\"").unwrap();
            }
        }
    }
    let journal = folder.join("journal");
    let gateway = format!(
        "[site]\nname = \"library\"\n[journal]\npath = \"{}\"\ncommit_every = \"50ms\"\n",
        journal.display()
    );
    std::fs::create_dir(folder.join("site")).unwrap();
    std::fs::write(folder.join("site/site.toml"), site).unwrap();
    std::fs::write(folder.join("gateway.toml"), gateway).unwrap();
    Options {
        config: Some(folder.join("gateway.toml")),
        site: folder.join("site"),
        profiles: Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles")),
        ..Options::default()
    }
}

/// What a picture says of all expectations.
#[derive(Default)]
struct Judged {
    /// Not read yet, or not heard because of the line.
    open: Vec<String>,
    /// Read, and another value, unit or fault.
    differs: Vec<String>,
}

impl Judged {
    fn wrong(self) -> Vec<String> {
        self.open.into_iter().chain(self.differs).collect()
    }
}

/// Waits until everything was read; what of it is wrong.
async fn settled(board: &Board, cases: &[&Case]) -> Vec<String> {
    let mut changes = board.changed.subscribe();
    loop {
        let judged = judge(&board.look(), &board.shown().catalog, cases);
        if judged.open.is_empty() {
            return judged.differs;
        }
        changes.changed().await.unwrap();
    }
}

fn judge(picture: &Picture, catalog: &Catalog, cases: &[&Case]) -> Judged {
    let mut judged = Judged::default();
    for case in cases {
        for (name, expect) in &case.vector.expect {
            let full = format!("{}.{name}", case.device);
            let Some(point) = catalog.points.iter().find(|point| point.name == full) else {
                // What is read for other points alone shows in them.
                let hidden =
                    case.model.profile.fields.iter().any(|field| field.name == *name && field.hidden);
                if !hidden {
                    judged.differs.push(format!("{full}: there is no such point"));
                }
                continue;
            };
            let latest = picture.latest.get(usize::try_from(point.id.0).unwrap()).and_then(Option::as_ref);
            let Some(reading) = latest else {
                judged.open.push(format!("{full}: nothing yet"));
                continue;
            };
            let got = Got { sample: &reading.sample, states: &point.states };
            let fields = case.fields();
            let Some(field) = fields.iter().find(|field| field.name == *name) else { continue };
            match wanted(field, point.unit, expect, &case.model.profile.class) {
                Ok(expect) => got.compare(&full, &expect, &mut judged),
                Err(why) => judged.differs.push(format!("{full}: {why}")),
            }
        }
    }
    judged
}

/// The expectation in the unit that readings have, which must be the canonical one of the point's quantity.
fn wanted(
    field: &Field,
    unit: Option<lifeline_gateway::unit::Unit>,
    expect: &Expect,
    class: &str,
) -> Result<Expect, String> {
    let canonical = field.unit.map(|unit| unit.canonical_for(class));
    if unit != canonical {
        return Err(format!("its unit is {unit:?} and not {canonical:?}"));
    }
    let (Expect::Number(value, tolerance), Some(own), Some(unit)) = (expect, field.unit, unit) else {
        return Ok(expect.clone());
    };
    let convert = |value| own.convert(value, unit).ok_or("its unit has another quantity");
    let value_there = convert(*value)?;
    let tolerance = (convert(value + tolerance)? - value_there).abs().max(1e-9 * value_there.abs().max(1.0));
    Ok(Expect::Number(value_there, tolerance))
}

/// What came.
struct Got<'p> {
    sample: &'p Sample,
    states: &'p [(i64, String)],
}

impl Got<'_> {
    fn compare(&self, name: &str, expect: &Expect, judged: &mut Judged) {
        let holds = match (expect, self.sample) {
            (Expect::Number(want, tolerance), Sample::Good(value) | Sample::Uncertain(value, _)) => {
                (value - want).abs() <= *tolerance
            }
            (Expect::State(want), Sample::Good(value) | Sample::Uncertain(value, _)) => {
                self.states.iter().any(|(code, state)| code.to_string() == value.to_string() && state == want)
            }
            (Expect::Fault(want), Sample::Bad(Reason::SensorFault(fault))) => **fault == **want,
            // What the vector leaves out, the server does not have.
            (Expect::Fault(want), Sample::Bad(Reason::Exception(2))) => want == "not-polled",
            (Expect::Fault(want), Sample::Bad(reason)) => *want == reason.to_string(),
            _ => false,
        };
        let text = || format!("{name}: expected {expect:?}, got {:?}", self.sample);
        match self.sample {
            _ if holds => {}
            Sample::Bad(Reason::Timeout | Reason::LineDown | Reason::BadFrame) => judged.open.push(text()),
            _ => judged.differs.push(text()),
        }
    }
}
