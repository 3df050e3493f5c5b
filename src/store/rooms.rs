//! Rooms as their members see them. Nothing here is the hub's.

use sqlx::any::AnyRow;

use super::{StoreError, Tx, seal, tx::column};
use crate::{
    mimi::{
        participants::ParticipantListData,
        uri::{RoomUri, UserUri},
    },
    mls::Owner,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    pub room: RoomUri,
    pub name: String,
    /// A fixed_membership room of two.
    pub direct: bool,
    pub state: RoomState,
    /// What the room has once it is open.
    pub group: Option<RoomGroup>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomGroup {
    pub group_id: Vec<u8>,
    /// The leaf that decrypts for all of ours.
    pub reader: Owner,
    pub epoch: u64,
    /// Since when the hub has been in a later epoch, and nothing has come that leads there, in milliseconds.
    pub behind: Option<u64>,
    /// What is of an earlier epoch than this can't be read, and the people have yet to hear so.
    pub unread: Option<u64>,
}

impl RoomGroup {
    pub fn new(group_id: Vec<u8>, reader: Owner, epoch: u64) -> Self {
        Self { group_id, reader, epoch, behind: None, unread: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomState {
    /// Ours, and its group is founded when the first native person is seen.
    New,
    /// Another provider's, and no Welcome has come yet.
    Waiting,
    Open,
    /// None of our users is in it any more.
    Left,
}

impl RoomState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Waiting => "waiting",
            Self::Open => "open",
            Self::Left => "left",
        }
    }
}

impl Tx {
    pub async fn room(&mut self, room: &RoomUri) -> Result<Option<Room>, StoreError> {
        if let Some(known) = self.known.rooms.get(room) {
            return Ok(Some(known));
        }
        let sql = "SELECT room, name, direct, state, group_id, reader, epoch, behind, unread FROM room WHERE room = $1";
        let row = sqlx::query(sql).bind(room.as_str()).fetch_optional(self.connection()).await?;
        let Some(row) = row else { return Ok(None) };
        let row = parse(&row)?;
        self.known.rooms.keep(room.clone(), row.clone());
        Ok(Some(row))
    }

    pub async fn rooms(&mut self) -> Result<Vec<Room>, StoreError> {
        let sql = "SELECT room, name, direct, state, group_id, reader, epoch, behind, unread FROM room ORDER BY room";
        let rows = sqlx::query(sql).fetch_all(self.connection()).await?;
        rows.iter().map(parse).collect()
    }

    /// The next room in the order of their names.
    pub async fn room_after(&mut self, room: Option<&RoomUri>) -> Result<Option<RoomUri>, StoreError> {
        let row = sqlx::query_as::<_, (String,)>("SELECT room FROM room WHERE room > $1 ORDER BY room LIMIT 1")
            .bind(room.map_or("", RoomUri::as_str))
            .fetch_optional(self.connection())
            .await?;
        row.map(|(room,)| RoomUri::parse(&room)).transpose().map_err(|e| StoreError::corrupt("room", e))
    }

    pub async fn save_room(&mut self, room: &Room) -> Result<(), StoreError> {
        self.known.rooms.forget(&room.room);
        sqlx::query(
            "INSERT INTO room (room, name, direct, state, group_id, reader, epoch, behind, unread)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (room) DO UPDATE SET name = excluded.name, direct = excluded.direct, state = excluded.state,
                 group_id = excluded.group_id, reader = excluded.reader, epoch = excluded.epoch,
                 behind = excluded.behind, unread = excluded.unread",
        )
        .bind(room.room.as_str())
        .bind(super::tx::text(&room.name))
        .bind(i64::from(room.direct))
        .bind(room.state.as_str())
        .bind(room.group.as_ref().map(|group| group.group_id.clone()))
        .bind(room.group.as_ref().map(|group| group.reader))
        .bind(room.group.as_ref().map_or(0, |group| group.epoch as i64))
        .bind(room.group.as_ref().and_then(|group| group.behind).map(|since| since as i64))
        .bind(room.group.as_ref().and_then(|group| group.unread).map(|epoch| epoch as i64))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    pub async fn participants(&mut self, room: &RoomUri) -> Result<Vec<(UserUri, u32)>, StoreError> {
        let rows = sqlx::query_as::<_, (String, i64, i64)>(
            "SELECT user_uri, role, sum FROM participant WHERE room = $1 ORDER BY user_uri",
        )
        .bind(room.as_str())
        .fetch_all(self.connection())
        .await?;
        rows.into_iter()
            .map(|(user, role, sum)| {
                seal::check("participant", &participant(room, &user, &role.to_be_bytes()), sum)?;
                let user = UserUri::parse(&user).map_err(|e| StoreError::corrupt("participant", e))?;
                Ok((user, role as u32))
            })
            .collect()
    }

    pub async fn participant_role(&mut self, room: &RoomUri, user: &UserUri) -> Result<Option<u32>, StoreError> {
        let name = (room.clone(), user.clone());
        if let Some(known) = self.known.roles.get(&name) {
            return Ok(Some(known));
        }
        let sql = "SELECT role, sum FROM participant WHERE room = $1 AND user_uri = $2";
        let row = sqlx::query_as::<_, (i64, i64)>(sql)
            .bind(room.as_str())
            .bind(user.as_str())
            .fetch_optional(self.connection())
            .await?;
        let Some((role, sum)) = row else { return Ok(None) };
        seal::check("participant", &participant(room, user.as_str(), &role.to_be_bytes()), sum)?;
        self.known.roles.keep(name, role as u32);
        Ok(Some(role as u32))
    }

    /// Makes the participants of `room` those of `list`, and answers who came and who went.
    pub async fn set_participants(
        &mut self,
        room: &RoomUri,
        list: &ParticipantListData,
    ) -> Result<(Vec<UserUri>, Vec<UserUri>), StoreError> {
        let before = self.participants(room).await?;
        let mut came = Vec::new();
        let known: std::collections::HashMap<_, _> = before.iter().map(|(user, role)| (user, *role)).collect();
        for entry in list.iter() {
            match known.get(&entry.user) {
                Some(role) if *role == entry.role_index => continue,
                Some(_) => {}
                None => came.push(entry.user.clone()),
            }
            self.known.roles.forget(&(room.clone(), entry.user.clone()));
            sqlx::query(
                "INSERT INTO participant (room, user_uri, role, sum) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (room, user_uri) DO UPDATE SET role = excluded.role, sum = excluded.sum",
            )
            .bind(room.as_str())
            .bind(entry.user.as_str())
            .bind(i64::from(entry.role_index))
            .bind(seal::sum(&participant(room, entry.user.as_str(), &i64::from(entry.role_index).to_be_bytes())))
            .execute(self.connection())
            .await?;
        }
        let now: std::collections::HashSet<_> = list.iter().map(|entry| &entry.user).collect();
        let mut went = Vec::new();
        for (user, _) in before.iter().filter(|(user, _)| !now.contains(user)) {
            self.known.roles.forget(&(room.clone(), user.clone()));
            sqlx::query("DELETE FROM participant WHERE room = $1 AND user_uri = $2")
                .bind(room.as_str())
                .bind(user.as_str())
                .execute(self.connection())
                .await?;
            went.push(user.clone());
        }
        Ok((came, went))
    }
}

/// What a participant's checksum is over.
fn participant<'a>(room: &'a RoomUri, user: &'a str, role: &'a [u8; 8]) -> [&'a [u8]; 3] {
    [room.as_str().as_bytes(), user.as_bytes(), role]
}

fn parse(row: &AnyRow) -> Result<Room, StoreError> {
    let group = match (column::<Option<Vec<u8>>>(row, 4)?, column::<Option<i64>>(row, 5)?) {
        (Some(group_id), Some(reader)) => Some(RoomGroup {
            group_id,
            reader,
            epoch: column::<i64>(row, 6)? as u64,
            behind: column::<Option<i64>>(row, 7)?.map(|since| since as u64),
            unread: column::<Option<i64>>(row, 8)?.map(|epoch| epoch as u64),
        }),
        _ => None,
    };
    Ok(Room {
        room: RoomUri::parse(&column::<String>(row, 0)?).map_err(|e| StoreError::corrupt("room", e))?,
        name: column(row, 1)?,
        direct: column::<i64>(row, 2)? != 0,
        state: match column::<String>(row, 3)?.as_str() {
            "new" => RoomState::New,
            "waiting" => RoomState::Waiting,
            "open" => RoomState::Open,
            "left" => RoomState::Left,
            other => return Err(StoreError::corrupt("room", format!("unknown state {other:?}"))),
        },
        group,
    })
}
