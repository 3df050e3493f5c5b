"""A flipped bit in the database of a stopped gateway that has messages queued in every kind of queue.

    python -m proof.flips 100        (in tests/)

Each trial begins with the same two databases, flips one bit of a.example's, starts both gateways, and lets what
was queued go out and people on both sides go on talking. Then it is one of: harmless; found, and nothing came of
it; refused at the start; found at use, and told (in the log, or to people); or SILENTLY WRONG, which is to be
none.
"""

import argparse
import asyncio
import contextlib
import copy
import random
import re
import shutil
import sqlite3
import sys
from collections import Counter
from pathlib import Path

from lab.process import Ended
from lab.verdict import verdict

from .checker import Harm
from .damage import flip_a_bit, flip_a_bit_of, flip_a_bit_of_what_is_committed
from .messenger import Messenger
from .pair import DOMAINS, Pair, other
from .results import Case, record
from .talk import Talk

SILENT = "SILENTLY WRONG"
OUTCOMES = ["harmless", "found, nothing came of it", "refused at the start", "found at use and told", SILENT]
# What the log says on a good day too.
_USUAL = re.compile(r"can't be reached|nobody is connected|waits for|has not confirmed|no such room here")


class Experiment:
    def __init__(self, pair: Pair, kind: str, seed: int):
        self._pair, self._kind, self._seed = pair, kind, seed
        self.outcomes: Counter[str] = Counter()
        self.told: list[str] = []

    async def prepare(self):
        """Both gateways have talked; then everything is made to wait somewhere, and both are stopped."""
        pair = self._pair
        talk = Talk(pair, "0", lines=1)
        await talk.hold()
        self._rooms, self._people = list(talk.rooms), talk.people
        pair.at["a"]._not_now, pair.at["a"]._put_off = 1.0, _Never()
        for line in range(3):
            for room in self._rooms:
                pair.at["b"].says(room, self._people["b"][0], f"waits for the native side {line} ({room})")
        await pair.at["b"].until(lambda: not pair.at["b"].unanswered, 20, "answers")
        await asyncio.sleep(1.0)  # So that they get as far as the queue of a.example's portals.
        await pair.b.stop()
        for line in range(3):
            for room in self._rooms:
                at, (first, second) = pair.at["a"], self._people["a"]
                id = at.says(room, first, f"waits for the other gateway {line} ({room})")
                at.edits(room, first, id, f"waits, corrected {line} ({room})")
                at.reacts(room, second, id, "⏳")
        await pair.at["a"].until(lambda: not pair.at["a"].unanswered, 20, "answers")
        await (pair.a.kill() if self._kind == LOG else pair.a.stop())
        self._before = {me: copy.deepcopy(dict(at.conversations)) for me, at in pair.at.items()}
        for at in pair.at.values():
            await at.close()
        self._kept = self._pair.directory / "before"
        self._kept.mkdir()
        for me in DOMAINS:
            if (me, self._kind) != ("a", LOG):
                with contextlib.closing(sqlite3.connect(self._pair.directory / f"{DOMAINS[me]}.sqlite")) as database:
                    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for file in self._files(me):
                shutil.copy(file, self._kept)

    def _files(self, me: str) -> list[Path]:
        """The database, and behind it its log, where the last process has left one."""
        return sorted(self._pair.directory.glob(f"{DOMAINS[me]}.sqlite*"))

    async def trial(self, number: int, flip: bool = True) -> str:
        pair = self._pair
        for me in DOMAINS:
            for file in self._files(me):
                file.unlink()
        for file in self._kept.iterdir():
            shutil.copy(file, self._pair.directory)
        luck = random.Random(f"{self._seed}-{number}")
        file = self._files("a")[-1]
        what = f"{file.name}, {KINDS[self._kind](file, luck)}" if flip else "nothing flipped"
        begun = {me: len(each.gateway.log.read_text(errors="replace")) for me, each in pair.gateways.items()}
        messengers = {me: self._messenger(me, number) for me in DOMAINS}
        try:
            await pair.b.gateway.start()
            try:
                await pair.a.gateway.start(within=15)
            except (Ended, TimeoutError) as ended:
                return self._outcome("refused at the start", what, str(ended).strip().splitlines()[-1])
            harm = await self._go_on(messengers, number)
            signs = []
            for me, each in pair.gateways.items():
                log = each.gateway.log.read_text(errors="replace")[begun[me] :]
                lines = [line for line in log.splitlines() if any(word in line for word in ("WARN", "ERROR", "panicked", "Postponed"))]
                signs += [line for line in lines if not _USUAL.search(line)]
                if not each.gateway.runs:
                    signs.append(f"gateway {me} has ended")
            places = [place for at in messengers.values() for place in at.conversations.values()]
            signs += [text for place in places for text in place.notices + place.told]
            if harm.is_none:
                return self._outcome("found, nothing came of it" if signs else "harmless", what, "; ".join(signs[:1]))
            if signs:
                return self._outcome("found at use and told", what, f"{signs[0]} | {harm}")
            return self._outcome(SILENT, what, str(harm))
        finally:
            for at in messengers.values():
                await at.close()
            for each in pair.gateways.values():
                each.gateway.make_sure_it_is_gone()

    def _messenger(self, me: str, number: int) -> Messenger:
        at = Messenger(f"{me}{number}", Path(self._pair.at[me]._socket))
        for conversation, before in self._before[me].items():
            place = at.conversations[conversation]
            place.texts, place.here = dict(before.texts), dict(before.here)
            place.mine = copy.deepcopy(before.mine)
        return at

    async def _go_on(self, at: dict[str, Messenger], number: int) -> Harm:
        """What was queued goes out; then everybody says one thing more."""
        for me in DOMAINS:
            for room in self._rooms:
                at[me].says(room, self._people[me][0], f"after it ({me}, {room})")
                at[me].says(room, self._people[me][1], f"after it, the other ({me}, {room})")
        harm = Harm()
        for me in DOMAINS:
            them = other(me)
            for room in self._rooms:
                before = self._before[me][room].said
                said = before[len(self._before[them][room].shown) :] + at[me].conversations[room].said
                read = at[them].conversations[room]
                await at[them].until(lambda: set(said) <= set(read.shown), 8, f"{len(said)} lines in {room}")
        await asyncio.sleep(0.3)  # What comes twice comes soon.
        for me in DOMAINS:
            them = other(me)
            for room in self._rooms:
                before = self._before[me][room].said
                said = before[len(self._before[them][room].shown) :] + at[me].conversations[room].said
                harm.count(f"{me} to {them} in {room}", verdict(said, at[them].conversations[room].shown))
        return harm

    def _outcome(self, outcome: str, what: str, how: str) -> str:
        self.outcomes[outcome] += 1
        line = f"{outcome}: {what}" + (f": {how}" if how else "")
        if outcome != "harmless":
            self.told.append(line)
        return line


class _Never(set):
    """The network puts off everything, however often it comes."""

    def add(self, _):
        pass


# Most of a database is not in use at any time, so one kind of trial aims.
KINDS = {
    "anywhere in the database": flip_a_bit,
    "in a message that waits": flip_a_bit_of(b"waits for the"),
    # Of a gateway that was killed: what it committed last is here and nowhere else.
    "in the write-ahead log": flip_a_bit_of_what_is_committed,
}
LOG = "in the write-ahead log"


async def flips(kind: str, count: int, seed: int, report=print) -> Case:
    # What is put off is told at `debug` only.
    async with Pair.running("flips", env=lambda *_: {"RUST_LOG": "info,mimi_gateway::outbox=debug"}) as pair:
        experiment = Experiment(pair, kind, seed)
        await experiment.prepare()
        control = await experiment.trial(-1, flip=False)
        report(f"control: {control}")
        experiment.outcomes.clear()
        for number in range(count):
            report(await experiment.trial(number))
        silent = experiment.outcomes[SILENT]
        case = Case(
            section="storms",
            point=f"a flipped bit {kind}",
            adapter="loopback",
            note=f"{count} times: " + "; ".join(f"{experiment.outcomes[each]} {each}" for each in OUTCOMES),
            stuck=[line for line in experiment.told if line.startswith(SILENT)],
        )
        if not control.startswith("harmless"):
            case.stuck.append(f"the control run without a flip: {control}")
        record(case)
        report(case.note)
        report("\n".join(experiment.told))
        assert silent == len([line for line in case.stuck if line.startswith(SILENT)])
        return case


def main():
    parser = argparse.ArgumentParser(prog="proof.flips", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=list(KINDS), default=next(iter(KINDS)))
    arguments = parser.parse_args()
    case = asyncio.run(flips(arguments.kind, arguments.count, arguments.seed))
    sys.exit(not case.is_good)


if __name__ == "__main__":
    main()
