//! The linked rooms: being in each, with the ghosts that belong there, and reporting who else is.
//!
//! It works without the homeserver being up: what can't be done now is done when it can.

use std::{collections::BTreeSet, time::Duration};

use matrix_sdk::ruma::{RoomId, UserId};
use mimi_adapter::{ConversationId, Event, Inbound, Inbox, NativeMessageId, NativeUserId, Refusal, SenderProof};
use tokio::{sync::mpsc::UnboundedReceiver, time::sleep};
use tracing::{error, info, warn};

use crate::{
    client::Failure,
    delivery::room_id,
    homeserver::{Homeserver, Members},
    transactions::Transactions,
};

/// The linked rooms to which the bot has just been invited.
type Invitations = UnboundedReceiver<ConversationId>;

/// Between two attempts, at first and at most.
const PAUSE: Duration = Duration::from_secs(5);
const LONG_PAUSE: Duration = Duration::from_secs(300);

impl Homeserver {
    /// Does what is to be done in the linked rooms, for as long as it is let.
    pub async fn tend(&self, inbox: &Inbox, transactions: &Transactions, invitations: Invitations) {
        // The bot's account comes first: nobody else can enter a room without it.
        while let Err(failure) = self.register(self.names.bot()).await {
            // If the registration is at fault, this says so in an error.
            let refusal = failure.refusal("The bot can't be registered");
            warn!(%refusal, "Waiting for the homeserver.");
            self.pulse.down(refusal.to_string());
            sleep(PAUSE).await;
        }
        tokio::join!(
            self.keep_in_touch(transactions),
            self.keep_links(inbox, transactions, invitations),
            self.keep_up(transactions),
        );
    }

    async fn keep_links(&self, inbox: &Inbox, transactions: &Transactions, mut invitations: Invitations) {
        let mut links = inbox.links();
        let mut entered = BTreeSet::new();
        let mut pause = PAUSE;
        loop {
            let linked = links.borrow_and_update().clone();
            entered.retain(|conversation| linked.contains(conversation));
            for conversation in linked.iter() {
                if entered.contains(conversation) {
                    continue;
                }
                match self.enter(conversation, inbox, transactions).await {
                    Ok(()) => drop(entered.insert(conversation.clone())),
                    Err(refusal) => error!(%conversation, %refusal, "A linked room can't be entered."),
                }
            }
            tokio::select! {
                changed = links.changed() => match changed {
                    Ok(()) => pause = PAUSE,
                    // The core is gone.
                    Err(_) => return,
                },
                Some(conversation) = invitations.recv() => {
                    // Who came and went while the bot was not there, nobody has told us.
                    entered.remove(&conversation);
                    pause = PAUSE;
                }
                () = sleep(pause), if entered.len() < linked.len() => pause = LONG_PAUSE.min(pause * 2),
            }
        }
    }

    async fn enter(
        &self,
        conversation: &ConversationId,
        inbox: &Inbox,
        transactions: &Transactions,
    ) -> Result<(), Refusal> {
        let room = room_id(conversation)?;
        let failed =
            |failure: Failure| failure.refusal(&format!("{} has to be invited to the room first", self.names.bot()));
        let voice = self.voice(&room).await.map_err(failed)?;
        self.join(&voice, &room).await.map_err(failed)?;
        let members = {
            // What the homeserver has yet to bring is later than this, or leads up to it. What it has brought
            // is earlier. So nobody is reported here who has just been reported to have left.
            let _pause = transactions.pause().await;
            let members = self.members(&voice, &room).await.map_err(failed)?;
            self.report(&voice, &members, conversation, inbox).await?;
            members
        };
        self.gather(&room, &members, inbox, conversation).await?;
        if self.is_encrypted(&room).await.map_err(failed)? {
            warn!(%room, "A linked room is encrypted, so nothing can be carried.");
        }
        info!(%room, people = members.len(), "In a linked room.");
        Ok(())
    }

    async fn report(
        &self,
        voice: &UserId,
        members: &Members,
        conversation: &ConversationId,
        inbox: &Inbox,
    ) -> Result<(), Refusal> {
        let direct = self.other_side(voice, members);
        for person in members.keys().filter(|member| !self.names.is_ours(member)) {
            let inbound = Inbound {
                conversation: conversation.clone(),
                direct: direct.clone(),
                id: NativeMessageId::new(format!("present {person}")),
                sender: NativeUserId::new(person.as_str()),
                proof: SenderProof::Verified,
                event: Event::Join,
                thread: None,
                cursor: None,
            };
            match inbox.accept(inbound).await {
                Err(Refusal::Reject { reason }) => {
                    warn!(%conversation, %person, reason, "Somebody in the room can't take part.")
                }
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// The ghosts that should be in the room come.
    async fn gather(
        &self,
        room: &RoomId,
        members: &Members,
        inbox: &Inbox,
        conversation: &ConversationId,
    ) -> Result<(), Refusal> {
        for ghost in inbox.ghosts(conversation).await? {
            let Ok(id) = self.names.ghost(&ghost.user) else {
                warn!(%room, user = %ghost.user, "An address is too long for a Matrix user id.");
                continue;
            };
            if members.get(&id).is_some_and(|name| name.as_ref() == Some(&ghost.name)) {
                continue;
            }
            match self.introduce(&ghost, &id, room).await {
                Err(Refusal::Reject { reason }) => {
                    error!(%room, ghost = %id, reason, "A ghost can't enter a linked room.")
                }
                other => other?,
            }
        }
        Ok(())
    }
}
