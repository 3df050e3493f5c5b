//! Threads: what belongs together within a conversation, natively and as a MIMI topic (C§4.1, C§5.7).
//!
//! A topic is an opaque name of a room's, a thread one of a conversation's; which is which is known for each
//! conversation. A thread that people here begin under a message becomes the topic called like that message, as the
//! draft suggests: so another gateway of this kind finds the message, and begins its thread under the same. A topic
//! from elsewhere whose first message can't be found so begins with the first of its messages that comes.

use mimi_adapter::{Event, InThread, NativeMessageId, Thread, Threads};

use crate::{
    core::{Core, Fault},
    mimi::content::MessageId,
    store::{
        Tx,
        portals::{Portal, PortalId},
        threads::ThreadRow,
    },
};

/// The longest name of a thread, in octets.
const MAX_NAME: usize = 1024;

/// Where in a conversation something from elsewhere belongs.
#[derive(Clone, Debug, Default)]
pub struct Placed {
    /// Empty if it is in no topic.
    topic: Vec<u8>,
    /// What follows in the topic is said under it.
    begins: bool,
    pub thread: Option<InThread>,
    /// What it answers where a conversation has no threads.
    pub after: Option<NativeMessageId>,
}

impl Core {
    /// The topic of what is said in a thread; none is empty.
    pub async fn topic_of(&self, tx: &mut Tx, portal: &Portal, thread: Option<&Thread>) -> Result<Vec<u8>, Fault> {
        let Some(thread) = thread else { return Ok(Vec::new()) };
        let name = match thread {
            Thread::Under(root) => root.as_str(),
            Thread::Named(name) => name,
        };
        if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
            return Ok(Vec::new());
        }
        if let Some(topic) = tx.topic_of_thread(portal.id, name).await? {
            return Ok(topic);
        }
        let root = match thread.root() {
            Some(root) => tx.message_of_native(portal.id, root).await?,
            None => None,
        };
        let topic = root.map_or_else(|| rand::random::<[u8; 16]>().to_vec(), |root| root.as_bytes().to_vec());
        let row = ThreadRow { topic: topic.clone(), native: Some(name.to_owned()), last: root };
        tx.keep_thread(portal.id, row, self.now());
        Ok(topic)
    }

    /// Something has been said in a topic by somebody of ours.
    pub async fn said_in(&self, tx: &mut Tx, portal: &Portal, topic: &[u8], message: MessageId) -> Result<(), Fault> {
        if topic.is_empty() {
            return Ok(());
        }
        if let Some(row) = tx.thread(portal.id, topic).await? {
            tx.keep_thread(portal.id, ThreadRow { last: Some(message), ..row }, self.now());
            tx.set_topic(&portal.room, message, topic);
        }
        Ok(())
    }

    /// Where what is said in a topic belongs.
    pub async fn placed(
        &self,
        tx: &mut Tx,
        portal: &Portal,
        topic: Vec<u8>,
        threads: Threads,
    ) -> Result<Placed, Fault> {
        if topic.is_empty() {
            return Ok(Placed::default());
        }
        let row = tx.thread(portal.id, &topic).await?.unwrap_or_default();
        // A topic may be called like the message it began with.
        let root = match <[u8; 32]>::try_from(topic.as_slice()).ok().and_then(|id| MessageId::new(id).ok()) {
            Some(root) => tx.native_of_message(portal.id, &root).await?,
            None => None,
        };
        let last = match &row.last {
            Some(last) => tx.native_of_message(portal.id, last).await?,
            None => None,
        };
        let after = last.or_else(|| root.clone());
        let thread = match threads {
            Threads::AsReplies => None,
            Threads::Under => row.native.map(NativeMessageId::new).or(root).map(Thread::Under),
            Threads::Named => Some(Thread::Named(row.native.unwrap_or_else(|| minted(&topic)))),
        };
        let begins = thread.is_none() && threads == Threads::Under;
        let thread = thread.map(|thread| InThread { thread, after: after.clone() });
        Ok(Placed { topic, begins, thread, after })
    }

    /// What was placed has been delivered.
    pub fn is_placed(
        &self,
        tx: &mut Tx,
        portal: PortalId,
        placed: &Placed,
        message: MessageId,
        ids: &[NativeMessageId],
    ) {
        let Some(first) = ids.first().filter(|_| !placed.topic.is_empty()) else { return };
        let native = match &placed.thread {
            Some(InThread { thread: Thread::Under(root), .. }) => Some(root.to_string()),
            Some(InThread { thread: Thread::Named(name), .. }) => Some(name.clone()),
            None => placed.begins.then(|| first.to_string()),
        };
        let row = ThreadRow { topic: placed.topic.clone(), native, last: Some(message) };
        tx.keep_thread(portal, row, self.now());
    }
}

/// What a topic from elsewhere is called where threads have names.
fn minted(topic: &[u8]) -> String {
    format!("{}{}", Thread::MINTED, hex::encode(&crate::core::hash(topic)[..16]))
}

/// Messages and files are in topics; what changes them is where they are.
pub fn may_be_in_one<Ref, Asset>(event: &Event<Ref, Asset>) -> bool {
    matches!(event, Event::Message { .. } | Event::File { .. })
}
