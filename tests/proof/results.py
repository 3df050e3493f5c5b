"""What has been found, kept as one line of JSON per case, and the table made of it.

The latest record of a case counts, so a run can be cut short and gone on with, and a part of it repeated.
"""

import json
import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass, field
from functools import cache
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


@cache
def commit() -> str:
    """Which code this is. The table itself is no code."""

    def git(*command: str) -> str:
        return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--", ".", ":!tests/proof/RESULTS.md")
    return (git("rev-parse", "--short", "HEAD") or "?") + ("+" if changed else "")


def machine() -> str:
    with open("/proc/cpuinfo") as file:
        model = next((line.partition(": ")[2].strip() for line in file if line.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"


def latest() -> list[dict]:
    """The last record of each case, in the order of the first."""
    found = {}
    if RECORDS.exists():
        for line in RECORDS.read_text().splitlines():
            # A field that came later has its default.
            case = {**asdict(Case("", "")), **json.loads(line)}
            found[tuple(case[name] for name in ("section", "adapter", "point", "killed", "passes"))] = case
    return list(found.values())


def is_good(case: dict) -> bool:
    harmless = all(not any(each[name] for name in HARMS) for each in case["directions"].values())
    return case["reached"] and not case["stuck"] and harmless


HARMS = ("lost", "told", "doubled", "reordered", "invented", "presence")


def write(path: Path, command: str):
    """The table."""
    from .crashes import POINTS, unreachable

    cases = latest()
    crashes, storms, soaks = (
        [case for case in cases if case["section"] == section] for section in ("crashes", "storms", "soak")
    )
    commits = sorted({case["commit"] for case in cases})
    dates = sorted(case["at"] for case in cases)
    lines = [
        "# The promise, tried",
        "",
        f"Made by `{command}` on {dates[0][:10] if dates else '?'} ({dates[0][11:16]} to {dates[-1][11:16]}), "
        f"commit {', '.join(commits)}, debug build with fail-points, {machine()}.",
        "",
        "*Lost*: neither shown on the other side, nor was whoever said it told why. *Told*: not shown, and told. "
        "*Reordered*: the fewest messages one would have to move. *Repeated*: deliveries that an adapter offered its "
        "network again under the same key; people saw them once. Counted by `checker.py` from what the native sides said "
        "and were shown.",
        "",
        "| | cases | bad | not reached | said | lost | told | doubled | reordered | invented | wrong presence | repeated |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups = {f"crashes, {adapter}": [c for c in crashes if c["adapter"] == adapter] for adapter in ("loopback", "real")}
    groups |= {"storms": storms, "soak": soaks}
    for name, group in groups.items():
        sums = [sum(each[what] for case in group for each in case["directions"].values()) for what in ("said", *HARMS)]
        bad = sum(not is_good(case) for case in group)
        missed = sum(not case["reached"] for case in group)
        repeats = sum(case["repeats"] for case in group)
        lines.append(f"| {name} | {len(group)} | {bad} | {missed} | {' | '.join(map(str, sums))} | {repeats} |")

    bad = [case for case in cases if not is_good(case)]
    lines += ["", "## Not as promised", ""]
    for case in bad:
        problems = [f"{way}: {text}" for way, each in case["directions"].items() for text in each["details"]]
        problems += case["stuck"] + ([] if case["reached"] else ["NOT REACHED"])
        lines.append(f"- **{case['adapter']} {case['point']} {case['killed']}**: {'; '.join(problems)[:700]}.")
    lines += [] if bad else ["Nothing."]

    lines += [
        "",
        "## A gateway ended at each fail-point",
        "",
        "a.example is the hub of one room and b.example of the other (loopback: two gateways with a loopback adapter each; "
        "real: a.example has Synapse, b.example Prosody). Counts are for a → b / b → a.",
        "",
        "| point | ended | adapter | at pass | said | lost | doubled | reordered | invented | repeated | |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for point in POINTS:
        for case in (case for case in crashes if case["point"] == point):
            ways = list(case["directions"].values()) or [dict.fromkeys(("said", *HARMS), 0)]
            both = lambda name: " / ".join(str(each[name]) for each in ways)
            counts = " | ".join(both(name) for name in ("said", "lost", "doubled", "reordered", "invented"))
            outcome = "" if is_good(case) else "**NOT REACHED**" if not case["reached"] else "**BAD**"
            lines.append(
                f"| {point} | {case['killed']} | {case['adapter']} | {case['passes']} | {counts} | {case['repeats']} | {outcome} |"
            )
    lines += ["", "Not reached by design:", ""]
    for point in POINTS:
        for adapter in ("loopback", "real"):
            for killed in "ab":
                why = unreachable(adapter, point, killed)
                if why and why != "it is a step of another adapter":
                    lines.append(f"- {point} at {killed}, {adapter}: {why}.")

    lines += [
        "",
        "## Storms",
        "",
        "What is simulated, and how, is said in the scene (`test_storms.py`). A peer that sends twice, out of order or what "
        "it must not are scenes in one process (`tests/it/twice.rs`, `order.rs`, `turncoat.rs`), and so are homeservers that "
        "restart a scene of `tests/real/test_restart.py`; they have no numbers here.",
        "",
        "| storm | said | lost | told | doubled | reordered | invented | repeated | seconds | what happened | |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in storms:
        ways = list(case["directions"].values()) or [dict.fromkeys(("said", *HARMS), "–")]
        both = lambda name: " / ".join(str(each[name]) for each in ways)
        counts = " | ".join(both(name) for name in ("said", "lost", "told", "doubled", "reordered", "invented"))
        outcome = "" if is_good(case) else "**BAD**"
        lines.append(
            f"| {case['point']} | {counts} | {case['repeats']} | {case['seconds']:.0f} | {case['note']} | {outcome} |"
        )
    lines += ["", "## Soak", ""]
    for case in soaks:
        ways = [f"{way}: " + ", ".join(f"{each[name]} {name}" for name in ("said", *HARMS)) for way, each in case["directions"].items()]
        lines += [f"{case['point']} ({case['at']}): {'; '.join(ways)}. {case['note']}.", ""]
        head, rows = case["table"][:1], case["table"][1:]
        step = max(1, len(rows) // 30)
        lines += [*head, *rows[::step], *([] if (len(rows) - 1) % step == 0 else rows[-1:]), ""]
    path.write_text("\n".join(lines).rstrip() + "\n")
