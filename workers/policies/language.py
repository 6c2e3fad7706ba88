"""Which language a text is written in, roughly: by its scripts, and for Latin letters by the smallest words.

Good enough to choose a route; knows Chinese, Japanese, Korean and English, and calls all else `other`.
"""

import re

from workers.core.topology.routing import Language

LOOKED_AT = 1_000
"""Characters from the start: more would not change the answer."""

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_KANA = re.compile(r"[\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
_LATIN = re.compile(r"[a-z\u00e0-\u00f6\u00f8-\u024f]+(?:'[a-z]+)?")
_LETTER = re.compile(r"[^\W\d_]")
_NOT_ENGLISH = re.compile(r"[\u00df-\u00f6\u00f8-\u024f¿¡]")
_ENGLISH_WORDS = """
the a an and or of to in on at for from with without is are was were be been am do does did doesn't don't didn't can
can't could would should will won't my your our their his her its it it's i i'm i'd i've you we they he she this that
these those what when where which who why how not no yes please thanks hello hi have has had get got there here any some
me us them if but so because still again need want help
"""
# German, French, Spanish, Italian, Portuguese, Dutch, Polish, Swedish, Danish and Norwegian
_OTHER_WORDS = """
der die das und ist nicht ein eine einen mein meine ich du wir sie es zu mit auf für von wo wie wann warum bitte
le la les un une des du et est pas je tu il elle nous vous mon ma mes où quand comment pourquoi avec pour dans
el los las y mi mis yo usted donde dónde cuando como por para con una que qué del al
lo gli e non mio mia dove quando come perché per che di sono o os meu minha eu você uma de da em não
het een en niet mijn ik je wij waar wanneer hoe waarom met voor van
nie jest w z się gdzie kiedy jak og er ikke jeg min hvor når och är inte jag var när
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_OTHER_LATIN = frozenset(_OTHER_WORDS.split()) - _ENGLISH


def language_of(text: str) -> Language:
    """The language of most of the text; `other` where there are no letters, or none that are known.

    A Chinese character counts as much as a word, so a Chinese question with English names in it stays Chinese.
    """
    looked_at = text[:LOOKED_AT].lower()
    if looked_at.isascii():
        words = _LATIN.findall(looked_at)
        return _latin(looked_at, words) if words else "other"
    kana, hangul, han = (len(script.findall(looked_at)) for script in (_KANA, _HANGUL, _HAN))
    words = _LATIN.findall(looked_at)
    letters = len(_LETTER.findall(looked_at))
    foreign = letters - kana - hangul - han - sum(len(word.replace("'", "")) for word in words)
    most = max(kana + hangul + han, len(words), foreign / 4)
    if not letters or most == foreign / 4:
        return "other"
    if most == len(words) and len(words) > kana + hangul + han:
        return _latin(looked_at, words)
    if kana and kana + han >= hangul:
        return "ja"
    return "ko" if hangul > han else "zh"


def _latin(text: str, words: list[str]) -> Language:
    english = sum(word in _ENGLISH for word in words)
    other = sum(word in _OTHER_LATIN for word in words) + len(_NOT_ENGLISH.findall(text))
    return "other" if other > english else "en"
