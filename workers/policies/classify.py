"""What a message is about: its text, folded, and the keywords in it.

Folding makes `ＥＲＲＯＲ`, `Error` and `error` one word. A keyword in a script that separates words matches whole words
only (`cat` is not in `concatenate`); one with a character of a script that does not (Chinese, Japanese, Korean
particles, Thai, Lao, Khmer, Burmese) matches anywhere.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.envelope import Message, Request

MAX_CHARACTERS = 16_384
"""How much of a text is looked at, in characters from its start: what a question is about shows early."""

# Scripts written without spaces, or (Hangul) with particles attached to the word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[^\W{_UNSPACED}]+")


def text_of(request: Request) -> str:
    """What was asked: `payload.text`, else the text of the last user turn of `payload.messages`, else nothing."""
    payload = request.payload
    if payload.text is not None:
        return payload.text[:MAX_CHARACTERS]
    for message in reversed(payload.messages or ()):
        if message.role == "user":
            return _content(message)[:MAX_CHARACTERS]
    return ""


def _content(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    parts = message.content or ()
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def fold(text: str) -> str:
    """The text without the differences of case, width and spacing."""
    folded = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split())


@dataclass(frozen=True, slots=True)
class KeywordIndex:
    """All keywords of all rules, found in one pass over a text.

    Single words are looked up word by word; every other keyword (a phrase, `c++`, Chinese) is looked up at the places
    where one may start. Either way the cost follows the text, not the number of keywords.
    """

    words: Mapping[str, tuple[int, ...]]  # folded word -> the owners of the keyword
    phrases: Mapping[str, tuple[int, ...]]  # folded keyword of any other shape -> its owners
    lengths: Mapping[
        str, tuple[int, ...]
    ]  # first character of a phrase -> lengths of those that start with it
    starts: re.Pattern[str] | None  # a character with which a phrase starts

    @classmethod
    def build(cls, keywords: Iterable[tuple[str, int]]) -> "KeywordIndex":
        """Index pairs of keyword and owner. A keyword without a visible character is refused with `ValueError`."""
        words: dict[str, tuple[int, ...]] = {}
        phrases: dict[str, tuple[int, ...]] = {}
        for keyword, owner in keywords:
            folded = fold(keyword)
            if not folded:
                raise ValueError("a keyword is empty")
            table = words if _WORD.fullmatch(folded) else phrases
            table[folded] = (*table.get(folded, ()), owner)
        lengths: dict[str, set[int]] = {}
        for phrase in phrases:
            lengths.setdefault(phrase[0], set()).add(len(phrase))
        starts = re.compile("[" + "".join(map(re.escape, sorted(lengths))) + "]") if lengths else None
        return cls(words, phrases, {first: tuple(sorted(each)) for first, each in lengths.items()}, starts)

    def find(self, folded: str) -> dict[int, str]:
        """The owners of which a keyword is in the folded text, each with one such keyword."""
        found: dict[int, str] = {}
        if self.words:
            for word in self.words.keys() & set(_WORD.findall(folded)):
                for owner in self.words[word]:
                    found.setdefault(owner, word)
        if self.starts is not None:
            self._find_phrases(folded, self.starts, found)
        return found

    def _find_phrases(self, folded: str, starts: re.Pattern[str], found: dict[int, str]) -> None:
        for candidate in starts.finditer(folded):
            at = candidate.start()
            for length in self.lengths[candidate[0]]:
                phrase = folded[at : at + length]
                owners = self.phrases.get(phrase)
                if owners is not None and _stands_alone(folded, at, at + length):
                    for owner in owners:
                        found.setdefault(owner, phrase)


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] begins and ends no word in the middle."""
    return not (_joined(text, start) or _joined(text, end))


def _joined(text: str, at: int) -> bool:
    return 0 < at < len(text) and _WORD.fullmatch(text, at - 1, at + 1) is not None


def context_value(context: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    """What lies at a dotted path in `payload.context`: whether there is something, and what."""
    value: Any = context
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return False, None
        value = value[name]
    return True, value
