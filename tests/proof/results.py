"""What has been found, kept as one line of JSON per case, and the table made of it.

The latest record of a case counts, so a run can be cut short and gone on with, and a part of it repeated.
"""

import json
import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.gateway import ROOT
from lab.world import CACHE

from .checker import Harm

RECORDS = Path(os.environ.get("MIMI_PROOF_RECORDS", CACHE / "proof.jsonl"))


@dataclass
class Case:
    section: str
    point: str
    adapter: str = ""
    killed: str = ""
    passes: int = 0
    reached: bool = True
    directions: dict[str, Harm] = field(default_factory=dict)
    repeats: int = 0
    stuck: list[str] = field(default_factory=list)
    """Whatever else should not have been."""
    note: str = ""
    known: str = ""
    """A failure that is known, with its reason."""
    seconds: float = 0.0
    table: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return self.reached and not self.stuck and all(harm.is_none for harm in self.directions.values())

    def line(self) -> str:
        where = f"{self.adapter} {self.point}" + (f" ×{self.passes} at {self.killed}" if self.killed else "")
        if not self.reached:
            return f"NOT REACHED  {where}"
        outcome = "ok          " if self.is_good else "BAD         "
        harms = "; ".join(f"{way}: {harm}" for way, harm in self.directions.items() if not harm.is_none)
        said = sum(harm.said for harm in self.directions.values())
        more = f" | {harms}" if harms else ""
        more += f" | {self.stuck}" if self.stuck else ""
        return f"{outcome} {where}: {said} said, {self.repeats} repeated, {self.seconds:.1f} s{more}"


def record(case: Case):
    RECORDS.parent.mkdir(parents=True, exist_ok=True)
    about = {"at": time.strftime("%Y-%m-%d %H:%M:%S"), "commit": commit(), **asdict(case)}
    with RECORDS.open("a") as file:
        file.write(json.dumps(about) + "\n")


def commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "?"


def machine() -> str:
    with open("/proc/cpuinfo") as file:
        model = next((line.partition(": ")[2].strip() for line in file if line.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"
