//! What runs inside a write: a connection in an open transaction, and what to undo in memory if it fails.

use std::fmt;

use futures::{StreamExt, TryFutureExt, future::BoxFuture, stream::BoxStream};
use sqlx::{
    Any, AnyConnection, Either, Execute, Executor, SqlStr,
    any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
};

use super::{Sought, StoreError, ahead::Ahead, behind::Behind, known::Known, queues::Queues, script::Script};

/// The current transaction. Rows are read and written by the `impl Tx` blocks beside each table.
pub struct Tx {
    connection: AnyConnection,
    /// Rows that are written before anybody reads them, or with the commit.
    pub(super) behind: Behind,
    /// Rows that have been read before and are as they were.
    pub(super) known: Known,
    /// What is in no row.
    pub(super) ahead: Ahead,
    /// The outbox, where nobody else writes it.
    pub(super) queues: Option<Queues>,
    /// The transaction has begun, which it does with the first statement that could change something: a group that only
    /// looks needs none.
    begun: bool,
    /// The current job has a savepoint to go back to. It gets one with its first statement that could change
    /// something.
    saved: bool,
    /// Rows of an earlier job could not be written, so nothing of this group can be committed.
    broken: bool,
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
    /// `queues` for a database that nobody else writes.
    pub(super) fn new(connection: AnyConnection, queues: Option<Queues>) -> Self {
        Self {
            connection,
            behind: Behind::default(),
            known: Known::default(),
            ahead: Ahead::default(),
            queues,
            begun: false,
            saved: false,
            broken: false,
            on_rollback: Vec::new(),
            job: 0,
            on_commit: Vec::new(),
            job_commits: 0,
        }
    }

    /// For any statement: what waits to be written is written first, and the job can be undone from there.
    pub fn connection(&mut self) -> Prepared<'_> {
        Prepared(self)
    }

    /// Rows that were read before are read again: somebody else may have changed them.
    pub fn forget(&mut self) {
        self.known.clear();
        self.ahead.clear();
        if let Some(queues) = &mut self.queues {
            queues.clear();
        }
    }

    /// For a SELECT: between two transactions, or of rows that nothing in [`Behind`] could change, or whose reader has
    /// looked there.
    pub(super) fn reading(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }

    async fn prepare(&mut self) -> Result<(), sqlx::Error> {
        if self.behind.names_something() {
            self.ahead.clear();
        }
        let written = self.write_behind().await;
        // The job might go on as if nothing were missing.
        self.broken |= written.is_err();
        written
    }

    async fn write_behind(&mut self) -> Result<(), sqlx::Error> {
        let mut script = Script::new(&mut self.connection);
        if !std::mem::replace(&mut self.begun, true) {
            script.begin().await?;
        }
        if !std::mem::replace(&mut self.saved, true) {
            self.behind.write(&mut script, false).await?;
            script.add("SAVEPOINT job").await?;
        }
        self.behind.write(&mut script, true).await?;
        script.send().await
    }

    /// `undo` runs if what this job did is rolled back, whatever the reason.
    pub fn on_rollback(&mut self, undo: impl FnOnce() + Send + 'static) {
        self.on_rollback.push(Box::new(undo));
    }

    /// `then` runs once this job's effects are on disk, and never if they don't get there.
    pub fn on_commit(&mut self, then: impl FnOnce() + Send + 'static) {
        self.on_commit.push(Box::new(then));
    }

    /// Looks for what the jobs of a group will look for.
    pub(super) async fn look_ahead(&mut self, sought: Vec<Sought>) -> Result<(), sqlx::Error> {
        self.ahead.clear();
        self.ahead.look(&mut self.connection, &self.known, sought).await
    }

    /// A job begins. What it leaves waiting is apart from what others left.
    pub(super) fn savepoint(&mut self) {
        self.job = self.on_rollback.len();
        self.job_commits = self.on_commit.len();
        self.behind.begin_job();
    }

    pub(super) async fn release(&mut self) -> Result<(), sqlx::Error> {
        match std::mem::take(&mut self.saved) {
            true => self.statement("RELEASE SAVEPOINT job").await,
            false => Ok(()),
        }
    }

    pub(super) async fn rollback_to_savepoint(&mut self) -> Result<(), sqlx::Error> {
        for undo in self.on_rollback.drain(self.job..) {
            undo();
        }
        self.on_commit.truncate(self.job_commits);
        self.behind.forget_job();
        self.forget();
        if std::mem::take(&mut self.saved) {
            self.statement("ROLLBACK TO SAVEPOINT job").await?;
            self.statement("RELEASE SAVEPOINT job").await?;
        }
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        if self.broken {
            return Err(sqlx::Error::Protocol("a row could not be written".into()));
        }
        if self.begun || !self.behind.is_empty() {
            let mut script = Script::new(&mut self.connection);
            if !std::mem::replace(&mut self.begun, true) {
                script.begin().await?;
            }
            self.behind.write(&mut script, true).await?;
            mimi_adapter::failpoint!("store.commit");
            mimi_adapter::failpoint!("store.commit.fails", sqlx::Error::Io(std::io::ErrorKind::StorageFull.into()));
            script.add("COMMIT").await?;
            script.send().await?;
            self.begun = false;
        }
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
        self.behind.clear();
        self.forget();
        self.saved = false;
        self.broken = false;
        match std::mem::take(&mut self.begun) {
            true => self.statement("ROLLBACK").await,
            false => Ok(()),
        }
    }

    pub(super) fn into_connection(self) -> AnyConnection {
        self.connection
    }

    async fn statement(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(&mut self.connection).await.map(|_| ())
    }
}

/// The connection, once everything is ready for a statement that may read and change anything.
pub struct Prepared<'c>(&'c mut Tx);

impl fmt::Debug for Prepared<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepared")
    }
}

impl<'c> Executor<'c> for Prepared<'c> {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let tx: &'c mut Tx = self.0;
        let prepared = async move {
            tx.prepare().await?;
            let connection: &'c mut AnyConnection = &mut tx.connection;
            Ok(connection.fetch_many(query))
        };
        prepared.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        Box::pin(async move {
            self.0.prepare().await?;
            self.0.connection.fetch_optional(query).await
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        self.0.connection.prepare_with(sql, parameters)
    }
}

/// Words that came from others, as both databases can hold them: in PostgreSQL no text has a NUL.
pub(super) fn text(words: &str) -> String {
    words.replace('\0', "\u{FFFD}")
}

/// Reads one column by its position.
pub(super) fn column<'r, T>(row: &'r AnyRow, index: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
{
    use sqlx::Row;
    Ok(row.try_get(index)?)
}
