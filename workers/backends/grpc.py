"""Another MessageRouter (schemas/relayfleet.proto) as a backend, over a few HTTP/2 connections to each instance."""

import asyncio
import ssl
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from schemas import relayfleet_pb2 as wire
from schemas.envelope import Payload
from schemas.errors import ErrorClass
from schemas.relayfleet_pb2_grpc import MessageRouterStub
from workers.backends.extract import class_of
from workers.backends.fill import dumps
from workers.backends.http_errors import failure
from workers.backends.instances import MAX_ANSWER, address_of, bearer, ids
from workers.core.errors import MessageError, UsageError
from workers.core.ports import Answer, Call, Piece, Usage
from workers.core.topology.instances import Instance, Tls
from workers.core.topology.model import GrpcTarget

CODES: Mapping[grpc.StatusCode, ErrorClass] = {
    grpc.StatusCode.CANCELLED: ErrorClass.CONNECT,  # not by us: a server that goes away breaks calls off so
    grpc.StatusCode.UNKNOWN: ErrorClass.UPSTREAM_5XX,
    grpc.StatusCode.INVALID_ARGUMENT: ErrorClass.UPSTREAM_4XX,
    grpc.StatusCode.DEADLINE_EXCEEDED: ErrorClass.TIMEOUT,
    grpc.StatusCode.NOT_FOUND: ErrorClass.UPSTREAM_4XX,
    grpc.StatusCode.ALREADY_EXISTS: ErrorClass.UPSTREAM_4XX,
    grpc.StatusCode.PERMISSION_DENIED: ErrorClass.AUTH,
    grpc.StatusCode.UNAUTHENTICATED: ErrorClass.AUTH,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ErrorClass.RATE_LIMITED,
    grpc.StatusCode.FAILED_PRECONDITION: ErrorClass.UPSTREAM_4XX,
    grpc.StatusCode.ABORTED: ErrorClass.UPSTREAM_5XX,
    grpc.StatusCode.OUT_OF_RANGE: ErrorClass.UPSTREAM_4XX,
    # A wrong address must not make dead letters of every message.
    grpc.StatusCode.UNIMPLEMENTED: ErrorClass.UPSTREAM_5XX,
    grpc.StatusCode.INTERNAL: ErrorClass.UPSTREAM_5XX,
    grpc.StatusCode.UNAVAILABLE: ErrorClass.CONNECT,
    grpc.StatusCode.DATA_LOSS: ErrorClass.UPSTREAM_5XX,
}
"""Every status but OK. A server that names our class in `relay-error-class` is believed instead."""

_DEFAULT_PORTS = {"grpc": 50051, "grpcs": 443}
_TOO_LARGE = "larger than max"  # how the client's own refusal of an answer reads
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MAX_ANSWER),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),  # the topology says how often
    ("grpc.use_local_subchannel_pool", 1),  # else channels to one address share its connection
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.lb_policy_name", "round_robin"),  # over all addresses of a name
)


class GrpcBackend:
    """One instance of a `grpc` target. See `core.ports.Backend`.

    A call goes to the connection with the fewest on it. Pieces come through `ForwardStream`, where the server has it.
    """

    def __init__(self, instance: Instance, target: GrpcTarget) -> None:
        """Raises `UsageError` for an address, key or certificate that could never work."""
        address = address_of(instance.url, ("grpc", "grpcs"), "grpc://HOST:PORT")
        self._name = address.netloc
        host = f"[{address.hostname}]" if ":" in (address.hostname or "") else address.hostname
        place = f"dns:///{host}:{address.port or _DEFAULT_PORTS[address.scheme]}"
        credentials = _credentials(target.tls) if address.scheme == "grpcs" else None
        self._connections = [_Connection(place, credentials) for _ in range(target.connections)]
        self._metadata = [
            *target.metadata.items(),
            *((name, secret.get_secret_value()) for name, secret in target.secret_metadata.items()),
            *bearer(instance, self._name),
        ]
        self._streams = True

    @property
    def name(self) -> str:
        """See `Backend`."""
        return self._name

    async def call(self, call: Call) -> Answer:
        """See `Backend`. The server learns the deadline, and of a call that is abandoned."""
        question = question_of(call.request.payload)
        metadata = (*ids(call), *self._metadata)
        connection = min(self._connections, key=lambda one: one.calls)
        with connection.counted(), translate_grpc(self._name):
            if call.sink is not None and self._streams:
                try:
                    return await self._streamed(connection, question, call, metadata)
                except aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                        raise
                    self._streams = False
            asked = connection.stub.ForwardRequest(question, timeout=call.timeout, metadata=metadata)
            return self._answer(await _unless_closed(self._name, asked))

    async def close(self) -> None:
        """See `Backend`. Calls under way fail as `connect`."""
        for connection in self._connections:
            await connection.channel.close(None)

    async def _streamed(
        self,
        connection: "_Connection",
        question: wire.RequestMessage,
        call: Call,
        metadata: tuple[tuple[str, str], ...],
    ) -> Answer:
        stream = connection.stub.ForwardStream(question, timeout=call.timeout, metadata=metadata)
        read = 0
        try:
            while (chunk := await _unless_closed(self._name, stream.read())) is not aio.EOF:
                if chunk.HasField("response"):
                    return self._answer(chunk.response)
                read += len(chunk.text)
                if read > MAX_ANSWER:
                    raise failure(ErrorClass.UPSTREAM_5XX, f"{self._name} sent more than {MAX_ANSWER} bytes")
                if chunk.text and call.sink is not None:
                    call.sink(Piece(chunk.text))
        finally:
            stream.cancel()
        raise failure(ErrorClass.CONNECT, f"{self._name} broke off its answer")

    def _answer(self, response: wire.ResponseMessage) -> Answer:
        payload = response.payload
        if response.status == "error" or payload.HasField("error"):
            error_class = class_of(payload.error.code) or ErrorClass.UPSTREAM_5XX
            raise failure(error_class, f"{self._name} answered with an error ({error_class})")
        usage = None
        if payload.HasField("usage"):
            used = payload.usage
            usage = Usage(used.prompt_tokens, used.completion_tokens, used.total_tokens)
        return Answer(
            text=payload.text,
            model=payload.model or None,
            finish_reason=payload.finish_reason or "stop",
            usage=usage,
        )


class _Connection:
    """One HTTP/2 connection, and how many calls are on it."""

    def __init__(self, place: str, credentials: grpc.ChannelCredentials | None) -> None:
        if credentials is None:
            self.channel = aio.insecure_channel(place, options=_OPTIONS)
        else:
            self.channel = aio.secure_channel(place, credentials, options=_OPTIONS)
        self.stub = MessageRouterStub(self.channel)
        self.calls = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """While a call is on it."""
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1


def question_of(payload: Payload) -> wire.RequestMessage:
    """The payload as the interface has it: what it has no field for goes along in the context, as JSON."""
    context = dict(payload.context)
    text = payload.text
    if payload.messages:
        context["messages"] = [message.model_dump(exclude_none=True) for message in payload.messages]
        last = payload.messages[-1].content
        text = text if text is not None else last if isinstance(last, str) else ""
    if payload.parameters:
        context["parameters"] = payload.parameters
    return wire.RequestMessage(
        user_id=payload.user_id or "",
        session_id=payload.session_id or "",
        input_text=text or "",
        context={
            name: value if isinstance(value, str) else dumps(value).decode()
            for name, value in context.items()
        },
    )


@contextmanager
def translate_grpc(name: str) -> Iterator[None]:
    """Turn what gRPC raises into our errors; `name` is the backend's. A status' own text is never repeated."""
    try:
        yield
    except aio.AioRpcError as error:
        raise _failure(name, error) from error
    except aio.UsageError as error:  # a channel that was closed meanwhile
        raise failure(ErrorClass.CONNECT, f"{name} was let go while it was being called") from error


def _failure(name: str, error: aio.AioRpcError) -> MessageError:
    code = error.code()
    trailing = dict(error.trailing_metadata() or ())
    error_class = class_of(trailing.get("relay-error-class")) or CODES[code]
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in (error.details() or ""):
        return failure(ErrorClass.UPSTREAM_5XX, f"{name} sent more than {MAX_ANSWER // 1024**2} MiB")
    return failure(
        error_class, f"{name} ended with {code.name}", retry_after=_seconds(trailing.get("retry-after"))
    )


def _seconds(text: str | bytes | None) -> float | None:
    return float(text) if isinstance(text, str) and text.isdecimal() and len(text) < 6 else None


async def _unless_closed(name: str, asked: Awaitable[Any]) -> Any:
    """What was asked for. A closed channel cancels its calls, which is no cancellation of ours."""
    try:
        return await asked
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise failure(ErrorClass.CONNECT, f"{name} was let go while it was being called") from error


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    def read(file: str | None) -> bytes | None:
        try:
            return Path(file).read_bytes() if file is not None else None
        except OSError as error:
            raise UsageError(f"{file} can't be read: {error.strerror}") from error

    authorities = read(tls.ca_file or ssl.get_default_verify_paths().cafile)
    return grpc.ssl_channel_credentials(authorities, read(tls.key_file), read(tls.certificate_file))
