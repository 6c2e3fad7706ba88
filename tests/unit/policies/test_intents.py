"""Learning intents, telling them apart, and the examples that are shipped."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.topology.routing import UNKNOWN, Intent, labelled_lines
from workers.policies.classify import fold
from workers.policies.evaluate import by_keywords, calibration_error, keywords_of, report
from workers.policies.guess import Guess
from workers.policies.intents import IntentModel, ngrams
from workers.policies.learn import fingerprint, learn

EXAMPLES = Path(__file__).parents[3] / "examples" / "intents"


def intents(**examples: tuple[str, ...]) -> dict[str, Intent]:
    return {name: Intent(examples=texts) for name, texts in examples.items()}


SMALL = intents(
    order=("where is my parcel", "我的快递到哪了", "parcel not delivered", "快递没到"),
    refund=("i want my money back", "我要退款", "refund please", "退款没到账"),
    unknown=("hello", "你好", "tell me a joke", "讲个笑话"),
)


def shipped(name: str) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in (EXAMPLES / name).read_text().splitlines()]
    return [(line["text"], line["intent"]) for line in lines]


@pytest.fixture(scope="module")
def shop() -> Mapping[str, Intent]:
    parsed = labelled_lines((EXAMPLES / "train.jsonl").read_text())
    assert isinstance(parsed, dict)
    return {name: Intent.model_validate(intent) for name, intent in parsed.items()}


@pytest.fixture(scope="module")
def model(shop: Mapping[str, Intent]) -> IntentModel:
    return learn(shop)


@pytest.fixture(scope="module")
def small() -> IntentModel:
    return learn(SMALL)


def test_the_shops_intents_are_told_apart_and_better_than_by_keywords(
    shop: Mapping[str, Intent], model: IntentModel
) -> None:
    texts, labels = zip(*shipped("test.jsonl"), strict=True)
    guesses = model.classify(texts)
    learnt = report(labels, [guess.intent for guess in guesses])
    assert learnt.accuracy >= 0.88
    assert learnt.in_scope >= 0.90
    assert report(labels, by_keywords(shop, texts)).accuracy < learnt.accuracy - 0.2
    assert calibration_error(labels, guesses) < 0.08


def test_no_test_example_is_a_training_example_in_other_words() -> None:
    """By the share of n-grams that a test text and any training text have in common, of those either has."""
    training = [ngrams(text) for text, _ in shipped("train.jsonl")]
    holders: dict[str, list[int]] = {}
    for number, grams in enumerate(training):
        for gram in grams:
            holders.setdefault(gram, []).append(number)
    alike = []
    for text, _ in shipped("test.jsonl"):
        grams = ngrams(text)
        shared = Counter(number for gram in grams for number in holders.get(gram, ()))
        closest = max(
            (count / len(grams | training[number]) for number, count in shared.items()), default=0.0
        )
        alike.append((closest, text))
    assert [each for each in alike if each[0] > 0.6] == []
    assert sorted(closest for closest, _ in alike)[len(alike) // 2] < 0.35


def test_the_examples_are_many_and_in_both_languages() -> None:
    labelled = [*shipped("train.jsonl"), *shipped("test.jsonl")]
    counts = Counter(name for _, name in labelled)
    assert len(counts) == 9
    assert sum(count for name, count in counts.items() if name != UNKNOWN) >= 600
    texts = {fold(text) for text, _ in labelled}
    assert len(texts) == len(labelled)
    for name in counts:
        mine = [text for text, each in labelled if each == name]
        chinese = sum(any("\u4e00" <= sign <= "\u9fff" for sign in text) for text in mine)
        latin = sum(any("a" <= sign <= "z" for sign in text.lower()) for text in mine)
        assert min(chinese, latin) > len(mine) / 4, name


def test_learning_again_gives_the_same(small: IntentModel) -> None:
    again = learn(SMALL)
    assert again.arrays().keys() == small.arrays().keys()
    assert all(np.array_equal(value, small.arrays()[name]) for name, value in again.arrays().items())


def digest() -> str:
    """Of a model that was learnt anew, and of what it says."""
    model = learn(SMALL)
    scores = model.scores(["where is my refund", "退款到哪了", "a joke about a parcel"] * 20)
    data = [array.tobytes() for _, array in sorted(model.arrays().items())]
    return hashlib.sha256(b"".join([*data, scores.tobytes()])).hexdigest()


def test_another_process_learns_and_says_the_same() -> None:
    """Though sets of texts have another order in every process."""
    program = f"from {__name__} import digest; print(digest())"
    other = subprocess.run(
        [sys.executable, "-c", program], cwd=EXAMPLES.parents[1], capture_output=True, check=True, text=True
    )
    assert other.stdout.strip() == digest()


def test_a_model_is_the_same_after_its_arrays(small: IntentModel) -> None:
    back = IntentModel.from_arrays(small.arrays())
    texts = ["退款", "where is it", "", "😀", "joke"]
    assert back.classify(texts) == small.classify(texts)


@pytest.mark.parametrize("part", ["weights", "idf", "bias", "names", "vocabulary", "format", "sharpness"])
def test_arrays_that_are_no_model_are_refused(small: IntentModel, part: str) -> None:
    arrays = small.arrays()
    with pytest.raises(ValueError, match="model"):
        IntentModel.from_arrays({name: value for name, value in arrays.items() if name != part})
    with pytest.raises(ValueError, match="model"):
        IntentModel.from_arrays({**arrays, part: arrays[part][:0]})
    if arrays[part].dtype == np.float32 and part != "sharpness":
        with pytest.raises(ValueError, match="no number"):
            IntentModel.from_arrays({**arrays, part: np.full_like(arrays[part], np.nan)})


def test_the_model_scores_as_scikit_learn_does(small: IntentModel) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    texts = [text for intent in SMALL.values() for text in intent.examples]
    labels = [name for name, intent in SMALL.items() for _ in intent.examples]
    order = sorted(range(len(texts)), key=lambda number: (texts[number], labels[number]))
    texts, labels = [texts[number] for number in order], [labels[number] for number in order]
    vectorizer = TfidfVectorizer(analyzer=ngrams, binary=True)
    svm = LinearSVC(C=1.0, random_state=0, max_iter=5_000).fit(vectorizer.fit_transform(texts), labels)
    asked = ["退款到哪了", "where is my refund", "parcel", "xyz"]
    assert list(svm.classes_) == list(small.names)
    assert np.allclose(small.scores(asked), svm.decision_function(vectorizer.transform(asked)), atol=1e-4)


def test_two_intents_are_enough_and_one_example_each() -> None:
    model = learn(intents(a=("red green",), b=("蓝色",)))
    assert [guess.intent for guess in model.classify(["red", "蓝"])] == ["a", "b"]


def test_what_is_like_nothing_known_is_unknown() -> None:
    many = intents(**{f"i{number}": (f"word{number}" * 2, f"thing{number}" * 2) for number in range(6)})
    assert learn(many).classify(["", "?!", "ничего"])[0].intent == UNKNOWN


@given(texts=st.lists(st.text(max_size=60), max_size=8))
def test_a_text_gets_the_same_guess_alone_and_in_a_batch(small: IntentModel, texts: list[str]) -> None:
    together = small.classify(texts)
    assert len(together) == len(texts)
    for text, guess in zip(texts, together, strict=True):
        (alone,) = small.classify([text])
        assert alone.intent == guess.intent
        assert alone.confidence == pytest.approx(guess.confidence, abs=1e-5)
        assert 0 <= guess.confidence <= 1


def test_case_width_and_spaces_change_nothing(small: IntentModel) -> None:
    assert len(set(small.classify(["refund please", "REFUND  Please", "ｒｅｆｕｎｄ please"]))) == 1


def test_the_fingerprint_follows_the_examples_and_nothing_else() -> None:
    assert fingerprint(SMALL) == fingerprint(dict(reversed(SMALL.items())))
    assert fingerprint(SMALL) != fingerprint({**SMALL, "order": Intent(examples=("x",))})
    assert fingerprint(SMALL) != fingerprint({"renamed": SMALL["order"], **SMALL})


def test_a_report_counts_what_was_said_and_what_was_found() -> None:
    counted = report(["a", "a", "b", UNKNOWN], ["a", "b", "b", "a"])
    assert counted.accuracy == 0.5
    assert counted.in_scope == pytest.approx(2 / 3)
    assert (counted.scores["a"].precision, counted.scores["a"].recall) == (0.5, 0.5)
    assert (counted.scores["b"].precision, counted.scores["b"].recall) == (0.5, 1.0)
    assert counted.scores[UNKNOWN].recall == 0


def test_confidence_that_is_right_as_often_as_it_says_is_calibrated() -> None:
    guesses = [Guess("a", 0.75)] * 4
    assert calibration_error(["a", "a", "a", "b"], guesses) == 0
    assert calibration_error(["b"] * 4, guesses) == 0.75
    assert calibration_error(["b"], [Guess(UNKNOWN, 0.9)]) == 0


def test_keywords_are_what_one_intents_examples_share() -> None:
    keywords = keywords_of(SMALL)
    assert "parcel" in keywords["order"]
    assert "退款" in keywords["refund"]
    assert UNKNOWN not in keywords
    both = intents(a=("red car", "red bus", "red"), b=("red hat", "red cap hat"))
    assert keywords_of(both) == {"a": (), "b": ("hat",)}
    assert by_keywords(SMALL, ["parcel?", "要退款", "你好"]) == ["order", "refund", UNKNOWN]
