//! In: what becomes of a mail that the MTA hands over for one of our addresses.
//!
//! Who may speak: somebody whose address is of this network, to a ghost; who is a member, to a list. And it has to
//! be them: DMARC or what comes close to it says so ([`trust`](crate::trust)); or the mail is to the reply address that only they
//! were told, and nothing speaks against it. In the latter case they can't change what was said before, since an address
//! can be passed on with a mail.
//!
//! While the core can't take a message the MTA waits for its answer, and so does what follows in the conversation: what
//! is once back in the MTA's queue comes in any order. After some minutes it goes there after all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use mail_parser::Message;
use mimi_adapter::{
    CancellationToken, ConversationId, Event, Inbound, Inbox, Links, NativeMessageId, NativeUserId, Pulse, Refusal,
    SenderProof, async_trait,
};
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info};

use crate::{
    automatic::{self, Own, Written},
    config::Config,
    from_native::{self, Said},
    id::{self, Place, Recipient, Token, Whom},
    lmtp::{Answer, Desk, Mail},
    postman::{self, Postman},
    report::{self, Action},
    to_native::{Enclosed, HOP, Letter, Voice},
    trust::{self, Author, Envelope, Trust, Verdict},
    words,
};

/// How long the MTA waits for its answer at the most; it has ten minutes (RFC 5321 §4.5.3.2.6).
const PATIENCE: Duration = Duration::from_secs(240);

pub struct Reception {
    pub config: Arc<Config>,
    pub trust: Arc<Trust>,
    pub postman: Arc<Postman>,
    pub inbox: Inbox,
    pub links: watch::Receiver<Links>,
    pub pulse: Arc<Pulse>,
    /// The number of the last canary that came back.
    pub canary: watch::Sender<u64>,
    pub lanes: Lanes,
    pub stop: CancellationToken,
}

#[async_trait]
impl Desk for Reception {
    type Recipient = Recipient;

    fn max_mail(&self) -> usize {
        self.config.max_mail
    }

    fn recipient(&self, address: &str) -> Result<Recipient, String> {
        let nobody = || "nobody reads what is written to this address".to_owned();
        let recipient = self.config.addresses.recipient(address).ok_or_else(nobody)?;
        match &recipient.whom {
            Whom::List(name) if !self.links.borrow().contains(&ConversationId::new(name)) => Err(nobody()),
            _ => Ok(recipient),
        }
    }

    async fn take(&self, mail: &Mail, recipient: &Recipient) -> Answer {
        let answer = match self.handle(mail, recipient).await {
            Ok(()) => Answer::Taken,
            Err(Refusal::Retry { source, .. }) => Answer::Later(source.to_string()),
            Err(Refusal::Reject { reason }) => Answer::Never(reason),
        };
        debug!(?answer, "The MTA has its answer.");
        answer
    }
}

impl Reception {
    async fn handle(&self, mail: &Mail, recipient: &Recipient) -> Result<(), Refusal> {
        let header = words::header(&mail.octets).map_err(|problem| Refusal::reject(problem.to_string()))?;
        let header = header.ok_or_else(|| Refusal::reject("your mail has no header that can be read"))?;
        let at = &self.config.addresses;
        let written = {
            let id_domain = at.id_domain();
            let own = Own { hop: (HOP, &id_domain), is_ours: &|id| at.is_ours(id) };
            automatic::written(&header, &mail.sender, &own)
        };
        match (&recipient.whom, &recipient.token, written) {
            (Whom::Canary, Some(token), Written::Own) => {
                if let Some(number) = at.canary_number(token) {
                    self.canary.send_replace(number);
                    self.pulse.up();
                }
                Ok(())
            }
            (Whom::Canary, ..) => Ok(()),
            (_, _, Written::Own) => {
                info!("A mail of ours has come back, and goes nowhere.");
                Ok(())
            }
            (Whom::List(name), Some(Token::Leave(_)), _) => self.leave(name, recipient).await,
            (_, _, Written::Bounce) => self.bounce(mail, recipient).await,
            (_, _, Written::AutoReply) => {
                info!(sender = mail.sender, "A machine has answered, and is not answered (RFC 3834).");
                Ok(())
            }
            (_, _, Written::List) => Err(Refusal::reject("what a mailing list passes on is not carried")),
            (_, _, Written::Person) => self.person(mail, &header, recipient).await,
        }
    }

    /// Somebody says something.
    async fn person(&self, mail: &Mail, header: &Message<'_>, recipient: &Recipient) -> Result<(), Refusal> {
        let author = trust::author(header).map_err(|problem| Refusal::reject(problem.to_string()))?;
        let no_address = || Refusal::reject(format!("{} is not an address that can be carried", author.address));
        let local = author.address.rsplit_once('@').map(|(local, _)| local).ok_or_else(no_address)?;
        let sender = id::person(&format!("{local}@{}", author.domain)).ok_or_else(no_address)?;
        if !self.is_named(header, recipient) {
            // A signed mail stays signed, whomever it is sent to again.
            return Err(Refusal::reject("the address that your mail was sent to is neither in To nor in Cc"));
        }
        let place = recipient.whom.place(&sender).ok_or_else(no_address)?;
        let conversation = place.conversation();
        self.may_speak(&place, &sender).await?;
        let proof = self.proof(mail, &author, recipient, &place, &sender).await?;
        let said = self.read(mail, &place).await?;

        let lane = self.lanes.of(&conversation);
        let _turn = lane.turn().await;
        for (id, event) in said.events(&mail.octets) {
            let direct = match &place {
                Place::Direct { ghost, .. } => Some(ghost.clone()),
                Place::List(_) => None,
            };
            let conversation = conversation.clone();
            let sender = sender.clone();
            self.accept(Inbound { conversation, direct, id, sender, proof, thread: None, event, cursor: None }).await?;
        }
        match &place {
            Place::List(_) => self.pass_round(&said, mail, header, &place, &author, &sender).await,
            Place::Direct { .. } => Ok(()),
        }
    }

    /// A large mail takes a while, in which others of this thread would wait.
    async fn read(&self, mail: &Mail, place: &Place) -> Result<Said, Refusal> {
        let (octets, config) = (mail.octets.clone(), self.config.clone());
        let title = self.postman.title(place).map(str::to_owned);
        let reading =
            tokio::task::spawn_blocking(move || from_native::read(&octets, title.as_deref(), &config.addresses));
        reading.await.map_err(Refusal::retry)?.map_err(Refusal::reject)
    }

    fn is_named(&self, header: &Message<'_>, recipient: &Recipient) -> bool {
        let named = [header.to(), header.cc()].into_iter().flatten().flat_map(|addresses| addresses.iter());
        let mut named = named.filter_map(|address| address.address());
        named.any(|address| self.config.addresses.recipient(address).as_ref() == Some(recipient))
    }

    async fn may_speak(&self, place: &Place, sender: &NativeUserId) -> Result<(), Refusal> {
        let is_member = match place {
            Place::Direct { .. } if self.config.people.has(sender) => return Ok(()),
            Place::Direct { .. } => {
                let people = self.config.people.in_words();
                return Err(Refusal::reject(format!("this gateway carries mail of {people} only")));
            }
            Place::List(name) => {
                self.config.lists.get(name).is_some_and(|list| list.members.contains(sender))
                    || self.inbox.members(&place.conversation()).await?.contains(sender)
            }
        };
        let reason = "only members can write to this list, from the address by which they are members";
        if is_member { Ok(()) } else { Err(Refusal::reject(reason)) }
    }

    async fn proof(
        &self,
        mail: &Mail,
        author: &Author,
        recipient: &Recipient,
        place: &Place,
        sender: &NativeUserId,
    ) -> Result<SenderProof, Refusal> {
        let envelope = Envelope { client: mail.client, helo: &mail.helo, sender: &mail.sender };
        let verdict = self.trust.judge(&mail.octets, author, &envelope).await;
        let was_told = recipient.token.as_ref().is_some_and(|token| self.config.addresses.proves(token, place, sender));
        match verdict {
            Verdict::Aligned => Ok(SenderProof::Verified),
            Verdict::Unproven if was_told => Ok(SenderProof::Claimed),
            Verdict::Later => Err(Refusal::retry(verdict.refusal(author).unwrap_or_default())),
            Verdict::Unproven | Verdict::Forged => Err(Refusal::reject(verdict.refusal(author).unwrap_or_default())),
        }
    }

    /// Offers it until there is a yes or a no.
    async fn accept(&self, inbound: Inbound) -> Result<(), Refusal> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.inbox.accept(inbound.clone()).await {
                Ok(_) => return Ok(()),
                Err(Refusal::Retry { after, source }) => {
                    let wait = after.unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(10));
                    if Instant::now() + wait > until {
                        return Err(Refusal::Retry { after, source });
                    }
                    if self.stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                        return Err(Refusal::retry("the gateway is being stopped"));
                    }
                }
                Err(reject) => return Err(reject),
            }
        }
    }

    /// The other members of a list get what one of them has written, under its own Message-ID. The core has it by now,
    /// and nobody else would send it to them; the MTA gets its yes after that, and otherwise offers it again.
    async fn pass_round(
        &self,
        said: &Said,
        mail: &Mail,
        header: &Message<'_>,
        place: &Place,
        author: &Author,
        sender: &NativeUserId,
    ) -> Result<(), Refusal> {
        let conversation = place.conversation();
        let mut others = self.inbox.members(&conversation).await?;
        others.retain(|other| other != sender);
        if others.is_empty() {
            return Ok(());
        }
        let enclose = |file: &words::Attachment| Enclosed {
            name: file.name.clone(),
            media_type: file.media_type.clone(),
            octets: file.octets(&mail.octets).into_owned(),
        };
        let files: Vec<_> = said.files.iter().map(enclose).collect();
        // As of a ghost, with where they are; from an address of ours, or it would be a forgery.
        let name = match &author.name {
            Some(name) => format!("{name} ({})", author.domain),
            None => sender.to_string(),
        };
        let date = header.date().and_then(|date| u64::try_from(date.to_timestamp()).ok());
        let date = date.map_or_else(SystemTime::now, |date| SystemTime::UNIX_EPOCH + Duration::from_secs(date));
        let missed = self
            .postman
            .post((conversation.clone(), said.id.clone()), &others, |to| Letter {
                place,
                title: self.postman.title(place),
                to,
                voice: Voice::Person { name: &name, address: self.config.addresses.open(place) },
                date,
                id: &said.id,
                in_reply_to: said.in_reply_to.as_ref(),
                text: said.text.as_ref(),
                files: &files,
            })
            .await;
        match missed {
            Ok(missed) => postman::report(&self.inbox, &conversation, &said.id, missed),
            // The room has it. That nobody else of ours could be reached is no reason to say that it was refused.
            Err(Refusal::Reject { reason }) => {
                let missed =
                    others.into_iter().map(|person| postman::Missed { person, reason: reason.clone() }).collect();
                postman::report(&self.inbox, &conversation, &said.id, missed);
            }
            Err(retry) => return Err(retry),
        }
        Ok(())
    }

    /// Whoever has the address for leaving is the one who leaves.
    async fn leave(&self, list: &str, recipient: &Recipient) -> Result<(), Refusal> {
        let Some(person) = self.whose(recipient).await? else {
            return Err(Refusal::reject("this address for leaving is not valid, or no longer"));
        };
        let conversation = ConversationId::new(list);
        let lane = self.lanes.of(&conversation);
        let _turn = lane.turn().await;
        info!(%conversation, %person, "Leaves, as they have asked for.");
        let id = NativeMessageId::new(format!("leave {person}"));
        let proof = SenderProof::Verified;
        self.accept(Inbound {
            conversation,
            direct: None,
            id,
            sender: person,
            proof,
            thread: None,
            event: Event::Leave,
            cursor: None,
        })
        .await
    }

    /// A mail system reports about a mail of ours. Only to an address that was told to nobody but who should have got it.
    async fn bounce(&self, mail: &Mail, recipient: &Recipient) -> Result<(), Refusal> {
        let reports = report::read(&mail.octets).unwrap_or_default();
        let Some(person) = self.whose(recipient).await? else {
            info!("A bounce is about nothing that was sent from here.");
            return Ok(());
        };
        let Some(place) = recipient.whom.place(&person) else { return Ok(()) };
        for report in reports {
            let Some(id) = &report.original else { continue };
            info!(conversation = %place.conversation(), id, action = ?report.action, "A mail system reports about a mail.");
            if report.action == Action::Failed {
                let reason = format!("{person}: {}", report.reason);
                self.inbox.not_delivered(&place.conversation(), &NativeMessageId::new(id), &reason).await?;
            }
        }
        Ok(())
    }

    /// Who was told this address.
    async fn whose(&self, recipient: &Recipient) -> Result<Option<NativeUserId>, Refusal> {
        let Some(token) = &recipient.token else { return Ok(None) };
        let candidates = match &recipient.whom {
            Whom::List(name) => self.inbox.members(&ConversationId::new(name)).await?,
            Whom::Ghost(_) => {
                let links = self.links.borrow().clone();
                links
                    .iter()
                    .filter_map(Place::of)
                    .filter_map(|place| match place {
                        Place::Direct { user, .. } => Some(user),
                        Place::List(_) => None,
                    })
                    .collect()
            }
            Whom::Canary => Vec::new(),
        };
        let is_theirs = |person: &NativeUserId| {
            recipient.whom.place(person).is_some_and(|place| self.config.addresses.proves(token, &place, person))
        };
        Ok(candidates.into_iter().find(is_theirs))
    }
}

/// One after the other, in each conversation.
#[derive(Default)]
pub struct Lanes(Arc<Mutex<HashMap<ConversationId, Arc<tokio::sync::Mutex<()>>>>>);

/// A conversation's lane, which is forgotten when nobody is in it.
pub struct Lane {
    lanes: Arc<Mutex<HashMap<ConversationId, Arc<tokio::sync::Mutex<()>>>>>,
    conversation: ConversationId,
    lane: Arc<tokio::sync::Mutex<()>>,
}

impl Lanes {
    fn of(&self, conversation: &ConversationId) -> Lane {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(conversation.clone()).or_default().clone();
        Lane { lanes: self.0.clone(), conversation: conversation.clone(), lane }
    }
}

impl Lane {
    /// In the order in which they ask.
    async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.lane.lock().await
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        // The map and we.
        if Arc::strong_count(&self.lane) == 2 {
            lanes.remove(&self.conversation);
        }
    }
}
