//! The components of MIMI in the MLS app_data_dictionary, by number (X§7.5, P§10, R§10).
//!
//! The numbers of room policy are the ones its draft suggests; nothing is registered yet.

/// A ComponentID.
pub type ComponentId = u16;

// Of MLS itself.
pub const APP_COMPONENTS: ComponentId = 0x0001;
pub const SAFE_AAD: ComponentId = 0x0002;
pub const CONTENT_MEDIA_TYPES: ComponentId = 0x0003;

// Of the protocol.
pub const FRANK_AAD: ComponentId = 0x0020;
/// Also called franking_signature_key (D31).
pub const FRANKING_AGENT: ComponentId = 0x0021;
pub const PARTICIPANT_LIST: ComponentId = 0x0022;
pub const ROOM_METADATA: ComponentId = 0x0023;

// Of room policy.
pub const MLS_OPERATIONAL_POLICY: ComponentId = 0x0024;
pub const ROLES_LIST: ComponentId = 0x0025;
pub const PREAUTH_LIST: ComponentId = 0x0026;
pub const BASE_ROOM_POLICY: ComponentId = 0x0027;
pub const STATUS_NOTIFICATION_POLICY: ComponentId = 0x0028;
pub const JOIN_LINK_POLICY: ComponentId = 0x0029;
pub const JOIN_LINKS: ComponentId = 0x002a;
pub const LINK_PREVIEW_POLICY: ComponentId = 0x002b;
pub const ASSET_POLICY: ComponentId = 0x002c;
pub const LOGGING_POLICY: ComponentId = 0x002d;
pub const CHAT_HISTORY_POLICY: ComponentId = 0x002e;
pub const BOT_POLICY: ComponentId = 0x002f;
pub const MESSAGE_EXPIRATION_POLICY: ComponentId = 0x0030;

/// Ours, from the private range: what tells peers that end-to-end encryption ends at a gateway.
pub const BRIDGE_DISCLOSURE: ComponentId = 0xf4b0;
