"""Secrets in a topology: written as references only, masked wherever a topology is printed."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import SecretStr

from workers.core.redact import MASK
from workers.core.topology.problems import Fault, Path

_FIELDS = ("api_key", "password", "key_password")
_ADVICE = "write it as ${NAME} or ${file:PATH}"


def literal_secrets(data: Any, path: Path = ()) -> Iterator[Fault]:
    """Secrets that stand in the file itself; `data` is the file before its references are followed."""
    items: Iterator[tuple[str | int, Any]] = iter(())
    if isinstance(data, dict):
        items = iter(data.items())
    elif isinstance(data, list):
        items = iter(enumerate(data))
    for name, value in items:
        here = (*path, name)
        if _in_settings(here) and name in _FIELDS and value is not None and "${" not in str(value):
            yield Fault(here, "a secret must not stand in the file", _ADVICE)
        elif name == "dsn" and isinstance(value, str) and _literal_password(value):
            yield Fault(here, "a password must not stand in the file", _ADVICE)
        else:
            yield from literal_secrets(value, here)


def _in_settings(path: Path) -> bool:
    """Not inside the free-form parameters and context values, where names are the user's."""
    return "parameters" not in path and "context" not in path


def _literal_password(dsn: str) -> bool:
    userinfo, at, _ = dsn.partition("://")[2].rpartition("@")
    _, colon, password = userinfo.partition(":")
    return bool(at and colon and password) and "${" not in dsn


def masked_dsn(dsn: str) -> str:
    """A database address without password and without the values of its options; what can't be read is hidden whole."""
    try:
        parts = urlsplit(dsn)
        options = urlencode(
            [(name, MASK) for name, _ in parse_qsl(parts.query, keep_blank_values=True)], safe="*"
        )
    except ValueError:
        return MASK
    if not parts.scheme:
        return MASK
    userinfo, at, host = parts.netloc.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    netloc = f"{user}{colon}{MASK if colon else ''}{at}{host}"
    return (
        urlunsplit((parts.scheme, netloc, parts.path, options, "")).replace(":/", ":///", 1)
        if not netloc
        else (urlunsplit((parts.scheme, netloc, parts.path, options, "")))
    )


def masked(value: Any, name: str = "") -> Any:
    """Dumped settings as plain values to print: secrets replaced, addresses without their passwords."""
    if isinstance(value, SecretStr):
        return masked_dsn(value.get_secret_value()) if name == "dsn" else MASK
    if isinstance(value, dict):
        return {key: masked(inner, key) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(inner, name) for inner in value]
    return value
