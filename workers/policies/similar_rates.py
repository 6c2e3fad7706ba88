"""How often a semantic cache would answer, and how often wrongly, on labelled questions: one threshold beside another."""

from collections.abc import Sequence
from dataclasses import dataclass

from workers.policies.intents import LOOKED_AT, ngrams
from workers.policies.question import normal
from workers.policies.similar import SimilarPolicy, SimilarQuestions

THRESHOLDS = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True, slots=True)
class Rate:
    """Of `asked` questions, each asked once. `false`: the answer was to a question with another label."""

    threshold: float
    margin: float
    asked: int
    hits: int
    false: int

    @property
    def false_share(self) -> float:
        """Of the hits; 0 without any."""
        return self.false / self.hits if self.hits else 0.0


def rate(questions: Sequence[tuple[str, str]], threshold: float, margin: float) -> Rate:
    """Ask pairs of text and label one after the other; what no earlier answer serves is kept for those that follow.

    A hit with the same label may still be wrong, so this counts the least that is wrong.
    """
    policy = SimilarPolicy(threshold, margin, max(1, len(questions)), LOOKED_AT)
    kept: SimilarQuestions[tuple[int, str]] = SimilarQuestions(policy, ngrams)
    hits = false = 0
    for number, (text, label) in enumerate(questions):
        match = kept.find("", normal(text), 0.0)
        if match is None:
            kept.add("", normal(text), (number, label), 1.0)
            continue
        hits += 1
        false += match.value[1] != label
    return Rate(threshold, margin, len(questions), hits, false)
