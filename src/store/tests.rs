use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{mimi::uri::ClientUri, mls::codec::KeyPackageRef};

#[path = "../../tests/it/database.rs"]
mod database;

use database::Database;

impl Database {
    fn place(&self) -> Place {
        match self {
            Self::File { path, .. } => Place::from(path),
            Self::Server { .. } => Place::Server(self.url().parse().unwrap()),
        }
    }
}

async fn store() -> (Database, Store) {
    let database = Database::new().await;
    let store = Store::open(database.place(), "a.example").await.unwrap();
    (database, store)
}

async fn refused(place: &Place) -> String {
    Store::open(place, "a.example").await.err().unwrap().to_string()
}

/// The connection of a gateway that is gone by now.
async fn before(database: &Database, domain: &str) -> AnyConnection {
    let backend = Backend { place: database.place(), domain: domain.into(), address: None };
    backend.open(None).await.unwrap().connection
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
                        tx.add_to_outbox("hub mimi://a.example/r/tea".into(), "submit", b"x".to_vec(), n);
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
                tx.add_to_outbox("peer b.example".into(), "invite", b"x".to_vec(), 1);
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
    let caller = store.write(|tx| {
        Box::pin(async move {
            tx.add_to_outbox("peer b.example".into(), "invite", b"x".to_vec(), 1);
            Ok::<_, StoreError>(())
        })
    });
    // Polled once, so that the work is queued, and dropped.
    assert!(futures::FutureExt::now_or_never(caller).is_none());
    assert_eq!(queued(&store).await, 1);
}

#[tokio::test]
async fn a_database_in_use_is_refused_in_words() {
    let (database, store) = store().await;
    store.write(|_| Box::pin(async { Ok::<_, StoreError>(()) })).await.unwrap();
    let in_use = refused(&database.place()).await;
    assert!(in_use.contains("is in use by another process"), "{in_use}");
}

#[tokio::test]
async fn a_database_of_somebody_else_is_refused_in_words() {
    let database = Database::new().await;
    before(&database, "b.example").await.close().await.unwrap();
    let foreign = refused(&database.place()).await;
    assert!(foreign.contains("belongs to the provider b.example, not to a.example"), "{foreign}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_in_words() {
    let database = Database::new().await;
    let mut connection = before(&database, "a.example").await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', TRUE, '', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let newer = refused(&database.place()).await;
    assert!(newer.contains("newer mimi-gateway") && newer.contains("run that version"), "{newer}");
}

#[tokio::test]
async fn a_database_that_an_upgrade_left_half_way_is_refused_in_words() {
    let database = Database::new().await;
    let mut connection = before(&database, "a.example").await;
    sqlx::query("UPDATE _sqlx_migrations SET success = FALSE").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let half = refused(&database.place()).await;
    assert!(half.contains("left half-way") && half.contains("restore the backup"), "{half}");
}

#[tokio::test]
async fn a_schema_that_is_not_ours_is_refused_in_words() {
    let database = Database::new().await;
    let mut connection = before(&database, "a.example").await;
    sqlx::query("UPDATE _sqlx_migrations SET checksum = ''").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let other = refused(&database.place()).await;
    assert!(other.contains("not the one of this mimi-gateway"), "{other}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.sqlite");
    std::fs::write(&file, "not a database, but long enough to look at".repeat(20)).unwrap();
    let refused = refused(&Place::from(&file)).await;
    assert!(refused.contains("not a usable SQLite database"), "{refused}");
}

#[tokio::test]
async fn a_file_that_can_only_be_read_is_told_as_that() {
    sqlx::any::install_default_drivers();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.sqlite");
    drop(Store::open(&file, "a.example").await.unwrap());
    // Who runs the tests may be root, and root can write what is read-only.
    let mut connection = AnyConnection::connect(&format!("sqlite://{}?mode=ro", file.display())).await.unwrap();
    let e = sqlx::query("DELETE FROM meta").execute(&mut connection).await.unwrap_err();
    let told = sqlite::words(&e);
    assert!(told.contains("can only be read") && told.contains("make the file and its folder writable"), "{told}");
}

/// A conversation's worth of rows, the last outbox row delivered.
async fn inhabited(place: Place) {
    use crate::mimi::uri::RoomUri;
    let store = Store::open(place, "a.example").await.unwrap();
    let work = store.write(|tx| {
        Box::pin(async move {
            for n in 0..150 {
                tx.add_to_outbox("hub mimi://a.example/r/tea".into(), "submit", vec![0, 255, n], u64::from(n));
            }
            tx.prepare_outbox_row(1, Some(b"ciphertext"));
            tx.see(&RoomUri::parse("mimi://a.example/r/tea").unwrap(), [7; 32], 7);
            Ok::<_, StoreError>(())
        })
    });
    work.await.unwrap();
    let deliver = store.write(|tx| {
        Box::pin(async move {
            tx.remove_outbox_row(150);
            Ok::<_, StoreError>(())
        })
    });
    deliver.await.unwrap();
    drop(store);
}

/// Moves `from` to `to`, and looks at what is there.
async fn moves(from: Place, to: Place) {
    inhabited(from.clone()).await;
    let copied = copy_when_free(&from, &to).await.unwrap();
    let rows = |table: &str| copied.iter().find(|it| it.table == table).unwrap().rows;
    assert_eq!((rows("outbox"), rows("seen"), rows("meta"), rows("room")), (149, 1, 1, 0));
    let refused = refused(&from).await;
    assert!(refused.contains(&format!("was moved to {to}")), "{refused}");
    let again = copy_when_free(&from, &to).await.err().unwrap().to_string();
    assert!(again.contains("there is nothing to copy"), "{again}");
    let store = Store::open(&to, "a.example").await.unwrap();
    let look = store.write(|tx| {
        Box::pin(async move {
            let head = tx.outbox_head("hub mimi://a.example/r/tea", 2).await?;
            tx.add_to_outbox("hub mimi://a.example/r/next".into(), "submit", b"x".to_vec(), 1);
            let next = tx.outbox_head("hub mimi://a.example/r/next", 1).await?;
            Ok::<_, StoreError>((head, next[0].id))
        })
    });
    let (head, next) = look.await.unwrap();
    assert_eq!((head[0].id, head[0].prepared.as_deref()), (1, Some(&b"ciphertext"[..])));
    assert_eq!((head[1].id, head[1].payload.as_slice()), (2, &[0, 255, 1][..]));
    assert_eq!(next, 151, "the number of a row that is gone is not given again");
}

#[tokio::test]
async fn what_a_group_looks_for_is_found_if_it_is_there_and_once_one_of_it_has_written_it() {
    use crate::mimi::uri::RoomUri;
    let database = Database::new().await;
    let store = Store::open(&database.place(), "a.example").await.unwrap();
    let room = || RoomUri::parse("mimi://a.example/r/tea").unwrap();
    let hashes = [[1; 32], [2; 32], [3; 32]];
    let sought = || hashes.map(|hash| Sought::Seen { room: room(), hash }).into();
    let see = |hash| {
        store.write(move |tx| {
            Box::pin(async move {
                tx.see(&room(), hash, 7);
                // A look into another table writes what waits.
                tx.outbox_length("nowhere").await
            })
        })
    };
    let looks = || {
        store.write_seeking(sought(), move |tx| {
            Box::pin(async move {
                let mut seen: Vec<_> = tx.seen(&room(), &hashes).await?.into_iter().map(|hash| hash[0]).collect();
                seen.sort_unstable();
                Ok::<_, StoreError>(seen)
            })
        })
    };
    see([1; 32]).await.unwrap();
    // While the writer waits for the first job, the others become one group.
    let (go, wait) = oneshot::channel::<()>();
    let first = store.write(move |_| Box::pin(async move { Ok::<_, StoreError>(wait.await.is_ok()) }));
    let (_, before, _, after, ()) = tokio::join!(first, looks(), see([2; 32]), looks(), async {
        tokio::task::yield_now().await;
        go.send(()).unwrap();
    });
    assert_eq!((before.unwrap(), after.unwrap()), (vec![1], vec![1, 2]));
}

/// The writer of a store that was dropped closes its database a moment later.
async fn copy_when_free(from: &Place, to: &Place) -> Result<Vec<Copied>, StoreError> {
    loop {
        match copy(from, to, "a.example", |_| ()).await {
            Err(e) if e.to_string().contains("is in use") => tokio::task::yield_now().await,
            done => return done,
        }
    }
}

#[tokio::test]
async fn an_installation_moves_and_the_old_one_stays_shut() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    moves(Place::File(from.path().join("a.sqlite")), Place::File(to.path().join("a.sqlite"))).await;
}

#[tokio::test]
async fn only_an_idle_installation_moves_and_only_to_an_empty_database() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| Place::File(folder.path().join(name));
    let running = Store::open(place("running"), "a.example").await.unwrap();
    let told = copy(&place("running"), &place("new"), "a.example", |_| ()).await.err().unwrap().to_string();
    assert!(told.contains("is in use by another process"), "{told}");
    inhabited(place("full")).await;
    inhabited(place("other")).await;
    let told = copy_when_free(&place("other"), &place("full")).await.err().unwrap().to_string();
    assert!(told.contains("is not empty: there are rows in outbox"), "{told}");
    drop(running);
}

#[tokio::test]
async fn a_copy_that_was_interrupted_before_its_last_step_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| Place::File(folder.path().join(name));
    inhabited(place("old")).await;
    copy_when_free(&place("old"), &place("new")).await.unwrap();
    let backend = Backend { place: place("new"), domain: "a.example".into(), address: None };
    let mut new = backend.open(None).await.unwrap().connection;
    schema::remember(&mut new, schema::ARRIVING_FROM, &place("old").to_string()).await.unwrap();
    new.close().await.unwrap();
    let told = refused(&place("new")).await;
    assert!(told.contains("that was not finished"), "{told}");
    copy(&place("old"), &place("new"), "a.example", |_| ()).await.unwrap();
    Store::open(place("new"), "a.example").await.unwrap();
}

/// What only a server can do to us.
mod server {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn said(place: &Database, sql: String) {
        let mut connection = AnyConnection::connect(&place.url()).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }

    async fn database() -> Database {
        let server = std::env::var("MIMI_TEST_POSTGRES").expect("tests/lab/postgres cargo test starts a server");
        Database::on(server).await
    }

    /// The same database for another role, at another port, under another name.
    fn with(database: &Database, role: &str, port: Option<u16>, name: Option<&str>) -> Place {
        let url = database.url();
        let (rest, own_name) = url.rsplit_once('/').unwrap();
        let own_port = rest.rsplit_once(':').unwrap().1.parse().unwrap();
        let (port, name) = (port.unwrap_or(own_port), name.unwrap_or(own_name));
        Place::Server(format!("postgres://{role}@127.0.0.1:{port}/{name}").parse().unwrap())
    }

    #[tokio::test]
    #[ignore = "needs a PostgreSQL server: tests/lab/postgres"]
    async fn what_keeps_us_out_is_told_in_words_with_the_next_step() {
        let database = database().await;
        for role in ["CREATE ROLE locked LOGIN PASSWORD 'right'", "CREATE ROLE guest LOGIN"] {
            let sql = format!("DO $$ BEGIN {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
            said(&database, sql).await;
        }
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        for (place, problem, step) in [
            (with(&database, "postgres", Some(free), None), "can't be reached", "does the server run"),
            (with(&database, "locked:wrong", None, None), "lets us not in", "look at user and password"),
            (with(&database, "nobody", None, None), "lets us not in", "pg_hba.conf"),
            (with(&database, "postgres", None, Some("nowhere")), "can't be used", "createdb"),
            (with(&database, "guest", None, None), "does not let us do", "the owner of the database"),
        ] {
            let told = refused(&place).await;
            assert!(told.contains(problem) && told.contains(step) && !told.contains("wrong"), "{told}");
        }
        let name = database.url().rsplit_once('/').unwrap().1.to_owned();
        said(&database, format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
        let told = refused(&database.place()).await;
        assert!(told.contains("can only be read") && told.contains("name the primary"), "{told}");
    }

    #[tokio::test]
    #[ignore = "needs a PostgreSQL server: tests/lab/postgres"]
    async fn a_connection_that_is_lost_is_made_again_and_memory_is_emptied() {
        let database = database().await;
        let store = Store::open(database.place(), "a.example").await.unwrap();
        let forgotten = Arc::new(AtomicUsize::new(0));
        let count = forgotten.clone();
        store.when_lost(move || _ = count.fetch_add(1, Ordering::SeqCst));
        let mut restored = store.restored();
        let others = "datname = current_database() AND pid <> pg_backend_pid()";
        said(&database, format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")).await;
        let lost = store.write(|tx| {
            Box::pin(async move {
                {
                    tx.add_to_outbox("peer b.example".into(), "invite", b"x".to_vec(), 1);
                    Ok::<_, StoreError>(())
                }
            })
        });
        lost.await.unwrap_err();
        restored.changed().await.unwrap();
        assert_eq!(forgotten.load(Ordering::SeqCst), 1);
        assert_eq!(queued(&store).await, 0);
    }

    #[tokio::test]
    #[ignore = "needs a PostgreSQL server: tests/lab/postgres"]
    async fn an_installation_moves_to_a_server_and_back() {
        let (folder, server) = (tempfile::tempdir().unwrap(), database().await);
        moves(Place::File(folder.path().join("a.sqlite")), server.place()).await;
        let (server, folder) = (database().await, tempfile::tempdir().unwrap());
        moves(server.place(), Place::File(folder.path().join("a.sqlite"))).await;
    }

    /// Between a gateway and the server: once it has passed on a COMMIT after it was told to, the line is cut. The
    /// statement is parsed when it is said for the first time, which has its words in it, and then executed.
    async fn treacherous_line(to: u16, cut: Arc<std::sync::atomic::AtomicBool>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let cut = cut.clone();
                tokio::spawn(async move {
                    let (mut there, mut back) = ([0; 65536], [0; 65536]);
                    let mut parsed = false;
                    loop {
                        tokio::select! {
                            n = near.read(&mut there) => {
                                let Ok(n @ 1..) = n else { return };
                                far.write_all(&there[..n]).await.unwrap();
                                if parsed {
                                    cut.store(false, Ordering::SeqCst);
                                    // The server has done it when it answers, and nobody hears that.
                                    let _ = far.read(&mut back).await;
                                    return;
                                }
                                parsed = cut.load(Ordering::SeqCst) && there[..n].windows(6).any(|it| it == b"COMMIT");
                            }
                            n = far.read(&mut back) => {
                                let Ok(n @ 1..) = n else { return };
                                near.write_all(&back[..n]).await.unwrap();
                            }
                        }
                    }
                });
            }
        });
        port
    }

    #[tokio::test]
    #[ignore = "needs a PostgreSQL server: tests/lab/postgres"]
    async fn a_commit_whose_answer_is_lost_is_told_as_not_happened_and_its_repetition_is_recognised() {
        use crate::mimi::uri::RoomUri;
        let database = database().await;
        let server = database.url().rsplit_once(':').unwrap().1.split_once('/').unwrap().0.parse().unwrap();
        let cut = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let line = treacherous_line(server, cut.clone()).await;
        let store = Store::open(with(&database, "postgres", Some(line), None), "a.example").await.unwrap();
        let (undone, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let see = || {
            let (undone, done) = (undone.clone(), done.clone());
            store.write(move |tx| {
                Box::pin(async move {
                    tx.on_rollback(move || _ = undone.fetch_add(1, Ordering::SeqCst));
                    tx.on_commit(move || _ = done.fetch_add(1, Ordering::SeqCst));
                    let room = RoomUri::parse("mimi://a.example/r/tea").unwrap();
                    let seen = tx.seen(&room, &[[7; 32]]).await?;
                    tx.see(&room, [7; 32], 1);
                    Ok::<_, StoreError>(seen.is_empty())
                })
            })
        };
        let mut restored = store.restored();
        cut.store(true, Ordering::SeqCst);
        assert!(matches!(see().await, Err(StoreError::Lost(_))));
        assert_eq!((undone.load(Ordering::SeqCst), done.load(Ordering::SeqCst)), (1, 0));
        restored.changed().await.unwrap();
        assert!(!see().await.unwrap(), "it had happened, and the second time is recognised");
    }
}

#[tokio::test]
async fn a_dead_letter_goes_back_to_its_old_place_and_is_still_in_doubt() {
    let (_directory, store) = store().await;
    let to = "hub mimi://a.example/r/tea";
    let (ids, dead, revived) = store
        .write(move |tx| {
            Box::pin(async move {
                for (n, payload) in [b"one", b"two"].into_iter().enumerate() {
                    tx.add_to_outbox(to.into(), "submit", payload.to_vec(), n as u64);
                }
                let ids: Vec<_> = tx.outbox_head(to, 2).await?.iter().map(|row| row.id).collect();
                // The first was in hand when the process ended.
                tx.prepare_outbox_row(ids[0], Some(b"ciphertext"));
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

mod aging {
    use mimi_adapter::{ConversationId, NativeMessageId};

    use super::*;
    use crate::{
        mimi::{
            content::MessageId,
            uri::{RoomUri, UserUri},
        },
        store::{
            aging::{Aging, Walked},
            portals::{NewPortal, PortalId},
        },
    };

    fn room(name: &str) -> RoomUri {
        RoomUri::parse(&format!("mimi://a.example/r/{name}")).unwrap()
    }

    fn alice() -> UserUri {
        "mimi://a.example/u/alice".parse().unwrap()
    }

    /// The name of the message of a moment; as those of real ones, in no order.
    fn id(moment: u64) -> MessageId {
        let mut id = crate::core::hash(&moment.to_be_bytes());
        id[0] = 1;
        MessageId::new(id).unwrap()
    }

    fn native(moment: u64) -> NativeMessageId {
        NativeMessageId::new(format!("${moment}"))
    }

    async fn portal(store: &Store, name: &str) -> PortalId {
        let (room, conversation) = (room(name), ConversationId::new(name));
        let made = store.write(move |tx| {
            Box::pin(async move {
                let (room, conversation) = (&room, Some(&conversation));
                tx.add_portal(NewPortal { room, adapter: "loopback", conversation, direct: None }).await
            })
        });
        made.await.unwrap()
    }

    /// One message a moment.
    async fn said(store: &Store, name: &str, portal: PortalId, moments: std::ops::Range<u64>) {
        let room = room(name);
        let done = store.write(move |tx| {
            Box::pin(async move {
                for moment in moments {
                    tx.add_message(&room, id(moment), &alice(), moment);
                    let named = hops::Named { at: moment, attempts: 1, loss: None };
                    tx.name_message(portal, id(moment), &[native(moment)], &named);
                    tx.see(&room, *id(moment).as_bytes(), moment);
                    tx.hub_accepted(&room, *id(moment).as_bytes(), moment, b"accepted");
                }
                Ok::<_, StoreError>(())
            })
        });
        done.await.unwrap();
    }

    /// Walks through a table, and answers in how many pieces.
    async fn forget(store: &Store, table: Aging, before: u64) -> usize {
        let (mut next, mut pieces) = (Some(Walked::default()), 0);
        while let Some(walked) = next {
            let piece = store.write(move |tx| Box::pin(async move { tx.forget_old(table, before, &walked).await }));
            next = piece.await.unwrap();
            pieces += 1;
        }
        pieces
    }

    #[tokio::test]
    async fn what_is_old_is_forgotten_a_piece_at_a_time_and_the_rest_is_known() {
        let (_database, store) = store().await;
        let (tea, coffee) = (portal(&store, "tea").await, portal(&store, "coffee").await);
        said(&store, "tea", tea, 0..500).await;
        said(&store, "coffee", coffee, 250..350).await;
        for table in [Aging::Names, Aging::Seen, Aging::Answers] {
            assert_eq!(forget(&store, table, 300).await, 3, "{table:?}");
        }
        let look = store.write(move |tx| {
            Box::pin(async move {
                for (name, portal, moments) in [("tea", tea, 0..500), ("coffee", coffee, 250..350)] {
                    let room = room(name);
                    for moment in moments {
                        let (id, native, hash) = (id(moment), native(moment), *id(moment).as_bytes());
                        let known = [
                            tx.author(&room, &id).await?.is_some(),
                            tx.message_of_native(portal, &native).await?.is_some(),
                            tx.native_of_message(portal, &id).await?.is_some(),
                            !tx.seen(&room, &[hash]).await?.is_empty(),
                            tx.hub_answer(&room, &hash).await?.is_some(),
                        ];
                        assert_eq!(known, [moment >= 300; 5], "{moment} in {name}");
                    }
                }
                Ok::<_, StoreError>(())
            })
        });
        look.await.unwrap();
    }

    #[tokio::test]
    async fn a_file_stops_growing_when_what_comes_is_no_more_than_what_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("a.sqlite"), "a.example").await.unwrap();
        let tea = portal(&store, "tea").await;
        let mut pages = Vec::new();
        for year in 0..8 {
            for month in 0..4 {
                let now = year * 400 + month * 100;
                said(&store, "tea", tea, now..now + 100).await;
                for table in [Aging::Names, Aging::Seen, Aging::Answers] {
                    forget(&store, table, now.saturating_sub(400)).await;
                }
            }
            let count = store.write(|tx| {
                Box::pin(async move {
                    let count = sqlx::query_as::<_, (i64,)>("PRAGMA page_count").fetch_one(tx.connection()).await?;
                    Ok::<_, StoreError>(count.0)
                })
            });
            pages.push(count.await.unwrap());
        }
        assert!(pages[0] < pages[1] && pages[7] <= pages[2] + pages[2] / 10, "{pages:?}");
    }
}

#[tokio::test]
async fn what_is_known_of_a_key_package_goes_when_it_has_expired() {
    let (_directory, store) = store().await;
    let (ours, theirs) = (KeyPackageRef::new(&[1; 32]), KeyPackageRef::new(&[2; 32]));
    let client = ClientUri::parse("mimi://a.example/d/alice/1").unwrap();
    let noted = store.write(move |tx| {
        Box::pin(async move {
            let owner = tx.new_mls_owner("leaf").await?;
            // Ours is in seconds, as in its leaf; what went through us in milliseconds.
            tx.add_key_package(owner, &client, &ours, 1000).await?;
            tx.note_key_package(&theirs, "b.example", 1_000_000).await?;
            let mut known = Vec::new();
            for now in [999_999, 1_000_000, 1_001_000] {
                tx.forget_key_packages(now / 1000).await?;
                tx.forget_routed_key_packages(now).await?;
                let ours = tx.leaf_of_key_package(&ours).await?.is_some();
                known.push((ours, tx.key_package_is_from(&theirs, "b.example").await?));
            }
            Ok::<_, StoreError>(known)
        })
    });
    assert_eq!(noted.await.unwrap(), [(true, true), (true, true), (false, false)]);
}
