"""`${NAME}`, `${NAME:-default}` and `${file:PATH}` in the strings of topology.yaml; `$${` writes a plain `${`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from workers.core.topology.problems import Fault, Path, did_you_mean

MAX_FILE_BYTES = 1024 * 1024

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _ReferenceError(Exception):
    """A reference that can't be followed; the texts hold no value."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


@dataclass(slots=True)
class Resolver:
    """Follows references. `raw` is filled with the text, as written, of every string that held one."""

    environment: Mapping[str, str] = field(repr=False)
    directory: FilePath
    raw: dict[Path, str] = field(default_factory=dict)
    values: dict[Path, str] = field(default_factory=dict, repr=False)
    faults: list[Fault] = field(default_factory=list)
    files: set[FilePath] = field(default_factory=set)  # asked for, whether they exist or not

    def resolve(self, value: Any, path: Path = ()) -> Any:
        """`value` with every reference in its strings followed; what fails is in `faults` and reads as empty."""
        if isinstance(value, dict):
            return {name: self.resolve(inner, (*path, name)) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.resolve(inner, (*path, index)) for index, inner in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return self._text(value, path)
        return value

    def _text(self, text: str, path: Path) -> str:
        followed = _REFERENCE.sub(lambda match: self._replace(match, path), text)
        if any(match[0] != "$${" for match in _REFERENCE.finditer(text)):
            self.raw[path] = text
            self.values[path] = followed
        return followed

    def _replace(self, match: re.Match[str], path: Path) -> str:
        if match[0] == "$${":
            return "${"
        try:
            return self._follow(match[1])
        except _ReferenceError as error:
            self.faults.append(Fault(path, error.message, error.suggestion))
            return ""

    def _follow(self, reference: str | None) -> str:
        if reference is None:
            raise _ReferenceError("`${` without its `}`", "close it, or write `$${` for a plain `${`")
        if reference.startswith("file:"):
            return self._file(reference.removeprefix("file:").strip())
        name, has_default, default = reference.partition(":-")
        if _NAME.fullmatch(name) is None:
            raise _ReferenceError(
                f"`${{{reference}}}` is not a reference", "write ${NAME}, ${NAME:-default} or ${file:PATH}"
            )
        value = self.environment.get(name)
        if has_default and not value:
            return default
        if value is None:
            near = did_you_mean(name, self.environment) or ""
            raise _ReferenceError(
                f"the environment has no {name}",
                near if near.startswith("did") else f"set it, or give a default: ${{{name}:-…}}",
            )
        return value

    def _file(self, name: str) -> str:
        path = self.directory / FilePath(name).expanduser()
        self.files.add(path)
        if not name or not path.is_file():
            raise _ReferenceError(
                f"there is no file {name!r}", "paths are relative to the folder of the topology file"
            )
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise _ReferenceError(f"file {name!r} has more than {MAX_FILE_BYTES:,} bytes")
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise _ReferenceError(f"file {name!r} is not UTF-8 text") from None
        except OSError as error:
            raise _ReferenceError(f"file {name!r} can't be read: {error.strerror}") from None
