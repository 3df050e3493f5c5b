#!/usr/bin/env python3
"""How fast a Matrix room and an XMPP group chat talk through two gateways, with real servers.

    "$(tests/lab/install)" tests/real/bench_real.py [MESSAGES]

Two measurements, each with two people per side talking at once. *At ease*: five messages a second each
way, for latency. *Flood*: MESSAGES each way (default 500), each person as fast as their server confirms;
the slowest server decides the rate, which is Synapse (a single Python thread). Latency is from pressing
Enter to being shown on the other side, so both servers are in it. MIMI_GATEWAY names another binary, such as
a release build.
"""

import asyncio
import logging
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.gateway import PROGRAM
from lab.talk import Talk
from lab.world import Link, World


async def main(messages: int):
    logging.getLogger("nio").setLevel(logging.ERROR)
    print(f"{PROGRAM}, SQLite, mutual TLS; Synapse and Prosody with SQLite; all on this machine\n")
    async with World.on_free_ports("bench") as world:
        await world.sign_everybody_up()
        link = await world.link_the_room()
        await measure("warming up", world, link, 20, 0.2)
        await measure("at ease", world, link, 150, 0.4)
        await measure("flood", world, link, messages, 0)
        print("\nmemory (RSS) at the end:")
        for name, server in world.servers.items():
            print(f"  {name:10} {server.rss_mib():7.1f} MiB")


async def measure(title: str, world: World, link: Link, messages: int, pause: float):
    """`messages` each way, half by each of the two."""
    matrix, xmpp = [world.alice, world.anna], [world.bob, world.ben]
    talk = Talk(title, {link.room: matrix, link.muc: xmpp}, pause)
    before = {name: server.cpu_seconds() for name, server in world.servers.items()}
    await talk.everybody_says(messages // 2)
    verdicts = await talk.verdicts(within=600)
    cpu = {name: server.cpu_seconds() - before[name] for name, server in world.servers.items()}

    print(f"{title}: {messages} messages each way")
    for way, speakers, reader in [
        ("Matrix to XMPP", matrix, world.bob),
        ("XMPP to Matrix", xmpp, world.alice),
    ]:
        names = " and ".join(person.name for person in speakers)
        shown_at = {message.text: message.shown_at for message in reader.seen}
        begun = {text: at for text, at in talk.said_at.items() if text.split()[-2] in names.split()}
        waits = [shown_at[text] - at for text, at in begun.items()]
        span = max(shown_at[text] for text in begun) - min(begun.values())
        hundredths = statistics.quantiles(waits, n=100)
        print(
            f"  {way}: {len(waits) / span:6.1f} msg/s, p50 {hundredths[49] * 1000:7.1f} ms, "
            f"p99 {hundredths[98] * 1000:7.1f} ms; {verdicts[f'{names} to {reader.name}']}"
        )
    spent = ", ".join(f"{name} {seconds / (2 * messages) * 1000:.2f}" for name, seconds in cpu.items())
    print(f"  CPU seconds per 1000 messages: {spent}\n", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
