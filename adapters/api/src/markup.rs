//! Formatting: between what networks have for it and the Markdown that MIMI carries (C§7.1.1).
//!
//! Networks' own formatting is written as Markdown by a [`Writer`], HTML by [`from_html`]. Markdown becomes
//! [`to_html`], or text for people without formatting or with a mark for each kind of it ([`to_text`]).
//!
//! What people write here comes out there as what it is, or as the words without the formatting; it never comes out as
//! formatting that nobody wrote, nor as HTML or a link that does something. So everything that would mean something in
//! Markdown is escaped, and what can't be said in Markdown loses its marks, not its words.

mod html;
mod inline;
mod text;
mod writer;

use pulldown_cmark::{Event, Options, Parser};

pub use html::{from_html, to_html};
pub use text::{Marks, to_text};
pub use writer::{Mark, Writer};

/// GFM with tables, task lists and strikethrough, without autolinks (C§7.1.1).
const GFM: Options = Options::ENABLE_TABLES.union(Options::ENABLE_STRIKETHROUGH).union(Options::ENABLE_TASKLISTS);

/// Markdown as it may be shown: an HTML tag in it is text (C§7.1.1).
fn read(markdown: &str) -> impl Iterator<Item = Event<'_>> {
    Parser::new_ext(markdown, GFM).map(|event| match event {
        Event::Html(tag) | Event::InlineHtml(tag) => Event::Text(tag),
        other => other,
    })
}

/// Whether there is anything in `markdown` that plain text does not have.
pub fn is_formatted(markdown: &str) -> bool {
    use pulldown_cmark::{Tag, TagEnd};
    read(markdown).any(|event| {
        !matches!(
            event,
            Event::Text(_)
                | Event::SoftBreak
                | Event::HardBreak
                | Event::Start(Tag::Paragraph)
                | Event::End(TagEnd::Paragraph)
        )
    })
}

/// Plain text as Markdown that means the same.
pub fn escape(text: &str) -> String {
    let mut writer = Writer::default();
    for (n, paragraph) in text.split("\n\n").enumerate() {
        if n > 0 {
            writer.paragraph();
        }
        writer.text(paragraph);
    }
    writer.finish()
}

/// Where a link may lead. Nothing that a client would do instead of going there.
pub fn may_be_linked(target: &str) -> bool {
    const SCHEMES: [&str; 12] =
        ["https", "http", "mailto", "mimi", "matrix", "xmpp", "tel", "sip", "geo", "im", "ftp", "magnet"];
    let harmless = |c: char| !c.is_control() && !c.is_whitespace();
    let scheme = target.split(':').next().unwrap_or_default().to_ascii_lowercase();
    target.contains(':') && SCHEMES.contains(&scheme.as_str()) && target.chars().all(harmless)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> String {
        text.chars().filter(|c| !c.is_whitespace()).collect()
    }

    #[test]
    fn what_would_be_formatting_is_escaped_and_what_would_not_is_left() {
        for (text, markdown) in [
            ("Is the tea ready? Yes, in 10-20 minutes (or so).", "Is the tea ready? Yes, in 10-20 minutes (or so)."),
            ("snake_case stays, *this* and _that_ too", r"snake_case stays, \*this\* and \_that\_ too"),
            ("a < b, <b>x</b> & &amp;", r"a &lt; b, &lt;b>x&lt;/b> & \&amp;"),
            ("# 1\n- 2\n+ 3\n4. 5\n6) 7\n> 8", "\\# 1\\\n\\- 2\\\n\\+ 3\\\n4\\. 5\\\n6\\) 7\\\n\\> 8"),
            ("x\n===", "x\\\n\\==="),
            ("`code` [a](b) \\ ~no~", r"\`code\` \[a\](b) \\ \~no\~"),
            ("one\n\ntwo", "one\n\ntwo"),
        ] {
            assert_eq!(escape(text), markdown, "{text}");
            assert_eq!(to_text(markdown, &Marks::NONE), text);
        }
    }

    #[test]
    fn a_link_leads_somewhere_and_does_nothing() {
        assert!(may_be_linked("https://a.example/x?y=1#z"));
        assert!(may_be_linked("mimi://a.example/u/alice"));
        for target in
            ["javascript:alert(1)", "data:text/html,x", "vbscript:x", "x", "//a.example", "https://a b", "file:///etc"]
        {
            assert!(!may_be_linked(target), "{target}");
        }
    }

    proptest! {
        #[test]
        fn escaped_text_is_read_as_the_same_words(text in "[a-z0-9 \n*_`~#>+.()\\[\\]!&;<=|\\\\:/-]{0,60}") {
            prop_assert_eq!(words(&to_text(&escape(&text), &Marks::NONE)), words(&text), "{}", escape(&text));
        }

        #[test]
        fn any_text_survives(text in any::<String>()) {
            prop_assert_eq!(words(&to_text(&escape(&text), &Marks::NONE)).replace('\u{fffd}', ""),
                words(&text).replace(['\0', '\u{fffd}'], ""));
            from_html(&text, &|target| Some(target.to_owned()));
            to_html(&text, &|target| Some(target.to_owned()));
        }
    }
}
