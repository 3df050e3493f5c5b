//! The adapter from outside: between a core that records and a homeserver.

// clippy.toml allows it in tests, but takes only the functions that say `#[test]` for such.
#![allow(clippy::unwrap_used)]

mod conformance;
mod deliveries;
mod fake;
mod gateway;
mod person;
mod synapse;
mod synapse_scenes;
mod transactions;
