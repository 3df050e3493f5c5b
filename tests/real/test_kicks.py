"""Somebody from elsewhere is shown the door, and asked in again."""


async def test_ben_is_taken_out_by_alice_and_reads_that(world, link):
    ghost = await world.alice.sees_member(link.room, "ben (b.example)")
    await world.alice.kicks(link.room, ghost)
    await world.ben.sees(
        f"{world.mimi_user(world.alice)} has taken you out of the room. What you write from now on reaches people "
        "elsewhere only if the room lets you in again."
    )
    await world.alice.says(link.room, "Who is left?")
    await world.bob.sees("Who is left?")
    assert ghost not in await world.alice.members(link.room)


async def test_anna_is_taken_out_by_bob_and_reads_that(world, link):
    await world.bob.kicks(link.muc, "anna (a.example)")
    await world.anna.sees(
        f"{world.mimi_user(world.bob)} has taken you out of the room. What you write from now on reaches people "
        "elsewhere only if the room lets you in again."
    )
    await world.alice.says(link.room, "Only you and me.")
    await world.bob.sees("Only you and me.")
    assert "anna (a.example)" not in world.bob.occupants(link.muc)


async def test_ben_is_invited_by_his_ghost_and_comes_back(world, link):
    ghost = f"@mimi_b.example_ben=40{world.ben.jid.partition('@')[2]}:{world.alice.user_id.partition(':')[2]}"
    await world.alice.invites_to(link.room, ghost)
    await world.alice.sees_member(link.room, "ben (b.example)")
    await world.alice.says(link.room, "Welcome back.")
    await world.ben.sees("Welcome back.", by="alice (a.example)")
