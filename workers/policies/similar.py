"""Which question asked before a new one is so much like it that its answer will do. Texts are compared, not understood.

Likeness is the share of common character n-grams (the intents' own, so it works in every language and through typos).
Two texts that differ in a number or in how often they deny something are never alike, however many n-grams they share.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

Grams = Callable[[str], set[str]]

_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_DENIAL = re.compile(
    r"\b(?:no|not|never|none|nothing|without|cannot|neither|nor)\b|n['\u2019]t\b|[不没沒無无未别別非勿莫]",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class SimilarPolicy:
    """From which likeness on (1: the same n-grams), by how much the next best must be less, of how many questions.

    `longest`: characters; of a longer text the end would not be compared, so it is like no other.
    """

    threshold: float
    margin: float
    entries: int
    longest: int = 600


class Match(NamedTuple, Generic[T]):
    """What was kept for the question that is most alike, and how alike it is."""

    value: T
    likeness: float


class _Entry(NamedTuple, Generic[T]):
    group: str
    text: str
    grams: frozenset[str]
    facts: tuple[tuple[str, ...], int]
    value: T
    until: float


class SimilarQuestions(Generic[T]):
    """The last questions, in groups within which they may be compared. Times are seconds of one monotonic clock."""

    def __init__(self, policy: SimilarPolicy, grams: Grams) -> None:
        self._policy = policy
        self._grams = grams
        self._entries: dict[int, _Entry[T]] = {}  # the oldest first
        self._numbers: dict[tuple[str, str], int] = {}
        self._postings: dict[tuple[str, str], set[int]] = {}  # group and n-gram -> entries
        self._next = 0

    def __len__(self) -> int:
        """How many questions are kept."""
        return len(self._entries)

    def add(self, group: str, text: str, value: T, until: float) -> None:
        """Keep the answer to a question; one with the same text takes the place of the earlier one."""
        if len(text) > self._policy.longest:
            return
        grams = frozenset(self._grams(text))
        known = self._numbers.get((group, text))
        if known is not None:
            self._drop(known)
        number, self._next = self._next, self._next + 1
        self._entries[number] = _Entry(group, text, grams, _facts(text), value, until)
        self._numbers[group, text] = number
        for gram in grams:
            self._postings.setdefault((group, gram), set()).add(number)
        while len(self._entries) > self._policy.entries:
            self._drop(next(iter(self._entries)))

    def find(self, group: str, text: str, now: float) -> Match[T] | None:
        """The one that is alike enough, and clearly more so than any other with another answer."""
        if len(text) > self._policy.longest:
            return None
        grams, facts = self._grams(text), _facts(text)
        ranked = sorted(self._alike(group, grams, now), reverse=True)
        if not ranked:
            return None
        likeness, number = ranked[0]
        best = self._entries[number]
        if likeness < self._policy.threshold or best.facts != facts:
            return None
        others = (alike for alike, other in ranked[1:] if self._entries[other].value != best.value)
        if likeness < 1.0 and likeness - next(others, 0.0) < self._policy.margin:
            return None
        return Match(best.value, likeness)

    def _alike(self, group: str, grams: set[str], now: float) -> list[tuple[float, int]]:
        common: Counter[int] = Counter()
        for gram in grams:
            common.update(self._postings.get((group, gram), ()))
        found = []
        for number, count in common.items():
            entry = self._entries[number]
            if entry.until > now:
                found.append((count / math.sqrt(len(grams) * len(entry.grams)), number))
        return found

    def _drop(self, number: int) -> None:
        entry = self._entries.pop(number)
        del self._numbers[entry.group, entry.text]
        for gram in entry.grams:
            postings = self._postings[entry.group, gram]
            postings.discard(number)
            if not postings:
                del self._postings[entry.group, gram]


def _facts(text: str) -> tuple[tuple[str, ...], int]:
    """What may not differ: the numbers in a text, and how often it denies something."""
    plain = unicodedata.normalize("NFKC", text)
    return tuple(sorted(_NUMBER.findall(plain))), len(_DENIAL.findall(plain))
