//! What each network can be shown, for an admin to read: `config capabilities`, and deploy/ADAPTERS.md.
//!
//! Nothing is described here. A kind says what it can, and what becomes of the rest is asked of whoever decides that
//! when a message comes ([`lower`]), with a message of each sort.

use mimi_adapter::{AdapterKind, Capabilities, Event, File, NativeMessageId, Support, Text, file::size_in_words};

use crate::{assets::Asset, lower::lower};

const INTRODUCTION: &str = "\
# What crosses, by adapter

What people of a network are shown of what people elsewhere do: **full**, as what it is; **as text**, as the words that
stand there; **refused**, not at all, and whoever did it is told. A server may be set to take less than its network can:
then the words are shown, or whoever wrote is told the reason. `mimi-gateway config capabilities` prints this page for
the adapters it was built with.
";

/// The page about these kinds.
pub fn page(kinds: &[&AdapterKind]) -> String {
    let mut page = INTRODUCTION.to_owned();
    for kind in kinds {
        let can = &kind.capabilities;
        page.push_str(&format!("\n## {}\n\n| | |\n|---|---|\n", kind.name));
        for (what, event) in samples() {
            page.push_str(&format!("| {what} | {} |\n", becomes(event, can)));
        }
        let most = match can.max_file {
            _ if can.file != Support::Full => "none".to_owned(),
            u64::MAX => "what the server takes".to_owned(),
            most => size_in_words(most),
        };
        page.push_str(&format!("| the largest file | {most} |\n"));
        page.push_str(&format!("| the longest text | {} |\n", size_in_words(can.max_text as u64)));
    }
    page
}

fn becomes(event: Event<NativeMessageId, Asset>, can: &Capabilities) -> String {
    match lower(event.clone(), can, None) {
        Ok(lowered) if lowered.event == event => "full".to_owned(),
        Ok(lowered) => match lowered.event {
            Event::Message { text, .. } => format!("as text: {}", text.as_str()),
            other => format!("as a {}", other.kind()),
        },
        Err(reason) => format!("refused: {reason}"),
    }
}

fn samples() -> Vec<(&'static str, Event<NativeMessageId, Asset>)> {
    let (id, tea) = (|| NativeMessageId::new("1"), || Text::Plain("Tea.".into()));
    let (name, media_type, octets) = ("pot.jpg".into(), "image/jpeg".into(), Asset::default());
    let file = File { name, media_type, size: Some(1 << 20), attachment: false, octets };
    vec![
        ("a text", Event::Message { text: tea(), in_reply_to: None }),
        ("a formatted text", Event::Message { text: Text::Markdown("**Tea**.".into()), in_reply_to: None }),
        ("an answer", Event::Message { text: tea(), in_reply_to: Some(id()) }),
        ("an edit", Event::Edit { replaces: id(), text: tea() }),
        ("a deletion", Event::Delete { replaces: id() }),
        ("a reaction", Event::Reaction { in_reply_to: id(), emoji: "🫖".into() }),
        ("a reaction taken back", Event::Unlike { replaces: id() }),
        ("a file", Event::File { file, caption: None, in_reply_to: None }),
        ("the room's name", Event::Name { name: "Tea".into() }),
        ("the room's topic", Event::Topic { topic: "Which?".into() }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_or_said_in_words_stands_on_the_page() {
        const WALL: AdapterKind = AdapterKind {
            name: "wall",
            example: "",
            capabilities: Capabilities { reaction: Support::Refused, ..Capabilities::PLAIN_TEXT },
            build: |_, _| Err(Vec::new()),
        };
        let page = page(&[&WALL]);
        for row in [
            "| a text | full |",
            "| an edit | as text: * Tea. |",
            "| a reaction | refused: edits, deletions, reactions, names or topics can't be shown there |",
            "| the room's name | as text: (named the room “Tea”) |",
            "| the largest file | none |",
            "| the longest text | 64 KiB |",
        ] {
            assert!(page.contains(row), "{row}\n{page}");
        }
    }
}
