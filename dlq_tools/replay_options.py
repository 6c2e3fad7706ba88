"""The options by which letters are chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from dlq_tools.ledger_records import Spec
from dlq_tools.selecting import parse_positions
from dlq_tools.times import parse_time
from workers.core.clock import Clock
from workers.core.errors import UsageError

LettersArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[TOPIC:PARTITION:OFFSET]…", help="These letters alone.")
]
TopicsOption = Annotated[
    list[str] | None,
    typer.Option("--topic", help="A dead-letter topic; may be given again.", show_default="the topology's"),
]
WhereOption = Annotated[str | None, typer.Option("--where", help="An SQL condition over the letters.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="Failed last at or after: 30m, 2h, 2026-01-31T09:00Z.")
]
UntilOption = Annotated[str | None, typer.Option("--until", help="Failed last before.")]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Do it; without, more than one letter is only looked at.")
]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters, as the command line says it."""

    letters: Sequence[str]
    topics: Sequence[str]
    where: str | None
    since: str | None
    until: str | None

    def spec(self, default_topic: str, clock: Clock) -> Spec:
        """The same as a spec. Raises `UsageError` for what can't be read."""
        named = parse_positions(self.letters)
        now = round(clock.wall() * 1000)
        topics = tuple(self.topics) or tuple(dict.fromkeys(each.topic for each in named)) or (default_topic,)
        if outside := [str(each) for each in named if each.topic not in topics]:
            raise UsageError(f"{outside[0]} is not of the topics that --topic names")
        return Spec(
            topics=topics,
            positions=tuple(self.letters),
            where=self.where,
            since_ms=None if self.since is None else parse_time(self.since, now, "--since"),
            until_ms=None if self.until is None else parse_time(self.until, now, "--until"),
        )
