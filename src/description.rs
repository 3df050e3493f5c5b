//! What a room is called and what it is about (P§7.6), on both sides.
//!
//! A change is no message but state: it becomes a commit of whoever made it, which the room's policy allows them or not,
//! and every change of the room comes back to each conversation, also to the one it was made in. So two that cross end
//! with the same on both sides: with what the hub has put last. Nothing goes round in circles by that, because what is so
//! already is no change: neither here, where it makes no commit, nor in an adapter, which looks before it sets anything.
//! Where MIMI's state and the conversation's differ because the policy refused a change, MIMI's is set again.

use serde::{Deserialize, Serialize};

use mimi_adapter::{Event, NativeMessageId, SenderProof};

use crate::{
    core::{Core, Fault, hash},
    mimi::{
        component,
        content::MessageId,
        metadata::RoomMetaData,
        policy::{self, Actor, RoomState},
        tls::Tls,
        uri::{RoomUri, UserUri},
    },
    outbox::{Destination, Payload, hub::Prepared},
    store::{
        Tx,
        hops::Named,
        portals::Portal,
        rooms::{Room, RoomGroup},
    },
};

/// The longest name and topic that are carried, in octets. No network here has longer ones.
const MAX_NAME: usize = 1024;
const MAX_TOPIC: usize = 16_384;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Matter {
    Name,
    Topic,
}

impl Matter {
    /// The kind of its rows in the outbox.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Topic => "topic",
        }
    }

    /// What of it differs between the two.
    pub fn changed(before: &RoomMetaData, after: &RoomMetaData) -> Vec<Self> {
        let changed = |matter: &Self| matter.of(before) != matter.of(after);
        [Self::Name, Self::Topic].into_iter().filter(changed).collect()
    }

    fn of(self, metadata: &RoomMetaData) -> &str {
        match self {
            Self::Name => &metadata.room_name,
            Self::Topic => &metadata.room_subject,
        }
    }

    fn set(self, metadata: &mut RoomMetaData, text: &str) {
        let field = match self {
            Self::Name => &mut metadata.room_name,
            Self::Topic => &mut metadata.room_subject,
        };
        text.clone_into(field);
    }

    pub fn event<Ref, Asset>(self, text: String) -> Event<Ref, Asset> {
        match self {
            Self::Name => Event::Name { name: text },
            Self::Topic => Event::Topic { topic: text },
        }
    }

    /// Nothing that can't be seen or turns others round, and a name in one line.
    fn clean(self, text: &str) -> String {
        let seen = |c: char| match c {
            '\n' | '\t' => Some(if self == Self::Topic { c } else { ' ' }),
            c if c.is_control() => None,
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => None,
            c => Some(c),
        };
        text.chars().filter_map(seen).collect::<String>().trim().to_owned()
    }
}

impl Core {
    /// Somebody of ours has changed it in the conversation.
    pub(crate) async fn describe(
        &self,
        tx: &mut Tx,
        portal: &Portal,
        user: &UserUri,
        (id, proof): (&NativeMessageId, SenderProof),
        (matter, text): (Matter, &str),
    ) -> Result<(), Fault> {
        let (most, what) = match matter {
            Matter::Name => (MAX_NAME, "name"),
            Matter::Topic => (MAX_TOPIC, "topic"),
        };
        let text = matter.clean(text);
        if text.len() > most {
            return Err(Fault::never(format!("the {what} is longer than the {most} octets that are carried")));
        }
        if proof == SenderProof::Claimed {
            let why = "the network does not say for sure who you are, so you can't change what the room is called";
            return Err(Fault::never(why));
        }
        self.remember_event(tx, portal, id)?;
        let payload = Payload::Describe { user: user.clone(), matter, text };
        self.enqueue(tx, &Destination::Hub(portal.room.clone()), &payload).await
    }

    /// The commit that makes a change, in the name of whoever made it. `None` if it is so already.
    pub(crate) async fn make_description(
        &self,
        tx: &mut Tx,
        room: &Room,
        group: &RoomGroup,
        row: i64,
        (user, matter, text): (&UserUri, Matter, &str),
    ) -> Result<Option<Prepared>, Fault> {
        let state = self.state_of_reader(tx, group).await?;
        let mut after = RoomState { ..state.clone() };
        matter.set(&mut after.metadata, text);
        if after.metadata == state.metadata {
            return Ok(None);
        }
        policy::authorise(&state, &after, &Actor::User(user.clone()), &policy::Change::ChangeMetadata)
            .map_err(|denied| Fault::never(format!("the room does not allow it ({denied})")))?;
        let update = vec![(component::ROOM_METADATA, after.metadata.encode())];
        let change = crate::mls::Change { update, ..Default::default() };
        self.commit_as(tx, &room.room, group, user, change, row).await.map(Some)
    }

    /// A commit has changed the room's metadata, `by` somebody from elsewhere or by one of ours: the conversation follows.
    pub(crate) async fn described(
        &self,
        tx: &mut Tx,
        room: &Room,
        by: Option<&UserUri>,
        matters: &[Matter],
    ) -> Result<(), Fault> {
        if room.direct {
            return Ok(());
        }
        for matter in matters {
            let payload = Payload::Described { by: by.cloned(), matter: *matter };
            self.enqueue(tx, &Destination::Portal(room.room.clone()), &payload).await?;
        }
        Ok(())
    }

    /// What the conversation has to say now. `None` if somebody here has changed it once more, and the room does not
    /// know yet: when it does, that comes back too.
    pub(crate) async fn description(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        matter: Matter,
    ) -> Result<Option<String>, Fault> {
        let hub = Destination::Hub(room.clone()).to_string();
        if !tx.outbox_rows_of_kind(&hub, matter.kind()).await?.is_empty() {
            return Ok(None);
        }
        let Some(group) = tx.room(room).await?.and_then(|room| room.group) else { return Ok(None) };
        self.groups
            .member(tx, group.reader, &group.group_id, |member| {
                let octets = member.component(component::ROOM_METADATA);
                let metadata = octets.and_then(|octets| RoomMetaData::decode(octets).ok());
                Ok::<_, Fault>(metadata.map(|metadata| matter.clean(matter.of(&metadata))))
            })
            .await
    }

    /// A change of somebody of ours will not be: they read why, and the conversation goes back to what the room has.
    pub(crate) async fn not_described(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        user: &UserUri,
        matter: Matter,
        why: &str,
    ) -> Result<(), Fault> {
        let text = format!("The {} you have set was not carried to the other providers: {why}.", matter.kind());
        self.notice(tx, room, text, None, Some(user)).await?;
        match tx.room(room).await? {
            Some(room) => self.described(tx, &room, None, &[matter]).await,
            None => Ok(()),
        }
    }
}

impl Core {
    /// What is no message has no message ID. This one is never sent: by it the native event is known if it is offered
    /// again.
    pub(crate) fn remember_event(
        &self,
        tx: &mut Tx,
        portal: &Portal,
        native: &NativeMessageId,
    ) -> Result<MessageId, Fault> {
        let mut octets = hash(format!("no message {} {native}", portal.room).as_bytes());
        octets[0] = 1;
        let id = MessageId::new(octets).map_err(Fault::broken)?;
        let named = Named { at: self.now(), attempts: 1, loss: None };
        tx.name_message(portal.id, id, std::slice::from_ref(native), &named);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_that_says_what_it_shows() {
        assert_eq!(Matter::Name.clean(" Tea\nroom\u{202e}\u{0} "), "Tea room");
        assert_eq!(Matter::Topic.clean("Milk\nor lemon\u{2066}?\r\n"), "Milk\nor lemon?");
        assert_eq!(Matter::Name.clean("👩\u{200d}🚒"), "👩\u{200d}🚒", "what joins emojis stays");
    }
}
