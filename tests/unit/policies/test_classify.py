"""What the classifier sees in a message: its text, folded, and the keywords in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import Request
from workers.policies.classify import MAX_CHARACTERS, KeywordIndex, context_value, fold, text_of


def request(**payload: object) -> Request:
    return Request.model_validate({"message_id": "m", "source": "web", "payload": payload, "timestamp": 1})


def found(keywords: list[str], text: str) -> bool:
    index = KeywordIndex.build((keyword, 0) for keyword in keywords)
    return 0 in index.find(fold(text))


@pytest.mark.parametrize(
    ("keyword", "text", "holds"),
    [
        ("error", "an Error occurred", True),
        ("ERROR", "an error occurred", True),
        ("error", "ＥＲＲＯＲ！", True),  # full width
        ("straße", "STRASSE 5", True),
        ("cat", "concatenate", False),
        ("error", "errors", False),
        ("error", "出现error了", True),  # Chinese ends a word
        ("蓝屏", "电脑蓝屏怎么办", True),
        ("蓝屏", "蓝色的屏幕", False),
        ("カメラ", "ｶﾒﾗを買う", True),  # half width
        ("주문", "주문을 취소", True),  # a particle is attached
        ("wifi断", "家里WiFi断了", True),
        ("wifi断", "mywifi断了", False),
        ("credit card", "my  Credit\ncard is lost", True),
        ("credit card", "credit cards", False),
        ("c++", "I write C++ code", True),
        ("c++", "abc++", False),
        ("node.js", "use node.js.", True),
        ("5000元", "5000元以内", True),
        ("5000元", "15000元以内", False),
        ("crash", "", False),
    ],
)
def test_a_keyword_matches_as_its_script_writes_words(keyword: str, text: str, holds: bool) -> None:
    assert found([keyword], text) is holds
    assert found([*(f"other{n}" for n in range(50)), "别的", "two words", keyword], text) is holds


def test_the_index_tells_which_rules_have_a_keyword_in_the_text() -> None:
    index = KeywordIndex.build([("crash", 0), ("蓝屏", 1), ("crash", 2), ("refund", 3)])
    assert index.find(fold("Crash 之后蓝屏")) == {0: "crash", 1: "蓝屏", 2: "crash"}


def test_an_empty_keyword_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        KeywordIndex.build([("  ", 0)])


@given(st.text(min_size=1).filter(lambda text: fold(text) != ""), st.text(), st.text())
def test_a_keyword_between_spaces_is_always_found(keyword: str, before: str, after: str) -> None:
    # Zero-width marks may combine over the space, so the neighbours are whole words.
    assert found([keyword], f"a {keyword} b") or fold(f"a {keyword} b") != f"a {fold(keyword)} b"


@given(
    st.lists(st.sampled_from("ab 蓝屏+"), min_size=1, max_size=30),
    st.lists(st.text("ab 蓝屏+", min_size=1), max_size=8),
)
def test_the_index_agrees_with_looking_for_each_keyword_alone(
    letters: list[str], keywords: list[str]
) -> None:
    keywords = [keyword for keyword in keywords if fold(keyword)]
    text = fold("".join(letters))
    index = KeywordIndex.build((keyword, number) for number, keyword in enumerate(keywords))
    alone = {number for number, keyword in enumerate(keywords) if found([keyword], text)}
    assert set(index.find(text)) == alone


def test_the_text_is_the_text_field_or_the_last_turn_of_the_user() -> None:
    messages = [
        {"role": "user", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": "second"}, {"type": "image_url"}]},
        {"role": "assistant", "content": "third"},
    ]
    assert text_of(request(text="asked", messages=messages)) == "asked"
    assert text_of(request(messages=messages)) == "second"
    assert text_of(request()) == ""


def test_five_megabytes_of_text_are_cut() -> None:
    assert len(text_of(request(text="x" * 5_000_000))) == MAX_CHARACTERS


def test_a_context_value_lies_at_a_dotted_path() -> None:
    context = {"user": {"tier": "gold", "none": None}, "list": [1]}
    assert context_value(context, "user.tier") == (True, "gold")
    assert context_value(context, "user.none") == (True, None)
    assert context_value(context, "user.tier.deeper") == (False, None)
    assert context_value(context, "list.0") == (False, None)
