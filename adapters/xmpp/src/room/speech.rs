//! What is said in the room on our side: by ghosts, and by the gateway itself.
//!
//! A ghost's message is sent once for each connection at most. If no copy of it has come back, the next
//! attempt first makes sure that the room has dealt with everything sent before ([`Link::settle`]), and after a
//! lost connection the listener finds out from the archive.

use mimi_adapter::{Delivered, Delivery, DeliveryKey, Event, Ghost, NativeUserId, Refusal, Speaker};
use tokio::{sync::oneshot, time::timeout};
use xmpp_parsers::jid::{FullJid, Jid};

use super::{CATCHING_UP, Room};
use crate::{
    component::{Failure, Link, PATIENCE},
    files::Files,
    stanza::{self, ElementExt, StanzaError, ns},
    to_native::{self, Route},
};

impl Room {
    pub async fn deliver(&self, link: &Link, delivery: &Delivery, files: &Files) -> Result<Delivered, Refusal> {
        let mut live = self.live.subscribe();
        let here = live.wait_for(|live| *live == Some(link.number()));
        if timeout(CATCHING_UP, here).await.is_err() {
            return Err(Refusal::retry(format!("the gateway is not in {} at the moment", self.jid)));
        }
        let ghost = match (&delivery.speaker, &delivery.event) {
            (_, Event::Notice { text, to, .. }) => return self.notice(link, &delivery.key, text, to.as_ref()).await,
            (Speaker::Gateway, Event::Topic { topic }) => {
                return self.set_subject(link, &delivery.key, &self.listener, topic).await;
            }
            (Speaker::Ghost(ghost), _) => ghost,
            (Speaker::Gateway, _) => return Err(Refusal::reject("only people can say that")),
        };
        let Some(jid) = self.ghost_jid(ghost) else {
            return Err(Refusal::reject(format!("the address {} is too long for XMPP", ghost.user)));
        };
        if delivery.event == Event::Leave {
            self.send_off(link, &jid, ghost);
            link.settle(&jid, &self.jid).await?;
            return Ok(Delivered::default());
        }
        self.enter(link, &jid, &ghost.name).await.map_err(|failure| self.not_let_in(failure, ghost))?;
        mimi_adapter::failpoint!("xmpp.entered");
        if delivery.event == Event::Join {
            return Ok(Delivered::default());
        }
        match &delivery.event {
            Event::Topic { topic } => self.set_subject(link, &delivery.key, &jid, topic).await,
            _ => self.say(link, delivery, &jid, files).await,
        }
    }

    /// Returns when the room has told everybody. What it tells is its own message, without our id, so what it says now is
    /// all that tells whether an earlier attempt has arrived.
    async fn set_subject(
        &self,
        link: &Link,
        key: &DeliveryKey,
        by: &FullJid,
        topic: &str,
    ) -> Result<Delivered, Refusal> {
        let mut subject = self.subject.subscribe();
        let is_so = |subject: &Option<String>| subject.as_deref() == Some(topic);
        if is_so(&subject.borrow_and_update()) {
            return Ok(Delivered::default());
        }
        let room = Jid::from(self.jid.clone());
        let message = stanza::stanza("message", by, &room).attribute("type", "groupchat");
        let message = message.attribute("id", key.as_str()).child(stanza::element("subject", ns::STANZA).says(topic));
        let error = link.expect("message", key.as_str(), &room);
        link.send(message);
        tokio::select! {
            biased;
            told = subject.wait_for(is_so) => told.map(|_| Delivered::default()).map_err(|_| Failure::Lost.into()),
            Ok(error) = error => Err(self.not_said(StanzaError::of(&error), key, by)),
            () = tokio::time::sleep(PATIENCE) => Err(Failure::Timeout(room).into()),
        }
    }

    /// Says it unless it has been said, and returns when the room has repeated it.
    async fn say(
        &self,
        link: &Link,
        delivery: &Delivery,
        ghost: &FullJid,
        files: &Files,
    ) -> Result<Delivered, Refusal> {
        let key = &delivery.key;
        let before = self.state().unresolved.contains(key);
        if before {
            link.settle(ghost, &self.jid).await?;
        }
        if let Some(stanza_id) = self.memory().delivered(key) {
            return Ok(to_native::delivered(delivery, stanza_id.as_deref()));
        }
        let file = match &delivery.event {
            Event::File { file, .. } => Some(files.put(link, &ghost.clone().into(), file).await?),
            _ => None,
        };
        let route = Route { from: ghost, to: &self.jid, kind: "groupchat" };
        let message = to_native::message(delivery, &route, &self.memory(), file.as_deref())?;
        let copy = self.expect_copy(key);
        let error = link.expect("message", key.as_str(), &self.jid.clone().into());
        mimi_adapter::failpoint!("xmpp.say");
        link.send(message);
        tokio::select! {
            biased;
            copy = copy => copy.map_err(|_| Failure::Lost)?,
            Ok(error) = error => return Err(self.not_said(StanzaError::of(&error), key, ghost)),
            () = tokio::time::sleep(PATIENCE) => return Err(Failure::Timeout(self.jid.clone().into()).into()),
        }
        mimi_adapter::failpoint!("xmpp.repeated");
        let stanza_id = self.memory().delivered(key).cloned().flatten();
        Ok(to_native::delivered(delivery, stanza_id.as_deref()))
    }

    /// Resolves when the listener's copy of the delivery is seen.
    fn expect_copy(&self, key: &DeliveryKey) -> oneshot::Receiver<()> {
        let (said, copy) = oneshot::channel();
        let mut state = self.state();
        state.expected.insert(key.clone(), said);
        state.unresolved.insert(key.clone());
        copy
    }

    fn not_said(&self, error: StanzaError, key: &DeliveryKey, ghost: &FullJid) -> Refusal {
        let mut state = self.state();
        state.unresolved.remove(key);
        state.expected.remove(key);
        drop(state);
        // XEP-0045 §7.4: it is not in the room although it was: the room restarted, or threw it out.
        if error.is("not-acceptable") {
            self.unseat(&ghost.to_bare());
            return Refusal::retry(error);
        }
        Failure::Refused { from: self.jid.clone().into(), error }.into()
    }

    fn not_let_in(&self, failure: Failure, ghost: &Ghost) -> Refusal {
        let why = |words: &str| Refusal::reject(format!("{} {words} {}", ghost.name, self.jid));
        match failure {
            Failure::Refused { error, .. } if error.is("registration-required") => why("is not a member of"),
            Failure::Refused { error, .. } if error.is("forbidden") => why("is banned from"),
            // Full, locked, not there any more: an admin of the room can mend that, and the message waits.
            Failure::Refused { error, .. } if !error.is("not-authorized") => Refusal::retry(error),
            other => other.into(),
        }
    }

    /// To the person alone where they are here, else to the room.
    async fn notice(
        &self,
        link: &Link,
        key: &DeliveryKey,
        text: &str,
        to: Option<&NativeUserId>,
    ) -> Result<Delivered, Refusal> {
        let whispered = to.and_then(|to| self.whisper(link, to, key.as_str(), text));
        if whispered.is_none() && self.memory().delivered(key).is_none() {
            let (listener, room) = (Jid::from(self.listener.clone()), Jid::from(self.jid.clone()));
            link.send(to_native::notice(&listener, &room, "groupchat", key.as_str(), text));
        }
        link.settle(&self.listener, &self.jid).await?;
        Ok(Delivered::default())
    }

    /// A private word from the gateway to somebody in the room: where it went, if they are here.
    pub fn whisper(&self, link: &Link, to: &NativeUserId, id: &str, text: &str) -> Option<Jid> {
        let nick = self.state().occupants.nick_of(to).map(str::to_owned)?;
        let occupant = self.occupant(&nick)?;
        let listener = Jid::from(self.listener.clone());
        link.send(to_native::notice(&listener, &occupant, "chat", id, text).child(stanza::element("x", ns::MUC_USER)));
        Some(occupant)
    }
}
