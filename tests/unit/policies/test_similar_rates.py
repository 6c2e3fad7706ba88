import json
from pathlib import Path

from tests.unit.topology.test_load import ROOT
from workers.core.topology.caching import Semantic
from workers.policies.similar_rates import rate


def examples(path: Path) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["text"], line["intent"]) for line in lines]


def test_a_hit_with_another_label_is_false_and_what_was_answered_is_not_kept() -> None:
    asked = [
        ("how do I reset my router password", "tech"),
        ("how do i reset my router pasword", "tech"),
        ("how do I reset my router password?", "account"),
        ("something else entirely", "other"),
    ]
    found = rate(asked, 0.8, 0.05)
    assert (found.asked, found.hits, found.false) == (4, 2, 1)
    assert found.false_share == 0.5
    assert rate(asked[:1], 0.8, 0.05).false_share == 0.0


def test_with_the_defaults_nothing_of_the_bilingual_set_is_answered_for_another_intent() -> None:
    folder = ROOT / "examples" / "intents"
    asked = [*examples(folder / "train.jsonl"), *examples(folder / "test.jsonl")]
    usual = Semantic()
    found = rate(asked, usual.threshold, usual.margin)
    assert found.hits > 10
    assert found.false == 0
    assert rate(asked, 0.6, usual.margin).false_share > 0.1, "a low threshold is shown to be wrong"
