//! Builds the parts, runs them, and stops them.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use mimi_adapter::{Adapter, Domain, Inbox};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    adapters::Adapters,
    admin,
    assets::{Assets, Settings},
    cluster::Colleagues,
    config::{Allow, Cluster, Config, Portal},
    core::{AdapterSeat, Clock, Core, Fault, system_clock},
    desk::Desk,
    discovery::Findable,
    doors::{ENDPOINTS, ProviderDoors},
    hub::HubKeys,
    inbox::AdapterDoor,
    janitor,
    lifecycle::Lifecycle,
    limits::Limits,
    mimi::tls::Tls,
    mls::Groups,
    outbox::{Destination, Dispatcher},
    provider::{
        Peers, Server, base_url,
        tls::{Identity, Trust},
    },
    receipts::{self, Receipts},
    sessions,
    store::{Membership, Store},
    trace::Trace,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// Everything a gateway is made of, from a configuration or for a test.
pub struct Parts {
    pub identity: Identity,
    pub trust: Trust,
    pub listener: std::net::TcpListener,
    pub public_port: Option<u16>,
    pub store: Store,
    pub assets: Settings,
    pub addresses: BTreeMap<Domain, String>,
    /// Name, kind and adapter.
    pub adapters: Vec<(String, String, Arc<dyn Adapter>)>,
    pub allow: Vec<Allow>,
    pub findable: Vec<Findable>,
    pub disclosure: Vec<u8>,
    pub portals: Vec<Portal>,
    pub clock: Clock,
    /// How long a destination may take nothing before what waits for it is given up.
    pub give_up_after: Duration,
    /// How long messages from elsewhere are kept so that they can be reported.
    pub keep_evidence: Duration,
    pub trace: Trace,
}

/// Runs a configured gateway until it is told to stop.
pub async fn run(config: Config, adapters: Adapters) -> Result<(), BoxError> {
    let (identity, trust) = config.provider.credentials().map_err(|problems| {
        problems.iter().map(|p| format!("provider.{}: {}", p.key, p.problem)).collect::<Vec<_>>().join("\n")
    })?;
    let listener = listen(config.provider.listen)?;
    let place = config.store.place().map_err(|e| format!("store.{}: {}", e.key, e.problem))?;
    let domain = config.provider.domain.as_str();
    let store = match &config.cluster {
        None => Store::open(place, domain).await?,
        Some(Cluster { address }) => {
            let us = Membership { address: address.clone(), adapters: adapters.keys().cloned().collect() };
            Store::open_shared(place, domain, us).await?
        }
    };
    let kinds = &config.adapters;
    let parts = Parts {
        identity,
        trust,
        listener,
        public_port: Some(config.provider.public_port),
        store,
        assets: config.assets.clone(),
        addresses: config.peers.iter().map(|(peer, address)| (peer.clone(), address.to_string())).collect(),
        adapters: adapters
            .into_iter()
            .map(|(name, adapter)| {
                let kind = kinds.get(&name).map(|table| table.kind.clone()).unwrap_or_default();
                (name, kind, adapter)
            })
            .collect(),
        allow: config.consent.clone(),
        findable: config.findable.clone(),
        disclosure: config.disclosure.encode(),
        portals: config.portals.clone(),
        clock: system_clock(),
        give_up_after: config.delivery.give_up_after,
        keep_evidence: config.abuse.keep_evidence,
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
    let keys = || parts.store.write(|tx| Box::pin(async move { HubKeys::load(tx).await }));
    let hub_keys = match keys().await {
        Ok(keys) => keys,
        // Another process has just made them.
        Err(_) if !parts.store.leases().is_alone() => keys().await?,
        Err(fault) => return Err(fault.into()),
    };
    let core = Arc::new(Core {
        assets: Assets::open(parts.assets, base_url(&domain, parts.public_port))
            .map_err(|e| format!("assets.directory: {e}"))?,
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
        findable: parts.findable,
        disclosure: parts.disclosure,
        hub_keys,
        hub_states: Default::default(),
        dispatcher: Dispatcher::default(),
        limits: Limits::default(),
        colleagues: Colleagues::new(parts.identity.clone(), parts.trust.clone()),
        give_up_after: parts.give_up_after.as_millis() as u64,
        keep_evidence: parts.keep_evidence.as_millis() as u64,
        receipts: Receipts::default(),
        trace: parts.trace,
    });
    let forgetful = Arc::downgrade(&core);
    core.store.when_lost(move || {
        if let Some(core) = forgetful.upgrade() {
            core.forget_all();
        }
    });
    // An adapter that has hung up can't finish a delivery, so the adapters stop after the deliveries in hand.
    let adapters_stop = CancellationToken::new();
    let seats =
        Seats { core: core.clone(), portals: parts.portals, lifecycle: lifecycle.clone(), stop: adapters_stop.clone() };
    if core.store.leases().is_alone() {
        seats.take(core.adapters.keys()).await?;
    }

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
    core.dispatcher.start(&core, lifecycle).await?;
    if !core.store.leases().is_alone() {
        lifecycle.spawn("leases", seats.take_over(lifecycle.stop().token()));
        lifecycle.spawn("wakes of others", hear_others(core.clone(), lifecycle.stop().token()));
    }
    let dispatcher = core.dispatcher.clone();
    lifecycle.spawn("adapters' stop", async move {
        stop.wait().await;
        dispatcher.has_delivered().await;
        adapters_stop.cancel();
        Ok::<_, Fault>(())
    });
    janitor::start(&core, lifecycle);
    receipts::start(&core, lifecycle);
    lifecycle.spawn("database watch", resume(core.clone(), lifecycle.stop().token()));
    Ok(core)
}

/// The places of the adapters, and how they are taken.
struct Seats {
    core: Arc<Core>,
    portals: Vec<Portal>,
    lifecycle: Lifecycle,
    /// The adapters' stop.
    stop: CancellationToken,
}

impl Seats {
    /// Makes the rooms that the configuration links to some adapters, and lets those run.
    async fn take(&self, names: impl Iterator<Item = &String> + Clone) -> Result<(), Fault> {
        let ours = self.portals.iter().filter(|portal| names.clone().any(|name| portal.adapter == *name));
        let ours: Vec<_> = ours.cloned().collect();
        self.core.write(move |core, tx| Box::pin(async move { core.configure_portals(tx, &ours).await })).await?;
        names.for_each(|name| self.run(name));
        Ok(())
    }

    fn run(&self, name: &str) {
        let Some(seat) = self.core.adapters.get(name) else { return };
        let inbox = Inbox::new(Arc::new(AdapterDoor { core: self.core.clone(), adapter: name.to_owned() }));
        let (adapter, token) = (seat.adapter.clone(), self.stop.clone());
        let telling = sessions::tell(name.to_owned(), adapter.session(), token.clone());
        self.lifecycle.spawn(format!("session of {name}"), async move {
            telling.await;
            Ok::<_, Fault>(())
        });
        self.lifecycle.spawn(format!("adapter {name}"), async move { adapter.run(inbox, token).await });
    }

    /// For a process among others: takes what its leases give it, until it is told to stop or finds that others
    /// have taken over. Then it has to begin anew, which is its supervisor's to do.
    async fn take_over(self, stop: CancellationToken) -> Result<(), BoxError> {
        let leases = self.core.store.leases().clone();
        let (mut held, mut taken) = (leases.held(), BTreeSet::new());
        loop {
            let all = held.borrow_and_update().clone();
            let new: Vec<_> = all.difference(&taken).cloned().collect();
            if !new.is_empty() {
                let done = async {
                    self.take(new.iter()).await?;
                    taken.extend(new);
                    self.core.dispatcher.take_up(&self.core).await
                };
                let done: Result<(), Fault> = done.await;
                if let Err(fault) = done {
                    warn!(%fault, "What was taken over could not be taken up yet.");
                    held.mark_changed();
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
            tokio::select! {
                _ = held.changed() => {}
                () = stop.cancelled() => return Ok(()),
                () = leases.evicted().cancelled() => {
                    return Err("this process was away for too long, and others have taken over what it held".into());
                }
            }
        }
    }
}

/// What another process has put into the outbox for us.
async fn hear_others(core: Arc<Core>, stop: CancellationToken) -> Result<(), Fault> {
    let (heard, mut wakes) = tokio::sync::mpsc::unbounded_channel();
    let hearing = core.store.hear_others(move |destination| _ = heard.send(destination));
    let waking = async {
        while let Some(destination) = wakes.recv().await {
            let Some(to) = Destination::parse(&destination) else { continue };
            match core.serves(&to).await {
                Ok(true) => core.dispatcher.wake(to),
                Ok(false) => {}
                Err(fault) => warn!(%fault, destination, "A wake was not understood."),
            }
        }
    };
    // What was not heard, because the line was cut for a moment, is seen.
    let looking = async {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(fault) = core.dispatcher.look(&core).await {
                warn!(%fault, "The outbox can't be looked at.");
            }
        }
    };
    tokio::select! {
        () = hearing => {}
        () = waking => {}
        () = looking => {}
        () = stop.cancelled() => {}
    }
    Ok(())
}

/// How often a process among others looks for what nobody has told it of.
const LOOK: Duration = Duration::from_secs(15);

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
