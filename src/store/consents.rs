//! Who may reach whom (P§8). A scope is requester, target and, if bound to one, a room.

use super::{StoreError, Tx};
use crate::mimi::uri::{RoomUri, UserUri};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentState {
    /// Asked for, not answered.
    Requested,
    Granted,
    Revoked,
}

impl ConsentState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Granted => "granted",
            Self::Revoked => "revoked",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    pub requester: UserUri,
    pub target: UserUri,
    pub room: Option<RoomUri>,
    pub state: ConsentState,
    /// Milliseconds since the epoch.
    pub since: u64,
}

impl Tx {
    pub async fn consent(
        &mut self,
        requester: &UserUri,
        target: &UserUri,
        room: Option<&RoomUri>,
    ) -> Result<Option<ConsentState>, StoreError> {
        let row = sqlx::query_as::<_, (String,)>(
            "SELECT state FROM consent WHERE requester = $1 AND target = $2 AND room = $3",
        )
        .bind(requester.as_str())
        .bind(target.as_str())
        .bind(room.map_or("", RoomUri::as_str))
        .fetch_optional(self.connection())
        .await?;
        row.map(|(state,)| parse_state(&state)).transpose()
    }

    pub async fn set_consent(
        &mut self,
        requester: &UserUri,
        target: &UserUri,
        room: Option<&RoomUri>,
        state: ConsentState,
        now: u64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO consent (requester, target, room, state, since) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (requester, target, room) DO UPDATE SET state = excluded.state, since = excluded.since",
        )
        .bind(requester.as_str())
        .bind(target.as_str())
        .bind(room.map_or("", RoomUri::as_str))
        .bind(state.as_str())
        .bind(now as i64)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// A cancelled request; grants and revokes stay.
    pub async fn cancel_consent_request(
        &mut self,
        requester: &UserUri,
        target: &UserUri,
        room: Option<&RoomUri>,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM consent WHERE requester = $1 AND target = $2 AND room = $3 AND state = 'requested'")
            .bind(requester.as_str())
            .bind(target.as_str())
            .bind(room.map_or("", RoomUri::as_str))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub async fn consents(&mut self) -> Result<Vec<Consent>, StoreError> {
        let rows = sqlx::query_as::<_, (String, String, String, String, i64)>(
            "SELECT requester, target, room, state, since FROM consent ORDER BY since",
        )
        .fetch_all(self.connection())
        .await?;
        let corrupt = |e| StoreError::corrupt("consent", e);
        rows.into_iter()
            .map(|(requester, target, room, state, since)| {
                Ok(Consent {
                    requester: UserUri::parse(&requester).map_err(corrupt)?,
                    target: UserUri::parse(&target).map_err(corrupt)?,
                    room: (!room.is_empty()).then(|| RoomUri::parse(&room)).transpose().map_err(corrupt)?,
                    state: parse_state(&state)?,
                    since: since as u64,
                })
            })
            .collect()
    }
}

fn parse_state(state: &str) -> Result<ConsentState, StoreError> {
    match state {
        "requested" => Ok(ConsentState::Requested),
        "granted" => Ok(ConsentState::Granted),
        "revoked" => Ok(ConsentState::Revoked),
        other => Err(StoreError::corrupt("consent", format!("unknown state {other:?}"))),
    }
}
