"""`relayfleet bench report`: HTML and Markdown of a run, or of two."""

from pathlib import Path

from benchmarks.report import compare, content, page
from benchmarks.report.blocks import Block
from benchmarks.report.canvas import require_matplotlib
from benchmarks.store import Results
from workers.core.errors import UsageError

TITLE = "Relayfleet: benchmarks"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def write(results: Results, other: Results | None = None) -> tuple[Path, Path]:
    """Write `report.html` and `report.md` into the run's directory; `other` is the run to compare with, as A."""
    require_matplotlib()
    made: list[Block] = content.blocks(results)
    if other is not None:
        made += compare.blocks(other, results)
    html, markdown = results.directory / "report.html", results.directory / "report.md"
    html.write_text(page.html(TITLE, made))
    markdown.write_text(page.markdown(TITLE, made))
    page.save_figures(made, results.directory / "figures")
    return html, markdown


def into(results: Results, document: Path) -> None:
    """Replace what stands between the marks of a document by the tables of a run. Raises `UsageError` without marks."""
    text = document.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{document} has no place for figures: {BEGIN} and {END}")
    body = page.markdown("", content.blocks(results), figures=None).removeprefix("# \n\n")
    document.write_text(f"{before}{BEGIN}\n\n{body}\n{END}{after}")
