"""Somebody with a mail program: signs in to submit, and reads the mailbox by IMAP.

The room of a message is where its reader would answer; the text is what stands above the signature.
"""

import asyncio
import email
import imaplib
import smtplib
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, default
from email.utils import make_msgid

from .mail import DOMAIN, PASSWORD, Dovecot, Postfix
from .people import Person

# Python would take a long Message-ID apart to keep a line short, as no mail program does.
_POLICY = SMTP.clone(max_line_length=998)


class MailPerson(Person):
    def __init__(self, postfix: Postfix, dovecot: Dovecot, name: str):
        super().__init__(name)
        self.address = f"{name}@{DOMAIN}"
        self.mails: list[EmailMessage] = []
        """Everything in the mailbox, in the order in which it came."""
        self._postfix, self._imap_port = postfix, dovecot.imap
        self._reading = asyncio.create_task(self._read())

    async def sign_out(self):
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def writes_to(self, address: str, text: str, subject: str = "", **fields: str) -> str:
        """Returns the Message-ID once the server has the mail."""
        mail = EmailMessage(policy=_POLICY)
        mail.set_content(text)
        return await self.sends(mail, address, subject, **fields)

    async def sends(self, mail: EmailMessage, address: str, subject: str = "", **fields: str) -> str:
        mail["From"] = Address(self.name.title(), addr_spec=self.address)
        mail["To"] = address
        if subject:
            mail["Subject"] = subject
        mail["Message-ID"] = make_msgid(domain=DOMAIN)
        for name, value in fields.items():
            mail[name.replace("_", "-")] = value
        await asyncio.to_thread(self._submit, mail)
        return mail["Message-ID"]

    async def answers(self, to: EmailMessage, text: str) -> str:
        """As a mail program does it: to Reply-To, with the thread, and what is answered quoted below."""
        thread = f"{to.get('References', '')} {to['Message-ID']}".strip()
        quoted = "".join(f"> {line}\n" for line in _plain(to).splitlines())
        text = f"{text}\n\nOn Friday, {to['From']} wrote:\n{quoted}"
        return await self.writes_to(
            to.get("Reply-To", to["From"]),
            text,
            f"Re: {to['Subject'].removeprefix('Re: ')}",
            In_Reply_To=to["Message-ID"],
            References=thread,
        )

    async def gets(self, text: str, within: float = 60) -> EmailMessage:
        """Waits for a mail that says this above its signature."""
        return await self.until(lambda: next((mail for mail in self.mails if words(mail) == text), None), within, repr(text))

    async def gets_one(self, look, within: float = 60, what: str = "a mail") -> EmailMessage:
        return await self.until(lambda: next(filter(look, self.mails), None), within, what)

    def _submit(self, mail: EmailMessage):
        with smtplib.SMTP("127.0.0.1", self._postfix.submission) as server:
            server.login(self.address, PASSWORD)
            server.sendmail(self.address, str(mail["To"]), mail.as_bytes(policy=_POLICY))

    async def _read(self):
        while True:
            try:
                mails = await asyncio.to_thread(self._fetch, len(self.mails))
            except (OSError, imaplib.IMAP4.error):
                mails = []  # The server is away.
            for mail in mails:
                self.mails.append(mail)
                sender = mail["From"].addresses[0] if mail["From"] else Address()
                reply = str(mail.get("Reply-To", ""))
                self._show(reply, sender.addr_spec, sender.display_name, words(mail))
            await asyncio.sleep(0.2)

    def _fetch(self, known: int) -> list[EmailMessage]:
        with imaplib.IMAP4("127.0.0.1", self._imap_port) as server:
            server.login(self.address, PASSWORD)
            _, [there] = server.select("INBOX", readonly=True)
            if int(there) <= known:
                return []
            _, parts = server.fetch(f"{known + 1}:*", "(RFC822)")
            return [email.message_from_bytes(part[1], policy=default) for part in parts if isinstance(part, tuple)]


def words(mail: EmailMessage) -> str:
    """What stands above the signature, with lines that flow (RFC 3676)."""
    text, _, _ = _plain(mail).partition("-- \n")
    flowed = ""
    for line in text.splitlines():
        line = line.removeprefix(" ")
        flowed += line if line.endswith(" ") else line + "\n"
    return flowed.strip()


def _plain(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    return body.get_content().replace("\r\n", "\n") if body else ""
