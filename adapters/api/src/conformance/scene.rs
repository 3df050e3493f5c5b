//! What a check works with: a harness, a core, and an adapter that runs between them.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use super::{Harness, Recorder, Seen, bob, cathy, delivery, within};
use crate::{
    Adapter, BoxError, CancellationToken, Capabilities, ConversationId, Delivered, Event, Ghost, Inbound,
    NativeMessageId, Refusal, Thread,
};

pub(super) struct Scene<H> {
    pub network: H,
    pub core: Arc<Recorder>,
    pub adapter: Arc<dyn Adapter>,
    running: Running,
}

struct Running {
    stop: CancellationToken,
    run: JoinHandle<Result<(), BoxError>>,
}

impl<H: Harness> Scene<H> {
    /// Bob is in the room from the beginning, Cathy is not.
    pub async fn start(network: H) -> Self {
        let links = [network.conversation()];
        Self::start_with(network, links).await
    }

    pub async fn start_with(mut network: H, links: impl IntoIterator<Item = ConversationId>) -> Self {
        let core = Recorder::new(links);
        core.set_ghosts(network.conversation(), vec![bob()]);
        let (adapter, running) = start(&mut network, &core).await;
        Self { network, core, adapter, running }
    }

    /// The gateway is killed and comes back: what the adapter had in memory is gone.
    pub async fn crash_and_restart(&mut self) {
        self.running.run.abort();
        let _ = (&mut self.running.run).await;
        self.restart().await;
    }

    pub async fn restart(&mut self) {
        (self.adapter, self.running) = start(&mut self.network, &self.core).await;
    }

    pub fn ask_to_stop(&self) {
        self.running.stop.cancel();
    }

    pub async fn has_stopped(&mut self) {
        let run = within("the adapter was told to stop", &mut self.running.run).await;
        run.expect("run does not panic").expect("run ends without an error when it is told to stop");
    }

    pub fn capabilities(&self) -> Capabilities {
        self.adapter.capabilities(&self.network.conversation())
    }

    /// Waits until the adapter says this of its session.
    pub async fn adapter_is(&self, word: &str) {
        let mut session = self.adapter.session();
        let mut said = session.borrow().word();
        let waiting = async {
            while said != word {
                // An adapter that has nothing more to say will not say it either.
                if session.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                said = session.borrow_and_update().word();
            }
        };
        super::within(&format!("the adapter should say that it is {word}"), waiting).await;
    }

    pub async fn alice_does(&mut self, event: Event<NativeMessageId>) -> NativeMessageId {
        within("Alice does something", self.network.alice_does(event)).await
    }

    pub async fn alice_says_in(&mut self, thread: &Thread, event: Event<NativeMessageId>) -> NativeMessageId {
        within("Alice says something in a thread", self.network.alice_says_in(thread, event)).await
    }

    pub async fn alice_sees(&mut self) -> Seen {
        within("Alice waits to see something", self.network.sees()).await
    }

    pub async fn alice_is_told(&mut self) -> String {
        within("Alice waits for a word from the gateway", self.network.told()).await
    }

    /// The next thing the core has accepted that is no coming or going. Whatever it is, it has to be Alice's.
    pub async fn comes_in(&self) -> Inbound {
        loop {
            let inbound = self.core.accepted().await;
            let alice = self.network.alice();
            assert_eq!(
                inbound.sender, alice,
                "only Alice is a person here, and she did not do this: {:?}",
                inbound.event
            );
            if !matches!(inbound.event, Event::Join | Event::Leave) {
                assert_eq!(inbound.conversation, self.network.conversation());
                return inbound;
            }
        }
    }

    pub async fn cathy_joins(&self) {
        self.deliver("cathy-joins", &cathy(), Event::Join).await;
    }

    pub async fn try_deliver(
        &self,
        key: &str,
        ghost: &Ghost,
        event: Event<NativeMessageId>,
    ) -> Result<Delivered, Refusal> {
        let delivery = delivery(key, &self.network.conversation(), ghost, event);
        within("a delivery", self.adapter.deliver(&delivery)).await
    }

    /// Delivers as the core does: what is answered `Retry` is tried again.
    pub async fn deliver(&self, key: &str, ghost: &Ghost, event: Event<NativeMessageId>) -> Delivered {
        let delivery = delivery(key, &self.network.conversation(), ghost, event);
        deliver(&*self.adapter, &delivery).await
    }

    /// Delivers something that leaves a message, and answers its id.
    pub async fn deliver_message(&self, key: &str, ghost: &Ghost, event: Event<NativeMessageId>) -> NativeMessageId {
        let delivered = self.deliver(key, ghost, event).await;
        delivered.ids.into_iter().next().expect("what leaves a message has an id")
    }
}

pub(super) async fn deliver(adapter: &dyn Adapter, delivery: &crate::Delivery) -> Delivered {
    let delivered = async {
        loop {
            match adapter.deliver(delivery).await {
                Ok(delivered) => return delivered,
                Err(Refusal::Retry { after, .. }) => {
                    tokio::time::sleep(after.unwrap_or(Duration::from_millis(20))).await
                }
                Err(Refusal::Reject { reason }) => panic!("{} was rejected: {reason}", delivery.event.kind()),
            }
        }
    };
    within("a delivery", delivered).await
}

async fn start<H: Harness>(network: &mut H, core: &Arc<Recorder>) -> (Arc<dyn Adapter>, Running) {
    let adapter = within("the harness makes an adapter", network.adapter()).await;
    let stop = CancellationToken::new();
    let run = {
        let (adapter, inbox, stop) = (adapter.clone(), core.inbox(), stop.clone());
        tokio::spawn(async move { adapter.run(inbox, stop).await })
    };
    within("the adapter connects", network.connected()).await;
    (adapter, Running { stop, run })
}

impl Drop for Running {
    fn drop(&mut self) {
        self.run.abort();
    }
}
