//! A database for a test: a file in a folder of its own, or, where MIMI_TEST_POSTGRES names a server
//! (`tests/lab/postgres` starts one), a database of its own there.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use sqlx::{AnyConnection, AssertSqlSafe, Connection};

/// Gone when this is dropped.
pub enum Database {
    File { path: PathBuf, _folder: tempfile::TempDir },
    Server { server: String, name: String },
}

impl Database {
    pub async fn new() -> Self {
        match std::env::var("MIMI_TEST_POSTGRES") {
            Ok(server) => Self::on(server).await,
            Err(_) => Self::file(),
        }
    }

    pub fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::File { path: folder.path().join("gateway.sqlite"), _folder: folder }
    }

    /// A new one on a server; its URL names a database that can be connected to.
    pub async fn on(server: String) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        said(&server, format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")).await.unwrap();
        Self::Server { server, name }
    }

    /// As sqlx connects to it.
    pub fn url(&self) -> String {
        match self {
            Self::File { path, .. } => format!("sqlite://{}", path.display()),
            Self::Server { server, name } => format!("{}/{name}", server.rsplit_once('/').unwrap().0),
        }
    }
}

async fn said(server: &str, sql: String) -> Result<(), sqlx::Error> {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(server).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}

impl Drop for Database {
    fn drop(&mut self) {
        let Self::Server { server, name } = self else { return };
        let (server, sql) = (server.clone(), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        // Whoever drops it is on a runtime that can't be waited on from here.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(said(&server, sql))
        });
        if !std::thread::panicking() {
            dropping.join().unwrap().unwrap();
        }
    }
}
