//! What people elsewhere said, in Matrix's words: one event becomes the one request that says it. Pure.

use std::{cell::RefCell, collections::BTreeSet};

use matrix_sdk::ruma::{EventId, OwnedEventId, OwnedMxcUri};
use mimi_adapter::{
    DeliveryKey, Event, File, InThread, NativeMessageId, Refusal, Text, Thread,
    markup::{Marks, to_html, to_text},
};
use serde_json::{Value, json};

use crate::pills::Pills;

/// Where each event we send carries its [`DeliveryKey`], so that we find it again. A homeserver forgets
/// the transaction ids of an application service when it restarts.
pub const KEY: &str = "io.github.mimi-gateway.delivery_key";

/// Matrix's limit is 65,536 octets for the whole event as the homeserver signs it (client-server API, "Size
/// limits"). This leaves a fifth of that to what goes around the content.
const MAX_CONTENT: usize = 52_000;

/// A text of this size fits even as an edit, which holds it twice.
pub const MAX_TEXT: usize = 24_576;

/// What to ask of the homeserver.
#[derive(Debug, PartialEq)]
pub enum Request {
    /// `PUT /rooms/{roomId}/send/{eventType}/{txnId}`
    Send { kind: &'static str, content: Value },
    /// `PUT /rooms/{roomId}/redact/{eventId}/{txnId}`
    Redact(OwnedEventId),
}

/// A file has been put where its address is.
pub fn to_native(
    event: &Event<NativeMessageId, OwnedMxcUri>,
    thread: Option<&InThread>,
    key: &DeliveryKey,
    pills: &Pills,
) -> Result<Request, Refusal> {
    let (kind, mut content) = match event {
        Event::Message { text, in_reply_to } => {
            let mut content = message("m.text", text, pills);
            relate(&mut content, in_reply_to.as_ref(), thread)?;
            ("m.room.message", content)
        }
        Event::File { file, caption, in_reply_to } => {
            let mut content = shared(file, caption.as_deref());
            relate(&mut content, in_reply_to.as_ref(), thread)?;
            ("m.room.message", content)
        }
        Event::Edit { replaces, text } => {
            let target = event_id(replaces)?;
            let new = message("m.text", text, pills);
            // What a client that knows no edits shows.
            let mut content = json!({ "msgtype": "m.text", "body": format!("* {}", words(text)) });
            content["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": target });
            content["m.new_content"] = new;
            ("m.room.message", content)
        }
        Event::Reaction { in_reply_to, emoji } => {
            let relation = json!({ "rel_type": "m.annotation", "event_id": event_id(in_reply_to)?, "key": emoji });
            ("m.reaction", json!({ "m.relates_to": relation }))
        }
        Event::Notice { text, about, to } => {
            let mut content = json!({ "msgtype": "m.notice", "body": text });
            relate(&mut content, about.as_ref(), None)?;
            if let Some(to) = to {
                content["m.mentions"] = json!({ "user_ids": [to] });
            }
            ("m.room.message", content)
        }
        Event::Delete { replaces } | Event::Unlike { replaces } => return Ok(Request::Redact(event_id(replaces)?)),
        // Coming and going is not said but done, in `delivery`.
        other => return Err(Refusal::reject(format!("Matrix can't be told of a {} yet.", other.kind()))),
    };
    // Where it gets tight, the formatting goes before the words.
    if content.to_string().len() > MAX_CONTENT {
        unformat(&mut content);
        content.get_mut("m.new_content").map(unformat);
    }
    content[KEY] = key.as_str().into();
    Ok(Request::Send { kind, content })
}

/// What a message answers, and its thread. No quotation in the text since Matrix 1.13: clients show what this points at.
fn relate(
    content: &mut Value,
    in_reply_to: Option<&NativeMessageId>,
    thread: Option<&InThread>,
) -> Result<(), Refusal> {
    let mut relation = json!({});
    let mut answered = in_reply_to;
    if let Some(InThread { thread: Thread::Under(root), after }) = thread {
        relation = json!({ "rel_type": "m.thread", "event_id": event_id(root)? });
        if in_reply_to.is_none() {
            // For clients without threads: an answer to what was said last.
            relation["is_falling_back"] = true.into();
            answered = after.as_ref().or(Some(root));
        }
    }
    if let Some(answered) = answered {
        relation["m.in_reply_to"] = json!({ "event_id": event_id(answered)? });
        content["m.relates_to"] = relation;
    }
    Ok(())
}

fn message(msgtype: &str, text: &Text, pills: &Pills) -> Value {
    let mut content = json!({ "msgtype": msgtype, "body": words(text) });
    if let Text::Markdown(markdown) = text {
        let mentioned = RefCell::new(BTreeSet::new());
        let link = |target: &str| {
            mentioned.borrow_mut().extend(pills.mentioned(target));
            pills.to_matrix(target)
        };
        content["format"] = "org.matrix.custom.html".into();
        content["formatted_body"] = to_html(markdown, &link).into();
        let mentioned = mentioned.into_inner();
        if !mentioned.is_empty() {
            content["m.mentions"] = json!({ "user_ids": mentioned });
        }
    }
    content
}

/// The name is beside the caption, or is the body where there is none (Matrix 1.10).
fn shared(file: &File<OwnedMxcUri>, caption: Option<&str>) -> Value {
    let msgtype = match file.media_type.split('/').next() {
        _ if file.attachment => "m.file",
        Some("image") => "m.image",
        Some("audio") => "m.audio",
        Some("video") => "m.video",
        _ => "m.file",
    };
    let name = if file.name.is_empty() { "file" } else { &file.name };
    let mut info = json!({ "mimetype": file.media_type });
    if let Some(size) = file.size {
        info["size"] = size.into();
    }
    json!({ "msgtype": msgtype, "body": caption.unwrap_or(name), "filename": name, "url": file.octets, "info": info })
}

/// For clients and notifications that show no formatting.
fn words(text: &Text) -> String {
    match text {
        Text::Plain(text) => text.clone(),
        Text::Markdown(markdown) => {
            let words = to_text(markdown, &Marks::NONE);
            if words.trim().is_empty() { markdown.clone() } else { words }
        }
    }
}

fn unformat(content: &mut Value) {
    if let Some(content) = content.as_object_mut() {
        content.remove("format");
        content.remove("formatted_body");
    }
}

pub fn event_id(id: &NativeMessageId) -> Result<OwnedEventId, Refusal> {
    EventId::parse(id.as_str()).map_err(|_| Refusal::reject(format!("{id} is no message of this room")))
}

#[cfg(test)]
mod tests {
    use mimi_adapter::NativeUserId;

    use super::*;
    use crate::pills::tests::pills;

    fn id(id: &str) -> NativeMessageId {
        NativeMessageId::new(id)
    }

    fn plain(text: &str) -> Text {
        Text::Plain(text.into())
    }

    fn request(event: Event<NativeMessageId, OwnedMxcUri>) -> Request {
        to_native(&event, None, &DeliveryKey::new("k1"), &pills()).unwrap()
    }

    fn sent(event: Event<NativeMessageId, OwnedMxcUri>) -> (&'static str, Value) {
        match request(event) {
            Request::Send { kind, content } => (kind, content),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_event_has_its_matrix_words() {
        for (event, kind, content) in [
            (
                Event::Message { text: plain("Hello <b>"), in_reply_to: None },
                "m.room.message",
                json!({ "msgtype": "m.text", "body": "Hello <b>", KEY: "k1" }),
            ),
            (
                Event::Message { text: plain("Yes"), in_reply_to: Some(id("$q")) },
                "m.room.message",
                json!({
                    "msgtype": "m.text", "body": "Yes", KEY: "k1",
                    "m.relates_to": { "m.in_reply_to": { "event_id": "$q" } },
                }),
            ),
            (
                Event::Message { text: Text::Markdown("**Now**".into()), in_reply_to: None },
                "m.room.message",
                json!({
                    "msgtype": "m.text", "body": "Now", KEY: "k1",
                    "format": "org.matrix.custom.html", "formatted_body": "<p><strong>Now</strong></p>",
                }),
            ),
            (
                Event::Message {
                    text: Text::Markdown("[@Alice](mimi://a.example/u/@alice:matrix.a.example), tea?".into()),
                    in_reply_to: None,
                },
                "m.room.message",
                json!({
                    "msgtype": "m.text", "body": "@Alice, tea?", KEY: "k1",
                    "format": "org.matrix.custom.html",
                    "formatted_body": "<p><a href=\"https://matrix.to/#/@alice:matrix.a.example\">@Alice</a>, tea?</p>",
                    "m.mentions": { "user_ids": ["@alice:matrix.a.example"] },
                }),
            ),
            (
                Event::Edit { replaces: id("$first"), text: plain("Hullo") },
                "m.room.message",
                json!({
                    "msgtype": "m.text", "body": "* Hullo", KEY: "k1",
                    "m.new_content": { "msgtype": "m.text", "body": "Hullo" },
                    "m.relates_to": { "rel_type": "m.replace", "event_id": "$first" },
                }),
            ),
            (
                Event::Reaction { in_reply_to: id("$q"), emoji: "👍".into() },
                "m.reaction",
                json!({ KEY: "k1", "m.relates_to": { "rel_type": "m.annotation", "event_id": "$q", "key": "👍" } }),
            ),
            (
                Event::Notice {
                    text: "Not delivered".into(),
                    about: Some(id("$q")),
                    to: Some(NativeUserId::new("@alice:a.example")),
                },
                "m.room.message",
                json!({
                    "msgtype": "m.notice", "body": "Not delivered", KEY: "k1",
                    "m.relates_to": { "m.in_reply_to": { "event_id": "$q" } },
                    "m.mentions": { "user_ids": ["@alice:a.example"] },
                }),
            ),
        ] {
            assert_eq!(sent(event), (kind, content));
        }
    }

    #[test]
    fn what_is_said_in_a_thread_is_there_for_clients_without_threads_as_well() {
        let relation = |in_reply_to: Option<&str>, after: Option<&str>| {
            let thread = InThread { thread: Thread::Under(id("$root")), after: after.map(id) };
            let event = Event::Message { text: plain("Which pot?"), in_reply_to: in_reply_to.map(id) };
            match to_native(&event, Some(&thread), &DeliveryKey::new("k1"), &pills()).unwrap() {
                Request::Send { content, .. } => content["m.relates_to"].clone(),
                other => panic!("{other:?}"),
            }
        };
        let fallback = |to: &str| {
            json!({ "rel_type": "m.thread", "event_id": "$root", "is_falling_back": true,
                "m.in_reply_to": { "event_id": to } })
        };
        assert_eq!(relation(None, Some("$last")), fallback("$last"));
        assert_eq!(relation(None, None), fallback("$root"));
        assert_eq!(
            relation(Some("$q"), Some("$last")),
            json!({ "rel_type": "m.thread", "event_id": "$root", "m.in_reply_to": { "event_id": "$q" } })
        );
    }

    #[test]
    fn a_file_is_shown_as_what_it_is() {
        let shared = |name: &str, media_type: &str, attachment, caption: Option<&str>| {
            let (name, media_type) = (name.to_owned(), media_type.to_owned());
            let octets = OwnedMxcUri::from("mxc://a.example/x");
            let file = File { name, media_type, size: Some(5), attachment, octets };
            let event = Event::File { file, caption: caption.map(str::to_owned), in_reply_to: Some(id("$q")) };
            sent(event).1
        };
        assert_eq!(
            shared("pot.jpg", "image/jpeg", false, Some("The pot.")),
            json!({
                "msgtype": "m.image", "body": "The pot.", "filename": "pot.jpg", "url": "mxc://a.example/x",
                "info": { "mimetype": "image/jpeg", "size": 5 }, KEY: "k1",
                "m.relates_to": { "m.in_reply_to": { "event_id": "$q" } },
            })
        );
        for (media_type, attachment, msgtype) in [
            ("image/jpeg", true, "m.file"),
            ("audio/ogg", false, "m.audio"),
            ("video/mp4", false, "m.video"),
            ("application/pdf", false, "m.file"),
        ] {
            let content = shared("", media_type, attachment, None);
            assert_eq!((&content["msgtype"], &content["body"]), (&json!(msgtype), &json!("file")));
        }
    }

    #[test]
    fn what_is_taken_back_is_redacted() {
        let target = EventId::parse("$x").unwrap();
        assert_eq!(request(Event::Delete { replaces: id("$x") }), Request::Redact(target.clone()));
        assert_eq!(request(Event::Unlike { replaces: id("$x") }), Request::Redact(target));
    }

    #[test]
    fn the_longest_text_fits_and_its_formatting_goes_first() {
        let text = Text::Markdown("\"quoted\" **words** ".repeat(MAX_TEXT / 19));
        let edit = Event::Edit { replaces: id("$first"), text };
        let (_, content) = sent(edit);
        assert!(content.to_string().len() < 65_536 - 8_000);
        assert_eq!(content["m.new_content"].get("formatted_body"), None);
        let (_, content) = sent(Event::Message { text: Text::Markdown("**words** ".repeat(1_000)), in_reply_to: None });
        assert!(content["formatted_body"].is_string());
        let long = Text::Markdown("**words** ".repeat(MAX_TEXT / 10));
        let (_, content) = sent(Event::Message { text: long, in_reply_to: None });
        assert_eq!(content.get("format"), None);
    }

    #[test]
    fn a_reference_that_is_no_event_id_is_refused() {
        let reply = Event::Message { text: plain("Yes"), in_reply_to: Some(id("a-stanza-id")) };
        assert!(matches!(to_native(&reply, None, &DeliveryKey::new("k1"), &pills()), Err(Refusal::Reject { .. })));
    }
}
