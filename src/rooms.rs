//! Rooms and portals: made, linked, joined and left, by people on the native side and by the admin.

mod unlink;

use std::sync::Arc;

use mimi_adapter::{ConversationId, UserUri};

use tracing::info;

use crate::{
    admin::{AdapterState, Link, RoomSummary},
    breaker::Deed,
    core::{Core, Fault},
    mimi::{
        joining_link::JoiningLink,
        policy,
        uri::RoomUri,
        wire::{FanoutMessage, MlsKind},
    },
    outbox::{Destination, Payload},
    store::{
        Tx,
        invites::{Invite, InviteState},
        portals::{NewPortal, Portal},
        rooms::{Room, RoomState},
    },
};

impl Core {
    /// A native person is in a linked conversation, so their client belongs in the room. Founds the group of
    /// a new room of ours; otherwise the commit that adds them goes ahead of what they say.
    pub async fn ensure_member(&self, tx: &mut Tx, room: &mut Room, user: &UserUri) -> Result<(), Fault> {
        match room.state {
            RoomState::New => return self.found(tx, room, user, &[]).await,
            RoomState::Waiting => return Err(Fault::never("the MIMI room is not connected yet")),
            RoomState::Left => return Err(Fault::never("this conversation has left its MIMI room")),
            RoomState::Open => {}
        }
        if self.leaf_of(tx, &room.room, user).await?.is_some() {
            return Ok(());
        }
        if tx.invite(&room.room, user).await?.is_some_and(|invite| invite.state != InviteState::Failed) {
            return Ok(());
        }
        if room.direct && tx.participant_role(&room.room, user).await?.is_none() {
            return Err(Fault::never("this is a conversation between two others"));
        }
        self.add(tx, room, user).await
    }

    /// A native person says that they are here. Whoever left a moment ago may still be in the room, on the way out:
    /// then the way back in follows.
    pub async fn come_back(&self, tx: &mut Tx, room: &mut Room, user: &UserUri) -> Result<(), Fault> {
        let to = Destination::Hub(room.room.clone()).to_string();
        let mut leaving = None;
        for (row, payload) in tx.outbox_rows_of_kind(&to, "remove").await? {
            if matches!(Payload::decode(&payload)?, Payload::Remove { user: who } if who == *user) {
                leaving = Some(row);
            }
        }
        let Some(leaving) = leaving else { return self.ensure_member(tx, room, user).await };
        for (row, payload) in tx.outbox_rows_of_kind(&to, "add").await? {
            if row > leaving && matches!(Payload::decode(&payload)?, Payload::Add { user: who, .. } if who == *user) {
                return Ok(());
            }
        }
        self.add(tx, room, user).await
    }

    async fn add(&self, tx: &mut Tx, room: &Room, user: &UserUri) -> Result<(), Fault> {
        let role = policy::role::ORDINARY_USER;
        let invite =
            Invite { room: room.room.clone(), user: user.clone(), role, state: InviteState::Adding, problem: None };
        tx.save_invite(&invite, self.now()).await?;
        let payload = Payload::Add { user: user.clone(), role, key_package: None };
        self.enqueue(tx, &Destination::Hub(room.room.clone()), &payload).await
    }

    /// A native person has left the conversation, so their client leaves the room. A direct room has the
    /// same two participants for ever.
    pub async fn leave(&self, tx: &mut Tx, room: &Room, user: &UserUri) -> Result<(), Fault> {
        if room.direct || room.state != RoomState::Open {
            return Ok(());
        }
        let (to, payload) = (Destination::Hub(room.room.clone()), Payload::Remove { user: user.clone() });
        self.enqueue_destructive(tx, Deed::Leave, &room.room, user, &to, &payload).await
    }

    /// The same, because an admin wants it.
    async fn take_out(&self, tx: &mut Tx, room: &Room, user: &UserUri) -> Result<(), Fault> {
        if room.direct || room.state != RoomState::Open {
            return Ok(());
        }
        self.enqueue(tx, &Destination::Hub(room.room.clone()), &Payload::Remove { user: user.clone() }).await
    }

    /// The first message of a one-to-one conversation that has no room yet: it gets a direct one.
    pub async fn begin_direct(
        &self,
        tx: &mut Tx,
        adapter: &str,
        conversation: &ConversationId,
        user: &UserUri,
        ghost: &UserUri,
    ) -> Result<Portal, Fault> {
        if self.is_ours(ghost) {
            return Err(Fault::never("both of you are on this side: write to each other directly"));
        }
        let native = user.native();
        if let Some(portal) = tx.direct_portal(adapter, &native, ghost).await? {
            // The same two in another native conversation: their room's portal moves there if it has none.
            if portal.conversation.is_none() {
                tx.portal_is_open(portal.id, conversation).await?;
                self.nudge(tx, Destination::Portal(portal.room.clone()));
                return Ok(Portal { conversation: Some(conversation.clone()), ..portal });
            }
            return Err(Fault::never("the two of you have a conversation already; please write there"));
        }
        let room = self.new_direct(tx, adapter, Some(conversation), user, ghost).await?;
        tx.portal_of_room(&room).await?.ok_or_else(|| Fault::later("a new portal is missing"))
    }

    /// A fixed_membership room of two, founded, and the other one wanted in it.
    pub(crate) async fn new_direct(
        &self,
        tx: &mut Tx,
        adapter: &str,
        conversation: Option<&ConversationId>,
        user: &UserUri,
        ghost: &UserUri,
    ) -> Result<RoomUri, Fault> {
        self.must_run(adapter)?;
        let uri = RoomUri::new(&self.domain, &uuid::Uuid::new_v4().to_string());
        let mut room =
            Room { room: uri.clone(), name: String::new(), direct: true, state: RoomState::New, group: None };
        tx.save_room(&room).await?;
        let native = user.native();
        tx.add_portal(NewPortal { room: &uri, adapter, conversation, direct: Some((&native, ghost)) }).await?;
        self.found(tx, &mut room, user, std::slice::from_ref(ghost)).await?;
        self.want(tx, &uri, ghost).await?;
        self.refresh_links(tx).await?;
        Ok(uri)
    }

    /// Notes that somebody should be in a room, and sets out to get them there.
    pub(crate) async fn want(&self, tx: &mut Tx, room: &RoomUri, user: &UserUri) -> Result<(), Fault> {
        let invite = Invite {
            room: room.clone(),
            user: user.clone(),
            role: policy::role::ORDINARY_USER,
            state: InviteState::Wanted,
            problem: None,
        };
        tx.save_invite(&invite, self.now()).await?;
        self.enqueue(tx, &Destination::Invite(room.clone(), user.clone()), &Payload::Invite).await
    }

    /// A user of ours comes into another provider's room by a link, and the room belongs to a conversation.
    pub(crate) async fn join(&self, tx: &mut Tx, link: &JoiningLink, user: &UserUri, to: &Link) -> Result<(), Fault> {
        let room = &link.room;
        if *room.domain() == self.domain {
            return Err(Fault::never("it is a room of ours: link it, or let the person write in its conversation"));
        }
        if !self.is_ours(user) || self.adapter_of(user) != Some(to.adapter.as_str()) {
            return Err(Fault::never(format!("{user} is no user of the adapter {}", to.adapter)));
        }
        self.link(tx, room, &to.adapter, &to.conversation).await?;
        if tx.room(room).await?.is_none_or(|room| room.state != RoomState::Waiting) {
            return Err(Fault::never("we are in that room already, or have left it"));
        }
        if self.is_coming(tx, room).await? {
            return Err(Fault::never("somebody of ours is on the way into that room already"));
        }
        let (role, state) = (policy::role::ORDINARY_USER, InviteState::Adding);
        let invite = Invite { room: room.clone(), user: user.clone(), role, state, problem: None };
        tx.save_invite(&invite, self.now()).await?;
        let payload = Payload::Join { code: link.code().to_owned() };
        self.enqueue(tx, &Destination::Rejoin(room.clone(), user.clone()), &payload).await
    }

    /// Whether one of ours is on the way into a room in which we are not yet.
    pub(crate) async fn is_coming(&self, tx: &mut Tx, room: &RoomUri) -> Result<bool, Fault> {
        let invites = tx.invites_of_room(room).await?;
        Ok(invites.iter().any(|invite| invite.state == InviteState::Adding && self.is_ours(&invite.user)))
    }

    /// The hub of a room does not let in who wanted to come by a link.
    pub(crate) async fn not_let_in(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        user: &UserUri,
        reason: &str,
    ) -> Result<(), Fault> {
        if let Some(mut invite) = tx.invite(room, user).await? {
            invite.state = InviteState::Failed;
            invite.problem = Some(reason.to_owned());
            tx.save_invite(&invite, self.now()).await?;
        }
        let text = format!("{user} could not join {room}: {reason}.");
        self.notice(tx, room, text, None, None).await
    }

    /// Is this notify for anybody here? A room we are in, or a Welcome for one of our KeyPackages.
    pub async fn knows(&self, tx: &mut Tx, room: &RoomUri, messages: &[FanoutMessage]) -> Result<bool, Fault> {
        let state = tx.room(room).await?;
        if state.as_ref().is_some_and(|room| room.group.is_some()) {
            return Ok(true);
        }
        // What comes behind our own commit comes again.
        if state.is_some() && self.is_coming(tx, room).await? {
            return Err(Fault::later("our way into the room is not settled yet"));
        }
        for message in messages.iter().map(FanoutMessage::message).filter(|m| m.kind() == MlsKind::Welcome) {
            for reference in message.key_package_refs() {
                if tx.leaf_of_key_package(reference).await?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Joins a room to a conversation, in the database and, after the commit, for the adapter.
    pub async fn link(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        adapter: &str,
        conversation: &ConversationId,
    ) -> Result<(), Fault> {
        self.put_together(tx, room, adapter, conversation).await?;
        self.refresh_links(tx).await
    }

    /// [`link`](Self::link), and the adapters are not told yet.
    async fn put_together(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        adapter: &str,
        conversation: &ConversationId,
    ) -> Result<(), Fault> {
        self.must_run(adapter)?;
        if !self.adapters.contains_key(adapter) {
            let names = self.adapters.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(Fault::never(format!("no adapter is called {adapter}; there are: {names}")));
        }
        if let Some(portal) = tx.portal_of_room(room).await? {
            return match portal.conversation {
                Some(linked) if portal.adapter == adapter && linked == *conversation => Ok(()),
                _ => Err(Fault::never(format!("{room} is linked to another conversation already"))),
            };
        }
        if let Some(portal) = tx.portal_of_conversation(adapter, conversation).await? {
            return Err(Fault::never(format!("{conversation} is linked to {} already", portal.room)));
        }
        if let Some(portal) = tx.unlinked_portal(room).await? {
            if portal.adapter == adapter && portal.conversation.as_ref() == Some(conversation) {
                return self.relink(tx, room).await;
            }
            self.forget_link(tx, &portal).await?;
        }
        if tx.room(room).await?.is_none() {
            let state = if *room.domain() == self.domain { RoomState::New } else { RoomState::Waiting };
            tx.save_room(&Room { room: room.clone(), name: String::new(), direct: false, state, group: None }).await?;
        }
        tx.add_portal(NewPortal { room, adapter, conversation: Some(conversation), direct: None }).await?;
        info!(%room, adapter, %conversation, "Linked.");
        self.nudge(tx, Destination::Portal(room.clone()));
        Ok(())
    }

    /// Tells the adapters, once this is committed, which conversations to listen to: those whose rooms are
    /// open, or ours to open.
    pub async fn refresh_links(&self, tx: &mut Tx) -> Result<(), Fault> {
        let mut links: std::collections::BTreeMap<String, std::collections::BTreeSet<ConversationId>> =
            self.adapters.keys().map(|name| (name.clone(), Default::default())).collect();
        for (adapter, conversation) in tx.linked_conversations().await? {
            if let Some(links) = links.get_mut(&adapter) {
                links.insert(conversation);
            }
        }
        for (name, links) in links {
            let sender = self.adapters[&name].links.clone();
            tx.on_commit(move || {
                sender.send_if_modified(|current| {
                    let changed = **current != links;
                    if changed {
                        *current = Arc::new(links);
                    }
                    changed
                });
            });
        }
        Ok(())
    }

    /// The `[[portals]]` entries of the configuration. Said again at every start; what is there already stays.
    pub async fn configure_portals(&self, tx: &mut Tx, portals: &[crate::config::Portal]) -> Result<(), Fault> {
        // At most starts all of them are there. One look at all is quicker than one at each of ten thousand.
        let there: std::collections::HashMap<_, _> =
            tx.portals().await?.into_iter().map(|portal| (portal.room.clone(), portal)).collect();
        for portal in portals {
            let linked = there.get(&portal.room).is_some_and(|there| {
                there.adapter == portal.adapter && there.conversation.as_ref() == Some(&portal.conversation)
            });
            if !linked || portal.name.is_some() || !portal.invite.is_empty() {
                self.configure_portal(tx, portal).await?;
            }
        }
        self.refresh_links(tx).await
    }

    async fn configure_portal(&self, tx: &mut Tx, portal: &crate::config::Portal) -> Result<(), Fault> {
        self.put_together(tx, &portal.room, &portal.adapter, &portal.conversation).await?;
        if let Some(name) = &portal.name
            && let Some(mut room) = tx.room(&portal.room).await?
            && room.state == RoomState::New
        {
            room.name = name.clone();
            tx.save_room(&room).await?;
        }
        for user in &portal.invite {
            let known = tx.invite(&portal.room, user).await?.is_some()
                || tx.participant_role(&portal.room, user).await?.is_some();
            if !known {
                self.want(tx, &portal.room, user).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn summary(&self, tx: &mut Tx, room: &Room) -> Result<RoomSummary, Fault> {
        let unlinked = tx.unlinked_portal(&room.room).await?;
        let state = if unlinked.is_some() { "unlinked" } else { room.state.as_str() };
        let portal = tx.portal_of_room(&room.room).await?.or(unlinked);
        let mut queued = 0;
        for to in [Destination::Portal(room.room.clone()), Destination::Hub(room.room.clone())] {
            queued += tx.outbox_length(&to.to_string()).await?;
        }
        Ok(RoomSummary {
            room: room.room.clone(),
            hub: room.room.domain().clone(),
            session: portal.as_ref().and_then(|portal| self.adapters.get(&portal.adapter)).map(|seat| {
                let session = seat.adapter.session();
                AdapterState::of(&session.borrow())
            }),
            adapter: portal.as_ref().map(|portal| portal.adapter.clone()),
            conversation: portal.and_then(|portal| portal.conversation),
            state: state.to_owned(),
            participants: tx.participants(&room.room).await?.len() as u64,
            epoch: room.group.as_ref().map_or(0, |group| group.epoch),
            queued: queued as u64,
        })
    }
}
