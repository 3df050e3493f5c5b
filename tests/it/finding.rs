//! Finding people at other providers: who wants to be found is, by their exact names, and nobody else.

use mimi_adapter::Domain;
use mimi_gateway::{
    admin::{Find, Operator},
    discovery::Findable,
    mimi::{
        tls::Tls,
        wire::{AppDataDictionary, IdentifierRequest, IdentifierResponse, QueryElement, Search},
    },
};

use crate::{peer::Said, world::World};

fn bob() -> Findable {
    Findable {
        user: "mimi://b.example/u/bob".parse().unwrap(),
        handles: vec!["im:bob@b.example".into()],
        nicks: vec!["bob".into(), "bobby".into()],
        emails: vec!["bob@mail.b.example".into()],
    }
}

/// Bob and Bobby can be found, and Ben, who lives there too, has not said that he wants to be.
async fn world() -> World {
    let mut world = World::of_strangers().await;
    let bobby = Findable {
        user: "mimi://b.example/u/bobby".parse().unwrap(),
        handles: Vec::new(),
        nicks: vec!["bobby".into()],
        emails: vec!["bobby@mail.b.example".into()],
    };
    world.stop("b.example").await;
    world.can_be_found("b.example", vec![bob(), bobby]);
    world.start("b.example").await;
    world.person("ben", "b.example").is_here();
    world
}

pub fn query(elements: &[(Search, &str)]) -> Vec<u8> {
    let element =
        |(search, value): &(Search, &str)| QueryElement { search: search.clone(), search_value: (*value).into() };
    let query_elements = elements.iter().map(element).collect();
    IdentifierRequest { query_elements, id_request_extensions: AppDataDictionary::default() }.encode()
}

/// The code, and who was found.
fn found(said: &Said) -> (u8, Vec<String>) {
    let response = IdentifierResponse::decode(&said.body).unwrap();
    assert_eq!((said.status, response.found_profiles.len()), (200, 0));
    (response.response_code.0, response.uri.iter().map(|uri| uri.as_str().to_owned()).collect())
}

#[tokio::test]
async fn who_wants_to_be_found_is_found_by_exactly_their_names() {
    let world = world().await;
    let peer = world.peer("c.example");
    let (bob, bobby) = ("mimi://b.example/u/bob", "mimi://b.example/u/bobby");
    for (elements, code, users) in [
        (&[(Search::Nick, "bob")][..], 0, &[bob][..]),
        (&[(Search::Handle, "im:bob@b.example")], 0, &[bob]),
        (&[(Search::Email, "bob@MAIL.b.example")], 0, &[bob]),
        (&[(Search::Nick, "bobby")], 0, &[bob, bobby]),
        (&[(Search::Nick, "bobby"), (Search::Email, "bobby@mail.b.example")], 0, &[bobby]),
        (&[(Search::Nick, "bob"), (Search::Email, "bobby@mail.b.example")], 1, &[]),
        (&[(Search::Nick, "Bob")], 1, &[]),
        (&[(Search::Nick, "bo")], 1, &[]),
        (&[(Search::Nick, "")], 1, &[]),
        (&[(Search::Email, "bob")], 1, &[]),
        (&[(Search::PartialName, "b")], 3, &[]),
        (&[(Search::WholeProfile, "b")], 3, &[]),
        (&[(Search::Nick, "bob"), (Search::WholeProfile, "b")], 3, &[]),
        (&[], 3, &[]),
        (&vec![(Search::Nick, "bob"); 17], 3, &[]),
        (&[(Search::Phone, "+15551234567")], 4, &[]),
        (&[(Search::OidcStdClaim("email".into()), "bob@mail.b.example")], 4, &[]),
        (&[(Search::VcardField("FN".into()), "Bob")], 4, &[]),
    ] {
        let said = peer.posts("b.example", "identifierQuery", "b.example", &query(elements)).await;
        assert_eq!(found(&said), (code, users.iter().map(ToString::to_string).collect()), "{elements:?}");
    }
}

#[tokio::test]
async fn who_does_not_want_to_be_found_looks_like_nobody() {
    let world = world().await;
    let peer = world.peer("c.example");
    let asks =
        async |value| peer.posts("b.example", "identifierQuery", "b.example", &query(&[(Search::Nick, value)])).await;
    let (ben, nobody) = (asks("ben").await, asks("benedict").await);
    assert_eq!(ben, nobody);
    assert_eq!(found(&nobody), (1, Vec::new()));
    // About another provider's people we are not asked at all.
    let body = query(&[(Search::Nick, "bob")]);
    assert_eq!(peer.posts("b.example", "identifierQuery", "a.example", &body).await.status, 400);
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_wait() {
    let world = world().await;
    let (peer, body) = (world.peer("c.example"), query(&[(Search::Nick, "ben")]));
    for _ in 0..60 {
        assert_eq!(peer.posts("b.example", "identifierQuery", "b.example", &body).await.status, 200);
    }
    assert_eq!(peer.posts("b.example", "identifierQuery", "b.example", &body).await.status, 429);
    // Others are not held up by that.
    assert_eq!(world.peer("a.example").posts("b.example", "identifierQuery", "b.example", &body).await.status, 200);
    world.clock.moves(std::time::Duration::from_secs(10));
    assert_eq!(peer.posts("b.example", "identifierQuery", "b.example", &body).await.status, 200);
}

#[tokio::test]
async fn an_admin_finds_people() {
    let world = world().await;
    let desk = world.desk("a.example");
    let find = |provider: &str, nick: Option<&str>| Find {
        provider: Domain::parse(provider).unwrap(),
        handle: None,
        nick: nick.map(str::to_owned),
        email: None,
    };
    assert_eq!(desk.find(find("b.example", Some("bob"))).await.unwrap(), [bob().user]);
    assert_eq!(desk.find(find("b.example", Some("ben"))).await.unwrap(), []);
    assert_eq!(world.desk("b.example").find(find("b.example", Some("bob"))).await.unwrap(), [bob().user]);
    assert_eq!(desk.find(find("a.example", Some("alice"))).await.unwrap(), []);
    let error = desk.find(find("b.example", None)).await.unwrap_err();
    assert_eq!(error.message, "name a handle, a nick or an email address");
}
