//! What a mail means: pure. Who it is from and whether to believe that is [`reception`](crate::reception)'s question.

use std::{io::Cursor, sync::Arc};

use mail_parser::{HeaderValue, Message};
use mimi_adapter::{Event, File, NativeMessageId, Octets, Opened, Refusal, Source, Text, async_trait, markup::escape};
use sha2::{Digest, Sha256};

use crate::{
    id::{Addresses, hex},
    words::{self, Attachment, Kind},
};

/// Files of one mail that are carried.
const MOST_FILES: usize = 50;

/// What somebody has said in a mail.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub id: NativeMessageId,
    pub in_reply_to: Option<NativeMessageId>,
    pub text: Option<Text>,
    pub files: Vec<Attachment>,
}

/// Reads a mail; or why it can't be carried, as a sentence for its author. `title` is what its subject would be if it
/// said nothing new.
pub fn read(mail: &[u8], title: Option<&str>, at: &Addresses) -> Result<Said, String> {
    let header = words::header(mail).map_err(|problem| problem.to_string())?;
    let header = &header.ok_or("your mail has no header that can be read")?;
    let id = header.message_id().map(str::trim).filter(|id| !id.is_empty());
    let words = words::read(mail).map_err(|problem| problem.to_string())?;
    if words.is_sealed {
        return Err(
            "your mail is encrypted or enclosed in a signature (OpenPGP, S/MIME), and can't be read here".into()
        );
    }
    let is_said = |file: &Attachment| !matches!(file.kind, Kind::Signature | Kind::LeftOut);
    let files: Vec<_> = words.attachments.into_iter().filter(is_said).collect();
    if files.len() > MOST_FILES {
        return Err(format!("your mail has {} files, and {MOST_FILES} are the most that are carried", files.len()));
    }
    let answers = ids(header.in_reply_to()).chain(ids(header.references())).next().is_some();
    let subject =
        header.subject().map(str::trim).filter(|subject| !subject.is_empty() && !answers && Some(*subject) != title);
    let text = match (subject, words.text) {
        (None, text) => text,
        (Some(subject), None) => Some(Text::Plain(subject.to_owned())),
        (Some(subject), Some(Text::Plain(text))) => Some(Text::Plain(format!("{subject}\n\n{text}"))),
        (Some(subject), Some(Text::Markdown(text))) => Some(Text::Markdown(format!("{}\n\n{text}", escape(subject)))),
    };
    if text.is_none() && files.is_empty() {
        return Err("there is nothing in your mail".into());
    }
    Ok(Said {
        // The same mail has the same octets when the MTA offers it again.
        id: NativeMessageId::new(
            id.map_or_else(|| format!("{}@no-message-id.invalid", hex(&Sha256::digest(mail))), str::to_owned),
        ),
        in_reply_to: in_reply_to(header, at),
        text,
        files,
    })
}

/// The message it answers (RFC 5322 §3.6.4): the nearest that is named. What only makes a thread was never sent.
fn in_reply_to(header: &Message<'_>, at: &Addresses) -> Option<NativeMessageId> {
    let is_thread = |id: &&str| at.is_ours(id) && id.starts_with("thread.");
    let is_id = |id: &&str| id.contains('@') && !id.contains(char::is_whitespace);
    let named = |value| ids(value).filter(is_id).last().filter(|id| !is_thread(id));
    named(header.in_reply_to()).or_else(|| named(header.references())).map(NativeMessageId::new)
}

fn ids<'v>(value: &'v HeaderValue<'_>) -> impl Iterator<Item = &'v str> {
    let list = value.as_text_list().unwrap_or_default();
    let one = value.as_text().filter(|_| list.is_empty());
    list.iter().map(|id| id.as_ref()).chain(one)
}

impl Said {
    /// What to hand to the core, in order, each with its own name. The first has the mail's.
    pub fn events(&self, mail: &Arc<[u8]>) -> Vec<(NativeMessageId, Event<NativeMessageId>)> {
        let text = self.text.clone().map(|text| Event::Message { text, in_reply_to: self.in_reply_to.clone() });
        let files = self.files.iter().enumerate().map(|(at, file)| {
            let first = at == 0 && self.text.is_none();
            let octets = Octets::new(Enclosed { mail: mail.clone(), file: file.clone() });
            let file = File {
                name: file.name.clone(),
                media_type: file.media_type.clone(),
                size: None,
                attachment: file.kind != Kind::Inline,
                octets,
            };
            Event::File { file, caption: None, in_reply_to: self.in_reply_to.clone().filter(|_| first) }
        });
        let name = |at: usize| match at {
            0 => self.id.clone(),
            _ => NativeMessageId::new(format!("{}#{at}", self.id)),
        };
        text.into_iter().chain(files).enumerate().map(|(at, event)| (name(at), event)).collect()
    }
}

/// A file inside a mail, which is in memory until the MTA has its answer.
struct Enclosed {
    mail: Arc<[u8]>,
    file: Attachment,
}

#[async_trait]
impl Source for Enclosed {
    async fn open(&self) -> Result<Opened, Refusal> {
        let octets = self.file.octets(&self.mail).into_owned();
        Ok(Opened { size: Some(octets.len() as u64), octets: Box::pin(Cursor::new(octets)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(mail: &str) -> Result<Said, String> {
        let mail = mail.replace('\n', "\r\n");
        let at = Addresses::parse("mimi.c.example", b"secret".to_vec()).unwrap();
        read(mail.as_bytes(), Some("Tea"), &at)
    }

    fn text(mail: &str) -> Option<Text> {
        said(mail).unwrap().text
    }

    #[test]
    fn a_subject_is_said_if_it_says_something() {
        let plain = |text: &str| Some(Text::Plain(text.into()));
        assert_eq!(text("Subject: Lost passport\n\nWhere do I go?\n"), plain("Lost passport\n\nWhere do I go?"));
        assert_eq!(text("Subject: Tea\n\nIs it ready?\n"), plain("Is it ready?"));
        assert_eq!(text("Subject: Re: Lost passport\nIn-Reply-To: <k1@mimi.c.example>\n\nRoom 3.\n"), plain("Room 3."));
        assert_eq!(text("Subject: Where are you?\n\n"), plain("Where are you?"));
        assert_eq!(said("Subject: \n\n").unwrap_err(), "there is nothing in your mail");
    }

    #[test]
    fn a_mail_answers_the_nearest_that_it_names() {
        let answers =
            |fields: &str| said(&format!("{fields}\n\nx\n")).unwrap().in_reply_to.map(|id| id.as_str().to_owned());
        let thread = "thread.0123@mimi.c.example";
        for (fields, expected) in [
            ("Message-ID: <1@c.example>".to_owned(), None),
            ("In-Reply-To: <k1@mimi.c.example>".to_owned(), Some("k1@mimi.c.example")),
            (format!("References: <{thread}> <k1@mimi.c.example>"), Some("k1@mimi.c.example")),
            (format!("References: <{thread}>"), None),
            (format!("In-Reply-To: <{thread}>\nReferences: <{thread}>"), None),
            ("In-Reply-To: your mail".to_owned(), None),
        ] {
            assert_eq!(answers(&fields).as_deref(), expected, "{fields}");
        }
    }

    #[test]
    fn a_mail_has_one_name_however_often_it_comes() {
        assert_eq!(said("Message-ID: <1@c.example>\n\nx\n").unwrap().id.as_str(), "1@c.example");
        let (one, other) = (said("From: a@b.example\n\nx\n").unwrap().id, said("From: a@b.example\n\ny\n").unwrap().id);
        assert_eq!(one, said("From: a@b.example\n\nx\n").unwrap().id);
        assert_ne!(one, other);
        assert!(one.as_str().ends_with("@no-message-id.invalid"));
    }

    #[tokio::test]
    async fn the_files_of_a_mail_follow_its_text() {
        let mail = "Message-ID: <1@c.example>\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nTwo pots.\n--b\n\
            Content-Type: image/png\nContent-Disposition: attachment; filename=pot.png\nContent-Transfer-Encoding: base64\n\nAAEC\n--b\n\
            Content-Type: image/png\nContent-Disposition: attachment; filename=kettle.png\n\nx\n--b--\n".replace('\n', "\r\n");
        let said = said(&mail.replace("\r\n", "\n")).unwrap();
        let events = said.events(&mail.as_bytes().into());
        let names: Vec<_> = events.iter().map(|(id, event)| (id.as_str(), event.kind())).collect();
        assert_eq!(names, [("1@c.example", "message"), ("1@c.example#1", "file"), ("1@c.example#2", "file")]);
        let Event::File { file, .. } = &events[1].1 else { panic!("it is a file") };
        assert_eq!((&*file.name, &*file.media_type), ("pot.png", "image/png"));
        assert_eq!(file.octets.open().await.unwrap().size, Some(3));
    }
}
