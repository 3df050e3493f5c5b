//! Email: people take part in a conversation by mail.

pub mod automatic;
pub mod body;
pub mod report;
pub mod trust;
pub mod words;
