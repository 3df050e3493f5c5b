"""Mail at c.example and Matrix at a.example: Postfix, Dovecot, Synapse, a gateway for each.

Gateway a runs from `config/a.example.toml`, gateway c from `config/c.example.toml`, with nothing changed but ports and peers.
"""

import asyncio
import tomllib
from contextlib import asynccontextmanager
from typing import AsyncIterator
from urllib.parse import urlsplit

import tomli_w

from .gateway import PROGRAM, ROOT, Gateway
from .mail import GATEWAY, PASSWORD, Dovecot, Postfix
from .mail_person import MailPerson
from .matrix_person import MatrixPerson
from .process import free_ports, run
from .synapse import Synapse
from .world import fresh_directory


class MailWorld:
    @classmethod
    @asynccontextmanager
    async def on_free_ports(cls, name: str) -> AsyncIterator["MailWorld"]:
        self = cls()
        self.directory = fresh_directory(name)
        await self._prepare()
        self.servers = [self.synapse, self.dovecot, self.postfix, self.gateway_a, self.gateway_c]
        people: list[MatrixPerson | MailPerson] = []
        try:
            await asyncio.gather(self.synapse.start(), self.dovecot.start())
            await self.postfix.start()
            await asyncio.gather(self.gateway_a.start(), self.gateway_c.start())
            self.alice = await MatrixPerson.sign_up(self.synapse, "alice")
            self.bob, self.ben = (MailPerson(self.postfix, self.dovecot, name) for name in ("bob", "ben"))
            people += [self.alice, self.bob, self.ben]
            yield self
            await asyncio.gather(*(person.sign_out() for person in people))
            await asyncio.gather(*(server.stop() for server in self.servers if server.runs))
        finally:
            for server in self.servers:
                server.make_sure_it_is_gone()

    async def _prepare(self):
        homeserver, provider_a, provider_c, admin_a, admin_c, listen, submission, lmtp = free_ports(8)
        at = "127.0.0.1:{}".format
        a, c = (tomllib.loads((ROOT / "config" / f"{name}.example.toml").read_text()) for name in "ac")
        a["provider"]["listen"] = c["peers"]["a.example"] = at(provider_a)
        c["provider"]["listen"] = at(provider_c)
        a["peers"] = {"c.example": at(provider_c)}
        a["consent"] = {"allow": ["c.example"]}
        a["admin"]["listen"], c["admin"]["listen"] = at(admin_a), at(admin_c)
        a["adapters"]["matrix"] |= {"homeserver": f"http://{at(homeserver)}", "listen": at(listen)}
        c["adapters"]["email"] |= {"server": at(submission), "listen": at(lmtp)}
        for name, config in (("a", a), ("c", c)):
            (self.directory / f"{name}.example.toml").write_text(tomli_w.dumps(config))
        self.gateway_a = Gateway("gateway a", self.directory / "a.example.toml")
        self.gateway_c = Gateway("gateway c", self.directory / "c.example.toml")

        domains = [f"--domain={gateway.domain}" for gateway in (self.gateway_a, self.gateway_c)]
        await run(PROGRAM, "ca", "issue", *domains, "--out", self.directory)
        _, matrix = self.gateway_a.adapter("matrix")
        self.gateway_a.secret(matrix["as_token_file"])
        self.gateway_a.secret(matrix["hs_token_file"])
        registration = self.directory / "registration.yaml"
        registration.write_text(await self.gateway_a.says("registration", "matrix"))
        self.synapse = Synapse(self.directory / "synapse", urlsplit(matrix["homeserver"]).port, registration)

        _, mail = self.gateway_c.adapter("email")
        self.gateway_c.secret(mail["secret_file"])
        self.gateway_c.path(mail["password_file"]).write_text(PASSWORD)
        self.dovecot = Dovecot(self.directory / "dovecot")
        self.postfix = Postfix(self.directory / "postfix", self.dovecot, submission, lmtp)

    async def link_the_list(self) -> tuple[str, str]:
        """A Matrix room and the list tea; returns the room and the MIMI room, once everybody is in it."""
        room = await self.alice.creates_room("Tea", invite=[self.bot])
        await self.alice.until(
            lambda: any(message.sender == self.bot and room in message.text for message in self.alice.seen),
            30,
            "the bot to name the room's id",
        )
        mimi_room = "mimi://a.example/r/tea"
        await self.gateway_a.is_told(
            "room", "create", "--adapter", "matrix", "--conversation", room, "--room", mimi_room, "--name", "Tea"
        )
        await self.gateway_c.is_told("room", "link", mimi_room, "--adapter", "email", "--conversation", "tea")
        await self.gateway_a.is_told("room", "invite", mimi_room, f"mimi://c.example/u/{self.bob.address}")
        for person in (self.bob, self.ben):
            await self.alice.sees_member(room, f"{person.name} (c.example)", within=60)
        return room, mimi_room

    @property
    def bot(self) -> str:
        _, matrix = self.gateway_a.adapter("matrix")
        return f"@{matrix.get('bot', 'mimi')}:{matrix['server_name']}"

    @property
    def alice_by_mail(self) -> str:
        return f"=40alice=3amatrix.a.example=a.example@{GATEWAY}"

    def in_matrix(self, person: MailPerson) -> str:
        return f"@mimi_c.example_{person.address.replace('@', '=40')}:matrix.a.example"
