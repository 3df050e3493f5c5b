//! From what the listener heard to the core: one worker for each room, one message after the other.
//!
//! Invariant: messages reach the core in the room's order, each once, also across lost connections. News
//! comes in order from the stream. When the listener has entered, the worker first reads in the archive
//! what came after the last message it has dealt with; what is said meanwhile waits in line behind that, and
//! is recognised by its id if the archive had it too. A core that says "not now" holds this room
//! only; if the line gets long, the rest is left to the archive ([`Room::was_behind`]).
//!
//! The worker outlives connections. A message it holds was read from the stream and may be nowhere else: not
//! every room has an archive.

use std::{sync::Arc, time::SystemTime};

use mimi_adapter::{CancellationToken, Cursor, Event, Inbound, Inbox, NativeMessageId, NativeUserId, Refusal};
use minidom::Element;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};
use uuid::Uuid;
use xmpp_parsers::jid::Jid;

use crate::{
    archive::{self, Archived, Page},
    component::{Backoff, Failure, Link},
    files::Files,
    from_native::{self, Meaning},
    id::ReadUpTo,
    occupants::{Change, Person},
    room::{News, Room, voice},
    stanza::{self, ElementExt},
};

/// The gateway is stopping, and something is still held.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped;

/// Offers an event until the core has taken it or refused it for good; the latter's reason is for the sender.
pub async fn offer(inbox: &Inbox, inbound: Inbound, stop: &CancellationToken) -> Result<Option<String>, Stopped> {
    let mut backoff = Backoff::new();
    loop {
        match inbox.accept(inbound.clone()).await {
            Ok(_) => return Ok(None),
            Err(Refusal::Reject { reason }) => return Ok(Some(reason)),
            Err(Refusal::Retry { after, source }) => {
                debug!(conversation = %inbound.conversation, reason = %source, "The core says: not now.");
                let pause = after.unwrap_or_default().max(backoff.next());
                stop.run_until_cancelled(tokio::time::sleep(pause)).await.ok_or(Stopped)?;
            }
        }
    }
}

/// For a moderator (C§9.3).
const MODERATED: &str =
    "Only its author can take a message back for people elsewhere. They can still read what you have taken away.";

pub struct Listener {
    room: Arc<Room>,
    inbox: Inbox,
    links: watch::Receiver<Option<Link>>,
    files: Arc<Files>,
    stop: CancellationToken,
    /// Whether the archive's last page has been read back into memory.
    looked_back: bool,
}

impl Listener {
    pub fn new(room: Arc<Room>, inbox: Inbox, links: watch::Receiver<Option<Link>>, files: Arc<Files>) -> Self {
        let stop = room.unlinked.clone();
        Self { room, inbox, links, files, stop, looked_back: false }
    }

    /// Until the room is not linked any more, or `stop`.
    pub async fn run(mut self, mut news: mpsc::UnboundedReceiver<News>) {
        let stop = self.stop.clone();
        while let Some(Some(item)) = stop.run_until_cancelled(news.recv()).await {
            if self.deal_with(item).await.is_err() {
                return;
            }
            while news.is_empty()
                && let Some(link) = self.link()
                && self.room.was_behind()
            {
                if self.catch_up(&link, Vec::new()).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn deal_with(&mut self, news: News) -> Result<(), Stopped> {
        match news {
            News::Entered { link, people } => self.catch_up(&link, people).await,
            News::Person(change) => self.person(change, None).await,
            News::Message { message, person } => {
                let done = self.live(&message, &person).await;
                self.room.message_done();
                done
            }
            News::Ousted { ghost, by, banned } => {
                let id = NativeMessageId::new(Uuid::new_v4().to_string());
                let inbound = self.inbound(id, &by, Event::Oust { user: ghost, banned }, None);
                if let Some(reason) = offer(&self.inbox, inbound, &self.stop).await? {
                    self.tell(&by.user, &reason);
                }
                Ok(())
            }
            News::Moderated { by } => {
                self.tell(&by.user, MODERATED);
                Ok(())
            }
            News::Asked { message, person, manages } => self.asked(&message, &person, manages).await,
            News::Ours { read } => {
                self.room.memory().read = Some(read);
                Ok(())
            }
        }
    }

    /// Reads what was missed. When the connection is lost on the way, the next one begins where this ended.
    async fn catch_up(&mut self, link: &Link, mut people: Vec<Change>) -> Result<(), Stopped> {
        let mut backoff = Backoff::new();
        while self.link().is_some_and(|current| current.number() == link.number()) {
            match self.read_missed(link, &mut people).await? {
                Ok(()) => {
                    self.room.caught_up(link);
                    break;
                }
                Err(failure) => {
                    warn!(room = %self.room.jid, %failure, "Cannot read what was missed in the room.");
                    self.stop.run_until_cancelled(tokio::time::sleep(backoff.next())).await.ok_or(Stopped)?;
                }
            }
        }
        Ok(())
    }

    async fn read_missed(&mut self, link: &Link, people: &mut Vec<Change>) -> Result<Result<(), Failure>, Stopped> {
        let mut read = self.room.memory().read.clone();
        let mut page = None;
        if self.room.current_features().archive {
            match self.first_page(link, &mut read).await {
                Ok(first) => page = first,
                Err(failure) => return Ok(Err(failure)),
            }
        }
        // A room that is new to us is read from now on: its past is not the MIMI room's.
        let read = read.unwrap_or_else(|| ReadUpTo { stamp: stanza::stamp(SystemTime::now()), archive_id: None });
        self.room.memory().read = Some(read.clone());
        for change in people.drain(..) {
            self.person(change, Some(read.cursor())).await?;
        }
        while let Some(Page { messages, complete }) = page.take() {
            info!(room = %self.room.jid, messages = messages.len(), "Reading what was missed in the room.");
            for archived in messages {
                self.archived(archived).await?;
            }
            if !complete {
                let read = self.room.memory().read.clone().unwrap_or_else(|| read.clone());
                match self.page_after(link, &read).await {
                    Ok(next) => page = Some(next),
                    Err(failure) => return Ok(Err(failure)),
                }
            }
        }
        Ok(Ok(()))
    }

    /// The first page of what was missed, and in a process that has just started, what it needs of before.
    async fn first_page(&mut self, link: &Link, read: &mut Option<ReadUpTo>) -> Result<Option<Page>, Failure> {
        let page = match &read {
            Some(read) => Some(self.page_after(link, read).await?),
            None => None,
        };
        if !self.looked_back {
            let first = page.as_ref().and_then(|page| page.messages.first()).map(|first| first.id.as_str());
            let (listener, room) = (Jid::from(self.room.listener.clone()), Jid::from(self.room.jid.clone()));
            let earlier = archive::before(link, &listener, &room, first).await?;
            *read = self.look_back(earlier, read.take());
            self.looked_back = true;
        }
        Ok(page)
    }

    async fn page_after(&self, link: &Link, read: &ReadUpTo) -> Result<Page, Failure> {
        let (listener, room) = (Jid::from(self.room.listener.clone()), Jid::from(self.room.jid.clone()));
        archive::after(link, &listener, &room, read).await
    }

    fn link(&self) -> Option<Link> {
        self.links.borrow().clone()
    }

    /// Remembers the last messages of before, for what points at them, and which of our deliveries they are.
    /// Answers up to where the room has been read.
    fn look_back(&self, earlier: Page, read: Option<ReadUpTo>) -> Option<ReadUpTo> {
        let mut messages = earlier.messages;
        let last = messages.last().map(|last| last.read.clone());
        // What came after `read` is not of before, although it may have arrived while we asked.
        let known =
            read.as_ref().and_then(|read| messages.iter().position(|m| Some(&m.id) == read.archive_id.as_ref()));
        if let Some(known) = known {
            messages.truncate(known + 1);
        }
        for Archived { id, message, .. } in messages {
            let Some(from) = message.jid("from") else { continue };
            let person = self.room.writer_of_archived(&from, &message);
            if !self.was_ours(&message, &id, &person) {
                self.room.memory().remember(&message, &NativeMessageId::new(id), &voice(&person, &from));
            }
        }
        read.or(last)
    }

    async fn archived(&mut self, archived: Archived) -> Result<(), Stopped> {
        let Archived { id, message, read } = archived;
        let Some(from) = message.jid("from").filter(|from| from.resource().is_some()) else { return Ok(()) };
        // In an archive a subject has no mark that would tell a ghost's from a person's.
        if from_native::subject(&message).is_some() {
            self.room.memory().read = Some(read);
            return Ok(());
        }
        let person = self.room.writer_of_archived(&from, &message);
        if self.was_ours(&message, &id, &person) {
            self.room.memory().read = Some(read);
            return Ok(());
        }
        self.carry(&message, NativeMessageId::new(id), &person, &from, read).await
    }

    /// Takes note of a ghost's message in the archive.
    fn was_ours(&self, message: &Element, id: &str, person: &Person) -> bool {
        let carried = from_native::carried_by_us(message, &self.room.listener.to_bare());
        let Some((key, ghost)) = carried.filter(|(_, ghost)| person.may_be(ghost)) else { return false };
        self.room.said(message, key, &ghost, Some(id.to_owned()));
        true
    }

    async fn live(&mut self, message: &Element, person: &Person) -> Result<(), Stopped> {
        let Some(from) = message.jid("from") else { return Ok(()) };
        let gives_ids = self.room.current_features().stanza_ids;
        let id = from_native::room_message_id(message, &self.room.jid, gives_ids, person.user.as_str());
        let read = self.room.read_with(message);
        self.carry(message, id, person, &from, read).await
    }

    async fn carry(
        &mut self,
        message: &Element,
        id: NativeMessageId,
        person: &Person,
        from: &Jid,
        read: ReadUpTo,
    ) -> Result<(), Stopped> {
        if self.room.memory().dealt_with(&id) {
            return Ok(());
        }
        let voice = voice(person, from);
        let meaning = from_native::understand(message, &id, &voice.author, &self.room.memory());
        match meaning {
            Meaning::Nothing => {}
            Meaning::CannotCarry(sentence) => self.tell(&person.user, sentence),
            Meaning::Events(events) => {
                let last = events.len() - 1;
                for (at, (id, event)) in events.into_iter().enumerate() {
                    // Where one message is several events, it has been read with the last.
                    let cursor = (at == last).then(|| read.cursor());
                    let link = self.link();
                    let event = match self.files.look_at(link.as_ref(), event).await {
                        Ok(event) => event,
                        Err(reason) => {
                            self.tell(&person.user, &format!("Your message was not delivered: {reason}"));
                            continue;
                        }
                    };
                    let thread = from_native::thread(message, true);
                    let inbound = Inbound { thread, ..self.inbound(id, person, event, cursor) };
                    if let Some(reason) = offer(&self.inbox, inbound, &self.stop).await? {
                        self.tell(&person.user, &format!("Your message was not delivered: {reason}"));
                    }
                }
                mimi_adapter::failpoint!("xmpp.offered");
                self.room.memory().remember(message, &id, &voice);
            }
        }
        self.room.memory().deal_with(&id, Some(read));
        Ok(())
    }

    /// A word for the gateway itself. It is answered to the person alone, and is in no archive.
    async fn asked(&self, message: &Element, person: &Person, manages: bool) -> Result<(), Stopped> {
        let words = stanza::body(message).unwrap_or_default().trim().to_owned();
        let words = words.strip_prefix("!mimi").map_or(&*words, str::trim).to_owned();
        let id = from_native::room_message_id(message, &self.room.jid, false, person.user.as_str());
        let inbound = self.inbound(id, person, Event::Command { words, manages }, None);
        if let Some(reason) = offer(&self.inbox, inbound, &self.stop).await? {
            self.tell(&person.user, &reason);
        }
        Ok(())
    }

    async fn person(&mut self, change: Change, cursor: Option<Cursor>) -> Result<(), Stopped> {
        let (person, event) = match change {
            Change::Joined(person) => (person, Event::Join),
            Change::Left(person) => (person, Event::Leave),
        };
        let id = NativeMessageId::new(event.kind());
        let refused = offer(&self.inbox, self.inbound(id, &person, event, cursor), &self.stop).await?;
        mimi_adapter::failpoint!("xmpp.person.offered");
        if let Some(reason) = refused {
            warn!(room = %self.room.jid, user = %person.user, reason, "The core refuses a join or leave.");
        }
        Ok(())
    }

    fn inbound(
        &self,
        id: NativeMessageId,
        person: &Person,
        event: Event<NativeMessageId>,
        cursor: Option<Cursor>,
    ) -> Inbound {
        let (sender, proof) = (person.user.clone(), person.proof);
        let conversation = self.room.conversation();
        Inbound { conversation, direct: None, id, sender, proof, event, thread: None, cursor }
    }

    /// Tells somebody in the room alone. Once: a message that has been dealt with is not looked at again.
    fn tell(&self, person: &NativeUserId, sentence: &str) {
        let id = Uuid::new_v4().to_string();
        let told = self.link().and_then(|link| self.room.whisper(&link, person, &id, sentence));
        if told.is_none() {
            info!(room = %self.room.jid, user = %person, sentence, "Nobody to tell that a message was not carried.");
        }
    }
}
