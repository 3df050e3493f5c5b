"""The native network behind a loopback adapter: its people, what they said, and what they were shown.

It knows nothing of MIMI and shares no code with the gateway: JSON lines over a unix socket, as the adapter
documents them. It outlives its gateway. What was not answered is said again under the same id, in the same
order, on the next connection; a delivery that comes again under a key it has seen is confirmed again and
shown once, as a network with idempotency keys does it, and each such repetition is counted.
"""

import asyncio
import hashlib
import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

JOIN, LEAVE = "join", "leave"


def _sum(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()[:16]


@dataclass
class Conversation:
    """What one native conversation has seen, in its own order."""

    said: list[str] = field(default_factory=list)
    """Labels of what people here said."""
    shown: list[str] = field(default_factory=list)
    """Labels of what people elsewhere said."""
    presence: list[tuple[str, bool]] = field(default_factory=list)
    """Who from elsewhere came (true) and went."""
    notices: list[str] = field(default_factory=list)
    """Words of the gateway that are about nothing that was said here."""
    told: list[str] = field(default_factory=list)
    """Labels of what people here said and were told was not delivered, now or later."""
    labels: dict[str, str] = field(default_factory=dict)
    """The label of each act of ours, by id."""
    texts: dict[str, str] = field(default_factory=dict)
    """The text by which a native message id is known to the checker."""
    pending: dict[str, dict] = field(default_factory=dict)
    """Acts that have not been answered, by id."""
    here: dict[str, dict] = field(default_factory=dict)
    """The join of each of our people who is here."""
    mine: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The ids of each person's messages, oldest first."""
    theirs: list[str] = field(default_factory=list)
    """The ids of messages from elsewhere, oldest first."""

    def ghosts(self) -> set[str]:
        """Who from elsewhere is here, as last heard."""
        last = dict(self.presence)
        return {user for user, joined in last.items() if joined}


class Messenger:
    def __init__(self, name: str, socket: Path, seed: int = 0, not_now: float = 0.0):
        """`not_now` is the share of deliveries that the network puts off the first time. What is shared lies beside the
        socket."""
        self.name = name
        self.conversations: dict[str, Conversation] = defaultdict(Conversation)
        self.repeats = 0
        """Deliveries that came again under their key."""
        self.changed: list[str] = []
        """Of those, the ones that had another content than the first time."""
        self.accepted = 0
        self.duplicates = 0
        """Acts said again that the gateway had."""
        self.refused: dict[str, str] = {}
        self._socket = socket
        self._files = socket.with_suffix(".files")
        self._random = random.Random(seed)
        self._not_now = not_now
        self._put_off: set[str] = set()
        self._keys: dict[str, tuple[str | None, dict]] = {}
        self._ids = 0
        self._writer: asyncio.StreamWriter | None = None
        self._news = asyncio.Event()
        self._connected = asyncio.create_task(self._stay_connected())

    async def close(self):
        self._connected.cancel()
        await asyncio.gather(self._connected, return_exceptions=True)

    # What people do.

    def joins(self, conversation: str, person: str):
        self._act(conversation, JOIN, {"from": person})

    def leaves(self, conversation: str, person: str):
        self._act(conversation, LEAVE, {"from": person})

    def says(self, conversation: str, person: str, text: str, reply_to: str | None = None, direct: str | None = None):
        place = self.conversations[conversation]
        act = {"from": person, "text": text}
        label = f"{person}: {text}"
        if reply_to:
            act["reply_to"] = reply_to
            label += f" ↩ {place.texts[reply_to]}"
        if direct:
            act["direct"] = direct
        id = self._act(conversation, "say", act, label)
        place.texts[id] = text
        place.mine[person].append(id)
        return id

    def shares(self, conversation: str, person: str, name: str, octets: bytes) -> str:
        """A file is known by its name and by what is in it."""
        at = f"shared-{self._ids}"
        (self._files / at).write_bytes(octets)
        file = {"at": at, "name": name, "media_type": "application/octet-stream", "size": len(octets)}
        label = f"{person}: {name} {_sum(octets)}"
        id = self._act(conversation, "share", {"from": person, "file": file}, label)
        self.conversations[conversation].texts[id] = name
        return id

    def edits(self, conversation: str, person: str, id: str, text: str):
        original = self.conversations[conversation].texts[id]
        self._act(conversation, "edit", {"from": person, "replaces": id, "text": text}, f"{person}: {text} ✎ {original}")

    def deletes(self, conversation: str, person: str, id: str):
        original = self.conversations[conversation].texts[id]
        self._act(conversation, "delete", {"from": person, "replaces": id}, f"{person}: ✗ {original}")

    def reacts(self, conversation: str, person: str, id: str, emoji: str) -> str:
        place = self.conversations[conversation]
        label = f"{person}: {emoji} → {place.texts[id]}"
        reaction = self._act(conversation, "react", {"from": person, "reply_to": id, "emoji": emoji}, label)
        place.texts[reaction] = f"{emoji} → {place.texts[id]}"
        return reaction

    def unlikes(self, conversation: str, person: str, reaction: str):
        label = f"{person}: − {self.conversations[conversation].texts[reaction]}"
        self._act(conversation, "unlike", {"from": person, "replaces": reaction}, label)

    def _act(self, conversation: str, verb: str, act: dict, label: str | None = None) -> str:
        self._ids += 1
        id = f"{self.name}-{self._ids}"
        place = self.conversations[conversation]
        frame = {verb: {"id": id, "conversation": conversation, **act}}
        place.pending[id] = frame
        if label:
            place.said.append(label)
            place.labels[id] = label
        self._write(frame)
        return id

    # What people see.

    async def until(self, look, within: float, what: str):
        """Waits until `look` finds something; `None` when the time is up, with the reason in the log."""
        try:
            async with asyncio.timeout(within):
                while not (found := look()):
                    await self._news.wait()
                return found
        except TimeoutError:
            print(f"{self.name} waited {within} s for {what}", flush=True)
            return None

    @property
    def unanswered(self) -> int:
        return sum(len(place.pending) for place in self.conversations.values())

    def _something_happened(self):
        self._news.set()
        self._news = asyncio.Event()

    # The line.

    async def _stay_connected(self):
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(self._socket, limit=8 << 20)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            for conversation, place in self.conversations.items():
                said_anew = {next(iter(frame.values()))["from"] for frame in place.pending.values()
                             if next(iter(frame)) in (JOIN, LEAVE)}
                for person, act in place.here.items():
                    if person not in said_anew:
                        self._write({JOIN: act})
                for frame in list(place.pending.values()):
                    self._write(frame)
            try:
                while line := await reader.readline():
                    self._hear(json.loads(line))
            except (OSError, ValueError):
                pass  # Cut off in the middle of a line: that line was not said.
            self._writer.close()
            self._writer = None

    def _write(self, frame: dict):
        if self._writer and not self._writer.is_closing():
            self._writer.write(json.dumps(frame).encode() + b"\n")

    def _hear(self, frame: dict):
        ((verb, said),) = frame.items()
        match verb:
            case "accepted":
                self._answered(said["id"])
                self.accepted += 1
                self.duplicates += said["duplicate"]
            case "refused" if not said["retry"]:
                self._answered(said["id"], said["reason"])
            case "ping":
                self._write({"pong": {}})
            case "deliver":
                self._show(said)
            case "ping":
                self._write({"pong": {}})
            case "unreadable":
                raise AssertionError(f"the adapter could not read what we said: {said}")
        self._something_happened()

    def _answered(self, id: str, reason: str | None = None):
        for place in self.conversations.values():
            if frame := place.pending.pop(id, None):
                ((verb, act),) = frame.items()
                if verb == JOIN:
                    place.here[act["from"]] = act
                elif verb == LEAVE:
                    place.here.pop(act["from"], None)
                elif reason:
                    self.refused[place.texts.get(id, id)] = reason
                    place.told.append(place.labels[id])
                return

    def _show(self, delivery: dict):
        key, event = delivery["key"], delivery["event"]
        content = {name: delivery[name] for name in ("conversation", "from", "event")}
        if key in self._keys:
            id, before = self._keys[key]
            self.repeats += 1
            if content != before:
                self.changed.append(f"{before} became {content}")
            return self._write({"delivered": {"key": key, **({"id": id} if id else {})}})
        if key not in self._put_off and self._random.random() < self._not_now:
            self._put_off.add(key)
            return self._write({"not_now": {"key": key}})
        id = self._take(delivery, event)
        self._keys[key] = (id, content)
        self._write({"delivered": {"key": key, **({"id": id} if id else {})}})

    def _take(self, delivery: dict, event) -> str | None:
        place = self.conversations[delivery["conversation"]]
        who = delivery["from"]["user"] if delivery["from"] else "gateway"
        person = who.rpartition("/")[2]
        kind, what = (event, {}) if isinstance(event, str) else next(iter(event.items()))
        named = lambda id: place.texts.get(id, f"nothing known here ({id})")
        id = f"{self.name}-shown-{len(self._keys)}"
        match kind:
            case "join" | "leave":
                place.presence.append((who, kind == "join"))
                return None
            case "notice":
                if what["about"] in place.labels:
                    place.told.append(place.labels[what["about"]])
                else:
                    place.notices.append(what["text"])
                return None
            case "message":
                reply = f" ↩ {named(what['reply_to'])}" if what["reply_to"] else ""
                place.texts[id] = what["text"]
                place.theirs.append(id)
                place.shown.append(f"{person}: {what['text']}{reply}")
                return id
            case "file":
                file = what["file"]
                place.texts[id] = file["name"]
                place.theirs.append(id)
                place.shown.append(f"{person}: {file['name']} {_sum((self._files / file['at']).read_bytes())}")
                return id
            case "edit":
                place.shown.append(f"{person}: {what['text']} ✎ {named(what['replaces'])}")
            case "delete":
                place.shown.append(f"{person}: ✗ {named(what['replaces'])}")
            case "reaction":
                place.texts[id] = f"{what['emoji']} → {named(what['reply_to'])}"
                place.shown.append(f"{person}: {what['emoji']} → {named(what['reply_to'])}")
                return id
            case "unlike":
                place.shown.append(f"{person}: − {named(what['replaces'])}")
        return None
