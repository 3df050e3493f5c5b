//! A group of two in a database, with transactions that fail where it hurts.

use super::*;
use crate::{
    core::Fault,
    mimi::{component, participants::ParticipantListData, tls::Tls, uri::ClientUri},
    store::Store,
};

/// Alice's group, with Bob as a second leaf of the same database.
struct Pair {
    _directory: tempfile::TempDir,
    store: Store,
    groups: Groups,
    group_id: Vec<u8>,
    alice: Owner,
    bob: Owner,
}

fn client(name: &str) -> Client {
    let uri = ClientUri::parse(&format!("mimi://a.example/d/{name}/1")).unwrap();
    Client::generate(uri, vec![1]).unwrap()
}

/// A client can't be cloned, lest its keys be copied about.
fn same(client: &Client) -> Client {
    Client::from_keys(client.uri().clone(), client.private_key().to_vec(), client.public_key().to_vec(), vec![1])
}

impl Pair {
    async fn new() -> (Self, Client) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("a.sqlite"), "a.example").await.unwrap();
        let groups = Groups::default();
        let (alice, bob) = (client("alice"), client("bob"));
        let group_id = b"mimi://a.example/g/tea".to_vec();
        let key_package = bob.key_package().unwrap();
        let new = NewGroup {
            group_id: &group_id,
            hub_key: alice.public_key(),
            hub_identity: "mimi://a.example",
            dictionary: [(component::PARTICIPANT_LIST, ParticipantListData::default().encode())].into(),
        };
        let mut founder = Member::found(&alice, new).unwrap();
        let change = Change { add: vec![key_package.key_package], ..Change::default() };
        let commit = founder.commit(&alice, change).unwrap();
        founder.merge_pending().unwrap();
        let keep = groups.clone();
        let (alices, bobs) = store
            .write(move |tx| {
                Box::pin(async move {
                    let alice = keep.found::<Fault>(tx, founder).await?;
                    let bob = tx.new_mls_owner("leaf").await?;
                    let rows = key_package.rows.into_iter().map(|(key, value)| (key, Some(value))).collect();
                    tx.save_mls_rows(bob, rows);
                    keep.join::<Fault>(tx, bob, &commit.welcome.unwrap(), &commit.tree).await?;
                    Ok::<_, Fault>((alice, bob))
                })
            })
            .await
            .unwrap();
        (Self { _directory: directory, store, groups, group_id, alice: alices, bob: bobs }, alice)
    }

    /// Encrypts as Alice in a transaction that then succeeds or fails.
    async fn encrypt(&self, client: &Client, text: &'static [u8], fails: bool) -> Option<codec::MlsMessage> {
        let (groups, group_id, owner) = (self.groups.clone(), self.group_id.clone(), self.alice);
        let client = same(client);
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    let message = groups
                        .member(tx, owner, &group_id, |member| Ok::<_, Fault>(member.encrypt(&client, &[0; 32], text)?))
                        .await?;
                    if fails { Err(Fault::never("on purpose")) } else { Ok(message) }
                })
            })
            .await
            .ok()
    }

    /// Decrypts as Bob in a transaction that then succeeds or fails.
    async fn decrypt(&self, message: &codec::MlsMessage, fails: bool) -> Result<Vec<u8>, Fault> {
        let (groups, group_id, owner, message) =
            (self.groups.clone(), self.group_id.clone(), self.bob, message.clone());
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    let processed =
                        groups.member(tx, owner, &group_id, |member| Ok::<_, Fault>(member.process(&message)?)).await?;
                    match processed {
                        Processed::Application { sender, data } if !fails => {
                            assert_eq!(sender, "mimi://a.example/d/alice/1");
                            Ok(data)
                        }
                        _ => Err(Fault::later("on purpose")),
                    }
                })
            })
            .await
    }

    /// Alice commits nothing but the next epoch, and both go on to it.
    async fn next_epoch(&self, client: &Client) {
        let (groups, group_id, alice, bob) = (self.groups.clone(), self.group_id.clone(), self.alice, self.bob);
        let client = same(client);
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    let commit = groups
                        .member(tx, alice, &group_id, |member| {
                            let material = member.commit(&client, Change::default())?;
                            member.merge_pending()?;
                            Ok::<_, Fault>(material.commit)
                        })
                        .await?;
                    groups
                        .member(tx, bob, &group_id, |member| match member.process(&commit)? {
                            Processed::Commit(staged) => Ok::<_, Fault>(member.merge(staged)?),
                            _ => Err(Fault::never("not a commit")),
                        })
                        .await
                })
            })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_message_whose_transaction_failed_can_be_read_again() {
    let (pair, alice) = Pair::new().await;
    let message = pair.encrypt(&alice, b"tea", false).await.unwrap();
    assert!(matches!(pair.decrypt(&message, true).await, Err(Fault::Later { .. })));
    assert_eq!(pair.decrypt(&message, false).await.unwrap(), b"tea");
    assert!(matches!(pair.decrypt(&message, false).await, Err(Fault::Never(_))), "a replay was read");
}

#[tokio::test]
async fn a_message_that_was_rolled_back_leaves_the_group_in_step_with_the_disk() {
    let (pair, alice) = Pair::new().await;
    assert!(pair.encrypt(&alice, b"never sent", true).await.is_none());
    let message = pair.encrypt(&alice, b"sent", false).await.unwrap();
    assert_eq!(pair.decrypt(&message, false).await.unwrap(), b"sent");
}

#[tokio::test]
async fn a_group_that_is_read_from_its_rows_goes_on_where_it_was() {
    let (mut pair, alice) = Pair::new().await;
    for text in [&b"one"[..], b"two", b"three"] {
        let message = pair.encrypt(&alice, text, false).await.unwrap();
        assert_eq!(pair.decrypt(&message, false).await.unwrap(), text);
        // As after a restart: nothing is loaded.
        pair.groups = Groups::default();
    }
}

#[tokio::test]
async fn what_is_late_for_its_epoch_is_read_once_also_from_rows_that_were_written_at_different_times() {
    let (mut pair, alice) = Pair::new().await;
    let late = pair.encrypt(&alice, b"late", false).await.unwrap();
    pair.next_epoch(&alice).await;
    let timely = pair.encrypt(&alice, b"timely", false).await.unwrap();
    assert_eq!(pair.decrypt(&timely, false).await.unwrap(), b"timely");
    pair.groups = Groups::default();
    assert_eq!(pair.decrypt(&late, false).await.unwrap(), b"late");
    pair.groups = Groups::default();
    assert!(matches!(pair.decrypt(&late, false).await, Err(Fault::Never(_))), "a replay was read");
    let timely = pair.encrypt(&alice, b"also timely", false).await.unwrap();
    assert_eq!(pair.decrypt(&timely, false).await.unwrap(), b"also timely");
}

#[tokio::test]
async fn a_commit_that_the_hub_did_not_take_is_abandoned_and_another_made() {
    let (pair, alice) = Pair::new().await;
    let (groups, group_id, owner) = (pair.groups.clone(), pair.group_id.clone(), pair.alice);
    let epochs = pair
        .store
        .write(move |tx| {
            Box::pin(async move {
                groups
                    .member(tx, owner, &group_id, |member| {
                        let before = member.epoch();
                        member.commit(&alice, Change::default())?;
                        member.abandon_pending()?;
                        member.commit(&alice, Change::default())?;
                        member.merge_pending()?;
                        Ok::<_, Fault>((before, member.epoch()))
                    })
                    .await
            })
        })
        .await
        .unwrap();
    assert_eq!(epochs, (1, 2));
}

#[test]
fn a_signature_with_a_label_is_checked() {
    let alice = client("alice");
    let signature = alice.sign_with_label("KeyMaterialRequestTBS", b"tbs").unwrap();
    let verify = |label, content: &[u8]| verify_with_label(alice.public_key(), label, content, &signature);
    assert!(verify("KeyMaterialRequestTBS", b"tbs").is_ok());
    assert!(verify("GroupInfoRequestTBS", b"tbs").is_err());
    assert!(verify("KeyMaterialRequestTBS", b"tbt").is_err());
    assert!(verify_with_label(b"short", "KeyMaterialRequestTBS", b"tbs", &signature).is_err());
}

#[test]
fn a_key_package_is_valid_for_a_provider_whose_clock_is_behind_and_for_no_longer_than_any_allows() {
    let made = client("bob").key_package().unwrap();
    let crypto = openmls_rust_crypto::RustCrypto::default();
    let key_package =
        made.key_package.to_openmls().validate(&crypto, openmls::prelude::ProtocolVersion::Mls10).unwrap();
    let lifetime = key_package.life_time();
    let days = |seconds: u64| seconds / 86_400;
    assert_eq!(days(lifetime.not_after() - lifetime.not_before()), 84);
    assert!(lifetime.has_acceptable_range());
    let a_fortnight_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(14 * 86_400 - 60);
    lifetime.validate_with_time(a_fortnight_ago).unwrap();
}
