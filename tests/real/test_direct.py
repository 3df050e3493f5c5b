"""One-to-one conversations between a Matrix user and an XMPP user, begun by writing to a ghost."""

ALICE_IN_XMPP = r"\40alice\3amatrix.a.example\40a.example@mimi.xmpp.b.example"
ANNA_IN_XMPP = r"\40anna\3amatrix.a.example\40a.example@mimi.xmpp.b.example"
BOB_IN_MATRIX = "@mimi_b.example_bob=40xmpp.b.example:matrix.a.example"
BEN_IN_MATRIX = "@mimi_b.example_ben=40xmpp.b.example:matrix.a.example"


async def test_bob_writes_to_alice_who_is_invited_and_answers(world):
    await world.bob.writes_to(ALICE_IN_XMPP, "Are you there, Alice?")
    room, by = await world.alice.is_invited()
    assert by == BOB_IN_MATRIX
    await world.alice.joins(room)
    message = await world.alice.sees("Are you there, Alice?")
    assert (message.room, message.sender, message.name) == (room, BOB_IN_MATRIX, "bob (b.example)")
    await world.alice.says(room, "I am.")
    answer = await world.bob.sees("I am.")
    assert answer.sender == ALICE_IN_XMPP


async def test_anna_writes_to_ben_and_he_answers(world):
    room = await world.anna.creates_direct_chat(BEN_IN_MATRIX)
    await world.anna.sees_member(room, "ben (b.example)")
    await world.anna.says(room, "Psst, Ben!")
    message = await world.ben.sees("Psst, Ben!")
    assert message.sender == ANNA_IN_XMPP
    await world.ben.writes_to(ANNA_IN_XMPP, "Yes?")
    answer = await world.anna.sees("Yes?", room=room)
    assert (answer.sender, answer.name) == (BEN_IN_MATRIX, "ben (b.example)")


async def test_what_two_say_to_each_other_stays_in_order_and_between_them(world):
    """Goes on with the two conversations above."""
    room = next(message.room for message in world.alice.seen if message.text == "Are you there, Alice?")
    for number in range(1, 21):
        await world.alice.says(room, f"Alice says {number}")
        await world.bob.writes_to(ALICE_IN_XMPP, f"Bob says {number}")
    await world.alice.sees("Bob says 20")
    await world.bob.sees("Alice says 20")
    assert world.alice.texts(room, by="bob (b.example)")[1:] == [f"Bob says {n}" for n in range(1, 21)]
    assert world.bob.texts(ALICE_IN_XMPP)[1:] == [f"Alice says {n}" for n in range(1, 21)]
    for outsider in (world.anna, world.ben):
        assert not [message for message in outsider.seen if " says " in message.text]
