//! An installation moves to another database in the middle of a conversation, by the hand of its admin.

use std::process::Output;

use mimi_gateway::{
    admin::Operator,
    outbox::Destination,
    store::{Place, Store},
};
use tokio::process::Command;

use crate::{
    database::Database,
    messenger::Mood,
    restart::{both_post, have_read_it_all},
    world::{World, domain, tea},
};

/// What an admin types: `mimi-gateway db …`, with a configuration that names this database.
async fn types(provider: &str, database: &Database, db: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.toml");
    let store = match database {
        Database::File { path, .. } => format!("path = {path:?}"),
        Database::Server { .. } => format!("url = {:?}", database.url()),
    };
    let text = format!(
        r#"
        provider = {{ domain = "{provider}", certificate_file = "{provider}.crt", key_file = "{provider}.key" }}
        store = {{ {store} }}
        adapters.loopback = {{ kind = "loopback", socket = "loopback.sock" }}
        "#
    );
    std::fs::write(&config, text).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_mimi-gateway"));
    program.arg("db").args(db).arg("--config").arg(config).env_remove("RUST_LOG").output().await.unwrap()
}

fn told(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|it| String::from_utf8(it.clone()).unwrap()).concat()
}

impl World {
    /// The database of a gateway that is stopped is copied to another, where it will go on.
    async fn moves(&mut self, name: &str, to: Database) {
        let place = to.place();
        let words = match &place {
            Place::File(path) => path.display().to_string(),
            Place::Server(server) => server.url().to_owned(),
        };
        let from = self.takes_database(name, to);
        let copied = types(name, &from, &["copy", "--to", &words]).await;
        assert!(copied.status.success(), "{}: {}", copied.status, told(&copied));
        assert!(told(&copied).contains(&format!("Everything is in {place}")), "{}", told(&copied));
        // The old one is shut for good, by whatever way somebody comes.
        let migrated = types(name, &from, &["migrate"]).await;
        assert!(!migrated.status.success());
        let started = Store::open(from.place(), name).await.err().unwrap();
        for refusal in [told(&migrated), started.to_string()] {
            assert!(refusal.contains(&format!("was moved to {place}")), "{refusal}");
        }
    }

    async fn waiting(&self, name: &str, to: &Destination) -> u64 {
        let queues = self.desk(name).outbox(None).await.unwrap().queues;
        queues.iter().find(|queue| queue.destination == to.to_string()).map_or(0, |queue| queue.waiting)
    }
}

/// Where the gateway `moving` goes on, one database after the other; `still` is the other gateway.
async fn moves_in_mid_conversation(moving: &str, still: &str, databases: Vec<Database>) {
    let mut world = World::of_two().await;
    let mut said = 0;
    both_post(&world, 0..5);
    for database in databases {
        said += 5;
        have_read_it_all(&world, said).await;
        let (ours, theirs) = match moving {
            "a.example" => (world.alice.clone(), world.bob.clone()),
            _ => (world.bob.clone(), world.alice.clone()),
        };
        // Five messages wait for our messenger, which takes none now, and five for the other gateway, which is away.
        ours.messenger.when(&said.to_string(), Mood::NotNow(usize::MAX));
        for n in said..said + 5 {
            theirs.says(&n.to_string()).await;
        }
        let in_here = Destination::Portal(tea());
        world.eventually("they are here", async || world.waiting(moving, &in_here).await == 5).await;
        world.stop(still).await;
        for n in said..said + 5 {
            ours.says(&n.to_string()).await;
        }
        let out_there = match moving {
            "a.example" => Destination::Follower(tea(), domain(still)),
            _ => Destination::Hub(tea()),
        };
        // A hub may still have to tell the other gateway of its own.
        world.eventually("ours are on their way", async || world.waiting(moving, &out_there).await >= 5).await;

        world.stop(moving).await;
        world.moves(moving, database).await;
        ours.messenger.when(&said.to_string(), Mood::NotNow(0));
        said += 5;
        both_post(&world, said..said + 5);
        world.start(moving).await;
        world.start(still).await;
    }
    said += 5;
    have_read_it_all(&world, said).await;
    // What was said before it is known by its names.
    world.alice.replies_to("1", "Long ago.").await;
    world.bob.reads("alice (a.example) answers \"1\": Long ago.").await;
    world.bob.replies_to("1", "Before we moved.").await;
    world.alice.reads("bob (b.example) answers \"1\": Before we moved.").await;
}

#[tokio::test]
async fn a_hub_moves_to_another_file() {
    moves_in_mid_conversation("a.example", "b.example", vec![Database::file()]).await;
}

#[tokio::test]
async fn a_follower_moves_to_another_file() {
    moves_in_mid_conversation("b.example", "a.example", vec![Database::file()]).await;
}

async fn server() -> Database {
    Database::on(std::env::var("MIMI_TEST_POSTGRES").expect("tests/lab/postgres cargo test starts a server")).await
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server: tests/lab/postgres"]
async fn a_hub_moves_to_a_file_and_from_there_to_a_server() {
    let databases = vec![Database::file(), server().await];
    moves_in_mid_conversation("a.example", "b.example", databases).await;
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server: tests/lab/postgres"]
async fn a_follower_moves_to_a_file_and_from_there_to_a_server() {
    let databases = vec![Database::file(), server().await];
    moves_in_mid_conversation("b.example", "a.example", databases).await;
}

#[tokio::test]
async fn an_admin_makes_a_database_before_there_is_a_gateway() {
    let database = Database::new().await;
    let first = types("a.example", &database, &["migrate"]).await;
    assert!(first.status.success() && told(&first).contains("schema 1, the first shape"), "{}", told(&first));
    let again = types("a.example", &database, &["migrate"]).await;
    assert_eq!(told(&again).lines().count(), 1, "{}", told(&again));
    assert!(told(&again).contains("has the current schema"), "{}", told(&again));
    Store::open(database.place(), "a.example").await.unwrap();
}
