"""Who has read what, between a Matrix user and an XMPP user alone."""

ALICE_IN_XMPP = r"\40alice\3amatrix.a.example\40a.example@mimi.xmpp.b.example"
BOB_IN_MATRIX = "@mimi_b.example_bob=40xmpp.b.example:matrix.a.example"


async def test_bob_sees_that_alice_has_read_what_he_wrote_and_she_that_he_has(world):
    bobs = await world.bob.writes_to(ALICE_IN_XMPP, "Have you read this?")
    room, _ = await world.alice.is_invited()
    await world.alice.joins(room)
    await world.alice.sees("Have you read this?")
    await world.alice.reads_up_to(room, world.alice.contents["Have you read this?"]["event_id"])
    await world.bob.sees_read(bobs, by=ALICE_IN_XMPP)
    alices = await world.alice.says(room, "Yes. And you this?")
    await world.bob.sees("Yes. And you this?")
    world.bob.reads_up_to(ALICE_IN_XMPP, "Yes. And you this?")
    await world.alice.sees_read(room, alices, by=BOB_IN_MATRIX)


async def test_in_a_room_alices_reading_crosses_and_is_no_message(world, link):
    """Nobody of b.example shows it, since a group chat would tell it to everybody; but nothing is said twice."""
    await world.bob.says(link.muc, "Who reads along?")
    await world.alice.sees("Who reads along?")
    await world.alice.reads_up_to(link.room, world.alice.contents["Who reads along?"]["event_id"])
    await world.alice.says(link.room, "I do.")
    await world.bob.sees("I do.", by="alice (a.example)")
    assert world.bob.texts(link.muc)[-2:] == ["Who reads along?", "I do."]
