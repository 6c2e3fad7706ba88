"""Outcomes on a terminal."""

import io

import pytest
from rich.console import Console

from schemas.response import Response
from workers.commands import outcomes
from workers.commands.outcomes import OutcomeTable
from workers.shell import Output

TEXT = "a long answer that says more than fits into what is left of a line of eighty columns " * 2


def shown(monkeypatch: pytest.MonkeyPatch, ids: list[str]) -> list[str]:
    output = io.StringIO()
    monkeypatch.setattr(
        outcomes, "console", lambda: Console(file=output, width=80, soft_wrap=True, no_color=True)
    )
    table = OutcomeTable(Output.TABLE)
    for message_id in ids:
        fields = {
            "message_id": message_id,
            "source": "orders",
            "payload": {"text": TEXT},
            "status": "ok",
            "route": {"target": "orders", "rule": "order-number", "attempts": 1},
            "timing": {"total": 1234.0},
            "timestamp": 1.0,
        }
        table.add(Response.model_validate(fields))
    table.print()
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_of_several_outcomes_each_is_a_line_in_which_only_the_answer_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    header, *lines = shown(monkeypatch, ["req_12345", "req_12346"])
    assert header.split() == ["message", "target", "rule", "ms", "outcome"]
    assert [line.split()[:5] for line in lines] == [
        ["req_12345", "orders", "order-number", "1,234", "a"],
        ["req_12346", "orders", "order-number", "1,234", "a"],
    ]
    assert all(len(line) <= 80 and line.endswith("…") for line in lines)


def test_one_outcome_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    message_id = "req_" + 32 * "5"
    lines = shown(monkeypatch, [message_id])
    assert lines[0] == f"message  {message_id}"
    assert " ".join(" ".join(lines[4:]).split()) == f"outcome {TEXT.strip()}"
