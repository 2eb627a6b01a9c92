//! Many gateways, one broker, one store of each kind: the district's figures are those of all sensors together, also of points that no gateway
//! covers alone. Real time.
//!
//! The figures of the district dashboards are compared with a count by hand, from what each gateway says of its own sensors.

mod figures;
mod fleet;
mod listener;
mod replay;
mod sites;

use crate::dashboards::grafana::{Range, SETS, TOLD_MS};
use crate::dashboards::stores;
use crate::dashboards::world::{now, until};
use crate::many::figures::Asked;
use crate::many::fleet::{Fleet, Servers};
use crate::many::listener::Listeners;
use crate::many::sites::{Fate, Gateway, Hand, Seen, district};
use crate::server::get;

/// The rungs that the plan has for a gateway's sensors when the story has come to rest.
fn planned(gateways: &[Gateway]) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::new();
    for (number, gateway) in gateways.iter().enumerate() {
        all.extend(gateway.sensors.iter().map(|sensor| Seen {
            gateway: number,
            code: sensor.code.clone(),
            sensor: sensor.name.to_owned(),
            rung: match sensor.fate {
                Fate::Dead => 1,
                Fate::Overdue => 4,
                Fate::Unruled => 5,
                Fate::Well => 5 + u8::from(gateway.proved),
            },
        }));
    }
    all.sort();
    all
}

/// All gateways have told both stores everything since `since`.
fn told(fleet: &Fleet, gateways: usize, since: i64) -> Option<()> {
    let all = SETS.iter().all(|set| {
        let newest = stores::newest_of_each(set, fleet.servers.port(set), now());
        newest.len() == gateways && newest.iter().all(|at| *at > since)
    });
    all.then_some(())
}

/// What the gateways say while nothing changes, and the time of that.
fn at_rest(fleet: &Fleet, gateways: &[Gateway]) -> (i64, Vec<Seen>) {
    let plan = planned(gateways);
    until("rest", || {
        let before = fleet.seen()?;
        if before != plan {
            return None;
        }
        let since = now();
        until("the next tellings", || told(fleet, gateways.len(), since + TOLD_MS));
        let (at, after) = (now(), fleet.seen()?);
        until("the tellings after them", || told(fleet, gateways.len(), at + 1000));
        (before == after).then_some((at, after))
    })
}

/// The plan is one in which a wrong way to count shows.
fn tells_apart(hand: &Hand<'_, '_>) {
    let (together, alone) = (hand.rungs(None), hand.alone());
    let shared = |code: &str| code.starts_with("SHARED-");
    let best = |code: &str| alone.iter().filter(|(known, ..)| *known == code).map(|(.., rung)| *rung).max();
    let more = together.iter().filter(|(code, rung)| shared(code) && Some(**rung) > best(code)).count();
    let none = together.iter().filter(|(code, rung)| shared(code) && **rung < 4).count();
    assert!(more >= 3 && none >= 1, "{more} points are covered by several together, {none} by none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_gateways_make_one_district() {
    let Some(servers) = Servers::start() else { return };
    let started = now();
    let gateways = district(20);
    let listeners = Listeners::start(servers.broker.port, 2);
    let fleet = Fleet::start(servers, &gateways).await;
    for (number, gateway) in gateways.iter().enumerate().filter(|(_, gateway)| gateway.proved) {
        until(&gateway.name, || {
            let proof = fleet.said(number, &["alarms", "--json", "test", "--wait", "5s"]);
            proof.iter().any(|proof| proof["sink"].is_string()).then_some(())
        });
    }
    let (at, seen) = at_rest(&fleet, &gateways);
    let hand = Hand { gateways: &gateways, seen: &seen };
    tells_apart(&hand);
    let range = Range { from: at - ((at - started) / 1000 + 5) * 1000, to: at };
    let mut wrong = Vec::new();
    for set in SETS {
        let mut asked = Asked::new(set, fleet.servers.port(set), range);
        asked.all(&hand, usize::MAX);
        asked.timeline(&hand);
        println!("{set}: {} numbers compared, {} s after the start", asked.numbers, (now() - started) / 1000);
        wrong.append(&mut asked.wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for point in ["bytes", "readings"] {
        let query = format!("sum(journal_health_value{{point=\"{point}\"}})");
        let sum = stores::instant(fleet.servers.promql.port, point, &query, range)[0].value;
        println!("journals: {sum} {point}");
    }
    let series = get(fleet.servers.promql.port, "/api/v1/series/count");
    println!("series of {} gateways: {series}", gateways.len());
    listeners.share(&gateways, fleet.failures("broker")).await;
}
