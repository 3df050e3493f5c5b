"""The judge is judged first: every expected count here was made by hand."""

import pytest

from lab.verdict import verdict

SAID = ["one", "two", "three", "four", "five"]


@pytest.mark.parametrize(
    "shown, lost, doubled, reordered, invented",
    [
        ("one two three four five", 0, 0, 0, 0),
        ("", 5, 0, 0, 0),
        ("one two four five", 1, 0, 0, 0),
        ("one two two three four five", 0, 1, 0, 0),
        ("one two two two three four five", 0, 2, 0, 0),
        # A late copy is a copy, not a change of order.
        ("one two three four five one", 0, 1, 0, 0),
        ("one three two four five", 0, 0, 1, 0),
        # One message came far too late, and only that one has to move.
        ("two three four five one", 0, 0, 1, 0),
        ("five four three two one", 0, 0, 4, 0),
        ("two one five five", 2, 1, 1, 0),
        ("one six two three four five", 0, 0, 0, 1),
    ],
)
def test_each_kind_of_harm_is_counted(shown, lost, doubled, reordered, invented):
    found = verdict(SAID, shown.split())
    assert (len(found.lost), len(found.doubled), found.reordered, len(found.invented)) == (
        lost,
        doubled,
        reordered,
        invented,
    )
    assert found.is_perfect == (shown.split() == SAID)


def test_the_verdict_names_what_it_found():
    assert str(verdict(["one", "two"], ["two", "two", "six"])) == (
        "2 said, 1 lost (one), 1 doubled (two), 0 reordered, 1 invented (six)"
    )
