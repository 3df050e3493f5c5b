//! A gateway that has gone bad: it has the keys of its users, and says with them what it likes.

use std::sync::Arc;

use mimi_gateway::{
    core::{Core, Fault},
    mimi::{
        component,
        content::{Disposition, Extensions, MessageId, MimiContent, NestedPart},
        framing::ApplicationFraming,
        franking::franking_tag,
        participants::{ParticipantListData, ParticipantListUpdate, UserRolePair},
        policy::BaseRoomPolicy,
        tls::Tls,
        uri::{ClientUri, RoomUri, UserUri},
        wire::{
            GroupInfoOption, HandshakeBundle, KeyPackage, MlsMessage, Protocol, RatchetTreeOption, SubmitMessageRequest,
        },
    },
    mls::{Change, Client, CommitMaterial, Member},
};

use crate::{
    person::Person,
    world::{World, tea},
};

pub struct Turncoat {
    pub core: Arc<Core>,
    pub user: UserUri,
    pub room: RoomUri,
}

impl World {
    /// What the gateway of `person` could do to the room `tea` in their name.
    pub fn turncoat(&self, person: &Person) -> Turncoat {
        let user = person.uri().clone();
        Turncoat { core: self.core(user.domain().as_str()).clone(), user, room: tea() }
    }
}

impl Turncoat {
    /// Any octets, encrypted by the user's leaf for its epoch, with the franking tag of what they are if they are
    /// content.
    pub async fn encrypts(&self, data: &[u8]) -> MlsMessage {
        let framing = ApplicationFraming::decode(data).ok();
        let content = framing.and_then(|framing| MimiContent::decode(&framing.inner_application_content).ok());
        let salt = content.map_or([0; 16], |content| content.salt);
        self.encrypts_with(franking_tag(&salt, data), data).await
    }

    /// The same with any tag.
    pub async fn encrypts_with(&self, tag: [u8; 32], data: &[u8]) -> MlsMessage {
        let (room, user, data) = (self.room.clone(), self.user.clone(), data.to_vec());
        let encrypted = self.core.write(move |core, tx| {
            Box::pin(async move {
                let group = tx.room(&room).await?.unwrap().group.unwrap();
                let leaf = core.leaf_of(tx, &room, &user).await?.unwrap();
                core.catch_up(tx, &room, &group.group_id, &leaf).await?;
                let client = core.client(tx, &user).await?;
                let encrypt = |member: &mut Member| Ok::<_, Fault>(member.encrypt(&client, &tag, &data)?);
                core.groups.member(tx, leaf.owner, &group.group_id, encrypt).await
            })
        });
        encrypted.await.unwrap()
    }

    /// A request for `/submitMessage` with these octets as application data.
    pub async fn submits(&self, data: &[u8]) -> Vec<u8> {
        self.submits_as(data, &self.user).await
    }

    pub async fn submits_as(&self, data: &[u8], sending_uri: &UserUri) -> Vec<u8> {
        let app_message = self.encrypts(data).await;
        SubmitMessageRequest { protocol: Protocol::Mls10, app_message, sending_uri: sending_uri.clone() }.encode()
    }

    /// A commit of the user's leaf. It is forgotten at once if it is not `meant`, and otherwise waits for the hub.
    pub async fn commits(&self, change: Change, meant: bool) -> CommitMaterial {
        let (room, user) = (self.room.clone(), self.user.clone());
        let committed = self.core.write(move |core, tx| {
            Box::pin(async move {
                let group = tx.room(&room).await?.unwrap().group.unwrap();
                let leaf = core.leaf_of(tx, &room, &user).await?.unwrap();
                core.catch_up(tx, &room, &group.group_id, &leaf).await?;
                let client = core.client(tx, &user).await?;
                let commit = |member: &mut Member| {
                    let material = member.commit(&client, change)?;
                    if !meant {
                        member.abandon_pending()?;
                    }
                    Ok::<_, Fault>(material)
                };
                core.groups.member(tx, leaf.owner, &group.group_id, commit).await
            })
        });
        committed.await.unwrap()
    }

    /// A commit of somebody's at the room's hub, carried out there and here.
    pub async fn carries_out(&self, world: &World, change: Change) {
        let material = self.commits(change, true).await;
        let commit = material.commit.clone();
        let hub = self.room.domain().as_str();
        let said = world.peer(hub).posts(hub, "update", self.room.as_str(), &bundle(material).encode()).await;
        assert_eq!((said.status, said.body[0]), (200, 0));
        // Its own clients learn it from the answer, which was the peer's.
        let room = self.room.clone();
        let advanced = self.core.write(move |core, tx| Box::pin(async move { core.advance(tx, &room, &commit).await }));
        advanced.await.unwrap();
    }

    /// A commit of proposals that others have told the user's leaf. Neither they nor it are kept.
    pub async fn commits_what_it_was_told(&self, proposals: &[MlsMessage]) -> CommitMaterial {
        let (room, user, proposals) = (self.room.clone(), self.user.clone(), proposals.to_vec());
        let committed = self.core.write(move |core, tx| {
            Box::pin(async move {
                let group = tx.room(&room).await?.unwrap().group.unwrap();
                let leaf = core.leaf_of(tx, &room, &user).await?.unwrap();
                core.catch_up(tx, &room, &group.group_id, &leaf).await?;
                let client = core.client(tx, &user).await?;
                let mut material = None;
                let commit = |member: &mut Member| {
                    for proposal in &proposals {
                        member.process(proposal)?;
                    }
                    material = Some(member.commit(&client, Change::default())?);
                    // A fault makes the group forget what it was told.
                    Err::<(), _>(Fault::never("only the octets were wanted"))
                };
                let _ = core.groups.member(tx, leaf.owner, &group.group_id, commit).await;
                Ok(material.unwrap())
            })
        });
        committed.await.unwrap()
    }

    /// Proposals of the user's leaf: to leave, and an update of the participant list. They are not kept.
    pub async fn proposes(&self, list_update: Vec<u8>) -> [MlsMessage; 2] {
        self.leaves(&[], list_update).await.try_into().unwrap()
    }

    /// The same with other clients of the user.
    pub async fn leaves(&self, others: &[&str], list_update: Vec<u8>) -> Vec<MlsMessage> {
        let (room, user) = (self.room.clone(), self.user.clone());
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        let proposed = self.core.write(move |core, tx| {
            Box::pin(async move {
                let group = tx.room(&room).await?.unwrap().group.unwrap();
                let leaf = core.leaf_of(tx, &room, &user).await?.unwrap();
                core.catch_up(tx, &room, &group.group_id, &leaf).await?;
                let client = core.client(tx, &user).await?;
                let mut proposals = None;
                let propose = |member: &mut Member| {
                    proposals = Some(member.propose_leaving(&client, &others, list_update)?);
                    // A fault makes the group forget what it has proposed.
                    Err::<(), _>(Fault::never("only the octets were wanted"))
                };
                let _ = core.groups.member(tx, leaf.owner, &group.group_id, propose).await;
                Ok(proposals.unwrap())
            })
        });
        proposed.await.unwrap()
    }

    /// A KeyPackage of a user of the turncoat's, whose keys it keeps.
    pub async fn key_package(&self, user: &UserUri) -> KeyPackage {
        let user = user.clone();
        let made = self.core.write(move |core, tx| Box::pin(async move { core.make_key_package(tx, &user).await }));
        made.await.unwrap()
    }

    /// The message ID of what somebody has said, in the conversation of one of the turncoat's.
    pub async fn name_of(&self, reader: &Person, words: &str) -> MessageId {
        let (room, native) = (self.room.clone(), reader.find(words));
        let id = self.core.write(move |_, tx| {
            Box::pin(async move {
                let portal = tx.portal_of_room(&room).await?.unwrap();
                Ok(tx.message_of_native(portal.id, &native).await?)
            })
        });
        id.await.unwrap().unwrap()
    }

    /// By what number the participant list calls somebody.
    pub async fn index_of(&self, user: &UserUri) -> u32 {
        let room = self.room.clone();
        let dictionary = self.core.write(move |core, tx| {
            Box::pin(async move {
                let group = tx.room(&room).await?.unwrap().group.unwrap();
                let dictionary = |member: &mut Member| Ok::<_, Fault>(member.dictionary());
                core.groups.member(tx, group.reader, &group.group_id, dictionary).await
            })
        });
        let list = &dictionary.await.unwrap()[&component::PARTICIPANT_LIST];
        ParticipantListData::decode(list).unwrap().index(user).unwrap()
    }

    /// Gives the room a policy component that it does not have yet. Of somebody who may, at the hub.
    pub async fn sets_policy(&self, id: u16, octets: &[u8]) {
        let room = self.room.clone();
        let dictionary = self.core.write(move |core, tx| {
            Box::pin(async move {
                let group = tx.room(&room).await?.unwrap().group.unwrap();
                let dictionary = |member: &mut Member| Ok::<_, Fault>(member.dictionary());
                core.groups.member(tx, group.reader, &group.group_id, dictionary).await
            })
        });
        let mut base = BaseRoomPolicy::decode(&dictionary.await.unwrap()[&component::BASE_ROOM_POLICY]).unwrap();
        base.policy_component_ids.push(id);
        let update = vec![(component::BASE_ROOM_POLICY, base.encode()), (id, octets.to_vec())];
        let material = self.commits(Change { update, ..Change::default() }, true).await;
        let (room, commit, update) = (self.room.clone(), material.commit.clone(), bundle(material).encode());
        let done = self.core.write(move |core, tx| {
            Box::pin(async move {
                let taken = core.hub_update(tx, &core.domain, &room, &update).await?;
                core.advance(tx, &room, &commit).await?;
                Ok::<_, Fault>(taken[0])
            })
        });
        assert_eq!(done.await.unwrap(), 0, "the hub takes it");
    }

    /// Whose leaves the group has.
    pub async fn identities(&self) -> Vec<String> {
        let room = self.room.clone();
        let leaves = self.core.write(move |core, tx| {
            Box::pin(async move {
                let group = tx.room(&room).await?.unwrap().group.unwrap();
                let leaves = |member: &mut Member| Ok::<_, Fault>(member.leaves()?);
                core.groups.member(tx, group.reader, &group.group_id, leaves).await
            })
        });
        leaves.await.unwrap().into_values().collect()
    }

    pub async fn epoch(&self) -> u64 {
        let room = self.room.clone();
        let group = self.core.write(move |_, tx| Box::pin(async move { Ok(tx.room(&room).await?.unwrap().group) }));
        group.await.unwrap().unwrap().epoch
    }
}

/// A request for `/update`.
pub fn bundle(material: CommitMaterial) -> HandshakeBundle {
    HandshakeBundle::Commit {
        commit: material.commit,
        welcome: material.welcome,
        group_info: GroupInfoOption::Full(material.group_info),
        ratchet_tree: RatchetTreeOption::Full(material.tree),
    }
}

/// The participant list with one more in it.
pub fn one_more(user: &UserUri, role_index: u32) -> (u16, Vec<u8>) {
    let added_participants = vec![UserRolePair { user: user.clone(), role_index }];
    (component::PARTICIPANT_LIST, ParticipantListUpdate { added_participants, ..Default::default() }.encode())
}

/// The participant list without one.
pub fn one_less(index: u32) -> (u16, Vec<u8>) {
    let removed_indices = vec![index];
    (component::PARTICIPANT_LIST, ParticipantListUpdate { removed_indices, ..Default::default() }.encode())
}

/// A KeyPackage whose keys nobody keeps.
pub fn key_package_of(user: &UserUri) -> KeyPackage {
    Client::generate(ClientUri::new(user, 1), Vec::new()).unwrap().key_package().unwrap().key_package
}

/// A text as MIMI content, by `author` in `room`.
pub fn text(text: &str, author: &UserUri, room: &RoomUri) -> MimiContent {
    MimiContent {
        salt: *b"sixteen octets !",
        replaces: None,
        topic_id: Vec::new(),
        expires: None,
        in_reply_to: None,
        extensions: Extensions::new(author, room),
        nested_part: NestedPart::single(Disposition::RENDER, "text/plain;charset=utf-8", text),
    }
}

/// Content as application data.
pub fn framed(content: &MimiContent) -> Vec<u8> {
    ApplicationFraming::mimi_content(content.encode()).encode()
}
