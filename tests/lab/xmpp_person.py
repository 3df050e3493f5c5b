"""Somebody with an XMPP client (slixmpp).

The client behaves as a good one does when its server goes away: it comes back by itself, joins its
group chats again, reads in their archive what it missed (XEP-0313), and sends again only what the
archive doesn't have. So whatever is lost or doubled in a test, it was not lost or doubled here.
"""

import asyncio
import io
import uuid
from datetime import datetime, timezone
from xml.etree import ElementTree

import aiohttp
import slixmpp
from slixmpp.exceptions import IqError, IqTimeout, PresenceError

from .people import Person
from .prosody import DOMAIN, UPLOAD, Prosody

_AWAY = (IqError, IqTimeout, PresenceError, TimeoutError)


class XmppPerson(Person):
    @classmethod
    async def sign_up(cls, prosody: Prosody, name: str) -> "XmppPerson":
        """A new account, signed in."""
        await prosody.register(name, password(name))
        return await cls.sign_in(prosody, name)

    @classmethod
    async def sign_in(cls, prosody: Prosody, name: str) -> "XmppPerson":
        self = cls(name)
        self.jid = f"{name}@{DOMAIN}"
        self._address = (prosody.host, prosody.port)
        self._chats: dict[str, _GroupChat] = {}
        self._refused: dict[str, str] = {}
        self._directly: set[tuple[str, str]] = set()
        self._received: set[str] = set()
        self._opened: list = []
        self.read: set[tuple[str, str]] = set()
        """Who has read up to which message, by bare JID and id."""
        self.ids: dict[str, str] = {}
        """What the messages of each text that came directly are called."""
        self.threads: dict[str, str] = {}
        """The thread in which each text was seen last; none is empty."""
        self.repeats = 0
        self._connections = 0  # How many there have been; grows when one is lost.
        self._online = False
        self._client = client = slixmpp.ClientXMPP(f"{self.jid}/phone", password(name))
        client.enable_starttls = client.enable_direct_tls = False
        client.enable_plaintext = True
        client.plugin["feature_mechanisms"].unencrypted_plain = True
        for plugin in ("xep_0045", "xep_0066", "xep_0184", "xep_0199", "xep_0313", "xep_0333", "xep_0359", "xep_0363"):
            client.register_plugin(plugin)
        client.plugin["xep_0184"].auto_request = False
        client.add_event_handler("session_start", self._on_session)
        client.add_event_handler("disconnected", self._on_disconnected)
        client.add_event_handler("message", self._on_message)
        client.add_event_handler("message_error", self._on_error)
        client.add_event_handler("receipt_received", self._on_receipt)
        client.add_event_handler("marker_displayed", self._on_displayed)
        self._staying_online = asyncio.create_task(self._stay_online())
        await self.until(lambda: self._online, 30, "to be signed in")
        return self

    async def sign_out(self):
        self._staying_online.cancel()
        await asyncio.gather(self._staying_online, return_exceptions=True)
        self._client.abort()

    async def creates_group_chat(self, room: str):
        """Creates a group chat as the server likes its group chats, and is in it."""
        await self.joins(room)
        # Until its owner has said so, nobody else may enter (XEP-0045 §10.1.2).
        as_it_is = self._client.plugin["xep_0004"].make_form(ftype="submit")
        await self._client.plugin["xep_0045"].set_room_config(room, as_it_is)

    async def joins(self, room: str):
        self._chats[room] = chat = _GroupChat(room)
        await self._enter(chat)

    async def sees_occupant(self, room: str, nick: str, within: float = 30):
        """Waits until somebody of this name is in the group chat."""
        present = asyncio.Event()
        handler = self._client.event_handler(f"muc::{room}::got_online", lambda _: present.set())
        with handler:
            async with asyncio.timeout(within):
                while nick not in self.occupants(room):
                    await present.wait()
                    present.clear()

    def occupants(self, room: str) -> list[str]:
        return self._client.plugin["xep_0045"].get_roster(room)

    async def says(self, room: str, text: str, thread: str | None = None):
        """Says something in a group chat, perhaps in a thread; returns once the group chat has it."""
        await self._say(room, text, thread=thread)

    def whispers(self, room: str, nick: str, text: str):
        """Writes to somebody in a group chat alone (XEP-0045 §7.5)."""
        message = self._client.make_message(mto=f"{room}/{nick}", mbody=text, mtype="chat")
        message.append(ElementTree.Element("{http://jabber.org/protocol/muc#user}x"))
        message.send()

    async def kicks(self, room: str, nick: str):
        await self._client.plugin["xep_0045"].set_role(slixmpp.JID(room), nick, "none")

    def sets_subject(self, room: str, subject: str):
        self._client.plugin["xep_0045"].set_subject(slixmpp.JID(room), subject)

    async def shows_file(self, room: str, url: str):
        """What clients send after they have uploaded a file: its address, marked as such (XEP-0066)."""
        await self._say(room, url, oob=url)

    async def shares(self, room: str, file_name: str, octets: bytes):
        """Puts a file where the server keeps files (XEP-0363), and shows it."""
        url = await self._client.plugin["xep_0363"].upload_file(
            file_name, domain=UPLOAD, size=len(octets), content_type="image/png", input_file=io.BytesIO(octets)
        )
        await self.shows_file(room, url)

    async def downloads(self, by: str, within: float = 60) -> tuple[str, bytes]:
        """Waits for a message of somebody in which there is an address, and answers its text and what is there."""
        mine = lambda message: message.name == by and "http://127.0.0.1:" in message.text and message not in self._opened
        message = await self.until(lambda: next(filter(mine, self.seen), None), within, f"a file of {by}")
        self._opened.append(message)
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            async with session.get(message.text.split()[-1]) as response:
                return message.text, await response.read()

    async def says_in_secret(self, room: str):
        """What a client sends that encrypts with OMEMO."""
        await self._say(room, "This is OMEMO.", encrypted=True)

    async def _say(
        self, room: str, text: str, oob: str | None = None, encrypted: bool = False, thread: str | None = None
    ):
        chat, id = self._chats[room], uuid.uuid4().hex
        while True:
            await self.until(lambda: chat.is_live, 120, f"{room} to be back")
            connection = self._connections
            message = self._client.make_message(mto=room, mbody=text, mtype="groupchat")
            message["id"] = id
            if thread:
                message["thread"] = thread
            if encrypted:
                message.append(ElementTree.Element("{eu.siacs.conversations.axolotl}encrypted"))
            if oob:
                message["oob"]["url"] = oob
            message.send()
            await self.until(
                lambda: id in chat.confirmed or id in self._refused or self._connections != connection,
                120,
                f"{room} to confirm {text!r}",
            )
            if id not in chat.confirmed and id not in self._refused:
                # The connection broke. The archive knows, as soon as it has been read.
                await self.until(lambda: chat.is_live, 120, f"{room} to be back")
            if id in self._refused:
                raise RuntimeError(f"{room} refused {text!r}: {self._refused[id]}")
            if id in chat.confirmed:
                return

    async def writes_to(self, jid: str, text: str, thread: str | None = None) -> str:
        """Writes to somebody directly; returns the message's id once the server has routed it."""
        message = self._client.make_message(mto=jid, mbody=text, mtype="chat")
        message["id"] = id = uuid.uuid4().hex
        if thread:
            message["thread"] = thread
        message.send()
        # A server handles one client's stanzas in order (RFC 6120 §10.1).
        await self._client.plugin["xep_0199"].ping(DOMAIN)
        return id

    def reads_up_to(self, jid: str, text: str):
        """What a client sends when somebody looks at a message of this text (XEP-0333)."""
        self._client.plugin["xep_0333"].send_marker(slixmpp.JID(jid), self.ids[text], "displayed")

    async def sees_read(self, id: str, by: str, within: float = 30):
        """Waits until somebody has read the message with this id."""
        await self.until(lambda: (by, id) in self.read, within, f"{by} to have read {id}")

    async def makes_sure_of(self, jid: str, text: str, within: float = 60):
        """Writes to somebody directly, and again under the same id until a receipt comes (XEP-0184)."""
        id = uuid.uuid4().hex
        async with asyncio.timeout(within):
            while id not in self._received:
                message = self._client.make_message(mto=jid, mbody=text, mtype="chat")
                message["id"] = id
                message["request_receipt"] = True
                message.send()
                try:
                    async with asyncio.timeout(3):
                        while id not in self._received:
                            await self._news.wait()
                except TimeoutError:
                    pass

    async def _stay_online(self):
        while True:
            try:
                _, writer = await asyncio.open_connection(*self._address)
                writer.close()
            except OSError:
                await asyncio.sleep(0.1)
                continue
            connection = self._connections
            self._client.connect(*self._address)
            await self.until(lambda: self._connections != connection, None, "the connection to break")

    def _on_disconnected(self, _):
        self._online = False
        for chat in self._chats.values():
            chat.is_live = False
        self._connections += 1
        self._something_happened()

    async def _on_session(self, _):
        self._client.send_presence()
        self._online = True
        self._something_happened()
        for chat in list(self._chats.values()):
            await self._enter(chat)

    async def _enter(self, chat: "_GroupChat"):
        """Joins, then reads what was said since the last message seen, then what came in meanwhile."""
        connection = self._connections
        chat.is_live = False
        chat.waiting = []
        try:
            muc = self._client.plugin["xep_0045"]
            await muc.join_muc_wait(slixmpp.JID(chat.room), self.name, maxstanzas=0, timeout=20)
            if chat.joined_at:
                after = {"after": chat.last} if chat.last else {}
                archive = self._client.plugin["xep_0313"].iterate(
                    jid=slixmpp.JID(chat.room), start=chat.joined_at, rsm={"max": 50, **after}
                )
                async for entry in archive:
                    result = entry["mam_result"]
                    self._take(chat, result["id"], result["forwarded"]["stanza"])
        except _AWAY:
            if connection != self._connections:
                return  # It broke again; the next session starts anew.
            raise
        chat.joined_at = chat.joined_at or datetime.now(timezone.utc)
        waiting, chat.waiting = chat.waiting, None
        for archive_id, message in waiting:
            self._take(chat, archive_id, message)
        chat.is_live = True
        self._something_happened()

    def _on_message(self, message):
        room = message["from"].bare
        if message["type"] != "groupchat" and room in self._chats:
            # A private word from somebody in the group chat (XEP-0045 §7.5).
            self._show(message["from"].full, message["from"].full, message["from"].resource, message["body"])
        elif message["type"] != "groupchat":
            # A client that knows XEP-0359 shows what comes again under the same id once.
            if (room, message["id"]) in self._directly:
                self.repeats += 1
                return
            self._directly.add((room, message["id"]))
            self.threads[message["body"]] = message["thread"]
            self.ids[message["body"]] = message["id"]
            self._show(room, room, message["from"].user, message["body"])
        elif chat := self._chats.get(room):
            archive_id = message["stanza_id"]["id"]
            if chat.waiting is not None:
                chat.waiting.append((archive_id, message))
            else:
                self._take(chat, archive_id, message)

    def _take(self, chat: "_GroupChat", archive_id: str, message):
        # What came in while the archive was read may be in it as well.
        if archive_id in chat.shown:
            return
        chat.shown.add(archive_id)
        chat.last = archive_id
        sender = message["from"]
        if sender.resource == self.name:
            chat.confirmed.add(message["id"])
        self.threads[message["body"]] = message["thread"]
        self._show(chat.room, sender.full, sender.resource, message["body"])

    def _on_receipt(self, message):
        self._received.add(message["receipt"])
        self._something_happened()

    def _on_displayed(self, message):
        self.read.add((message["from"].bare, message["displayed"]["id"]))
        self._something_happened()

    def _on_error(self, message):
        self._refused[message["id"]] = f"{message['error']['condition']}: {message['error']['text']}"
        self._something_happened()


class _GroupChat:
    def __init__(self, room: str):
        self.room = room
        self.is_live = False
        self.joined_at: datetime | None = None
        """The first time. What was said before is not for us."""
        self.last: str | None = None
        """The archive id of the last message seen."""
        self.shown: set[str] = set()
        self.confirmed: set[str] = set()
        self.waiting: list | None = []
        """What comes in while the archive is read."""


def password(name: str) -> str:
    return f"{name}-in-the-lab"
