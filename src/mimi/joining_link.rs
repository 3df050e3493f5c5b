//! A link by which somebody joins a room: the room's URI and a joining code, `mimi://a.example/r/tea#3f6c…` (D61).
//!
//! The draft has joining codes (P§5.6) and join links (R§6.2), and does not say what a link looks like. What stands
//! behind `#` in a URI is for who has it and for nobody on the way.

use std::{fmt, str::FromStr};

use super::uri::RoomUri;

/// Longer ones nobody makes.
const MAX_CODE: usize = 255;

#[derive(Clone, PartialEq, Eq)]
pub struct JoiningLink {
    pub room: RoomUri,
    code: String,
}

/// What was given is not such a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a join link is a room's URI, # and a code: mimi://a.example/r/tea#3f6c")]
pub struct NotALink;

impl JoiningLink {
    /// With a code that nobody can guess.
    pub fn random(room: &RoomUri) -> Self {
        Self { room: room.clone(), code: hex::encode(rand::random::<[u8; 16]>()) }
    }

    /// The octets of joiningCode.
    pub fn code(&self) -> &str {
        &self.code
    }
}

impl FromStr for JoiningLink {
    type Err = NotALink;

    fn from_str(link: &str) -> Result<Self, NotALink> {
        let (room, code) = link.split_once('#').ok_or(NotALink)?;
        let room = RoomUri::parse(room).map_err(|_| NotALink)?;
        let is_code = (1..=MAX_CODE).contains(&code.len()) && code.bytes().all(|octet| octet.is_ascii_graphic());
        is_code.then(|| Self { room, code: code.to_owned() }).ok_or(NotALink)
    }
}

impl fmt::Display for JoiningLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.room, self.code)
    }
}

/// A code is a secret.
impl fmt::Debug for JoiningLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoiningLink({}#…)", self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_a_room_and_a_code() {
        let link: JoiningLink = "mimi://a.example/r/tea#3f6c".parse().unwrap();
        assert_eq!((link.room.as_str(), link.code()), ("mimi://a.example/r/tea", "3f6c"));
        assert_eq!(link.to_string(), "mimi://a.example/r/tea#3f6c");
        assert_eq!(format!("{link:?}"), "JoiningLink(mimi://a.example/r/tea#…)");
        let random = JoiningLink::random(&link.room);
        assert_eq!((random.code().len(), random.to_string().parse()), (32, Ok(random.clone())));
        for bad in [
            "",
            "#",
            "mimi://a.example/r/tea",
            "mimi://a.example/r/tea#",
            "mimi://a.example/u/alice#3f6c",
            "mimi://a.example/r/tea#3f 6c",
            "mimi://a.example/r/tea#3f\u{e9}",
            &format!("mimi://a.example/r/tea#{}", "x".repeat(256)),
        ] {
            assert_eq!(bad.parse::<JoiningLink>(), Err(NotALink), "{bad}");
        }
    }
}
