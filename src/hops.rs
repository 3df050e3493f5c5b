//! Where a message has been, and where it is: for an admin whom somebody asks "did it arrive?".
//!
//! Made of what the store keeps anyway: names and authors, what waits, what is dead; and of two things that are kept for
//! this: when a network confirmed a message, and which requests a provider has taken. No content.

use mimi_adapter::Domain;

use crate::{
    admin::{Hop, Traced},
    core::{Core, Fault},
    mimi::{
        content::MessageId,
        uri::{RoomUri, UserUri},
        wire::FanoutMessage,
    },
    outbox::{Destination, Payload},
    store::Tx,
};

/// As much of a queue is looked through.
const LOOK: i64 = 10_000;

impl Core {
    /// The messages that are called so, by their MIMI message ID in hexadecimal or by what a network calls them.
    pub async fn trace_message(&self, tx: &mut Tx, name: &str) -> Result<Vec<Traced>, Fault> {
        let mut found = tx.messages_called(name).await?;
        let id = hex::decode(name).ok().and_then(|id| <[u8; 32]>::try_from(id).ok());
        if let Some(id) = id.and_then(|id| MessageId::new(id).ok()) {
            found.extend(tx.rooms_with(&id).await?.into_iter().map(|room| (room, id)));
        }
        let mut traced = Vec::new();
        for (room, id) in found {
            let Some((author, accepted)) = tx.message(&room, &id).await? else { continue };
            let hops = self.hops(tx, &room, &id, &author, accepted).await?;
            traced.push(Traced { message: id.to_string(), author, room, hops });
        }
        Ok(traced)
    }

    async fn hops(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        id: &MessageId,
        author: &UserUri,
        accepted: u64,
    ) -> Result<Vec<Hop>, Fault> {
        let mut hops = Vec::new();
        let conversation = self.in_conversation(tx, room, id, self.is_ours(author)).await?;
        let by_hub = Hop::new(format!("hub {}", room.domain()), "accepted", Some(accepted));
        if self.is_ours(author) {
            hops.extend(conversation);
            let to = Destination::Hub(room.clone());
            let unsent = self.on_its_way(
                tx,
                &to,
                |payload| matches!(payload, Payload::Submit { message, .. } if message == id.as_bytes()),
            );
            let unsent = unsent.await?;
            let sent = unsent.is_none();
            hops.push(unsent.map_or(by_hub.clone(), |hop| Hop { place: by_hub.place, ..hop }));
            if sent {
                hops.extend(self.at_followers(tx, room, accepted).await?);
            }
        } else {
            hops.push(by_hub);
            hops.extend(self.at_followers(tx, room, accepted).await?);
            hops.extend(conversation);
        }
        Ok(hops)
    }

    /// What is known of a message in our own conversation.
    async fn in_conversation(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        id: &MessageId,
        ours: bool,
    ) -> Result<Option<Hop>, Fault> {
        let Some(portal) = tx.portal_of_room(room).await? else { return Ok(None) };
        let conversation = portal.conversation.as_ref().map_or("not open yet".to_owned(), ToString::to_string);
        let place = format!("{} {conversation}", portal.adapter);
        let names = tx.names_of(portal.id, id).await?;
        if let Some((_, named)) = names.first() {
            let state = if ours { "written" } else { "delivered" };
            let mut hop = Hop::new(place, state, named.as_ref().map(|named| named.at));
            hop.native = names.iter().map(|(native, _)| native.to_string()).collect();
            if let Some(named) = named {
                hop.attempts = (!ours).then_some(named.attempts);
                hop.problem = named.loss.clone();
            }
            return Ok(Some(hop));
        }
        let to = Destination::Portal(room.clone());
        let on_its_way = self.on_its_way(
            tx,
            &to,
            |payload| matches!(payload, Payload::Content { message, .. } if message == id.as_bytes()),
        );
        Ok(Some(match on_its_way.await? {
            Some(hop) => Hop { place, ..hop },
            // A deletion, say, leaves nothing that has a name.
            None => Hop::new(place, "nothing waits", None),
        }))
    }

    /// What other providers have taken of it, where we are the hub.
    async fn at_followers(&self, tx: &mut Tx, room: &RoomUri, accepted: u64) -> Result<Vec<Hop>, Fault> {
        if *room.domain() != self.domain {
            return Ok(Vec::new());
        }
        let mut providers = tx.takers(room).await?;
        let participants = tx.participants(room).await?.into_iter();
        providers.extend(participants.map(|(user, _)| user.domain().clone()));
        providers.sort();
        providers.dedup();
        let mut hops = Vec::new();
        for provider in providers.into_iter().filter(|provider| *provider != self.domain) {
            hops.extend(self.at_follower(tx, room, provider, accepted).await?);
        }
        Ok(hops)
    }

    async fn at_follower(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        provider: Domain,
        accepted: u64,
    ) -> Result<Option<Hop>, Fault> {
        let place = format!("provider {provider}");
        if let Some(taken) = tx.taken_by(room, &provider, accepted).await? {
            let hop = Hop::new(place, "taken", Some(taken.at));
            return Ok(Some(Hop { attempts: Some(taken.attempts), ..hop }));
        }
        let to = Destination::Follower(room.clone(), provider);
        let is_it = |payload: &Payload| match payload {
            Payload::Fanout { message } => FanoutMessage::timestamp_of(message) == Some(accepted),
            _ => false,
        };
        // Who came later, or had left, has never been sent it.
        Ok(self.on_its_way(tx, &to, is_it).await?.map(|hop| Hop { place, ..hop }))
    }

    /// The row of a destination that `is_it`, waiting or dead.
    async fn on_its_way(
        &self,
        tx: &mut Tx,
        to: &Destination,
        is_it: impl Fn(&Payload) -> bool,
    ) -> Result<Option<Hop>, Fault> {
        let (place, queue) = (to.to_string(), to.to_string());
        let is_it = |payload: &[u8]| Payload::decode(payload).is_ok_and(|payload| is_it(&payload));
        if let Some(row) = tx.outbox_head(&queue, LOOK).await?.into_iter().find(|row| is_it(&row.payload)) {
            let waiting = tx.waiting(row.id).await?;
            let created = waiting.as_ref().map(|waiting| waiting.created);
            let hop = Hop::new(place, "waiting", created);
            let problem = waiting.and_then(|waiting| waiting.problem);
            return Ok(Some(Hop { attempts: Some(row.attempts as u64), problem, ..hop }));
        }
        let dead = tx.dead_letters(&queue).await?.into_iter().find(|row| is_it(&row.payload));
        Ok(dead.map(|row| {
            let hop = Hop::new(place, "dead letter", Some(row.died));
            let problem = Some(format!("{}: {}", row.cause, row.reason));
            Hop { attempts: Some(row.attempts as u64), letter: Some(row.id), problem, ..hop }
        }))
    }
}
