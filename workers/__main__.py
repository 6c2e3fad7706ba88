"""Entry point of `relayfleet` and of `python -m workers`."""

from workers.cli import app
from workers.core.scheduling import take_turns
from workers.core.settings import Settings


def main() -> None:
    """Run the command line."""
    take_turns(Settings.read().take_turns)
    app()


if __name__ == "__main__":
    main()
