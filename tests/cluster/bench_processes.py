#!/usr/bin/env python3
"""What one, two and three processes of a gateway carry, on one PostgreSQL server.

    cd tests && lab/postgres "$(lab/install)" -m cluster.bench_processes [--messages N] [--runs N]

Three networks of a.example, each with a room, and b.example, which is one process on SQLite: in each room both sides say
N messages (default 400) with at most 64 under way. The processes, the server, b.example and the people share this
machine, so what a second process adds here is what it costs, not what a second machine would bring. MIMI_GATEWAY names
another binary, such as a release build.
"""

import argparse
import asyncio
import os
import statistics
import time
from pathlib import Path

from lab.gateway import PROGRAM

from proof.messenger import Messenger

from .trio import COLOURS, Trio

WINDOW = 64


async def main(messages: int, runs: int):
    print(f"{PROGRAM}, {os.cpu_count()} cores; {messages} messages each way in each of {len(COLOURS)} rooms; "
          f"medians of {runs} runs with the lowest and the highest\n")
    print("| processes | adapters of each | messages/s | CPU seconds per 1,000: a.example | PostgreSQL | b.example |")
    print("|---|---|---|---|---|---|")
    for processes in (1, 2, 3):
        async with Trio.running(f"bench{processes}", processes) as trio:
            await trio.gather()
            await flood(trio, 50)  # Connections, caches.
            figures = [await flood(trio, messages) for _ in range(runs)]
            held = [sum(trio.holder(colour) == number for colour in COLOURS) for number in range(processes)]
            columns = [spread(each) for each in zip(*figures)]
            print(f"| {processes} | {', '.join(map(str, held))} | {' | '.join(columns)} |", flush=True)
            found = await trio.judge()
            assert found.is_none, found


async def flood(trio: Trio, messages: int) -> tuple[float, ...]:
    """Messages a second, and CPU seconds per thousand of them."""
    begun, before = time.monotonic(), cpu(trio)
    ways = []
    for colour in COLOURS:
        ways.append(says(trio.here[colour], "alice", trio.there, colour, messages))
        ways.append(says(trio.there, "bob", trio.here[colour], colour, messages))
    await asyncio.gather(*ways)
    seconds, total = time.monotonic() - begun, len(ways) * messages
    return total / seconds, *((after - at_first) * 1000 / total for after, at_first in zip(cpu(trio), before))


async def says(speaker: Messenger, person: str, reader: Messenger, colour: str, messages: int):
    """As fast as the other side is shown it."""
    shown = reader.conversations[colour].shown
    first = len(shown)
    for n in range(messages):
        enough = lambda: n - (len(shown) - first) < WINDOW
        assert enough() or await reader.until(enough, 60, "what was said"), f"{colour} stands still"
        speaker.says(colour, person, f"{colour} {first + n}")
    everything = lambda: len(shown) - first >= messages
    assert await reader.until(everything, 60, "the last of it"), f"{colour} stands still"


def cpu(trio: Trio) -> tuple[float, float, float]:
    ours = sum(process.cpu_seconds() for process in trio.processes if process.runs)
    return ours, postgres(), trio.b.cpu_seconds()


def postgres() -> float:
    """Of the server, its sessions, and those that have ended."""
    pid = Path(os.environ["MIMI_TEST_POSTGRES_DATA"], "postmaster.pid").read_text().split()[0]
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It has just ended.
        if stat.parent.name == pid:
            ticks += sum(map(int, fields[11:15]))
        elif fields[1] == pid:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def spread(figures: tuple[float, ...]) -> str:
    digits = 0 if min(figures) > 20 else 2
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--runs", type=int, default=5)
    asyncio.run(main(**vars(parser.parse_args())))
