//! The breaker: what takes something away from many people at once stops, and asks.
//!
//! A homeserver that suddenly says that everybody has left, a bot that throws two hundred people out, a stranger
//! with somebody's account who deletes all they ever wrote: each event is well-formed, and carried out it can't be
//! undone. So leaves, removals and deletions are counted over [`WINDOW`], in the database, and beyond a limit the
//! further ones are held: stored in order, not carried out. Everything else goes on, and the network gets its yes,
//! since what is held is on disk. An admin allows them or refuses them (`mimi-gateway breaker`).
//!
//! | what | hits | at most, in ten minutes |
//! |---|---|---|
//! | our people leave a room | people | 10, or a quarter of the room |
//! | our people leave rooms of one adapter | people times rooms | 50, or a tenth |
//! | people from elsewhere are out of a room | people | 10, or a quarter of the room |
//! | people here take people from elsewhere out of a room | people | 10, or a quarter of the room |
//! | one person deletes in a room | deletions | 30 |
//!
//! Who is back (a join, or a word in the room) is not gone: what is held of them lapses. People are counted once,
//! however often they come and go. A trip that was allowed lets through what follows within the window, or the
//! rest of a real exodus would trip it again and again.

use std::sync::Arc;

use tracing::{info, warn};

use crate::{
    core::{Core, Fault},
    mimi::uri::{RoomUri, UserUri},
    outbox::{Destination, Payload},
    store::{
        Tx,
        breaker::{Held, Trip},
    },
};

/// The sliding window, in milliseconds.
pub const WINDOW: u64 = 10 * 60 * 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The native side says that somebody of ours has left.
    Leave,
    /// The MIMI side has taken somebody of theirs out.
    Removal,
    /// People here have taken somebody from elsewhere out.
    Kick,
    /// Somebody has taken back what they wrote.
    Deletion,
}

impl Deed {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leave => "leaves",
            Self::Removal => "removals",
            Self::Kick => "kicks",
            Self::Deletion => "deletions",
        }
    }

    /// What the conversation reads when the breaker trips.
    fn notice(self) -> &'static str {
        match self {
            Self::Leave => {
                "Many people have left within a few minutes. The gateway waits for its admin's word before \
                            it lets more of them leave on the other side."
            }
            Self::Removal => {
                "Many people have been taken out of the room on the other side within a few minutes. The \
                              gateway waits for its admin's word before it shows more of them leaving."
            }
            Self::Kick => {
                "Many people from elsewhere have been taken out of the room here within a few minutes. The gateway waits \
                 for its admin's word before it takes more of them out on the other side."
            }
            Self::Deletion => {
                "Very many messages have been deleted within a few minutes. The gateway waits for its \
                               admin's word before it carries more deletions."
            }
        }
    }
}

/// In a room of `people`, so many may go.
fn most_of_room(people: i64) -> i64 {
    (people / 4).max(10)
}

/// Of all the places of our people in rooms of one adapter.
fn most_of_adapter(places: i64) -> i64 {
    (places / 10).max(50)
}

const MOST_DELETIONS: i64 = 30;

impl Core {
    /// Puts a destructive thing into the outbox, or holds it. `who` leaves, is removed, or deletes.
    pub async fn enqueue_destructive(
        &self,
        tx: &mut Tx,
        deed: Deed,
        room: &RoomUri,
        who: &UserUri,
        to: &Destination,
        payload: &Payload,
    ) -> Result<(), Fault> {
        let adapter = tx.portal_of_room(room).await?.map(|portal| portal.adapter).unwrap_or_default();
        let now = self.now();
        tx.note_destructive(deed.as_str(), room.as_str(), &adapter, who.as_str(), now).await?;
        let Some(scope) = self.beyond(tx, deed, room, &adapter, who, now.saturating_sub(WINDOW)).await? else {
            return self.enqueue(tx, to, payload).await;
        };
        let trip = match tx.last_trip(deed.as_str(), &scope).await? {
            Some(Trip { allowed: Some(allowed), .. }) if allowed + WINDOW > now => {
                return self.enqueue(tx, to, payload).await;
            }
            Some(Trip { id, allowed: None, .. }) => id,
            _ => {
                let id = tx.add_trip(deed.as_str(), &scope, now).await?;
                warn!(
                    id,
                    deed = deed.as_str(),
                    scope,
                    "The breaker holds back what takes too much from too many at once; `mimi-gateway breaker` decides."
                );
                self.notice(tx, room, deed.notice().into(), None, None).await?;
                id
            }
        };
        info!(trip, deed = deed.as_str(), %room, %who, "Held.");
        Ok(tx.hold(trip, &to.to_string(), &payload.encode()?, who.as_str(), now).await?)
    }

    /// The limit that this deed, which has been noted, is beyond: a room, a person in a room, or an adapter.
    async fn beyond(
        &self,
        tx: &mut Tx,
        deed: Deed,
        room: &RoomUri,
        adapter: &str,
        who: &UserUri,
        after: u64,
    ) -> Result<Option<String>, Fault> {
        let kind = deed.as_str();
        if deed == Deed::Deletion {
            let many = tx.deeds_of(kind, room.as_str(), who.as_str(), after).await? > MOST_DELETIONS;
            return Ok(many.then(|| format!("{who} in {room}")));
        }
        let hit = tx.people_hit_in_room(kind, room.as_str(), after).await?;
        if hit > most_of_room(0) {
            let people = tx.people_in_room(room.as_str()).await? + tx.people_gone(kind, room.as_str(), after).await?;
            if hit > most_of_room(people) {
                return Ok(Some(room.to_string()));
            }
        }
        if deed == Deed::Leave {
            let hit = tx.people_hit_at_adapter(kind, adapter, after).await?;
            if hit > most_of_adapter(0)
                && hit > most_of_adapter(tx.people_at_adapter(adapter, self.domain.as_str()).await?)
            {
                return Ok(Some(format!("adapter {adapter}")));
            }
        }
        Ok(None)
    }

    /// Somebody is there: what was held of their going lapses.
    pub async fn is_back(&self, tx: &mut Tx, deed: Deed, who: &UserUri, to: &Destination) -> Result<(), Fault> {
        if tx.release_held_of(deed.as_str(), &to.to_string(), who.as_str()).await? > 0 {
            info!(%who, %to, "Is back, so nothing of them is held any more.");
        }
        Ok(())
    }

    /// The admin has decided. Answers how many were held, `None` if there is no such trip.
    pub async fn decide_trip(self: &Arc<Self>, id: i64, allow: bool) -> Result<Option<u64>, Fault> {
        self.write(move |core, tx| {
            Box::pin(async move {
                let Some(trip) = tx.trip(id).await?.filter(|trip| trip.allowed.is_none()) else { return Ok(None) };
                let held = tx.held(id).await?;
                let count = held.len() as u64;
                if !allow {
                    tx.remove_trip(id).await?;
                } else {
                    for held in held {
                        core.let_go(tx, &trip, held).await?;
                    }
                    tx.allow_trip(id, core.now()).await?;
                }
                info!(id, scope = trip.scope, deed = trip.kind, count, allow, "An admin has decided what was held.");
                Ok(Some(count))
            })
        })
        .await
    }

    async fn let_go(&self, tx: &mut Tx, trip: &Trip, held: Held) -> Result<(), Fault> {
        tx.remove_held(held.id).await?;
        let Some(to) = Destination::parse(&held.destination) else { return Ok(()) };
        // They have written since they are said to have gone.
        if trip.kind == Deed::Leave.as_str()
            && let Some(room) = to.room()
            && tx.has_written_since(room.as_str(), &held.who, held.at).await?
        {
            return Ok(());
        }
        self.enqueue(tx, &to, &Payload::decode(&held.payload)?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_may_go_and_ten_in_any_case() {
        assert_eq!([0, 3, 40, 43, 44, 1000].map(most_of_room), [10, 10, 10, 10, 11, 250]);
        assert_eq!([0, 500, 510, 10_000].map(most_of_adapter), [50, 50, 51, 1000]);
    }
}
