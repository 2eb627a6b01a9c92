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
pub mod unit;
pub mod point;
pub mod reading;
pub mod loss;
pub mod diagnostic;

// The flow: readings go down this list and never back up.
pub mod bus; // <-
pub mod profile; // <- bus
pub mod poll; // <- bus profile
pub mod decode; // <- bus profile
pub mod normalize; // <- decode profile
pub mod derive; // <-
pub mod alarm; // <- derive
pub mod risk; // <- alarm
pub mod warning; // <- alarm risk
pub mod journal; // <- alarm risk warning
pub mod forward; // <- alarm risk journal

// The site and its running.
pub mod site; // <- bus profile poll decode normalize derive alarm risk warning journal forward
pub mod sim; // <- bus profile site
pub mod gateway; // <- bus profile poll decode normalize derive alarm risk warning journal forward site sim
pub mod console; // <- bus profile poll decode normalize derive alarm risk warning journal forward site sim gateway
pub mod cli; // <- bus profile poll decode normalize derive alarm risk warning journal forward site sim gateway console
