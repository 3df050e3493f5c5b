//! The MIMI protocol, without I/O.

pub mod cbor;
pub mod component;
pub mod content;
pub mod directory;
pub mod disclosure;
pub mod framing;
pub mod franking;
pub mod metadata;
pub mod participants;
pub mod policy;
pub mod tls;
pub mod uri;
pub mod wire;
