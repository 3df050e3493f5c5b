"""What a person in the lab can do, whichever messenger they use.

A person keeps everything their client has shown them, in the order in which it was shown. Tests wait
for what a person sees, always with a deadline, and read the rest from `seen`.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Callable, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Message:
    """One message as its reader's client shows it."""

    room: str
    """A Matrix room id, a MUC's JID, or the JID of whoever is at the other end of a one-to-one chat."""
    sender: str
    """The sender's address: a Matrix id, an occupant's JID, a bare JID."""
    name: str
    """The sender's name as the reader sees it."""
    text: str
    shown_at: float
    """When the reader's client got it, on the clock of `time.monotonic`."""

    def __str__(self):
        return f"<{self.name}> {self.text}"


class Person:
    def __init__(self, name: str):
        self.name = name
        self.seen: list[Message] = []
        self._news = asyncio.Event()

    def _something_happened(self):
        """Wakes whoever waits. A fresh event each time, so that nobody misses one."""
        self._news.set()
        self._news = asyncio.Event()

    def _show(self, room: str, sender: str, name: str, text: str):
        self.seen.append(Message(room, sender, name, text, time.monotonic()))
        self._something_happened()

    async def until(self, look: Callable[[], T | None], within: float | None, what: str) -> T:
        """Waits until `look` finds something."""
        # Not `wait_for`: in Python 3.11 it can swallow a cancellation.
        try:
            async with asyncio.timeout(within):
                while not (found := look()):
                    await self._news.wait()
        except TimeoutError:
            seen = "\n  ".join(map(str, self.seen[-20:])) or "nothing"
            raise AssertionError(f"{self.name} waited {within} s for {what} and saw\n  {seen}") from None
        return found

    async def sees(self, text: str, by: str | None = None, room: str | None = None, within: float = 30) -> Message:
        """Waits for a message of exactly this text."""

        def look():
            for message in self.seen:
                if message.text == text and by in (None, message.name) and room in (None, message.room):
                    return message

        return await self.until(look, within, f"{text!r}" + (f" by {by!r}" if by else ""))

    async def sees_all(self, texts: list[str], room: str, within: float):
        """Waits until each of these texts has been shown at least once."""
        wanted, looked = set(texts), 0

        def look():
            # Only at what is new: there may be thousands.
            nonlocal looked
            wanted.difference_update(message.text for message in self.seen[looked:] if message.room == room)
            looked = len(self.seen)
            return not wanted

        try:
            await self.until(look, within, f"{len(texts)} messages")
        except AssertionError:
            raise AssertionError(
                f"{self.name} still misses {len(wanted)} of {len(texts)} after {within} s: {sorted(wanted)[:10]}"
            ) from None

    def texts(self, room: str, by: str | None = None) -> list[str]:
        return [each.text for each in self.seen if each.room == room and by in (None, each.name)]
