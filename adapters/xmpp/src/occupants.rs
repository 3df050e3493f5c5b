//! Who is in a room, as the gateway's own occupant sees it. Pure: presence in, joins and leaves out.
//!
//! A person is who the room says they are: the real account where the room shows it (non-anonymous, or we
//! are a moderator), else the nickname, which is a claim that anybody else can make a minute later.

use std::collections::{BTreeMap, BTreeSet};

use mimi_adapter::{NativeUserId, SenderProof};
use minidom::Element;
use xmpp_parsers::jid::{BareJid, Jid};

use crate::{
    from_native,
    memory::Bounded,
    stanza::{ElementExt, ns},
};

/// Occupants whose archived messages can still be told to be theirs after they have left.
const REMEMBERED: usize = 5_000;

pub struct Occupants {
    component: BareJid,
    /// By nickname, ours among them.
    here: BTreeMap<String, Person>,
    /// Whom the core believes to be here. Survives a reconnection.
    reported: BTreeMap<NativeUserId, SenderProof>,
    /// XEP-0421: the room's own lasting names for occupants, and to whom they belong.
    by_occupant_id: Bounded<String, Person>,
    by_nick: Bounded<String, Person>,
    /// The nicknames of those who may change the room itself.
    moderators: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub user: NativeUserId,
    pub proof: SenderProof,
}

impl Person {
    /// Whether this may be the ghost: unless the room says that it is somebody else.
    pub fn may_be(&self, ghost: &BareJid) -> bool {
        self.proof == SenderProof::Claimed || self.user.as_str() == ghost.as_str()
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    Joined(Person),
    Left(Person),
}

impl Occupants {
    pub fn new(component: BareJid) -> Self {
        Self {
            component,
            here: BTreeMap::new(),
            reported: BTreeMap::new(),
            by_occupant_id: Bounded::new(REMEMBERED),
            by_nick: Bounded::new(REMEMBERED),
            moderators: BTreeSet::new(),
        }
    }

    /// The connection was lost, or we are out: nobody is seen any more.
    pub fn lose_sight(&mut self) {
        self.here.clear();
        self.moderators.clear();
    }

    /// We are in and have seen everybody: who is here. Who was here before and is not now may only be away.
    pub fn settle(&mut self, ours: impl Fn(&str) -> bool) -> Vec<Change> {
        let people: Vec<Person> = self.natives(ours).cloned().collect();
        self.reported.extend(people.iter().map(|person| (person.user.clone(), person.proof)));
        people.into_iter().map(Change::Joined).collect()
    }

    /// Takes note of presence, and says whom that adds or removes. `ours` tells the gateway's own nicknames.
    pub fn see(&mut self, presence: &Element, ours: impl Fn(&str) -> bool) -> Vec<Change> {
        let Some(from) = presence.jid("from") else { return Vec::new() };
        let Some(nick) = from.resource().map(|nick| nick.as_str().to_owned()) else { return Vec::new() };
        match presence.attr("type") {
            None => {
                let person = from_native::real_jid(presence).as_ref().map_or_else(|| claimed(&from), verified);
                match moderates(presence) {
                    true => self.moderators.insert(nick.clone()),
                    false => self.moderators.remove(&nick),
                };
                let before = self.here.insert(nick.clone(), person.clone());
                self.by_nick.insert(nick.clone(), person.clone());
                if let Some(id) = occupant_id(presence) {
                    self.by_occupant_id.insert(id.into(), person.clone());
                }
                // Somebody whose real account is shown only now was reported under the nickname.
                let before = before.filter(|before| before.user != person.user);
                let left = before.and_then(|before| self.disappeared(before, &ours));
                left.into_iter().chain(self.appeared(&nick, &ours)).collect()
            }
            Some("unavailable") => {
                self.moderators.remove(&nick);
                let Some(person) = self.here.remove(&nick) else { return Vec::new() };
                // A new nickname (303) is followed by presence under it; only who is nothing but a nickname is
                // somebody else then.
                let renamed = person.proof == SenderProof::Claimed && status(presence, "303");
                if renamed || removed(presence) {
                    return self.disappeared(person, ours).into_iter().collect();
                }
                Vec::new()
            }
            Some(_) => Vec::new(),
        }
    }

    /// The occupant with this nickname turns out not to be one of ours, or is new.
    pub fn appeared(&mut self, nick: &str, ours: impl Fn(&str) -> bool) -> Option<Change> {
        let person = self.here.get(nick).filter(|person| !ours(nick) && !self.is_ghost(person))?.clone();
        let new = self.reported.insert(person.user.clone(), person.proof).is_none();
        new.then_some(Change::Joined(person))
    }

    /// A nickname of this person is gone; perhaps it was the last one.
    fn disappeared(&mut self, person: Person, ours: impl Fn(&str) -> bool) -> Option<Change> {
        let still_here = self.natives(ours).any(|other| other.user == person.user);
        let left = !still_here && self.reported.remove(&person.user).is_some();
        left.then_some(Change::Left(person))
    }

    pub fn moderates(&self, nick: &str) -> bool {
        self.moderators.contains(nick)
    }

    /// Who has just written.
    pub fn writer(&self, from: &Jid) -> Person {
        let known = from.resource().and_then(|nick| self.here.get(nick.as_str()));
        known.cloned().unwrap_or_else(|| claimed(from))
    }

    /// Who has written what is in the archive. The room's own marks are proof; a nickname is the word of
    /// whoever had it last.
    pub fn writer_of_archived(&self, from: &Jid, message: &Element, room: Marks) -> Person {
        let by_mark =
            occupant_id(message).filter(|_| room.occupant_ids).and_then(|id| self.by_occupant_id.get(&id.to_owned()));
        if let Some(person) = by_mark {
            return person.clone();
        }
        if let Some(real) = from_native::real_jid(message).filter(|_| room.non_anonymous) {
            return verified(&real);
        }
        let by_nick = from.resource().and_then(|nick| self.by_nick.get(&nick.as_str().to_owned()));
        by_nick.map_or_else(|| claimed(from), |person| Person { proof: SenderProof::Claimed, ..person.clone() })
    }

    /// Where to write to somebody privately.
    pub fn nick_of(&self, user: &NativeUserId) -> Option<&str> {
        self.here.iter().find(|(_, person)| person.user == *user).map(|(nick, _)| nick.as_str())
    }

    fn natives(&self, ours: impl Fn(&str) -> bool) -> impl Iterator<Item = &Person> {
        let native = move |(nick, person): &(&String, &Person)| !ours(nick) && !self.is_ghost(person);
        self.here.iter().filter(native).map(|(_, person)| person)
    }

    /// A ghost that a former connection has left behind in the room.
    fn is_ghost(&self, person: &Person) -> bool {
        let jid = Jid::new(person.user.as_str()).ok();
        person.proof == SenderProof::Verified && jid.is_some_and(|jid| jid.domain() == self.component.domain())
    }
}

/// What the room marks messages with and keeps others from forging.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    pub occupant_ids: bool,
    /// It shows real accounts to everybody, also in its archive.
    pub non_anonymous: bool,
}

fn verified(account: &BareJid) -> Person {
    Person { user: NativeUserId::new(account.as_str()), proof: SenderProof::Verified }
}

fn claimed(occupant: &Jid) -> Person {
    Person { user: NativeUserId::new(occupant.as_str()), proof: SenderProof::Claimed }
}

fn occupant_id(stanza: &Element) -> Option<&str> {
    stanza.get_child("occupant-id", ns::OCCUPANT_ID)?.attr("id")
}

/// Whether somebody was put out of the room: banned (301), kicked (307), or no longer of those it is for (321,
/// 322). Whose client goes off line is still one of its people, as is everybody when the server stops (332) and
/// whom it drops for an error (307 with 333).
fn removed(presence: &Element) -> bool {
    ["301", "307", "321", "322"].iter().any(|code| status(presence, code)) && !status(presence, "333")
}

/// Whether the room says `code` about this presence (XEP-0045 §15.6).
pub fn status(presence: &Element, code: &str) -> bool {
    let user = presence.get_child("x", ns::MUC_USER);
    let mut statuses = user.into_iter().flat_map(Element::children).filter(|child| child.is("status", ns::MUC_USER));
    statuses.any(|status| status.attr("code") == Some(code))
}

/// XEP-0045 §5: a moderator by role, or for good by affiliation.
fn moderates(presence: &Element) -> bool {
    let user = presence.children().filter(|child| child.is("x", ns::MUC_USER)).last();
    let Some(item) = user.and_then(|user| user.get_child("item", ns::MUC_USER)) else { return false };
    item.attr("role") == Some("moderator") || matches!(item.attr("affiliation"), Some("owner" | "admin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Occupants {
        Occupants::new(BareJid::new("mimi.b.example").unwrap())
    }

    fn presence(nick: &str, kind: &str, jid: &str, code: &str) -> Element {
        format!(
            "<presence xmlns='jabber:component:accept' from=\"tea@muc.b.example/{nick}\" {kind}>\
             <x xmlns='http://jabber.org/protocol/muc#user'><item role='participant' {jid}/><status code='{code}'/></x>\
             <occupant-id xmlns='urn:xmpp:occupant-id:0' id=\"oid-{nick}\"/></presence>"
        )
        .parse()
        .unwrap()
    }

    const GONE: &str = "type='unavailable'";
    const BOB: &str = "jid='bob@b.example/phone'";

    fn verified(user: &str) -> Person {
        Person { user: NativeUserId::new(user), proof: SenderProof::Verified }
    }

    fn claimed(user: &str) -> Person {
        Person { user: NativeUserId::new(user), proof: SenderProof::Claimed }
    }

    fn nobody(_: &str) -> bool {
        false
    }

    #[test]
    fn a_person_joins_once_and_is_out_with_the_last_nickname_that_is_kicked() {
        let mut room = room();
        assert_eq!(room.see(&presence("Bob", "", BOB, "0"), nobody), [Change::Joined(verified("bob@b.example"))]);
        assert_eq!(room.see(&presence("Bob", "", BOB, "0"), nobody), []);
        assert_eq!(room.see(&presence("Bob's phone", "", BOB, "0"), nobody), []);
        assert_eq!(room.see(&presence("Bob", GONE, BOB, "307"), nobody), []);
        assert_eq!(
            room.see(&presence("Bob's phone", GONE, BOB, "307"), nobody),
            [Change::Left(verified("bob@b.example"))]
        );
        assert_eq!(room.see(&presence("Bob", GONE, BOB, "307"), nobody), []);
    }

    #[test]
    fn in_an_anonymous_room_a_person_is_a_nickname_and_only_claimed() {
        let mut room = room();
        let bob = claimed("tea@muc.b.example/Bob");
        assert_eq!(room.see(&presence("Bob", "", "", "0"), nobody), [Change::Joined(bob.clone())]);
        assert_eq!(room.writer(&Jid::new("tea@muc.b.example/Bob").unwrap()), bob);
        assert_eq!(room.see(&presence("Bob", GONE, "", "303"), nobody), [Change::Left(bob)]);
    }

    #[test]
    fn whose_account_is_shown_at_last_is_no_longer_a_nickname() {
        let mut room = room();
        let masked = claimed("tea@muc.b.example/Bob");
        assert_eq!(room.see(&presence("Bob", "", "", "0"), nobody), [Change::Joined(masked.clone())]);
        let unmasked = [Change::Left(masked), Change::Joined(verified("bob@b.example"))];
        assert_eq!(room.see(&presence("Bob", "", BOB, "0"), nobody), unmasked);
    }

    #[test]
    fn a_new_nickname_is_no_leaving() {
        let mut room = room();
        room.see(&presence("Bob", "", BOB, "0"), nobody);
        assert_eq!(room.see(&presence("Bob", GONE, BOB, "303"), nobody), []);
        assert_eq!(room.see(&presence("Bobby", "", BOB, "0"), nobody), []);
        assert_eq!(room.nick_of(&NativeUserId::new("bob@b.example")), Some("Bobby"));
    }

    #[test]
    fn our_own_are_neither_joins_nor_leaves() {
        let mut room = room();
        let ours = |nick: &str| nick == "alice (a.example)";
        assert_eq!(room.see(&presence("alice (a.example)", "", "", "0"), ours), []);
        assert_eq!(room.see(&presence("alice (a.example)", GONE, "", "0"), ours), []);
        // One of an earlier connection, whose nickname nobody knows any more.
        let left_behind = r"jid='alice\40a.example@mimi.b.example/mimi'";
        assert_eq!(room.see(&presence("alice 2", "", left_behind, "0"), nobody), []);
        assert_eq!(room.settle(nobody), []);
    }

    #[test]
    fn presence_is_not_membership() {
        for code in ["0", "332"] {
            let mut room = room();
            room.see(&presence("Bob", "", BOB, "0"), nobody);
            assert_eq!(room.see(&presence("Bob", GONE, BOB, code), nobody), []);
            assert_eq!(room.see(&presence("Bob", "", BOB, "0"), nobody), []);
        }
        for code in ["301", "307", "321", "322"] {
            let mut room = room();
            room.see(&presence("Bob", "", BOB, "0"), nobody);
            let out = [Change::Left(verified("bob@b.example"))];
            assert_eq!(room.see(&presence("Bob", GONE, BOB, code), nobody), out, "{code}");
        }
        let mut room = room();
        room.see(&presence("Bob", "", BOB, "0"), nobody);
        let dropped = presence("Bob", GONE, BOB, "307' /><status code='333");
        assert_eq!(room.see(&dropped, nobody), []);
    }

    #[test]
    fn who_is_away_after_a_lost_connection_is_still_one_of_the_room() {
        let mut room = room();
        room.see(&presence("Bob", "", BOB, "0"), nobody);
        room.see(&presence("Cathy", "", "jid='cathy@b.example/x'", "0"), nobody);
        room.lose_sight();
        room.see(&presence("Cathy", "", "jid='cathy@b.example/y'", "0"), nobody);
        assert_eq!(room.settle(nobody), [Change::Joined(verified("cathy@b.example"))]);
    }

    #[test]
    fn an_archived_message_is_whose_mark_it_bears() {
        let mut room = room();
        room.see(&presence("Bob", "", BOB, "0"), nobody);
        let from = Jid::new("tea@muc.b.example/Bob").unwrap();
        let mark = |id: &str, item: &str| -> Element {
            format!(
                "<message xmlns='jabber:component:accept'><occupant-id xmlns='urn:xmpp:occupant-id:0' id='{id}'/>\
                 <x xmlns='http://jabber.org/protocol/muc#user'><item {item}/></x></message>"
            )
            .parse()
            .unwrap()
        };
        let (marks, open) =
            (Marks { occupant_ids: true, non_anonymous: false }, Marks { occupant_ids: true, non_anonymous: true });
        assert_eq!(room.writer_of_archived(&from, &mark("oid-Bob", ""), marks), verified("bob@b.example"));
        // A mark that the room does not vouch for, and one that nobody here bears: only the nickname is left.
        let by_nick = Person { proof: SenderProof::Claimed, ..verified("bob@b.example") };
        assert_eq!(room.writer_of_archived(&from, &mark("oid-Bob", ""), Marks::default()), by_nick);
        assert_eq!(room.writer_of_archived(&from, &mark("oid-?", "jid='boss@b.example'"), marks), by_nick);
        assert_eq!(
            room.writer_of_archived(&from, &mark("oid-?", "jid='dan@b.example'"), open),
            verified("dan@b.example")
        );
        let stranger = Jid::new("tea@muc.b.example/Eve").unwrap();
        assert_eq!(room.writer_of_archived(&stranger, &mark("oid-?", ""), marks), claimed("tea@muc.b.example/Eve"));
    }
}
