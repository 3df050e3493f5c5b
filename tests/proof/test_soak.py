"""Two minutes of the soak. `tests/proof/soak` goes on for half an hour."""

from proof.soak import soak


async def test_two_minutes_in_ten_rooms_lose_double_and_reorder_nothing():
    case, _ = await soak(minutes=2, rooms=10, rate=6)
    assert case.is_good, case.line()
