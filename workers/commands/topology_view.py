"""How the `topology` commands print for people."""

from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.text import Text

from workers.core.topology.difference import Action, Configure, Create, Difference, Grow
from workers.core.topology.model import Topology
from workers.core.topology.problems import Problem, TopologyError
from workers.core.topology.secrets import masked_fields
from workers.core.topology.topics import wanted_topics
from workers.shell import console


def print_problems(error: TopologyError) -> None:
    """Every problem on a line of standard error, as compilers do it, so that editors can jump there."""
    out = Console(stderr=True, soft_wrap=True, highlight=False)
    for problem in error.problems:
        out.print(_problem(problem))
    count = len(error.problems)
    out.print(Text(f"{count} problem{'s' if count > 1 else ''}", style="bold red"))


def _problem(problem: Problem) -> Text:
    line = Text.assemble((f"{problem.file}:{problem.line}:{problem.column}:", "bold"), " ")
    if problem.field:
        line.append(f"{problem.field}: ", style="cyan")
    line.append(problem.message, style="red")
    if problem.suggestion:
        line.append("; ").append(problem.suggestion, style="green")
    return line


def print_valid(path: Path, topology: Topology) -> None:
    """That the file holds, and what is in it."""
    counts = f"{len(topology.routes)} routes, {len(topology.targets)} targets, {len(wanted_topics(topology))} topics"
    console().print(Text.assemble((str(path), "bold"), ": ", ("valid", "green"), f", {counts}"))


def as_json(topology: Topology) -> Any:
    """A topology in the file's own form, defaults filled in, secrets masked."""
    return masked_fields(topology.model_dump(mode="json", by_alias=True, exclude_none=True))


def _without_empty(value: Any) -> Any:
    """Settings for people: what is empty by default says nothing."""
    if not isinstance(value, dict):
        return [_without_empty(item) for item in value] if isinstance(value, list) else value
    kept = {key: _without_empty(inner) for key, inner in value.items()}
    return {key: inner for key, inner in kept.items() if inner not in ({}, [])}


def print_settings(topology: Topology) -> None:
    """The settings as YAML, then the topics that follow from them as comments."""
    out = Console(soft_wrap=True, highlight=False)
    text = yaml.safe_dump(_without_empty(as_json(topology)), allow_unicode=True, sort_keys=False, width=110)
    out.print(Text(text))
    out.print(Text("# topics"))
    for topic in wanted_topics(topology):
        config = ", ".join(f"{key}={value}" for key, value in topic.config.items())
        out.print(
            Text(f"# {topic.name}: {topic.partitions} partitions, replication {topic.replication}, {config}")
        )


def print_difference(found: Difference) -> None:
    """What differs, a line each; commands that a person may want stand on lines of their own, to copy."""
    out = Console(soft_wrap=True, highlight=False)
    if not found.differs:
        out.print(Text("nothing differs", style="green"))
    rows = [_row(action) for action in found.actions]
    rows += [(Text("! leave    ", style="red"), refusal.name, refusal.message) for refusal in found.refusals]
    rows += [
        (Text("  unknown  ", style="dim"), name, "not in the topology: never touched")
        for name in found.unknown
    ]
    width = max((len(name) for _, name, _ in rows), default=0)
    for mark, name, text in rows:
        out.print(Text.assemble(mark, " ", name.ljust(width), "  ", text))
    if any(isinstance(action, Grow) for action in found.actions):
        out.print(Text("more partitions: keys move among them, order per key starts anew", style="yellow"))
    for refusal in found.refusals:
        out.print(Text(refusal.instead, style="green"))


def _row(action: Action) -> tuple[Text, str, str]:
    match action:
        case Create(topic):
            partitions = "1 partition" if topic.partitions == 1 else f"{topic.partitions} partitions"
            return (
                Text("+ create   ", style="green"),
                topic.name,
                f"{partitions}, replication {topic.replication}",
            )
        case Grow():
            return (
                Text("~ grow     ", style="yellow"),
                action.name,
                f"partitions {action.existing} -> {action.partitions}",
            )
        case Configure():
            changes = (
                f"{key} {action.existing.get(key, 'unset')} -> {value}"
                for key, value in action.config.items()
            )
            return Text("~ configure", style="yellow"), action.name, ", ".join(changes)
