//! What runs inside a write: a connection in an open transaction, and what to undo in memory if it fails.

use sqlx::{AnyConnection, any::AnyRow};

use super::StoreError;

/// The current transaction. Rows are read and written by the `impl Tx` blocks beside each table.
pub struct Tx {
    connection: AnyConnection,
    /// Run if the work (from `job` on) or the whole group (from 0 on) is rolled back: caches forget what
    /// they learned from it.
    on_rollback: Vec<Box<dyn FnOnce() + Send>>,
    /// Where the current job's hooks begin.
    job: usize,
    /// Run when the group is committed: wake who waits for its effects.
    on_commit: Vec<Box<dyn FnOnce() + Send>>,
    job_commits: usize,
}

impl Tx {
    pub(super) fn new(connection: AnyConnection) -> Self {
        Self { connection, on_rollback: Vec::new(), job: 0, on_commit: Vec::new(), job_commits: 0 }
    }

    pub fn connection(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    /// `undo` runs if what this job did is rolled back, whatever the reason.
    pub fn on_rollback(&mut self, undo: impl FnOnce() + Send + 'static) {
        self.on_rollback.push(Box::new(undo));
    }

    /// `then` runs once this job's effects are on disk, and never if they don't get there.
    pub fn on_commit(&mut self, then: impl FnOnce() + Send + 'static) {
        self.on_commit.push(Box::new(then));
    }

    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        // SQLite would else find out at the first write that another process has the file.
        self.statement(if self.connection.backend_name() == "SQLite" { "BEGIN IMMEDIATE" } else { "BEGIN" }).await
    }

    pub(super) async fn savepoint(&mut self) -> Result<(), sqlx::Error> {
        self.job = self.on_rollback.len();
        self.job_commits = self.on_commit.len();
        self.statement("SAVEPOINT job").await
    }

    pub(super) async fn release(&mut self) -> Result<(), sqlx::Error> {
        self.statement("RELEASE SAVEPOINT job").await
    }

    pub(super) async fn rollback_to_savepoint(&mut self) -> Result<(), sqlx::Error> {
        for undo in self.on_rollback.drain(self.job..) {
            undo();
        }
        self.on_commit.truncate(self.job_commits);
        self.statement("ROLLBACK TO SAVEPOINT job").await?;
        self.statement("RELEASE SAVEPOINT job").await
    }

    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        mimi_adapter::failpoint!("store.commit");
        mimi_adapter::failpoint!("store.commit.fails", sqlx::Error::Io(std::io::ErrorKind::StorageFull.into()));
        self.statement("COMMIT").await?;
        self.on_rollback.clear();
        for then in self.on_commit.drain(..) {
            then();
        }
        Ok(())
    }

    /// After any failure of the transaction itself. SQLite may have rolled back already; then this
    /// statement fails, which changes nothing.
    pub(super) async fn abandon(&mut self) -> Result<(), sqlx::Error> {
        for undo in self.on_rollback.drain(..) {
            undo();
        }
        self.on_commit.clear();
        self.statement("ROLLBACK").await
    }

    pub(super) fn into_connection(self) -> AnyConnection {
        self.connection
    }

    async fn statement(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&mut self.connection).await.map(|_| ())
    }
}

/// Reads one column by its position.
pub(super) fn column<'r, T>(row: &'r AnyRow, index: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
{
    use sqlx::Row;
    Ok(row.try_get(index)?)
}
