"""`relayfleet`: the commands, put together."""

from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from workers.commands import broker, doctor, gateway, router, send, tail, topology, up, worker


class LaterCommands(TyperGroup):
    """A group of commands that is imported when it is called: what it needs takes long to import."""

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
        group = get_command(self._app())
        assert isinstance(group, TyperGroup)  # noqa: S101 - for the type checker: an app of many commands is one
        return group

    def _app(self) -> typer.Typer:
        raise NotImplementedError


class RouteCommands(LaterCommands):
    """`relayfleet route`: numpy, which no process of the fleet needs to start."""

    def _app(self) -> typer.Typer:
        from workers.commands.route import app as routes

        return routes


class DeadLetterCommands(LaterCommands):
    """`relayfleet dlq`: DuckDB takes longer to import than all else together."""

    def _app(self) -> typer.Typer:
        from dlq_tools.cli import app as dead_letters

        return dead_letters


class BenchCommands(LaterCommands):
    """`relayfleet bench`: numpy and the load generators."""

    def _app(self) -> typer.Typer:
        from benchmarks.cli import app as benchmarks

        return benchmarks


app = typer.Typer(
    name="relayfleet",
    help="Moves messages between the systems that ask and the models that answer, over Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command(rich_help_panel="Run")(up.up)
app.command(rich_help_panel="Run")(router.router)
app.command(rich_help_panel="Run")(worker.worker)
app.add_typer(gateway.app, name="gateway", rich_help_panel="Run")
app.add_typer(broker.app, name="broker", rich_help_panel="Run")
app.command(rich_help_panel="Use")(send.send)
app.command(rich_help_panel="Use")(tail.tail)
app.add_typer(
    typer.Typer(cls=RouteCommands, help="The routes of the topology."), name="route", rich_help_panel="Look"
)
app.add_typer(
    typer.Typer(cls=DeadLetterCommands, help="Dead letters: see, understand, mend and replay them."),
    name="dlq",
    rich_help_panel="Look",
)
app.add_typer(topology.app, name="topology", rich_help_panel="Look")
app.add_typer(
    typer.Typer(cls=BenchCommands, help="Benchmarks: rate and latency, users, endurance, recovery, peers."),
    name="bench",
    rich_help_panel="Look",
)
app.command(rich_help_panel="Look")(doctor.doctor)
