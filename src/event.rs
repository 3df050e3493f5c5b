//! Events ⇄ MIMI content.
//!
//! Edit = `replaces`, deletion = `replaces` with a NullPart, reaction = disposition `reaction` with
//! `inReplyTo` (C§5). Pure: what an id points at has been looked up before, and is looked up after.

use mimi_adapter::{Event, Text, markup};

use crate::mimi::{
    content::{Disposition, Extensions, ExternalPart, MessageId, MimiContent, NestedPart, Part, PartSemantics},
    uri::{RoomUri, UserUri},
};

const PLAIN: &str = "text/plain;charset=utf-8";
const MARKDOWN: &str = "text/markdown;variant=GFM-MIMI";

/// The content of an event of `sender`. `None` for what is no message: joins, leaves and notices.
pub fn to_content(event: &Event<MessageId>, sender: &UserUri, room: &RoomUri, salt: [u8; 16]) -> Option<MimiContent> {
    let mut content = MimiContent {
        salt,
        replaces: None,
        topic_id: Vec::new(),
        expires: None,
        in_reply_to: None,
        extensions: Extensions::new(sender, room),
        nested_part: NestedPart::null(Disposition::RENDER),
    };
    match event {
        Event::Message { text, in_reply_to } => {
            content.in_reply_to = *in_reply_to;
            content.nested_part = text_part(text);
        }
        Event::Edit { replaces, text } => {
            content.replaces = Some(*replaces);
            content.nested_part = text_part(text);
        }
        Event::Delete { replaces } => content.replaces = Some(*replaces),
        Event::Reaction { in_reply_to, emoji } => {
            content.in_reply_to = Some(*in_reply_to);
            content.nested_part = NestedPart::single(Disposition::REACTION, PLAIN, emoji.as_bytes());
        }
        Event::Unlike { replaces } => {
            content.replaces = Some(*replaces);
            content.nested_part = NestedPart::null(Disposition::REACTION);
        }
        _ => return None,
    }
    Some(content)
}

fn text_part(text: &Text) -> NestedPart {
    let content_type = match text {
        Text::Plain(_) => PLAIN,
        Text::Markdown(_) => MARKDOWN,
    };
    NestedPart::single(Disposition::RENDER, content_type, text.as_str().as_bytes())
}

/// The event a content is. `None` if it holds nothing a person would see (a status report, an empty part).
pub fn from_content(content: &MimiContent) -> Option<Event<MessageId>> {
    let part = &content.nested_part;
    let reaction = part.disposition == Disposition::REACTION;
    match (content.replaces, content.in_reply_to, &part.part) {
        (Some(replaces), _, Part::Null) if reaction => Some(Event::Unlike { replaces }),
        // Peers may write an unlike as in C§5: a NullPart that still says what the reaction was about.
        (Some(replaces), Some(_), Part::Null) => Some(Event::Unlike { replaces }),
        (Some(replaces), None, Part::Null) => Some(Event::Delete { replaces }),
        (None, Some(in_reply_to), _) if reaction => {
            Some(Event::Reaction { in_reply_to, emoji: text_of(part)?.as_str().to_owned() })
        }
        (Some(replaces), _, _) => Some(Event::Edit { replaces, text: text_of(part)? }),
        (None, in_reply_to, _) => Some(Event::Message { text: text_of(part)?, in_reply_to }),
    }
}

/// What a reader without multipart or files would be shown.
fn text_of(part: &NestedPart) -> Option<Text> {
    match &part.part {
        Part::Null => None,
        Part::Single { content_type, content } => single(content_type, content),
        Part::External(file) => Some(Text::Plain(describe(file))),
        Part::Multi { semantics: PartSemantics::ChooseOne, parts } => parts.iter().find_map(text_of),
        Part::Multi { parts, .. } => parts.iter().filter_map(text_of).reduce(joined),
    }
}

/// Two parts of one message. If one is formatted, both are.
fn joined(one: Text, two: Text) -> Text {
    let markdown = |text| match text {
        Text::Plain(text) => markup::escape(&text),
        Text::Markdown(markdown) => markdown,
    };
    match (one, two) {
        (Text::Plain(one), Text::Plain(two)) => Text::Plain(format!("{one}\n\n{two}")),
        (one, two) => Text::Markdown(format!("{}\n\n{}", markdown(one), markdown(two))),
    }
}

fn single(content_type: &str, content: &[u8]) -> Option<Text> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let text = || String::from_utf8_lossy(content).into_owned();
    match essence.as_str() {
        "application/mimi-message-status" => None,
        "text/markdown" => Some(text()).filter(|text| !text.is_empty()).map(Text::Markdown),
        "text/html" => {
            let markdown = markup::from_html(&text(), &|target| Some(target.to_owned()));
            markdown
                .map(Text::Markdown)
                .or_else(|| Some(Text::Plain("[a formatted text that can't be shown here]".into())))
        }
        _ if essence.starts_with("text/") => Some(text()).filter(|text| !text.is_empty()).map(Text::Plain),
        _ => Some(Text::Plain(format!("[{content_type}, {} octets, can't be shown here]", content.len()))),
    }
}

fn describe(file: &ExternalPart) -> String {
    let name = if file.filename.is_empty() { "a file" } else { &file.filename };
    let size = if file.size == 0 { String::new() } else { format!(", {} octets", file.size) };
    format!("[{name} ({}{size}) was sent; files can't be carried here yet]", file.content_type)
}

/// What a content says, for an admin who has asked to read it.
pub fn words(content: &[u8]) -> Option<String> {
    Some(match from_content(&MimiContent::decode(content).ok()?)? {
        Event::Message { text, .. } => text.as_str().to_owned(),
        Event::Edit { text, .. } => format!("(an edit) {}", text.as_str()),
        Event::Reaction { emoji, .. } => format!("(a reaction) {emoji}"),
        other => format!("(a {})", other.kind()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MessageId {
        let mut octets = [n; 32];
        octets[0] = 1;
        MessageId::new(octets).unwrap()
    }

    fn there_and_back(event: Event<MessageId>) {
        let alice = UserUri::parse("mimi://a.example/u/alice").unwrap();
        let room = RoomUri::parse("mimi://a.example/r/tea").unwrap();
        let content = to_content(&event, &alice, &room, [7; 16]).unwrap();
        let content = MimiContent::decode(&content.encode()).unwrap();
        assert_eq!(from_content(&content), Some(event));
    }

    #[test]
    fn every_event_survives_mimi() {
        there_and_back(Event::Message { text: Text::Plain("Is the tea ready?".into()), in_reply_to: None });
        there_and_back(Event::Message { text: Text::Markdown("*Yes*".into()), in_reply_to: Some(id(2)) });
        there_and_back(Event::Edit { replaces: id(3), text: Text::Plain("No".into()) });
        there_and_back(Event::Delete { replaces: id(4) });
        there_and_back(Event::Reaction { in_reply_to: id(5), emoji: "🫖".into() });
        there_and_back(Event::Unlike { replaces: id(6) });
    }

    #[test]
    fn a_reader_of_text_is_shown_the_text_of_a_multipart() {
        let part = NestedPart {
            disposition: Disposition::RENDER,
            language: String::new(),
            part: Part::Multi {
                semantics: PartSemantics::ChooseOne,
                parts: vec![
                    NestedPart::single(Disposition::RENDER, MARKDOWN, "# Tea"),
                    NestedPart::single(Disposition::RENDER, "text/html", "<h1>Tea</h1>"),
                ],
            },
        };
        assert_eq!(text_of(&part), Some(Text::Markdown("# Tea".into())));
    }
}
