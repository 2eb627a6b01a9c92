//! The coverage of a city: 100,000 risk points with 200,000 sensors, from what was seen of them to counts by town (aim < 200 ms), beside a bare pass over
//! the same facts that only counts.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench runs in real time and stops at the first surprise"
)]

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use lifeline_gateway::clock::Timestamp;
use lifeline_gateway::clock::zone::Zone;
use lifeline_gateway::risk::coverage::{Coverage, Rung};
use lifeline_gateway::risk::group::{By, groups};
use lifeline_gateway::risk::joint::Joint;
use lifeline_gateway::risk::ladder::{self, Guard, Standing};
use lifeline_gateway::risk::seen::{Seen, Told};
use lifeline_gateway::risk::state::states;
use lifeline_gateway::risk::{self, Kind, Need, Place, RiskPoint, Sensor, Span, Windows};

const POINTS: usize = 100_000;
const TOWNS: usize = 15;
const ROUNDS: usize = 5;

struct City {
    points: Vec<RiskPoint>,
    /// Two for each point, in order.
    sensors: Vec<(Sensor, Seen)>,
    guard: Guard,
    now: Timestamp,
}

fn city() -> City {
    let begun = Timestamp::from_millis(1_790_000_000_000);
    let now = begun.plus(Duration::from_secs(6 * 3600));
    let mut points = Vec::with_capacity(POINTS);
    let mut sensors = Vec::with_capacity(POINTS * 2);
    for number in 0..POINTS {
        let code = format!("500108-GA-{number:06}");
        let need = |role: &str| Need { role: role.to_owned(), or: vec![], min: 1, span: Span::default() };
        points.push(RiskPoint {
            code: code.clone(),
            name: Some(format!("点 {number}")),
            class: ["gas", "waterlogging", "landslide", "elevator"][number % 4].to_owned(),
            kind: Kind::Point,
            town: format!("镇街 {}", number % TOWNS),
            supervisor: "区".to_owned(),
            grade: u8::try_from(number % 4).unwrap() + 1,
            place: Some(Place { lon: 106.5, lat: 29.5, datum: "CGCS2000".to_owned() }),
            blind_after: risk::blind_after(3),
            needs: vec![need("gas-pressure"), need("gas-concentration")],
            span: Span::default(),
            plates: vec![],
            inspection_due: None,
            predecessors: vec![],
            asset: None,
            joint: Vec::new(),
        });
        for (place, role) in ["gas-pressure", "gas-concentration"].into_iter().enumerate() {
            let mut seen = Seen::default();
            // Every fifth point lacks something, each at another rung.
            let faulty = number % 5 == 0 && place == 0;
            for poll in 0..72_u64 {
                let quiet = faulty && number % 3 == 0 && poll > 60;
                let wrong = (faulty && number % 3 == 1).then(|| "timeout".to_owned());
                if !quiet {
                    let told = Told { heard: true, sampled: true, wrong };
                    seen.take(told, begun.plus(Duration::from_secs(poll * 300)));
                }
            }
            let due = faulty && number % 3 == 2;
            let sensor = Sensor {
                name: format!("s-{number}-{place}"),
                role: role.to_owned(),
                code: code.clone(),
                span: Span::default(),
                every: Duration::from_secs(300),
                stale_after: Duration::from_secs(930),
                calibration_due: Some(if due { begun } else { now.plus(Duration::from_secs(86_400)) }),
                has_session: false,
            };
            sensors.push((sensor, seen));
        }
    }
    let guard = Guard { ruled: true, proved: Some(begun), ..Guard::default() };
    City { points, sensors, guard, now }
}

fn stand(city: &City) -> Vec<Standing> {
    let (windows, zone) = (Windows::default(), Zone::default());
    let pairs = city.points.iter().zip(city.sensors.chunks(2));
    pairs
        .map(|(point, sensors)| {
            let each = sensors
                .iter()
                .map(|(sensor, seen)| ladder::sensor(sensor, seen, &city.guard, &windows, (city.now, &zone)));
            ladder::point(point, each.collect(), city.now)
        })
        .collect()
}

fn counted(city: &City, stands: &[Standing]) -> (Coverage, usize) {
    let pairs: Vec<_> = city.points.iter().zip(stands).collect();
    (Coverage::of(stands), groups(By::Town, &pairs).len())
}

/// The bound: the same facts, six comparisons each, and nothing that says why.
fn bare(city: &City) -> HashMap<&str, [u32; 6]> {
    let mut towns: HashMap<&str, [u32; 6]> = HashMap::with_capacity(TOWNS);
    let now = city.now;
    let within = |at: Option<Timestamp>, seconds| at.is_some_and(|at| now.since(at).as_secs() <= seconds);
    for (point, sensors) in city.points.iter().zip(city.sensors.chunks(2)) {
        let rung = |(sensor, seen): &(Sensor, Seen)| {
            let (good, expected) = seen.share.of_day(sensor.every, now);
            let steps = [
                sensor.span.holds(now),
                within(seen.heard, 900),
                within(seen.sampled, 930),
                seen.wrong.is_none() && good * 10 >= expected * 9,
                sensor.calibration_due.is_none_or(|due| now < due),
                city.guard.ruled,
            ];
            steps.iter().take_while(|step| **step).count()
        };
        let rung = sensors.iter().map(rung).min().unwrap();
        let counts = towns.entry(point.town.as_str()).or_default();
        counts.iter_mut().take(rung).for_each(|count| *count += 1);
    }
    towns
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let city = city();
    let (mut ours, mut counts, mut state, mut bound) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let stands = stand(black_box(&city));
        let stood = begun.elapsed().as_secs_f64();
        let (whole, towns) = counted(&city, &stands);
        ours.push(begun.elapsed().as_secs_f64());
        counts.push(begun.elapsed().as_secs_f64() - stood);
        let begun = Instant::now();
        black_box(states(city.points.iter().zip(&stands), [], &Joint::default()));
        state.push(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let peer = bare(black_box(&city));
        bound.push(begun.elapsed().as_secs_f64());
        assert_eq!(towns, TOWNS);
        for rung in Rung::ALL {
            let sum: u32 = peer.values().map(|counts| counts[rung as usize]).sum();
            assert_eq!(whole.on(rung), sum, "both count the same on {}", rung.name());
        }
    }
    let (ours, counts, state, bound) = (median(ours), median(counts), median(state), median(bound));
    println!(
        "coverage: {POINTS} points with 200000 sensors in {:.0} ms (aim < 200 ms), {:.0} ms of it counting the site and its towns; a bare pass that says no reason takes {:.0} ms: {:.1}x the bound; states beside it {:.0} ms",
        ours * 1e3,
        counts * 1e3,
        bound * 1e3,
        ours / bound,
        state * 1e3,
    );
}
