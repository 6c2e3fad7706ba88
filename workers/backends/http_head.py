"""What a request begins with: its first line and its headers, checked so that nothing can be smuggled into them."""

import functools
import re
from collections.abc import Iterable

from schemas.errors import ErrorClass
from workers.core.errors import PermanentError

Fields = Iterable[tuple[str, str]]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH = re.compile(r"/[\x21-\x7e]*")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def written(method: str, path: str, common: bytes, headers: Fields, body: bytes) -> bytes:
    """A whole request; `common` are headers as `rendered` writes them. Raises `PermanentError(internal)`."""
    return b"".join(
        (
            _first_line(method, path),
            common,
            rendered(headers),
            b"content-length: %d\r\n\r\n" % len(body) if body or method in _WITH_BODY else b"\r\n",
            body,
        )
    )


def rendered(headers: Fields) -> bytes:
    """Headers, a line each. Raises `PermanentError(internal)` for what no header can carry."""
    lines = []
    for name, value in headers:
        # Printable ASCII: a space is, a tab, a line end or a NUL is not.
        if not (_is_token(name) and value.isascii() and value.isprintable()):
            raise PermanentError(
                ErrorClass.INTERNAL, f"such a value of the header {name[:64]!r} can't be sent"
            )
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("ascii")


@functools.lru_cache(maxsize=1024)
def _is_token(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None


@functools.lru_cache(maxsize=256)
def _first_line(method: str, path: str) -> bytes:
    if not _is_token(method) or not _PATH.fullmatch(path):
        raise PermanentError(ErrorClass.INTERNAL, "such a method or path can't be sent")
    return f"{method} {path} HTTP/1.1\r\n".encode("ascii")
