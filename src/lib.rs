//! mimi-gateway: people of one messenger and people of another, in one MIMI room.
//!
//! # The one idea
//!
//! Four verbs, the same in both directions:
//!
//! ```text
//! accept   one transaction: dedupe, understand, remember, put in the outbox      → only now say "yes"
//! take     one transaction: the head of one destination's queue, made ready       (encrypt, look up native ids)
//! send     no transaction: one network call
//! settle   one transaction: delivered, or again later, or never (tell the sender)
//! ```
//!
//! ```text
//!  messenger ⇄ adapter ──▶ inbox ─┐                        ┌─▶ outbox::portal ──▶ adapter ⇄ messenger
//!                                 ├──▶ store: the outbox ──┼─▶ outbox::hub ─────▶ hub (ours or a peer's)
//!  peer ⇄ provider ─▶ doors ──────┘                        └─▶ outbox::follower ▶ peers
//!                       └──▶ hub
//! ```
//!
//! Everything at rest speaks MIMI; native ids appear at two edges only, in what an adapter hands in and in
//! what it is handed. MLS ends in [`mls`]: octets decrypt inside *accept*, content encrypts inside *take*,
//! and the ratchet is saved in the same transaction.
//!
//! # In reading order
//!
//! [`core`] what every part shares · [`inbox`] accept · [`outbox`] take, send, settle · [`dead_letters`] what
//! can't be delivered · [`breaker`] what hits too many at once · [`members`] our clients in a room ·
//! [`description`] its name and topic · [`commands`] what people ask the gateway itself · [`moderation`] who is shown the
//! door · [`rejoin`] how they come back when they have lost it · [`assets`] files · [`hub`] the order of a room ·
//! [`consent`] who may reach whom · [`discovery`] who can be found · [`abuse`] what is reported · [`rooms`] made, linked,
//! left · [`desk`] what the admin asks ·
//! [`doors`], [`limits`] and [`provider`] HTTP between providers · [`mimi`] the protocol without I/O · [`mls`] the
//! only user of openmls · [`store`] the only user of sqlx · [`event`] and [`lower`] what a message is ·
//! [`threads`] where in a conversation it is said · [`receipts`] who has read it ·
//! [`hops`] where it has been ·
//! [`sessions`] what is said when a
//! network falls silent · [`janitor`] what goes when it is old · [`gateway`] builds and runs it all · [`cluster`]
//! several processes that are one · [`config`], [`cli`], [`admin`], [`lifecycle`], [`demo`], [`inspect`] for people.

pub mod abuse;
pub mod adapters;
pub mod admin;
pub mod assets;
pub mod breaker;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod consent;
pub mod core;
pub mod dead_letters;
pub mod demo;
pub mod description;
pub mod desk;
pub mod discovery;
pub mod doors;
pub mod event;
pub mod gateway;
pub mod hops;
pub mod hub;
pub mod inbox;
pub mod inspect;
pub mod janitor;
pub mod lifecycle;
pub mod limits;
pub mod lower;
pub mod members;
pub mod mimi;
pub mod mls;
pub mod moderation;
pub mod outbox;
pub mod provider;
pub mod receipts;
pub mod rejoin;
pub mod room_state;
pub mod rooms;
pub mod sessions;
pub mod store;
pub mod threads;
pub mod trace;
