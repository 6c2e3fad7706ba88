"""How well messages are told apart: counted on labelled texts, beside what keywords would have done."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workers.core.topology.routing import UNKNOWN, Intent
from workers.policies.classify import KeywordIndex, fold
from workers.policies.guess import Guess

KEYWORDS_EACH = 20
"""As many as somebody would write for one rule."""
_PURE = 0.8  # of the examples with the keyword, so many must be of its intent
_BINS = 10
_WORD = re.compile(r"[a-z\u00df-\u024f]{3,}")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]{2,}")


@dataclass(frozen=True, slots=True)
class Score:
    """Of one intent. `precision`: of what was said to be it, how much was; `recall`: of what it was, how much was found."""

    precision: float
    recall: float
    examples: int


@dataclass(frozen=True, slots=True)
class Report:
    """`confusion` counts pairs of (labelled, said). Shares are between 0 and 1."""

    accuracy: float
    in_scope: float  # the same, of all that is not labelled `unknown`
    scores: Mapping[str, Score]
    confusion: Mapping[tuple[str, str], int]


def report(labels: Sequence[str], said: Sequence[str]) -> Report:
    """Compare what texts are labelled with and what was said of them."""
    confusion = Counter(zip(labels, said, strict=True))
    names = sorted({*labels, *said}, key=lambda name: (name == UNKNOWN, name))
    scores = {}
    for name in names:
        right = confusion[name, name]
        scores[name] = Score(
            _share(right, sum(count for (_, answer), count in confusion.items() if answer == name)),
            _share(right, sum(count for (label, _), count in confusion.items() if label == name)),
            labels.count(name),
        )
    right = sum(count for (label, answer), count in confusion.items() if label == answer)
    inside = [(label, answer) for label, answer in zip(labels, said, strict=True) if label != UNKNOWN]
    in_scope = _share(sum(label == answer for label, answer in inside), len(inside))
    return Report(_share(right, len(labels)), in_scope, scores, confusion)


def calibration_error(labels: Sequence[str], guesses: Sequence[Guess]) -> float:
    """How far confidence is from the truth, on average: 0.05 means that of those said with 0.80, 75 to 85 % are right."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for label, guess in zip(labels, guesses, strict=True):
        if guess.intent != UNKNOWN:  # of an unknown text, confidence tells what it might have been
            at = min(int(guess.confidence * _BINS), _BINS - 1)
            bins.setdefault(at, []).append((guess.confidence, guess.intent == label))
    off = sum(
        abs(sum(confidence for confidence, _ in each) - sum(right for _, right in each))
        for each in bins.values()
    )
    return _share(off, sum(len(each) for each in bins.values()))


def keywords_of(intents: Mapping[str, Intent]) -> dict[str, tuple[str, ...]]:
    """The keywords that tell most about each intent: frequent in its examples and rare in the others'."""
    within: dict[str, Counter[str]] = {
        name: Counter(term for example in intent.examples for term in _terms(example))
        for name, intent in intents.items()
    }
    everywhere: Counter[str] = sum(within.values(), Counter())
    return {
        name: tuple(
            [
                term
                for term, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
                if count > 1 and count >= _PURE * everywhere[term]
            ][:KEYWORDS_EACH]
        )
        for name, counts in within.items()
        if name != UNKNOWN
    }


def by_keywords(intents: Mapping[str, Intent], texts: Sequence[str]) -> list[str]:
    """What rules with these keywords would say: the first intent of which one is in the text, else `unknown`."""
    keywords = keywords_of(intents)
    names = list(keywords)
    index = KeywordIndex.build((word, number) for number, name in enumerate(names) for word in keywords[name])
    found = (index.find(fold(text)) for text in texts)
    return [names[min(owners)] if owners else UNKNOWN for owners in found]


def _terms(text: str) -> set[str]:
    folded = fold(text)
    terms = set(_WORD.findall(folded))
    for piece in _HAN.findall(folded):
        terms |= {piece[at : at + size] for size in (2, 3) for at in range(len(piece) - size + 1)}
    return terms


def _share(part: float, whole: int) -> float:
    return part / whole if whole else 0.0
