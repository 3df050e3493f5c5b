"""Damage to files at rest: what a power cut or a bad disk leaves behind.

The write-ahead log of SQLite is a header of 32 octets and frames of 24 octets and a page each; the last frame of
a transaction says so (https://www.sqlite.org/fileformat2.html#the_write_ahead_log). Each commit ends with an
fsync, so what a power cut can tear is the transaction whose fsync had not returned: the last one.
"""

import contextlib
import os
import random
import sqlite3
import struct
from pathlib import Path


def transactions(wal: bytes) -> list[tuple[int, int]]:
    """Where the transactions of a log begin and end. Frames of an earlier use of the file don't count."""
    if len(wal) < 32:
        return []
    page_size, salts = struct.unpack(">I", wal[8:12])[0], wal[16:24]
    found, begin, at = [], 32, 32
    while at + 24 + page_size <= len(wal) and wal[at + 8 : at + 16] == salts:
        is_last = struct.unpack(">I", wal[at + 4 : at + 8])[0] != 0
        at += 24 + page_size
        if is_last:
            found.append((begin, at))
            begin = at
    return found


def has_been_moved(wal: Path) -> bool:
    """The commit was followed by a checkpoint: its fsync had returned, and no power cut can tear it any more."""
    database = wal.with_name(wal.name.removesuffix("-wal"))
    return database.stat().st_mtime_ns >= wal.stat().st_mtime_ns


def cut_last_transaction(wal: Path, luck: random.Random) -> str | None:
    """The file ends in the middle of it: it did not grow in time."""
    if has_been_moved(wal):
        return None
    octets = wal.read_bytes()
    begin, end = transactions(octets)[-1]
    at = luck.randrange(begin, end)
    wal.write_bytes(octets[:at])
    _before_the_power_came_back(wal)
    return f"cut at {at} of {begin}..{end}"


def scramble_last_transaction(wal: Path, luck: random.Random) -> str | None:
    """It is there in length, but some of its sectors were not written."""
    if has_been_moved(wal):
        return None
    octets = bytearray(wal.read_bytes())
    begin, end = transactions(bytes(octets))[-1]
    sectors = range(begin // 512 + 1, max(begin // 512 + 2, end // 512))
    lost = luck.sample(sectors, max(1, len(sectors) // 3)) if len(sectors) > 1 else list(sectors)
    for sector in lost:
        from_, to = max(begin, sector * 512), min(end, sector * 512 + 512)
        octets[from_:to] = luck.choice([bytes(to - from_), luck.randbytes(to - from_)])
    wal.write_bytes(octets)
    _before_the_power_came_back(wal)
    return f"{len(lost)} of {len(sectors)} sectors of {begin}..{end}"


def append_garbage(wal: Path, luck: random.Random) -> str:
    """Something else stands behind what was committed. Nothing committed is touched."""
    octets = wal.read_bytes()
    end = transactions(octets)[-1][1]
    rubbish = luck.randbytes(luck.randrange(1, 20_000))
    wal.write_bytes(octets[:end] + rubbish)
    return f"{len(rubbish)} octets of garbage"


def _before_the_power_came_back(file: Path):
    """A power cut restarts the machine, so whatever it tore was written before that."""
    os.utime(file, (1_000_000_000, 1_000_000_000))


def flip_a_bit(file: Path, luck: random.Random) -> str:
    size = file.stat().st_size
    at, bit = luck.randrange(size), 1 << luck.randrange(8)
    with file.open("r+b") as octets:
        octets.seek(at)
        before = octets.read(1)[0]
        octets.seek(at)
        octets.write(bytes([before ^ bit]))
    return f"octet {at} of {size}: {before:#04x} became {before ^ bit:#04x}"


def flip_a_bit_of(words: bytes):
    """In or close to one of the places where these words stand: what waits to be sent."""

    def flip(file: Path, luck: random.Random) -> str:
        octets = file.read_bytes()
        places = [at for at in range(len(octets)) if octets.startswith(words, at)]
        if not places:
            return flip_a_bit(file, luck)
        at, bit = luck.choice(places) + luck.randrange(-40, 40), 1 << luck.randrange(8)
        changed = octets[:at] + bytes([octets[at] ^ bit]) + octets[at + 1 :]
        file.write_bytes(changed)
        return f"octet {at} of {len(octets)}, by a queued message: {octets[at]:#04x} became {changed[at]:#04x}"

    return flip


def flip_a_bit_of_what_is_committed(wal: Path, luck: random.Random) -> str:
    octets = wal.read_bytes()
    at, bit = luck.randrange(transactions(octets)[-1][1]), 1 << luck.randrange(8)
    wal.write_bytes(octets[:at] + bytes([octets[at] ^ bit]) + octets[at + 1 :])
    return f"octet {at}: {octets[at]:#04x} became {octets[at] ^ bit:#04x}"


def lose_readers(database: Path, rooms: list[str]) -> int:
    """The leaf that reads for all in each of the rooms has lost its state. Returns how many have."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        readers = [connection.execute("SELECT reader FROM room WHERE room = ?", (room,)).fetchone() for room in rooms]
        for reader in readers:
            connection.execute("DELETE FROM mls_row WHERE owner = ?", reader)
    return len(readers)
