"""What a message is about: a linear model over character n-grams, as plain arrays. `learn.py` makes it.

Latin text is cut into n-grams within words, other scripts into single characters, pairs and triples: so it needs no
word list of any language, and a typo costs a few n-grams, not the word.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.core.topology.routing import UNKNOWN
from workers.policies.classify import fold
from workers.policies.guess import Guess

LOOKED_AT = 600
"""Characters of a text that are classified, from its start."""
LEAST_CONFIDENCE = 0.35
"""Below it the answer is `unknown`. A rule may ask for more with `min_confidence`."""
FORMAT = 1
"""Changes with the n-grams and with the arrays, so that no model is read that was made for others."""

_PIECE = re.compile(r"[a-z0-9\u00df-\u024f]+|[^\W\d_a-z\u00df-\u024f]+")
_WORD_SIZES = (3, 4, 5)
_SCRIPT_SIZES = (1, 2, 3)

Floats = NDArray[np.float32]


def ngrams(text: str) -> set[str]:
    """The n-grams of a text's first characters."""
    found: set[str] = set()
    for piece in _PIECE.findall(fold(text[:LOOKED_AT])):
        if piece[0] <= "\u024f":
            piece, sizes = f" {piece} ", _WORD_SIZES
            found.add(piece)
        else:
            sizes = _SCRIPT_SIZES
        for size in sizes:
            found.update([piece[at : at + size] for at in range(len(piece) - size + 1)])
    return found


@dataclass(frozen=True, slots=True, eq=False)
class IntentModel:
    """Knows `names`; row i of `weights` (n-grams + 1, names) and of `idf` belongs to n-gram i, the last row to none."""

    names: tuple[str, ...]
    vocabulary: Mapping[str, int] = field(repr=False)
    weights: Floats = field(repr=False)
    idf: Floats = field(repr=False)
    bias: Floats = field(repr=False)
    sharpness: float

    def classify(self, texts: Sequence[str]) -> list[Guess]:
        """One guess a text, in order."""
        if not texts:
            return []
        likely = self.probabilities(texts)
        best = likely.argmax(axis=1).tolist()
        confidences = likely.max(axis=1).tolist()
        return [
            Guess(self.names[at] if confidence >= LEAST_CONFIDENCE else UNKNOWN, confidence)
            for at, confidence in zip(best, confidences, strict=True)
        ]

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """(texts, names): how likely each intent is for each text; every row adds up to 1."""
        scores = self.scores(texts) * self.sharpness
        likely: Floats = np.exp(scores - scores.max(axis=1, keepdims=True)).astype(np.float32)
        likely /= likely.sum(axis=1, keepdims=True)
        return likely

    def scores(self, texts: Sequence[str]) -> Floats:
        """(texts, names): the margins of the linear model."""
        known, vocabulary = self.vocabulary.keys(), self.vocabulary
        nothing = len(vocabulary)  # closes every text, so that none is empty
        # Sorted, so that sums of floats come out the same each time.
        rows = [[*sorted([vocabulary[gram] for gram in known & ngrams(text)]), nothing] for text in texts]
        ids = np.fromiter(chain.from_iterable(rows), dtype=np.int32)
        starts = np.cumsum([0, *(len(row) for row in rows[:-1])])
        norms = np.sqrt(np.add.reduceat(np.square(self.idf[ids]), starts))
        sums = np.add.reduceat(self.weights[ids], starts, axis=0)
        scores: Floats = (sums / np.maximum(norms, 1e-9)[:, None] + self.bias).astype(np.float32)
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The model as arrays of numbers alone, to be kept in a file."""
        return {
            "format": np.array([FORMAT], np.int32),
            "names": _packed(self.names),
            "vocabulary": _packed(sorted(self.vocabulary, key=self.vocabulary.__getitem__)),
            "weights": self.weights,
            "idf": self.idf,
            "bias": self.bias,
            "sharpness": np.array([self.sharpness], np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "IntentModel":
        """The model of such arrays; raises `ValueError` where they are not what `arrays` gives."""
        try:
            names, grams = _unpacked(arrays["names"]), _unpacked(arrays["vocabulary"])
            weights, idf, bias = arrays["weights"], arrays["idf"], arrays["bias"]
            form, sharpness = int(arrays["format"][0]), float(arrays["sharpness"][0])
        except (KeyError, IndexError, TypeError, UnicodeDecodeError) as error:
            raise ValueError("a part of the model is missing") from error
        rows = len(grams) + 1
        fits = weights.shape == (rows, len(names)) and idf.shape == (rows,) and bias.shape == (len(names),)
        if form != FORMAT or not fits or len(set(grams)) != len(grams):
            raise ValueError("the parts of the model do not fit")
        if not all(
            part.dtype == np.float32 and bool(np.isfinite(part).all()) for part in (weights, idf, bias)
        ):
            raise ValueError("the model holds what is no number")
        vocabulary = {gram: row for row, gram in enumerate(grams)}
        return cls(names, vocabulary, weights, idf, bias, sharpness)


def _packed(texts: Sequence[str]) -> NDArray[Any]:
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def _unpacked(packed: NDArray[Any]) -> tuple[str, ...]:
    return tuple(packed.tobytes().decode().split("\n"))
