use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;

async fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("a.sqlite"), "a.example").await.unwrap();
    (directory, store)
}

async fn queued(store: &Store) -> i64 {
    store.write(|tx| Box::pin(async move { Ok::<_, StoreError>(tx.outbox_totals().await?.0) })).await.unwrap()
}

#[tokio::test]
async fn what_fails_takes_nothing_with_it_that_shares_its_commit() {
    let (_directory, store) = store().await;
    let jobs = (0..20).map(|n| {
        let store = store.clone();
        async move {
            store
                .write(move |tx| {
                    Box::pin(async move {
                        tx.add_to_outbox("hub mimi://a.example/r/tea", "submit", b"x", n).await?;
                        if n % 2 == 0 { Ok(()) } else { Err(StoreError::Unavailable) }
                    })
                })
                .await
        }
    });
    let done = futures::future::join_all(jobs).await;
    assert_eq!(done.iter().filter(|outcome| outcome.is_ok()).count(), 10);
    assert_eq!(queued(&store).await, 10);
}

#[tokio::test]
async fn hooks_run_for_what_happened_and_for_what_did_not() {
    let (_directory, store) = store().await;
    let (undone, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for fails in [false, true] {
        let (undone, done) = (undone.clone(), done.clone());
        let outcome = store.write(move |tx| {
            Box::pin(async move {
                tx.on_rollback(move || _ = undone.fetch_add(1, Ordering::SeqCst));
                tx.on_commit(move || _ = done.fetch_add(1, Ordering::SeqCst));
                if fails { Err(StoreError::Unavailable) } else { Ok(()) }
            })
        });
        assert_eq!(outcome.await.is_err(), fails);
    }
    assert_eq!((undone.load(Ordering::SeqCst), done.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn work_that_panics_is_rolled_back_and_the_next_goes_on() {
    let (_directory, store) = store().await;
    let outcome: Result<(), StoreError> = store
        .write(|tx| {
            Box::pin(async move {
                tx.add_to_outbox("peer b.example", "invite", b"x", 1).await?;
                panic!("on purpose")
            })
        })
        .await;
    assert!(matches!(outcome, Err(StoreError::Panicked)));
    assert_eq!(queued(&store).await, 0);
}

#[tokio::test]
async fn work_goes_on_when_its_caller_has_hung_up() {
    let (_directory, store) = store().await;
    let caller = store.write(|tx| Box::pin(async move { tx.add_to_outbox("peer b.example", "invite", b"x", 1).await }));
    // Polled once, so that the work is queued, and dropped.
    assert!(futures::FutureExt::now_or_never(caller).is_none());
    assert_eq!(queued(&store).await, 1);
}

#[tokio::test]
async fn a_file_in_use_and_a_file_of_somebody_else_are_refused_in_words() {
    let (directory, store) = store().await;
    let file = directory.path().join("a.sqlite");
    store.write(|_| Box::pin(async { Ok::<_, StoreError>(()) })).await.unwrap();
    let in_use = Store::open(&file, "a.example").await.err().unwrap().to_string();
    assert!(in_use.contains("in use by another process"), "{in_use}");

    let other = directory.path().join("b.sqlite");
    schema::open(&other, "b.example").await.unwrap().close().await.unwrap();
    let foreign = Store::open(&other, "a.example").await.err().unwrap().to_string();
    assert!(foreign.contains("belongs to the provider b.example, not to a.example"), "{foreign}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.sqlite");
    let mut connection = schema::open(&file, "a.example").await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', TRUE, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let newer = Store::open(&file, "a.example").await.err().unwrap().to_string();
    assert!(newer.contains("newer mimi-gateway"), "{newer}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.sqlite");
    std::fs::write(&file, "not a database, but long enough to look at".repeat(20)).unwrap();
    let refused = Store::open(&file, "a.example").await.err().unwrap().to_string();
    assert!(refused.contains("not a usable SQLite database"), "{refused}");
}

#[tokio::test]
async fn a_dead_letter_goes_back_to_its_old_place_and_is_still_in_doubt() {
    let (_directory, store) = store().await;
    let to = "hub mimi://a.example/r/tea";
    let (ids, dead, revived) = store
        .write(move |tx| {
            Box::pin(async move {
                let mut ids = Vec::new();
                for (n, payload) in [b"one", b"two"].into_iter().enumerate() {
                    ids.push(tx.add_to_outbox(to, "submit", payload, n as u64).await?);
                }
                // The first was in hand when the process ended.
                tx.prepare_outbox_row(ids[0], Some(b"ciphertext")).await?;
                tx.doubt_outbox().await?;
                let head = tx.outbox_head(to, 2).await?;
                assert_eq!([head[0].unsure, head[1].unsure], [true, false]);
                tx.bury_outbox_row(ids[0], "expired", "nobody answers", !head[0].unsure, true, 50).await?;
                let dead = tx.dead_letter(ids[0]).await?.unwrap();
                assert_eq!(tx.dead_letters("hub mimi://a.example/r/coffee").await?.len(), 0);
                tx.revive_dead_letter(ids[0], 60).await?;
                assert!(tx.dead_letters("").await?.is_empty());
                Ok::<_, StoreError>((ids, dead, tx.outbox_head(to, 2).await?))
            })
        })
        .await
        .unwrap();
    assert_eq!((dead.payload.as_slice(), dead.created, dead.died, dead.certain), (&b"one"[..], 0, 50, false));
    assert_eq!(revived.iter().map(|row| row.id).collect::<Vec<_>>(), ids);
    assert_eq!((revived[0].prepared.as_deref(), revived[0].unsure), (Some(&b"ciphertext"[..]), true));
}
