//! A suite that nobody can fail is worth nothing: each of these adapters breaks one promise, and the check
//! for it notices. The clock is paused, so a check that waits in vain fails at once.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use mimi_adapter::{
    Accepted, Adapter, BoxError, CancellationToken, Capabilities, ConversationId, Core, Cursor, Delivered, Delivery,
    DeliveryKey, Event, Ghost, Inbound, Inbox, Links, NativeMessageId, NativeUserId, Octets, Receipt, Refusal,
    SenderProof, Session, Speaker, Thread, async_trait,
    conformance::{Harness, Seen, checks},
};
use tokio::{io::AsyncReadExt, sync::watch};

use crate::people::People;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    AcknowledgesWhatIsRefused,
    AttemptsHaveKeysOfTheirOwn,
    SpeaksOutOfOrder,
    HearsItself,
    ForgetsReferences,
    RejectsWhenAway,
    IgnoresStop,
    LosesJoins,
    KeepsWhoIsThereToItself,
    HidesWhoIsMeant,
    LosesThreads,
    KeepsReceipts,
    CallsItselfUp,
    GoesDeafForGood,
    SharesWhatItHas,
    SpoilsFiles,
}

macro_rules! is_caught {
    ($($name:ident: $lie:ident by $check:ident, $words:literal;)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            let check = tokio::spawn(checks::$check(Liars::who(Lie::$lie)));
            let panic = check.await.unwrap_err().into_panic();
            let formatted = panic.downcast_ref::<String>().map(String::as_str);
            let words = formatted.unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap());
            assert!(words.contains($words), "caught for another reason: {words}");
        }
    )*};
}

is_caught! {
    who_acknowledges_what_was_answered_retry:
        AcknowledgesWhatIsRefused by what_is_answered_retry_is_offered_again_in_order, "the core waits for an event";
    who_tells_nobody_of_a_reject:
        AcknowledgesWhatIsRefused by what_is_rejected_is_told_to_the_sender, "Alice waits for a word from the gateway";
    who_invents_a_key_per_attempt:
        AttemptsHaveKeysOfTheirOwn by the_same_key_is_seen_once, "replies to it have to find it";
    who_invents_a_key_per_start:
        AttemptsHaveKeysOfTheirOwn by the_same_key_is_seen_once_across_a_restart, r#"left: Message { text: Plain("One cup.")"#;
    who_lets_messages_overtake:
        SpeaksOutOfOrder by fifty_messages_go_out_in_order, r#"left: Message { text: Plain("cup 2")"#;
    who_echoes_ghosts:
        HearsItself by ghosts_are_not_echoed, "only Alice is a person here";
    who_forgets_what_a_reply_answers:
        ForgetsReferences by a_reply_points_at_its_message, "in_reply_to: None";
    who_gives_up_when_the_network_is_away:
        RejectsWhenAway by a_network_that_is_away_means_retry, "nothing is wrong with the message";
    who_does_not_stop:
        IgnoresStop by stopping_loses_nothing, "the adapter was told to stop";
    who_does_not_let_ghosts_in:
        LosesJoins by a_join_makes_the_ghost_present, "Cathy has joined";
    who_does_not_say_who_is_there:
        KeepsWhoIsThereToItself by who_is_there_is_reported_when_a_conversation_is_linked, "the core waits for an event";
    who_does_not_say_with_whom:
        HidesWhoIsMeant by a_direct_conversation_is_found_again_and_says_with_whom, "the core waits for an event";
    who_does_not_say_in_which_thread:
        LosesThreads by what_is_said_in_a_thread_stays_in_it, "Which pot?";
    who_shows_no_receipts:
        KeepsReceipts by who_has_read_a_message_is_seen, "Alice sees that Bob has read it";
    who_does_not_notice_the_silence:
        CallsItselfUp by silence_is_noticed_and_made_up_for, "the adapter should say that it is deaf";
    who_does_not_make_up_for_the_silence:
        GoesDeafForGood by silence_is_noticed_and_made_up_for, "the core waits for an event";
    who_shares_half_a_file:
        SharesWhatItHas by half_a_file_is_not_shown, "only half of it was there";
    who_spoils_a_file:
        SpoilsFiles by a_file_goes_both_ways, "these are not the octets of the file that Bob has shared";
}

struct Liar {
    lie: Lie,
    honest: Arc<dyn Adapter>,
    inbox: watch::Sender<Option<Inbox>>,
    held_back: Mutex<Option<Delivery>>,
    deaf: Arc<AtomicBool>,
}

#[async_trait]
impl Adapter for Liar {
    async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), BoxError> {
        self.inbox.send_replace(Some(inbox.clone()));
        let stop = if self.lie == Lie::IgnoresStop { CancellationToken::new() } else { stop };
        self.honest.run(Inbox::new(Arc::new(Ear { lie: self.lie, deaf: self.deaf.clone(), inbox })), stop).await
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<Delivered, Refusal> {
        static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
        let mut delivery = delivery.clone();
        match self.lie {
            Lie::AttemptsHaveKeysOfTheirOwn => {
                delivery.key = DeliveryKey::new(format!("attempt-{}", ATTEMPTS.fetch_add(1, Ordering::Relaxed)));
            }
            Lie::SpeaksOutOfOrder if delivery.event != Event::Join => {
                let Some(earlier) = self.held_back.lock().unwrap().take() else {
                    *self.held_back.lock().unwrap() = Some(delivery);
                    return Ok(Delivered { ids: vec![NativeMessageId::new("soon")] });
                };
                self.honest.deliver(&delivery).await?;
                delivery = earlier;
            }
            Lie::HearsItself => {
                let Speaker::Ghost(ghost) = &delivery.speaker else { unreachable!() };
                let echo = Inbound {
                    conversation: delivery.conversation.clone(),
                    direct: None,
                    id: NativeMessageId::new(delivery.key.as_str()),
                    sender: NativeUserId::new(ghost.user.as_str()),
                    proof: SenderProof::Verified,
                    event: delivery.event.clone(),
                    thread: None,
                    cursor: None,
                };
                let mut inbox = self.inbox.subscribe();
                let inbox = inbox.wait_for(Option::is_some).await.unwrap().clone().unwrap();
                inbox.accept(echo).await?;
            }
            Lie::LosesJoins if delivery.event == Event::Join => return Ok(Delivered::default()),
            Lie::SharesWhatItHas | Lie::SpoilsFiles => {
                if let Event::File { file, .. } = &mut delivery.event {
                    let mut octets = Vec::new();
                    let _ = file.octets.open().await?.octets.read_to_end(&mut octets).await;
                    if self.lie == Lie::SpoilsFiles {
                        octets[0] ^= 1;
                    }
                    file.octets = Octets::new(octets);
                }
            }
            _ => {}
        }
        match self.honest.deliver(&delivery).await {
            Err(Refusal::Retry { .. }) if self.lie == Lie::RejectsWhenAway => Err(Refusal::reject("nobody is there")),
            answer => answer,
        }
    }

    fn serves(&self, user: &NativeUserId) -> bool {
        self.honest.serves(user)
    }

    fn capabilities(&self, conversation: &ConversationId) -> Capabilities {
        self.honest.capabilities(conversation)
    }

    fn session(&self) -> watch::Receiver<Session> {
        match self.lie {
            Lie::CallsItselfUp => watch::Sender::new(Session::Up).subscribe(),
            _ => self.honest.session(),
        }
    }

    async fn receipt(&self, receipt: &Receipt<Ghost>) -> Result<(), Refusal> {
        match self.lie {
            Lie::KeepsReceipts => Ok(()),
            _ => self.honest.receipt(receipt).await,
        }
    }

    async fn open_direct(&self, user: &NativeUserId, ghost: &Ghost) -> Result<ConversationId, Refusal> {
        self.honest.open_direct(user, ghost).await
    }
}

/// The core, as the liar hears it.
struct Ear {
    lie: Lie,
    deaf: Arc<AtomicBool>,
    inbox: Inbox,
}

#[async_trait]
impl Core for Ear {
    async fn accept(&self, mut inbound: Inbound) -> Result<Accepted, Refusal> {
        if let (Lie::ForgetsReferences, Event::Message { in_reply_to, .. }) = (self.lie, &mut inbound.event) {
            *in_reply_to = None;
        }
        match self.lie {
            Lie::KeepsWhoIsThereToItself if inbound.event == Event::Join => return Ok(Accepted::New),
            Lie::HidesWhoIsMeant => inbound.direct = None,
            Lie::LosesThreads => inbound.thread = None,
            Lie::GoesDeafForGood if self.deaf.load(Ordering::Relaxed) => return Ok(Accepted::New),
            _ => {}
        }
        match self.inbox.accept(inbound).await {
            Err(_) if self.lie == Lie::AcknowledgesWhatIsRefused => Ok(Accepted::New),
            answer => answer,
        }
    }

    fn links(&self) -> watch::Receiver<Links> {
        self.inbox.links()
    }

    async fn ghosts(&self, conversation: &ConversationId) -> Result<Vec<Ghost>, Refusal> {
        self.inbox.ghosts(conversation).await
    }

    async fn cursor(&self, conversation: &ConversationId) -> Result<Option<Cursor>, Refusal> {
        self.inbox.cursor(conversation).await
    }

    fn receipt(&self, receipt: Receipt<NativeUserId>) {
        self.inbox.receipt(receipt);
    }

    async fn members(&self, conversation: &ConversationId) -> Result<Vec<NativeUserId>, Refusal> {
        self.inbox.members(conversation).await
    }

    async fn not_delivered(
        &self,
        conversation: &ConversationId,
        message: &NativeMessageId,
        reason: &str,
    ) -> Result<(), Refusal> {
        self.inbox.not_delivered(conversation, message, reason).await
    }
}

/// The same people, with a liar between them and the gateway.
struct Liars {
    people: People,
    lie: Lie,
    /// It has been silent.
    deaf: Arc<AtomicBool>,
}

impl Liars {
    fn who(lie: Lie) -> Self {
        Self { people: People::in_process(), lie, deaf: Arc::default() }
    }
}

#[async_trait]
impl Harness for Liars {
    async fn adapter(&mut self) -> Arc<dyn Adapter> {
        let honest = self.people.adapter().await;
        let (inbox, held_back) = (watch::Sender::new(None), Mutex::default());
        Arc::new(Liar { lie: self.lie, honest, inbox, held_back, deaf: self.deaf.clone() })
    }
    async fn connected(&mut self) {
        self.people.connected().await
    }
    fn conversation(&self) -> ConversationId {
        self.people.conversation()
    }
    fn alice(&self) -> NativeUserId {
        self.people.alice()
    }
    async fn alice_does(&mut self, event: Event<NativeMessageId>) -> NativeMessageId {
        self.people.alice_does(event).await
    }
    async fn alice_reads(&mut self, receipt: &Receipt<Ghost>) {
        self.people.alice_reads(receipt).await
    }
    async fn sees_read(&mut self, receipt: &Receipt<Ghost>) {
        self.people.sees_read(receipt).await
    }
    async fn alice_says_in(&mut self, thread: &Thread, event: Event<NativeMessageId>) -> NativeMessageId {
        self.people.alice_says_in(thread, event).await
    }
    async fn alice_writes_to(&mut self, ghost: &Ghost, conversation: &ConversationId, text: &str) -> NativeMessageId {
        self.people.alice_writes_to(ghost, conversation, text).await
    }
    async fn sees(&mut self) -> Seen {
        self.people.sees().await
    }
    async fn told(&mut self) -> String {
        self.people.told().await
    }
    async fn is_present(&mut self, ghost: &Ghost) -> bool {
        self.people.is_present(ghost).await
    }
    async fn goes_away(&mut self) {
        self.people.goes_away().await
    }
    async fn comes_back(&mut self) {
        self.people.comes_back().await
    }
    async fn falls_silent(&mut self) {
        self.deaf.store(true, Ordering::Relaxed);
        self.people.falls_silent().await
    }
}
