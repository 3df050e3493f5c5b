//! Whole gateways and the people at both ends, scene by scene.

#![allow(clippy::unwrap_used, reason = "what has to work in a scene works, or the scene has failed")]

mod abuse;
mod adapter;
mod assets;
mod bad_asking;
mod bad_joining;
mod bad_members;
mod bad_proposals;
mod bad_requests;
mod batches;
mod breaker;
mod bringing;
mod brittle;
mod capabilities;
mod changes;
mod commands;
mod consent;
mod database;
mod direct;
mod finding;
mod hello;
mod hops;
mod inspect;
mod joining;
mod membership;
mod messenger;
mod moderation;
mod moving;
mod naming;
mod ohttp;
mod old;
mod on_the_wire;
mod order;
mod peer;
mod person;
mod receipts;
mod rejoin;
mod requirements;
mod restart;
mod threads;
mod turncoat;
mod twice;
mod undelivered;
mod unlink;
mod world;
