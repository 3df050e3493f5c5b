"""A bad road between two gateways: a TCP proxy that delays, cuts, swallows, or is not there.

It can't read what it carries, so it breaks connections in any place: in a handshake, in a request, in an answer.
"""

import asyncio
import random
from dataclasses import dataclass, field


@dataclass
class Weather:
    delay: float = 0.0
    """Up to so many seconds for each piece."""
    cut_after: int | None = None
    """Connections break after at most so many octets, in either direction."""
    hole: bool = False
    """Nothing comes through, and nobody is told."""


@dataclass
class Proxy:
    port: int
    to: int
    weather: Weather = field(default_factory=Weather)
    luck: random.Random = field(default_factory=lambda: random.Random(1))
    cuts: int = 0
    delayed: int = 0
    swallowed: int = 0

    async def __aenter__(self):
        self._open: set[asyncio.StreamWriter] = set()
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.cut_all()

    def cut_all(self):
        """Every connection there is breaks now."""
        for writer in list(self._open):
            self.cuts += 1
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.close()
            return
        both = {writer, back}
        self._open |= both
        budget = [self.luck.randrange(1, self.weather.cut_after)] if self.weather.cut_after else None
        pipes = [asyncio.create_task(self._pipe(reader, back, budget)), asyncio.create_task(self._pipe(there, writer, budget))]
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pipe in pipes:
                pipe.cancel()
            for each in both:
                each.transport.abort()
            self._open -= both

    async def _pipe(self, reader, writer, budget):
        try:
            while octets := await reader.read(4096):
                if self.weather.delay:
                    self.delayed += 1
                    await asyncio.sleep(self.luck.uniform(0, self.weather.delay))
                while self.weather.hole:
                    self.swallowed += 1
                    await asyncio.sleep(0.2)
                if budget is not None:
                    budget[0] -= len(octets)
                    if budget[0] <= 0:
                        writer.write(octets[: budget[0]])
                        await writer.drain()
                        self.cuts += 1
                        return
                writer.write(octets)
                await writer.drain()
        except OSError:
            pass
