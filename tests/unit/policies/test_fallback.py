from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import Request
from schemas.errors import ErrorClass
from tests.unit.topology.support import topology
from workers.core.topology.fallback import FALLS_BACK, Fallback, parse_fallback
from workers.core.topology.model import Topology
from workers.policies.fallback import Chains, Fit, fit_of

NAMES = st.lists(st.sampled_from("abcd"), max_size=3)


def chains(written: Any, *, known: str = "abcd") -> Chains:
    lists = parse_fallback(written)
    assert isinstance(lists, Fallback)
    return Chains("llm", lists.when_open, lists, lambda name: name in known)


def request(text: str, **parameters: Any) -> Request:
    payload = {"text": text, "parameters": parameters}
    return Request.model_validate({"message_id": "a", "source": "t", "payload": payload, "timestamp": 1.0})


def test_a_plain_list_is_for_open_breakers_and_not_for_failures() -> None:
    plain = chains(["a", "b"])
    assert plain.open(()) == ("a", "b")
    assert all(plain.failed(each, ()) == () for each in ErrorClass)


def test_each_class_has_its_list_and_the_others_the_default() -> None:
    by_class = chains({"context_length": "a", "content_filter": [], "default": ["b", "c"]})
    assert by_class.failed(ErrorClass.CONTEXT_LENGTH, ()) == ("a",)
    assert by_class.failed(ErrorClass.CONTENT_FILTER, ()) == ()
    assert by_class.failed(ErrorClass.TIMEOUT, ()) == ("b", "c")
    assert by_class.open(()) == ("b", "c")


@pytest.mark.parametrize("error_class", sorted(set(ErrorClass) - set(FALLS_BACK)))
def test_what_no_other_target_would_mend_never_goes_on(error_class: ErrorClass) -> None:
    assert chains({"default": ["a"]}).failed(error_class, ("b",)) == ()


def test_the_rest_of_the_chain_that_a_message_came_by_is_next_but_a_filters_word_stands() -> None:
    plain = chains([])
    assert plain.failed(ErrorClass.UPSTREAM_5XX, ("b", "gone", "llm")) == ("b",)
    assert plain.failed(ErrorClass.CONTENT_FILTER, ("b",)) == ()


def test_what_could_be_waited_for_goes_on_at_once_only_where_there_is_somewhere_to_go() -> None:
    assert chains({"overloaded": "a"}).at_once(ErrorClass.OVERLOADED)
    assert not chains({"overloaded": "a"}, known="").at_once(ErrorClass.OVERLOADED)
    assert not chains({"overloaded": []}).at_once(ErrorClass.OVERLOADED)
    assert not chains({"default": "a"}).at_once(ErrorClass.TIMEOUT)
    assert not chains(["a"]).at_once(ErrorClass.OVERLOADED)


@given(st.dictionaries(st.sampled_from([*FALLS_BACK, "default"]), NAMES), NAMES)
def test_nothing_goes_to_itself_twice_or_to_nowhere(lists: dict[str, list[str]], rest: list[str]) -> None:
    some = chains(lists, known="abc")
    for error_class in ErrorClass:
        way = some.failed(error_class, (*rest, "llm"))
        assert len(set(way)) == len(way)
        assert set(way) <= set("abc")


@given(st.dictionaries(st.sampled_from([*(str(each) for each in FALLS_BACK), "default"]), NAMES, min_size=1))
def test_a_mapping_is_written_as_it_was_read(lists: dict[str, list[str]]) -> None:
    made = parse_fallback(lists)
    assert isinstance(made, Fallback)
    assert made.as_written() == lists
    assert parse_fallback(made.as_written()) == made


def sized(**lengths: int | None) -> Topology:
    instances = [{"url": "http://127.0.0.1:8091/v1"}]
    targets: dict[str, dict[str, Any]] = {
        name: {"type": "openai", "instances": instances, **({"context_length": length} if length else {})}
        for name, length in lengths.items()
    }
    targets["llm"]["fallback"] = {"context_length": [name for name in lengths if name != "llm"]}
    return topology(targets=targets)


def fit(**lengths: int | None) -> Fit:
    found = fit_of(sized(**lengths), "llm")
    assert found is not None
    return found


def test_what_is_too_long_goes_to_the_first_that_is_large_enough() -> None:
    sizes = fit(llm=100, small=50, big=200, huge=1000, endless=None)
    assert sizes.elsewhere(request("x" * 4 * 90)) == ()
    assert sizes.elsewhere(request("x" * 4 * 150)) == ("big", "huge", "endless")
    assert sizes.elsewhere(request("x" * 4 * 90, max_tokens=300)) == ("huge", "endless")
    assert sizes.elsewhere(request("x" * 4 * 5000)) == ("endless",)


def test_where_nothing_is_larger_the_target_itself_says_what_is_too_long() -> None:
    assert fit_of(sized(llm=100, small=50), "llm") is None
    assert fit_of(sized(llm=None, big=50), "llm") is None
    assert fit(llm=100, big=200).elsewhere(request("x" * 4 * 5000)) == ()
