//! What is said in a conversation, as a mail: pure, and the same octets for the same letter.

use std::time::SystemTime;

use lettre::{
    Address, Message,
    message::{
        Attachment, Body, Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use mimi_adapter::{Ghost, NativeMessageId, NativeUserId, Refusal, Text};
use sha2::{Digest, Sha256};

use crate::{
    body::{self, Footer},
    id::{Addresses, Place, hex},
};

/// The name of the field that each mail of ours has; its value is where our Message-IDs are made.
pub const HOP: &str = "X-Mimi-Gateway";

/// A mail to one person.
pub struct Letter<'a> {
    pub place: &'a Place,
    /// `None` for a conversation of two.
    pub title: Option<&'a str>,
    pub to: &'a NativeUserId,
    pub voice: Voice<'a>,
    pub date: SystemTime,
    pub id: &'a NativeMessageId,
    pub in_reply_to: Option<&'a NativeMessageId>,
    pub text: Option<&'a Text>,
    pub files: &'a [Enclosed],
}

/// Who speaks.
pub enum Voice<'a> {
    /// Somebody, by the name people should read, at an address of ours.
    Person {
        name: &'a str,
        address: Option<String>,
    },
    Gateway,
}

/// A file in a letter.
pub struct Enclosed {
    pub name: String,
    pub media_type: String,
    pub octets: Vec<u8>,
}

/// A mail with its envelope.
pub struct Post {
    pub from: String,
    pub to: String,
    pub octets: Vec<u8>,
}

pub fn write(letter: &Letter<'_>, at: &Addresses) -> Result<Post, Refusal> {
    let Letter { place, to, .. } = letter;
    let too_long = || Refusal::reject("the sender's address is too long to be written to by mail");
    let reply = at.reply(place, to).ok_or_else(too_long)?;
    let (name, address) = match &letter.voice {
        Voice::Person { name, address } => (*name, address.clone().unwrap_or_else(|| reply.clone())),
        Voice::Gateway => ("MIMI gateway", at.gateway()),
    };
    let thread = at.thread_id(place);
    let mut references = format!("<{thread}>");
    if let Some(id) = letter.in_reply_to {
        references.push_str(&format!(" <{id}>"));
    }
    let about = match (letter.title, place) {
        (Some(title), _) => one_line(title),
        (None, Place::Direct { ghost, .. }) => {
            format!("Conversation with {}", Ghost::new(ghost.clone()).name)
        }
        (None, Place::List(name)) => name.clone(),
    };
    let again = if letter.in_reply_to.is_some() { "Re: " } else { "" };
    let mut message = Message::builder()
        .from(mailbox(Some(name), &address)?)
        .to(mailbox(None, to.as_str())?)
        .reply_to(mailbox(letter.title, &reply)?)
        .subject(format!("{again}{about}"))
        .date(letter.date)
        .message_id(Some(format!("<{}>", letter.id)))
        .references(references)
        .raw_header(field(HOP, at.id_domain()));
    if let Some(id) = letter.in_reply_to {
        message = message.in_reply_to(format!("<{id}>"));
    }
    if let Voice::Gateway = letter.voice {
        message = message.raw_header(field("Auto-Submitted", "auto-generated".into())); // RFC 3834 §5
    }
    let mut leave = None;
    if let Place::List(name) = place {
        // RFC 2919, 2369. What is at `leave` is good for this person alone.
        message = message.raw_header(field("List-Id", format!("<{name}.{}>", at.id_domain())));
        if let Some(address) = at.leave(place, to) {
            message = message.raw_header(field("List-Unsubscribe", format!("<mailto:{address}>")));
            leave = Some(format!("mailto:{address}"));
        }
    }
    // The same for the same letter, and in no text by chance.
    let boundary = |part: &str| hex(&Sha256::digest(format!("{part} {}", letter.id)))[..32].to_owned();
    let nothing = Text::Plain(String::new());
    let footer = Footer { from: name, room: letter.title, gateway: at.domain(), leave: leave.as_deref() };
    let body = body::write(letter.text.unwrap_or(&nothing), &footer);
    let flowed =
        "text/plain; charset=utf-8; format=flowed".parse::<ContentType>().expect("a media type written by hand");
    let text = MultiPart::alternative()
        .boundary(boundary("text"))
        .singlepart(SinglePart::builder().header(flowed).body(body.plain))
        .singlepart(SinglePart::html(body.html));
    let mail = match letter.files {
        [] => message.multipart(text),
        files => {
            let mixed = MultiPart::mixed().boundary(boundary("files")).multipart(text);
            message.multipart(files.iter().fold(mixed, |mixed, file| mixed.singlepart(enclose(file))))
        }
    };
    let mail = mail.map_err(|error| Refusal::reject(format!("it can't be written as a mail: {error}")))?;
    Ok(Post { from: reply, to: to.to_string(), octets: mail.formatted() })
}

/// A mail to ourselves, that says nothing.
pub fn canary(number: u64, date: SystemTime, at: &Addresses) -> Option<Post> {
    let address = at.canary(number);
    let mail = Message::builder()
        .from(mailbox(Some("MIMI gateway"), &address).ok()?)
        .to(mailbox(None, &address).ok()?)
        .subject("Does mail reach the gateway?")
        .date(date)
        .message_id(Some(format!("<canary.{number}@{}>", at.id_domain())))
        .raw_header(field(HOP, at.id_domain()))
        .raw_header(field("Auto-Submitted", "auto-generated".into()))
        .body("The gateway writes to itself now and then, to notice when mail does not reach it.\n".to_owned())
        .ok()?;
    Some(Post { from: address.clone(), to: address, octets: mail.formatted() })
}

fn enclose(file: &Enclosed) -> SinglePart {
    let unknown = || "application/octet-stream".parse::<ContentType>().expect("a media type written by hand");
    // Whatever somebody calls a file, it is no part of the mail's structure, and its octets stay as they are.
    let is_structure = ["multipart/", "message/"].iter().any(|it| file.media_type.to_ascii_lowercase().starts_with(it));
    let media_type = file.media_type.parse().ok().filter(|_| !is_structure).unwrap_or_else(unknown);
    let name = one_line(&file.name);
    let name = if name.is_empty() { "file".to_owned() } else { name };
    let body = Body::new_with_encoding(file.octets.clone(), ContentTransferEncoding::Base64);
    Attachment::new(name).body(body.expect("Base64 takes any octets"), media_type)
}

fn mailbox(name: Option<&str>, address: &str) -> Result<Mailbox, Refusal> {
    let problem = |error| Refusal::reject(format!("{address} is not an address that mail can be sent to: {error}"));
    let address = address.parse::<Address>().map_err(problem)?;
    Ok(Mailbox::new(name.map(one_line).filter(|name| !name.is_empty()), address))
}

fn field(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// Nobody's name ends a header field.
fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mimi_adapter::UserUri;

    use super::*;
    use crate::id::person;

    fn at() -> Addresses {
        Addresses::parse("mimi.c.example", b"secret".to_vec()).unwrap()
    }

    fn direct() -> Place {
        Place::Direct {
            user: person("bob@c.example").unwrap(),
            ghost: UserUri::parse("mimi://a.example/u/alice").unwrap(),
        }
    }

    fn written(place: &Place, title: Option<&str>, name: &str, text: &str, files: &[Enclosed]) -> String {
        let (to, id) = (person("bob@c.example").unwrap(), NativeMessageId::new("k1@mimi.c.example"));
        let answered = NativeMessageId::new("1@c.example");
        let letter = Letter {
            place,
            title,
            to: &to,
            voice: Voice::Person { name, address: Some("alice=a.example@mimi.c.example".into()) },
            date: SystemTime::UNIX_EPOCH + Duration::from_secs(1_760_000_000),
            id: &id,
            in_reply_to: Some(&answered),
            text: Some(&Text::Plain(text.into())),
            files,
        };
        let post = write(&letter, &at()).unwrap();
        assert_eq!(post.octets, write(&letter, &at()).unwrap().octets, "an attempt is like the other");
        assert_eq!((post.to.as_str(), Some(post.from)), ("bob@c.example", at().reply(place, &to)));
        String::from_utf8(post.octets).unwrap()
    }

    fn has(mail: &str, line: &str) {
        let unfolded = mail.replace("\r\n ", " ");
        assert!(unfolded.lines().any(|it| it == line), "{line:?} is not in\n{mail}");
    }

    #[test]
    fn a_mail_says_who_it_is_from_and_where_it_belongs() {
        let mail = written(&direct(), None, "alice (a.example)", "Is the tea ready?", &[]);
        let reply = at().reply(&direct(), &person("bob@c.example").unwrap()).unwrap();
        let thread = at().thread_id(&direct());
        for line in [
            // In Base64: alice (a.example)
            "From: =?utf-8?b?YWxpY2UgKGEuZXhhbXBsZSk=?= <alice=a.example@mimi.c.example>",
            "To: bob@c.example",
            &format!("Reply-To: {reply}"),
            "Subject: Re: Conversation with alice (a.example)",
            "Date: Thu, 09 Oct 2025 08:53:20 +0000",
            "Message-ID: <k1@mimi.c.example>",
            &format!("References: <{thread}> <1@c.example>"),
            "In-Reply-To: <1@c.example>",
            "X-Mimi-Gateway: mimi.c.example",
            "Is the tea ready?",
        ] {
            has(&mail, line);
        }
        assert!(!mail.contains("List-"));
    }

    #[test]
    fn a_list_says_how_to_leave() {
        let tea = Place::List("tea".into());
        let mail = written(&tea, Some("Tea"), "alice (a.example)", "x", &[]);
        let leave = at().leave(&tea, &person("bob@c.example").unwrap()).unwrap();
        has(&mail, "Subject: Re: Tea");
        has(&mail, "List-Id: <tea.mimi.c.example>");
        has(&mail, &format!("List-Unsubscribe: <mailto:{leave}>"));
        assert!(mail.contains("To leave: mailto:tea+leave-"));
    }

    #[test]
    fn nobodys_name_is_a_field() {
        let name = "alice\r\nBcc: everybody@c.example\r\n\r\nx";
        let file = Enclosed { name: name.into(), media_type: "message/rfc822\r\nX: y".into(), octets: b"tea".to_vec() };
        let mail = written(&Place::List("tea".into()), Some(name), name, "x", &[file]);
        let (header, body) = mail.split_once("\r\n\r\n").unwrap();
        assert!(!header.lines().any(|line| line.starts_with("Bcc")), "{header}");
        assert!(body.contains("application/octet-stream") && body.contains("dGVh"), "{body}");
        assert!(!body.lines().any(|line| line.starts_with("X: y") || line.starts_with("Bcc")), "{body}");
    }
}
