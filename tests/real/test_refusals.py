"""What the gateway can't carry, it says to whoever sent it. What they say next arrives all the same."""


async def test_alice_is_told_that_her_picture_was_not_carried(world, link):
    await world.alice.shows_image(link.room, "cat.png")
    told = await world.alice.sees("Not delivered to people elsewhere: the gateway can't carry an image yet.")
    assert (told.room, told.sender) == (link.room, world.bot)
    await world.alice.says(link.room, "It was a cat.")
    await world.bob.sees("It was a cat.")
    assert world.bob.texts(link.muc) == ["It was a cat."]


async def test_bob_is_told_that_his_file_was_not_carried_and_nobody_else_is(world, link):
    await world.bob.shows_file(link.muc, "https://files.xmpp.b.example/dog.png")
    told = await world.bob.sees(
        "Your file was not carried to the other providers: the gateway carries text only, so far."
    )
    assert told.room.startswith(f"{link.muc}/")
    await world.bob.says(link.muc, "It was a dog.")
    await world.alice.sees("It was a dog.")
    assert "https://files.xmpp.b.example/dog.png" not in world.alice.texts(link.room)
    assert told.text not in [message.text for message in world.ben.seen]
