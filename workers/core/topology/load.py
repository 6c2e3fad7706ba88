"""Reading topology.yaml: the text, its references, its types, then what no single field can tell."""

import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from workers.core.redact import MASK
from workers.core.topology.checks import check
from workers.core.topology.document import MAX_BYTES, Document, UnreadableError, read_document
from workers.core.topology.model import Topology
from workers.core.topology.parts import parts_of
from workers.core.topology.problems import Fault, Path, Problem, TopologyError, field_name
from workers.core.topology.references import Resolver
from workers.core.topology.secrets import literal_secrets
from workers.core.topology.unsupported import not_supported_yet
from workers.core.topology.wording import faults_of

_SHORTEST_HIDDEN = 4
_QUOTED = re.compile(r"'[^']+'|`[^`]+`")


def load_topology(
    path: FilePath, environment: Mapping[str, str], files: set[FilePath] | None = None
) -> Topology:
    """Read and check a topology file; `environment` is what `${NAME}` may refer to.

    `files`, where given, is filled with the files that it refers to. Raises `TopologyError` with every problem of the file at once.
    """
    file = str(path)
    raw = _read(path, file)
    try:
        document = read_document(raw)
    except UnreadableError as error:
        place = error.place
        raise TopologyError(
            [Problem(file, place.line, place.column, "", error.message, error.suggestion)]
        ) from None
    resolver = Resolver(environment, path.parent)
    data = resolver.resolve(document.data)
    if files is not None:
        files |= resolver.files
    topology, faults = _understand(data)
    faults = [*document.faults, *resolver.faults, *literal_secrets(document.data), *faults]
    if faults or topology is None:
        raise TopologyError(_problems(file, document, resolver, faults))
    return topology


def _read(path: FilePath, file: str) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        message, advice = (
            "there is no such file",
            "give one with --topology, or copy the project's topology.yaml",
        )
    except OSError as error:
        message, advice = f"can't be read: {error.strerror}", None
    raise TopologyError([Problem(file, 1, 1, "", message, advice)])


def _understand(data: Any) -> tuple[Topology | None, list[Fault]]:
    """The topology, or every fault that can be found; parts without a fault are checked against each other all the same."""
    if not isinstance(data, dict):
        return None, [Fault((), "must be a mapping of keys and values", "start with `version: 1`")]
    unsupported = list(not_supported_yet(data))
    hidden = {fault.path for fault in unsupported}
    faults: list[Fault] = []
    topology: Topology | None = None
    try:
        topology = Topology.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as error:
        faults = [
            fault
            for fault in faults_of(error.errors(include_url=False), data)
            if not any(fault.path[: len(path)] == path for path in hidden)
        ]
    crossed = [fault for fault in check(parts_of(data)) if not _explained(fault, faults)]
    return topology, [*unsupported, *faults, *crossed]


def _explained(fault: Fault, others: list[Fault]) -> bool:
    """Whether a fault only follows from another one at the same field, in it or around it."""
    return any(
        fault.path[: len(other.path)] == other.path or other.path[: len(fault.path)] == fault.path
        for other in others
    )


def _problems(file: str, document: Document, resolver: Resolver, faults: list[Fault]) -> list[Problem]:
    lost = document.lost | {fault.path for fault in resolver.faults}
    own = {*document.faults, *resolver.faults}
    problems: dict[Problem, None] = {}
    for fault in faults:
        if fault.path in lost and fault not in own:
            continue  # the field is wrong because its value could not be read, which is said already
        place = fault.place or document.place(fault.path, key=fault.at_key)
        message = _hidden(fault.message, fault.path, resolver)
        advice = fault.suggestion and _hidden(fault.suggestion, fault.path, resolver)
        problems[Problem(file, place.line, place.column, field_name(fault.path), message, advice)] = None
    return list(problems)


def _hidden(text: str, path: Path, resolver: Resolver) -> str:
    """`text` without anything that came from the environment or a file."""
    for at, value in sorted(resolver.values.items(), key=lambda item: -len(item[1])):
        for form in (value, repr(value)[1:-1]):
            if len(form) >= _SHORTEST_HIDDEN:
                text = text.replace(form, resolver.raw[at])
    value, raw = resolver.values.get(path, ""), resolver.raw.get(path, "")
    return _QUOTED.sub(
        # a quoted piece of what was read, that was not written like this
        lambda match: f"`{MASK}`" if match[0][1:-1] in value and match[0][1:-1] not in raw else match[0],
        text,
    )
