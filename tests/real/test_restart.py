"""Each server is stopped, or killed, and started again while everybody talks.

Nothing may be lost, doubled or reordered, in either direction. Who is cut off by it waits as a client
does; the others go on talking and are heard later.

Synapse makes this hard. What it has stored and not yet pushed to its application service when it ends, it
does not push later: of 16 restarts right after a message, stopped or killed, 13 cost one message, seen with
an application service that only counted (1.163.2). It notes how far it has pushed before the push, and a
transaction in flight is sent again only if the service was known to be down. So whoever relies on its
pushes has to look, after each restart and before anything newer, for what is in the room and was not pushed.
That Synapse has restarted shows in its first push over a new TCP connection, and in nothing else: it answers
pings before and after, and refuses nothing.

Prosody makes it hard otherwise: when it ends, every occupant of its group chats goes, and comes back when
their client does. Whoever takes presence for membership then has everybody leave the MIMI room.
"""

import asyncio

import pytest

from lab.process import unread
from lab.talk import Talk

SERVERS = ["gateway a", "gateway b", "synapse", "prosody"]


@pytest.fixture(autouse=True)
async def everything_runs(world):
    """So that a failed scene is not the next one's."""
    for server in world.servers.values():
        if not server.runs:
            await server.start()


@pytest.mark.parametrize("how", ["stopped", "killed"])
@pytest.mark.parametrize("server", SERVERS)
async def test_nothing_is_lost_doubled_or_reordered_when_a_server_is(server, how, world, link):
    process = world.servers[server]
    matrix, xmpp = [world.alice, world.anna], [world.bob, world.ben]
    cut_off = {"synapse": matrix, "prosody": xmpp}.get(server, [])
    talk = Talk(f"{server} is {how}", {link.room: matrix, link.muc: xmpp})

    async with talk.going_on():
        await talk.goes_on_for(5)
        await (process.stop() if how == "stopped" else process.kill())
        await talk.goes_on_for(10, among=[person for person in matrix + xmpp if person not in cut_off])
        await process.start()
        await talk.goes_on_for(10)

    verdicts = await talk.verdicts()
    assert len(verdicts) == 4
    assert {who: str(verdict) for who, verdict in verdicts.items() if not verdict.is_perfect} == {}


async def test_nothing_is_lost_doubled_or_reordered_when_the_power_fails(world, link):
    """All four servers are killed at the same moment."""
    talk = Talk("the power fails", {link.room: [world.alice, world.anna], link.muc: [world.bob, world.ben]})

    async with talk.going_on():
        await talk.goes_on_for(5)
        await asyncio.gather(*(server.kill() for server in world.servers.values()))
        await asyncio.gather(*(server.start() for server in world.servers.values()))
        await talk.goes_on_for(10)

    verdicts = await talk.verdicts()
    assert {who: str(verdict) for who, verdict in verdicts.items() if not verdict.is_perfect} == {}


@pytest.mark.parametrize("gateway", ["goes on", "is killed too"])
async def test_what_synapse_was_bringing_when_it_was_killed_arrives_once_and_in_order(gateway, world, link):
    """Synapse waits for the answer to a transaction's first attempt. It will not make a second one."""
    title = f"synapse is killed while it brings something and the gateway {gateway}"
    before, brought, after = f"{title}: 1", f"{title}: 2, " + "and on, " * 500, f"{title}: 3"
    port = int(world.gateway_a.adapter("matrix")[1]["listen"].rpartition(":")[2])

    await world.alice.says(link.room, before)
    await world.bob.sees_all([before], link.muc, 30)
    with world.gateway_a.asleep():
        await world.alice.says(link.room, brought)
        async with asyncio.timeout(30):
            # More than a ping is.
            while unread(port) < len(brought):
                await asyncio.sleep(0.02)
        await world.synapse.kill()
        if gateway == "is killed too":
            await world.gateway_a.kill()
    await world.synapse.start()
    if not world.gateway_a.runs:
        await world.gateway_a.start()
    await world.alice.says(link.room, after)

    for reader in (world.bob, world.ben):
        await reader.sees_all([after], link.muc, 60)
        assert [text for text in reader.texts(link.muc) if text.startswith(title)] == [before, brought, after]
