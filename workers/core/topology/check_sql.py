"""A SQL target: its parameters, and the placeholders of its answer."""

import re
import string
from collections.abc import Iterator

from workers.core.topology.check_pattern import check_pattern
from workers.core.topology.model import SqlTarget
from workers.core.topology.problems import Fault, Path, did_you_mean

# What SQLAlchemy's text() takes for a bound parameter, so that the check sees what the backend will.
_PARAMETER = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
_DSN = re.compile(r"[a-z][a-z0-9_]*(\+[a-z0-9_]+)?://.*", re.DOTALL)
_SELECTED = re.compile(r"\s*select\s+(?:distinct\s+)?(.+?)\s+from\s", re.IGNORECASE | re.DOTALL)
_COLUMN = re.compile(
    r"(?:[\w\"`.]+\s+(?:as\s+)?|.*\sas\s+)?(?:[\w\"`]+\.)*[\"`]?(\w+)[\"`]?", re.IGNORECASE | re.DOTALL
)


def check_sql(path: Path, target: SqlTarget) -> Iterator[Fault]:
    """Faults of one SQL target."""
    if _DSN.fullmatch(target.dsn.get_secret_value()) is None:
        yield Fault((*path, "dsn"), "is not a database address", "for example sqlite:///examples/orders.db")
    if ";" in target.query.rstrip().rstrip(";"):
        yield Fault((*path, "query"), "holds more than one statement", "keep one")
    yield from _parameters(path, target)
    known = columns(target.query)
    answerable = None if known is None else known | target.parameters.keys()
    yield from _template((*path, "answer"), target.answer, answerable)
    if target.not_found is not None:
        yield from _template((*path, "not_found"), target.not_found, set(target.parameters))


def _parameters(path: Path, target: SqlTarget) -> Iterator[Fault]:
    bound = list(dict.fromkeys(_PARAMETER.findall(target.query)))
    for name in bound:
        if name not in target.parameters:
            advice = did_you_mean(name, target.parameters) or f"add `parameters: {{{name}: {{pattern: …}}}}`"
            yield Fault((*path, "query"), f"`:{name}` is not in `parameters`", advice)
    used = {*bound, *placeholders(target.answer), *placeholders(target.not_found or "")}
    for name, source in target.parameters.items():
        at = (*path, "parameters", name)
        if name not in used:
            yield Fault(at, "is used nowhere", f"write `:{name}` in the query, or remove it", at_key=True)
        if (source.pattern is None) == (source.context is None):
            yield Fault(at, "needs a `pattern` or a `context`, and not both", at_key=True)
        if source.pattern is not None:
            yield from check_pattern((*at, "pattern"), source.pattern)


def placeholders(template: str) -> set[str]:
    """The names in a template's braces; none where it is malformed."""
    try:
        return {name for _, name, _, _ in string.Formatter().parse(template) if name}
    except ValueError:
        return set()


def _template(path: Path, template: str, known: set[str] | None) -> Iterator[Fault]:
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        yield Fault(path, f"is not a template: {str(error).lower()}", "write `{{` for a plain `{`")
        return
    for _, name, spec, conversion in parsed:
        if name is None:
            continue
        if re.fullmatch(r"[^\W\d]\w*", name) is None or spec or conversion:
            yield Fault(
                path, f"a placeholder is a name in braces, and `{{{name}}}` is none", "write `{column}`"
            )
        elif known is not None and name.lower() not in {each.lower() for each in known}:
            yield Fault(path, f"nothing fills `{{{name}}}`", did_you_mean(name, known))


def columns(query: str) -> set[str] | None:
    """The column names that a simple `select` yields; None where the text alone does not tell."""
    selected = _SELECTED.match(query)
    if selected is None or "*" in selected[1] or re.search(r"\bselect\b", selected[1], re.IGNORECASE):
        return None
    names: set[str] = set()
    for item in _split(selected[1]):
        match = _COLUMN.fullmatch(item.strip())
        if match is None:
            return None
        names.add(match[1])
    return names


def _split(items: str) -> list[str]:
    """Split at commas that stand in no brackets."""
    parts, depth = [""], 0
    for character in items:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
