import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.policies.intents import ngrams
from workers.policies.similar import SimilarPolicy, SimilarQuestions


def questions(threshold: float = 0.8, margin: float = 0.05, entries: int = 100) -> SimilarQuestions[str]:
    return SimilarQuestions(SimilarPolicy(threshold, margin, entries), ngrams)


def hit(asked: str, new: str, **policy: float) -> str | None:
    kept = questions(**policy)  # type: ignore[arg-type]  # a test's own numbers
    kept.add("g", asked, "answer", 10.0)
    match = kept.find("g", new, 0.0)
    return None if match is None else match.value


@pytest.mark.parametrize(
    ("asked", "new"),
    [
        ("How do I reset my router password?", "how do i reset my router pasword"),
        ("请问怎么重置我的路由器密码", "请问怎么重置我的路由器密码呢"),
        ("where is my parcel 123456", "Where is my  parcel 123456?"),
    ],
)
def test_the_same_question_in_other_words_is_found(asked: str, new: str) -> None:
    assert hit(asked, new) == "answer"


@pytest.mark.parametrize(
    ("asked", "new"),
    [
        ("where is my order 123456", "where is my order 123457"),
        ("can i pay with a credit card", "can i not pay with a credit card"),
        ("my phone does charge", "my phone doesn't charge"),
        ("这个手机支持无线充电吗请告诉我一下", "这个手机不支持无线充电吗请告诉我一下"),
        ("请推荐一款5000元以内的笔记本电脑", "请推荐一款6000元以内的笔记本电脑"),
    ],
)
def test_a_number_or_a_denial_makes_another_question(asked: str, new: str) -> None:
    assert hit(asked, new, threshold=0.3) is None


def test_questions_of_other_groups_are_not_compared() -> None:
    kept = questions()
    kept.add("acme", "where is my parcel", "answer", 10.0)
    assert kept.find("other", "where is my parcel", 0.0) is None


def test_two_that_are_about_as_like_answer_nothing_unless_their_answer_is_the_same() -> None:
    kept = questions(threshold=0.5, margin=0.1)
    kept.add("g", "how do I change my home address", "a", 10.0)
    kept.add("g", "how do I change my mail address", "b", 10.0)
    assert kept.find("g", "how do I change my address", 0.0) is None
    kept.add("g", "how do I change my mail address", "a", 10.0)
    assert kept.find("g", "how do I change my address", 0.0) is not None


def test_what_is_over_and_what_is_too_long_answer_nothing() -> None:
    assert hit("x" * 601, "x" * 601) is None
    kept = questions()
    kept.add("g", "where is my parcel", "answer", 10.0)
    assert kept.find("g", "where is my parcel", 10.0) is None


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("gh"), st.text("ab 1不", max_size=8)), max_size=60))
def test_no_more_is_kept_than_asked_for_and_the_last_is_always_found(asked: list[tuple[str, str]]) -> None:
    kept = questions(entries=5)
    for number, (group, text) in enumerate(asked):
        kept.add(group, text, str(number), 10.0)
        match = kept.find(group, text, 0.0)
        assert match is None or match.likeness == pytest.approx(1.0)
        assert match is not None or not ngrams(text)
    assert len(kept) <= 5
    everything = {key for postings in kept._postings.values() for key in postings}
    assert everything <= kept._entries.keys()
