//! What a room is called and looks like (P§7.6). An update is the whole of it anew.

use bytes::Bytes;

use crate::mimi::{
    tls::{Reader, Tls, WireError, Writer, tls_struct},
    uri::RoomUri,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomMetaData {
    /// Binds the MLS group to the room (D52), so it never changes.
    pub room_uri: RoomUri,
    pub room_name: String,
    pub room_descriptions: Vec<RichDescription>,
    /// An https URI; empty if there is none.
    pub room_avatar: String,
    pub room_subject: String,
    pub room_mood: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RichDescription {
    /// Empty is `text/plain;charset=utf-8`.
    pub media_type: String,
    pub language_tag: String,
    pub description_content: Bytes,
}
tls_struct!(RichDescription { media_type, language_tag, description_content });

impl RoomMetaData {
    pub fn named(room_uri: RoomUri, room_name: impl Into<String>) -> Self {
        Self {
            room_uri,
            room_name: room_name.into(),
            room_descriptions: Vec::new(),
            room_avatar: String::new(),
            room_subject: String::new(),
            room_mood: String::new(),
        }
    }
}

impl Tls for RoomMetaData {
    fn write(&self, out: &mut Writer) {
        self.room_uri.write(out);
        self.room_name.write(out);
        self.room_descriptions.write(out);
        self.room_avatar.write(out);
        self.room_subject.write(out);
        self.room_mood.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let data = Self {
            room_uri: from.field("room_uri")?,
            room_name: from.field("room_name")?,
            room_descriptions: from.field("room_descriptions")?,
            room_avatar: from.field("room_avatar")?,
            room_subject: from.field("room_subject")?,
            room_mood: from.field("room_mood")?,
        };
        if [&data.room_name, &data.room_subject, &data.room_mood].iter().any(|it| it.contains('\0')) {
            return Err(WireError::Invalid("a UTF8String has no null"));
        }
        if !data.room_avatar.is_empty() && !data.room_avatar.starts_with("https://") {
            return Err(WireError::Invalid("a room_avatar is an https URI"));
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets, uri};

    fn clubhouse() -> RoomMetaData {
        let welcome = RichDescription {
            media_type: String::new(),
            language_tag: "en".into(),
            description_content: Bytes::from_static(b"Hi"),
        };
        RoomMetaData {
            room_descriptions: vec![welcome],
            room_avatar: "https://a.example/i".into(),
            room_subject: "tea".into(),
            room_mood: "calm".into(),
            ..RoomMetaData::named("mimi://a.example/r/clubhouse".parse().unwrap(), "Clubhouse")
        }
    }

    #[test]
    fn metadata_has_these_octets() {
        let parts = [
            uri("mimi://a.example/r/clubhouse"),
            "09 436c7562686f757365".into(),
            "07 00 02 656e 02 4869".into(),
            uri("https://a.example/i"),
            "03 746561".into(),
            "04 63616c6d".into(),
        ];
        hold(&clubhouse(), &octets(&parts.concat()));
    }

    #[test]
    fn a_null_or_an_avatar_from_elsewhere_is_refused() {
        let with_null = RoomMetaData { room_name: "a\0b".into(), ..clubhouse() };
        assert!(RoomMetaData::decode(&with_null.encode()).is_err());
        let with_http = RoomMetaData { room_avatar: "http://a.example/i".into(), ..clubhouse() };
        assert!(RoomMetaData::decode(&with_http.encode()).is_err());
    }
}
