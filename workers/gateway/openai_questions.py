"""A chat completion request as the fields of an envelope."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from workers.gateway.openai_errors import bad_request

SOURCE = "openai"
"""The `source` of what comes this way."""
AUTO = "auto"
"""The model that stands for no one in particular: the routes choose."""

_FIELDS = frozenset({"messages", "metadata", "model", "session_id", "stream", "stream_options", "user"})
_IGNORED = frozenset(
    {
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
    }
)
"""What OpenAI itself does something with, and an answer does not depend on."""


class Asked(NamedTuple):
    """What a client wants. `target` None: the routes choose; `model`: what it called the model."""

    fields: Mapping[str, Any]
    target: str | None
    model: str
    stream: bool
    usage: bool  # at the end of a stream


def read(body: Mapping[str, Any], targets: frozenset[str], parameters: frozenset[str]) -> Asked:
    """Take a request apart. `targets` are those that may be named, `parameters` what may be passed on to a model.

    `model` is a target's name, or `target/model`; any other name leaves it to the routes. Raises `OpenAIError`.
    """
    model = _text(body, "model") or AUTO
    target, chosen = _place(model, targets)
    payload: dict[str, Any] = {
        **_said(body.get("messages")),
        "parameters": _parameters(body, parameters),
    }
    optional = {
        "model": chosen,
        "user_id": _text(body, "user"),
        "session_id": _text(body, "session_id"),
        "metadata": body.get("metadata"),
    }
    payload |= {name: value for name, value in optional.items() if value is not None}
    return Asked(
        {"source": SOURCE, "payload": payload},
        target,
        model,
        stream=_flag(body, "stream"),
        usage=_wants_usage(body.get("stream_options")),
    )


def _place(model: str, targets: frozenset[str]) -> tuple[str | None, str | None]:
    if model in targets:
        return model, None
    target, _, chosen = model.partition("/")
    return (target, chosen) if chosen and target in targets else (None, None)


def _said(messages: Any) -> dict[str, Any]:
    """The last question as `text`, which every kind of target understands; what came before it as `messages`."""
    if not isinstance(messages, list) or not messages:
        raise bad_request("a list with at least one message is needed", "messages")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise bad_request("a message is an object with a `role`", f"messages[{place}]")
        if not isinstance(message.get("content"), str | list | None):
            raise bad_request("must be a text or a list of parts", f"messages[{place}].content")
    last = messages[-1]
    if last.keys() == {"role", "content"} and last["role"] == "user" and isinstance(last["content"], str):
        earlier = messages[:-1]
        return {"text": last["content"], **({"messages": earlier} if earlier else {})}
    return {"messages": messages}


def _parameters(body: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    passed = {}
    for name, value in body.items():
        if name in _FIELDS or name in _IGNORED or value is None:
            continue
        if name not in known:
            raise bad_request(
                f"the parameter {name[:64]!r} is not passed on to a model", name[:64], "unsupported_parameter"
            )
        passed[name] = value
    return passed


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise bad_request("must be a text", name)
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad_request("must be true or false", name)
    return bool(value)


def _wants_usage(options: Any) -> bool:
    if options is not None and not isinstance(options, dict):
        raise bad_request("must be an object", "stream_options")
    return _flag(options or {}, "include_usage")
