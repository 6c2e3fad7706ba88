"""The HTTP application: routes, request ids, and every error in one form."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

import structlog
from prometheus_client import Counter
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from workers.core import metrics as m
from workers.core.metrics import Metrics
from workers.gateway.front import Parts, header
from workers.gateway.hosts import Hosts
from workers.gateway.http_exchange import Answering, Exchange, Incoming
from workers.gateway.http_forward import FORWARD, REQUEST_ID, Forward
from workers.gateway.openapi import description_routes
from workers.gateway.problems import Problem, problem_of
from workers.gateway.refusals import RefusalError
from workers.gateway.waiting import new_id

log = structlog.get_logger()

_LONGEST_REQUEST_ID = 128
_PROTOCOL = "http"
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")

Handler = Callable[[Incoming], Awaitable[Response]]


def build_app(parts: Parts, more: Sequence[BaseRoute] = (), hosts: Hosts | None = None) -> "GatewayApp":
    """The application, with the routes of other fronts beside our own; without `hosts` under any name."""
    forward = Forward(parts)
    routes = [*forward.routes(), *more, *description_routes()]
    outermost = Outermost(Router(routes, redirect_slashes=False), forward.forward, parts, hosts)
    origins = parts.settings.cors.origins
    return GatewayApp(_with_cors(outermost, origins) if origins else outermost, outermost)


def _with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=[
            "authorization",
            "content-type",
            "idempotency-key",
            "prefer",
            "x-api-key",
            "x-request-id",
        ],
        expose_headers=[
            "content-location",
            "location",
            "retry-after",
            "x-request-id",
            "preference-applied",
        ],
    )


class GatewayApp:
    """Everything over HTTP, as ASGI wants it; and `answer` for questions to `FORWARD` of no other origin, at half the cost."""

    def __init__(self, app: ASGIApp, outermost: "Outermost") -> None:
        self._app = app
        self.answer: Answering = outermost.answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await self._app(scope, receive, send)


class Outermost:
    """Gives every request an id, and every error its form. `forward` is what `FORWARD` is asked: it is not looked for among the routes."""

    def __init__(self, router: Router, forward: Handler, parts: Parts, hosts: Hosts | None) -> None:
        self._router = router
        self._forward = forward
        self._hosts = hosts
        self._counts = _Counts(parts.metrics)
        self._clock = parts.clock
        self._seconds = parts.metrics.histogram(m.GATEWAY_SECONDS, _PROTOCOL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._open(scope, receive, send)
            return
        began = self._clock.monotonic()
        request_id = scope[REQUEST_ID] = request_id_of(header(scope, b"x-request-id"))
        scope["app"] = self  # so that the router raises what it does not find, for us to tell
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_ours(request_id)]
            await send(message)

        try:
            self._check_host(scope)
            if scope["method"] == "POST" and scope["path"] == FORWARD:
                response = await self._forward(Incoming(scope, receive))
                await response(scope, receive, send_with_id)
            else:
                await self._router(scope, receive, send_with_id)
        except Exception as error:
            problem = _problem(error, request_id)
            if status:  # the answer has begun: nothing can be told any more
                raise
            await problem(scope, receive, send_with_id)
        finally:
            self._count(status, began)

    async def answer(self, exchange: Exchange) -> None:
        """The same for a request to `FORWARD`, without ASGI."""
        began = self._clock.monotonic()
        incoming = exchange.incoming
        request_id = incoming.scope[REQUEST_ID] = request_id_of(header(incoming.scope, b"x-request-id"))
        status = 0
        try:
            try:
                self._check_host(incoming.scope)
                response = await self._forward(incoming)
            except Exception as error:  # noqa: BLE001 - whatever it was, it is told as a problem
                response = _problem(error, request_id)
            status = response.status_code
            await exchange.answer(response, _ours(request_id))
        except Exception as error:  # noqa: BLE001 - the answer has begun: nothing can be told any more
            _tell_bug(error, request_id)
        finally:
            self._count(status, began)

    def _check_host(self, scope: Scope) -> None:
        if self._hosts is not None:
            self._hosts.check(scope)

    def _count(self, status: int, began: float) -> None:
        self._counts.add(status)
        self._seconds.observe(self._clock.monotonic() - began)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket."""
        scope["app"] = self
        try:
            self._check_host(scope)
        except RefusalError as refusal:
            problem = problem_of(refusal, request_id_of(header(scope, b"x-request-id")))
            await WebSocket(scope, receive, send).send_denial_response(problem)
            return
        await self._router(scope, receive, send)


class _Counts:
    """Answers by status, each counter looked up once."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._children: dict[int, Counter] = {}

    def add(self, status: int) -> None:
        child = self._children.get(status)
        if child is None:
            child = self._children[status] = self._metrics.counter(
                m.GATEWAY_RESPONSES, _PROTOCOL, str(status)
            )
        child.inc()


def _ours(request_id: str) -> list[tuple[bytes, bytes]]:
    """The headers of every response."""
    return [(b"x-request-id", request_id.encode()), _NO_SNIFFING]


def request_id_of(shown: str | None) -> str:
    """The client's own, where it can stand in a log line and a header; else a new one."""
    if shown and len(shown) <= _LONGEST_REQUEST_ID and shown.isascii() and shown.isprintable():
        return shown
    return new_id()


def _problem(error: Exception, request_id: str) -> Problem:
    if isinstance(error, RefusalError):
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning(
                "request_refused",
                request_id=request_id,
                message_id=error.message_id,
                error_class=error.error_class.value,
                why=error.detail,
            )
        return problem_of(error, request_id)
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        code = {404: "not_found", 405: "method_not_allowed"}.get(status.value, "schema")
        return Problem(status, code, error.detail, dict(error.headers or {}), request_id=request_id)
    _tell_bug(error, request_id)
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal",
        "the gateway failed on this request",
        request_id=request_id,
    )


def _tell_bug(error: Exception, request_id: str) -> None:
    """Type and place alone: the text of an error may quote the prompt."""
    log.error("gateway_bug", request_id=request_id, error=type(error).__name__, at=_where(error))


def _where(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
