//! The XMPP adapter: a component (XEP-0114) beside the organisation's server.
//!
//! Every MIMI user is a JID of the component, a *ghost*. Ghosts are occupants of the rooms an admin has
//! linked, and people write to them one-to-one. In reading order: this file is the plug; `id` the names;
//! `from_native` and `to_native` the translation (pure), `memory` what it has to remember; `rooms`, `room` and
//! `listener` the linked rooms, `occupants` and `archive` what a room tells; `direct` the one-to-one
//! conversations; `files` what people share; `service` the questions anybody may ask; `component` the connection, `stream` its bytes,
//! `stanza` its words.
//!
//! In a room with an archive (XEP-0313) nothing is lost, doubled or reordered, whatever breaks. Without one
//! that holds for as much as the room repeats to who enters. One-to-one, a delivery that a broken
//! connection has cut short may be shown twice, under the same id; `direct` says why.

use std::{sync::Arc, time::Duration};

use mimi_adapter::{
    Adapter, AdapterKind, BoxError, Built, Canary, CancellationToken, Capabilities, ConfigError, Context,
    ConversationId, Delivered, Delivery, Event, Ghost, Inbox, NativeUserId, Problem, Pulse, Receipt, Refusal, Session,
    Support, Threads, async_trait, toml,
};
use minidom::Element;
use tokio::sync::watch;
use xmpp_parsers::jid::BareJid;

mod archive;
mod component;
mod config;
mod direct;
mod files;
mod from_native;
mod id;
mod listener;
mod memory;
mod occupants;
mod room;
mod rooms;
mod service;
mod stanza;
mod stream;
mod styling;
mod to_native;

use component::Link;
use config::Config;
use direct::{Direct, Way};
use files::Files;
use id::Place;
use rooms::Rooms;
use stanza::ElementExt;
use stream::ConnectError;

pub const KIND: AdapterKind =
    AdapterKind { name: "xmpp", example: include_str!("../example.toml"), capabilities: CAPABILITIES, build };

const CAPABILITIES: Capabilities = Capabilities {
    reply: Support::Full,
    edit: Support::Full,
    delete: Support::Full,
    reaction: Support::Full,
    thread: Threads::Named,
    // Between two people.
    receipts: true,
    file: Support::Full,
    // The server says how large.
    max_file: u64::MAX,
    formatting: Support::Full,
    // It stands in the room's configuration, which is its owners'.
    name: Support::AsText,
    // Where occupants may change it.
    topic: Support::Full,
    max_text: 65_536,
};

/// What `deliver` may take in all.
const DELIVERY: Duration = Duration::from_secs(30);

struct Xmpp {
    config: Config,
    link: watch::Sender<Option<Link>>,
    rooms: Rooms,
    direct: Arc<Direct>,
    files: Arc<Files>,
    pulse: Pulse,
}

fn build(table: toml::Table, context: &Context) -> Built {
    build_with(table, context, Canary::USUAL)
}

/// [`KIND`]'s `build`, with another rhythm of canaries: for tests that wait for one to stay out.
#[doc(hidden)]
pub fn build_with(table: toml::Table, _: &Context, canary: Canary) -> Built {
    let config = Config { canary, ..Config::parse(table)? };
    let direct = Arc::new(Direct::new(config.component.clone(), config.domains.clone()));
    let files = Files::new(config.component.clone(), config.domains.clone())
        .map_err(|error| vec![ConfigError::new("component", format!("no HTTP client can be made: {error}"))])?;
    Ok(Arc::new(Xmpp {
        config,
        link: watch::Sender::new(None),
        rooms: Rooms::default(),
        direct,
        files: Arc::new(files),
        pulse: Pulse::new(),
    }))
}

#[async_trait]
impl Adapter for Xmpp {
    async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), BoxError> {
        let (files, links) = (self.files.clone(), self.link.subscribe());
        let way = Way { inbox: inbox.clone(), links, files: files.clone(), stop: stop.clone() };
        let rooms = self.rooms.run(&self.config.component, inbox, self.link.subscribe(), files, stop.clone());
        let handle = |link: &Link, stanza| self.handle(link, stanza, &way);
        let lost = || {
            self.rooms.reset();
            self.direct.reset();
            self.files.reset();
        };
        let learning = self.learn(stop.clone());
        let connection = async {
            component::run(&self.config, &self.link, &self.pulse, handle, lost, &stop, self.direct.finish()).await;
            Ok(())
        };
        tokio::try_join!(connection, rooms, learning)?;
        // What came in with the last bytes of the stream.
        self.direct.finish().await;
        Ok(())
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<Delivered, Refusal> {
        let link = self.link.borrow().clone();
        let link = link.ok_or_else(|| Refusal::retry("the gateway is not connected to the XMPP server"))?;
        let delivering = async {
            match Place::of(&delivery.conversation) {
                Some(Place::Direct { user, ghost }) => {
                    self.direct.deliver(&link, delivery, &user, &ghost, &self.files).await
                }
                Some(Place::Room(room)) => match self.rooms.get(&room) {
                    Some(room) => room.deliver(&link, delivery, &self.files).await,
                    None => Err(Refusal::retry(format!("the gateway has not yet joined {room}"))),
                },
                None => Err(Refusal::reject(format!("{} is not the address of a room", delivery.conversation))),
            }
        };
        let late = |_| Refusal::retry("the XMPP server has not confirmed the delivery in time");
        let patience = match &delivery.event {
            Event::File { file, .. } => DELIVERY + file.patience(),
            _ => DELIVERY,
        };
        tokio::time::timeout(patience, delivering).await.map_err(late)?
    }

    /// Bare JIDs of the served domains, in canonical form.
    fn serves(&self, user: &NativeUserId) -> bool {
        BareJid::new(user.as_str()).is_ok_and(|jid| jid.as_str() == user.as_str() && self.direct.serves(&jid))
    }

    /// Between two people. In a room each would be told to everybody, and kept.
    async fn receipt(&self, receipt: &Receipt<Ghost>) -> Result<(), Refusal> {
        let link = self.link.borrow().clone();
        if let (Some(link), Some(Place::Direct { user, ghost })) = (link, Place::of(&receipt.conversation)) {
            self.direct.receipt(&link, receipt, &user, &ghost);
        }
        Ok(())
    }

    fn capabilities(&self, conversation: &ConversationId) -> Capabilities {
        let receipts = matches!(Place::of(conversation), Some(Place::Direct { .. }));
        Capabilities { max_file: self.files.most(), receipts, ..CAPABILITIES }
    }

    async fn open_direct(&self, user: &NativeUserId, ghost: &Ghost) -> Result<ConversationId, Refusal> {
        let not_a_user = || Refusal::reject(format!("{user} is not an account of this XMPP server"));
        let user = BareJid::new(user.as_str()).map_err(|_| not_a_user())?;
        let too_long = || Refusal::reject(format!("the address {} is too long for XMPP", ghost.user));
        let ghost = id::ghost_jid(&ghost.user, self.config.component.domain()).ok_or_else(too_long)?;
        Ok(Place::Direct { user, ghost }.conversation())
    }

    fn session(&self) -> watch::Receiver<Session> {
        self.pulse.watch()
    }

    async fn probe(&self) -> Vec<Problem> {
        let Config { server, component, secret, .. } = &self.config;
        match stream::connect(server, component.as_str(), secret).await {
            Ok((_, mut writer)) => {
                let _ = writer.close().await;
                Vec::new()
            }
            Err(error) => problem(&error, server, component).into_iter().collect(),
        }
    }
}

impl Xmpp {
    /// On each connection, before the first file comes.
    async fn learn(&self, stop: CancellationToken) -> Result<(), BoxError> {
        let mut links = self.link.subscribe();
        let learning = async {
            loop {
                let link = links.borrow_and_update().clone();
                if let Some(link) = link {
                    self.files.learn(&link).await;
                }
                if links.changed().await.is_err() {
                    return;
                }
            }
        };
        stop.run_until_cancelled(learning).await;
        Ok(())
    }

    /// What nobody waits for.
    fn handle(&self, link: &Link, stanza: Element, way: &Way) {
        let Some(from) = stanza.jid("from") else { return };
        let room = self.rooms.get(&from.to_bare());
        match (stanza.name(), stanza.attr("type"), room) {
            ("iq", Some("get" | "set"), _) => link.send(service::answer(&stanza, &self.config.component)),
            ("presence", _, Some(room)) => room.presence(link, &stanza),
            ("presence", _, None) => {
                service::presence(&stanza, &self.config.component).into_iter().for_each(|answer| link.send(answer));
            }
            ("message", Some("groupchat"), Some(room)) => room.heard(stanza),
            ("message", None | Some("chat" | "normal"), Some(room))
                if stanza.jid("to").is_some_and(|to| to.to_bare() == self.config.component) =>
            {
                room.asked(stanza)
            }
            ("message", _, _) => self.direct.heard(link, stanza, way),
            _ => {}
        }
    }
}

/// Why signing in has failed, and what an admin can do. `None` where it has not failed really.
fn problem(error: &ConnectError, server: &str, component: &BareJid) -> Option<Problem> {
    let next_step = match error {
        // The secret was right, and the gateway itself is connected.
        ConnectError::Refused { condition } if condition == "conflict" => return None,
        ConnectError::Unreachable { .. } | ConnectError::Timeout => format!(
            "check that the XMPP server runs and listens for components on {server} (Prosody: component_ports and component_interfaces)"
        ),
        ConnectError::Refused { condition } if condition == "not-authorized" => {
            format!("make secret_file and component_secret of \"{component}\" on the server the same")
        }
        ConnectError::Refused { condition } if condition == "host-unknown" => {
            format!(
                "add Component \"{component}\" with a component_secret to the server's configuration, and restart it"
            )
        }
        ConnectError::Refused { .. } => {
            format!(
                "check Component \"{component}\" and its component_secret in the server's configuration, and the server's log"
            )
        }
        ConnectError::NotXmpp(_) => {
            format!("{server} is some other service: set `server` to the port for components (often 5347)")
        }
    };
    Some(Problem { what: error.to_string(), next_step })
}
