"""Addresses: of Kafka, and of a target's instances. No message repeats an address: it may hold a secret."""

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from workers.core.topology.instances import Instance
from workers.core.topology.model import Kafka, Stores
from workers.core.topology.problems import Fault, Path

_HOST_PORT = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:,/\[\]@]+):([0-9]{1,5})")
_REDIS = re.compile(r"(rediss?://[^\s/]|unix://)")
_MAX_PORT = 65_535
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "grpc": 50051, "grpcs": 443}
_EXAMPLES = {
    "http": "http://127.0.0.1:8091/v1",
    "ws": "ws://127.0.0.1:8091/ws",
    "grpc": "grpc://127.0.0.1:50051",
}


def check_kafka(kafka: Kafka) -> Iterator[Fault]:
    """Faults of `kafka`."""
    yield from check_cluster(("kafka",), kafka)


def check_cluster(at: Path, kafka: Kafka) -> Iterator[Fault]:
    """Faults of a cluster's address and security, which stand at `at`."""
    path: Path = (*at, "bootstrap")
    security = kafka.security
    if kafka.bootstrap == "embedded":
        if security.protocol != "PLAINTEXT":
            yield Fault(
                (*at, "security", "protocol"),
                "the embedded broker speaks PLAINTEXT",
                "name your own `bootstrap`",
            )
    elif not all(_is_host_port(part.strip()) for part in kafka.bootstrap.split(",")):
        yield Fault(
            path, "is not HOST:PORT, a list of them with commas, or `embedded`", "for example 127.0.0.1:9092"
        )
    yield from _sasl((*at, "security"), kafka)
    if security.key_file is not None and security.certificate_file is None:
        yield Fault(
            (*at, "security", "key_file"), "is the key of no certificate", "set `certificate_file` too"
        )


def _is_host_port(text: str) -> bool:
    match = _HOST_PORT.fullmatch(text)
    return match is not None and 0 < int(match[1]) <= _MAX_PORT


def _sasl(path: Path, kafka: Kafka) -> Iterator[Fault]:
    security = kafka.security
    given = {name: getattr(security, name) is not None for name in ("mechanism", "username", "password")}
    if security.protocol.startswith("SASL"):
        for name, present in given.items():
            if not present:
                yield Fault((*path, name), f"is missing, and {security.protocol} needs it", at_key=True)
        return
    for name, present in given.items():
        if present:
            yield Fault(
                (*path, name), f"does nothing with {security.protocol}", "choose SASL_SSL, or leave it out"
            )


def check_stores(stores: Stores) -> Iterator[Fault]:
    """Faults of `stores`."""
    if stores.redis is not None and _REDIS.match(stores.redis.get_secret_value()) is None:
        yield Fault(
            ("stores", "redis"), "is not the address of a Redis", "for example redis://127.0.0.1:6379/0"
        )


def check_instances(path: Path, instances: Sequence[Instance], schemes: tuple[str, str]) -> Iterator[Fault]:
    """Faults of the instances' addresses; `schemes` are the plain one and the secure one."""
    seen: dict[tuple[str, str, int, str], int] = {}
    for index, instance in enumerate(instances):
        at = (*path, "instances", index, "url")
        wrong = wrong_url(instance.url, schemes)
        if wrong is not None:
            yield Fault(at, *wrong)
            continue
        parts = urlsplit(instance.url)
        address = (
            parts.scheme,
            parts.hostname or "",
            parts.port or _PORTS[parts.scheme],
            parts.path.rstrip("/"),
        )
        if address in seen:
            yield Fault(
                at,
                f"is the address of instances[{seen[address]}] already",
                "name it once; `weight` gives it more",
            )
        seen.setdefault(address, index)


def wrong_url(url: str, schemes: tuple[str, str], *, query: bool = False) -> tuple[str, str] | None:
    """What is wrong with an address of one of these schemes, and advice; `query`: whether it may have one."""
    example = f"for example {_EXAMPLES[schemes[0]]}"
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        return "holds a blank or control character", example
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not an address", example
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        return f"must start with {schemes[0]}:// or {schemes[1]}:// and a host", example
    if parts.username is not None or parts.password is not None:
        return "must not hold credentials", "put the key in `api_key`, as ${NAME} or ${file:PATH}"
    if "#" in url or ("?" in url and not query):
        return "must not have a query or fragment", "an instance is a base address: the paths are added to it"
    return None
