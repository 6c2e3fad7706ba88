"""The alert rules that the guide gives."""

import re
from pathlib import Path

import yaml

from workers.core import metrics as m

GUIDE = Path(__file__).resolve().parents[3] / "docs/dead-letters.md"


def test_the_alert_rules_of_the_guide_are_about_metrics_that_there_are() -> None:
    (text,) = re.findall(r"```yaml\n(.+?)```", GUIDE.read_text(), re.DOTALL)
    rules = yaml.safe_load(text)["groups"][0]["rules"]
    assert len(rules) == 5
    named = {name for rule in rules for name in re.findall(r"relayfleet_\w+", rule["expr"])}
    served = {metric.name for metric in (m.DLQ_DEPTH, m.DLQ_LAST_HOUR, m.DLQ_OLDEST, m.DLQ_NEW_FINGERPRINTS)}
    assert named == served
