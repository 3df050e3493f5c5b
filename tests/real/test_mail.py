"""People with mailboxes at c.example, and Alice with Matrix at a.example.

Goes from the first mail to the last: later scenes go on with what earlier ones have begun.
"""

import asyncio
import smtplib
from email.message import EmailMessage

import pytest

from lab.mail import runs_here
from lab.mail_person import words
from lab.mail_world import MailWorld

pytestmark = pytest.mark.skipif(not runs_here(), reason="Postfix and Dovecot change their user, so they need root")


@pytest.fixture(scope="module")
async def world(request):
    async with MailWorld.on_free_ports(request.module.__name__) as world:
        yield world


@pytest.fixture(scope="module")
async def tea(world):
    room, _ = await world.link_the_list()
    return room


async def test_bob_writes_to_alices_address_and_she_answers_in_the_same_thread(world):
    await world.bob.writes_to(world.alice_by_mail, "Where can I get a new one?", subject="Lost passport")
    room, by = await world.alice.is_invited(within=60)
    assert by == world.in_matrix(world.bob)
    await world.alice.joins(room)
    message = await world.alice.sees("Lost passport\n\nWhere can I get a new one?")
    assert (message.room, message.name) == (room, "bob (c.example)")

    await world.alice.says(room, "In room 3.")
    answer = await world.bob.gets("In room 3.")
    sender = answer["From"].addresses[0]
    assert (sender.display_name, sender.addr_spec) == ("alice (a.example)", world.alice_by_mail)
    assert answer["To"] == world.bob.address
    assert answer["Reply-To"].addresses[0].addr_spec.startswith(world.alice_by_mail.partition("@")[0] + "+")

    # Bob's mail program quotes what he answers; Alice sees what is new, and to what.
    await world.bob.answers(answer, "Thank you!")
    await world.alice.sees("Thank you!", room=room)
    asked = next(message for message in world.alice.seen if message.text == "Thank you!")
    assert asked.name == "bob (c.example)"
    assert "m.in_reply_to" in world.alice.contents["Thank you!"]["m.relates_to"]

    await world.alice.says(room, "You are welcome.")
    last = await world.bob.gets("You are welcome.")
    thread = str(answer["References"]).split()[0]
    assert thread in str(last["References"]) and last["Message-ID"] != answer["Message-ID"]


async def test_alice_writes_to_ben_first(world):
    room = await world.alice.creates_direct_chat(world.in_matrix(world.ben))
    await world.alice.sees_member(room, "ben (c.example)")
    await world.alice.says(room, "Psst, Ben!", html="<strong>Psst</strong>, Ben!")
    mail = await world.ben.gets("*Psst*, Ben!")
    assert "<strong>Psst</strong>, Ben!" in mail.get_body(("html",)).get_content()
    await world.ben.answers(mail, "Yes?")
    assert (await world.alice.sees("Yes?", room=room)).name == "ben (c.example)"


async def test_what_two_say_to_each_other_arrives_once_and_in_order(world):
    room = next(message.room for message in world.alice.seen if message.text == "Yes?")
    mail = await world.ben.gets("*Psst*, Ben!")
    for number in range(1, 11):
        await world.alice.says(room, f"Alice says {number}")
        await world.ben.answers(mail, f"Ben says {number}")
    await world.alice.sees_all([f"Ben says {n}" for n in range(1, 11)], room, within=90)
    await world.ben.gets("Alice says 10")
    said = [text for text in world.alice.texts(room, by="ben (c.example)") if text.startswith("Ben says")]
    assert said == [f"Ben says {n}" for n in range(1, 11)]
    # Mailboxes are sorted by the time in the mail.
    mails = sorted((mail for mail in world.ben.mails if words(mail).startswith("Alice says")), key=lambda it: it["Date"].datetime)
    assert sorted(words(mail) for mail in mails) == sorted(f"Alice says {n}" for n in range(1, 11))


async def test_a_list_is_a_room(world, tea):
    await world.alice.says(tea, "Is the tea ready?")
    mail = await world.bob.gets("Is the tea ready?")
    await world.ben.gets("Is the tea ready?")
    assert (mail["Subject"], mail["From"].addresses[0].display_name) == ("Tea", "alice (a.example)")
    assert mail["Reply-To"].addresses[0].addr_spec.startswith("tea+")

    await world.bob.answers(mail, "In a minute.")
    message = await world.alice.sees("In a minute.", room=tea)
    assert message.name == "bob (c.example)"
    # Ben has it as Bob's, under the name that Bob's mail program has given it.
    copy = await world.ben.gets("In a minute.")
    assert "c.example" in copy["From"].addresses[0].display_name and copy["In-Reply-To"] == mail["Message-ID"]
    await world.ben.answers(copy, "I'd like some, too.")
    await world.alice.sees("I'd like some, too.", room=tea, by="ben (c.example)")
    assert world.alice.texts(tea).count("In a minute.") == 1


async def test_a_picture_goes_both_ways(world, tea):
    octets = bytes(range(256)) * 300
    await world.alice.shares(tea, "pot.png", octets, caption="The pot.")
    mail = await world.bob.gets("The pot.")
    [picture] = mail.iter_attachments()
    assert (picture.get_filename(), picture.get_content_type(), picture.get_content()) == ("pot.png", "image/png", octets)

    answer = EmailMessage()
    answer.set_content("And the kettle.")
    answer.add_attachment(octets[::-1], "image", "png", filename="kettle.png")
    await world.bob.sends(answer, mail["Reply-To"], "Re: Tea", In_Reply_To=mail["Message-ID"])
    await world.alice.sees("And the kettle.", room=tea)
    _, downloaded = await world.alice.downloads("kettle.png")
    assert downloaded == octets[::-1]
    copy = await world.ben.gets("And the kettle.")
    assert next(copy.iter_attachments()).get_content() == octets[::-1]


async def test_who_only_says_that_he_is_bob_is_not_heard(world, tea):
    def speak_as_bob():
        with smtplib.SMTP("127.0.0.1", world.postfix.smtp) as server:
            mail = "From: bob@c.example\r\nTo: tea@mimi.c.example\r\nMessage-ID: <forged@c.example>\r\n\r\nBob is a fool.\r\n"
            server.sendmail("ben@c.example", "tea@mimi.c.example", mail)

    await asyncio.to_thread(speak_as_bob)
    bounce = await world.ben.gets_one(lambda mail: "Undelivered" in str(mail["Subject"]), what="a bounce")
    assert "c.example asks to refuse mail that is not provably from it" in " ".join(bounce.get_body().get_content().split())
    await world.bob.writes_to("tea@mimi.c.example", "That was not me.", subject="Tea")
    await world.alice.sees("That was not me.", room=tea)
    assert "Bob is a fool." not in world.alice.texts(tea)


async def test_a_machine_gets_no_answer_and_is_not_heard(world, tea):
    before = len(world.bob.mails)
    mail = await world.bob.gets("Is the tea ready?")
    await world.bob.writes_to(mail["Reply-To"], "I am on holiday.", subject="Out of office", Auto_Submitted="auto-replied")
    await world.bob.writes_to(mail["Reply-To"], "Now I am back.", subject="Tea")
    await world.alice.sees("Now I am back.", room=tea)
    assert "I am on holiday." not in "".join(world.alice.texts(tea))
    assert len(world.bob.mails) == before


async def test_what_comes_while_the_gateway_is_dead_arrives_once(world, tea):
    await world.gateway_c.kill()
    for number in (1, 2, 3):
        await world.bob.writes_to("tea@mimi.c.example", f"Still there? {number}", subject="Tea")
    await world.alice.says(tea, "I am.")
    await world.gateway_c.start()
    await world.postfix.flushes()
    texts = [f"Still there? {number}" for number in (1, 2, 3)]
    await world.alice.sees_all(texts, tea, within=90)
    await world.bob.gets("I am.")
    heard = [text for text in world.alice.texts(tea) if text.startswith("Still there?")]
    assert sorted(heard) == texts
    assert [words(mail) for mail in world.bob.mails].count("I am.") == 1


async def test_what_bounces_is_told_to_its_author(world, tea):
    """Dora has left c.example, which its front door does not know yet."""
    await world.gateway_a.is_told("room", "invite", "mimi://a.example/r/tea", "mimi://c.example/u/dora@c.example")
    await world.alice.sees_member(tea, "dora (c.example)", within=60)
    await world.alice.says(tea, "Welcome, Dora!")
    await world.bob.gets("Welcome, Dora!")
    told = "c.example could not show your message to its people."
    await world.alice.until(lambda: any(told in message.text for message in world.alice.seen), 60, "the gateway to tell her")


async def test_who_leaves_gets_no_more_mail(world, tea):
    mail = await world.ben.gets("Is the tea ready?")
    address = str(mail["List-Unsubscribe"]).strip("<>").removeprefix("mailto:")
    await world.ben.writes_to(address, "")
    await world.alice.until(
        lambda: "ben (c.example)" not in [user.display_name for user in world.alice._client.rooms[tea].users.values()],
        60,
        "Ben to be gone",
    )
    await world.gateway_c.stop()
    await world.gateway_c.start()
    await world.alice.says(tea, "Where is Ben?")
    await world.bob.gets("Where is Ben?")
    await world.bob.writes_to("tea@mimi.c.example", "He has left.", subject="Tea")
    await world.alice.sees("He has left.", room=tea)
    assert not {"Where is Ben?", "He has left."} & {words(mail) for mail in world.ben.mails}
