//! The face other providers see: MIMI over mutually authenticated HTTPS (P§4.1).
//!
//! Everything that is HTTP or TLS ends here. Inside, a request is *who* (a [`Domain`] whose certificate
//! we have checked), *which endpoint*, *about what*, and octets. [`server`] hears them and hands them to
//! the [`Doors`]; [`client`] says them to other providers, at the addresses their directories give.
//! [`assets`] is files and how they are fetched, [`ohttp`] the envelope in which one can be asked for. [`tls`] is who we are and whom we believe; [`authority`] makes certificates for demos and tests.
//!
//! Invariant: no door ever opens for a provider that has not proved its domain, and nothing is ever sent
//! to one that has not.
//!
//! [`Domain`]: mimi_adapter::Domain

pub mod assets;
pub mod authority;
pub mod client;
pub mod ohttp;
mod request;
pub mod server;
#[cfg(test)]
mod tests;
pub mod tls;

pub use assets::{ASSETS, AssetName, AssetUrl};
pub use authority::Authority;
pub use client::{CallError, Peers};
pub use server::{Answer, Doors, Server, Wanted, base_url};
pub use tls::{Identity, TlsError, Trust};

use crate::mimi::directory::Endpoint;
use http::Method;

/// Between processes of one provider: who asked. Believed of nobody else.
const PASSED_ON: &str = "mimi-passed-on-for";

fn method(endpoint: Endpoint) -> Method {
    if endpoint == Endpoint::ProxyDownload { Method::GET } else { Method::POST }
}
