"""Replays as a table."""

import pytest

from dlq_tools.jobs_cli import _print
from workers.shell import Output


def test_a_job_is_one_line_where_no_terminal_bounds_it(capsys: pytest.CaptureFixture[str]) -> None:
    began = "2026-11-23T17:24:59+00:00"
    job = {"job": "replay-20261123-172459-4ad0", "state": "done", "who": "ada@host", "began": began}
    _print([{**job, "changed": began, "sent": 1, "failed_again": 1, "pending": 0}], "jobs", Output.TABLE)
    _, line = capsys.readouterr().out.splitlines()
    assert line.split() == [job["job"], "done", "ada@host", began, began, "1", "1", "0"]
