//! Matrix: the gateway as an application service of one homeserver.
//!
//! Read in this order: [`KIND`] and the adapter below; `id` (who is who); `from_native` and `to_native`
//! (the translation, pure); `server`, `transactions` and `catch_up` (the way in), `life` (whether it works), `delivery`
//! (the way out), `media` (files); `homeserver`, `direct` and `links` (accounts, rooms and who is in them); `client` (requests and their failures).
//!
//! An application service and not a bot that syncs: the homeserver keeps each transaction until we say yes,
//! so nothing has to be back-filled after a pause, and people elsewhere have accounts of their own.
//!
//! Rooms are linked by id (`!…`), not by alias: an alias can be moved to another room by people of the
//! homeserver, and with it what is said there. The bot tells the id to whoever invites it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use matrix_sdk::ruma::UserId;
use mimi_adapter::{
    Adapter, AdapterKind, BoxError, Built, Canary, CancellationToken, Capabilities, ConfigError, Context,
    ConversationId, Delivered, Delivery, Event, Ghost, Inbox, NativeUserId, Problem, Receipt, ReceiptKind, Refusal,
    Session, Support, Threads, async_trait, toml,
};
use tokio::{net::TcpListener, sync::watch};
use tracing::info;

mod catch_up;
mod client;
mod config;
mod delivery;
mod direct;
mod from_native;
mod homeserver;
mod id;
mod life;
mod links;
mod media;
mod pills;
mod probe;
mod registration;
mod server;
mod to_native;
mod transactions;

pub use registration::registration;

use client::Client;
use config::{Config, Secret};
use homeserver::Homeserver;
use transactions::Transactions;

pub const KIND: AdapterKind =
    AdapterKind { name: "matrix", example: include_str!("../example.toml"), capabilities: CAPABILITIES, build };

const CAPABILITIES: Capabilities = Capabilities {
    reply: Support::Full,
    edit: Support::Full,
    delete: Support::Full,
    reaction: Support::Full,
    thread: Threads::Under,
    receipts: true,
    file: Support::Full,
    // The homeserver says how large.
    max_file: u64::MAX,
    formatting: Support::Full,
    // Where the bot has the power.
    name: Support::Full,
    topic: Support::Full,
    max_text: to_native::MAX_TEXT,
};

/// How long a delivery may take before the core is told to come again.
const PATIENCE: Duration = Duration::from_secs(25);

struct Matrix {
    homeserver: Arc<Homeserver>,
    listen: SocketAddr,
    url: String,
    hs_token: Secret,
}

fn build(table: toml::Table, context: &Context) -> Built {
    build_with(table, context, Canary::USUAL)
}

/// [`KIND`]'s `build`, with another rhythm of canaries: for tests that wait for one to stay out.
#[doc(hidden)]
pub fn build_with(table: toml::Table, context: &Context, canary: Canary) -> Built {
    let Config { id, homeserver, namespace, listen, url, as_token, hs_token } = Config::parse(table, context)?;
    let client = Client::new(homeserver, as_token, namespace.bot().to_owned())
        .map_err(|error| vec![ConfigError::new("homeserver", format!("no HTTP client can be made: {error}"))])?;
    let homeserver = Arc::new(Homeserver::new(client, namespace, context.domain.clone(), id, canary));
    Ok(Arc::new(Matrix { homeserver, listen, url, hs_token }))
}

#[async_trait]
impl Adapter for Matrix {
    async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), BoxError> {
        let listener = TcpListener::bind(self.listen).await.map_err(|error| {
            format!(
                "cannot listen on {}: {error} (is it in use? another `listen` needs another `url` too)",
                self.listen
            )
        })?;
        info!(address = %self.listen, "Listening for the homeserver.");
        let (transactions, invitations) = Transactions::new(self.homeserver.clone(), inbox.clone());
        let router = server::router(&self.hs_token, self.homeserver.clone(), transactions.clone());
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let serve = axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
        let tend = self.homeserver.tend(&inbox, &transactions, invitations);
        let (served, _) = tokio::join!(serve, stop.run_until_cancelled(tend));
        Ok(served?)
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<Delivered, Refusal> {
        let patience = match &delivery.event {
            Event::File { file, .. } => PATIENCE + file.patience(),
            _ => PATIENCE,
        };
        tokio::time::timeout(patience, self.homeserver.deliver(delivery))
            .await
            .unwrap_or_else(|_| Err(Refusal::retry("the homeserver takes too long")))
    }

    async fn receipt(&self, receipt: &Receipt<Ghost>) -> Result<(), Refusal> {
        // A homeserver knows only who has read.
        match receipt.kind {
            ReceiptKind::Delivered => Ok(()),
            ReceiptKind::Read => self.homeserver.has_read(receipt).await,
        }
    }

    fn serves(&self, user: &NativeUserId) -> bool {
        UserId::parse(user.as_str()).is_ok_and(|user| self.homeserver.names.is_local_person(&user))
    }

    fn capabilities(&self, _: &ConversationId) -> Capabilities {
        Capabilities { max_file: self.homeserver.upload_limit.known(), ..CAPABILITIES }
    }

    async fn open_direct(&self, user: &NativeUserId, ghost: &Ghost) -> Result<ConversationId, Refusal> {
        let nobody = || Refusal::reject(format!("there is nobody called {user}"));
        let person = UserId::parse(user.as_str()).map_err(|_| nobody())?;
        let id = self.homeserver.names.ghost(&ghost.user).map_err(|error| Refusal::reject(error.to_string()))?;
        tokio::time::timeout(PATIENCE, self.homeserver.open(&person, ghost, &id))
            .await
            .unwrap_or_else(|_| Err(Refusal::retry("the homeserver takes too long")))
            .map(|room| ConversationId::new(room.as_str()))
    }

    fn session(&self) -> watch::Receiver<Session> {
        self.homeserver.pulse.watch()
    }

    async fn probe(&self) -> Vec<Problem> {
        self.homeserver.problems(&self.url).await
    }
}
