"""What else can go wrong than a process: disks, clocks, roads, names.

In each scene two gateways carry the talk while something is done to them, and the checker counts. What is
simulated is said in the scene.
"""

import asyncio
import contextlib
import os
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from lab.process import free_ports

from proof import damage
from proof.checker import Harm, harm
from proof.flips import KINDS, flips
from proof.pair import DOMAINS, Pair, other
from proof.proxy import Proxy
from proof.repeater import Repeater
from proof.results import Case
from proof.talk import Talk

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
NSS_WRAPPER = "libnss_wrapper.so"
MORE = int(os.environ.get("MIMI_PROOF_ROUNDS", "1"))
"""How many times as long the scenes last than they do in CI, where some are left out, too."""
CLOCKS = ["a", "b", "ab"] if MORE > 1 else ["ab"]
ROADS = ["late", "cut", "holes", "all of it"] if MORE > 1 else ["all of it"]


def storm(point: str, talks: list[Talk], found: dict[str, Harm], pair: Pair, note: str, begun: float) -> Case:
    deaths = [f"gateway {me} ended with {code}" for me, each in pair.gateways.items() for code in each.deaths]
    return Case(
        section="storms",
        point=point,
        adapter="loopback",
        directions={f"{me} → {other(me)}": harm for me, harm in found.items()},
        repeats=sum(at.repeats for at in pair.at.values()),
        stuck=[each for talk in talks for each in talk.stuck] + deaths,
        note=note,
        seconds=time.monotonic() - begun,
    )


async def talk_through(pair: Pair, weather, rounds: int, lines: int = 6, pause: float = 0.05):
    """Holds talks one after the other while `weather` goes on, a coroutine function that is given the talk's number."""
    talks, found = [], {me: Harm() for me in DOMAINS}
    for number in range(rounds):
        talk = Talk(pair, f"{number}", lines, pause)
        storm = asyncio.create_task(weather(number))
        harms = await talk.hold()
        await storm
        talks.append(talk)
        found = {me: found[me] + harms[me] for me in DOMAINS}
    return talks, found


@pytest.mark.parametrize("how", [damage.cut_last_transaction, damage.scramble_last_transaction, damage.append_garbage])
async def test_a_torn_write_takes_back_nothing_that_was_promised(how, keep):
    """Simulated: the power goes while the fsync of a commit is under way, so that of its last transaction the log
    has a part. The process ends right after that commit, before anybody is answered; then the file is damaged."""
    begun, luck, torn = time.monotonic(), random.Random(how.__name__), []
    async with Pair.running("torn", not_now=0.05) as pair:
        for me, watched in pair.gateways.items():
            log = pair.directory / f"{DOMAINS[me]}.sqlite-wal"
            watched.between = lambda log=log: torn.extend(filter(None, [how(log, luck)]))

        async def weather(number: int):
            victim = "ab"[number % 2]
            # A place where something has been committed for sure: many transactions only read.
            await pair.gateways[victim].arm("outbox.enqueued", luck.randrange(1, 40))

        talks, found = await talk_through(pair, weather, 2 * MORE)
        case = storm(f"torn write: {how.__name__.replace('_', ' ')}", talks, found, pair, f"{len(torn)} times", begun)
        case.reached = len(torn) > 0
        keep(case)


async def test_both_are_killed_again_and_again(keep):
    """kill -9 at random moments, of either and of both at once."""
    begun, luck, kills = time.monotonic(), random.Random(7), 0
    async with Pair.running("kills", not_now=0.05) as pair:

        async def weather(_):
            nonlocal kills
            for _ in range(4):
                await asyncio.sleep(luck.uniform(0.05, 0.8))
                victims = luck.choice([[pair.a], [pair.b], [pair.a, pair.b]])
                await asyncio.gather(*(victim.kill() for victim in victims))
                await asyncio.gather(*(victim.start() for victim in victims))
                kills += len(victims)

        talks, found = await talk_through(pair, weather, 2 * MORE)
        keep(storm("killed at random moments, either or both", talks, found, pair, f"{kills} kills", begun))


async def test_a_full_disk_refuses_and_resumes_by_itself(keep):
    """A file system of 24 MiB that something else fills: no write succeeds until there is space again."""
    begun, disk = time.monotonic(), None
    with contextlib.ExitStack() as stack:

        def on_small_disk(configs, pair):
            nonlocal disk
            disk = pair.directory / "disk"
            disk.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", disk], check=True)
            configs["a"]["store"]["path"] = str(disk / "a.sqlite")

        async with Pair.running("full", changes=on_small_disk) as pair:
            log, full, said_503, not_ready = pair.a.gateway.log, 0, 0, 0

            async def weather(_):
                nonlocal full, said_503, not_ready
                said = lambda: sum(len(place.said) for place in pair.at["a"].conversations.values())
                assert await pair.at["a"].until(lambda: said() > 20, 60, "people to talk")
                child = pair.a.gateway._child.pid
                ballast = disk / "ballast"
                with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(4096))
                for _ in range(20):
                    await asyncio.sleep(0.2)
                    status, _ = await pair.a._ask("GET", "/ready", None)
                    not_ready += status == 503
                unanswered = pair.at["a"].unanswered
                ballast.unlink()
                assert unanswered, "something was accepted that could not be kept"
                full = log.read_text().count("full")
                said_503 = log.read_text().count("Not now.")
                assert pair.a.gateway._child.pid == child, "it had to be started again"

            talks, found = await talk_through(pair, weather, 1, lines=40)
            note = f"for 4 s; {full} lines of the log say so, /ready said 503 {not_ready} of 20 times, the peer was told 503 {said_503} times"
            case = storm("full disk", talks, found, pair, note, begun)
            case.reached = full > 0
            keep(case)


def faked(me: str, directory: Path) -> dict[str, str]:
    """The wall clock of this gateway is what its file says; the clock its timers run by is the real one."""
    clock = directory / f"{me}.clock"
    clock.write_text("+0")
    return {
        "LD_PRELOAD": FAKETIME,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


@pytest.mark.parametrize("whose", CLOCKS)
async def test_a_clock_that_jumps_changes_no_order(whose, keep):
    """Simulated with libfaketime: an hour, a day, a week forward and back, while people talk."""
    begun, jumps = time.monotonic(), []
    async with Pair.running("clock", env=faked) as pair:

        async def weather(_):
            for to in ["+1h", "+0", "-1h", "+1d", "+0", "+7d", "-1d", "+0"]:
                await asyncio.sleep(0.4)
                for me in whose:
                    (pair.directory / f"{me}.clock").write_text(to)
                jumps.append(to)

        talks, found = await talk_through(pair, weather, MORE, lines=20)
        clocks = {"a": "the hub's clock", "b": "the follower's clock", "ab": "both clocks"}[whose]
        note = f"{len(jumps)} jumps of up to 7 days"
        keep(storm(f"{clocks} jump forward and back", talks, found, pair, note, begun))


async def test_a_peer_that_was_away_for_seven_days_gets_everything(keep):
    """Simulated: the wall clock moves by seven days in steps of twelve hours while b.example is down. The pauses
    between attempts are real, so they are shorter than they would have grown in a week (two minutes)."""
    begun = time.monotonic()
    async with Pair.running("away", env=faked) as pair:
        talk = Talk(pair, "0", lines=2)
        found = await talk.hold()
        await pair.b.stop()
        at, reader = pair.at["a"], pair.at["b"]
        for step in range(14):
            (pair.directory / "a.clock").write_text(f"+{12 * (step + 1)}h")
            for room in talk.rooms:
                at.says(room, talk.people["a"][step % 2], f"half-day {step} ({room})")
            await asyncio.sleep(0.3)
        (pair.directory / "b.clock").write_text("+7d")
        await pair.b.start()
        for room in talk.rooms:
            last = f"half-day 13 ({room})"
            await talk._until("b", lambda: any(last in line for line in reader.conversations[room].shown), last)
        found["a"] = harm(at, reader, {room: room for room in talk.rooms})
        keep(storm("a peer away for seven days", [talk], found, pair, "28 messages waited", begun))


def by_proxy(configs, pair):
    """Each gateway finds the other behind a proxy."""
    pair.proxies = {}
    for me, port in zip(DOMAINS, free_ports(2)):
        pair.proxies[me] = Proxy(port, pair.ports[me])
        configs[other(me)]["peers"][DOMAINS[me]] = f"127.0.0.1:{port}"


@pytest.mark.parametrize("weather_is", ROADS)
async def test_a_bad_road_loses_nothing(weather_is, keep):
    """A proxy between the gateways delays by up to 150 ms each piece, breaks connections after a random number of
    octets (also between a request and its answer, when the peer has acted), and swallows everything for a while."""
    begun = time.monotonic()
    async with Pair.running("road", changes=by_proxy) as pair, contextlib.AsyncExitStack() as stack:
        luck = random.Random(weather_is)
        for proxy in pair.proxies.values():
            await stack.enter_async_context(proxy)

        async def weather(_):
            for _ in range(12):
                for proxy in pair.proxies.values():
                    if weather_is in ("late", "all of it"):
                        proxy.weather.delay = 0.15
                    if weather_is in ("cut", "all of it"):
                        proxy.weather.cut_after = luck.randrange(3_000, 20_000)
                    if weather_is in ("holes", "all of it"):
                        proxy.weather.hole = luck.random() < 0.3
                    if weather_is != "late" and luck.random() < 0.3:
                        proxy.cut_all()
                await asyncio.sleep(0.3)
            for proxy in pair.proxies.values():
                proxy.weather.__init__()
                # What hangs in a hole would be given up after half a minute.
                proxy.cut_all()

        talks, found = await talk_through(pair, weather, MORE, lines=15)
        sums = [sum(getattr(proxy, name) for proxy in pair.proxies.values()) for name in ("delayed", "cuts", "swallowed")]
        note = "{} pieces delayed, {} connections cut, {} waits in a hole".format(*sums)
        case = storm(f"a bad road: {weather_is}", talks, found, pair, note, begun)
        case.reached = sum(sums) > 0
        keep(case)


def by_repeater(configs, pair):
    """Each gateway finds the other behind somebody who repeats what it says."""
    pair.repeaters = []
    for (me, domain), port in zip(DOMAINS.items(), free_ports(2)):
        peer = DOMAINS[other(me)]
        pair.repeaters.append(Repeater(pair.directory, port, pair.ports[me], domain, peer, seed=len(pair.repeaters)))
        configs[other(me)]["peers"][domain] = f"127.0.0.1:{port}"


async def test_a_peer_that_answers_late_or_twice_or_out_of_order_loses_and_doubles_nothing(keep):
    """Somebody between the gateways with the certificates of both delivers whole requests twice, or once more up to
    three seconds later, when others have overtaken them; holds answers back, or lets them get lost."""
    begun = time.monotonic()
    async with Pair.running("repeater", changes=by_repeater) as pair, contextlib.AsyncExitStack() as stack:
        for repeater in pair.repeaters:
            await stack.enter_async_context(repeater)

        async def weather(_):
            pass

        talks, found = await talk_through(pair, weather, 2 * MORE, lines=15)
        # Some is still on its way once more. Nobody is to be shown anything for it.
        shown = lambda: [len(place.shown) for at in pair.at.values() for place in at.conversations.values()]
        before = shown()
        await asyncio.gather(*(repeater.is_quiet() for repeater in pair.repeaters))
        await asyncio.sleep(0.5)
        assert shown() == before, "what came once more was shown once more"
        deeds = sum((repeater.deeds for repeater in pair.repeaters), Counter())
        note = ", ".join(f"{name}: {count}" for name, count in sorted(deeds.items()))
        case = storm("requests twice, late and out of order", talks, found, pair, note, begun)
        case.reached = len(deeds) == 4
        keep(case)


async def test_a_name_that_is_not_found_is_asked_for_again(keep):
    """Simulated with libnss_wrapper: each gateway knows the other by a name that is in the hosts file, is taken out,
    and comes back."""
    begun = time.monotonic()

    def by_name(configs, pair):
        for me in DOMAINS:
            configs[other(me)]["peers"][DOMAINS[me]] = f"gateway.{DOMAINS[me]}:{pair.ports[me]}"

    def resolver(me: str, directory: Path) -> dict[str, str]:
        (directory / "hosts").write_text("127.0.0.9 nobody.example\n")
        heard = {"RUST_LOG": "info,mimi_gateway::outbox=debug"}
        return {"LD_PRELOAD": NSS_WRAPPER, "NSS_WRAPPER_HOSTS": str(directory / "hosts"), **heard}

    async with Pair.running("names", changes=by_name, env=resolver) as pair:
        hosts = pair.directory / "hosts"
        known = "".join(f"127.0.0.1 gateway.{domain}\n" for domain in DOMAINS.values())

        async def weather(_):
            hosts.write_text("127.0.0.9 nobody.example\n")
            for me in DOMAINS:  # Connections that live need no name.
                await pair.gateways[me].kill()
                await pair.gateways[me].start()
            await asyncio.sleep(2)
            hosts.write_text(known)

        talks, found = await talk_through(pair, weather, MORE)
        failures = sum(each.gateway.log.read_text().count("lookup address") for each in pair.gateways.values())
        case = storm("a name that is not found for a while", talks, found, pair, f"{failures} lookups failed", begun)
        case.reached = failures > 0
        keep(case)


@pytest.mark.parametrize("kind", list(KINDS))
async def test_a_flipped_bit_is_never_silently_wrong(kind):
    case = await flips(kind, 4 if MORE == 1 else 40, seed=1)
    assert case.is_good, case.line()
