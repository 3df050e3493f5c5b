"""The list of fail-points is the list of fail-points."""

import re
from collections import Counter

from lab.gateway import ROOT

from proof.crashes import POINTS


def test_each_point_of_the_list_stands_in_the_source_once_and_no_other():
    source = [file.read_text() for part in ("src", "adapters") for file in (ROOT / part).rglob("*.rs")]
    # `///` and `//!` lines only speak of them.
    code = "\n".join(line for text in source for line in text.splitlines() if not line.lstrip().startswith("//"))
    placed = Counter(re.findall(r'failpoint!\(\s*"([^"]+)"', code))
    del placed["any.place"]  # The macro's own proof that it can be nothing.
    assert placed == Counter(list(POINTS))
