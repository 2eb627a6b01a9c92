//! `/api/v1/audits`: pages of what was written to devices, by time and device.

use std::time::Duration;

use lifeline_gateway::console::audits::AuditsView;
use lifeline_gateway::journal::{Audit, Deed, Group, Journal, Settings};

use crate::console::{NOW, at, get, served_on};

#[tokio::test]
async fn audits_are_told_by_time_and_device_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let settings =
        Settings { path: folder.path().into(), commit_every: hour, keep: hour * 1000, max_bytes: 1 << 30 };
    let now = at(NOW);
    let audit = |number: u32| Audit {
        at: now.minus(hour * number),
        device: format!("tilt-{}", number % 2),
        deed: Deed::Trigger { name: "measure".to_owned(), write: format!("{number}"), failure: None },
    };
    let audits = (0..5).rev().map(audit).collect();
    Journal::open(&settings).unwrap().commit(&Group { now, audits, ..Group::default() }).unwrap();

    let served = served_on("127.0.0.1:0", folder.path().into()).await;
    let asked = async |query: &str| {
        let (status, _, body) = get(&served, &format!("/api/v1/audits?{query}")).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<AuditsView>(&body).unwrap()
    };
    let writes = |view: &AuditsView| {
        let write = |deed: &Deed| match deed {
            Deed::Trigger { write, .. } => write.clone(),
            _ => panic!("{deed:?}"),
        };
        view.audits.iter().map(|view| write(&view.audit.deed)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(writes(&asked("since=all").await), "4 3 2 1 0");
    assert_eq!(writes(&asked("since=3h&until=30m").await), "3 2 1");
    assert_eq!(writes(&asked("since=all&device=tilt-1").await), "3 1");
    let first = asked("since=all&limit=2").await;
    assert_eq!(writes(&first), "4 3");
    assert_eq!(writes(&asked(&format!("since=all&after={}", first.next.unwrap())).await), "2 1 0");
    assert_eq!(asked("since=all").await.next, None);
    let (status, _, body) = get(&served, "/api/v1/audits?since=yesterday").await;
    assert_eq!(status, 422, "{body}");
}
