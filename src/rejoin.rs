//! How a client of ours comes back into a room when it has lost its place there.
//!
//! It has if the rows of its leaf are gone or damaged, or if a commit never came and the hub has gone on without it.
//! Nothing of that can be mended here: a ratchet that is guessed is a ratchet that is used twice. So the client asks
//! the hub for the group's GroupInfo and joins by an external commit, with the same signature key, which takes the
//! old leaf out (`outbox::rejoin`). That something is lost is found wherever the leaf is used; whoever found it is told
//! to come again, and [`Core::write`] notes the loss in a transaction of its own: a row in the outbox, from which all
//! else follows and goes on after a crash.
//!
//! If another leaf of ours in that room is whole it becomes the reader at once, and nobody misses anything. If there
//! is none, what the hub sends waits there until we are back. Then it can't be read, for it was encrypted to the leaf
//! that is lost; the people of the conversation are told so, once, where those messages would have stood. What our own
//! people wrote has waited in the hub's queue, and is encrypted by the new leaf.
//!
//! Where the hub does not let us in, we are out of the room: the people are told that, too.

use std::{fmt, sync::Arc};

use tracing::{info, warn};

use crate::{
    core::{Core, Fault},
    mimi::uri::{RoomUri, UserUri},
    mls::{Member, Owner},
    outbox::{
        Destination, Payload,
        commits::{is_up_to_date, user_of},
    },
    room_state,
    store::{
        Tx,
        leaves::Leaf,
        rooms::{Room, RoomGroup, RoomState},
    },
};

/// For so long the hub may be in a later epoch than we are, in milliseconds, before we take it that the commit in
/// between won't come. A hub sends in order and again and again, so only our own commits overtake: until the answer to
/// one is here.
pub const GAP: u64 = 60_000;

/// What has been found about a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Astray {
    /// Its state is gone, or can't lead to the room's epoch any more.
    Lost { owner: Owner, problem: String },
    /// Something of a later epoch has come from the room's hub.
    Behind { room: RoomUri, problem: String },
}

impl fmt::Display for Astray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Lost { problem, .. } | Self::Behind { problem, .. }) = self;
        f.write_str(problem)
    }
}

impl Core {
    /// Notes what has been found, and answers what whoever found it is told.
    pub(crate) async fn went_astray(self: &Arc<Self>, astray: Astray) -> Fault {
        let told = Fault::later(&astray);
        let mut found = vec![astray];
        while let Some(astray) = found.pop() {
            let noted = astray.clone();
            let noted = self.transact(Vec::new(), move |core, tx| {
                Box::pin(async move {
                    match noted {
                        Astray::Lost { owner, problem } => core.lost(tx, owner, &problem).await,
                        Astray::Behind { room, problem } => core.behind(tx, &room, &problem).await,
                    }
                })
            });
            match noted.await {
                Ok(()) => {}
                // The leaf that should have taken over is lost as well. Once that is noted, it is the next one's turn.
                Err(Fault::Astray(another)) if another != astray => found.extend([astray, another]),
                Err(fault) => return fault,
            }
        }
        mimi_adapter::failpoint!("rejoin.noted");
        told
    }

    /// A leaf can't be used any more.
    async fn lost(&self, tx: &mut Tx, owner: Owner, problem: &str) -> Result<(), Fault> {
        let Some(leaf) = tx.leaf(owner).await? else { return Ok(()) };
        let Some(room) = &leaf.room else {
            warn!(client = %leaf.client, problem, "The keys of a KeyPackage are lost; whoever has it can't use it.");
            return Ok(tx.remove_leaf(owner).await?);
        };
        let Some(state) = tx.room(room).await?.filter(|room| room.state == RoomState::Open) else { return Ok(()) };
        let Some(group) = state.group.clone() else { return Ok(()) };
        self.must_have(tx, room).await?;
        if !self.sets_out(tx, room, &leaf, problem).await? || group.reader != owner {
            return Ok(());
        }
        // Whoever of ours is in the room's epoch can read for all.
        let mut beside = tx.leaf_beside(room, owner).await?;
        while let Some(leaf) = beside {
            if !self.is_on_the_way(tx, room, &user_of(&leaf.client)?).await? {
                self.catch_up(tx, room, &group.group_id, &leaf).await?;
                info!(%room, client = %leaf.client, "Another client reads for all of ours.");
                return self.reads_for_all(tx, state, leaf.owner).await;
            }
            beside = tx.leaf_after(room, leaf.owner, owner).await?;
        }
        Ok(())
    }

    /// The hub is in a later epoch than our reader. Mostly that is over in a moment.
    pub(crate) async fn behind(&self, tx: &mut Tx, room: &RoomUri, problem: &str) -> Result<(), Fault> {
        let Some(mut state) = tx.room(room).await?.filter(|room| room.state == RoomState::Open) else { return Ok(()) };
        let Some(group) = &mut state.group else { return Ok(()) };
        match group.behind {
            None => {
                group.behind = Some(self.now());
                Ok(tx.save_room(&state).await?)
            }
            Some(since) if self.now() < since + GAP => Ok(()),
            Some(_) => {
                let Some(reader) = tx.leaf(group.reader).await? else { return Ok(()) };
                self.sets_out(tx, room, &reader, problem).await?;
                Ok(())
            }
        }
    }

    /// The reader has been taken out of the group. Not of the room, if that was its own way back: it was lost and can
    /// be read again, and whoever has brought the commit will be told what became of it.
    pub(crate) async fn unless_by_ourselves(&self, tx: &mut Tx, room: &RoomUri, state: &Room) -> Result<(), Fault> {
        let Some(group) = &state.group else { return Ok(()) };
        let Some(reader) = tx.leaf(group.reader).await? else { return Ok(()) };
        match self.is_on_the_way(tx, room, &user_of(&reader.client)?).await? {
            true => Err(Fault::later("our way back into the room is not settled yet")),
            false => Ok(()),
        }
    }

    /// `false` if the client is on its way back already.
    async fn sets_out(&self, tx: &mut Tx, room: &RoomUri, leaf: &Leaf, problem: &str) -> Result<bool, Fault> {
        let user = user_of(&leaf.client)?;
        if self.is_on_the_way(tx, room, &user).await? {
            return Ok(false);
        }
        warn!(%room, client = %leaf.client, problem, "A client has lost its place in the room; it joins anew.");
        self.enqueue(tx, &Destination::Rejoin(room.clone(), user), &Payload::Rejoin).await?;
        Ok(true)
    }

    async fn is_on_the_way(&self, tx: &mut Tx, room: &RoomUri, user: &UserUri) -> Result<bool, Fault> {
        let to = Destination::Rejoin(room.clone(), user.clone()).to_string();
        Ok(tx.outbox_length(&to).await? > 0)
    }

    /// Whether a leaf has to join anew, as it is now.
    pub(crate) async fn is_lost(&self, tx: &mut Tx, group: &RoomGroup, leaf: &Leaf) -> Result<bool, Fault> {
        let epoch = |member: &mut Member| Ok::<_, Fault>(member.epoch());
        match self.groups.member(tx, leaf.owner, &group.group_id, epoch).await {
            Ok(_) if leaf.owner == group.reader => Ok(group.behind.is_some_and(|since| self.now() >= since + GAP)),
            // It may have a Welcome or handshakes to read, and if they don't lead far enough that is found then.
            Ok(epoch) => Ok(epoch < group.epoch && leaf.position >= tx.last_handshake(&self.of(leaf)?).await?),
            Err(Fault::Astray(_)) => Ok(true),
            Err(fault) => Err(fault),
        }
    }

    fn of(&self, leaf: &Leaf) -> Result<RoomUri, Fault> {
        leaf.room.clone().ok_or_else(|| Fault::later("a leaf in a room has no room"))
    }

    /// The hub has taken our external commit: the new leaf stands where the old one stood.
    pub(crate) async fn came_back(&self, tx: &mut Tx, state: Room, user: &UserUri, owner: Owner) -> Result<(), Fault> {
        let room = state.room.clone();
        let client = self.client(tx, user).await?;
        let old = tx.leaf_in_room(&room, client.uri()).await?;
        if let Some(old) = &old {
            tx.remove_leaf(old.owner).await?;
        }
        tx.add_leaf(owner, client.uri(), &room).await?;
        // What is of an earlier epoch than its own it passes over.
        let position = tx.last_handshake(&room).await?;
        tx.leaf_has_read(owner, position).await?;
        info!(%room, client = %client.uri(), "A client is back in the room.");
        match &state.group {
            Some(group) if tx.leaf(group.reader).await?.is_none() => self.reads_for_all(tx, state, owner).await,
            _ => Ok(()),
        }
    }

    /// From now on the room is to us what this leaf knows of it.
    async fn reads_for_all(&self, tx: &mut Tx, mut state: Room, owner: Owner) -> Result<(), Fault> {
        let room = state.room.clone();
        let Some(group) = state.group.take() else { return Ok(()) };
        let known = |member: &mut Member| {
            is_up_to_date(member, &group, owner)?;
            let state = room_state::read(&member.dictionary(), &member.leaves()?).map_err(Fault::later)?;
            Ok::<_, Fault>((member.epoch(), state.participants))
        };
        let (epoch, list) = self.groups.member(tx, owner, &group.group_id, known).await?;
        // What went by while a commit was missing won't come; what was written while the keys were gone may.
        let unread = match (epoch > group.epoch, group.behind) {
            (true, Some(_)) => {
                self.notice(tx, &room, UNREAD.into(), None, None).await?;
                None
            }
            (true, None) => Some(epoch),
            (false, _) => group.unread,
        };
        state.group = Some(RoomGroup { reader: owner, epoch, behind: None, unread, ..group });
        tx.save_room(&state).await?;
        self.participants_are(tx, &room, &list).await?;
        Ok(tx.trim_handshakes(&room).await?)
    }

    /// A message that our reader's keys are too young for: the people hear of the first one.
    pub(crate) async fn unread(&self, tx: &mut Tx, room: &RoomUri) -> Result<(), Fault> {
        let Some(mut state) = tx.room(room).await? else { return Ok(()) };
        if let Some(group) = &mut state.group {
            group.unread = None;
        }
        tx.save_room(&state).await?;
        self.notice(tx, room, UNREAD.into(), None, None).await
    }

    /// The hub does not let a client of ours back in.
    pub(crate) async fn cut_off(&self, tx: &mut Tx, room: &RoomUri, user: &UserUri, reason: &str) -> Result<(), Fault> {
        let Some(mut state) = tx.room(room).await? else { return Ok(()) };
        let Some(leaf) = self.leaf_of(tx, room, user).await? else { return Ok(()) };
        warn!(%room, %user, reason, "The hub does not let a client back into the room.");
        tx.remove_leaf(leaf.owner).await?;
        let text = format!(
            "{user} is cut off from this conversation: {reason}. Somebody in the room has to take them out of it and invite them again."
        );
        match &state.group {
            Some(group) if group.reader == leaf.owner => {}
            _ => return self.notice(tx, room, text, None, Some(user)).await,
        }
        self.notice(tx, room, text, None, None).await?;
        // Whoever of ours is left could read nothing that the reader could not.
        for (user, _) in tx.participants(room).await? {
            if self.is_ours(&user)
                && let Some(leaf) = self.leaf_of(tx, room, &user).await?
            {
                tx.remove_leaf(leaf.owner).await?;
            }
        }
        state.group = None;
        state.state = RoomState::Left;
        tx.save_room(&state).await?;
        self.nudge(tx, Destination::Hub(room.clone()));
        self.nobody_is_seen(tx, room).await
    }
}

const UNREAD: &str = "Some messages that others wrote here could not be read and are not shown: this side had lost \
                      its place in the room for a while.";
