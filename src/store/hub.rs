//! Rooms we are the hub of, as a hub sees them.

use mimi_adapter::Domain;

use super::{StoreError, Tx, seal};
use crate::{
    mimi::uri::RoomUri,
    mls::{Owner, codec::KeyPackageRef},
};

#[derive(Clone, Debug)]
pub struct HubRoom {
    pub room: RoomUri,
    pub owner: Owner,
    pub group_id: Vec<u8>,
    /// The last accepted_timestamp, in milliseconds.
    pub last_timestamp: u64,
}

impl Tx {
    pub async fn hub_room(&mut self, room: &RoomUri) -> Result<Option<HubRoom>, StoreError> {
        if let Some(known) = self.known.hubs.get(room) {
            return Ok(Some(known));
        }
        let row = sqlx::query_as::<_, (i64, Vec<u8>, i64)>(
            "SELECT owner, group_id, last_timestamp FROM hub_room WHERE room = $1",
        )
        .bind(room.as_str())
        .fetch_optional(self.connection())
        .await?;
        let Some((owner, group_id, last)) = row else { return Ok(None) };
        let hub = HubRoom { room: room.clone(), owner, group_id, last_timestamp: last as u64 };
        self.known.hubs.keep(room.clone(), hub.clone());
        Ok(Some(hub))
    }

    pub async fn add_hub_room(&mut self, hub: &HubRoom) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO hub_room (room, owner, group_id, last_timestamp) VALUES ($1, $2, $3, $4)")
            .bind(hub.room.as_str())
            .bind(hub.owner)
            .bind(hub.group_id.as_slice())
            .bind(hub.last_timestamp as i64)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Some of our rooms in which `provider` may have participants, together with `other` if that is given: as far as our
    /// own clients know, and those that none of ours is in.
    pub async fn hub_rooms_with(
        &mut self,
        provider: &Domain,
        other: Option<&Domain>,
    ) -> Result<Vec<RoomUri>, StoreError> {
        let users = |domain: &Domain| format!("mimi://{domain}/%");
        let other = other.unwrap_or(provider);
        let rows = sqlx::query_as::<_, (String,)>(
            "SELECT room FROM hub_room WHERE (\
                EXISTS (SELECT 1 FROM participant WHERE participant.room = hub_room.room AND user_uri LIKE $1) \
                AND EXISTS (SELECT 1 FROM participant WHERE participant.room = hub_room.room AND user_uri LIKE $2)) \
             OR NOT EXISTS (SELECT 1 FROM participant WHERE participant.room = hub_room.room) LIMIT 256",
        )
        .bind(users(provider))
        .bind(users(other))
        .fetch_all(self.connection())
        .await?;
        rows.into_iter().map(|(room,)| RoomUri::parse(&room).map_err(|e| StoreError::corrupt("hub_room", e))).collect()
    }

    /// The accepted_timestamp for the next event: now, but later than the last one (D44).
    pub fn next_timestamp(&mut self, hub: &mut HubRoom, now: u64) -> u64 {
        hub.last_timestamp = now.max(hub.last_timestamp + 1);
        self.behind.timestamps.put(hub.room.clone(), hub.last_timestamp);
        self.known.hubs.keep(hub.room.clone(), hub.clone());
        hub.last_timestamp
    }

    /// The answer given to these very octets before, for a provider that did not hear it (D43).
    pub async fn hub_answer(&mut self, room: &RoomUri, hash: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some((_, response)) = self.behind.answers.get(&(room.clone(), *hash)) {
            return Ok(Some(response.clone()));
        }
        if self.ahead.answers.contains(&(room.clone(), *hash)) {
            return Ok(None);
        }
        let row = sqlx::query_as::<_, (Vec<u8>,)>("SELECT response FROM hub_accepted WHERE room = $1 AND hash = $2")
            .bind(room.as_str())
            .bind(hash.as_slice())
            .fetch_optional(self.reading())
            .await?;
        row.map(|(response,)| seal::open("hub_accepted", &[room.as_str().as_bytes(), hash], response)).transpose()
    }

    pub fn hub_accepted(&mut self, room: &RoomUri, hash: [u8; 32], timestamp: u64, response: &[u8]) {
        self.behind.answers.put((room.clone(), hash), (timestamp, response.to_vec()));
    }

    /// A KeyPackage of a provider went through us, for who asked through us.
    pub async fn note_key_package(
        &mut self,
        reference: &KeyPackageRef,
        provider: &str,
        expires: u64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO routed_key_package (reference, provider, expires) VALUES ($1, $2, $3)
             ON CONFLICT (reference) DO NOTHING",
        )
        .bind(reference.as_bytes())
        .bind(provider)
        .bind(expires as i64)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    pub async fn key_package_is_from(&mut self, reference: &KeyPackageRef, provider: &str) -> Result<bool, StoreError> {
        let sql = "SELECT COUNT(*) FROM routed_key_package WHERE reference = $1 AND provider = $2";
        let (count,) = sqlx::query_as::<_, (i64,)>(sql)
            .bind(reference.as_bytes())
            .bind(provider)
            .fetch_one(self.connection())
            .await?;
        Ok(count > 0)
    }

    pub async fn forget_routed_key_packages(&mut self, now: u64) -> Result<(), StoreError> {
        let sql = "DELETE FROM routed_key_package WHERE expires < $1";
        sqlx::query(sql).bind(now as i64).execute(self.connection()).await?;
        Ok(())
    }

    /// Private and public key for a purpose of the hub's.
    pub async fn hub_key(&mut self, purpose: &str) -> Result<Option<(Vec<u8>, Vec<u8>)>, StoreError> {
        let sql = "SELECT private_key, public_key FROM hub_key WHERE purpose = $1";
        let row = sqlx::query_as::<_, (Vec<u8>, Vec<u8>)>(sql).bind(purpose).fetch_optional(self.connection()).await?;
        let open = |part: &str, octets| seal::open("hub_key", &[purpose.as_bytes(), part.as_bytes()], octets);
        row.map(|(private, public)| Ok((open("private", private)?, open("public", public)?))).transpose()
    }

    /// Of the keys whose purpose begins so, only these are kept.
    pub async fn forget_hub_keys(&mut self, begins: &str, keep: &[String; 2]) -> Result<(), StoreError> {
        let sql = "DELETE FROM hub_key WHERE purpose LIKE $1 AND purpose NOT IN ($2, $3)";
        let query = sqlx::query(sql).bind(format!("{begins}%")).bind(keep[0].as_str()).bind(keep[1].as_str());
        query.execute(self.connection()).await?;
        Ok(())
    }

    pub async fn add_hub_key(&mut self, purpose: &str, private: &[u8], public: &[u8]) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO hub_key (purpose, private_key, public_key) VALUES ($1, $2, $3)")
            .bind(purpose)
            .bind(seal::seal(&[purpose.as_bytes(), b"private"], private.to_vec()))
            .bind(seal::seal(&[purpose.as_bytes(), b"public"], public.to_vec()))
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
