"""What a classifier says, and what a router needs of one; free of the libraries that make it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Guess(NamedTuple):
    """An intent, `unknown` included, and how likely it is right, from 0 to 1."""

    intent: str
    confidence: float


class Classifier(Protocol):
    """Knows intents."""

    def classify(self, texts: Sequence[str]) -> list[Guess]:
        """One guess a text, in order."""
