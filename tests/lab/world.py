"""Everything at once: Synapse and a gateway for a.example, Prosody and a gateway for b.example, four people.

The gateways run from `config/a.example.toml` and `config/b.example.toml`. What else there is to know (where
the homeserver is, which secret the component has) is read from there, so the files are tried out and not
only shown. Each world has a directory of its own under target/lab/runs, where its logs stay.
"""

import asyncio
import itertools
import os
import shutil
import tomllib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import AsyncIterator, Callable
from urllib.parse import urlsplit

import tomli_w

from .gateway import PROGRAM, ROOT, Gateway
from .matrix_person import MatrixPerson
from .process import free_ports, run
from .prosody import CONFERENCE, Prosody
from .synapse import Synapse
from .xmpp_person import XmppPerson

CACHE = Path(os.environ.get("MIMI_LAB_CACHE", ROOT / "target/lab")).resolve()


@dataclass(frozen=True)
class Link:
    """A Matrix room and a group chat that are one MIMI room."""

    room: str
    muc: str
    mimi_room: str


class World:
    @classmethod
    @asynccontextmanager
    async def as_documented(cls, name: str) -> AsyncIterator["World"]:
        """From the example files, exactly as they are."""
        async with cls._running(name, _copy_examples, c2s_port=5222) as world:
            yield world

    @classmethod
    @asynccontextmanager
    async def on_free_ports(cls, name: str) -> AsyncIterator["World"]:
        """From the example files, with nothing changed but the ports: several worlds can be there at once."""
        c2s_port, *ports = free_ports(8)
        async with cls._running(name, lambda directory: _move_examples(directory, ports), c2s_port) as world:
            yield world

    @classmethod
    @asynccontextmanager
    async def _running(
        cls, name: str, put_configuration: Callable[[Path], None], c2s_port: int
    ) -> AsyncIterator["World"]:
        self = cls()
        self.directory = fresh_directory(name)
        put_configuration(self.directory)
        self.gateway_a = Gateway("gateway a", self.directory / "a.example.toml")
        self.gateway_b = Gateway("gateway b", self.directory / "b.example.toml")
        await self._prepare(c2s_port)
        self.servers = {
            "synapse": self.synapse,
            "prosody": self.prosody,
            "gateway a": self.gateway_a,
            "gateway b": self.gateway_b,
        }
        self._people: list[MatrixPerson | XmppPerson] = []
        try:
            await asyncio.gather(self.synapse.start(), self.prosody.start())
            await asyncio.gather(self.gateway_a.start(), self.gateway_b.start())
            yield self
            await asyncio.gather(*(person.sign_out() for person in self._people))
            await asyncio.gather(*(server.stop() for server in self.servers.values() if server.runs))
        finally:
            for server in self.servers.values():
                server.make_sure_it_is_gone()

    async def _prepare(self, c2s_port: int):
        """Everything else an admin does before the first start, as the example files say."""
        domains = [f"--domain={gateway.domain}" for gateway in (self.gateway_a, self.gateway_b)]
        await run(PROGRAM, "ca", "issue", *domains, "--out", self.directory)

        _, matrix = self.gateway_a.adapter("matrix")
        self.gateway_a.secret(matrix["as_token_file"])
        self.gateway_a.secret(matrix["hs_token_file"])
        registration = self.directory / "registration.yaml"
        registration.write_text(await self.gateway_a.says("registration", "matrix"))
        self.synapse = Synapse(self.directory / "synapse", urlsplit(matrix["homeserver"]).port, registration)

        _, xmpp = self.gateway_b.adapter("xmpp")
        component_port = int(xmpp["server"].rpartition(":")[2])
        secret = self.gateway_b.secret(xmpp["secret_file"])
        self.prosody = Prosody(self.directory / "prosody", c2s_port, component_port, secret)

    async def sign_everybody_up(self):
        self.alice = await MatrixPerson.sign_up(self.synapse, "alice")
        self.anna = await MatrixPerson.sign_up(self.synapse, "anna")
        self.bob = await XmppPerson.sign_up(self.prosody, "bob")
        self.ben = await XmppPerson.sign_up(self.prosody, "ben")
        self._people += [self.alice, self.anna, self.bob, self.ben]

    async def link_the_room(self) -> Link:
        """What the four and their two admins do to have one conversation; returns once everybody is in it."""
        muc, mimi_room = f"clubhouse@{CONFERENCE}", "mimi://a.example/r/clubhouse"
        room = await self.alice.creates_room("Clubhouse", invite=[self.anna.user_id, self.bot])
        await self.anna.is_invited()
        await self.anna.joins(room)
        # The bot names the room's id to whoever made the room, who tells the admin.
        await self.alice.until(
            lambda: any(message.sender == self.bot and room in message.text for message in self.alice.seen),
            30,
            "the bot to name the room's id",
        )
        await self.bob.creates_group_chat(muc)
        await self.ben.joins(muc)

        (matrix, _), (xmpp, _) = self.gateway_a.adapter("matrix"), self.gateway_b.adapter("xmpp")
        conversation = ["--adapter", matrix, "--conversation", room]
        await self.gateway_a.is_told("room", "create", *conversation, "--room", mimi_room, "--name", "Clubhouse")
        await self.gateway_b.is_told("room", "link", mimi_room, "--adapter", xmpp, "--conversation", muc)
        await self.gateway_a.is_told("room", "invite", mimi_room, self.mimi_user(self.bob))

        for person in (self.alice, self.anna):
            await self.bob.sees_occupant(muc, f"{person.name} (a.example)")
        for person in (self.bob, self.ben):
            await self.alice.sees_member(room, f"{person.name} (b.example)")
        return Link(room, muc, mimi_room)

    @property
    def bot(self) -> str:
        """The account that speaks for gateway a in Matrix."""
        _, matrix = self.gateway_a.adapter("matrix")
        return f"@{matrix.get('bot', 'mimi')}:{matrix['server_name']}"

    def mimi_user(self, person: MatrixPerson | XmppPerson) -> str:
        if isinstance(person, MatrixPerson):
            return f"mimi://{self.gateway_a.domain}/u/{person.user_id}"
        return f"mimi://{self.gateway_b.domain}/u/{person.jid}"


def _copy_examples(directory: Path):
    for name in ("a.example.toml", "b.example.toml"):
        shutil.copy(ROOT / "config" / name, directory)


def _move_examples(directory: Path, ports: list[int]):
    """Copies them too, and gives each port in them a new number, wherever it is named."""
    homeserver, *rest = ports
    provider_a, provider_b, admin_a, admin_b, listen, component = (f"127.0.0.1:{port}" for port in rest)
    a, b = (tomllib.loads((ROOT / "config" / name).read_text()) for name in ("a.example.toml", "b.example.toml"))
    a["provider"]["listen"] = b["peers"]["a.example"] = provider_a
    b["provider"]["listen"] = a["peers"]["b.example"] = provider_b
    a["admin"]["listen"], b["admin"]["listen"] = admin_a, admin_b
    matrix = next(table for table in a["adapters"].values() if table["kind"] == "matrix")
    matrix["homeserver"], matrix["listen"] = f"http://127.0.0.1:{homeserver}", listen
    next(table for table in b["adapters"].values() if table["kind"] == "xmpp")["server"] = component
    (directory / "a.example.toml").write_text(tomli_w.dumps(a))
    (directory / "b.example.toml").write_text(tomli_w.dumps(b))


def fresh_directory(name: str) -> Path:
    """A new one for each world; of the old ones the latest few are kept, for their logs."""
    runs = CACHE / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    finished = [each for each in runs.iterdir() if not Path(f"/proc/{each.name.partition('-')[0]}").exists()]
    for old in sorted(finished, key=lambda each: each.stat().st_mtime)[:-5]:
        shutil.rmtree(old, ignore_errors=True)
    for again in itertools.count():
        directory = runs / f"{os.getpid()}-{name}{f'-{again}' if again else ''}"
        if not directory.exists():
            directory.mkdir()
            return directory
