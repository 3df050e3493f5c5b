//! Email: people take part in a conversation by mail.
