//! What took something away from people lately, and what the breaker holds back. The rules are the business of
//! `crate::breaker`.

use super::{StoreError, Tx};

/// The breaker has stopped something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trip {
    pub id: i64,
    pub kind: String,
    pub scope: String,
    pub tripped: u64,
    /// When an admin said that it may pass.
    pub allowed: Option<u64>,
}

/// Something that waits for an admin: what would have gone to the outbox.
#[derive(Clone, Debug)]
pub struct Held {
    pub id: i64,
    pub destination: String,
    pub payload: Vec<u8>,
    pub who: String,
    pub at: u64,
}

impl Tx {
    pub async fn note_destructive(
        &mut self,
        kind: &str,
        room: &str,
        adapter: &str,
        who: &str,
        at: u64,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO destructive (kind, room, adapter, who, at) VALUES ($1, $2, $3, $4, $5)")
            .bind(kind)
            .bind(room)
            .bind(adapter)
            .bind(who)
            .bind(at as i64)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// How many people `kind` has hit in a room since `after`. Coming and going ten times is one person.
    pub async fn people_hit_in_room(&mut self, kind: &str, room: &str, after: u64) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(DISTINCT who) FROM destructive WHERE room = $1 AND kind = $2 AND at > $3";
        let query = sqlx::query_as::<_, (i64,)>(sql).bind(room).bind(kind).bind(after as i64);
        Ok(query.fetch_one(self.connection()).await?.0)
    }

    /// The same, in all rooms of an adapter: people times rooms.
    pub async fn people_hit_at_adapter(&mut self, kind: &str, adapter: &str, after: u64) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM (SELECT DISTINCT room, who FROM destructive
                   WHERE adapter = $1 AND kind = $2 AND at > $3) AS hit";
        let query = sqlx::query_as::<_, (i64,)>(sql).bind(adapter).bind(kind).bind(after as i64);
        Ok(query.fetch_one(self.connection()).await?.0)
    }

    /// How often one person has done `kind` in a room since `after`.
    pub async fn deeds_of(&mut self, kind: &str, room: &str, who: &str, after: u64) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM destructive WHERE room = $1 AND kind = $2 AND at > $3 AND who = $4";
        let query = sqlx::query_as::<_, (i64,)>(sql).bind(room).bind(kind).bind(after as i64).bind(who);
        Ok(query.fetch_one(self.connection()).await?.0)
    }

    /// How many of the people hit in a room since `after` are no longer in its list.
    pub async fn people_gone(&mut self, kind: &str, room: &str, after: u64) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(DISTINCT who) FROM destructive WHERE room = $1 AND kind = $2 AND at > $3
                   AND who NOT IN (SELECT user_uri FROM participant WHERE room = $1)";
        let query = sqlx::query_as::<_, (i64,)>(sql).bind(room).bind(kind).bind(after as i64);
        Ok(query.fetch_one(self.connection()).await?.0)
    }

    pub async fn people_in_room(&mut self, room: &str) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM participant WHERE room = $1";
        Ok(sqlx::query_as::<_, (i64,)>(sql).bind(room).fetch_one(self.connection()).await?.0)
    }

    /// People of `domain` times rooms, over the rooms that are linked through an adapter.
    pub async fn people_at_adapter(&mut self, adapter: &str, domain: &str) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM participant JOIN portal ON portal.room = participant.room
                   WHERE portal.adapter = $1 AND portal.unlinked IS NULL AND participant.user_uri LIKE $2";
        let ours = format!("mimi://{domain}/%");
        Ok(sqlx::query_as::<_, (i64,)>(sql).bind(adapter).bind(ours).fetch_one(self.connection()).await?.0)
    }

    pub async fn forget_destructive(&mut self, before: u64) -> Result<(), StoreError> {
        for sql in ["DELETE FROM destructive WHERE at < $1", "DELETE FROM trip WHERE allowed < $1"] {
            sqlx::query(sql).bind(before as i64).execute(self.connection()).await?;
        }
        Ok(())
    }

    /// The last trip of its kind in this scope.
    pub async fn last_trip(&mut self, kind: &str, scope: &str) -> Result<Option<Trip>, StoreError> {
        let row = sqlx::query_as::<_, (i64, String, String, i64, Option<i64>)>(
            "SELECT id, kind, scope, tripped, allowed FROM trip WHERE kind = $1 AND scope = $2 ORDER BY id DESC LIMIT 1",
        )
        .bind(kind)
        .bind(scope)
        .fetch_optional(self.connection())
        .await?;
        Ok(row.map(parse))
    }

    pub async fn trip(&mut self, id: i64) -> Result<Option<Trip>, StoreError> {
        let sql = "SELECT id, kind, scope, tripped, allowed FROM trip WHERE id = $1";
        let row = sqlx::query_as::<_, (i64, String, String, i64, Option<i64>)>(sql).bind(id);
        Ok(row.fetch_optional(self.connection()).await?.map(parse))
    }

    /// Those that wait for an admin, and how much each holds.
    pub async fn open_trips(&mut self) -> Result<Vec<(Trip, u64)>, StoreError> {
        let rows = sqlx::query_as::<_, (i64, String, String, i64, i64)>(
            "SELECT trip.id, kind, scope, tripped, (SELECT COUNT(*) FROM held WHERE held.trip = trip.id)
             FROM trip WHERE allowed IS NULL ORDER BY trip.id",
        )
        .fetch_all(self.connection())
        .await?;
        let open = |(id, kind, scope, tripped, held)| (parse((id, kind, scope, tripped, None)), held as u64);
        Ok(rows.into_iter().map(open).collect())
    }

    pub async fn add_trip(&mut self, kind: &str, scope: &str, now: u64) -> Result<i64, StoreError> {
        let sql = "INSERT INTO trip (kind, scope, tripped) VALUES ($1, $2, $3) RETURNING id";
        let query = sqlx::query_as::<_, (i64,)>(sql).bind(kind).bind(scope).bind(now as i64);
        Ok(query.fetch_one(self.connection()).await?.0)
    }

    pub async fn allow_trip(&mut self, id: i64, now: u64) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE trip SET allowed = $2 WHERE id = $1").bind(id).bind(now as i64);
        query.execute(self.connection()).await?;
        Ok(())
    }

    /// Forgets a trip and all it held.
    pub async fn remove_trip(&mut self, id: i64) -> Result<(), StoreError> {
        for sql in ["DELETE FROM held WHERE trip = $1", "DELETE FROM trip WHERE id = $1"] {
            sqlx::query(sql).bind(id).execute(self.connection()).await?;
        }
        Ok(())
    }

    pub async fn hold(
        &mut self,
        trip: i64,
        destination: &str,
        payload: &[u8],
        who: &str,
        now: u64,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO held (trip, destination, payload, who, at) VALUES ($1, $2, $3, $4, $5)")
            .bind(trip)
            .bind(destination)
            .bind(payload)
            .bind(who)
            .bind(now as i64)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// What a trip holds, in order.
    pub async fn held(&mut self, trip: i64) -> Result<Vec<Held>, StoreError> {
        let rows = sqlx::query_as::<_, (i64, String, Vec<u8>, String, i64)>(
            "SELECT id, destination, payload, who, at FROM held WHERE trip = $1 ORDER BY id",
        )
        .bind(trip)
        .fetch_all(self.connection())
        .await?;
        let held = |(id, destination, payload, who, at)| Held { id, destination, payload, who, at: at as u64 };
        Ok(rows.into_iter().map(held).collect())
    }

    /// Forgets what is held of one person's `kind` for a destination.
    pub async fn release_held_of(&mut self, kind: &str, destination: &str, who: &str) -> Result<u64, StoreError> {
        let query = sqlx::query(
            "DELETE FROM held WHERE destination = $1 AND who = $2
                 AND trip IN (SELECT id FROM trip WHERE kind = $3)",
        );
        let query = query.bind(destination).bind(who).bind(kind);
        let gone = query.execute(self.connection()).await?.rows_affected();
        if gone > 0 {
            let sql = "DELETE FROM trip WHERE allowed IS NULL AND id NOT IN (SELECT trip FROM held)";
            sqlx::query(sql).execute(self.connection()).await?;
        }
        Ok(gone)
    }

    pub async fn remove_held(&mut self, id: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM held WHERE id = $1").bind(id).execute(self.connection()).await?;
        Ok(())
    }

    /// Has somebody written in a room after `at`?
    pub async fn has_written_since(&mut self, room: &str, who: &str, at: u64) -> Result<bool, StoreError> {
        let sql = "SELECT COUNT(*) FROM message WHERE room = $1 AND sender = $2 AND accepted > $3";
        let query = sqlx::query_as::<_, (i64,)>(sql).bind(room).bind(who).bind(at as i64);
        Ok(query.fetch_one(self.connection()).await?.0 > 0)
    }
}

fn parse((id, kind, scope, tripped, allowed): (i64, String, String, i64, Option<i64>)) -> Trip {
    Trip { id, kind, scope, tripped: tripped as u64, allowed: allowed.map(|at| at as u64) }
}
