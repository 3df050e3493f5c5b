//! What our users change about a room: commits that add and remove, and proposals to leave.
//!
//! On behalf of all of ours commits the reader, because it is always in the current epoch. KeyPackages of our
//! own users are made with the commit that uses them.

use tracing::info;

use super::{Payload, hub::Prepared};
use crate::{
    core::{Core, Fault},
    mimi::{
        component,
        participants::{ParticipantListUpdate, UserRolePair},
        policy::RoomState,
        tls::Tls,
        uri::{ClientUri, RoomUri, UserUri},
        wire::{GroupInfoOption, HandshakeBundle, RatchetTreeOption},
    },
    mls::{Change, CommitMaterial, Member, MlsError, Owner, codec::KeyPackage},
    room_state,
    store::{
        Tx,
        leaves::Leaf,
        outbox::Row,
        rooms::{Room, RoomGroup},
    },
};

impl Core {
    /// One commit for the Add rows at the head of the queue. `None` if they were all done already.
    pub(super) async fn make_adds(
        &self,
        tx: &mut Tx,
        room: &Room,
        group: &RoomGroup,
        rows: &[Row],
    ) -> Result<Option<Prepared>, Fault> {
        let reader = self.reader(tx, group).await?;
        let user = user_of(&reader.client)?;
        let mut change = Change::default();
        let mut added = Vec::new();
        let mut users = Vec::new();
        let mut carried = Vec::new();
        for row in rows {
            let (user, role, key_package) = match Payload::decode(&row.payload) {
                Ok(Payload::Add { user, role, key_package }) => (user, role, key_package),
                Err(fault) if carried.is_empty() => return Err(fault),
                // It is not the fault of those before it.
                _ => break,
            };
            carried.push(row.id);
            let present = tx.participant_role(&room.room, &user).await?.is_some();
            let leaf = self.leaf_of(tx, &room.room, &user).await?.is_some();
            // Somebody else may have added them meanwhile; their key material then waits for nothing.
            if self.is_ours(&user) && present && leaf {
                continue;
            }
            let key_package = match key_package {
                Some(octets) => KeyPackage::decode(&octets).map_err(Fault::broken)?,
                None => self.make_key_package(tx, &user).await?,
            };
            change.add.push(key_package);
            users.push(user.clone());
            if !present {
                added.push(UserRolePair { user, role_index: role });
            }
        }
        if change.add.is_empty() {
            for row in carried {
                tx.remove_outbox_row(row);
            }
            return Ok(None);
        }
        if !added.is_empty() {
            let update = ParticipantListUpdate { added_participants: added, ..Default::default() };
            change.update.push((component::PARTICIPANT_LIST, update.encode()));
        }
        let material = self.make_commit(tx, group, &reader, &user, change).await?;
        Ok(Some(self.prepared_commit(material, reader.owner, carried, users)))
    }

    /// Takes one of our users out: by a commit of another of ours, or, where that is not for the other to decide or
    /// there is none, by proposing it. `None` if there is nothing to do.
    pub(super) async fn make_removal(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        group: &RoomGroup,
        user: &UserUri,
        row: i64,
    ) -> Result<Option<Prepared>, Fault> {
        let Some(leaf) = self.leaf_of(tx, room, user).await? else { return Ok(None) };
        let state = self.state_of_reader(tx, group).await?;
        let removed_indices = state.participants.index(user).into_iter().collect();
        let update = ParticipantListUpdate { removed_indices, ..Default::default() }.encode();
        let committer = self.other_leaf(tx, room, group, &leaf).await?;
        let last = committer.is_none();
        if let Some(committer) = committer
            && room_state::may_remove(&state, user_of(&committer.client)?, user)
        {
            let change = Change {
                remove: vec![leaf.client.as_str().to_owned()],
                update: vec![(component::PARTICIPANT_LIST, update)],
                ..Change::default()
            };
            self.catch_up(tx, room, &group.group_id, &committer).await?;
            let by = user_of(&committer.client)?;
            let material = self.make_commit(tx, group, &committer, &by, change).await?;
            return Ok(Some(self.prepared_commit(material, committer.owner, vec![row], Vec::new())));
        }
        // A conversation that everybody has left is still linked: somebody may come back to it, and until an admin
        // unlinks it the room should find somebody here. So the last one stays.
        if last && tx.portal_of_room(room).await?.is_some() {
            info!(%room, %user, "The last of our users left the conversation; their client stays in the room.");
            return Ok(None);
        }
        self.catch_up(tx, room, &group.group_id, &leaf).await?;
        let client = self.client(tx, user).await?;
        let others: Vec<String> =
            state.clients.iter().filter(|(_, it)| it.user == *user).map(|(_, it)| it.identity()).collect();
        let propose = |member: &mut Member| Ok::<_, Fault>(member.propose_leaving(&client, &others, update)?);
        let mut proposals = self.groups.member(tx, leaf.owner, &group.group_id, propose).await?.into_iter();
        let proposal = proposals.next().ok_or_else(|| Fault::later("leaving came to no proposal"))?;
        let bundle = HandshakeBundle::Proposal { proposal, more_proposals: proposals.collect() };
        Ok(Some(Prepared::Leave { request: bundle.encode() }))
    }

    /// The room as our reader sees it.
    pub(crate) async fn state_of_reader(&self, tx: &mut Tx, group: &RoomGroup) -> Result<RoomState, Fault> {
        let read =
            |member: &mut Member| room_state::read(&member.dictionary(), &member.leaves()?).map_err(Fault::later);
        self.groups.member(tx, group.reader, &group.group_id, read).await
    }

    /// A commit for one row, in the name of a user of ours who wants it.
    pub(crate) async fn commit_as(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        group: &RoomGroup,
        user: &UserUri,
        change: Change,
        row: i64,
    ) -> Result<Prepared, Fault> {
        let leaf = self.leaf_of(tx, room, user).await?;
        let leaf = leaf.ok_or_else(|| Fault::never("you are not a member of the room"))?;
        self.catch_up(tx, room, &group.group_id, &leaf).await?;
        let material = self.make_commit(tx, group, &leaf, user, change).await?;
        Ok(self.prepared_commit(material, leaf.owner, vec![row], Vec::new()))
    }

    pub(crate) async fn make_commit(
        &self,
        tx: &mut Tx,
        group: &RoomGroup,
        leaf: &Leaf,
        user: &UserUri,
        change: Change,
    ) -> Result<CommitMaterial, Fault> {
        let client = self.client(tx, user).await?;
        self.groups
            .member(tx, leaf.owner, &group.group_id, |member| {
                is_up_to_date(member, group, leaf.owner)?;
                if member.has_pending_commit() {
                    member.abandon_pending()?;
                }
                Ok::<_, Fault>(member.commit(&client, change)?)
            })
            .await
    }

    pub(crate) fn prepared_commit(
        &self,
        material: CommitMaterial,
        committer: i64,
        rows: Vec<i64>,
        added: Vec<UserUri>,
    ) -> Prepared {
        let welcome =
            material.welcome.as_ref().map(|welcome| (welcome.as_bytes().to_vec(), material.tree.as_bytes().to_vec()));
        let commit = material.commit.as_bytes().to_vec();
        let bundle = HandshakeBundle::Commit {
            commit: material.commit,
            welcome: material.welcome,
            group_info: GroupInfoOption::Full(material.group_info),
            ratchet_tree: RatchetTreeOption::Full(material.tree),
        };
        Prepared::Commit { request: bundle.encode(), commit, committer, welcome, rows, added }
    }

    /// The leaf of a user of ours in a room.
    pub async fn leaf_of(&self, tx: &mut Tx, room: &RoomUri, user: &UserUri) -> Result<Option<Leaf>, Fault> {
        match tx.client_of(user).await? {
            Some(client) => Ok(tx.leaf_in_room(room, &client.uri).await?),
            None => Ok(None),
        }
    }

    pub(crate) async fn reader(&self, tx: &mut Tx, group: &RoomGroup) -> Result<Leaf, Fault> {
        tx.leaf(group.reader).await?.ok_or_else(|| Fault::later("the room's reader is missing"))
    }

    /// A leaf of ours other than `leaf`, the reader if possible.
    pub(super) async fn other_leaf(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        group: &RoomGroup,
        leaf: &Leaf,
    ) -> Result<Option<Leaf>, Fault> {
        if group.reader != leaf.owner {
            return Ok(tx.leaf(group.reader).await?);
        }
        Ok(tx.leaf_beside(room, leaf.owner).await?)
    }

    /// A KeyPackage for a user of ours, its keys in the database.
    pub async fn make_key_package(&self, tx: &mut Tx, user: &UserUri) -> Result<KeyPackage, Fault> {
        let client = self.client(tx, user).await?;
        let material = client.key_package()?;
        let owner = tx.new_mls_owner("leaf").await?;
        tx.save_mls_rows(owner, material.rows.into_iter().map(|(key, value)| (key, Some(value))).collect());
        tx.add_key_package(owner, client.uri(), &material.reference, material.not_after as i64).await?;
        Ok(material.key_package)
    }
}

/// Has the leaf come as far as the room? Otherwise what would have led there has gone by.
pub(crate) fn is_up_to_date(member: &Member, group: &RoomGroup, owner: Owner) -> Result<(), MlsError> {
    if member.epoch() >= group.epoch {
        return Ok(());
    }
    let problem = format!("it is in epoch {} and the room in {}", member.epoch(), group.epoch);
    Err(MlsError::Lost { owner, problem })
}

pub(crate) fn user_of(client: &ClientUri) -> Result<UserUri, Fault> {
    client.user().ok_or_else(|| Fault::later("a client of ours has no user"))
}
