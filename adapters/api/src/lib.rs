//! # Writing an adapter
//!
//! An adapter connects one messenger. It translates, and it is honest about who has a message at the
//! moment; that is all. The core behind [`Inbox`] queues, retries, keeps the order, encrypts, finds the room,
//! knows which native message is which MIMI message, and turns what a network can't show into text. An
//! adapter therefore needs no database, no queue of its own and no retries of its own.
//!
//! The worked example is [`adapters/loopback`]: a whole adapter with every feature. Copy its file set, and
//! look at `adapters/xmpp` for what real networks add.
//!
//! ## The steps
//!
//! 1. **Make a crate** `adapters/<kind>`, named `mimi-<kind>`, that depends on `mimi-adapter` and on nothing else of
//!    the gateway. Three parts, as in loopback: the plug (`lib.rs`: the [`Adapter`], the [`AdapterKind`]), the
//!    translation (pure functions, tested with tables of cases: loopback's `frame.rs`), the connection
//!    (`network.rs`, `socket.rs`).
//! 2. **Choose the names.** What is a conversation, a message, a person here? [`ConversationId`],
//!    [`NativeMessageId`] and [`NativeUserId`] are the network's own stable names for them, in one canonical
//!    spelling. The core compares them and never looks inside. [`Adapter::serves`] says by the look of an
//!    address whether it could be yours.
//! 3. **Let people in: [`Adapter::run`].** Listen to the conversations in [`Inbox::links`]; when one is linked,
//!    report who is there with [`Event::Join`]. Hand each thing people do to [`Inbox::accept`], one conversation
//!    in order. **Acknowledge to the network only after `accept` has said yes**: until then the message exists
//!    nowhere else. Skip what your own ghosts did. Where the network has no acknowledgement but an archive,
//!    give a [`Cursor`] with each event and resume at [`Inbox::cursor`].
//! 4. **Let people be heard: [`Adapter::deliver`].** Speak as `delivery.speaker`, and return when the network has
//!    confirmed it, with the id that replies will point at. **Same key, same message**: the [`DeliveryKey`] is
//!    the same on every attempt, also after a crash, so make it the network's transaction id, and people
//!    see the message once. Where the network has no list of who is in a conversation, they are [`Inbox::members`];
//!    what it gives back after it had confirmed it, tell by [`Inbox::not_delivered`].
//! 5. **Give ghosts a body.** A [`Ghost`] joins, speaks and leaves by `deliver`; [`Inbox::ghosts`] says who should be
//!    present after you have reconnected. The ghost's name shows its provider: nobody from outside may look
//!    like a local person, and nobody local may speak as a ghost.
//! 6. **Notice when you hear nothing: [`Adapter::session`].** An open connection that brings nothing looks like a quiet
//!    evening. Let a *canary* come back on the way on which people's messages come, every [`Canary::USUAL`], and keep a
//!    [`Pulse`] of it: `up` when it has come; `deaf` when it has not; `down` when the network does not even
//!    answer. Deaf, you help yourself: connect anew, read what you have missed, go on until you hear again.
//! 7. **Raise the flags.** Start with [`Capabilities::PLAIN_TEXT`] and these events: `Message`, `Join`, `Leave`, `Notice`.
//!    The core sends nothing that you have not declared, so every other feature is an arm of `match` to add
//!    when its flag goes to [`Support::Full`]. End the `match` with a reject: [`Event`] grows. A name or a topic
//!    ([`Event::Name`]) is set unless it is so already. If people can speak to the gateway itself, offer what they say as
//!    [`Event::Command`].
//!    A **thread** is no event but where one is said: [`Inbound::thread`], [`Delivery::thread`].
//!    A **receipt** is for [`Inbox::receipt`] and [`Adapter::receipt`]: how far people have read, on which nothing waits.
//!    A **file** ([`Event::File`]) is never in memory: [`Octets::open`] it in `deliver` and pass on what you read; in `run`,
//!    offer a [`Source`] of your own, which the core reads before it says yes. Say how large it may be (`max_file`).
//! 8. **Read the configuration.** [`AdapterKind::build`] takes the table apart, collects *every* problem, each
//!    with what to do about it, and connects to nothing. A secret is a key `<name>_file`. Unknown keys are
//!    problems. [`Adapter::probe`] is for `doctor`: can I reach my network, and what is the next step if not?
//! 9. **Keep the promises: `conformance`.** With the feature of that name in `[dev-dependencies]`, write a `Harness`
//!    (a network and Alice on it) and `conformance!(harness)`. It is done when it is green. If the network
//!    really can't recognise a repeated delivery, the harness says so, and so does your documentation.
//! 10. **Register the kind**: a line in `src/adapters.rs`, an `example.toml` in your crate with every key explained, a
//!     row in README's table of networks. The core is not touched.
//!
//! ## Whose turn is it?
//!
//! Every answer says who has the message now, in both directions.
//!
//! | answer | from [`Inbox::accept`]: you … | from [`Adapter::deliver`]: the core … |
//! |---|---|---|
//! | yes | acknowledge; a [`Duplicate`](Accepted::Duplicate) too | forgets it, keeps the ids |
//! | [`Retry`](Refusal::Retry) | keep it, hold back what follows in the conversation, offer it again | keeps it, holds back what follows, delivers it again |
//! | [`Reject`](Refusal::Reject) | acknowledge, and tell its sender the reason in words | drops it, and tells its sender the reason in words |
//!
//! Not reaching the network, a timeout, a 5xx or "slow down" are `Retry`, however long it takes: nothing is
//! wrong with the message. A `Reject` is final, and a person reads it: write a sentence, not a code. If in doubt
//! whether the network has a message, it is `Retry`; the key makes that safe.
//!
//! ## Three more rules
//!
//! - **Never log content**, nor a secret: ids and [`Event::kind`] are for logs, also in errors.
//! - **Stop quickly.** When `stop` is cancelled, finish the `accept` in hand, acknowledge it, return. What is
//!   not acknowledged comes again; what is not delivered is delivered at the next start, with the same key.
//! - **Trust nothing that arrives.** Translate any input to an event or to nothing, without a panic. Say
//!   [`SenderProof::Verified`] only if the network has checked who the sender is.
//!
//! ## A whole adapter
//!
//! A messenger with one wall. People hand in notes and wait for a receipt; what others say is shown on it.
//!
//! ```
//! use std::{collections::BTreeMap, sync::{Arc, Mutex}, time::Duration};
//! use mimi_adapter::{
//!     Adapter, AdapterKind, BoxError, Built, CancellationToken, Capabilities, ConfigError, Context, ConversationId, Delivered, Delivery,
//!     DeliveryKey, Event, Inbound, Inbox, NativeMessageId, NativeUserId, Refusal, SenderProof, Speaker, Text,
//!     async_trait, toml,
//! };
//! use tokio::sync::{mpsc, oneshot};
//!
//! struct Wall {
//!     notes: tokio::sync::Mutex<mpsc::Receiver<Note>>,
//!     shown: Mutex<BTreeMap<DeliveryKey, String>>,
//! }
//!
//! struct Note {
//!     number: u64,
//!     author: String,
//!     text: String,
//!     receipt: oneshot::Sender<Result<(), String>>,
//! }
//!
//! #[async_trait]
//! impl Adapter for Wall {
//!     async fn run(&self, inbox: Inbox, stop: CancellationToken) -> Result<(), BoxError> {
//!         let mut notes = self.notes.lock().await;
//!         while let Some(Some(note)) = stop.run_until_cancelled(notes.recv()).await {
//!             let inbound = Inbound {
//!                 conversation: ConversationId::new("wall"),
//!                 direct: None,
//!                 id: NativeMessageId::new(note.number.to_string()),
//!                 sender: NativeUserId::new(note.author),
//!                 proof: SenderProof::Verified,
//!                 event: Event::Message { text: Text::Plain(note.text), in_reply_to: None },
//!                 thread: None,
//!                 cursor: None,
//!             };
//!             let receipt = loop {
//!                 match inbox.accept(inbound.clone()).await {
//!                     Ok(_) => break Ok(()),
//!                     Err(Refusal::Reject { reason }) => break Err(reason),
//!                     Err(Refusal::Retry { after, .. }) => {
//!                         let wait = tokio::time::sleep(after.unwrap_or(Duration::from_secs(1)));
//!                         if stop.run_until_cancelled(wait).await.is_none() {
//!                             return Ok(()); // Without a receipt: the author hands it in again.
//!                         }
//!                     }
//!                 }
//!             };
//!             let _ = note.receipt.send(receipt); // Now it is ours. If the author has gone, so be it.
//!         }
//!         Ok(())
//!     }
//!
//!     async fn deliver(&self, delivery: &Delivery) -> Result<Delivered, Refusal> {
//!         let name = match &delivery.speaker {
//!             Speaker::Ghost(ghost) => &ghost.name,
//!             Speaker::Gateway => "gateway",
//!         };
//!         let text = match &delivery.event {
//!             Event::Message { text, .. } => text.as_str(),
//!             Event::Notice { text, .. } => text,
//!             Event::Join | Event::Leave => return Ok(Delivered::default()), // Nobody sees who looks at a wall.
//!             other => return Err(Refusal::reject(format!("a wall can't show a {}", other.kind()))),
//!         };
//!         let mut shown = self.shown.lock().map_err(|_| Refusal::retry("the wall is being repaired"))?;
//!         shown.entry(delivery.key.clone()).or_insert_with(|| format!("{name}: {text}"));
//!         Ok(Delivered { ids: vec![NativeMessageId::new(delivery.key.as_str())] })
//!     }
//!
//!     fn serves(&self, user: &NativeUserId) -> bool {
//!         user.as_str().chars().all(char::is_alphanumeric)
//!     }
//! }
//!
//! pub const KIND: AdapterKind = AdapterKind {
//!     name: "wall",
//!     example: "[adapters.wall]\nkind = \"wall\"\n\n# Notes that may wait for the gateway.\nroom_for = 16\n",
//!     capabilities: Capabilities::PLAIN_TEXT,
//!     build,
//! };
//!
//! fn build(mut table: toml::Table, _: &Context) -> Built {
//!     let room_for = match table.remove("room_for").map(|value| value.as_integer()) {
//!         None => Ok(16),
//!         Some(Some(notes @ 1..=1000)) => Ok(notes as usize),
//!         Some(_) => Err(ConfigError::new("room_for", "should be a number from 1 to 1000")),
//!     };
//!     let unknown = table.keys().map(|key| ConfigError::new(key, "there is no such key (the only one is: room_for)"));
//!     match (room_for, unknown.collect::<Vec<_>>()) {
//!         (Ok(room_for), problems) if problems.is_empty() => {
//!             let (_hand_in, notes) = mpsc::channel(room_for); // Where people would hand in their notes.
//!             Ok(Arc::new(Wall { notes: notes.into(), shown: Mutex::default() }))
//!         }
//!         (room_for, unknown) => Err(room_for.err().into_iter().chain(unknown).collect()),
//!     }
//! }
//! # // What follows is not shown: it makes sure that the wall does what the guide says.
//! # use mimi_adapter::{Accepted, Core, Cursor, Domain, Ghost, Links, Receipt, UserUri};
//! # struct BusyAtFirst(Mutex<Vec<Inbound>>, Mutex<bool>);
//! # #[async_trait]
//! # impl Core for BusyAtFirst {
//! #     async fn accept(&self, inbound: Inbound) -> Result<Accepted, Refusal> {
//! #         if std::mem::take(&mut *self.1.lock().unwrap()) {
//! #             return Err(Refusal::Retry { after: Some(Duration::ZERO), source: "busy".into() });
//! #         }
//! #         self.0.lock().unwrap().push(inbound);
//! #         Ok(Accepted::New)
//! #     }
//! #     fn links(&self) -> tokio::sync::watch::Receiver<Links> { unreachable!() }
//! #     async fn ghosts(&self, _: &ConversationId) -> Result<Vec<Ghost>, Refusal> { unreachable!() }
//! #     async fn cursor(&self, _: &ConversationId) -> Result<Option<Cursor>, Refusal> { unreachable!() }
//! #     fn receipt(&self, _: Receipt<NativeUserId>) { unreachable!() }
//! #     async fn members(&self, _: &ConversationId) -> Result<Vec<NativeUserId>, Refusal> { unreachable!() }
//! #     async fn not_delivered(&self, _: &ConversationId, _: &NativeMessageId, _: &str) -> Result<(), Refusal> { unreachable!() }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! #     let context = Context { name: "wall".into(), domain: Domain::parse("a.example").unwrap() };
//! #     let example: toml::Table = toml::from_str(KIND.example).unwrap();
//! #     let mut table = example["adapters"]["wall"].as_table().unwrap().clone();
//! #     table.remove("kind");
//! #     assert!((KIND.build)(table, &context).is_ok());
//! #     let wrong = toml::from_str("room_for = 0\npaint = 'red'").unwrap();
//! #     assert_eq!((KIND.build)(wrong, &context).err().unwrap().len(), 2);
//! #
//! #     let (hand_in, notes) = mpsc::channel(1);
//! #     let wall = Wall { notes: notes.into(), shown: Mutex::default() };
//! #     let core = Arc::new(BusyAtFirst(Mutex::default(), Mutex::new(true)));
//! #     let stop = CancellationToken::new();
//! #     let (receipt, received) = oneshot::channel();
//! #     let alice = async {
//! #         hand_in.send(Note { number: 1, author: "alice".into(), text: "Tea?".into(), receipt }).await.ok().unwrap();
//! #         assert_eq!(received.await.unwrap(), Ok(()));
//! #         assert_eq!(core.0.lock().unwrap().len(), 1, "there is a receipt, so it was accepted");
//! #         stop.cancel();
//! #     };
//! #     let (ran, ()) = tokio::join!(wall.run(Inbox::new(core.clone()), stop.clone()), alice);
//! #     ran.unwrap();
//! #
//! #     let bob = Ghost::new(UserUri::parse("mimi://b.example/u/bob").unwrap());
//! #     let delivery = Delivery {
//! #         key: DeliveryKey::new("k1"),
//! #         conversation: ConversationId::new("wall"),
//! #         speaker: Speaker::Ghost(bob),
//! #         accepted: std::time::SystemTime::UNIX_EPOCH,
//! #         event: Event::Message { text: Text::Plain("Yes.".into()), in_reply_to: None },
//! #         thread: None,
//! #     };
//! #     assert_eq!(wall.deliver(&delivery).await.unwrap(), wall.deliver(&delivery).await.unwrap());
//! #     assert_eq!(wall.shown.lock().unwrap().values().collect::<Vec<_>>(), ["bob (b.example): Yes."]);
//! # }
//! ```
//!
//! It is as good as its network: the wall forgets its keys with the process, so this one would fail the check
//! `the_same_key_is_seen_once_across_a_restart`. Loopback passes, because its network remembers. And it has no
//! canary: whoever hands in a note stands before it.
//!
//! [`adapters/loopback`]: https://github.com/mimi-gateway/mimi-gateway/tree/main/adapters/loopback

mod adapter;
mod capabilities;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod event;
#[doc(hidden)]
pub mod failpoint;
pub mod file;
mod id;
pub mod markup;
mod receipt;
mod session;
mod thread;
pub mod uri;

pub use adapter::{
    Accepted, Adapter, BoxError, Core, Delivered, Delivery, Ghost, Inbound, Inbox, Links, Problem, Refusal,
    SenderProof, Speaker,
};
pub use async_trait::async_trait;
pub use capabilities::{Capabilities, Support};
pub use config::{AdapterKind, Built, ConfigError, Context};
pub use event::{Event, Text};
pub use file::{File, Octets, Opened, Reader, Source};
pub use id::{ConversationId, Cursor, DeliveryKey, NativeMessageId, NativeUserId};
pub use receipt::{Receipt, ReceiptKind};
pub use session::{Canary, Pulse, Session};
pub use thread::{InThread, Thread, Threads};
pub use tokio_util::sync::CancellationToken;
pub use toml;
pub use uri::{Domain, UriError, UserUri};
