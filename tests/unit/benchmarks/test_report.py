"""What a report says and how: pages, marks, and what it needs to be drawn."""

import importlib.util
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from benchmarks.report import canvas, compare, page, plots, write
from benchmarks.report.blocks import Block, Code, Figure, Heading, Table, Text
from benchmarks.sections.ramp import require_locust
from benchmarks.store import Results
from workers.core.errors import UsageError


def test_text_of_a_run_is_escaped_in_html() -> None:
    made = page.html("a < b", [Text("<script>"), Code("a & b"), Table(("x",), [("<td>",)])])
    assert "<script>" not in made
    assert "<h1>a &lt; b</h1>" in made
    assert "&lt;td&gt;" in made


def test_a_column_of_numbers_is_set_to_the_right_and_one_with_words_is_not() -> None:
    made = page.html("t", [Table(("rate", "goal"), [("1,200", "15 x"), ("–", "no errors")])])
    assert made.count('<td class="number">') == 2
    assert '<th class="number">rate</th><th>goal</th>' in made


def test_markdown_has_the_same_tables_and_links_its_drawings() -> None:
    blocks: list[Block] = [
        Heading("Rates"),
        Table(("a", "b"), [("1", "x|y")]),
        Figure("sweep", "rates", "<svg/>"),
    ]
    made = page.markdown("T", blocks)
    assert "## Rates" in made
    assert "| 1 | x\\|y |" in made
    assert "![rates](figures/sweep.svg)" in made


def test_every_drawing_is_whole_svg_whose_ids_clash_with_no_other() -> None:
    rows = [{"second": number, "outcomes": 100.0, "p50": 5.0, "p99": 9.0, "max": 12.0} for number in range(5)]
    drawn = [
        plots.over_time(rows, 100.0),
        plots.by_quantile({"a": [(0.0, 1.0), (0.9, 3.0), (0.99, 9.0)]}, {"25 ms": 25.0}),
        plots.bars({"ours": 12_000.0, "theirs": 700.0}, "messages/s", ("ours",)),
    ]
    found = [{each.get("id") for each in ET.fromstring(svg).iter()} - {None} for svg in drawn]  # noqa: S314 - our own
    assert all(found)
    assert not found[0] & found[1]
    assert not found[1] & found[2]


def test_a_drawing_of_the_same_numbers_is_the_same() -> None:
    one, again = (plots.bars({"ours": 12_000.0}, "messages/s") for _ in range(2))
    assert one == again


def test_tables_go_between_the_marks_of_a_document_and_nothing_else_changes(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(f"before\n{write.BEGIN}\nold\n{write.END}\nafter\n")
    run = Results.create(tmp_path / "run")
    run.save("recover", {"plan": {}}, {"faults": [], "time_lines": {}})
    write.into(run, document)
    text = document.read_text()
    assert text.startswith(f"before\n{write.BEGIN}\n")
    assert text.endswith(f"{write.END}\nafter\n")
    assert "old" not in text
    assert "## Recovery" in text
    document.write_text("no marks")
    with pytest.raises(UsageError, match="no place for figures"):
        write.into(run, document)


def test_a_section_that_another_version_measured_is_told_and_the_others_are_drawn(tmp_path: Path) -> None:
    run = Results.create(tmp_path)
    run.save("gateway", {"plan": {}}, {"added": {}})
    run.save("recover", {"plan": {}}, {"faults": [], "time_lines": {}})
    _, markdown = write.write(run)
    text = markdown.read_text()
    assert "`gateway.json` lacks" in text
    assert "## Recovery" in text
    assert "Left out or failed: run, peers, parts, ramp, scaling, soak." in text


def test_two_runs_are_compared_by_what_both_have(tmp_path: Path) -> None:
    dice = np.random.default_rng(1)
    runs = []
    for name, scale in (("a", 1.0), ("b", 2.0)):
        run = Results.create(tmp_path / name)
        seconds = np.repeat(np.arange(10.0), 50)
        run.save_arrays("run-topic-0", intended_s=seconds, latency_ms=dice.lognormal(2, 0.2, 500) * scale)
        runs.append(run)
    found = compare.differences(*runs)
    assert set(found) == {"topic to topic, p50 ms", "topic to topic, p90 ms", "topic to topic, p99 ms"}
    assert found["topic to topic, p50 ms"].differs
    assert found["topic to topic, p50 ms"].low <= 2 <= found["topic to topic, p50 ms"].high


def test_the_gateway_of_two_runs_is_compared_by_whole_runs(tmp_path: Path) -> None:
    runs = []
    for name, p99s in (("a", (40.0, 42.0, 41.0)), ("b", (80.0, 84.0, 82.0))):
        run = Results.create(tmp_path / name)
        each = [{"achieved": 1700.0, "latency_ms": {"p50": 18.0, "p90": 30.0, "p99": p99}} for p99 in p99s]
        run.save("run", {}, {"topic": {"burst": [{"rate": 7000.0}]}, "gateway": {"steady": each}})
        run.save("gateway", {}, {"at_once": [{"users": 500, "runs": each}]})
        runs.append(run)
    found = compare.differences(*runs)
    for name in ("gateway, p99 ms", "gateway, 500 users, p99 ms"):
        assert (found[name].ratio, found[name].differs) == (2.0, True)
    assert not found["gateway, p50 ms"].differs


def test_a_directory_without_results_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="relayfleet bench run"):
        Results.existing(tmp_path)


@pytest.mark.parametrize(
    ("require", "package"), [(canvas.require_matplotlib, "matplotlib"), (require_locust, "locust")]
)
def test_without_its_library_it_says_what_to_install(
    require: object, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert callable(require)
    with pytest.raises(UsageError, match=f"pip install {package}"):
        require()
