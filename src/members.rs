//! Our clients in a room: how a group is founded, joined, followed, and caught up with.
//!
//! One leaf of ours, the **reader**, follows everything the hub sends and decrypts for all the others. They
//! read the handshakes from the room's log when they next have something to send, or when it gets long. So a message
//! costs the same in a room with two of our users and with a thousand, and so does a commit.

use std::collections::HashSet;

use tracing::{debug, info, warn};

use crate::{
    breaker::Deed,
    core::{Core, Fault, hash},
    description::Matter,
    mimi::{
        component,
        metadata::RoomMetaData,
        participants::{ParticipantListData, UserRolePair},
        policy::{self, RoomState as PolicyState, role},
        tls::Tls,
        uri::{ClientUri, GroupUri, ProviderUri, RoomUri, UserUri},
    },
    mls::{
        Dictionary, Leaves, Member, MlsError, NewGroup, Owner, Processed,
        codec::{MlsMessage, RatchetTree, Welcome},
    },
    outbox::{Destination, Payload, commits::user_of},
    rejoin::Astray,
    room_state,
    store::{
        Tx,
        leaves::Leaf,
        portals::NewPortal,
        rooms::{Room, RoomGroup, RoomState},
    },
};

/// The handshakes that are read at once by who has nothing to say: some milliseconds' work in a large group.
const PIECE: i64 = 8;

/// What else a commit has changed.
struct Changed {
    matters: Vec<Matter>,
    /// Of our people.
    ours_gone: Vec<(UserUri, bool)>,
    /// `None` is the reader itself.
    by: Option<UserUri>,
}

impl Core {
    /// Founds the group of a room of ours. `others` are participants from the start (a direct room's list
    /// never changes); their clients are added by invitation like everybody's.
    pub async fn found(
        &self,
        tx: &mut Tx,
        room: &mut Room,
        creator: &UserUri,
        others: &[UserUri],
    ) -> Result<(), Fault> {
        let client = self.client(tx, creator).await?;
        let most = self.assets.max_size();
        let (policy, creators_role) = if room.direct {
            (policy::direct_policy(1 + others.len() as u32, &self.domain, most), role::PEER)
        } else {
            (policy::group_policy(&self.domain, most), role::SUPER_ADMIN)
        };
        let mut participants = vec![UserRolePair { user: creator.clone(), role_index: creators_role }];
        participants.extend(others.iter().map(|other| UserRolePair { user: other.clone(), role_index: role::PEER }));
        let list = ParticipantListData::new(participants).map_err(|e| Fault::never(e.to_string()))?;
        let metadata = RoomMetaData::named(room.room.clone(), room.name.as_str());
        let mut dictionary: Dictionary =
            policy.components().into_iter().map(|(id, octets)| (id, octets.to_vec())).collect();
        dictionary.insert(component::PARTICIPANT_LIST, list.encode());
        dictionary.insert(component::ROOM_METADATA, metadata.encode());
        dictionary.insert(component::FRANKING_AGENT, self.hub_keys.franking_agent(&self.domain));
        let group_id = GroupUri::new(&self.domain, &uuid::Uuid::new_v4().to_string());
        let member = Member::found(
            &client,
            NewGroup {
                group_id: group_id.as_str().as_bytes(),
                hub_key: self.hub_keys.sender_public(),
                hub_identity: ProviderUri::new(&self.domain).as_str(),
                dictionary,
            },
        )?;
        let (group_info, tree) = (member.group_info(&client)?, member.tree()?);
        let reader = self.groups.found::<Fault>(tx, member).await?;
        tx.add_leaf(reader, client.uri(), &room.room).await?;
        self.become_hub(tx, &room.room, &group_info, &tree).await?;
        room.state = RoomState::Open;
        room.group = Some(RoomGroup::new(group_id.as_str().as_bytes().to_vec(), reader, 0));
        tx.save_room(room).await?;
        tx.set_participants(&room.room, &list).await?;
        mimi_adapter::failpoint!("members.founded");
        info!(room = %room.room, creator = %creator, "A room has been founded.");
        for invite in tx.invites_of_room(&room.room).await? {
            self.nudge(tx, Destination::Invite(room.room.clone(), invite.user.clone()));
        }
        Ok(())
    }

    /// A Welcome for some of our KeyPackages. `false` if it is for none of them.
    pub async fn welcomed(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        welcome: &Welcome,
        tree: Option<&RatchetTree>,
    ) -> Result<bool, Fault> {
        let mut leaves = Vec::new();
        for reference in welcome.key_package_refs() {
            leaves.extend(tx.leaf_of_key_package(reference).await?.filter(|leaf| leaf.room.is_none()));
        }
        let Some(first) = leaves.first() else { return Ok(false) };
        let tree = tree.ok_or_else(|| Fault::never("the Welcome came without a ratchet tree"))?;
        let open = tx.room(room).await?.filter(|room| room.state == RoomState::Open);
        if open.is_none() {
            self.enter(tx, room, first, welcome, tree).await?;
            leaves.remove(0);
        }
        if !leaves.is_empty() {
            let position = tx.last_handshake(room).await?;
            let id = tx.add_welcome(room, welcome, tree, position).await?;
            for leaf in &leaves {
                // A leaf the same client had before it lost its state or left.
                if let Some(old) = tx.leaf_in_room(room, &leaf.client).await? {
                    tx.remove_leaf(old.owner).await?;
                }
                tx.place_leaf(leaf.owner, room, Some(id), position).await?;
            }
        }
        mimi_adapter::failpoint!("members.welcomed");
        self.nudge(tx, Destination::Hub(room.clone()));
        Ok(true)
    }

    /// The first of our leaves in a room of another provider.
    async fn enter(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        leaf: &Leaf,
        welcome: &Welcome,
        tree: &RatchetTree,
    ) -> Result<(), Fault> {
        self.groups.join::<Fault>(tx, leaf.owner, welcome, tree).await?;
        self.opens(tx, room, leaf.owner, &[], &user_of(&leaf.client)?).await
    }

    /// A client of ours has come into a room of another provider by a link, as the first of ours.
    pub(crate) async fn came_in(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        user: &UserUri,
        owner: Owner,
        group_id: &[u8],
    ) -> Result<(), Fault> {
        let client = self.client(tx, user).await?;
        tx.add_leaf(owner, client.uri(), room).await?;
        tx.remove_invite(room, user).await?;
        self.opens(tx, room, owner, group_id, user).await
    }

    /// From now on the room is open to us: this leaf reads for all of ours.
    async fn opens(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        owner: Owner,
        group_id: &[u8],
        us: &UserUri,
    ) -> Result<(), Fault> {
        let (group_id, epoch, state) = self
            .groups
            .member(tx, owner, group_id, |member| {
                let state = room_state::read(&member.dictionary(), &member.leaves()?).map_err(Fault::never)?;
                Ok::<_, Fault>((member.group_id().to_vec(), member.epoch(), state))
            })
            .await?;
        if state.metadata.room_uri != *room {
            return Err(Fault::never("the Welcome is for another room than the one it was sent for"));
        }
        let direct = state.policy.base.fixed_membership && state.participants.iter().count() == 2;
        let position = tx.last_handshake(room).await?;
        tx.place_leaf(owner, room, None, position).await?;
        let known = tx.room(room).await?;
        let name = if state.metadata.room_name.is_empty() {
            known.map(|room| room.name).unwrap_or_default()
        } else {
            state.metadata.room_name.clone()
        };
        tx.save_room(&Room {
            room: room.clone(),
            name,
            direct,
            state: RoomState::Open,
            group: Some(RoomGroup::new(group_id, owner, epoch)),
        })
        .await?;
        mimi_adapter::failpoint!("members.entered");
        info!(%room, user = %us, epoch, "We are in the room.");
        if direct && tx.portal_of_room(room).await?.is_none() && tx.unlinked_portal(room).await?.is_none() {
            self.adopt_direct(tx, room, us, &state).await?;
        }
        self.participants_are(tx, room, &state.participants).await?;
        self.refresh_links(tx).await?;
        self.nudge(tx, Destination::Portal(room.clone()));
        Ok(())
    }

    /// Somebody began a direct room with `us`: it gets a portal of its own.
    async fn adopt_direct(&self, tx: &mut Tx, room: &RoomUri, us: &UserUri, state: &PolicyState) -> Result<(), Fault> {
        let Some(adapter) = self.adapter_of(us) else { return Ok(()) };
        let Some(ghost) = state.participants.iter().map(|it| &it.user).find(|user| *user != us) else { return Ok(()) };
        let native = us.native();
        self.forget_if_shared(tx);
        tx.add_portal(NewPortal { room, adapter, conversation: None, direct: Some((&native, ghost)) }).await?;
        Ok(())
    }

    /// A handshake the hub has accepted, ours or another's, in the hub's order. Twice is once.
    pub async fn advance(&self, tx: &mut Tx, room: &RoomUri, message: &MlsMessage) -> Result<(), Fault> {
        let Some(mut state) = tx.room(room).await? else { return Err(Fault::never("no such room here")) };
        let Some(group) = state.group.clone() else { return Err(Fault::never("the room is not open")) };
        let Some(position) = tx.add_handshake(room, &hash(message.as_bytes()), message).await? else { return Ok(()) };
        let step = self
            .groups
            .member(tx, group.reader, &group.group_id, |member| match member.process(message).map_err(ahead(room))? {
                Processed::Commit(staged) => {
                    let leaves = member.leaves()?;
                    let before = room_state::read(&member.dictionary(), &leaves).map_err(Fault::never)?;
                    let after = room_state::read(&staged.after, &staged.leaves).map_err(Fault::never)?;
                    let actor = room_state::user(&staged.committer).map_err(Fault::never)?;
                    // Every member judges anew (R§5): a hub that lets something pass does not make it right.
                    room_state::judge(&before, &after, actor.clone(), &staged.leaving, &staged.removed_by_hub)
                        .map_err(|denied| Fault::never(format!("the commit is against the room's policy: {denied}")))?;
                    let removed = gone(leaves, &staged.leaves);
                    let removes_us = staged.removes_us;
                    let ours_gone = self.ours_ousted(&before, &after, &staged.leaving);
                    member.merge(staged)?;
                    let changed = Changed {
                        matters: Matter::changed(&before.metadata, &after.metadata),
                        ours_gone,
                        by: Some(actor),
                    };
                    Ok(Some((after, removed, removes_us, member.epoch(), changed)))
                }
                Processed::OwnCommit => {
                    let before = member.leaves()?;
                    let was = room_state::read(&member.dictionary(), &before).map_err(Fault::never)?;
                    member.merge_pending()?;
                    let leaves = member.leaves()?;
                    let after = room_state::read(&member.dictionary(), &leaves).map_err(Fault::never)?;
                    let matters = Matter::changed(&was.metadata, &after.metadata);
                    let changed = Changed { matters, ours_gone: Vec::new(), by: None };
                    Ok(Some((after, gone(before, &leaves), false, member.epoch(), changed)))
                }
                Processed::Proposal => Ok(None),
                Processed::Application { .. } | Processed::OwnMessage => Err(Fault::never("not a handshake")),
            })
            .await;
        let step = match step {
            Ok(step) => step,
            Err(fault) => {
                tx.remove_handshake(position).await?;
                // An epoch that is behind us has been read already, by another copy of the commit.
                let past = message.epoch().is_some_and(|epoch| epoch < group.epoch);
                return if past { Ok(()) } else { Err(fault) };
            }
        };
        tx.leaf_has_read(group.reader, position).await?;
        mimi_adapter::failpoint!("members.advanced");
        if let Some((after, removed, removes_us, epoch, changed)) = step {
            debug!(%room, epoch, "The room's group is in a new epoch.");
            for identity in &removed {
                if let Ok(client) = ClientUri::parse(identity)
                    && let Some(leaf) = tx.leaf_in_room(room, &client).await?
                {
                    tx.remove_leaf(leaf.owner).await?;
                }
            }
            state.name =
                if after.metadata.room_name.is_empty() { state.name } else { after.metadata.room_name.clone() };
            state.group = Some(RoomGroup { epoch, behind: None, ..group });
            if removes_us {
                self.unless_by_ourselves(tx, room, &state).await?;
                self.replace_reader(tx, &mut state).await?;
            }
            tx.save_room(&state).await?;
            // Who is out sees nobody any more, so the ghosts go.
            if state.state == RoomState::Left {
                self.nobody_is_seen(tx, room).await?;
            } else {
                self.participants_are(tx, room, &after.participants).await?;
            }
            let by = changed.by.filter(|by| !self.is_ours(by));
            if let Some(by) = &by {
                self.ours_were_ousted(tx, room, by, changed.ours_gone).await?;
            }
            if state.state == RoomState::Open {
                self.described(tx, &state, by.as_ref(), &changed.matters).await?;
            }
            tx.trim_handshakes(room).await?;
        } else {
            // D57: what others propose is committed at once, by whoever of us and them is first.
            self.enqueue(tx, &Destination::Hub(room.clone()), &Payload::CommitPending).await?;
        }
        self.nudge(tx, Destination::Hub(room.clone()));
        Ok(())
    }

    /// The reader has been removed: another leaf of ours reads on, or we are out.
    async fn replace_reader(&self, tx: &mut Tx, state: &mut Room) -> Result<(), Fault> {
        let Some(group) = state.group.take() else { return Ok(()) };
        tx.remove_leaf(group.reader).await?;
        match tx.some_leaf(&state.room).await? {
            Some(leaf) => {
                self.catch_up(tx, &state.room, &group.group_id, &leaf).await?;
                state.group = Some(RoomGroup { reader: leaf.owner, ..group });
            }
            None => {
                info!(room = %state.room, "None of our users is in the room any more.");
                state.state = RoomState::Left;
            }
        }
        Ok(())
    }

    /// Brings a leaf to the room's current epoch.
    pub async fn catch_up(&self, tx: &mut Tx, room: &RoomUri, group_id: &[u8], leaf: &Leaf) -> Result<(), Fault> {
        self.read_on(tx, room, group_id, leaf, i64::MAX).await
    }

    /// Lets the leaf that is farthest behind read a piece of the room's log, if that is longer than `longest`, since
    /// what it has not read is kept for it. Answers whether it is still longer and ours to shorten.
    pub async fn shorten_log(&self, tx: &mut Tx, room: &RoomUri, longest: i64) -> Result<bool, Fault> {
        if tx.count_handshakes(room).await? <= longest || self.must_have(tx, room).await.is_err() {
            return Ok(false);
        }
        let group = tx.room(room).await?.and_then(|room| room.group);
        let (Some(group), Some(leaf)) = (group, tx.slowest_leaf(room).await?) else { return Ok(false) };
        self.read_on(tx, room, &group.group_id, &leaf, PIECE).await?;
        tx.trim_handshakes(room).await?;
        Ok(tx.count_handshakes(room).await? > longest)
    }

    /// Lets a leaf read the next handshakes, `most` of them at most.
    async fn read_on(&self, tx: &mut Tx, room: &RoomUri, group_id: &[u8], leaf: &Leaf, most: i64) -> Result<(), Fault> {
        if let Some(id) = leaf.welcome {
            let (welcome, tree) = tx.welcome(id).await?;
            self.groups.join::<Fault>(tx, leaf.owner, &welcome, &tree).await?;
        }
        let handshakes = tx.handshakes_after(room, leaf.position, most).await?;
        let last = handshakes.last().map_or(leaf.position, |(position, _)| *position);
        if leaf.welcome.is_none() && last == leaf.position {
            return Ok(());
        }
        self.groups
            .member(tx, leaf.owner, group_id, |member| {
                for (_, message) in &handshakes {
                    // What came before the Welcome's epoch is not for this leaf.
                    if message.epoch().is_some_and(|epoch| epoch < member.epoch()) {
                        continue;
                    }
                    let processed = member.process(message).map_err(|e| match e {
                        MlsError::Epoch { .. } => MlsError::Lost { owner: leaf.owner, problem: e.to_string() },
                        e => e,
                    });
                    match processed? {
                        // The reader has checked it against the policy.
                        Processed::Commit(staged) => member.merge(staged)?,
                        Processed::OwnCommit => member.merge_pending()?,
                        _ => {}
                    }
                }
                Ok::<_, Fault>(())
            })
            .await?;
        tx.leaf_has_read(leaf.owner, last).await?;
        mimi_adapter::failpoint!("members.caught_up");
        Ok(())
    }

    /// Decrypts an application message: the sender's identity and the application data. With it comes what the room
    /// says about who franks, for [`franking`](crate::mimi::franking).
    pub async fn decrypt(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        group: &RoomGroup,
        message: &MlsMessage,
    ) -> Result<Option<(ClientUri, Vec<u8>, Option<Vec<u8>>)>, Fault> {
        let (processed, agent) = self
            .groups
            .member(tx, group.reader, &group.group_id, |member| {
                let processed = member.process(message).map_err(epoch_fault(room))?;
                Ok::<_, Fault>((processed, member.component(component::FRANKING_AGENT).map(<[u8]>::to_vec)))
            })
            .await?;
        match processed {
            Processed::Application { sender, data } => {
                let sender = ClientUri::parse(&sender).map_err(|e| Fault::never(e.to_string()))?;
                Ok(Some((sender, data, agent)))
            }
            Processed::OwnMessage => Ok(None),
            _ => Err(Fault::never("not an application message")),
        }
    }

    /// Makes the room's participants known to the native side.
    pub(crate) async fn participants_are(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        list: &ParticipantListData,
    ) -> Result<(), Fault> {
        // Whoever is banned stands in the list and is not in the room.
        let there = list.iter().filter(|it| it.role_index != role::BANNED).cloned().collect();
        let there = ParticipantListData::new(there).map_err(Fault::broken)?;
        let (came, went) = tx.set_participants(room, &there).await?;
        let to = Destination::Portal(room.clone());
        for (users, joined) in [(came, true), (went, false)] {
            for user in users {
                // Who of ours went may be on the way back already (`come_back`).
                if joined || !self.is_ours(&user) {
                    tx.remove_invite(room, &user).await?;
                }
                if self.is_ours(&user) {
                    continue;
                }
                let payload = Payload::Presence { user: user.clone(), joined };
                if joined {
                    self.is_back(tx, Deed::Removal, &user, &to).await?;
                    self.enqueue(tx, &to, &payload).await?;
                } else {
                    self.enqueue_destructive(tx, Deed::Removal, room, &user, &to, &payload).await?;
                }
            }
        }
        Ok(())
    }

    /// We are out of the room. That is one event, and no mass removal.
    pub(crate) async fn nobody_is_seen(&self, tx: &mut Tx, room: &RoomUri) -> Result<(), Fault> {
        let (_, went) = tx.set_participants(room, &ParticipantListData::default()).await?;
        for user in went {
            if !self.is_ours(&user) {
                tx.remove_invite(room, &user).await?;
                let payload = Payload::Presence { user, joined: false };
                self.enqueue(tx, &Destination::Portal(room.clone()), &payload).await?;
            }
        }
        Ok(())
    }
}

/// The identities that have a leaf before and none after.
fn gone(before: Leaves, after: &Leaves) -> Vec<String> {
    let after: HashSet<&String> = after.values().collect();
    before.into_values().filter(|identity| !after.contains(identity)).collect()
}

/// What is of an epoch we are not in yet waits for its commit.
fn ahead(room: &RoomUri) -> impl Fn(MlsError) -> Fault {
    |e| match e {
        MlsError::Epoch { current, message } if message > current => {
            Fault::Astray(Astray::Behind { room: room.clone(), problem: e.to_string() })
        }
        e => e.into(),
    }
}

/// And a message of an epoch long gone can't be read.
fn epoch_fault(room: &RoomUri) -> impl Fn(MlsError) -> Fault {
    move |e| match e {
        MlsError::Epoch { current, message } if message < current => {
            warn!(%e, "A message of an epoch whose keys are gone.");
            Fault::never(e.to_string())
        }
        e => ahead(room)(e),
    }
}
