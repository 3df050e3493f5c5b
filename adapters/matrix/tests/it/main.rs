//! The adapter from outside: between a core that records and a homeserver.

mod core;
mod deliveries;
mod fake;
mod synapse;
mod synapse_scenes;
mod transactions;
