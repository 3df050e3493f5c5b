//! What octets inside a struct say, where a draft tells what they are.
//!
//! It is put beside the octets for people to see, and never read back. Octets that are not what they should be
//! get nothing: the struct around them doesn't care.

use super::{Inspected, Malformed, Origin, content, mls, read};
use crate::mimi::{
    component,
    disclosure::BridgeDisclosure,
    framing::{self, ApplicationFraming, MediaTypeList},
    franking::{FrankAad, FrankingAgentData},
    message_status,
    metadata::RoomMetaData,
    participants::{ParticipantListData, ParticipantListUpdate},
    policy::{
        AssetPolicy, BaseRoomPolicy, BotPolicy, ChatHistoryPolicy, JoinLinkPolicy, JoinLinksData, JoinLinksUpdate,
        LinkPreviewPolicy, LoggingPolicy, MessageExpirationPolicy, OperationalParameters, PreAuthData, RoleData,
        StatusNotificationPolicy,
    },
    tls::Tree,
    wire::{ComponentsList, SafeAad},
};

/// The octets of these fields are often a text.
const TEXTS: [&str; 7] =
    ["group_id", "identity", "claim_value", "description_content", "content", "fieldValue", "topicId"];

type About = Vec<(String, Tree)>;
type Inside = fn(&[u8]) -> Result<Inspected, Malformed>;

/// The tree, with what can be said about the octets in it.
pub(super) fn add(tree: Tree) -> Tree {
    match tree {
        Tree::Octets { octets, what: Some(what), .. } => {
            let about = mls::fields(what, &octets);
            Tree::Octets { octets, what: Some(what), about }
        }
        Tree::List(elements) => Tree::List(elements.into_iter().map(add).collect()),
        Tree::Struct(fields) => add_to_fields(fields),
        tree => tree,
    }
}

fn add_to_fields(fields: About) -> Tree {
    let whole = Tree::Struct(fields);
    let inside = |name: &str, octets: &[u8]| match name {
        "data" | "update" | "aad_item_data" => in_component(name, number(whole.get("component_id")?)?, octets),
        "extension_data" => mls::extension(number(whole.get("extension_type")?)?, octets),
        "authenticated_data" => seen("SafeAAD", read::<SafeAad>, octets),
        "inner_application_content" => match whole.get("media_type")?.get("type")? {
            Tree::Text(media_type) if media_type.is_empty() || media_type == framing::MIMI_CONTENT => {
                in_content(octets)
            }
            _ => None,
        },
        "message_content" => {
            seen("ApplicationFraming", read::<ApplicationFraming>, octets).or_else(|| in_content(octets))
        }
        "content" if whole.get("contentType") == Some(&Tree::Text(message_status::MEDIA_TYPE.into())) => {
            seen("MessageStatusReport", |octets| content::read_report(octets, &Origin::default()), octets)
        }
        name if TEXTS.contains(&name) => Some(("text".into(), text(octets)?)),
        _ => None,
    };
    let with_about = |name: &str, tree: &Tree| match tree {
        Tree::Octets { octets, what: None, about } if about.is_empty() && !octets.is_empty() => {
            let about = inside(name, octets).into_iter().collect();
            Tree::Octets { octets: octets.clone(), what: None, about }
        }
        tree => add(tree.clone()),
    };
    let Tree::Struct(fields) = &whole else { return whole };
    Tree::Struct(fields.iter().map(|(name, tree)| (name.clone(), with_about(name, tree))).collect())
}

fn in_content(octets: &[u8]) -> Option<(String, Tree)> {
    seen("mimiContent", |octets| content::read(octets, &Origin::default()), octets)
}

/// The data of a component; of most, an update is the same struct.
fn in_component(name: &str, component_id: u64, octets: &[u8]) -> Option<(String, Tree)> {
    let (what, inside): (_, Inside) = match (u16::try_from(component_id).ok()?, name) {
        (component::APP_COMPONENTS, _) => ("app_components", read::<ComponentsList>),
        (component::SAFE_AAD, _) => ("safe_aad", read::<ComponentsList>),
        (component::CONTENT_MEDIA_TYPES, _) => ("content_media_types", read::<MediaTypeList>),
        (component::FRANK_AAD, _) => ("frank_aad", read::<FrankAad>),
        (component::FRANKING_AGENT, _) => ("franking_agent", read::<FrankingAgentData>),
        (component::PARTICIPANT_LIST, "update") => ("participant_list", read::<ParticipantListUpdate>),
        (component::PARTICIPANT_LIST, _) => ("participant_list", read::<ParticipantListData>),
        (component::ROOM_METADATA, _) => ("room_metadata", read::<RoomMetaData>),
        (component::MLS_OPERATIONAL_POLICY, _) => ("mls_operational_policy", read::<OperationalParameters>),
        (component::ROLES_LIST, _) => ("roles_list", read::<RoleData>),
        (component::PREAUTH_LIST, _) => ("preauth_list", read::<PreAuthData>),
        (component::BASE_ROOM_POLICY, _) => ("base_room_policy", read::<BaseRoomPolicy>),
        (component::STATUS_NOTIFICATION_POLICY, _) => ("status_notification_policy", read::<StatusNotificationPolicy>),
        (component::JOIN_LINK_POLICY, _) => ("join_link_policy", read::<JoinLinkPolicy>),
        (component::JOIN_LINKS, "update") => ("join_links", read::<JoinLinksUpdate>),
        (component::JOIN_LINKS, _) => ("join_links", read::<JoinLinksData>),
        (component::LINK_PREVIEW_POLICY, _) => ("link_preview_policy", read::<LinkPreviewPolicy>),
        (component::ASSET_POLICY, _) => ("asset_policy", read::<AssetPolicy>),
        (component::LOGGING_POLICY, _) => ("logging_policy", read::<LoggingPolicy>),
        (component::CHAT_HISTORY_POLICY, _) => ("chat_history_policy", read::<ChatHistoryPolicy>),
        (component::BOT_POLICY, _) => ("bot_policy", read::<BotPolicy>),
        (component::MESSAGE_EXPIRATION_POLICY, _) => ("message_expiration_policy", read::<MessageExpirationPolicy>),
        (component::BRIDGE_DISCLOSURE, _) => ("bridge_disclosure", read::<BridgeDisclosure>),
        _ => return None,
    };
    seen(what, inside, octets)
}

fn seen(what: &str, inside: impl Fn(&[u8]) -> Result<Inspected, Malformed>, octets: &[u8]) -> Option<(String, Tree)> {
    Some((what.into(), inside(octets).ok()?.tree))
}

fn number(tree: &Tree) -> Option<u64> {
    match tree {
        Tree::Number(number) => Some(*number),
        _ => None,
    }
}

fn text(octets: &[u8]) -> Option<Tree> {
    let text = std::str::from_utf8(octets).ok()?;
    let readable = !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t');
    readable.then(|| Tree::Text(text.into()))
}
