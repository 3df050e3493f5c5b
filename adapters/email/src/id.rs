//! Names on both sides: people, conversations, messages, and the addresses at which the gateway is written to.
//!
//! | the core's name | here |
//! |---|---|
//! | `NativeUserId` | a mail address in lower case ([`person`]) |
//! | `ConversationId` | `bob@c.example alice=a.example` one-to-one, `tea` a list of the configuration ([`Place`]) |
//! | `NativeMessageId` | the Message-ID without angle brackets; ours is `<key>@` and where the gateway has its addresses |
//! | `UserUri` of a ghost | `mimi://a.example/u/alice` is `alice=a.example@mimi.c.example` ([`ghost_local`]) |
//!
//! Everything the gateway is written to is below one address of the configuration: a domain of its own, at which every
//! local part is ours, or one mailbox with a plus and the rest (RFC 5233). An address may end in `+` and a token. It is
//! told to nobody but the person whose reply it is for, and proves that whoever writes there had a mail from this
//! conversation ([`Addresses::proves`]).

use std::fmt::Write;

use hmac::{Hmac, Mac};
use mimi_adapter::{ConversationId, DeliveryKey, NativeMessageId, NativeUserId, UserUri};
use sha2::{Digest, Sha256};

/// The longest local part (RFC 5321 §4.5.3.1.1).
const MAX_LOCAL: usize = 64;
/// Hexadecimal digits of a token: 64 bits, and each guess is a mail.
const TOKEN: usize = 16;

/// A person's address in its one spelling. `None` if it is not an address, or one with a quoted local part.
///
/// Local parts are compared without regard to case, as every mail system that people use does it.
pub fn person(address: &str) -> Option<NativeUserId> {
    let address = address.to_lowercase();
    let (local, domain) = address.rsplit_once('@')?;
    let fits = |c: char| !c.is_control() && !c.is_whitespace() && !"()<>[]:;,\"\\@".contains(c);
    let valid = !local.is_empty()
        && local.len() <= MAX_LOCAL
        && local.chars().all(fits)
        && domain.contains('.')
        && address.parse::<lettre::Address>().is_ok();
    valid.then(|| NativeUserId::new(address))
}

/// What stands before the `@` in the address of a MIMI user: name and provider, with everything but lower-case letters,
/// digits, `.`, `-`, `_` and `~` as `=` and two digits, and capital letters too, since mail systems fold them.
pub fn ghost_local(user: &UserUri) -> Option<String> {
    let (provider, name) = user.as_str().strip_prefix("mimi://")?.split_once("/u/")?;
    if provider != user.domain().as_str() {
        return None; // Its capital letters would be lost.
    }
    let mut local = String::new();
    for c in name.chars() {
        match c {
            // An atom is not empty (RFC 5322 §3.2.3).
            '.' if local.is_empty() || local.ends_with('.') => local.push_str("=2e"),
            'a'..='z' | '0'..='9' | '.' | '-' | '_' | '~' => local.push(c),
            _ => write!(local, "={:02x}", c as u32).expect("writing to a string never fails"),
        }
    }
    write!(local, "={provider}").expect("writing to a string never fails");
    Some(local)
}

/// The other way round. `None` for what [`ghost_local`] does not make.
pub fn ghost_user(local: &str) -> Option<UserUri> {
    let (mut rest, provider) = local.rsplit_once('=')?;
    let mut name = String::new();
    while let Some((before, after)) = rest.split_once('=') {
        name.push_str(before);
        name.push(char::from(u8::from_str_radix(after.get(..2)?, 16).ok()?));
        rest = &after[2..];
    }
    name.push_str(rest);
    let user = UserUri::parse(&format!("mimi://{provider}/u/{name}")).ok()?;
    (ghost_local(&user)? == local).then_some(user)
}

/// What a conversation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Direct {
        user: NativeUserId,
        ghost: UserUri,
    },
    /// A list, by its name in the configuration.
    List(String),
}

impl Place {
    /// `None` for what neither an admin could have meant nor we have made.
    pub fn of(conversation: &ConversationId) -> Option<Self> {
        match conversation.as_str().split_once(' ') {
            Some((user, ghost)) => {
                let place = Self::Direct { user: person(user)?, ghost: ghost_user(ghost)? };
                (place.conversation() == *conversation).then_some(place)
            }
            None => is_list_name(conversation.as_str()).then(|| Self::List(conversation.as_str().into())),
        }
    }

    pub fn conversation(&self) -> ConversationId {
        match self {
            Self::Direct { user, .. } => ConversationId::new(format!("{user} {}", self.local())),
            Self::List(name) => ConversationId::new(name),
        }
    }

    /// What stands before the `@` in its address.
    fn local(&self) -> String {
        match self {
            Self::Direct { ghost, .. } => ghost_local(ghost).unwrap_or_default(),
            Self::List(name) => name.clone(),
        }
    }
}

/// What the name of a list may be: never that of a ghost, which has a `=`.
pub fn is_list_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    (1..=40).contains(&name.len())
        && name.bytes().all(fits)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && name != CANARY
        && name != GATEWAY
}

/// Names that no list has: for mail to ourselves, and what the gateway itself writes from.
const CANARY: &str = "canary";
const GATEWAY: &str = "gateway";

/// Whom somebody has written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub whom: Whom,
    pub token: Option<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    Ghost(UserUri),
    List(String),
    /// We have written to ourselves, to see whether it arrives.
    Canary,
}

/// What stands behind the plus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Reply(String),
    Leave(String),
    /// The number of a canary, and its token.
    Canary(u64, String),
}

impl Whom {
    /// The conversation that `user` has with them.
    pub fn place(&self, user: &NativeUserId) -> Option<Place> {
        match self {
            Self::Ghost(ghost) => Some(Place::Direct { user: user.clone(), ghost: ghost.clone() }),
            Self::List(name) => Some(Place::List(name.clone())),
            Self::Canary => None,
        }
    }
}

/// Where the gateway is written to.
#[derive(Clone)]
pub struct Addresses {
    /// `Some` in `mimi@c.example`, where everything else stands behind a plus.
    mailbox: Option<String>,
    domain: String,
    secret: Vec<u8>,
}

impl Addresses {
    /// `mimi.c.example` or `mimi@c.example`.
    pub fn parse(address: &str, secret: Vec<u8>) -> Option<Self> {
        let address = address.to_ascii_lowercase();
        let (mailbox, domain) = match address.split_once('@') {
            Some((mailbox, domain)) => (Some(mailbox.to_owned()), domain),
            None => (None, address.as_str()),
        };
        let plain = |local: &String| is_list_name(local);
        let valid =
            mailbox.as_ref().is_none_or(plain) && domain.contains('.') && mimi_adapter::Domain::parse(domain).is_ok();
        valid.then(|| Self { mailbox, domain: domain.to_owned(), secret })
    }

    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The right-hand side of our Message-IDs. Nobody else makes any with it.
    pub fn id_domain(&self) -> String {
        match &self.mailbox {
            Some(mailbox) => format!("{mailbox}.{}", self.domain),
            None => self.domain.clone(),
        }
    }

    pub fn message_id(&self, key: &DeliveryKey) -> NativeMessageId {
        NativeMessageId::new(format!("{key}@{}", self.id_domain()))
    }

    /// The message that every mail of a conversation refers to, and that was never sent: it makes them one thread.
    pub fn thread_id(&self, place: &Place) -> String {
        let name = hex(&Sha256::digest(place.conversation().as_str()))[..32].to_owned();
        format!("thread.{name}@{}", self.id_domain())
    }

    pub fn is_ours(&self, message_id: &str) -> bool {
        message_id.strip_suffix(&self.id_domain()).is_some_and(|key| key.ends_with('@'))
    }

    /// Where a conversation is written to by whoever has not had a mail from it.
    pub fn open(&self, place: &Place) -> Option<String> {
        self.address(&place.local())
    }

    /// Where `user` answers. `None` if it would be too long.
    pub fn reply(&self, place: &Place, user: &NativeUserId) -> Option<String> {
        self.address(&format!(
            "{}+{}",
            place.local(),
            self.token("reply", place.conversation().as_str(), user.as_str())
        ))
    }

    /// Where `user` writes to leave.
    pub fn leave(&self, place: &Place, user: &NativeUserId) -> Option<String> {
        let token = self.token("leave", place.conversation().as_str(), user.as_str());
        self.address(&format!("{}+leave-{token}", place.local()))
    }

    /// What the gateway itself writes from. Nobody reads what is sent there.
    pub fn gateway(&self) -> String {
        self.address(GATEWAY).expect("that is not long")
    }

    pub fn canary(&self, number: u64) -> String {
        let token = self.token("canary", &number.to_string(), "");
        self.address(&format!("{CANARY}+{number}-{token}")).expect("that is not long")
    }

    /// Whether the token is the one that was told to `user` for this conversation.
    pub fn proves(&self, token: &Token, place: &Place, user: &NativeUserId) -> bool {
        let conversation = place.conversation();
        match token {
            Token::Reply(token) => self.token("reply", conversation.as_str(), user.as_str()) == *token,
            Token::Leave(token) => self.token("leave", conversation.as_str(), user.as_str()) == *token,
            Token::Canary(number, token) => self.token("canary", &number.to_string(), "") == *token,
        }
    }

    /// The number of a canary of ours.
    pub fn canary_number(&self, token: &Token) -> Option<u64> {
        match token {
            Token::Canary(number, token) if self.token("canary", &number.to_string(), "") == *token => Some(*number),
            _ => None,
        }
    }

    /// Who is meant. `None` for an address at which nobody is.
    pub fn recipient(&self, address: &str) -> Option<Recipient> {
        let address = address.to_lowercase();
        let (local, domain) = address.rsplit_once('@')?;
        if domain != self.domain {
            return None;
        }
        let local = match &self.mailbox {
            Some(mailbox) => local.strip_prefix(mailbox.as_str())?.strip_prefix('+')?,
            None => local,
        };
        let (name, token) = match local.split_once('+') {
            Some((name, token)) => (name, Some(token)),
            None => (local, None),
        };
        if name == CANARY {
            let (number, token) = token?.split_once('-')?;
            return Some(Recipient {
                whom: Whom::Canary,
                token: Some(Token::Canary(number.parse().ok()?, token.to_owned())),
            });
        }
        let whom = match ghost_user(name) {
            Some(user) => Whom::Ghost(user),
            None => Whom::List(Some(name).filter(|name| is_list_name(name))?.to_owned()),
        };
        let token = token.map(|token| match token.strip_prefix("leave-") {
            Some(token) => Token::Leave(token.to_owned()),
            None => Token::Reply(token.to_owned()),
        });
        Some(Recipient { whom, token })
    }

    fn address(&self, local: &str) -> Option<String> {
        let local = match &self.mailbox {
            Some(mailbox) => format!("{mailbox}+{local}"),
            None => local.to_owned(),
        };
        (local.len() <= MAX_LOCAL).then(|| format!("{local}@{}", self.domain))
    }

    fn token(&self, purpose: &str, of: &str, user: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        for part in [purpose, of, user] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        hex(&mac.finalize().into_bytes())[..TOKEN].to_owned()
    }
}

pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut hex, octet| {
        write!(hex, "{octet:02x}").expect("writing to a string never fails");
        hex
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(uri: &str) -> UserUri {
        UserUri::parse(uri).unwrap()
    }

    fn addresses(at: &str) -> Addresses {
        Addresses::parse(at, b"a secret".to_vec()).unwrap()
    }

    fn bob() -> NativeUserId {
        person("bob@c.example").unwrap()
    }

    #[test]
    fn a_mimi_user_has_an_address_and_back() {
        for (uri, local) in [
            ("mimi://a.example/u/alice", "alice=a.example"),
            ("mimi://a.example/u/Alice", "=41lice=a.example"),
            ("mimi://a.example/u/@alice:hs.a.example", "=40alice=3ahs.a.example=a.example"),
            ("mimi://b.example/u/bob@xmpp.b.example", "bob=40xmpp.b.example=b.example"),
            ("mimi://a.example/u/.al..ice.", "=2eal.=2eice.=a.example"),
            ("mimi://a.example/u/%C3%9C", "=25=433=259=43=a.example"),
        ] {
            assert_eq!(ghost_local(&user(uri)).as_deref(), Some(local));
            assert_eq!(ghost_user(local), Some(user(uri)), "{local}");
        }
        for nobody in [
            "alice",
            "=a.example",
            "alice=",
            "=61lice=a.example",
            "al=ice=a.example",
            "alice=A.example",
            "al=c3=bc=a_b",
        ] {
            assert_eq!(ghost_user(nobody), None, "{nobody}");
        }
    }

    #[test]
    fn a_person_has_one_spelling() {
        assert_eq!(person("Bob@C.example"), Some(bob()));
        assert_eq!(person("jörg@c.example").unwrap().as_str(), "jörg@c.example");
        for nobody in
            ["bob", "@c.example", "bob@localhost", "\"bob\"@c.example", "bob @c.example", "bob@c.example,x@c.example"]
        {
            assert_eq!(person(nobody), None, "{nobody}");
        }
    }

    #[test]
    fn a_conversation_is_a_list_or_two_people() {
        let direct = Place::Direct { user: bob(), ghost: user("mimi://a.example/u/alice") };
        for (conversation, place) in [
            ("tea", Some(Place::List("tea".into()))),
            ("bob@c.example alice=a.example", Some(direct)),
            ("Bob@c.example alice=a.example", None),
            ("alice=a.example", None),
            ("canary", None),
            ("", None),
            ("bob@c.example ", None),
        ] {
            assert_eq!(Place::of(&ConversationId::new(conversation)), place, "{conversation}");
        }
    }

    #[test]
    fn at_a_domain_every_address_is_ours_and_at_a_mailbox_what_is_behind_the_plus() {
        let place = Place::Direct { user: bob(), ghost: user("mimi://a.example/u/alice") };
        let domain = addresses("mimi.c.example");
        assert_eq!(domain.open(&place).unwrap(), "alice=a.example@mimi.c.example");
        assert_eq!(domain.message_id(&DeliveryKey::new("k1")).as_str(), "k1@mimi.c.example");
        let mailbox = addresses("mimi@c.example");
        assert_eq!(mailbox.open(&place).unwrap(), "mimi+alice=a.example@c.example");
        assert_eq!(mailbox.message_id(&DeliveryKey::new("k1")).as_str(), "k1@mimi.c.example");
        assert!(!mailbox.is_ours("k1@c.example") && mailbox.is_ours("k1@mimi.c.example"));
        for (at, nobody) in [
            (&domain, "alice@mimi.c.example@elsewhere.example"),
            (&domain, "alice=a.example@c.example"),
            (&domain, "Te a@mimi.c.example"),
            (&domain, "canary@mimi.c.example"),
            (&mailbox, "mimi@c.example"),
            (&mailbox, "tea@c.example"),
        ] {
            assert_eq!(at.recipient(nobody), None, "{nobody}");
        }
        assert_eq!(mailbox.recipient("MIMI+Tea@C.example").unwrap().whom, Whom::List("tea".into()));
        assert!(
            Addresses::parse("mimi", Vec::new()).is_none() && Addresses::parse("a@b@c.example", Vec::new()).is_none()
        );
    }

    #[test]
    fn a_reply_address_is_good_for_one_person_and_one_conversation() {
        for at in ["mimi.c.example", "mimi@c.example"] {
            let at = addresses(at);
            let place = Place::Direct { user: bob(), ghost: user("mimi://a.example/u/alice") };
            let recipient = at.recipient(&at.reply(&place, &bob()).unwrap()).unwrap();
            assert_eq!(recipient.whom.place(&bob()), Some(place.clone()));
            let token = recipient.token.unwrap();
            assert!(at.proves(&token, &place, &bob()));
            assert!(!at.proves(&token, &place, &person("ben@c.example").unwrap()));
            assert!(!at.proves(&token, &Place::List("tea".into()), &bob()));
            let other = Addresses::parse("mimi.c.example", b"another secret".to_vec()).unwrap();
            assert!(!other.proves(&token, &place, &bob()));
            // To have a reply address is not to have one for leaving.
            let tea = Place::List("tea".into());
            let leave = at.recipient(&at.leave(&tea, &bob()).unwrap()).unwrap().token.unwrap();
            let Token::Leave(leave) = leave else { panic!("it is for leaving") };
            assert!(
                at.proves(&Token::Leave(leave.clone()), &tea, &bob()) && !at.proves(&Token::Reply(leave), &tea, &bob())
            );
        }
    }

    #[test]
    fn a_canary_is_known_by_its_number() {
        let at = addresses("mimi.c.example");
        let token = at.recipient(&at.canary(7)).unwrap().token.unwrap();
        assert_eq!(at.canary_number(&token), Some(7));
        let guessed = at.recipient("canary+7-0123456789abcdef@mimi.c.example").unwrap().token.unwrap();
        assert_eq!(at.canary_number(&guessed), None);
    }

    #[test]
    fn who_has_too_long_a_name_has_no_reply_address() {
        let at = addresses("mimi.c.example");
        let place = |name: usize| Place::Direct {
            user: bob(),
            ghost: user(&format!("mimi://a.example/u/{}", "x".repeat(name))),
        };
        assert_eq!(at.reply(&place(37), &bob()).unwrap().find('@'), Some(64));
        assert_eq!(at.reply(&place(38), &bob()), None);
    }

    proptest! {
        #[test]
        fn every_mimi_user_comes_back(name in "[A-Za-z0-9._~!$&'()*+,;=:@%-]{1,40}", domain in "[a-c]{1,5}\\.[a-z]{2,5}") {
            let user = user(&format!("mimi://{domain}/u/{name}"));
            prop_assert_eq!(ghost_user(&ghost_local(&user).unwrap()), Some(user));
        }

        #[test]
        fn any_string_is_a_name_or_is_not(text in any::<String>()) {
            let at = addresses("mimi.c.example");
            let _ = at.recipient(&text);
            let _ = at.recipient(&format!("{text}@mimi.c.example"));
            if let Some(user) = ghost_user(&text) {
                prop_assert_eq!(ghost_local(&user), Some(text.clone()));
            }
            if let Some(place) = Place::of(&ConversationId::new(text.clone())) {
                prop_assert_eq!(place.conversation(), ConversationId::new(text));
            }
        }
    }
}
