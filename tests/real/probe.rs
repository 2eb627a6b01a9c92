//! `check --online` against the real servers: what they take, and what they refuse. Real time.

use std::path::Path;
use std::sync::Arc;

use lifeline_gateway::clock::SystemClock;
use lifeline_gateway::forward::mqtt::Broker;
use lifeline_gateway::forward::probe::probe;
use lifeline_gateway::forward::{Api, Settings, Target};

use crate::server::{Server, get};

async fn probed(target: Target) -> Result<(), String> {
    let settings = Settings { batch_max: 100, ..Settings::new("sink", target) };
    probe(&settings, "nanan-01", Arc::new(SystemClock::new())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_takes_the_line_and_an_absent_one_is_told_of() {
    let arguments = |port, folder: &Path| {
        vec![
            format!("-storageDataPath={}", folder.display()),
            format!("-httpListenAddr=127.0.0.1:{port}"),
            "-retentionPeriod=100y".to_owned(),
        ]
    };
    let Some(mut server) = Server::new("victoria-metrics", arguments) else { return };
    server.start();
    let url = format!("http://127.0.0.1:{}", server.port);
    let api = Api::V2 { org: "district".into(), bucket: "telemetry".into() };
    let target = Target::influx(&url, api);
    assert_eq!(probed(target.clone()).await, Ok(()));
    get(server.port, "/internal/force_flush");
    let found = get(server.port, "/api/v1/export?match[]=lifeline_check_value&start=0&end=4102444800");
    assert!(found.contains("nanan-01"), "{found}");
    server.terminate();
    let why = probed(target).await.unwrap_err();
    assert!(why.starts_with("cannot be reached"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_takes_the_message_where_it_may() {
    for (rule, want) in [("topic write lifeline/nanan-01/#", true), ("topic write other/#", false)] {
        let arguments = |port, folder: &Path| {
            let (path, acl) = (folder.join("mosquitto.conf"), folder.join("acl"));
            std::fs::write(&acl, format!("{rule}\n")).unwrap();
            let text =
                format!("listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {}\n", acl.display());
            std::fs::write(&path, text).unwrap();
            vec!["-c".to_owned(), path.display().to_string()]
        };
        let Some(mut server) = Server::new("mosquitto", arguments) else { return };
        server.start();
        let address = format!("127.0.0.1:{}", server.port);
        let found = probed(Target::Mqtt(Broker::at(&address))).await;
        assert_eq!(found.is_ok(), want, "{rule}: {found:?}");
        assert!(
            found.is_ok()
                || found.is_err_and(|why| why.contains("refuses messages on lifeline/nanan-01/check"))
        );
    }
}
