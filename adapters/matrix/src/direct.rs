//! One-to-one rooms: a person of the homeserver and a ghost, without the bot.
//!
//! The bot can't see into such a room, and a room id doesn't say whose it is. So each is noted where the
//! homeserver keeps it for us, in the bot's account data for that room: that survives us, and there is no
//! file of ours that a restored backup could contradict.

use matrix_sdk::ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UserId,
    api::client::{
        alias::{delete_alias, get_alias},
        config::{get_room_account_data, set_room_account_data},
        profile::get_profile,
        room::create_room,
        state::{get_state_event_for_key, send_state_event},
    },
    api::error::ErrorKind,
    events::{
        StateEventType,
        room::member::{MembershipState, RoomMemberEventContent},
    },
    serde::Raw,
};
use mimi_adapter::{Ghost, Refusal, UserUri};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::{
    client::Failure,
    homeserver::{Homeserver, Members},
};

const NOTE: &str = "io.github.mimi-gateway.direct";

#[derive(Serialize, Deserialize)]
struct Note {
    ghost: OwnedUserId,
}

impl Homeserver {
    /// The ghost whose one-to-one room this was made to be. `None`: it is the bot's, or none of ours.
    pub async fn ghost_of(&self, room: &RoomId) -> Result<Option<OwnedUserId>, Failure> {
        if let Some(known) = self.room(room, |room| room.ghost.clone()) {
            return Ok(known);
        }
        let bot = self.names.bot();
        let request = get_room_account_data::v3::Request::new(bot.to_owned(), room.to_owned(), NOTE.into());
        let ghost = match self.client.ask(bot, request).await {
            Ok(response) => response.account_data.deserialize_as_unchecked::<Note>().ok().map(|note| note.ghost),
            // There is no note.
            Err(failure) if failure.is_final() => None,
            Err(failure) => return Err(failure),
        };
        self.room(room, |room| room.ghost = Some(ghost.clone()));
        Ok(ghost)
    }

    async fn note(&self, room: &RoomId, ghost: &UserId) -> Result<(), Failure> {
        let bot = self.names.bot();
        let note = Raw::new(&Note { ghost: ghost.to_owned() }).expect("a user id is JSON").cast_unchecked();
        let request = set_room_account_data::v3::Request::new_raw(bot.to_owned(), room.to_owned(), NOTE.into(), note);
        self.client.ask(bot, request).await?;
        self.room(room, |room| room.ghost = Some(Some(ghost.to_owned())));
        Ok(())
    }

    /// With whom this room is one-to-one, seen from its person. Nobody, as soon as a third one is in it.
    ///
    /// Only for the transactions, which come one after the other: they alone know when the answer changes.
    pub async fn direct(&self, room: &RoomId) -> Result<Option<UserUri>, Failure> {
        if let Some(known) = self.room(room, |room| room.direct.clone()) {
            return Ok(known);
        }
        let direct = match self.ghost_of(room).await? {
            Some(ghost) => match self.members(&ghost, room).await {
                Ok(members) => self.other_side(&ghost, &members),
                // The ghost is no longer there.
                Err(failure) if failure.is_final() => None,
                Err(failure) => return Err(failure),
            },
            None => None,
        };
        self.room(room, |room| room.direct = Some(direct.clone()));
        Ok(direct)
    }

    /// The ghost's MIMI user, if it is alone with one person.
    pub fn other_side(&self, ghost: &UserId, members: &Members) -> Option<UserUri> {
        let (ours, people): (Vec<_>, Vec<_>) = members.keys().partition(|member| self.names.is_ours(member));
        (ours == [ghost] && people.len() == 1).then(|| self.names.user(ghost)).flatten()
    }

    /// A person has invited a ghost: that is how a conversation with somebody elsewhere begins. Into a room
    /// with more people the ghost doesn't come, it couldn't carry what they say.
    pub async fn welcome(&self, person: &UserId, ghost: &UserId, room: &RoomId) -> Result<(), Failure> {
        let Some(user) = self.names.user(ghost).filter(|_| self.names.is_local_person(person)) else {
            info!(%person, %ghost, "An invitation that leads nowhere is left alone.");
            return Ok(());
        };
        self.register_ghost(ghost, &Ghost::new(user).name).await?;
        match self.join(ghost, room).await {
            // It was taken back in the meantime.
            Err(failure) if failure.is_final() => {
                info!(%room, %failure, "An invitation came to nothing.");
                return Ok(());
            }
            other => other?,
        }
        if self.other_side(ghost, &self.members(ghost, room).await?).is_some() {
            return self.note(room, ghost).await;
        }
        let reason = "only in a one-to-one room; others are connected by whoever runs the gateway";
        self.leave(ghost, room, Some(reason)).await
    }

    /// The one-to-one room of these two: a new one, or the one there is.
    pub async fn open(&self, person: &UserId, ghost: &Ghost, id: &UserId) -> Result<OwnedRoomId, Refusal> {
        let failed = |failure: Failure| failure.refusal(&format!("{person} can't be reached"));
        if !self.names.is_local_person(person) || self.is_nobody(person).await.map_err(failed)? {
            return Err(Refusal::reject(format!("there is nobody called {person}")));
        }
        self.register_ghost(id, &ghost.name).await.map_err(failed)?;
        let alias = self.names.direct_alias(person, id);
        let room = match self.create(id, &alias).await {
            Err(failure) if matches!(failure.kind(), Some(ErrorKind::RoomInUse)) => {
                self.reopen(id, &alias).await.map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        mimi_adapter::failpoint!("matrix.direct.created");
        // First the note, then the invitation: whoever can write there finds us knowing whose room it is.
        self.note(&room, id).await.map_err(failed)?;
        mimi_adapter::failpoint!("matrix.direct.noted");
        if !self.is_expected(id, person, &room).await.map_err(failed)? {
            self.invite_directly(id, person, &room).await.map_err(failed)?;
        }
        Ok(room)
    }

    /// To an account that doesn't exist a homeserver delivers invitations without complaint.
    async fn is_nobody(&self, person: &UserId) -> Result<bool, Failure> {
        match self.client.ask(self.names.bot(), get_profile::v3::Request::new(person.to_owned())).await {
            Err(failure) if failure.is_not_found() => Ok(true),
            // It may keep profiles to itself.
            Err(failure) if failure.is_forbidden() => Ok(false),
            other => other.map(|_| false),
        }
    }

    async fn create(&self, ghost: &UserId, alias: &str) -> Result<OwnedRoomId, Failure> {
        let mut request = create_room::v3::Request::new();
        request.preset = Some(create_room::v3::RoomPreset::PrivateChat);
        request.room_alias_name = Some(alias.to_owned());
        Ok(self.client.ask(ghost, request).await?.room_id)
    }

    /// An earlier attempt, or an earlier conversation, has left a room. If it can't be used any more (its
    /// ghost has left), there will be another one.
    async fn reopen(&self, ghost: &UserId, alias: &str) -> Result<OwnedRoomId, Failure> {
        let full: OwnedRoomAliasId = RoomAliasId::parse(format!("#{alias}:{}", self.names.server()))
            .expect("the alias is made of the prefix and hexadecimal digits");
        let room = self.client.ask(ghost, get_alias::v3::Request::new(full.clone())).await?.room_id;
        match self.join(ghost, &room).await {
            Ok(()) => Ok(room),
            Err(failure) if failure.is_forbidden() => {
                self.client.ask(self.names.bot(), delete_alias::v3::Request::new(full)).await?;
                self.create(ghost, alias).await
            }
            Err(failure) => Err(failure),
        }
    }

    /// As `POST /invite`, which can't say that the room is one-to-one.
    async fn invite_directly(&self, ghost: &UserId, person: &UserId, room: &RoomId) -> Result<(), Failure> {
        let mut invitation = RoomMemberEventContent::new(MembershipState::Invite);
        invitation.is_direct = Some(true);
        let request =
            send_state_event::v3::Request::new(room.to_owned(), person, &invitation).expect("a membership is JSON");
        self.client.ask(ghost, request).await.map(drop)
    }

    /// The person is in the room or invited to it.
    async fn is_expected(&self, ghost: &UserId, person: &UserId, room: &RoomId) -> Result<bool, Failure> {
        let request =
            get_state_event_for_key::v3::Request::new(room.to_owned(), StateEventType::RoomMember, person.to_string());
        match self.client.ask(ghost, request).await {
            Ok(response) => {
                let membership = response.into_content().get_field::<MembershipState>("membership").ok().flatten();
                Ok(matches!(membership, Some(MembershipState::Join | MembershipState::Invite)))
            }
            Err(failure) if failure.is_not_found() => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}
