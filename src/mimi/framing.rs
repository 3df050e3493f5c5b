//! What is around content inside an MLS message: its media type (X§6.2).
//!
//! A group that lists content_media_types wraps all application data in [`ApplicationFraming`]; without
//! that list the data is the content itself (C-35).

use bytes::Bytes;

use crate::mimi::tls::tls_struct;

/// The media type of a content container, C§7.
pub const MIMI_CONTENT: &str = "application/mimi-content";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    /// Empty in an ApplicationFraming: the first of the group's content_media_types.
    pub media_type: String,
    pub parameters: Vec<Parameter>,
}
tls_struct!(MediaType { media_type = "type", parameters });

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub value: String,
}
tls_struct!(Parameter { name = "parameter_name", value = "parameter_value" });

impl MediaType {
    pub fn new(media_type: &str) -> Self {
        Self { media_type: media_type.into(), parameters: Vec::new() }
    }
}

/// The `content_media_types` component: what a client understands, or what a group requires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaTypeList {
    pub media_type_list: Vec<MediaType>,
}
tls_struct!(MediaTypeList { media_type_list });

impl MediaTypeList {
    /// What our clients understand and our groups require: the one type every member has to (C§7.1).
    pub fn ours() -> Self {
        Self { media_type_list: vec![MediaType::new(MIMI_CONTENT)] }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationFraming {
    pub media_type: MediaType,
    pub inner_application_content: Bytes,
}
tls_struct!(ApplicationFraming { media_type, inner_application_content });

impl ApplicationFraming {
    pub fn mimi_content(content: Vec<u8>) -> Self {
        Self { media_type: MediaType::new(MIMI_CONTENT), inner_application_content: content.into() }
    }

    /// What it is, in a group with these content_media_types.
    pub fn media_type<'a>(&'a self, group: &'a MediaTypeList) -> &'a MediaType {
        match group.media_type_list.first() {
            Some(first) if self.media_type.media_type.is_empty() => first,
            _ => &self.media_type,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::{
        tls::Tls,
        wire::samples::{hold, octets},
    };

    // The prefix is reference vector §5.4, computed independently.
    #[test]
    fn content_in_its_frame_has_these_octets() {
        let framed = ApplicationFraming::mimi_content(vec![0xaa; 193]);
        let expected = format!("18 {} 00 40c1 {}", hex::encode("application/mimi-content"), "aa".repeat(193));
        hold(&framed, &octets(&expected));
        assert_eq!(framed.encode().len(), 221);
    }

    #[test]
    fn an_empty_type_is_the_first_of_the_group() {
        let group = MediaTypeList { media_type_list: vec![MediaType::new(MIMI_CONTENT), MediaType::new("text/plain")] };
        let framed = ApplicationFraming { media_type: MediaType::new(""), inner_application_content: Bytes::new() };
        assert_eq!(framed.media_type(&group).media_type, MIMI_CONTENT);
        let named = ApplicationFraming { media_type: MediaType::new("text/plain"), ..framed };
        assert_eq!(named.media_type(&group).media_type, "text/plain");
    }

    #[test]
    fn a_media_type_has_parameters() {
        let parameter = Parameter { name: "charset".into(), value: "utf-8".into() };
        let list = MediaTypeList {
            media_type_list: vec![MediaType { media_type: "text/plain".into(), parameters: vec![parameter] }],
        };
        hold(&list, &octets("1a 0a 746578742f706c61696e 0e 07 63686172736574 05 7574662d38"));
    }
}
