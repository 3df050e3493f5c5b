//! What is forgotten when it is old: names of messages, what has been seen, and what was answered to it.
//!
//! These tables get rows with every message and would grow for as long as the gateway runs. Their rows lie in the
//! order of their names and not of their age. Why no index by age? It would be written with every message, and again
//! with the hub's timestamp, for rows that are looked for by it once in their lives; it made the names a fifth larger.
//! Instead the whole table is walked through in the order of its key, a piece at a time, each in a transaction of its
//! own that is over in milliseconds. A row is looked at many times before it goes, and on its own way no message pays.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;

use super::{StoreError, Tx, behind};

/// The rows that are looked at in one transaction.
const PIECE: usize = 256;

/// A table whose rows go by their age. Each has rows of a room, with a name and a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aging {
    /// Messages, and what they are called in a conversation.
    Names,
    /// What providers have taken.
    FannedOut,
    Seen,
    Answers,
}

impl Aging {
    /// The table, and in it the columns with the name and the time.
    fn columns(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Names => ("message", "message_id", "accepted"),
            Self::FannedOut => ("fanned_out", "name", "at"),
            Self::Seen => ("seen", "hash", "at"),
            Self::Answers => ("hub_accepted", "hash", "timestamp"),
        }
    }
}

/// How far a walk has come: to the row of this room and name. It begins before all of them.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    room: String,
    name: Vec<u8>,
}

impl Tx {
    /// Looks at the next rows of a walk and forgets those from before a time. Answers how far that was; `None` at the
    /// table's end.
    pub async fn forget_old(
        &mut self,
        table: Aging,
        before: u64,
        walked: &Walked,
    ) -> Result<Option<Walked>, StoreError> {
        let (of, name, time) = table.columns();
        let sql = format!(
            "SELECT room, {name}, {time} FROM {of} WHERE (room, {name}) > ($1, $2) ORDER BY room, {name} LIMIT {PIECE}"
        );
        let rows = sqlx::query_as::<_, (String, Vec<u8>, i64)>(AssertSqlSafe(sql))
            .bind(walked.room.as_str())
            .bind(walked.name.as_slice())
            // What waits to be written is new.
            .fetch_all(self.reading())
            .await?;
        let last = rows.get(PIECE - 1).map(|(room, name, _)| Walked { room: room.clone(), name: name.clone() });
        let mut old: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (room, name, _) in rows.into_iter().filter(|(.., time)| *time < before as i64) {
            old.entry(room).or_default().push(name);
        }
        for (room, names) in old {
            for names in behind::padded(names) {
                // Without its author nobody could tell any more who may change a message, so both go at once.
                if table == Aging::Names {
                    let head = "DELETE FROM native_message
                                WHERE portal = (SELECT id FROM portal WHERE room = $1) AND message_id IN ";
                    self.forget_all_of(head, &room, &names).await?;
                    for head in [
                        "DELETE FROM topic WHERE room = $1 AND message_id IN ",
                        "DELETE FROM version WHERE room = $1 AND message_id IN ",
                    ] {
                        self.forget_all_of(head, &room, &names).await?;
                    }
                }
                self.forget_all_of(&format!("DELETE FROM {of} WHERE room = $1 AND {name} IN "), &room, &names).await?;
            }
        }
        Ok(last)
    }

    async fn forget_all_of(&mut self, head: &str, room: &str, names: &[Vec<u8>]) -> Result<(), StoreError> {
        let query = sqlx::query(AssertSqlSafe(behind::listed(head, 2, names.len()))).bind(room);
        names.iter().fold(query, |query, name| query.bind(name.as_slice())).execute(self.connection()).await?;
        Ok(())
    }
}
