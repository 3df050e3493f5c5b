//! Out: what is said in a conversation goes to each of its people as a mail of its own, for each has their own reply address.
//!
//! The server takes responsibility with its answer, one mail after the other, in order. If several people are to get a mail and
//! it is not the same for all:
//!
//! - The server will never take it for one of them (5yz): the others get it, and its author is told who does not.
//! - It does not take it for one of them now (4yz), or a connection breaks: the delivery is to be tried again, and
//!   what is said next waits. Who has it by then is remembered, so that they don't get it again; a crash in between forgets
//!   it. A server that takes mail in order to send it on says 4yz when it is itself in trouble, so nobody waits for
//!   somebody else's mailbox.
//!
//! When the answer to a mail is lost, nobody can know whether the server has it. It is sent again under the same Message-ID, and
//! some mailboxes show it twice: mail has no way to ask.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mimi_adapter::{
    ConversationId, Delivered, Delivery, Event, File, Inbox, NativeMessageId, NativeUserId, Refusal, Speaker, Text,
    file::{AtMost, broken_off, size_in_words},
};
use tokio::{io::AsyncReadExt, sync::Semaphore};
use tracing::{info, warn};

use crate::{
    config::Config,
    id::{self, Place},
    submission::Submission,
    to_native::{self, Enclosed, Letter, Post, Voice},
};

/// Messages of which is remembered who has them.
const REMEMBERED: usize = 500;
/// Files that are in memory at a time, each once more as a mail.
const FILES: usize = 2;
/// What `deliver` may take, without a file.
const DELIVERY: Duration = Duration::from_secs(30);

pub struct Postman {
    pub config: Arc<Config>,
    submission: Submission,
    progress: Mutex<Progress>,
    files: Semaphore,
}

/// Who has which message of which conversation already.
#[derive(Default)]
struct Progress {
    have: HashMap<Message, BTreeSet<NativeUserId>>,
    order: VecDeque<Message>,
}

/// A mail can be in several conversations, under the same Message-ID.
type Message = (ConversationId, NativeMessageId);

/// Somebody whom the server will never take a mail for, and why.
pub struct Missed {
    pub person: NativeUserId,
    pub reason: String,
}

impl Postman {
    pub fn new(config: Arc<Config>, submission: Submission) -> Self {
        Self { config, submission, progress: Mutex::default(), files: Semaphore::new(FILES) }
    }

    pub async fn deliver(&self, delivery: &Delivery, inbox: &Inbox) -> Result<Delivered, Refusal> {
        let patience = match &delivery.event {
            Event::File { file, .. } => DELIVERY + file.patience(),
            _ => DELIVERY,
        };
        let late = |_| Refusal::retry("the mail server has not answered in time");
        tokio::time::timeout(patience, self.carry(delivery, inbox)).await.map_err(late)?
    }

    async fn carry(&self, delivery: &Delivery, inbox: &Inbox) -> Result<Delivered, Refusal> {
        let Some(place) = Place::of(&delivery.conversation) else {
            return Err(Refusal::reject(format!("{} is neither a list nor two addresses", delivery.conversation)));
        };
        let (text, in_reply_to, file, only) = match &delivery.event {
            Event::Message { text, in_reply_to } => (Some(text.clone()), in_reply_to, None, None),
            Event::File { file, caption, in_reply_to } => {
                (caption.clone().map(Text::Plain), in_reply_to, Some(file), None)
            }
            Event::Notice { text, about, to } => (Some(Text::Plain(text.clone())), about, None, to.clone()),
            // Nobody gets a mail because somebody comes or goes.
            Event::Join | Event::Leave => return Ok(Delivered::default()),
            other => return Err(Refusal::reject(format!("a {} can't be sent by mail", other.kind()))),
        };
        let people = match (&place, only) {
            (_, Some(person)) => vec![person],
            (Place::Direct { user, .. }, None) => vec![user.clone()],
            (Place::List(_), None) => inbox.members(&delivery.conversation).await?,
        };
        let (_room, files) = match file {
            Some(file) => (self.files.acquire().await.ok(), vec![self.enclose(file).await?]),
            None => (None, Vec::new()),
        };
        let id = self.config.addresses.message_id(&delivery.key);
        let missed = self
            .post((delivery.conversation.clone(), id.clone()), &people, |to| Letter {
                place: &place,
                title: self.title(&place),
                to,
                voice: self.voice(&delivery.speaker),
                date: delivery.accepted,
                id: &id,
                in_reply_to: in_reply_to.as_ref(),
                text: text.as_ref(),
                files: &files,
            })
            .await?;
        report(inbox, &delivery.conversation, &id, missed);
        Ok(Delivered { ids: vec![id] })
    }

    /// Sends each of them who has not got it yet a letter. `Reject` if it can be sent to none of them.
    pub async fn post<'l>(
        &self,
        message: Message,
        people: &'l [NativeUserId],
        letter: impl Fn(&'l NativeUserId) -> Letter<'l>,
    ) -> Result<Vec<Missed>, Refusal> {
        let mut missed = Vec::new();
        for to in people.iter().filter(|person| !self.has(&message, person)).collect::<Vec<_>>() {
            let sent = match to_native::write(&letter(to), &self.config.addresses) {
                Ok(post) if post.octets.len() > self.config.max_mail => {
                    let most = size_in_words(self.config.max_mail as u64);
                    Err(Refusal::reject(format!("{most} is the most that a mail may have there")))
                }
                Ok(post) => self.send(post).await,
                Err(refusal) => Err(refusal),
            };
            match sent {
                Ok(()) => self.note(&message, to),
                Err(Refusal::Reject { reason }) => missed.push(Missed { person: to.clone(), reason }),
                Err(retry) => return Err(retry),
            }
        }
        match missed.pop() {
            Some(Missed { reason, .. }) if missed.len() + 1 == people.len() => Err(Refusal::Reject { reason }),
            last => Ok(missed.into_iter().chain(last).collect()),
        }
    }

    /// Sends a mail to ourselves.
    pub async fn canary(&self, number: u64) -> Result<(), Refusal> {
        let post = to_native::canary(number, std::time::SystemTime::now(), &self.config.addresses);
        let post = post.ok_or_else(|| Refusal::retry("the gateway's own address is not valid"))?;
        self.send(post).await
    }

    async fn send(&self, post: Post) -> Result<(), Refusal> {
        let octets = match &self.config.dkim {
            Some(signer) => signer.sign(&post.octets).map_err(|error| Refusal::retry(error.to_string()))?,
            None => post.octets,
        };
        self.submission.send(&post.from, &post.to, &octets).await
    }

    pub async fn check(&self) -> Result<(), Refusal> {
        self.submission.check().await
    }

    /// What a list is called; `None` for a conversation of two.
    pub fn title<'a>(&'a self, place: &'a Place) -> Option<&'a str> {
        match place {
            Place::List(name) => Some(self.config.lists.get(name).map_or(name, |list| &list.title)),
            Place::Direct { .. } => None,
        }
    }

    fn voice<'a>(&self, speaker: &'a Speaker) -> Voice<'a> {
        match speaker {
            Speaker::Ghost(ghost) => {
                let place = Place::Direct { user: NativeUserId::new(""), ghost: ghost.user.clone() };
                let address = id::ghost_local(&ghost.user).and_then(|_| self.config.addresses.open(&place));
                Voice::Person { name: &ghost.name, address }
            }
            Speaker::Gateway => Voice::Gateway,
        }
    }

    async fn enclose(&self, file: &File) -> Result<Enclosed, Refusal> {
        let most = self.max_file();
        let opened = file.octets.open().await?;
        let words = format!("{} is the most that can be sent there", size_in_words(most));
        let mut octets = Vec::new();
        AtMost::new(opened.octets, most, words).read_to_end(&mut octets).await.map_err(broken_off)?;
        Ok(Enclosed { name: file.name.clone(), media_type: file.media_type.clone(), octets })
    }

    /// Base64 makes four octets of three, in lines of 76; beside the file there are its words.
    pub fn max_file(&self) -> u64 {
        (self.config.max_mail as u64 / 100 * 72).saturating_sub(200_000)
    }

    fn has(&self, message: &Message, person: &NativeUserId) -> bool {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.have.get(message).is_some_and(|people| people.contains(person))
    }

    fn note(&self, message: &Message, person: &NativeUserId) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let Progress { have, order } = &mut *progress;
        if !have.contains_key(message) {
            order.push_back(message.clone());
        }
        have.entry(message.clone()).or_default().insert(person.clone());
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            have.remove(&oldest);
        }
    }
}

/// Tells the author of a message who has not got it. Not before the delivery is over: until then it has no name.
pub fn report(inbox: &Inbox, conversation: &ConversationId, id: &NativeMessageId, missed: Vec<Missed>) {
    if missed.is_empty() {
        return;
    }
    let (inbox, conversation, id) = (inbox.clone(), conversation.clone(), id.clone());
    tokio::spawn(async move {
        for Missed { person, reason } in missed {
            info!(%conversation, %id, %person, reason, "The mail server does not take it for this person.");
            if let Err(problem) = inbox.not_delivered(&conversation, &id, &format!("{person}: {reason}")).await {
                warn!(%conversation, %id, %person, %problem, "Its author could not be told.");
            }
        }
    });
}
