//! May this actor make this change? (R§8, P§5.3)
//!
//! The question is asked of two states of the room: as it was, which says what the actor may do, and as it
//! would be, which must keep to the room's limits. [`changes`] compares the two, so that nothing a commit
//! does can go unasked, and [`authorise`] judges one change.
//!
//! Who hears several actors in one commit (proposals by reference) lets them act one after the other, each
//! on the state the one before left behind. What waits for a commit has not happened yet.
//!
//! What is not decided here is refused: rooms that depend on a parent. Whether a joining code is good only the hub knows;
//! here it counts that the room lets somebody come by one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Capability, Policy, Role, RoleData, components};
use crate::mimi::{
    component::{self, ComponentId},
    metadata::RoomMetaData,
    participants::{ParticipantListData, RoleIndex},
    uri::UserUri,
    wire::Credential,
};

/// What decisions are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomState {
    pub participants: ParticipantListData,
    pub metadata: RoomMetaData,
    pub policy: Policy,
    /// The members of the MLS group: whose they are, by leaf index.
    pub clients: BTreeMap<u32, Client>,
}

/// An MLS client, and the user its credential was found to belong to (D29).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub user: UserUri,
    pub credential: Credential,
}

impl Client {
    /// What its credential says, which is a URI.
    pub fn identity(&self) -> String {
        String::from_utf8_lossy(self.credential.identity().unwrap_or_default()).into_owned()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A client of this user, in the group or on its way in.
    User(UserUri),
    /// One of the group's external_senders, such as the hub. Its role is a preauthorised one.
    ExternalSender(Credential),
}

/// One thing somebody does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds somebody else to the list; that user's clients may come along.
    AddParticipant(UserUri),
    /// Removes somebody else from the list, and all their clients.
    RemoveParticipant(UserUri),
    /// Puts themselves into the list, with a client.
    Join,
    /// Takes themselves off the list, and all their clients.
    Leave,
    /// Adds a client of their own.
    AddOwnClient,
    /// Adds a client of somebody who is in the list already.
    AddClient(UserUri),
    RemoveOwnClient,
    /// Removes a client of somebody who stays in the list.
    Kick(UserUri),
    /// Gives somebody else another role.
    ChangeRole(UserUri),
    ChangeOwnRole,
    ChangeMetadata,
    /// Changes the roles_list, the preauth_list, the base_room_policy, or another policy component.
    ChangeComponent(ComponentId),
    SendMessage,
}

/// Why not. The actor's fault, and the same again will be denied again while the room is as it is. Names
/// nobody, since it goes into an errorDescription (D17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("{0} is needed")]
    Capability(Capability),
    #[error("the role does not allow a transition from role {0} to role {1}")]
    Transition(RoleIndex, RoleIndex),
    #[error("the actor has no role in this room")]
    NoRole,
    #[error("the user is not in the participant list, or banned")]
    NotParticipant,
    #[error("the sender has no client in the group")]
    NotActive,
    #[error("the membership of this room is fixed")]
    FixedMembership,
    #[error("a client in the group would belong to nobody in the participant list, or to somebody banned")]
    ClientWithoutParticipant,
    #[error("role {0} is not defined")]
    UndefinedRole(RoleIndex),
    #[error("role {0} would have too few participants")]
    TooFew(RoleIndex),
    #[error("role {0} would have too many participants")]
    TooMany(RoleIndex),
    #[error("the room would have more than max_users")]
    MaxUsers,
    #[error("the room would have more than max_clients")]
    MaxClients,
    #[error("a user would have several clients in a room for one")]
    MultiDevice,
    #[error("the room_uri never changes")]
    RoomUri,
    #[error("role 1 is not the banned role here")]
    NoBannedRole,
    #[error("whoever is unbanned comes without clients")]
    UnbannedWithClients,
    #[error("nobody joins uninvited who is not preauthorised and has no joining code, unless the room is open")]
    Uninvited,
    #[error("one's own role changes to the one that is preauthorised")]
    NotPreauthorised,
    #[error("roles_list and participant list do not change in one commit")]
    RolesWithList,
    #[error("with the preauth_list only removals go along")]
    PreauthWithMore,
    #[error("the policy component is invalid: {0}")]
    Component(&'static str),
    #[error("{0} is not supported here")]
    Unsupported(&'static str),
}

/// Everything `actor` did between the two states.
pub fn changes(before: &RoomState, after: &RoomState, actor: &Actor) -> Vec<Change> {
    let own = |user: &UserUri| matches!(actor, Actor::User(actor) if actor == user);
    let mut changes = Vec::new();
    for participant in after.participants.iter() {
        let user = participant.user.clone();
        match before.participants.role(&user) {
            None if own(&user) => changes.push(Change::Join),
            None => changes.push(Change::AddParticipant(user)),
            Some(role) if role == participant.role_index => {}
            Some(_) if own(&user) => changes.push(Change::ChangeOwnRole),
            Some(_) => changes.push(Change::ChangeRole(user)),
        }
    }
    for participant in before.participants.iter().filter(|it| after.participants.role(&it.user).is_none()) {
        let user = participant.user.clone();
        changes.push(if own(&user) { Change::Leave } else { Change::RemoveParticipant(user) });
    }
    // Clients come and go with their user; here are those of users who do neither. Whoever is banned loses them.
    let banned = |user: &UserUri| {
        let role = |room: &RoomState| room.participants.role(user);
        role(after) == Some(RoleData::BANNED) && role(before) != Some(RoleData::BANNED)
    };
    let listed = |room: &RoomState, user: &UserUri| room.participants.role(user).is_some();
    for user in gone(&before.clients, &after.clients) {
        if (!listed(before, user) || listed(after, user)) && !banned(user) {
            changes.push(if own(user) { Change::RemoveOwnClient } else { Change::Kick(user.clone()) });
        }
    }
    for user in gone(&after.clients, &before.clients) {
        if listed(before, user) || !listed(after, user) {
            changes.push(if own(user) { Change::AddOwnClient } else { Change::AddClient(user.clone()) });
        }
    }
    if before.metadata != after.metadata {
        changes.push(Change::ChangeMetadata);
    }
    changes.extend(components::changed(&before.policy, &after.policy).into_iter().map(Change::ChangeComponent));
    changes
}

/// The users with clients in `from` that are not in `to`.
fn gone<'a>(from: &'a BTreeMap<u32, Client>, to: &BTreeMap<u32, Client>) -> BTreeSet<&'a UserUri> {
    from.iter().filter(|(leaf, client)| to.get(leaf) != Some(client)).map(|(_, client)| &client.user).collect()
}

/// As which role could a client with this credential, of a user who is not in the list, put that user into it and
/// itself into the group? That is all that can be said before the commit is there.
pub fn may_join(room: &RoomState, user: &UserUri, credential: &Credential, by_code: bool) -> Option<RoleIndex> {
    if room.policy.base.fixed_membership || room.participants.role(user).is_some() {
        return None;
    }
    let comes = |role: &RoleIndex| {
        joins_without_code(room, credential, *role) || (by_code && role_by_code(room) == Some(*role))
    };
    room.policy.roles.iter().map(|role| role.role_index).find(comes)
}

/// may somebody come uninvited as this role? What a preauthorised one may is asked of that role.
pub fn joins_without_code(room: &RoomState, credential: &Credential, role: RoleIndex) -> bool {
    let roles = &room.policy.roles;
    let open = roles
        .role(RoleData::NO_ROLE)
        .is_some_and(|nobody| nobody.has(Capability::CAN_OPEN_JOIN) && nobody.may_change(RoleData::NO_ROLE, role));
    let preauthorised = room.policy.preauth.role(credential) == Some(role)
        && roles.role(role).is_some_and(|role| role.has(Capability::CAN_JOIN_IF_PREAUTHORIZED));
    is_somebody(role) && (open || preauthorised)
}

/// the role of who comes by a joining code. Nothing carries it, so it is the first that role 0 may become (D61).
pub fn role_by_code(room: &RoomState) -> Option<RoleIndex> {
    let roles = &room.policy.roles;
    let nobody = roles.role(RoleData::NO_ROLE).filter(|nobody| nobody.has(Capability::CAN_USE_JOIN_CODE))?;
    let comes = |role: &RoleIndex| is_somebody(*role) && nobody.may_change(RoleData::NO_ROLE, *role);
    roles.iter().map(|role| role.role_index).find(comes)
}

fn is_somebody(role: RoleIndex) -> bool {
    role != RoleData::NO_ROLE && role != RoleData::BANNED
}

/// May `actor` make `change`, and may the room be as it is `after`?
pub fn authorise(before: &RoomState, after: &RoomState, actor: &Actor, change: &Change) -> Result<(), Denied> {
    may(before, after, actor, change)?;
    match change {
        // Changes nothing that has a limit, and must not cost more in a room with more people.
        Change::SendMessage => Ok(()),
        _ => keeps_to_limits(before, after),
    }
}

fn may(before: &RoomState, after: &RoomState, actor: &Actor, change: &Change) -> Result<(), Denied> {
    let fixed = before.policy.base.fixed_membership;
    match change {
        Change::AddParticipant(_) | Change::RemoveParticipant(_) | Change::Join | Change::Leave if fixed => {
            Err(Denied::FixedMembership)
        }
        Change::AddParticipant(user) => {
            let role = after.participants.role(user).ok_or(Denied::NotParticipant)?;
            actors_role(before, actor)?.moves(Capability::CAN_ADD_PARTICIPANT, RoleData::NO_ROLE, role)
        }
        Change::RemoveParticipant(user) => {
            let role = before.participants.role(user).ok_or(Denied::NotParticipant)?;
            actors_role(before, actor)?.moves(Capability::CAN_REMOVE_PARTICIPANT, role, RoleData::NO_ROLE)
        }
        Change::Leave => {
            let role = actors_role(before, actor)?;
            role.moves(Capability::CAN_REMOVE_SELF, role.role_index, RoleData::NO_ROLE)
        }
        Change::AddOwnClient => {
            participants_role(before, actor)?;
            actors_role(before, actor)?.needs(Capability::CAN_ADD_OWN_CLIENT)
        }
        // Clients of people who are in the list: where membership is fixed everybody may bring them in (R§5),
        // elsewhere whoever may add the people (P§5.3 lets the list go first).
        Change::AddClient(_) if fixed => participants_role(before, actor).map(|_| ()),
        Change::AddClient(user) => {
            let role = before.participants.role(user).ok_or(Denied::ClientWithoutParticipant)?;
            actors_role(before, actor)?.moves(Capability::CAN_ADD_PARTICIPANT, RoleData::NO_ROLE, role)
        }
        // Whoever has been removed or banned may still take their own clients away (H-08).
        Change::RemoveOwnClient => match participants_role(before, actor) {
            Ok(_) => actors_role(before, actor)?.needs(Capability::CAN_REMOVE_OWN_CLIENT),
            Err(_) => Ok(()),
        },
        Change::Kick(_) => actors_role(before, actor)?.needs(Capability::CAN_KICK),
        Change::ChangeMetadata => may_change_metadata(&before.metadata, &after.metadata, actors_role(before, actor)?),
        Change::SendMessage => {
            participants_role(before, actor)?;
            actors_role(before, actor)?.needs(Capability::CAN_SEND_MESSAGE)?;
            let active =
                before.clients.values().any(|client| matches!(actor, Actor::User(user) if client.user == *user));
            if active { Ok(()) } else { Err(Denied::NotActive) }
        }
        Change::Join => {
            let Actor::User(user) = actor else { return Err(Denied::NotParticipant) };
            let role = after.participants.role(user).ok_or(Denied::NotParticipant)?;
            let mut credentials = after.credentials(user).peekable();
            if credentials.peek().is_none() {
                return Err(Denied::NotActive);
            }
            let by_code = role_by_code(before) == Some(role);
            match by_code || credentials.all(|credential| joins_without_code(before, credential, role)) {
                true => Ok(()),
                false => Err(Denied::Uninvited),
            }
        }
        Change::ChangeRole(user) => may_change_role(before, after, actors_role(before, actor)?, user),
        Change::ChangeOwnRole => {
            participants_role(before, actor)?;
            actors_role(before, actor)?.needs(Capability::CAN_CHANGE_OWN_ROLE)?;
            let Actor::User(user) = actor else { return Err(Denied::NotParticipant) };
            let role = after.participants.role(user);
            let preauthorised = |credential| before.policy.preauth.role(credential);
            let first = before.credentials(user).filter_map(preauthorised).find(|role| *role != RoleData::NO_ROLE);
            if role.is_some() && role == first { Ok(()) } else { Err(Denied::NotPreauthorised) }
        }
        Change::ChangeComponent(id) => {
            actors_role(before, actor)?.needs(components::capability(*id))?;
            match *id {
                //
                component::ROLES_LIST if before.participants != after.participants => Err(Denied::RolesWithList),
                //
                component::PREAUTH_LIST if !only_removes(before, after) => Err(Denied::PreauthWithMore),
                component::BASE_ROOM_POLICY if after.policy.base.parent_dependant => {
                    Err(Denied::Unsupported("a room that depends on a parent"))
                }
                _ => Ok(()),
            }?;
            components::check(*id, after).map_err(Denied::Component)
        }
    }
}

/// to ban and to unban have capabilities of their own.
fn may_change_role(before: &RoomState, after: &RoomState, by: &Role, user: &UserUri) -> Result<(), Denied> {
    let (from, to) = match (before.participants.role(user), after.participants.role(user)) {
        (Some(from), Some(to)) => (from, to),
        _ => return Err(Denied::NotParticipant),
    };
    let capability = match (from, to) {
        (_, RoleData::BANNED) => Capability::CAN_BAN,
        (RoleData::BANNED, _) => Capability::CAN_UNBAN,
        _ => return by.moves(Capability::CAN_CHANGE_USER_ROLE, from, to),
    };
    if before.policy.roles.role(RoleData::BANNED).is_none_or(|role| role.role_name != "banned") {
        return Err(Denied::NoBannedRole);
    }
    by.moves(capability, from, to)?;
    match from == RoleData::BANNED && after.clients_of(user) > 0 {
        true => Err(Denied::UnbannedWithClients),
        false => Ok(()),
    }
}

/// Nobody comes into the list, and nobody who stays has another role.
fn only_removes(before: &RoomState, after: &RoomState) -> bool {
    after.participants.iter().all(|it| before.participants.role(&it.user) == Some(it.role_index))
}

impl Role {
    fn needs(&self, capability: Capability) -> Result<(), Denied> {
        if self.has(capability) { Ok(()) } else { Err(Denied::Capability(capability)) }
    }

    fn moves(&self, capability: Capability, from: RoleIndex, to: RoleIndex) -> Result<(), Denied> {
        self.needs(capability)?;
        if self.may_change(from, to) { Ok(()) } else { Err(Denied::Transition(from, to)) }
    }
}

/// The role an actor acts in: the one in the list, role 0 for others, the preauthorised one for external
/// senders, each as roles_list defines it.
fn actors_role<'a>(room: &'a RoomState, actor: &Actor) -> Result<&'a Role, Denied> {
    let index = match actor {
        Actor::User(user) => room.participants.role(user).unwrap_or(RoleData::NO_ROLE),
        Actor::ExternalSender(credential) => room.policy.preauth.role(credential).ok_or(Denied::NoRole)?,
    };
    room.policy.roles.role(index).ok_or(Denied::NoRole)
}

/// The role of an actor who is in the list and not banned.
fn participants_role(room: &RoomState, actor: &Actor) -> Result<RoleIndex, Denied> {
    let Actor::User(user) = actor else { return Err(Denied::NotParticipant) };
    room.participants.role(user).filter(|role| *role != RoleData::BANNED).ok_or(Denied::NotParticipant)
}

fn may_change_metadata(before: &RoomMetaData, after: &RoomMetaData, role: &Role) -> Result<(), Denied> {
    if before.room_uri != after.room_uri {
        return Err(Denied::RoomUri);
    }
    let fields = [
        (before.room_name == after.room_name, Capability::CAN_CHANGE_ROOM_NAME),
        (before.room_descriptions == after.room_descriptions, Capability::CAN_CHANGE_ROOM_DESCRIPTION),
        (before.room_avatar == after.room_avatar, Capability::CAN_CHANGE_ROOM_AVATAR),
        (before.room_subject == after.room_subject, Capability::CAN_CHANGE_ROOM_SUBJECT),
        (before.room_mood == after.room_mood, Capability::CAN_CHANGE_ROOM_MOOD),
    ];
    fields.into_iter().filter(|(same, _)| !same).try_for_each(|(_, capability)| role.needs(capability))
}

/// Limits bind whoever makes a number worse: a room that is over one, or under it, can be mended step by
/// step (D28).
fn keeps_to_limits(before: &RoomState, after: &RoomState) -> Result<(), Denied> {
    let roles = &after.policy.roles;
    for participant in after.participants.iter() {
        roles.role(participant.role_index).ok_or(Denied::UndefinedRole(participant.role_index))?;
    }
    // H-04, R-11
    let may_have_clients = |user| after.participants.role(user).is_some_and(|role| role != RoleData::BANNED);
    if !after.clients.values().all(|client| may_have_clients(&client.user)) {
        return Err(Denied::ClientWithoutParticipant);
    }
    for role in roles.iter() {
        let (had, has) = (before.count(role.role_index), after.count(role.role_index));
        let limits = [
            (had.all, has.all, role.minimum_participants_constraint, role.maximum_participants_constraint),
            (
                had.active,
                has.active,
                role.minimum_active_participants_constraint,
                role.maximum_active_participants_constraint,
            ),
        ];
        for (had, has, minimum, maximum) in limits {
            if has < had && has < minimum {
                return Err(Denied::TooFew(role.role_index));
            }
            if has > had && maximum.is_some_and(|maximum| has > maximum) {
                return Err(Denied::TooMany(role.role_index));
            }
        }
    }
    let base = &after.policy.base;
    let over =
        |had: usize, has: usize, limit: Option<u32>| has > had && limit.is_some_and(|limit| has > limit as usize);
    if over(before.users(), after.users(), base.max_users) {
        return Err(Denied::MaxUsers);
    }
    if over(before.clients.len(), after.clients.len(), base.max_clients) {
        return Err(Denied::MaxClients);
    }
    let several = |user: &UserUri| over(before.clients_of(user), after.clients_of(user), Some(1));
    if !base.multi_device && after.participants.iter().any(|it| several(&it.user)) {
        return Err(Denied::MultiDevice);
    }
    Ok(())
}

/// How many have a role.
struct Count {
    all: u32,
    active: u32,
}

impl RoomState {
    fn count(&self, role: RoleIndex) -> Count {
        let active: BTreeSet<&UserUri> = self.clients.values().map(|client| &client.user).collect();
        let with_role = || self.participants.iter().filter(|it| it.role_index == role);
        Count {
            all: with_role().count() as u32,
            active: with_role().filter(|it| active.contains(&it.user)).count() as u32,
        }
    }

    fn users(&self) -> usize {
        self.participants.iter().filter(|it| it.role_index != RoleData::BANNED).count()
    }

    fn clients_of(&self, user: &UserUri) -> usize {
        self.credentials(user).count()
    }

    fn credentials<'a>(&'a self, user: &'a UserUri) -> impl Iterator<Item = &'a Credential> {
        self.clients.values().filter(move |client| client.user == *user).map(|client| &client.credential)
    }
}
