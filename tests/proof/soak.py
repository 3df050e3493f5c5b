"""Hours in minutes: fifty rooms, everything people do, and a gateway killed every now and then.

    tests/proof/soak 30       for half an hour

People talk in fifty rooms, half of them at each hub: messages, replies, edits, reactions, deletions, leaving and
coming back (each of which is a commit). Files are missing: no adapter carries them yet. Every ten to forty
seconds one of the gateways is killed and started again. At the end everything said has to be there once and in
order, and memory and database have to be flat: memory between the kills, and the database but for what is kept
of each message on purpose (its ids, for what refers to it or comes again).
"""

import argparse
import asyncio
import os
import random
import sys
import time
from dataclasses import dataclass

from .checker import Harm, harm
from .pair import DOMAINS, Pair, other
from .results import Case, record
from .talk import Talk

SAMPLES_EVERY = 15
KILLS_EVERY = (10, 40)


@dataclass
class Sample:
    minute: float
    said: int
    shown: int
    queued: dict[str, int]
    rss: dict[str, float]
    """MiB of resident memory."""
    age: dict[str, float]
    """Seconds since the process was started."""
    database: dict[str, int]
    """KiB in use: of the database's pages those that are not free."""
    kills: int

    def row(self) -> str:
        a, b = DOMAINS
        return (
            f"| {self.minute:.1f} | {self.said} | {self.shown} | {self.kills} | {self.queued[a]} / {self.queued[b]} "
            f"| {self.rss[a]:.0f} / {self.rss[b]:.0f} | {self.age[a]:.0f} / {self.age[b]:.0f} "
            f"| {self.database[a]} / {self.database[b]} |"
        )


HEAD = (
    "| minute | said | shown | kills | queued a / b | RSS MiB a / b | process age s a / b | database KiB a / b |\n"
    "|---|---|---|---|---|---|---|---|"
)


class Soak:
    def __init__(self, pair: Pair, rooms: int, rate: float, seed: int):
        self._pair, self._rate, self._luck = pair, rate, random.Random(seed)
        # Each talk brings two rooms, one at each hub, and its four people.
        self._talks = [Talk(pair, f"s{number}") for number in range(rooms // 2)]
        self._away: set[tuple[str, str]] = set()
        self._kills = 0
        self._started = {me: time.monotonic() for me in DOMAINS}
        self.samples: list[Sample] = []
        self.allowed = 0

    async def run(self, minutes: float):
        granting = [asyncio.create_task(talk._grant_consent()) for talk in self._talks]
        for talk in self._talks:
            await asyncio.gather(*(talk._open(conversation, hub) for conversation, hub in talk.rooms.items()))
        for each in granting:
            each.cancel()
        await asyncio.gather(*granting, return_exceptions=True)
        self._begun = time.monotonic()
        until = self._begun + minutes * 60
        allowing = asyncio.create_task(self._allow())
        await asyncio.gather(self._talk(until), self._kill(until), self._sample(until))
        await asyncio.gather(*(self._end(talk) for talk in self._talks))
        await self._take_sample()
        allowing.cancel()

    def harm(self) -> dict[str, Harm]:
        found = {me: Harm() for me in DOMAINS}
        for talk in self._talks:
            for me in DOMAINS:
                speaker, reader = self._pair.at[me], self._pair.at[other(me)]
                found[me] += harm(speaker, reader, {room: room for room in talk.rooms})
                for room in talk.rooms:
                    found[me].count_presence(room, reader.conversations[room].presence, set(talk.people[me]))
        return found

    @property
    def stuck(self) -> list[str]:
        return [each for talk in self._talks for each in talk.stuck]

    async def _talk(self, until: float):
        count = 0
        while time.monotonic() < until:
            talk, me = self._luck.choice(self._talks), self._luck.choice("ab")
            room, person = self._luck.choice(list(talk.rooms)), self._luck.choice(talk.people[me])
            self._something(me, room, person, count, is_first=person == talk.people[me][0])
            count += 1
            await asyncio.sleep(self._luck.expovariate(self._rate))

    def _something(self, me: str, room: str, person: str, count: int, is_first: bool):
        at, luck = self._pair.at[me], self._luck
        place = at.conversations[room]
        if (room, person) in self._away:
            self._away.discard((room, person))
            return at.joins(room, person)
        what = luck.random()
        mine = place.mine[person][-20:]
        if what < 0.1 and place.theirs:
            at.reacts(room, person, luck.choice(place.theirs[-20:]), f"#{count}")
        elif what < 0.2 and mine:
            at.edits(room, person, luck.choice(mine), f"edit {count}")
        elif what < 0.23 and mine:
            gone = mine[luck.randrange(len(mine))]
            place.mine[person].remove(gone)
            at.deletes(room, person, gone)
        elif what < 0.26 and not is_first:
            self._away.add((room, person))
            at.leaves(room, person)
        elif what < 0.4 and place.theirs:
            at.says(room, person, f"answer {count}", place.theirs[-1])
        else:
            at.says(room, person, f"message {count}")

    async def _kill(self, until: float):
        while (wait := self._luck.uniform(*KILLS_EVERY)) + time.monotonic() < until:
            await asyncio.sleep(wait)
            me = self._luck.choice("ab")
            await self._pair.gateways[me].kill()
            await self._pair.gateways[me].start()
            self._kills += 1
            self._started[me] = time.monotonic()

    async def _allow(self):
        """The admins let go what the breaker holds: in fifty rooms somebody always leaves."""
        while True:
            for watched in self._pair.gateways.values():
                _, trips = await watched.asks("GET", "/breaker", within=60)
                for trip in trips or []:
                    await watched.asks("POST", f"/breaker/{trip['id']}/allow", within=60)
                    self.allowed += 1
            await asyncio.sleep(1)

    async def _sample(self, until: float):
        while time.monotonic() < until:
            await self._take_sample()
            print(self.samples[-1].row(), flush=True)
            await asyncio.sleep(SAMPLES_EVERY)

    async def _take_sample(self):
        queued, rss, database = {}, {}, {}
        for me, watched in self._pair.gateways.items():
            _, status = await watched.asks("GET", "/status")
            queued[me] = status["outbox"]["queued"]
            rss[me] = watched.gateway.rss_mib() if watched.gateway.runs else 0.0
            file = self._pair.directory / f"{DOMAINS[me]}.sqlite"
            database[me] = os.stat(file).st_size // 1024
        now = time.monotonic()
        places = [place for at in self._pair.at.values() for place in at.conversations.values()]
        self.samples.append(
            Sample(
                minute=(now - self._begun) / 60,
                said=sum(len(place.said) for place in places),
                shown=sum(len(place.shown) for place in places),
                queued=queued,
                rss=rss,
                age={me: now - self._started[me] for me in DOMAINS},
                database=database,
                kills=self._kills,
            )
        )

    async def _end(self, talk: Talk):
        for me in DOMAINS:
            for room in talk.rooms:
                for person in talk.people[me]:
                    if (room, person) in self._away:
                        self._pair.at[me].joins(room, person)
        await asyncio.gather(*(talk._end(me, {}) for me in DOMAINS))

    def flatness(self) -> tuple[str, list[str]]:
        """What grew, from the middle third to the last; and what of it is too much."""
        third = len(self.samples) // 3
        middle, last = self.samples[third : 2 * third], self.samples[2 * third : -1]
        words, bad = [], []
        for me, domain in DOMAINS.items():
            # Right after a start a process is small, so only those that have run for a while are compared.
            peaks = [max((s.rss[me] for s in part if s.age[me] > 5), default=0.0) for part in (middle, last)]
            words.append(f"{domain}: RSS at most {peaks[0]:.0f} MiB in the middle third, {peaks[1]:.0f} in the last")
            if peaks[0] and peaks[1] > 1.25 * peaks[0] + 5:
                bad.append(f"the memory of {domain} grew from {peaks[0]:.0f} to {peaks[1]:.0f} MiB")
            per_message = []
            for part in (middle, last):
                grown = part[-1].database[me] - part[0].database[me] if part else 0
                per_message.append(1024 * grown / max(1, part[-1].said - part[0].said) if part else 0)
            words.append(f"{domain}: {per_message[0]:.0f} octets of database per message, then {per_message[1]:.0f}")
            if per_message[1] > 1.5 * per_message[0] + 600:
                bad.append(f"the database of {domain} grows faster and faster: {per_message} octets per message")
            if self.samples[-1].queued[me]:
                bad.append(f"{self.samples[-1].queued[me]} rows are left in the outbox of {domain}")
        return "; ".join(words), bad


async def soak(minutes: float, rooms: int = 50, rate: float = 12, seed: int = 1) -> tuple[Case, Soak]:
    begun = time.monotonic()
    async with Pair.running("soak", not_now=0.01) as pair:
        it = Soak(pair, rooms, rate, seed)
        print(HEAD, flush=True)
        await it.run(minutes)
        words, bad = it.flatness()
        found = it.harm()
        deaths = [f"gateway {me} ended with {code}" for me, each in pair.gateways.items() for code in each.deaths]
        case = Case(
            section="soak",
            point=f"{minutes:g} minutes in {rooms} rooms",
            adapter="loopback",
            directions={f"{me} → {other(me)}": harm for me, harm in found.items()},
            repeats=sum(at.repeats for at in pair.at.values()),
            stuck=it.stuck + bad + deaths,
            note=f"{it.samples[-1].kills} kills; the breaker asked {it.allowed} times; {words}",
            seconds=time.monotonic() - begun,
        )
        case.table = [HEAD, *(sample.row() for sample in it.samples)]
        record(case)
        return case, it


def main():
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("minutes", type=float, nargs="?", default=30)
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--rate", type=float, default=12, help="acts per second, in all rooms together")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    case, _ = asyncio.run(soak(arguments.minutes, arguments.rooms, arguments.rate, arguments.seed))
    print(f"\n{case.line()}\n{case.note}")
    for way, found in case.directions.items():
        print(f"{way}: {found}")
    sys.exit(not case.is_good)


if __name__ == "__main__":
    main()
