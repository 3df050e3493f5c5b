//! Whole gateways and the people at both ends, scene by scene.

mod adapter;
mod changes;
mod consent;
mod direct;
mod hello;
mod membership;
mod messenger;
mod order;
mod person;
mod restart;
mod world;
