//! The MIMI protocol between providers, without I/O.
//!
//! Octets become values here and values octets, and decisions that need nothing but values are made here.
//! There is no socket, no clock, no database and no key in this module, so everything in it can be tested
//! with values written down by hand.
//!
//! | | |
//! |---|---|
//! | names | [`uri`], [`component`] |
//! | codecs | [`tls`] (the wire and the room), [`cbor`] (content) |
//! | what providers say to each other | [`directory`], [`wire`] |
//! | what a message says | [`framing`], [`content`], [`franking`] |
//! | what became of it | [`message_status`] |
//! | what a room is | [`participants`], [`metadata`], [`policy`], [`joining_link`] |
//! | what we say about ourselves | [`disclosure`] |

pub mod cbor;
pub mod component;
pub mod content;
pub mod directory;
pub mod disclosure;
pub mod framing;
pub mod franking;
pub mod joining_link;
pub mod message_status;
pub mod metadata;
pub mod participants;
pub mod policy;
pub mod tls;
pub mod uri;
pub mod wire;
