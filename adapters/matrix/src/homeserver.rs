//! The homeserver as we use it: accounts, rooms, and sending so that nothing is there twice.
//!
//! What is remembered here is for speed only. A restart forgets it, and then it is asked for again: the
//! homeserver is the truth about who is where, the core about what has been delivered.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use matrix_sdk::ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId,
    api::client::{
        account::register,
        appservice::request_ping,
        membership::{
            invite_user,
            invite_user::v3::{InvitationRecipient, InviteUserId},
            join_room_by_id, joined_members, leave_room,
        },
        message::{get_message_events, send_message_event},
        profile::{DisplayName, get_profile_field, set_profile_field},
        redact::redact_event,
        room::get_room_event,
        state::{get_state_event_for_key, get_state_event_for_key::v3::StateEventFormat, send_state_event},
    },
    api::error::ErrorKind,
    events::{AnyTimelineEvent, StateEventType},
    profile::ProfileFieldValue,
    serde::Raw,
    uint,
};
use mimi_adapter::{Canary, DeliveryKey, Domain, Event, Ghost, NativeMessageId, NativeUserId, Pulse, Refusal, UserUri};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::{
    catch_up::Followed,
    client::{Client, Failure},
    id::Namespace,
    media::Limit,
    pills::Pills,
    to_native::{KEY, Request, to_native},
};

/// The people and ghosts in a room, and what they are called there.
pub type Members = BTreeMap<OwnedUserId, Option<String>>;

pub struct Homeserver {
    pub client: Client,
    pub names: Namespace,
    pub pills: Pills,
    /// Our id in the registration.
    pub appservice: String,
    pub pulse: Pulse,
    pub canary: Canary,
    pub upload_limit: Limit,
    pings: AtomicU64,
    due: Mutex<Due>,
    rooms: Mutex<HashMap<OwnedRoomId, Room>>,
}

/// What we know of the transactions to come.
#[derive(Default)]
struct Due {
    /// One has been due since.
    since: Option<Instant>,
    /// When the last one came.
    brought: Option<Instant>,
}

/// What we remember of a room.
#[derive(Default)]
pub struct Room {
    /// Whether it is encrypted. It can become so, and then stays so.
    pub encrypted: Option<bool>,
    /// The people here have been told that.
    pub told: bool,
    /// The ghost whose one-to-one room it was made to be (see `direct.rs`), if it was.
    pub ghost: Option<Option<OwnedUserId>>,
    /// The MIMI user of that ghost, as long as it really is one-to-one. Forgotten when somebody comes or goes.
    pub direct: Option<Option<UserUri>>,
    /// What of it has been taken in, if it is linked (see `catch_up.rs`).
    pub followed: Followed,
    /// The homeserver has answered our last attempt to send: nothing of ours may be there unknown to us.
    settled: bool,
}

impl Homeserver {
    pub fn new(client: Client, names: Namespace, domain: Domain, appservice: String, canary: Canary) -> Self {
        Self {
            client,
            pills: Pills::new(names.clone(), domain),
            names,
            appservice,
            pulse: Pulse::new(),
            canary,
            upload_limit: Limit::default(),
            pings: AtomicU64::default(),
            due: Mutex::default(),
            rooms: Mutex::default(),
        }
    }

    /// What we remember of the room, to look at or to change.
    pub fn room<T>(&self, room: &RoomId, with: impl FnOnce(&mut Room) -> T) -> T {
        let mut rooms: MutexGuard<'_, _> = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        with(rooms.entry(room.to_owned()).or_default())
    }

    // Accounts.

    pub async fn register(&self, user: &UserId) -> Result<(), Failure> {
        let mut request = register::v3::Request::new();
        request.username = Some(user.localpart().to_owned());
        request.login_type = Some(register::LoginType::ApplicationService);
        request.inhibit_login = true;
        match self.client.ask(self.names.bot(), request).await {
            Ok(_) => info!(%user, "Registered."),
            Err(failure) if matches!(failure.kind(), Some(ErrorKind::UserInUse)) => {}
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Makes the ghost's account, and gives it its name.
    pub async fn register_ghost(&self, id: &UserId, name: &str) -> Result<(), Failure> {
        self.register(id).await?;
        // Setting a name, even the same, touches every room of the account: look first.
        let request = get_profile_field::v3::Request::new_static::<DisplayName>(id.to_owned());
        let named = match self.client.ask(id, request).await {
            Ok(response) => response.value,
            Err(failure) if failure.is_final() => None,
            Err(failure) => return Err(failure),
        };
        if named.as_deref() != Some(name) {
            let value = ProfileFieldValue::DisplayName(name.to_owned());
            match self.client.ask(id, set_profile_field::v3::Request::new(id.to_owned(), value)).await {
                // Where nobody may choose a name, a ghost is shown by its id.
                Err(failure) if failure.is_final() => warn!(ghost = %id, %failure, "A ghost can't be named."),
                other => other.map(drop)?,
            }
        }
        Ok(())
    }

    /// Asks the homeserver to see whether it reaches us. If it had given us up for a while (Synapse waits up
    /// to eight minutes), a ping that succeeds brings what it has kept for us at once.
    pub async fn ping(&self) -> Result<(), Failure> {
        let before = self.pings.load(Ordering::Relaxed);
        let request = request_ping::v1::Request::new(self.appservice.clone());
        match self.client.ask(self.names.bot(), request).await {
            // It has no such request, but it is there.
            Err(failure) if matches!(failure.kind(), Some(ErrorKind::Unrecognized)) => Ok(()),
            // Synapse (1.163) stumbles after the ping if it is sending us something at this moment.
            Err(failure) if failure.kind().is_some() && self.pings.load(Ordering::Relaxed) != before => Ok(()),
            other => other.map(drop),
        }
    }

    /// A ping has arrived.
    pub fn pinged(&self) {
        self.pings.fetch_add(1, Ordering::Relaxed);
    }

    /// There is an event that the homeserver has to bring us, and it has happened after `since`: one of ours, or one that
    /// its timeline shows. Its transaction may have overtaken the answer in which we see that.
    pub fn owes(&self, since: Instant) {
        let mut due = self.due();
        if due.brought.is_none_or(|brought| brought < since) {
            due.since.get_or_insert(since);
        }
    }

    /// A transaction has come.
    pub fn has_brought(&self) {
        *self.due() = Due { since: None, brought: Some(Instant::now()) };
    }

    /// How long nothing has come that was due.
    pub fn has_owed_for(&self) -> Option<Duration> {
        self.due().since.map(|since| since.elapsed())
    }

    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Rooms.

    pub async fn join(&self, user: &UserId, room: &RoomId) -> Result<(), Failure> {
        self.client.ask(user, join_room_by_id::v3::Request::new(room.to_owned())).await.map(drop)
    }

    pub async fn leave(&self, user: &UserId, room: &RoomId, reason: Option<&str>) -> Result<(), Failure> {
        let mut request = leave_room::v3::Request::new(room.to_owned());
        request.reason = reason.map(str::to_owned);
        self.client.ask(user, request).await.map(drop)
    }

    pub async fn invite(&self, user: &UserId, whom: &UserId, room: &RoomId) -> Result<(), Failure> {
        let recipient = InvitationRecipient::UserId(InviteUserId::new(whom.to_owned()));
        self.client.ask(user, invite_user::v3::Request::new(room.to_owned(), recipient)).await.map(drop)
    }

    /// Does all it takes for the ghost to be able to speak in the room.
    pub async fn introduce(&self, ghost: &Ghost, id: &UserId, room: &RoomId) -> Result<(), Refusal> {
        let failed = |failure: Failure| failure.refusal(&format!("{} can't join the room", ghost.user));
        self.register_ghost(id, &ghost.name).await.map_err(failed)?;
        mimi_adapter::failpoint!("matrix.ghost.registered");
        match self.join(id, room).await {
            Err(failure) if failure.is_forbidden() => {}
            other => return other.map_err(failed),
        }
        // The room wants an invitation. The bot is a member of every linked room, or may become one.
        let bot = self.names.bot();
        let invited = match self.invite(bot, id, room).await {
            Err(failure) if failure.is_forbidden() && self.join(bot, room).await.is_ok() => {
                self.invite(bot, id, room).await
            }
            other => other,
        };
        let hint = format!(
            "{} can't join the room, since {bot} can't invite (is it in the room, and may it invite?)",
            ghost.user
        );
        invited.map_err(|failure| failure.refusal(&hint))?;
        mimi_adapter::failpoint!("matrix.ghost.invited");
        self.join(id, room).await.map_err(failed)
    }

    /// Who is in the room, by name.
    pub async fn members(&self, user: &UserId, room: &RoomId) -> Result<Members, Failure> {
        let joined = self.client.ask(user, joined_members::v3::Request::new(room.to_owned())).await?.joined;
        Ok(joined.into_iter().map(|(user, member)| (user, member.display_name)).collect())
    }

    /// Who speaks for the gateway in this room: the bot, or in a one-to-one room the ghost.
    pub async fn voice(&self, room: &RoomId) -> Result<OwnedUserId, Failure> {
        Ok(self.ghost_of(room).await?.unwrap_or_else(|| self.names.bot().to_owned()))
    }

    /// What is in an encrypted room we can't read, and what we wrote there everybody on the way could.
    pub async fn is_encrypted(&self, room: &RoomId) -> Result<bool, Failure> {
        if let Some(known) = self.room(room, |room| room.encrypted) {
            return Ok(known);
        }
        let voice = self.voice(room).await?;
        let ask = || {
            let request =
                get_state_event_for_key::v3::Request::new(room.to_owned(), StateEventType::RoomEncryption, "".into());
            self.client.ask(&voice, request)
        };
        let answer = match ask().await {
            Err(failure) if failure.is_forbidden() => {
                self.join(&voice, room).await?;
                ask().await
            }
            other => other,
        };
        let encrypted = match answer {
            Ok(_) => true,
            Err(failure) if failure.is_not_found() => false,
            Err(failure) => return Err(failure),
        };
        // It may have been encrypted while we asked.
        Ok(self.room(room, |room| *room.encrypted.get_or_insert(encrypted)))
    }

    pub async fn event(&self, room: &RoomId, event: OwnedEventId) -> Result<Raw<AnyTimelineEvent>, Failure> {
        let voice = self.voice(room).await?;
        let request = get_room_event::v3::Request::new(room.to_owned(), event);
        Ok(self.client.ask(&voice, request).await?.event)
    }

    /// A page of the room's events, newest first: the last one, or the one before `end` of another. Answers its own end.
    pub async fn timeline(
        &self,
        room: &RoomId,
        limit: u32,
        before: Option<String>,
    ) -> Result<(Vec<Raw<AnyTimelineEvent>>, Option<String>), Failure> {
        let voice = self.voice(room).await?;
        let mut request = get_message_events::v3::Request::backward(room.to_owned());
        request.limit = limit.into();
        request.from = before;
        let page = self.client.ask(&voice, request).await?;
        Ok((page.chunk, page.end))
    }

    /// Something of the room's state, if it has any.
    async fn state(
        &self,
        user: &UserId,
        room: &RoomId,
        kind: StateEventType,
        format: StateEventFormat,
    ) -> Result<Option<Value>, Failure> {
        let mut request = get_state_event_for_key::v3::Request::new(room.to_owned(), kind, "".into());
        request.format = format;
        match self.client.ask(user, request).await {
            Ok(response) => Ok(serde_json::from_str(response.event_or_content.get()).ok()),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Whether somebody may change the room itself. Since room version 12 those who made it may without being listed.
    pub async fn manages(&self, user: &UserId, room: &RoomId) -> Result<bool, Failure> {
        let voice = self.voice(room).await?;
        let levels = self.state(&voice, room, StateEventType::RoomPowerLevels, StateEventFormat::Content).await?;
        if let Some(levels) = &levels {
            let own = levels["users"][user.as_str()].as_i64().or(levels["users_default"].as_i64());
            if own.unwrap_or(0) >= levels["state_default"].as_i64().unwrap_or(50) {
                return Ok(true);
            }
        }
        let created = self.state(&voice, room, StateEventType::RoomCreate, StateEventFormat::Event).await?;
        let Some(created) = created else { return Ok(false) };
        let version = created["content"]["room_version"].as_str().unwrap_or("1");
        let all_power = levels.is_none() || version.parse::<u32>().is_ok_and(|version| version >= 12);
        let others = created["content"]["additional_creators"].as_array().into_iter().flatten();
        Ok(all_power && others.chain([&created["sender"]]).any(|maker| maker == user.as_str()))
    }

    /// Sets a field of the room's state, unless it is so already.
    pub async fn set_state(
        &self,
        user: &UserId,
        room: &RoomId,
        kind: StateEventType,
        field: &'static str,
        text: &str,
    ) -> Result<(), Failure> {
        let now = self.state(user, room, kind.clone(), StateEventFormat::Content).await?;
        let now = now.as_ref().and_then(|content| content[field].as_str()).unwrap_or_default();
        if now == text {
            return Ok(());
        }
        let content = Raw::new(&json!({ field: text })).expect("JSON is JSON").cast_unchecked();
        let begun = Instant::now();
        let request = send_state_event::v3::Request::new_raw(room.to_owned(), kind, "".into(), content);
        self.client.ask(user, request).await?;
        self.owes(begun);
        Ok(())
    }

    // Sending.

    /// Sends under `key`, once. A homeserver recognises a transaction id until it restarts; should the answer
    /// to an earlier attempt be missing, the room's own history says whether it got there.
    pub async fn send(
        &self,
        user: &UserId,
        room: &RoomId,
        key: &DeliveryKey,
        request: &Request,
    ) -> Result<OwnedEventId, Failure> {
        if let Some(sent) = self.sent_before(user, room, key).await? {
            return Ok(sent);
        }
        self.room(room, |room| room.settled = false);
        mimi_adapter::failpoint!("matrix.put");
        let sent = self.put(user, room, key, request).await;
        mimi_adapter::failpoint!("matrix.put.answered");
        self.room(room, |room| room.settled = sent.as_ref().map_or_else(Failure::is_certain, |_| true));
        sent
    }

    /// What an earlier attempt has sent, if its answer was lost.
    pub async fn sent_before(
        &self,
        user: &UserId,
        room: &RoomId,
        key: &DeliveryKey,
    ) -> Result<Option<OwnedEventId>, Failure> {
        if self.room(room, |room| room.settled) {
            return Ok(None);
        }
        let sent = self.find(user, room, key).await?;
        if sent.is_some() {
            self.room(room, |room| room.settled = true);
        }
        Ok(sent)
    }

    async fn put(
        &self,
        user: &UserId,
        room: &RoomId,
        key: &DeliveryKey,
        request: &Request,
    ) -> Result<OwnedEventId, Failure> {
        let (room, txn) = (room.to_owned(), key.as_str().into());
        let begun = Instant::now();
        let sent = match request {
            Request::Send { kind, content } => {
                let content = Raw::new(content).expect("JSON is JSON").cast_unchecked();
                let request = send_message_event::v3::Request::new_raw(room, txn, (*kind).into(), content);
                self.client.ask(user, request).await?.event_id
            }
            Request::Redact(target) => {
                let request = redact_event::v3::Request::new(room, target.clone(), txn);
                self.client.ask(user, request).await?.event_id
            }
        };
        self.owes(begun);
        Ok(sent)
    }

    /// The event that an earlier attempt left in the room. What was attempted last can't be far back among
    /// what this user said, since a conversation's deliveries come one after the other.
    async fn find(&self, user: &UserId, room: &RoomId, key: &DeliveryKey) -> Result<Option<OwnedEventId>, Failure> {
        let mut request = get_message_events::v3::Request::backward(room.to_owned());
        // Not every homeserver applies the filter before the limit.
        request.limit = uint!(50);
        request.filter.senders = Some(vec![user.to_owned()]);
        request.filter.types = Some(vec!["m.room.message".into(), "m.reaction".into()]);
        let events = match self.client.ask(user, request).await {
            Ok(response) => response.chunk,
            // Who isn't in the room has said nothing there.
            Err(failure) if failure.is_final() => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let is_it = |event: &&Raw<AnyTimelineEvent>| {
            let content = event.get_field::<Value>("content").ok().flatten();
            content.is_some_and(|content| content[KEY] == key.as_str())
        };
        Ok(events.iter().find(is_it).and_then(|event| event.get_field("event_id").ok().flatten()))
    }

    /// Tells the people of a room something of the gateway's. `cause` is the event that it comes of.
    pub async fn tell(
        &self,
        room: &RoomId,
        cause: &OwnedEventId,
        to: Option<&UserId>,
        text: String,
    ) -> Result<(), Refusal> {
        let key = DeliveryKey::new(format!("tell-{}", cause.localpart()));
        let about = to.map(|_| NativeMessageId::new(cause.as_str()));
        let notice = Event::Notice { text, about, to: to.map(|to| NativeUserId::new(to.as_str())) };
        let notice = to_native(&notice, None, &key, &self.pills)?;
        let told = async {
            let voice = self.voice(room).await?;
            self.put(&voice, room, &key, &notice).await
        };
        match told.await.map_err(|failure| failure.refusal("Not said")) {
            Err(Refusal::Reject { reason }) => {
                warn!(%room, reason, "The gateway may not speak in the room.");
                Ok(())
            }
            other => other.map(drop),
        }
    }
}
