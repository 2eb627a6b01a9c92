//! The running gateway: core, live board, supervision, shutdown. It alone spawns.

pub mod board;
pub mod core;
