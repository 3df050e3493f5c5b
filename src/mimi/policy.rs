//! Who may do what in a room (draft-ietf-mimi-room-policy).
//!
//! A participant has one role; a role has capabilities, and a list of the transitions between roles its
//! holder may bring about. The components are read here, the default policies of our rooms are written
//! here, and [`authorise`] is the one place that decides. The hub asks it for everything it can see, and
//! our clients ask it again before they merge a commit, so it is pure: no I/O, no clock, no MLS.

mod authorise;
mod base;
mod capability;
mod defaults;
mod preauth;
mod roles;
#[cfg(test)]
mod tests;

pub use authorise::{Actor, Change, Client, Denied, RoomState, authorise, changes};
pub use base::BaseRoomPolicy;
pub use capability::Capability;
pub use defaults::{Policy, direct_policy, group_policy, role};
pub use preauth::{Claim, PreAuthData, PreAuthRoleEntry};
pub use roles::{Role, RoleChangeTargets, RoleData, RolesError};
