//! Everything that is tested through the library's doors, in one binary.

mod pymodbus;
mod sim;
