"""The crash matrix as far as CI has time for it: every point on loopback, some between real servers.

`tests/proof/run` does all of it.
"""

from proof.crashes import POINTS, matrix, trials, unreachable

# One of each kind, at the side that is the more likely to be wrong about it.
SOME = {
    ("matrix.transaction.taken", "a"),
    ("matrix.put.answered", "a"),
    ("matrix.direct.created", "a"),
    ("xmpp.repeated", "b"),
    ("xmpp.offered", "b"),
    ("xmpp.direct.delivered", "b"),
}


def bad(cases) -> list[str]:
    return [case.line() for case in cases if not case.is_good]


async def test_nothing_is_lost_doubled_or_reordered_wherever_a_gateway_ends_on_loopback():
    # Each point at one of the two gateways, in turn; `tests/proof/run` ends both.
    turn = {point: "ab"[number % 2] for number, point in enumerate(POINTS)}
    chosen = [trial for trial in trials("loopback") if trial.killed == turn[trial.point]]
    done = await matrix("loopback", chosen, pairs=3)
    assert bad(done) == []
    reached = {case.point for case in done if case.reached}
    missing = {point for point in POINTS if not unreachable("loopback", point, turn[point])}
    assert missing - reached == set()


async def test_nothing_is_lost_doubled_or_reordered_at_some_points_between_real_servers():
    chosen = [trial for trial in trials("real") if (trial.point, trial.killed) in SOME]
    assert len(chosen) == len(SOME)
    assert bad(await matrix("real", chosen, pairs=1)) == []
