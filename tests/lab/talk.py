"""Four people talking at once, perhaps while something happens to their servers; and what became of it.

Each says numbered lines. Afterwards each side is read in the order in which its own network has it, and
compared with what the other side was shown: every line of every person, and the order of all lines of
one side, whoever said them.
"""

import asyncio
import time
from contextlib import asynccontextmanager

from .people import Person
from .verdict import Verdict, verdict


class Talk:
    def __init__(self, title: str, sides: dict[str, list[Person]], pause: float = 0.2):
        """`sides` is who speaks where: a Matrix room's people and an XMPP group chat's.

        `pause` is how long each waits between two lines, so that the other side's server can keep up.
        """
        self._title = title
        self._sides = sides
        self._pause = pause
        self._said: dict[str, list[str]] = {person.name: [] for people in sides.values() for person in people}
        self.said_at: dict[str, float] = {}
        self._over = False
        self._progress = asyncio.Condition()

    async def everybody_says(self, lines: int, among: list[Person] | None = None):
        speakers = [(person, room) for person, room in self._speakers() if among is None or person in among]
        await asyncio.gather(*(self._speak(person, room, lines) for person, room in speakers))

    @asynccontextmanager
    async def going_on(self):
        """Everybody talks for as long as the block runs, and finishes their sentence."""
        speakers = [asyncio.create_task(self._speak(person, room)) for person, room in self._speakers()]
        try:
            yield
            self._over = True
            async with asyncio.timeout(120):
                await asyncio.gather(*speakers)
        finally:
            for speaker in speakers:
                speaker.cancel()
            await asyncio.gather(*speakers, return_exceptions=True)

    async def goes_on_for(self, lines: int, among: list[Person] | None = None, within: float = 60):
        """Waits until each of them (or everybody) has said this many lines more."""
        names = [person.name for person in among] if among else list(self._said)
        goals = {name: len(self._said[name]) + lines for name in names}
        async with asyncio.timeout(within), self._progress:
            await self._progress.wait_for(lambda: all(len(self._said[name]) >= goal for name, goal in goals.items()))

    def _speakers(self) -> list[tuple[Person, str]]:
        return [(person, room) for room, people in self._sides.items() for person in people]

    async def _speak(self, person: Person, room: str, lines: float = float("inf")):
        said = self._said[person.name]
        while not self._over and len(said) < lines:
            text = f"{self._title}: {person.name} {len(said) + 1}"
            self.said_at[text] = time.monotonic()
            await person.says(room, text)
            said.append(text)
            async with self._progress:
                self._progress.notify_all()
            await asyncio.sleep(self._pause)

    async def verdicts(self, within: float = 120) -> dict[str, Verdict]:
        """What became of what each side said, for each reader on the other side."""
        (here, us), (there, them) = self._sides.items()
        return {
            **await self._verdicts(us, here, them, there, within),
            **await self._verdicts(them, there, us, here, within),
        }

    async def _verdicts(self, speakers, said_in, readers, read_in, within) -> dict[str, Verdict]:
        said = [text for person in speakers for text in self._said[person.name]]
        # What comes late comes before this, so whatever is doubled has been shown by then.
        last = f"{self._title}: that is all from {speakers[0].name}"
        await speakers[0].says(said_in, last)
        for person in speakers:
            await person.sees_all([*said, last], said_in, within)
        for person in readers:
            await person.sees_all([*said, last], read_in, within)

        beginnings = tuple(f"{self._title}: {person.name} " for person in speakers)
        order = [text for text in speakers[0].texts(said_in) if text.startswith(beginnings)]
        native = verdict(said, order)
        assert not (native.lost or native.doubled or native.invented), f"the speakers' own network: {native}"
        return {
            f"{' and '.join(person.name for person in speakers)} to {reader.name}": verdict(
                order, [text for text in reader.texts(read_in) if text.startswith(beginnings)]
            )
            for reader in readers
        }
