#!/usr/bin/env python3
"""How fast a Matrix room and an XMPP group chat talk through two gateways, with real servers.

    "$(tests/lab/install)" tests/real/bench_real.py [--flood MESSAGES]

Two people per side talk at once. First they talk among themselves, in a room that is not linked: what their own server
carries is the measure for what comes after. Then *at ease*, five messages a second each way, for latency. Then three
*floods* of MESSAGES (default 500), from Matrix, from XMPP and both at once, where each person says the next thing as soon
as their server has confirmed the last.

Latency is from pressing Enter to being shown on the other side, so both servers are in it. CPU seconds are those of the
process, for each thousand messages that were carried. MIMI_GATEWAY names another binary, such as a release build.
"""

import argparse
import asyncio
import logging
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.gateway import PROGRAM
from lab.people import Person
from lab.prosody import CONFERENCE
from lab.talk import Talk
from lab.world import Link, World

FROM_MATRIX, FROM_XMPP = "Matrix to XMPP", "XMPP to Matrix"


async def main(messages: int):
    logging.getLogger("nio").setLevel(logging.ERROR)
    print(f"{PROGRAM}, SQLite, mutual TLS; Synapse and Prosody with SQLite; all on this machine\n")
    async with World.on_free_ports("bench") as world:
        await world.sign_everybody_up()
        await among_themselves(world, 300)
        link = await world.link_the_room()
        both = (FROM_MATRIX, FROM_XMPP)
        await measure("warming up", world, link, both, 20, 0.2)
        await measure("at ease", world, link, both, 100, 0.4)
        await measure("flood from Matrix", world, link, (FROM_MATRIX,), messages)
        await measure("flood from XMPP", world, link, (FROM_XMPP,), messages)
        await measure("flood both ways", world, link, both, messages)
        print("memory (RSS) at the end:")
        for name, server in world.servers.items():
            print(f"  {name:10} {server.rss_mib():7.1f} MiB")


async def among_themselves(world: World, messages: int):
    """Without a gateway, each server alone."""
    room = await world.alice.creates_room("Kitchen", invite=[world.anna.user_id])
    await world.anna.is_invited()
    await world.anna.joins(room)
    muc = f"kitchen@{CONFERENCE}"
    await world.bob.creates_group_chat(muc)
    await world.ben.joins(muc)
    print(f"each server alone: {messages} messages")
    for server, place, people in [("synapse", room, [world.alice, world.anna]), ("prosody", muc, [world.bob, world.ben])]:
        cpu, begun = world.servers[server].cpu_seconds(), time.monotonic()
        await asyncio.gather(*(says_all(person, place, messages // 2) for person in people))
        took = time.monotonic() - begun
        cpu = world.servers[server].cpu_seconds() - cpu
        print(f"  {server}: {messages / took:6.1f} msg/s, CPU seconds per 1000 messages {cpu / messages * 1000:.2f}")
    print(flush=True)


async def says_all(person: Person, room: str, lines: int):
    for line in range(lines):
        await person.says(room, f"{person.name} {line + 1}")


async def measure(title: str, world: World, link: Link, ways: tuple[str, ...], messages: int, pause: float = 0):
    """`messages` each way, half by each of the two."""
    matrix, xmpp = [world.alice, world.anna], [world.bob, world.ben]
    sides = {FROM_MATRIX: (matrix, world.bob), FROM_XMPP: (xmpp, world.alice)}
    talk = Talk(title, {link.room: matrix, link.muc: xmpp}, pause)
    before = {name: server.cpu_seconds() for name, server in world.servers.items()}
    await talk.everybody_says(messages // 2, [person for way in ways for person in sides[way][0]])
    verdicts = await talk.verdicts(within=900)
    cpu = {name: server.cpu_seconds() - before[name] for name, server in world.servers.items()}

    print(f"{title}: {messages} messages{' each way' if len(ways) > 1 else ''}")
    for way in ways:
        speakers, reader = sides[way]
        names = " and ".join(person.name for person in speakers)
        shown_at = {message.text: message.shown_at for message in reader.seen}
        begun = {text: at for text, at in talk.said_at.items() if text.split()[-2] in names.split()}
        waits = [shown_at[text] - at for text, at in begun.items()]
        said = max(begun.values()) - min(begun.values())
        span = max(shown_at[text] for text in begun) - min(begun.values())
        hundredths = statistics.quantiles(waits, n=100)
        print(
            f"  {way}: {len(waits) / span:6.1f} msg/s (said at {len(waits) / said:.1f}/s), "
            f"p50 {hundredths[49] * 1000:7.1f} ms, "
            f"p99 {hundredths[98] * 1000:7.1f} ms; {verdicts[f'{names} to {reader.name}']}"
        )
    carried = messages * len(ways)
    spent = ", ".join(f"{name} {seconds / carried * 1000:.2f}" for name, seconds in cpu.items())
    print(f"  CPU seconds per 1000 messages: {spent}\n", flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--flood", type=int, default=500, metavar="MESSAGES", help="how many each way (default 500)")
    asyncio.run(main(arguments.parse_args().flood))
