//! Several statements in one trip to the database.
//!
//! SQLite's connection lives in a thread of its own, and to hand a statement to it and back costs more than most
//! statements do: two switches between threads. So what is written with a commit goes there as one text, from BEGIN to
//! COMMIT. A statement that fails is the last one; the transaction is then rolled back as after any failure.
//! PostgreSQL takes one statement with parameters at a time, and gets them so.

use std::fmt::Write;

use sqlx::{Any, AnyConnection, Arguments, AssertSqlSafe, Encode, Type, any::AnyArguments};

/// What more rows than this are in goes alone: a text is prepared once and then kept, and there should not be one for
/// each mixture of large and small.
const FEW: usize = 4;

pub(super) struct Script<'c> {
    connection: &'c mut AnyConnection,
    together: bool,
    sql: String,
    bound: Bound,
}

/// The values of the parameters, in their order.
#[derive(Default)]
pub(super) struct Bound(AnyArguments);

impl Bound {
    pub fn bind<'t, T: Encode<'t, Any> + Type<Any>>(mut self, value: T) -> Self {
        self.0.add(value).expect("texts, numbers and octets can be bound");
        self
    }
}

impl<'c> Script<'c> {
    pub fn new(connection: &'c mut AnyConnection) -> Self {
        let together = connection.backend_name() == "SQLite";
        Self { connection, together, sql: String::new(), bound: Bound::default() }
    }

    /// A statement whose parameters are bound for one row after the other, and numbered from 1.
    pub async fn rows<T>(
        &mut self,
        sql: &str,
        rows: Vec<T>,
        bind: impl Fn(Bound, T) -> Bound,
    ) -> Result<(), sqlx::Error> {
        if !self.together || rows.len() > FEW {
            self.send().await?;
            let bound = rows.into_iter().fold(Bound::default(), bind);
            return execute(self.connection, sql.to_owned(), bound).await;
        }
        renumber(sql, self.bound.0.len(), &mut self.sql);
        self.bound = rows.into_iter().fold(std::mem::take(&mut self.bound), bind);
        Ok(())
    }

    pub async fn begin(&mut self) -> Result<(), sqlx::Error> {
        // SQLite would else find out at the first write that another process has the file.
        self.add(if self.together { "BEGIN IMMEDIATE" } else { "BEGIN" }).await
    }

    /// A statement without parameters.
    pub async fn add(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        self.rows(sql, vec![()], |bound, ()| bound).await
    }

    /// Does what has been added. Nothing of it is done before.
    pub async fn send(&mut self) -> Result<(), sqlx::Error> {
        if self.sql.is_empty() {
            return Ok(());
        }
        let (sql, bound) = (std::mem::take(&mut self.sql), std::mem::take(&mut self.bound));
        execute(self.connection, sql, bound).await
    }
}

async fn execute(connection: &mut AnyConnection, sql: String, bound: Bound) -> Result<(), sqlx::Error> {
    use sqlx::Executor;
    connection.execute(sqlx::query_with(AssertSqlSafe(sql), bound.0)).await.map(|_| ())
}

/// `$1` becomes `$<1 + by>`. There is no other dollar in our statements.
fn renumber(sql: &str, by: usize, into: &mut String) {
    let mut parts = sql.split('$');
    into.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let number: usize = part[..digits].parse().expect("a parameter is a number");
        write!(into, "${}{}", number + by, &part[digits..]).expect("writing to a string never fails");
    }
    into.push(';');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_on() {
        let mut sql = String::new();
        renumber("BEGIN", 0, &mut sql);
        renumber("UPDATE t SET a = $1 WHERE b IN ($2, $10)", 3, &mut sql);
        assert_eq!(sql, "BEGIN;UPDATE t SET a = $4 WHERE b IN ($5, $13);");
    }
}
