"""Whether the machine was ours alone when something was measured, and what a report says of it."""

from pathlib import Path

import pytest

from benchmarks.machine import machine, shared, used_by_others
from benchmarks.report import write
from benchmarks.store import Results
from benchmarks.watch import MACHINE, Sample


def _busy(at: float, cpu: float) -> list[Sample]:
    return [Sample(MACHINE, 0, at, cpu, 0.0, 0, 0)]


def test_what_others_use_is_what_the_machine_does_while_we_wait() -> None:
    looks = iter([_busy(100.0, 5000.0), _busy(101.0, 5000.6)])  # busy for hours before, and that is over
    slept: list[float] = []
    assert used_by_others(1.0, lambda: next(looks), slept.append) == pytest.approx(0.6)
    assert slept == [1.0]


@pytest.mark.parametrize(("cores", "others", "is_shared"), [(2, 0.1, False), (2, 0.3, True), (8, 0.3, False)])
def test_a_machine_is_shared_when_others_use_more_than_a_small_part_of_it(
    cores: int, others: float, is_shared: bool
) -> None:
    assert shared({"cores": cores, "others_before": others}) is is_shared


def _report(directory: Path, others: float | None) -> str:
    run = Results.create(directory, others)
    run.save("recover", {"plan": {}}, {"faults": [], "time_lines": {}})
    _, markdown = write.write(run)
    return markdown.read_text()


def test_a_report_says_so_only_where_others_used_the_machine(tmp_path: Path) -> None:
    busy = float(machine()["cores"])
    assert f"in cores: recover {busy:g}." in _report(tmp_path / "busy", busy)
    quiet = _report(tmp_path / "quiet", 0.0)
    assert "Other processes" not in quiet
    assert "other processes" not in quiet


def test_a_result_that_has_only_a_load_average_is_read_and_not_judged(tmp_path: Path) -> None:
    run = Results.create(tmp_path)
    run._machine = {key: value for key, value in machine().items() if key != "others_before"}
    run._machine["load_before"] = 7.5
    run.save("recover", {"plan": {}}, {"faults": [], "time_lines": {}})
    _, markdown = write.write(run)
    assert "What other processes used was not measured before: recover." in markdown.read_text()
