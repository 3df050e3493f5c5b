//! Rooms and portals: made, linked, joined and left, by people on the native side and by the admin.

mod unlink;

use std::{sync::Arc, time::Duration};

use mimi_adapter::{ConversationId, Session, UserUri, async_trait};
use tracing::info;

use crate::{
    admin::{
        AbuseDetail, AbuseSummary, AdapterState, AdapterStatus, BreakerStatus, CodeSummary, ConsentRequest,
        ConsentScope, CreateDirect, CreateRoom, Delivery, ErrorKind, Find, Invite as AdminInvite, Join, KeptMessage,
        Letters, Link, NewCode, Operator, OperatorError, Outbox, OutboxStatus, Participant, ReportAbuse, RoomDetail,
        RoomSummary, Status, Traced, TripStatus, Unlink, ask_before_unlink, never_came,
    },
    breaker::Deed,
    core::{Core, Fault},
    mimi::{
        joining_link::{JoiningLink, NotALink},
        policy,
        uri::RoomUri,
        wire::{FanoutMessage, MlsKind},
    },
    outbox::{Destination, Payload},
    store::{
        Tx,
        breaker::Trip,
        codes::JoiningCode,
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
    async fn new_direct(
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
    async fn join(&self, tx: &mut Tx, link: &JoiningLink, user: &UserUri, to: &Link) -> Result<(), Fault> {
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

    async fn summary(&self, tx: &mut Tx, room: &Room) -> Result<RoomSummary, Fault> {
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

/// The admin's hands.
pub struct Desk(pub Arc<Core>);

#[async_trait]
impl Operator for Desk {
    async fn status(&self) -> Result<Status, OperatorError> {
        let status = self.0.write(|core, tx| {
            Box::pin(async move {
                let (queued, oldest) = tx.outbox_totals().await?;
                let trips = tx.open_trips().await?;
                let adapters = core
                    .adapters
                    .iter()
                    .map(|(name, seat)| {
                        let status = AdapterStatus::of(name, &seat.kind, &seat.adapter.session().borrow());
                        match core.must_run(name) {
                            Ok(()) => status,
                            Err(elsewhere) => AdapterStatus { reason: Some(elsewhere.to_string()), ..status },
                        }
                    })
                    .collect();
                Ok(Status {
                    version: env!("CARGO_PKG_VERSION").into(),
                    domain: core.domain.clone(),
                    adapters,
                    outbox: OutboxStatus {
                        queued: queued as u64,
                        oldest_age_s: oldest.map(|oldest| core.now().saturating_sub(oldest as u64) / 1000),
                        failing: tx.outages().await?.len() as u64,
                        dead: core.dead_status(tx).await?,
                    },
                    breaker: BreakerStatus {
                        trips: trips.len() as u64,
                        held: trips.iter().map(|(_, held)| held).sum(),
                    },
                })
            })
        });
        status.await.map_err(error)
    }

    async fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        // A database on a full disk takes any transaction that writes nothing.
        let written = self.0.write(|core, tx| Box::pin(async move { Ok(tx.was_ready(core.now()).await?) }));
        if let Err(fault) = written.await {
            reasons.push(format!("the database: {fault}"));
        }
        for (name, seat) in self.0.adapters.iter().filter(|(name, _)| self.0.store.leases().holds(name)) {
            match &*seat.adapter.session().borrow() {
                Session::Up => {}
                Session::Starting => reasons.push(format!("adapters.{name} has not heard from its network yet")),
                Session::Deaf { reason, .. } => {
                    reasons.push(format!("adapters.{name} is deaf: its network is there, but {reason}"));
                }
                Session::Down { reason, .. } => reasons.push(format!("adapters.{name} has no network: {reason}")),
            }
        }
        reasons
    }

    async fn rooms(&self) -> Result<Vec<RoomSummary>, OperatorError> {
        let rooms = self.0.write(|core, tx| {
            Box::pin(async move {
                let mut summaries = Vec::new();
                for room in tx.rooms().await? {
                    summaries.push(core.summary(tx, &room).await?);
                }
                Ok(summaries)
            })
        });
        rooms.await.map_err(error)
    }

    async fn room(&self, room: &RoomUri) -> Result<RoomDetail, OperatorError> {
        let room = room.clone();
        let detail = self.0.write(move |core, tx| {
            Box::pin(async move {
                let Some(state) = tx.room(&room).await? else { return Ok(None) };
                Ok(Some(RoomDetail {
                    summary: core.summary(tx, &state).await?,
                    name: Some(state.name.clone()).filter(|name| !name.is_empty()),
                    participants: tx
                        .participants(&room)
                        .await?
                        .into_iter()
                        .map(|(user, role)| Participant { user, role: role_name(role) })
                        .collect(),
                    invites: tx
                        .invites_of_room(&room)
                        .await?
                        .into_iter()
                        .map(|invite| AdminInvite {
                            user: invite.user,
                            state: match invite.problem {
                                Some(problem) => format!("{}: {problem}", invite.state.as_str()),
                                None => invite.state.as_str().to_owned(),
                            },
                        })
                        .collect(),
                }))
            })
        });
        detail.await.map_err(error)?.ok_or_else(no_such_room)
    }

    async fn create_room(&self, new: CreateRoom) -> Result<RoomUri, OperatorError> {
        let made = self.0.write(move |core, tx| {
            Box::pin(async move {
                let uri = new.room.unwrap_or_else(|| RoomUri::new(&core.domain, &uuid::Uuid::new_v4().to_string()));
                if *uri.domain() != core.domain {
                    return Err(Fault::never(format!("a room of ours begins with mimi://{}/r/", core.domain)));
                }
                if tx.room(&uri).await?.is_some() {
                    return Err(Fault::never(format!("{uri} exists already")));
                }
                let name = new.name.unwrap_or_default();
                tx.save_room(&Room { room: uri.clone(), name, direct: false, state: RoomState::New, group: None })
                    .await?;
                core.link(tx, &uri, &new.adapter, &new.conversation).await?;
                Ok(uri)
            })
        });
        made.await.map_err(error)
    }

    async fn direct(&self, new: CreateDirect) -> Result<RoomUri, OperatorError> {
        let made = self.0.write(move |core, tx| {
            Box::pin(async move {
                if !core.is_ours(&new.user) || core.is_ours(&new.with) {
                    return Err(Fault::never("a direct room is between a user of ours and one of another provider"));
                }
                let adapter = core
                    .adapter_of(&new.user)
                    .ok_or_else(|| Fault::never(format!("no adapter serves {}", new.user.native())))?
                    .to_owned();
                if let Some(portal) = tx.direct_portal(&adapter, &new.user.native(), &new.with).await? {
                    return Ok(portal.room);
                }
                let room = core.new_direct(tx, &adapter, None, &new.user, &new.with).await?;
                // Its first turn opens the conversation.
                let presence = Payload::Presence { user: new.with.clone(), joined: true };
                core.enqueue(tx, &Destination::Portal(room.clone()), &presence).await?;
                Ok(room)
            })
        });
        made.await.map_err(error)
    }

    async fn invite(&self, room: &RoomUri, user: &UserUri) -> Result<(), OperatorError> {
        let (room, user) = (room.clone(), user.clone());
        let done = self.0.write(move |core, tx| {
            Box::pin(async move {
                let Some(state) = tx.room(&room).await? else { return Ok(false) };
                if state.direct {
                    return Err(Fault::never("a conversation of two has no place for anybody else"));
                }
                if *room.domain() != core.domain && core.is_ours(&user) {
                    return Err(Fault::never("one of ours comes into another provider's room by its conversation"));
                }
                if tx.participant_role(&room, &user).await?.is_none() {
                    core.want(tx, &room, &user).await?;
                }
                Ok(true)
            })
        });
        done.await.map_err(error)?.then_some(()).ok_or_else(no_such_room)
    }

    async fn link(&self, room: &RoomUri, link: Link) -> Result<(), OperatorError> {
        let room = room.clone();
        let done = self.0.write(move |core, tx| {
            Box::pin(async move { core.link(tx, &room, &link.adapter, &link.conversation).await })
        });
        done.await.map_err(error)
    }

    async fn join(&self, new: Join) -> Result<(), OperatorError> {
        let done = self.0.write(move |core, tx| {
            Box::pin(async move {
                let link: JoiningLink = new.link.parse().map_err(|e: NotALink| Fault::never(e.to_string()))?;
                core.join(tx, &link, &new.user, &new.to).await
            })
        });
        done.await.map_err(error)
    }

    async fn make_code(&self, room: &RoomUri, new: NewCode) -> Result<String, OperatorError> {
        let room = room.clone();
        let made = self.0.write(move |core, tx| {
            Box::pin(async move {
                let valid = Duration::from_secs(u64::from(new.days) * 24 * 3600);
                Ok(core.make_code(tx, &room, new.uses, valid).await?.to_string())
            })
        });
        made.await.map_err(error)
    }

    async fn codes(&self, room: &RoomUri) -> Result<Vec<CodeSummary>, OperatorError> {
        let room = room.clone();
        let codes = self.0.write(move |core, tx| Box::pin(async move { core.codes(tx, &room).await }));
        let summary = |code: JoiningCode| CodeSummary { id: code.id(), uses: code.uses, expires: code.expires / 1000 };
        Ok(codes.await.map_err(error)?.into_iter().map(summary).collect())
    }

    async fn withdraw_code(&self, room: &RoomUri, id: &str) -> Result<(), OperatorError> {
        let (room, id) = (room.clone(), id.to_owned());
        let done = self.0.write(move |core, tx| Box::pin(async move { core.withdraw_code(tx, &room, &id).await }));
        done.await.map_err(error)
    }

    async fn unlink(&self, room: &RoomUri, how: Unlink) -> Result<(), OperatorError> {
        let room = room.clone();
        let done = self.0.write(move |core, tx| {
            Box::pin(async move {
                let portal = match tx.portal_of_room(&room).await? {
                    // What was unlinked already can still be made final.
                    None if how.now => tx.unlinked_portal(&room).await?,
                    portal => portal,
                };
                let Some(portal) = portal else { return Ok(Err(no_such_room())) };
                let participants = tx.participants(&room).await?;
                if let Err(question) = ask_before_unlink(&room, participants.len() as u64, how) {
                    return Ok(Err(question));
                }
                match how.now {
                    true => core.forget_link(tx, &portal).await?,
                    false => core.unlink(tx, &portal).await?,
                }
                Ok(Ok(()))
            })
        });
        done.await.map_err(error)?
    }

    async fn relink(&self, room: &RoomUri) -> Result<(), OperatorError> {
        let room = room.clone();
        let done = self.0.write(move |core, tx| Box::pin(async move { core.relink(tx, &room).await }));
        done.await.map_err(error)
    }

    async fn outbox(&self, room: Option<&RoomUri>) -> Result<Outbox, OperatorError> {
        let room = room.cloned();
        let report = self.0.write(move |core, tx| Box::pin(async move { core.outbox_report(tx, room.as_ref()).await }));
        report.await.map_err(error)
    }

    async fn delivery(&self, id: i64, content: bool) -> Result<Delivery, OperatorError> {
        let found = self.0.write(move |core, tx| Box::pin(async move { core.delivery(tx, id, content).await }));
        found.await.map_err(error)?.ok_or_else(|| {
            OperatorError::new(
                ErrorKind::NotFound,
                format!("nothing that waits or is dead has the number {id}"),
                "it has been delivered, or `mimi-gateway outbox list` knows its number",
            )
        })
    }

    async fn trace(&self, id: &str) -> Result<Vec<Traced>, OperatorError> {
        let name = id.to_owned();
        let found = self.0.write(move |core, tx| Box::pin(async move { core.trace_message(tx, &name).await }));
        let found = found.await.map_err(error)?;
        if found.is_empty() { Err(never_came(id)) } else { Ok(found) }
    }

    async fn retry(&self, which: Letters) -> Result<u64, OperatorError> {
        let done = self.0.write(move |core, tx| Box::pin(async move { core.retry(tx, &which).await }));
        done.await.map_err(error)
    }

    async fn redirect(&self, id: i64, room: &RoomUri) -> Result<(), OperatorError> {
        let room = room.clone();
        let done = self.0.write(move |core, tx| Box::pin(async move { core.redirect(tx, id, &room).await }));
        done.await.map_err(error)
    }

    async fn drop_letter(&self, id: i64) -> Result<(), OperatorError> {
        let done = self.0.write(move |core, tx| Box::pin(async move { core.drop_letter(tx, id).await }));
        done.await.map_err(error)
    }

    async fn trips(&self) -> Result<Vec<TripStatus>, OperatorError> {
        let trips = self.0.write(|_, tx| Box::pin(async move { Ok(tx.open_trips().await?) })).await.map_err(error)?;
        let status = |(trip, held): (Trip, u64)| TripStatus {
            id: trip.id,
            what: trip.kind,
            scope: trip.scope,
            since: trip.tripped / 1000,
            held,
        };
        Ok(trips.into_iter().map(status).collect())
    }

    async fn decide_trip(&self, id: i64, allow: bool) -> Result<u64, OperatorError> {
        self.0.decide_trip(id, allow).await.map_err(error)?.ok_or_else(|| {
            OperatorError::new(
                ErrorKind::NotFound,
                format!("nothing is held under the number {id}"),
                "`mimi-gateway breaker list` shows what is",
            )
        })
    }

    async fn abuse_reports(&self) -> Result<Vec<AbuseSummary>, OperatorError> {
        let reports = self.0.write(|_, tx| Box::pin(async move { Ok(tx.abuse_reports().await?) }));
        Ok(reports.await.map_err(error)?.iter().map(AbuseSummary::of).collect())
    }

    async fn abuse_report(&self, id: i64, content: bool) -> Result<AbuseDetail, OperatorError> {
        let report = self.0.write(move |_, tx| Box::pin(async move { Ok(tx.abuse_report(id).await?) }));
        let report = report.await.map_err(error)?.ok_or_else(no_such_report)?;
        if content {
            info!(id, "An admin reads a report.");
        }
        Ok(AbuseDetail::of(&report, content))
    }

    async fn drop_abuse_report(&self, id: i64) -> Result<(), OperatorError> {
        let dropped = self.0.write(move |_, tx| Box::pin(async move { Ok(tx.drop_abuse_report(id).await?) }));
        match dropped.await.map_err(error)? {
            true => Ok(()),
            false => Err(no_such_report()),
        }
    }

    async fn kept_messages(&self, room: &RoomUri) -> Result<Vec<KeptMessage>, OperatorError> {
        let room = room.clone();
        let kept = self.0.write(move |core, tx| Box::pin(async move { core.kept(tx, &room).await }));
        kept.await.map_err(error)
    }

    async fn report_abuse(&self, new: ReportAbuse) -> Result<(), OperatorError> {
        let done = self.0.write(move |core, tx| Box::pin(async move { core.report_abuse(tx, new).await }));
        done.await.map_err(error)
    }

    async fn find(&self, find: Find) -> Result<Vec<UserUri>, OperatorError> {
        self.0.find(find).await.map_err(error)
    }

    async fn consents(&self) -> Result<Vec<ConsentRequest>, OperatorError> {
        let consents = self.0.write(|_, tx| Box::pin(async move { Ok(tx.consents().await?) })).await.map_err(error)?;
        Ok(consents
            .into_iter()
            .map(|consent| ConsentRequest {
                scope: ConsentScope { requester: consent.requester, target: consent.target, room: consent.room },
                state: consent.state.as_str().to_owned(),
                since: consent.since / 1000,
            })
            .collect())
    }

    async fn grant(&self, scope: ConsentScope) -> Result<(), OperatorError> {
        self.decide(scope, true).await
    }

    async fn revoke(&self, scope: ConsentScope) -> Result<(), OperatorError> {
        self.decide(scope, false).await
    }
}

impl Desk {
    async fn decide(&self, scope: ConsentScope, granted: bool) -> Result<(), OperatorError> {
        let done = self.0.write(move |core, tx| {
            Box::pin(async move {
                if !core.is_ours(&scope.target) {
                    return Err(Fault::never("consent is given for a user of ours"));
                }
                core.decide_consent(tx, &scope.requester, &scope.target, scope.room.as_ref(), granted).await
            })
        });
        done.await.map_err(error)
    }
}

fn error(fault: Fault) -> OperatorError {
    match fault {
        Fault::Never(reason) => OperatorError::new(ErrorKind::Invalid, reason, ""),
        Fault::Later { problem, .. } => OperatorError::new(ErrorKind::Unavailable, problem, "try again in a moment"),
        Fault::Broken(problem) => OperatorError::new(ErrorKind::Unavailable, problem, "the gateway's log says more"),
        Fault::Astray(astray) => error(Fault::later(astray)),
    }
}

/// Roles of other hubs' rooms may have other names; the number is what counts.
fn role_name(role: u32) -> String {
    let name = match role {
        policy::role::BANNED => "banned",
        policy::role::ORDINARY_USER => "ordinary user",
        policy::role::GROUP_ADMIN => "group admin",
        policy::role::SUPER_ADMIN => "super admin",
        policy::role::POLICY_ENFORCER => "policy enforcer",
        policy::role::READ_ONLY => "read only",
        _ => return format!("role {role}"),
    };
    name.to_owned()
}

fn no_such_report() -> OperatorError {
    OperatorError::new(
        ErrorKind::NotFound,
        "there is no such report",
        "`mimi-gateway abuse list` shows those there are",
    )
}

fn no_such_room() -> OperatorError {
    OperatorError::new(
        ErrorKind::NotFound,
        "there is no such room here",
        "`mimi-gateway room list` shows those there are",
    )
}
