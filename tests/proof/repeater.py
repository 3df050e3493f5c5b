"""A road on which whole requests are repeated, with the certificates of both ends.

It stands before a gateway as if it were that gateway and speaks to it as if it were its peer, so it sees the requests
themselves. Some it delivers twice, some again much later, when others have overtaken them, of some the answer comes
late and of some it never does. What it does not do is change one: who could, would be the peer.
"""

import asyncio
import random
import ssl
from collections import Counter
from pathlib import Path

import aiohttp
from aiohttp import web
from yarl import URL

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"}


class Repeater:
    """On `port`, before the gateway of `domain` on `onto`, for requests of `peer`."""

    def __init__(self, directory: Path, port: int, onto: int, domain: str, peer: str, seed: int):
        self.is_foul = True
        self.deeds: Counter[str] = Counter()
        self._directory, self._port, self._onto = directory, port, onto
        self._domain, self._peer = domain, peer
        self._luck = random.Random(seed)
        self._later: set[asyncio.Task] = set()

    async def __aenter__(self):
        authority = self._directory / "authority.crt"
        here = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
        here.verify_mode = ssl.CERT_REQUIRED
        here.load_cert_chain(*self._certificate(self._domain))
        self._there = ssl.create_default_context(cafile=authority)
        self._there.load_cert_chain(*self._certificate(self._peer))
        self._session = aiohttp.ClientSession(auto_decompress=False)
        server = web.Server(self._handle)
        self._runner = web.ServerRunner(server)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=here).start()
        return self

    async def __aexit__(self, *_):
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
        await self._runner.cleanup()
        await self._session.close()

    def _certificate(self, domain: str) -> tuple[Path, Path]:
        return self._directory / f"{domain}.crt", self._directory / f"{domain}.key"

    async def is_quiet(self):
        """Nothing is repeated any more, and what was to be repeated has been."""
        self.is_foul = False
        while self._later:
            await asyncio.gather(*self._later)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        deed = self._luck.choices(
            ["pass", "twice", "again later", "answer late", "answer lost"], [60, 10, 15, 10, 5]
        )[0] if self.is_foul and request.method == "POST" else "pass"
        if deed != "pass":
            self.deeds[deed] += 1
        try:
            status, headers, answer = await self._forward(request, body)
            if deed == "twice":
                # The second answer is the one that arrives.
                status, headers, answer = await self._forward(request, body)
        except aiohttp.ClientError:
            return web.Response(status=502)
        if deed == "again later":
            self._do_later(self._again(request, body, self._luck.uniform(0.2, 3)))
        if deed == "answer late":
            await asyncio.sleep(self._luck.uniform(0.1, 0.6))
        if deed == "answer lost":
            request.transport.abort()
        return web.Response(status=status, headers=headers, body=answer)

    async def _again(self, request: web.BaseRequest, body: bytes, after: float):
        await asyncio.sleep(after)
        try:
            await self._forward(request, body)
        except aiohttp.ClientError:
            self.deeds["again later"] -= 1  # Nobody was there.

    def _do_later(self, work):
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _forward(self, request: web.BaseRequest, body: bytes) -> tuple[int, dict, bytes]:
        url = URL(f"https://127.0.0.1:{self._onto}{request.raw_path}", encoded=True)
        keep = lambda headers: {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
        async with self._session.request(
            request.method, url, data=body, headers=keep(request.headers), ssl=self._there,
            server_hostname=self._domain, allow_redirects=False,
        ) as answer:
            return answer.status, keep(answer.headers), await answer.read()
