//! An adapter with a bug: certain words bring it down.

use mimi_adapter::{
    Adapter, BoxError, CancellationToken, Capabilities, ConversationId, Delivered, Delivery, Event, Ghost, Inbox,
    NativeUserId, Refusal, Session, Text, async_trait,
};
use mimi_loopback::Loopback;
use tokio::sync::watch;

pub struct Brittle(pub Loopback);

#[async_trait]
impl Adapter for Brittle {
    async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), BoxError> {
        self.0.run(inbox, stop).await
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<Delivered, Refusal> {
        if let Event::Message { text: Text::Plain(text), .. } = &delivery.event {
            assert_ne!(text, "Boom!");
        }
        self.0.deliver(delivery).await
    }

    fn serves(&self, user: &NativeUserId) -> bool {
        self.0.serves(user)
    }

    fn capabilities(&self, conversation: &ConversationId) -> Capabilities {
        self.0.capabilities(conversation)
    }

    async fn open_direct(&self, user: &NativeUserId, ghost: &Ghost) -> Result<ConversationId, Refusal> {
        self.0.open_direct(user, ghost).await
    }

    fn session(&self) -> watch::Receiver<Session> {
        self.0.session()
    }
}
