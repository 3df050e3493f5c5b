//! Email: people take part in a conversation by mail.

pub mod automatic;
pub mod report;
pub mod words;
