"""Secrets in a topology: written as references only, masked wherever a topology is printed."""

from collections.abc import Iterator
from typing import Any

from workers.core.redact import MASK, is_secret_name
from workers.core.topology.problems import Fault, Path

_FIELDS = ("api_key", "password", "key_password", "client_secret")
_MAPPINGS = ("secret_headers", "secret_metadata")
_ADDRESSES = ("dsn", "redis")
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
        secret = name in _FIELDS or (path and path[-1] in _MAPPINGS)
        if _in_settings(here) and secret and value is not None and "${" not in str(value):
            yield Fault(here, "a secret must not stand in the file", _ADVICE)
        elif name in _ADDRESSES and isinstance(value, str) and _literal_password(value):
            yield Fault(here, "a password must not stand in the file", _ADVICE)
        else:
            yield from literal_secrets(value, here)


def _in_settings(path: Path) -> bool:
    """Not inside the free-form parameters and context values, where names are the user's."""
    return not {"parameters", "context"}.intersection(path)


def _literal_password(dsn: str) -> bool:
    userinfo, at, _ = dsn.partition("://")[2].rpartition("@")
    _, colon, password = userinfo.partition(":")
    return bool(at and colon and password) and "${" not in dsn


def masked_dsn(dsn: str) -> str:
    """An address of a database or store without password and without the values of its options; what can't be read is hidden whole."""
    scheme, separator, rest = dsn.partition("://")
    if not separator:
        return MASK
    rest, question, options = rest.partition("?")
    userinfo, at, place = rest.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    names = "&".join(f"{option.partition('=')[0]}={MASK}" for option in options.split("&")) if options else ""
    return f"{scheme}://{user}{colon}{MASK if colon else ''}{at}{place}{question}{names}"


def masked_fields(value: Any, name: str = "") -> Any:
    """Dumped settings with texts masked whose free-form name says that they are secret."""
    if isinstance(value, dict):
        return {key: masked_fields(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [masked_fields(inner, name) for inner in value]
    if isinstance(value, str) and name not in _ADDRESSES and is_secret_name(name):
        return MASK
    return value
