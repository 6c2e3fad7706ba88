"""Jars from Maven Central through `jgo`, and the command that pins them.

    python -m workers.local.maven 4.3.1

resolves that release of Kafka, downloads every jar anew and writes `kafka-jars.sha256`.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import jgo
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext, PythonResolver

from workers.core.settings import trust_the_machines_certificates
from workers.local.kafka_jars import PINS, Jar, Report, sha256_of

_ANSWER_WITHIN = 30  # seconds without a byte


class MavenFetch:
    """Fetches jars from one Maven repository, by default Maven Central."""

    def __init__(self, url: str | None = None) -> None:
        self._url = (url or MAVEN_CENTRAL_URL).rstrip("/")
        trust_the_machines_certificates()

    def __call__(self, jar: Jar, directory: Path, report: Report) -> Path:
        """See `Fetch`."""

        @contextmanager
        def progress(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
            yield report.received

        context = MavenContext(
            resolver=PythonResolver(progress_callback=progress),
            repo_cache=directory,
            remote_repos={"central": self._url},
            timeout=_ANSWER_WITHIN,
        )
        group, artifact, version = jar.coordinates
        return Path(context.project(group, artifact).at_version(version).artifact().resolve())


def pin(version: str, pins: Path = PINS) -> int:
    """Resolve Kafka `version` and write the checksums of its jars to `pins`; returns how many there are."""
    artifacts = jgo.resolve(f"org.apache.kafka:kafka_2.13:{version}")
    core = next(artifact for artifact in artifacts if artifact.artifactId == "log4j-core")
    with tempfile.TemporaryDirectory() as fresh, ThreadPoolExecutor(6) as pool:
        context = MavenContext(repo_cache=Path(fresh), timeout=_ANSWER_WITHIN)
        names = {(artifact.groupId, artifact.artifactId, artifact.version) for artifact in artifacts}
        # Named beside Kafka in one resolution, log4j's own dependency management would bring an older kafka-clients.
        names.add(("org.apache.logging.log4j", "log4j-slf4j-impl", core.version))
        wanted = [context.project(group, name).at_version(number) for group, name, number in sorted(names)]
        files = list(pool.map(lambda component: Path(component.artifact().resolve()), wanted))
        lines = [f"{sha256_of(file)}  {file.relative_to(fresh).as_posix()}\n" for file in files]
    pins.write_text("".join(lines))
    return len(lines)


if __name__ == "__main__":
    sys.stderr.write(f"{pin(sys.argv[1])} jars pinned in {PINS}\n")
