"""a.example as three processes on one PostgreSQL database, behind a load balancer, and b.example as one on SQLite.

a.example has three networks, red, green and blue, each with a room that bob of b.example is in. The people of a
network find the process that has its session by trying one after the other, as clients of a failed-over server do.
Run it under tests/lab/postgres, which names the server.
"""

import asyncio
import os
import re
import signal
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import AsyncIterator

import tomli_w

from lab.gateway import PROGRAM, Gateway
from lab.process import free_ports, run
from lab.world import fresh_directory
from proof.checker import Harm, harm
from proof.messenger import Messenger

COLOURS = ["red", "green", "blue"]
PATIENCE = 60


class Roaming(Messenger):
    """A network that is reached at one of several sockets."""

    def __init__(self, name: str, sockets: list[Path], seed: int):
        self.sockets = sockets
        self._turn = 0
        super().__init__(name, sockets[0], seed)

    @property
    def _socket(self) -> Path:
        self._turn += 1
        return self.sockets[self._turn % len(self.sockets)]

    @_socket.setter
    def _socket(self, _):
        pass

    @property
    def is_connected(self) -> bool:
        return self._writer is not None and not self._writer.is_closing()

    def looks_elsewhere(self, but_not_at: Path):
        """Its server has stopped answering."""
        self.sockets = [socket for socket in self.sockets if socket != but_not_at]
        if self._writer:
            self._writer.close()


class Balancer:
    """TCP to whichever process listens."""

    def __init__(self, port: int, backends: list[int]):
        self._port, self._backends, self._turn = port, backends, 0
        self._lines = []

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def _serve(self, reader, writer):
        for _ in self._backends:
            self._turn += 1
            backend = self._backends[self._turn % len(self._backends)]
            try:
                there = await asyncio.open_connection("127.0.0.1", backend)
                break
            except OSError:
                continue
        else:
            return writer.close()
        self._lines.append((backend, writer))
        await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))

    @staticmethod
    async def _pump(reader, writer):
        try:
            while octets := await reader.read(65536):
                writer.write(octets)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    def without(self, port: int):
        """Its health check has failed."""
        for backend, writer in self._lines:
            if backend == port:
                writer.close()
        self._backends = [backend for backend in self._backends if backend != port]


class Trio:
    @classmethod
    @asynccontextmanager
    async def running(cls, name: str, processes: int = 3) -> AsyncIterator["Trio"]:
        """Only so many of the three are started."""
        self = cls()
        server = os.environ.get("MIMI_TEST_POSTGRES")
        assert server, "there is no server: run this under tests/lab/postgres"
        psql = [os.environ["MIMI_TEST_POSTGRES_BIN"] + "/psql", "-q", server, "-c"]
        database = re.sub(r"\W", "_", f"cluster_{name}")
        await run(*psql, f"CREATE DATABASE {database} ENCODING 'UTF8' TEMPLATE template0")
        self.directory = fresh_directory(f"cluster-{name}")
        await run(PROGRAM, "ca", "issue", "--domain=a.example", "--domain=b.example", "--out", self.directory)
        self.front, b, *self.ports = free_ports(5)
        url = f"{server.rsplit('/', 1)[0]}/{database}"
        self.processes = []
        for number, port in enumerate(self.ports):
            (self.directory / f"a{number}.toml").write_text(tomli_w.dumps(self._process(number, port, b, url)))
            self.processes.append(Gateway(f"process {number}", self.directory / f"a{number}.toml"))
        (self.directory / "b.toml").write_text(tomli_w.dumps(self._follower(b)))
        self.b = Gateway("gateway b", self.directory / "b.toml")
        self.balancer = Balancer(self.front, list(self.ports))
        await self.balancer.start()
        messengers = []
        try:
            await asyncio.gather(*(process.start() for process in [*self.processes[:processes], self.b]))
            self.here = {
                colour: Roaming(colour, [self.socket(number, colour) for number in range(3)], index)
                for index, colour in enumerate(COLOURS)
            }
            self.there = Messenger("b", self.directory / "b.loopback", 7)
            messengers = [*self.here.values(), self.there]
            yield self
        finally:
            for messenger in messengers:
                await messenger.close()
            for process in [*self.processes, self.b]:
                process.make_sure_it_is_gone()

    def socket(self, number: int, colour: str) -> Path:
        return self.directory / f"a{number}.{colour}"

    def holder(self, colour: str) -> int:
        """Who last said that it took the adapter over."""
        times = {}
        for number, process in enumerate(self.processes):
            if not process.log.exists():
                continue  # It has never been started.
            for line in process.log.read_text(errors="replace").splitlines():
                if "Took over." in line and f'"{colour}"' in line:
                    times[number] = line.split()[0]
        return max(times, key=times.get)

    def pid(self, number: int) -> int:
        return self.processes[number]._child.pid

    async def gather(self):
        """Everybody is in their room, and has said hello."""
        for colour in COLOURS:
            self.here[colour].joins(colour, "alice")
            self.there.joins(colour, "bob")
        for colour in COLOURS:
            await self.sees(self.here[colour], colour, "bob")
            await self.sees(self.there, colour, "alice")

    async def sees(self, messenger: Messenger, colour: str, person: str):
        def look():
            # Whoever was refused before the Welcome came says it again.
            place = messenger.conversations[colour]
            return any(user.endswith(f"/{person}") for user in place.ghosts())
        deadline = time.monotonic() + PATIENCE
        while not look():
            assert time.monotonic() < deadline, f"{messenger.name} does not see {person} in {colour}"
            if messenger is self.there and "bob" not in messenger.conversations[colour].here:
                messenger.joins(colour, "bob")
            await asyncio.sleep(0.2)

    def everybody_says(self, n: int):
        for colour in COLOURS:
            self.here[colour].says(colour, "alice", f"{colour} {n}")
            self.there.says(colour, "bob", f"{colour} {n}")

    async def judge(self) -> Harm:
        """Waits until everything has arrived, or until nothing has for a while."""
        found = Harm()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not self._complete():
            await asyncio.sleep(0.1)
        for colour in COLOURS:
            found += harm(self.here[colour], self.there, {colour: colour})
            found += harm(self.there, self.here[colour], {colour: colour})
        return found

    def _complete(self) -> bool:
        pairs = [(self.here[colour], self.there, colour) for colour in COLOURS]
        pairs += [(reader, speaker, colour) for speaker, reader, colour in pairs]
        return all(
            len(reader.conversations[colour].shown) >= len(speaker.conversations[colour].said)
            for speaker, reader, colour in pairs
        )

    async def takes_over(self, colour: str, but: int) -> float:
        """How long until another process than this has the session of a network."""
        begun = time.monotonic()
        while True:
            for number in set(range(3)) - {but}:
                try:
                    _, writer = await asyncio.open_unix_connection(self.socket(number, colour))
                    writer.close()
                    return time.monotonic() - begun
                except OSError:
                    pass
            assert time.monotonic() - begun < PATIENCE, f"nobody takes over {colour}"
            await asyncio.sleep(0.02)

    def _process(self, number: int, port: int, b: int, url: str) -> dict:
        return {
            **_provider("a.example", port, self.front),
            "store": {"url": url},
            "assets": {"directory": "a.assets"},
            "cluster": {"address": f"127.0.0.1:{port}"},
            "admin": {"socket": f"a{number}.sock"},
            "peers": {"b.example": f"127.0.0.1:{b}"},
            "consent": {"allow": ["b.example"]},
            "adapters": {
                colour: {"kind": "loopback", "socket": str(self.socket(number, colour))} for colour in COLOURS
            },
            "portals": [
                {**_portal(colour, colour), "invite": ["mimi://b.example/u/bob"]} for colour in COLOURS
            ],
        }

    def _follower(self, port: int) -> dict:
        return {
            **_provider("b.example", port, port),
            "store": {"path": "b.sqlite"},
            "admin": {"socket": "b.sock"},
            "peers": {"a.example": f"127.0.0.1:{self.front}"},
            "consent": {"allow": ["a.example"]},
            "adapters": {"loopback": {"kind": "loopback", "socket": str(self.directory / "b.loopback")}},
            "portals": [_portal(colour, "loopback") for colour in COLOURS],
        }


def _portal(colour: str, adapter: str) -> dict:
    return {"room": f"mimi://a.example/r/{colour}", "adapter": adapter, "conversation": colour}


def _provider(domain: str, port: int, public: int) -> dict:
    provider = {
        "domain": domain,
        "listen": f"127.0.0.1:{port}",
        "public_port": public,
        "certificate_file": f"{domain}.crt",
        "key_file": f"{domain}.key",
        "authorities_file": "authority.crt",
    }
    return {"provider": provider}


def freeze(pid: int):
    os.kill(pid, signal.SIGSTOP)


def thaw(pid: int):
    os.kill(pid, signal.SIGCONT)
