//! Somebody we want in a room, from the wish to the commit that adds them.

use super::{StoreError, Tx};
use crate::mimi::uri::{RoomUri, UserUri};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteState {
    /// The room has no group yet, or a KeyPackage is being fetched.
    Wanted,
    /// Their provider has been asked for consent.
    Asked,
    /// The commit is on its way.
    Adding,
    /// It will not happen; `problem` says why.
    Failed,
}

impl InviteState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Asked => "asked for consent",
            Self::Adding => "adding",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    pub room: RoomUri,
    pub user: UserUri,
    pub role: u32,
    pub state: InviteState,
    pub problem: Option<String>,
}

impl Tx {
    pub async fn invite(&mut self, room: &RoomUri, user: &UserUri) -> Result<Option<Invite>, StoreError> {
        Ok(self.invites_where(Some(room), Some(user)).await?.pop())
    }

    pub async fn invites_of_room(&mut self, room: &RoomUri) -> Result<Vec<Invite>, StoreError> {
        self.invites_where(Some(room), None).await
    }

    pub async fn invites_of_user(&mut self, user: &UserUri) -> Result<Vec<Invite>, StoreError> {
        self.invites_where(None, Some(user)).await
    }

    async fn invites_where(
        &mut self,
        room: Option<&RoomUri>,
        user: Option<&UserUri>,
    ) -> Result<Vec<Invite>, StoreError> {
        let rows = sqlx::query_as::<_, (String, String, i64, String, Option<String>)>(
            "SELECT room, user_uri, role, state, problem FROM invite
             WHERE ($1 = '' OR room = $1) AND ($2 = '' OR user_uri = $2) ORDER BY since, user_uri",
        )
        .bind(room.map_or("", RoomUri::as_str))
        .bind(user.map_or("", UserUri::as_str))
        .fetch_all(self.connection())
        .await?;
        let corrupt = |e| StoreError::corrupt("invite", e);
        rows.into_iter()
            .map(|(room, user, role, state, problem)| {
                Ok(Invite {
                    room: RoomUri::parse(&room).map_err(corrupt)?,
                    user: UserUri::parse(&user).map_err(corrupt)?,
                    role: role as u32,
                    state: match state.as_str() {
                        "wanted" => InviteState::Wanted,
                        "asked for consent" => InviteState::Asked,
                        "adding" => InviteState::Adding,
                        "failed" => InviteState::Failed,
                        other => return Err(StoreError::corrupt("invite", format!("unknown state {other:?}"))),
                    },
                    problem,
                })
            })
            .collect()
    }

    pub async fn save_invite(&mut self, invite: &Invite, now: u64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO invite (room, user_uri, role, state, problem, since) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (room, user_uri) DO UPDATE SET role = excluded.role, state = excluded.state,
                 problem = excluded.problem",
        )
        .bind(invite.room.as_str())
        .bind(invite.user.as_str())
        .bind(i64::from(invite.role))
        .bind(invite.state.as_str())
        .bind(invite.problem.as_deref().map(super::tx::text))
        .bind(now as i64)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    pub async fn remove_invite(&mut self, room: &RoomUri, user: &UserUri) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM invite WHERE room = $1 AND user_uri = $2")
            .bind(room.as_str())
            .bind(user.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
