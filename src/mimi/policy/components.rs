//! The components of room policy as such: which have changed, who may change them, and what makes one invalid.
//!
//! A component is judged when it changes: in a room of somebody else's hub what stands there already is theirs.

use super::{
    AssetPolicy, AssetUploadLocation, BotPolicy, Capability, ChatHistoryPolicy, JoinLinkPolicy, LinkPreviewPolicy,
    LoggingPolicy, MessageExpirationPolicy, OperationalParameters, Optionality, Policy, RoleData, RoomState,
    StatusNotificationPolicy, Unless,
};
use crate::mimi::{
    component::{self, ComponentId},
    tls::Tls,
    uri::{Domain, IdentifierUri},
};

/// Those that are carried as they stand. join_links is none of them: nothing of ours makes a link yet.
pub const OTHERS: [ComponentId; 9] = [
    component::MLS_OPERATIONAL_POLICY,
    component::STATUS_NOTIFICATION_POLICY,
    component::JOIN_LINK_POLICY,
    component::LINK_PREVIEW_POLICY,
    component::ASSET_POLICY,
    component::LOGGING_POLICY,
    component::CHAT_HISTORY_POLICY,
    component::BOT_POLICY,
    component::MESSAGE_EXPIRATION_POLICY,
];

/// Which of a room's policy components are other than before.
pub(super) fn changed(before: &Policy, after: &Policy) -> Vec<ComponentId> {
    let three = [
        (component::ROLES_LIST, before.roles != after.roles),
        (component::PREAUTH_LIST, before.preauth != after.preauth),
        (component::BASE_ROOM_POLICY, before.base != after.base),
    ];
    let others = OTHERS.into_iter().map(|id| (id, before.others.get(&id) != after.others.get(&id)));
    three.into_iter().chain(others).filter(|(_, changed)| *changed).map(|(id, _)| id).collect()
}

/// Who may change a component. The last two capabilities are reserved, but otherwise nobody could ever (D24).
pub(super) fn capability(id: ComponentId) -> Capability {
    match id {
        component::ROLES_LIST => Capability::CAN_CHANGE_ROLE_DEFINITIONS,
        component::PREAUTH_LIST => Capability::CAN_CHANGE_PREAUTHORIZED_USER_LIST,
        component::BASE_ROOM_POLICY => Capability::CAN_CHANGE_ROOM_MEMBERSHIP_STYLE,
        component::MLS_OPERATIONAL_POLICY => Capability::CAN_CHANGE_MLS_OPERATIONAL_POLICIES,
        _ => Capability::CAN_CHANGE_OTHER_POLICY_ATTRIBUTE,
    }
}

/// What is wrong with a component of a room that is otherwise as it will be.
pub(super) fn check(id: ComponentId, room: &RoomState) -> Result<(), &'static str> {
    let Policy { roles, preauth, base, others, .. } = &room.policy;
    let listed = |id: &ComponentId| base.policy_component_ids.contains(id);
    match id {
        component::BASE_ROOM_POLICY => {
            //
            let present = room.policy.components().into_iter().map(|(id, _)| id);
            let all_listed = present.filter(|id| *id != component::BASE_ROOM_POLICY).all(|id| listed(&id));
            holds(all_listed, "base_room_policy lists every other policy component")?;
            holds(base.parent_room.is_empty(), "a room that depends on no parent has none")?;
            return fits_membership(room);
        }
        component::ROLES_LIST => fits_membership(room)?,
        component::PREAUTH_LIST => {
            let defined =
                preauth.preauthorized_entries.iter().all(|it| roles.role(it.target_role.role_index).is_some());
            holds(defined, "a preauthorised role is one of the roles_list (D25)")?;
        }
        _ => match others.get(&id) {
            Some(octets) => check_other(id, octets, room)?,
            None => return Ok(()),
        },
    }
    holds(listed(&id), "base_room_policy lists every other policy component")
}

///
fn fits_membership(room: &RoomState) -> Result<(), &'static str> {
    let fits = !room.policy.base.fixed_membership || room.policy.roles.check_fixed_membership().is_ok();
    holds(fits, "nobody has canAddParticipant where membership is fixed")
}

fn check_other(id: ComponentId, octets: &[u8], room: &RoomState) -> Result<(), &'static str> {
    match id {
        component::MLS_OPERATIONAL_POLICY => read::<OperationalParameters>(octets).map(drop),
        component::STATUS_NOTIFICATION_POLICY => read::<StatusNotificationPolicy>(octets).map(drop),
        component::JOIN_LINK_POLICY => read::<JoinLinkPolicy>(octets).map(drop),
        component::LINK_PREVIEW_POLICY => check_link_preview(&read(octets)?),
        component::ASSET_POLICY => check_assets(&read(octets)?, room.metadata.room_uri.domain()),
        component::LOGGING_POLICY => check_logging(&read(octets)?),
        component::CHAT_HISTORY_POLICY => check_history(&read(octets)?, &room.policy.roles),
        component::BOT_POLICY => check_bots(&read(octets)?),
        component::MESSAGE_EXPIRATION_POLICY => check_expiration(&read(octets)?),
        _ => Err("it is none of room policy"),
    }
}

fn read<T: Tls>(octets: &[u8]) -> Result<T, &'static str> {
    T::decode(octets).map_err(|_| "it is malformed")
}

fn holds(it: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if it { Ok(()) } else { Err(otherwise) }
}

///
fn check_link_preview(policy: &LinkPreviewPolicy) -> Result<(), &'static str> {
    let autodetect = policy.autodetect_hyperlinks_in_text;
    holds(autodetect != Optionality::Required, "autodetect_hyperlinks_in_text is never required")?;
    let proxies = match &policy.link_preview_proxy_use {
        Unless::Forbidden => return Ok(()),
        Unless::Optional(proxy) | Unless::Required(proxy) => proxy.link_preview_proxy.len(),
    };
    holds(proxies == 1, "there is one link_preview_proxy unless its use is forbidden")
}

///
fn check_assets(policy: &AssetPolicy, hub: &Domain) -> Result<(), &'static str> {
    let only_the_hub = || match &policy.upload_domains[..] {
        [it] => Domain::parse(&it.provider).is_ok_and(|provider| provider == *hub),
        _ => false,
    };
    let of_hub = policy.asset_upload_location == AssetUploadLocation::Hub;
    holds(!of_hub || only_the_hub(), "where the hub has the assets, upload_domains has the hub and nobody else")
}

/// That a forbidden one has nothing more is in its octets.
fn check_logging(policy: &LoggingPolicy) -> Result<(), &'static str> {
    let (clients, required) = match &policy.logging {
        Unless::Forbidden => return Ok(()),
        Unless::Optional(logging) => (&logging.logging_clients, false),
        Unless::Required(logging) => (&logging.logging_clients, true),
    };
    holds(!required || !clients.is_empty(), "where logging is required somebody logs")?;
    let providers = clients.iter().map(|uri| Ok(IdentifierUri::parse(uri)?.domain().clone()));
    let mut providers: Vec<Domain> =
        providers.collect::<Result<_, crate::mimi::uri::UriError>>().map_err(|_| "a logging client is a MIMI URI")?;
    providers.sort();
    providers.dedup();
    holds(providers.len() == clients.len(), "a provider has one logging client at most")
}

///
fn check_history(policy: &ChatHistoryPolicy, roles: &RoleData) -> Result<(), &'static str> {
    let sharing = match &policy.history_sharing {
        Unless::Forbidden => return Ok(()),
        Unless::Optional(sharing) | Unless::Required(sharing) => sharing,
    };
    let may_share = |index: &u32| {
        let role = roles.role(*index).filter(|role| role.role_index > RoleData::BANNED);
        role.is_some_and(|role| role.maximum_active_participants_constraint != Some(0))
    };
    holds(sharing.roles_that_can_share.iter().all(may_share), "history is shared by roles that can be in the group")
}

///
fn check_bots(policy: &BotPolicy) -> Result<(), &'static str> {
    let nobody = policy.allowed_bots.iter().all(|bot| !bot.local_client_bot || bot.bot_role_index == RoleData::NO_ROLE);
    holds(nobody, "a bot in somebody's client has no role of its own")
}

/// That a forbidden one has no durations is in its octets.
fn check_expiration(policy: &MessageExpirationPolicy) -> Result<(), &'static str> {
    let it = match &policy.expiring_messages {
        Unless::Forbidden => return Ok(()),
        Unless::Optional(durations) | Unless::Required(durations) => durations,
    };
    let (min, max) = (it.min_expiration_duration, it.max_expiration_duration);
    let default = it.default_expiration_duration.unwrap_or(min);
    holds(min <= default && default <= max, "the default expiration is between the shortest and the longest")
}
