"""Targets that speak HTTP, WebSocket, gRPC or Kafka: addresses, headers, templates, and where answers stand."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from workers.core.redact import is_secret_name
from workers.core.topology.check_addresses import check_cluster, check_instances, wrong_url
from workers.core.topology.model import GrpcTarget, HttpTarget, KafkaTarget, WebSocketTarget
from workers.core.topology.placeholders import parse, texts
from workers.core.topology.problems import Fault, Path
from workers.core.topology.protocols import WHOLE, AnswerPaths, StreamPaths

ProtocolTarget = HttpTarget | WebSocketTarget | GrpcTarget | KafkaTarget

OURS = frozenset(
    {
        *("host", "content-length", "content-type", "connection", "keep-alive", "transfer-encoding", "te"),
        *("trailer", "upgrade", "proxy-authorization", "proxy-connection", "expect", "cookie", "set-cookie"),
        *("x-request-id", "idempotency-key", "traceparent"),
    }
)
"""Headers that belong to the connection, or that the fleet sets itself."""

_SCHEMES = {"http": ("http", "https"), "websocket": ("ws", "wss"), "grpc": ("grpc", "grpcs")}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_METADATA = re.compile(r"[a-z0-9_.-]+")
_PATHS = ("text", "model", "finish_reason", "prompt_tokens", "completion_tokens", "error")


def check_protocol(path: Path, target: ProtocolTarget) -> Iterator[Fault]:
    """Faults of one such target."""
    if not isinstance(target, KafkaTarget):
        yield from check_instances(path, target.instances, _SCHEMES[target.type])
    match target:
        case HttpTarget():
            yield from _http(path, target)
        case WebSocketTarget():
            yield from _websocket(path, target)
        case GrpcTarget():
            yield from _headers(path, "metadata", target.metadata, target.secret_metadata)
            yield from _bare_addresses(path, target)
            yield from _metadata_names(path, target)
            yield from _tls(path, target)
        case KafkaTarget():
            yield from _kafka(path, target)


def _http(path: Path, target: HttpTarget) -> Iterator[Fault]:
    if target.path and not target.path.startswith("/"):
        yield Fault((*path, "path"), "must start with `/`", f"write /{target.path}")
    yield from _templates((*path, "path"), target.path)
    yield from _templates((*path, "query"), target.query)
    yield from _templates((*path, "body"), target.body)
    if target.method == "GET" and target.body != WHOLE:
        yield Fault(
            (*path, "body"), "is not sent with GET", "choose POST, or put it into `query`", at_key=True
        )
    yield from _headers(path, "headers", target.headers, target.secret_headers)
    for index, name in enumerate(target.pass_headers):
        if name.lower() in OURS or name.lower() == "authorization" or _HEADER.fullmatch(name) is None:
            yield Fault((*path, "pass_headers", index), "is no header that may be passed on", "remove it")
    yield from _authorization(path, target)
    yield from _answer(path, target.answer, target.stream)


def _authorization(path: Path, target: HttpTarget) -> Iterator[Fault]:
    if target.oauth2 is None:
        return
    at = (*path, "oauth2")
    if (wrong := wrong_url(target.oauth2.token_url, ("http", "https"), query=True)) is not None:
        yield Fault((*at, "token_url"), *wrong)
    others = any(name.lower() == "authorization" for name in target.secret_headers)
    if others or any(instance.api_key is not None for instance in target.instances):
        yield Fault(
            at,
            "is not the only authorization",
            "keep `oauth2`, `api_key` or the `authorization` header",
            at_key=True,
        )


def _websocket(path: Path, target: WebSocketTarget) -> Iterator[Fault]:
    yield from _templates((*path, "body"), target.body)
    if target.body != WHOLE and not isinstance(target.body, dict):
        yield Fault(
            (*path, "body"), "must be a mapping: a field of it holds the request's id", "body: {text: …}"
        )
    yield from _headers(path, "headers", target.headers, target.secret_headers)
    yield from _tls(path, target)
    yield from _json_path((*path, "reply_id"), target.reply_id)
    if target.answer.format == "text":
        yield Fault((*path, "answer", "format"), "can't be text: an answer has an id", "leave `format` out")
    yield from _answer(path, target.answer, target.stream)
    if target.stream is not None and target.stream.done is None:
        yield Fault((*path, "stream"), "needs `done`, or an answer has no end", "done: $.done", at_key=True)


def _kafka(path: Path, target: KafkaTarget) -> Iterator[Fault]:
    yield from check_cluster((*path, "kafka"), target.kafka)
    if target.kafka.bootstrap == "embedded":
        yield Fault((*path, "kafka", "bootstrap"), "must be an address here", "for example 10.0.0.5:9092")
    if target.requests == target.responses:
        yield Fault((*path, "responses"), "is the topic of `requests` too", "answers need one of their own")
    yield from _templates((*path, "body"), target.body)
    yield from _answer(path, target.answer, None)


def _templates(path: Path, template: Any) -> Iterator[Fault]:
    for where, text in texts(template):
        try:
            parse(text)
        except ValueError as error:
            yield Fault((*path, *where), str(error))


def _headers(
    path: Path, field: str, plain: Mapping[str, str], secret: Mapping[str, SecretStr]
) -> Iterator[Fault]:
    for name, value in plain.items():
        at = (*path, field, name)
        yield from _header(at, name, value)
        if is_secret_name(name):
            yield Fault(at, "looks like a secret", f"put it into `secret_{field}`", at_key=True)
        if name.lower() in {other.lower() for other in secret}:
            yield Fault(at, f"stands in `secret_{field}` too", "name it once", at_key=True)
    for name, hidden in secret.items():
        yield from _header((*path, f"secret_{field}", name), name, hidden.get_secret_value())


def _header(at: Path, name: str, value: str) -> Iterator[Fault]:
    if _HEADER.fullmatch(name) is None:
        yield Fault(at, "is no name of a header", "letters, digits and `-`", at_key=True)
    elif name.lower() in OURS:
        yield Fault(at, "is set by the fleet itself", "remove it", at_key=True)
    if _HEADER_VALUE.fullmatch(value) is None:
        yield Fault(at, "holds a character that no header can carry", "printable ASCII on one line")


def _bare_addresses(path: Path, target: GrpcTarget) -> Iterator[Fault]:
    for index, instance in enumerate(target.instances):
        if "/" in instance.url.partition("://")[2].rstrip("/"):
            yield Fault((*path, "instances", index, "url"), "must have no path", "grpc://HOST:PORT")


def _metadata_names(path: Path, target: GrpcTarget) -> Iterator[Fault]:
    for field in ("metadata", "secret_metadata"):
        for name in getattr(target, field):
            if _METADATA.fullmatch(name) is None or name.startswith("grpc-") or name.endswith("-bin"):
                yield Fault(
                    (*path, field, name), "is no name of metadata", "small letters, digits, `-`", at_key=True
                )


def _tls(path: Path, target: WebSocketTarget | GrpcTarget) -> Iterator[Fault]:
    tls = target.tls
    if tls.key_file is not None and tls.certificate_file is None:
        yield Fault((*path, "tls", "key_file"), "is the key of no certificate", "set `certificate_file` too")
    secure = {"wss", "grpcs"}
    if _given(tls) and not any(one.url.partition(":")[0] in secure for one in target.instances):
        yield Fault((*path, "tls"), "does nothing: no address is wss:// or grpcs://", at_key=True)


def _given(settings: BaseModel) -> bool:
    return any(value is not None for _, value in settings)


def _answer(path: Path, answer: AnswerPaths, stream: StreamPaths | None) -> Iterator[Fault]:
    for name in _PATHS:
        if (expression := getattr(answer, name)) is not None:
            yield from _json_path((*path, "answer", name), expression)
    if stream is None:
        return
    for name in ("text", "done"):
        if (expression := getattr(stream, name)) is not None:
            yield from _json_path((*path, "stream", name), expression)


def _json_path(path: Path, expression: str) -> Iterator[Fault]:
    # A quarter of a second: only files that have such targets wait for it.
    import jsonpath

    try:
        jsonpath.compile(expression)
    except jsonpath.JSONPathError as error:
        said = str(error).partition("\n")[0]
        yield Fault(path, f"is not a JSONPath: {said}", "for example $.answer.text")
