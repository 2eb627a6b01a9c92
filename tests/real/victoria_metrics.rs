//! VictoriaMetrics: API v2, ended and started again. Real time.
//!
//! It is ended by SIGTERM: it acknowledges what it holds in memory for up to 5 s, and kill -9 would lose that on its side.

use std::collections::{BTreeMap, BTreeSet};

use lifeline_gateway::forward::{Api, Target};

use crate::feed::{through_an_outage, wanted};
use crate::server::{Server, get};

/// One of its own, not started; `None`: not installed.
pub(crate) fn server() -> Option<Server> {
    let arguments = |port, folder: &std::path::Path| {
        vec![
            format!("-storageDataPath={}", folder.display()),
            format!("-httpListenAddr=127.0.0.1:{port}"),
            "-retentionPeriod=100y".to_owned(),
            "-dedup.minScrapeInterval=1ms".to_owned(),
            // Otherwise a query leaves the last 30 s out.
            "-search.latencyOffset=0s".to_owned(),
        ]
    };
    Server::new("victoria-metrics", arguments)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_committed_record_arrives_once() {
    let Some(mut server) = server() else { return };
    server.start();
    let url = format!("http://127.0.0.1:{}", server.port);
    let api = Api::V2 { org: "district".into(), bucket: "telemetry".into() };
    let target = Target::influx(&url, api);
    let story = through_an_outage(&mut server, Server::terminate, target).await;
    get(server.port, "/internal/force_flush");
    let found = export(server.port, "gas_pressure_value");
    let keys: BTreeSet<_> = found.keys().cloned().collect();
    let wanted = wanted(&story.feed);
    let missing: Vec<_> = wanted.difference(&keys).collect();
    assert_eq!((missing, keys.len()), (Vec::new(), wanted.len()), "of the outage {:?}", story.outage);
    for ((point, _), values) in &found {
        let expected = point.trim_start_matches('p').parse::<f64>().unwrap() + 0.5;
        assert_eq!(values, &[expected], "once, as it was read");
    }
    let alarms = export(server.port, "alarm_state");
    assert_eq!(u64::try_from(alarms.len()).unwrap(), story.feed.alarms);
}

/// Values by point and time.
fn export(port: u16, metric: &str) -> BTreeMap<(String, i64), Vec<f64>> {
    let mut found: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for line in get(port, &format!("/api/v1/export?match[]={metric}&start=0&end=4102444800")).lines() {
        let series: serde_json::Value = serde_json::from_str(line).unwrap();
        let point = series["metric"]["point"].as_str().unwrap().to_owned();
        let pairs = series["timestamps"].as_array().unwrap().iter().zip(series["values"].as_array().unwrap());
        for (at, value) in pairs {
            found.entry((point.clone(), at.as_i64().unwrap())).or_default().push(value.as_f64().unwrap());
        }
    }
    found
}
