//! What a conversation can show.

use crate::Threads;

/// How well a conversation carries one feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As what it is. The adapter must then carry it; the conformance suite checks that it does.
    Full,
    /// As text: the core turns it into a message before the adapter sees it.
    AsText,
    /// Not at all: the core refuses it and tells the sender.
    Refused,
}

/// What people in a conversation can be shown. The core lowers or refuses the rest, so an adapter never
/// receives an event that it has not declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    pub reply: Support,
    pub edit: Support,
    pub delete: Support,
    pub reaction: Support,
    pub thread: Threads,
    /// [`Adapter::receipt`](crate::Adapter::receipt) shows something.
    pub receipts: bool,
    /// [`Event::File`](crate::Event::File).
    pub file: Support,
    /// The largest file, in octets. Of larger ones only the text is shown, and their sender is told.
    pub max_file: u64,
    /// [`Text::Markdown`](crate::Text::Markdown). As text, it is the words without the marks.
    pub formatting: Support,
    /// [`Event::Name`](crate::Event::Name), of the conversation itself. The core says it again as text if the network
    /// rejects it.
    pub name: Support,
    /// [`Event::Topic`](crate::Event::Topic), likewise.
    pub topic: Support,
    /// The longest text, in octets of UTF-8. Longer ones are refused.
    pub max_text: usize,
}

impl Capabilities {
    /// Text and nothing else: where every adapter starts.
    pub const PLAIN_TEXT: Self = Self {
        reply: Support::AsText,
        edit: Support::AsText,
        delete: Support::Refused,
        reaction: Support::AsText,
        thread: Threads::AsReplies,
        receipts: false,
        file: Support::AsText,
        max_file: 0,
        formatting: Support::AsText,
        name: Support::AsText,
        topic: Support::AsText,
        max_text: 65_536,
    };
}
