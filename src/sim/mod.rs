//! Simulated devices from profiles, on real bytes: ptys, loopback ports (also inside TLS) and DTUs that dial in, that a gateway cannot tell from the field.
//!
//! In: a site, a [`script::Script`] of signals and faults, time. Out: lines to poll.
//! Invariant: values are encoded by [`encode`] from the same profile that the gateway decodes with; frames come from `tokio-modbus`, an
//! implementation that is not ours; the same script gives the same numbers at the same times.
//!
//! ```
//! use lifeline_gateway::sim::script::Script;
//! let script = Script::parse("[[signal]]\npoint = 'underpass-1.level'\nunit = 'cm'\nline = [['0s', 2], ['40s', 45]]").unwrap();
//! assert_eq!(script.signals[0].shape.at(std::time::Duration::from_secs(20)), 23.5);
//! ```

mod ascii;
pub mod cast;
pub mod device;
mod dtu;
pub mod encode;
mod line;
pub mod mistake;
pub mod script;
mod secure;
pub mod server;
pub mod signal;
pub mod text;
pub mod wire;
