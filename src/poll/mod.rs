//! Which registers in one request, when, and whom to leave alone.
//!
//! [`cost`] says what a request costs its line, [`plan`] finds the cheapest requests for a device, [`divide`] cuts those that a
//! device refuses, [`hush`] leaves out those that it is silent on; [`timeout`] learns how long to wait for a device, [`health`] when to ask a silent one again, and [`turn`]
//! says on each line whose turn it is.
//!
//! In: fields and limits of a profile, periods, outcomes of polls, monotonic instants. Out: requests, the next device, timeouts.
//! Invariant: a plan reads every wanted field once and nothing that changes the device by being read; no clock is asked here, so a
//! step of the wall clock neither stalls nor hurries a poll.

pub mod cost;
pub mod plan;
pub mod divide;
pub mod fence;
pub mod hush;
pub mod timeout;
pub mod health;
pub mod schedule;
pub mod stats;
pub mod turn;
