"""Kafka's jars: exactly those of `kafka-jars.sha256`, in the user's Maven cache, fetched by `jgo` where missing.

A file enters the cache only after its checksum was found right, and a cached one is used only after the same check.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import orjson
import structlog
import tenacity

from workers.core.errors import UnreachableError

PINS = Path(__file__).with_name("kafka-jars.sha256")
_ATTEMPTS = 3
_PARALLEL = 6
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar: its path inside any Maven repository, and the SHA-256 of its bytes in hexadecimal."""

    path: PurePosixPath
    sha256: str

    @property
    def coordinates(self) -> tuple[str, str, str]:
        """Group, artifact and version, as Maven names them."""
        return ".".join(self.path.parts[:-3]), self.path.parts[-3], self.path.parts[-2]


class Report(Protocol):
    """Hears how a download goes; called from several threads."""

    def begin(self, jars: int) -> None:
        """So many jars are missing."""

    def received(self, size: int) -> None:
        """So many bytes more have come."""

    def finished(self, jar: Jar) -> None:
        """A jar is complete and right."""

    def end(self) -> None:
        """The download is over, well or not."""


class Fetch(Protocol):
    """Gets one jar from a repository."""

    def __call__(self, jar: Jar, directory: Path, report: Report) -> Path:
        """Write the jar somewhere under `directory` and return where. Raises `OSError` or `RuntimeError`."""


class WrongJarError(RuntimeError):
    """What came is not what is pinned."""


def read_pins(pins: Path = PINS) -> tuple[Jar, ...]:
    """The pinned jars, in the order of the file: `<sha256>  <path>` a line, as `sha256sum` writes it."""
    jars = []
    for line in pins.read_text().splitlines():
        sha256, path = line.split(maxsplit=1)
        jars.append(Jar(PurePosixPath(path), sha256))
    return tuple(jars)


def kafka_version(jars: Iterable[Jar]) -> str:
    """The Kafka release that these jars are."""
    return next(jar.coordinates[2] for jar in jars if jar.coordinates[1].startswith("kafka_"))


def maven_cache(environment: Mapping[str, str]) -> Path:
    """Where Maven, and everything that shares its cache, keeps jars on this machine."""
    return Path(environment.get("M2_REPO") or Path.home() / ".m2" / "repository")


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class JarCache:
    """The pinned jars on this machine. `seen` is a file that remembers what was verified, by size and time."""

    def __init__(
        self,
        jars: Sequence[Jar],
        repository: Path,
        seen: Path,
        fetch: Fetch,
        report: Report,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._jars = jars
        self._repository = repository
        self._seen = seen
        self._fetch = fetch
        self._report = report
        self._sleep = sleep

    def classpath(self) -> list[Path]:
        """Every jar, verified; what is missing or damaged is downloaded first.

        Raises `UnreachableError` naming the jar that can't be had or is not what is pinned.
        """
        known = self._load()
        verified = {
            str(jar.path): mark for jar in self._jars if (mark := self._verify(jar, known)) is not None
        }
        missing = [jar for jar in self._jars if str(jar.path) not in verified]
        if missing:
            self._download(missing)
            verified |= {str(jar.path): _mark(self._repository / jar.path, jar) for jar in missing}
        if verified != known:
            self._seen.parent.mkdir(parents=True, exist_ok=True)
            self._seen.write_bytes(orjson.dumps(verified))
        return [self._repository / jar.path for jar in self._jars]

    def _load(self) -> dict[str, list[object]]:
        try:
            loaded = orjson.loads(self._seen.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    def _verify(self, jar: Jar, known: Mapping[str, list[object]]) -> list[object] | None:
        file = self._repository / jar.path
        if not file.is_file():
            return None
        mark = _mark(file, jar)
        if known.get(str(jar.path)) == mark:
            return mark
        if sha256_of(file) == jar.sha256:
            return mark
        _log.warning("jar_damaged", file=str(file), action="downloaded again")
        return None

    def _download(self, missing: Sequence[Jar]) -> None:
        self._repository.mkdir(parents=True, exist_ok=True)
        self._report.begin(len(missing))
        try:
            # The same file system as the cache, so that a jar appears there complete or not at all.
            with (
                tempfile.TemporaryDirectory(prefix=".relayfleet-", dir=self._repository) as staging,
                ThreadPoolExecutor(_PARALLEL) as pool,
            ):
                self._fetch_all(missing, Path(staging), pool)
        finally:
            self._report.end()

    def _fetch_all(self, missing: Sequence[Jar], staging: Path, pool: ThreadPoolExecutor) -> None:
        futures = {pool.submit(self._obtain, jar, staging): jar for jar in missing}
        for future in as_completed(futures):
            try:
                future.result()
            except WrongJarError as error:
                pool.shutdown(wait=True, cancel_futures=True)
                raise UnreachableError(f"{futures[future].path}: {error}") from error
            except (OSError, RuntimeError) as error:
                pool.shutdown(wait=True, cancel_futures=True)
                raise UnreachableError(
                    f"{futures[future].path} can't be downloaded: {error}. "
                    "Where Maven Central is out of reach, RELAYFLEET_MAVEN_URL names a mirror"
                ) from error

    def _obtain(self, jar: Jar, staging: Path) -> None:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((OSError, RuntimeError)),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=tenacity.wait_exponential(multiplier=0.2),
            sleep=self._sleep,
            reraise=True,
        )
        retrying(self._attempt, jar, staging)
        self._report.finished(jar)

    def _attempt(self, jar: Jar, staging: Path) -> None:
        with tempfile.TemporaryDirectory(dir=staging) as directory:
            file = self._fetch(jar, Path(directory), self._report)
            found = sha256_of(file)
            if found != jar.sha256:
                raise WrongJarError(f"refused, its SHA-256 is {found} and {jar.sha256} is pinned")
            target = self._repository / jar.path
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)


def _mark(file: Path, jar: Jar) -> list[object]:
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, jar.sha256]
