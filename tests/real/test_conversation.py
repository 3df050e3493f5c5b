"""A Matrix room of a.example and an XMPP group chat of b.example hold one conversation."""

from lab.talk import Talk


async def test_what_alice_writes_bob_reads_from_an_occupant_with_her_name(world, link):
    await world.alice.says(link.room, "Is the tea ready?")
    message = await world.bob.sees("Is the tea ready?")
    assert (message.room, message.name) == (link.muc, "alice (a.example)")


async def test_what_bob_answers_alice_reads_from_a_member_with_his_name(world, link):
    await world.bob.says(link.muc, "In a minute.")
    message = await world.alice.sees("In a minute.")
    assert (message.room, message.name) == (link.room, "bob (b.example)")
    assert message.sender in await world.alice.members(link.room)


async def test_everybody_on_each_side_is_told_apart(world, link):
    for person in (world.alice, world.anna):
        await person.says(link.room, f"{person.name} takes milk")
        for reader in (world.bob, world.ben):
            await reader.sees(f"{person.name} takes milk", by=f"{person.name} (a.example)", room=link.muc)
    for person in (world.bob, world.ben):
        await person.says(link.muc, f"{person.name} takes sugar")
        for reader in (world.alice, world.anna):
            await reader.sees(f"{person.name} takes sugar", by=f"{person.name} (b.example)", room=link.room)


async def test_every_character_arrives_as_it_was_typed(world, link):
    for text in (
        "Grüße aus Köln, 東京 and 🫖👩🏽‍🚒",
        "two lines\nand  two  spaces",
        "<b>not bold</b> & *not italic* `nor code` \\ \"quoted\" 'twice'",
        "/me is an action in some clients",
        "x" * 4000,
    ):
        await world.alice.says(link.room, text)
        await world.bob.sees(text, by="alice (a.example)")
        # On Bob's side asterisks and backticks are formatting (XEP-0393), see `test_formatting.py`.
        text = text.replace("*", "").replace("`", "")
        await world.bob.says(link.muc, f"You said: {text}")
        await world.alice.sees(f"You said: {text}", by="bob (b.example)")


async def test_eighty_interleaved_messages_each_way_arrive_once_and_in_order(world, link):
    talk = Talk("counting", {link.room: [world.alice, world.anna], link.muc: [world.bob, world.ben]}, pause=0)
    await talk.everybody_says(40)
    perfect = "80 said, 0 lost, 0 doubled, 0 reordered, 0 invented"
    assert {who: str(verdict) for who, verdict in (await talk.verdicts()).items()} == {
        "alice and anna to bob": perfect,
        "alice and anna to ben": perfect,
        "bob and ben to alice": perfect,
        "bob and ben to anna": perfect,
    }


async def test_a_ghost_says_nothing_to_its_own_side(world, link):
    """An echo would have been there before the answer that comes through both gateways."""
    await world.alice.says(link.room, "Can you hear me?")
    await world.bob.sees("Can you hear me?")
    await world.bob.says(link.muc, "Loud and clear.")
    await world.alice.sees("Loud and clear.")
    assert world.alice.texts(link.room).count("Can you hear me?") == 1
    assert world.bob.texts(link.muc).count("Loud and clear.") == 1
