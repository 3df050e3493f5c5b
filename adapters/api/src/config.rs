//! What an adapter has to do with the configuration file.

use std::sync::Arc;

use crate::{Adapter, Capabilities, Domain};

/// One kind of adapter, as the gateway's table of kinds lists it.
pub struct AdapterKind {
    /// The value of `kind` in `[adapters.<name>]`.
    pub name: &'static str,
    /// A complete, commented `[adapters.<name>]` table: `include_str!("../example.toml")`.
    pub example: &'static str,
    /// What conversations of the kind can be shown at most, for the page that tells an admin. A server may take less:
    /// [`Adapter::capabilities`] says that of one conversation, and begins with this.
    pub capabilities: Capabilities,
    /// Turns the table (without `kind`) into an adapter. Pure apart from reading `*_file` secrets:
    /// connecting is [`Adapter::run`]'s work. Unknown keys are problems. Returns every problem at once.
    pub build: fn(toml::Table, &Context) -> Built,
}

/// An adapter, or everything that keeps it from being one.
pub type Built = Result<Arc<dyn Adapter>, Vec<ConfigError>>;

/// What an adapter is told about the gateway it runs in.
#[derive(Clone, Debug)]
pub struct Context {
    /// The name of its table in the configuration file.
    pub name: String,
    /// The provider domain its users have on the MIMI side.
    pub domain: Domain,
}

/// One problem in one place of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key inside the adapter's table: `homeserver`, `listen`, or `ghosts.prefix`.
    pub key: String,
    /// What is wrong and, after it, what to do: `"matrix.example" is not a URL (did you mean "https://matrix.example"?)`.
    pub problem: String,
}

impl ConfigError {
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}
