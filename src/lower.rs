//! An event as a conversation can show it.
//!
//! The one place where something is turned into less than it was. An adapter declares what its
//! conversations carry; what they don't becomes text here, or is refused with a reason.

use mimi_adapter::{
    Capabilities, Event, NativeMessageId, Support, Text,
    file::size_in_words,
    markup::{Marks, to_text},
};

use crate::{assets::Asset, event::describe};

/// What a conversation is shown of an event.
#[derive(Debug, PartialEq, Eq)]
pub struct Lowered {
    pub event: Event<NativeMessageId, Asset>,
    /// Something of it is missing that its author will not guess, and why.
    pub loss: Option<String>,
}

/// The event as it can be delivered, or why it can't. `refused` says why an earlier attempt to show it as what it is (a
/// file, a name, a topic) has failed for good.
pub fn lower(
    event: Event<NativeMessageId, Asset>,
    can: &Capabilities,
    refused: Option<String>,
) -> Result<Lowered, String> {
    let mut loss = None;
    let event = match event {
        Event::Message { text: Text::Markdown(markdown), in_reply_to } if can.formatting != Support::Full => {
            Event::Message { text: unformatted(&markdown, can)?, in_reply_to }
        }
        Event::Edit { text: Text::Markdown(markdown), replaces } if can.formatting != Support::Full => {
            Event::Edit { text: unformatted(&markdown, can)?, replaces }
        }
        other => other,
    };
    let event = match event {
        Event::Message { text, in_reply_to: Some(_) } if can.reply != Support::Full => match can.reply {
            Support::Refused => return Err("replies can't be shown there".into()),
            _ => Event::Message { text, in_reply_to: None },
        },
        Event::File { file, caption, in_reply_to } => {
            let in_reply_to = in_reply_to.filter(|_| can.reply == Support::Full);
            let why = match (refused.clone(), can.file) {
                (_, Support::Refused) => return Err("files can't be shown there".into()),
                (Some(refused), _) => Some(refused),
                (None, Support::AsText) => Some("files can't be shown there".into()),
                (None, Support::Full) => file
                    .size
                    .filter(|size| *size > can.max_file)
                    .map(|_| format!("{} is the most that can be shown there", size_in_words(can.max_file))),
            };
            match why {
                None => Event::File { file, caption, in_reply_to },
                Some(why) => {
                    let text = Text::Plain(describe(&file, caption.as_deref(), &why));
                    loss = Some(why);
                    Event::Message { text, in_reply_to }
                }
            }
        }
        Event::Edit { text, .. } if can.edit != Support::Full => {
            let words = match text {
                Text::Plain(text) => text,
                Text::Markdown(markdown) => to_text(&markdown, &Marks::NONE),
            };
            as_text(can.edit, || format!("* {words}"))?
        }
        Event::Delete { .. } if can.delete != Support::Full => {
            as_text(can.delete, || "(took back an earlier message)".into())?
        }
        Event::Reaction { emoji, .. } if can.reaction != Support::Full => as_text(can.reaction, || emoji)?,
        Event::Unlike { .. } if can.reaction != Support::Full => {
            as_text(can.reaction, || "(took back a reaction)".into())?
        }
        Event::Name { name } if can.name != Support::Full || refused.is_some() => as_text(can.name, || match &*name {
            "" => format!("(took the room's name away{})", but_not_here(&refused)),
            name => format!("(named the room “{name}”{})", but_not_here(&refused)),
        })?,
        Event::Topic { topic } if can.topic != Support::Full || refused.is_some() => {
            as_text(can.topic, || match &*topic {
                "" => format!("(took the room's topic away{})", but_not_here(&refused)),
                topic => format!("(set the room's topic to “{topic}”{})", but_not_here(&refused)),
            })?
        }
        other => other,
    };
    let length = match &event {
        Event::Message { text, .. } | Event::Edit { text, .. } => text.as_str().len(),
        Event::File { caption, .. } => caption.as_ref().map_or(0, String::len),
        _ => 0,
    };
    if length > can.max_text {
        return Err(format!(
            "the text is {length} octets long and {} is the most that can be shown there",
            can.max_text
        ));
    }
    Ok(Lowered { event, loss })
}

/// What is said in a thread, where there are none: an answer to what was said last in it, unless it is one already.
pub fn as_reply(event: Event<NativeMessageId, Asset>, after: &NativeMessageId) -> Event<NativeMessageId, Asset> {
    match event {
        Event::Message { text, in_reply_to: None } => Event::Message { text, in_reply_to: Some(after.clone()) },
        Event::File { file, caption, in_reply_to: None } => {
            Event::File { file, caption, in_reply_to: Some(after.clone()) }
        }
        other => other,
    }
}

/// Text of which nothing but marks would be left is shown as it was written.
fn unformatted(markdown: &str, can: &Capabilities) -> Result<Text, String> {
    if can.formatting == Support::Refused {
        return Err("formatted text can't be shown there".into());
    }
    let words = to_text(markdown, &Marks::NONE);
    Ok(Text::Plain(if words.trim().is_empty() { markdown.to_owned() } else { words }))
}

fn but_not_here(refused: &Option<String>) -> String {
    refused.as_ref().map_or(String::new(), |why| format!("; here it stays as it is: {why}"))
}

fn as_text(support: Support, text: impl FnOnce() -> String) -> Result<Event<NativeMessageId, Asset>, String> {
    match support {
        Support::Refused => Err("edits, deletions, reactions, names or topics can't be shown there".into()),
        _ => Ok(Event::Message { text: Text::Plain(text()), in_reply_to: None }),
    }
}

#[cfg(test)]
mod tests {
    use mimi_adapter::File;

    use super::*;

    fn id() -> NativeMessageId {
        NativeMessageId::new("m1")
    }

    fn text(text: &str) -> Text {
        Text::Plain(text.into())
    }

    fn plain(words: &str) -> Event<NativeMessageId, Asset> {
        Event::Message { text: text(words), in_reply_to: None }
    }

    fn shown(event: Event<NativeMessageId, Asset>, can: &Capabilities) -> Option<Event<NativeMessageId, Asset>> {
        lower(event, can, None).ok().map(|lowered| lowered.event)
    }

    #[test]
    fn where_there_is_only_text_everything_becomes_text_or_is_refused() {
        let can = Capabilities::PLAIN_TEXT;
        assert_eq!(shown(Event::Message { text: text("yes"), in_reply_to: Some(id()) }, &can), Some(plain("yes")));
        assert_eq!(shown(Event::Edit { replaces: id(), text: text("tea") }, &can), Some(plain("* tea")));
        let markdown = |text: &str| Text::Markdown(text.into());
        let bold = Event::Message { text: markdown("**tea** for [@Bob](mimi://b.example/u/bob)"), in_reply_to: None };
        assert_eq!(shown(bold, &can), Some(plain("tea for @Bob")));
        assert_eq!(shown(Event::Edit { replaces: id(), text: markdown("_tea_") }, &can), Some(plain("* tea")));
        let marks = Event::Message { text: markdown("[a]: b:c"), in_reply_to: None };
        assert_eq!(shown(marks, &can), Some(plain("[a]: b:c")));
        assert_eq!(shown(Event::Reaction { in_reply_to: id(), emoji: "👍".into() }, &can), Some(plain("👍")));
        assert_eq!(shown(Event::Delete { replaces: id() }, &can), None);
        assert_eq!(shown(plain(&"x".repeat(can.max_text + 1)), &can), None);
        assert_eq!(shown(Event::Join, &can), Some(Event::Join));
    }

    #[test]
    fn a_file_that_can_not_be_shown_is_named_with_its_size_and_the_reason() {
        let picture = |size| {
            let (name, media_type) = ("pot.jpg".to_owned(), "image/jpeg".to_owned());
            let file = File { name, media_type, size: Some(size), attachment: false, octets: Asset::default() };
            Event::File { file, caption: Some("The pot.".into()), in_reply_to: Some(id()) }
        };
        let no_files = Capabilities { reply: Support::Full, ..Capabilities::PLAIN_TEXT };
        let files = Capabilities { file: Support::Full, max_file: 1 << 20, ..no_files };
        let instead = |size: &str, why: &str| {
            let note = format!("The pot.\n[pot.jpg (image/jpeg, {size}) was sent and is not shown: {why}]");
            let event = Event::Message { text: text(&note), in_reply_to: Some(id()) };
            Ok(Lowered { event, loss: Some(why.to_owned()) })
        };
        assert_eq!(lower(picture(1 << 20), &files, None), Ok(Lowered { event: picture(1 << 20), loss: None }));
        assert_eq!(
            lower(picture(3 << 20), &files, None),
            instead("3 MiB", "1 MiB is the most that can be shown there")
        );
        assert_eq!(lower(picture(1 << 20), &no_files, None), instead("1 MiB", "files can't be shown there"));
        assert_eq!(lower(picture(5), &files, Some("it is gone".into())), instead("5 octets", "it is gone"));
        let refusing = Capabilities { file: Support::Refused, ..files };
        assert!(lower(picture(5), &refusing, None).is_err());
    }
}
