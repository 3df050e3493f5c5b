"""What became of what people said: counted from what the native sides said and were shown, and from nothing else."""

from collections import Counter
from dataclasses import asdict, dataclass, field

from lab.verdict import Verdict, verdict

from .messenger import Messenger


@dataclass
class Harm:
    """What went wrong in one direction, over any number of conversations."""

    said: int = 0
    lost: int = 0
    """Neither shown there, nor was whoever said it told why."""
    told: int = 0
    """Not shown there, and whoever said it was told so."""
    doubled: int = 0
    reordered: int = 0
    invented: int = 0
    presence: int = 0
    """People shown to come or go twice, and people missing or left behind at the end."""
    details: list[str] = field(default_factory=list)

    def count(self, where: str, found: Verdict):
        self.said += found.said
        self.lost += len(found.lost)
        self.doubled += len(found.doubled)
        self.reordered += found.reordered
        self.invented += len(found.invented)
        if not found.is_perfect:
            self.details.append(f"{where}: {found}")

    def count_presence(self, where: str, shown: list[tuple[str, bool]], expected: set[str]):
        by_person: dict[str, list[bool]] = {}
        for who, joined in shown:
            by_person.setdefault(who.rpartition("/")[2], []).append(joined)
        for who, steps in by_person.items():
            twice = sum(step == before for before, step in zip([False, *steps], steps))
            if twice:
                self.presence += twice
                self.details.append(f"{where}: {who} was shown to come or go twice: {steps}")
        there = {who for who, steps in by_person.items() if steps[-1]}
        for who in there ^ expected:
            self.presence += 1
            self.details.append(f"{where}: {who} {'is shown and gone' if who in there else 'is there and not shown'}")

    @property
    def is_none(self) -> bool:
        return not (self.lost or self.told or self.doubled or self.reordered or self.invented or self.presence)

    def __add__(self, other: "Harm") -> "Harm":
        return Harm(**{name: mine + asdict(other)[name] for name, mine in asdict(self).items()})

    def __str__(self):
        counts = f"{self.said} said, {self.lost} lost, {self.told} told, {self.doubled} doubled, {self.reordered} reordered"
        counts += f", {self.invented} invented, {self.presence} wrong about who is there"
        return "\n  ".join([counts, *self.details[:8]])


def harm(speaker: Messenger, reader: Messenger, conversations: dict[str, str]) -> Harm:
    """From one native network to the other. `conversations` maps what each calls the same conversation."""
    found = Harm()
    for theirs, ours in conversations.items():
        spoken, read = speaker.conversations[theirs], reader.conversations[ours]
        told = set(spoken.told) - set(read.shown)
        found.told += len(told)
        found.details += [f"{theirs}: told that it was not delivered: {each}" for each in sorted(told)]
        found.count(theirs, verdict([each for each in spoken.said if each not in told], read.shown))
    return found


def total(harms) -> Counter:
    sums = Counter()
    for each in harms:
        sums.update({name: value for name, value in asdict(each).items() if name != "details"})
    return sums
