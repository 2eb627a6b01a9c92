//! InfluxDB 1.x: API v1, killed and started again. Real time.

use std::collections::BTreeSet;

use lifeline_gateway::forward::{Api, Target};

use crate::feed::{through_an_outage, wanted};
use crate::server::{Server, free_port, get};

/// One of its own, not started; `None`: not installed.
pub(crate) fn server() -> Option<Server> {
    let arguments = |port, folder: &std::path::Path| {
        let path = folder.join("influxdb.conf");
        let folder = folder.display();
        let text = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{}\"\n[meta]\ndir = \"{folder}/meta\"\n\
             [data]\ndir = \"{folder}/data\"\nwal-dir = \"{folder}/wal\"\n[monitor]\nstore-enabled = false\n\
             [http]\nbind-address = \"127.0.0.1:{port}\"\n",
            free_port()
        );
        std::fs::write(&path, text).unwrap();
        vec!["-config".to_owned(), path.display().to_string()]
    };
    Server::new("influxd", arguments)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_committed_record_arrives_once() {
    let Some(mut server) = server() else { return };
    server.start();
    let port = server.port;
    query(port, "", "CREATE DATABASE telemetry");
    let api = Api::V1 { database: "telemetry".into(), policy: String::new() };
    let target = Target::influx(&format!("http://127.0.0.1:{port}"), api);
    let story = through_an_outage(&mut server, Server::kill, target).await;
    let answer = query(port, "telemetry", "SELECT value FROM gas_pressure GROUP BY point");
    let mut found = Vec::new();
    for series in answer["results"][0]["series"].as_array().unwrap() {
        let point = series["tags"]["point"].as_str().unwrap();
        for row in series["values"].as_array().unwrap() {
            let expected = point.trim_start_matches('p').parse::<f64>().unwrap() + 0.5;
            assert_eq!(row[1].as_f64(), Some(expected));
            found.push((point.to_owned(), row[0].as_i64().unwrap()));
        }
    }
    assert_eq!(found.len(), wanted(&story.feed).len(), "once");
    assert_eq!(BTreeSet::from_iter(found), wanted(&story.feed));
    let answer = query(port, "telemetry", "SELECT count(state) FROM alarm");
    assert_eq!(answer["results"][0]["series"][0]["values"][0][1].as_u64().unwrap(), story.feed.alarms);
}

pub(crate) fn query(port: u16, database: &str, text: &str) -> serde_json::Value {
    let text = text.replace(' ', "%20");
    // This version's CREATE is a POST; a GET works and warns.
    serde_json::from_str(&get(port, &format!("/query?db={database}&epoch=ms&q={text}"))).unwrap()
}
