//! Threads: what belongs together within a conversation.

use crate::NativeMessageId;

/// A thread, as its network tells it from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thread {
    /// What is said under this message, with which the thread began.
    Under(NativeMessageId),
    /// What is said under this name. Minted by the network, its people's apps, or the core.
    Named(String),
}

impl Thread {
    /// What the names start with that the core mints, for threads that began elsewhere.
    pub const MINTED: &'static str = "mimi-";

    /// The message it began with, where that is what it is called by.
    pub fn root(&self) -> Option<&NativeMessageId> {
        match self {
            Self::Under(root) => Some(root),
            Self::Named(_) => None,
        }
    }
}

/// How a conversation has threads, if it has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// None: the core turns what is said in one into an answer to what was said last in it.
    AsReplies,
    /// By the message they began with. The first message of a thread that began elsewhere is delivered outside of any,
    /// and those that follow are under it.
    Under,
    /// By a name.
    Named,
}

/// The thread of a [`Delivery`](crate::Delivery).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InThread {
    pub thread: Thread,
    /// What was said last in it, if that is known: for people whose app shows no threads.
    pub after: Option<NativeMessageId>,
}
