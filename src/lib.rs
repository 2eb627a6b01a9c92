//! Lifeline: an edge gateway for gas-pressure, waterlogging, landslide and elevator sensors.
//!
//! This file is the map of the house. Rooms stand in import order: a room may use the foundation and what its
//! mark names, never what stands below it. `tests/layout.rs` holds the code to this list.
//!
//! ```text
//! line tasks (bus, poll, decode) ──RawBatch──▶ core (normalize > derive > alarm) ──▶ journal ──▶ forward
//!                                                                                    └──▶ board ──▶ console
//! ```

// The foundation: every room may use it.
pub mod clock;
pub mod diagnostic;
pub mod loss;
pub mod point;
pub mod reading;
pub mod unit;

// The flow: readings go down this list and never back up.
pub mod alarm; // <- derive
pub mod bus; // <-
pub mod decode; // <- bus profile
pub mod derive; // <-
pub mod forward;
pub mod journal; // <- alarm risk warning
pub mod normalize; // <- decode profile
pub mod poll; // <- bus profile
pub mod profile; // <- bus
pub mod risk; // <- alarm
pub mod warning; // <- alarm risk // <- alarm risk journal

// The site and its running.
pub mod cli;
pub mod console; // <- bus profile poll decode normalize derive alarm risk warning journal forward site sim gateway
pub mod gateway; // <- bus profile poll decode normalize derive alarm risk warning journal forward site sim
pub mod sim; // <- bus profile site
pub mod site; // <- bus profile poll decode normalize derive alarm risk warning journal forward // <- bus profile poll decode normalize derive alarm risk warning journal forward site sim gateway console
