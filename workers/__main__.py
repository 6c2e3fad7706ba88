"""Entry point of `relayfleet` and of `python -m workers`."""

from workers.cli import app


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
