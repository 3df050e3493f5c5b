"""What belongs together on one side belongs together on the other, in that side's own way."""

from uuid import uuid4


async def test_what_alice_says_under_a_message_is_one_thread_for_bob_and_his_answer_is_under_it(world, link):
    root = await world.alice.says(link.room, "Tea or coffee in room 4?")
    await world.bob.sees("Tea or coffee in room 4?")
    await world.alice.says_under(link.room, root, "Tea for me.")
    # Apps without threads show it as an answer, with a quotation in it.
    quoted = "> alice (a.example): Tea or coffee in room 4?\nTea for me."
    await world.bob.sees(quoted, by="alice (a.example)")
    thread = world.bob.threads[quoted]
    assert thread and not world.bob.threads["Tea or coffee in room 4?"]
    await world.bob.says(link.muc, "Coffee for me.", thread=thread)
    await world.alice.sees("Coffee for me.", by="bob (b.example)")
    relation = world.alice.contents["Coffee for me."]["m.relates_to"]
    assert (relation["rel_type"], relation["event_id"], relation["is_falling_back"]) == ("m.thread", root, True)
    await world.bob.says(link.muc, "And now to work.")
    await world.alice.sees("And now to work.", by="bob (b.example)")
    assert "m.relates_to" not in world.alice.contents["And now to work."]


async def test_a_thread_of_bobs_begins_with_its_first_message_for_alice(world, link):
    thread = uuid4().hex
    await world.bob.says(link.muc, "About the roof:", thread=thread)
    first = await world.alice.sees("About the roof:", by="bob (b.example)")
    assert first.room == link.room and "m.relates_to" not in world.alice.contents["About the roof:"]
    await world.bob.says(link.muc, "It leaks.", thread=thread)
    await world.alice.sees("It leaks.", by="bob (b.example)")
    relation = world.alice.contents["It leaks."]["m.relates_to"]
    assert relation["rel_type"] == "m.thread"
    await world.alice.says_under(link.room, relation["event_id"], "Since when?")
    await world.ben.sees("> bob: It leaks.\nSince when?", by="alice (a.example)")
    assert world.ben.threads["> bob: It leaks.\nSince when?"] == thread


async def test_a_session_of_two_is_no_thread(world, link):
    """Many apps put a thread into every message of a conversation of two (RFC 6121 calls it a session)."""
    alice = r"\40alice\3amatrix.a.example\40a.example@mimi.xmpp.b.example"
    session = uuid4().hex
    await world.bob.writes_to(alice, "Just us?", thread=session)
    room, _ = await world.alice.is_invited()
    await world.alice.joins(room)
    await world.bob.writes_to(alice, "In this session?", thread=session)
    await world.alice.sees("In this session?", by="bob (b.example)")
    assert "m.relates_to" not in world.alice.contents["In this session?"]
