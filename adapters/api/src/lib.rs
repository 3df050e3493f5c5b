//! # Writing an adapter
//!
//! This crate is everything an adapter and the gateway's core share.

mod adapter;
mod capabilities;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod event;
mod id;
pub mod uri;

pub use adapter::{
    Accepted, Adapter, BoxError, Core, Delivered, Delivery, Ghost, Inbound, Inbox, Links, Problem, Refusal,
    SenderProof, Speaker,
};
pub use async_trait::async_trait;
pub use capabilities::{Capabilities, Support};
pub use config::{AdapterKind, Built, ConfigError, Context};
pub use event::{Event, Text};
pub use id::{ConversationId, Cursor, DeliveryKey, NativeMessageId, NativeUserId};
pub use tokio_util::sync::CancellationToken;
pub use toml;
pub use uri::{Domain, UriError, UserUri};
