"""`relayfleet`: the commands, put together."""

from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from workers.commands import broker, doctor, route, router, send, tail, topology, up, worker


class DeadLetterCommands(TyperGroup):
    """`relayfleet dlq`, loaded when it is called: DuckDB takes longer to import than all else together."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.no_args_is_help = True

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands' names."""
        return self._group().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command."""
        return self._group().get_command(ctx, cmd_name)

    def _group(self) -> TyperGroup:
        from dlq_tools.cli import app as dead_letters

        group = get_command(dead_letters)
        assert isinstance(group, TyperGroup)  # noqa: S101 - for the type checker: an app of many commands is one
        return group


app = typer.Typer(
    name="relayfleet",
    help="Moves messages between the systems that ask and the models that answer, over Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command(rich_help_panel="Run")(up.up)
app.command(rich_help_panel="Run")(router.router)
app.command(rich_help_panel="Run")(worker.worker)
app.add_typer(broker.app, name="broker", rich_help_panel="Run")
app.command(rich_help_panel="Use")(send.send)
app.command(rich_help_panel="Use")(tail.tail)
app.add_typer(route.app, name="route", rich_help_panel="Look")
app.add_typer(
    typer.Typer(cls=DeadLetterCommands, help="Dead letters: see, understand, mend and replay them."),
    name="dlq",
    rich_help_panel="Look",
)
app.add_typer(topology.app, name="topology", rich_help_panel="Look")
app.command(rich_help_panel="Look")(doctor.doctor)
