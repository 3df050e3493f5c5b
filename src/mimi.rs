//! The MIMI protocol, without I/O.

pub mod directory;
pub mod uri;
