//! Builds the parts, runs them, and stops them.

use std::{collections::BTreeMap, error::Error, net::SocketAddr, sync::Arc};

use mimi_adapter::{Adapter, Domain, Inbox};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    adapters::Adapters,
    admin,
    config::{Allow, Config, Portal},
    core::{AdapterSeat, Clock, Core, Fault, system_clock},
    doors::{ENDPOINTS, ProviderDoors},
    hub::HubKeys,
    inbox::AdapterDoor,
    lifecycle::Lifecycle,
    mimi::tls::Tls,
    mls::Groups,
    outbox::Dispatcher,
    provider::{
        Peers, Server,
        tls::{Identity, Trust},
    },
    rooms::Desk,
    store::Store,
    trace::Trace,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// What a second copy of a fan-out or a submitted message is recognised by is kept for this long, in
/// milliseconds: longer than any peer goes on trying.
const REMEMBER: u64 = 30 * 24 * 3600 * 1000;

/// How often what is no longer needed is cleared away.
const JANITOR: std::time::Duration = std::time::Duration::from_secs(3600);

/// Everything a gateway is made of, from a configuration or for a test.
pub struct Parts {
    pub identity: Identity,
    pub trust: Trust,
    pub listener: std::net::TcpListener,
    pub public_port: Option<u16>,
    pub store: Store,
    pub addresses: BTreeMap<Domain, String>,
    /// Name, kind and adapter.
    pub adapters: Vec<(String, String, Arc<dyn Adapter>)>,
    pub allow: Vec<Allow>,
    pub disclosure: Vec<u8>,
    pub portals: Vec<Portal>,
    pub clock: Clock,
    pub trace: Trace,
}

/// Runs a configured gateway until it is told to stop.
pub async fn run(config: Config, adapters: Adapters) -> Result<(), BoxError> {
    let (identity, trust) = config.provider.credentials().map_err(|problems| {
        problems.iter().map(|p| format!("provider.{}: {}", p.key, p.problem)).collect::<Vec<_>>().join("\n")
    })?;
    let listener = listen(config.provider.listen)?;
    let place = config.store.place().map_err(|e| format!("store.{}: {}", e.key, e.problem))?;
    let store = Store::open(place, config.provider.domain.as_str()).await?;
    let kinds = &config.adapters;
    let parts = Parts {
        identity,
        trust,
        listener,
        public_port: Some(config.provider.public_port),
        store,
        addresses: config.peers.iter().map(|(peer, address)| (peer.clone(), address.to_string())).collect(),
        adapters: adapters
            .into_iter()
            .map(|(name, adapter)| {
                let kind = kinds.get(&name).map(|table| table.kind.clone()).unwrap_or_default();
                (name, kind, adapter)
            })
            .collect(),
        allow: config.consent.clone(),
        disclosure: config.disclosure.encode(),
        portals: config.portals.clone(),
        clock: system_clock(),
        trace: Trace::default(),
    };
    let lifecycle = Lifecycle::default();
    let core = start(parts, &lifecycle).await?;
    let desk: Arc<dyn admin::Operator> = Arc::new(Desk(core));
    let socket = admin::bind(&config.admin.socket)
        .map_err(|e| format!("admin.socket: {}: {e}", config.admin.socket.display()))?;
    let token = lifecycle.stop().token();
    lifecycle.spawn("admin socket", admin::serve(socket, admin::router(desk.clone()), token.clone()));
    if let Some(address) = config.admin.listen {
        let listener = TcpListener::bind(address).await.map_err(|e| format!("admin.listen: {address}: {e}"))?;
        lifecycle.spawn("admin listener", admin::serve(listener, admin::public_router(desk), token));
    }
    info!(domain = %config.provider.domain, listen = %config.provider.listen, "The gateway is up.");
    lifecycle.run().await
}

/// Starts a gateway's tasks on `lifecycle`.
pub async fn start(parts: Parts, lifecycle: &Lifecycle) -> Result<Arc<Core>, BoxError> {
    let domain = parts.identity.domain().clone();
    let hub_keys = parts.store.write(|tx| Box::pin(async move { HubKeys::load(tx).await })).await?;
    let core = Arc::new(Core {
        peers: Peers::new(&parts.identity, &parts.trust, parts.addresses)?,
        domain,
        store: parts.store,
        groups: Groups::default(),
        clock: parts.clock,
        adapters: parts
            .adapters
            .into_iter()
            .map(|(name, kind, adapter)| (name, AdapterSeat::new(&kind, adapter)))
            .collect(),
        allow: parts.allow,
        disclosure: parts.disclosure,
        hub_keys,
        hub_states: Default::default(),
        dispatcher: Dispatcher::default(),
        trace: parts.trace,
    });
    let forgetful = Arc::downgrade(&core);
    core.store.when_lost(move || {
        if let Some(core) = forgetful.upgrade() {
            core.forget_all();
        }
    });
    for portal in parts.portals {
        core.write(move |core, tx| Box::pin(async move { core.configure_portal(tx, &portal).await })).await?;
    }
    core.write(|core, tx| Box::pin(async move { core.refresh_links(tx).await })).await?;

    let stop = lifecycle.stop();
    let doors = Arc::new(ProviderDoors(core.clone()));
    let server = Server::new(&parts.identity, &parts.trust, parts.public_port, ENDPOINTS, doors)?;
    parts.listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(parts.listener)?;
    let token = stop.token();
    lifecycle.spawn("provider server", async move {
        server.serve(listener, token).await;
        Ok::<_, Fault>(())
    });
    // An adapter that has hung up can't finish a delivery, so the adapters stop after the deliveries in hand.
    let adapters_stop = CancellationToken::new();
    for (name, seat) in &core.adapters {
        let inbox = Inbox::new(Arc::new(AdapterDoor { core: core.clone(), adapter: name.clone() }));
        let (adapter, token) = (seat.adapter.clone(), adapters_stop.clone());
        lifecycle.spawn(format!("adapter {name}"), async move { adapter.run(inbox, token).await });
    }
    core.dispatcher.start(&core, lifecycle).await?;
    let dispatcher = core.dispatcher.clone();
    lifecycle.spawn("adapters' stop", async move {
        stop.wait().await;
        dispatcher.has_delivered().await;
        adapters_stop.cancel();
        Ok::<_, Fault>(())
    });
    lifecycle.spawn("janitor", janitor(core.clone(), lifecycle.stop().token()));
    lifecycle.spawn("database watch", resume(core.clone(), lifecycle.stop().token()));
    Ok(core)
}

/// A listening socket, or what to do about not having one.
pub fn listen(address: SocketAddr) -> Result<std::net::TcpListener, BoxError> {
    std::net::TcpListener::bind(address).map_err(|e| {
        let hint = match e.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there; is a gateway running already?",
            std::io::ErrorKind::PermissionDenied => "run with CAP_NET_BIND_SERVICE or pick a port above 1023",
            _ => "is the address one of this machine's?",
        };
        format!("provider.listen: cannot bind {address}: {e} ({hint})").into()
    })
}

/// When the database was away, a commit may have happened that nobody was woken by.
async fn resume(core: Arc<Core>, stop: CancellationToken) -> Result<(), Fault> {
    let mut restored = core.store.restored();
    loop {
        tokio::select! {
            _ = restored.changed() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let refreshed = core.write(|core, tx| Box::pin(async move { core.refresh_links(tx).await })).await;
        if let Err(fault) = refreshed.and(core.dispatcher.look(&core).await) {
            warn!(%fault, "The database went away again.");
        }
    }
}

async fn janitor(core: Arc<Core>, stop: CancellationToken) -> Result<(), Fault> {
    loop {
        let now = core.now();
        let cleared = core.write(move |_, tx| {
            Box::pin(async move {
                tx.forget_seen_before(now.saturating_sub(REMEMBER)).await?;
                Ok(tx.forget_key_packages(now / 1000).await?)
            })
        });
        // A full disk is no reason to stop: what is left lying is cleared next time.
        if let Err(fault) = cleared.await {
            warn!(%fault, "Nothing was cleared away.");
        }
        tokio::select! {
            () = tokio::time::sleep(JANITOR) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}
