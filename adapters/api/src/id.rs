//! Opaque names, each with who mints it and where it is unique. The core never looks inside one.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! opaque {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn new(id: impl Into<String>) -> Self { Self(id.into()) }
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    )*};
}

opaque! {
    /// A room, group chat or one-to-one conversation as its own network names it: a Matrix room id, the
    /// JID of a MUC. Minted by the network (for one-to-one conversations possibly by the adapter), unique
    /// within one adapter.
    ConversationId;

    /// A message as its own network names it: a Matrix event id, an XMPP stanza-id, an RFC 5322
    /// Message-ID. Minted by the network or the adapter, unique within one conversation.
    NativeMessageId;

    /// A person as their own network names them: a Matrix user id, a bare JID. Minted by the network,
    /// unique within it, and in the network's canonical form: two spellings are two people.
    NativeUserId;

    /// The name of one act of delivery, the same on every attempt: use it as txnId, origin-id or
    /// Message-ID, so that a repeated attempt is recognised. Minted by the core, unique for ever.
    /// 1 to 64 characters of `A-Z a-z 0-9 - _`.
    DeliveryKey;

    /// How far an adapter has read a conversation: a MAM archive id, a sync token. Minted and understood
    /// by the adapter alone; the core keeps it with the message it came with.
    Cursor;
}
