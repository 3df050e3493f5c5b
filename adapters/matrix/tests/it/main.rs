//! The adapter from outside: between a core that records and a homeserver.

mod core;
mod synapse;
mod synapse_scenes;
