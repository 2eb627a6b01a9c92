//! The devices of a site with the parts that a story gives them.
//!
//! In: a site and a [`Script`]. Out: a simulated device for each of its devices, or all that the story says of things that the site does not have.
//! Invariant: a signal's unit converts to its point's, and each firmware version can be read by its model.

use crate::sim::device::{SimDevice, middling};
use crate::sim::mistake::Wrong;
use crate::sim::script::{Fault, Script, ScriptError, Scripted, Trouble};
use crate::sim::signal::Signal;
use crate::site::Site;

/// All devices of the site with what the script says of them.
///
/// # Errors
/// All points, devices and faults of the script that the site doesn't have, and units and versions that don't go with them.
pub fn devices(site: &Site, script: &Script) -> Result<Vec<SimDevice>, ScriptError> {
    let name = |spec: &crate::site::DeviceSpec| {
        site.catalog.device(spec.id).map(|device| device.name.clone()).unwrap_or_default()
    };
    let still = |spec: &crate::site::DeviceSpec| SimDevice {
        name: name(spec),
        slave: spec.slave,
        profile: (*spec.profile).clone(),
        // A script that moves one sensor leaves the others where they rest.
        signals: match script.signals.as_slice() {
            [] => middling(&spec.profile),
            _ => vec![None; spec.profile.fields.len()],
        },
        faults: Vec::new(),
        firmware: spec.firmware.clone(),
        versions: Vec::new(),
    };
    let mut devices: Vec<SimDevice> = site.devices.iter().map(still).collect();
    let mut wrong = Vec::new();
    let mut tell = |entry: &str, number: usize, done: Result<(), Wrong>| {
        wrong.extend(done.err().map(|wrong| script.source.mistake(entry, number, wrong)));
    };
    for (scripted, number) in script.signals.iter().zip(1_usize..) {
        tell("signal", number, move_point(&mut devices, script, scripted, number));
    }
    for (fault, number) in script.faults.iter().zip(1..) {
        tell("fault", number, break_device(&mut devices, fault));
    }
    for ((name, at, version), number) in script.firmware.iter().zip(1..) {
        let done = named(&mut devices, "device", name).and_then(|device| {
            device.firmware.variant(Some(version)).map_err(|why| ("version", why))?;
            device.versions.push((*at, version.clone()));
            device.versions.sort();
            Ok(())
        });
        tell("firmware", number, done);
    }
    if wrong.is_empty() {
        Ok(devices)
    } else {
        wrong.sort_by(|one, other| one.place.cmp(&other.place));
        Err(ScriptError::Mistakes(wrong))
    }
}

/// Gives a point its signal.
fn move_point(
    devices: &mut [SimDevice],
    script: &Script,
    scripted: &Scripted,
    number: usize,
) -> Result<(), Wrong> {
    let place = |device: &SimDevice| {
        let wanted = scripted.point.strip_prefix(&device.name)?.strip_prefix('.')?;
        device.profile.fields.iter().position(|field| field.name == wanted)
    };
    let found = devices.iter_mut().find_map(|device| place(device).map(|place| (device, place)));
    let Some((device, place)) = found else {
        let full = |device: &SimDevice| -> Vec<String> {
            device.profile.fields.iter().map(|field| format!("{}.{}", device.name, field.name)).collect()
        };
        let names = devices.iter().flat_map(full).collect();
        return Err(unknown("point", "point", &scripted.point, names));
    };
    if let (Some(unit), Some(field)) = (scripted.unit, device.profile.fields.get(place))
        && field.unit_from.is_none()
        && field.unit.is_none_or(|own| unit.to(own).is_none())
    {
        let own = field.unit.map_or("no unit".to_owned(), |own| format!("the unit {}", own.name()));
        let text = format!("{} does not convert: {} has {own}", unit.name(), scripted.point);
        return Err(("unit", text));
    }
    let seed = script.seed.wrapping_mul(1_000).wrapping_add(u64::try_from(number).unwrap_or(u64::MAX));
    let signal = Signal { shape: scripted.shape.clone(), noise: scripted.noise, seed };
    if let Some(slot) = device.signals.get_mut(place) {
        *slot = Some((signal, scripted.unit));
    }
    Ok(())
}

/// Gives a device its fault.
fn break_device(devices: &mut [SimDevice], fault: &Fault) -> Result<(), Wrong> {
    let key = if matches!(fault.trouble, Trouble::Sensor { .. }) { "point" } else { "device" };
    let device = named(devices, key, &fault.device)?;
    check_fault(device, &fault.trouble)?;
    device.faults.push(fault.clone());
    Ok(())
}

/// The device of this name, which stands under `key`.
fn named<'a>(
    devices: &'a mut [SimDevice],
    key: &'static str,
    name: &str,
) -> Result<&'a mut SimDevice, Wrong> {
    let names = devices.iter().map(|device| device.name.clone()).collect();
    let found = devices.iter_mut().find(|device| device.name == name);
    found.ok_or_else(|| unknown(key, "device", name, names))
}

fn check_fault(device: &SimDevice, trouble: &Trouble) -> Result<(), Wrong> {
    let Trouble::Sensor { field: wanted, means } = trouble else { return Ok(()) };
    let Some(field) = device.profile.fields.iter().find(|field| field.name == *wanted) else {
        let names = device.profile.fields.iter().map(|field| format!("{}.{}", device.name, field.name));
        return Err(unknown("point", "point", &format!("{}.{wanted}", device.name), names.collect()));
    };
    let names: Vec<String> = field.faults.iter().map(|fault| fault.means.to_string()).collect();
    if names.contains(means) { Ok(()) } else { Err(unknown("means", "fault", means, names)) }
}

/// A name that the site does not have, with the nearest one that it has.
fn unknown(key: &'static str, what: &str, name: &str, names: Vec<String>) -> Wrong {
    let nearest = names.into_iter().min_by_key(|known| strsim::damerau_levenshtein(known, name));
    let nearest = nearest.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    (key, format!("{what} {name} is not in the site{nearest}"))
}
