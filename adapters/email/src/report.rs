//! What mail systems report about a mail: that it failed, waits, arrived, or was displayed.
//!
//! Delivery status notifications (RFC 3464, internationalised RFC 6533) and disposition notifications (RFC 8098) have
//! fields for it. The bounces of Exim and qmail have words and a copy of the mail; what is certain in them is read too.
//! A report can be forged by whoever knows a Message-ID, so its words are only for the one who wrote the mail.

use crate::words::mime::{Entity, TooMuch};

/// What became of a mail on its way to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The Message-ID of the mail that it is about, without angle brackets; `None` if that was not returned.
    pub original: Option<String>,
    /// The address it was for, as the sender wrote it if that is known.
    pub recipient: Option<String>,
    pub action: Action,
    /// Class, subject and detail of the status (RFC 3463), such as 5, 1, 1.
    pub status: Option<(u16, u16, u16)>,
    /// Why, as a sentence for a person, without a full stop.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It will not arrive.
    Failed,
    /// It waits; it may yet arrive or fail.
    Delayed,
    /// It is in the mailbox, or has left what can report.
    Delivered,
    /// Its recipient has seen it.
    Displayed,
}

/// Parts of a report that are read; there are no more than three in those that keep to the standard.
const MOST_PARTS: usize = 100;
/// Recipients of a report that are read.
const MOST_RECIPIENTS: usize = 1_000;
/// Characters of a mail system's own words that are shown.
const LONGEST_WORDS: usize = 300;

/// The reports in a mail: one for each recipient, none if it is none.
pub fn read(mail: &[u8]) -> Result<Vec<Report>, TooMuch> {
    let root = Entity::of(mail)?;
    let header = fields(&String::from_utf8_lossy(&mail[..root.range().start]));
    let mut parts = Vec::new();
    flatten(root, &mut 0, &mut parts)?;

    let texts_of =
        |of: &'static [&str]| parts.iter().filter(|part| of.contains(&&*part.media_type())).map(Entity::text);
    let returned = texts_of(&["message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"])
        .find_map(|mail| message_id(mail.split("\n\n").next()?));
    let texts: String = texts_of(&["text/plain"]).collect();
    // Gmail and Exchange answer the mail that they report about.
    let original = returned.or_else(|| message_id(&texts)).or_else(|| id_of(value(&header, "in-reply-to")?));

    if let Some(disposition) =
        texts_of(&["message/disposition-notification", "message/global-disposition-notification"]).next()
    {
        return Ok(displayed(&fields(&disposition), original).into_iter().collect());
    }
    if let Some(status) = texts_of(&["message/delivery-status", "message/global-delivery-status"]).next() {
        return Ok(delivery_status(&status, original));
    }
    Ok(in_words(&header, &texts, original))
}

fn flatten<'x>(entity: Entity<'x>, count: &mut usize, flat: &mut Vec<Entity<'x>>) -> Result<(), TooMuch> {
    match entity.parts(count)? {
        Some(parts) => parts.into_iter().try_for_each(|part| flatten(part, count, flat)),
        None if flat.len() < MOST_PARTS => {
            flat.push(entity);
            Ok(())
        }
        None => Ok(()),
    }
}

/// RFC 8098 §3.2.
fn displayed(fields: &[(String, String)], original: Option<String>) -> Option<Report> {
    let disposition = value(fields, "disposition")?.to_ascii_lowercase();
    let kind = disposition.rsplit(';').next()?.split('/').next()?.trim();
    let original = value(fields, "original-message-id").and_then(id_of).or(original);
    let recipient = value(fields, "original-recipient").or_else(|| value(fields, "final-recipient")).and_then(address);
    (kind == "displayed").then(|| Report {
        original,
        recipient,
        action: Action::Displayed,
        status: None,
        reason: "it was displayed".to_owned(),
    })
}

/// RFC 3464 §2: first the fields of the mail, then those of each recipient, with empty lines between.
fn delivery_status(status: &str, original: Option<String>) -> Vec<Report> {
    let lines: Vec<&str> = status.lines().collect();
    lines
        .split(|line| line.trim().is_empty())
        .map(|group| fields(&group.join("\n")))
        .filter(|group| value(group, "final-recipient").is_some() || value(group, "action").is_some())
        .take(MOST_RECIPIENTS)
        .filter_map(|group| recipient(&group, original.clone()))
        .collect()
}

fn recipient(fields: &[(String, String)], original: Option<String>) -> Option<Report> {
    let said = value(fields, "diagnostic-code").map(words).unwrap_or_default();
    let status = value(fields, "status").and_then(status_in).or_else(|| status_in(&said));
    let action = value(fields, "action").unwrap_or_default().to_ascii_lowercase();
    let action = match (action.trim(), status) {
        ("failed", _) => Action::Failed,
        ("delayed", _) => Action::Delayed,
        ("delivered" | "relayed" | "expanded", _) => Action::Delivered,
        (_, Some((2, ..))) => Action::Delivered,
        (_, Some((4, ..))) => Action::Delayed,
        (_, Some((5, ..))) => Action::Failed,
        _ => return None,
    };
    let recipient = value(fields, "original-recipient").or_else(|| value(fields, "final-recipient")).and_then(address);
    Some(Report { original, recipient, action, status, reason: reason(action, status, &said) })
}

/// Bounces without fields: Exim names the recipients in its header, qmail in its text.
fn in_words(header: &[(String, String)], texts: &str, original: Option<String>) -> Vec<Report> {
    let above = texts.split("\n--- Below this line is a copy").next().unwrap_or_default();
    let above = above.split("\n------ This is a copy of the message").next().unwrap_or_default();
    let failed = |recipient: &str, said: &str| {
        let said = words(said);
        let status = status_in(&said);
        let action = Action::Failed;
        Report {
            original: original.clone(),
            recipient: Some(recipient.to_owned()),
            action,
            status,
            reason: reason(action, status, &said),
        }
    };
    if let Some(recipients) = value(header, "x-failed-recipients") {
        return recipients
            .split(',')
            .map(str::trim)
            .filter(|recipient| recipient.contains('@'))
            .take(MOST_RECIPIENTS)
            .map(|recipient| {
                let paragraph = above.split("\n\n").find(|paragraph| paragraph.trim_start().starts_with(recipient));
                failed(
                    recipient,
                    paragraph.map(|paragraph| &paragraph.trim_start()[recipient.len()..]).unwrap_or_default(),
                )
            })
            .collect();
    }
    if !above.contains("qmail") && !texts.contains("--- Below this line is a copy") {
        return Vec::new();
    }
    above
        .split("\n\n")
        .filter_map(|paragraph| {
            let (recipient, said) = paragraph.trim_start().strip_prefix('<')?.split_once(">:")?;
            (recipient.contains('@') && !recipient.contains(char::is_whitespace)).then(|| failed(recipient, said))
        })
        .take(MOST_RECIPIENTS)
        .collect()
}

/// The fields of a header or of a part like one, unfolded, with their names in lower case.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match (line.starts_with([' ', '\t']), fields.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) => {
                value.push(' ');
                value.push_str(line.trim());
            }
            (false, _, Some((name, value))) if !name.contains(' ') => {
                fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            _ => {}
        }
    }
    fields
}

fn value<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    fields.iter().find(|(is, _)| is == name).map(|(_, value)| value.as_str())
}

/// The first Message-ID in a header, or in a copy of one among words.
fn message_id(text: &str) -> Option<String> {
    id_of(value(&fields(text), "message-id")?)
}

/// `<x@y>` without its brackets.
fn id_of(value: &str) -> Option<String> {
    let id = value.split_once('<')?.1.split_once('>')?.0;
    (!id.is_empty() && id.len() <= 1_000 && !id.contains(char::is_whitespace)).then(|| id.to_owned())
}

/// `rfc822; bob@b.example` or `utf-8; b\x{F6}b@b.example` (RFC 6533 §3).
fn address(value: &str) -> Option<String> {
    let (kind, address) = value.split_once(';').unwrap_or(("rfc822", value));
    let address = address.trim().trim_matches(['<', '>']);
    let address = if kind.trim().eq_ignore_ascii_case("utf-8") { unescape(address) } else { address.to_owned() };
    address.contains('@').then_some(address)
}

fn unescape(escaped: &str) -> String {
    let mut out = String::new();
    let mut rest = escaped;
    while let Some((before, after)) = rest.split_once("\\x{") {
        out.push_str(before);
        let decoded = after
            .split_once('}')
            .and_then(|(hex, after)| Some((u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)?, after)));
        match decoded {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => {
                out.push_str("\\x{");
                rest = after;
            }
        }
    }
    out + rest
}

/// A mail system's own words on one line: without the type before them, and not more than people read.
fn words(said: &str) -> String {
    let said = match said.split_once(';') {
        Some((kind, words)) if kind.trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '-') => words,
        _ => said,
    };
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: String = words.chars().filter(|c| !c.is_control()).take(LONGEST_WORDS).collect();
    words.trim_matches(['.', ' ', ':']).to_owned()
}

/// The first thing that is a status: `5.1.1`, also in `#5.1.1` or `550-5.1.1`.
fn status_in(text: &str) -> Option<(u16, u16, u16)> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|candidate| {
        let mut numbers = candidate.split('.').map(|number| number.parse::<u16>().ok());
        let status = (numbers.next()??, numbers.next()??, numbers.next()??);
        (numbers.next().is_none() && matches!(status.0, 2 | 4 | 5) && status.1 < 1_000 && status.2 < 1_000)
            .then_some(status)
    })
}

/// Why, for a person: what the status means (RFC 3463 §3), and what the mail system said.
fn reason(action: Action, status: Option<(u16, u16, u16)>, said: &str) -> String {
    let meaning = match status {
        Some((_, 1, 1 | 6)) | Some((_, 1, 3)) => "there is no such mailbox",
        Some((_, 1, 2)) | Some((_, 4, 4)) => "the domain of the address takes no mail",
        Some((_, 2, 1)) => "the mailbox is closed",
        Some((_, 2, 2)) => "the mailbox is full",
        Some((_, 2, 3)) | Some((_, 3, 4)) => "the mail is too large for the mailbox",
        Some((_, 4, 1 | 2 | 7)) => "the mail server can't be reached",
        Some((_, 4, 6)) => "the mail goes round in circles",
        Some((_, 6, _)) => "the mail server does not take mail of this form",
        Some((_, 7, _)) => "the mail server refuses it",
        _ => match action {
            Action::Failed => "the mail server did not deliver it",
            Action::Delayed => "the mail server is still trying",
            Action::Delivered => "it was delivered",
            Action::Displayed => "it was displayed",
        },
    };
    if said.is_empty() || action == Action::Delivered { meaning.to_owned() } else { format!("{meaning} ({said})") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    macro_rules! fixture {
        ($name:literal) => {
            read(include_bytes!(concat!("../tests/fixtures/", $name, ".eml"))).unwrap()
        };
    }

    fn report(recipient: &str, action: Action, status: (u16, u16, u16), reason: &str) -> Report {
        Report {
            original: Some("k1.2@gw.c.example".to_owned()),
            recipient: Some(recipient.to_owned()),
            action,
            status: Some(status),
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn postfix_says_it_in_fields() {
        let reason = "there is no such mailbox (550 5.1.1 <bob@b.example>: Recipient address rejected: User unknown in virtual mailbox table)";
        assert_eq!(fixture!("bounce-postfix"), [report("bob@b.example", Action::Failed, (5, 1, 1), reason)]);
    }

    #[test]
    fn one_report_for_each_recipient() {
        let expected = [
            report(
                "bob@b.example",
                Action::Delayed,
                (4, 4, 1),
                "the mail server can't be reached (connect to mx.b.example[192.0.2.1]:25: Connection timed out)",
            ),
            report("cathy@c.example", Action::Delivered, (2, 0, 0), "it was delivered"),
        ];
        assert_eq!(fixture!("bounce-delayed"), expected);
    }

    #[test]
    fn addresses_in_other_scripts_are_read() {
        assert_eq!(
            fixture!("bounce-international"),
            [report("böb@b.example", Action::Failed, (5, 2, 2), "the mailbox is full")]
        );
    }

    #[test]
    fn exim_and_qmail_say_it_in_words() {
        let exim = "there is no such mailbox (host mx.b.example [192.0.2.1] SMTP error from remote mail server after RCPT TO:<bob@b.example>: 550 5.1.1 No such user)";
        assert_eq!(fixture!("bounce-exim"), [report("bob@b.example", Action::Failed, (5, 1, 1), exim)]);
        let qmail = "there is no such mailbox (Sorry, no mailbox here by that name. (#5.1.1))";
        assert_eq!(fixture!("bounce-qmail"), [report("bob@b.example", Action::Failed, (5, 1, 1), qmail)]);
    }

    #[test]
    fn exchange_returns_no_header_but_answers_the_mail() {
        let reports = fixture!("bounce-exchange");
        assert_eq!((reports[0].original.as_deref(), reports[0].status), (Some("k1.2@gw.c.example"), Some((5, 1, 10))));
    }

    #[test]
    fn who_has_seen_it_says_displayed() {
        let [seen] = &fixture!("displayed")[..] else { panic!() };
        assert_eq!((seen.original.as_deref(), seen.action), (Some("k1.2@gw.c.example"), Action::Displayed));
        assert_eq!(seen.recipient.as_deref(), Some("bob@b.example"));
    }

    #[test]
    fn what_is_no_report_has_none() {
        for mail in [
            "",
            "Subject: Tea\n\nIs it ready?\n",
            "X-Failed-Recipients: nobody\n\n",
            "Content-Type: message/delivery-status\n\nAction: \n",
        ] {
            assert_eq!(read(mail.as_bytes()), Ok(Vec::new()), "{mail:?}");
        }
        let cut_off = "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nFinal-Rec";
        assert_eq!(read(cut_off.as_bytes()), Ok(Vec::new()));
    }

    #[test]
    fn statuses_are_found_where_systems_write_them() {
        for (text, status) in [
            ("5.1.1", Some((5, 1, 1))),
            ("(#5.1.1)", Some((5, 1, 1))),
            ("550-5.7.26 no", Some((5, 7, 26))),
            ("192.0.2.1 said 4.7.0", Some((4, 7, 0))),
            ("3.1.1", None),
            ("550", None),
            ("5.99999999.1", None),
        ] {
            assert_eq!(status_in(text), status, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read(mail in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&mail);
        }

        #[test]
        fn any_pieces_of_reports_are_read(pieces in proptest::collection::vec(prop_oneof![
            Just("Content-Type: multipart/report; boundary=b\n"), Just("Content-Type: message/delivery-status\n"), Just("\n"), Just("--b\n"), Just("--b--\n"),
            Just("Final-Recipient: utf-8; \\x{"), Just("110000}"), Just("Action: failed\n"), Just("Status: 5.1.1\n"), Just("Message-ID: <"), Just(">:"),
            Just("X-Failed-Recipients: @,@\n"), Just("<a@b>:"), Just("qmail"), Just("Disposition: ;displayed/"), Just("é;"), Just("\n\n"),
        ], 0..30)) {
            let _ = read(pieces.concat().as_bytes());
        }
    }
}
