//! The state of risk points and the risk map: through the core, the journal, and the binary over HTTP.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use lifeline_gateway::alarm::Severity;
use lifeline_gateway::gateway::vigil::Stand;
use lifeline_gateway::reading::Sample;
use lifeline_gateway::risk::state::State;

use crate::coverage::{DOCUMENTS, START, World, load};
use crate::recall;

fn states(world: &mut World, seconds: u64) -> (Vec<Stand>, BTreeMap<String, State>) {
    let stands = world.run(seconds);
    let states = world.core.conditions(&stands);
    assert_eq!(states.len(), stands.len());
    (stands, states.into_iter().map(|state| (state.code.clone(), state)).collect())
}

/// The numbers told last, by name of the point.
fn told(world: &World, site: &lifeline_gateway::site::Site) -> BTreeMap<String, Option<i32>> {
    let readings = world.told.iter().flat_map(|batch| &batch.readings);
    readings
        .filter_map(|reading| {
            let number = (0..=6).find(|number| reading.sample == Sample::Good(f64::from(*number)));
            Some((site.catalog.point(reading.point)?.name.clone(), number))
        })
        .collect()
}

#[test]
fn a_colour_outlives_its_sensor_and_says_so() {
    let (_folder, site) = load(&DOCUMENTS.replace("red = 900", "red = 40"));
    let mut world = World::new(&site, START);
    let (_, good) = states(&mut world, 60);
    let p1 = &good["P1"];
    assert_eq!((p1.colour, p1.word(), p1.votes), (Some(Severity::Red), "red", (1, 2)));
    assert_eq!((p1.unverified, p1.unseen, p1.trouble.len()), (false, true, 0));
    assert_eq!(p1.rules, ["high"]);
    assert_eq!(good["P2"].colour, Some(Severity::Red), "the sensor stands at both");
    assert_eq!(good["P2"].votes, (1, 1));
    assert_eq!(told(&world, &site)["coverage-p1.colour"], Some(4));

    // The other sensor's trouble is beside the colour, and changes nothing about it.
    world.silent = vec!["two"];
    let (_, state) = states(&mut world, 120);
    assert_eq!((state["P1"].colour, state["P1"].unverified), (Some(Severity::Red), false));
    assert!(state["P1"].trouble.iter().any(|text| text.starts_with("two: ")), "{:?}", state["P1"].trouble);
    assert_eq!(state["P1"].votes, (1, 1));
    assert_eq!(told(&world, &site)["coverage-p1.trouble"], Some(1));

    world.silent = vec!["one", "two"];
    let (_, state) = states(&mut world, 120);
    assert_eq!((state["P1"].colour, state["P1"].unverified), (Some(Severity::Red), true), "kept, unverified");
    assert_eq!(state["P1"].votes, (0, 0));
    assert!(!state["P1"].no_data, "it is not grey while an alarm holds");
    assert_eq!(told(&world, &site)["coverage-p2.unverified"], Some(1));
    world.silent.clear();
    let (_, state) = states(&mut world, 60);
    assert!(!state["P1"].unverified);
}

#[test]
fn a_colour_is_unseen_by_its_own_alarm_and_not_by_another() {
    let low = "[[rule]]\nname = \"low\"\npoint = \"one.p\"\nunit = \"kPa\"\nabove = { yellow = 20 }\ndeadband = 1\nbasis = \"test\"\nadvice = \"none\"\n";
    let (_folder, site) = load(&(DOCUMENTS.replace("red = 900", "red = 40") + low));
    let mut world = World::new(&site, START);
    let (_, state) = states(&mut world, 60);
    assert_eq!((state["P1"].rules.clone(), state["P1"].unseen), (vec!["high".to_owned()], true));
    world.acknowledge("high");
    let (_, state) = states(&mut world, 10);
    assert_eq!(
        (state["P1"].unseen, state["P1"].any_unseen),
        (false, true),
        "the yellow one waits, not the red"
    );
    world.acknowledge("low");
    let (_, state) = states(&mut world, 10);
    assert_eq!(
        (state["P1"].unseen, state["P1"].any_unseen, state["P1"].any_unverified),
        (false, false, false)
    );
}

#[test]
fn a_place_says_which_classes_together_are_more_than_each_alone() {
    let joint = |from: &str| {
        let rule = format!(
            "joint = [{{ of = [\"gas-pressure\", \"rain\"], from = \"{from}\", propose = \"red\" }}]\n"
        );
        DOCUMENTS.replace("blind_after", &format!("{rule}blind_after"))
    };
    let rain = "[[device]]\nname = \"rain\"\nline = \"a\"\nslave = 3\nprofile = \"gauge\"\nclass = \"rain\"\nevery = \"10s\"\nrisk_point = \"P1\"\n\
        [[rule]]\nname = \"rains\"\npoint = \"rain.p\"\nunit = \"kPa\"\nabove = { yellow = 20 }\ndeadband = 1\nbasis = \"test\"\nadvice = \"none\"\n";
    for (from, gas, proposed) in
        [("yellow", "yellow = 40", true), ("orange", "yellow = 40", false), ("yellow", "red = 900", false)]
    {
        let (_folder, site) = load(&(joint(from).replace("red = 900", gas) + rain));
        let mut world = World::new(&site, START);
        let (_, state) = states(&mut world, 60);
        let proposal = state["P1"].proposal.clone();
        assert_eq!(
            proposal.as_ref().map(|one| one.severity),
            proposed.then_some(Severity::Red),
            "{from} {gas}"
        );
        if let Some(proposal) = proposal {
            assert_eq!(proposal.with, ["P1 high", "P1 rains"]);
        }
        assert_eq!(state["P2"].proposal, None, "the sensor stands there, too, and that place says nothing");
    }
}

#[test]
fn sensor_trouble_alone_has_no_colour_and_blindness_is_grey() {
    let (_folder, site) = load(DOCUMENTS);
    let mut world = World::new(&site, START);
    assert_eq!(states(&mut world, 60).1["P1"].word(), "none");
    world.silent = vec!["two"];
    let (_, state) = states(&mut world, 1200);
    assert_eq!((state["P1"].colour, state["P1"].word()), (None, "none"));
    assert_eq!(state["P1"].trouble.len(), 1, "{:?}", state["P1"].trouble);
    assert!(state["P2"].trouble.is_empty());
    world.silent = vec!["one", "two"];
    let (_, state) = states(&mut world, 1200);
    assert_eq!((state["P1"].colour, state["P1"].word()), (None, "no-data"));
    assert_eq!(state["P2"].word(), "no-data");
    assert_eq!(told(&world, &site)["coverage-p1.colour"], Some(0));
}

const POINTS: &str = r#"
[[risk_point]]
code = "P1"
name = "=下穿道"
class = "waterlogging"
town = "南坪街道"
supervisor = "s"
grade = 3
place = { lon = 106.5687654, lat = 29.5202345, datum = "GCJ-02" }
asset = { id = "twin-77", segment = "pipe-3", chainage_m = 1250.5 }
needs = [{ role = "io" }]
[[risk_point]]
code = "P2"
class = "gas"
town = "南坪街道"
supervisor = "s"
grade = 1
[[risk_point]]
code = "P3"
class = "gas"
town = "南坪街道"
supervisor = "s"
grade = 1
place = { lon = 106.5652, lat = 29.5231, datum = "CGCS2000" }
"#;

/// What comes over HTTP, head and body.
fn get(folder: &std::path::Path, path: &str) -> (String, String) {
    let settings: toml::Table =
        toml::from_str(&std::fs::read_to_string(folder.join("gateway.toml")).unwrap()).unwrap();
    let address = settings["console"]["listen"].as_str().unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[test]
fn the_map_of_a_running_gateway_and_of_its_journal_is_valid_geojson_in_wgs84() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    recall::documents(folder, POINTS, "risk_point = \"P1\"\n", "");
    let mut child = recall::start(folder);
    recall::until(folder, &["alarms", "--json"], |output| {
        String::from_utf8_lossy(&output.stdout).contains("\"severity\":\"orange\"")
    });
    let live = recall::until(folder, &["map", "--geojson"], |output| output.status.success());
    assert!(live.contains("\"colour\":\"orange\""), "map and alarms agree at once: {live}");
    let (head, body) = get(folder, "/api/v1/map");
    assert!(head.contains("200 ok") && head.contains("content-type: application/geo+json"), "{head}");
    assert!(get(folder, "/api/v1/map?colour=red").0.contains("422"));
    child.kill().unwrap();
    child.wait().unwrap();
    let path = folder.join("journal");
    let past = recall::until(folder, &["map", "--geojson", "--journal", path.to_str().unwrap()], |output| {
        output.status.success()
    });
    for text in [live.as_str(), body.as_str(), past.as_str()] {
        let collection: geojson::FeatureCollection = text.parse().unwrap();
        assert_eq!(collection.features.len(), 3);
        let of = |code: &str| {
            let id = Some(geojson::feature::Id::String(code.to_owned()));
            collection.features.iter().find(|feature| feature.id == id).unwrap()
        };
        let coordinates = |code: &str| match of(code).geometry.as_ref().map(|geometry| &geometry.value) {
            Some(geojson::GeometryValue::Point { coordinates }) => Some([coordinates[0], coordinates[1]]),
            None => None,
            other => panic!("{other:?}"),
        };
        // Longitude first. GCJ-02 was moved by some hundred metres, to where it shifts back from.
        let [lon, lat] = coordinates("P1").unwrap();
        let (there_lon, there_lat) = lifeline_gateway::risk::datum::to_gcj02(lon, lat);
        assert!((there_lon - 106.568_765_4).abs() < 2e-7 && (there_lat - 29.520_234_5).abs() < 2e-7);
        assert!((lon - 106.568_765_4).abs() > 0.003 && (lat - 29.520_234_5).abs() > 0.001, "{lon} {lat}");
        assert_eq!(coordinates("P3"), Some([106.5652, 29.5231]));
        assert_eq!(coordinates("P2"), None, "nobody said where it is");
        assert_eq!(of("P2").property("place_note").unwrap(), "the documents don't say where it is");
        let property = |name: &str| of("P1").property(name).unwrap().clone();
        assert_eq!(property("colour"), "orange");
        assert_eq!((property("place_datum"), property("grade")), ("GCJ-02".into(), 3.into()));
        assert_eq!(property("asset")["id"], "twin-77");
        assert_eq!((property("votes"), property("voters")), (1.into(), 1.into()));
        assert_eq!((property("unverified"), property("town")), (false.into(), "南坪街道".into()));
        assert_eq!(property("coverage")["installed"], true);
        assert_eq!(property("coverage")["effective"], false);
        assert_eq!(of("P3").property("colour").unwrap(), "no-data");
        assert!(
            of("P3").property("weakest").unwrap().as_str().unwrap().contains("nobody said what it needs")
        );
    }
    let table = recall::until(folder, &["map"], |output| output.status.code() == Some(1));
    assert!(table.contains("P2") && table.contains("not on the map"), "{table}");
}
