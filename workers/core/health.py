"""`/metrics`, `/healthz` and `/readyz` of a process, served from a thread of its own.

A thread, because these must answer (and be able to say "stuck") when the event loop does not.
"""

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from workers.core.errors import UsageError
from workers.core.metrics import Metrics

StartResponse = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that must hold, and in a few words why it does or doesn't."""

    name: str
    ok: bool
    why: str = ""


class Health:
    """Whether a process is alive (else restart it) and ready (else send it nothing yet). Facts are asked at each look."""

    def __init__(self) -> None:
        self._alive: list[Callable[[], Fact]] = []
        self._ready: list[Callable[[], Fact]] = []

    def alive_when(self, check: Callable[[], Fact]) -> None:
        """Add a fact without which the process should be restarted. Called from another thread: keep it cheap."""
        self._alive.append(check)

    def ready_when(self, check: Callable[[], Fact]) -> None:
        """Add a fact without which the process is not in service."""
        self._ready.append(check)

    def alive(self) -> list[Fact]:
        """The facts behind `/healthz`."""
        return [check() for check in self._alive]

    def ready(self) -> list[Fact]:
        """The facts behind `/readyz`: alive, and in service."""
        return self.alive() + [check() for check in self._ready]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Scrapes are not worth a log line."""


class HealthServer:
    """Serves a process's health and metrics. `port` 0 takes a free one; `address` says which."""

    def __init__(self, health: Health, metrics: Metrics, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._health = health
        self._metrics_app = make_wsgi_app(metrics.registry)
        try:
            self._server = make_server(
                host, port, self._app, server_class=_Server, handler_class=_QuietHandler
            )
        except OSError as error:
            raise UsageError(
                f"can't listen on {host}:{port} for /metrics and /healthz ({error.strerror}); choose another --health-port"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="health", daemon=True
        )

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self._server.server_address[0]!s}:{self._server.server_port}"

    def __enter__(self) -> "HealthServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=2)

    def _app(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/metrics":
            metrics: Iterable[bytes] = self._metrics_app(environ, start_response)
            return metrics
        if path == "/healthz":
            return _answer(self._health.alive(), start_response)
        if path == "/readyz":
            return _answer(self._health.ready(), start_response)
        start_response(_status(HTTPStatus.NOT_FOUND), [("Content-Type", "text/plain")])
        return [b"try /metrics, /healthz or /readyz\n"]


def _answer(facts: list[Fact], start_response: StartResponse) -> Iterable[bytes]:
    ok = all(fact.ok for fact in facts)
    start_response(
        _status(HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE),
        [("Content-Type", "application/json")],
    )
    checks = {fact.name: {"ok": fact.ok, "why": fact.why} for fact in facts}
    return [json.dumps({"ok": ok, "checks": checks}).encode() + b"\n"]


def _status(status: HTTPStatus) -> str:
    return f"{status.value} {status.phrase}"
