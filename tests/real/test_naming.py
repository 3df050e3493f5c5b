"""What the room is called and is about, and who may change that where."""


async def test_the_topic_that_bob_sets_is_said_in_words_while_the_bot_has_no_power(world, link):
    world.bob.sets_subject(link.muc, "Milk?")
    await world.alice.sees(
        f"(set the room's topic to “Milk?”; here it stays as it is: {world.bot} may not change the room's topic)",
        by="bob (b.example)",
    )


async def test_where_the_bot_has_the_power_it_is_the_rooms_topic(world, link):
    await world.alice.gives_power(link.room, world.bot, 50)
    world.bob.sets_subject(link.muc, "Milk or lemon?")
    await world.alice.finds_state(link.room, "m.room.topic", {"topic": "Milk or lemon?"})


async def test_what_alice_calls_the_room_bob_reads(world, link):
    """A group chat has a name in its configuration, which only its owners change."""
    await world.alice.sets_state(link.room, "m.room.name", {"name": "Tea house"})
    await world.bob.sees("(named the room “Tea house”)", by="alice (a.example)", room=link.muc)


async def test_the_topic_that_alice_sets_is_said_where_only_moderators_set_it(world, link):
    await world.alice.sets_state(link.room, "m.room.topic", {"topic": "Sugar?"})
    said = await world.bob.until(
        lambda: next((each for each in world.bob.seen if "“Sugar?”" in each.text), None), 30, "the new topic"
    )
    assert said.name == "alice (a.example)"
    await world.alice.says(link.room, "Nothing has come back.")
    await world.bob.sees("Nothing has come back.")
    await world.bob.says(link.muc, "Not here either.")
    await world.alice.sees("Not here either.")
    await world.alice.finds_state(link.room, "m.room.topic", {"topic": "Sugar?"})
