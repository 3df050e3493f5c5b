"""Two gateways on loopback, a.example and b.example, each with a messenger of its own; either may die.

Whoever watches over them in life (systemd, an operator) is here too: a gateway that ends by itself is started
again, as it was configured and with no fail-point armed.
"""

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import AsyncIterator, Callable

import tomli_w

from lab.gateway import PROGRAM, Gateway
from lab.process import Ended, free_ports, run
from lab.world import fresh_directory

from .messenger import Messenger

DOMAINS = {"a": "a.example", "b": "b.example"}
ABORTED = -6


class Watched:
    """A gateway that is started again when it ends."""

    def __init__(self, gateway: Gateway):
        self.gateway = gateway
        self.hits = 0
        """How often it has ended at a fail-point."""
        self.deaths: list[int] = []
        """Exit codes that nobody asked for."""
        self.env: dict[str, str] = {}
        """Of every start from now on."""
        self.between: Callable[[], None] = lambda: None
        """Done to what is left of it, before it is started again."""
        self._watch: asyncio.Task | None = None

    async def start(self, env: dict[str, str] | None = None):
        try:
            await self.gateway.start(env={**self.env, **(env or {})})
        except Ended as ended:
            self._note(ended.code)
            self.between()
            await self.gateway.start(env=self.env)
        self._watch = asyncio.create_task(self._stay_up())

    async def kill(self):
        await self._look_away()
        if self.gateway.runs:
            await self.gateway.kill()

    async def stop(self):
        await self._look_away()
        await self.gateway.stop()

    async def arm(self, point: str, passes: int, meanwhile: Callable[[], None] = lambda: None):
        """Ends it now, and starts it so that it ends at this pass of the fail-point."""
        await self.kill()
        meanwhile()
        await self.start({"FAILPOINTS": f"{point}={passes - 1}*off->1*return" if passes > 1 else f"{point}=1*return"})

    async def _stay_up(self):
        while True:
            self._note(await self.gateway.has_ended())
            self.between()
            await self.gateway.start(env=self.env)

    async def _look_away(self):
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None

    def _note(self, code: int):
        if code == ABORTED and self.gateway.log.read_text(errors="replace").count("fail-point ") > self.hits:
            self.hits += 1
        else:
            self.deaths.append(code)

    async def asks(self, method: str, path: str, body: dict | None = None, within: float = 30):
        """An admin's request, made again until the gateway is there to answer it."""
        async with asyncio.timeout(within):
            while True:
                try:
                    status, answer = await self._ask(method, path, body)
                except (OSError, ValueError, asyncio.IncompleteReadError):
                    status, answer = 503, None
                if status < 500:
                    return status, answer
                await asyncio.sleep(0.05)

    async def _ask(self, method, path, body):
        socket = self.gateway.path(self.gateway.settings["admin"]["socket"])
        reader, writer = await asyncio.open_unix_connection(socket)
        octets = json.dumps(body).encode() if body is not None else b""
        head = f"{method} {path} HTTP/1.1\r\nHost: mimi-gateway\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(octets)}\r\n\r\n"
        writer.write(head.encode() + octets)
        head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        if not head.startswith(b"HTTP/1.1 "):
            raise OSError("the gateway hung up")
        status = int(head.split(b" ", 2)[1])
        return status, json.loads(answer) if answer.startswith((b"{", b"[", b'"')) else None


class Pair:
    """`a` and `b` are the gateways, `at` their messengers."""

    a: Watched
    b: Watched
    at: dict[str, Messenger]

    @classmethod
    @asynccontextmanager
    async def running(
        cls, name: str, not_now: float = 0.0, changes: Callable = None, env: Callable = None
    ) -> AsyncIterator["Pair"]:
        """`changes` may alter the configurations, given by name and with the directory, before they are written;
        `env` gives every start of a gateway more environment, by name."""
        self = cls()
        self.directory = fresh_directory(name)
        ports = dict(zip(DOMAINS, free_ports(2)))
        await run(PROGRAM, "ca", "issue", *(f"--domain={domain}" for domain in DOMAINS.values()), "--out", self.directory)
        self.ports = ports
        configs = {me: _config(self.directory, me, ports) for me in DOMAINS}
        if changes:
            changes(configs, self)
        for me, config in configs.items():
            (self.directory / f"{me}.toml").write_text(tomli_w.dumps(config))
        self.a, self.b = (Watched(Gateway(f"gateway {me}", self.directory / f"{me}.toml")) for me in DOMAINS)
        for me, watched in self.gateways.items():
            watched.env = env(me, self.directory) if env else {}
        try:
            await asyncio.gather(self.a.start(), self.b.start())
            self.at = {
                me: Messenger(me, Path(configs[me]["adapters"]["loopback"]["socket"]), index, not_now)
                for index, me in enumerate(DOMAINS)
            }
            yield self
        finally:
            for messenger in getattr(self, "at", {}).values():
                await messenger.close()
            for watched in self.gateways.values():
                await watched._look_away()
                watched.gateway.make_sure_it_is_gone()

    @property
    def gateways(self) -> dict[str, Watched]:
        return {"a": self.a, "b": self.b}


def other(me: str) -> str:
    return {"a": "b", "b": "a"}[me]


def _config(directory: Path, me: str, ports: dict[str, int]) -> dict:
    domain, them = DOMAINS[me], DOMAINS[other(me)]
    files = directory / f"{me}.files"
    files.mkdir()
    return {
        "provider": {
            "domain": domain,
            "listen": f"127.0.0.1:{ports[me]}",
            "certificate_file": f"{domain}.crt",
            "key_file": f"{domain}.key",
            "authorities_file": "authority.crt",
        },
        "store": {"path": f"{domain}.sqlite"},
        "admin": {"socket": f"{domain}.sock"},
        "peers": {them: f"127.0.0.1:{ports[other(me)]}"},
        # a.example lets nobody in without asking, so that consent is asked for and given.
        "consent": {"allow": [them] if me == "b" else []},
        "adapters": {"loopback": {"kind": "loopback", "socket": str(directory / f"{me}.loopback"), "files": str(files)}},
    }
