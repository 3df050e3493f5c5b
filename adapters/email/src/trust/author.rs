//! Who a mail says it is from (RFC 5322 §3.6.2): exactly one address, or nobody.
//!
//! DMARC and every proof are about the `From` field. Two of them, two addresses in it or an address that readers and
//! programs take apart differently are how somebody speaks as somebody else, so such mail is refused rather than
//! understood.

use mail_auth::common::to_a_label;
use mail_parser::{Addr, Address, HeaderName, Message};
use thiserror::Error;

/// Who a mail says it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// `local@domain`; the domain as in [`domain`](Self::domain), the local part as it was written.
    pub address: String,
    /// In lower case, in A-labels (IDNA).
    pub domain: String,
    /// What they call themselves, unless that would pass for somebody else's address.
    pub name: Option<String>,
}

/// Why a mail is from nobody. A person reads it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NobodyError {
    #[error("your mail does not say whom it is from: it has no From field with an address")]
    None,
    #[error("your mail says that it is from several people; it has to have one From field with one address")]
    Several,
    #[error("the address in the From field of your mail is not one that can be read without doubt")]
    Malformed,
}

/// Who the mail with this header says it is from.
pub fn author(header: &Message<'_>) -> Result<Author, NobodyError> {
    let mut fields = header.headers().iter().filter(|field| field.name == HeaderName::From);
    let field = fields.next().ok_or(NobodyError::None)?;
    if fields.next().is_some() {
        return Err(NobodyError::Several);
    }
    let address = match field.value.as_address().ok_or(NobodyError::None)? {
        Address::List(list) => match &list[..] {
            [] => return Err(NobodyError::None),
            [one] => one,
            _ => return Err(NobodyError::Several),
        },
        Address::Group(_) => return Err(NobodyError::Several),
    };
    let written = header.raw_message.get(field.offset_start as usize..field.offset_end as usize).unwrap_or_default();
    read(address, written)
}

fn read(one: &Addr<'_>, written: &[u8]) -> Result<Author, NobodyError> {
    let address = one.address().ok_or(NobodyError::None)?.trim();
    let (local, domain) = address.rsplit_once('@').ok_or(NobodyError::Malformed)?;
    let domain = to_a_label(domain.trim_end_matches('.')).to_ascii_lowercase();
    let is_local = |c: char| !c.is_control() && !c.is_whitespace() && !"()<>[]:;,\"\\@".contains(c);
    // A quoted local part is allowed, rare, and read differently by everybody.
    let is_address = !local.is_empty() && local.len() <= 64 && local.chars().all(is_local) && is_domain(&domain);
    // What was read is what stands there, and nothing else does.
    let written = std::str::from_utf8(written).map_err(|_| NobodyError::Malformed)?;
    let is_plain = written.chars().all(|c| !c.is_control() || matches!(c, '\r' | '\n' | '\t'));
    let bare = without_names(written);
    // Some programs write it twice, as the name too.
    let mut addresses = bare.split(|c: char| c.is_whitespace() || "<>,;".contains(c)).filter(|word| word.contains('@'));
    if !is_address || !is_plain || addresses.next() != Some(address) || addresses.any(|other| other != address) {
        return Err(NobodyError::Malformed);
    }
    let name = one.name().map(|name| name.chars().filter(|c| !is_hidden(*c)).collect::<String>());
    let name = name.map(|name| name.split_whitespace().collect::<Vec<_>>().join(" "));
    let name = name.filter(|name| !name.is_empty() && name.chars().count() <= 100 && !name.contains(['@', '＠', '﹫']));
    Ok(Author { address: format!("{local}@{domain}"), domain, name })
}

/// A host name of at least two labels; after IDNA, so ASCII.
fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.len() <= 253 && domain.contains('.') && domain.split('.').all(is_label)
}

/// The field without quoted strings and comments, where anything may stand.
fn without_names(written: &str) -> String {
    let (mut out, mut quoted, mut comments) = (String::new(), false, 0_usize);
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted || comments > 0 => {
                chars.next();
            }
            '"' if comments == 0 => quoted = !quoted,
            '(' if !quoted => comments += 1,
            ')' if comments > 0 => comments -= 1,
            _ if quoted || comments > 0 => {}
            c => out.push(c),
        }
    }
    out
}

/// Characters that are not seen, or that turn around what is.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;

    use super::*;

    fn from(fields: &str) -> Result<(String, Option<String>), NobodyError> {
        let mail = format!("{fields}\r\nSubject: Tea\r\n\r\n");
        let header = MessageParser::default().parse_headers(&mail).unwrap();
        author(&header).map(|author| (author.address, author.name))
    }

    #[test]
    fn one_address_is_somebody() {
        for (field, address, name) in [
            ("From: alice@a.example", "alice@a.example", None),
            ("From: Alice <Alice@A.Example>", "Alice@a.example", Some("Alice")),
            ("from: \"Liddell, Alice\" <alice@a.example>", "alice@a.example", Some("Liddell, Alice")),
            ("From: =?utf-8?q?Al=C3=AFce?= <alice@a.example>", "alice@a.example", Some("Alïce")),
            ("From: Alice\r\n <alice@a.example>", "alice@a.example", Some("Alice")),
            ("From: alice@bücher.example", "alice@xn--bcher-kva.example", None),
            ("From: älice@bücher.example", "älice@xn--bcher-kva.example", None),
            ("From: \"bob@b.example\" <alice@a.example>", "alice@a.example", None),
            ("From: =?utf-8?q?bob=40b=2Eexample?= <alice@a.example>", "alice@a.example", None),
            ("From: \"Al\u{202e}ice\" <alice@a.example>", "alice@a.example", Some("Alice")),
            ("From: alice+tea@a.example", "alice+tea@a.example", None),
            ("From: alice@a.example <alice@a.example>", "alice@a.example", None),
            ("From: alice@a.example (Alice)", "alice@a.example", Some("Alice")),
        ] {
            assert_eq!(from(field), Ok((address.to_owned(), name.map(str::to_owned))), "{field}");
        }
    }

    #[test]
    fn anything_else_is_nobody() {
        use NobodyError::*;
        for (fields, error) in [
            ("To: x@a.example", None),
            ("From: ", None),
            ("From: Alice", None),
            ("From: alice@a.example, bob@b.example", Several),
            ("From: alice@a.example\r\nFrom: bob@b.example", Several),
            ("From: us: alice@a.example;", Several),
            ("From: undisclosed:;", Several),
            ("From: alice@a", Malformed),
            ("From: bob@b.example <alice@a.example>", Malformed),
            ("From: malice@a.example <alice@a.example>", Malformed),
            ("From: <alice@a.example> <bob@b.example>", Malformed),
            ("From: alice@a.example\0@b.example", Malformed),
            ("From: \"a b\"@a.example", Malformed),
            ("From: alice@-a.example", Malformed),
            ("From: <@b.example:alice@a.example>", Malformed),
        ] {
            let read = from(fields);
            assert!(read.is_err(), "{fields}: {read:?}");
            // Which of them it is matters less than that it is one.
            if read != Err(Malformed) {
                assert_eq!(read, Err(error), "{fields}");
            }
        }
    }
}
