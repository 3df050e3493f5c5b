"""One mimi-gateway process, run from a configuration file as an admin runs it."""

import asyncio
import json
import os
import secrets
import tomllib
from pathlib import Path

from .process import Process, run

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("MIMI_GATEWAY", ROOT / "target/debug/mimi-gateway")).resolve()


class Gateway(Process):
    def __init__(self, name: str, config: Path):
        self.config = config
        self.settings = tomllib.loads(config.read_text())
        super().__init__(
            name,
            [PROGRAM, "run", "--config", config],
            config.with_suffix(".log"),
            self._is_ready,
            cwd=config.parent,
        )

    @property
    def domain(self) -> str:
        return self.settings["provider"]["domain"]

    def adapter(self, kind: str) -> tuple[str, dict]:
        """The adapter of this kind, with the name of its table."""
        return next((name, table) for name, table in self.settings["adapters"].items() if table["kind"] == kind)

    def path(self, value: str) -> Path:
        """A file that the configuration names: relative paths start beside it."""
        return self.config.parent / value

    def secret(self, value: str) -> str:
        """What is in a secret's file, which is made if it isn't there yet."""
        file = self.path(value)
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(32))
        return file.read_text().strip()

    async def says(self, *command: str) -> str:
        """What a command that needs only the configuration prints."""
        return await run(PROGRAM, *command, "--config", self.config)

    async def is_told(self, *command: str) -> dict | list:
        """What the running gateway answers to a command."""
        return json.loads(await run(PROGRAM, *command, "--config", self.config, "--json"))

    async def _is_ready(self) -> bool:
        """Asks the admin socket, as `mimi-gateway status` does."""
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_unix_connection(self.path(self.settings["admin"]["socket"]))
                writer.write(b"GET /ready HTTP/1.1\r\nHost: mimi-gateway\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
                writer.close()
                return answer.startswith(b"HTTP/1.1 200")
        except (OSError, TimeoutError):
            return False
