"""The talk, with a gateway ended at each fail-point in turn.

    python -m proof.crashes --only loopback store.commit outbox.hub.taken    (in tests/)

A case is one point, one of the two gateways, and at which pass it ends there. The gateway is started with the
point armed, the talk is held, whoever watches starts the gateway again without it, and the checker counts. A
point that no case has reached is NOT REACHED: either the talk has to pass it, or `points.toml` has to say why
it can't.
"""

import argparse
import asyncio
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from .damage import lose_readers
from .pair import DOMAINS, Pair
from .results import Case, record
from .talk import Talk

POINTS = tomllib.loads((Path(__file__).parent / "points.toml").read_text())


@dataclass(frozen=True)
class Trial:
    point: str
    killed: str
    passes: int


def trials(adapter: str, wanted: list[str] | None = None, deep: bool = False) -> list[Trial]:
    """Each point at each gateway that can reach it: at its first pass, and with `deep` at later ones too."""
    found = []
    for name, about in POINTS.items():
        if wanted and name not in wanted:
            continue
        for killed in ("a", "b"):
            if not unreachable(adapter, name, killed):
                passes = about.get("passes", [1])
                # Between real servers less is said: the later passes are not all reached.
                some = passes[-1:] if adapter == "loopback" or name.startswith("store.") else [about.get("real", min(passes[-1], 3))]
                found += [Trial(name, killed, each) for each in (passes if deep and adapter == "loopback" else some)]
    return found


def unreachable(adapter: str, point: str, killed: str) -> str | None:
    """Why the talk over this adapter can't reach the point at this gateway, if it can't."""
    home = {"loopback": ["loopback.a", "loopback.b"], "matrix": ["real.a"], "xmpp": ["real.b"]}.get(point.partition(".")[0])
    if home and f"{adapter}.{killed}" not in home:
        return "it is a step of another adapter"
    reasons = POINTS[point].get("unreachable", {})
    return reasons.get(adapter) or reasons.get(f"{adapter}.{killed}")


async def on_loopback(pair: Pair, trial: Trial, number: str) -> Case:
    begun = time.monotonic()
    victim = pair.gateways[trial.killed]
    repeats = {me: at.repeats for me, at in pair.at.items()}
    hits, deaths = victim.hits, sum(len(each.deaths) for each in pair.gateways.values())
    fails = POINTS[trial.point].get("fails")
    failed = victim.gateway.log.read_text().count(fails) if fails else 0
    talk = Talk(pair, number)
    if POINTS[trial.point].get("lost"):
        talk.interlude = lambda rooms: _loses(pair, trial, rooms)
    else:
        await victim.arm(trial.point, trial.passes)
    found = await talk.hold()
    case = Case(
        section="crashes",
        adapter="loopback",
        point=trial.point,
        killed=trial.killed,
        passes=trial.passes,
        reached=(victim.gateway.log.read_text().count(fails) > failed if fails else victim.hits > hits),
        directions={f"{me} → {'b' if me == 'a' else 'a'}": harm for me, harm in found.items()},
        repeats=sum(at.repeats - repeats[me] for me, at in pair.at.items()),
        stuck=list(talk.stuck),
        seconds=time.monotonic() - begun,
    )
    case.stuck += [f"ended with {code}" for each in pair.gateways.values() for code in each.deaths[deaths:]]
    for me, at in pair.at.items():
        case.stuck += [f"{me}: a repeated delivery changed: {each}" for each in at.changed]
        notices = [text for place in at.conversations.values() for text in place.notices]
        case.stuck += [f"{me} read: {text}" for text in notices]
        at.changed.clear()
        for place in at.conversations.values():
            place.notices.clear()
    return case


async def _loses(pair: Pair, trial: Trial, rooms: list[str]):
    """Whoever reads for all there has lost their place; somebody else of theirs is there, so nothing is missed."""
    database = pair.directory / f"{DOMAINS[trial.killed]}.sqlite"
    victim = pair.gateways[trial.killed]
    # With a commit of theirs that is under way more would be lost than the state of one leaf.
    under_way = {f"hub {room}" for room in rooms}
    async with asyncio.timeout(30):
        while under_way & {queue["destination"] for queue in (await victim.asks("GET", "/outbox"))[1]["queues"]}:
            await asyncio.sleep(0.05)
    await victim.arm(trial.point, trial.passes, lambda: lose_readers(database, rooms))


async def matrix_on_loopback(cases: list[Trial], pairs: int, report=print) -> list[Case]:
    """All of them, over several pairs of gateways at once."""
    queue, done = list(enumerate(cases, 1)), []

    async def work(worker: int):
        while queue:
            async with Pair.running(f"crashes-{worker}", not_now=0.05) as pair:
                # Not more with one pair: where people leave room after room, the breaker asks.
                for _ in range(min(8, len(queue))):
                    if not queue:
                        break
                    number, trial = queue.pop(0)
                    case = await on_loopback(pair, trial, str(number))
                    done.append(case)
                    record(case)
                    report(case.line())

    await asyncio.gather(*(work(worker) for worker in range(pairs)))
    return done


async def matrix_on_real_servers(cases: list[Trial], report=print) -> list[Case]:
    from .real import RealWorld

    done = []
    async with RealWorld.running("crashes-real") as world:
        for number, trial in enumerate(cases, 1):
            case = await world.case(trial, str(number))
            done.append(case)
            record(case)
            report(case.line())
    return done


async def matrix(adapter: str, cases: list[Trial], pairs: int) -> list[Case]:
    if adapter == "loopback":
        return await matrix_on_loopback(cases, min(pairs, len(cases)))
    return await matrix_on_real_servers(cases)


def main():
    parser = argparse.ArgumentParser(prog="proof.crashes", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("points", nargs="*", help="only these")
    parser.add_argument("--only", choices=["loopback", "real"], default="loopback")
    parser.add_argument("--killed", choices=["a", "b"])
    parser.add_argument("--deep", action="store_true", help="end them at later passes too")
    parser.add_argument("--pairs", type=int, default=2)
    arguments = parser.parse_args()
    chosen = trials(arguments.only, arguments.points, arguments.deep)
    chosen = [trial for trial in chosen if arguments.killed in (None, trial.killed)]
    done = asyncio.run(matrix(arguments.only, chosen, arguments.pairs))
    bad = [case for case in done if not case.is_good]
    print(f"{len(done)} cases, {len(bad)} bad")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
