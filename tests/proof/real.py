"""The crash matrix between real servers: Synapse and a gateway for a.example, Prosody and a gateway for b.example.

What people say here is less than on loopback: messages, a correction, a reaction, somebody who leaves and comes
back, an invitation, and two people alone. Each case has a room of its own. The verdict is on what the clients of
the four people were shown, against the order in which their own server has it.
"""

import asyncio
import time
from contextlib import asynccontextmanager
from urllib.parse import quote

from lab.matrix_person import MatrixPerson
from lab.prosody import CONFERENCE
from lab.talk import Talk
from lab.verdict import verdict
from lab.world import Link, World
from lab.xmpp_person import XmppPerson

from .checker import Harm
from .crashes import POINTS, Trial
from .pair import Watched
from .results import Case

PATIENCE = 60

# In the room of four a.example is the hub, and where two are alone b.example, for it is Dan who writes first.
HUB = ("hub.", "members.founded", "outbox.hub.own.", "outbox.follower.", "outbox.invite.")
FOLLOWER = ("accept.fanout", "consent.key_material.", "members.entered", "members.welcomed", "outbox.hub.taken", "outbox.hub.answered")


def is_for_two(trial: Trial) -> bool:
    """Whether two people alone pass the point at this gateway, and four in a room don't."""
    elsewhere = {"a": FOLLOWER, "b": HUB}[trial.killed]
    return ".direct." in trial.point or trial.point == "outbox.portal.opened" or trial.point.startswith(elsewhere)


class RealWorld:
    """The lab's world, whose gateways are watched over."""

    @classmethod
    @asynccontextmanager
    async def running(cls, name: str):
        self = cls()
        async with World.on_free_ports(name) as world:
            await world.sign_everybody_up()
            self.world = world
            self.gateways = {"a": Watched(world.gateway_a), "b": Watched(world.gateway_b)}
            for watched in self.gateways.values():
                await watched.kill()
                await watched.start()
            try:
                yield self
            finally:
                for watched in self.gateways.values():
                    await watched._look_away()

    async def link(self, number: str) -> Link:
        """A Matrix room and a group chat become one, whatever happens to the gateways on the way."""
        world, muc, mimi_room = self.world, f"room{number}@{CONFERENCE}", f"mimi://a.example/r/room{number}"
        alice, anna, bob, ben = world.alice, world.anna, world.bob, world.ben
        room = await alice.creates_room(f"Room {number}", invite=[anna.user_id, world.bot])
        await anna.until(lambda: room in anna.invites, PATIENCE, "an invitation")
        await anna.joins(room)
        named = lambda: any(message.sender == world.bot and room in message.text for message in alice.seen)
        await alice.until(named, PATIENCE, "the bot to name the room's id")
        await bob.creates_group_chat(muc)
        await ben.joins(muc)
        (matrix, _), (xmpp, _) = world.gateway_a.adapter("matrix"), world.gateway_b.adapter("xmpp")
        a, b = self.gateways["a"], self.gateways["b"]
        new = {"adapter": matrix, "conversation": room, "room": mimi_room, "name": f"Room {number}"}
        await a.asks("POST", "/rooms", new)
        path = f"/rooms/{quote(mimi_room, safe='')}"
        await b.asks("POST", f"{path}/link", {"adapter": xmpp, "conversation": muc})
        await a.asks("POST", f"{path}/invites", {"user": world.mimi_user(bob)})
        for person in (alice, anna):
            await bob.sees_occupant(muc, f"{person.name} (a.example)", PATIENCE)
        for person in (bob, ben):
            await alice.sees_member(room, f"{person.name} (b.example)", PATIENCE)
        return Link(room, muc, mimi_room)

    async def case(self, trial: Trial, number: str) -> Case:
        begun = time.monotonic()
        victim = self.gateways[trial.killed]
        hits, deaths = victim.hits, {me: len(each.deaths) for me, each in self.gateways.items()}
        fails = POINTS[trial.point].get("fails")
        failed = victim.gateway.log.read_text().count(fails) if fails else 0
        case = Case(section="crashes", adapter="real", point=trial.point, killed=trial.killed, passes=trial.passes)
        await victim.arm(trial.point, trial.passes)
        try:
            if is_for_two(trial):
                await self._alone(case, number)
            else:
                await self._together(case, number)
        except (AssertionError, TimeoutError, RuntimeError) as problem:
            case.stuck.append(str(problem).replace("\n", " ")[:600] or type(problem).__name__)
        case.reached = victim.gateway.log.read_text().count(fails) > failed if fails else victim.hits > hits
        for me, each in self.gateways.items():
            case.stuck += [f"gateway {me} ended with {code}" for code in each.deaths[deaths[me] :]]
        case.seconds = time.monotonic() - begun
        return case

    async def _together(self, case: Case, number: str):
        world = self.world
        link = await self.link(number)
        talk = Talk(f"talk {number}", {link.room: [world.alice, world.anna], link.muc: [world.bob, world.ben]}, 0.05)
        await talk.everybody_says(5)
        await self._matrix_events(link.room, number)
        await world.bob.sees(f"corrected {number}", room=link.muc, within=PATIENCE)
        found = {"a → b": Harm(), "b → a": Harm()}
        for who, each in (await talk.verdicts(PATIENCE)).items():
            found["a → b" if who.startswith("alice") else "b → a"].count(who, each)
        await self._away_and_back(link)
        copies = world.bob.texts(link.muc).count(f"corrected {number}")
        found["a → b"].said += 1
        found["a → b"].doubled += copies - 1
        case.directions = found

    async def _matrix_events(self, room: str, number: str):
        """A correction of the last thing Alice said, and Anna's reaction to it."""
        alice, anna = self.world.alice, self.world.anna
        last = await alice.says(room, f"to be corrected {number}")
        text = {"msgtype": "m.text", "body": f"corrected {number}"}
        relation = {"rel_type": "m.replace", "event_id": last}
        await alice._send(room, {**text, "body": f"* corrected {number}", "m.new_content": text, "m.relates_to": relation})
        reaction = {"rel_type": "m.annotation", "event_id": last, "key": "👍"}
        await anna._client.room_send(room, "m.reaction", {"m.relates_to": reaction})

    async def _away_and_back(self, link: Link):
        """Anna leaves, is invited, and comes back: a commit each time."""
        alice, anna, bob, room = self.world.alice, self.world.anna, self.world.bob, link.room
        await anna._client.room_leave(room)
        await alice.invites_to(room, anna.user_id)
        await anna.until(lambda: room in anna.invites, PATIENCE, "an invitation")
        await anna.joins(room)
        await anna.says(room, "I am back.")
        await bob.sees("I am back.", room=link.muc, within=PATIENCE)

    async def _alone(self, case: Case, number: str):
        """Two new people: one writes to the other's ghost, who answers."""
        world = self.world
        carol = await MatrixPerson.sign_up(world.synapse, f"carol{number}")
        dan = await XmppPerson.sign_up(world.prosody, f"dan{number}")
        world._people += [carol, dan]
        ghost = rf"\40carol{number}\3amatrix.a.example\40a.example@mimi.xmpp.b.example"
        said, answers = [f"dan says {n}" for n in range(4)], [f"carol says {n}" for n in range(4)]
        opening = "Are you there?"
        await dan.makes_sure_of(ghost, opening)
        room, _ = await carol.is_invited(PATIENCE)
        await carol.joins(room)
        await carol.sees(opening, within=PATIENCE)
        for one, other in zip(said, answers):
            await dan.makes_sure_of(ghost, one)
            await carol.says(room, other)
            await carol.sees(one, within=PATIENCE)
            await dan.sees(other, within=PATIENCE)
        found = {"a → b": Harm(), "b → a": Harm()}
        found["b → a"].count("dan to carol", verdict([opening, *said], carol.texts(room, by=f"dan{number} (b.example)")))
        found["a → b"].count("carol to dan", verdict(answers, dan.texts(ghost)))
        case.directions = found
