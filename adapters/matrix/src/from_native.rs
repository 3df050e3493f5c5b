//! What happened in a room, in MIMI's words: one event of a transaction becomes one [`What`]. Pure.
//!
//! Invariant: every event that a person sent is either understood or answered ([`What::Uncarried`]); only
//! what no person said (state, calls ringing, verification) is passed over in silence.

use matrix_sdk::ruma::{
    OwnedEventId, OwnedMxcUri, OwnedRoomId, OwnedUserId,
    api::appservice::event::push_events::v1::EphemeralData,
    events::{
        AnyMessageLikeEvent, AnyStateEvent, AnyTimelineEvent, MessageLikeEvent, StateEvent,
        receipt::ReceiptType,
        room::{
            MediaSource,
            member::MembershipState,
            message::{
                MessageFormat, MessageType, Relation, RoomMessageEventContent, sanitize::remove_plain_reply_fallback,
            },
            redaction::RoomRedactionEvent,
        },
        sticker::{StickerEventContent, StickerMediaSource},
    },
    serde::Raw,
};
use mimi_adapter::{
    ConversationId, Event, File, NativeMessageId, NativeUserId, Receipt, ReceiptKind, Text, Thread, markup,
};

use crate::pills::Pills;

/// An event of the homeserver, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Happened {
    pub room: OwnedRoomId,
    pub id: OwnedEventId,
    pub sender: OwnedUserId,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The sender said or did something, perhaps in a thread.
    Said(Event<NativeMessageId, OwnedMxcUri>, Option<Thread>),
    /// The sender asked the gateway itself for something, in these words.
    Asked(String),
    /// The sender took an event back. It takes a look at that event to know what this means.
    Redacted(OwnedEventId),
    /// The sender changed what the room is called or is about.
    Described(Event<NativeMessageId, OwnedMxcUri>),
    /// Somebody's place in the room changed, perhaps by another's hand.
    Member { whom: OwnedUserId, now: Membership },
    /// What is said in this room is encrypted, from now on at the latest.
    Encryption { said: bool },
    /// The room has been replaced by this one.
    Moved(OwnedRoomId),
    /// The sender said something that we can't carry: this.
    Uncarried(&'static str),
    /// Nothing that anybody has to know.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    Joined,
    Left,
    Banned,
    Invited,
}

/// `None` if the event doesn't even say who did it where. The others of its transaction are not to suffer.
pub fn read(event: &Raw<AnyTimelineEvent>, pills: &Pills) -> Option<Happened> {
    Some(Happened {
        room: event.get_field("room_id").ok()??,
        id: event.get_field("event_id").ok()??,
        sender: event.get_field("sender").ok()??,
        what: what(event, pills),
    })
}

fn what(event: &Raw<AnyTimelineEvent>, pills: &Pills) -> What {
    match event.deserialize() {
        Ok(AnyTimelineEvent::MessageLike(event)) => message_like(event, pills),
        Ok(AnyTimelineEvent::State(event)) => state(event),
        Err(_) => match event.get_field::<String>("type").ok().flatten().as_deref() {
            Some("m.room.message" | "m.reaction" | "m.room.redaction") => What::Uncarried("a malformed message"),
            _ => What::Nothing,
        },
    }
}

/// The public read receipts in an ephemeral event, if it is one.
pub fn read_receipts(event: &Raw<EphemeralData>) -> Vec<Receipt<NativeUserId>> {
    let Ok(EphemeralData::Receipt(event)) = event.deserialize() else { return Vec::new() };
    let mut receipts = Vec::new();
    for (message, of) in &event.content.0 {
        for user in of.get(&ReceiptType::Read).into_iter().flat_map(|users| users.keys()) {
            receipts.push(Receipt {
                conversation: ConversationId::new(event.room_id.as_str()),
                by: NativeUserId::new(user.as_str()),
                kind: ReceiptKind::Read,
                up_to: id(message.clone()),
            });
        }
    }
    receipts
}

fn message_like(event: AnyMessageLikeEvent, pills: &Pills) -> What {
    use AnyMessageLikeEvent::*;
    match event {
        RoomMessage(MessageLikeEvent::Original(event)) => message(event.content, pills),
        Reaction(MessageLikeEvent::Original(event)) => {
            let to = event.content.relates_to;
            What::Said(Event::Reaction { in_reply_to: id(to.event_id), emoji: to.key }, None)
        }
        RoomRedaction(RoomRedactionEvent::Original(event)) => {
            // Room versions before 11 have it beside the content, later ones inside.
            event.content.redacts.or(event.redacts).map_or(What::Nothing, What::Redacted)
        }
        RoomEncrypted(MessageLikeEvent::Original(_)) => What::Encryption { said: true },
        Sticker(MessageLikeEvent::Original(event)) => sticker(event.content),
        PollStart(MessageLikeEvent::Original(_)) | UnstablePollStart(MessageLikeEvent::Original(_)) => {
            What::Uncarried("a poll")
        }
        CallInvite(MessageLikeEvent::Original(_)) => What::Uncarried("a call"),
        // Among them everything that was redacted before we saw it.
        _ => What::Nothing,
    }
}

fn message(content: RoomMessageEventContent, pills: &Pills) -> What {
    let RoomMessageEventContent { msgtype, relates_to, .. } = content;
    match relates_to {
        Some(Relation::Replacement(edit)) => {
            said(edit.new_content.msgtype, false, pills, |text| Event::Edit { replaces: id(edit.event_id), text })
        }
        Some(Relation::Reply(reply)) => shared_or_said(msgtype, Some(id(reply.in_reply_to.event_id)), pills),
        Some(Relation::Thread(thread)) => {
            let answered = thread.in_reply_to.filter(|_| !thread.is_falling_back).map(|to| id(to.event_id));
            match shared_or_said(msgtype, answered, pills) {
                What::Said(event, _) => What::Said(event, Some(Thread::Under(id(thread.event_id)))),
                other => other,
            }
        }
        _ => {
            let words = match &msgtype {
                MessageType::Text(text) => asked(&text.body).map(str::to_owned),
                _ => None,
            };
            words.map_or_else(|| shared_or_said(msgtype, None, pills), What::Asked)
        }
    }
}

/// The words after `!mimi`, by which people here speak to the gateway itself.
fn asked(body: &str) -> Option<&str> {
    let rest = body.trim_start().strip_prefix("!mimi")?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| rest.trim())
}

fn shared_or_said(msgtype: MessageType, in_reply_to: Option<NativeMessageId>, pills: &Pills) -> What {
    let Media { body, filename, source, media_type, size, attachment } = match media(msgtype) {
        Ok(media) => media,
        Err(msgtype) => {
            return said(*msgtype, in_reply_to.is_some(), pills, |text| Event::Message { text, in_reply_to });
        }
    };
    let MediaSource::Plain(octets) = source else { return What::Uncarried("an encrypted file") };
    // Since Matrix 1.10 the body is a caption where there is a name beside it.
    let (name, caption) = match filename {
        Some(name) if name != body => (name, Some(body)),
        _ => (body, None),
    };
    let caption = caption.filter(|caption| !caption.trim().is_empty());
    let file = File { name, media_type: media_type.unwrap_or_else(octets_of_any_kind), size, attachment, octets };
    What::Said(Event::File { file, caption, in_reply_to }, None)
}

/// What a message with a file in it says, whatever its kind.
struct Media {
    body: String,
    filename: Option<String>,
    source: MediaSource,
    media_type: Option<String>,
    size: Option<u64>,
    attachment: bool,
}

/// A message without a file is given back. (The four kinds have the same fields, and no type that says so.)
fn media(msgtype: MessageType) -> Result<Media, Box<MessageType>> {
    macro_rules! media {
        ($content:expr, $attachment:expr) => {{
            let content = $content;
            let (media_type, size) = content.info.map_or((None, None), |info| (info.mimetype, info.size));
            Ok(Media {
                body: content.body,
                filename: content.filename,
                source: content.source,
                media_type,
                size: size.map(u64::from),
                attachment: $attachment,
            })
        }};
    }
    match msgtype {
        MessageType::Image(content) => media!(content, false),
        MessageType::Video(content) => media!(content, false),
        MessageType::Audio(content) => media!(content, false),
        MessageType::File(content) => media!(content, true),
        other => Err(Box::new(other)),
    }
}

fn octets_of_any_kind() -> String {
    "application/octet-stream".to_owned()
}

/// A picture that its sender had ready.
fn sticker(content: StickerEventContent) -> What {
    let StickerMediaSource::Plain(octets) = content.source else { return What::Uncarried("an encrypted sticker") };
    let (media_type, size) = (content.info.mimetype, content.info.size.map(u64::from));
    let media_type = media_type.unwrap_or_else(|| "image/png".to_owned());
    let file = File { name: content.body, media_type, size, attachment: false, octets };
    What::Said(Event::File { file, caption: None, in_reply_to: None }, None)
}

/// The text of a message: as `formatted_body` has it if there is formatting in it, and else exactly as `body` has it.
fn said(
    msgtype: MessageType,
    reply: bool,
    pills: &Pills,
    event: impl FnOnce(Text) -> Event<NativeMessageId, OwnedMxcUri>,
) -> What {
    let (body, formatted) = match msgtype {
        MessageType::Text(text) => (text.body, text.formatted),
        MessageType::Notice(notice) => (notice.body, notice.formatted),
        // The convention that XEP-0245 wrote down, for readers who don't have emotes.
        MessageType::Emote(emote) => (format!("/me {}", emote.body), None),
        MessageType::Image(_) | MessageType::Video(_) | MessageType::Audio(_) | MessageType::File(_) => {
            return What::Uncarried("a change of a file or its caption");
        }
        MessageType::Location(_) => return What::Uncarried("a location"),
        MessageType::ServerNotice(_) | MessageType::VerificationRequest(_) => return What::Nothing,
        _ => return What::Uncarried("this kind of message"),
    };
    let html = formatted.filter(|formatted| formatted.format == MessageFormat::Html);
    let markdown = html.and_then(|html| markup::from_html(&html.body, &|target| pills.to_mimi(target)));
    if let Some(markdown) = markdown.filter(|markdown| markup::is_formatted(markdown)) {
        return What::Said(event(Text::Markdown(markdown)), None);
    }
    // Clients from before Matrix 1.13 quote in the text what they answer.
    let body = if reply { remove_plain_reply_fallback(&body).to_owned() } else { body };
    if body.trim().is_empty() {
        What::Uncarried("an empty message")
    } else {
        What::Said(event(Text::Plain(body)), None)
    }
}

fn state(event: AnyStateEvent) -> What {
    match event {
        AnyStateEvent::RoomMember(StateEvent::Original(event)) => {
            use MembershipState::{Ban, Invite, Join, Leave};
            let before = event.prev_content().map(|content| content.membership.clone());
            let now = match (before, &event.content.membership) {
                // A new name or picture.
                (Some(Join), Join) => return What::Nothing,
                (_, Join) => Membership::Joined,
                // Without the content before, it may have been a member who leaves.
                (Some(Join) | None, Leave) => Membership::Left,
                (Some(Join) | None, Ban) => Membership::Banned,
                (_, Invite) => Membership::Invited,
                _ => return What::Nothing,
            };
            What::Member { whom: event.state_key, now }
        }
        AnyStateEvent::RoomName(StateEvent::Original(event)) => {
            What::Described(Event::Name { name: event.content.name })
        }
        AnyStateEvent::RoomTopic(StateEvent::Original(event)) => {
            What::Described(Event::Topic { topic: event.content.topic })
        }
        AnyStateEvent::RoomTombstone(StateEvent::Original(event)) => What::Moved(event.content.replacement_room),
        AnyStateEvent::RoomEncryption(StateEvent::Original(_)) => What::Encryption { said: false },
        _ => What::Nothing,
    }
}

fn id(event: OwnedEventId) -> NativeMessageId {
    NativeMessageId::new(event)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pills::tests::pills;

    /// What an event of Alice's comes to.
    fn read(mut event: Value) -> What {
        for (key, value) in [("room_id", "!room:a.example"), ("event_id", "$event"), ("sender", "@alice:a.example")] {
            event[key] = value.into();
        }
        event["origin_server_ts"] = 1_700_000_000_000_u64.into();
        let happened = super::read(&Raw::from_json_string(event.to_string()).unwrap(), &pills()).unwrap();
        assert_eq!((happened.room.as_str(), happened.id.as_str()), ("!room:a.example", "$event"));
        assert_eq!(happened.sender, "@alice:a.example");
        happened.what
    }

    fn message(content: Value) -> What {
        read(json!({ "type": "m.room.message", "content": content }))
    }

    fn plain(text: &str) -> Text {
        Text::Plain(text.into())
    }

    fn to(id: &str) -> Option<NativeMessageId> {
        Some(NativeMessageId::new(id))
    }

    #[test]
    fn what_people_write_is_carried_as_they_typed_it() {
        for (content, event) in [
            (
                json!({ "msgtype": "m.text", "body": "**Hello** Bob", "format": "org.matrix.custom.html",
                    "formatted_body": "<b>Hello</b> <a href=\"https://matrix.to/#/@mimi_b.example_bob:matrix.a.example\">Bob</a>" }),
                Event::Message {
                    text: Text::Markdown("**Hello** [Bob](mimi://b.example/u/bob)".into()),
                    in_reply_to: None,
                },
            ),
            (
                // There is nothing in it that the words don't have.
                json!({ "msgtype": "m.text", "body": "1 < 2\n*", "format": "org.matrix.custom.html", "formatted_body": "<p>1 &lt; 2<br>*</p>" }),
                Event::Message { text: plain("1 < 2\n*"), in_reply_to: None },
            ),
            (
                json!({ "msgtype": "m.text", "body": "x", "format": "com.example.rtf", "formatted_body": "<b>x</b>" }),
                Event::Message { text: plain("x"), in_reply_to: None },
            ),
            (
                json!({
                    "msgtype": "m.text", "body": "> <@bob:a.example> Tea?\n\n*Yes*", "format": "org.matrix.custom.html",
                    "formatted_body": "<mx-reply><blockquote>Tea?</blockquote></mx-reply><em>Yes</em>",
                    "m.relates_to": { "m.in_reply_to": { "event_id": "$q" } },
                }),
                Event::Message { text: Text::Markdown("_Yes_".into()), in_reply_to: to("$q") },
            ),
            (
                json!({ "msgtype": "m.notice", "body": "Line down" }),
                Event::Message { text: plain("Line down"), in_reply_to: None },
            ),
            (
                json!({ "msgtype": "m.emote", "body": "waves" }),
                Event::Message { text: plain("/me waves"), in_reply_to: None },
            ),
            (
                json!({ "msgtype": "m.text", "body": "Yes", "m.relates_to": { "m.in_reply_to": { "event_id": "$q" } } }),
                Event::Message { text: plain("Yes"), in_reply_to: to("$q") },
            ),
            (
                json!({
                    "msgtype": "m.text", "body": "> <@bob:a.example> Tea?\n> Milk?\n\nYes\n\n> and no",
                    "m.relates_to": { "m.in_reply_to": { "event_id": "$q" } },
                }),
                Event::Message { text: plain("Yes\n\n> and no"), in_reply_to: to("$q") },
            ),
            (
                json!({
                    "msgtype": "m.text", "body": "* Hullo", "m.new_content": { "msgtype": "m.text", "body": "Hullo" },
                    "m.relates_to": { "rel_type": "m.replace", "event_id": "$first" },
                }),
                Event::Edit { replaces: NativeMessageId::new("$first"), text: plain("Hullo") },
            ),
        ] {
            assert_eq!(message(content), What::Said(event, None));
        }
    }

    #[test]
    fn what_is_said_in_a_thread_answers_what_it_really_answers() {
        let mut relation = json!({
            "rel_type": "m.thread", "event_id": "$root", "is_falling_back": true,
            "m.in_reply_to": { "event_id": "$last" },
        });
        let said = |relation: &Value, in_reply_to| {
            let event = Event::Message { text: plain("In the thread"), in_reply_to };
            let content = json!({ "msgtype": "m.text", "body": "In the thread", "m.relates_to": relation });
            let thread = Thread::Under(NativeMessageId::new("$root"));
            assert_eq!(message(content), What::Said(event, Some(thread)), "{relation}");
        };
        said(&relation, None);
        relation["is_falling_back"] = false.into();
        said(&relation, to("$last"));
        relation.as_object_mut().unwrap().remove("m.in_reply_to");
        said(&relation, None);
    }

    #[test]
    fn a_quotation_that_is_no_fallback_stays() {
        let body = "> <@bob:a.example> said\n\nwell";
        let event = Event::Message { text: plain(body), in_reply_to: None };
        assert_eq!(message(json!({ "msgtype": "m.text", "body": body })), What::Said(event, None));
    }

    #[test]
    fn a_reaction_points_at_its_message() {
        let relation = json!({ "rel_type": "m.annotation", "event_id": "$q", "key": "👍" });
        assert_eq!(
            read(json!({ "type": "m.reaction", "content": { "m.relates_to": relation } })),
            What::Said(Event::Reaction { in_reply_to: NativeMessageId::new("$q"), emoji: "👍".into() }, None)
        );
    }

    #[test]
    fn who_has_read_up_to_where_is_read_and_private_receipts_are_not() {
        let of = |kind: &str, who: &str| json!({ kind: { who: { "ts": 1_700_000_000_000_u64 } } });
        let content = json!({
            "$last": of("m.read", "@alice:a.example"), "$other": of("m.read.private", "@anna:a.example"),
        });
        let event = json!({ "type": "m.receipt", "room_id": "!room:a.example", "content": content });
        let receipt = Receipt {
            conversation: ConversationId::new("!room:a.example"),
            by: NativeUserId::new("@alice:a.example"),
            kind: ReceiptKind::Read,
            up_to: NativeMessageId::new("$last"),
        };
        let receipts = |event: Value| read_receipts(&Raw::from_json_string(event.to_string()).unwrap());
        assert_eq!(receipts(event), [receipt]);
        for event in [json!({ "type": "m.typing" }), json!(3), json!({ "type": "m.receipt", "content": { "$x": 1 } })] {
            assert_eq!(receipts(event), []);
        }
    }

    #[test]
    fn a_redaction_names_its_target_in_old_rooms_and_in_new_ones() {
        let target = || What::Redacted(matrix_sdk::ruma::owned_event_id!("$gone"));
        assert_eq!(read(json!({ "type": "m.room.redaction", "redacts": "$gone", "content": {} })), target());
        assert_eq!(read(json!({ "type": "m.room.redaction", "content": { "redacts": "$gone" } })), target());
    }

    #[test]
    fn what_can_not_be_carried_is_named_for_its_sender() {
        let key = json!({ "kty": "oct", "key_ops": ["encrypt", "decrypt"], "alg": "A256CTR", "k": "aWF6-32KGYaC3A_FEUCk1Bt0JA37zP0wrStgmdCaW-0", "ext": true });
        let encrypted = json!({ "v": "v2", "url": "mxc://a.example/x", "key": key, "iv": "w+sE15fzSc0AAAAAAAAAAA", "hashes": { "sha256": "fdSLu/YkRx3Wyh3KQabP3rd6+SFiKg5lsJZQHtkSAYA" } });
        let file = json!({ "msgtype": "m.file", "body": "x.bin", "url": "mxc://a.example/x" });
        for (content, named) in [
            (json!({ "msgtype": "m.file", "body": "x.bin", "file": encrypted }), "an encrypted file"),
            (
                json!({
                    "msgtype": "m.file", "body": "* x.bin", "url": "mxc://a.example/x", "m.new_content": file,
                    "m.relates_to": { "rel_type": "m.replace", "event_id": "$first" },
                }),
                "a change of a file or its caption",
            ),
            (json!({ "msgtype": "m.location", "body": "here", "geo_uri": "geo:1,2" }), "a location"),
            (json!({ "msgtype": "com.example.hologram", "body": "?" }), "this kind of message"),
            (json!({ "msgtype": "m.text", "body": " \n" }), "an empty message"),
            (json!({ "msgtype": "m.text" }), "a malformed message"),
            (
                // An edit without the new content.
                json!({ "msgtype": "m.text", "body": "*", "m.relates_to": { "rel_type": "m.replace", "event_id": "$first" } }),
                "a malformed message",
            ),
        ] {
            assert_eq!(message(content.clone()), What::Uncarried(named), "{content}");
        }
        let answers = json!([{ "id": "1", "org.matrix.msc1767.text": "Tea" }]);
        let poll = json!({ "question": { "org.matrix.msc1767.text": "?" }, "kind": "org.matrix.msc3381.poll.disclosed", "max_selections": 1, "answers": answers });
        let poll = json!({ "type": "org.matrix.msc3381.poll.start", "content": { "org.matrix.msc3381.poll.start": poll, "org.matrix.msc1767.text": "?" } });
        assert_eq!(read(poll), What::Uncarried("a poll"));
        assert_eq!(read(json!({ "type": "m.reaction", "content": {} })), What::Uncarried("a malformed message"));
    }

    #[test]
    fn what_people_share_is_a_file_with_its_name_and_its_words() {
        let shared = |name: &str, media_type: &str, size, attachment, caption: Option<&str>, in_reply_to| {
            let (name, media_type) = (name.to_owned(), media_type.to_owned());
            let file = File { name, media_type, size, attachment, octets: OwnedMxcUri::from("mxc://a.example/x") };
            What::Said(Event::File { file, caption: caption.map(str::to_owned), in_reply_to }, None)
        };
        let media = |msgtype: &str, more: Value| {
            let mut content = json!({ "msgtype": msgtype, "body": "pot.jpg", "url": "mxc://a.example/x" });
            content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            message(content)
        };
        let info = json!({ "info": { "mimetype": "image/jpeg", "size": 12345, "w": 10, "h": 10 } });
        assert_eq!(media("m.image", info), shared("pot.jpg", "image/jpeg", Some(12345), false, None, None));
        for msgtype in ["m.audio", "m.video"] {
            let any = shared("pot.jpg", "application/octet-stream", None, false, None, None);
            assert_eq!(media(msgtype, json!({})), any);
        }
        let pdf = json!({ "filename": "bill.pdf", "body": "That *much*.", "info": { "mimetype": "application/pdf" } });
        let bill = |to| shared("bill.pdf", "application/pdf", None, true, Some("That *much*."), to);
        assert_eq!(media("m.file", pdf.clone()), bill(None));
        let mut answer = pdf;
        answer["m.relates_to"] = json!({ "m.in_reply_to": { "event_id": "$q" } });
        assert_eq!(media("m.file", answer), bill(to("$q")));
        let named = json!({ "filename": "pot.jpg" });
        let any = |attachment| shared("pot.jpg", "application/octet-stream", None, attachment, None, None);
        assert_eq!(media("m.file", named), any(true));
        let sticker =
            json!({ "type": "m.sticker", "content": { "body": "cat", "url": "mxc://a.example/x", "info": {} } });
        assert_eq!(read(sticker), shared("cat", "image/png", None, false, None, None));
    }

    #[test]
    fn encryption_is_noticed_when_it_is_switched_on_and_when_it_is_used() {
        let content = json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "…", "session_id": "s" });
        assert_eq!(read(json!({ "type": "m.room.encrypted", "content": content })), What::Encryption { said: true });
        let content = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
        assert_eq!(
            read(json!({ "type": "m.room.encryption", "state_key": "", "content": content })),
            What::Encryption { said: false }
        );
    }

    #[test]
    fn what_begins_with_mimi_is_for_the_gateway() {
        let said = |body: &str| message(json!({ "msgtype": "m.text", "body": body }));
        assert_eq!(said("!mimi"), What::Asked("".into()));
        assert_eq!(said(" !mimi  invite mimi://b.example/u/bob "), What::Asked("invite mimi://b.example/u/bob".into()));
        for body in ["!mimicry", "What does !mimi do?"] {
            assert_eq!(said(body), What::Said(Event::Message { text: plain(body), in_reply_to: None }, None));
        }
    }

    #[test]
    fn a_rooms_name_and_topic_are_the_senders_doing() {
        let state = |kind: &str, content: Value| read(json!({ "type": kind, "state_key": "", "content": content }));
        let name = Event::Name { name: "Tea".into() };
        assert_eq!(state("m.room.name", json!({ "name": "Tea" })), What::Described(name));
        let topic = Event::Topic { topic: "Which?".into() };
        assert_eq!(state("m.room.topic", json!({ "topic": "Which?" })), What::Described(topic));
    }

    #[test]
    fn a_tombstone_names_the_next_room() {
        let content = json!({ "body": "This room has been replaced", "replacement_room": "!next:a.example" });
        assert_eq!(
            read(json!({ "type": "m.room.tombstone", "state_key": "", "content": content })),
            What::Moved(matrix_sdk::ruma::owned_room_id!("!next:a.example"))
        );
    }

    #[test]
    fn a_change_of_membership_is_one_and_a_new_name_is_not() {
        use Membership::{Banned, Invited, Joined, Left};
        for (before, after, now) in [
            (None, "join", Some(Joined)),
            (Some("invite"), "join", Some(Joined)),
            (Some("join"), "join", None),
            (Some("join"), "leave", Some(Left)),
            (Some("join"), "ban", Some(Banned)),
            (None, "leave", Some(Left)),
            (Some("invite"), "leave", None),
            (Some("ban"), "leave", None),
            (Some("leave"), "invite", Some(Invited)),
            (None, "knock", None),
        ] {
            let mut event =
                json!({ "type": "m.room.member", "state_key": "@cathy:a.example", "content": { "membership": after } });
            if let Some(before) = before {
                event["unsigned"] = json!({ "prev_content": { "membership": before } });
            }
            let whom = matrix_sdk::ruma::owned_user_id!("@cathy:a.example");
            let expected = now.map_or(What::Nothing, |now| What::Member { whom, now });
            assert_eq!(read(event), expected, "{before:?} {after}");
        }
    }

    #[test]
    fn what_nobody_said_is_passed_over() {
        for event in [
            json!({ "type": "m.room.avatar", "state_key": "", "content": { "url": "mxc://a.example/x" } }),
            json!({ "type": "m.room.message", "content": {}, "unsigned": { "redacted_because": {
                "type": "m.room.redaction", "content": {}, "event_id": "$r", "sender": "@alice:a.example", "origin_server_ts": 1 } } }),
            json!({ "type": "com.example.unheard", "content": { "x": 1 } }),
            json!({ "type": "m.room.member", "state_key": "not a user", "content": { "membership": "join" } }),
        ] {
            assert_eq!(read(event.clone()), What::Nothing, "{event}");
        }
    }

    #[test]
    fn an_event_of_nobody_nowhere_is_none() {
        for json in ["{}", "[]", "3", r#"{"type":"m.room.message","room_id":"!r","event_id":"$e","sender":3}"#] {
            assert_eq!(super::read(&Raw::from_json_string(json.into()).unwrap(), &pills()), None, "{json}");
        }
    }
}
