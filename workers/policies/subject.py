"""A message as the conditions see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from schemas import headers as h
from schemas.envelope import Request
from schemas.headers import Headers
from workers.core.topology.routing import Language
from workers.policies.classify import KeywordIndex, fold, text_of
from workers.policies.guess import Classifier, Guess
from workers.policies.language import language_of


class Asked(NamedTuple):
    """What a route is chosen for: the request, its record's headers, when it is routed (epoch seconds), and its key."""

    request: Request
    headers: Headers = ()
    at: float = 0.0
    key: bytes | None = None


@dataclass(slots=True)
class Subject:
    """One message; what costs something is worked out when a condition first asks."""

    asked: Asked
    index: KeywordIndex
    model: Classifier | None = None
    _text: str | None = None
    _keywords: dict[int, str] | None = None
    _language: Language | None = None
    _guess: Guess | None = None

    @property
    def request(self) -> Request:
        """The envelope."""
        return self.asked.request

    def text(self) -> str:
        """The text as it came, cut to what is looked at."""
        if self._text is None:
            self._text = text_of(self.asked.request)
        return self._text

    def keywords(self) -> dict[int, str]:
        """The numbers of the keyword conditions of which a keyword is in the text, with that keyword."""
        if self._keywords is None:
            self._keywords = self.index.find(fold(self.text()))
        return self._keywords

    def language(self) -> Language:
        """The language of the text."""
        if self._language is None:
            self._language = language_of(self.text())
        return self._language

    def tenant(self) -> str | None:
        """Who is charged: the header `relay.tenant`, else the envelope's own field `tenant`."""
        named = h.get(self.asked.headers, h.TENANT) if self.asked.headers else None
        if named is not None:
            return named
        field = (self.asked.request.model_extra or {}).get("tenant")
        return field if isinstance(field, str) else None

    def guess(self) -> Guess | None:
        """What the text is about; None where there is no classifier."""
        if self._guess is None and self.model is not None:
            guess_all([self], self.model)
        return self._guess

    def guessed(self, guess: Guess) -> None:
        """Keep what the classifier said."""
        self._guess = guess


def guess_all(subjects: Sequence[Subject], model: Classifier) -> None:
    """Ask the classifier about many messages at once: half the cost of asking one by one."""
    guesses = model.classify([subject.text() for subject in subjects])
    for subject, guess in zip(subjects, guesses, strict=True):
        subject.guessed(guess)
