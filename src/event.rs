//! Events ⇄ MIMI content.
//!
//! Edit = `replaces`, deletion = `replaces` with a NullPart, reaction = disposition `reaction` with
//! `inReplyTo`, file = ExternalPart (C§5). Pure: what an id points at has been looked up before, and is looked up
//! after; and so it is with the octets of a file.

use mimi_adapter::{Event, File, Text, file::size_in_words, markup};

use crate::{
    assets::Asset,
    mimi::{
        content::{Disposition, Extensions, ExternalPart, MessageId, MimiContent, NestedPart, Part, PartSemantics},
        uri::{RoomUri, UserUri},
    },
};

/// An event inside the core.
pub type MimiEvent = Event<MessageId, Asset>;

/// The longest name of a file that is carried, in octets: what a file system takes.
const MAX_NAME: usize = 255;

/// All that a file is fetched by.
const HTTPS: &str = "https://";

const PLAIN: &str = "text/plain;charset=utf-8";
const MARKDOWN: &str = "text/markdown;variant=GFM-MIMI";

/// The content of an event of `sender`. `None` for what is no message: joins, leaves and notices.
pub fn to_content(event: &MimiEvent, sender: &UserUri, room: &RoomUri, salt: [u8; 16]) -> Option<MimiContent> {
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
        Event::File { file, caption, in_reply_to } => {
            content.in_reply_to = *in_reply_to;
            content.nested_part = external_part(file, caption.as_deref());
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

fn external_part(file: &File<Asset>, caption: Option<&str>) -> NestedPart {
    let Asset { url, expires, enc_alg, key, nonce, aad, hash_alg, content_hash } = file.octets.clone();
    NestedPart {
        disposition: if file.attachment { Disposition::ATTACHMENT } else { Disposition::RENDER },
        language: String::new(),
        part: Part::External(Box::new(ExternalPart {
            content_type: media_type(&file.media_type),
            url,
            expires,
            // Of the data, as in message/external-body (RFC 2046 §5.2.3): what is at the URL is longer by the tag.
            size: file.size.unwrap_or_default(),
            enc_alg,
            key,
            nonce,
            aad,
            hash_alg,
            content_hash,
            description: caption.unwrap_or_default().to_owned(),
            filename: file_name(&file.name),
        })),
    }
}

/// A name that nobody is misled by: without a path, without characters that can't be seen or turn others round, and
/// as long as a file's name may be. The end stays, because it says what kind of file it is.
pub fn file_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let seen = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let name: String = last.chars().filter(seen).collect();
    let name = name.trim().trim_start_matches("..");
    let mut start = name.len().saturating_sub(MAX_NAME);
    while !name.is_char_boundary(start) {
        start += 1;
    }
    name[start..].to_owned()
}

/// Type and subtype in lower case, without parameters; what is no media type is just octets.
pub fn media_type(claimed: &str) -> String {
    let essence = claimed.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let token = |part: &str| {
        let legal = |c: u8| c.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&c);
        (1..=127).contains(&part.len()) && part.bytes().all(legal)
    };
    match essence.split_once('/') {
        Some((kind, subtype)) if token(kind) && token(subtype) => essence,
        _ => "application/octet-stream".to_owned(),
    }
}

/// The event a content is. `None` if it holds nothing a person would see (a status report, an empty part).
pub fn from_content(content: &MimiContent) -> Option<MimiEvent> {
    let part = &content.nested_part;
    let reaction = part.disposition == Disposition::REACTION;
    match (content.replaces, content.in_reply_to, &part.part) {
        (Some(replaces), _, Part::Null) if reaction => Some(Event::Unlike { replaces }),
        // Peers may write an unlike as in C§5: a NullPart that still says what the reaction was about.
        (Some(replaces), Some(_), Part::Null) => Some(Event::Unlike { replaces }),
        (Some(replaces), None, Part::Null) => Some(Event::Delete { replaces }),
        (None, Some(in_reply_to), _) if reaction => {
            Some(Event::Reaction { in_reply_to, emoji: text_of(part, None)?.as_str().to_owned() })
        }
        (Some(replaces), _, _) => Some(Event::Edit { replaces, text: text_of(part, None)? }),
        (None, in_reply_to, _) => match file_of(part) {
            Some(external) => Some(file_event(part, external, in_reply_to)),
            None => Some(Event::Message { text: text_of(part, None)?, in_reply_to }),
        },
    }
}

/// The first file in a part that can be fetched. Of several only one is carried as a file.
fn file_of(part: &NestedPart) -> Option<(&ExternalPart, Disposition)> {
    match &part.part {
        Part::External(file) if file.url.starts_with(HTTPS) => Some((file, part.disposition)),
        Part::Multi { semantics: PartSemantics::ChooseOne, parts }
            if parts.iter().any(|part| text_of(part, None).is_some() && file_of(part).is_none()) =>
        {
            None
        }
        Part::Multi { parts, .. } => parts.iter().find_map(file_of),
        _ => None,
    }
}

fn file_event(
    whole: &NestedPart,
    (part, disposition): (&ExternalPart, Disposition),
    in_reply_to: Option<MessageId>,
) -> MimiEvent {
    let file = File {
        name: file_name(&part.filename),
        media_type: media_type(&part.content_type),
        size: Some(part.size).filter(|size| *size > 0),
        attachment: disposition == Disposition::ATTACHMENT,
        octets: Asset {
            url: part.url.clone(),
            expires: part.expires,
            enc_alg: part.enc_alg,
            key: part.key.clone(),
            nonce: part.nonce.clone(),
            aad: part.aad.clone(),
            hash_alg: part.hash_alg,
            content_hash: part.content_hash.clone(),
        },
    };
    let beside = match whole.part {
        Part::External(_) => None,
        _ => text_of(whole, Some(part)),
    };
    // A caption has no formatting, as a description has none.
    let beside = beside.map(|text| match text {
        Text::Plain(text) => text,
        Text::Markdown(markdown) => markup::to_text(&markdown, &markup::Marks::NONE),
    });
    let description = Some(&part.description).filter(|text| !text.trim().is_empty()).cloned();
    let caption = match (beside, description) {
        (Some(beside), Some(description)) => Some(format!("{beside}\n\n{description}")),
        (Some(beside), None) => Some(beside),
        (None, description) => description,
    };
    Event::File { file, caption, in_reply_to }
}

/// What a reader without multipart or files would be shown, but for `except`.
fn text_of(part: &NestedPart, except: Option<&ExternalPart>) -> Option<Text> {
    match &part.part {
        Part::Null => None,
        Part::Single { content_type, content } => single(content_type, content),
        Part::External(file) if except.is_some_and(|except| std::ptr::eq(except, &**file)) => None,
        Part::External(file) => Some(Text::Plain(describe_part(file))),
        Part::Multi { semantics: PartSemantics::ChooseOne, parts } => {
            let chosen = except.and_then(|except| parts.iter().find(|part| part.contains(except)));
            match chosen {
                Some(chosen) => text_of(chosen, except),
                None => parts.iter().find_map(|part| text_of(part, None)),
            }
        }
        Part::Multi { parts, .. } => parts.iter().filter_map(|part| text_of(part, except)).reduce(joined),
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

fn describe_part(part: &ExternalPart) -> String {
    let size = Some(part.size).filter(|size| *size > 0);
    let file = File {
        name: file_name(&part.filename),
        media_type: media_type(&part.content_type),
        size,
        attachment: true,
        octets: (),
    };
    let why = match part.url.starts_with(HTTPS) {
        true => "a message is shown with one file at most",
        false => "its address is not an https URL",
    };
    describe(&file, None, why)
}

/// What is shown in the place of a file, and why.
pub fn describe<Asset>(file: &File<Asset>, caption: Option<&str>, why: &str) -> String {
    let name = if file.name.is_empty() { "a file" } else { &file.name };
    let size = file.size.map_or(String::new(), |size| format!(", {}", size_in_words(size)));
    let note = format!("[{name} ({}{size}) was sent and is not shown: {why}]", file.media_type);
    match caption {
        Some(caption) => format!("{caption}\n{note}"),
        None => note,
    }
}

/// What a content says, for an admin who has asked to read it.
pub fn words(content: &[u8]) -> Option<String> {
    Some(match from_content(&MimiContent::decode(content).ok()?)? {
        Event::Message { text, .. } => text.as_str().to_owned(),
        Event::Edit { text, .. } => format!("(an edit) {}", text.as_str()),
        Event::File { file, caption, .. } => {
            format!("(a file) {} {}", file.name, caption.unwrap_or_default()).trim_end().to_owned()
        }
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

    fn there_and_back(event: MimiEvent) {
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
        for caption in [None, Some("The new pot.".to_owned())] {
            there_and_back(Event::File { file: picture(), caption, in_reply_to: Some(id(7)) });
        }
        there_and_back(Event::File {
            file: File { size: None, attachment: true, ..picture() },
            caption: None,
            in_reply_to: None,
        });
    }

    fn picture() -> File<Asset> {
        File {
            name: "pot.jpg".into(),
            media_type: "image/jpeg".into(),
            size: Some(12_345),
            attachment: false,
            octets: Asset {
                url: "https://a.example/mimi/v1/assets/00".into(),
                expires: 1_800_000_000,
                enc_alg: 1,
                key: vec![1; 16],
                nonce: vec![2; 12],
                aad: Vec::new(),
                hash_alg: 1,
                content_hash: vec![3; 32],
            },
        }
    }

    fn multi(semantics: PartSemantics, parts: Vec<NestedPart>) -> NestedPart {
        NestedPart { disposition: Disposition::RENDER, language: String::new(), part: Part::Multi { semantics, parts } }
    }

    fn read(nested_part: NestedPart) -> Option<MimiEvent> {
        let (alice, room) = (UserUri::parse("mimi://a.example/u/alice"), RoomUri::parse("mimi://a.example/r/tea"));
        let text = Event::Message { text: Text::Plain("x".into()), in_reply_to: None };
        let content = to_content(&text, &alice.unwrap(), &room.unwrap(), [7; 16]).unwrap();
        from_content(&MimiContent { nested_part, ..content })
    }

    #[test]
    fn a_file_in_a_multipart_is_a_file_and_what_is_beside_it_is_its_caption() {
        let text = || NestedPart::single(Disposition::RENDER, PLAIN, "Look:");
        let file = || external_part(&picture(), None);
        let caption =
            |caption: &str| Some(Event::File { file: picture(), caption: Some(caption.into()), in_reply_to: None });
        assert_eq!(read(multi(PartSemantics::ProcessAll, vec![text(), file()])), caption("Look:"));
        let second = external_part(&File { name: "cup.jpg".into(), size: None, ..picture() }, None);
        assert_eq!(
            read(multi(PartSemantics::SingleUnit, vec![text(), file(), second])),
            caption(
                "Look:\n\n[cup.jpg (image/jpeg) was sent and is not shown: a message is shown with one file at most]"
            )
        );
        let chosen = Some(Event::Message { text: Text::Plain("Look:".into()), in_reply_to: None });
        assert_eq!(read(multi(PartSemantics::ChooseOne, vec![text(), file()])), chosen);
        let files = Some(Event::File { file: picture(), caption: None, in_reply_to: None });
        assert_eq!(read(multi(PartSemantics::ChooseOne, vec![file(), file()])), files);
    }

    #[test]
    fn a_name_says_what_it_seems_to_say() {
        for (name, carried) in [
            ("pot.jpg", "pot.jpg"),
            ("../../etc/passwd", "passwd"),
            (r"C:\Users\alice\pot.jpg", "pot.jpg"),
            ("pot\u{202e}gpj.exe", "potgpj.exe"),
            ("two\nlines\r\0.txt", "twolines.txt"),
            (" \u{200b}pot.jpg ", "pot.jpg"),
            ("..", ""),
            ("/", ""),
            ("Kännchen 🫖.png", "Kännchen 🫖.png"),
        ] {
            assert_eq!(file_name(name), carried, "{name:?}");
        }
        let long = file_name(&format!("{}.jpg", "ä".repeat(200)));
        assert!(long.ends_with("ä.jpg") && long.len() <= 255);
    }

    #[test]
    fn what_is_no_media_type_is_octets() {
        for (claimed, carried) in [
            ("Image/JPEG", "image/jpeg"),
            ("text/plain; charset=utf-8", "text/plain"),
            ("image", "application/octet-stream"),
            ("", "application/octet-stream"),
            ("image/<b>", "application/octet-stream"),
            ("a/b\r\nX: y", "application/octet-stream"),
        ] {
            assert_eq!(media_type(claimed), carried, "{claimed:?}");
        }
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
        assert_eq!(text_of(&part, None), Some(Text::Markdown("# Tea".into())));
    }

    #[test]
    fn an_edit_changes_the_words_and_nothing_else() {
        let alice = UserUri::parse("mimi://a.example/u/alice").unwrap();
        let room = RoomUri::parse("mimi://a.example/r/tea").unwrap();
        let event = Event::Edit { replaces: id(3), text: Text::Plain("No".into()) };
        let edit = MimiContent {
            topic_id: b"another topic".to_vec(),
            in_reply_to: Some(id(4)),
            expires: Some(crate::mimi::content::Expiration::Relative(60)),
            ..to_content(&event, &alice, &room, [7; 16]).unwrap()
        };
        assert_eq!(from_content(&edit), Some(event));
    }
}
