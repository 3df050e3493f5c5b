"""`tests/proof/run`: the whole matrix, the storms, the soak, and the table."""

import argparse
import asyncio
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PARTS = ["loopback", "real", "storms", "soak"]


def main():
    parser = argparse.ArgumentParser(prog="tests/proof/run", description=__doc__)
    parser.add_argument("--only", choices=[*PARTS, "table"], action="append", help="only this part (may be given again)")
    parser.add_argument("--soak", type=float, default=30, metavar="MINUTES")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of gateways at once on loopback")
    parser.add_argument("--quick", action="store_true", help="each point once, and the storms as short as in CI")
    parser.add_argument("--resume", action="store_true", help="leave out what this commit has been found good at")
    parser.add_argument("--results", type=Path, default=HERE / "RESULTS.md")
    arguments = parser.parse_args()
    # Before anything reads it.
    from lab.world import CACHE

    (CACHE / "proof").mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("MIMI_PROOF_RECORDS", str(CACHE / "proof/full.jsonl"))
    from . import crashes, results, soak

    parts = arguments.only or PARTS
    failed = []
    for adapter in ("loopback", "real"):
        if adapter in parts:
            chosen = crashes.trials(adapter, deep=not arguments.quick)
            if arguments.resume:
                done = {
                    (case["point"], case["killed"], case["passes"])
                    for case in results.latest()
                    if case["adapter"] == adapter and case["commit"] == results.commit() and results.is_good(case)
                }
                chosen = [trial for trial in chosen if (trial.point, trial.killed, trial.passes) not in done]
            print(f"== crashes, {adapter}: {len(chosen)} cases", flush=True)
            done = asyncio.run(crashes.matrix(adapter, chosen, arguments.pairs)) if chosen else []
            failed += [case.line() for case in done if not case.is_good]
    if "storms" in parts:
        print("== storms", flush=True)
        env = {**os.environ, "MIMI_PROOF_ROUNDS": "1" if arguments.quick else "4"}
        command = [sys.executable, "-m", "pytest", "-q", "proof/test_points.py", "proof/test_storms.py"]
        if subprocess.run(command, cwd=HERE.parent, env=env, check=False).returncode:
            failed.append("the storms (see above)")
    if "soak" in parts:
        print(f"== soak, {arguments.soak:g} minutes", flush=True)
        case, _ = asyncio.run(soak.soak(arguments.soak))
        print(case.line())
        failed += [] if case.is_good else [case.line()]
    results.write(arguments.results, " ".join(["tests/proof/run", *sys.argv[1:]]))
    print(f"\nwritten: {arguments.results}")
    for line in failed:
        print(f"FAILED: {line}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
