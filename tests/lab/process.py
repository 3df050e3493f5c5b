"""A server process: started, asked until it answers, stopped, killed, and never left behind.

Nothing here waits for a length of time in order to be right. A start returns when the server has
answered a question, a stop when the process is gone.
"""

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import Awaitable, Callable

_PR_SET_PDEATHSIG = 1
_ESTABLISHED = "01"
_libc = ctypes.CDLL(None)


def _die_with_parent():
    """Runs in the child. A lab that is itself killed leaves no server behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Ended(RuntimeError):
    """A server has ended by itself."""

    def __init__(self, code: int, words: str):
        super().__init__(words)
        self.code = code


class Process:
    """One program, which may run several times: after `stop` or `kill` it can be started again."""

    def __init__(
        self,
        name: str,
        argv: list[str],
        log: Path,
        answers: Callable[[], Awaitable[bool]],
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
    ):
        self.name = name
        self.log = log
        self._argv = [str(argument) for argument in argv]
        self._answers = answers
        self._cwd = cwd
        self._env = {**os.environ, **(env or {})}
        self._child: subprocess.Popen | None = None

    async def start(self, within: float = 60, env: dict[str, str] | None = None):
        """`env` is for this start alone."""
        assert not self.runs, f"{self.name} runs already"
        with self.log.open("ab") as log:
            # Its own session: Ctrl-C in a terminal reaches the lab alone, which then stops its servers.
            self._child = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._cwd,
                env={**self._env, **(env or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        deadline = time.monotonic() + within
        while not await self._answers():
            if self._child.poll() is not None:
                code, self._child = self._child.returncode, None
                raise Ended(code, f"{self.name} ended with {code} while starting:\n{self.last_words()}")
            if time.monotonic() > deadline:
                await self.kill()
                raise TimeoutError(f"{self.name} did not answer within {within} s:\n{self.last_words()}")
            await asyncio.sleep(0.05)

    async def stop(self, within: float = 60):
        """SIGTERM, as an admin or a service manager would."""
        await self._end(signal.SIGTERM, within)

    async def kill(self):
        """SIGKILL: the process gets no chance to tidy up."""
        await self._end(signal.SIGKILL, 10)

    async def _end(self, with_signal: int, within: float):
        child, self._child = self._child, None
        assert child is not None, f"{self.name} does not run"
        child.send_signal(with_signal)
        try:
            code = await asyncio.to_thread(child.wait, within)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise TimeoutError(f"{self.name} was still there {within} s after {signal.Signals(with_signal).name}")
        if with_signal == signal.SIGTERM and code not in (0, -signal.SIGTERM):
            raise RuntimeError(f"{self.name} ended with {code} when told to stop:\n{self.last_words()}")

    @contextmanager
    def asleep(self):
        """The process does nothing. What is sent to it meanwhile waits in its sockets."""
        assert self._child is not None, f"{self.name} does not run"
        child = self._child
        child.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            child.send_signal(signal.SIGCONT)

    async def has_ended(self) -> int:
        """Waits until the process ends by itself, and returns its exit code; then it can be started again."""
        child = self._child
        assert child is not None, f"{self.name} does not run"
        # Not a thread that waits: whoever waits here may be cancelled.
        while (code := child.poll()) is None:
            await asyncio.sleep(0.02)
        if self._child is child:
            self._child = None
        return code

    def make_sure_it_is_gone(self):
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    @property
    def runs(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def last_words(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def cpu_seconds(self) -> float:
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        return self._memory("VmRSS")

    def peak_mib(self) -> float:
        """The most memory it has ever had since its start."""
        return self._memory("VmHWM")

    def _memory(self, which: str) -> float:
        line = next(line for line in self._proc("status").splitlines() if line.startswith(f"{which}:"))
        return int(line.split()[1]) / 1024

    def _proc(self, file: str) -> str:
        assert self._child is not None, f"{self.name} does not run"
        return Path(f"/proc/{self._child.pid}/{file}").read_text()


def free_ports(how_many: int) -> list[int]:
    """Ports nobody listens on. All are held until all are found, so no two are the same."""
    sockets = [socket.socket() for _ in range(how_many)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def unread(port: int) -> int:
    """Octets that have come to this port of 127.0.0.1 and that nobody has read yet."""
    connections = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(
        int(queues.partition(":")[2], 16)
        for _, local, _, state, queues, *_ in connections
        if int(local.partition(":")[2], 16) == port and state == _ESTABLISHED
    )


def answers_http(url: str) -> Callable[[], Awaitable[bool]]:
    """True once `url` is answered with a success."""

    def ask() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return 200 <= response.status < 300
        except OSError:
            return False

    return lambda: asyncio.to_thread(ask)


async def run(*argv: str | Path, cwd: Path | None = None, stdin: str | None = None) -> str:
    """Runs a command to its end and returns what it printed; a failure shows all of it."""
    process = await asyncio.create_subprocess_exec(
        *map(str, argv),
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
    )
    out, err = await process.communicate(stdin.encode() if stdin is not None else None)
    if process.returncode != 0:
        command = " ".join(map(str, argv))
        raise RuntimeError(f"'{command}' ended with {process.returncode}:\n{out.decode()}{err.decode()}")
    return out.decode()
