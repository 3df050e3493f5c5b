//! Whether a person wrote a mail, or a machine.
//!
//! A machine that is answered by a machine answers again, and neither gets tired. So what is not a person's goes
//! into no conversation, and gets no answer but what its kind is owed. Only the header decides: words such as "out of
//! office" are a person's too.

use mail_parser::{HeaderName, HeaderValue, Message};

/// Who wrote a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Person,
    /// A program: it answers in somebody's absence, or notifies (RFC 3834).
    AutoReply,
    /// A mailing list passes it on, or it is one of many (RFC 2919, 2369).
    List,
    /// A mail system reports about a mail: [`report::read`](crate::report::read) knows about which.
    Bounce,
    /// We did, and it has come back.
    Own,
}

/// How we recognise our own mail.
pub struct Own<'a> {
    /// The name and the value of the header field that each of ours has.
    pub hop: (&'a str, &'a str),
    /// Whether a Message-ID, without its angle brackets, is one of ours.
    pub is_ours: &'a dyn Fn(&str) -> bool,
}

/// Who wrote the mail with this header. The envelope's sender is empty in `MAIL FROM:<>`.
pub fn written(header: &Message<'_>, envelope_sender: &str, own: &Own<'_>) -> Written {
    let values = |name: &str| {
        let name = name.to_ascii_lowercase();
        header.headers().iter().filter(move |it| it.name().to_ascii_lowercase() == name).map(|it| word(it.value()))
    };
    let has = |name: &str| values(name).next().is_some();

    if values(own.hop.0).any(|value| value == own.hop.1.to_ascii_lowercase())
        || header.message_id().is_some_and(|id| (own.is_ours)(id))
    {
        return Written::Own;
    }
    let is_report = content_type(header).is_some_and(|of| of == "multipart/report");
    let from = header.from().and_then(|from| from.first()).and_then(|from| from.address()).unwrap_or_default();
    let is_daemon = from.split('@').next().is_some_and(|local| local.eq_ignore_ascii_case("mailer-daemon"));
    if is_report || is_daemon || has("X-Failed-Recipients") {
        return Written::Bounce;
    }
    // RFC 3834 §5: whatever it is, if it is not `no`. What comes before a semicolon is the keyword.
    let submitted =
        |value: String| value.split([';', ' ', '(']).next().is_some_and(|word| !word.is_empty() && word != "no");
    let precedence = |of: &[&str]| values("Precedence").any(|value| of.contains(&value.as_str()));
    if values("Auto-Submitted").any(submitted)
        || precedence(&["auto_reply", "auto-reply"])
        || ["X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Loop", "X-Vacation"].into_iter().any(has)
    {
        return Written::AutoReply;
    }
    if ["List-Id", "List-Post", "List-Unsubscribe", "List-Help", "Mailing-List"].into_iter().any(has)
        || precedence(&["list", "bulk", "junk"])
    {
        return Written::List;
    }
    if envelope_sender.trim_matches(['<', '>']).is_empty() {
        return Written::Bounce;
    }
    Written::Person
}

/// A field's value in lower case, as far as it is one word or another.
fn word(value: &HeaderValue<'_>) -> String {
    value.as_text().unwrap_or_default().trim().to_ascii_lowercase()
}

fn content_type(header: &Message<'_>) -> Option<String> {
    let of = header.header(HeaderName::ContentType)?.as_content_type()?;
    Some(format!("{}/{}", of.ctype(), of.subtype().unwrap_or_default()).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;

    use super::*;

    fn by(fields: &str, envelope_sender: &str) -> Written {
        let mail =
            format!("From: Alice <alice@a.example>\r\nMessage-ID: <1@a.example>\r\n{fields}\r\n\r\nOut of office\r\n");
        let header = MessageParser::default().parse_headers(&mail).unwrap();
        let is_ours = |id: &str| id.ends_with("@gw.c.example");
        written(&header, envelope_sender, &Own { hop: ("X-Hop", "gw.c.example"), is_ours: &is_ours })
    }

    #[test]
    fn a_machine_says_so_in_the_header() {
        use Written::*;
        for (fields, expected) in [
            ("Subject: Out of office: Re: Tea", Person),
            ("Auto-Submitted: no", Person),
            ("Auto-Submitted: auto-replied", AutoReply),
            ("auto-submitted: Auto-Generated; type=vacation", AutoReply),
            ("Auto-Submitted: auto-notified (really)", AutoReply),
            ("Precedence: auto_reply", AutoReply),
            // These ask not to be answered by a machine, or are counted by one; people's mail has them too.
            ("X-Auto-Response-Suppress: All", Person),
            ("Feedback-ID: a.example:mail", Person),
            ("X-Autoreply: yes", AutoReply),
            ("X-Loop: alice@a.example", AutoReply),
            ("Precedence: bulk", List),
            ("Precedence: first-class", Person),
            ("List-Id: Tea drinkers <tea.lists.a.example>", List),
            ("List-Unsubscribe: <mailto:leave@a.example>", List),
            ("List-Id: <tea.a.example>\r\nAuto-Submitted: auto-generated", AutoReply),
            ("Content-Type: multipart/report; report-type=delivery-status; boundary=b", Bounce),
            ("Content-Type: multipart/report; report-type=disposition-notification; boundary=b", Bounce),
            ("X-Failed-Recipients: bob@b.example", Bounce),
            ("X-Hop: gw.c.example", Own),
            ("X-Hop: gw.d.example", Person),
            ("X-Hop: gw.c.example\r\nList-Id: <tea.a.example>", Own),
        ] {
            assert_eq!(by(fields, "alice@a.example"), expected, "{fields}");
        }
    }

    #[test]
    fn nobody_to_return_to_is_a_mail_system() {
        assert_eq!(by("Subject: Tea", ""), Written::Bounce);
        assert_eq!(by("Subject: Tea", "<>"), Written::Bounce);
        assert_eq!(by("Auto-Submitted: auto-replied", ""), Written::AutoReply);
        let mail = "From: MAILER-DAEMON@mx.a.example (Mail Delivery System)\n\n";
        let header = MessageParser::default().parse_headers(mail).unwrap();
        assert_eq!(written(&header, "x@a.example", &Own { hop: ("X-Hop", "x"), is_ours: &|_| false }), Written::Bounce);
    }

    #[test]
    fn our_own_message_id_is_ours() {
        let header = MessageParser::default().parse_headers("Message-ID: <k1.2@gw.c.example>\n\n").unwrap();
        let is_ours = |id: &str| id == "k1.2@gw.c.example";
        assert_eq!(written(&header, "x@a.example", &Own { hop: ("X-Hop", "x"), is_ours: &is_ours }), Written::Own);
    }
}
