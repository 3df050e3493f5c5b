//! From the core into a room: one delivery becomes one request, as the ghost, once.
//!
//! There is no list of who has been registered, named, invited and joined. A ghost that may not speak yet is
//! told so by the homeserver; then it is introduced, and speaks. So a restored backup, a moderator's kick or
//! a room made anew mend themselves.

use matrix_sdk::ruma::{
    OwnedRoomId, RoomId, UserId, api::client::receipt::create_receipt, api::error::ErrorKind, events::StateEventType,
};
use mimi_adapter::{ConversationId, Delivered, Delivery, Event, Ghost, NativeMessageId, Receipt, Refusal, Speaker};

use crate::{
    client::Failure,
    homeserver::Homeserver,
    to_native::{event_id, to_native},
};

pub const ENCRYPTED: &str = "This room is encrypted, and the gateway can't take part in encrypted rooms yet. \
                             What is written here does not reach people elsewhere, nor the other way round.";

impl Homeserver {
    pub async fn deliver(&self, delivery: &Delivery) -> Result<Delivered, Refusal> {
        let room = room_id(&delivery.conversation)?;
        let user = match &delivery.speaker {
            Speaker::Ghost(ghost) => {
                self.names.ghost(&ghost.user).map_err(|error| Refusal::reject(error.to_string()))?
            }
            Speaker::Gateway => self.voice(&room).await.map_err(not_delivered)?,
        };
        mimi_adapter::failpoint!("matrix.deliver");
        match &delivery.event {
            Event::Join => self.admit(&delivery.speaker, &user, &room).await.map(|()| Delivered::default()),
            Event::Leave => match self.leave(&user, &room, None).await {
                Ok(()) => Ok(Delivered::default()),
                // It isn't there, or there is no such account.
                Err(failure) if failure.is_forbidden() || failure.is_not_found() => Ok(Delivered::default()),
                Err(failure) => Err(not_delivered(failure)),
            },
            Event::Name { name } => self.describe(&room, StateEventType::RoomName, "name", name).await,
            Event::Topic { topic } => self.describe(&room, StateEventType::RoomTopic, "topic", topic).await,
            said => self.say(delivery, said, &user, &room).await,
        }
    }

    async fn say(
        &self,
        delivery: &Delivery,
        said: &Event<NativeMessageId>,
        user: &UserId,
        room: &RoomId,
    ) -> Result<Delivered, Refusal> {
        let private = matches!(delivery.speaker, Speaker::Ghost(_));
        if private && self.is_encrypted(room).await.map_err(no_part)? {
            return Err(Refusal::reject(
                "the room is encrypted on the other side, and its gateway can't write there yet",
            ));
        }
        let said = match said {
            Event::File { file, .. } => {
                // A file is not put there once more for what has been said.
                if let Some(id) = self.sent_before(user, room, &delivery.key).await.map_err(not_delivered)? {
                    return Ok(Delivered { ids: vec![NativeMessageId::new(id)] });
                }
                let file = self.store(file).await?;
                said.clone().with_file(|_| file)
            }
            said => said.clone().with_file(|file| file.at("".into())),
        };
        let request = to_native(&said, delivery.thread.as_ref(), &delivery.key, &self.pills)?;
        let sent = match self.send(user, room, &delivery.key, &request).await {
            Err(failure) if failure.is_forbidden() => {
                self.admit(&delivery.speaker, user, room).await?;
                self.send(user, room, &delivery.key, &request).await
            }
            other => other,
        };
        match sent {
            Ok(id) => Ok(Delivered { ids: vec![NativeMessageId::new(id)] }),
            // The same emoji from another device of the same person: people see it once, as they should.
            Err(failure) if matches!(failure.kind(), Some(ErrorKind::DuplicateAnnotation)) => Ok(Delivered::default()),
            Err(failure) => Err(not_delivered(failure)),
        }
    }

    /// Shows that a ghost has read up to an event.
    pub async fn has_read(&self, receipt: &Receipt<Ghost>) -> Result<(), Refusal> {
        let room = room_id(&receipt.conversation)?;
        let user = self.names.ghost(&receipt.by.user).map_err(|error| Refusal::reject(error.to_string()))?;
        let event = event_id(&receipt.up_to)?;
        let request = create_receipt::v3::Request::new(room, create_receipt::v3::ReceiptType::Read, event);
        self.client.ask(&user, request).await.map(drop).map_err(not_delivered)
    }

    /// The room itself is changed by who speaks for the gateway in it, since ghosts have no power there.
    async fn describe(
        &self,
        room: &RoomId,
        kind: StateEventType,
        field: &'static str,
        text: &str,
    ) -> Result<Delivered, Refusal> {
        let voice = self.voice(room).await.map_err(not_delivered)?;
        match self.set_state(&voice, room, kind, field, text).await {
            Ok(()) => Ok(Delivered::default()),
            Err(failure) if failure.is_forbidden() => {
                Err(Refusal::reject(format!("{voice} may not change the room's {field}")))
            }
            Err(failure) => Err(not_delivered(failure)),
        }
    }

    /// Lets the speaker into the room.
    async fn admit(&self, speaker: &Speaker, user: &UserId, room: &RoomId) -> Result<(), Refusal> {
        match speaker {
            Speaker::Ghost(ghost) => self.introduce(ghost, user, room).await,
            Speaker::Gateway => self.join(user, room).await.map_err(not_delivered),
        }
    }
}

/// The conversation as Matrix names it.
pub fn room_id(conversation: &ConversationId) -> Result<OwnedRoomId, Refusal> {
    RoomId::parse(conversation.as_str()).map_err(|_| {
        Refusal::reject(format!(
            "{conversation} is not a Matrix room id (it starts with \"!\"; invite the bot to learn it)"
        ))
    })
}

fn not_delivered(failure: Failure) -> Refusal {
    failure.refusal("the homeserver doesn't take it")
}

fn no_part(failure: Failure) -> Refusal {
    failure.refusal("the gateway has no part in the room (has its bot been invited?)")
}
