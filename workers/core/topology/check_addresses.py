"""Addresses: of Kafka, and of a target's instances. No message repeats an address: it may hold a secret."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from workers.core.topology.model import Kafka, OpenAITarget, Stores
from workers.core.topology.problems import Fault, Path

_HOST_PORT = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:,/\[\]@]+):([0-9]{1,5})")
_REDIS = re.compile(r"(rediss?://[^\s/]|unix://)")
_MAX_PORT = 65_535
_PORTS = {"http": 80, "https": 443}


def check_kafka(kafka: Kafka) -> Iterator[Fault]:
    """Faults of `kafka`."""
    path: Path = ("kafka", "bootstrap")
    security = kafka.security
    if kafka.bootstrap == "embedded":
        if security.protocol != "PLAINTEXT":
            yield Fault(
                ("kafka", "security", "protocol"),
                "the embedded broker speaks PLAINTEXT",
                "name your own `bootstrap`",
            )
    elif not all(_is_host_port(part.strip()) for part in kafka.bootstrap.split(",")):
        yield Fault(
            path, "is not HOST:PORT, a list of them with commas, or `embedded`", "for example 127.0.0.1:9092"
        )
    yield from _sasl(kafka)
    if security.key_file is not None and security.certificate_file is None:
        yield Fault(
            ("kafka", "security", "key_file"), "is the key of no certificate", "set `certificate_file` too"
        )


def _is_host_port(text: str) -> bool:
    match = _HOST_PORT.fullmatch(text)
    return match is not None and 0 < int(match[1]) <= _MAX_PORT


def _sasl(kafka: Kafka) -> Iterator[Fault]:
    security = kafka.security
    path: Path = ("kafka", "security")
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


def check_instances(path: Path, target: OpenAITarget) -> Iterator[Fault]:
    """Faults of the instances' addresses."""
    seen: dict[tuple[str, str, int, str], int] = {}
    for index, instance in enumerate(target.instances):
        at = (*path, "instances", index, "url")
        wrong = _wrong_url(instance.url)
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


def _wrong_url(url: str) -> tuple[str, str] | None:
    example = "for example http://127.0.0.1:8091/v1"
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        return "holds a blank or control character", example
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not an address", example
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        return "must start with http:// or https:// and a host", example
    if parts.username is not None or parts.password is not None:
        return "must not hold credentials", "put the key in `api_key`, as ${NAME} or ${file:PATH}"
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return "must not have a query or fragment", "an instance is a base address: the paths are added to it"
    return None
