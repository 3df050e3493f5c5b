//! An event as a conversation can show it.
//!
//! The one place where something is turned into less than it was. An adapter declares what its
//! conversations carry; what they don't becomes text here, or is refused with a reason.

use mimi_adapter::{
    Capabilities, Event, NativeMessageId, Support, Text,
    markup::{Marks, to_text},
};

/// The event as it can be delivered, or why it can't.
pub fn lower(event: Event<NativeMessageId>, can: &Capabilities) -> Result<Event<NativeMessageId>, String> {
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
        other => other,
    };
    match &event {
        Event::Message { text, .. } | Event::Edit { text, .. } if text.as_str().len() > can.max_text => Err(format!(
            "the text is {} octets long and {} is the most that can be shown there",
            text.as_str().len(),
            can.max_text
        )),
        _ => Ok(event),
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

fn as_text(support: Support, text: impl FnOnce() -> String) -> Result<Event<NativeMessageId>, String> {
    match support {
        Support::Refused => Err("edits, deletions or reactions can't be shown there".into()),
        _ => Ok(Event::Message { text: Text::Plain(text()), in_reply_to: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_only_text_everything_becomes_text_or_is_refused() {
        let can = Capabilities::PLAIN_TEXT;
        let id = || NativeMessageId::new("m1");
        let plain = |text: &str| Event::Message { text: Text::Plain(text.into()), in_reply_to: None };
        let text = |text: &str| Text::Plain(text.into());
        assert_eq!(lower(Event::Message { text: text("yes"), in_reply_to: Some(id()) }, &can), Ok(plain("yes")));
        assert_eq!(lower(Event::Edit { replaces: id(), text: text("tea") }, &can), Ok(plain("* tea")));
        let markdown = |text: &str| Text::Markdown(text.into());
        let bold = Event::Message { text: markdown("**tea** for [@Bob](mimi://b.example/u/bob)"), in_reply_to: None };
        assert_eq!(lower(bold, &can), Ok(plain("tea for @Bob")));
        assert_eq!(lower(Event::Edit { replaces: id(), text: markdown("_tea_") }, &can), Ok(plain("* tea")));
        assert_eq!(
            lower(Event::Message { text: markdown("[a]: b:c"), in_reply_to: None }, &can),
            Ok(plain("[a]: b:c"))
        );
        assert_eq!(lower(Event::Reaction { in_reply_to: id(), emoji: "👍".into() }, &can), Ok(plain("👍")));
        assert!(lower(Event::Delete { replaces: id() }, &can).is_err());
        assert!(lower(plain(&"x".repeat(can.max_text + 1)), &can).is_err());
        assert_eq!(lower(Event::Join, &can), Ok(Event::Join));
    }
}
