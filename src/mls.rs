//! MLS, and the only user of openmls.
//!
//! A bridged user has one [`Client`]: a signature key and the name `mimi://…/d/<user>/<n>`. In each room the
//! client has a leaf, and the leaf's state is a [`Member`]. Rooms we are the hub of have a [`HubGroup`]
//! beside that, which sees what a hub may see and no secrets. Both live in the rows of one owner and in the
//! cache [`Groups`], which is only a cache: when a transaction fails, what it touched is forgotten and read
//! again. Octets go in and octets come out; no openmls type leaves this module.

pub mod codec;

mod app_data;
mod client;
mod external;
mod groups;
mod hpke;
mod hub_group;
mod member;
mod secrets;
mod storage;
#[cfg(test)]
mod tests;

use openmls::prelude::Ciphersuite;

pub use client::{Client, KeyPackageMaterial, Signer, check_key_package, verify_with_label};
pub use external::Offered;
pub use groups::{Groups, Owner};
pub use hpke::{HpkeKey, encrypt_with_label};
pub use hub_group::{HubChange, HubGroup, Proposed};
pub use member::{Change, CommitMaterial, Dictionary, Leaves, Member, NewGroup, Processed, Staged};
pub use storage::RowError;

/// What our groups use: MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519, the one every implementation has.
pub const CIPHER_SUITE: u16 = 0x0001;
const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// Why something of MLS did not work, by whose turn it is.
#[derive(Debug, thiserror::Error)]
pub enum MlsError {
    /// The other side's doing: these octets will never be right.
    #[error("invalid: {0}")]
    Invalid(String),
    /// The message belongs to another epoch than the group is in.
    #[error("the group is in epoch {current}, the message is of epoch {message}")]
    Epoch { current: u64, message: u64 },
    /// Our own state is damaged or contradicts itself.
    #[error("own state: {0}")]
    State(String),
    /// A leaf of ours can't go on: its state is gone, or what would bring it to the group's epoch is. It has to join
    /// anew.
    #[error("the state of leaf {owner} is lost: {problem}")]
    Lost { owner: Owner, problem: String },
}

impl MlsError {
    fn invalid(problem: impl std::fmt::Display) -> Self {
        Self::Invalid(problem.to_string())
    }

    fn state(problem: impl std::fmt::Display) -> Self {
        Self::State(problem.to_string())
    }
}

impl From<RowError> for MlsError {
    fn from(e: RowError) -> Self {
        Self::state(e)
    }
}
