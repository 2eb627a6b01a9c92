//! The shipped profiles against pymodbus: another people's server holds the registers of their vectors, the whole gateway polls them over TCP and
//! over a pty. Models that a write wakes are left to `it::library`.

#[path = "../library/mod.rs"]
mod shipped;

use lifeline_gateway::bus::Table;
use tokio_serial::{SerialPort, SerialStream};

use crate::pymodbus;
use crate::server::free_port;
use shipped::{Case, lines, poll};

/// Every fourth model is enough for a second opinion on the wire.
const SHARE: usize = 4;

fn plain() -> Vec<Case> {
    let is_plain = |cases: &Vec<Case>| {
        let profile = &cases[0].model.profile;
        profile.text.is_none() && profile.triggers.is_empty() && profile.limits.wake.is_none()
    };
    let chosen = lines().into_iter().filter(is_plain).step_by(SHARE);
    (1..).zip(chosen.flatten()).map(|(slave, case)| Case { slave, ..case }).collect()
}

/// `{"1": {"hr": {"0": 5}}}`: what each device holds in each table.
fn held(cases: &[Case]) -> String {
    let mut devices = serde_json::Map::new();
    for case in cases {
        let mut tables = serde_json::json!({"co": {}, "di": {}, "ir": {}, "hr": {}});
        for ((table, address), cell) in case.cells() {
            let name = match table {
                Table::Coil => "co",
                Table::Discrete => "di",
                Table::Input => "ir",
                Table::Holding => "hr",
            };
            tables[name][address.to_string()] = cell.into();
        }
        devices.insert(case.slave.to_string(), tables);
    }
    serde_json::Value::Object(devices).to_string()
}

#[tokio::test]
async fn pymodbus_serves_the_shipped_profiles() {
    let cases = plain();
    assert!(cases.len() > 5);
    let (mut near, far) = SerialStream::pair().unwrap();
    let (mut our_near, our_far) = SerialStream::pair().unwrap();
    let (tcp, rtu_over_tcp) = (free_port(), free_port());
    let arguments = [tcp.to_string(), rtu_over_tcp.to_string(), far.name().unwrap(), held(&cases)];
    let Some(_server) = pymodbus::start(&arguments) else { return };
    let ways = [
        format!("tcp = \"127.0.0.1:{tcp}\""),
        format!("rtu_over_tcp = \"127.0.0.1:{rtu_over_tcp}\""),
        format!("serial = {{ path = \"{}\", speed = \"115200 8N1\" }}", our_far.name().unwrap()),
    ];
    let polls = async {
        for way in ways {
            poll(&[(plain(), way)]).await;
        }
    };
    // Two pty pairs back to back are the cable between the two sides.
    tokio::select! {
        () = polls => {}
        ended = tokio::io::copy_bidirectional(&mut near, &mut our_near) => panic!("the cable ended: {ended:?}"),
    }
}
