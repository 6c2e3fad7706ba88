"""`relayfleet route evaluate`: how well the intents are told apart, and what another topology would change."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from schemas.envelope import Payload, Request
from workers import assembly
from workers.commands.route_moves import Moves
from workers.commands.route_semantic import show_semantic
from workers.core.clock import SystemClock
from workers.core.errors import RelayError, UsageError
from workers.core.logging import configure_logging
from workers.core.settings import Settings
from workers.policies.evaluate import Report, by_keywords, calibration_error, report
from workers.policies.route import Router, compile_routes
from workers.policies.subject import Asked
from workers.shell import Output, OutputOption, TopologyOption, console, fail, load, print_json


@dataclass(frozen=True, slots=True)
class Labelled:
    """The examples of a file."""

    texts: list[str]
    intents: list[str]


@dataclass(frozen=True, slots=True)
class Judged:
    """One topology on the examples."""

    router: Router
    report: Report
    baseline: Report
    calibration: float
    microseconds: float  # of CPU, a text


def evaluate(
    file: Annotated[Path, typer.Argument(help="Examples, a JSON object a line with `text` and `intent`.")],
    topology: TopologyOption = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="NEW.yaml", help="Another topology to compare with.")
    ] = None,
    semantic: Annotated[
        bool,
        typer.Option("--semantic", help="What a semantic cache would answer, and how much of it wrongly."),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say how well the topology's intents are told apart on labelled examples, beside what keywords would do.

    With --against also what another file would change; with --semantic only what a cache of like questions would do.
    Shows no text. Sends nothing.
    """
    configure_logging("route", level="warning")
    try:
        labelled = _read(file)
        if semantic:
            pairs = list(zip(labelled.texts, labelled.intents, strict=True))
            show_semantic(load(topology, Settings.read()), pairs, output)
            return
        judged = _judge(topology, labelled)
        other = _judge(against, labelled) if against is not None else None
    except RelayError as error:
        fail(error)
    moves = _moves(judged, other, labelled) if other is not None else None
    if output is Output.JSON:
        print_json(_as_json(judged, other, moves))
    else:
        _show(judged, other, moves)


def _read(file: Path) -> Labelled:
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from error
    labelled = Labelled([], [])
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            example = orjson.loads(line)
        except orjson.JSONDecodeError:
            example = None
        fields = (example.get("text"), example.get("intent")) if isinstance(example, dict) else (None, None)
        if not (isinstance(fields[0], str) and isinstance(fields[1], str)):
            raise UsageError(f"{file} line {number} is not a JSON object with the texts `text` and `intent`")
        labelled.texts.append(fields[0])
        labelled.intents.append(fields[1])
    if not labelled.texts:
        raise UsageError(f"{file} holds no example")
    return labelled


def _judge(topology: Path | None, labelled: Labelled) -> Judged:
    settings = Settings.read()
    loaded = load(topology, settings)
    if not loaded.intents:
        raise UsageError(
            f"{topology or settings.topology} has no `intents`; examples/topologies/intents.yaml shows them"
        )
    model = assembly.learned_intents(loaded, settings)
    began = time.thread_time()
    guesses = model.classify(labelled.texts)
    seconds = time.thread_time() - began
    return Judged(
        compile_routes(loaded, model),
        report(labelled.intents, [guess.intent for guess in guesses]),
        report(labelled.intents, by_keywords(loaded.intents, labelled.texts)),
        calibration_error(labelled.intents, guesses),
        seconds / len(labelled.texts) * 1e6,
    )


def _moves(judged: Judged, other: Judged, labelled: Labelled) -> Moves:
    moves, now = Moves(), SystemClock().wall()
    asked = [
        Asked(Request(message_id="evaluate", source="cli", payload=Payload(text=text), timestamp=0.0), at=now)
        for text in labelled.texts
    ]
    moves.compare(judged.router, other.router, asked)
    return moves


def _as_json(judged: Judged, other: Judged | None, moves: Moves | None) -> dict[str, Any]:
    result = {
        "examples": sum(judged.report.confusion.values()),
        **_figures(judged),
        "intents": {
            name: {
                "precision": round(score.precision, 4),
                "recall": round(score.recall, 4),
                "examples": score.examples,
            }
            for name, score in judged.report.scores.items()
        },
        "confusion": [
            {"labelled": label, "said": said, "examples": count}
            for (label, said), count in sorted(judged.report.confusion.items())
        ],
    }
    if other is not None and moves is not None:
        result["against"] = {**_figures(other), **moves.as_json()}
    return result


def _figures(judged: Judged) -> dict[str, float]:
    return {
        "accuracy": round(judged.report.accuracy, 4),
        "accuracy_in_scope": round(judged.report.in_scope, 4),
        "keyword_accuracy": round(judged.baseline.accuracy, 4),
        "calibration_error": round(judged.calibration, 4),
        "microseconds": round(judged.microseconds, 1),
    }


def _show(judged: Judged, other: Judged | None, moves: Moves | None) -> None:
    out = console()
    columns = [("now", judged)] if other is None else [("now", judged), ("against", other)]
    out.print(_summary(columns), _scores(judged), _confusion(judged.report))
    if moves is not None:
        out.print(moves.summary(), moves.as_table() if moves.counts else "")


def _summary(columns: Sequence[tuple[str, Judged]]) -> Table:
    table = Table("", *(name for name, _ in columns), title="on all examples")
    rows = {
        "accuracy": [f"{each.report.accuracy:.3f}" for _, each in columns],
        "of what is not unknown": [f"{each.report.in_scope:.3f}" for _, each in columns],
        "keywords alone": [f"{each.baseline.accuracy:.3f}" for _, each in columns],
        "confidence is off by": [f"{each.calibration:.3f}" for _, each in columns],
        "CPU a text": [f"{each.microseconds:.0f} us" for _, each in columns],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _scores(judged: Judged) -> Table:
    table = Table("intent", "examples", "precision", "recall", "by keywords", title="by intent")
    for name, score in judged.report.scores.items():
        keywords = judged.baseline.scores.get(name)
        table.add_row(
            name,
            str(score.examples),
            f"{score.precision:.2f}",
            f"{score.recall:.2f}",
            f"{keywords.recall:.2f}" if keywords else "",
        )
    return table


def _confusion(judged: Report) -> Table:
    names = list(judged.scores)
    table = Table(
        "", *(str(number) for number in range(1, len(names) + 1)), title="labelled (rows), said (columns)"
    )
    for number, label in enumerate(names, 1):
        counts = [judged.confusion.get((label, said), 0) for said in names]
        table.add_row(f"{number} {label}", *(str(count) if count else "·" for count in counts))
    return table
