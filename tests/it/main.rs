//! Whole gateways and the people at both ends, scene by scene.

mod adapter;
mod bad_members;
mod bad_requests;
mod changes;
mod consent;
mod direct;
mod hello;
mod membership;
mod messenger;
mod order;
mod peer;
mod person;
mod restart;
mod turncoat;
mod twice;
mod world;
