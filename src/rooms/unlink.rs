//! Unlinking a room from its conversation, and taking that back.
//!
//! An unlink by mistake must be mendable, and leaving a room is not: whoever has left needs somebody inside to be
//! added again, has lost their role, and can't read what was said meanwhile. So for [`UNDO`] our people's clients
//! stay in the room, and only the link is gone: nobody listens to the conversation, nothing is shown in it. The
//! other side is not left in the dark about that: what waits and what still comes becomes a dead letter at once,
//! and its author is told that it could not be shown. Taking it back brings the link, the native names of messages
//! and the dead letters, in order. After [`UNDO`] the janitor does what can't be undone: our people leave.
//!
//! Whoever means it at once says `--now`. Waiting would be no answer to an admin who has to close a room.

use std::{sync::Arc, time::Duration};

use tracing::info;

use crate::{
    core::{Core, Fault},
    dead_letters::{Cause, Reason},
    mimi::uri::RoomUri,
    outbox::{Destination, Payload},
    store::{Tx, portals::Portal, rooms::RoomState},
};

/// For this long an unlink can be taken back.
pub const UNDO: Duration = Duration::from_secs(7 * 24 * 3600);

impl Core {
    /// The conversation is no longer the room's, until that is taken back.
    pub(crate) async fn unlink(&self, tx: &mut Tx, portal: &Portal) -> Result<(), Fault> {
        self.must_run(&portal.adapter)?;
        tx.mark_unlinked(portal.id, Some(self.now())).await?;
        self.clear_portal_queue(tx, &portal.room).await?;
        info!(room = %portal.room, "Unlinked; `room relink` takes it back for a week.");
        self.refresh_links(tx).await
    }

    /// As it was before the unlink.
    pub(crate) async fn relink(&self, tx: &mut Tx, room: &RoomUri) -> Result<(), Fault> {
        let Some(portal) = tx.unlinked_portal(room).await? else {
            return Err(Fault::never(format!("{room} was not unlinked within the last week, or is linked again")));
        };
        self.must_run(&portal.adapter)?;
        if let Some(conversation) = &portal.conversation
            && let Some(other) = tx.portal_of_conversation(&portal.adapter, conversation).await?
        {
            return Err(Fault::never(format!("{conversation} is linked to {} by now (unlink that first)", other.room)));
        }
        tx.mark_unlinked(portal.id, None).await?;
        let to = Destination::Portal(room.clone());
        for row in tx.dead_letters(&to.to_string()).await? {
            if row.cause == Cause::Unlinked.as_str() {
                self.revive(tx, &row, Some(to.clone())).await?;
            }
        }
        for (user, _) in tx.participants(room).await? {
            if !self.is_ours(&user) {
                self.enqueue(tx, &to, &Payload::Presence { user, joined: true }).await?;
            }
        }
        info!(%room, "Linked again.");
        self.nudge(tx, to);
        self.refresh_links(tx).await
    }

    /// Our users' clients leave the room as they would if they had left the conversation, and what we know of it
    /// goes. The ghosts go with the link.
    pub(crate) async fn forget_link(&self, tx: &mut Tx, portal: &Portal) -> Result<(), Fault> {
        self.must_run(&portal.adapter)?;
        // From now on the room is in the hands of whoever has those that are linked to nothing.
        self.forget_if_shared(tx);
        let room = &portal.room;
        if let Some(mut state) = tx.room(room).await? {
            for (user, _) in tx.participants(room).await? {
                if self.is_ours(&user) {
                    self.take_out(tx, &state, &user).await?;
                }
            }
            if state.group.is_none() {
                state.state = RoomState::Left;
                tx.save_room(&state).await?;
            }
        }
        self.clear_portal_queue(tx, room).await?;
        tx.remove_portal(portal.id).await?;
        info!(%room, "Unlinked for good.");
        self.refresh_links(tx).await
    }

    /// The janitor's part.
    pub async fn forget_unlinked(self: &Arc<Self>) -> Result<(), Fault> {
        let before = self.now().saturating_sub(UNDO.as_millis() as u64);
        self.write(move |core, tx| {
            Box::pin(async move {
                for portal in tx.unlinked_before(before).await? {
                    if core.must_run(&portal.adapter).is_err() {
                        continue;
                    }
                    core.forget_link(tx, &portal).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// What waits for the conversation: messages are kept as dead letters, and who came or went is asked for anew.
    async fn clear_portal_queue(&self, tx: &mut Tx, room: &RoomUri) -> Result<(), Fault> {
        let to = Destination::Portal(room.clone());
        let rows = tx.outbox_head(&to.to_string(), i64::MAX).await?;
        let mut messages = Vec::new();
        for mut row in rows {
            // The first may be in the adapter's hands at this moment.
            row.unsure |= messages.is_empty() && self.dispatcher.is_serving(&to);
            match Payload::decode(&row.payload) {
                Ok(Payload::Presence { .. } | Payload::Notice { .. } | Payload::Described { .. }) => {
                    tx.remove_outbox_row(row.id)
                }
                _ => messages.push(row),
            }
        }
        self.bury(tx, &to, &messages, &Reason::UNLINKED).await
    }
}
