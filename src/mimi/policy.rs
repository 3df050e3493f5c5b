//! Who may do what in a room (draft-ietf-mimi-room-policy).
//!
//! A participant has one role; a role has capabilities, and a list of the transitions between roles its
//! holder may bring about. The components are read here, the default policies of our rooms are written
//! here, and [`authorise`] is the one place that decides. The hub asks it for everything it can see, and
//! our clients ask it again before they merge a commit, so it is pure: no I/O, no clock, no MLS.

mod assets;
mod authorise;
mod base;
mod bots;
mod capability;
mod components;
mod defaults;
#[cfg(test)]
mod example_rooms;
mod expiration;
mod history;
mod join_links;
mod link_preview;
mod logging;
mod notifications;
mod operational;
mod optionality;
mod preauth;
mod roles;
#[cfg(test)]
mod tests;

pub use assets::{
    AssetAsked, AssetPolicy, AssetUploadLocation, DownloadPrivacy, DownloadPrivacyType, ProviderAssetUploadDomains,
};
pub use authorise::{
    Actor, Change, Client, Denied, RoomState, authorise, changes, joins_without_code, may_join, role_by_code,
};
pub use base::BaseRoomPolicy;
pub use bots::{Bot, BotPolicy};
pub use capability::Capability;
pub use components::OTHERS;
pub use defaults::{Policy, direct_policy, group_policy, role};
pub use expiration::{ExpirationDurations, MessageExpirationPolicy};
pub use history::{ChatHistoryPolicy, HistorySharing};
pub use join_links::{JoinLink, JoinLinkPolicy, JoinLinksData, JoinLinksUpdate};
pub use link_preview::{LinkPreviewPolicy, LinkPreviewProxy};
pub use logging::{Logging, LoggingPolicy};
pub use notifications::StatusNotificationPolicy;
pub use operational::{
    AppMessagePolicy, ExtendedCapabilities, MinDefaultMaxTime, OperationalParameters, PendingProposalPolicy,
};
pub use optionality::{Optionality, Unless};
pub use preauth::{Claim, PreAuthData, PreAuthRoleEntry};
pub use roles::{Role, RoleChangeTargets, RoleData, RolesError};
