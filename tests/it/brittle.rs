//! An adapter with a bug: certain words bring it down. And with the threads that a scene wants.

use mimi_adapter::{
    Adapter, BoxError, CancellationToken, Capabilities, ConversationId, Delivered, Delivery, Event, Ghost, Inbox,
    NativeUserId, Receipt, Refusal, Session, Text, Threads, async_trait,
};
use mimi_loopback::Loopback;
use tokio::sync::watch;

pub struct Brittle {
    pub honest: Loopback,
    pub threads: Threads,
}

#[async_trait]
impl Adapter for Brittle {
    async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), BoxError> {
        self.honest.run(inbox, stop).await
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<Delivered, Refusal> {
        if let Event::Message { text: Text::Plain(text), .. } = &delivery.event {
            assert_ne!(text, "Boom!");
        }
        self.honest.deliver(delivery).await
    }

    async fn receipt(&self, receipt: &Receipt<Ghost>) -> Result<(), Refusal> {
        self.honest.receipt(receipt).await
    }

    fn serves(&self, user: &NativeUserId) -> bool {
        self.honest.serves(user)
    }

    fn capabilities(&self, conversation: &ConversationId) -> Capabilities {
        Capabilities { thread: self.threads, ..self.honest.capabilities(conversation) }
    }

    async fn open_direct(&self, user: &NativeUserId, ghost: &Ghost) -> Result<ConversationId, Refusal> {
        self.honest.open_direct(user, ghost).await
    }

    fn session(&self) -> watch::Receiver<Session> {
        self.honest.session()
    }
}
