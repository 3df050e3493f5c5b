"""A file costs a gateway a few chunks of memory, however large it is.

    MIMI_PROOF_FILE_MIB=512 python -m pytest -s tests/proof/test_files.py
"""

import hashlib
import os

from proof.pair import DOMAINS, Pair
from proof.talk import Talk

MIB = int(os.environ.get("MIMI_PROOF_FILE_MIB", "24"))
"""How large the file is."""


async def test_a_large_file_crosses_both_gateways_in_little_memory():
    def largest(configs, _):
        for config in configs.values():
            config["assets"] = {"max_size_mib": MIB}

    async with Pair.running("large", changes=largest) as pair:
        # Whatever the first conversation needs, they have had.
        await Talk(pair, "0").hold()
        before = {me: pair.gateways[me].gateway.peak_mib() for me in DOMAINS}
        octets = os.urandom(1 << 20) * MIB
        name, want = "large.bin", hashlib.sha256(octets).hexdigest()[:16]
        pair.at["a"].shares("tea0", "alice0", name, octets)
        del octets
        shown = pair.at["b"].conversations["tea0"].shown
        assert await pair.at["b"].until(lambda: f"alice0: {name} {want}" in shown, 600, "the file")
        grown = {me: pair.gateways[me].gateway.peak_mib() - before[me] for me in DOMAINS}
        print(f"{MIB} MiB: peak memory was {before} MiB, and grew by {grown} MiB")
        assert max(grown.values()) < 16
