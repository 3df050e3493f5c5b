//! Does an adapter keep its word? The checks every adapter has to pass, against its own network.
//!
//! An author writes a [`Harness`]: a network (a real server in a container, or a fake one in the test) and
//! one person on it, Alice. The rest is one line in the adapter's `tests/conformance.rs`:
//!
//! ```text
//! mimi_adapter::conformance!(TeaHouse::open().await);
//! ```
//!
//! Each check gets a harness of its own, and plays the core: accepted events end in a [`Recorder`], which
//! refuses when a check tells it to, and deliveries come from Bob and Cathy. Nothing is slept for: a check
//! waits for what should happen, and fails when it has not happened within [`BOUND`].
//!
//! Behind the feature `conformance`, for `[dev-dependencies]` only.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;

use crate::{
    Adapter, ConversationId, Delivery, DeliveryKey, Event, File, Ghost, NativeMessageId, NativeUserId, Octets, Receipt,
    Speaker, Text, Thread, UserUri,
};

pub mod checks;
mod recorder;
mod scene;

pub use recorder::Recorder;

/// How long anything may take. [`Adapter::deliver`] alone may wait half a minute for its network.
pub const BOUND: Duration = Duration::from_secs(40);

/// A network to test with. Alice, and nobody else of the network, is in one conversation there; it is
/// linked, so the adapter takes part in it.
#[async_trait]
pub trait Harness: Send {
    /// An adapter for this network, configured as an admin would, not yet running. Asked for again to play a
    /// restart of the gateway: the network stays as it is.
    async fn adapter(&mut self) -> Arc<dyn Adapter>;

    /// Waits until the adapter, whose `run` was started just now, is connected, or connected again.
    async fn connected(&mut self) {}

    fn conversation(&self) -> ConversationId;

    fn alice(&self) -> NativeUserId;

    /// Alice does this (never `Join`, `Leave` or `Notice`). Answers how the network names it, and does not
    /// wait for the adapter: she goes on typing while it is slow.
    async fn alice_does(&mut self, event: Event<NativeMessageId>) -> NativeMessageId;

    /// Alice says this in a thread. Only for networks that have threads.
    async fn alice_says_in(&mut self, thread: &Thread, _event: Event<NativeMessageId>) -> NativeMessageId {
        panic!("the adapter has threads, and the harness can't say anything in {thread:?}")
    }

    /// Alice has read, or her device has got, everything up to a message, in this conversation. Only for networks that
    /// have receipts.
    async fn alice_reads(&mut self, _receipt: &Receipt<Ghost>) {
        panic!("the adapter has receipts, and the harness can't give any")
    }

    /// Waits until Alice sees that a ghost has read everything up to a message.
    async fn sees_read(&mut self, _receipt: &Receipt<Ghost>) {
        panic!("the adapter has receipts, and the harness does not see them")
    }

    /// Alice writes to the ghost alone, in the conversation that [`Adapter::open_direct`] has opened. Only for
    /// networks that have one-to-one conversations.
    async fn alice_writes_to(&mut self, ghost: &Ghost, conversation: &ConversationId, text: &str) -> NativeMessageId {
        panic!("the adapter has opened {conversation}, and the harness can't write {text:?} to {} there", ghost.name)
    }

    /// The next thing that everybody in the conversation is shown and that is not Alice's own, in order.
    /// Comings and goings are left out, and so is what [`told`](Self::told) answers. The octets of a file are those that
    /// Alice gets when she looks at it.
    async fn sees(&mut self) -> Seen;

    /// The next thing the gateway itself tells Alice: a notice, or the error that answers her message.
    async fn told(&mut self) -> String;

    /// Is the ghost, as Alice sees it, in the conversation? Not asked where [nobody sees that](Self::shows_who_is_there).
    async fn is_present(&mut self, ghost: &Ghost) -> bool;

    /// The network can't be reached, until [`comes_back`](Self::comes_back).
    async fn goes_away(&mut self);
    async fn comes_back(&mut self);

    /// The network looks alive, and what happens there does not reach the adapter any more, nor do its own canaries:
    /// bytes on the way to it are swallowed. Until [`comes_back`](Self::comes_back). Let the adapter have a short
    /// [`Canary`](crate::Canary): it has to notice within [`BOUND`].
    async fn falls_silent(&mut self);

    /// False declares that in this network nobody sees who is in a conversation. Then nobody may notice anything of comings
    /// and goings.
    fn shows_who_is_there(&self) -> bool {
        true
    }

    /// Declares that this network can't recognise a repeated delivery, so people see it twice. Say it in
    /// the adapter's documentation as well.
    fn at_least_once(&self) -> bool {
        false
    }
}

/// What people see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How the network names it. For a change of something earlier, whatever it has.
    pub id: NativeMessageId,
    /// Who did it, as people read the name.
    pub name: String,
    pub event: Event<NativeMessageId>,
    /// In which thread.
    pub thread: Option<Thread>,
}

/// `bob (b.example)`.
pub fn bob() -> Ghost {
    ghost("mimi://b.example/u/bob")
}

/// `cathy (c.example)`.
pub fn cathy() -> Ghost {
    ghost("mimi://c.example/u/cathy")
}

fn ghost(user: &str) -> Ghost {
    Ghost::new(UserUri::parse(user).expect("a user URI written by hand"))
}

/// A message in plain text, in answer to nothing.
pub fn message(text: impl Into<String>) -> Event<NativeMessageId> {
    Event::Message { text: Text::Plain(text.into()), in_reply_to: None }
}

/// A picture of these octets.
pub fn picture(octets: impl Into<Vec<u8>>) -> File {
    let octets = octets.into();
    File {
        name: "pot.png".into(),
        media_type: "image/png".into(),
        size: Some(octets.len() as u64),
        attachment: false,
        octets: Octets::new(octets),
    }
}

/// A message with strong words and code. Where people of a network write that in another way, the harness translates it
/// there and back.
pub fn formatted() -> Event<NativeMessageId> {
    Event::Message { text: Text::Markdown("**strong** and `code`".into()), in_reply_to: None }
}

/// What the core would hand to [`Adapter::deliver`], accepted by the hub on 9 October 2025.
pub fn delivery(key: &str, conversation: &ConversationId, speaker: &Ghost, event: Event<NativeMessageId>) -> Delivery {
    Delivery {
        key: DeliveryKey::new(key),
        conversation: conversation.clone(),
        speaker: Speaker::Ghost(speaker.clone()),
        accepted: SystemTime::UNIX_EPOCH + Duration::from_secs(1_760_000_000),
        event,
        thread: None,
    }
}

/// Waits for what should happen.
pub async fn within<T>(what: &str, happens: impl Future<Output = T>) -> T {
    match tokio::time::timeout(BOUND, happens).await {
        Ok(happened) => happened,
        Err(_) => panic!("{what}: nothing happened within {BOUND:?}"),
    }
}

/// Runs one check to its end.
#[doc(hidden)]
pub fn run(check: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime can be started").block_on(check);
}

/// Generates one test for each of the [`checks`]. The expression makes a [`Harness`]; it is evaluated in
/// each test, and may `.await`.
#[macro_export]
macro_rules! conformance {
    ($harness:expr) => {
        $crate::conformance! { @tests $harness;
            hello_goes_both_ways
            fifty_messages_come_in_in_order
            fifty_messages_go_out_in_order
            the_same_key_is_seen_once
            the_same_key_is_seen_once_across_a_restart
            what_is_answered_retry_is_offered_again_in_order
            what_is_rejected_is_told_to_the_sender
            a_notice_reaches_the_person_it_is_for
            ghosts_are_not_echoed
            formatting_stays_formatting
            a_reply_points_at_its_message
            an_edit_points_at_its_message
            a_delete_points_at_its_message
            a_reaction_comes_and_goes
            what_is_said_in_a_thread_stays_in_it
            who_has_read_a_message_is_seen
            a_name_is_the_conversations
            a_topic_is_the_conversations
            the_longest_text_is_shown
            a_file_goes_both_ways
            half_a_file_is_not_shown
            a_join_makes_the_ghost_present
            who_is_there_is_reported_when_a_conversation_is_linked
            a_direct_conversation_is_found_again_and_says_with_whom
            stopping_loses_nothing
            a_network_that_is_away_means_retry
            silence_is_noticed_and_made_up_for
        }
    };
    (@tests $harness:expr; $($check:ident)*) => {$(
        #[test]
        fn $check() {
            $crate::conformance::run(async { $crate::conformance::checks::$check($harness).await });
        }
    )*};
}
