"""Templates: values of the envelope in JSON and in addresses."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import Payload, Request
from schemas.errors import ErrorClass
from workers.backends.fill import Filling, TextFilling, dumps, envelope_of
from workers.core.errors import PermanentError, UsageError

REQUEST = Request(
    message_id="m1",
    source="web",
    payload=Payload(text="你好", context={"tags": ["a", "b"], "order": {"id": 7}, "none": None}),
    timestamp=5.0,
)
ENVELOPE = envelope_of(REQUEST)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{payload.text}", "你好"),
        ("say: {payload.text}!", "say: 你好!"),
        ("{payload.context.tags}", ["a", "b"]),
        ("{payload.context.tags.1}", "b"),
        ("tags {payload.context.tags}", 'tags ["a","b"]'),
        (
            {"q": "{payload.context.order.id}", "n": 1, "deep": [True, None, "{source}"]},
            {"q": 7, "n": 1, "deep": [True, None, "web"]},
        ),
        ({"here": "{message_id}", "gone": "{payload.user_id?}"}, {"here": "m1"}),
        (["{payload.user_id?}", "{message_id}"], ["m1"]),
        ("a{payload.user_id?}b", "ab"),
        ("{{payload.text}}", "{payload.text}"),
        ("{envelope.payload.context.order}", {"id": 7}),
        (5, 5),
    ],
)
def test_a_template_is_filled_with_values_as_they_are(template: Any, value: Any) -> None:
    assert Filling("body", template).render(ENVELOPE) == value


def test_the_whole_envelope_is_a_value_too() -> None:
    assert Filling("body", "{envelope}").render(ENVELOPE)["payload"]["text"] == "你好"


@pytest.mark.parametrize("template", ["{payload.user_id}", "{payload.context.tags.9}", "{payload.text.more}"])
def test_what_the_message_lacks_is_named(template: str) -> None:
    with pytest.raises(PermanentError, match=template.strip("{}")) as caught:
        Filling("body", {"x": template}).render(ENVELOPE)
    assert caught.value.error_class is ErrorClass.SCHEMA


@pytest.mark.parametrize(
    "text", ["{", "}", "{}", "{payload.text!r}", "{os.environ}", "{payload. text}", "{a b}"]
)
def test_what_is_no_path_into_the_envelope_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Filling("body", {"x": [text]})


@given(st.text(max_size=30))
def test_a_value_stays_within_its_place_in_a_path(value: str) -> None:
    request = REQUEST.model_copy(update={"payload": Payload(text=value)})
    filling = TextFilling("path", "/a/{payload.text}/b")
    try:
        path = filling.render(envelope_of(request))
    except PermanentError:
        assert value in {"", ".", ".."}
        return
    assert path.count("/") == 3
    assert not set(path) & set("?#% \r\n".replace("%", ""))


@given(st.recursive(st.text(max_size=5) | st.integers(-5, 5), lambda inner: st.lists(inner, max_size=3)))
def test_values_are_never_read_as_templates(value: Any) -> None:
    request = REQUEST.model_copy(update={"payload": Payload(text="x", context={"v": value})})
    assert Filling("body", {"v": "{payload.context.v}"}).render(envelope_of(request)) == {"v": value}


def test_what_json_can_not_hold_is_the_messages_fault() -> None:
    with pytest.raises(PermanentError) as caught:
        dumps({"x": "\ud800"})
    assert caught.value.error_class is ErrorClass.SCHEMA
