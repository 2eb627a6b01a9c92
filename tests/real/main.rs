//! Against real servers: a broker, two databases, and an independent Modbus implementation. These run in real time, on loopback, with servers of their own.
//!
//! A server that is not installed is skipped and named; with `LIFELINE_REQUIRE_SERVERS=1` it is a failure.

#![expect(
    clippy::unwrap_used,
    reason = "a test panics when it is wrong; the lint's own exception misses helpers"
)]

mod dashboards;
mod feed;
mod influxdb;
mod library;
mod many;
mod mosquitto;
mod page;
mod probe;
mod pymodbus;
mod server;
mod tshark;
mod victoria_metrics;
