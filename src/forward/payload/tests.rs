use std::sync::Arc;

use super::*;
use crate::clock::Timestamp;
use crate::journal::Seq;
use crate::point::{Device, DeviceId, Point, PointId};
use crate::reading::Doubt;
use crate::unit::Unit;

fn group(count: u32) -> Stored {
    let id = DeviceId(0);
    let device = Device {
        id,
        name: "regulator 3/#".into(),
        line: None,
        class: "gas-pressure".into(),
        risk_point: None,
        town: None,
        tags: std::collections::BTreeMap::new(),
    };
    let point = |id| Point {
        id: PointId(id),
        name: format!("regulator-3.p{id}"),
        short: format!("p{id}"),
        device: DeviceId(0),
        unit: Unit::parse("kPa"),
        decimals: 2,
        states: Vec::new(),
        tags: std::collections::BTreeMap::new(),
    };
    let catalog =
        Catalog { devices: vec![device], points: (0..count).map(point).collect(), ..Catalog::default() };
    let at = Timestamp::from_millis(1_795_420_800_123);
    let samples = [
        Sample::Good(-0.0),
        Sample::Uncertain(3.1, Doubt::Spike),
        Sample::Bad(Reason::Timeout),
        Sample::Bad(Reason::Input(PointId(0))),
    ];
    let readings = (0..count).zip(samples.iter().cycle());
    let readings =
        readings.map(|(id, sample)| Reading { point: PointId(id), at, sample: sample.clone() }).collect();
    let batches = vec![Batch { device: id, start: at, end: at, readings }];
    Stored { seq: Seq(42), now: at, catalog: Arc::new(catalog), batches }
}

#[test]
fn golden_readings() {
    let parcel = Parcel::Readings { late: true, groups: vec![group(4)] };
    let (messages, refused) = messages(&parcel, "nanan-01", &Topics::default(), 10_000);
    assert_eq!(refused, []);
    let [message] = &messages[..] else { panic!("one batch, one message") };
    assert_eq!(message.topic, "lifeline/nanan-01/regulator_3__/backlog");
    let time = "2026-11-23T08:00:00.123Z";
    let expected = format!(
        concat!(
            r#"{{"seq":42,"time":"{0}","readings":["#,
            r#"{{"time":"{0}","point":"regulator-3.p0","value":0.0,"unit":"kPa","quality":"good"}},"#,
            r#"{{"time":"{0}","point":"regulator-3.p1","value":3.1,"unit":"kPa","quality":"uncertain","reason":"spike"}},"#,
            r#"{{"time":"{0}","point":"regulator-3.p2","unit":"kPa","quality":"bad","reason":"timeout"}},"#,
            r#"{{"time":"{0}","point":"regulator-3.p3","unit":"kPa","quality":"bad","reason":"input: regulator-3.p0"}}]}}"#,
        ),
        time
    );
    assert_eq!(message.payload, expected);
    assert_eq!((message.retain, message.records), (false, 4));
}

#[test]
fn a_batch_too_large_is_split_and_a_reading_too_large_is_named() {
    let parcel = Parcel::Readings { late: false, groups: vec![group(100)] };
    for limit in [400, 1000, 4000] {
        let (messages, refused) = messages(&parcel, "nanan-01", &Topics::default(), limit);
        assert_eq!(refused, []);
        assert!(messages.len() > 1 && messages.iter().all(|message| message.size() <= limit));
        assert_eq!(messages.iter().map(|message| message.records).sum::<u64>(), 100);
        let order: String = messages.iter().map(|message| message.payload.as_str()).collect();
        let places: Vec<_> =
            (0..100).map(|id| order.find(&format!("regulator-3.p{id}\"")).unwrap()).collect();
        assert!(places.is_sorted(), "in order, none missing");
    }
    let (messages, refused) = messages(&parcel, "nanan-01", &Topics::default(), 100);
    assert_eq!((messages.len(), refused.len()), (0, 100));
}

#[test]
fn size_is_not_below_the_codecs() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::Publish;
    let parcel = Parcel::Readings { late: false, groups: vec![group(30)] };
    for message in messages(&parcel, "nanan-01", &Topics::default(), 100_000).0 {
        let packet = Publish::new(&message.topic, QoS::AtLeastOnce, message.payload.clone(), None);
        assert!(message.size() >= packet.size() + 2);
    }
}
