//! What people said, as the two forms of a mail: plain text, and HTML of nothing but our own tags.
//!
//! The plain one is `format=flowed` (RFC 3676): programs that know it wrap at the reader's width and quote well;
//! for the others it is a classic mail of 72 columns. A footer behind a signature's delimiter, which replies leave
//! out, says where it came from. What is answered is not quoted: whoever reads has it in the same thread.

use mimi_adapter::{
    Text,
    markup::{Marks, to_html, to_text},
};

/// Columns of a line, without what flows on (RFC 3676 §4.2).
const WIDTH: usize = 72;

/// Who said something and how it came here: what the footer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer<'a> {
    /// The name of who said it, with the provider: `Bob (b.example)`.
    pub from: &'a str,
    /// What the room is called; `None` in a conversation of two.
    pub room: Option<&'a str>,
    /// The domain of this gateway.
    pub gateway: &'a str,
    /// Where one leaves the room: a web page, or `mailto:`.
    pub leave: Option<&'a str>,
}

/// The two forms of a mail's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// For `text/plain; charset=utf-8; format=flowed`, with LF at the ends of lines.
    pub plain: String,
    /// For `text/html; charset=utf-8`.
    pub html: String,
}

/// Writes `text` down for people's mail programs.
pub fn write(text: &Text, footer: &Footer<'_>) -> Body {
    let words = match text {
        Text::Plain(text) => text.clone(),
        Text::Markdown(markdown) => {
            let words = to_text(markdown, &Marks { strong: "*", emphasis: "_", ..Marks::NONE });
            if words.trim().is_empty() { markdown.clone() } else { words }
        }
    };
    let html = match text {
        Text::Plain(text) => as_html(text),
        Text::Markdown(markdown) => to_html(markdown, &|target| Some(target.to_owned())),
    };
    let said = footer.said();
    let leave = footer.leave.map(|leave| format!("To leave: {leave}"));
    let plain_footer = [Some(said.as_str()), leave.as_deref()].into_iter().flatten().map(flowed).collect::<String>();
    let html_leave = footer.leave.map(|leave| {
        let leave = escaped(leave);
        format!("<br>\n<a href=\"{leave}\">Leave the conversation</a>")
    });
    Body {
        plain: format!("{}\n-- \n{plain_footer}", flowed(&words)),
        html: format!(
            "<!DOCTYPE html>\n<html><body>\n{html}\n<p style=\"color:#666\">-- <br>\n{}{}</p>\n</body></html>\n",
            escaped(&said),
            html_leave.unwrap_or_default(),
        ),
    }
}

impl Footer<'_> {
    fn said(&self) -> String {
        // A name is its owner's choice, and stays on this line.
        let one_line = |name: &str| name.split_whitespace().collect::<Vec<_>>().join(" ");
        let place = self.room.map(|room| format!(" in “{}”", one_line(room))).unwrap_or_default();
        format!(
            "{} wrote this{place}. It came through the gateway {}, and from there on it is not end-to-end encrypted; \
             neither is your reply. Reply to this mail to answer.",
            one_line(self.from),
            self.gateway,
        )
    }
}

/// Text in lines that flow (RFC 3676 §4.2). Each line of `text` is a paragraph; words that are too long stay whole.
fn flowed(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 32);
    for paragraph in text.lines() {
        // A space at its end would let it flow into the next.
        let paragraph = paragraph.trim_end();
        let mut line = String::new();
        for word in paragraph.split_inclusive(' ') {
            if !line.trim().is_empty() && line.chars().count() + word.trim_end().chars().count() > WIDTH {
                push(&line, &mut out);
                line.clear();
            }
            line.push_str(word);
        }
        push(&line, &mut out);
    }
    out
}

/// A line, stuffed where its beginning would mean something (RFC 3676 §4.4).
fn push(line: &str, out: &mut String) {
    if line.starts_with([' ', '>']) || line.starts_with("From ") || line.starts_with("-- ") || line == "--" {
        out.push(' ');
    }
    out.push_str(line);
    out.push('\n');
}

/// Exactly these characters. `br` alone: a line feed beside it would be a second line here.
fn as_html(text: &str) -> String {
    format!("<p style=\"white-space:pre-wrap\">{}</p>", escaped(text).replace('\n', "<br>"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\r', "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::words;

    const FOOTER: Footer<'_> = Footer {
        from: "Bob (b.example)",
        room: Some("Tea"),
        gateway: "gw.c.example",
        leave: Some("mailto:leave@c.example"),
    };

    #[test]
    fn a_mail_says_what_was_said_and_where_it_came_from() {
        let body = write(&Text::Markdown("Is the **tea** ready?\n\n- milk\n- <b>".to_owned()), &FOOTER);
        let plain = "Is the *tea* ready?\n\n• milk\n• <b>\n\n-- \n\
            Bob (b.example) wrote this in “Tea”. It came through the gateway \n\
            gw.c.example, and from there on it is not end-to-end encrypted; neither \n\
            is your reply. Reply to this mail to answer.\n\
            To leave: mailto:leave@c.example\n";
        assert_eq!(body.plain, plain);
        assert!(
            body.html
                .contains("<p>Is the <strong>tea</strong> ready?</p>\n<ul>\n<li>milk</li>\n<li>&lt;b&gt;</li>\n</ul>")
        );
        assert!(body.html.contains("<a href=\"mailto:leave@c.example\">Leave the conversation</a>"), "{}", body.html);
    }

    #[test]
    fn plain_text_looks_in_html_as_it_was_typed() {
        let html = write(&Text::Plain("if a < b:\n    tea()".to_owned()), &FOOTER).html;
        assert!(html.contains("<p style=\"white-space:pre-wrap\">if a &lt; b:<br>    tea()</p>"), "{html}");
    }

    #[test]
    fn html_has_no_tags_but_ours() {
        let evil = Footer {
            from: "<script>alert(1)</script>\n-- ",
            room: Some("\"><img src=x>"),
            leave: Some("\"><b>"),
            ..FOOTER
        };
        for text in [
            Text::Plain("<script>1 & 2</script>".to_owned()),
            Text::Markdown("[x](javascript:1) <img src=x>".to_owned()),
        ] {
            let html = write(&text, &evil).html;
            assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("javascript:1\""), "{html}");
            assert!(!html.contains("href=\"\""), "{html}");
        }
    }

    #[test]
    fn lines_flow_and_what_begins_like_a_mark_is_stuffed() {
        let long = "word ".repeat(20);
        let expected = format!("{}\n{}\n", "word ".repeat(14), "word ".repeat(6).trim_end());
        assert_eq!(flowed(&long), expected);
        assert_eq!(flowed("> no quote\n-- \n From\nFrom me\n\nend "), " > no quote\n --\n  From\n From me\n\nend\n");
        let url = format!("https://a.example/{}", "x".repeat(100));
        assert_eq!(flowed(&format!("see {url} now")), format!("see \n{url} \nnow\n"));
    }

    #[test]
    fn our_footer_is_left_out_of_what_comes_back() {
        let body = write(&Text::Plain("Is the tea ready?".to_owned()), &FOOTER);
        for (media_type, text) in [("text/plain; format=flowed", body.plain), ("text/html", body.html)] {
            let mail = format!("Content-Type: {media_type}; charset=utf-8\n\n{text}");
            let words = words::read(mail.as_bytes()).unwrap();
            assert_eq!(words.text, Some(Text::Plain("Is the tea ready?".to_owned())), "{media_type}");
        }
    }

    proptest! {
        #[test]
        fn what_flows_is_read_as_it_was(text in "[a-zé >.-]{0,90}(\n[a-zé >.-]{0,90}){0,4}") {
            let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
            let whole = lines.join("\n");
            let whole = whole.trim_start_matches('\n').trim_end();
            let mail = format!("Content-Type: text/plain; charset=utf-8; format=flowed\n\n{}", flowed(&text));
            let read = words::read(mail.as_bytes()).unwrap();
            let read = read.text.as_ref().map(Text::as_str).unwrap_or_default();
            let is_signed = whole.lines().any(|line| line == "--");
            prop_assert!(is_signed || read == whole, "{:?} {:?}", read, whole);
        }
    }
}
