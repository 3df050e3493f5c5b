//! What the jobs of a group will look for, looked up for all of them at once.
//!
//! Whatever comes is looked for before it is taken, and is almost never there. A statement each for that is much of
//! what a message costs. So a job can say beforehand what it will look for, and its group begins with one statement
//! for each kind. Only what is **not** there is remembered: what is there is rare, and read by whoever wants it.
//!
//! It holds until rows are written, which is at the commit and whenever a job needs a table as it will be.

use std::collections::HashSet;

use mimi_adapter::{ConversationId, NativeMessageId};
use sqlx::{
    Any, AnyConnection, AssertSqlSafe, FromRow,
    any::{AnyArguments, AnyRow},
    query::QueryAs,
};

use super::{behind, known::Known, portals::PortalId};
use crate::mimi::uri::RoomUri;

/// What a job will look for.
pub enum Sought {
    /// The message that something native is.
    Native { adapter: String, conversation: ConversationId, id: NativeMessageId },
    /// Whether a follower has seen these octets, by their hash.
    Seen { room: RoomUri, hash: [u8; 32] },
    /// What the hub has answered to these octets, by their hash.
    Answer { room: RoomUri, hash: [u8; 32] },
}

/// What is in no row.
#[derive(Default)]
pub(super) struct Ahead {
    pub natives: HashSet<(PortalId, NativeMessageId)>,
    pub seen: HashSet<(RoomUri, [u8; 32])>,
    pub answers: HashSet<(RoomUri, [u8; 32])>,
}

impl Ahead {
    pub fn clear(&mut self) {
        self.natives.clear();
        self.seen.clear();
        self.answers.clear();
    }

    pub async fn look(
        &mut self,
        connection: &mut AnyConnection,
        known: &Known,
        sought: Vec<Sought>,
    ) -> Result<(), sqlx::Error> {
        for sought in sought {
            match sought {
                Sought::Native { adapter, conversation, id } => {
                    if let Some(portal) = known.portals_by_conversation.get(&(adapter, conversation)) {
                        self.natives.insert((portal.id, id));
                    }
                }
                Sought::Seen { room, hash } => drop(self.seen.insert((room, hash))),
                Sought::Answer { room, hash } => drop(self.answers.insert((room, hash))),
            }
        }
        // A single one is left to whoever looks for it.
        if self.natives.len() < 2 {
            self.natives.clear();
        }
        let there = find(connection, "native_message", "portal", "native_id", &self.natives, |query, (portal, id)| {
            query.bind(*portal).bind(id.as_str().to_owned())
        });
        let there: Vec<(PortalId, String)> = there.await?;
        for (portal, id) in there {
            self.natives.remove(&(portal, NativeMessageId::new(id)));
        }
        for (table, names) in [("seen", &mut self.seen), ("hub_accepted", &mut self.answers)] {
            if names.len() < 2 {
                names.clear();
            }
            let there = find(connection, table, "room", "hash", names, |query, (room, hash)| {
                query.bind(room.as_str().to_owned()).bind(hash.to_vec())
            });
            let there: Vec<(String, Vec<u8>)> = there.await?;
            for (room, hash) in there {
                names.retain(|name| name.0.as_str() != room || name.1[..] != hash);
            }
        }
        Ok(())
    }
}

type Look<R> = QueryAs<'static, Any, R, AnyArguments>;

/// Which of `names` are in a table whose rows have names of two parts.
async fn find<T, R>(
    connection: &mut AnyConnection,
    table: &str,
    first: &str,
    second: &str,
    names: &HashSet<T>,
    bind: impl Fn(Look<R>, &T) -> Look<R>,
) -> Result<Vec<R>, sqlx::Error>
where
    R: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
{
    let mut found = Vec::new();
    for names in behind::padded(names.iter().collect()) {
        let sql = behind::many(
            &format!("SELECT {first}, {second} FROM (VALUES "),
            2,
            names.len(),
            &format!(") AS sought JOIN {table} ON {first} = sought.column1 AND {second} = sought.column2"),
        );
        let query = names.into_iter().fold(sqlx::query_as(AssertSqlSafe(sql)), &bind);
        found.extend(query.fetch_all(&mut *connection).await?);
    }
    Ok(found)
}
