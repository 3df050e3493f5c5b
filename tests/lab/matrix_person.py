"""Somebody with a Matrix client (matrix-nio).

The client behaves as a good one does when its homeserver goes away: it asks again until it is back, and
sends again under the same transaction id, which Synapse remembers across a restart.
"""

import asyncio
import io
import uuid

import aiohttp
import nio

from .people import Person
from .synapse import SERVER_NAME, Synapse

# All that was missed comes in one sync, so the order of `seen` is the order of the room.
_FILTER = {"room": {"timeline": {"limit": 100_000}}}


class MatrixPerson(Person):
    @classmethod
    async def sign_up(cls, synapse: Synapse, name: str) -> "MatrixPerson":
        """A new account, signed in."""
        await asyncio.to_thread(synapse.register, name, password(name))
        return await cls.sign_in(synapse, name)

    @classmethod
    async def sign_in(cls, synapse: Synapse, name: str) -> "MatrixPerson":
        self = cls(name)
        # A homeserver that is away is asked again soon, for as long as it takes.
        patient = nio.AsyncClientConfig(max_timeout_retry_wait_time=0.5, store_sync_tokens=False)
        self._client = nio.AsyncClient(synapse.url, f"@{name}:{SERVER_NAME}", config=patient)
        _check(await self._client.login(password(name)))
        self.user_id = self._client.user_id
        self.invites: dict[str, str] = {}
        self._files: dict[str, dict] = {}
        self.read: dict[tuple[str, str], str] = {}
        """Up to which event somebody has read in a room, by room and user."""
        self.contents: dict[str, dict] = {}
        """The whole content of what was seen last of each text."""
        self._listening = asyncio.create_task(self._listen())
        return self

    async def sign_out(self):
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await self._client.close()

    async def creates_room(self, name: str, invite: list[str] = []) -> str:
        created = await self._client.room_create(name=name, invite=invite, preset=nio.RoomPreset.private_chat)
        return _check(created).room_id

    async def creates_direct_chat(self, with_user: str) -> str:
        created = await self._client.room_create(
            is_direct=True, invite=[with_user], preset=nio.RoomPreset.trusted_private_chat
        )
        return _check(created).room_id

    async def invites_to(self, room: str, user_id: str):
        _check(await self._client.room_invite(room, user_id))

    async def joins(self, room: str):
        _check(await self._client.join(room))

    async def is_invited(self, within: float = 30) -> tuple[str, str]:
        """Waits for an invitation and returns the room and who invited."""
        return await self.until(lambda: next(iter(self.invites.items()), None), within, "an invitation")

    async def members(self, room: str) -> dict[str, str | None]:
        """Who is in the room, with their display names, as the homeserver has it now."""
        answer = _check(await self._client.joined_members(room))
        return {member.user_id: member.display_name for member in answer.members}

    async def sees_member(self, room: str, name: str, within: float = 30) -> str:
        """Waits until somebody of this display name is in the room, and returns their id."""

        def look():
            users = self._client.rooms[room].users if room in self._client.rooms else {}
            return next((id for id, user in users.items() if user.display_name == name and not user.invited), None)

        return await self.until(look, within, f"a member called {name!r}")

    async def says(self, room: str, text: str, html: str | None = None) -> str:
        """Returns once the homeserver has the message."""
        formatted = {"format": "org.matrix.custom.html", "formatted_body": html} if html else {}
        return await self._send(room, {"msgtype": "m.text", "body": text, **formatted})

    async def says_under(self, room: str, root: str, text: str, answers: str | None = None) -> str:
        """Says something in the thread under a message, as a client does that knows threads."""
        relation = {"rel_type": "m.thread", "event_id": root, "is_falling_back": answers is None}
        relation["m.in_reply_to"] = {"event_id": answers or root}
        return await self._send(room, {"msgtype": "m.text", "body": text, "m.relates_to": relation})

    async def reads_up_to(self, room: str, event: str):
        _check(await self._client.room_read_markers(room, event, event))

    async def sees_read(self, room: str, event: str, by: str, within: float = 30):
        """Waits until somebody has read up to an event."""
        await self.until(lambda: self.read.get((room, by)) == event, within, f"{by} to have read {event}")

    async def shares(self, room: str, file_name: str, octets: bytes, caption: str | None = None) -> str:
        """Shows a picture."""
        uploaded, _ = await self._client.upload(io.BytesIO(octets), "image/png", file_name, filesize=len(octets))
        content = {"msgtype": "m.image", "body": file_name, "url": _check(uploaded).content_uri}
        content["info"] = {"mimetype": "image/png", "size": len(octets)}
        if caption:
            content |= {"body": caption, "filename": file_name}
        return await self._send(room, content)

    async def downloads(self, file_name: str, within: float = 60) -> tuple[dict, bytes]:
        """Waits for a file of this name, and answers its event's content and its octets."""
        content = await self.until(lambda: self._files.get(file_name), within, f"a file called {file_name}")
        path = content["url"].removeprefix("mxc://")
        url = f"{self._client.homeserver}/_matrix/client/v1/media/download/{path}"
        headers = {"Authorization": f"Bearer {self._client.access_token}"}
        async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
            async with session.get(url) as response:
                return content, await response.read()

    async def sets_state(self, room: str, kind: str, content: dict):
        """Changes the room itself: its name, its topic, who has which power."""
        _check(await self._client.room_put_state(room, kind, content))

    async def state(self, room: str, kind: str) -> dict:
        return _check(await self._client.room_get_state_event(room, kind)).content

    async def finds_state(self, room: str, kind: str, content: dict, within: float = 30):
        """Waits until the room's state is this."""
        async with asyncio.timeout(within):
            # Until it is set for the first time there is none.
            while getattr(await self._client.room_get_state_event(room, kind), "content", None) != content:
                await asyncio.sleep(0.2)

    async def kicks(self, room: str, user_id: str):
        _check(await self._client.room_kick(room, user_id))

    async def gives_power(self, room: str, user_id: str, level: int):
        levels = await self.state(room, "m.room.power_levels")
        levels["users"][user_id] = level
        await self.sets_state(room, "m.room.power_levels", levels)

    async def shows_where(self, room: str, place: str) -> str:
        return await self._send(room, {"msgtype": "m.location", "body": place, "geo_uri": "geo:50.94,6.96"})

    async def _send(self, room: str, content: dict) -> str:
        transaction = uuid.uuid4().hex
        while True:
            try:
                answer = await self._client.room_send(room, "m.room.message", content, tx_id=transaction)
            except aiohttp.ClientError:
                answer = None  # The connection was lost in the middle of an answer.
            if isinstance(answer, nio.RoomSendResponse):
                return answer.event_id
            if answer is not None and answer.transport_response.status < 500:
                _check(answer)
            await asyncio.sleep(0.2)

    async def _listen(self):
        while True:
            try:
                answer = await self._client.sync(timeout=30_000, sync_filter=_FILTER)
            except aiohttp.ClientError:
                answer = None
            if not isinstance(answer, nio.SyncResponse):
                await asyncio.sleep(0.2)
                continue
            for room, info in answer.rooms.invite.items():
                self.invites |= {room: each.sender for each in info.invite_state if _invites(each, self.user_id)}
            for room, info in answer.rooms.join.items():
                self.invites.pop(room, None)
                for event in info.timeline.events:
                    self._take(room, event.source)
                for event in info.ephemeral:
                    if isinstance(event, nio.ReceiptEvent):
                        self.read |= {(room, it.user_id): it.event_id for it in event.receipts}
            self._something_happened()

    def _take(self, room: str, event: dict):
        # A redacted message has no body.
        if event["type"] == "m.room.message" and "body" in event["content"]:
            member = self._client.rooms[room].users.get(event["sender"])
            name = member.display_name if member and member.display_name else event["sender"]
            if "url" in event["content"] and event["sender"] != self.user_id:
                self._files[event["content"].get("filename", event["content"]["body"])] = event["content"]
            self.contents[event["content"]["body"]] = event["content"] | {"event_id": event["event_id"]}
            self._show(room, event["sender"], name, event["content"]["body"])


def password(name: str) -> str:
    return f"{name}-in-the-lab"


def _invites(event, user_id: str) -> bool:
    return isinstance(event, nio.InviteMemberEvent) and event.state_key == user_id and event.membership == "invite"


def _check(answer):
    if isinstance(answer, nio.ErrorResponse):
        raise RuntimeError(f"Synapse refused: {answer}")
    return answer

