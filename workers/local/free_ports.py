"""Ports for the parts: the usual one, or the next that is free."""

import socket


class Ports:
    """Hands out ports; remembers what it gave, since a part needs a moment until it listens."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def take(self, wanted: int, among: int = 200) -> int:
        """`wanted`, or the first free port above it. Raises `OSError` when none of `among` ports is free."""
        for port in range(wanted, wanted + among):
            if port not in self._given and _is_free(port):
                self._given.add(port)
                return port
        raise OSError(f"no free port between {wanted} and {wanted + among - 1}")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do; without it a port in TIME_WAIT looks taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
