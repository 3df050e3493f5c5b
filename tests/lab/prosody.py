"""Prosody as the XMPP server of b.example: accounts, group chats with an archive, files, and one component.

The archive is in SQLite, because Prosody's plain files are trimmed in O(n) once they are long and can
be cut short by a kill. Group chats are not anonymous: in a company, people see whom they talk to.
"""

import asyncio
from contextlib import suppress
from pathlib import Path

from .process import Process, free_ports, run

DOMAIN = "xmpp.b.example"
CONFERENCE = f"conference.{DOMAIN}"
COMPONENT = f"mimi.{DOMAIN}"
UPLOAD = f"upload.{DOMAIN}"


class Prosody(Process):
    def __init__(self, directory: Path, c2s_port: int, component_port: int, component_secret: str):
        directory.mkdir(parents=True)
        self.host, self.port, self.component_port = "127.0.0.1", c2s_port, component_port
        self._config = directory / "prosody.cfg.lua"
        self._config.write_text(
            _CONFIG.format(
                directory=directory,
                c2s_port=c2s_port,
                component_port=component_port,
                component_secret=component_secret,
                domain=DOMAIN,
                conference=CONFERENCE,
                component=COMPONENT,
                upload=UPLOAD,
                http_port=free_ports(1)[0],
            )
        )
        (directory / "data").mkdir()
        super().__init__(
            "prosody",
            ["/usr/bin/prosody", "--config", self._config, "-F"],
            directory / "prosody.log",
            self._greets,
            cwd=directory,
        )

    async def stop(self, within: float = 60):
        """Prosody looks for signals between its waits: one that comes just before a wait is seen only when a socket
        ends that, which on a server without clients may be never."""
        waking = asyncio.create_task(self._wake())
        try:
            await super().stop(within)
        finally:
            waking.cancel()

    async def _wake(self):
        while True:
            await asyncio.sleep(1)
            with suppress(OSError):
                _, writer = await asyncio.open_connection(self.host, self.port)
                writer.close()

    async def register(self, name: str, password: str):
        await run("/usr/bin/prosodyctl", "--config", self._config, "register", name, DOMAIN, password)

    async def _greets(self) -> bool:
        """Opens a stream, and is offered to sign in."""
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                header = (
                    f"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
                    f"to='{DOMAIN}' version='1.0'>"
                )
                writer.write(header.encode())
                answer = await reader.readuntil(b"</stream:features>")
                writer.close()
                return b"mechanism" in answer
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            return False


_CONFIG = """\
run_as_root = true
pidfile = "{directory}/prosody.pid"
data_path = "{directory}/data"
log = {{ {{ levels = {{ min = "info" }}, to = "console", timestamps = "%Y-%m-%d %H:%M:%S" }} }}

interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s_port} }}
component_interfaces = {{ "127.0.0.1" }}
component_ports = {{ {component_port} }}
http_ports = {{ {http_port} }}
http_interfaces = {{ "127.0.0.1" }}
http_external_url = "http://127.0.0.1:{http_port}/"
http_default_host = "{upload}"
https_ports = {{}}
s2s_ports = {{}}

modules_enabled = {{ "roster", "saslauth", "disco", "mam", "ping" }}
modules_disabled = {{ "s2s" }}

authentication = "internal_hashed"
allow_unencrypted_plain_auth = true
c2s_require_encryption = false

storage = {{ archive = "sql", muc_log = "sql" }}
sql = {{ driver = "SQLite3", database = "{directory}/data/archive.sqlite" }}

VirtualHost "{domain}"

Component "{conference}" "muc"
    modules_enabled = {{ "muc_mam" }}
    muc_room_default_persistent = true
    muc_room_default_public_jids = true

Component "{upload}" "http_file_share"
    http_file_share_size_limit = 4 * 1024 * 1024

Component "{component}"
    component_secret = "{component_secret}"
"""
