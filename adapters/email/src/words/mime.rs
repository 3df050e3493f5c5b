//! The parts of a mail (RFC 2045, 2046), as far as somebody's words and files are concerned.
//!
//! mail-parser reads header fields, encodings and charsets. The tree is ours, because its own goes down into forwarded
//! mails without an end, and gives what it found there back by recursion: three megabytes of forwards in forwards use
//! up the stack and end the process. For us a forwarded mail is one file.

use std::{borrow::Cow, ops::Range};

use mail_parser::{
    ContentType, GetHeader, Header, HeaderName, HeaderValue, MessageParser, decoders::base64::base64_decode,
    decoders::charsets::map::charset_decoder, decoders::quoted_printable::quoted_printable_decode,
    parsers::MessageStream,
};
use thiserror::Error;

/// Multiparts in multiparts, up to here.
const DEEPEST: usize = 100;
/// Parts in all of a mail, up to here.
const MOST: usize = 10_000;
/// Octets of a header, of a mail or a part. Some fields take longer by the square of their length to read.
const LONGEST_HEADER: usize = 256 * 1024;

/// Why a mail is not read. The sender's doing; trying again does not help. A person reads it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TooMuch {
    #[error("your mail has more than {DEEPEST} parts inside each other")]
    Nested,
    #[error("your mail has more than {MOST} parts")]
    Parts,
    #[error("your mail has a header of more than {} KiB", LONGEST_HEADER / 1024)]
    Header,
}

/// A mail, or a part of one.
pub(crate) struct Entity<'x> {
    mail: &'x [u8],
    headers: Vec<Header<'x>>,
    /// Where its body lies in the mail.
    body: Range<usize>,
    depth: usize,
}

/// How the octets of a part are written in the mail (RFC 2045 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    QuotedPrintable,
    Base64,
}

impl Encoding {
    /// What `written` stands for. What is not what it claims to be is taken as it is.
    pub fn decode(self, written: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Identity => None,
            Self::QuotedPrintable => quoted_printable_decode(written),
            Self::Base64 => base64_decode(written),
        }
        .map_or(Cow::Borrowed(written), Cow::Owned)
    }
}

impl<'x> Entity<'x> {
    pub fn of(mail: &'x [u8]) -> Result<Self, TooMuch> {
        Self::at(mail, 0..mail.len(), 0)
    }

    fn at(mail: &'x [u8], range: Range<usize>, depth: usize) -> Result<Self, TooMuch> {
        let written = &mail[range.clone()];
        if !has_short_header(written) {
            return Err(TooMuch::Header);
        }
        let mut stream = MessageStream::new(written);
        let mut headers = Vec::new();
        stream.parse_headers(&MessageParser::new().with_mime_headers(), &mut headers);
        let body = range.start + stream.offset().min(written.len())..range.end;
        Ok(Self { mail, headers, body, depth })
    }

    fn header(&self, name: HeaderName<'static>) -> Option<&HeaderValue<'x>> {
        self.headers.header_value(&name)
    }

    fn content_type(&self) -> Option<&ContentType<'x>> {
        self.header(HeaderName::ContentType)?.as_content_type()
    }

    fn disposition(&self) -> Option<&ContentType<'x>> {
        self.header(HeaderName::ContentDisposition)?.as_content_type()
    }

    /// In lower case. Without one that can be read it is `text/plain` (RFC 2045 §5.2).
    pub fn media_type(&self) -> String {
        match self.content_type() {
            Some(of) if of.subtype().is_some_and(|subtype| !subtype.is_empty()) && !of.ctype().is_empty() => {
                format!("{}/{}", of.ctype(), of.subtype().unwrap_or_default()).to_ascii_lowercase()
            }
            _ => "text/plain".to_owned(),
        }
    }

    /// A parameter of the media type.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.content_type()?.attribute(name)
    }

    pub fn is_attachment(&self) -> bool {
        self.disposition().is_some_and(ContentType::is_attachment)
    }

    pub fn file_name(&self) -> Option<&str> {
        let name = self.disposition().and_then(|of| of.attribute("filename")).or_else(|| self.parameter("name"))?;
        Some(name.trim()).filter(|name| !name.is_empty())
    }

    /// By which other parts refer to it, without angle brackets.
    pub fn content_id(&self) -> Option<&str> {
        self.header(HeaderName::ContentId)?.as_text()
    }

    pub fn encoding(&self) -> Encoding {
        match self.header(HeaderName::ContentTransferEncoding).and_then(HeaderValue::as_text).map(str::trim) {
            Some(of) if of.eq_ignore_ascii_case("base64") => Encoding::Base64,
            Some(of) if of.eq_ignore_ascii_case("quoted-printable") => Encoding::QuotedPrintable,
            _ => Encoding::Identity,
        }
    }

    /// Where its octets lie in the mail, encoded.
    pub fn range(&self) -> Range<usize> {
        self.body.clone()
    }

    pub fn octets(&self) -> Cow<'x, [u8]> {
        self.encoding().decode(&self.mail[self.body.clone()])
    }

    /// Its text. What is not of its charset is replaced; an unknown charset is read as UTF-8.
    pub fn text(&self) -> String {
        let octets = self.octets();
        // What says that it is ASCII and is not is more often UTF-8 than anything else.
        let declared = self.parameter("charset").filter(|of| !of.to_ascii_lowercase().contains("ascii"));
        let text = match declared.and_then(|charset| charset_decoder(charset.as_bytes())) {
            Some(decode) => decode(&octets),
            None => String::from_utf8_lossy(&octets).into_owned(),
        };
        text.replace("\r\n", "\n")
    }

    /// Its parts, or `None` if it has none. The number of parts so far is in `parts`.
    pub fn parts(&self, parts: &mut usize) -> Result<Option<Vec<Self>>, TooMuch> {
        if self.content_type().is_none_or(|of| !of.ctype().eq_ignore_ascii_case("multipart")) {
            return Ok(None);
        }
        let Some(boundary) = self.parameter("boundary").filter(|boundary| !boundary.is_empty()) else {
            return Ok(None);
        };
        let ranges = split(&self.mail[self.body.clone()], boundary.trim_end().as_bytes());
        *parts += ranges.len();
        match ranges {
            ranges if ranges.is_empty() => Ok(None),
            _ if *parts > MOST => Err(TooMuch::Parts),
            _ if self.depth >= DEEPEST => Err(TooMuch::Nested),
            ranges => {
                let from = self.body.start;
                let part =
                    |range: Range<usize>| Self::at(self.mail, from + range.start..from + range.end, self.depth + 1);
                ranges.into_iter().map(part).collect::<Result<_, _>>().map(Some)
            }
        }
    }
}

/// Whether an empty line comes soon enough, or the end.
pub fn has_short_header(written: &[u8]) -> bool {
    let Some(begin) = written.get(..LONGEST_HEADER) else { return true };
    begin.split_inclusive(|octet| *octet == b'\n').any(|line| line.ends_with(b"\n") && line.trim_ascii().is_empty())
}

/// Where the parts lie between the lines that are `--boundary` (RFC 2046 §5.1.1). One more than the most is enough.
fn split(body: &[u8], boundary: &[u8]) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut begun = None;
    let mut at = 0;
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        let delimiter = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary));
        if let Some(rest) = delimiter {
            let last = rest.starts_with(b"--");
            if last || rest.trim_ascii().is_empty() {
                if let Some(begun) = begun {
                    // The line break before a delimiter belongs to it.
                    let written = &body[begun..at];
                    let written = written.strip_suffix(b"\n").unwrap_or(written);
                    let written = written.strip_suffix(b"\r").unwrap_or(written);
                    parts.push(begun..begun + written.len());
                }
                begun = (!last).then_some(at + line.len());
                if last || parts.len() > MOST {
                    break;
                }
            }
        }
        at += line.len();
    }
    // Cut off on the way: the last part is what came of it.
    parts.extend(begun.filter(|begun| *begun < body.len()).map(|begun| begun..body.len()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(mail: &str) -> Vec<(String, String)> {
        let parts = Entity::of(mail.as_bytes()).unwrap().parts(&mut 0).unwrap().unwrap_or_default();
        parts.iter().map(|part| (part.media_type(), part.text())).collect()
    }

    #[test]
    fn parts_lie_between_their_delimiters() {
        let mail = "Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\npreamble\r\n--b\r\n\r\none\r\n--b \r\n\
                    Content-Type: Text/HTML\r\n\r\n--bc\r\ntwo\r\n\r\n--b--\r\nepilogue\r\n--b\r\n\r\nthree";
        let expected = [("text/plain", "one"), ("text/html", "--bc\ntwo\n")];
        assert_eq!(parts(mail), expected.map(|(of, text)| (of.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_mail_that_was_cut_off_has_what_came_of_it() {
        let mail = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\nContent-Type: text/plain\n\ntw";
        assert_eq!(parts(mail)[1].1, "tw");
    }

    #[test]
    fn text_is_read_in_its_charset_and_what_is_broken_is_replaced() {
        for (headers, body, text) in [
            ("Content-Type: text/plain; charset=iso-8859-1", b"caf\xe9".as_slice(), "café"),
            ("Content-Type: text/plain; charset=windows-1252", b"\x80 5", "€ 5"),
            ("Content-Type: text/plain; charset=koi8-r", b"\xde\xc1\xca", "чай"),
            ("Content-Type: text/plain; charset=gb2312", b"\xb2\xe8", "茶"),
            ("Content-Type: text/plain; charset=iso-2022-jp", b"\x1b$BCc\x1b(B", "茶"),
            ("Content-Type: text/plain; charset=us-ascii", "thé".as_bytes(), "thé"),
            ("Content-Type: text/plain; charset=nonsense-7", "thé".as_bytes(), "thé"),
            ("Content-Type: text/plain; charset=utf-8", b"caf\xe9!", "caf\u{fffd}!"),
            ("Content-Transfer-Encoding: quoted-printable", b"th=C3=A9 =\r\nvert", "thé vert"),
            ("Content-Transfer-Encoding: base64", b"dGjD\r\nqQ==", "thé"),
            ("Content-Transfer-Encoding: base64", b"not base64!", "not base64!"),
            ("Content-Type: nonsense", b"tea", "tea"),
        ] {
            let mail = [headers.as_bytes(), b"\r\n\r\n", body].concat();
            assert_eq!(Entity::of(&mail).unwrap().text(), text, "{headers}");
        }
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let nested = |depth: usize| {
            let open = |n: usize| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n");
            (0..depth).map(open).collect::<String>() + "\ntea\n"
        };
        let deepest = |mail: &str| {
            let mut parts = 0;
            let mut entity = Entity::of(mail.as_bytes())?;
            while let Some(inside) = entity.parts(&mut parts)? {
                entity = inside.into_iter().next().unwrap();
            }
            Ok(entity.text())
        };
        assert_eq!(deepest(&nested(100)), Ok("tea\n".to_owned()));
        assert_eq!(deepest(&nested(101)), Err(TooMuch::Nested));

        let many = |parts: usize| {
            format!("Content-Type: multipart/mixed; boundary=b\n\n{}--b--\n", "--b\n\nx\n".repeat(parts))
        };
        assert_eq!(
            Entity::of(many(10_000).as_bytes()).unwrap().parts(&mut 0).map(|parts| parts.unwrap().len()),
            Ok(10_000)
        );
        assert!(matches!(Entity::of(many(10_001).as_bytes()).unwrap().parts(&mut 0), Err(TooMuch::Parts)));
    }

    #[test]
    fn a_header_is_bounded_in_a_mail_and_in_a_part() {
        let header = |octets: usize| format!("Subject: {}\n\ntea", "x".repeat(octets - 10));
        assert!(Entity::of(header(256 * 1024 - 1).as_bytes()).is_ok());
        assert_eq!(Entity::of(header(256 * 1024 + 1).as_bytes()).err(), Some(TooMuch::Header));
        let part = format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n{}", header(300 * 1024));
        assert_eq!(Entity::of(part.as_bytes()).unwrap().parts(&mut 0).err(), Some(TooMuch::Header));
        let body = format!("\n{}", "x".repeat(300 * 1024));
        assert_eq!(Entity::of(body.as_bytes()).unwrap().text().len(), 300 * 1024);
    }
}
