//! An event as a conversation can show it.
//!
//! The one place where something is turned into less than it was. An adapter declares what its
//! conversations carry; what they don't becomes text here, or is refused with a reason.

use mimi_adapter::{Capabilities, Event, NativeMessageId, Support, Text};

/// The event as it can be delivered, or why it can't.
pub fn lower(event: Event<NativeMessageId>, can: &Capabilities) -> Result<Event<NativeMessageId>, String> {
    let event = match event {
        Event::Message { text, in_reply_to: Some(_) } if can.reply != Support::Full => match can.reply {
            Support::Refused => return Err("replies can't be shown there".into()),
            _ => Event::Message { text, in_reply_to: None },
        },
        Event::Edit { text, .. } if can.edit != Support::Full => as_text(can.edit, || format!("* {}", text.as_str()))?,
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
        assert_eq!(lower(Event::Reaction { in_reply_to: id(), emoji: "👍".into() }, &can), Ok(plain("👍")));
        assert!(lower(Event::Delete { replaces: id() }, &can).is_err());
        assert!(lower(plain(&"x".repeat(can.max_text + 1)), &can).is_err());
        assert_eq!(lower(Event::Join, &can), Ok(Event::Join));
    }
}
