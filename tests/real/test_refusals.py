"""What the gateway can't carry, it says to whoever sent it. What they say next arrives all the same."""


async def test_alice_is_told_that_her_place_was_not_carried(world, link):
    await world.alice.shows_where(link.room, "In the garden")
    told = await world.alice.sees("Not delivered to people elsewhere: the gateway can't carry a location yet.")
    assert (told.room, told.sender) == (link.room, world.bot)
    await world.alice.says(link.room, "It was the garden.")
    await world.bob.sees("It was the garden.")
    assert world.bob.texts(link.muc) == ["It was the garden."]


async def test_bob_is_told_that_his_secret_was_not_carried_and_nobody_else_is(world, link):
    await world.bob.says_in_secret(link.muc)
    told = await world.bob.sees(
        "Your message was not carried to the other providers, because it is encrypted for XMPP. "
        "Please switch off OMEMO or OpenPGP here."
    )
    assert told.room.startswith(f"{link.muc}/")
    await world.bob.says(link.muc, "It was a dog.")
    await world.alice.sees("It was a dog.")
    assert "This is OMEMO." not in world.alice.texts(link.room)
    assert told.text not in [message.text for message in world.ben.seen]
