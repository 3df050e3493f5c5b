"""What people ask the gateway itself, in the words of their own network."""

from lab.prosody import COMPONENT


def in_which(person, words: str):
    return lambda: next((each for each in person.seen if words in each.text), None)


async def test_alice_asks_who_reads_along_and_only_she_is_answered(world, link):
    await world.alice.says(link.room, "!mimi who")
    told = await world.alice.until(in_which(world.alice, "From elsewhere read along:"), 30, "who reads along")
    assert (told.sender, told.text) == (world.bot, "From elsewhere read along:\nb.example: ben, bob")
    await world.alice.says(link.room, "That was for the gateway.")
    await world.bob.sees("That was for the gateway.")
    assert "!mimi who" not in world.bob.texts(link.muc)


async def test_bob_asks_in_private_and_is_answered_in_private(world, link):
    world.bob.whispers(link.muc, "mimi-gateway", "who")
    told = await world.bob.until(in_which(world.bob, "a.example: alice, anna"), 30, "who reads along")
    assert told.sender == f"{link.muc}/mimi-gateway"
    await world.bob.says(link.muc, "Only I have read that.")
    await world.ben.sees("Only I have read that.")
    assert not any("From elsewhere" in message.text for message in world.ben.seen)


async def test_who_may_not_change_the_room_can_not_take_it_out(world, link):
    await world.anna.says(link.room, "!mimi leave")
    await world.anna.until(in_which(world.anna, "Only those who may change this conversation"), 30, "a no")
    world.ben.whispers(link.muc, "mimi-gateway", "leave")
    await world.ben.until(in_which(world.ben, "Only those who may change this conversation"), 30, "a no")
    await world.anna.says(link.room, "We are still here.")
    await world.ben.sees("We are still here.")


async def test_bob_writes_to_the_gateways_own_address(world, link):
    await world.bob.writes_to(COMPONENT, "help")
    await world.bob.until(in_which(world.bob, "write to me privately"), 30, "how the gateway is asked")
