"""`relayfleet dlq edit`."""

import shlex
import subprocess
import tempfile
from base64 import b64encode
from difflib import unified_diff
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.text import Text

from dlq_tools.filling import fetch
from dlq_tools.ledger_records import MENDED, Letter, Mended, State
from dlq_tools.mend import Fields, as_text, describe, envelope, mender, with_envelope
from dlq_tools.opening import open_surroundings
from dlq_tools.selecting import parse_positions
from dlq_tools.surroundings import Surroundings
from schemas.dead_letter import DeadLetter, read_dead_letter
from workers.core.errors import UsageError
from workers.core.exit_codes import ExitCode
from workers.core.logging import configure_logging
from workers.core.settings import Settings
from workers.kafka.sizes import DEFAULT_MAX_BYTES
from workers.shell import KafkaOption, TopologyOption, console, load, run

app = typer.Typer()

_MAX_BYTES = DEFAULT_MAX_BYTES // 4 * 3 - 16_384  # base64 and the rest of the record have to fit too


@app.command()
def edit(
    position: Annotated[str, typer.Argument(metavar="TOPIC:PARTITION:OFFSET", help="The letter.")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field: payload.text=…")
    ] = None,
    jq: Annotated[str | None, typer.Option("--jq", metavar="EXPR", help="Change with a jq program.")] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Go back to the original.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Keep the change without asking.")] = False,
    topology: TopologyOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Change what a replay of a dead letter sends: in $EDITOR, or with --set and --jq.

    The letter itself stays as it is; the changed copy is kept in the ledger. What is saved must be an envelope.
    """
    configure_logging("dlq", level="warning")

    async def main() -> ExitCode:
        settings = Settings.read()
        [letter] = parse_positions([position])
        async with open_surroundings(load(topology, settings), settings, kafka) as around:
            if forget:
                return await _forget(around, letter)
            dead = await _letter(around, letter)
            if sets or jq:
                changed = mender(describe(sets or (), jq, None))(dead)
                if changed is None:
                    raise UsageError("the jq program leaves this message out: there is nothing to keep")
                how = "--set" if sets else "--jq"
            else:
                changed, how = _edited(dead, settings), "editor"
            return await _keep(around, dead, changed, how, yes=yes)

    run(main)


async def _letter(around: Surroundings, letter: Letter) -> DeadLetter:
    """The letter as a replay would send it now: its mended copy, where there is one. Looking at it is on record."""
    state = around.ledger.state.state(letter)
    if state in {State.PLANNED, State.REPLAYED}:
        raise UsageError(f"{letter} is {state.value}: wait for its outcome")
    record = await fetch(around.admin, around.open_reader, letter.place, letter.offset)
    await around.ledger.audit("look", f"opened {letter} to edit it", count=1)
    dead, copy = read_dead_letter(*record), around.ledger.state.mended(letter)
    return dead if copy is None else dead.model_copy(update={"value": copy.bytes()})


def _edited(dead: DeadLetter, settings: Settings) -> DeadLetter:
    """The letter after the user's editor; opened again as long as it is no envelope and the user goes on."""
    fields, wire = envelope(dead)
    text = as_text(fields)
    while True:
        text = _in_editor(text, settings)
        try:
            return with_envelope(dead, _parsed(text), wire)
        except UsageError as error:
            console().print(Text(str(error), style="red"))
            if not typer.confirm("Edit again?", default=True):
                raise


def _in_editor(text: str, settings: Settings) -> str:
    """Run the editor on a file that only its owner may read; it is gone afterwards."""
    environment = settings.environment
    editor = environment.get("VISUAL") or environment.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="relayfleet-") as directory:
        file = Path(directory) / "envelope.json"
        file.write_text(text)
        try:
            result = subprocess.run([*shlex.split(editor), str(file)], check=False)  # noqa: S603 - the user's own editor
        except OSError as error:
            raise UsageError(f"the editor {editor!r} can't be run: {error.strerror}; set EDITOR") from error
        if result.returncode:
            raise UsageError(f"the editor {editor!r} ended with {result.returncode}: nothing was kept")
        return file.read_text()


def _parsed(text: str) -> Fields:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    if not isinstance(fields, dict):
        raise UsageError("an envelope is a JSON object")
    return fields


async def _keep(
    around: Surroundings, dead: DeadLetter, changed: DeadLetter, how: str, *, yes: bool
) -> ExitCode:
    before, after = (as_text(envelope(each)[0]).splitlines() for each in (dead, changed))
    difference = list(unified_diff(before, after, "kept so far", "changed", lineterm=""))
    if not difference:
        console().print("nothing changed")
        return ExitCode.DONE
    for line in difference:
        console().print(Text(line, style={"+": "green", "-": "red"}.get(line[0], "dim")))
    value = changed.value or b""
    if len(value) > _MAX_BYTES:
        raise UsageError(f"the changed copy has {len(value):,} bytes; the ledger keeps {_MAX_BYTES:,}")
    if not yes and not typer.confirm("Keep this?", default=False):
        console().print("nothing was kept")
        return ExitCode.DONE
    ledger = around.ledger
    copy = Mended(at=ledger.now_ms, who=ledger.who, how=how, value=b64encode(value).decode())
    await ledger.write(
        [(MENDED + dead.position, copy), ledger.deed("edit", f"{dead.position} changed by {how}", count=1)]
    )
    console().print(f"kept; relayfleet dlq replay {dead.position} sends it", highlight=False)
    return ExitCode.DONE


async def _forget(around: Surroundings, letter: Letter) -> ExitCode:
    if around.ledger.state.mended(letter) is None:
        raise UsageError(f"{letter} has no changed copy")
    await around.ledger.write(
        [(f"{MENDED}{letter}", None), around.ledger.deed("edit", f"{letter} as it was", count=1)]
    )
    console().print(f"{letter} is replayed as it came", highlight=False)
    return ExitCode.DONE
