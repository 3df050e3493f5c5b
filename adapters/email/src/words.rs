//! What a mail says: the words that its author newly wrote, and the files that came with them.
//!
//! A mail carries the whole conversation below it, a signature and where it was written; people in a chat
//! want the sentence. What is left out is not thrown away: it is in [`Words::trimmed`]. What is not certainly somebody
//! else's stays (`trim.rs`). Of the two forms of a mail the HTML is read, for it has its author's paragraphs and
//! says best what is quoted; the plain one where the HTML says nothing.

mod html;
mod lines;
pub(crate) mod mime;
mod phrases;
#[cfg(test)]
mod scenes;
mod trim;

use std::{borrow::Cow, collections::HashSet, ops::Range};

use mail_parser::{HeaderName, Message, MessageParser};
use mimi_adapter::{
    Text,
    markup::{Marks, Writer, escape, from_html, is_formatted, to_text},
};

use lines::{Format, Line};
use mime::Entity;
pub use mime::{Encoding, TooMuch};
use trim::{Context, Kept};

/// Octets of text that are read as words, in all of a mail. Longer ones are files.
const LONGEST: usize = 25 * 1024 * 1024;
/// Lines of a plain text that are read as words. A part with more is a file.
const MOST_LINES: usize = 200_000;
/// The same for the tags of an HTML one.
const MOST_TAGS: usize = 50_000;

/// What a mail says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// What its author newly wrote. `None` if that is nothing but files, or nothing.
    pub text: Option<Text>,
    /// What was left out: quotations, signatures.
    pub trimmed: Option<String>,
    pub attachments: Vec<Attachment>,
    /// Its words can't be read: they are encrypted, or enclosed in a signature (OpenPGP, S/MIME).
    pub is_sealed: bool,
}

/// A file in a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// As its sender called it, without a path; never empty.
    pub name: String,
    /// In lower case, without parameters.
    pub media_type: String,
    pub kind: Kind,
    content_id: Option<String>,
    range: Range<usize>,
    encoding: Encoding,
}

/// What a file is to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    /// A picture that stands among the words, or in a signature.
    Inline,
    /// A whole mail, passed on.
    Forwarded,
    /// To a meeting (RFC 6047).
    Invite,
    /// Proves something to mail programs, and says nothing to people.
    Signature,
    /// A picture of what was left out, such as the logo in a signature.
    LeftOut,
}

impl Attachment {
    /// Its octets, out of the mail it is of.
    pub fn octets<'m>(&self, mail: &'m [u8]) -> Cow<'m, [u8]> {
        self.encoding.decode(mail.get(self.range.clone()).unwrap_or_default())
    }
}

/// Reads a mail, headers and all.
pub fn read(mail: &[u8]) -> Result<Words, TooMuch> {
    let mut walk = Walk { left: LONGEST, ..Walk::default() };
    walk.entity(&Entity::of(mail)?)?;
    let context = header(mail)?.as_ref().map(context);
    Ok(walk.words(context.unwrap_or(Context { answers: false, forwards: false })))
}

/// Reads the header of a mail, and nothing else of it. `None` if it has none.
pub fn header(mail: &[u8]) -> Result<Option<Message<'_>>, TooMuch> {
    match mime::has_short_header(mail) {
        true => Ok(MessageParser::default().parse_headers(mail)),
        false => Err(TooMuch::Header),
    }
}

fn context(header: &Message<'_>) -> Context {
    Context {
        answers: header.header(HeaderName::InReplyTo).is_some() || header.header(HeaderName::References).is_some(),
        forwards: header.subject().is_some_and(phrases::is_forward_subject),
    }
}

/// On the way through the parts of a mail.
#[derive(Default)]
struct Walk {
    parts: usize,
    /// Octets of text that may still be read.
    left: usize,
    said: Vec<Said>,
    attachments: Vec<Attachment>,
    is_sealed: bool,
}

/// A part that people read.
struct Said {
    html: Option<String>,
    plain: Option<Vec<Line>>,
}

impl Walk {
    fn entity(&mut self, entity: &Entity<'_>) -> Result<(), TooMuch> {
        let media_type = entity.media_type();
        let Some(parts) = entity.parts(&mut self.parts)? else {
            let is_text = media_type.starts_with("multipart/")
                || matches!(&*media_type, "text/plain" | "text/html" | "text/markdown");
            match is_text && !entity.is_attachment() && entity.file_name().is_none() {
                true => self.say(entity, media_type == "text/html"),
                false => self.attach(entity, Kind::File),
            }
            return Ok(());
        };
        match &*media_type {
            "multipart/alternative" => self.alternative(&parts)?,
            "multipart/digest" => parts.iter().for_each(|mail| self.attach(mail, Kind::Forwarded)),
            "multipart/encrypted" => {
                self.is_sealed = true;
                parts.iter().for_each(|part| self.attach(part, Kind::File));
            }
            "multipart/signed" | "multipart/related" => {
                let kind = if media_type == "multipart/signed" { Kind::Signature } else { Kind::Inline };
                let is_text =
                    |part: &Entity<'_>| ["text/", "multipart/"].iter().any(|of| part.media_type().starts_with(of));
                let root = parts.iter().position(is_text).unwrap_or_default();
                for (at, part) in parts.iter().enumerate() {
                    if at == root { self.entity(part)? } else { self.attach(part, kind) }
                }
            }
            _ => parts.iter().try_for_each(|part| self.entity(part))?,
        }
        Ok(())
    }

    /// One thing in several forms: the richest that we can read (RFC 2046 §5.1.4).
    fn alternative(&mut self, parts: &[Entity<'_>]) -> Result<(), TooMuch> {
        let is = |part: &Entity<'_>, of: &str| part.media_type().starts_with(of) && !part.is_attachment();
        let plain = parts.iter().find(|part| is(part, "text/plain"));
        let rich = parts.iter().rev().find(|part| is(part, "text/html") || is(part, "multipart/"));
        let before = self.said.len();
        if let Some(rich) = rich {
            self.entity(rich)?;
        }
        if let Some(plain) = plain {
            match self.said.get_mut(before..) {
                Some([only]) if only.html.is_some() => only.plain = lines_of(plain),
                Some([]) => self.say(plain, false),
                _ => {}
            }
        }
        for part in parts.iter().filter(|part| is_invite(&part.media_type(), part.file_name())) {
            self.attach(part, Kind::Invite);
        }
        Ok(())
    }

    fn say(&mut self, entity: &Entity<'_>, is_html: bool) {
        let length = entity.range().len();
        let said = match is_html {
            _ if length > self.left => None,
            true => Some(entity.text())
                .filter(|html| html.matches('<').count() <= MOST_TAGS)
                .map(|html| Said { html: Some(html), plain: None }),
            false => lines_of(entity).map(|lines| Said { html: None, plain: Some(lines) }),
        };
        match said {
            Some(said) => {
                self.left -= length;
                self.said.push(said);
            }
            None => self.attach(entity, Kind::File),
        }
    }

    fn attach(&mut self, entity: &Entity<'_>, kind: Kind) {
        let media_type = entity.media_type();
        let name = entity.file_name().map(|name| name.rsplit(['/', '\\']).next().unwrap_or_default());
        let kind = match &*media_type {
            "message/rfc822" | "message/global" => Kind::Forwarded,
            "application/pgp-signature" | "application/pkcs7-signature" | "application/x-pkcs7-signature" => {
                Kind::Signature
            }
            "application/pkcs7-mime" | "application/x-pkcs7-mime" => {
                self.is_sealed = true;
                Kind::File
            }
            _ if is_invite(&media_type, name) => Kind::Invite,
            // Some programs make a part of `related` of what is no picture.
            _ if kind == Kind::Inline && (entity.content_id().is_none() || entity.is_attachment()) => Kind::File,
            _ => kind,
        };
        let name: String = name.unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        let name = match (name.trim(), kind) {
            ("", Kind::Forwarded) => "forwarded.eml".to_owned(),
            ("", Kind::Invite) => "invite.ics".to_owned(),
            ("", _) => media_type.replace('/', "."),
            (name, _) => name.to_owned(),
        };
        self.attachments.push(Attachment {
            name,
            media_type,
            kind,
            content_id: entity.content_id().map(str::to_owned),
            range: entity.range(),
            encoding: entity.encoding(),
        });
    }

    fn words(mut self, context: Context) -> Words {
        let mut parts: Vec<Part> = self.said.into_iter().map(|said| Part::of(said, context)).collect();
        let pictures = |kept| parts.iter().flat_map(|part| part.pictures(kept)).collect::<HashSet<_>>();
        let (shown, not_shown) = (pictures(true), pictures(false));
        let is_left_out = |id: &String| not_shown.contains(id.as_str()) && !shown.contains(id.as_str());
        let is_left_out =
            |file: &Attachment| file.kind == Kind::Inline && file.content_id.as_ref().is_some_and(is_left_out);
        let is_left_out: Vec<bool> = self.attachments.iter().map(is_left_out).collect();
        let says_nothing = |(file, is_left_out): (&Attachment, &bool)| file.kind == Kind::Signature || *is_left_out;
        if parts.iter().all(|part| part.kept == Kept::Nothing)
            && self.attachments.iter().zip(&is_left_out).all(says_nothing)
        {
            // A mail that is nothing but a quotation means it.
            parts.iter_mut().for_each(|part| part.kept = Kept::All);
        } else {
            let left_out = self.attachments.iter_mut().zip(is_left_out).filter(|(_, is_left_out)| *is_left_out);
            left_out.for_each(|(file, _)| file.kind = Kind::LeftOut);
        }
        let trimmed: Vec<String> = parts.iter().filter_map(Part::trimmed).collect();
        let texts = parts.into_iter().filter_map(Part::text).reduce(|said, more| match (said, more) {
            (Text::Plain(said), Text::Plain(more)) => Text::Plain(format!("{said}\n\n{more}")),
            (said, more) => Text::Markdown(format!("{}\n\n{}", as_markdown(said), as_markdown(more))),
        });
        Words {
            text: texts,
            trimmed: Some(trimmed.join("\n\n")).filter(|trimmed| !trimmed.is_empty()),
            attachments: self.attachments,
            is_sealed: self.is_sealed,
        }
    }
}

fn lines_of(entity: &Entity<'_>) -> Option<Vec<Line>> {
    let is = |name, value: &str| entity.parameter(name).is_some_and(|of| of.eq_ignore_ascii_case(value));
    let format = match is("format", "flowed") {
        true => Format::Flowed { delete_space: is("delsp", "yes") },
        false => Format::Fixed,
    };
    let text = entity.text();
    (text.len() <= LONGEST && text.matches('\n').count() <= MOST_LINES).then(|| lines::read(&text, format))
}

fn is_invite(media_type: &str, name: Option<&str>) -> bool {
    matches!(media_type, "text/calendar" | "application/ics")
        || name.is_some_and(|name| name.to_ascii_lowercase().ends_with(".ics"))
}

fn as_markdown(text: Text) -> String {
    match text {
        Text::Plain(text) => escape(&text),
        Text::Markdown(text) => text,
    }
}

/// A part that people read, and what of it is new.
struct Part {
    lines: Vec<Line>,
    is_html: bool,
    /// The other form, if the HTML can't be said in Markdown.
    plain: Option<(Vec<Line>, Kept)>,
    kept: Kept,
}

impl Part {
    fn of(said: Said, context: Context) -> Self {
        let plain = said.plain.map(|lines| {
            let kept = trim::kept(&lines, context);
            (lines, kept)
        });
        let html = said.html.map(|html| html::read(&html)).filter(|lines| lines.iter().any(|line| !line.is_blank()));
        let html = html.map(|lines| {
            let kept = trim::kept(&lines, context);
            (lines, kept)
        });
        match (html, plain) {
            // Words that somebody wrote into their signature are new in the plain form.
            (Some((_, Kept::Nothing)) | None, Some((lines, kept))) if kept != Kept::Nothing => {
                Self { lines, is_html: false, plain: None, kept }
            }
            (Some((lines, kept)), plain) => Self { lines, is_html: true, plain, kept },
            (None, plain) => {
                let (lines, kept) = plain.unwrap_or((Vec::new(), Kept::Nothing));
                Self { lines, is_html: false, plain: None, kept }
            }
        }
    }

    fn trimmed(&self) -> Option<String> {
        let left: Vec<String> = self
            .lines
            .iter()
            .enumerate()
            .filter(|(at, _)| !is_kept(&self.kept, *at))
            .map(|(_, line)| format!("{}{}", "> ".repeat(line.depth), line.text.trim_end()))
            .collect();
        Some(left.join("\n").trim().to_owned()).filter(|left| !left.is_empty())
    }

    /// The pictures in the lines that are kept, or in those that are not.
    fn pictures(&self, kept: bool) -> impl Iterator<Item = &str> {
        let lines = self.lines.iter().enumerate().filter(move |(at, _)| is_kept(&self.kept, *at) == kept);
        lines.flat_map(|(_, line)| line.pictures.iter().map(String::as_str))
    }

    /// The HTML of the lines that are kept. Of the others the tags that the kept ones lie between.
    fn html(&self) -> String {
        let mut html = String::new();
        let mut around: Vec<&str> = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            if is_kept(&self.kept, at) {
                around.drain(..).for_each(|tag| html.push_str(tag));
                html.push_str(&line.html);
                continue;
            }
            for tag in line.tags.split_inclusive('>') {
                let name = |tag: &str| tag.trim_matches(['<', '>']).split(' ').next().unwrap_or_default().to_owned();
                let closes = |open: &&&str| tag.strip_prefix("</").is_some_and(|closed| name(closed) == name(open));
                // What is opened and closed without anything kept in it would be an empty block.
                if around.last().filter(closes).is_some() {
                    around.pop();
                } else {
                    around.push(tag);
                }
            }
        }
        around.into_iter().for_each(|tag| html.push_str(tag));
        html
    }

    fn text(self) -> Option<Text> {
        if self.kept == Kept::Nothing {
            return None;
        }
        if !self.is_html {
            return from_lines(&self.lines, &self.kept);
        }
        let html = self.html();
        match (from_html(&html, &|target| Some(target.to_owned())), &self.plain) {
            (Some(markdown), _) if is_formatted(&markdown) => Some(Text::Markdown(markdown)),
            (Some(markdown), _) => Some(Text::Plain(to_text(&markdown, &Marks::NONE))),
            (None, Some((lines, kept))) if *kept != Kept::Nothing => from_lines(lines, kept),
            (None, _) => from_lines(&self.lines, &self.kept),
        }
    }
}

fn is_kept(kept: &Kept, at: usize) -> bool {
    match kept {
        Kept::All => true,
        Kept::Some(kept) => kept.get(at).copied().unwrap_or_default(),
        Kept::Nothing => false,
    }
}

/// The lines that are kept, as they are; or with their quotations as such.
fn from_lines(lines: &[Line], kept: &Kept) -> Option<Text> {
    let lines: Vec<&Line> =
        lines.iter().enumerate().filter(|(at, _)| is_kept(kept, *at)).map(|(_, line)| line).collect();
    if lines.iter().all(|line| line.depth == 0) {
        let text = lines.iter().map(|line| line.text.trim_end()).collect::<Vec<_>>().join("\n");
        let text = text.trim_start_matches('\n').trim_end();
        return (!text.trim().is_empty()).then(|| Text::Plain(text.to_owned()));
    }
    let mut writer = Writer::default();
    let mut depth = 0;
    let mut goes_on = false;
    for line in lines {
        while depth < line.depth {
            writer.open_quote();
            depth += 1;
            goes_on = false;
        }
        while depth > line.depth {
            writer.close_quote();
            depth -= 1;
            goes_on = false;
        }
        match (line.is_blank(), goes_on) {
            (true, _) => writer.paragraph(),
            (false, true) => writer.line_break(),
            (false, false) => {}
        }
        goes_on = !line.is_blank();
        writer.text(line.text.trim_end());
    }
    Some(Text::Markdown(writer.finish())).filter(|text| !text.as_str().trim().is_empty())
}
