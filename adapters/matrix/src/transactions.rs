//! From the homeserver to the core: the events of a transaction, one after the other.
//!
//! Invariant: a transaction is answered with yes only when each of its events has been accepted, answered
//! to its sender, or found to be nobody's business here. The homeserver keeps it until then and sends it
//! again. What of it had been accepted is a duplicate then, which the core recognises by the event's id;
//! so no list of transactions has to be kept, and there is no queue here that a crash could empty.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use matrix_sdk::ruma::{
    OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId, UserId,
    api::appservice::event::push_events::v1::EphemeralData, events::AnyTimelineEvent, serde::Raw,
};
use mimi_adapter::{
    ConversationId, Cursor, Event, Inbound, Inbox, NativeMessageId, NativeUserId, Receipt, Refusal, SenderProof,
    Thread, UserUri,
};
use tokio::{
    sync::{Mutex, MutexGuard, mpsc, watch},
    time::Instant,
};
use tracing::{debug, error, info, warn};

use crate::{
    client::Failure,
    delivery::ENCRYPTED,
    from_native::{Happened, Membership, What, read, read_receipts},
    homeserver::Homeserver,
    media,
};

pub struct Transactions {
    pub homeserver: Arc<Homeserver>,
    pub inbox: Inbox,
    /// Whose turn it is, and the id of the transaction that had the last one.
    turn: Mutex<OwnedTransactionId>,
    /// The linked rooms to which the bot has been invited, perhaps again.
    invited: mpsc::UnboundedSender<ConversationId>,
    /// When the homeserver last had a reason to think that we are away: at the start, to begin with.
    trouble: watch::Sender<Instant>,
    /// Where transactions have come from.
    connections: std::sync::Mutex<VecDeque<SocketAddr>>,
}

/// More than a homeserver has open at a time. A port that comes round again is remembered no longer.
const CONNECTIONS: usize = 32;

/// How long after trouble the timelines are read along.
pub const WARY: Duration = Duration::from_secs(30);

impl Transactions {
    pub fn new(homeserver: Arc<Homeserver>, inbox: Inbox) -> (Arc<Self>, mpsc::UnboundedReceiver<ConversationId>) {
        let (invited, invitations) = mpsc::unbounded_channel();
        let (turn, trouble) = (Mutex::new("".into()), watch::Sender::new(Instant::now()));
        (Arc::new(Self { homeserver, inbox, turn, invited, trouble, connections: Default::default() }), invitations)
    }

    /// While this is held no event is taken in.
    pub async fn pause(&self) -> MutexGuard<'_, OwnedTransactionId> {
        self.turn.lock().await
    }

    pub fn troubled(&self) {
        self.trouble.send_replace(Instant::now());
    }

    /// A transaction came over this connection. One that we have not heard of before may be that of a homeserver
    /// which has started again, and then has forgotten what it had not brought yet.
    pub fn heard_over(&self, peer: SocketAddr) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.contains(&peer) {
            return;
        }
        connections.push_back(peer);
        if connections.len() > CONNECTIONS {
            connections.pop_front();
        }
        drop(connections);
        self.troubled();
    }

    pub fn trouble(&self) -> watch::Receiver<Instant> {
        self.trouble.subscribe()
    }

    /// Takes a transaction's events in, in order, or says why not now.
    pub async fn accept(
        self: Arc<Self>,
        txn_id: OwnedTransactionId,
        events: Vec<Raw<AnyTimelineEvent>>,
    ) -> Result<(), Refusal> {
        // A homeserver that loses patience hangs up and sends the same again. What is in hand is finished
        // all the same, in a task of its own, and the repetition waits for its turn.
        let this = self.clone();
        let work = tokio::spawn(async move {
            let mut last = this.turn.lock().await;
            if *last == txn_id {
                this.troubled();
            }
            *last = txn_id;
            let taken = this.take_all(&events).await;
            mimi_adapter::failpoint!("matrix.transaction.taken");
            taken
        });
        let taken = work.await.unwrap_or_else(|broken| Err(Refusal::retry(broken)));
        if let Err(refusal) = &taken {
            warn!(%refusal, "The homeserver has to send a transaction again.");
            self.troubled();
        }
        taken
    }

    /// How far people have read. Who wants that to be between them and their devices says so in another way
    /// (`m.read.private`), which does not come here.
    pub fn have_read(&self, ephemeral: &[Raw<EphemeralData>]) {
        for Receipt { by, conversation, up_to, kind } in ephemeral.iter().flat_map(read_receipts) {
            let person = UserId::parse(by.as_str()).ok();
            if person.is_some_and(|person| self.homeserver.names.is_local_person(&person)) {
                self.inbox.receipt(Receipt { by, conversation, up_to, kind });
            }
        }
    }

    async fn take_all(&self, events: &[Raw<AnyTimelineEvent>]) -> Result<(), Refusal> {
        let mut read_along = BTreeSet::new();
        for event in events {
            let room = event.get_field::<OwnedRoomId>("room_id").ok().flatten();
            if let Some(room) = room.filter(|room| self.is_linked(room))
                && self.trouble.borrow().elapsed() < WARY
                && read_along.insert(room.clone())
            {
                self.catch_up(&room).await?;
            }
            self.take(event).await?;
        }
        Ok(())
    }

    pub async fn take(&self, event: &Raw<AnyTimelineEvent>) -> Result<(), Refusal> {
        let Some(happened) = read(event, &self.homeserver.pills) else {
            warn!("An event without a room, an id or a sender is skipped.");
            return Ok(());
        };
        let (room, id) = (happened.room.clone(), happened.id.clone());
        if self.homeserver.room(&room, |room| room.followed.has(&id)) {
            return Ok(());
        }
        debug!(%room, event = %id, "An event.");
        self.understand(happened).await?;
        mimi_adapter::failpoint!("matrix.event.taken");
        if self.is_linked(&room) {
            self.homeserver.room(&room, |room| room.followed.takes(id));
        }
        Ok(())
    }

    async fn understand(&self, happened: Happened) -> Result<(), Refusal> {
        let Happened { room, id, sender, what } = happened;
        let names = &self.homeserver.names;
        match what {
            What::Nothing => Ok(()),
            What::Member { whom, now } => self.member(room, id, sender, whom, now).await,
            // The echo of what we sent.
            _ if names.is_ours(&sender) => Ok(()),
            What::Encryption { said } => self.encryption(room, id, said).await,
            What::Moved(to) => self.moved(room, id, to).await,
            What::Said(event, thread) => {
                let event = event.with_file(|file| media::stored(&self.homeserver, file));
                self.said(room, id, sender, event, thread).await
            }
            What::Asked(words) => self.asked(room, id, sender, words).await,
            What::Described(event) => {
                let event = event.with_file(|file| media::stored(&self.homeserver, file));
                self.described(room, id, sender, event).await
            }
            What::Redacted(target) => self.redacted(room, id, sender, target).await,
            What::Uncarried(what) => {
                let text = format!("Not delivered to people elsewhere: the gateway can't carry {what} yet.");
                self.answer(room, id, sender, text).await
            }
        }
    }

    /// What the room is to us: linked, or one-to-one, or (`None`) not our business.
    async fn place(&self, room: &OwnedRoomId, sender: &OwnedUserId) -> Result<Option<Place>, Refusal> {
        let direct = unless_final(self.homeserver.direct(room).await)?.flatten();
        let local = self.homeserver.names.is_local_person(sender);
        Ok((self.is_linked(room) || (direct.is_some() && local)).then_some(Place { direct }))
    }

    async fn ghost_of(&self, room: &OwnedRoomId) -> Result<Option<OwnedUserId>, Refusal> {
        Ok(unless_final(self.homeserver.ghost_of(room).await)?.flatten())
    }

    fn is_linked(&self, room: &OwnedRoomId) -> bool {
        self.inbox.links().borrow().contains(&ConversationId::new(room.as_str()))
    }

    async fn said(
        &self,
        room: OwnedRoomId,
        id: OwnedEventId,
        sender: OwnedUserId,
        event: Event<NativeMessageId>,
        thread: Option<Thread>,
    ) -> Result<(), Refusal> {
        match self.place(&room, &sender).await? {
            Some(place) => self.offer(place, room, id, sender, event, thread).await,
            None => self.lost(room, id, sender).await,
        }
    }

    /// Where nothing is connected, there is nothing else to be said than how that is done.
    async fn asked(
        &self,
        room: OwnedRoomId,
        id: OwnedEventId,
        sender: OwnedUserId,
        words: String,
    ) -> Result<(), Refusal> {
        if !self.homeserver.names.is_local_person(&sender) {
            return Ok(());
        }
        let Some(place) = self.place(&room, &sender).await? else {
            return self.homeserver.tell(&room, &id, Some(&sender), not_connected(&room)).await;
        };
        let manages = unless_final(self.homeserver.manages(&sender, &room).await)?.unwrap_or_default();
        self.offer(place, room, id, sender, Event::Command { words, manages }, None).await
    }

    /// A one-to-one room is called what everybody likes to call it.
    async fn described(
        &self,
        room: OwnedRoomId,
        id: OwnedEventId,
        sender: OwnedUserId,
        event: Event<NativeMessageId>,
    ) -> Result<(), Refusal> {
        match self.place(&room, &sender).await? {
            Some(place) if place.direct.is_none() => self.offer(place, room, id, sender, event, None).await,
            _ => Ok(()),
        }
    }

    /// Tells the sender something about what they sent, in a room that is our business.
    async fn answer(
        &self,
        room: OwnedRoomId,
        id: OwnedEventId,
        sender: OwnedUserId,
        text: String,
    ) -> Result<(), Refusal> {
        match self.place(&room, &sender).await? {
            Some(_) => self.homeserver.tell(&room, &id, Some(&sender), text).await,
            None => self.lost(room, id, sender).await,
        }
    }

    /// Something was said in a room that isn't our business. In one that once was one-to-one, people may
    /// think it is.
    async fn lost(&self, room: OwnedRoomId, id: OwnedEventId, sender: OwnedUserId) -> Result<(), Refusal> {
        if self.ghost_of(&room).await?.is_none() {
            return Ok(());
        }
        let text =
            "Not delivered: this room is no longer between two people only. Start a new one with the person alone.";
        self.homeserver.tell(&room, &id, Some(&sender), text.into()).await
    }

    async fn redacted(
        &self,
        room: OwnedRoomId,
        id: OwnedEventId,
        sender: OwnedUserId,
        target: OwnedEventId,
    ) -> Result<(), Refusal> {
        let Some(place) = self.place(&room, &sender).await? else { return Ok(()) };
        // A redaction leaves of an event who sent it, and as what.
        let Some(redacted) = unless_final(self.homeserver.event(&room, target.clone()).await)? else { return Ok(()) };
        let replaces = NativeMessageId::new(target);
        let event = match redacted.get_field::<String>("type").ok().flatten().as_deref() {
            Some("m.room.message") => Event::Delete { replaces },
            Some("m.reaction") => Event::Unlike { replaces },
            _ => return Ok(()),
        };
        if redacted.get_field::<OwnedUserId>("sender").ok().flatten().as_ref() != Some(&sender) {
            let text = "Only its author can take a message back for people elsewhere. They can still read it.";
            return self.homeserver.tell(&room, &id, Some(&sender), text.into()).await;
        }
        self.offer(place, room, id, sender, event, None).await
    }

    async fn encryption(&self, room: OwnedRoomId, id: OwnedEventId, said: bool) -> Result<(), Refusal> {
        let told = self.homeserver.room(&room, |room| {
            room.encrypted = Some(true);
            room.told
        });
        let ours = self.is_linked(&room) || (said && self.ghost_of(&room).await?.is_some());
        if ours && !told {
            self.homeserver.tell(&room, &id, None, ENCRYPTED.into()).await?;
            self.homeserver.room(&room, |room| room.told = true);
        }
        Ok(())
    }

    /// The new room has another id, which only an admin can link.
    async fn moved(&self, room: OwnedRoomId, id: OwnedEventId, to: OwnedRoomId) -> Result<(), Refusal> {
        if !self.is_linked(&room) {
            return Ok(());
        }
        error!(%room, %to, "A linked room has been replaced. Invite the bot to the new one and link that.");
        let text = format!(
            "This room has been replaced, but people elsewhere are still connected to it. To connect the new one, \
             whoever runs the gateway needs its id: {to}"
        );
        self.homeserver.tell(&room, &id, None, text).await
    }

    async fn member(
        &self,
        room: OwnedRoomId,
        id: OwnedEventId,
        sender: OwnedUserId,
        whom: OwnedUserId,
        now: Membership,
    ) -> Result<(), Refusal> {
        let names = &self.homeserver.names;
        self.homeserver.room(&room, |room| room.direct = None);
        match (now, names.is_ours(&whom)) {
            (Membership::Joined | Membership::Left | Membership::Banned, false) if self.is_linked(&room) => {
                let direct = unless_final(self.homeserver.direct(&room).await)?.flatten();
                let event = if now == Membership::Joined { Event::Join } else { Event::Leave };
                self.offer(Place { direct }, room, id, whom, event, None).await
            }
            (Membership::Left | Membership::Banned, true) if whom == names.bot() && self.is_linked(&room) => {
                error!(%room, by = %sender, "The bot has been removed from a linked room. Invite it again, or unlink the room.");
                Ok(())
            }
            (Membership::Left | Membership::Banned, true) if self.is_linked(&room) && !names.is_ours(&sender) => {
                let Some(user) = names.user(&whom) else { return Ok(()) };
                // In a one-to-one room it can only end there.
                match unless_final(self.homeserver.direct(&room).await)?.flatten() {
                    Some(_) => Ok(()),
                    None => {
                        let event = Event::Oust { user, banned: now == Membership::Banned };
                        self.offer(Place { direct: None }, room, id, sender, event, None).await
                    }
                }
            }
            (Membership::Invited, true) if names.is_ours(&sender) => Ok(()),
            (Membership::Invited, true) if whom == names.bot() => self.bot_invited(room, id, sender).await,
            (Membership::Invited, true)
                if self.is_linked(&room) && self.ghost_of(&room).await? != Some(whom.clone()) =>
            {
                let Some(user) = names.user(&whom) else { return Ok(()) };
                // Who may invite here says the homeserver, and whether they come their provider.
                let event = Event::Command { words: format!("invite {user}"), manages: true };
                self.offer(Place { direct: None }, room, id, sender, event, None).await
            }
            (Membership::Invited, true) => {
                unless_final(self.homeserver.welcome(&sender, &whom, &room).await).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// The way for an admin to learn a room's id: invite the bot, and it says it.
    async fn bot_invited(&self, room: OwnedRoomId, id: OwnedEventId, sender: OwnedUserId) -> Result<(), Refusal> {
        if !self.homeserver.names.is_local_person(&sender) {
            info!(%room, %sender, "An invitation from another server is left alone.");
            return Ok(());
        }
        // It may have been taken back in the meantime.
        if unless_final(self.homeserver.join(self.homeserver.names.bot(), &room).await)?.is_none() {
            return Ok(());
        }
        if self.is_linked(&room) {
            // If nobody listens, the gateway stops, and the room is entered after its start.
            let _ = self.invited.send(ConversationId::new(room.as_str()));
            return Ok(());
        }
        self.homeserver.tell(&room, &id, None, not_connected(&room)).await
    }

    async fn offer(
        &self,
        place: Place,
        room: OwnedRoomId,
        id: OwnedEventId,
        sender: OwnedUserId,
        event: Event<NativeMessageId>,
        thread: Option<Thread>,
    ) -> Result<(), Refusal> {
        let inbound = Inbound {
            conversation: ConversationId::new(room.as_str()),
            direct: place.direct,
            id: NativeMessageId::new(id.as_str()),
            sender: NativeUserId::new(sender.as_str()),
            proof: SenderProof::Verified,
            event,
            thread,
            cursor: Some(Cursor::new(id.as_str())),
        };
        match self.inbox.accept(inbound).await {
            Ok(_) => Ok(()),
            Err(Refusal::Reject { reason }) => {
                let text = format!("Not delivered to people elsewhere: {reason}");
                self.homeserver.tell(&room, &id, Some(&sender), text).await
            }
            Err(retry) => Err(retry),
        }
    }
}

struct Place {
    direct: Option<UserUri>,
}

/// What the homeserver can't answer now, it is asked again, with the whole transaction. What it never will
/// must not hold up all that comes after.
pub fn unless_final<T>(answer: Result<T, Failure>) -> Result<Option<T>, Refusal> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.is_final() => {
            info!(%failure, "The homeserver has no answer to that.");
            Ok(None)
        }
        Err(failure) => Err(failure.refusal("never read")),
    }
}

fn not_connected(room: &OwnedRoomId) -> String {
    format!(
        "This room is not connected to anybody elsewhere. To connect it, whoever runs the gateway needs its id: {room}"
    )
}
