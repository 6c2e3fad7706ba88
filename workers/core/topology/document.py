"""YAML read with its places: plain values, and for every value the line and column of it and of its key.

Bounded on purpose: a file that a few lines of aliases blow up to gigabytes, or that nests without end, is refused
before anything is built from it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from workers.core.topology.problems import Fault, Path, Place

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 40
MAX_NODES = 50_000

_TAG = "tag:yaml.org,2002:"
_SCALARS = tuple(_TAG + name for name in ("null", "bool", "int", "float", "str"))


class Places(NamedTuple):
    """Where a value is, and where its key is (the value's own place in a list)."""

    key: Place
    value: Place


@dataclass(slots=True)
class Document:
    """A file as plain data. `faults` are problems of the form; what could be read is in `data` all the same."""

    data: Any = None
    places: dict[Path, Places] = field(default_factory=dict)
    lost: set[Path] = field(default_factory=set)  # values that could not be read: a fault says why
    faults: list[Fault] = field(default_factory=list)

    def place(self, path: Path, *, key: bool = False) -> Place:
        """The place of the value at `path` or of the nearest thing around it that is in the file."""
        for length in range(len(path), -1, -1):
            found = self.places.get(path[:length])
            if found is not None:
                return found.key if key or length < len(path) else found.value
        return Place(1, 1)


class UnreadableError(Exception):
    """The text is no YAML that we read. Carries the place."""

    def __init__(self, place: Place, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.place = place
        self.message = message
        self.suggestion = suggestion


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C where libyaml is there
    """Safe, and with the scalars of YAML 1.2: `no`, `on`, `12:30` and `2024-01-01` stay text."""

    yaml_implicit_resolvers: Mapping[str, Any] = {}


for _name, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.inf|\.nan",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern})\\Z"), list(_first))


def read_document(raw: bytes) -> Document:
    """Read one YAML document. Raises `UnreadableError` where nothing sensible can be read at all."""
    text = _decode(raw)
    try:
        _check_bounds(text)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error, text) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UnreadableError(Place(1, 1), f"is not YAML: {' '.join(str(error).split())}") from None
    if node is None:
        raise UnreadableError(
            Place(1, 1), "the file is empty", "`topology.yaml` of the project is a start to copy"
        )
    return _Builder().document(node)


def _decode(raw: bytes) -> str:
    if len(raw) > MAX_BYTES:
        raise UnreadableError(
            Place(1, 1), f"the file has {len(raw):,} bytes, {MAX_BYTES:,} are the most that is read"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        raise UnreadableError(
            _end_of(before), f"byte 0x{raw[error.start]:02x} is not UTF-8", "save the file as UTF-8"
        ) from None
    odd = re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", text)
    if odd is not None:
        raise UnreadableError(
            _end_of(text[: odd.start()]), f"control character 0x{ord(odd[0]):02x}", "remove it"
        )
    return text


def _end_of(text: str) -> Place:
    return Place(text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1)


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)


def _unreadable(error: yaml.MarkedYAMLError, file: str) -> UnreadableError:
    place = _within(file, _place(error.problem_mark or error.context_mark))
    line = file.split("\n")[place.line - 1]
    text = ", ".join(part for part in (error.context, error.problem) if part)
    suggestion = None
    if "\t" in line[: len(line) - len(line.lstrip())]:
        suggestion = "indent with spaces: YAML allows no tabs"
    elif "flow" in text and "${" in line:
        suggestion = "inside { } and [ ] put ${…} in quotes"
    elif "single document" in text:
        suggestion = "keep everything in one document, without a second `---`"
    elif "mapping values are not allowed" in text:
        suggestion = "check the indentation, and put text with a colon in quotes"
    return UnreadableError(place, f"is not YAML: {text}", suggestion)


def _within(text: str, place: Place) -> Place:
    """A file that ends too early is wrong at its end, not in the line after it."""
    return min(place, _end_of(text.rstrip("\n")))


def _check_bounds(text: str) -> None:
    """Refuse what nests too deep or grows too large once aliases are followed; reads events, builds nothing."""
    bounds = _Bounds()
    for event in yaml.parse(text, Loader=_Loader):
        bounds.count(event)
        if len(bounds.open) > MAX_DEPTH:
            raise UnreadableError(_place(event.start_mark), f"nested more than {MAX_DEPTH} levels deep")
        if bounds.nodes > MAX_NODES:
            message = f"more than {MAX_NODES:,} values, aliases included"
            raise UnreadableError(_place(event.start_mark), message, "use fewer aliases")


class _Bounds:
    """Counts what a document will hold when every alias is a copy."""

    def __init__(self) -> None:
        self.nodes = 0
        self.open: list[tuple[str | None, int]] = []  # anchor, nodes before it
        self._sizes: dict[str, int] = {}  # of what is anchored

    def count(self, event: yaml.Event) -> None:
        match event:
            case yaml.AliasEvent():
                if event.anchor not in self._sizes:
                    raise UnreadableError(
                        _place(event.start_mark), f"alias *{event.anchor} has no finished anchor before it"
                    )
                self.nodes += self._sizes[event.anchor]
            case yaml.ScalarEvent():
                self.nodes += 1
                if event.anchor:
                    self._sizes[event.anchor] = 1
            case yaml.CollectionStartEvent():
                self.open.append((event.anchor, self.nodes))
                self.nodes += 1
            case yaml.CollectionEndEvent():
                anchor, before = self.open.pop()
                if anchor:
                    self._sizes[anchor] = self.nodes - before
            case _:
                pass


class _Builder:
    """Turns YAML nodes into plain data and notes where everything was."""

    def __init__(self) -> None:
        self._document = Document()
        self._scalars = yaml.constructor.SafeConstructor()

    def document(self, node: yaml.Node) -> Document:
        """The whole document."""
        self._document.data = self._value(node, (), _place(node.start_mark))
        return self._document

    def _value(self, node: yaml.Node, path: Path, key: Place) -> Any:
        self._document.places[path] = Places(key, _place(node.start_mark))
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [
                self._value(item, (*path, index), _place(item.start_mark))
                for index, item in enumerate(node.value)
            ]
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _SCALARS:
            return self._lose(path, f"tag {node.tag!r} is not allowed", "write the value without a tag")
        try:
            return self._scalars.construct_object(node)
        except (ValueError, LookupError, yaml.YAMLError):
            kind = node.tag.removeprefix(_TAG)
            return self._lose(path, f"{node.value[:40]!r} can't be read as {kind}", "put text in quotes")

    def _lose(self, path: Path, message: str, suggestion: str) -> None:
        self._document.lost.add(path)
        self._fault(path, message, suggestion)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if _is_merge(key_node):
                self._merge(merged, value_node, path)
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not _is_merge(key_node):
                self._entry(built, key_node, value_node, path)
        return {**merged, **built}

    def _entry(self, built: dict[str, Any], key_node: yaml.Node, value_node: yaml.Node, path: Path) -> None:
        place = _place(key_node.start_mark)
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
            named = repr(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "this"
            self._fault(path, f"a key must be text, and {named} is not", "put it in quotes", place)
            return
        at = (*path, key_node.value)
        if key_node.value in built:
            first = self._document.places[at].key.line
            self._fault(at, f"duplicate key, first used in line {first}", "keep one of them", place)
            return
        built[key_node.value] = self._value(value_node, at, place)

    def _merge(self, merged: dict[str, Any], node: yaml.Node, path: Path) -> None:
        """`<<: *name`: the keys of another mapping, or of several, below our own."""
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(source, yaml.MappingNode):
                for name, value in self._mapping(source, path).items():
                    merged.setdefault(name, value)
            else:
                place = _place(source.start_mark)
                self._fault(path, "`<<` merges mappings, and this is none", "write `<<: *its-anchor`", place)

    def _fault(self, path: Path, message: str, suggestion: str | None, place: Place | None = None) -> None:
        fault = Fault(path, message, suggestion, place=place or self._document.places[path].value)
        if fault not in self._document.faults:  # an alias shows the same text again
            self._document.faults.append(fault)


def _is_merge(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.value == "<<" and not key.style
