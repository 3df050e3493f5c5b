//! Receipts: how far somebody has got with a conversation. Nobody sees one as a message. They are merged, and under
//! load or across a restart they are lost; what they say is never wrong.

use crate::{ConversationId, NativeMessageId};

/// `by` is a [`NativeUserId`](crate::NativeUserId) on the way in, and a [`Ghost`](crate::Ghost) on the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt<Who> {
    pub conversation: ConversationId,
    pub by: Who,
    pub kind: ReceiptKind,
    /// This message, and what came before it.
    pub up_to: NativeMessageId,
}

/// In the order in which they are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReceiptKind {
    /// It is on a device of theirs.
    Delivered,
    Read,
}
