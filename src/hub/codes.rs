//! Joining codes (P§5.6, R§8.1): who has one comes into a room of ours uninvited, as the role that the room gives to
//! who comes by a code.
//!
//! A commit has no code in it. So a use is noted when the GroupInfo is given for a code, for that user alone, and asked
//! for when the commit comes. The members see that the room has such a role and leave the code to us, who alone know it.
//!
//! Only a code's hash is kept. It is 16 octets of chance, and every provider may ask for a GroupInfo so often and no
//! more, so that nobody guesses one.

use std::time::Duration;

use tracing::info;

use crate::{
    core::{Core, Fault, hash},
    hub::HubError,
    mimi::{
        joining_link::JoiningLink,
        policy::{self, RoomState},
        uri::{RoomUri, UserUri},
        wire::Credential,
    },
    mls::HubChange,
    room_state,
    store::{Tx, codes::JoiningCode, hub::HubRoom},
};

impl JoiningCode {
    /// By which an admin calls it.
    pub fn id(&self) -> String {
        hex::encode(&self.hash[..4])
    }
}

impl Core {
    /// A new code for a room of ours, which so many people may use.
    pub async fn make_code(
        &self,
        tx: &mut Tx,
        room: &RoomUri,
        uses: u32,
        valid: Duration,
    ) -> Result<JoiningLink, Fault> {
        let state = self.state_of_ours(tx, room).await?;
        let role = policy::role_by_code(&state).ok_or_else(|| {
            Fault::never("nobody comes into this room by a code: its roles_list gives no canUseJoinCode to role 0")
        })?;
        let link = JoiningLink::random(room);
        let expires = self.now().saturating_add(valid.as_millis() as u64);
        let code = JoiningCode { hash: hash(link.code().as_bytes()), room: room.clone(), role, uses, expires };
        tx.add_joining_code(&code).await?;
        info!(%room, id = code.id(), uses, "A joining code was made.");
        Ok(link)
    }

    pub async fn codes(&self, tx: &mut Tx, room: &RoomUri) -> Result<Vec<JoiningCode>, Fault> {
        self.state_of_ours(tx, room).await?;
        let mut codes = tx.joining_codes(room).await?;
        codes.retain(|code| code.expires > self.now());
        Ok(codes)
    }

    pub async fn withdraw_code(&self, tx: &mut Tx, room: &RoomUri, id: &str) -> Result<(), Fault> {
        let codes = self.codes(tx, room).await?;
        let code = codes.iter().find(|code| code.id() == id);
        let code = code.ok_or_else(|| Fault::never(format!("{room} has no code {id}")))?;
        info!(%room, id, "A joining code was withdrawn.");
        Ok(tx.withdraw_joining_code(&code.hash).await?)
    }

    async fn state_of_ours(&self, tx: &mut Tx, room: &RoomUri) -> Result<std::sync::Arc<RoomState>, Fault> {
        self.must_have(tx, room).await?;
        let hub = tx.hub_room(room).await?;
        let hub =
            hub.ok_or_else(|| Fault::never(format!("{room} is no room of ours, or nobody has been there yet")))?;
        Ok(self.hub_state(tx, &hub).await?.1)
    }

    /// Somebody who may not come otherwise asks for a GroupInfo with a code. If it is good, they may come.
    pub(super) async fn admit(
        &self,
        tx: &mut Tx,
        hub: &HubRoom,
        state: &RoomState,
        user: &UserUri,
        code: &[u8],
    ) -> Result<bool, HubError> {
        let (hash, now) = (hash(code), self.now());
        let good = |code: &JoiningCode| code.expires > now && policy::role_by_code(state) == Some(code.role);
        let Some(code) = tx.joining_code(&hub.room, &hash).await?.filter(good) else { return Ok(false) };
        // Whoever asks again does not come twice.
        if tx.admission(&hub.room, user).await?.is_some_and(|admission| admission.code == hash) {
            return Ok(true);
        }
        if code.uses == 0 {
            return Ok(false);
        }
        tx.admit(user, &code).await?;
        info!(room = %hub.room, %user, id = code.id(), "A joining code was used.");
        Ok(true)
    }

    /// A commit by which somebody joins. `Err` if that is by a code that they have not shown.
    pub(super) async fn must_be_admitted(
        &self,
        tx: &mut Tx,
        hub: &HubRoom,
        before: &RoomState,
        commit: &HubChange,
        user: &UserUri,
    ) -> Result<(), Fault> {
        let after = room_state::read(&commit.after, &commit.leaves).map_err(Fault::never)?;
        // Who is in the list already brings a client of theirs, and needs no code.
        let (None, Some(role)) = (before.participants.role(user), after.participants.role(user)) else { return Ok(()) };
        if policy::joins_without_code(before, &Credential::basic(&commit.sender), role) {
            return Ok(());
        }
        let admission = tx.admission(&hub.room, user).await?;
        match admission.filter(|admission| admission.role == role && admission.expires > self.now()) {
            Some(_) => Ok(()),
            None => Err(Fault::never("nobody joins this room uninvited but by a joining code")),
        }
    }
}
