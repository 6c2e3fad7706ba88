"""Blocks as one HTML file that needs nothing beside it, and as Markdown with the drawings in files."""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from benchmarks.report.blocks import Block, Code, Figure, Heading, Table, Text

_NUMERIC = re.compile(r"^(?:–|[-+]?[\d,.]+\s?(?:%|x|ms|s|us)?)$")

_STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f8fafc; color: #0f172a; font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.5rem 5rem; }
h1 { font-size: 1.9rem; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 .75rem; padding-top: 1.25rem; border-top: 1px solid #e2e8f0; }
h3 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { max-width: 48rem; }
figure { margin: 1.25rem 0; padding: 1rem; background: #fff; border: 1px solid #e2e8f0; border-radius: .5rem; }
figure svg { width: 100%; height: auto; display: block; }
figcaption { color: #64748b; font-size: .875rem; margin-top: .5rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; background: #fff; min-width: 50%; }
th, td { padding: .4rem .75rem; border-bottom: 1px solid #e2e8f0; text-align: left; vertical-align: top; }
th { color: #475569; font-weight: 600; }
td:first-child { min-width: 7.5rem; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.good, td.bad { font-weight: 600; white-space: nowrap; } td.good { color: #047857; } td.bad { color: #b91c1c; }
pre { overflow-x: auto; padding: 1rem; background: #0f172a; color: #e2e8f0; border-radius: .5rem; font-size: .8rem; }
nav { margin: 1rem 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
nav a { color: #2563eb; text-decoration: none; white-space: nowrap; }
code { font-size: .9em; }
"""
_MARKS = {
    "reached": "good",
    "flat": "good",
    "not reached": "bad",
    "leak": "bad",
}


def html(title: str, blocks: Sequence[Block]) -> str:
    """The page."""
    links = "".join(
        f'<a href="#{_anchor(block.text)}">{escape(block.text)}</a>'
        for block in blocks
        if isinstance(block, Heading) and block.level == 2
    )
    body = "\n".join(_html(block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n<nav>{links}</nav>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f'<h{level} id="{_anchor(text)}">{escape(text)}</h{level}>'
        case Text(text):
            return f"<p>{_inline(text)}</p>"
        case Code(text):
            return f"<pre>{escape(text)}</pre>"
        case Figure(_, alt, svg):
            return f"<figure>{svg}<figcaption>{escape(alt)}</figcaption></figure>"
        case Table(columns, rows):
            numeric = [
                bool(rows) and all(_NUMERIC.match(row[at]) for row in rows) for at in range(len(columns))
            ]
            head = "".join(map(_head, columns, numeric))
            body = "".join("<tr>" + "".join(map(_cell, row, numeric)) + "</tr>" for row in rows)
            return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _head(text: str, numeric: bool) -> str:
    return f'<th class="number">{escape(text)}</th>' if numeric else f"<th>{escape(text)}</th>"


def _cell(text: str, numeric: bool) -> str:
    kind = _MARKS.get(text) or ("number" if numeric else "")
    attribute = f' class="{kind}"' if kind else ""
    return f"<td{attribute}>{_inline(text)}</td>"


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def markdown(title: str, blocks: Sequence[Block], figures: str | None = "figures") -> str:
    """The same; drawings are linked from the directory `figures`, or left out where it is None."""
    parts = [f"# {title}"]
    for block in blocks:
        text = _markdown(block, figures)
        if text:
            parts.append(text)
    return "\n\n".join(parts) + "\n"


def _markdown(block: Block, figures: str | None) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Text(text):
            return text
        case Code(text):
            return f"```\n{text}\n```"
        case Figure(name, alt, _):
            return f"![{alt}]({figures}/{name}.svg)" if figures else ""
        case Table(columns, rows):
            lines = [_line(columns), _line(["---"] * len(columns)), *(_line(row) for row in rows)]
            return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def save_figures(blocks: Sequence[Block], directory: Path) -> None:
    """Every drawing as a file."""
    directory.mkdir(parents=True, exist_ok=True)
    for block in blocks:
        if isinstance(block, Figure):
            (directory / f"{block.name}.svg").write_text(block.svg)
