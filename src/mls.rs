//! The only user of openmls.

pub mod codec;
