//! Somebody is shown the door (R§8.1): by people here to somebody from elsewhere, and the other way round.
//!
//! Who may do that in the MIMI room says its policy, whatever power they have in their own conversation. Where it lets
//! them, one commit takes the person off the list, or makes them banned, and their clients out of the group. Where it does
//! not, whoever tried reads why, and the ghost comes back: the room's list of people is the one that counts.

use mimi_adapter::{NativeMessageId, SenderProof};

use crate::{
    breaker::Deed,
    core::{Core, Fault},
    mimi::{
        component,
        participants::{ParticipantListUpdate, UserIndexRolePair},
        policy::{self, Actor, RoomState, role},
        tls::Tls,
        uri::{RoomUri, UserUri},
    },
    mls::Change,
    outbox::{Destination, Payload, hub::Prepared},
    room_state,
    store::{
        Tx,
        portals::Portal,
        rooms::{Room, RoomGroup},
    },
};

impl Core {
    /// Somebody of ours has taken the ghost of `user` out of the conversation.
    pub(crate) async fn oust(
        &self,
        tx: &mut Tx,
        portal: &Portal,
        by: &UserUri,
        (native, proof): (&NativeMessageId, SenderProof),
        (user, banned): (&UserUri, bool),
    ) -> Result<(), Fault> {
        if self.is_ours(user) {
            return Err(Fault::never("that is somebody of this side"));
        }
        self.remember_event(tx, portal, native)?;
        if tx.participant_role(&portal.room, user).await?.is_none() {
            return Ok(());
        }
        if proof == SenderProof::Claimed {
            let why = "the network does not say for sure who you are";
            return self.not_ousted(tx, &portal.room, by, user, why).await;
        }
        let (to, payload) =
            (Destination::Hub(portal.room.clone()), Payload::Oust { by: by.clone(), user: user.clone(), banned });
        self.enqueue_destructive(tx, Deed::Kick, &portal.room, user, &to, &payload).await
    }

    /// The commit that does it, in the name of whoever wants it. `None` if it is so already.
    pub(crate) async fn make_ousting(
        &self,
        tx: &mut Tx,
        room: &Room,
        group: &RoomGroup,
        row: i64,
        (by, user, banned): (&UserUri, &UserUri, bool),
    ) -> Result<Option<Prepared>, Fault> {
        let state = self.state_of_reader(tx, group).await?;
        let Some(user_index) = state.participants.index(user) else { return Ok(None) };
        if state.participants.role(user) == Some(role::BANNED) {
            return Ok(None);
        }
        let update = match banned {
            true => ParticipantListUpdate {
                changed_role_participants: vec![UserIndexRolePair { user_index, role_index: role::BANNED }],
                ..Default::default()
            },
            false => ParticipantListUpdate { removed_indices: vec![user_index], ..Default::default() },
        };
        may_oust(&state, by, user, banned)
            .map_err(|denied| Fault::never(format!("the room does not allow it ({denied})")))?;
        let clients = state.clients.values().filter(|client| client.user == *user);
        let change = Change {
            remove: clients.map(|client| client.identity()).collect(),
            update: vec![(component::PARTICIPANT_LIST, update.encode())],
            ..Default::default()
        };
        self.commit_as(tx, &room.room, group, by, change, row).await.map(Some)
    }

    /// It will not be: whoever tried reads why, and the ghost comes back.
    pub(crate) async fn not_ousted(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        by: &UserUri,
        user: &UserUri,
        why: &str,
    ) -> Result<(), Fault> {
        let text = format!("{user} is still in the room and reads what is written here: {why}.");
        self.notice(tx, room, text, None, Some(by)).await?;
        let presence = Payload::Presence { user: user.clone(), joined: true };
        self.enqueue(tx, &Destination::Portal(room.clone()), &presence).await
    }

    /// A commit of somebody from elsewhere has taken some of ours out. They are still in their own conversation, so they
    /// are told.
    pub(crate) async fn ours_were_ousted(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        by: &UserUri,
        ours: Vec<(UserUri, bool)>,
    ) -> Result<(), Fault> {
        for (user, banned) in ours {
            let text = match banned {
                true => {
                    format!("{by} has banned you from the room: people elsewhere no longer read what you write here.")
                }
                false => format!(
                    "{by} has taken you out of the room. What you write from now on reaches people elsewhere only if the \
                     room lets you in again."
                ),
            };
            self.notice(tx, room, text, None, Some(&user)).await?;
        }
        Ok(())
    }

    /// Those of ours who were in the room before a commit and are not after it, and whether they are banned. Who leaves by
    /// themselves has others commit that.
    pub(crate) fn ours_ousted(
        &self,
        before: &RoomState,
        after: &RoomState,
        leaving: &[String],
    ) -> Vec<(UserUri, bool)> {
        let is_in =
            |state: &RoomState, user: &UserUri| state.participants.role(user).is_some_and(|role| role != role::BANNED);
        let leaves = |user: &UserUri| leaving.iter().any(|identity| room_state::user(identity).as_ref() == Ok(user));
        let gone = before.participants.iter().map(|it| &it.user);
        let gone =
            gone.filter(|user| self.is_ours(user) && is_in(before, user) && !is_in(after, user) && !leaves(user));
        gone.map(|user| (user.clone(), after.participants.role(user).is_some())).collect()
    }
}

/// May `by` take somebody out, with all their clients?
fn may_oust(room: &RoomState, by: &UserUri, user: &UserUri, banned: bool) -> Result<(), String> {
    let mut list: Vec<_> = room.participants.iter().cloned().collect();
    match banned {
        true => list.iter_mut().filter(|it| it.user == *user).for_each(|it| it.role_index = role::BANNED),
        false => list.retain(|it| it.user != *user),
    }
    let participants = crate::mimi::participants::ParticipantListData::new(list).map_err(|e| e.to_string())?;
    let mut after = RoomState { participants, ..room.clone() };
    after.clients.retain(|_, client| client.user != *user);
    let change = match banned {
        true => policy::Change::ChangeRole(user.clone()),
        false => policy::Change::RemoveParticipant(user.clone()),
    };
    policy::authorise(room, &after, &Actor::User(by.clone()), &change).map_err(|denied| denied.to_string())
}
