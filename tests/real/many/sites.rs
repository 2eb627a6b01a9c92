//! A district by plan: small gateways, some of which share a risk point that none of them covers alone; as documents, and counted by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

pub(crate) const TOWNS: [&str; 4] = ["南坪街道", "海棠溪街道", "南山街道", "涂山镇"];
pub(crate) const CLASSES: [&str; 3] = ["gas", "waterlogging", "landslide"];
/// Classes of sensors.
const ROLES: [&str; 3] = ["gas-pressure", "water-level", "tilt"];
const GAS: &str = "gas-concentration";
/// Gateways of a block share a point.
const BLOCK: usize = 4;

/// What becomes of a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Well,
    /// It answers nothing.
    Dead,
    Overdue,
    /// No rule looks at it.
    Unruled,
}

/// `min` sensors of any of these classes.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    roles: Vec<&'static str>,
    min: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Sensor {
    pub(crate) name: &'static str,
    pub(crate) role: &'static str,
    pub(crate) code: String,
    pub(crate) fate: Fate,
}

/// A risk point as one gateway's documents have it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) class: &'static str,
    pub(crate) town: &'static str,
    pub(crate) needs: Vec<Need>,
}

#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) name: String,
    pub(crate) sensors: Vec<Sensor>,
    pub(crate) places: BTreeMap<String, Place>,
    /// A drill proved that its notices get out.
    pub(crate) proved: bool,
}

fn need(roles: &[&'static str], min: usize) -> Need {
    Need { roles: roles.to_vec(), min }
}

/// What a block's shared point needs, and what its first gateways hold of it.
fn shared(block: usize) -> (Vec<Need>, Vec<(&'static str, Fate)>) {
    let pressure = ROLES[0];
    match block % 5 {
        0 => (vec![need(&[pressure], 2)], vec![(pressure, Fate::Well), (pressure, Fate::Well)]),
        1 => {
            (vec![need(&[pressure], 1), need(&[GAS], 1)], vec![(pressure, Fate::Well), (GAS, Fate::Overdue)])
        }
        2 => (vec![need(&[pressure], 2)], vec![(pressure, Fate::Well), (pressure, Fate::Dead)]),
        // Each sensor serves both needs.
        3 => (
            vec![need(&[pressure], 2), need(&[GAS, pressure], 2)],
            vec![(pressure, Fate::Well), (pressure, Fate::Unruled)],
        ),
        _ => {
            let held = [Fate::Well, Fate::Dead, Fate::Well];
            (vec![need(&[pressure], 2)], held.map(|fate| (pressure, fate)).into())
        }
    }
}

/// After so many gateways the plan begins anew, with other names.
pub(crate) const PERIOD: usize = 120;

/// A gateway's documents or lines with the names of the one that is so many periods on.
pub(crate) fn renamed(text: &str, periods: usize) -> String {
    let mut renamed = String::with_capacity(text.len());
    let mut rest = text;
    // All numbers of the plan, and nothing else, have five digits after a dash.
    while let Some(at) = rest.find("-0") {
        let (before, after) = rest.split_at(at + 1);
        renamed.push_str(before);
        let digits = after.get(..5).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(digits) = digits else {
            rest = after;
            continue;
        };
        let shared = before.ends_with("SHARED-") || before.ends_with("shared-");
        let step = if shared { PERIOD / BLOCK } else { PERIOD };
        write!(renamed, "{:05}", digits.parse::<usize>().unwrap() + step * periods).unwrap();
        rest = &after[5..];
    }
    renamed + rest
}

/// `count` gateways; the same ones each time.
pub(crate) fn district(count: usize) -> Vec<Gateway> {
    (0..count).map(gateway).collect()
}

fn gateway(number: usize) -> Gateway {
    let (block, place) = (number / BLOCK, number % BLOCK);
    let class = number % CLASSES.len();
    let own = format!("OWN-{number:05}");
    let fate = match number % 6 {
        1 => Fate::Dead,
        3 => Fate::Overdue,
        4 => Fate::Unruled,
        _ => Fate::Well,
    };
    let mut sensors = vec![Sensor { name: "one", role: ROLES[class], code: own.clone(), fate }];
    let town = TOWNS[number % TOWNS.len()];
    let mut needs = vec![need(&[ROLES[class]], 1)];
    if number.is_multiple_of(10) {
        // Two needed, one there.
        needs[0].min = 2;
    }
    if number % 10 == 5 {
        needs.clear();
    }
    let mut places = BTreeMap::from([(own, Place { class: CLASSES[class], town, needs })]);
    let code = format!("SHARED-{block:05}");
    let (needs, held) = shared(block);
    if let Some((role, fate)) = held.get(place) {
        sensors.push(Sensor { name: "two", role, code: code.clone(), fate: *fate });
        // On a border: each of the two lists it under a town of its own.
        let town = TOWNS[block % 2 + if block % 5 == 1 { place } else { 0 }];
        places.insert(code, Place { class: CLASSES[0], town, needs });
    } else {
        let code = sensors[0].code.clone();
        sensors.push(Sensor { name: "spare", role: ROLES[class], code, fate: Fate::Well });
    }
    Gateway {
        name: format!("gw-{number:05}"),
        sensors,
        places,
        proved: !block.is_multiple_of(2) || place == 0,
    }
}

impl Place {
    pub(crate) fn is_specified(&self) -> bool {
        !self.needs.is_empty()
    }
}

impl Gateway {
    /// The site's documents.
    pub(crate) fn document(&self) -> String {
        let mut text = "[[line]]\nname = \"field\"\ntcp = \"127.0.0.1:1\"\n".to_owned();
        for (code, place) in &self.places {
            let needs = place.needs.iter().map(|need| {
                let (first, others) = need.roles.split_first().unwrap();
                format!("{{ role = \"{first}\", min = {}, or = {others:?} }}", need.min)
            });
            let needs: Vec<String> = needs.collect();
            let Place { class, town, .. } = place;
            write!(
                text,
                "[[risk_point]]\ncode = \"{code}\"\nclass = \"{class}\"\ntown = \"{town}\"\n\
                 supervisor = \"the district\"\ngrade = 3\nneeds = [{}]\n",
                needs.join(", ")
            )
            .unwrap();
        }
        for (slave, Sensor { name, role, code, fate }) in (1..).zip(&self.sensors) {
            write!(
                text,
                "[[device]]\nname = \"{name}\"\nline = \"field\"\nslave = {slave}\nprofile = \"{role}\"\nevery = \"1s\"\n\
                 timeout = \"300ms\"\nstale_after = \"8s\"\nrisk_point = \"{code}\"\n"
            )
            .unwrap();
            if *fate == Fate::Overdue {
                text.push_str("calibration_due = 2020-01-01\n");
            }
            if *fate != Fate::Unruled {
                write!(
                    text,
                    "[[rule]]\nname = \"{name}-high\"\npoint = \"{name}.v\"\nabove = {{ orange = 50000, red = 60000 }}\n\
                     unit = \"{}\"\ndeadband = 10\nbasis = \"plan\"\nadvice = \"look\"\n",
                    unit(role)
                )
                .unwrap();
            }
        }
        text
    }
}

fn unit(role: &str) -> &'static str {
    match role {
        "water-level" => "mm",
        "tilt" => "deg",
        GAS => "ppm",
        _ => "kPa",
    }
}

/// The profiles that the documents name.
pub(crate) fn write_profiles(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    for role in ROLES.into_iter().chain([GAS]) {
        let text = format!(
            "[profile]\nname = \"{role}\"\nclass = \"{role}\"\nmaker = \"plan\"\nsource = \"plan\"\n[[point]]\nname = \"v\"\n\
             at = \"holding 0\"\ntype = \"u16\"\nunit = \"{}\"\n",
            unit(role)
        );
        std::fs::write(folder.join(format!("{role}.toml")), text).unwrap();
    }
}

/// What a gateway says of one sensor at one risk point: 0 for no rung, 6 for effective.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) gateway: usize,
    pub(crate) code: String,
    pub(crate) sensor: String,
    pub(crate) rung: u8,
}

/// The district by hand, from what each gateway says of its sensors.
pub(crate) struct Hand<'a, 'b> {
    pub(crate) gateways: &'a [Gateway],
    pub(crate) seen: &'b [Seen],
}

impl<'a> Hand<'a, '_> {
    /// Codes that a gateway of `kept` lists under one of these towns and classes; empty is all.
    pub(crate) fn codes(&self, towns: &[&str], classes: &[&str]) -> BTreeSet<&'a str> {
        let listed = self.gateways.iter().flat_map(|gateway| &gateway.places);
        let takes = |chosen: &[&str], value: &str| chosen.is_empty() || chosen.contains(&value);
        let chosen = listed.filter(|(_, place)| takes(towns, place.town) && takes(classes, place.class));
        chosen.map(|(code, _)| code.as_str()).collect()
    }

    /// Each point's rung over the sensors of all gateways that list it, or of those alone that do under `town`.
    pub(crate) fn rungs(&self, town: Option<&str>) -> BTreeMap<&'a str, u8> {
        let mut held: BTreeMap<&str, Vec<(&str, u8)>> = BTreeMap::new();
        let mut needs: BTreeMap<&'a str, &[Need]> = BTreeMap::new();
        for (code, place) in self.gateways.iter().flat_map(|gateway| &gateway.places) {
            needs.insert(code, &place.needs);
        }
        for seen in self.seen {
            let gateway = &self.gateways[seen.gateway];
            if town.is_some_and(|town| gateway.places[&seen.code].town != town) {
                continue;
            }
            let sensor = gateway.sensors.iter().find(|sensor| sensor.name == seen.sensor).unwrap();
            held.entry(&seen.code).or_default().push((sensor.role, seen.rung));
        }
        let rung = |(code, needs): (&'a str, &[Need])| {
            let held = held.get(code).map(Vec::as_slice).unwrap_or_default();
            (code, needs.iter().map(|need| most(need, held)).min().unwrap_or(0))
        };
        needs.into_iter().map(rung).collect()
    }

    /// The rung that each gateway alone has for each point that it lists: code, gateway, rung.
    pub(crate) fn alone(&self) -> Vec<(&'a str, &'a str, u8)> {
        let mut all = Vec::new();
        for (number, gateway) in self.gateways.iter().enumerate() {
            let seen: Vec<Seen> = self.seen.iter().filter(|seen| seen.gateway == number).cloned().collect();
            let rungs = Hand { gateways: self.gateways, seen: &seen }.rungs(None).into_iter();
            let listed = rungs.filter(|(code, _)| gateway.places.contains_key(*code));
            all.extend(listed.map(|(code, rung)| (code, gateway.name.as_str(), rung)));
        }
        all
    }

    /// Specified points without a sensor that is valid.
    pub(crate) fn blind(&self, codes: &BTreeSet<&str>) -> usize {
        let needed = |code: &str| {
            self.gateways.iter().any(|gateway| gateway.places.get(code).is_some_and(Place::is_specified))
        };
        let valid = |code: &str| self.seen.iter().any(|seen| seen.code == code && seen.rung >= 4);
        codes.iter().filter(|code| needed(code) && !valid(code)).count()
    }
}

/// The rung of the `min`-th best sensor that serves the need.
fn most(need: &Need, held: &[(&str, u8)]) -> u8 {
    let mut rungs: Vec<u8> =
        held.iter().filter(|(role, _)| need.roles.contains(role)).map(|(_, rung)| *rung).collect();
    rungs.sort_unstable_by(|one, other| other.cmp(one));
    rungs.get(need.min - 1).copied().unwrap_or(0)
}
