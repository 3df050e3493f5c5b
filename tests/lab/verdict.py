"""What became of a row of messages: lost, doubled, reordered, or never said.

Knows nothing of gateways. Texts are the identity of a message, so a test gives each its own.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verdict:
    said: int
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    """Each surplus copy counts."""
    reordered: int = 0
    """The fewest messages one would have to move to restore the order."""
    invented: list[str] = field(default_factory=list)
    """Shown, but never said."""

    @property
    def is_perfect(self) -> bool:
        return not (self.lost or self.doubled or self.reordered or self.invented)

    def __str__(self):
        def some(texts):
            return f" ({', '.join(texts[:5])}{', …' if len(texts) > 5 else ''})" if texts else ""

        return (
            f"{self.said} said, {len(self.lost)} lost{some(self.lost)}, {len(self.doubled)} doubled"
            f"{some(self.doubled)}, {self.reordered} reordered, {len(self.invented)} invented{some(self.invented)}"
        )


def verdict(said: list[str], shown: list[str]) -> Verdict:
    assert len(set(said)) == len(said), "two messages of the same text can't be told apart"
    place = {text: position for position, text in enumerate(said)}
    copies = Counter(shown)
    # The first copy of a doubled message is the one whose order counts.
    first_shown = [place[text] for text in dict.fromkeys(shown) if text in place]
    return Verdict(
        said=len(said),
        lost=[text for text in said if text not in copies],
        doubled=[text for text in said for _ in range(copies[text] - 1)],
        reordered=len(first_shown) - _longest_ascending(first_shown),
        invented=[text for text in shown if text not in place],
    )


def _longest_ascending(numbers: list[int]) -> int:
    """The length of the longest ascending subsequence (patience sorting)."""
    piles: list[int] = []
    for number in numbers:
        at = bisect_left(piles, number)
        piles[at : at + 1] = [number]
    return len(piles)
