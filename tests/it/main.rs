//! Promises and capabilities, one file each, in one binary.

#![expect(
    clippy::unwrap_used,
    reason = "a test panics when it is wrong; the lint's own exception misses helpers"
)]

mod crash;
mod captured;
mod damaged;
mod faults;
mod foreign;
mod import;
mod installer;
mod guide;
mod history;
mod care;
mod certificates;
mod firmware;
mod journal;
mod maintenance;
mod many;
mod measured;
mod library;
mod lines;
mod map;
mod month;
mod indicators;
mod alarm;
mod ask;
mod audits;
mod backtest;
mod check;
mod conditions;
mod console;
mod coverage;
mod dashboards;
mod delivery;
mod dial_in;
mod pipeline;
mod points;
mod power;
mod mutated;
mod new;
mod overlay;
mod profiles;
mod profile_needs;
mod recall;
mod reference;
mod reload;
mod refused;
mod reload_guard;
mod reload_live;
mod reload_sinks;
mod reload_windows;
mod replay;
mod running;
mod schema;
mod secure;
mod segments;
mod serial;
mod shared;
mod shelf;
mod simulated;
mod short;
mod traffic;
mod text;
mod sim;
mod tcp;
mod units;
mod vectors;
mod vfs;
mod view;
mod wire;
