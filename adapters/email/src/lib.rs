//! The email adapter: people take part by mail, behind the MTA that their organisation runs.
//!
//! Every MIMI user has an address of the gateway's, a *ghost*, to which people write one-to-one; a room of several is a *list*
//! of the configuration. In reading order: this file is the plug; `id` the names and addresses; `from_native` and `to_native`
//! the translation (pure), with `words` (what is new in a mail) and `body` (how it is written down); `lmtp` where the MTA hands
//! over and `reception` what becomes of it, with `automatic` (did a person write it?), `trust` (is it from whom it says?) and
//! `report` (bounces); `postman` and `submission` the way out; `lists` who is on a list; `liveness` whether mail reaches us, `doctor` what stands in its way.
//!
//! In, nothing is lost or doubled: the MTA keeps a mail until the core has it, and its Message-ID is its name. Out, a mail
//! whose answer was lost is sent again under the same Message-ID, and some mailboxes then show it twice. The order of
//! mails is that in which the server got them, one after the other; what comes later may arrive earlier, and mail programs
//! sort by the time.

pub mod automatic;
pub mod body;
mod config;
mod dkim;
mod doctor;
mod from_native;
mod id;
mod lists;
mod liveness;
mod lmtp;
mod postman;
mod reception;
pub mod report;
mod submission;
mod to_native;
pub mod trust;
pub mod words;

use std::sync::{Arc, OnceLock};

use mimi_adapter::{
    Adapter, AdapterKind, BoxError, Built, Canary, CancellationToken, Capabilities, ConfigError, Context,
    ConversationId, Delivered, Delivery, Ghost, Inbox, NativeUserId, Problem, Pulse, Refusal, Session, Support,
    async_trait, toml,
};
use tokio::sync::{oneshot, watch};

use config::Config;
use id::Place;
use lmtp::Listener;
use postman::Postman;
use reception::{Lanes, Reception};
use submission::Submission;
use trust::Trust;

pub const KIND: AdapterKind =
    AdapterKind { name: "email", example: include_str!("../example.toml"), capabilities: CAPABILITIES, build };

const CAPABILITIES: Capabilities = Capabilities {
    reply: Support::Full,
    formatting: Support::Full,
    file: Support::Full,
    // The configuration says how large a mail may be.
    max_file: u64::MAX,
    // In plain text and in HTML, encoded, it is some 700 KiB, and the smallest limit for a mail is 1 MiB.
    max_text: 1 << 18,
    ..Capabilities::PLAIN_TEXT
};

struct Email {
    config: Arc<Config>,
    postman: Arc<Postman>,
    trust: Arc<Trust>,
    /// Since `run`.
    inbox: OnceLock<Inbox>,
    pulse: Arc<Pulse>,
    rhythm: Canary,
}

fn build(table: toml::Table, context: &Context) -> Built {
    build_with(table, context, liveness::RHYTHM)
}

/// [`KIND`]'s `build`, with another rhythm of canaries: for tests that wait for one to stay out.
#[doc(hidden)]
pub fn build_with(table: toml::Table, _: &Context, rhythm: Canary) -> Built {
    let config = Arc::new(Config::parse(table)?);
    let submission = Submission::new(&config.submission, config.addresses.domain())
        .map_err(|problem| vec![ConfigError::new("tls", problem.to_string())])?;
    let trust = Trust::new(config.dns, config.authserv_id.as_deref(), &config.sealers)
        .map_err(|problem| vec![ConfigError::new("dns", problem.to_string())])?;
    Ok(Arc::new(Email {
        postman: Arc::new(Postman::new(config.clone(), submission)),
        config,
        trust: Arc::new(trust),
        inbox: OnceLock::new(),
        pulse: Arc::new(Pulse::new()),
        rhythm,
    }))
}

#[async_trait]
impl Adapter for Email {
    async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), BoxError> {
        let inbox = self.inbox.get_or_init(|| inbox);
        let (heard, hears) = watch::channel(0);
        let reception = Arc::new(Reception {
            config: self.config.clone(),
            trust: self.trust.clone(),
            postman: self.postman.clone(),
            inbox: inbox.clone(),
            links: inbox.links(),
            pulse: self.pulse.clone(),
            canary: heard,
            lanes: Lanes::default(),
            stop: stop.clone(),
        });
        let (told, everybody_is_told) = oneshot::channel();
        let listening = async {
            // What comes in may be from somebody whom the core does not know yet.
            if stop.run_until_cancelled(everybody_is_told).await.is_none() {
                return Ok(());
            }
            let listener = Listener::bind(&self.config.listen).await;
            let listener = listener.map_err(|error| format!("can't listen at {:?}: {error}", self.config.listen))?;
            tokio::join!(
                listener.serve(reception.clone(), stop.clone()),
                liveness::run(&self.postman, &self.pulse, hears, self.rhythm, &stop),
            );
            Ok::<_, BoxError>(())
        };
        tokio::try_join!(listening, lists::run(&self.config, inbox, told, &stop))?;
        Ok(())
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<Delivered, Refusal> {
        let inbox = self.inbox.get().ok_or_else(|| Refusal::retry("the gateway is only starting"))?;
        self.postman.deliver(delivery, inbox).await
    }

    /// Addresses in canonical form, of the configured domains.
    fn serves(&self, user: &NativeUserId) -> bool {
        id::person(user.as_str()).as_ref() == Some(user) && self.config.people.has(user)
    }

    /// Nothing that was sent can be changed or taken back, and a reaction is a mail.
    fn capabilities(&self, _: &ConversationId) -> Capabilities {
        Capabilities { max_file: self.postman.max_file(), ..CAPABILITIES }
    }

    async fn open_direct(&self, user: &NativeUserId, ghost: &Ghost) -> Result<ConversationId, Refusal> {
        let place = Place::Direct { user: user.clone(), ghost: ghost.user.clone() };
        match self.config.addresses.reply(&place, user) {
            Some(_) if Place::of(&place.conversation()).as_ref() == Some(&place) => Ok(place.conversation()),
            _ => Err(Refusal::reject(format!("the address {} is too long to be written to by mail", ghost.user))),
        }
    }

    fn session(&self) -> watch::Receiver<Session> {
        self.pulse.watch()
    }

    async fn probe(&self) -> Vec<Problem> {
        doctor::examine(&self.config, &self.postman, &self.trust).await
    }
}
