"""A conversation through both gateways that passes every step there is.

Two rooms, one at each hub, and two one-to-one conversations, one begun on each side. In each of them both sides
speak at the same time: messages, replies, edits, reactions and their taking back, deletions; people leave and
come back; everybody is invited, and one of the gateways lets nobody be invited without asking. Each talk has
people and rooms of its own, so that several can be held between the same gateways, and be judged apart.
"""

import asyncio
from typing import Awaitable, Callable
from urllib.parse import quote

from .checker import Harm, harm
from .messenger import Messenger
from .pair import DOMAINS, Pair, other

PATIENCE = 40


class Talk:
    def __init__(self, pair: Pair, number: str, lines: int = 3, pause: float = 0.02):
        self._pair, self._number, self._lines, self._pause = pair, number, lines, pause
        self.people = {
            "a": [f"alice{number}", f"anna{number}"],
            "b": [f"bob{number}", f"ben{number}"],
        }
        self.rooms = {f"tea{number}": "a", f"milk{number}": "b"}
        """Conversations, and whose hub each has."""
        self.stuck: list[str] = []
        """What was waited for in vain."""
        self.interlude: Callable[[list[str]], Awaitable] | None = None
        """What happens to the rooms when all are in them, and nobody has spoken yet."""

    async def hold(self) -> dict[str, Harm]:
        """Returns what became of it, for each direction."""
        granting = asyncio.create_task(self._grant_consent())
        try:
            await asyncio.gather(*(self._open(conversation, hub) for conversation, hub in self.rooms.items()))
            if self.interlude:
                await self.interlude([f"mimi://{DOMAINS[hub]}/r/{room}" for room, hub in self.rooms.items()])
            directs = {me: self._begin_direct(me) for me in DOMAINS}
            await asyncio.gather(
                *(self._speak(me, conversation) for conversation in self.rooms for me in DOMAINS),
                *(self._speak_alone(me, direct) for direct in directs.values() for me in DOMAINS),
            )
            await asyncio.gather(*(self._end(me, directs) for me in DOMAINS))
        finally:
            granting.cancel()
            await asyncio.gather(granting, return_exceptions=True)
        found = {}
        for me in DOMAINS:
            speaker, reader = self._at(me), self._at(other(me))
            found[me] = harm(speaker, reader, {room: room for room in self.rooms})
            found[me] += harm(speaker, reader, {direct[me]: direct[other(me)] for direct in directs.values()})
            for room in self.rooms:
                found[me].count_presence(room, reader.conversations[room].presence, set(self.people[me]))
        return found

    def _at(self, me: str) -> Messenger:
        return self._pair.at[me]

    def _user(self, me: str, person: str) -> str:
        return f"mimi://{DOMAINS[me]}/u/{person}"

    async def _until(self, me: str, look, what: str):
        # Once something has not come, the rest of the talk is only there to show what else has not.
        found = await self._at(me).until(look, 5 if self.stuck else PATIENCE, what)
        if not found:
            self.stuck.append(f"{me} waited for {what}")
        return found

    async def _open(self, conversation: str, hub: str):
        """What two admins and four people do to have a room together."""
        here, there, guest = hub, other(hub), self.people[other(hub)][0]
        room = f"mimi://{DOMAINS[hub]}/r/{conversation}"
        new = {"adapter": "loopback", "conversation": conversation, "room": room, "name": conversation}
        link = {"adapter": "loopback", "conversation": conversation}
        gateways = self._pair.gateways
        await gateways[here].asks("POST", "/rooms", new)
        await gateways[there].asks("POST", f"/rooms/{quote(room, safe='')}/link", link)
        await gateways[here].asks("POST", f"/rooms/{quote(room, safe='')}/invites", {"user": self._user(there, guest)})
        for me, people in self.people.items():
            for person in people:
                self._at(me).joins(conversation, person)
        for me in (here, there):
            everybody = {self._user(other(me), person) for person in self.people[other(me)]}
            place = self._at(me).conversations[conversation]
            await self._until(me, lambda: place.ghosts() >= everybody, f"{everybody} to be in {conversation}")

    def _begin_direct(self, me: str) -> dict[str, str]:
        """The first one here writes to the first one there; what each side calls the conversation."""
        mine, theirs = self.people[me][0], self.people[other(me)][0]
        if me == "b":
            mine, theirs = self.people[me][1], self.people[other(me)][1]
        direct = {
            me: f"{mine}+{self._user(other(me), theirs)}",
            other(me): f"{theirs}+{self._user(me, mine)}",
        }
        self._at(me).says(direct[me], mine, f"Just between us ({direct[me]})", direct=self._user(other(me), theirs))
        return direct

    async def _speak(self, me: str, conversation: str):
        at, (first, second) = self._at(me), self.people[me]
        place = at.conversations[conversation]

        async def say(person: str, text: str, reply_to: str | None = None):
            at.says(conversation, person, f"{text} ({me}, {conversation})", reply_to)
            await asyncio.sleep(self._pause)

        at.shares(conversation, first, f"{me}-{conversation}.bin", f"{me} {conversation}".encode() * 10_000)
        for line in range(self._lines):
            await say(first, f"line {line} of the first")
            await say(second, f"line {line} of the second")
        # What it is about has to have arrived here; what it says has to arrive there after that.
        await self._until(me, lambda: place.theirs, f"anything from elsewhere in {conversation}")
        if place.theirs:
            await say(first, "an answer", place.theirs[-1])
            reaction = at.reacts(conversation, second, place.theirs[0], "👍")
            at.reacts(conversation, first, place.theirs[-1], "🫖")
            at.unlikes(conversation, second, reaction)
        at.edits(conversation, first, place.mine[first][0], f"corrected ({me}, {conversation})")
        await say(second, "to be taken back")
        at.deletes(conversation, second, place.mine[second][-1])
        at.leaves(conversation, second)
        await say(first, "while the second is away")
        at.joins(conversation, second)
        await say(second, "back again")
        await say(first, "an answer to my own", place.mine[first][1])

    async def _speak_alone(self, me: str, direct: dict[str, str]):
        at, conversation = self._at(me), direct[me]
        place, (person, _, user) = at.conversations[conversation], conversation.partition("+")
        await self._until(me, lambda: place.theirs or place.said, f"anything in {conversation}")
        for line in range(self._lines):
            at.says(conversation, person, f"line {line} ({me}, {conversation})", direct=user)
            await asyncio.sleep(self._pause)
        at.edits(conversation, person, place.mine[person][-1], f"corrected ({me}, {conversation})")

    async def _end(self, me: str, directs: dict[str, dict[str, str]]):
        """Says that this is all, and waits until the other side has read that: whatever is doubled came before."""
        at, reader = self._at(me), other(me)
        # The others may have gone on: who was away is in again.
        there = {self._user(me, person) for person in self.people[me]}
        conversations = [(room, room, self.people[me][0]) for room in self.rooms]
        conversations += [(direct[me], direct[reader], direct[me].partition("+")[0]) for direct in directs.values()]
        for mine, theirs, person in conversations:
            last = f"that is all ({me}, {mine})"
            at.says(mine, person, last)
            read = self._at(reader).conversations[theirs]
            await self._until(reader, lambda: f"{person}: {last}" in read.shown, f"{last!r}")
        for room in self.rooms:
            place = self._at(reader).conversations[room]
            await self._until(reader, lambda: place.ghosts() >= there, f"{there} to be in {room}")
        if not await at.until(lambda: not at.unanswered, PATIENCE, "every act to be answered"):
            self.stuck.append(f"{at.unanswered} acts at {me} were never answered")

    async def _grant_consent(self):
        """The admin of a.example says yes to whoever asks for these people."""
        ours = {self._user("a", person) for person in self.people["a"]}
        while True:
            _, consents = await self._pair.a.asks("GET", "/consents", within=PATIENCE)
            for consent in consents:
                if consent["state"] == "requested" and consent["target"] in ours:
                    scope = {name: consent[name] for name in ("requester", "target", "room")}
                    await self._pair.a.asks("POST", "/consents/grant", scope, within=PATIENCE)
            await asyncio.sleep(0.1)
