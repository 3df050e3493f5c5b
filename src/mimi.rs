//! The MIMI protocol, without I/O.

pub mod cbor;
pub mod content;
pub mod directory;
pub mod tls;
pub mod uri;
pub mod wire;
