"""Learning the intents from their examples. Importing scikit-learn takes a second, so only this module does, when used."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from workers.core.topology.routing import Intent
from workers.policies.intents import FORMAT, IntentModel, ngrams

PENALTY = 1.0
"""`C` of the linear classifier; of 0.1, 0.3, 1 and 3 the best in cross-validation."""
FOLDS = 4
SHARPNESS = 4.0
"""Where there are too few examples to measure it."""


def fingerprint(intents: Mapping[str, Intent]) -> str:
    """The same for the same examples: the name under which a learnt model is kept."""
    examples = {name: sorted(intent.examples) for name, intent in intents.items()}
    data = orjson.dumps([FORMAT, PENALTY, FOLDS, examples], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(data).hexdigest()[:32]


def learn(intents: Mapping[str, Intent]) -> IntentModel:
    """Learn from the examples of two intents or more. Deterministic; takes about a second for a few thousand."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    labelled = sorted((example, name) for name, intent in intents.items() for example in intent.examples)
    names = tuple(sorted(intents))
    texts = [text for text, _ in labelled]
    labels = np.array([names.index(name) for _, name in labelled])
    vectorizer = TfidfVectorizer(analyzer=ngrams, binary=True)
    features = vectorizer.fit_transform(texts)
    weights, bias = _fit(features, labels, len(names))
    columns = vectorizer.get_feature_names_out().tolist()
    idf = np.append(vectorizer.idf_, 0.0).astype(np.float32)
    table = np.vstack([weights.T, np.zeros(len(names))]).astype(np.float32)
    table *= idf[:, None]
    return IntentModel(
        names,
        {gram: row for row, gram in enumerate(columns)},
        table,
        idf,
        bias.astype(np.float32),
        _sharpness(features, labels, len(names)),
    )


def _fit(features: Any, labels: NDArray[Any], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights (names, n-grams) and biases (names) of one classifier an intent against all others."""
    from sklearn.svm import LinearSVC

    fitted = LinearSVC(C=PENALTY, random_state=0, max_iter=5_000).fit(features, labels)
    weights, bias = fitted.coef_, fitted.intercept_
    if count == 2:
        return np.vstack([-weights, weights]), np.append(-bias, bias)
    return weights, bias


def _sharpness(features: Any, labels: NDArray[Any], count: int) -> float:
    """How strongly margins become confidence, so that of those said with 0.8 four in five are right.

    Found on examples that the classifier has not seen: each part of them is left out once.
    """
    from sklearn.model_selection import StratifiedKFold

    folds = min(FOLDS, int(np.bincount(labels).min()))
    if folds < 2:
        return SHARPNESS
    margins = np.zeros((len(labels), count))
    for kept, left_out in StratifiedKFold(folds, shuffle=True, random_state=0).split(features, labels):
        weights, bias = _fit(features[kept], labels[kept], count)
        margins[left_out] = features[left_out] @ weights.T + bias
    choices = np.geomspace(0.5, 20.0, 60)
    return float(min(choices, key=lambda sharpness: _surprise(margins * sharpness, labels)))


def _surprise(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    scores = scores - scores.max(axis=1, keepdims=True)
    right: NDArray[Any] = scores[np.arange(len(labels)), labels] - np.log(np.exp(scores).sum(axis=1))
    return float(-right.mean())
