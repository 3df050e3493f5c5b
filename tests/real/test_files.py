"""What people share arrives octet for octet, as independent clients fetch it; what can't is named, and told."""

import random


def _octets(length: int) -> bytes:
    return random.Random(length).randbytes(length)


async def test_alices_picture_arrives_at_bob_with_its_caption(world, link):
    hers = _octets(300_000)
    await world.alice.shares(link.room, "pot.png", hers, caption="The new pot.")
    text, octets = await world.bob.downloads(by="alice (a.example)")
    assert text.startswith("The new pot.\nhttp://")
    assert octets == hers
    assert (await world.ben.downloads(by="alice (a.example)"))[1] == hers


async def test_bobs_picture_arrives_at_alice_as_a_picture(world, link):
    his = _octets(1_000_001)
    await world.bob.shares(link.muc, "cup.png", his)
    content, octets = await world.alice.downloads("cup.png")
    assert octets == his
    assert (content["msgtype"], content["body"]) == ("m.image", "cup.png")
    assert content["info"] == {"mimetype": "image/png", "size": len(his)}


async def test_an_address_at_another_server_stays_a_link(world, link):
    await world.bob.shows_file(link.muc, "https://files.elsewhere.example/dog.png")
    await world.alice.sees("https://files.elsewhere.example/dog.png", by="bob (b.example)")


async def test_a_picture_that_is_too_large_for_bobs_server_is_named_there_and_alice_is_told(world, link):
    await world.alice.shares(link.room, "sky.png", _octets(5 << 20))
    await world.alice.says(link.room, "Did you see the sky?")
    await world.bob.sees(
        "[sky.png (image/png, 5 MiB) was sent and is not shown: 4 MiB is the most that can be shown there]",
        by="alice (a.example)",
    )
    await world.bob.sees("Did you see the sky?", by="alice (a.example)")
    await world.alice.sees("b.example could not show your message to its people.")
