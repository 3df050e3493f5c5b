//! Portals: one MIMI room joined to one native conversation.

use mimi_adapter::{ConversationId, Cursor, NativeUserId};
use sqlx::any::AnyRow;

use super::{StoreError, Tx, tx::column};
use crate::mimi::uri::{RoomUri, UserUri};

/// Minted by the database.
pub type PortalId = i64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    pub id: PortalId,
    pub room: RoomUri,
    /// The name of the adapter's table in the configuration.
    pub adapter: String,
    /// `None` for a direct portal that the adapter has not opened yet.
    pub conversation: Option<ConversationId>,
    /// Who the two are, if it is direct.
    pub direct: Option<(NativeUserId, UserUri)>,
}

/// A portal to be.
pub struct NewPortal<'a> {
    pub room: &'a RoomUri,
    pub adapter: &'a str,
    pub conversation: Option<&'a ConversationId>,
    pub direct: Option<(&'a NativeUserId, &'a UserUri)>,
}

impl Tx {
    pub async fn portal(&mut self, id: PortalId) -> Result<Option<Portal>, StoreError> {
        let row =
            sqlx::query("SELECT id, room, adapter, conversation, direct_user, direct_ghost FROM portal WHERE id = $1")
                .bind(id)
                .fetch_optional(self.connection())
                .await?;
        row.map(|row| parse(&row)).transpose()
    }

    pub async fn portal_of_conversation(
        &mut self,
        adapter: &str,
        conversation: &ConversationId,
    ) -> Result<Option<Portal>, StoreError> {
        let name = (adapter.to_owned(), conversation.clone());
        if let Some(known) = self.known.portals_by_conversation.get(&name) {
            return Ok(Some(known));
        }
        let row = sqlx::query(
            "SELECT id, room, adapter, conversation, direct_user, direct_ghost FROM portal
             WHERE adapter = $1 AND conversation = $2 AND unlinked IS NULL ORDER BY id LIMIT 1",
        )
        .bind(adapter)
        .bind(conversation.as_str())
        .fetch_optional(self.connection())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let portal = parse(&row)?;
        self.known.portals_by_conversation.keep(name, portal.clone());
        Ok(Some(portal))
    }

    pub async fn portal_of_room(&mut self, room: &RoomUri) -> Result<Option<Portal>, StoreError> {
        if let Some(known) = self.known.portals.get(room) {
            return Ok(Some(known));
        }
        let row = sqlx::query(
            "SELECT id, room, adapter, conversation, direct_user, direct_ghost FROM portal
             WHERE room = $1 AND unlinked IS NULL",
        )
        .bind(room.as_str())
        .fetch_optional(self.connection())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let portal = parse(&row)?;
        self.known.portals.keep(room.clone(), portal.clone());
        Ok(Some(portal))
    }

    /// The direct portal of these two, whichever of them began it.
    pub async fn direct_portal(
        &mut self,
        adapter: &str,
        user: &NativeUserId,
        ghost: &UserUri,
    ) -> Result<Option<Portal>, StoreError> {
        let row = sqlx::query(
            "SELECT id, room, adapter, conversation, direct_user, direct_ghost FROM portal
             WHERE adapter = $1 AND direct_user = $2 AND direct_ghost = $3 AND unlinked IS NULL ORDER BY id LIMIT 1",
        )
        .bind(adapter)
        .bind(user.as_str())
        .bind(ghost.as_str())
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| parse(&row)).transpose()
    }

    pub async fn portals(&mut self) -> Result<Vec<Portal>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, room, adapter, conversation, direct_user, direct_ghost FROM portal
             WHERE unlinked IS NULL ORDER BY id",
        )
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(parse).collect()
    }

    /// By adapter, the conversations whose rooms are open, or ours to open.
    pub async fn linked_conversations(&mut self) -> Result<Vec<(String, ConversationId)>, StoreError> {
        let rows = sqlx::query_as::<_, (String, String)>(
            "SELECT portal.adapter, portal.conversation FROM portal JOIN room ON room.room = portal.room
             WHERE portal.conversation IS NOT NULL AND portal.unlinked IS NULL AND room.state IN ('open', 'new')",
        )
        .fetch_all(self.connection())
        .await?;
        Ok(rows.into_iter().map(|(adapter, conversation)| (adapter, ConversationId::new(conversation))).collect())
    }

    /// The portal that a room had, while that can still be taken back.
    pub async fn unlinked_portal(&mut self, room: &RoomUri) -> Result<Option<Portal>, StoreError> {
        let row = sqlx::query(
            "SELECT id, room, adapter, conversation, direct_user, direct_ghost FROM portal
             WHERE room = $1 AND unlinked IS NOT NULL",
        )
        .bind(room.as_str())
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| parse(&row)).transpose()
    }

    pub async fn unlinked_before(&mut self, at: u64) -> Result<Vec<Portal>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, room, adapter, conversation, direct_user, direct_ghost FROM portal
             WHERE unlinked <= $1 ORDER BY id",
        )
        .bind(at as i64)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(parse).collect()
    }

    pub async fn mark_unlinked(&mut self, id: PortalId, at: Option<u64>) -> Result<(), StoreError> {
        self.portal_has_changed(id);
        sqlx::query("UPDATE portal SET unlinked = $2 WHERE id = $1")
            .bind(id)
            .bind(at.map(|at| at as i64))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub async fn add_portal(&mut self, new: NewPortal<'_>) -> Result<PortalId, StoreError> {
        let (id,) = sqlx::query_as::<_, (i64,)>(
            "INSERT INTO portal (room, adapter, conversation, direct_user, direct_ghost) VALUES ($1, $2, $3, $4, $5)
             RETURNING id",
        )
        .bind(new.room.as_str())
        .bind(new.adapter)
        .bind(new.conversation.map(ConversationId::as_str))
        .bind(new.direct.map(|(user, _)| user.as_str()))
        .bind(new.direct.map(|(_, ghost)| ghost.as_str()))
        .fetch_one(self.connection())
        .await?;
        Ok(id)
    }

    pub async fn portal_is_open(&mut self, id: PortalId, conversation: &ConversationId) -> Result<(), StoreError> {
        self.portal_has_changed(id);
        sqlx::query("UPDATE portal SET conversation = $2 WHERE id = $1")
            .bind(id)
            .bind(conversation.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub async fn remove_portal(&mut self, id: PortalId) -> Result<(), StoreError> {
        self.portal_has_changed(id);
        sqlx::query("DELETE FROM portal WHERE id = $1").bind(id).execute(self.connection()).await?;
        sqlx::query("DELETE FROM native_message WHERE portal = $1").bind(id).execute(self.connection()).await?;
        sqlx::query("DELETE FROM thread WHERE portal = $1").bind(id).execute(self.connection()).await?;
        Ok(())
    }

    pub async fn cursor(&mut self, id: PortalId) -> Result<Option<Cursor>, StoreError> {
        let row = sqlx::query_as::<_, (Option<String>,)>("SELECT cursor FROM portal WHERE id = $1")
            .bind(id)
            .fetch_optional(self.connection())
            .await?;
        Ok(row.and_then(|(cursor,)| cursor).map(Cursor::new))
    }

    pub fn set_cursor(&mut self, id: PortalId, cursor: &Cursor) {
        self.behind.cursors.put(id, cursor.clone());
    }

    fn portal_has_changed(&mut self, id: PortalId) {
        self.known.portals.forget_where(|portal| portal.id == id);
        // Which portal a conversation belongs to may depend on several.
        self.known.portals_by_conversation.forget_where(|_| true);
    }
}

fn parse(row: &AnyRow) -> Result<Portal, StoreError> {
    let corrupt = |e| StoreError::corrupt("portal", e);
    let direct = match (column::<Option<String>>(row, 4)?, column::<Option<String>>(row, 5)?) {
        (Some(user), Some(ghost)) => Some((NativeUserId::new(user), UserUri::parse(&ghost).map_err(corrupt)?)),
        _ => None,
    };
    Ok(Portal {
        id: column(row, 0)?,
        room: RoomUri::parse(&column::<String>(row, 1)?).map_err(corrupt)?,
        adapter: column(row, 2)?,
        conversation: column::<Option<String>>(row, 3)?.map(ConversationId::new),
        direct,
    })
}
