//! Integration tests: one file per promise or capability, one binary.

mod profiles;
mod vectors;
