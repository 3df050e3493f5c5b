"""`tests/lab/up`: the whole lab for a person to look at."""

import argparse
import asyncio
import logging
import signal
import sys

from . import matrix_person, xmpp_person
from .gateway import PROGRAM
from .people import Person
from .prosody import DOMAIN
from .synapse import SERVER_NAME
from .world import Link, World


def main():
    parser = argparse.ArgumentParser(prog="tests/lab/up", description="Two organisations, one conversation.")
    parser.add_argument("--say", action="store_true", help="hold a short conversation and stop")
    arguments = parser.parse_args()
    # matrix-nio says at length that a server it knows to be away is away.
    logging.getLogger("nio").setLevel(logging.ERROR)
    if not PROGRAM.exists():
        sys.exit(f"there is no {PROGRAM} (build it with: cargo build --features matrix,xmpp)")
    try:
        sys.exit(asyncio.run(_up(arguments.say)))
    except asyncio.CancelledError:
        sys.exit("stopped before it was done")


async def _up(say: bool) -> int:
    work = asyncio.current_task()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, work.cancel)
    print("Starting Synapse, Prosody and two gateways …", flush=True)
    async with World.as_documented("up") as world:
        await world.sign_everybody_up()
        link = await world.link_the_room()
        if say:
            return await _conversation(world, link)
        print(_how_to_join_in(world, link), flush=True)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            work.uncancel()
            print("Stopping …", flush=True)
    return 0


async def _conversation(world: World, link: Link) -> int:
    """Each line is said by one person, and seen by everybody before the next."""
    everybody = {world.alice: link.room, world.anna: link.room, world.bob: link.muc, world.ben: link.muc}
    for speaker, text in [
        (world.alice, "Is the tea ready?"),
        (world.bob, "In a minute."),
        (world.ben, "With milk?"),
        (world.anna, "Yes, please."),
        (world.alice, "Yes, for me too."),
    ]:
        await speaker.says(everybody[speaker], text)
        for reader in everybody:
            try:
                await reader.sees(text)
            except AssertionError as e:
                print(f"NOT SEEN: {e}\nLook at the logs in {world.directory}", file=sys.stderr)
                return 1
    for reader in (world.alice, world.bob):
        print(f"\nWhat {_address(reader)} saw:")
        for message in reader.seen:
            print(f"  {message}")
    return 0


def _address(person: Person) -> str:
    return getattr(person, "user_id", None) or person.jid


def _how_to_join_in(world: World, link: Link) -> str:
    a, b = world.gateway_a.config, world.gateway_b.config
    return f"""
Everything runs, and these two are one conversation:
  the Matrix room  Clubhouse  {link.room}
  the group chat   {link.muc}
  between them     {link.mimi_room}

Matrix (Element or another client): homeserver {world.synapse.url}
  @alice:{SERVER_NAME}  password {matrix_person.password("alice")}
  @anna:{SERVER_NAME}   password {matrix_person.password("anna")}
XMPP (Gajim, Dino, profanity …): server {world.prosody.host}, port {world.prosody.port}, without TLS
  bob@{DOMAIN}  password {xmpp_person.password("bob")}
  ben@{DOMAIN}  password {xmpp_person.password("ben")}

What the gateways say about it:
  {PROGRAM} room list --config {a}
  {PROGRAM} status --config {b}
Logs, databases and configurations: {world.directory}

Ctrl-C stops all of it."""


if __name__ == "__main__":
    main()
